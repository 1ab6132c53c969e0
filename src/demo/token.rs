//! `/oauth/token` and `/oauth/revoke`: codes and refresh tokens become tokens, with Auth0's statuses.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Shared;
use super::answer::{self, Answer};
use super::call::Call;
use super::client_auth::authenticate;
use super::fault::{Fault, Place};
use super::id_token;
use super::keys::opaque;
use super::spec::Client;
use super::state::{Code, Grant};
use crate::secret::{base64url, same, sha256};

/// POST `/oauth/token`.
pub(super) fn token(shared: &Shared, call: &Call) -> Answer {
    let client = match authenticate(shared, call) {
        Ok(client) => client,
        Err(error) => return error.into(),
    };
    if !shared.faults(Place::Grant).is_empty() {
        return invalid_grant("ordered by a test");
    }
    match call.form.get("grant_type") {
        Some("authorization_code") => redeem(shared, &client, call),
        Some("refresh_token") => refresh(shared, &client, call),
        _ => answer::error(StatusCode::FORBIDDEN, "unsupported_grant_type", "Unsupported grant type"),
    }
}

/// POST `/oauth/revoke`: 200 whether there was anything to revoke or not (RFC 7009, section 2.2).
pub(super) fn revoke(shared: &Shared, call: &Call) -> Answer {
    match authenticate(shared, call) {
        Ok(client) => {
            if let Some(token) = call.form.get("token") {
                shared.state().revoke(token, &client.client_id);
            }
            answer::empty(StatusCode::OK)
        }
        Err(error) => error.into(),
    }
}

/// Auth0 answers 403 where RFC 6749 says 400.
fn invalid_grant(description: &str) -> Answer {
    answer::error(StatusCode::FORBIDDEN, "invalid_grant", description)
}

fn redeem(shared: &Shared, client: &Client, call: &Call) -> Answer {
    let code = call.form.get("code").and_then(|code| shared.state().use_code(code, shared.now()));
    match code.filter(|code| !code.used && code.grant.client_id == client.client_id) {
        None => invalid_grant("Invalid authorization code"),
        Some(code) if call.form.get("redirect_uri") != Some(&code.redirect_uri) => {
            invalid_grant("The redirect_uri is not the one of the authorization request")
        }
        Some(code) if !verifier_fits(&code, call) => invalid_grant("Failed to verify code verifier"),
        Some(code) => issue(shared, client, code.grant, None, false),
    }
}

/// RFC 7636, section 4.6.
fn verifier_fits(code: &Code, call: &Call) -> bool {
    let verifier = call.form.get("code_verifier").unwrap_or_default();
    same(base64url(&sha256(verifier.as_bytes())).as_bytes(), code.challenge.as_bytes())
}

fn refresh(shared: &Shared, client: &Client, call: &Call) -> Answer {
    let token = call.form.get("refresh_token").unwrap_or_default();
    let grant = shared.state().use_refresh_token(token, &client.client_id, shared.now());
    match grant {
        Some(grant) => issue(shared, client, grant, call.form.get("audience").or(call.form.get("resource")), true),
        None => invalid_grant("Unknown or invalid refresh token."),
    }
}

/// The token response (OpenID Connect Core, section 3.1.3.3). The access token is for `audience`, or for that of the
/// grant.
fn issue(shared: &Shared, client: &Client, grant: Grant, audience: Option<&str>, refreshed: bool) -> Answer {
    let user = shared.state().user(&grant.username).cloned();
    let Some(user) = user.filter(|user| !user.blocked) else { return invalid_grant("the user is gone or blocked") };
    let access_token = access_token(shared, &grant, audience.or(grant.audience.as_deref()), user.sub());
    let id_token = id_token::issue(shared, client, &grant, &user, &access_token, refreshed);
    let mut body = json!({
        "access_token": access_token,
        "id_token": id_token,
        "scope": grant.scope,
        "expires_in": shared.access_token_life,
        "token_type": "Bearer",
    });
    let mut state = shared.state();
    state.remember_id_token(&id_token, &grant.client_id, (!refreshed).then_some(&grant.sid));
    state.issue_access_token(access_token, grant.clone(), shared.now(), shared.access_token_life);
    // Without rotation the old one stays good.
    if grant.has_scope("offline_access") && !(refreshed && shared.has_order(&Fault::NoRefreshToken)) {
        body["refresh_token"] = state.issue_refresh_token(grant, shared.now()).into();
    }
    drop(state);
    let fields = body.as_object_mut().expect("written as an object");
    for fault in shared.faults(Place::TokenAnswer) {
        spoil(fields, &fault);
    }
    answer::json(StatusCode::OK, &body)
}

fn spoil(fields: &mut Map<String, Value>, fault: &Fault) {
    match fault {
        Fault::NoIdToken => {
            fields.remove("id_token");
        }
        Fault::NoScope => {
            fields.remove("scope");
        }
        Fault::NoAccessToken => {
            fields.remove("access_token");
        }
        Fault::WrongTokenType => {
            fields.insert("token_type".to_owned(), "mac".into());
        }
        _ => {}
    }
}

/// Opaque and good for userinfo alone, or a JWT where an API was asked for.
fn access_token(shared: &Shared, grant: &Grant, audience: Option<&str>, sub: &str) -> String {
    let Some(audience) = audience else { return opaque() };
    let now = shared.now();
    let Value::Object(claims) = json!({
        "iss": shared.issuer,
        "sub": sub,
        "aud": [audience, shared.url("/userinfo")],
        "azp": grant.client_id,
        "iat": now.0,
        "exp": now.plus(shared.access_token_life).0,
        "scope": grant.scope,
        "jti": opaque(),
    }) else {
        unreachable!("written as an object")
    };
    let keys = shared.keys();
    keys.sign(Some(keys.kid()), "at+jwt", &claims)
}
