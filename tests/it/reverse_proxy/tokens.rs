//! A session's tokens on their way to an application: good ones, each got once, or none at all.

use base64::Engine as _;
use futures_util::future::join_all;
use lychgate::config::{
    Condition, Effect, IdentityValue, Pass, PathPattern, Rule, TenantSettings, Test, UpstreamSettings,
};
use lychgate::demo::{Endpoint, Fault, Trouble};
use lychgate::net::Networks;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

use super::toy::Toy;
use super::{Place, client, code, header};
use crate::support::{ADA, Tenant, World};

/// Seconds that an access token is good for.
const LIFE: i64 = 300;
const TWO: &str = "https://api.two";
const ROLES: &str = "https://acme.example/roles";

/// An application that is given the access token, which is renewed.
async fn place() -> Place {
    place_with(|_, _| {}).await
}

async fn place_with(change: impl FnOnce(&mut TenantSettings, &mut Vec<UpstreamSettings>)) -> Place {
    let toy = Toy::start().await;
    let mut tenant = Tenant::start_with("acme", |spec| {
        spec.access_token_life = LIFE;
        spec.users[0].claims.insert(ROLES.to_owned(), json!(["staff"]));
    })
    .await;
    tenant.settings.sign_in.scopes.push("offline_access".to_owned());
    tenant.settings.sign_in.fixed.audience = Some("https://api.one".to_owned());
    tenant.settings.tokens.audiences = vec![TWO.to_owned()];
    let mut upstreams = vec![UpstreamSettings { pass: Pass::AccessToken, ..toy.upstream() }];
    change(&mut tenant.settings, &mut upstreams);
    tenant.settings.upstreams = upstreams;
    let world = World::start(vec![tenant]).await;
    let ada = world.signed_in("acme").await;
    Place { world, toy, ada }
}

/// The token that the application is given.
async fn given(place: &Place, path: &str) -> String {
    given_by(&client(), place, path).await
}

async fn given_by(client: &reqwest::Client, place: &Place, path: &str) -> String {
    let seen = place.seen(place.fetch_by(client, Method::GET, path)).await;
    let [bearer] = header(&seen, "authorization")[..] else { panic!("{seen}") };
    bearer.strip_prefix("Bearer ").unwrap().to_owned()
}

fn claims_of(token: &str) -> Value {
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_requests_at_once_with_an_expired_token_make_one_refresh_and_all_pass_with_the_new_one() {
    let place = place().await;
    let old = given(&place, "/acme/app/x").await;
    place.world.pass(LIFE + 1);
    place.world.provider().order(Fault::At(Endpoint::Token, Trouble::Slow(Duration::from_secs(1))));
    // One for all: to make a hundred takes longer than the provider does.
    let client = client();
    let tokens = join_all((0..100).map(|_| given_by(&client, &place, "/acme/app/x"))).await;
    assert_eq!(place.world.provider().refreshes(), 1);
    assert_ne!(tokens[0], old);
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(place.toy.seen.count(), 101);
}

#[tokio::test]
async fn an_application_is_given_the_token_for_its_own_api() {
    let place = place_with(|_, upstreams| {
        let two = UpstreamSettings { path: "/two".to_owned(), audience: Some(TWO.to_owned()), ..upstreams[0].clone() };
        let id = UpstreamSettings { path: "/id".to_owned(), pass: Pass::IdToken, ..upstreams[0].clone() };
        let none = UpstreamSettings { path: "/none".to_owned(), pass: Pass::None, ..upstreams[0].clone() };
        upstreams.extend([two, id, none]);
    })
    .await;
    let (one, two) = (given(&place, "/acme/app/x").await, given(&place, "/acme/two/x").await);
    assert_eq!((&claims_of(&one)["aud"][0], &claims_of(&two)["aud"][0]), (&json!("https://api.one"), &json!(TWO)));
    assert_eq!(given(&place, "/acme/two/x").await, two, "kept");
    assert_eq!(given(&place, "/acme/app/x").await, one, "the other is still there");
    assert_eq!(place.world.provider().refreshes(), 1);
    assert_eq!(claims_of(&given(&place, "/acme/id/x").await)["aud"], "acme-client");
    let seen = place.seen(place.fetch(Method::GET, "/acme/none/x")).await;
    assert!(header(&seen, "authorization").is_empty(), "{seen}");
}

#[tokio::test]
async fn a_token_that_has_ended_is_never_handed_on() {
    let place = place_with(|tenant, upstreams| {
        tenant.sign_in.scopes.retain(|scope| scope != "offline_access");
        std::sync::Arc::make_mut(&mut tenant.identity.headers)
            .push(("x-token".parse().unwrap(), IdentityValue::AccessToken));
        upstreams.push(UpstreamSettings { path: "/none".to_owned(), pass: Pass::None, ..upstreams[0].clone() });
    })
    .await;
    let token = given(&place, "/acme/app/x").await;
    let seen = place.seen(place.fetch(Method::GET, "/acme/none/x")).await;
    assert_eq!(header(&seen, "x-token"), [token]);
    let before = place.toy.seen.count();
    place.world.pass(LIFE + 1);
    let answer = place.fetch(Method::GET, "/acme/app/x").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(code(answer).await, "token_unavailable");
    assert_eq!(place.toy.seen.count(), before);
    let seen = place.seen(place.fetch(Method::GET, "/acme/none/x")).await;
    assert!(header(&seen, "x-token").is_empty(), "{seen}");
}

#[tokio::test]
async fn a_token_is_given_while_it_is_good_and_asked_for_when_it_is_not() {
    let place = place().await;
    let old = given(&place, "/acme/app/x").await;
    place.world.pass(LIFE - 30);
    place.world.provider().order(Fault::At(Endpoint::Token, Trouble::Status500));
    assert_eq!(given(&place, "/acme/app/x").await, old, "a provider in trouble costs nobody a good token");
    place.world.gateway.renewals.settled().await;
    place.world.pass(31);
    let answer = place.fetch(Method::GET, "/acme/app/x").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(place.toy.seen.count(), 2);
    place.world.provider().clear();
    place.world.pass(31);
    assert_ne!(given(&place, "/acme/app/x").await, old);
}

#[tokio::test]
async fn who_is_refused_new_tokens_reaches_no_application_that_wants_one() {
    for ends in [false, true] {
        let mut place = place_with(|tenant, _| tenant.tokens.end_session_on_refusal = ends).await;
        place.world.pass(LIFE + 1);
        place.world.provider().order(Fault::InvalidGrant);
        let answer = place.fetch(Method::GET, "/acme/app/x").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(code(answer).await, if ends { "not_signed_in" } else { "refresh_refused" });
        let page = place.ada.get("/acme/app/x").await;
        match ends {
            true => assert!(page.header("location").starts_with("/acme/login?return_to="), "{}", page.body),
            false => assert_eq!((page.status, page.code()), (StatusCode::UNAUTHORIZED, "token_unavailable")),
        }
        assert_eq!(place.toy.seen.count(), 0);
    }
}

#[tokio::test]
async fn where_everybody_passes_nobody_is_kept_out_for_want_of_a_token() {
    let place = place_with(|tenant, _| {
        tenant.policy.rules = vec![Rule {
            name: None,
            paths: vec![PathPattern::parse("/app/public").unwrap()],
            methods: vec![],
            hosts: vec![],
            networks: Networks::default(),
            effect: Effect::Public,
        }]
        .into();
    })
    .await;
    given(&place, "/acme/app/public").await;
    place.world.pass(LIFE + 1);
    place.world.provider().order(Fault::At(Endpoint::Token, Trouble::Status500));
    let seen = place.seen(place.fetch(Method::GET, "/acme/app/public")).await;
    assert!(header(&seen, "authorization").is_empty() && header(&seen, "x-auth-request-user").is_empty(), "{seen}");
    assert_eq!(place.fetch(Method::GET, "/acme/app/x").send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn claims_that_come_with_new_tokens_are_judged_anew() {
    let place = place_with(|tenant, _| {
        let claims = vec![Condition { claim: vec![ROLES.to_owned()], test: Test::Contains("staff".into()) }];
        tenant.policy.rules = vec![Rule {
            name: None,
            paths: vec![PathPattern::parse("/app/**").unwrap()],
            methods: vec![],
            hosts: vec![],
            networks: Networks::default(),
            effect: Effect::Allow { claims, scopes: vec![] },
        }]
        .into();
    })
    .await;
    given(&place, "/acme/app/x").await;
    place.world.provider().change_claim(ADA, ROLES, json!(["guest"]));
    given(&place, "/acme/app/x").await;
    place.world.pass(LIFE + 1);
    let answer = place.fetch(Method::GET, "/acme/app/x").send().await.unwrap();
    assert_eq!(
        answer.status(),
        StatusCode::FORBIDDEN,
        "by the claims of the very renewal that this request waited for"
    );
    assert_eq!(place.toy.seen.count(), 2);
}
