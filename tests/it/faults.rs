//! Whatever a provider does wrong has a code of its own, and nobody is signed in.

use std::time::Duration;

use lychgate::config::SigningAlg;
use lychgate::demo::{Endpoint, Fault, OtherAlg, Trouble};

use crate::support::{self, Tenant, World};

/// Orders a fault, tries to sign in, and compares the code of the page and of the metric.
#[track_caller]
fn refused(world: &World, fault: Fault, code: &'static str) -> impl Future<Output = ()> {
    world.provider().clear();
    let said = format!("{fault:?}");
    world.provider().order(fault);
    let series = format!(r#"lychgate_sign_ins_total{{provider="auth0",result="{code}",tenant="acme"}}"#);
    let before = world.metric(&series);
    async move {
        let mut browser = world.browser();
        let page = browser.visit("/acme/login").await;
        assert_eq!(page.code(), code, "{said}: {} {}", page.status, page.body);
        assert!(page.status.is_client_error() || page.status.is_server_error(), "{said}: {}", page.status);
        assert_eq!(world.metric(&series), before + 1, "{said}: {series}");
        assert_eq!(browser.session("acme").await, None, "{said}");
        assert!(browser.cookies_named("lychgate-acme").is_empty(), "{said}: {:?}", browser.cookies);
    }
}

#[tokio::test]
async fn every_fault_of_an_id_token_has_its_own_code_and_no_session() {
    let world = support::acme().await;
    for (fault, code) in [
        (Fault::WrongIss, "id_token_iss"),
        (Fault::NoIss, "id_token_iss_missing"),
        (Fault::WrongAud, "id_token_aud"),
        (Fault::NoAud, "id_token_aud_missing"),
        (Fault::AudOthers, "id_token_azp"),
        (Fault::WrongAzp, "id_token_azp"),
        (Fault::WrongNonce, "id_token_nonce"),
        (Fault::NoNonce, "id_token_nonce_missing"),
        (Fault::NoSub, "id_token_sub_missing"),
        (Fault::NoIat, "id_token_iat_missing"),
        (Fault::OldIat, "id_token_iat"),
        (Fault::FutureIat, "id_token_iat"),
        (Fault::NoExp, "id_token_exp_missing"),
        (Fault::Expired, "id_token_expired"),
        (Fault::NotYetValid, "id_token_nbf"),
        (Fault::BadSignature, "id_token_signature"),
        (Fault::AlgNone, "id_token_alg"),
        (Fault::OtherAlg(OtherAlg::Es256), "id_token_alg"),
        (Fault::OtherAlg(OtherAlg::Ps256), "id_token_alg"),
        (Fault::OtherAlg(OtherAlg::EdDsa), "id_token_alg"),
        (Fault::OtherAlg(OtherAlg::Hs256), "id_token_alg"),
        (Fault::Hs256ByPublicKey, "id_token_alg"),
        (Fault::UnknownKid, "id_token_key_unknown"),
        (Fault::NoKid, "id_token_key_ambiguous"),
        (Fault::WrongAtHash, "id_token_at_hash"),
        (Fault::NoIdToken, "id_token_missing"),
        (Fault::NoAccessToken, "token_answer_malformed"),
        (Fault::WrongTokenType, "token_answer_malformed"),
        (Fault::SessionExpiryPast, "session_expiry_past"),
    ] {
        refused(&world, fault, code).await;
    }
    assert_eq!(world.metric(r#"lychgate_sessions_created_total{tenant="acme"}"#), 0);
}

#[tokio::test]
async fn what_was_asked_for_must_be_in_the_token() {
    let world = support::acme_with(|tenant| {
        tenant.sign_in.fixed.max_age = Some(60);
        tenant.sign_in.fixed.acr_values = Some("gold".to_owned());
        tenant.sign_in.fixed.organization = Some("org_one".to_owned());
    })
    .await;
    refused(&world, Fault::NoAuthTime, "id_token_auth_time").await;
    refused(&world, Fault::OldAuthTime, "id_token_auth_time").await;
    refused(&world, Fault::WrongAcr, "id_token_acr").await;
}

#[tokio::test]
async fn another_organization_is_refused() {
    let world = support::acme_with(|tenant| tenant.sign_in.organizations = vec!["org_one".to_owned()]).await;
    refused(&world, Fault::WrongOrg, "organization_refused").await;
    refused(&world, Fault::NoOrg, "organization_refused").await;
    world.provider().clear();
    world.signed_in("acme").await;
}

#[tokio::test]
async fn the_one_algorithm_that_the_tenant_chose_is_taken() {
    for (other, alg) in [
        (OtherAlg::Es256, SigningAlg::Es256),
        (OtherAlg::EdDsa, SigningAlg::EdDsa),
        (OtherAlg::Hs256, SigningAlg::Hs256),
    ] {
        let world = support::acme_with(|tenant| tenant.provider.id_token_alg = alg).await;
        world.provider().order(Fault::OtherAlg(other));
        world.signed_in("acme").await;
    }
}

#[tokio::test]
async fn what_providers_besides_auth0_say_is_no_fault() {
    let world = support::acme().await;
    for fault in [Fault::AtHash, Fault::ResponseIss, Fault::RequirePar] {
        world.provider().order(fault);
    }
    world.signed_in("acme").await;
    assert_eq!(world.provider().count("/oauth/par"), 1);
}

#[tokio::test]
async fn a_token_without_kid_is_taken_where_there_is_one_key() {
    let world = support::acme().await;
    world.provider().order(Fault::NoKidOneKey);
    world.signed_in("acme").await;
}

#[tokio::test]
async fn faults_of_the_authorization_response_have_their_codes() {
    let world = support::acme().await;
    for (fault, code) in [
        (Fault::AuthorizeError("access_denied".to_owned()), "access_denied"),
        (Fault::AuthorizeError("unauthorized".to_owned()), "user_blocked"),
        (Fault::AuthorizeError("login_required".to_owned()), "sign_in_required"),
        (Fault::AuthorizeError("invalid_request".to_owned()), "request_refused"),
        (Fault::AuthorizeError("unauthorized_client".to_owned()), "client_misconfigured"),
        (Fault::AuthorizeError("server_error".to_owned()), "provider_failed"),
        (Fault::AuthorizeError("temporarily_unavailable".to_owned()), "provider_unavailable"),
        (Fault::WrongResponseIss, "response_issuer"),
        (Fault::InvalidGrant, "code_refused"),
        (Fault::InvalidClient, "client_refused"),
    ] {
        refused(&world, fault, code).await;
    }
}

#[tokio::test]
async fn each_refusal_has_its_status_and_its_next_step() {
    let world = support::acme().await;
    for (error, status, next) in [
        ("access_denied", 403, "/acme/login?prompt"),
        ("unauthorized", 403, "/acme/logout\""),
        ("login_required", 401, "/acme/login\""),
        ("invalid_request", 400, "/acme/login\""),
        ("invalid_scope", 500, "/acme/\""),
        ("server_error", 503, "/acme/login\""),
        ("temporarily_unavailable", 503, "/acme/login\""),
    ] {
        world.provider().clear();
        world.provider().order(Fault::AuthorizeError(error.to_owned()));
        let page = world.browser().visit("/acme/login").await;
        assert_eq!(page.status.as_u16(), status, "{error}");
        assert_eq!(page.headers.contains_key("retry-after"), status == 503, "{error}");
        let first = page.body.split("class=\"button\" href=\"").nth(1).unwrap_or_default();
        assert!(first.starts_with(next), "{error}: {}", page.body);
    }
}

#[tokio::test]
async fn a_response_without_the_announced_issuer_is_refused() {
    let world = support::acme().await;
    refused(&world, Fault::MissingResponseIss, "response_issuer_missing").await;
}

#[tokio::test]
async fn a_changed_missing_or_doubled_state_is_believed_by_nobody() {
    let world = support::acme().await;
    for (fault, code) in [
        (Fault::StateTampered, "cookie_missing"),
        (Fault::StateMissing, "state_missing"),
        (Fault::StateDoubled, "parameter_doubled"),
        (Fault::CodeDoubled, "parameter_doubled"),
    ] {
        let said = format!("{fault:?}");
        world.provider().clear();
        world.provider().order(fault);
        let mut browser = world.browser();
        let page = browser.visit("/acme/login").await;
        assert_eq!(page.code(), code, "{said}: {}", page.body);
        assert_eq!(browser.session("acme").await, None, "{said}");
    }
    assert_eq!(world.provider().count("/oauth/token"), 0, "no code was redeemed");
}

const TROUBLES: [(Trouble, &str); 7] = [
    (Trouble::Cut, "provider_unreachable"),
    (Trouble::Slow(Duration::from_secs(30)), "provider_slow"),
    (Trouble::Status500, "provider_failed"),
    (Trouble::Status429, "provider_limited"),
    (Trouble::Html, "provider_answer_malformed"),
    (Trouble::Huge, "provider_answer_malformed"),
    (Trouble::Redirect, "provider_answer_malformed"),
];

/// A tenant that wants all that a provider has, and waits for it only as long as the trouble needs.
async fn troubled(trouble: Trouble) -> World {
    support::acme_with(|tenant| {
        if matches!(trouble, Trouble::Slow(_)) {
            tenant.provider.fetch.timeout = Duration::from_secs(1);
        }
        tenant.provider.par = true;
        tenant.provider.userinfo = true;
    })
    .await
}

#[tokio::test]
async fn troubles_of_the_token_endpoint_have_their_codes() {
    for (trouble, code) in TROUBLES {
        refused(&troubled(trouble).await, Fault::At(Endpoint::Token, trouble), code).await;
    }
}

#[tokio::test]
async fn troubles_of_the_key_set_have_their_codes() {
    for (trouble, code) in TROUBLES {
        refused(&troubled(trouble).await, Fault::At(Endpoint::Jwks, trouble), code).await;
    }
}

#[tokio::test]
async fn troubles_of_userinfo_leave_nobody_signed_in() {
    for (trouble, _) in TROUBLES {
        refused(&troubled(trouble).await, Fault::At(Endpoint::Userinfo, trouble), "userinfo_unavailable").await;
    }
}

#[tokio::test]
async fn a_sign_in_does_not_begin_where_discovery_or_the_push_fails() {
    let troubles = [Endpoint::Discovery, Endpoint::Par]
        .into_iter()
        .flat_map(|endpoint| TROUBLES.map(|(trouble, code)| (Fault::At(endpoint, trouble), code)));
    let others = [
        (Fault::WrongDiscoveryIssuer, "discovery_issuer"),
        (Fault::NoPar, "discovery_unsupported"),
        (Fault::InvalidClient, "client_refused"),
    ];
    for (fault, code) in troubles.chain(others) {
        let world = troubled(if let Fault::At(_, trouble) = fault { trouble } else { Trouble::Cut }).await;
        let said = format!("{fault:?}");
        world.provider().order(fault);
        let mut browser = world.browser();
        let page = browser.get("/acme/login").await;
        assert_eq!(page.code(), code, "{said}: {}", page.body);
        assert!(page.status.is_server_error(), "{said}: {}", page.status);
        assert!(browser.cookies.is_empty(), "{said}");
    }
}

#[tokio::test]
async fn a_gateway_starts_without_its_provider() {
    let mut acme = Tenant::start("acme").await;
    acme.provider.stop().await;
    let mut world = World::start(vec![acme]).await;
    let mut browser = world.browser();
    assert_eq!(browser.get("/readyz").await.status, 200);
    assert_eq!(browser.get("/acme").await.status, 200);
    let page = browser.get("/acme/login").await;
    assert_eq!((page.status.as_u16(), page.code()), (503, "provider_unreachable"));
    assert!(page.headers.contains_key("retry-after"));
    world.providers.get_mut("acme").unwrap().restart().await.unwrap();
    world.pass(60);
    world.signed_in("acme").await;
}

#[tokio::test]
async fn userinfo_must_be_about_the_same_person() {
    let world = support::acme_with(|tenant| tenant.provider.userinfo = true).await;
    refused(&world, Fault::WrongUserinfoSub, "userinfo_sub").await;
    refused(&world, Fault::OtherSub, "userinfo_sub").await;
    refused(&world, Fault::UserinfoFails, "userinfo_unavailable").await;
    world.provider().clear();
    world.signed_in("acme").await;
}

#[tokio::test]
async fn a_provider_that_went_down_is_not_needed_by_whoever_is_signed_in() {
    let mut world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    world.providers.get_mut("acme").unwrap().stop().await;
    assert!(browser.session("acme").await.is_some());
    assert_eq!(browser.get("/readyz").await.status, 200);
    // The discovery document is still known, so the browser is sent there; it is the code that cannot be redeemed.
    assert_eq!(world.browser().get("/acme/login").await.status, 302);
}

#[tokio::test]
async fn rotated_keys_are_fetched_when_a_token_needs_them() {
    let world = support::acme().await;
    world.signed_in("acme").await;
    let fetched = world.provider().count("/.well-known/jwks.json");
    world.pass(61);
    world.provider().rotate_keys();
    world.provider().rotate_keys();
    world.signed_in("acme").await;
    assert!(world.provider().count("/.well-known/jwks.json") > fetched);
}
