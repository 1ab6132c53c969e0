//! The id token as Auth0 makes it, and everything that can be ordered to be wrong with it.

use serde_json::{Map, Value, json};

use super::Shared;
use super::fault::{Fault, Place};
use super::keys::{self, Keys};
use super::spec::{Client, User};
use super::state::Grant;
use crate::clock::Timestamp;
use crate::secret::{SecretString, base64url, random_text, sha256};

/// Seconds that an id token is good for.
const LIFE: i64 = 36_000;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// The id token of a grant; one from a refresh has neither `sid` nor `nonce`.
pub(super) fn issue(
    shared: &Shared,
    client: &Client,
    grant: &Grant,
    user: &User,
    access_token: &str,
    refreshed: bool,
) -> String {
    let now = shared.now();
    let mut claims = about(user, grant);
    claims.insert("iss".to_owned(), shared.issuer.clone().into());
    claims.insert("aud".to_owned(), client.client_id.clone().into());
    claims.insert("iat".to_owned(), now.0.into());
    claims.insert("exp".to_owned(), now.plus(LIFE).0.into());
    if !refreshed {
        claims.insert("sid".to_owned(), grant.sid.clone().into());
        claims.extend(grant.nonce.clone().map(|nonce| ("nonce".to_owned(), nonce.into())));
    }
    if grant.shows_auth_time {
        claims.insert("auth_time".to_owned(), grant.auth_time.0.into());
    }
    if let Some(acr) = grant.acr_values.as_deref().and_then(|values| values.split(' ').next()) {
        claims.insert("acr".to_owned(), acr.into());
        claims.insert("amr".to_owned(), json!(["mfa"]));
    }
    let faults = shared.faults(Place::IdToken);
    for fault in &faults {
        spoil(&mut claims, fault, access_token, now);
    }
    let secret = client.secret.clone().unwrap_or_default();
    faults
        .iter()
        .fold(None, |token, fault| sign_wrongly(&shared.keys(), &claims, &secret, fault).or(token))
        .unwrap_or_else(|| {
            let keys = shared.keys();
            keys.sign(Some(keys.kid()), "JWT", &claims)
        })
}

/// What a client may know about a person by its scopes.
pub(super) fn about(user: &User, grant: &Grant) -> Map<String, Value> {
    let wanted = |claim: &str| match claim {
        "email" | "email_verified" => grant.has_scope("email"),
        "name" | "nickname" | "given_name" | "family_name" | "picture" | "locale" | "updated_at" => {
            grant.has_scope("profile")
        }
        _ => true,
    };
    let mut claims: Map<String, Value> = user
        .claims
        .iter()
        .filter(|(claim, _)| wanted(claim))
        .map(|(claim, value)| (claim.clone(), value.clone()))
        .collect();
    if let Some((id, name)) = &grant.organization {
        claims.insert("org_id".to_owned(), id.clone().into());
        claims.insert("org_name".to_owned(), name.clone().into());
    }
    claims
}

/// Spoils one claim.
fn spoil(claims: &mut Map<String, Value>, fault: &Fault, access_token: &str, now: Timestamp) {
    let (claim, value) = match fault {
        Fault::WrongIss => ("iss", Some(json!("https://other.example/"))),
        Fault::NoIss => ("iss", None),
        Fault::WrongAud => ("aud", Some(json!("another-client"))),
        Fault::NoAud => ("aud", None),
        Fault::AudOthers => ("aud", Some(json!([claims["aud"], "another-client"]))),
        Fault::WrongAzp => ("azp", Some(json!("another-client"))),
        Fault::WrongNonce => ("nonce", Some(random_text().into())),
        Fault::NoNonce => ("nonce", None),
        Fault::NoSub => ("sub", None),
        Fault::OtherSub => ("sub", Some(json!("auth0|somebody-else"))),
        Fault::NoIat => ("iat", None),
        Fault::OldIat => ("iat", Some(now.plus(-2 * DAY).0.into())),
        Fault::FutureIat => ("iat", Some(now.plus(HOUR).0.into())),
        Fault::NoExp => ("exp", None),
        Fault::Expired => ("exp", Some(now.plus(-HOUR).0.into())),
        Fault::NotYetValid => ("nbf", Some(now.plus(HOUR).0.into())),
        Fault::AtHash => ("at_hash", Some(half_hash(access_token).into())),
        Fault::WrongAtHash => ("at_hash", Some(half_hash("another token").into())),
        Fault::NoAuthTime => ("auth_time", None),
        Fault::OldAuthTime => ("auth_time", Some(now.plus(-11 * DAY).0.into())),
        Fault::SessionExpiryPast => ("session_expiry", Some(now.plus(-60).0.into())),
        Fault::WrongAcr => {
            claims.insert("amr".to_owned(), json!(["pwd"]));
            ("acr", Some(json!("urn:example:password")))
        }
        Fault::WrongOrg => {
            claims.insert("org_name".to_owned(), json!("another-organization"));
            ("org_id", Some(json!("org_another")))
        }
        Fault::NoOrg => {
            claims.remove("org_name");
            ("org_id", None)
        }
        _ => return,
    };
    match value {
        Some(value) => claims.insert(claim.to_owned(), value),
        None => claims.remove(claim),
    };
}

/// The token as it must not be signed; `None` where `fault` is about something else.
pub(super) fn sign_wrongly(
    keys: &Keys,
    claims: &Map<String, Value>,
    secret: &SecretString,
    fault: &Fault,
) -> Option<String> {
    Some(match fault {
        Fault::BadSignature => keys::with_bad_signature(&keys.sign(Some(keys.kid()), "JWT", claims)),
        Fault::AlgNone => keys::unsigned(claims),
        Fault::OtherAlg(alg) => keys.sign_otherwise(*alg, secret, claims),
        Fault::Hs256ByPublicKey => keys.sign_by_public_key(claims),
        Fault::UnknownKid => keys.sign(Some(&random_text()), "JWT", claims),
        Fault::NoKid | Fault::NoKidOneKey => keys.sign(None, "JWT", claims),
        _ => return None,
    })
}

/// `at_hash` (OpenID Connect Core, section 3.1.3.6): the left half of SHA-256.
fn half_hash(text: &str) -> String {
    base64url(&sha256(text.as_bytes())[..16])
}
