//! Where a sign-in may end: thousands of hostile addresses, read as browsers read them.

use std::sync::Arc;

use lychgate::config::{Effect, HostPattern, LocalUser, OriginPattern, PathPattern, Rule};
use lychgate::credentials::PasswordHash;
use lychgate::net::{Networks, Scheme};
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use url::{Url, form_urlencoded};

use crate::forward_auth::{apart, comes_back};
use crate::support::{Browser, World};

const HOME: &str = "login.acme.example";

/// What stands before a host, or should not.
const LEADS: [&str; 64] = [
    "",
    "/",
    "//",
    "///",
    "////",
    "\\",
    "\\\\",
    "/\\",
    "\\/",
    "/\\/",
    "//\\",
    "/\t/",
    "/\n/",
    "\t//",
    "/%09/",
    "/%0a/",
    "/%0d%0a/",
    "/%5c",
    "/%5c/",
    "/%2f",
    "/%2f/",
    "/%2F%2F",
    "/%252f%252f",
    "/.",
    "/./",
    "/.//",
    "/..//",
    "/../",
    "/acme/..//",
    "/acme/.//",
    "/acme/%2e%2e//",
    "/acme/../../",
    "/acme/..\\..\\\\",
    "/acme/;//",
    "/ /",
    "/\u{a0}/",
    "/\u{2028}/",
    "/\u{ff0f}",
    "https:",
    "http:",
    "https:/",
    "https:///",
    "https:\\\\",
    "https:/\\",
    "https://",
    "HTTPS://",
    " https://",
    "\u{1}https://",
    "ht\ttps://",
    "http://",
    "ftp://",
    "javascript:",
    "javascript://",
    "data:text/html,",
    "blob:https://",
    "//login.acme.example@",
    "https://login.acme.example@",
    "https://login.acme.example:443@",
    "https://login.acme.example\\@",
    "https://login.acme.example%40",
    "https://login.acme.example#@",
    "https://login.acme.example?@",
    "https://app.acme.example.",
    "https://app.acme.example%2f.",
];

const HOSTS: [&str; 16] = [
    "evil.example",
    "evil.example:443",
    "EVIL.EXAMPLE.",
    "evil\u{3002}example",
    "\u{ff45}vil.example",
    "evilacme.example",
    "acme.example.evil.example",
    "app.acme.example",
    "app.acme.example:8443",
    "app.acme.example@evil.example",
    "evil.example\\.acme.example",
    "evil.example/.acme.example",
    "evil.example#.acme.example",
    "evil.example%23.acme.example",
    "0x7f000001",
    "[::1]",
];

const TAILS: [&str; 5] = ["", "/", "/%2e%2e/x", "?https://login.acme.example/acme", "#@login.acme.example/"];

/// What others have met, and what the parts above do not make.
const MET: [&str; 40] = [
    "https://app.acme.example/deep/link?year=2026&x=%C3%A4",
    "/acme/deep?x=y",
    "/acme",
    "/acme/dashboard",
    "/acme/%2e%2e%2f%2e%2e",
    "/acme?next=//evil.example",
    "/acme#//evil.example",
    "/acmevil",
    "/globex",
    "/globex/logout",
    "/acme/login",
    "/acme/login/",
    "/acme/login?return_to=/acme/login",
    "/acme/logout",
    "/acme/logout/",
    "/acme/callback?code=x",
    "/acme/signup",
    "/acme/login/local",
    "/acme/x/../logout",
    "/acme/./logout",
    "/acme/lo%67out",
    ".",
    "..",
    "acme",
    "@evil.example",
    ":80",
    "?",
    "#",
    "https:",
    "https://",
    "https:////",
    "https://?",
    "https://:443",
    "https://@",
    "https://user:pass@app.acme.example/",
    "https://app.acme.example:0443/",
    "https://app.acme.example:443/ok",
    "https://app.acme.example:99999/",
    "//;@evil.example",
    "https://xn--/",
];

fn hostile() -> Vec<String> {
    let mut all: Vec<String> = MET.iter().map(|form| (*form).to_owned()).collect();
    for lead in LEADS {
        for host in HOSTS {
            all.extend(TAILS.iter().map(|tail| format!("{lead}{host}{tail}")));
        }
    }
    all
}

/// Whether a browser that is on one of the tenant's pages and is sent to `location` stays with the tenant, or goes to an
/// origin that the tenant allows: `https` at a host below `acme.example`.
fn is_harmless(location: &str) -> bool {
    let lands = Url::parse(&format!("https://{HOME}/acme/callback")).unwrap().join(location).unwrap();
    let plain = location.chars().all(|c| c.is_ascii_graphic() && c != '\\');
    // A reader who cuts it by hand must come to the same.
    let by_hand = match location.strip_prefix("https://") {
        Some(rest) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None if location.starts_with('/') && !location.starts_with("//") => HOME,
        None => return false,
    };
    let own = lands.host_str() == Some(HOME) && (lands.path() == "/acme" || lands.path().starts_with("/acme/"));
    let allowed = lands.host_str().is_some_and(|host| host.ends_with(".acme.example"));
    plain
        && lands.scheme() == "https"
        && lands.port().is_none()
        && lands.username().is_empty()
        && lands.host_str() == Some(by_hand)
        && (own || allowed)
        && !(own && ["/acme/logout", "/acme/login", "/acme/signup", "/acme/callback"].contains(&lands.path()))
}

/// A tenant at a host of its own, which people may leave for any host below `acme.example`.
async fn scene() -> World {
    let mut world = apart(Some("acme.example"), true).await;
    world
        .restart_with(|settings| {
            let tenant = Arc::make_mut(&mut settings.tenants[0]);
            tenant.policy.rules = vec![Rule {
                name: Some("money".to_owned()),
                paths: vec![PathPattern::parse("/money").unwrap()],
                methods: vec![],
                hosts: vec![HostPattern::parse("app.acme.example").unwrap()],
                networks: Networks::default(),
                effect: Effect::StepUp { max_age: Some(60), acr_values: None },
            }]
            .into();
            tenant.local_users = vec![LocalUser::new("grace", PasswordHash::of(&"a password".into()))];
        })
        .await;
    world
}

fn at_home(world: &World) -> Browser {
    world.browser().with("host", HOME).with("x-forwarded-proto", "https")
}

fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[tokio::test]
async fn no_address_leads_a_browser_away() {
    let world = scene().await;
    let tenant = world.gateway.tenants.get("acme").unwrap();
    let place = world.gateway.tenants.sign_in_place(tenant, Scheme::Https, HOME).unwrap();
    let forms = hostile();
    let taken: Vec<(usize, String)> = (0..)
        .zip(&forms)
        .filter_map(|(at, form)| {
            let return_to = world.gateway.tenants.return_to(tenant, &place, form).ok()?;
            Some((at, return_to.as_str().to_owned()))
        })
        .collect();
    for (at, location) in &taken {
        assert!(is_harmless(location), "{:?} leads to {location}", forms[*at]);
    }
    let evil = taken
        .iter()
        .filter(|(_, location)| Url::parse(location).is_ok_and(|url| url.host_str().unwrap().contains("evil")));
    assert!(evil.clone().all(|(_, location)| location.ends_with(".acme.example")), "{:?}", evil.collect::<Vec<_>>());
    assert!(taken.len() >= 20 && taken.len() < forms.len() / 2, "{} of {}", taken.len(), forms.len());
    assert!(forms.len() > 5000);
}

#[tokio::test]
async fn every_way_to_begin_a_sign_in_takes_and_refuses_the_same_addresses() {
    let world = scene().await;
    let tenant = world.gateway.tenants.get("acme").unwrap();
    let place = world.gateway.tenants.sign_in_place(tenant, Scheme::Https, HOME).unwrap();
    let forms = hostile();
    let (browser, mut asked) = (at_home(&world), 0);
    for (at, form) in forms.iter().enumerate().filter(|(at, _)| *at < MET.len() || at % 11 == 0) {
        let good = world.gateway.tenants.return_to(tenant, &place, form).is_ok();
        let mut ways = vec![
            format!("/acme/login?{}", query(&[("return_to", form)])),
            format!("/acme/login?{}", query(&[("iss", world.provider().issuer()), ("target_link_uri", form)])),
            format!("/acme/signup?{}", query(&[("return_to", form)])),
            format!("/acme/login?{}", query(&[("step_up", "money"), ("return_to", form)])),
            format!("/acme/login/local?{}", query(&[("return_to", form)])),
        ];
        if at >= MET.len() {
            ways = vec![ways.swap_remove(at % 5)];
        }
        for way in ways {
            let page = browser.clone().get(&way).await;
            asked += 1;
            match good {
                true if way.starts_with("/acme/login/local") => assert_eq!(page.status, StatusCode::OK, "{way}"),
                true => {
                    assert!(page.header("location").starts_with(world.provider().issuer()), "{way}: {}", page.status);
                }
                false => {
                    assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "return_to_refused"), "{way}");
                    assert!(!page.headers.contains_key("location"), "{way}");
                }
            }
        }
    }
    assert!(asked > 600, "{asked}");
}

#[tokio::test]
async fn the_sign_in_ends_at_an_address_that_was_taken() {
    let world = scene().await;
    let tenant = world.gateway.tenants.get("acme").unwrap();
    let place = world.gateway.tenants.sign_in_place(tenant, Scheme::Https, HOME).unwrap();
    let taken = |form: &String| world.gateway.tenants.return_to(tenant, &place, form).is_ok();
    let taken: Vec<String> = hostile().into_iter().filter(taken).collect();
    for form in taken.iter().step_by(taken.len() / 40 + 1) {
        let login = format!("https://{HOME}/acme/login?{}", query(&[("return_to", form)]));
        let (_, back) = comes_back(&world, HOME, &login).await;
        assert!(is_harmless(back.header("location")), "{form:?} led to {}", back.header("location"));
    }
}

#[tokio::test]
async fn a_proxy_that_is_told_a_hostile_address_sends_nobody_there() {
    let world = scene().await;
    let forms = hostile();
    let (mut sent, mut asked) = (0, 0);
    let browser = world.browser().with("x-forwarded-for", "203.0.113.7").with("x-forwarded-proto", "https");
    for (at, form) in forms.iter().enumerate().filter(|(at, _)| *at < MET.len() || at % 11 == 0) {
        if HeaderValue::from_str(form).is_err() {
            continue;
        }
        let uri = if at % 2 == 0 { form.clone() } else { format!("/{form}") };
        let host = form.trim_start_matches("https://").split('/').next().unwrap_or_default().to_owned();
        let app = "app.acme.example".to_owned();
        for (path, headers) in [
            ("/acme/auth", vec![("x-original-url", form.clone()), ("x-original-method", "GET".to_owned())]),
            ("/acme/auth/traefik", vec![("x-forwarded-uri", uri), ("x-forwarded-host", app)]),
            ("/acme/auth/caddy", vec![("x-forwarded-uri", "/".to_owned()), ("x-forwarded-host", host)]),
        ] {
            let mut asking = browser.clone();
            asking.headers.push(("x-forwarded-method", "GET".to_owned()));
            asking.headers.extend(headers);
            let page = asking.get(path).await;
            asked += 1;
            assert!([302, 401, 403].contains(&page.status.as_u16()), "{path} {form:?}: {}", page.status);
            let Some(location) = page.headers.get("location") else { continue };
            let location = Url::parse(location.to_str().unwrap()).unwrap();
            assert!(location.as_str().starts_with(&format!("https://{HOME}/acme/login?")), "{form:?}: {location}");
            let return_to = location.query_pairs().find(|(name, _)| name == "return_to").unwrap().1.into_owned();
            assert!(is_harmless(&return_to), "{path} {form:?}: {return_to}");
            sent += 1;
        }
    }
    assert!(asked > 900 && sent > 20, "{sent} of {asked}");
}

#[tokio::test]
async fn with_one_origin_allowed_no_neighbour_is() {
    let mut world = scene().await;
    world
        .restart_with(|settings| {
            let host = "app.acme.example".to_owned();
            Arc::make_mut(&mut settings.tenants[0]).sign_in.return_to_origins =
                vec![OriginPattern { scheme: "https".to_owned(), host, port: 443, subdomains: false }];
        })
        .await;
    let tenant = world.gateway.tenants.get("acme").unwrap();
    let place = world.gateway.tenants.sign_in_place(tenant, Scheme::Https, HOME).unwrap();
    for form in hostile() {
        let Ok(return_to) = world.gateway.tenants.return_to(tenant, &place, &form) else { continue };
        assert!(is_harmless(return_to.as_str()), "{form:?}");
        let lands = Url::parse(&format!("https://{HOME}/")).unwrap().join(return_to.as_str()).unwrap();
        assert!([HOME, "app.acme.example"].contains(&lands.host_str().unwrap()), "{form:?}");
    }
}
