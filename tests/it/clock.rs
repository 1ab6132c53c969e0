//! The gateway's clock is set an hour ahead or back, as when somebody sets a wrong one right. Its providers' clocks are not.

use lychgate::config::LocalUser;
use lychgate::credentials::PasswordHash;
use lychgate::demo::{Endpoint, Fault, Trouble};
use reqwest::StatusCode;

use crate::support::{self, Browser, Page, Tenant, World};

const HOUR: i64 = 3600;
/// Seconds that an access token is good for.
const LIFE: i64 = 300;

/// A tenant with refresh tokens, which lets scripts have access tokens.
async fn acme() -> World {
    let mut tenant = Tenant::start_with("acme", |spec| spec.access_token_life = LIFE).await;
    tenant.settings.sign_in.scopes.push("offline_access".to_owned());
    tenant.settings.tokens.endpoint = true;
    World::start(vec![tenant]).await
}

/// The same browser as a script of our own origin uses it.
fn script(browser: &Browser) -> Browser {
    let browser = browser.clone().with("accept", "application/json");
    browser.with("sec-fetch-mode", "cors").with("sec-fetch-site", "same-origin")
}

#[track_caller]
fn assert_signed_in(page: &Page, when: &str) {
    assert_eq!(page.status, StatusCode::OK, "{when}: {}", page.body);
    assert!(!page.headers.contains_key("set-cookie"), "{when}");
}

#[tokio::test]
async fn nobody_is_signed_out_and_whoever_comes_is_let_in_once_it_is_right_again() {
    for jump in [HOUR, -HOUR] {
        let world = acme().await;
        let mut browser = world.signed_in("acme").await;
        for (ahead, when) in [(jump, "wrong"), (-jump, "right again")] {
            world.clock.set_ahead(ahead);
            for path in ["/acme/session", "/acme/dashboard"] {
                assert_signed_in(&browser.get(path).await, &format!("{jump}, {when}, {path}"));
            }
            // What the provider says of the time is judged by our own.
            let fresh = world.browser().visit("/acme/login").await;
            let expected = if when == "wrong" { "id_token_iat" } else { "" };
            assert_eq!(fresh.code(), expected, "{jump}, {when}");
        }
        assert_eq!(script(&browser).get("/acme/token").await.status, StatusCode::OK, "{jump}");
    }
}

#[tokio::test]
async fn a_session_whose_renewal_failed_is_left_alone_no_longer_than_else() {
    let world = acme().await;
    let mut browser = script(&world.signed_in("acme").await);
    world.pass(LIFE + 1);
    world.clock.set_ahead(HOUR);
    world.provider().order(Fault::At(Endpoint::Token, Trouble::Status500));
    assert!(browser.get("/acme/token").await.status.is_server_error());
    world.provider().clear();
    world.clock.set_ahead(-HOUR);
    world.pass(31);
    assert_eq!(browser.get("/acme/token").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_that_is_unknown_is_asked_for_no_later_than_else() {
    let world = acme().await;
    let rotate = || {
        world.pass(61);
        world.provider().rotate_keys();
        world.provider().rotate_keys();
    };
    world.signed_in("acme").await;
    world.clock.set_ahead(HOUR);
    rotate();
    let fetched = || world.provider().count("/.well-known/jwks.json");
    let before = fetched();
    assert_eq!(world.browser().visit("/acme/login").await.code(), "id_token_iat", "its signature is good");
    assert!(fetched() > before);
    world.clock.set_ahead(-HOUR);
    rotate();
    world.signed_in("acme").await;
}

#[tokio::test]
async fn whoever_tried_too_many_passwords_waits_no_longer_than_else() {
    let hash = PasswordHash::of(&"correct horse battery".into());
    let world = support::acme_with(|tenant| tenant.local_users = vec![LocalUser::new("Grace", hash)]).await;
    let mut browser = world.browser().with("sec-fetch-site", "same-origin").with("origin", &world.url(""));
    let mut try_in = async |password: &str| {
        let page = browser.get("/acme/login/local").await;
        let form = page.body.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let fields = [("form", form), ("username", "grace"), ("password", password)];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        browser.post("/acme/login/local", &body).await.status
    };
    world.clock.set_ahead(HOUR);
    for _ in 0..20 {
        if try_in("wrong").await == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
    }
    assert_eq!(try_in("wrong").await, StatusCode::TOO_MANY_REQUESTS);
    world.clock.set_ahead(-HOUR);
    world.pass(60);
    assert_eq!(try_in("correct horse battery").await, StatusCode::SEE_OTHER);
}
