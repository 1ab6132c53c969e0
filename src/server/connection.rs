//! One connection: its handshake, its requests, their limits.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::Limited;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use warp::reply::Response as Answer;

use super::Route;
use super::tls::Tls;
use crate::config::ServerSettings;
use crate::net::{OverTls, PeerAddr};

const MAX_HEADERS: usize = 100;
const MAX_STREAMS: u32 = 100;

/// How connections are treated.
pub(super) struct Connection {
    route: Route,
    builder: Builder<TokioExecutor>,
    tls: Option<Arc<Tls>>,
    handshake_timeout: Duration,
    request_timeout: Duration,
    idle_timeout: Duration,
    max_body_bytes: usize,
}

impl Connection {
    pub(super) fn new(route: Route, settings: &ServerSettings, tls: Option<Arc<Tls>>) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_headers(MAX_HEADERS)
            // hyper asks for at least 8 KiB.
            .max_buf_size(settings.max_header_bytes.max(8192));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(settings.idle_timeout)
            .keep_alive_timeout(settings.header_timeout);
        Self {
            route,
            builder,
            tls,
            handshake_timeout: settings.header_timeout,
            request_timeout: settings.request_timeout,
            idle_timeout: settings.idle_timeout,
            max_body_bytes: settings.max_body_bytes,
        }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        stream.set_nodelay(true).ok();
        let Some(tls) = &self.tls else { return self.requests(stream, peer, false, watcher).await };
        match tokio::time::timeout(self.handshake_timeout, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream, peer, true, watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        }
    }

    async fn requests(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        tls: bool,
        watcher: Watcher,
    ) {
        let activity = Arc::new(Activity::default());
        let service = {
            let (activity, route) = (activity.clone(), self.route.clone());
            let (request_timeout, max_body_bytes) = (self.request_timeout, self.max_body_bytes);
            service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                request.extensions_mut().insert(OverTls(tls));
                let (route, busy) = (route.clone(), Busy::new(&activity));
                async move {
                    let answered = answer(route, request, request_timeout, max_body_bytes).await;
                    drop(busy);
                    Ok::<_, Infallible>(answered)
                }
            })
        };
        let serving = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let serving = watcher.watch(serving);
        tokio::select! {
            served = serving => if let Err(error) = served {
                tracing::debug!(%error, "connection ended early");
            },
            () = activity.idle_for(self.idle_timeout) => {}
        }
    }
}

/// Answers one request, or says which limit it is beyond.
async fn answer(route: Route, request: Request<Incoming>, timeout: Duration, max_body: usize) -> Answer {
    if request.version() <= Version::HTTP_11 && request.headers().get_all(header::HOST).iter().count() != 1 {
        return refusal(StatusCode::BAD_REQUEST, "exactly one Host header is needed\n");
    }
    if request.body().size_hint().lower() > max_body as u64 {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n");
    }
    let request = request.map(|body| Limited::new(body, max_body));
    let service = warp::service(route);
    let answered = AssertUnwindSafe(hyper::service::Service::call(
        &hyper_util::service::TowerToHyperService::new(service),
        request,
    ));
    match tokio::time::timeout(timeout, answered.catch_unwind()).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_)) => {
            tracing::error!("a handler panicked");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong here\n")
        }
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "the request took too long\n"),
    }
}

/// A short answer, after which the connection closes.
fn refusal(status: StatusCode, text: &'static str) -> Answer {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What a connection is doing.
struct Activity {
    began: Instant,
    busy: AtomicUsize,
    /// Milliseconds from `began` to when the last request ended.
    last: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Self { began: Instant::now(), busy: AtomicUsize::new(0), last: AtomicU64::new(0) }
    }
}

impl Activity {
    /// Ends when no request has run for `limit`.
    async fn idle_for(&self, limit: Duration) {
        loop {
            let last = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed));
            let busy = self.busy.load(Ordering::Relaxed) > 0;
            let end = if busy { Instant::now() + limit } else { last + limit };
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// A request that runs.
struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.busy.fetch_add(1, Ordering::Relaxed);
        Self(activity.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(now, Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
