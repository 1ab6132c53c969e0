//! The applications behind a tenant, as HTTP servers: connections, balancing, one request and its answer, streamed. Who
//! may ask them is not known here, nor which headers belong on the way: see `web::reverse_proxy`.

mod connect;
mod error;
mod member;
mod upload;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyDataStream;
use hyper::body::Body as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use self::error::BoxError;
pub use self::error::{UpstreamError, UpstreamSetupError};
use self::member::{InFlight, Member, Way};
pub use self::upload::Incoming;
use self::upload::Upload;
use crate::config::UpstreamSettings;
use crate::error_chain::chain;
use crate::request_path::RequestPath;

/// An application, on one server or several.
#[derive(Debug)]
pub struct Upstream {
    /// What the tenant's file says of it.
    pub settings: UpstreamSettings,
    members: Vec<Arc<Member>>,
    /// Where the next look for a member begins.
    turn: AtomicUsize,
}

/// A request without headers and body.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: PathAndQuery,
    /// The host that the application sees instead of its own: with the port, where it has one.
    pub host: Option<String>,
    /// Whether the connection shall become a tunnel.
    pub upgrades: bool,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers, hop-by-hop ones among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: AnswerBody,
    upgrade: OnUpgrade,
}

/// An answer's body, without trailers.
#[derive(Debug)]
pub struct AnswerBody {
    parts: BodyDataStream<hyper::body::Incoming>,
    is_empty: bool,
    /// Held, never read.
    in_flight: InFlight,
}

impl Upstream {
    /// The upstream of these settings; touches no network.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub fn new(settings: UpstreamSettings) -> Result<Self, UpstreamSetupError> {
        let member = |address| Member::new(address, &settings).map(Arc::new);
        let members = settings.members.iter().map(member).collect::<Result<_, _>>()?;
        Ok(Self { members, turn: AtomicUsize::new(0), settings })
    }

    /// Whether a request for this host and path, below the tenant's mount, goes here.
    pub fn answers(&self, host: &str, path: &RequestPath<'_>) -> bool {
        let host_fits = self.settings.host.as_ref().is_none_or(|own| own == host);
        host_fits && path.after(&self.settings.path).is_some()
    }

    /// Sends a request with the headers that `headers` makes each time it is tried, `Host` not among them. Whoever does not wait for the end of this, or drops the answer's body, takes the request back.
    ///
    /// A member that cannot be connected to rests, and the next one is asked. A request without a body whose method is
    /// idempotent is sent once more, on a new connection, if an old one ended before an answer came (RFC 9110, section
    /// 9.2.2).
    ///
    /// # Errors
    /// No member answers.
    pub async fn send(
        &self,
        head: &Head,
        headers: &(dyn Fn() -> HeaderMap + Sync),
        mut body: Option<Incoming>,
    ) -> Result<Answer, UpstreamError> {
        let has_body = body.is_some();
        let mut unreachable = None;
        for member in self.by_load() {
            let (upload, progress) = Upload::new(body.take());
            let way = if head.upgrades { Way::Upgrade } else { Way::Pooled };
            let exchange = async {
                match member.exchange(head, headers(), upload, way).await {
                    Err(failed) if failed.was_stale && !has_body && head.method.is_idempotent() => {
                        Box::pin(member.exchange(head, headers(), Upload::new(None).0, Way::Fresh)).await
                    }
                    other => other,
                }
            };
            let exchanged = tokio::select! {
                biased;
                exchanged = exchange => exchanged,
                () = progress.stalled(self.settings.timeout) => return Err(UpstreamError::Slow),
            };
            let failed = match exchanged {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if progress.is_cut() {
                return Err(UpstreamError::BodyCut);
            }
            if !failed.is_connect {
                return Err(UpstreamError::Failed(failed.cause));
            }
            member.rest();
            tracing::warn!(member = %member, cause = %chain(&*failed.cause), "an upstream cannot be reached");
            unreachable = Some(failed.cause);
            body = progress.take_unread();
            if has_body && body.is_none() {
                break;
            }
        }
        Err(UpstreamError::Unreachable(unreachable.unwrap_or_else(|| "it has no address".into())))
    }

    /// The members, those that do not rest and have the least to do first; of equal ones, each in its turn.
    fn by_load(&self) -> Vec<&Arc<Member>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.members.len().max(1);
        let mut members: Vec<&Arc<Member>> = self.members[turn..].iter().chain(&self.members[..turn]).collect();
        if members.len() > 1 {
            members.sort_by_cached_key(|member| member.load());
        }
        members
    }
}

impl Answer {
    /// The tunnel behind an answer 101, and what counts it as the member's load until it is dropped.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn into_tunnel(
        self,
    ) -> Result<(impl AsyncRead + AsyncWrite + Send + Unpin + 'static, impl Send + 'static), UpstreamError> {
        let stream = self.upgrade.await.map_err(|error| UpstreamError::Failed(error.into()))?;
        Ok((TokioIo::new(stream), self.body.in_flight))
    }
}

impl AnswerBody {
    /// Whether nothing will come.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    fn new(incoming: hyper::body::Incoming, in_flight: InFlight) -> Self {
        Self { is_empty: incoming.is_end_stream(), parts: BodyDataStream::new(incoming), in_flight }
    }
}

impl Stream for AnswerBody {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.parts).poll_next(cx).map_err(Into::into)
    }
}
