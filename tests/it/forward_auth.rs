//! Proxies ask whether a request may pass: what nginx, HAProxy, Traefik, Caddy and Envoy send, replayed.

use std::sync::Arc;

use lychgate::config::{DefaultRule, Effect, IdentityValue, OriginPattern, PathPattern, Rule};
use lychgate::net::Networks;
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::Url;

use crate::support::{self, ADA, Browser, Page, Tenant, World};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Proxy {
    Nginx,
    Traefik,
    Caddy,
    Envoy,
}

use Proxy::{Caddy, Envoy, Nginx, Traefik};

pub const PROXIES: [Proxy; 4] = [Nginx, Traefik, Caddy, Envoy];

pub type Headers<'a> = &'a [(&'static str, &'a str)];

/// What a browser sends where it opens a page.
const NAVIGATION: Headers =
    &[("accept", "text/html,*/*"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];

const IDENTITY: [&str; 11] = [
    "x-auth-request-user",
    "x-auth-request-email",
    "x-auth-request-preferred-username",
    "x-auth-request-name",
    "x-auth-request-groups",
    "x-auth-request-tenant",
    "x-auth-request-access-token",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
];

/// A request to an application that `proxy` asks the tenant at `base` about: with these headers, and the cookies of
/// `browser`.
async fn asks_at(proxy: Proxy, base: &str, browser: &Browser, request: (&str, &str), headers: Headers<'_>) -> Page {
    let (method, url) = request;
    let parsed = Url::parse(url).unwrap();
    let authority = &parsed[url::Position::BeforeHost..url::Position::AfterPort];
    let target = &url[url.find(authority).unwrap() + authority.len()..];
    let mut asking = browser.clone();
    asking.headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let mut header = |name, value: &str| asking.headers.push((name, value.to_owned()));
    header("x-forwarded-for", "203.0.113.7");
    match proxy {
        Nginx => {
            header("x-original-url", url);
            header("x-original-method", method);
            asking.get(&format!("{base}/auth")).await
        }
        Traefik | Caddy => {
            header("x-forwarded-method", method);
            header("x-forwarded-proto", parsed.scheme());
            header("x-forwarded-host", authority);
            header("x-forwarded-uri", target);
            if proxy == Caddy {
                header("host", authority);
            }
            asking.get(&format!("{base}/auth/{}", if proxy == Caddy { "caddy" } else { "traefik" })).await
        }
        Envoy => {
            header("x-forwarded-proto", parsed.scheme());
            header("host", authority);
            asking.send(method.parse().unwrap(), &format!("{base}/auth/envoy{target}"), None).await
        }
    }
}

pub async fn asks(proxy: Proxy, browser: &Browser, request: (&str, &str), headers: Headers<'_>) -> Page {
    asks_at(proxy, "/acme", browser, request, headers).await
}

/// One tenant, and an application on the same host beside `/acme`, which a sign-in may return to.
async fn acme() -> World {
    let mut world = support::acme().await;
    let port = world.address.port();
    let pattern = OriginPattern { scheme: "http".into(), host: "127.0.0.1".into(), port, subdomains: false };
    world
        .restart_with(|settings| Arc::make_mut(&mut settings.tenants[0]).sign_in.return_to_origins = vec![pattern])
        .await;
    world
}

fn page_of(world: &World) -> String {
    world.url("/reports/2026?year=2026&x=%C3%A4&y=a+b")
}

#[track_caller]
fn assert_tells_nothing(page: &Page) {
    for name in page.headers.keys().map(reqwest::header::HeaderName::as_str) {
        assert!(!IDENTITY.contains(&name) && name != "authorization" && name != "set-cookie", "{name}");
    }
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.body.len() < 8192, "{}", page.body.len());
}

#[track_caller]
fn assert_refused(page: &Page, what: &str) {
    assert_eq!(page.status, StatusCode::FORBIDDEN, "{what}: {}", page.body);
    assert_tells_nothing(page);
}

#[tokio::test]
async fn whoever_is_signed_in_passes_and_the_application_learns_who() {
    let world = acme().await;
    let browser = world.signed_in("acme").await;
    for proxy in PROXIES {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let page = asks(proxy, &browser, (method, &page_of(&world)), NAVIGATION).await;
            assert_eq!((page.status, page.body.as_str()), (StatusCode::OK, ""), "{proxy:?} {method}");
            for name in IDENTITY {
                assert_eq!(page.headers.get_all(name).iter().count(), 1, "{proxy:?} {name}");
            }
            assert_eq!(page.header("x-auth-request-email"), ADA);
            assert_eq!(page.header("x-auth-request-name"), "Ada Lovelace");
            assert_eq!(page.header("x-auth-request-tenant"), "acme");
            assert!(!page.header("x-auth-request-user").is_empty());
            assert_eq!(page.header("x-auth-request-user"), page.header("x-forwarded-user"));
            assert_eq!(page.header("x-auth-request-access-token"), "");
            assert_eq!(page.header("cache-control"), "no-store");
            assert!(!page.headers.contains_key("set-cookie") && !page.headers.contains_key("authorization"));
        }
    }
    assert_eq!(world.metric(r#"lychgate_forward_auth_decisions_total{outcome="allowed",tenant="acme"}"#), 16);
}

#[tokio::test]
async fn the_tenant_chooses_further_headers() {
    let mut tenant = Tenant::start("acme").await;
    let claim = |name: &str| IdentityValue::Claim(name.to_owned());
    let own = [
        ("x-nickname", claim("nickname")),
        ("x-nobody", claim("https://acme.example/none")),
        ("authorization", IdentityValue::BearerIdToken),
    ];
    let own = own.map(|(name, value)| (name.parse().unwrap(), value));
    Arc::make_mut(&mut tenant.settings.identity.headers).extend(own);
    let world = World::start(vec![tenant]).await;
    let browser = world.signed_in("acme").await;
    let page = asks(Caddy, &browser, ("GET", &world.url("/")), &[]).await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.headers["x-nobody"], "", "a value that nobody has still has its name");
    assert!(page.headers.contains_key("x-nickname"));
    assert_eq!(page.header("authorization").strip_prefix("Bearer ").unwrap().split('.').count(), 3);
}

#[tokio::test]
async fn a_browser_that_opens_a_page_is_told_where_to_sign_in() {
    let world = acme().await;
    for proxy in PROXIES {
        for headers in [
            NAVIGATION,
            &[("accept", "text/html")],
            &[("accept", "*/*")],
            &[],
            &[("accept", "application/json"), ("sec-fetch-mode", "navigate")],
        ] {
            let page = asks(proxy, &world.browser(), ("GET", &page_of(&world)), headers).await;
            assert_tells_nothing(&page);
            if proxy == Nginx {
                assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{headers:?}");
                assert!(page.headers.contains_key("www-authenticate"));
            } else {
                assert_eq!((page.status, page.body.as_str()), (StatusCode::FOUND, ""), "{proxy:?} {headers:?}");
            }
            let location = Url::parse(page.header("location")).expect("an absolute URL");
            assert!(location.as_str().starts_with(&world.url("/acme/login?")), "{location}");
            let query: Vec<_> = location.query_pairs().into_owned().collect();
            assert_eq!(query, [("return_to".to_owned(), page_of(&world))], "{proxy:?}");
        }
    }
    assert_eq!(world.provider().count("/authorize"), 0);
    assert_eq!(world.provider().count("/.well-known/openid-configuration"), 0, "no provider is called");
}

#[tokio::test]
async fn nothing_but_a_navigation_begins_a_sign_in() {
    let world = acme().await;
    let (get, post) = ("GET", "POST");
    let cases: &[(&str, &str, Headers)] = &[
        ("a script", get, &[("accept", "*/*"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")]),
        ("an old script", get, &[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")]),
        ("a script that wants JSON", get, &[("accept", "application/json")]),
        ("a picture", get, &[("accept", "image/avif,*/*;q=0.8"), ("sec-fetch-mode", "no-cors")]),
        ("a picture of an old browser", get, &[("accept", "image/avif,*/*;q=0.8")]),
        ("a frame", get, &[("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]),
        ("a posted form", post, NAVIGATION),
        ("an old posted form", post, &[("accept", "text/html")]),
        ("a prefetch", get, &[("sec-purpose", "prefetch"), ("sec-fetch-mode", "navigate"), ("accept", "text/html")]),
        ("a prerender", get, &[("sec-purpose", "prefetch;prerender"), ("sec-fetch-mode", "navigate")]),
        ("a WebSocket", get, &[("sec-fetch-mode", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]),
        ("an old WebSocket", get, &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]),
    ];
    for proxy in PROXIES {
        for (what, method, headers) in cases {
            let page = asks(proxy, &world.browser(), (method, &page_of(&world)), headers).await;
            assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{proxy:?}: {what}");
            assert_eq!(page.header("content-type"), "application/problem+json", "{proxy:?}: {what}");
            assert_eq!(page.json()["code"], "not_signed_in");
            assert!(page.headers.contains_key("www-authenticate"));
            assert!(!page.headers.contains_key("location"), "{proxy:?}: {what}");
            assert_tells_nothing(&page);
        }
    }
}

#[tokio::test]
async fn after_the_sign_in_the_person_is_on_the_very_page() {
    let world = acme().await;
    for proxy in PROXIES {
        let mut browser = world.browser();
        let denied = asks(proxy, &browser, ("GET", &page_of(&world)), NAVIGATION).await;
        let page = browser.visit(denied.header("location")).await;
        assert_eq!(page.url.as_str(), page_of(&world), "{proxy:?}");
        let page = asks(proxy, &browser, ("GET", &page_of(&world)), NAVIGATION).await;
        assert_eq!(page.status, StatusCode::OK, "{proxy:?}");
        browser.get("/acme/logout").await;
        let page = asks(proxy, &browser, ("GET", &page_of(&world)), &[("sec-fetch-mode", "cors")]).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{proxy:?}");
    }
}

#[tokio::test]
async fn a_link_that_is_too_long_for_the_cookie_leads_back_to_the_page_without_its_query() {
    let world = acme().await;
    for (wanted, lands) in [
        (format!("/reports?{}", "a".repeat(380)), format!("/reports?{}", "a".repeat(380))),
        (format!("/reports?{}", "a".repeat(1000)), "/reports".to_owned()),
        (format!("/reports?{}", "a".repeat(6000)), "/reports".to_owned()),
        (format!("/{}?a", "b".repeat(1000)), "/".to_owned()),
    ] {
        let mut browser = world.browser();
        let denied = asks(Caddy, &browser, ("GET", &world.url(&wanted)), NAVIGATION).await;
        let begun = browser.get(denied.header("location")).await;
        assert!(begun.header("set-cookie").split(';').next().unwrap().len() <= 700);
        let page = browser.visit(begun.header("location")).await;
        assert_eq!(page.url.as_str(), world.url(&lands), "{}", wanted.len());
    }
}

#[tokio::test]
async fn a_tenant_on_the_applications_own_host_is_told_by_that_host() {
    let world = on_own_hosts().await;
    for (host, tenant) in [("app.acme.example", "acme"), ("app.globex.example", "globex")] {
        for proxy in PROXIES {
            let wanted = format!("https://{host}/reports?year=2026");
            let page = asks_at(proxy, "/.lychgate", &world.browser(), ("GET", &wanted), NAVIGATION).await;
            let location = page.header("location").to_owned();
            assert!(location.starts_with(&format!("https://{host}/.lychgate/login?")), "{proxy:?}: {}", page.body);

            let browser = signed_in_at(&world, tenant, host, &location, "/reports?year=2026").await;
            assert_eq!(browser.cookies_named(&format!("__Host-lychgate-{tenant}")).len(), 2, "session and marker");
            let page = asks_at(proxy, "/.lychgate", &browser, ("GET", &wanted), NAVIGATION).await;
            assert_eq!((page.status, page.header("x-auth-request-tenant")), (StatusCode::OK, tenant), "{proxy:?}");
            let other = "https://app.other.example/reports";
            let page = asks_at(proxy, "/.lychgate", &browser, ("GET", other), NAVIGATION).await;
            assert_ne!(page.status, StatusCode::OK, "{proxy:?}");
        }
    }
}

/// Two tenants, each below `/.lychgate` on a host of its own.
async fn on_own_hosts() -> World {
    let mut tenants = Vec::new();
    for id in ["acme", "globex"] {
        let mut tenant = Tenant::start(id).await;
        let host = format!("app.{id}.example");
        let client = tenant.settings.provider.client_id.clone();
        let base = format!("https://{host}/.lychgate");
        tenant.provider.allow(&client, &format!("{base}/callback"), &format!("{base}/logged-out"));
        tenant.settings.hosts = vec![host];
        "/.lychgate".clone_into(&mut tenant.settings.prefix);
        tenants.push(tenant);
    }
    World::start(tenants).await
}

/// A browser that followed `location` to the provider and back to `host`, where it was sent on to `lands`.
async fn signed_in_at(world: &World, tenant: &str, host: &str, location: &str, lands: &str) -> Browser {
    let (browser, back) = comes_back(world, host, location).await;
    assert_eq!(back.header("location"), lands, "{tenant}: {}", back.body);
    browser
}

/// A browser that followed `location` to the provider and back to `host`, and what it was answered there.
pub async fn comes_back(world: &World, host: &str, location: &str) -> (Browser, Page) {
    let path = |url: &str| Url::parse(url).unwrap()[url::Position::BeforePath..].to_owned();
    let mut there = world.browser().with("host", host).with("x-forwarded-proto", "https");
    let begun = there.get(&path(location)).await;
    assert_eq!(begun.status, StatusCode::FOUND, "{location}: {}", begun.body);
    let mut at_provider = world.browser();
    let mut page = at_provider.get(begun.header("location")).await;
    while !page.header("location").starts_with("https://") {
        let next = page.location();
        page = at_provider.get(next.as_str()).await;
    }
    let back = there.get(&path(page.header("location"))).await;
    (there, back)
}

#[tokio::test]
async fn no_forged_header_chooses_the_tenant() {
    let world = on_own_hosts().await;
    let host = "app.globex.example";
    let denied = asks_at(Nginx, "/.lychgate", &world.browser(), ("GET", &format!("https://{host}/")), NAVIGATION).await;
    let mallory = signed_in_at(&world, "globex", host, denied.header("location"), "/").await;
    let acme = ("GET", "https://app.acme.example/");
    for proxy in PROXIES {
        for forged in [
            ("x-forwarded-host", "app.globex.example"),
            ("x-original-url", "https://app.globex.example/"),
            ("x-forwarded-server", "app.globex.example"),
            ("forwarded", "host=app.globex.example;proto=https"),
            ("x-forwarded-prefix", "/globex"),
        ] {
            let headers = [&[forged], NAVIGATION].concat();
            for base in ["/.lychgate", "/acme/.lychgate"] {
                let page = asks_at(proxy, base, &mallory, acme, &headers).await;
                assert_ne!(page.status, StatusCode::OK, "{proxy:?} {base} {forged:?}");
                assert!(!page.headers.contains_key("x-auth-request-user"));
            }
        }
    }
    // A proxy that names one host and asks about another tenant's is not understood.
    let mut asking = mallory.clone().with("host", "app.acme.example").with("x-original-method", "GET");
    asking = asking.with("x-original-url", "https://app.globex.example/");
    assert_refused(&asking.get("/.lychgate/auth").await, "two tenants");
    let page = asks_at(Traefik, "/globex/.lychgate", &mallory, acme, NAVIGATION).await;
    assert_refused(&page, "one tenant's endpoint about another's host");
}

#[tokio::test]
async fn only_trusted_proxies_get_an_answer() {
    let mut world = acme().await;
    let browser = world.signed_in("acme").await;
    world.restart_with(|settings| settings.trusted_proxies = Networks::default()).await;
    for proxy in PROXIES {
        for asking in [&browser, &world.browser()] {
            let page = asks(proxy, asking, ("GET", &page_of(&world)), NAVIGATION).await;
            assert_refused(&page, &format!("{proxy:?}"));
            assert!(!page.headers.contains_key("location"));
        }
    }
    assert_eq!(world.metric(r#"lychgate_forward_auth_decisions_total{outcome="refused",tenant="acme"}"#), 8);
}

#[tokio::test]
async fn a_question_that_is_not_clear_is_refused() {
    let world = acme().await;
    let browser = world.signed_in("acme").await;
    let url = |target: &str| world.url(target);
    for target in
        ["/a/../b", "/%2e%2e/b", "//b", "/a//b", "/a;b", "/a%2fb", "/a%5cb", "/a%23b", "/a%00", "/%ff", "/%252e", "/%"]
    {
        for proxy in PROXIES {
            if proxy == Envoy {
                // A client library would mend the path.
                let status = raw_status(&world, &browser, &format!("/acme/auth/envoy{target}")).await;
                assert_eq!(status, "403", "{target}");
                continue;
            }
            let page = asks(proxy, &browser, ("GET", &url(target)), NAVIGATION).await;
            assert_refused(&page, &format!("{proxy:?} {target}"));
        }
    }
    let complete: [(&str, &[(&str, &str)]); 3] = [
        ("/acme/auth", &[("x-original-url", "http://app.localhost/a"), ("x-original-method", "GET")]),
        (
            "/acme/auth/traefik",
            &[
                ("x-forwarded-method", "GET"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "app.localhost"),
                ("x-forwarded-uri", "/a"),
            ],
        ),
        ("/acme/auth/envoy/a", &[("x-forwarded-proto", "http")]),
    ];
    for (path, headers) in complete {
        let ask = async |headers: Vec<(&'static str, String)>| {
            let mut asking = browser.clone();
            asking.headers = headers;
            asking.get(path).await
        };
        let all: Vec<_> = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        assert_eq!(ask(all.clone()).await.status, StatusCode::OK, "{path}");
        for at in 0..all.len() {
            let mut without = all.clone();
            without.remove(at);
            assert_refused(&ask(without).await, &format!("{path} without {}", all[at].0));
            for bad in ["", "a b", "#", "a, b", "\t", "ä", "http://app.localhost/a#b", "//", "\\"] {
                let mut wrong = all.clone();
                bad.clone_into(&mut wrong[at].1);
                assert_refused(&ask(wrong).await, &format!("{path}, {} {bad}", all[at].0));
            }
            for again in [all[at].1.as_str(), "x"] {
                let mut doubled = all.clone();
                doubled.push((all[at].0, again.to_owned()));
                assert_refused(&ask(doubled).await, &format!("{path}, {} twice", all[at].0));
            }
        }
        for (name, value) in [("x-forwarded-for", "unknown"), ("x-forwarded-host", "a b")] {
            let mut wrong = all.clone();
            wrong.retain(|(known, _)| *known != name);
            wrong.push((name, value.to_owned()));
            assert_refused(&ask(wrong).await, &format!("{path}, {name}"));
        }
    }
}

/// The status of a GET, as Envoy sends it, whose path nobody mends.
async fn raw_status(world: &World, browser: &Browser, path: &str) -> String {
    let (name, value) =
        browser.cookies_named("lychgate-acme").into_iter().find(|(_, value)| value.len() == 70).unwrap();
    let head = format!("Host: {}\r\nX-Forwarded-Proto: http\r\nCookie: {name}={value}", world.address);
    let mut socket = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\n{head}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn an_envoys_path_is_read_as_it_came() {
    let world = acme().await;
    let browser = world.signed_in("acme").await;
    for (path, status) in [
        ("/acme/auth/envoy/a/b?c=/../d", "200"),
        ("/acme/auth/envoy/", "200"),
        ("/acme/auth/envoy", "403"),
        ("/acme/auth/envoy/../x", "403"),
        ("/acme/auth/envoy/a/./b", "403"),
        ("/acme/auth/envoy//", "403"),
        ("/acme/auth/envoy/acme/auth/envoy/x", "403"),
    ] {
        assert_eq!(raw_status(&world, &browser, path).await, status, "{path}");
    }
}

#[tokio::test]
async fn nobody_is_let_in_to_the_question_itself() {
    let world = acme().await;
    let browser = world.signed_in("acme").await;
    for proxy in PROXIES {
        for target in ["/acme/auth", "/acme/auth/", "/acme/auth/caddy?a", "/acme/%61uth/envoy/x"] {
            let page = asks(proxy, &browser, ("GET", &world.url(target)), NAVIGATION).await;
            assert_refused(&page, &format!("{proxy:?} {target}"));
        }
        let page = asks(proxy, &browser, ("GET", &world.url("/acme/authors")), NAVIGATION).await;
        assert_eq!(page.status, StatusCode::OK, "{proxy:?}");
    }
}

#[tokio::test]
async fn what_a_client_says_of_itself_is_not_repeated() {
    let world = acme().await;
    let browser = world.signed_in("acme").await;
    let forged: Vec<_> =
        IDENTITY.iter().map(|name| (*name, "mallory")).chain([("authorization", "Basic bWFs")]).collect();
    for proxy in PROXIES {
        let page = asks(proxy, &browser, ("GET", &page_of(&world)), &forged).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(!format!("{:?}", page.headers).contains("mallory"), "{proxy:?}");
        assert_eq!(page.headers.get_all("x-auth-request-user").iter().count(), 1);
    }
}

#[tokio::test]
async fn a_person_who_may_not_gets_403_and_no_redirect() {
    let mut world = acme().await;
    let browser = world.signed_in("acme").await;
    world
        .restart_with(|settings| Arc::make_mut(&mut settings.tenants[0]).policy.default_rule = DefaultRule::Deny)
        .await;
    for proxy in PROXIES {
        let page = asks(proxy, &browser, ("GET", &page_of(&world)), NAVIGATION).await;
        assert_refused(&page, &format!("{proxy:?}"));
        assert!(page.body.contains("access_refused"), "{}", page.body);
        assert_eq!(page.header("content-type").starts_with("text/html"), proxy != Nginx, "{proxy:?}");
        if proxy != Nginx {
            assert!(page.body.contains(&format!(r#"href="{}"#, world.url("/acme/logout"))), "{}", page.body);
            let policy = page.header("content-security-policy");
            assert!(policy.contains(&format!("style-src {};", world.url(""))), "{policy}");
        }
        let page = asks(proxy, &browser, ("GET", &page_of(&world)), &[("accept", "application/json")]).await;
        assert_refused(&page, &format!("{proxy:?}"));
        assert_eq!(page.json()["code"], "access_refused");
    }
}

#[tokio::test]
async fn while_the_store_is_gone_nobody_is_sent_to_sign_in() {
    let mut world = acme().await;
    let browser = world.signed_in("acme").await;
    // After a restart no session is in memory.
    world.restart_with(|_| {}).await;
    let other = rusqlite::Connection::open(world.data_dir().join("lychgate.db")).unwrap();
    other.execute_batch("DROP TABLE sessions").unwrap();
    for proxy in PROXIES {
        let page = asks(proxy, &browser, ("GET", &page_of(&world)), NAVIGATION).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{proxy:?}: {}", page.body);
        assert!(page.headers.contains_key("retry-after") && !page.headers.contains_key("location"));
        assert_tells_nothing(&page);
    }
    assert_eq!(world.metric(r#"lychgate_forward_auth_decisions_total{outcome="unavailable",tenant="acme"}"#), 4);
}

/// A tenant at `login.acme.example`, an application at `app.acme.example`.
pub async fn apart(cookie_domain: Option<&str>, may_return: bool) -> World {
    let mut tenant = Tenant::start("acme").await;
    let client = tenant.settings.provider.client_id.clone();
    let base = "https://login.acme.example/acme";
    tenant.provider.allow(&client, &format!("{base}/callback"), &format!("{base}/logged-out"));
    tenant.settings.cookie_domain = cookie_domain.map(str::to_owned);
    if may_return {
        let host = "acme.example".to_owned();
        tenant.settings.sign_in.return_to_origins =
            vec![OriginPattern { scheme: "https".to_owned(), host, port: 443, subdomains: true }];
    }
    World::start_with(vec![tenant], |settings| {
        settings.public_url = Some("https://login.acme.example".parse().unwrap());
    })
    .await
}

#[tokio::test]
async fn with_a_cookie_domain_lychgate_has_a_host_of_its_own() {
    let world = apart(Some("acme.example"), true).await;
    let wanted = "https://app.acme.example/reports?year=2026";
    for proxy in PROXIES {
        let denied = asks(proxy, &world.browser(), ("GET", wanted), NAVIGATION).await;
        let location = denied.header("location");
        assert!(location.starts_with("https://login.acme.example/acme/login?"), "{proxy:?}: {}", denied.body);
        let mut browser = signed_in_at(&world, "acme", "login.acme.example", location, wanted).await;
        assert_eq!(browser.cookies_named("__Secure-lychgate-acme").len(), 1, "{:?}", browser.cookies.keys());
        let page = asks(proxy, &browser, ("GET", wanted), NAVIGATION).await;
        assert_eq!((page.status, page.header("x-auth-request-email")), (StatusCode::OK, ADA), "{proxy:?}");

        let begun = browser.get("/acme/login").await;
        let attempt = begun.header("set-cookie").to_owned();
        assert!(attempt.starts_with("__Host-lychgate-acme.") && !attempt.contains("Domain"), "host-only");
        let signed_out = browser.get("/acme/logout").await;
        let removals: Vec<_> = signed_out.headers.get_all("set-cookie").iter().map(|v| v.to_str().unwrap()).collect();
        let session = removals.iter().find(|cookie| cookie.starts_with("__Secure-lychgate-acme=")).unwrap();
        for part in ["Domain=acme.example", "Secure", "Path=/", "Max-Age=0"] {
            assert!(session.contains(part), "{session}");
        }
        assert!(removals.iter().all(|cookie| cookie.contains("Secure")), "{removals:?}");
        assert!(browser.cookies_named("__Secure-lychgate-acme").is_empty());
    }
}

#[tokio::test]
async fn a_sign_in_that_could_not_help_is_not_begun() {
    for (cookie_domain, may_return) in [(None, true), (Some("acme.example"), false)] {
        let world = apart(cookie_domain, may_return).await;
        for proxy in PROXIES {
            let wanted = ("GET", "https://app.acme.example/reports");
            let page = asks(proxy, &world.browser(), wanted, NAVIGATION).await;
            assert_refused(&page, &format!("{proxy:?} {cookie_domain:?}"));
            assert!(!page.headers.contains_key("location"));
            let page = asks(proxy, &world.browser(), wanted, &[("sec-fetch-mode", "cors")]).await;
            assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{proxy:?} {cookie_domain:?}");
        }
    }
}

#[tokio::test]
async fn another_tenants_corner_of_a_shared_host_is_not_the_applications() {
    let mut world = World::start(vec![Tenant::start("acme").await, Tenant::start("globex").await]).await;
    let port = world.address.port();
    let pattern = OriginPattern { scheme: "http".into(), host: "127.0.0.1".into(), port, subdomains: false };
    world
        .restart_with(|settings| Arc::make_mut(&mut settings.tenants[0]).sign_in.return_to_origins = vec![pattern])
        .await;
    let login = |path: &str| format!("/acme/login?return_to={path}");
    assert_eq!(world.browser().get(&login("/reports")).await.status, StatusCode::FOUND);
    for bad in [
        "/globex",
        "/globex/logout",
        "/%2567lobex/logout",
        "/globex?a",
        "/x/../globex/logout",
        "//evil.example",
        "/.//evil.example",
    ] {
        let page = world.browser().get(&login(bad)).await;
        assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "return_to_refused"), "{bad}");
    }
    let other = world.browser().get("/globex/login?return_to=/reports").await;
    assert_eq!(other.code(), "return_to_refused", "an origin is allowed by one tenant alone");
}

fn rule(name: Option<&str>, path: Option<&str>, effect: Effect) -> Rule {
    Rule {
        name: name.map(str::to_owned),
        paths: path.map(|path| PathPattern::parse(path).unwrap()).into_iter().collect(),
        methods: Vec::new(),
        hosts: Vec::new(),
        networks: Networks::default(),
        effect,
    }
}

fn step_up(minutes: Option<i64>, acr_values: Option<&str>) -> Effect {
    Effect::StepUp { max_age: minutes.map(|minutes| minutes * 60), acr_values: acr_values.map(str::to_owned) }
}

#[tokio::test]
async fn a_public_page_shows_every_identity_header_and_nobody_in_them() {
    let mut world = acme().await;
    world
        .restart_with(|settings| {
            Arc::make_mut(&mut settings.tenants[0]).policy.rules =
                vec![rule(None, Some("/public/**"), Effect::Public)].into();
        })
        .await;
    let mut stale = world.browser();
    stale.plant("lychgate-acme", "A".repeat(70).as_str());
    for proxy in PROXIES {
        for browser in [&world.browser(), &stale] {
            let forged = [("x-auth-request-user", "mallory"), ("x-forwarded-email", "mallory")];
            let page = asks(proxy, browser, ("POST", &world.url("/public/a?b")), &forged).await;
            assert_eq!((page.status, page.body.as_str()), (StatusCode::OK, ""), "{proxy:?}");
            for name in IDENTITY.into_iter().filter(|name| *name != "x-auth-request-tenant") {
                assert_eq!(page.headers[name], "", "{proxy:?} {name}");
            }
            assert_eq!(page.header("x-auth-request-tenant"), "acme");
            assert!(!page.headers.contains_key("set-cookie"));
        }
        for private in ["/private?x=/public/a", "/publicity", "/private?/public/"] {
            let page = asks(proxy, &world.browser(), ("POST", &world.url(private)), &[]).await;
            assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{proxy:?} {private}");
        }
    }
    let browser = world.signed_in("acme").await;
    let page = asks(Caddy, &browser, ("GET", &world.url("/public/a")), &[]).await;
    assert_eq!(page.header("x-auth-request-email"), ADA, "who is known is told");
}

#[tokio::test]
async fn a_rule_on_networks_asks_for_the_client_and_not_for_the_proxy() {
    let mut world = acme().await;
    world
        .restart_with(|settings| {
            let networks = |text| [lychgate::net::parse_network(text).unwrap()].into_iter().collect();
            let within = |text, effect| Rule { networks: networks(text), ..rule(None, None, effect) };
            Arc::make_mut(&mut settings.tenants[0]).policy.rules =
                vec![within("127.0.0.0/8", Effect::Public), within("203.0.113.0/24", Effect::Deny)].into();
        })
        .await;
    for proxy in PROXIES {
        let spoofed = [("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "127.0.0.1")];
        for headers in [&spoofed[..], &[]] {
            let page = asks(proxy, &world.browser(), ("POST", &page_of(&world)), headers).await;
            assert_refused(&page, &format!("{proxy:?}: 203.0.113.7"));
            assert!(page.body.contains("access_refused"), "{}", page.body);
        }
    }
    let mut asking = world.browser().with("x-original-url", &page_of(&world)).with("x-original-method", "GET");
    assert_refused(&asking.get("/acme/auth").await, "nobody said who the client is");
    let page = asking.with("x-forwarded-for", "198.51.100.1").get("/acme/auth").await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn whoever_must_step_up_signs_in_again_and_is_on_the_very_page() {
    let mut world = acme().await;
    world
        .restart_with(|settings| {
            let demand = step_up(Some(5), Some("phr"));
            Arc::make_mut(&mut settings.tenants[0]).sign_in.allowed_params.clear();
            Arc::make_mut(&mut settings.tenants[0]).policy.rules =
                vec![rule(Some("money"), Some("/money/**"), demand)].into();
        })
        .await;
    let wanted = world.url("/money/send?to=bob");
    for proxy in PROXIES {
        let mut browser = world.signed_in("acme").await;
        assert_eq!(asks(proxy, &browser, ("GET", &world.url("/a")), NAVIGATION).await.status, StatusCode::OK);

        let script = asks(proxy, &browser, ("GET", &wanted), &[("sec-fetch-mode", "cors")]).await;
        assert_eq!((script.status, &script.json()["code"]), (StatusCode::UNAUTHORIZED, &"step_up_required".into()));

        let denied = asks(proxy, &browser, ("GET", &wanted), NAVIGATION).await;
        assert_tells_nothing(&denied);
        assert!(denied.header("location").ends_with("&step_up=money"), "{}", denied.header("location"));
        let page = browser.visit(denied.header("location")).await;
        assert_eq!(page.url.as_str(), wanted, "{proxy:?}: {}", page.body);
        assert_eq!(asks(proxy, &browser, ("GET", &wanted), NAVIGATION).await.status, StatusCode::OK, "{proxy:?}");

        world.pass(500);
        let late = asks(proxy, &browser, ("GET", &wanted), NAVIGATION).await;
        assert!(late.header("location").ends_with("&step_up=money"), "{proxy:?}: {}", late.status);

        let stranger = asks(proxy, &world.browser(), ("GET", &wanted), NAVIGATION).await;
        let mut stranger_browser = world.browser();
        stranger_browser.visit(stranger.header("location")).await;
        let page = asks(proxy, &stranger_browser, ("GET", &wanted), NAVIGATION).await;
        assert_eq!(page.status, StatusCode::OK, "{proxy:?}: one sign-in is enough");
    }
}

#[tokio::test]
async fn a_step_up_asks_for_what_the_rule_demands_and_no_request_lowers_it() {
    let world = support::acme_with(|tenant| {
        tenant.sign_in.allowed_params = vec!["max_age".to_owned(), "acr_values".to_owned()];
        tenant.policy.rules = vec![
            rule(Some("money"), Some("/money"), step_up(Some(5), Some("phr"))),
            rule(None, None, step_up(Some(1), None)),
        ]
        .into();
    })
    .await;
    let asked = async |query: &str| {
        let page = world.browser().get(&format!("/acme/login?{query}")).await;
        if page.status != StatusCode::FOUND {
            return (page.code().to_owned(), String::new());
        }
        let url = page.location();
        let of = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        (of("max_age").unwrap_or_default(), of("acr_values").unwrap_or_default())
    };
    let is = |age: &str, acr: &str| (age.to_owned(), acr.to_owned());
    assert_eq!(asked("").await, is("", ""));
    assert_eq!(asked("step_up=money").await, is("300", "phr"));
    assert_eq!(asked("step_up=money&max_age=9999&acr_values=0").await, is("300", "phr"));
    assert_eq!(asked("step_up=money&max_age=10").await, is("10", "phr"));
    assert_eq!(asked("step_up=1").await, is("60", ""));
    for bad in ["step_up=0", "step_up=2", "step_up=nothing", "step_up=", "step_up=money&step_up=money"] {
        assert_eq!(asked(bad).await, is("bad_parameter", ""), "{bad}");
    }
    let world = support::acme_with(|tenant| {
        tenant.sign_in.allowed_params.clear();
        tenant.sign_in.fixed.max_age = Some(60);
        tenant.policy.rules = vec![rule(None, None, step_up(Some(5), Some("phr")))].into();
    })
    .await;
    let page = world.browser().get("/acme/login?step_up=0").await;
    assert!(page.header("location").contains("max_age=60") && page.header("location").contains("acr_values=phr"));
}

#[tokio::test]
async fn a_path_full_of_endpoints_is_read_once() {
    let world = acme().await;
    let mut asking = world.browser().with("x-forwarded-proto", "http");
    let path = format!("/nobody{}", "/auth/envoy".repeat(2700));
    // It took longer by a hundred times when what follows each of them was read.
    let page = tokio::time::timeout(std::time::Duration::from_secs(3), asking.get(&path)).await.unwrap();
    assert_eq!(page.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_question_to_nobody_is_no_question() {
    let world = acme().await;
    for path in ["/nobody/auth", "/auth", "/auth/envoy/x", "/acme/x/auth", "/acme/auth/nginx", "/acme/author"] {
        let mut asking = world.browser().with("x-original-url", &world.url("/")).with("x-original-method", "GET");
        assert_eq!(asking.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
        let page = asking.send(Method::POST, path, None).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
    }
}
