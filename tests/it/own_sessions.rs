//! Sessions that are ended from elsewhere: from the dashboard of another browser, everywhere, by being forgotten, by a
//! new sign-in, by an operator.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lychgate::config::ResponseMode;
use lychgate::demo::User;
use reqwest::StatusCode;

use crate::support::{self, ADA, Browser, Tenant, World};

const GRACE: &str = "grace@acme.example";

/// A page of ours, as the browser says.
fn own(browser: &Browser) -> Browser {
    browser.clone().with("sec-fetch-site", "same-origin")
}

/// The paths to end one of one's sessions each, in the dashboard's order; whether it is this one.
async fn ends(browser: &mut Browser) -> Vec<(String, bool)> {
    let body = browser.get("/acme/dashboard").await.body;
    let (_, list) = body.split_once("<ul class=\"sessions\">").unwrap();
    let (list, _) = list.split_once("</ul>\n<form").unwrap();
    let items = list.split("<li>").skip(1);
    items
        .map(|item| {
            let path = item.split("action=\"").nth(1).unwrap().split('"').next().unwrap();
            (path.to_owned(), item.contains("class=\"this\""))
        })
        .collect()
}

async fn offline() -> World {
    let grace = User::new(GRACE, "a good password", "Grace Hopper");
    let mut tenant = Tenant::start_with("acme", |spec| spec.users.push(grace)).await;
    tenant.settings.sign_in.scopes.push("offline_access".to_owned());
    World::start(vec![tenant]).await
}

#[tokio::test]
async fn the_dashboard_lists_ones_own_sessions_and_ends_each() {
    let world = offline().await;
    let linux = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let mut phone = world.browser().with("user-agent", "Mozilla/5.0 (iPhone; like Mac OS X) Version/26.0 Safari/605");
    phone.visit("/acme/login").await;
    let mut here = world.browser().with("user-agent", linux);
    here.visit("/acme/login").await;
    world.provider().auto_approve(Some(GRACE));
    let mut grace = world.signed_in("acme").await;

    let page = here.get("/acme/dashboard").await.body;
    for part in ["Firefox on Linux", "Safari on iPhone", "127.0.0.1"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let listed = ends(&mut here).await;
    assert_eq!(listed.iter().map(|(_, this)| *this).collect::<Vec<_>>(), [true, false]);
    let (cookie, other) = (&here.cookies_named("lychgate-acme")[0].1, &listed[1].0);
    assert!(!cookie.contains(&other["/acme/sessions/".len()..other.len() - "/revoke".len()]));
    let done = own(&here).post(other, "").await;
    assert_eq!((done.status, done.location().path()), (StatusCode::SEE_OTHER, "/acme/dashboard"));
    assert_eq!(phone.session("acme").await, None);
    assert!(here.session("acme").await.is_some() && grace.session("acme").await.is_some());
    assert_eq!(world.metric(r#"lychgate_sessions_ended_total{reason="revoked",tenant="acme"}"#), 1);
    assert_eq!(world.provider().count("/oauth/revoke"), 1);
    // Twice does no harm, and one's own is a sign-out like any other.
    assert_eq!(own(&here).post(other, "").await.status, StatusCode::SEE_OTHER);
    let this = own(&here).post(&listed[0].0, "").await;
    assert_eq!(this.location().path(), "/oidc/logout");
    assert_eq!(here.session("acme").await, None);
}

#[tokio::test]
async fn a_reference_in_somebody_elses_hands_ends_nothing() {
    let world = offline().await;
    let ada = world.signed_in("acme").await;
    let path = ends(&mut ada.clone()).await.remove(0).0;
    world.provider().auto_approve(Some(GRACE));
    let grace = world.signed_in("acme").await;
    assert_eq!(own(&grace).post(&path, "").await.status, StatusCode::SEE_OTHER);
    assert_eq!(own(&world.browser()).post(&path, "").await.status, StatusCode::UNAUTHORIZED);
    assert!(ada.clone().session("acme").await.is_some() && grace.clone().session("acme").await.is_some());
}

#[tokio::test]
async fn no_other_site_ends_sessions_here() {
    let world = support::acme().await;
    let browser = world.signed_in("acme").await;
    let path = ends(&mut browser.clone()).await.remove(0).0;
    let foreign = [
        browser.clone(),
        browser.clone().with("sec-fetch-site", "cross-site"),
        browser.clone().with("sec-fetch-site", "same-site"),
        browser.clone().with("sec-fetch-site", "none"),
        browser.clone().with("origin", "https://evil.example"),
        browser.clone().with("origin", "null"),
        own(&browser).with("origin", "https://evil.example"),
    ];
    for mut foreign in foreign {
        for path in [&path, "/acme/sessions/revoke"] {
            let page = foreign.post(path, "").await;
            assert_eq!((page.status, page.code()), (StatusCode::FORBIDDEN, "csrf_refused"), "{:?}", foreign.headers);
            assert_eq!(foreign.get(path).await.status, StatusCode::METHOD_NOT_ALLOWED);
        }
        let page = foreign.post("/acme/disconnect", "").await;
        assert!(page.status == StatusCode::OK && page.body.contains("action=\"/acme/disconnect\""), "asked first");
    }
    assert!(browser.clone().session("acme").await.is_some());
    let by_origin = browser.clone().with("origin", &world.url("")).post(&path, "").await;
    assert_eq!(by_origin.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.clone().session("acme").await, None);
}

#[tokio::test]
async fn signing_out_everywhere_ends_all_of_ones_sessions() {
    let world = offline().await;
    let (mut here, mut there) = (world.signed_in("acme").await, world.signed_in("acme").await);
    world.provider().auto_approve(Some(GRACE));
    let mut grace = world.signed_in("acme").await;
    let done = own(&here).post("/acme/sessions/revoke", "").await;
    assert_eq!((done.status, done.location().path()), (StatusCode::SEE_OTHER, "/oidc/logout"));
    assert_eq!((here.session("acme").await, there.session("acme").await), (None, None));
    assert!(grace.session("acme").await.is_some());
    assert_eq!(world.provider().count("/oauth/revoke"), 2);
}

#[tokio::test]
async fn disconnecting_forgets_the_person_after_asking() {
    let world = offline().await;
    let (mut here, mut there) = (world.signed_in("acme").await, world.signed_in("acme").await);
    world.provider().auto_approve(Some(GRACE));
    let mut grace = world.signed_in("acme").await;
    let page = here.get("/acme/disconnect").await;
    assert!(page.status == StatusCode::OK && page.body.contains("method=\"post\" action=\"/acme/disconnect\""));
    assert!(here.session("acme").await.is_some());

    let mut own = own(&here);
    let done = own.post("/acme/disconnect", "").await;
    assert_eq!((done.status, done.location().path()), (StatusCode::SEE_OTHER, "/acme/logged-out"));
    assert!(own.cookies_named("lychgate-acme").is_empty());
    assert_eq!((here.session("acme").await, there.session("acme").await), (None, None));
    assert!(grace.session("acme").await.is_some());
    assert_eq!(world.provider().count("/oauth/revoke"), 2);
    assert_eq!(world.metric(r#"lychgate_sessions_ended_total{reason="disconnect",tenant="acme"}"#), 2);
    let users = world.gateway.sessions.users(&"acme".parse().unwrap()).await.unwrap();
    assert_eq!(users.iter().map(|user| user.email.as_deref()).collect::<Vec<_>>(), [Some(GRACE)]);
    // Nobody to forget.
    assert_eq!(own.post("/acme/disconnect", "").await.location().path(), "/acme/dashboard");
}

#[tokio::test]
async fn disconnecting_goes_on_while_the_provider_is_down() {
    let mut world = offline().await;
    let mut browser = world.signed_in("acme").await;
    world.providers.get_mut("acme").unwrap().stop().await;
    assert_eq!(own(&browser).post("/acme/disconnect", "").await.location().path(), "/acme/logged-out");
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn a_form_that_comes_without_the_sessions_cookie_replaces_the_session_all_the_same() {
    let world = support::acme_with(|tenant| tenant.sign_in.response_mode = ResponseMode::FormPost).await;
    let mut browser = world.browser();
    sign_in_by_form(&mut browser, "/acme/login").await;
    let mut before = browser.clone();
    assert!(before.session("acme").await.is_some());
    sign_in_by_form(&mut browser, "/acme/login").await;
    assert_eq!(before.session("acme").await, None);
    assert!(browser.session("acme").await.is_some());
    assert_eq!(world.metric(r#"lychgate_sessions_ended_total{reason="replaced",tenant="acme"}"#), 1);
    // An attempt that has no room for it goes without: signing in comes first.
    let before = browser.clone();
    let long = format!("/acme/login?acr_values={}&return_to=/acme/{}", "a".repeat(40), "x".repeat(280));
    browser.visit(&long).await;
    assert!(browser.cookies_named("lychgate-acme.").iter().all(|(name, value)| name.len() + value.len() <= 700));
    assert!(before.clone().session("acme").await.is_some());
}

/// As a browser does: what another site posts brings no `SameSite=Lax` cookie.
async fn sign_in_by_form(browser: &mut Browser, login: &str) {
    let form = browser.visit(login).await;
    let value = |name: &str| {
        let after = form.body.split(&format!("name=\"{name}\"")).nth(1).unwrap();
        after.split("value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    browser.cookies.retain(|(_, name), _| name != "lychgate-acme");
    let done = browser.post("/acme/callback", &format!("code={}&state={}", value("code"), value("state"))).await;
    assert_eq!(done.location().path(), "/acme/dashboard");
}

/// Runs the program on the world's data.
fn lychgate(world: &World, tenants: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lychgate"))
        .env_clear()
        .current_dir(tenants)
        .args(args)
        .args(["--data", world.data_dir().to_str().unwrap(), "--tenants", tenants.to_str().unwrap()])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.is_empty() || !output.status.success(), "{error}");
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_sessions_of_a_running_gateway_within_a_second() {
    let world = offline().await;
    let watch = tokio::spawn(world.gateway.sessions.clone().keep_watched());
    let (mut here, mut there) = (world.signed_in("acme").await, world.signed_in("acme").await);
    world.provider().auto_approve(Some(GRACE));
    let mut grace = world.signed_in("acme").await;
    let tenants = tempfile::tempdir().unwrap();
    let file = format!("issuer = \"{}\"\nclient_id = \"acme-client\"\n", world.provider().issuer());
    std::fs::write(tenants.path().join("acme.toml"), file + "client_auth = \"none\"\n").unwrap();
    let run = |args: &[&str]| lychgate(&world, tenants.path(), args);

    let (_, list) = run(&["sessions", "list", "--user", ADA]);
    assert_eq!((list.lines().count(), list.matches(ADA).count()), (3, 2), "{list}");
    let (_, json) = run(&["sessions", "list", "--json", "--tenant", "acme"]);
    let listed: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|session| session["tenant"] == "acme" && session["address"] == "127.0.0.1"));

    assert!(!run(&["sessions", "revoke"]).0, "everybody must be meant in words");
    assert_eq!(run(&["sessions", "revoke", "--user", "nobody"]), (true, "0 sessions ended\n".to_owned()));
    assert_eq!(run(&["sessions", "revoke", "--user", ADA]), (true, "2 sessions ended\n".to_owned()));
    let gone = async {
        while here.session("acme").await.is_some() || there.session("acme").await.is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), gone).await.expect("within a second");
    assert!(grace.session("acme").await.is_some());
    assert_eq!(run(&["sessions", "revoke", "--all"]), (true, "1 session ended\n".to_owned()));
    watch.abort();
}

#[tokio::test]
async fn a_user_who_is_not_remembered_is_found_by_sub() {
    let world = support::acme_with(|tenant| tenant.remember_users = false).await;
    let mut browser = world.signed_in("acme").await;
    let sub = browser.session("acme").await.unwrap()["user"]["sub"].as_str().unwrap().to_owned();
    let tenants = tempfile::tempdir().unwrap();
    let file = format!("issuer = \"{}\"\nclient_id = \"acme-client\"\n", world.provider().issuer());
    std::fs::write(tenants.path().join("acme.toml"), file + "client_auth = \"none\"\n").unwrap();
    let (_, list) = lychgate(&world, tenants.path(), &["sessions", "list", "--user", &sub]);
    assert_eq!(list.lines().count(), 2, "{list}");
}
