//! What is asked most often, asked some times in one thread, so that callgrind can count the instructions of it:
//! `benches/instructions` runs this and compares. The argument is which piece.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a part of a benchmark, which says what it did and fails by panicking"
)]

#[path = "../tests/typical/mod.rs"]
mod typical;

use std::convert::Infallible;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, COOKIE, HOST};
use http::{Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use lychgate::clock::Clock;
use lychgate::config::{self, Sources};
use lychgate::gateway::Gateway;
use lychgate::metrics::Metrics;
use lychgate::net::Arrival;
use lychgate::secret::ExposeSecret as _;
use lychgate::server::{Route, Shutdown};
use lychgate::web;
use tokio::runtime::Runtime;

/// Requests that are counted.
const TIMES: usize = 40;
/// Requests before that, which fill what is filled once.
const BEFORE: usize = 10;

const SETTINGS: &str = "public_url = \"https://app.acme.example\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n";
/// A tenant with ten rules, of which the last one decides.
const TENANT: &str = r#"
domain = "example.eu.auth0.com"
client_id = "benchmark"
client_secret = "secret"
"#;
const LAST_RULE: &str = "[[rules]]\npaths = [\"/reports/**\"]\neffect = \"signed_in\"\n";

fn main() {
    let piece = std::env::args().nth(1).expect("which piece: check or page");
    let path = match &*piece {
        "check" => "/acme/auth",
        "page" => "/acme/dashboard",
        other => panic!("no such piece: {other}; there are check and page"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (route, cookie) = runtime.block_on(open(folder.path()));
    runtime.block_on(ask(&route, path, &cookie, BEFORE));
    measured(&runtime, Box::pin(ask(&route, path, &cookie, TIMES)));
    println!("{TIMES}");
}

/// What callgrind counts: all that this thread does in here.
#[inline(never)]
fn measured(runtime: &Runtime, work: Pin<Box<dyn Future<Output = ()> + '_>>) {
    runtime.block_on(work);
}

/// A gateway, and the cookie of somebody who has signed in there.
async fn open(folder: &std::path::Path) -> (Route, String) {
    let tenants = folder.join("tenants");
    fs::create_dir(&tenants).unwrap();
    fs::write(folder.join("lychgate.toml"), SETTINGS).unwrap();
    let rules: String = (1..10).map(rule).collect();
    fs::write(tenants.join("acme.toml"), format!("{TENANT}{rules}{LAST_RULE}")).unwrap();
    let config = Some(folder.join("lychgate.toml"));
    let sources = Sources { config, directory: folder.to_owned(), ..Sources::default() };
    let settings = config::load(&sources).unwrap_or_else(|faults| panic!("{faults:?}")).settings;
    let gateway = Gateway::open(&settings, Clock::system(), Metrics::new(200)).await.unwrap();
    let (tenant, new) = (typical::tenant(), typical::new_session(0));
    let (cookie, _) = gateway.sessions.create(&tenant, &typical::limits(), new).await.unwrap();
    let cookie = format!("__Host-lychgate-acme={}", cookie.expose_secret());
    let (shutdown, _) = Shutdown::manual();
    (web::routes(Arc::new(gateway), shutdown), cookie)
}

/// A rule that matches nothing of what is asked.
fn rule(n: usize) -> String {
    format!(
        "[[rules]]\npaths = [\"/admin/{n}/**\", \"/reports/*/{n}\"]\nnetworks = [\"10.0.0.0/8\"]\neffect = \"deny\"\n"
    )
}

/// Asks so many times, as the server does; each answer must be good.
async fn ask(route: &Route, path: &str, cookie: &str, times: usize) {
    let service = TowerToHyperService::new(warp::service(route.router()));
    for _ in 0..times {
        let mut request = request(path, cookie);
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        let arrival = Arrival { peer, over_tls: false, target: request.uri().clone() };
        let at_once = route.at_once(request.headers_mut(), &http::Method::GET, &arrival);
        let answer = if let Some(answer) = at_once {
            answer
        } else {
            request.extensions_mut().insert(arrival);
            service.call(request).await.unwrap_or_else(|never| match never {})
        };
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
}

/// As nginx asks.
fn request(path: &str, cookie: &str) -> Request<BoxBody<Bytes, Infallible>> {
    Request::get(path)
        .header(HOST, "app.acme.example")
        .header("x-original-url", "https://app.acme.example/reports/2026/11?page=2")
        .header("x-original-method", "GET")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-for", "203.0.113.7")
        .header(ACCEPT, "text/html")
        .header(COOKIE, cookie)
        .body(Empty::new().boxed())
        .unwrap()
}
