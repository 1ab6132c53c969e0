//! Attacks by way of the browser: frames, foreign scripts, markup, and caches between it and us.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::home;
use crate::routes::ROUTES;
use crate::support::{self, ADA, Page, Tenant, World};

const CANARY: &str = "evil-canary.example";

/// Pages, scripts' answers and errors of all kinds.
const PATHS: &[&str] = &[
    "/",
    "/acme",
    "/acme/login",
    "/acme/login?return_to=//evil.example",
    "/acme/login?step_up=9",
    "/acme/signup",
    "/acme/callback",
    "/acme/callback?code=a&state=b",
    "/acme/dashboard",
    "/acme/session",
    "/acme/token",
    "/acme/logged-out",
    "/acme/disconnect",
    "/acme/auth",
    "/acme/auth/traefik",
    "/acme/sessions/revoke",
    "/acme/backchannel-logout",
    "/acme/nothing",
    "/nobody",
    "/acme/a;b",
    "/livez",
    "/readyz",
    "/assets/nothing.css",
    "/acme/login/local",
];

async fn all_answers(world: &World) -> Vec<(String, Page)> {
    let mut answers = Vec::new();
    for browser in [world.browser(), world.signed_in("acme").await] {
        for path in PATHS {
            for accept in ["text/html", "application/json"] {
                let page = browser.clone().with("accept", accept).get(path).await;
                answers.push((format!("{path} {accept}"), page));
            }
        }
    }
    answers
}

/// Clickjacking, and what else a foreign page may do with ours (ASVS 3.4.3 to 3.4.8): every answer forbids it.
#[tokio::test]
async fn no_answer_can_be_framed_sniffed_or_read_by_another_site() {
    let world = support::acme().await;
    let answers = all_answers(&world).await;
    for (what, page) in &answers {
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{what}: {policy}"
        );
        assert!(
            !policy.contains("script-src") && !policy.contains("unsafe") && !policy.contains('*'),
            "{what}: {policy}"
        );
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(page.header(name), value, "{what}: {name}");
        }
        if !page.body.is_empty() {
            assert_eq!(page.header("cross-origin-resource-policy"), "same-origin", "{what}");
        }
        if page.header("content-type").starts_with("text/html") {
            assert!(policy.contains("base-uri 'none'") && policy.contains("form-action 'self'"), "{what}: {policy}");
            assert_eq!(page.header("cross-origin-opener-policy"), "same-origin", "{what}");
            assert!(page.header("content-type").ends_with("charset=utf-8"), "{what}");
        }
    }
    assert!(answers.iter().filter(|(_, page)| page.header("content-type").starts_with("text/html")).count() >= 20);
    // The one page that is made for a frame: it is empty, and for the tenant's provider alone.
    let page = world.browser().get("/acme/frontchannel-logout").await;
    let origin = world.provider().issuer().trim_end_matches('/');
    assert_eq!(page.header("content-security-policy"), format!("default-src 'none'; frame-ancestors {origin}"));
    assert!(!page.body.contains("<form") && !page.body.contains("<a "), "{}", page.body);
}

/// ASVS 3.4.1: over https every answer asks for https from now on, for a year.
#[tokio::test]
async fn every_answer_over_https_asks_for_https_for_a_year() {
    let world = home::acme().await;
    let signed_in = home::signed_in(&world).await;
    for browser in [home::browser(&world), signed_in] {
        for path in PATHS {
            let page = browser.clone().get(path).await;
            assert_eq!(page.header("strict-transport-security"), "max-age=31536000", "{path}");
        }
    }
    let page = world.browser().get("/livez").await;
    assert_eq!(page.header("strict-transport-security"), "", "http must not say it (RFC 6797, section 7.2)");
}

/// ASVS 3.4.2, 3.5.2: no origin is given leave to read an answer, whatever it asks.
#[tokio::test]
async fn no_other_origin_is_given_leave_to_read() {
    let world = support::acme_with(|tenant| tenant.tokens.endpoint = true).await;
    let signed_in = world.signed_in("acme").await;
    for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://localhost"] {
        for (route, _) in ROUTES {
            for method in [Method::OPTIONS, Method::GET] {
                let mut foreign = signed_in.clone().with("origin", origin).with("sec-fetch-site", "cross-site");
                foreign = foreign.with("sec-fetch-mode", "cors").with("access-control-request-method", "POST");
                let page =
                    foreign.send(method.clone(), &route.replace('…', "x").replace("<reference>", "x"), None).await;
                let names = page.headers.keys().map(reqwest::header::HeaderName::as_str);
                let told: Vec<_> = names.filter(|name| name.starts_with("access-control")).collect();
                assert!(told.is_empty(), "{method} {route} {origin}: {told:?}");
            }
        }
        let mut foreign = signed_in.clone().with("origin", origin).with("sec-fetch-mode", "cors");
        assert_eq!(foreign.get("/acme/token").await.status, StatusCode::FORBIDDEN, "{origin}");
    }
    assert!(signed_in.clone().session("acme").await.is_some(), "nobody was signed out");
}

/// Cache poisoning: a header that is in no cache's key is either without effect, or the answer is not to be kept.
#[tokio::test]
async fn what_a_header_changes_no_cache_may_keep() {
    let world = home::acme().await;
    let browser = home::browser(&world);
    let page = browser.clone().get("/acme").await;
    let sheet = page.body.split("rel=\"stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let url = format!("https://{CANARY}/{CANARY}");
    let path = format!("/{CANARY}");
    for asked in ["/acme", "/acme/login", "/acme/session", "/acme/nothing", "/assets/nothing.css", &sheet] {
        let plain = browser.clone().get(asked).await;
        for (name, value) in [
            ("x-forwarded-host", CANARY),
            ("x-forwarded-server", CANARY),
            ("x-forwarded-port", "4443"),
            ("x-forwarded-scheme", "nothttps"),
            ("x-forwarded-prefix", &path),
            ("x-forwarded-uri", &path),
            ("x-original-url", &url),
            ("x-rewrite-url", &path),
            ("x-host", CANARY),
            ("x-http-method-override", "POST"),
            ("origin", &url),
            ("referer", &url),
            ("user-agent", CANARY),
            ("accept-language", "de"),
            ("accept-encoding", CANARY),
            ("x-request-id", CANARY),
            ("range", "bytes=0-1"),
            ("if-none-match", "*"),
        ] {
            let page = browser.clone().with(name, value).get(asked).await;
            let kept = page.header("cache-control") != "no-store";
            assert_eq!(kept, asked == sheet && page.status == StatusCode::OK, "{asked} {name}: {}", page.status);
            if kept {
                assert_eq!((page.status, &page.body), (plain.status, &plain.body), "{asked} {name}");
                assert!(!format!("{:?}", page.headers.get("set-cookie")).contains("lychgate"));
            }
            let request_id = name == "x-request-id";
            let told = format!("{:?} {}", page.headers, page.body);
            assert!(request_id || !told.contains(CANARY), "{asked} {name}: {told}");
        }
    }
}

/// A host that is not ours is not repeated: neither from `Host` nor from `X-Forwarded-Host`.
#[tokio::test]
async fn a_host_that_is_not_ours_stands_in_no_answer() {
    let world = home::acme().await;
    let browser = home::browser(&world);
    for path in PATHS {
        for (name, value) in [
            ("host", CANARY.to_owned()),
            ("host", format!("{}@{CANARY}", home::HOST)),
            ("host", format!("{}.{CANARY}", home::HOST)),
            ("x-forwarded-host", format!("{}:443@{CANARY}", home::HOST)),
            ("x-forwarded-host", format!("{}.{CANARY}", home::HOST)),
        ] {
            let page = browser.clone().with(name, &value).get(path).await;
            assert!(!format!("{:?} {}", page.headers, page.body).contains(CANARY), "{path} {name} {value}");
            assert_eq!(page.header("cache-control"), "no-store", "{path}");
            let open = ["/livez", "/readyz", "/assets/nothing.css"].contains(path);
            assert!(open || page.status.is_client_error(), "{path} {value}: {}", page.status);
        }
    }
    let canonical = format!("{}.:443", home::HOST.to_uppercase());
    let page = browser.clone().with("host", &canonical).get("/acme").await;
    assert_eq!(page.status, StatusCode::OK, "our own in another spelling is ours (CVE-2026-48794)");
}

/// Web cache deception: a page of somebody's under the name of a file is no page.
#[tokio::test]
async fn a_page_under_the_name_of_a_file_shows_nothing() {
    let world = support::acme().await;
    let signed_in = world.signed_in("acme").await;
    for page in ["dashboard", "session", "token", ""] {
        for tail in
            ["/x.css", "/assets/x.css", "%2fx.css", ";x.css", "%3bx.css", ".css", "%00.css", "%0a.css", "%23x.css"]
        {
            let answer = signed_in.clone().get(&format!("/acme/{page}{tail}")).await;
            assert!(!answer.body.contains(ADA), "{page}{tail}");
            assert_eq!(answer.header("cache-control"), "no-store", "{page}{tail}");
            assert!(answer.status.is_client_error(), "{page}{tail}: {}", answer.status);
        }
    }
}

/// XSS and content spoofing (CVE-2026-33525, CVE-2017-6059, CVE-2019-1010247): markup from the provider and from the
/// address is text on every page.
#[tokio::test]
async fn markup_from_outside_is_text_on_every_page() {
    let world = World::start(vec![Tenant::start("acme").await]).await;
    let markup = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}";
    for claim in ["name", "nickname", "picture", "given_name", "https://acme.example/x\"><script>"] {
        world.provider().change_claim(ADA, claim, markup);
    }
    world.provider().change_claim(ADA, "groups", json!([markup, {"<script>": markup}]));
    world.provider().change_claim(ADA, "website", "javascript:alert(1)");
    let agent = "<script>alert(1)</script>Mozilla/5.0\"'>";
    let mut ada = world.browser().with("user-agent", agent);
    let landed = ada.visit("/acme/login").await;
    assert_eq!(landed.url.path(), "/acme/dashboard", "{}", landed.body);
    assert!(landed.body.contains("&lt;script&gt;alert(1)"), "it is shown: {}", landed.body);
    let query: String = url::form_urlencoded::byte_serialize(markup.as_bytes()).collect();
    let state = world.browser().get("/acme/login").await.location();
    let state = state.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    for path in [
        "/acme/dashboard".to_owned(),
        "/acme/disconnect".to_owned(),
        format!("/acme/login?return_to={query}"),
        format!("/acme/login?login_hint={query}&ui_locales={query}&iss={query}"),
        format!("/acme?ui_locales={query}"),
        format!("/acme/callback?error={query}&error_description={query}&state={query}"),
        format!("/acme/callback?error={query}&error_description={query}&error_uri={query}&state={state}"),
        format!("/acme/frontchannel-logout?iss={query}&sid={query}"),
        format!("/acme/logged-out?{query}"),
        format!("/acme/{query}"),
        format!("/{query}"),
        format!("/assets/{query}"),
    ] {
        let page = ada.clone().with("x-request-id", "<script>").with("accept-language", "<script>").get(&path).await;
        let html = page.body.to_lowercase();
        for active in ["<script", "<img src=x", "href=\"javascript", "src=\"javascript", "\" onerror", "49"] {
            assert!(!html.contains(active) || active == "49" && !html.contains("gt;49"), "{path}: {active} in {html}");
        }
        assert!(!format!("{:?}", page.headers).contains("<script"), "{path}");
    }
}
