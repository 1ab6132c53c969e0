//! Asks about each session of a file once, so that all of them are in memory afterwards.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{COOKIE, RETRY_AFTER};
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
        let uri = Uri::from_parts(parts).unwrap();
        loop {
            let mut request = Request::get(uri.clone()).header(COOKIE, cookie);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let began = Instant::now();
            let answer = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
            let (status, wait) = (answer.status(), answer.headers().get(RETRY_AFTER).cloned());
            answer.into_body().collect().await.unwrap();
            if status == StatusCode::OK {
                return began.elapsed();
            }
            // A disk that does not keep up with a million sessions makes us wait, and told so: what `/metrics` counts.
            let wait = wait
                .filter(|_| status == StatusCode::SERVICE_UNAVAILABLE)
                .and_then(|wait| wait.to_str().ok()?.parse().ok());
            let wait = wait.unwrap_or_else(|| panic!("{status} of {path}"));
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
    });
    let took: Vec<Duration> = took.buffer_unordered(AT_ONCE).collect().await;
    super::say(took, began.elapsed());
}
