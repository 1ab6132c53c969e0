//! The limit of proxying: hyper-util's client behind hyper-util's server, bodies handed through, nothing looked at.

use http::{Request, Uri, uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub(super) async fn run(to: &Uri) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let authority = to.authority().unwrap().clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        (parts.scheme, parts.authority) = (Some(uri::Scheme::HTTP), Some(authority.clone()));
        *request.uri_mut() = Uri::from_parts(parts).unwrap();
        client.request(request)
    });
    super::serve(service).await;
}
