//! Applications behind a tenant: who passes, what goes along, what comes back.

mod bearers;
mod refusals;
mod streams;
mod tokens;
pub mod toy;
mod tunnels;

use std::time::Duration;

use lychgate::config::{
    DefaultRule, Effect, Pass, PathPattern, Rule, TenantSettings, UpstreamAddress, UpstreamSettings,
};
use lychgate::net::Networks;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use self::toy::{Toy, upstream};
use crate::support::{self, Browser, World};

/// A gateway with a tenant, `acme`, before an application, and Ada's browser.
struct Place {
    world: World,
    toy: Toy,
    ada: Browser,
}

impl Place {
    async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    async fn with(change: impl FnOnce(&mut TenantSettings, &mut UpstreamSettings)) -> Self {
        let toy = Toy::start().await;
        let mut upstream = toy.upstream();
        let world = support::acme_with(|tenant| {
            change(tenant, &mut upstream);
            tenant.upstreams = vec![upstream];
        })
        .await;
        let ada = world.signed_in("acme").await;
        Self { world, toy, ada }
    }

    /// A request as a script of our own page makes it.
    fn fetch(&self, method: Method, path: &str) -> RequestBuilder {
        self.fetch_by(&client(), method, path)
    }

    /// The same by a client that others share.
    fn fetch_by(&self, client: &reqwest::Client, method: Method, path: &str) -> RequestBuilder {
        client
            .request(method, self.world.url(path))
            .header("cookie", cookies(&self.ada))
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-mode", "cors")
    }

    /// What the application sees of a request.
    async fn seen(&self, request: RequestBuilder) -> Value {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

fn cookies(browser: &Browser) -> String {
    let pairs = browser.cookies_named("lychgate");
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

/// The values of a header that the application saw.
fn header<'a>(seen: &'a Value, name: &str) -> Vec<&'a str> {
    let pairs = seen["headers"].as_array().unwrap().iter();
    pairs.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect()
}

async fn code(answer: reqwest::Response) -> String {
    answer.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_application_learns_who_asks_and_believes_nobody_else() {
    let place = Place::new().await;
    let mut request = place.fetch(Method::GET, "/acme/app/x");
    for (name, value) in [
        ("X-Auth-Request-User", "forged"),
        ("X_Auth_Request_User", "forged"),
        ("x.auth-request_user", "forged"),
        ("x-AUTH-request-EMAIL", "forged"),
        ("X-Forwarded-User", "forged"),
        ("X_Forwarded-Groups", "forged"),
        ("X-Forwarded-Prefix", "/forged"),
        ("X-Original-URL", "/forged"),
        ("Forwarded", "for=forged"),
        ("X-Auth-Request-Groups", "forged"),
        ("Connection", "X-Auth-Request-User, X-Forwarded-For, x-private"),
        ("X-Private", "forged"),
        ("X-Auth-Request-User", "forged twice"),
        ("Cookie", "app=1; lychgate-globex=x"),
        ("Accept-Language", "de"),
        ("Authorization", "Basic YTpi"),
        ("X-Request-Id", "given-by-us"),
    ] {
        request = request.header(name, value);
    }
    let seen = place.seen(request).await;
    assert!(!seen.to_string().contains("forged") && !seen.to_string().contains("lychgate"), "{seen}");
    assert_eq!(header(&seen, "cookie"), ["app=1"]);
    assert_eq!(header(&seen, "accept-language"), ["de"]);
    assert_eq!(header(&seen, "authorization"), ["Basic YTpi"]);
    assert_eq!(header(&seen, "x-auth-request-email"), [support::ADA]);
    assert_eq!(header(&seen, "x-auth-request-user").len(), 1);
    assert_eq!(header(&seen, "x-request-id"), ["given-by-us"], "once");
    assert_eq!(header(&seen, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(header(&seen, "x-forwarded-proto"), ["http"]);
    assert_eq!(header(&seen, "x-forwarded-host"), [place.world.address.to_string()]);
    assert_eq!(header(&seen, "host"), [place.toy.address.to_string()]);
}

#[tokio::test]
async fn a_host_can_be_preserved() {
    let place = Place::with(|_, upstream| upstream.preserve_host = true).await;
    let seen = place.seen(place.fetch(Method::GET, "/acme/app/x")).await;
    assert_eq!(header(&seen, "host"), [place.world.address.to_string()]);
}

#[tokio::test]
async fn a_token_goes_along_where_the_tenant_says_so() {
    for (pass, parts) in [(Pass::AccessToken, 1..), (Pass::IdToken, 3..)] {
        let place = Place::with(|_, upstream| upstream.pass = pass).await;
        let request = place.fetch(Method::GET, "/acme/app/x").header("authorization", "Bearer forged");
        let seen = place.seen(request).await;
        let [bearer] = header(&seen, "authorization")[..] else { panic!("{seen}") };
        let token = bearer.strip_prefix("Bearer ").unwrap();
        assert!(parts.contains(&token.split('.').count()) && token != "forged", "{pass:?}");
    }
}

#[tokio::test]
async fn nobody_passes_without_a_session_and_no_byte_leaks() {
    let place = Place::new().await;
    let page = place.world.browser().get("/acme/app/secret?a=b&c=%2F").await;
    assert_eq!(page.status, StatusCode::FOUND);
    assert_eq!(page.header("location"), "/acme/login?return_to=%2Facme%2Fapp%2Fsecret%3Fa%3Db%26c%3D%252F");
    assert_eq!(page.body, "");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (method, name, value) in [
        (Method::GET, "sec-fetch-mode", "cors"),
        (Method::GET, "x-requested-with", "XMLHttpRequest"),
        (Method::GET, "accept", "application/json"),
        (Method::GET, "sec-purpose", "prefetch"),
        (Method::POST, "sec-fetch-mode", "navigate"),
        (Method::PUT, "accept", "text/html"),
    ] {
        let request = client.request(method.clone(), place.world.url("/acme/app/secret")).header(name, value);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {name}");
        assert!(answer.headers().contains_key("www-authenticate"));
        assert!(answer.text().await.unwrap().contains("not_signed_in"), "{method} {name}");
    }
    assert_eq!(place.toy.seen.count(), 0);
}

fn public(path: &str) -> Rule {
    let paths = vec![PathPattern::parse(path).unwrap()];
    Rule { name: None, paths, methods: vec![], hosts: vec![], networks: Networks::default(), effect: Effect::Public }
}

#[tokio::test]
async fn a_public_path_is_for_everybody_and_forged_headers_for_nobody() {
    let place = Place::with(|tenant, _| {
        tenant.policy.rules = vec![public("/app/public/**")].into();
    })
    .await;
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = client.post(place.world.url("/acme/app/public/x")).header("X_Auth.Request-User", "forged");
    let seen =
        place.seen(request.header("x-forwarded-groups", "forged").header("cookie", "lychgate-acme=forged")).await;
    assert!(!seen.to_string().contains("forged") && header(&seen, "x-auth-request-user").is_empty(), "{seen}");
    for path in
        ["/acme/app/public/../x", "/acme/app/public/%2e%2e/x", "/acme/app/x?a=/app/public/", "/acme/app/publicx"]
    {
        let answer = raw_as("", &place, &format!("GET {path} HTTP/1.1"), "connection: close\r\n", "").await;
        assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 302"), "{path}: {answer}");
    }
    assert_eq!(place.toy.seen.count(), 1);
    let signed_in = place.fetch(Method::POST, "/acme/app/public/x");
    let foreign = signed_in.header("origin", "https://evil.example").send().await.unwrap();
    assert_eq!(code(foreign).await, "csrf_refused", "the session would speak for it");
}

#[tokio::test]
async fn whoever_is_refused_gets_no_byte_either() {
    let place = Place::with(|tenant, _| tenant.policy.default_rule = DefaultRule::Deny).await;
    let answer = place.fetch(Method::GET, "/acme/app/secret").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(code(answer).await, "access_refused");
    assert_eq!(place.toy.seen.count(), 0);
}

#[tokio::test]
async fn a_deep_link_is_reached_after_the_sign_in() {
    let place = Place::new().await;
    let page = place.world.browser().visit("/acme/app/deep/link?a=b%20c&a=2").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert_eq!(page.json()["target"], "/acme/app/deep/link?a=b%20c&a=2");
}

#[tokio::test]
async fn a_path_has_one_form_for_all_and_the_query_stays() {
    let place = Place::new().await;
    for (asked, target) in [
        ("/acme/app", "/acme/app"),
        ("/acme/app/", "/acme/app/"),
        ("/acme/app/%61?x=%61&/../y=//", "/acme/app/a?x=%61&/../y=//"),
        ("/acme/%61pp/%C3%A4?", "/acme/app/%C3%A4?"),
    ] {
        let stream = raw(&place, &format!("GET {asked} HTTP/1.1"), "connection: close\r\n", "").await;
        assert!(stream.contains(&format!("\"target\":\"{target}\"")), "{asked}: {stream}");
    }
    let before = place.toy.seen.count();
    for path in
        ["/acme/app/../x", "/acme/app/%2e%2e/x", "/acme/app//x", "/acme/app/a%2fb", "/acme/app/a;b", "/acme/app\\x"]
    {
        let stream =
            raw(&place, &format!("GET {path} HTTP/1.1"), "connection: close\r\naccept: application/json\r\n", "").await;
        assert!(stream.starts_with("HTTP/1.1 400"), "{path}: {stream}");
    }
    assert_eq!(place.fetch(Method::GET, "/acme/apple").send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(place.toy.seen.count(), before);
}

/// What comes back for a request written by hand.
async fn raw(place: &Place, line: &str, headers: &str, body: &str) -> String {
    raw_as(&cookies(&place.ada), place, line, headers, body).await
}

async fn raw_as(cookies: &str, place: &Place, line: &str, headers: &str, body: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(place.world.address).await.unwrap();
    let request = format!("{line}\r\nhost: {}\r\ncookie: {cookies}\r\n{headers}\r\n{body}", place.world.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_prefix_is_stripped_or_rewritten() {
    for (other, asked, target) in [
        ("", "/acme/app/x?y", "/x?y"),
        ("", "/acme/app", "/"),
        ("/v2", "/acme/app/x", "/v2/x"),
        ("/v2", "/acme/app", "/v2"),
        ("/v2", "/acme/app/", "/v2/"),
    ] {
        let place = Place::with(|_, upstream| upstream.rewrite = Some(other.to_owned())).await;
        assert_eq!(place.seen(place.fetch(Method::GET, asked)).await["target"], target, "{other} {asked}");
    }
}

#[tokio::test]
async fn the_most_specific_prefix_wins_and_our_prefix_is_ours() {
    let (root, api) = (Toy::start().await, Toy::start().await);
    let world = support::acme_with(|tenant| {
        tenant.prefix = "/.lychgate".to_owned();
        tenant.upstreams = vec![
            UpstreamSettings { path: "/api".to_owned(), ..api.upstream() },
            UpstreamSettings { path: String::new(), ..root.upstream() },
        ];
    })
    .await;
    world.provider().allow(
        "acme-client",
        &world.url("/acme/.lychgate/callback"),
        &world.url("/acme/.lychgate/logged-out"),
    );
    let mut browser = world.browser();
    let page = browser.visit("/acme/login").await;
    assert_eq!(page.json()["target"], "/acme/login", "even a route's name is the application's");
    assert_eq!(browser.get("/acme/api/x").await.json()["target"], "/acme/api/x");
    assert_eq!(browser.get("/acme").await.json()["target"], "/acme");
    assert_eq!((root.seen.count(), api.seen.count()), (2, 1));
    assert_eq!(browser.get("/acme/.lychgate/session").await.json()["tenant"], "acme");
    assert_eq!(browser.get("/acme/.lychgate/nothing").await.status, StatusCode::NOT_FOUND, "all below it is ours");
}

#[tokio::test]
async fn an_upstream_may_have_a_host_of_its_own() {
    let (one, two) = (Toy::start().await, Toy::start().await);
    let world = support::acme_with(|tenant| {
        tenant.hosts = vec!["one.acme.example".to_owned(), "two.acme.example".to_owned()];
        "/.lychgate".clone_into(&mut tenant.prefix);
        tenant.policy.rules = vec![public("/**")].into();
        tenant.upstreams = [("one.acme.example", &one), ("two.acme.example", &two)]
            .map(|(host, toy)| UpstreamSettings { host: Some(host.to_owned()), path: String::new(), ..toy.upstream() })
            .into();
    })
    .await;
    for (host, status, counts) in [
        ("one.acme.example", StatusCode::OK, (1, 0)),
        ("two.acme.example", StatusCode::OK, (1, 1)),
        ("TWO.acme.example.:443", StatusCode::OK, (1, 2)),
        ("three.acme.example", StatusCode::MISDIRECTED_REQUEST, (1, 2)),
    ] {
        let mut browser = world.browser().with("host", host).with("x-forwarded-proto", "https");
        assert_eq!(browser.get("/x").await.status, status, "{host}");
        assert_eq!((one.seen.count(), two.seen.count()), counts, "{host}");
    }
}

#[tokio::test]
async fn a_request_that_changes_something_comes_from_our_own_pages() {
    let own = "own";
    let ours = |tenant: &mut TenantSettings| {
        let pattern = lychgate::config::OriginPattern {
            scheme: "https".to_owned(),
            host: "app.acme.example".to_owned(),
            port: 443,
            subdomains: false,
        };
        tenant.sign_in.return_to_origins = vec![pattern];
    };
    let place = Place::with(|tenant, _| ours(tenant)).await;
    let (allowed, foreign) = ("https://app.acme.example", "https://evil.example");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (site, origin, passes) in [
        (Some("same-origin"), None, true),
        (Some("same-origin"), Some(own), true),
        (Some("same-origin"), Some(foreign), false),
        (Some("none"), None, true),
        (Some("same-site"), Some(allowed), true),
        (Some("same-site"), Some(foreign), false),
        (Some("same-site"), Some("https://app.acme.example.evil.example"), false),
        (Some("same-site"), Some("https://app.acme.example/"), false),
        (Some("same-site"), None, false),
        (Some("cross-site"), Some(allowed), false),
        (Some("cross-site"), Some(own), false),
        (Some("cross-site"), None, false),
        (Some("elsewhere"), Some(own), false),
        (None, Some(own), true),
        (None, Some(allowed), true),
        (None, Some(foreign), false),
        (None, Some("null"), false),
        (None, None, false),
    ] {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let mut request =
                client.request(method, place.world.url("/acme/app/x")).header("cookie", cookies(&place.ada));
            request = request.header("accept", "application/json");
            if let Some(site) = site {
                request = request.header("sec-fetch-site", site);
            }
            if let Some(origin) = origin {
                request = request.header("origin", if origin == own { place.world.url("") } else { origin.to_owned() });
            }
            let before = place.toy.seen.count();
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status() == StatusCode::OK, passes, "{site:?} {origin:?} {}", answer.status());
            if !passes {
                assert_eq!(code(answer).await, "csrf_refused");
                assert_eq!(place.toy.seen.count(), before);
            }
        }
    }
    let doubled = place.fetch(Method::POST, "/acme/app/x").header("sec-fetch-site", "none");
    assert_eq!(doubled.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        let request = client.request(method, place.world.url("/acme/app/x")).header("sec-fetch-site", "cross-site");
        assert_eq!(request.header("cookie", cookies(&place.ada)).send().await.unwrap().status(), StatusCode::OK);
    }
    let open = Place::with(|tenant, _| tenant.csrf = false).await;
    let request = client.post(open.world.url("/acme/app/x")).header("cookie", cookies(&open.ada));
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_answer_is_the_applications_but_for_our_cookies() {
    let place = Place::new().await;
    let answer = place.fetch(Method::GET, "/acme/app/headers").send().await.unwrap();
    let headers = answer.headers();
    assert_eq!(headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["app=1"]);
    assert_eq!(headers["cache-control"], "max-age=60");
    assert_eq!(headers["content-security-policy"], "default-src 'self'");
    for gone in ["clear-site-data", "x-hop", "x-frame-options", "referrer-policy"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    assert!(headers.contains_key("x-request-id"));
    assert_eq!(answer.text().await.unwrap(), "headers");
}

#[tokio::test]
async fn an_application_that_is_down_or_slow_is_told_as_page_and_as_json() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let mut place = Place::with(|_, upstream| {
        upstream.members = vec![UpstreamAddress::Url(format!("http://{closed}").parse().unwrap())];
    })
    .await;
    let answer = place.fetch(Method::GET, "/acme/app/x").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(code(answer).await, "upstream_unreachable");
    let page = place.ada.get("/acme/app/x").await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_GATEWAY, "upstream_unreachable"));
    assert!(!page.body.contains(&closed.to_string()), "nothing of our insides");
    assert!(page.headers.contains_key("content-security-policy"), "our own page has our own headers");

    let place = Place::with(|_, upstream| upstream.timeout = Duration::from_millis(50)).await;
    let answer = place.fetch(Method::GET, "/acme/app/never").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(code(answer).await, "upstream_slow");
    place.toy.seen.given_up.notified().await;
    for series in [
        r#"lychgate_upstream_requests_total{outcome="upstream_slow",status="none",tenant="acme"}"#,
        r#"lychgate_upstream_request_duration_seconds_count{outcome="upstream_slow"}"#,
    ] {
        assert_eq!(place.world.metric(series), 1, "{series}");
    }
}

#[tokio::test]
async fn several_servers_share_the_load_and_a_dead_one_fails_nobody() {
    let (one, two) = (Toy::start().await, Toy::start().await);
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let place = Place::with(|_, settings| {
        let address = |address| UpstreamAddress::Url(format!("http://{address}").parse().unwrap());
        settings.members = vec![address(dead), address(one.address), address(two.address)];
    })
    .await;
    for round in 0..12 {
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("a body")]));
        let seen = place.seen(place.fetch(Method::POST, "/acme/app/x").body(body)).await;
        assert_eq!(seen["body_length"], 6, "{round}");
    }
    let (ones, twos) = (one.seen.count(), two.seen.count());
    assert_eq!(ones + twos, 12);
    assert!(ones >= 4 && twos >= 4, "{ones} {twos}");
}

#[tokio::test]
async fn an_application_may_listen_on_a_socket_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.sock");
    let toy = Toy::behind(&file);
    let place = Place::with(|_, settings| *settings = upstream(vec![UpstreamAddress::Unix(file.clone())])).await;
    let seen = place.seen(place.fetch(Method::GET, "/acme/app/x")).await;
    assert_eq!(header(&seen, "host"), ["localhost"]);
    assert_eq!(toy.seen.count(), 1);
}

#[tokio::test]
async fn a_request_is_repeated_only_where_that_is_harmless() {
    // Answers the first request of each connection, and hangs up at the second.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                let _ = stream.read(&mut buffer).await;
            });
        }
    });
    let place = Place::with(|_, settings| {
        settings.members = vec![UpstreamAddress::Url(format!("http://{address}").parse().unwrap())];
    })
    .await;
    let status = async |method| {
        let answer = place.fetch(method, "/acme/app/x").send().await.unwrap();
        let status = answer.status();
        answer.bytes().await.unwrap();
        status
    };
    assert_eq!(status(Method::GET).await, StatusCode::OK);
    assert_eq!(status(Method::GET).await, StatusCode::OK, "sent again by a new connection");
    assert_eq!(status(Method::POST).await, StatusCode::OK, "the connection of the second was not kept");
    let answer = place.fetch(Method::POST, "/acme/app/x").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(code(answer).await, "upstream_failed");
    server.abort();
}
