//! What a client says of itself decides nothing: no header but those of the endpoint, of whom they are believed, and no
//! name of a program.

use lychgate::config::{Effect, PathPattern, Rule, TenantSettings};
use lychgate::net::{Networks, parse_network};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::forward_auth::{Headers, PROXIES, Proxy, asks};
use crate::reverse_proxy::toy::Toy;
use crate::support::{self, World};

const CHECKERS: [&str; 4] = ["GoogleHC/1.0", "kube-probe/1.33", "ELB-HealthChecker/2.0", "Prometheus/3.5.0"];

fn rule(paths: &[&str], networks: &[&str]) -> Rule {
    Rule {
        name: None,
        paths: paths.iter().map(|path| PathPattern::parse(path).unwrap()).collect(),
        methods: vec![],
        hosts: vec![],
        networks: networks.iter().map(|network| parse_network(network).unwrap()).collect(),
        effect: Effect::Public,
    }
}

/// `/public` and everything from the network 10.0.0.0/8 are everybody's.
fn rules(tenant: &mut TenantSettings) {
    tenant.policy.rules = vec![rule(&["/public/**", "/app/public/**"], &[]), rule(&[], &["10.0.0.0/8"])].into();
}

#[tokio::test]
async fn a_header_of_another_endpoint_decides_nothing() {
    let world = support::acme_with(rules).await;
    let foreign = |proxy, to: &str| -> Vec<(&'static str, String)> {
        let url = world.url(to);
        let mut headers: Vec<(&'static str, String)> = vec![
            ("x-original-uri", to.to_owned()),
            ("x-rewrite-url", to.to_owned()),
            ("x-forwarded-prefix", to.to_owned()),
            ("x-auth-request-redirect", to.to_owned()),
            ("x-http-method-override", "OPTIONS".to_owned()),
        ];
        if proxy != Proxy::Nginx {
            headers.extend([("x-original-url", url), ("x-original-method", "OPTIONS".to_owned())]);
        }
        if !matches!(proxy, Proxy::Traefik | Proxy::Caddy) {
            headers.extend([("x-forwarded-uri", to.to_owned()), ("x-forwarded-method", "OPTIONS".to_owned())]);
        }
        headers
    };
    for proxy in PROXIES {
        for (asked, forged, status) in [("/private", "/public/x", 401), ("/public/x", "/private", 200)] {
            let forged = foreign(proxy, forged);
            let forged: Vec<(&'static str, &str)> =
                forged.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let page = asks(proxy, &world.browser(), ("POST", &world.url(asked)), &forged).await;
            assert_eq!(page.status, status, "{proxy:?} {asked}");
        }
    }
}

#[tokio::test]
async fn no_program_passes_by_its_name_nor_by_asking_for_our_health() {
    let world = support::acme_with(rules).await;
    for proxy in PROXIES {
        for name in CHECKERS {
            for path in ["/", "/livez", "/readyz", "/metrics", "/ping", "/healthz"] {
                let headers: Headers = &[("user-agent", name), ("accept", "*/*"), ("sec-fetch-mode", "cors")];
                let page = asks(proxy, &world.browser(), ("GET", &world.url(path)), headers).await;
                assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{proxy:?} {name} {path}");
            }
        }
    }
}

/// A gateway before an application at the root of the tenant's own host, and one below `/acme`.
async fn proxied() -> (World, Toy) {
    let toy = Toy::start().await;
    let mut upstream = toy.upstream();
    upstream.path = String::new();
    let world = support::acme_with(|tenant| {
        rules(tenant);
        tenant.hosts = vec!["app.acme.example".to_owned()];
        "/.lychgate".clone_into(&mut tenant.prefix);
        tenant.upstreams = vec![upstream];
    })
    .await;
    (world, toy)
}

#[tokio::test]
async fn no_header_but_the_request_itself_says_what_is_asked_of_an_application() {
    let (world, toy) = proxied().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for host in ["app.acme.example", "127.0.0.1"] {
        let mount = if host == "127.0.0.1" { "/acme" } else { "" };
        for name in CHECKERS {
            for path in ["/livez", "/metrics", "/private", "/private?/public/x", "/private?x=/public/"] {
                let mut request = client.get(world.url(&format!("{mount}{path}"))).header("user-agent", name);
                if mount.is_empty() {
                    request = request.header("host", host);
                }
                for (name, value) in [
                    ("x-original-url", "/public/x"),
                    ("x-original-uri", "/public/x"),
                    ("x-rewrite-url", "/public/x"),
                    ("x-forwarded-uri", "/public/x"),
                    ("x-forwarded-prefix", "/public"),
                    ("x-forwarded-method", "OPTIONS"),
                    ("accept", "application/json"),
                ] {
                    request = request.header(name, value);
                }
                assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "{host} {path}");
            }
        }
    }
    assert_eq!(toy.seen.count(), 0);
}

#[tokio::test]
async fn forwarding_headers_count_from_trusted_proxies_alone() {
    let (mut world, toy) = proxied().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked = async |world: &World, path: &str| {
        let mut request = client.request(Method::GET, world.url(path)).header("accept", "application/json");
        for (name, value) in [
            ("x-forwarded-for", "10.1.2.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "4443"),
            ("x-forwarded-server", "forged.example"),
            ("x-real-ip", "10.1.2.3"),
            ("forwarded", "for=10.1.2.3;proto=https"),
        ] {
            request = request.header(name, value);
        }
        request.send().await.unwrap()
    };
    let told = |seen: &Value| -> Vec<(String, String)> {
        let pairs = seen["headers"].as_array().unwrap().iter();
        let pairs = pairs.map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned()));
        let mut told: Vec<_> =
            pairs.filter(|(name, _)| name.contains("forwarded") || name.starts_with("x-real")).collect();
        told.sort();
        told
    };
    let is = |address: &str, scheme: &str, world: &World| {
        [("x-forwarded-for", address), ("x-forwarded-host", &world.address.to_string()), ("x-forwarded-proto", scheme)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let answer = asked(&world, "/acme/private").await;
    assert_eq!(answer.status(), StatusCode::OK, "by its network, of which a trusted proxy tells");
    assert_eq!(told(&answer.json().await.unwrap()), is("10.1.2.3", "https", &world));
    world.restart_with(|settings| settings.trusted_proxies = Networks::default()).await;
    assert_eq!(asked(&world, "/acme/private").await.status(), StatusCode::UNAUTHORIZED);
    let answer = asked(&world, "/acme/public/x").await;
    assert_eq!(told(&answer.json().await.unwrap()), is("127.0.0.1", "http", &world));
    assert_eq!(toy.seen.count(), 2);
}
