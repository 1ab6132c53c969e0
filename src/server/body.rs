//! The bodies of requests and answers on their way through: what comes in is limited, what goes out is watched.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::activity::OpenRequest;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How far a request's body was read; shared with who answers.
#[derive(Clone, Debug)]
pub(super) struct BodyState(Arc<AtomicU8>);

const READING: u8 = 0;
const COMPLETE: u8 = 1;
const TOO_LARGE: u8 = 2;

impl BodyState {
    pub(super) fn is_complete(&self) -> bool {
        self.0.load(Ordering::Acquire) == COMPLETE
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.0.load(Ordering::Acquire) == TOO_LARGE
    }

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::Release);
    }
}

/// A request's body, cut off at a limit; without trailers, which nobody here reads.
#[derive(Debug)]
pub(super) struct RequestBody {
    incoming: Incoming,
    left: usize,
    state: BodyState,
}

#[derive(Debug, thiserror::Error)]
#[error("the body is too large")]
struct TooLarge;

impl RequestBody {
    pub(super) fn new(incoming: Incoming, limit: usize) -> (Self, BodyState) {
        let state = BodyState(Arc::new(AtomicU8::new(if incoming.is_end_stream() { COMPLETE } else { READING })));
        (Self { incoming, left: limit, state: state.clone() }, state)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.state.is_too_large() {
            return Poll::Ready(None);
        }
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.incoming).poll_frame(cx)) else {
                self.state.set(COMPLETE);
                return Poll::Ready(None);
            };
            let Ok(data) = frame?.into_data() else { continue };
            let Some(left) = self.left.checked_sub(data.remaining()) else {
                self.state.set(TOO_LARGE);
                return Poll::Ready(Some(Err(TooLarge.into())));
            };
            self.left = left;
            if self.incoming.is_end_stream() {
                self.state.set(COMPLETE);
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// An answer's body; the request is open until it is gone.
#[derive(Debug)]
pub(super) struct AnswerBody<B> {
    body: B,
    request: OpenRequest,
}

impl<B> AnswerBody<B> {
    pub(super) fn new(body: B, request: OpenRequest) -> Self {
        Self { body, request }
    }
}

impl<B: Body + Unpin> Body for AnswerBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.request.progress();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
