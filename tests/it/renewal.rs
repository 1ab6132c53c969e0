//! Tokens are renewed while somebody uses them, and nobody loses any.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lychgate::config::{Condition, IdentityValue, TenantSettings, Test};
use lychgate::demo::{Endpoint, Fault, Trouble};
use lychgate::flow::renewal;
use lychgate::secret::ExposeSecret as _;
use lychgate::session::{EndReason, Session};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADA, Browser, Page, Tenant, World};

/// Seconds that an access token is good for.
const LIFE: i64 = 300;
const API_TWO: &str = "https://api.two";
const ROLES: &str = "https://acme.example/roles";

/// A tenant with refresh tokens, which lets scripts have access tokens.
async fn acme() -> World {
    acme_with(|_| {}).await
}

async fn acme_with(change: impl FnOnce(&mut TenantSettings)) -> World {
    let mut tenant = Tenant::start_with("acme", |spec| spec.access_token_life = LIFE).await;
    tenant.settings.sign_in.scopes.push("offline_access".to_owned());
    tenant.settings.tokens.endpoint = true;
    tenant.settings.tokens.audiences = vec![API_TWO.to_owned()];
    change(&mut tenant.settings);
    World::start(vec![tenant]).await
}

/// A browser in which Ada has signed in, as a script on our own origin uses it.
async fn script(world: &World) -> Browser {
    let browser = world.signed_in("acme").await;
    browser.with("accept", "application/json").with("sec-fetch-mode", "cors").with("sec-fetch-site", "same-origin")
}

async fn token(browser: &mut Browser) -> String {
    let page = browser.get("/acme/token").await;
    assert_eq!(page.status, 200, "{}", page.body);
    page.json()["access_token"].as_str().unwrap().to_owned()
}

async fn refresh(browser: &mut Browser) -> Page {
    browser.send(Method::POST, "/acme/session/refresh", None).await
}

async fn session(world: &World, browser: &Browser) -> Option<Arc<Session>> {
    let (_, cookie) = browser.cookies_named("lychgate-acme").into_iter().find(|(name, _)| name == "lychgate-acme")?;
    let tenant = world.gateway.tenants.get("acme").unwrap();
    let found = world.gateway.sessions.find(tenant.id(), &tenant.settings.session, &cookie).await.unwrap();
    found.map(|found| found.session)
}

/// Lets the renewals that began come to their end.
async fn settle(world: &World) {
    world.gateway.renewals.settled().await;
}

async fn until(true_at_last: impl Fn() -> bool) {
    let wait = async {
        while !true_at_last() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("never came");
}

fn slow(world: &World) {
    world.provider().order(Fault::At(Endpoint::Token, Trouble::Slow(Duration::from_secs(1))));
}

fn refreshes(world: &World, result: &str) -> u64 {
    world.metric(&format!(r#"lychgate_token_refreshes_total{{result="{result}",tenant="acme"}}"#))
}

fn claims_of(token: &str) -> Value {
    use base64::Engine as _;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_requests_at_once_with_an_expired_token_make_one_refresh_and_all_get_the_new_token() {
    let world = acme().await;
    let mut browser = script(&world).await;
    let old = token(&mut browser).await;
    world.pass(LIFE + 1);
    slow(&world);
    let tokens = join_all((0..100).map(|_| {
        let mut browser = browser.clone();
        async move { token(&mut browser).await }
    }))
    .await;
    assert_eq!(world.provider().refreshes(), 1);
    assert_ne!(tokens[0], old);
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!((refreshes(&world, "ok"), world.provider().most_refreshes_at_once()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_callers_who_hold_the_session_from_before_share_one_refresh_as_well() {
    let world = acme().await;
    let browser = script(&world).await;
    let before = session(&world, &browser).await.unwrap();
    world.pass(LIFE + 1);
    slow(&world);
    let tenant = world.gateway.tenants.get("acme").unwrap();
    let ask = || async { renewal::access_token(&world.gateway, tenant, &before, None).await.unwrap() };
    let tokens = join_all((0..100).map(|_| ask())).await;
    // One who comes later still holds a refresh token that is used up; it must not be used again.
    let late = ask().await;
    assert_eq!(world.provider().refreshes(), 1);
    assert!(tokens.iter().all(|token| token.value.expose_secret() == late.value.expose_secret()));
}

#[tokio::test]
async fn rotated_refresh_tokens_last_through_many_renewals_and_restarts() {
    let mut world = acme().await;
    let mut browser = script(&world).await;
    let mut last = token(&mut browser).await;
    for round in 0..6 {
        world.pass(LIFE + 1);
        let next = token(&mut browser).await;
        assert_ne!(next, last, "round {round}");
        last = next;
        if round % 2 == 0 {
            world.restart_with(|_| {}).await;
            assert_eq!(token(&mut browser).await, last, "a restart keeps renewed tokens");
        }
    }
    assert_eq!(world.provider().refreshes(), 6);
    assert_eq!(refreshes(&world, "refresh_refused"), 0);
}

#[tokio::test]
async fn a_provider_that_does_not_rotate_keeps_its_refresh_token() {
    let world = acme().await;
    let mut browser = script(&world).await;
    world.provider().order(Fault::NoRefreshToken);
    for _ in 0..3 {
        world.pass(LIFE + 1);
        token(&mut browser).await;
    }
    assert_eq!(refreshes(&world, "ok"), 3);
}

#[tokio::test]
async fn a_refresh_without_an_id_token_keeps_the_old_one_and_its_claims() {
    let world = acme().await;
    let mut browser = script(&world).await;
    let before = session(&world, &browser).await.unwrap();
    let id_token = world.gateway.sessions.opened(&before).await.unwrap().unwrap().tokens.id_token.clone();
    world.provider().order(Fault::NoIdToken);
    world.pass(LIFE + 1);
    token(&mut browser).await;
    let after = session(&world, &browser).await.unwrap();
    let opened = async |session| world.gateway.sessions.opened(session).await.unwrap().unwrap();
    assert_eq!(opened(&after).await.tokens.id_token.expose_secret(), id_token.expose_secret());
    assert_eq!(after.claims().to_map(), before.claims().to_map());
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_lose_the_rotated_token() {
    let world = acme().await;
    let mut browser = script(&world).await;
    let old = token(&mut browser).await;
    world.pass(LIFE + 1);
    slow(&world);
    let mut hasty = browser.clone();
    let call = tokio::spawn(async move { hasty.get("/acme/token").await });
    until(|| world.provider().refreshes_now() == 1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    settle(&world).await;
    world.provider().clear();
    let new = token(&mut browser).await;
    assert_ne!(new, old);
    assert_eq!(world.provider().refreshes(), 1);
    world.pass(LIFE + 1);
    assert_ne!(token(&mut browser).await, new, "the refresh token is good");
}

#[tokio::test]
async fn a_token_that_ends_soon_is_handed_out_and_renewed_meanwhile() {
    let world = acme().await;
    let mut browser = script(&world).await;
    let old = token(&mut browser).await;
    world.pass(LIFE - 70);
    token(&mut browser).await;
    settle(&world).await;
    assert_eq!(world.provider().refreshes(), 0, "more than a minute is left");
    world.pass(20);
    slow(&world);
    assert_eq!(token(&mut browser).await, old);
    assert_eq!(token(&mut browser).await, old);
    settle(&world).await;
    assert_ne!(token(&mut browser).await, old);
    assert_eq!(world.provider().refreshes(), 1);
}

#[tokio::test]
async fn renewing_ahead_waits_for_nothing() {
    let world = acme().await;
    let browser = script(&world).await;
    let tenant = world.gateway.tenants.get("acme").unwrap();
    let before = session(&world, &browser).await.unwrap();
    renewal::renew_ahead(&world.gateway, tenant, &before);
    settle(&world).await;
    assert_eq!(world.provider().refreshes(), 0);
    world.pass(LIFE - 30);
    for _ in 0..3 {
        renewal::renew_ahead(&world.gateway, tenant, &before);
    }
    settle(&world).await;
    assert_eq!(world.provider().refreshes(), 1);
    let after = session(&world, &browser).await.unwrap();
    assert!(after.access_token.as_ref().unwrap().issued_at > before.access_token.as_ref().unwrap().issued_at);
}

#[tokio::test]
async fn a_proxy_that_asks_waits_for_no_provider_and_needs_no_new_cookie() {
    let world = acme_with(|tenant| {
        let token = Arc::make_mut(&mut tenant.identity.headers)
            .iter_mut()
            .find(|(name, _)| *name == "x-auth-request-access-token");
        token.unwrap().1 = IdentityValue::AccessToken;
    })
    .await;
    let browser = script(&world).await;
    let ask = async || {
        let mut asking = browser.clone().with("x-original-url", &world.url("/x")).with("x-original-method", "GET");
        asking.headers.push(("x-forwarded-for", "203.0.113.7".to_owned()));
        let page = asking.get("/acme/auth").await;
        assert_eq!(page.status, 200, "{}", page.body);
        assert!(!page.headers.contains_key("set-cookie"));
        page.header("x-auth-request-access-token").to_owned()
    };
    let old = ask().await;
    world.pass(LIFE - 30);
    slow(&world);
    assert_eq!(ask().await, old, "it is still good");
    settle(&world).await;
    let new = ask().await;
    assert!(new != old && world.provider().refreshes() == 1);
    world.pass(LIFE + 1);
    assert_eq!(ask().await, "", "what has ended is not handed out");
    settle(&world).await;
    assert_ne!(ask().await, new);
    assert_eq!(world.provider().refreshes(), 2);
}

#[tokio::test]
async fn a_provider_in_trouble_costs_nobody_a_good_token_and_is_left_alone_for_a_while() {
    for trouble in [Trouble::Status500, Trouble::Cut, Trouble::Html, Trouble::Status429] {
        let world = acme().await;
        let mut browser = script(&world).await;
        let old = token(&mut browser).await;
        world.pass(LIFE - 30);
        world.provider().order(Fault::At(Endpoint::Token, trouble));
        for _ in 0..3 {
            assert_eq!(token(&mut browser).await, old, "{trouble:?}");
            settle(&world).await;
        }
        assert_eq!(world.provider().refreshes(), 1, "{trouble:?}: no storm");
        world.pass(31);
        let page = browser.get("/acme/token").await;
        assert_eq!(page.status.as_u16() / 100, 5, "{trouble:?}: {}", page.body);
        assert!(browser.session("acme").await.is_some(), "{trouble:?}");
        world.provider().clear();
        world.pass(31);
        assert_ne!(token(&mut browser).await, old, "{trouble:?}");
    }
}

#[tokio::test]
async fn a_slow_provider_is_waited_for_only_so_long() {
    let world = acme_with(|tenant| tenant.provider.fetch.timeout = Duration::from_secs(1)).await;
    let mut browser = script(&world).await;
    world.pass(LIFE + 1);
    world.provider().order(Fault::At(Endpoint::Token, Trouble::Slow(Duration::from_secs(30))));
    let page = browser.get("/acme/token").await;
    assert_eq!((page.status.as_u16(), &page.json()["code"]), (503, &json!("provider_slow")));
    assert!(page.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_refused_refresh_token_ends_the_tokens_and_not_the_session() {
    let world = acme().await;
    let mut browser = script(&world).await;
    world.pass(LIFE + 1);
    world.provider().order(Fault::InvalidGrant);
    let page = browser.get("/acme/token").await;
    assert_eq!((page.status.as_u16(), &page.json()["code"]), (401, &json!("refresh_refused")));
    world.provider().clear();
    for _ in 0..2 {
        let page = browser.get("/acme/token").await;
        assert_eq!((page.status.as_u16(), &page.json()["code"]), (401, &json!("token_unavailable")));
    }
    let state = browser.session("acme").await.unwrap();
    assert_eq!((&state["access_token_expires_at"], &state["refresh_after"]), (&Value::Null, &Value::Null));
    assert_eq!((world.provider().refreshes(), refreshes(&world, "refresh_refused")), (1, 1));
}

#[tokio::test]
async fn a_refused_refresh_token_ends_the_session_where_the_tenant_says_so() {
    let world = acme_with(|tenant| tenant.tokens.end_session_on_refusal = true).await;
    let mut browser = script(&world).await;
    world.pass(LIFE + 1);
    world.provider().order(Fault::InvalidGrant);
    let page = browser.get("/acme/token").await;
    assert_eq!((page.status.as_u16(), &page.json()["code"]), (401, &json!("refresh_refused")));
    assert_eq!(browser.session("acme").await, None);
    assert_eq!(world.metric(r#"lychgate_sessions_ended_total{reason="refused",tenant="acme"}"#), 1);
}

#[tokio::test]
async fn an_id_token_that_does_not_go_on_from_the_last_one_brings_nothing() {
    for (fault, code) in [
        (Fault::WrongIss, "id_token_iss"),
        (Fault::OtherSub, "id_token_changed"),
        (Fault::WrongNonce, "id_token_changed"),
        (Fault::WrongAud, "id_token_aud"),
        (Fault::AudOthers, "id_token_azp"),
        (Fault::OldIat, "id_token_iat"),
        (Fault::Expired, "id_token_expired"),
        (Fault::WrongAtHash, "id_token_at_hash"),
        (Fault::BadSignature, "id_token_signature"),
        (Fault::AlgNone, "id_token_alg"),
        (Fault::NoAccessToken, "token_answer_malformed"),
    ] {
        let world = acme().await;
        let mut browser = script(&world).await;
        let before = session(&world, &browser).await.unwrap();
        world.pass(LIFE + 1);
        let said = format!("{fault:?}");
        world.provider().order(fault);
        let page = browser.get("/acme/token").await;
        assert_eq!((page.status.as_u16(), &page.json()["code"]), (502, &json!(code)), "{said}");
        let after = session(&world, &browser).await.unwrap();
        assert!(Arc::ptr_eq(&before, &after), "{said}");
        let counted = format!(r#"lychgate_token_validations_total{{kind="refresh",result="{code}",tenant="acme"}}"#);
        assert_eq!(world.metric(&counted), 1, "{said}");
    }
}

#[tokio::test]
async fn another_time_of_authentication_is_another_authentication() {
    let world = acme_with(|tenant| tenant.sign_in.fixed.max_age = Some(3600)).await;
    let mut browser = script(&world).await;
    world.pass(LIFE + 1);
    world.provider().order_once(Fault::OldAuthTime);
    assert_eq!(browser.get("/acme/token").await.json()["code"], "id_token_changed");
}

#[tokio::test]
async fn a_provider_that_wants_no_session_any_more_ends_it() {
    let world = acme().await;
    let mut browser = script(&world).await;
    world.pass(LIFE + 1);
    world.provider().order(Fault::SessionExpiryPast);
    assert_eq!(browser.get("/acme/token").await.json()["code"], "session_expiry_past");
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn a_session_that_ends_while_it_is_renewed_stays_ended_and_its_new_token_is_revoked() {
    let world = acme().await;
    // By a sign-out, which revokes the old refresh token before it can be used, and from elsewhere.
    for (sign_out, revoked) in [(true, 1), (false, 2)] {
        let mut browser = script(&world).await;
        world.pass(LIFE + 1);
        slow(&world);
        let mut asking = browser.clone();
        let call = tokio::spawn(async move { asking.get("/acme/token").await });
        until(|| world.provider().refreshes_now() == 1).await;
        if sign_out {
            assert_eq!(browser.clone().with("sec-fetch-site", "none").get("/acme/logout").await.status, 302);
        } else {
            let session = session(&world, &browser).await.unwrap();
            world.gateway.sessions.end(&session, EndReason::Revoked).await.unwrap();
        }
        let page = call.await.unwrap();
        assert_eq!((page.status.as_u16(), &page.json()["code"]), (401, &json!("not_signed_in")));
        assert_eq!(browser.session("acme").await, None);
        assert_eq!(world.provider().count("/oauth/revoke"), revoked);
        world.provider().clear();
    }
}

#[tokio::test]
async fn new_tokens_that_cannot_be_stored_are_not_given_out_and_not_lost() {
    let world = acme().await;
    let mut browser = script(&world).await;
    let old = token(&mut browser).await;
    world.pass(LIFE + 1);
    let other = rusqlite::Connection::open(world.data_dir().join("lychgate.db")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let page = browser.get("/acme/token").await;
    assert_eq!((page.status.as_u16(), &page.json()["code"]), (503, &json!("store_unavailable")));
    other.execute_batch("ROLLBACK").unwrap();
    world.pass(11);
    assert_ne!(token(&mut browser).await, old);
    assert_eq!(world.provider().refreshes(), 1, "the provider was not asked again");
    world.pass(LIFE + 1);
    token(&mut browser).await;
}

#[tokio::test]
async fn claims_that_a_refresh_changes_show_at_once() {
    let world = acme().await;
    let mut browser = script(&world).await;
    let before = browser.session("acme").await.unwrap();
    world.provider().change_claim(ADA, ROLES, json!(["admin"]));
    world.pass(61);
    let page = refresh(&mut browser).await;
    assert_eq!(page.status, 200, "{}", page.body);
    for state in [page.json(), browser.session("acme").await.unwrap()] {
        assert_eq!(state["user"][ROLES], json!(["admin"]));
        assert_eq!(state["user"]["sid"], before["user"]["sid"], "what only a sign-in says stays");
        assert_eq!(state["issued_at"], before["issued_at"]);
        assert_eq!(state["expires_at"], before["expires_at"]);
    }
}

#[tokio::test]
async fn whoever_needs_a_good_token_gets_the_session_with_the_claims_that_came_with_it() {
    let world = acme().await;
    let browser = script(&world).await;
    let before = session(&world, &browser).await.unwrap();
    let tenant = world.gateway.tenants.get("acme").unwrap();
    let fresh = async || renewal::fresh(&world.gateway, tenant, &before, None).await.unwrap();
    assert!(Arc::ptr_eq(&fresh().await.session, &before));
    world.provider().change_claim(ADA, ROLES, json!(["admin"]));
    world.pass(LIFE + 1);
    assert_eq!(fresh().await.session.claims().to_map()[ROLES], json!(["admin"]));
}

#[tokio::test]
async fn claims_of_userinfo_are_renewed_and_stay_where_it_fails() {
    let world = acme_with(|tenant| tenant.provider.userinfo = true).await;
    let mut browser = script(&world).await;
    world.provider().change_claim(ADA, ROLES, json!(["admin"]));
    world.provider().order(Fault::NoIdToken);
    world.pass(61);
    assert_eq!(refresh(&mut browser).await.json()["user"][ROLES], json!(["admin"]));
    world.provider().order(Fault::UserinfoFails);
    world.pass(61);
    let page = refresh(&mut browser).await;
    assert_eq!((page.status.as_u16(), &page.json()["user"][ROLES]), (200, &json!(["admin"])));
    world.provider().clear();
    world.provider().order(Fault::WrongUserinfoSub);
    world.pass(61);
    assert_eq!(refresh(&mut browser).await.json()["code"], "userinfo_sub");
}

#[tokio::test]
async fn a_refresh_on_demand_has_a_cooldown() {
    let world = acme().await;
    let mut browser = script(&world).await;
    for (wait, refreshed) in [(0, 0), (61, 1), (5, 1), (56, 2)] {
        world.pass(wait);
        let page = refresh(&mut browser).await;
        assert_eq!((page.status.as_u16(), world.provider().refreshes()), (200, refreshed), "{}", page.body);
    }
}

#[tokio::test]
async fn a_session_tells_scripts_how_long_it_lasts_and_never_a_token() {
    let world = acme().await;
    let mut browser = script(&world).await;
    let state = browser.session("acme").await.unwrap();
    for (name, most) in [("expires_in", 7 * 86_400), ("idle_expires_in", 86_400), ("access_token_expires_in", LIFE)] {
        let left = state[name].as_i64().unwrap();
        assert!((most - 10..=most).contains(&left), "{name}: {left}");
    }
    for name in ["expires_at", "idle_expires_at", "access_token_issued_at", "access_token_expires_at", "refresh_after"]
    {
        assert!(state[name].as_str().unwrap().ends_with('Z'), "{name}: {state}");
    }
    let token = token(&mut browser).await;
    let session = session(&world, &browser).await.unwrap();
    let tokens = world.gateway.sessions.opened(&session).await.unwrap().unwrap().tokens;
    for secret in [&*token, tokens.id_token.expose_secret(), tokens.refresh_token.as_ref().unwrap().expose_secret()] {
        assert!(!state.to_string().contains(secret));
    }
}

#[tokio::test]
async fn further_audiences_have_tokens_of_their_own() {
    let world = acme_with(|tenant| tenant.sign_in.fixed.audience = Some("https://api.one".to_owned())).await;
    let mut browser = script(&world).await;
    let one = token(&mut browser).await;
    let two = format!("/acme/token?audience={API_TWO}");
    let page = browser.get(&two).await;
    assert_eq!(page.status, 200, "{}", page.body);
    let for_two = page.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(claims_of(&one)["aud"][0], "https://api.one");
    assert_eq!(claims_of(&for_two)["aud"][0], API_TWO);
    let last = world.provider().requests().into_iter().rfind(|request| request.path == "/oauth/token").unwrap();
    assert_eq!((last.param("audience"), last.param("resource")), (Some(API_TWO), None));
    assert_eq!(browser.get(&two).await.json()["access_token"], *for_two, "kept");
    assert_eq!(token(&mut browser).await, one, "the first is still there");
    assert_eq!(browser.get("/acme/token?audience=https://api.one").await.json()["access_token"], *one);
    assert_eq!(world.provider().refreshes(), 1);
    let page = browser.get("/acme/token?audience=https://api.three").await;
    assert_eq!((page.status.as_u16(), &page.json()["code"]), (400, &json!("audience_unknown")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn renewals_for_two_audiences_take_turns() {
    let world = acme().await;
    let browser = script(&world).await;
    world.pass(LIFE + 1);
    slow(&world);
    join_all((0..40).map(|i| {
        let mut browser = browser.clone();
        let path = if i % 2 == 0 { "/acme/token".to_owned() } else { format!("/acme/token?audience={API_TWO}") };
        async move {
            let page = browser.get(&path).await;
            assert_eq!(page.status, 200, "{}", page.body);
        }
    }))
    .await;
    assert_eq!((world.provider().refreshes(), world.provider().most_refreshes_at_once()), (2, 1));
}

#[tokio::test]
async fn other_providers_are_asked_for_a_resource() {
    let world = acme_with(|tenant| tenant.provider.auth0 = false).await;
    let mut browser = script(&world).await;
    assert_eq!(browser.get(&format!("/acme/token?audience={API_TWO}")).await.status, 200);
    let last = world.provider().requests().into_iter().rfind(|request| request.path == "/oauth/token").unwrap();
    assert_eq!((last.param("audience"), last.param("resource")), (None, Some(API_TWO)));
}

#[tokio::test]
async fn tokens_are_for_scripts_of_our_own_origin() {
    let world = acme().await;
    let mut browser = script(&world).await;
    world.pass(61);
    let own = world.url("");
    for (headers, allowed) in [
        (&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")][..], true),
        (&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "same-origin"), ("origin", &own)], true),
        (&[("x-requested-with", "fetch")], true),
        (&[("origin", &own)], true),
        (&[], false),
        (&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "navigate")], false),
        (&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")], false),
        (&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "no-cors")], false),
        (&[("sec-fetch-site", "same-origin")], false),
        (&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")], false),
        (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors"), ("x-requested-with", "fetch")], false),
        (&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"), ("origin", "https://evil.example")], false),
        (&[("origin", "https://evil.example"), ("x-requested-with", "fetch")], false),
        (&[("origin", "null"), ("x-requested-with", "fetch")], false),
    ] {
        browser.headers = vec![("accept", "application/json".to_owned())];
        browser.headers.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        for page in [browser.get("/acme/token").await, refresh(&mut browser).await] {
            assert_eq!(page.status, if allowed { 200 } else { 403 }, "{headers:?}: {}", page.body);
            assert_eq!(page.header("cache-control"), "no-store", "{headers:?}");
            assert!(!page.headers.contains_key("access-control-allow-origin"));
            if !allowed {
                assert_eq!(page.json()["code"], "cross_site_refused", "{headers:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_token_route_is_there_only_where_the_tenant_turns_it_on() {
    let world = acme_with(|tenant| tenant.tokens.endpoint = false).await;
    let mut browser = script(&world).await;
    assert_eq!(browser.get("/acme/token").await.status, 404);
    assert_eq!(browser.post("/acme/token", "").await.status, 404);
    let world = acme().await;
    let mut browser = script(&world).await;
    assert_eq!(browser.post("/acme/token", "").await.status, 405);
    assert_eq!(browser.get("/acme/session/refresh").await.status, 405);
    browser.cookies.clear();
    assert_eq!(browser.get("/acme/token").await.status, 401);
    assert_eq!(refresh(&mut browser).await.status, 401);
}

#[tokio::test]
async fn whom_access_no_longer_admits_after_a_refresh_gets_no_token() {
    let staff = Condition { claim: vec![ROLES.to_owned()], test: Test::Contains("staff".into()) };
    let mut tenant = Tenant::start_with("acme", |spec| {
        spec.access_token_life = LIFE;
        spec.users[0].claims.insert(ROLES.to_owned(), json!(["staff"]));
    })
    .await;
    tenant.settings.sign_in.scopes.push("offline_access".to_owned());
    tenant.settings.tokens.endpoint = true;
    tenant.settings.policy.access.claims = vec![staff];
    let world = World::start(vec![tenant]).await;
    let mut browser = script(&world).await;
    token(&mut browser).await;
    world.provider().change_claim(ADA, ROLES, json!(["guest"]));
    token(&mut browser).await;
    world.pass(LIFE + 1);
    let page = browser.get("/acme/token").await;
    assert_eq!((page.status.as_u16(), &page.json()["code"]), (403, &json!("access_refused")));
}

#[tokio::test]
async fn without_a_refresh_token_a_token_lasts_as_long_as_it_lasts() {
    let world = acme_with(|tenant| tenant.sign_in.scopes.retain(|scope| scope != "offline_access")).await;
    let mut browser = script(&world).await;
    token(&mut browser).await;
    world.pass(LIFE + 1);
    let page = browser.get("/acme/token").await;
    assert_eq!((page.status.as_u16(), &page.json()["code"]), (401, &json!("token_unavailable")));
    assert_eq!(refresh(&mut browser).await.status, 401);
    assert_eq!(world.provider().refreshes(), 0);
}
