//! Two tenants that share a browser never see each other's session, cookie, state or key: a test for each way to try.

use lychgate::demo::{Fault, User};
use reqwest::StatusCode;

use crate::support::{ADA, Browser, Tenant, World};

async fn two() -> World {
    World::start(vec![Tenant::start("acme").await, Tenant::start("globex").await]).await
}

fn cookie(browser: &Browser, name: &str) -> String {
    browser.cookies_named(name).into_iter().find(|(found, _)| found == name).unwrap().1
}

#[tokio::test]
async fn signing_in_at_one_tenant_signs_nobody_in_at_the_other() {
    let world = two().await;
    let mut browser = world.signed_in("acme").await;
    assert!(browser.session("acme").await.is_some());
    assert_eq!(browser.session("globex").await, None);
}

#[tokio::test]
async fn one_browser_is_signed_in_at_both_and_signs_out_of_each() {
    let world = two().await;
    let mut browser = world.signed_in("acme").await;
    browser.visit("/globex/login").await;
    assert!(browser.session("globex").await.is_some() && browser.session("acme").await.is_some());
    browser.get("/acme/logout").await;
    assert!(browser.session("globex").await.is_some() && browser.session("acme").await.is_none());
}

#[tokio::test]
async fn a_session_cookie_under_the_other_tenants_name_opens_nothing() {
    let world = two().await;
    let mut browser = world.signed_in("acme").await;
    let value = cookie(&browser, "lychgate-acme");
    browser.plant("lychgate-globex", &value);
    assert_eq!(browser.session("globex").await, None);
    assert!(browser.session("acme").await.is_some(), "and trying harms nobody");
}

#[tokio::test]
async fn a_session_cookie_that_is_cut_changed_or_doubled_opens_nothing() {
    let world = two().await;
    let browser = world.signed_in("acme").await;
    let value = cookie(&browser, "lychgate-acme");
    let other = if value.ends_with('A') { "E" } else { "A" };
    for bad in [
        String::new(),
        value[1..].to_owned(),
        format!("{}{other}", &value[..value.len() - 1]),
        format!("{value}; lychgate-acme={value}"),
    ] {
        let mut thief = world.browser();
        thief.plant("lychgate-acme", &bad);
        assert_eq!(thief.session("acme").await, None, "{}", bad.len());
    }
}

#[tokio::test]
async fn a_neighbours_cookie_that_is_not_ascii_hides_none_of_ours() {
    let world = two().await;
    let mut browser = world.browser();
    browser.plant("a-greeting", "Grüße");
    assert_eq!(browser.visit("/acme/login").await.url.path(), "/acme/dashboard");
    assert!(browser.session("acme").await.is_some());
    let mut thief = world.browser();
    thief.plant("\u{2003}lychgate-acme", &cookie(&browser, "lychgate-acme"));
    assert_eq!(thief.session("acme").await, None, "nor is a name that only looks like ours");
}

#[tokio::test]
async fn a_callback_of_one_tenant_is_refused_at_the_other() {
    let world = two().await;
    let mut browser = world.browser();
    let callback = browser.until_callback("/acme/login").await;
    let moved = callback.as_str().replace("/acme/", "/globex/");
    let page = browser.get(&moved).await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "cookie_missing"));
    assert_eq!(browser.session("globex").await, None);
}

#[tokio::test]
async fn an_attempts_cookie_moved_to_the_other_tenant_does_not_open() {
    let world = two().await;
    let mut browser = world.browser();
    let callback = browser.until_callback("/acme/login").await;
    let (name, value) = browser.cookies_named("lychgate-acme.").remove(0);
    browser.plant(&name.replace("acme", "globex"), &value);
    let page = browser.get(&callback.as_str().replace("/acme/", "/globex/")).await;
    assert_eq!(page.code(), "state_foreign");
    assert_eq!(browser.session("globex").await, None);
    assert_eq!(world.providers["globex"].count("/oauth/token"), 0);
}

#[tokio::test]
async fn an_attempts_cookie_moved_to_another_attempt_does_not_open() {
    let world = two().await;
    let mut browser = world.browser();
    let first = browser.until_callback("/acme/login").await;
    let (name, value) = browser.cookies_named("lychgate-acme.").remove(0);
    world.pass(1);
    browser.until_callback("/acme/login").await;
    let (_, second) = browser.cookies_named("lychgate-acme.").into_iter().find(|(found, _)| *found != name).unwrap();
    assert_ne!(value, second);
    browser.plant(&name, &second);
    assert_eq!(browser.get(first.as_str()).await.code(), "state_foreign");
}

#[tokio::test]
async fn a_token_signed_by_the_same_keys_for_another_issuer_is_refused() {
    let acme = Tenant::start("acme").await;
    let globex = Tenant::start("globex").await;
    globex.provider.share_keys_of(&acme.provider);
    let world = World::start(vec![acme, globex]).await;
    world.providers["globex"].order(Fault::WrongIss);
    let mut browser = world.browser();
    assert_eq!(browser.visit("/globex/login").await.code(), "id_token_iss");
    assert_eq!(browser.session("globex").await, None);
}

#[tokio::test]
async fn each_tenants_metrics_are_its_own() {
    let world = two().await;
    world.signed_in("acme").await;
    assert_eq!(world.metric(r#"lychgate_sign_ins_total{provider="auth0",result="ok",tenant="acme"}"#), 1);
    assert_eq!(world.metric(r#"lychgate_sign_ins_total{provider="auth0",result="ok",tenant="globex"}"#), 0);
}

#[tokio::test]
async fn the_same_person_at_two_tenants_is_two_users() {
    let world = two().await;
    world.signed_in("acme").await;
    world.signed_in("acme").await;
    world.signed_in("globex").await;
    let users = |id: &'static str| {
        let sessions = world.gateway.sessions.clone();
        async move { sessions.users(&id.parse().unwrap()).await.unwrap() }
    };
    let (acme, globex) = (users("acme").await, users("globex").await);
    assert_eq!((acme.len(), acme[0].sign_ins, acme[0].email.as_deref()), (1, 2, Some(ADA)));
    assert_eq!((globex.len(), globex[0].sign_ins), (1, 1));
}

#[tokio::test]
async fn tenants_of_one_client_are_told_apart_by_organization() {
    let mut acme = Tenant::start_with("acme", |spec| {
        spec.users.push(User::new("eve@globex.example", "a good password", "Eve").in_organization("org_two", "two"));
    })
    .await;
    acme.settings.sign_in.organizations = vec!["org_one".to_owned()];
    let mut globex = acme.settings.clone();
    globex.id = "globex".parse().unwrap();
    globex.sign_in.organizations = vec!["org_two".to_owned()];
    let world = World::start_with(vec![acme], |settings| settings.tenants.push(globex.into())).await;
    for (person, home, other) in [(ADA, "acme", "globex"), ("eve@globex.example", "globex", "acme")] {
        world.provider().auto_approve(Some(person));
        let mut browser = world.signed_in(home).await;
        let page = browser.visit(&format!("/{other}/login")).await;
        assert_eq!((page.status, page.code()), (StatusCode::FORBIDDEN, "access_denied"), "{person}");
        assert_eq!(browser.session(other).await, None, "{person}");
    }
    // A provider that does not see to it makes no difference.
    world.provider().auto_approve(Some(ADA));
    world.provider().order(Fault::WrongOrg);
    assert_eq!(world.browser().visit("/acme/login").await.code(), "organization_refused");
    world.provider().clear();
    // Nor does the other tenant's callback, with all its cookies: keys and redirect URI are the tenant's own.
    let mut browser = world.browser();
    let callback = browser.until_callback("/acme/login").await;
    let (name, value) = browser.cookies_named("lychgate-acme.").remove(0);
    browser.plant(&name.replace("acme", "globex"), &value);
    let page = browser.get(&callback.as_str().replace("/acme/", "/globex/")).await;
    assert_eq!(page.code(), "state_foreign");
    assert_eq!(browser.session("globex").await, None);
}

#[tokio::test]
async fn a_tenants_own_host_shows_that_tenant_alone() {
    let mut acme = Tenant::start("acme").await;
    acme.settings.hosts = vec!["acme.localhost".to_owned()];
    acme.settings.prefix = "/.gate".to_owned();
    let world = World::start(vec![acme, Tenant::start("globex").await]).await;
    let host = format!("acme.localhost:{}", world.address.port());
    let mut browser = world.browser().with("host", &host);
    assert!(browser.get("/.gate/").await.body.contains("qsLoginBtn"));
    assert_eq!(browser.get("/globex").await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/acme").await.status, StatusCode::NOT_FOUND);
    let location = browser.get("/.gate/login").await.location();
    let redirect_uri = location.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    assert_eq!(redirect_uri, format!("http://{host}/.gate/callback"));
}

#[tokio::test]
async fn from_a_tenants_own_host_nobody_is_sent_to_another() {
    let mut acme = Tenant::start("acme").await;
    acme.settings.hosts = vec!["acme.localhost".to_owned()];
    let world = World::start(vec![acme]).await;
    let host = format!("acme.localhost:{}", world.address.port());
    for bad in
        ["/.//evil.example", "/x/..//evil.example/", "/%2e//evil.example", &format!("http://{host}//evil.example")]
    {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("return_to", bad).finish();
        let page = world.browser().with("host", &host).get(&format!("/login?{query}")).await;
        assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "return_to_refused"), "{bad}");
    }
    let page = world.browser().with("host", &host).get("/login?return_to=/a//b").await;
    assert_eq!(page.status, StatusCode::FOUND, "a double slash further on names no host");
}

#[tokio::test]
async fn an_unknown_host_is_not_ours() {
    let world = two().await;
    let page = world.browser().with("host", "evil.example").get("/acme/login").await;
    assert_eq!((page.status, page.code()), (StatusCode::MISDIRECTED_REQUEST, "misdirected"));
    assert!(page.headers.get("set-cookie").is_none());
}

#[tokio::test]
async fn an_unknown_tenant_is_not_told_from_an_unknown_page() {
    let world = two().await;
    let mut browser = world.browser();
    let (unknown, reserved) = (browser.get("/nobody").await, browser.get("/nobody/login").await);
    assert_eq!((unknown.status, reserved.status), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
    assert!(!unknown.body.contains("acme") && !unknown.body.contains("globex"), "{}", unknown.body);
    let landing = browser.get("/").await;
    assert!(!landing.body.contains("acme"), "{}", landing.body);
}
