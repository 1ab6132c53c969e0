//! Asks about each session of a file once, so that all of them are in memory afterwards.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::COOKIE;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Requests under way at a time.
const AT_ONCE: usize = 64;

pub(super) async fn run(at: &Uri, file: &Path, headers: &Path) {
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let headers = std::fs::read_to_string(headers).unwrap();
    let headers: Vec<(&str, &str)> = headers.lines().map(|line| line.split_once(": ").unwrap()).collect();
    let lines = std::fs::read_to_string(file).unwrap();
    let (client, headers) = (&client, &headers);
    let began = Instant::now();
    let took = stream::iter(lines.lines()).map(|line| async move {
        let (path, cookie) = line.split_once('\t').unwrap();
        let mut parts = at.clone().into_parts();
        parts.path_and_query = Some(path.parse().unwrap());
        let mut request = Request::get(Uri::from_parts(parts).unwrap()).header(COOKIE, cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let began = Instant::now();
        let answer = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.into_body().collect().await.unwrap();
        began.elapsed()
    });
    let took: Vec<Duration> = took.buffer_unordered(AT_ONCE).collect().await;
    super::say(took, began.elapsed());
}
