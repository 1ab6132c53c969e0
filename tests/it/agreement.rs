//! Router, rules, forward auth and `explain` agree: on every path, however it is spelled, over real sockets.

use std::collections::BTreeSet;

use lychgate::clock::Timestamp;
use lychgate::config::{Condition, Effect, PathPattern, Rule, TenantSettings, Test};
use lychgate::net::{Networks, parse_network};
use lychgate::policy::{self, Question, Subject, Verdict};
use lychgate::request_path::RequestPath;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::reverse_proxy::toy::Toy;
use crate::support::{Tenant, World};

const API: &str = "https://api.acme.example";

/// A request, and who makes it.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    /// The path below the tenant, as it is spelled.
    path: String,
    query: &'static str,
    who: Who,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Nobody,
    Ada,
    Script,
}

/// Paths near the rules below, in spellings of all kinds.
fn paths() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        6 => prop::sample::select(vec!["public", "private", "admin", "things", "money", "a", "b.css", "x y", "ä"]),
        2 => prop::sample::select(vec!["Public", "publi", "publics", "..", ".", "", "...", "auth", "login", ".lychgate"]),
        1 => prop::sample::select(vec![";", "a;b", "%2e%2e", "%2f", "%5c", "\\", "%00", "%23", "%3f", "%252e", "%", "*"]),
    ];
    let segments = prop::collection::vec(name, 0..4);
    let escapes = prop::collection::vec(prop_oneof![6 => Just(0_u8), 1 => Just(1), 1 => Just(2)], 40);
    (segments, escapes, any::<bool>()).prop_map(|(segments, escapes, slash)| {
        let path = format!("/{}{}", segments.join("/"), if slash { "/" } else { "" });
        respell(&path, &escapes)
    })
}

/// The same with some bytes escaped; what no request line can hold always is.
fn respell(path: &str, escapes: &[u8]) -> String {
    let spell = |(at, byte): (usize, u8)| match escapes[at % escapes.len()] {
        _ if byte == b'/' || byte == b'%' => char::from(byte).to_string(),
        0 if byte.is_ascii_graphic() => char::from(byte).to_string(),
        2 => format!("%{byte:02x}"),
        _ => format!("%{byte:02X}"),
    };
    path.bytes().enumerate().map(spell).collect()
}

fn asked() -> impl Strategy<Value = Asked> {
    let method = prop::sample::select(vec!["GET", "POST", "HEAD", "DELETE", "OPTIONS"]);
    let query = prop::sample::select(vec!["", "?", "?x=/public/a", "?/../public", "?a=%2e%2e&b;c"]);
    let who = prop::sample::select(vec![Who::Nobody, Who::Ada, Who::Script]);
    (method, paths(), query, who).prop_map(|(method, path, query, who)| Asked { method, path, query, who })
}

fn rules(settings: &mut TenantSettings) {
    let rule = |paths: &[&str], effect| Rule {
        name: None,
        paths: paths.iter().map(|path| PathPattern::parse(path).unwrap()).collect(),
        methods: vec![],
        hosts: vec![],
        networks: Networks::default(),
        effect,
    };
    let allow = |claim: &str, scopes: &[&str]| Effect::Allow {
        claims: vec![Condition { claim: vec![claim.to_owned()], test: Test::Present }],
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
    };
    settings.policy.rules = vec![
        rule(&["/public/**", "/*.css"], Effect::Public),
        Rule { methods: vec!["GET".to_owned()], ..rule(&["/things/**"], allow("sub", &["read:things"])) },
        rule(&["/things/**"], allow("email", &[])),
        rule(&["/money/**"], Effect::StepUp { max_age: Some(3600), acr_values: None }),
        Rule {
            networks: [parse_network("10.0.0.0/8").unwrap()].into_iter().collect(),
            ..rule(&["/admin/**"], Effect::SignedIn)
        },
        rule(&["/admin/**", "/private/admin"], Effect::Deny),
    ]
    .into();
}

struct Scene {
    world: World,
    toy: Toy,
    cookie: String,
    bearer: String,
    /// Whether the application sees the path without what leads to the tenant.
    strips: bool,
}

impl Scene {
    async fn new(strips: bool) -> Self {
        let (toy, mut tenant) = (Toy::start().await, Tenant::start("acme").await);
        rules(&mut tenant.settings);
        tenant.settings.api.audiences = vec![API.to_owned()];
        "/.lychgate".clone_into(&mut tenant.settings.prefix);
        let mut upstream = toy.upstream();
        upstream.path = String::new();
        upstream.rewrite = strips.then(String::new);
        tenant.settings.upstreams = vec![upstream];
        let world = World::start(vec![tenant]).await;
        let base = world.url("/acme/.lychgate");
        world.provider().allow("acme-client", &format!("{base}/callback"), &format!("{base}/logged-out"));
        let mut browser = world.browser();
        browser.visit("/acme/.lychgate/login").await;
        let pairs = browser.cookies_named("lychgate-acme");
        let cookie = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let bearer = world.provider().mint("at+jwt", API, &json!({"email": "bot@acme.example"}));
        Self { world, toy, cookie, bearer, strips }
    }

    /// The status of an answer to a head that no library has mended.
    async fn status(&self, head: &str) -> u16 {
        let mut stream = TcpStream::connect(self.world.address).await.unwrap();
        let head = format!("{head}host: {}\r\nconnection: close\r\n\r\n", self.world.address);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer);
        text.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_else(|_| panic!("{text}"))
    }

    fn credentials(&self, who: Who) -> String {
        match who {
            Who::Nobody => String::new(),
            Who::Ada => format!("cookie: {}\r\norigin: {}\r\n", self.cookie, self.world.url("")),
            Who::Script => format!("authorization: Bearer {}\r\n", self.bearer),
        }
    }

    /// What `explain` says to it; nothing if the path is none.
    async fn explained(&self, asked: &Asked) -> Option<String> {
        let path = RequestPath::parse(&asked.path).ok()?;
        let tenant = self.world.gateway.tenants.get("acme").unwrap();
        let question =
            Question { method: asked.method, host: "127.0.0.1", path: &path, address: [127, 0, 0, 1].into() };
        let (claims, scope) = match asked.who {
            Who::Nobody => (None, None),
            Who::Ada => {
                let cookie = self.cookie.split("; ").find_map(|pair| pair.strip_prefix("lychgate-acme=")).unwrap();
                let limits = &tenant.settings.session;
                let session =
                    self.world.gateway.sessions.find(tenant.id(), limits, cookie).await.unwrap().unwrap().session;
                (Some(session.claims().to_map()), session.scope().map(str::to_owned))
            }
            Who::Script => {
                let mut headers = http::HeaderMap::new();
                headers.insert("authorization", format!("Bearer {}", self.bearer).parse().unwrap());
                let token = lychgate::web::bearer::token(&self.world.gateway, tenant, &headers, [127, 0, 0, 1].into())
                    .await
                    .unwrap()
                    .unwrap();
                (Some(token.claims.clone()), Some(token.scope.clone()))
            }
        };
        let now: Timestamp = self.world.clock.now();
        let subject = claims.as_ref().map(|claims| Subject { claims: claims.into(), scope: scope.as_deref(), now });
        let explanation = policy::explain(&tenant.settings.policy, &question, subject.as_ref());
        let last = explanation.sentences.last().unwrap().clone();
        let passes = matches!(explanation.decision.verdict, Verdict::Public | Verdict::Allowed);
        assert_eq!(passes, last.starts_with("Passes"), "{explanation}");
        Some(last)
    }

    /// Asks the reverse proxy and every kind of forward auth, and compares; what it came to.
    async fn agrees(&self, asked: &Asked) -> Result<&'static str, TestCaseError> {
        let Asked { method, path, query, who } = asked;
        let explained = self.explained(asked).await;
        let passes = explained.as_ref().map(|said| said.starts_with("Passes"));
        let ours = RequestPath::parse(path).is_ok_and(|path| path.after("/.lychgate").is_some());
        let credentials = self.credentials(*who);

        self.toy.seen.targets.lock().unwrap().clear();
        let status = self.status(&format!("{method} /acme{path}{query} HTTP/1.1\r\n{credentials}")).await;
        let reached = std::mem::take(&mut *self.toy.seen.targets.lock().unwrap());
        if passes == Some(true) && !ours {
            let judged = RequestPath::parse(path).unwrap();
            let target = format!("{}{}{query}", if self.strips { "" } else { "/acme" }, judged.encoded());
            prop_assert_eq!(reached, vec![target], "{}", status);
            prop_assert_eq!(status, 200);
        } else {
            prop_assert!(reached.is_empty(), "{:?} reached, and explain says {:?}", reached, explained);
            let refused = [400, 401, 403, 302, 404, 405].contains(&status) || ours;
            prop_assert!(refused, "{}", status);
        }
        if ours {
            return Ok("ours");
        }
        for (flavour, head) in [
            (
                "nginx",
                format!(
                    "GET /acme/.lychgate/auth HTTP/1.1\r\nx-original-url: {}\r\nx-original-method: {method}\r\n",
                    self.world.url(&format!("{path}{query}"))
                ),
            ),
            (
                "traefik",
                format!(
                    "GET /acme/.lychgate/auth/traefik HTTP/1.1\r\nx-forwarded-uri: {path}{query}\r\n\
                     x-forwarded-method: {method}\r\nx-forwarded-host: {}\r\nx-forwarded-proto: http\r\n",
                    self.world.address
                ),
            ),
            (
                "envoy",
                format!("{method} /acme/.lychgate/auth/envoy{path}{query} HTTP/1.1\r\nx-forwarded-proto: http\r\n"),
            ),
        ] {
            let status = self.status(&format!("{head}{credentials}x-forwarded-for: 127.0.0.1\r\n")).await;
            prop_assert_eq!(status == 200, passes == Some(true), "{} {}: {:?}", flavour, status, explained);
            prop_assert!(status != 500 && status / 100 != 2 || status == 200, "{} {}", flavour, status);
        }
        Ok(match passes {
            None => "no path",
            Some(true) => "passes",
            Some(false) => "refused",
        })
    }
}

#[test]
fn router_rules_forward_auth_and_explain_agree_on_every_path() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for strips in [false, true] {
        let scene = runtime.block_on(Scene::new(strips));
        let outcomes = std::cell::RefCell::new(BTreeSet::new());
        let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
        let agree = |asked: Asked| {
            let outcome = runtime.block_on(scene.agrees(&asked))?;
            outcomes.borrow_mut().insert((asked.who as u8, outcome));
            Ok(())
        };
        runner.run(&asked(), agree).unwrap_or_else(|error| panic!("{error}"));
        let outcomes = outcomes.into_inner();
        assert!(outcomes.len() >= 10, "nearly each outcome for each of three: {outcomes:?}");
    }
}
