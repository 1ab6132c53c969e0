//! Two gateways that share their sessions in Redis, which `tests/with-redis` starts.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lychgate::config::{Sources, StoreKind, StoreSettings, load};
use lychgate::demo::{Endpoint, Fault, Trouble};
use tokio::task::JoinHandle;

use crate::support::{Browser, Tenant, World};

/// Seconds that an access token is good for.
const LIFE: i64 = 300;

/// The Redis of the tests. The names of keys are hashes under keys of a run's own: runs do not meet.
fn redis() -> StoreSettings {
    let file = std::env::var_os("LYCHGATE_TEST_REDIS").expect("run by tests/with-redis");
    load(&Sources { config: Some(file.into()), ..Sources::default() }).expect("good settings").settings.sessions
}

/// Two gateways, and what keeps them informed.
async fn pair() -> (World, World, Vec<JoinHandle<()>>) {
    let mut tenant = Tenant::start_with("acme", |spec| spec.access_token_life = LIFE).await;
    tenant.settings.sign_in.scopes.push("offline_access".to_owned());
    tenant.settings.tokens.endpoint = true;
    let mut one = World::start(vec![tenant]).await;
    one.restart_with(|settings| {
        settings.sessions = redis();
        let StoreKind::Redis(redis) = &mut settings.sessions.store else { panic!("not Redis") };
        redis.prefix = format!("test-{}:", std::process::id());
    })
    .await;
    let two = one.twin().await;
    let informed = [&one, &two].map(|world| tokio::spawn(world.gateway.sessions.clone().keep_informed()));
    for world in [&one, &two] {
        let since = Instant::now();
        while world.metric("lychgate_session_news_up") != 1 {
            assert!(since.elapsed() < Duration::from_secs(10), "nothing is heard");
            tokio::task::yield_now().await;
        }
    }
    (one, two, informed.into())
}

/// The browser that is signed in, as a script on our own origin uses it, at both gateways.
async fn scripts(one: &World, two: &World) -> [Browser; 2] {
    let browser = one.signed_in("acme").await;
    let script =
        browser.with("accept", "application/json").with("sec-fetch-mode", "cors").with("sec-fetch-site", "same-origin");
    [script.clone(), two.behind(one, &script)]
}

fn refreshes(world: &World) -> u64 {
    world.metric(r#"lychgate_token_refreshes_total{result="ok",tenant="acme"}"#)
}

async fn tokens(scripts: &[Browser; 2]) -> Vec<String> {
    let asked = (0..200).map(|n| {
        let mut script = scripts[n % 2].clone();
        async move {
            let page = script.get("/acme/token").await;
            assert_eq!(page.status, 200, "{}", page.body);
            page.json()["access_token"].as_str().unwrap().to_owned()
        }
    });
    join_all(asked).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: tests/with-redis"]
async fn two_hundred_requests_at_two_gateways_make_one_refresh() {
    let (one, two, _informed) = pair().await;
    let scripts = scripts(&one, &two).await;
    for round in 1..=3 {
        one.pass(LIFE + 1);
        one.provider().order(Fault::At(Endpoint::Token, Trouble::Slow(Duration::from_millis(300))));
        let tokens = tokens(&scripts).await;
        assert!(tokens.iter().all(|token| *token == tokens[0]), "round {round}");
        assert_eq!(refreshes(&one) + refreshes(&two), round);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: tests/with-redis"]
async fn who_still_has_a_good_token_does_not_wait_for_another_gateway() {
    let (one, two, _informed) = pair().await;
    let scripts = scripts(&one, &two).await;
    // It ends soon.
    one.pass(LIFE - 30);
    one.provider().order(Fault::At(Endpoint::Token, Trouble::Slow(Duration::from_secs(3))));
    let began = Instant::now();
    tokens(&scripts).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for world in [&one, &two] {
        world.gateway.renewals.settled().await;
    }
    assert_eq!(refreshes(&one) + refreshes(&two), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_sign_out_at_one_gateway_holds_at_the_other_within_a_second() {
    let (one, two, _informed) = pair().await;
    let mut browser = one.signed_in("acme").await;
    let mut there = two.behind(&one, &browser);
    assert_eq!(there.get("/acme/session").await.status, 200);
    browser.visit("/acme/logout").await;
    let since = Instant::now();
    while there.get("/acme/session").await.status != 401 {
        assert!(since.elapsed() < Duration::from_secs(1));
    }
}
