//! The body of a request on its way to an upstream: who is waited for, and whether it can be sent again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::error::BoxError;

/// A request's body as it comes from the client.
pub type Incoming = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// A body that is being sent; gives back what nobody has read.
pub(super) struct Upload {
    source: Option<Incoming>,
    progress: Arc<Progress>,
}

/// How far an [`Upload`] has come.
pub(super) struct Progress(Mutex<State>);

struct State {
    /// The body, if it was dropped unread.
    unread: Option<Incoming>,
    was_read: bool,
    /// When the upstream last took something.
    taken: Instant,
    /// Whether the client owes the next part.
    client_owes: bool,
    cut: bool,
}

impl Upload {
    pub(super) fn new(source: Option<Incoming>) -> (Self, Arc<Progress>) {
        let state = State { unread: None, was_read: false, taken: Instant::now(), client_owes: false, cut: false };
        let progress = Arc::new(Progress(Mutex::new(state)));
        (Self { source, progress: Arc::clone(&progress) }, progress)
    }
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while held")
    }

    /// The body, if nothing of it was read.
    pub(super) fn take_unread(&self) -> Option<Incoming> {
        self.state().unread.take()
    }

    /// Whether the client did not send the whole.
    pub(super) fn is_cut(&self) -> bool {
        self.state().cut
    }

    /// Waits until the upstream has done nothing for `timeout`, while it was not the client who was waited for.
    pub(super) async fn stalled(&self, timeout: Duration) {
        let mut deadline = self.state().taken + timeout;
        loop {
            tokio::time::sleep_until(deadline).await;
            let state = self.state();
            let now = Instant::now();
            deadline = if state.client_owes { now } else { state.taken } + timeout;
            if deadline <= now {
                return;
            }
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let polled = source.as_mut().poll_next(cx);
        let mut state = self.progress.state();
        state.was_read = true;
        state.client_owes = polled.is_pending();
        if let Poll::Ready(part) = &polled {
            state.taken = Instant::now();
            state.cut |= matches!(part, Some(Err(_)));
        }
        drop(state);
        polled.map(|part| part.map(|part| part.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.source.is_none() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut state = self.progress.state();
        if !state.was_read {
            state.unread = self.source.take();
        }
    }
}
