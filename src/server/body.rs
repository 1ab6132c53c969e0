//! The bodies of requests and answers on their way through: what comes in is limited, what goes out is watched.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::activity::OpenRequest;
use super::limits::Limits;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How much of a body that was refused is read and thrown away, and for how long: a client that is still sending
/// would otherwise see a reset connection rather than our answer.
const DISCARDED: usize = 1024 * 1024;
const DISCARDING: Duration = Duration::from_secs(5);

/// A request's body, cut off at a limit; without trailers, which nobody here reads.
#[derive(Debug)]
pub struct RequestBody {
    /// There until it is dropped.
    incoming: Option<Incoming>,
    read: u64,
    limits: Limits,
    /// Whether the client waits for us before it sends the body (RFC 9110, section 10.1.1).
    expects: bool,
    idle_timeout: Duration,
    /// Runs while the client is waited for.
    idle: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body is too large")]
    TooLarge,
    #[error("the client paused for too long")]
    Idle,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, max_body: usize, expects: bool, idle_timeout: Duration) -> (Self, Limits) {
        let limits = Limits::new(!incoming.is_end_stream(), incoming.size_hint().lower(), max_body as u64);
        let incoming = Some(incoming);
        (Self { incoming, read: 0, limits: limits.clone(), expects, idle_timeout, idle: None }, limits)
    }

    fn refuse(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.limits.set_too_large();
        Poll::Ready(Some(Err(BodyError::TooLarge.into())))
    }

    /// A client that pauses in the midst of a body without any other limit.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.limits.are_lifted() {
            return Poll::Pending;
        }
        let idle_timeout = self.idle_timeout;
        let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle_timeout)));
        ready!(idle.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyError::Idle.into())))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.limits.is_too_large() {
            return self.refuse();
        }
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        loop {
            let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) else { return this.poll_idle(cx) };
            this.idle = None;
            let Some(frame) = frame else {
                this.limits.set_complete();
                return Poll::Ready(None);
            };
            let Ok(data) = frame?.into_data() else { continue };
            this.read += data.len() as u64;
            if this.read > this.limits.max_body() {
                return this.refuse();
            }
            if incoming.is_end_stream() {
                this.limits.set_complete();
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // A client that asked first is not sending: reading would tell it to.
        if self.read == 0
            && !self.expects
            && (self.limits.is_too_large() || self.limits.are_lifted() && !self.limits.is_complete())
            && let Some(incoming) = self.incoming.take()
        {
            tokio::spawn(discard(incoming));
        }
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

/// An answer's body; the request is open until it is gone.
#[derive(Debug)]
pub(super) struct AnswerBody<B> {
    body: B,
    request: OpenRequest,
}

impl<B> AnswerBody<B> {
    pub(super) fn new(body: B, mut request: OpenRequest) -> Self
    where
        B: Body,
    {
        // Nobody asks for one that is empty.
        if body.is_end_stream() {
            request.goes_out();
        }
        Self { body, request }
    }
}

impl<B: Body + Unpin> Body for AnswerBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = &mut *self;
        this.request.goes_out();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.request.waits_for_us(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
