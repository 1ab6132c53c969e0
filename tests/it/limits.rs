//! What may be done only so often, and what is turned away while there is too much to do.

use std::fs;

use lychgate::config::{AuditSettings, AuditSink, Limit, OnFull, Settings, Subjects, TenantSettings};
use lychgate::demo::{Endpoint, Fault, LogoutSubject, Trouble};
use lychgate::gateway::Work;
use reqwest::StatusCode;
use serde_json::json;

use crate::forward_auth::{Proxy, asks};
use crate::support::{self, Browser, Page, Tenant, World};

const API: &str = "https://api.acme.example";
const PAGE: (&str, &str) = ("GET", "http://127.0.0.1/things");

/// One tenant, where these may be done so often in a minute.
async fn acme(limits: &[(Limit, u32)]) -> World {
    support::acme_with(|tenant| set(tenant, limits)).await
}

fn set(tenant: &mut TenantSettings, limits: &[(Limit, u32)]) {
    tenant.api.audiences = vec![API.to_owned()];
    for (limit, most) in limits {
        tenant.limits = tenant.limits.clone().with(*limit, *most);
    }
}

/// A browser behind a proxy that we trust.
fn at(world: &World, address: &str) -> Browser {
    world.browser().with("x-forwarded-for", address)
}

#[track_caller]
fn assert_limited(page: &Page) {
    assert_eq!((page.status, page.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"), "{}", page.body);
    let wait: u64 = page.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(page.header("cache-control"), "no-store");
}

fn counted(world: &World, limit: &str) -> u64 {
    world.metric(&format!(r#"lychgate_rate_limited_requests_total{{limit="{limit}",tenant="acme"}}"#))
}

#[tokio::test]
async fn an_address_starts_so_many_sign_ins_and_must_wait_then() {
    let world = acme(&[(Limit::SignInsPerAddress, 2)]).await;
    let mut one = at(&world, "203.0.113.1");
    assert_eq!(one.get("/acme/login").await.status, StatusCode::FOUND);
    assert_eq!(one.get("/acme/signup").await.status, StatusCode::FOUND);
    let page = one.get("/acme/login").await;
    assert_limited(&page);
    assert!(page.headers.get("set-cookie").is_none() && page.body.contains("<html"), "{}", page.body);
    let script = at(&world, "203.0.113.1").with("accept", "application/json").get("/acme/login").await;
    assert_eq!(script.header("content-type"), "application/problem+json");
    assert_eq!((script.status.as_u16(), script.json()["code"].as_str()), (429, Some("rate_limited")));
    assert_eq!(counted(&world, "sign_ins_per_address"), 2);
    assert_eq!(at(&world, "203.0.113.2").get("/acme/login").await.status, StatusCode::FOUND, "somebody else");
    world.pass(60);
    assert_eq!(one.get("/acme/login").await.status, StatusCode::FOUND);
}

#[tokio::test]
async fn an_address_is_one_however_it_is_written_and_half_an_ipv6_address_is_one() {
    let world = acme(&[(Limit::SignInsPerAddress, 1)]).await;
    for (first, again) in
        [("203.0.113.1", "::ffff:203.0.113.1"), ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff")]
    {
        assert_eq!(at(&world, first).get("/acme/login").await.status, StatusCode::FOUND);
        assert_limited(&at(&world, again).get("/acme/login").await);
    }
    assert_eq!(at(&world, "2001:db8:1:3::1").get("/acme/login").await.status, StatusCode::FOUND);
}

#[tokio::test]
async fn nobody_chooses_the_address_that_is_counted_but_a_proxy_that_is_trusted() {
    let mut tenant = Tenant::start("acme").await;
    set(&mut tenant.settings, &[(Limit::SignInsPerAddress, 1)]);
    let world = World::start_with(vec![tenant], |settings| settings.trusted_proxies = [].into_iter().collect()).await;
    assert_eq!(at(&world, "203.0.113.1").get("/acme/login").await.status, StatusCode::FOUND);
    assert_limited(&at(&world, "203.0.113.2").get("/acme/login").await);
}

#[tokio::test]
async fn a_tenant_starts_so_many_sign_ins_and_an_address_over_its_own_limit_uses_up_none_of_them() {
    let (mut acme, globex) = (Tenant::start("acme").await, Tenant::start("globex").await);
    set(&mut acme.settings, &[(Limit::SignInsPerAddress, 1), (Limit::SignIns, 2)]);
    let world = World::start(vec![acme, globex]).await;
    assert_eq!(at(&world, "203.0.113.1").get("/acme/login").await.status, StatusCode::FOUND);
    for _ in 0..5 {
        assert_limited(&at(&world, "203.0.113.1").get("/acme/login").await);
    }
    assert_eq!(at(&world, "203.0.113.2").get("/acme/login").await.status, StatusCode::FOUND);
    assert_limited(&at(&world, "203.0.113.3").get("/acme/login").await);
    assert_eq!((counted(&world, "sign_ins_per_address"), counted(&world, "sign_ins")), (5, 1));
    assert_eq!(at(&world, "203.0.113.1").get("/globex/login").await.status, StatusCode::FOUND, "another tenant");
}

#[tokio::test]
async fn a_tenants_number_goes_before_that_of_all_and_none_is_any_number() {
    let (mut acme, globex) = (Tenant::start("acme").await, Tenant::start("globex").await);
    set(&mut acme.settings, &[(Limit::SignInsPerAddress, 0)]);
    let change = |settings: &mut Settings| settings.limits = settings.limits.clone().with(Limit::SignInsPerAddress, 1);
    let world = World::start_with(vec![acme, globex], change).await;
    let mut browser = world.browser();
    assert_eq!(browser.get("/globex/login").await.status, StatusCode::FOUND);
    assert_limited(&browser.get("/globex/login").await);
    for _ in 0..20 {
        assert_eq!(browser.get("/acme/login").await.status, StatusCode::FOUND);
    }
}

#[tokio::test]
async fn who_has_a_session_is_not_limited_whatever_the_limits() {
    let world = acme(&Limit::ALL.map(|limit| (limit, 1))).await;
    let mut ada = world.signed_in("acme").await;
    assert_limited(&world.browser().get("/acme/login").await);
    for _ in 0..20 {
        assert_eq!(ada.get("/acme/dashboard").await.status, StatusCode::OK);
        assert_eq!(asks(Proxy::Nginx, &ada, PAGE, &[]).await.status, StatusCode::OK);
    }
    assert_eq!(ada.get("/acme/logout").await.status, StatusCode::FOUND);
}

#[tokio::test]
async fn an_address_whose_callbacks_fail_must_wait_and_nobody_else() {
    let world = acme(&[(Limit::FailedCallbacksPerAddress, 2)]).await;
    let mut mallory = at(&world, "203.0.113.1");
    let good = mallory.until_callback("/acme/login").await;
    for _ in 0..2 {
        let page = mallory.get("/acme/callback?code=guessed&state=guessed").await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{}", page.body);
    }
    assert_limited(&mallory.get(good.as_str()).await);
    assert_eq!(counted(&world, "failed_callbacks_per_address"), 1);
    let mut ada = at(&world, "203.0.113.2");
    assert!(ada.visit("/acme/login").await.url.path().ends_with("/dashboard"));
    world.pass(60);
    assert_eq!(mallory.get(good.as_str()).await.status, StatusCode::SEE_OTHER, "the attempt was not used up");
}

#[tokio::test]
async fn callbacks_that_fail_everywhere_stop_those_of_a_tenant() {
    let world = acme(&[(Limit::FailedCallbacks, 2)]).await;
    for last in 1..=2 {
        let page = at(&world, &format!("203.0.113.{last}")).get("/acme/callback?code=guessed&state=guessed").await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
    }
    assert_limited(&at(&world, "203.0.113.3").get("/acme/callback?code=guessed&state=guessed").await);
    assert_eq!(counted(&world, "failed_callbacks"), 1);
}

#[tokio::test]
async fn sign_ins_that_succeed_are_no_failures_and_what_the_provider_does_neither() {
    let world = acme(&[(Limit::FailedCallbacksPerAddress, 1), (Limit::FailedCallbacks, 1)]).await;
    for _ in 0..5 {
        world.signed_in("acme").await;
    }
    world.provider().order(Fault::At(Endpoint::Token, Trouble::Status500));
    for _ in 0..3 {
        let mut browser = world.browser();
        let callback = browser.until_callback("/acme/login").await;
        let page = browser.get(callback.as_str()).await;
        assert!(page.status.is_server_error(), "{} {}", page.status, page.body);
    }
}

#[tokio::test]
async fn bearers_that_are_no_good_stop_unknown_ones_of_the_address_and_none_that_is_known() {
    let world = acme(&[(Limit::FailedBearersPerAddress, 2)]).await;
    let bearer = |claims| format!("Bearer {}", world.provider().mint("at+jwt", API, &claims));
    let (known, unknown) = (bearer(json!({"jti": "known"})), bearer(json!({"jti": "unknown"})));
    let nobody = world.browser();
    let brings = |proxy, token: &str| {
        let (token, nobody) = (token.to_owned(), &nobody);
        async move { asks(proxy, nobody, PAGE, &[("authorization", &token)]).await }
    };
    assert_eq!(brings(Proxy::Nginx, &known).await.status, StatusCode::OK);
    for proxy in [Proxy::Nginx, Proxy::Traefik] {
        assert_eq!(brings(proxy, "Bearer a.b.c").await.status, StatusCode::UNAUTHORIZED);
    }
    let page = brings(Proxy::Nginx, &unknown).await;
    assert_eq!((page.status, page.json()["code"].as_str()), (StatusCode::UNAUTHORIZED, Some("bearer_limited")));
    assert!(page.header("www-authenticate").starts_with("Bearer ") && !page.header("retry-after").is_empty());
    assert!(page.header("location").is_empty());
    for proxy in [Proxy::Traefik, Proxy::Caddy, Proxy::Envoy] {
        let page = brings(proxy, &unknown).await;
        let told = (page.status, page.json()["code"].as_str().map(str::to_owned));
        assert_eq!(told, (StatusCode::TOO_MANY_REQUESTS, Some("rate_limited".to_owned())), "{proxy:?}");
        assert!(!page.header("retry-after").is_empty());
    }
    assert_eq!(counted(&world, "failed_bearers_per_address"), 4);
    assert_eq!(brings(Proxy::Nginx, &known).await.status, StatusCode::OK, "it was good before");
    world.pass(60);
    assert_eq!(brings(Proxy::Nginx, &unknown).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_address_sends_so_many_logout_requests() {
    let world = acme(&[(Limit::LogoutRequestsPerAddress, 2)]).await;
    let subject = LogoutSubject { sid: Some("nobodys".to_owned()), sub: None };
    let token = world.provider().logout_token("acme-client", &subject);
    let post = |token: &str| format!("logout_token={token}");
    let path = "/acme/backchannel-logout";
    assert_eq!(at(&world, "203.0.113.1").post(path, &post("a.b.c")).await.status, StatusCode::BAD_REQUEST);
    let frame = format!("/acme/frontchannel-logout?iss={}&sid=nobodys", world.provider().issuer());
    assert_eq!(at(&world, "203.0.113.1").get(&frame).await.status, StatusCode::OK);
    assert_limited(&at(&world, "203.0.113.1").post(path, &post(&token)).await);
    assert_limited(&at(&world, "203.0.113.1").get(&frame).await);
    assert_eq!(at(&world, "203.0.113.2").post(path, &post(&token)).await.status, StatusCode::OK);
    assert_eq!(counted(&world, "logout_requests_per_address"), 2);
}

#[tokio::test]
async fn the_audit_log_is_told_of_a_flood_a_few_times() {
    let log = tempfile::tempdir().unwrap();
    let file = log.path().join("audit.log");
    let mut tenant = Tenant::start("acme").await;
    set(&mut tenant.settings, &[(Limit::SignInsPerAddress, 1)]);
    let sink = AuditSink::File(file.clone());
    let audit = AuditSettings { sink, on_full: OnFull::Block, subjects: Subjects::Raw };
    let world = World::start_with(vec![tenant], |settings| settings.audit = audit).await;
    let mut browser = world.browser();
    for _ in 0..40 {
        browser.get("/acme/login").await;
    }
    assert_eq!(counted(&world, "sign_ins_per_address"), 39);
    let text = fs::read_to_string(file).unwrap();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("\"rate_limited\"")).collect();
    // One more each ten seconds that a busy machine takes.
    assert!((6..=12).contains(&told.len()), "{told:?}");
    assert!(told[0].contains("\"sign_ins_per_address\"") && told[0].contains("127.0.0.1"), "{}", told[0]);
}

#[tokio::test]
async fn while_there_is_too_much_to_do_new_work_is_turned_away_and_who_is_known_passes() {
    let mut tenant = Tenant::start("acme").await;
    set(&mut tenant.settings, &[]);
    let mut world = World::start_with(vec![tenant], |settings| settings.server.max_new_work = 1).await;
    let forgotten = world.signed_in("acme").await;
    // After this start nobody is in memory.
    world.restart_with(|_| {}).await;
    let mut known = world.signed_in("acme").await;
    let callback = world.browser().until_callback("/acme/login").await;
    let gateway = std::sync::Arc::clone(&world.gateway);
    let busy = gateway.begin(Work::SignIn).await.unwrap();

    let page = world.browser().get("/acme/login").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{}", page.body);
    assert!(page.body.starts_with("There is more to do here than can be done"), "{}", page.body);
    assert!(!page.header("retry-after").is_empty() && page.header("cache-control") == "no-store");
    let script = world.browser().with("accept", "application/json").get(callback.as_str()).await;
    assert_eq!((script.status.as_u16(), script.json()["code"].as_str()), (503, Some("overloaded")));
    let page = world.browser().post("/acme/backchannel-logout", "logout_token=x").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    let bearer = format!("Bearer {}", world.provider().mint("at+jwt", API, &json!({})));
    for proxy in crate::forward_auth::PROXIES {
        let page = asks(proxy, &forgotten, PAGE, &[("accept", "text/html")]).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{proxy:?}: a sign-in would not help");
        let page = asks(proxy, &world.browser(), PAGE, &[("authorization", &bearer)]).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{proxy:?}");
        assert_eq!(asks(proxy, &known, PAGE, &[]).await.status, StatusCode::OK, "{proxy:?}");
    }
    assert_eq!(known.get("/acme/dashboard").await.status, StatusCode::OK);
    for (work, count) in [("sign_in", 1), ("callback", 1), ("logout_request", 1), ("session", 4), ("bearer", 4)] {
        assert_eq!(world.metric(&format!(r#"lychgate_requests_shed_total{{work="{work}"}}"#)), count, "{work}");
    }

    drop(busy);
    assert_eq!(world.browser().get("/acme/login").await.status, StatusCode::FOUND);
    assert_eq!(asks(Proxy::Nginx, &forgotten, PAGE, &[]).await.status, StatusCode::OK);
}
