//! One request: refused if it breaks a limit, else handed to the route, under a deadline, panics caught.

use std::any::Any;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, EXPECT, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use warp::Reply as _;

use super::Server;
use super::activity::Activity;
use super::body::{AnswerBody, RequestBody};
use crate::config::ServerSettings;
use crate::net::{OverTls, PeerAddr};

/// The header fields a request may have; hyper's own limit for HTTP/1.
pub(super) const MAX_HEADERS: usize = 100;
/// How much of a body that was refused is read and thrown away, and for how long: a client that is still sending
/// would otherwise see a reset connection rather than our answer.
const DISCARDED: usize = 1024 * 1024;
const DISCARDING: Duration = Duration::from_secs(5);

/// What the requests of one connection have in common.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) server: Arc<Server>,
    pub(super) activity: Arc<Activity>,
    pub(super) peer: SocketAddr,
    pub(super) over_tls: bool,
}

/// Why a request is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Connect,
    Host,
    HeaderTooLarge,
    BodyTooLarge,
    SlowClient,
    SlowAnswer,
    Panic,
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::Connect => StatusCode::NOT_IMPLEMENTED,
            Self::Host => StatusCode::BAD_REQUEST,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowClient => StatusCode::REQUEST_TIMEOUT,
            Self::SlowAnswer => StatusCode::SERVICE_UNAVAILABLE,
            Self::Panic => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Connect => "No connection is made from here to elsewhere.\n",
            Self::Host => "The request must name one host.\n",
            Self::HeaderTooLarge => "The head of the request is too large.\n",
            Self::BodyTooLarge => "The body of the request is too large.\n",
            Self::SlowClient => "The request took too long to arrive.\n",
            Self::SlowAnswer => "The answer took too long. Please try again.\n",
            Self::Panic => "Something went wrong here. Please try again.\n",
        }
    }

    /// The label in `http_rejected_requests_total`; a panic is our fault and no refusal.
    const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Connect => Some("connect"),
            Self::Host => Some("bad_host"),
            Self::HeaderTooLarge => Some("header_too_large"),
            Self::BodyTooLarge => Some("body_too_large"),
            Self::SlowClient | Self::SlowAnswer => Some("timeout"),
            Self::Panic => None,
        }
    }
}

impl Requests {
    /// Answers one request, always.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody<impl Body<Data = Bytes, Error = warp::Error> + Send + Unpin + 'static>>, Infallible>
    {
        let version = request.version();
        let mut open = self.activity.begin(version == Version::HTTP_2);
        let (mut response, close) = match self.respond(request).await {
            Ok(response) => (response, self.server.shutdown.is_draining()),
            Err(refusal) => (self.refuse(refusal), true),
        };
        // HTTP/2 says the same for a whole connection, by GOAWAY.
        if close && version <= Version::HTTP_11 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        open.answered();
        Ok(response.map(|body| AnswerBody::new(body, open)))
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<warp::reply::Response, Refusal> {
        let settings = &self.server.settings;
        if let Some(refusal) = broken_limit(&request, settings) {
            // A client that asked first is not sending: reading would tell it to.
            if refusal == Refusal::BodyTooLarge && !request.headers().contains_key(EXPECT) {
                tokio::spawn(discard(request.into_body()));
            }
            return Err(refusal);
        }
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(PeerAddr(self.peer));
        parts.extensions.insert(OverTls(self.over_tls));
        let (body, body_state) = RequestBody::new(body, settings.max_body_bytes);
        let route = TowerToHyperService::new(warp::service(self.server.route.clone()));
        let handled = AssertUnwindSafe(route.call(Request::from_parts(parts, body))).catch_unwind();
        match tokio::time::timeout(settings.request_timeout, handled).await {
            Ok(Ok(Ok(_))) if body_state.is_too_large() => Err(Refusal::BodyTooLarge),
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(panic)) => {
                tracing::error!(listener = self.server.name, panic = message(&*panic), "a handler panicked");
                Err(Refusal::Panic)
            }
            Err(_) if body_state.is_complete() => Err(Refusal::SlowAnswer),
            Err(_) => Err(Refusal::SlowClient),
        }
    }

    fn refuse(&self, refusal: Refusal) -> warp::reply::Response {
        if let Some(reason) = refusal.reason() {
            self.server.metrics.http_rejected_requests_total.with_label_values(&[reason]).inc();
        }
        let mut response = refusal.text().into_response();
        *response.status_mut() = refusal.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn broken_limit(request: &Request<Incoming>, settings: &ServerSettings) -> Option<Refusal> {
    // Its target has no path, so that it would pass for `/`; and a 200 would promise a tunnel.
    if request.method() == Method::CONNECT {
        return Some(Refusal::Connect);
    }
    let headers = request.headers();
    if headers.len() > MAX_HEADERS || head_bytes(request) > settings.max_header_bytes {
        return Some(Refusal::HeaderTooLarge);
    }
    if !names_one_host(request.version(), headers) {
        return Some(Refusal::Host);
    }
    let announced = request.body().size_hint().lower();
    (announced > settings.max_body_bytes as u64).then_some(Refusal::BodyTooLarge)
}

/// About as many bytes as HTTP/1 takes for a head.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let fields: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    fields + target + request.method().as_str().len()
}

/// RFC 9112, section 3.2: in HTTP/1.1 exactly one `Host`, in every version at most one.
fn names_one_host(version: Version, headers: &HeaderMap) -> bool {
    match headers.get_all(HOST).iter().count() {
        0 => version != Version::HTTP_11,
        1 => true,
        _ => false,
    }
}

async fn discard(mut body: Incoming) {
    let reading = async {
        let mut left = DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { break };
            left = rest;
        }
    };
    // Whether the time was up does not matter.
    let _ = tokio::time::timeout(DISCARDING, reading).await;
}

fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&'static str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "of no known kind",
    }
}
