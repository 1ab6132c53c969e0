//! What scripts of our own origin may ask about their session: how long it lasts, new tokens, the access token.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Answer, Scope};
use crate::clock::Timestamp;
use crate::config::SessionLimits;
use crate::flow::{access, renewal};
use crate::policy;
use crate::secret::ExposeSecret as _;
use crate::session::{AccessToken, Session};
use crate::web::{Problem, answers};

/// Who is signed in, and for how long.
pub(super) async fn session(scope: Scope<'_>) -> Answer {
    let session = scope.session().await?.ok_or(Problem::new("not_signed_in"))?;
    Ok(answers::json(StatusCode::OK, "application/json", &state(&scope, &session)))
}

/// Renews tokens and claims, and says how the session is then. Within the cooldown it only says.
pub(super) async fn refresh(scope: Scope<'_>) -> Answer {
    refuse_strangers(&scope)?;
    let session = scope.session().await?.ok_or(Problem::new("not_signed_in"))?;
    let session = renewal::renew_now(scope.gateway, scope.tenant, &session).await?;
    Ok(answers::json(StatusCode::OK, "application/json", &state(&scope, &session)))
}

/// The access token, where the tenant lets scripts have it.
pub(super) async fn token(scope: Scope<'_>) -> Answer {
    refuse_strangers(&scope)?;
    let session = scope.session().await?.ok_or(Problem::new("not_signed_in"))?;
    let audience = scope.request.query_value("audience");
    let opened = renewal::fresh(scope.gateway, scope.tenant, &session, audience.as_deref()).await?;
    let access = &scope.tenant.settings.policy.access;
    policy::admits(access, opened.session.claims()).map_err(|why| {
        access::record_refusal(scope.gateway, scope.tenant, &opened.session);
        Problem::new("access_refused").because(why)
    })?;
    let AccessToken { value, terms, scope: granted } =
        renewal::token_of(scope.tenant, &opened.tokens, audience.as_deref())?;
    let now = scope.gateway.clock.now();
    let document = json!({
        "access_token": value.expose_secret(),
        "token_type": "Bearer",
        "expires_at": terms.expires_at.map(text),
        "expires_in": terms.expires_at.map(|end| left(end, now)),
        "scope": granted,
    });
    Ok(answers::json(StatusCode::OK, "application/json", &document))
}

fn refuse_strangers(scope: &Scope<'_>) -> Result<(), Problem> {
    match scope.request.is_own_script(&scope.place.origin) {
        true => Ok(()),
        false => Err(Problem::new("cross_site_refused")),
    }
}

/// A session as scripts see it: never a token.
fn state(scope: &Scope<'_>, session: &Session) -> Value {
    let limits: &SessionLimits = &scope.tenant.settings.session;
    let now = scope.gateway.clock.now();
    let idle_end = session.idle_expires_at(limits);
    let token = session.access_token.as_ref();
    let token_end = token.and_then(|token| token.expires_at);
    json!({
        "tenant": scope.tenant.id().as_str(),
        "user": session.claims().to_map(),
        "issued_at": text(session.created_at),
        "expires_at": text(session.expires_at),
        "expires_in": left(session.expires_at, now),
        "idle_expires_at": text(idle_end),
        "idle_expires_in": left(idle_end, now),
        "access_token_issued_at": token.map(|token| text(token.issued_at)),
        "access_token_expires_at": token_end.map(text),
        "access_token_expires_in": token_end.map(|end| left(end, now)),
        "refresh_after": renewal::renewable_from(session).map(text),
        // Nobody could ask the store: the session may have ended elsewhere a moment ago.
        "stale": scope.request.is_stale(),
    })
}

fn text(time: Timestamp) -> String {
    time.to_string()
}

/// Whole seconds until `end`, 0 if it is past.
fn left(end: Timestamp, now: Timestamp) -> i64 {
    end.since(now).max(0)
}
