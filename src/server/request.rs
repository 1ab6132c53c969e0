//! One request: refused if it breaks a limit, else handed to the route, under a deadline, panics caught.

use std::any::Any;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::service::Service as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::service::TowerToHyperService;
use warp::Reply as _;

use super::Server;
use super::activity::Activity;
use super::body::{AnswerBody, RequestBody};
use super::limits::Limits;
use super::tunnel::{Slot, Tunnel};
use crate::config::ServerSettings;
use crate::net::Arrival;

/// The header fields a request may have; hyper's own limit for HTTP/1.
pub(super) const MAX_HEADERS: usize = 100;
/// What the requests of one connection have in common.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) server: Arc<Server>,
    pub(super) activity: Arc<Activity>,
    pub(super) peer: SocketAddr,
    pub(super) over_tls: bool,
    /// What the connection carries once it is no longer HTTP.
    pub(super) tunnel: Slot,
}

/// A request whose head has come.
#[derive(Debug)]
pub struct Arrived {
    /// The head.
    pub head: Parts,
    /// How it came.
    pub arrival: Arrival,
    /// Its limits.
    pub limits: Limits,
    /// The client's end of a tunnel, where it asks for one.
    pub tunnel: Option<Tunnel>,
    /// What is still to come.
    pub body: RequestBody,
}

/// An answer that is being made.
pub type Answering = Pin<Box<dyn Future<Output = warp::reply::Response> + Send>>;

/// Why a request is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Connect,
    Target,
    Host,
    Coding,
    HeaderTooLarge,
    BodyTooLarge,
    SlowClient,
    SlowAnswer,
    Panic,
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::Connect | Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::Target | Self::Host => StatusCode::BAD_REQUEST,
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
            Self::Target => "The target of the request must be a path or a URL.\n",
            Self::Host => "The request must name one host.\n",
            Self::Coding => "No transfer coding is known here but chunked.\n",
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
            Self::Target => Some("bad_target"),
            Self::Host => Some("bad_host"),
            Self::Coding => Some("transfer_coding"),
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
        if close && version <= Version::HTTP_11 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        open.answered();
        Ok(response.map(|body| AnswerBody::new(body, open)))
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<warp::reply::Response, Refusal> {
        let settings = &self.server.settings;
        if let Some(refusal) = broken_limit(&request, settings) {
            return Err(refusal);
        }
        let (mut parts, body) = request.into_parts();
        let arrival = Arrival { peer: self.peer, over_tls: self.over_tls, target: parts.uri.clone() };
        if body.is_end_stream() {
            let at_once = || self.server.route.at_once(&mut parts.headers, &parts.method, &arrival);
            let answer = std::panic::catch_unwind(AssertUnwindSafe(at_once));
            if let Some(response) = answer.map_err(|panic| self.panicked(&*panic))? {
                return Ok(response);
            }
        }
        let tunnel = parts.extensions.remove::<OnUpgrade>();
        let tunnel = tunnel.map(|client| Tunnel::new(client, self.tunnel.clone(), settings.idle_timeout));
        let expects = parts.headers.contains_key(EXPECT);
        let (body, limits) = RequestBody::new(body, settings.max_body_bytes, expects, settings.idle_timeout);
        let arrived = Box::new(Arrived { head: parts, arrival, limits: limits.clone(), tunnel, body });
        let handled = AssertUnwindSafe(self.handle(arrived)).catch_unwind();
        let overdue = async {
            if !limits.are_lifted() {
                tokio::time::sleep(settings.request_timeout).await;
            }
            if limits.are_lifted() {
                std::future::pending::<()>().await;
            }
        };
        let handled = tokio::select! {
            biased;
            handled = handled => handled,
            () = overdue => {
                return Err(if limits.is_complete() { Refusal::SlowAnswer } else { Refusal::SlowClient });
            }
        };
        match handled {
            Ok(_) if limits.is_too_large() && !limits.are_lifted() => Err(Refusal::BodyTooLarge),
            Ok(response) => Ok(response),
            Err(panic) => Err(self.panicked(&*panic)),
        }
    }

    async fn handle(&self, arrived: Box<Arrived>) -> warp::reply::Response {
        let route = &self.server.route;
        let arrived = match route.past_the_router(arrived) {
            Ok(answering) => return answering.await,
            Err(arrived) => *arrived,
        };
        let Arrived { mut head, arrival, limits, tunnel, body } = arrived;
        head.extensions.insert(arrival);
        head.extensions.insert(limits);
        tunnel.and_then(|tunnel| head.extensions.insert(tunnel));
        let routed = TowerToHyperService::new(warp::service(route.router())).call(Request::from_parts(head, body));
        routed.await.unwrap_or_else(|never| match never {})
    }

    fn panicked(&self, panic: &(dyn Any + Send)) -> Refusal {
        tracing::error!(listener = self.server.name, panic = message(panic), "a handler panicked");
        Refusal::Panic
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
    // An authority alone is for CONNECT (RFC 9112, section 3.2.3), and warp panics at it.
    if request.uri().path_and_query().is_none() {
        return Some(Refusal::Target);
    }
    let headers = request.headers();
    if headers.len() > MAX_HEADERS || head_bytes(request) > settings.max_header_bytes {
        return Some(Refusal::HeaderTooLarge);
    }
    if !is_plainly_coded(headers) {
        return Some(Refusal::Coding);
    }
    (!names_one_host(request.version(), headers)).then_some(Refusal::Host)
}

/// Whether the body is as it is, or in chunks and nothing else: hyper undoes those alone, and reads `chunked` in whatever
/// ends with it, where other servers may not (RFC 9112, section 6.1).
fn is_plainly_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    codings.next().is_none_or(chunked) && codings.next().is_none()
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

fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&'static str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "of no known kind",
    }
}
