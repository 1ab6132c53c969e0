//! What every answer has, whoever asks: headers, methods, problems, health, metrics.

use std::net::Ipv4Addr;
use std::time::Duration;

use lychgate::config::{AccentColor, Look, Settings};
use lychgate::server::{self, Listener, Shutdown};
use lychgate::web;
use reqwest::{Method, StatusCode};

use crate::support::{self, Browser, Tenant, World};

#[tokio::test]
async fn every_page_forbids_scripts_frames_and_caches() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    for path in ["/", "/acme/logged-out", "/acme/dashboard", "/nobody"] {
        let page = browser.get(path).await;
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(page.header("cache-control"), "no-store", "{path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
        assert!(page.header("x-request-id").len() >= 16, "{path}");
        assert!(!page.body.contains("<script") && !page.body.contains(" style="), "{path}");
    }
    let dashboard = browser.get("/acme/dashboard").await;
    let origin = world.provider().issuer().trim_end_matches('/').to_owned();
    assert!(dashboard.header("content-security-policy").contains(&origin), "forms may lead to the provider");
}

#[tokio::test]
async fn the_request_id_of_header_and_page_is_the_same() {
    let world = support::acme().await;
    let page = world.browser().get("/acme/nothing-here").await;
    assert!(page.body.contains(page.header("x-request-id")), "{}", page.body);
    let given = world.browser().with("x-request-id", "from-the-proxy-1").get("/acme/nothing-here").await;
    assert_eq!(given.header("x-request-id"), "from-the-proxy-1");
}

#[tokio::test]
async fn scripts_get_problems_as_json() {
    let world = support::acme().await;
    for (name, value) in
        [("accept", "application/json"), ("x-requested-with", "XMLHttpRequest"), ("sec-fetch-mode", "cors")]
    {
        let page = world.browser().with(name, value).get("/acme/dashboard").await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{name}");
        assert_eq!(page.header("content-type"), "application/problem+json", "{name}");
        assert_eq!(page.json()["code"], "not_signed_in");
        assert_eq!(page.json()["request_id"], page.header("x-request-id"));
    }
}

#[tokio::test]
async fn a_method_that_a_route_does_not_know_is_refused() {
    let world = support::acme().await;
    for (method, path, allow) in [
        (Method::POST, "/acme/login", "GET"),
        (Method::PUT, "/acme/callback", "GET"),
        (Method::DELETE, "/acme/dashboard", "GET, HEAD"),
        (Method::POST, "/", "GET, HEAD"),
    ] {
        let page = world.browser().send(method, path, None).await;
        assert_eq!((page.status, page.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, allow), "{path}");
    }
}

#[tokio::test]
async fn a_trailing_slash_is_no_other_page() {
    let world = support::acme().await;
    for path in ["/acme/login", "/acme/logged-out", "/acme/session", "/livez", "/readyz", "/metrics"] {
        let (plain, slash) = (world.browser().get(path).await, world.browser().get(&format!("{path}/")).await);
        assert_eq!(plain.status, slash.status, "{path}");
    }
}

#[tokio::test]
async fn metrics_and_details_are_for_operators_on_this_machine() {
    let world = support::acme().await;
    let metrics = world.browser().get("/metrics").await;
    assert_eq!(metrics.status, StatusCode::OK);
    assert!(metrics.body.contains("lychgate_tenants{"), "{}", metrics.body);
    let proxied = world.browser().with("x-forwarded-for", "203.0.113.9").get("/metrics").await;
    assert_eq!(proxied.status, StatusCode::NOT_FOUND);
    let verbose = world.browser().with("x-forwarded-for", "203.0.113.9").get("/readyz?verbose").await;
    assert!(verbose.status == StatusCode::OK && !verbose.body.contains("acme"), "{}", verbose.body);
    assert!(world.browser().get("/readyz?verbose").await.body.contains("acme"));
}

#[tokio::test]
async fn without_a_tenant_we_are_alive_and_not_ready() {
    let world = World::start(Vec::new()).await;
    assert_eq!(world.browser().get("/livez").await.status, StatusCode::OK);
    assert_eq!(world.browser().get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn operators_have_a_listener_of_their_own_that_shows_nothing_else() {
    let world = support::acme().await;
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), "admin", None).await.unwrap();
    let home = format!("http://{}", listener.local_addr());
    let (shutdown, _handle) = Shutdown::manual();
    let route = web::admin_routes(world.gateway.clone(), None, shutdown.clone());
    let (settings, metrics) = (Settings::least(world.data_dir(), Vec::new()).server, world.gateway.metrics.clone());
    tokio::spawn(async move { server::serve(listener, route, &settings, shutdown, metrics).await });
    // A proxy in between makes no difference here.
    let mut operator = Browser::new(home).with("x-forwarded-for", "203.0.113.9");
    assert_eq!(operator.get("/metrics").await.status, StatusCode::OK);
    assert!(operator.get("/readyz?verbose").await.body.contains("acme"));
    for path in ["/", "/acme", "/acme/login"] {
        assert_eq!(operator.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn while_we_drain_we_are_alive_and_not_ready() {
    let world = World::start_with(vec![Tenant::start("acme").await], |settings| {
        settings.server.drain_delay = Duration::from_mins(1);
    })
    .await;
    let mut browser = world.signed_in("acme").await;
    assert_eq!(browser.get("/readyz").await.status, StatusCode::OK);
    world.drain();
    let ready = browser.get("/readyz?verbose").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.body.contains("draining"), "{}", ready.body);
    assert_eq!(world.metric("lychgate_ready"), 0);
    assert_eq!(browser.get("/livez").await.status, StatusCode::OK);
    assert!(browser.session("acme").await.is_some(), "and all is served");
}

#[tokio::test]
async fn tenants_beyond_the_limit_share_a_label() {
    let tenants = vec![Tenant::start("acme").await, Tenant::start("globex").await];
    let world = World::start_with(tenants, |settings| settings.metrics.tenant_label_limit = 1).await;
    world.browser().get("/acme").await;
    world.browser().get("/globex").await;
    world.browser().get("/nobody").await;
    let text = world.browser().get("/metrics").await.body;
    assert!(
        text.contains(r#"tenant="acme""#) && text.contains(r#"tenant="_other""#) && text.contains(r#"tenant="_none""#),
        "{text}"
    );
    assert!(!text.contains("globex") && !text.contains("nobody"), "{text}");
}

#[tokio::test]
async fn public_url_decides_redirect_uris_and_other_hosts_are_misdirected() {
    let world = World::start_with(vec![Tenant::start("acme").await], |settings| {
        settings.public_url = Some("https://login.example.com".parse().unwrap());
    })
    .await;
    let mut browser = world.browser().with("host", "login.example.com");
    let page = browser.get("/acme/login").await;
    let redirect_uri = page.location().query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    assert_eq!(redirect_uri, "https://login.example.com/acme/callback");
    assert!(page.header("set-cookie").starts_with("__Host-lychgate-acme."), "{}", page.header("set-cookie").len());
    assert!(page.header("set-cookie").contains("Secure"));
    assert!(page.header("strict-transport-security").contains("max-age"));
    assert_eq!(world.browser().get("/acme/login").await.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn a_doubled_forwarding_header_is_refused() {
    let world = support::acme().await;
    let page = world.browser().with("x-forwarded-host", "a.example, b.example").get("/acme").await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "bad_forwarded_header"));
}

#[tokio::test]
async fn a_tenants_pages_have_its_look() {
    let world = support::acme_with(|tenant| {
        tenant.look = Look {
            display_name: Some("Acme Bank".to_owned()),
            logo: Some("https://acme.example/logo.svg".to_owned()),
            accent_color: Some(AccentColor([0xc8, 0x10, 0x2e])),
            support_url: Some("https://acme.example/help".parse().unwrap()),
        };
    })
    .await;
    let mut browser = world.browser();
    let page = browser.get("/acme").await;
    for part in [
        r#"<img class="logo" src="https://acme.example/logo.svg" alt="Acme Bank">"#,
        r#"href="https://acme.example/help""#,
        "Acme Bank</title>",
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    let sheets = |html: &str| -> Vec<String> {
        let links = html.split(r#"rel="stylesheet" href=""#).skip(1);
        links.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let (acmes, nobodys) = (sheets(&page.body), sheets(&browser.get("/").await.body));
    assert!(acmes.len() == 2 && acmes[0] == nobodys[0] && acmes[1] != nobodys[1], "{acmes:?} {nobodys:?}");
    for sheet in acmes {
        let sheet = browser.get(&sheet).await;
        assert_eq!((sheet.status, sheet.header("content-type")), (StatusCode::OK, "text/css; charset=utf-8"));
        assert!(sheet.header("cache-control").contains("immutable"));
    }
}

#[tokio::test]
async fn pages_speak_the_visitors_language() {
    let world = support::acme().await;
    for (wanted, lang) in [("de", "de"), ("fr-CH, fr;q=0.9", "fr"), ("es", "es"), ("ja", "ja"), ("pt", "en")] {
        let page = world.browser().with("accept-language", wanted).get("/acme").await;
        assert!(page.body.contains(&format!(r#"lang="{lang}""#)), "{wanted}");
    }
    let page = world.browser().with("accept-language", "de").get("/acme?ui_locales=ja").await;
    assert!(page.body.contains(r#"lang="ja""#));
}
