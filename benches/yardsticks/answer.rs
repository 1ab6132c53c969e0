//! The limit: a warp route that knows its answer beforehand, down to the last header.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use warp::Filter as _;

/// An answer as `benches/run` has got it from lychgate.
#[derive(Deserialize)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn response(self) -> Response<Bytes> {
        let mut response = Response::new(self.body.into());
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap();
        for (name, value) in self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            response.headers_mut().append(name, HeaderValue::from_str(&value).unwrap());
        }
        response
    }
}

pub(super) async fn run(tenant: String, route: String, file: &Path) {
    let answer: Answer = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let answer = answer.response();
    let route =
        warp::get().and(warp::path(tenant)).and(warp::path(route)).and(warp::path::end()).map(move || answer.clone());
    super::serve(TowerToHyperService::new(warp::service(route))).await;
}
