//! How long people stay signed in.

use std::sync::Arc;
use std::time::Duration;

use lychgate::config::OnStoreFailure;
use lychgate::demo::User;

use crate::support::{self, Tenant, World};

#[tokio::test]
async fn a_restart_keeps_everybody_signed_in() {
    let mut world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    world.restart_with(|_| {}).await;
    assert!(browser.session("acme").await.is_some());
}

#[tokio::test]
async fn another_root_secret_signs_everybody_out() {
    let mut world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let key = lychgate::key_ring::RingKey::generate().to_text();
    world.restart_with(|settings| settings.secret = Some(key)).await;
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn a_session_of_the_provider_before_opens_nothing_and_tells_the_new_one_nothing() {
    let mut world = support::acme_with(|tenant| tenant.sign_in.scopes.push("offline_access".to_owned())).await;
    let mut browser = world.signed_in("acme").await;
    let successor = Tenant::start("successor").await;
    let settings = successor.settings.provider.clone();
    world.restart_with(|world| Arc::make_mut(&mut world.tenants[0]).provider = settings).await;
    assert_eq!(browser.clone().session("acme").await, None);
    let location = browser.get("/acme/logout").await.location();
    assert!(location.as_str().starts_with(successor.provider.issuer()), "{location}");
    assert!(location.query_pairs().all(|(name, _)| name != "id_token_hint"), "it was the other provider's");
    assert_eq!(successor.provider.count("/oauth/revoke"), 0, "so was the refresh token");
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_and_lives_on_when_it_is_used() {
    let world = support::acme_with(|tenant| {
        tenant.session.idle = Duration::from_mins(10);
        tenant.session.absolute = Duration::from_hours(1);
    })
    .await;
    let mut used = world.signed_in("acme").await;
    let mut idle = world.signed_in("acme").await;
    for _ in 0..2 {
        world.pass(400);
        assert!(used.session("acme").await.is_some());
    }
    assert_eq!(idle.session("acme").await, None);
}

#[tokio::test]
async fn a_session_ends_at_its_absolute_limit_however_much_it_is_used() {
    let world = support::acme_with(|tenant| {
        tenant.session.idle = Duration::from_mins(10);
        tenant.session.absolute = Duration::from_secs(1000);
    })
    .await;
    let mut browser = world.signed_in("acme").await;
    world.pass(500);
    assert!(browser.session("acme").await.is_some());
    world.pass(501);
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn the_dashboard_says_when_the_session_ends_and_why() {
    let world = support::acme().await;
    let page = world.signed_in("acme").await.get("/acme/dashboard").await;
    assert!(page.body.contains("every visit prolongs it"), "{}", page.body);

    let world = support::acme_with(|tenant| {
        tenant.session.idle = Duration::from_hours(1);
        tenant.session.absolute = Duration::from_hours(1);
    })
    .await;
    let page = world.signed_in("acme").await.get("/acme/dashboard").await;
    assert!(page.body.contains("its longest duration"), "{}", page.body);

    let ends = lychgate::clock::Clock::system().now().plus(1800);
    let acme = Tenant::start_with("acme", |spec| {
        spec.users = vec![User::new(support::ADA, "a good password", "Ada").with("session_expiry", ends.0)];
    });
    let world = World::start(vec![acme.await]).await;
    let mut browser = world.signed_in("acme").await;
    let page = browser.get("/acme/dashboard").await;
    assert!(page.body.contains("Your sign-in provider set this end"), "{}", page.body);
    assert_eq!(browser.session("acme").await.unwrap()["expires_at"], ends.to_string());
    world.pass(1800);
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn a_new_sign_in_makes_a_new_session_and_ends_the_old_one() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let mut old = browser.clone();
    browser.visit("/acme/login").await;
    assert!(browser.session("acme").await.is_some());
    assert_eq!(old.session("acme").await, None);
    assert_ne!(old.cookies_named("lychgate-acme"), browser.cookies_named("lychgate-acme"));
}

#[tokio::test]
async fn users_are_forgotten_where_the_tenant_says_so() {
    let world = support::acme_with(|tenant| tenant.remember_users = false).await;
    world.signed_in("acme").await;
    assert!(world.gateway.sessions.users(&"acme".parse().unwrap()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_said_and_signs_nobody_out() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let other = rusqlite::Connection::open(world.data_dir().join("lychgate.db")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(browser.session("acme").await.is_some(), "whoever is in memory stays");
    let page = world.browser().visit("/acme/login").await;
    assert_eq!((page.status.as_u16(), page.code()), (503, "store_unavailable"), "{}", page.body);
    assert!(page.headers.contains_key("retry-after"));
    assert_eq!(browser.get("/readyz").await.status, 200, "nothing is known of it yet");
    world.check_store().await;
    assert_eq!(browser.get("/readyz").await.status, 503);
    let logout = browser.get("/acme/logout").await;
    assert_eq!((logout.status.as_u16(), logout.code()), (503, "store_unavailable"), "nobody is told a lie");
    assert!(browser.session("acme").await.is_some());
    other.execute_batch("ROLLBACK").unwrap();
    world.gateway.pulse.check_store().await;
    assert_eq!(browser.get("/readyz").await.status, 200, "once is enough");
    world.signed_in("acme").await;
}

#[tokio::test]
async fn a_store_that_is_down_may_leave_us_ready_and_is_said() {
    let tenant = Tenant::start("acme").await;
    let world = World::start_with(vec![tenant], |settings| settings.on_store_failure = OnStoreFailure::Degraded).await;
    let other = rusqlite::Connection::open(world.data_dir().join("lychgate.db")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    world.check_store().await;
    let ready = world.browser().get("/readyz?verbose").await;
    assert_eq!(ready.status, 200);
    assert!(ready.body.contains(r#""degraded":["the session database is locked"#), "{}", ready.body);
    assert_eq!(world.metric(r#"lychgate_session_store_up{store="embedded"}"#), 0);
}

#[tokio::test]
async fn a_damaged_database_makes_us_unready_and_keeps_those_in_memory() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    assert_eq!(browser.get("/readyz").await.status, 200);
    for name in ["lychgate.db-wal", "lychgate.db-shm"] {
        std::fs::remove_file(world.data_dir().join(name)).ok();
    }
    std::fs::write(world.data_dir().join("lychgate.db"), vec![0x5a; 64 * 1024]).unwrap();
    world.check_store().await;
    let ready = browser.get("/readyz?verbose").await;
    assert_eq!(ready.status, 503, "{}", ready.body);
    assert!(ready.body.contains("database"), "{}", ready.body);
    let page = world.browser().visit("/acme/login").await;
    assert_eq!((page.status.as_u16(), page.code()), (503, "store_unavailable"), "{}", page.body);
    assert!(browser.session("acme").await.is_some(), "whoever is in memory stays");
}
