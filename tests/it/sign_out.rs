//! Ending a session, here and at the provider.

use lychgate::demo::{Endpoint, Fault, Trouble};
use reqwest::StatusCode;

use crate::support::{self};

#[tokio::test]
async fn after_a_sign_out_the_old_cookie_opens_nothing() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let mut thief = browser.clone();
    let page = browser.visit("/acme/logout").await;
    assert_eq!((page.status, page.url.path()), (StatusCode::OK, "/acme/logged-out"));
    assert!(browser.cookies_named("lychgate-acme").is_empty(), "{:?}", browser.cookies);
    assert_eq!(thief.session("acme").await, None, "replayed");
    assert_ne!(thief.get("/acme/dashboard").await.status, StatusCode::OK);
    assert_eq!(world.metric(r#"lychgate_sign_outs_total{kind="provider",tenant="acme"}"#), 1);
}

#[tokio::test]
async fn the_provider_is_told_and_forgets_the_person_as_well() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let location = browser.get("/acme/logout").await.location();
    assert_eq!(location.path(), "/oidc/logout");
    let query: std::collections::HashMap<_, _> = location.query_pairs().into_owned().collect();
    assert!(query.contains_key("id_token_hint"));
    assert_eq!(query["post_logout_redirect_uri"], world.url("/acme/logged-out"));
    browser.visit(location.as_str()).await;
    world.provider().auto_approve(None);
    let page = browser.visit("/acme/login").await;
    assert!(page.body.contains(r#"id="password""#), "the provider asks again: {}", page.url);
}

#[tokio::test]
async fn without_end_session_auth0_is_asked_its_own_way() {
    let world = support::acme_with(|tenant| tenant.sign_out.federated = true).await;
    world.provider().order(Fault::NoEndSession);
    let mut browser = world.signed_in("acme").await;
    let location = browser.get("/acme/logout").await.location();
    assert_eq!(location.path(), "/v2/logout");
    let query: std::collections::HashMap<_, _> = location.query_pairs().into_owned().collect();
    assert_eq!(query["returnTo"], world.url("/acme/logged-out"));
    assert_eq!(query["client_id"], "acme-client");
    assert!(query.contains_key("federated"));
    assert_eq!(browser.visit(location.as_str()).await.url.path(), "/acme/logged-out");
}

#[tokio::test]
async fn the_refresh_token_is_revoked() {
    let world = support::acme_with(|tenant| tenant.sign_in.scopes.push("offline_access".to_owned())).await;
    let mut browser = world.signed_in("acme").await;
    browser.get("/acme/logout").await;
    assert_eq!(world.provider().count("/oauth/revoke"), 1);

    let mut browser = world.signed_in("acme").await;
    world.provider().order(Fault::At(Endpoint::Revoke, Trouble::Status500));
    assert!(browser.get("/acme/logout").await.status.is_redirection(), "a failure keeps nobody signed in");
    assert_eq!(world.provider().count("/oauth/revoke"), 2);
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn a_sign_out_without_a_session_works_and_clears_what_is_left() {
    let world = support::acme().await;
    let mut browser = world.browser();
    for _ in 0..3 {
        browser.get("/acme/login").await;
    }
    assert_eq!(browser.cookies_named("lychgate-acme.").len(), 3);
    let page = browser.get("/acme/logout").await;
    assert!(page.status.is_redirection());
    assert!(browser.cookies_named("lychgate-acme").is_empty());
}

#[tokio::test]
async fn a_foreign_site_cannot_sign_anybody_out() {
    let world = support::acme().await;
    let signed_in = world.signed_in("acme").await;
    let page = signed_in.clone().with("sec-fetch-site", "cross-site").get("/acme/logout").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains(r#"method="post""#), "{}", page.body);
    let posted = signed_in.clone().with("origin", "https://evil.example").post("/acme/logout", "").await;
    assert_eq!(posted.status, StatusCode::OK, "asked again");
    assert!(signed_in.clone().session("acme").await.is_some());
    let confirmed = signed_in.clone().with("sec-fetch-site", "same-origin").post("/acme/logout", "").await;
    assert_eq!(confirmed.status, StatusCode::SEE_OTHER);
    assert_eq!(signed_in.clone().session("acme").await, None);
}

#[tokio::test]
async fn a_sign_out_goes_on_while_the_provider_is_down() {
    let mut world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    world.providers.get_mut("acme").unwrap().stop().await;
    assert!(browser.get("/acme/logout").await.status.is_redirection());
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn the_landing_after_a_sign_out_is_the_tenants_choice() {
    let world = support::acme_with(|tenant| {
        tenant.sign_out.at_provider = false;
        tenant.sign_out.post_logout_redirect = Some("https://acme.example/bye".parse().unwrap());
    })
    .await;
    let mut browser = world.signed_in("acme").await;
    assert_eq!(browser.get("/acme/logout").await.header("location"), "https://acme.example/bye");
}
