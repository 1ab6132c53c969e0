//! What a connection is doing, and until when it may: the head of a request must come in time, a client must read its
//! answer, it must not take back more requests than it waits for, and a connection without requests ends. How long a
//! request may run is not known here.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::config::ServerSettings;

/// How many more requests a client may take back than it waits for, on one connection of HTTP/2: twice as many as it may
/// have open. To begin requests and take them back at once costs it nothing, and us the beginning of each (rapid reset,
/// CVE-2023-44487).
const MAX_TAKEN_BACK: usize = 200;

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    changed: AtomicWaker,
    header_timeout: Duration,
    idle_timeout: Duration,
    /// The open requests of all connections.
    running: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct State {
    http2: bool,
    /// Requests whose answer has not begun.
    handling: usize,
    /// Requests whose answer has not ended.
    open: usize,
    /// Answers under way whose next part is not there yet: nobody waits for the client.
    starving: usize,
    /// In HTTP/2, requests that were taken back, less those whose answer began to go out; not below 0.
    taken_back: usize,
    /// Since when a head is on its way.
    head_since: Option<Instant>,
    /// When something last went on.
    progress: Instant,
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head of a request.
    Head,
    /// The next request.
    Request,
    /// The client's reading of an answer.
    Reading,
    /// The client's waiting for any answer.
    Patience,
}

impl Activity {
    /// A connection just opened: the first head is awaited.
    pub(super) fn new(settings: &ServerSettings, running: Arc<AtomicUsize>) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            http2: false,
            handling: 0,
            open: 0,
            starving: 0,
            taken_back: 0,
            head_since: Some(now),
            progress: now,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: AtomicWaker::new(),
            header_timeout: settings.header_timeout,
            idle_timeout: settings.idle_timeout,
            running,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }

    /// Notes that a request's head is complete.
    pub(super) fn begin(self: &Arc<Self>, http2: bool) -> OpenRequest {
        let mut state = self.state();
        state.http2 |= http2;
        state.handling += 1;
        state.open += 1;
        state.head_since = None;
        self.running.fetch_add(1, Ordering::AcqRel);
        OpenRequest { activity: Arc::clone(self), handling: true, going_out: !http2, starving: false }
    }

    /// Notes that something went on.
    pub(super) fn progress(&self) {
        self.state().progress = Instant::now();
    }

    /// Bytes between requests are the beginning of a head; but in HTTP/2 they may be anything.
    fn read(&self) {
        let mut state = self.state();
        if state.open == 0 && !state.http2 {
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    /// In HTTP/2, bytes may be pings: there, only parts of answers are progress.
    fn written(&self) {
        let mut state = self.state();
        if !state.http2 {
            state.progress = Instant::now();
        }
    }

    /// Has the deadline looked at again. In HTTP/1 requests and bodies are polled by the connection's own task, which looks
    /// at it next in any case.
    fn changed(&self, state: MutexGuard<'_, State>) {
        let other_task = state.http2;
        drop(state);
        if other_task {
            self.changed.wake();
        }
    }

    fn deadline(&self) -> Option<(Instant, Overdue)> {
        let state = self.state();
        if state.taken_back > MAX_TAKEN_BACK {
            return Some((state.progress, Overdue::Patience));
        }
        match (state.handling + state.starving, state.open, state.head_since) {
            (0, 0, Some(since)) => Some((since + self.header_timeout, Overdue::Head)),
            (0, 0, None) => Some((state.progress + self.idle_timeout, Overdue::Request)),
            (0, ..) => Some((state.progress + self.idle_timeout, Overdue::Reading)),
            _ => None,
        }
    }

    /// Waits until something takes too long. Must be polled after the connection, whose deeds it judges.
    pub(super) async fn overdue(&self) -> Overdue {
        let mut sleep: Option<Pin<Box<Sleep>>> = None;
        std::future::poll_fn(|cx| {
            self.changed.register(cx.waker());
            while let Some((deadline, overdue)) = self.deadline() {
                let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                // A deadline that moved away is looked at again when the old one has come: cheaper than to move the
                // timer with each request.
                if deadline < sleep.deadline() {
                    sleep.as_mut().reset(deadline);
                }
                ready!(sleep.as_mut().poll(cx));
                if deadline <= sleep.deadline() {
                    return Poll::Ready(overdue);
                }
                sleep.as_mut().reset(deadline);
            }
            Poll::Pending
        })
        .await
    }
}

/// A request on a connection, from its head to the end of its answer.
#[derive(Debug)]
pub(super) struct OpenRequest {
    activity: Arc<Activity>,
    handling: bool,
    /// Whether the client has waited until its answer began to go out. Always in HTTP/1, where it must.
    going_out: bool,
    starving: bool,
}

impl OpenRequest {
    /// Notes that there is an answer.
    pub(super) fn answered(&mut self) {
        if std::mem::replace(&mut self.handling, false) {
            let mut state = self.activity.state();
            state.handling -= 1;
            state.progress = Instant::now();
            self.activity.changed(state);
        }
    }

    /// Notes that the answer goes out: one with a body when that is asked for.
    pub(super) fn goes_out(&mut self) {
        if !std::mem::replace(&mut self.going_out, true) {
            let mut state = self.activity.state();
            state.taken_back = state.taken_back.saturating_sub(1);
        }
    }

    /// Notes that the client would take the next part of the answer: which is there, or must be waited for.
    pub(super) fn waits_for_us(&mut self, starving: bool) {
        let mut state = self.activity.state();
        state.progress = Instant::now();
        if std::mem::replace(&mut self.starving, starving) == starving {
            return;
        }
        if starving {
            state.starving += 1;
        } else {
            state.starving -= 1;
            self.activity.changed(state);
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.handling -= usize::from(self.handling);
        state.taken_back += usize::from(!self.going_out);
        state.starving -= usize::from(self.starving);
        state.open -= 1;
        state.progress = Instant::now();
        self.activity.changed(state);
        self.activity.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A stream that tells what goes through it.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }

    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.activity.written();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if buf.filled().len() > before {
            self.activity.read();
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity() -> Arc<Activity> {
        Activity::new(&super::super::tests::settings(), Arc::default())
    }

    fn awaited(activity: &Activity) -> Option<Overdue> {
        activity.deadline().map(|(_, overdue)| overdue)
    }

    #[tokio::test]
    async fn a_connection_awaits_head_then_answer_then_the_next_request() {
        let activity = activity();
        assert_eq!(awaited(&activity), Some(Overdue::Head));
        let mut request = activity.begin(false);
        assert_eq!(awaited(&activity), None);
        request.answered();
        assert_eq!(awaited(&activity), Some(Overdue::Reading));
        drop(request);
        assert_eq!(awaited(&activity), Some(Overdue::Request));
        activity.read();
        assert_eq!(awaited(&activity), Some(Overdue::Head));
    }

    #[tokio::test]
    async fn a_client_is_not_to_blame_while_its_answer_has_no_next_part() {
        let activity = activity();
        let mut request = activity.begin(false);
        request.answered();
        request.waits_for_us(true);
        assert_eq!(awaited(&activity), None);
        request.waits_for_us(false);
        assert_eq!(awaited(&activity), Some(Overdue::Reading));
        request.waits_for_us(true);
        drop(request);
        assert_eq!(awaited(&activity), Some(Overdue::Request));
    }

    #[tokio::test]
    async fn bytes_of_http2_between_requests_are_no_head() {
        let activity = activity();
        drop(activity.begin(true));
        activity.read();
        assert_eq!(awaited(&activity), Some(Overdue::Request));
    }

    #[tokio::test]
    async fn one_request_of_several_that_still_runs_sets_no_deadline() {
        let activity = activity();
        let (one, two) = (activity.begin(true), activity.begin(true));
        drop(one);
        assert_eq!(awaited(&activity), None);
        drop(two);
        assert_eq!(awaited(&activity), Some(Overdue::Request));
    }

    #[tokio::test]
    async fn a_client_may_take_requests_back_but_not_more_and_more() {
        let activity = activity();
        let other = activity.begin(true);
        for _ in 0..MAX_TAKEN_BACK {
            drop(activity.begin(true));
        }
        assert_eq!(awaited(&activity), None);
        activity.begin(true).goes_out();
        let mut answered = activity.begin(true);
        answered.answered();
        drop(answered);
        assert_eq!(awaited(&activity), None, "one was waited for");
        drop(activity.begin(true));
        assert_eq!(awaited(&activity), Some(Overdue::Patience));
        assert_eq!(activity.overdue().await, Overdue::Patience);
        drop(other);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_overdue_is_told_when_it_is_and_not_before() {
        let settings = super::super::tests::settings();
        let activity = activity();
        let start = Instant::now();
        assert_eq!(activity.overdue().await, Overdue::Head);
        let took = start.elapsed();
        assert!((settings.header_timeout..settings.header_timeout * 2).contains(&took), "{took:?}");

        let request = activity.begin(true);
        let waiting = tokio::spawn({
            let activity = Arc::clone(&activity);
            async move { activity.overdue().await }
        });
        tokio::time::sleep(settings.idle_timeout * 3).await;
        assert!(!waiting.is_finished());
        drop(request);
        let quiet = Instant::now();
        assert_eq!(waiting.await.unwrap(), Overdue::Request);
        assert!(quiet.elapsed() >= settings.idle_timeout);
    }
}
