//! What time tells: whether a session, an account or a tenant is there. Where the work is the same by its making, that is
//! what is looked at; times are measured only where their difference would be large. `tests/long` measures more closely.

use std::time::{Duration, Instant};

use lychgate::config::LocalUser;
use lychgate::credentials::PasswordHash;
use lychgate::secret::{base64url, from_base64url};
use reqwest::StatusCode;

use crate::support::{self, Browser, Page, World};

const PASSWORD: &str = "correct horse battery";
const COOKIE: &str = "lychgate-acme";
const FORM: &str = "/acme/login/local";
/// Where the id of a session stands among the bytes of its cookie, and where the key that opens it.
const ID: std::ops::Range<usize> = 4..20;

const HITS: &str = r#"lychgate_cache_requests_total{cache="sessions",result="hit"}"#;
const MISSES: &str = r#"lychgate_cache_requests_total{cache="sessions",result="miss"}"#;

async fn with_grace() -> World {
    support::acme_with(|tenant| {
        tenant.local_users = vec![LocalUser::new("grace", PasswordHash::of(&PASSWORD.into()))];
    })
    .await
}

/// The cookie of a session of Ada's.
async fn cookie(world: &World) -> Vec<u8> {
    let ada = world.signed_in("acme").await;
    let (_, value) = ada.cookies_named(COOKIE).into_iter().find(|(name, _)| name == COOKIE).unwrap();
    from_base64url(&value).unwrap()
}

async fn asks(browser: &mut Browser, cookie: &[u8]) -> StatusCode {
    browser.plant(COOKIE, &base64url(cookie));
    browser.get("/acme/session").await.status
}

#[tokio::test]
async fn a_cookie_that_is_nearly_a_session_costs_what_any_other_costs() {
    let world = support::acme().await;
    let (good, mut browser) = (cookie(&world).await, world.browser());
    assert_eq!(asks(&mut browser, &good).await, StatusCode::OK);
    let (hits, misses) = (world.metric(HITS), world.metric(MISSES));
    let mut asked = 0;
    // The store and the cache know ids by keyed hashes: one wrong bit is as far away as any other.
    for byte in ID {
        for bit in [0, 7] {
            let mut near = good.clone();
            near[byte] ^= 1 << bit;
            assert_eq!(asks(&mut browser, &near).await, StatusCode::UNAUTHORIZED);
            asked += 1;
            assert_eq!((world.metric(HITS), world.metric(MISSES)), (hits, misses + asked), "byte {byte}, bit {bit}");
        }
    }
    for byte in ID.end..good.len() {
        let mut near = good.clone();
        near[byte] ^= 1;
        assert_eq!(asks(&mut browser, &near).await, StatusCode::UNAUTHORIZED, "another key, byte {byte}");
    }
    assert_eq!(asks(&mut browser, &good).await, StatusCode::OK);
}

/// The value of the form's hidden field.
async fn form(browser: &mut Browser) -> String {
    let page = browser.get(FORM).await;
    let after = page.body.split("name=\"form\" value=\"").nth(1).unwrap_or_default();
    after.split('"').next().unwrap_or_default().to_owned()
}

/// Tries a name and a wrong password: how long that took, and what the page said.
async fn tries(world: &World, name: &str) -> (Duration, Page) {
    let origin = world.url("");
    let mut browser = world.browser().with("sec-fetch-site", "same-origin").with("origin", &origin);
    let form = form(&mut browser).await;
    let fields = [("form", form.as_str()), ("username", name), ("password", "wrong")];
    let filled = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    // So that nobody has tried too often.
    world.pass(600);
    let started = Instant::now();
    let page = browser.post(FORM, &filled).await;
    (started.elapsed(), page)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// Medians of the times that a known and an unknown name take, tried in turn.
async fn names(world: &World, rounds: usize) -> (f64, f64) {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        known.push(tries(world, "grace").await.0);
        unknown.push(tries(world, &format!("nobody-{round}")).await.0);
    }
    (median(known), median(unknown))
}

#[tokio::test]
async fn a_name_that_nobody_has_takes_as_long_as_a_wrong_password() {
    let world = with_grace().await;
    let (known, unknown) = names(&world, 9).await;
    // Not to verify anything would take a hundredth of the time.
    assert!((0.2..5.0).contains(&(known / unknown)), "{known} s and {unknown} s");
}

/// A page without what is different each time.
fn plain(page: &Page, name: &str) -> (StatusCode, Vec<String>, String) {
    let names = page.headers.keys().map(ToString::to_string).collect();
    let body = page.body.replace(page.header("x-request-id"), "");
    let body = if name.is_empty() { body } else { body.replace(name, "") };
    let lines: Vec<&str> = body.lines().filter(|line| !line.contains("name=\"form\"")).collect();
    (page.status, names, lines.join("\n"))
}

#[tokio::test]
async fn a_name_that_nobody_has_is_told_the_same_as_a_wrong_password() {
    let world = with_grace().await;
    let (known, unknown) = (tries(&world, "grace").await.1, tries(&world, "nobody").await.1);
    assert_eq!(known.status, StatusCode::UNAUTHORIZED);
    assert_eq!(plain(&known, "grace"), plain(&unknown, "nobody"));
}

#[tokio::test]
async fn a_tenant_that_is_none_is_told_the_same_everywhere_and_nobody_is_asked_about_it() {
    let world = support::acme().await;
    let good = cookie(&world).await;
    let (hits, misses) = (world.metric(HITS), world.metric(MISSES));
    let mut told = Vec::new();
    for path in
        ["", "/login", "/session", "/dashboard", "/callback?code=a&state=b", "/auth", "/backchannel-logout", "/x"]
    {
        let mut browser = world.browser();
        browser.plant("lychgate-globex", &base64url(&good));
        browser.plant(COOKIE, &base64url(&good));
        let path = format!("/globex{path}");
        told.push(plain(&browser.get(&path).await, ""));
        told.push(plain(&browser.post(&path, "a=b").await, ""));
    }
    assert_eq!(told[0].0, StatusCode::NOT_FOUND);
    assert!(told.iter().all(|page| page == &told[0]), "{told:#?}");
    assert_eq!((world.metric(HITS), world.metric(MISSES)), (hits, misses), "no session was looked for");
}

#[tokio::test]
#[ignore = "takes minutes, and a machine that does nothing else: tests/long"]
async fn times_do_not_part_what_is_known_from_what_is_not() {
    let world = with_grace().await;
    let (known, unknown) = names(&world, 100).await;
    println!("a wrong password: {known:.6} s; a name that nobody has: {unknown:.6} s");
    assert!((0.9..1.1).contains(&(known / unknown)));

    let (good, mut browser) = (cookie(&world).await, world.browser());
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for round in 0..3000_u32 {
        let mut cookie = good.clone();
        // One bit of its id is wrong, or all of them are.
        cookie[ID.end - 1] ^= 1 << (round % 8);
        let started = Instant::now();
        asks(&mut browser, &cookie).await;
        near.push(started.elapsed());
        cookie[ID].iter_mut().for_each(|byte| *byte = !*byte ^ round as u8);
        let started = Instant::now();
        asks(&mut browser, &cookie).await;
        far.push(started.elapsed());
    }
    let (near, far) = (median(near), median(far));
    println!("a cookie that is nearly a session: {near:.6} s; one that is not: {far:.6} s");
    assert!((0.9..1.1).contains(&(near / far)));
}
