//! Browsers that sign in one after the other: `/login`, the provider, `/callback`. What they would see at the provider
//! they do not ask for: the code is the nonce.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::Url;

/// The host that browsers see.
const PUBLIC: &str = "app.acme.example";

struct Browsers {
    client: Client<HttpConnector, Empty<Bytes>>,
    at: Uri,
    /// Each sign-in comes from an address of its own, as far as there are any.
    next_address: AtomicU32,
}

pub(super) async fn run(at: &Uri, browsers: usize, seconds: f64) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let all = Arc::new(Browsers { client, at: at.clone(), next_address: AtomicU32::new(0) });
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(seconds);
    let running: Vec<_> = (0..browsers).map(|_| tokio::spawn(Arc::clone(&all).sign_in_until(until))).collect();
    let mut took = Vec::new();
    for browser in running {
        took.extend(browser.await.unwrap());
    }
    super::say(took, began.elapsed());
}

impl Browsers {
    async fn sign_in_until(self: Arc<Self>, until: Instant) -> Vec<Duration> {
        let mut took = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            self.sign_in().await;
            took.push(began.elapsed());
        }
        took
    }

    async fn sign_in(&self) {
        let n = self.next_address.fetch_add(1, Ordering::Relaxed);
        let address = std::net::Ipv4Addr::from(0x0a00_0000 | n & 0x00ff_ffff).to_string();
        let login = self.get("/acme/login", &address, None).await;
        assert_eq!(login.status(), StatusCode::FOUND, "the sign-in does not begin");
        let cookie = login.headers()[SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let location = Url::parse(login.headers()[LOCATION].to_str().unwrap()).unwrap();
        let param = |wanted: &str| location.query_pairs().find(|(name, _)| name == wanted).unwrap().1.into_owned();
        let callback = format!("/acme/callback?code={}&state={}", param("nonce"), param("state"));
        let done = self.get(&callback, &address, Some(&cookie)).await;
        let begins = |value: &http::HeaderValue| value.as_bytes().starts_with(b"__Host-lychgate-acme=");
        let signed_in = done.headers().get_all(SET_COOKIE).iter().any(begins);
        assert!(signed_in, "the sign-in does not end: {} {:?}", done.status(), done.headers());
    }

    async fn get(&self, path: &str, address: &str, cookie: Option<&str>) -> Response<()> {
        let mut parts = self.at.clone().into_parts();
        parts.path_and_query = Some(path.parse().unwrap());
        let mut request = Request::get(Uri::from_parts(parts).unwrap())
            .header(HOST, PUBLIC)
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-for", address);
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, cookie);
        }
        let answer = self.client.request(request.body(Empty::new()).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        body.collect().await.unwrap();
        Response::from_parts(parts, ())
    }
}
