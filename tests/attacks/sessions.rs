//! Attacks on a session's cookie: one that was there before the sign-in, one of a sibling subdomain, one that leaks.

use std::collections::BTreeSet;

use reqwest::StatusCode;

use lychgate::secret::{ExposeSecret as _, from_base64url};

use crate::home;
use crate::support::{self, Browser, World};

/// The session's value in a browser, whatever its cookie is called.
fn session_of(browser: &Browser) -> String {
    let found = browser.cookies.iter().find(|((_, name), value)| name.ends_with("lychgate-acme") && value.len() == 70);
    found.expect("a session").1.clone()
}

/// Session fixation: what was in the jar before the sign-in opens nothing afterwards (CVE-2026-34454).
#[tokio::test]
async fn a_session_that_was_planted_before_the_sign_in_is_not_the_one_after() {
    let world = support::acme().await;
    let mut mallory = world.signed_in("acme").await;
    for planted in [session_of(&mallory), "A".repeat(70), String::new()] {
        let mut ada = world.browser();
        ada.plant("lychgate-acme", &planted);
        let callback = ada.until_callback("/acme/login").await;
        assert_eq!(ada.get(callback.as_str()).await.status, StatusCode::SEE_OTHER);
        assert!(ada.session("acme").await.is_some());
        assert_ne!(session_of(&ada), planted);
        let mut thief = world.browser();
        thief.plant("lychgate-acme", &planted);
        assert_eq!(thief.session("acme").await, None);
    }
    assert_eq!(mallory.session("acme").await, None, "the planted session has ended");
}

/// Cookie tossing: a sibling subdomain can set cookies for the whole domain, but none whose name begins with `__Host-`
/// (RFC 6265bis, section 4.1.3.2), and under no other name is a session taken.
#[tokio::test]
async fn a_session_tossed_from_a_sibling_subdomain_opens_nothing() {
    let world = home::acme().await;
    let mallory = session_of(&home::signed_in(&world).await);
    for name in ["lychgate-acme", "__Secure-lychgate-acme", "__host-lychgate-acme", "__HOST-lychgate-acme"] {
        let mut ada = home::browser(&world);
        ada.plant(name, &mallory);
        assert_eq!(ada.session("acme").await, None, "{name}");
        let mut signed_in = home::signed_in(&world).await;
        signed_in.plant(name, &mallory);
        assert!(signed_in.session("acme").await.is_some(), "{name} hides nothing either");
    }
    let mut ada = home::browser(&world);
    ada.plant("__Host-lychgate-acme", &mallory);
    assert!(ada.session("acme").await.is_some(), "it was a good one");
}

/// The same for the cookie of an attempt: with it, tossing would be login CSRF.
#[tokio::test]
async fn an_attempt_tossed_from_a_sibling_subdomain_signs_nobody_in() {
    let world = home::acme().await;
    let mut mallory = home::browser(&world);
    let callback = home::until_callback(&world, &mut mallory).await;
    let (name, value) = mallory.cookies_named("__Host-lychgate-acme.").remove(0);
    let bare = name.strip_prefix("__Host-").unwrap();
    for tossed in [bare.to_owned(), format!("__Secure-{bare}"), format!("__host-{bare}")] {
        let mut ada = home::browser(&world);
        ada.plant(&tossed, &value);
        let page = ada.get(&callback).await;
        assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "cookie_missing"), "{tossed}");
        assert_eq!(ada.session("acme").await, None);
    }
    assert_eq!(world.provider().count("/oauth/token"), 0);
}

/// Every cookie is the host's alone, for https, out of scripts' reach (ASVS 3.3.1 to 3.3.4); and browsers heed its removal,
/// which they do only with the same attributes (CVE-2025-55162).
#[tokio::test]
async fn every_cookie_is_set_and_taken_back_as_the_hosts_own() {
    let world = home::acme().await;
    let mut browser = home::browser(&world);
    let mut kinds = BTreeSet::new();
    let callback = home::until_callback(&world, &mut browser).await;
    let mut pages = vec![home::browser(&world).get("/acme/login").await, browser.get(&callback).await];
    let started = home::until_callback(&world, &mut browser).await;
    assert!(started.contains("code="));
    pages.push(browser.get("/acme/logout").await);
    for cookie in pages.iter().flat_map(|page| page.headers.get_all("set-cookie")) {
        let cookie = cookie.to_str().unwrap();
        let (name, attributes) = cookie.split_once(';').unwrap();
        let attributes: BTreeSet<&str> = attributes.split(';').map(str::trim).collect();
        assert!(name.starts_with("__Host-lychgate-acme"), "{name}");
        for attribute in ["Secure", "HttpOnly", "Path=/", "SameSite=Lax"] {
            assert!(attributes.contains(attribute), "{cookie}");
        }
        assert!(!cookie.to_lowercase().contains("domain"), "{cookie}");
        kinds.insert((name.contains('.'), attributes.contains("Max-Age=0")));
    }
    assert_eq!(kinds.len(), 4, "the session's and others, set and taken back: {kinds:?}");
    assert!(browser.cookies_named("__Host-").is_empty(), "{:?}", browser.cookies.keys());
}

/// ASVS 7.2.2 to 7.2.4: a session's value is made anew at each sign-in, of random bytes.
#[tokio::test]
async fn no_part_of_a_sessions_value_returns() {
    let world = support::acme().await;
    let (mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..16 {
        let bytes = from_base64url(&session_of(&world.signed_in("acme").await)).unwrap();
        // The first four name the ring key.
        let (id, key) = bytes[4..].split_at(16);
        assert!(key.len() >= 32);
        assert!(ids.insert(id.to_vec()) && keys.insert(key.to_vec()));
    }
}

/// A session is taken from its cookie alone: an address with it in a query, a path or another header signs nobody in.
#[tokio::test]
async fn a_session_is_taken_from_its_cookie_alone() {
    let world = support::acme().await;
    let value = session_of(&world.signed_in("acme").await);
    for query in ["lychgate-acme", "session", "sid", "token", "access_token"] {
        for path in [format!("/acme/session?{query}={value}"), format!("/acme/session;{query}={value}")] {
            assert_ne!(world.browser().get(&path).await.status, StatusCode::OK, "{query}");
        }
    }
    for (name, text) in [
        ("authorization", format!("Bearer {value}")),
        ("x-session", value.clone()),
        ("cookie2", format!("lychgate-acme={value}")),
        ("x-auth-request-user", "ada@acme.example".to_owned()),
    ] {
        assert_eq!(world.browser().with(name, &text).session("acme").await, None, "{name}");
    }
}

/// CVE-2024-39315: no page, no answer to a script and no header shows a token, the session's value or a secret.
#[tokio::test]
async fn no_answer_holds_a_token_or_the_sessions_value() {
    let world = support::acme_with(|tenant| tenant.sign_in.scopes.push("offline_access".to_owned())).await;
    let mut ada = world.signed_in("acme").await;
    let value = session_of(&ada);
    let secrets = secrets_of(&world, &value).await;
    assert_eq!(secrets.len(), 4);
    for path in [
        "/acme",
        "/acme/dashboard",
        "/acme/session",
        "/acme/disconnect",
        "/acme/logged-out",
        "/acme/token",
        "/acme/nothing",
        "/acme/callback?code=x&state=y",
        "/acme/login",
        "/acme/auth",
        "/metrics",
        "/readyz?verbose",
    ] {
        for accept in ["text/html", "application/json"] {
            let page = ada.clone().with("accept", accept).get(path).await;
            let answer = format!("{:?} {}", page.headers, page.body);
            assert!(!secrets.iter().any(|secret| answer.contains(secret.as_str())), "{path} {accept}");
        }
    }
    // Only the provider is given its own id token, which it asks for (OpenID Connect RP-Initiated Logout 1.0).
    let page = ada.get("/acme/logout").await;
    assert!(page.header("location").starts_with(world.provider().issuer()) && page.body.is_empty());
    assert!(secrets.iter().filter(|secret| format!("{:?}", page.headers).contains(secret.as_str())).count() <= 1);
}

async fn secrets_of(world: &World, value: &str) -> Vec<String> {
    let tenant = world.gateway.tenants.get("acme").unwrap();
    let found = world.gateway.sessions.find(tenant.id(), &tenant.settings.session, value).await.unwrap().unwrap();
    let tokens = world.gateway.sessions.opened(&found.session).await.unwrap().unwrap().tokens;
    let mut secrets = vec![value.to_owned(), tokens.id_token.expose_secret().to_owned()];
    secrets.extend(tokens.access_token.as_ref().map(|token| token.value.expose_secret().to_owned()));
    secrets.extend(tokens.refresh_token.as_ref().map(|token| token.expose_secret().to_owned()));
    secrets
}
