//! Each fault of the id token and of the token endpoint does what its name says, and nothing else.

use std::collections::BTreeSet;

use jsonwebtoken::Algorithm;

use super::*;
use crate::demo::{Fault, OtherAlg};

/// Whether a fault shows in these claims at this time.
type Shows = fn(&Map<String, Value>, i64) -> bool;

/// Asks for everything that the id token can hold.
const EVERYTHING: &[(&str, &str)] = &[("max_age", "600"), ("acr_values", "urn:mfa"), ("organization", "org_labs")];

#[tokio::test]
async fn a_fault_of_a_claim_shows_in_this_claim_alone() {
    use Fault::*;
    let mut scene = Scene::new().await;
    let faults: &[(Fault, &[&str], Shows)] = &[
        (WrongIss, &["iss"], |claims, _| claims["iss"] == "https://other.example/"),
        (NoIss, &["iss"], |claims, _| !claims.contains_key("iss")),
        (WrongAud, &["aud"], |claims, _| claims["aud"] != CLIENT),
        (NoAud, &["aud"], |claims, _| !claims.contains_key("aud")),
        (AudOthers, &["aud"], |claims, _| claims["aud"][0] == CLIENT && claims["aud"][1] != CLIENT),
        (WrongAzp, &["azp"], |claims, _| claims["azp"] != CLIENT),
        (WrongNonce, &["nonce"], |claims, _| claims["nonce"] != "the-nonce"),
        (NoNonce, &["nonce"], |claims, _| !claims.contains_key("nonce")),
        (NoSub, &["sub"], |claims, _| !claims.contains_key("sub")),
        (OtherSub, &["sub"], |claims, _| claims["sub"] == "auth0|somebody-else"),
        (NoIat, &["iat"], |claims, _| !claims.contains_key("iat")),
        (OldIat, &["iat"], |claims, now| claims["iat"].as_i64().unwrap() < now - 86_400),
        (FutureIat, &["iat"], |claims, now| claims["iat"].as_i64().unwrap() > now + 600),
        (NoExp, &["exp"], |claims, _| !claims.contains_key("exp")),
        (Expired, &["exp"], |claims, now| claims["exp"].as_i64().unwrap() < now - 600),
        (NotYetValid, &["nbf"], |claims, now| claims["nbf"].as_i64().unwrap() > now + 600),
        (NoAuthTime, &["auth_time"], |claims, _| !claims.contains_key("auth_time")),
        (OldAuthTime, &["auth_time"], |claims, now| claims["auth_time"].as_i64().unwrap() < now - 86_400),
        (WrongAcr, &["acr", "amr"], |claims, _| claims["acr"] != "urn:mfa" && claims["amr"][0] == "pwd"),
        (WrongOrg, &["org_id", "org_name"], |claims, _| claims["org_id"] != "org_labs" && claims["org_name"] != "labs"),
        (NoOrg, &["org_id", "org_name"], |claims, _| {
            !claims.contains_key("org_id") && !claims.contains_key("org_name")
        }),
        (SessionExpiryPast, &["session_expiry"], |claims, now| claims["session_expiry"].as_i64().unwrap() < now),
        (AtHash, &["at_hash"], |claims, _| claims["at_hash"].as_str().unwrap().len() == 22),
        (WrongAtHash, &["at_hash"], |claims, _| claims["at_hash"].as_str().unwrap().len() == 22),
    ];
    let good = claims_of(&scene.id_token(EVERYTHING).await);
    for (fault, names, shows) in faults {
        scene.provider.order_once(fault.clone());
        let token = scene.id_token(EVERYTHING).await;
        let claims = claims_of(&token);
        assert!(shows(&claims, scene.clock.now().0), "{fault:?}: {claims:?}");
        let all: BTreeSet<&String> = good.keys().chain(claims.keys()).collect();
        // Different in every token, faults or not.
        let lively = ["iat", "exp", "auth_time", "sid"];
        for name in all.into_iter().filter(|name| !names.contains(&name.as_str()) && !lively.contains(&name.as_str())) {
            assert_eq!(claims.get(name), good.get(name), "{fault:?} changed {name}");
        }
        if *fault != NoExp && *fault != Expired {
            assert!(scene.verifies(&token).await, "{fault:?}");
        }
    }
    assert_eq!(claims_of(&scene.id_token(EVERYTHING).await).len(), good.len(), "what was ordered once is over");
}

#[tokio::test]
async fn a_hash_of_the_access_token_is_right_or_wrong_as_ordered() {
    let mut scene = Scene::new().await;
    for (fault, right) in [(Fault::AtHash, true), (Fault::WrongAtHash, false)] {
        scene.provider.order_once(fault);
        let body = scene.tokens(&[]).await;
        let hash = base64url(&sha256(body["access_token"].as_str().unwrap().as_bytes())[..16]);
        assert_eq!(claims_of(body["id_token"].as_str().unwrap())["at_hash"] == hash, right);
    }
}

#[tokio::test]
async fn a_bad_signature_is_the_only_thing_wrong() {
    let mut scene = Scene::new().await;
    scene.provider.order(Fault::BadSignature);
    let token = scene.id_token(&[]).await;
    assert_eq!(header_of(&token)["alg"], "RS256");
    assert!(!scene.verifies(&token).await);
    scene.provider.clear();
    let token = scene.id_token(&[]).await;
    assert!(scene.verifies(&token).await);
}

#[tokio::test]
async fn a_token_without_a_signature_says_so() {
    let mut scene = Scene::new().await;
    scene.provider.order_once(Fault::AlgNone);
    let token = scene.id_token(&[]).await;
    assert_eq!(header_of(&token)["alg"], "none");
    assert!(token.ends_with('.') && claims_of(&token)["nonce"] == "the-nonce");
}

#[tokio::test]
async fn a_token_by_another_algorithm_is_signed_well() {
    let mut scene = Scene::new().await;
    for (alg, name) in [(OtherAlg::Ps256, "PS256"), (OtherAlg::Es256, "ES256"), (OtherAlg::EdDsa, "EdDSA")] {
        scene.provider.order_once(Fault::OtherAlg(alg));
        let token = scene.id_token(&[]).await;
        assert_eq!(header_of(&token)["alg"], name);
        assert!(scene.verifies(&token).await, "{name}");
        let announced = scene.metadata().await["id_token_signing_alg_values_supported"].clone();
        assert!(announced.as_array().unwrap().contains(&name.into()), "{name}");
    }
    scene.provider.order_once(Fault::OtherAlg(OtherAlg::Hs256));
    let token = scene.id_token(&[]).await;
    assert!(verifies_under(&token, scene.secret.as_bytes()));
    scene.provider.order_once(Fault::Hs256ByPublicKey);
    let token = scene.id_token(&[]).await;
    assert_eq!(header_of(&token)["alg"], "HS256");
    assert!(!verifies_under(&token, scene.secret.as_bytes()));
    let known = scene.key_set().await;
    assert!(known.find(header_of(&token)["kid"].as_str().unwrap()).is_some());
}

fn verifies_under(token: &str, secret: &[u8]) -> bool {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_aud = false;
    decode::<Map<String, Value>>(token, &DecodingKey::from_secret(secret), &validation).is_ok()
}

#[tokio::test]
async fn a_key_is_named_wrongly_or_not_at_all_as_ordered() {
    let mut scene = Scene::new().await;
    scene.provider.order_once(Fault::UnknownKid);
    let token = scene.id_token(&[]).await;
    assert!(scene.key_set().await.find(header_of(&token)["kid"].as_str().unwrap()).is_none());
    for (fault, keys) in [(Fault::NoKid, 2), (Fault::NoKidOneKey, 1)] {
        scene.provider.order(fault);
        let token = scene.id_token(&[]).await;
        assert!(!header_of(&token).contains_key("kid"));
        let known = scene.key_set().await.keys;
        assert_eq!(known.len(), keys);
        let key = DecodingKey::from_jwk(&known[0]).unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_aud = false;
        assert!(decode::<Map<String, Value>>(&token, &key, &validation).is_ok());
        scene.provider.clear();
    }
}

#[tokio::test]
async fn the_token_endpoint_answers_as_ordered() {
    let mut scene = Scene::new().await;
    scene.provider.order_once(Fault::NoIdToken);
    assert!(!scene.tokens(&[]).await.contains_key("id_token"));
    scene.provider.order_once(Fault::NoAccessToken);
    assert!(!scene.tokens(&[]).await.contains_key("access_token"));
    scene.provider.order_once(Fault::WrongTokenType);
    assert_eq!(scene.tokens(&[]).await["token_type"], "mac");
    for (fault, status, error) in [
        (Fault::InvalidGrant, StatusCode::FORBIDDEN, "invalid_grant"),
        (Fault::InvalidClient, StatusCode::UNAUTHORIZED, "invalid_client"),
    ] {
        scene.provider.order_once(fault);
        let code = scene.code(&[]).await;
        let (got, body) = scene.token(&[("code", &code)]).await;
        assert_eq!((got, &body["error"]), (status, &error.into()));
    }
}

#[tokio::test]
async fn userinfo_answers_as_ordered() {
    let mut scene = Scene::new().await;
    let body = scene.tokens(&[]).await;
    scene.provider.order_once(Fault::WrongUserinfoSub);
    let (status, claims) = scene.userinfo(&body["access_token"]).await;
    assert_eq!((status, &claims["sub"]), (StatusCode::OK, &"auth0|somebody-else".into()));
    scene.provider.order_once(Fault::UserinfoFails);
    assert_eq!(scene.userinfo(&body["access_token"]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(scene.userinfo(&body["access_token"]).await.0, StatusCode::OK);
}
