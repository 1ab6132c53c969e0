//! A connection that is no longer HTTP: bytes both ways, until one end is done, both are silent, or somebody says so.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

type Carrying = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a request leaves what its connection carries afterwards.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Carrying>>>);

impl Slot {
    pub(super) fn take(&self) -> Option<Carrying> {
        self.0.lock().expect("no panic while held").take()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

/// The client's end of a tunnel. A request that asks for an upgrade carries it in its extensions; it is there once the
/// request was answered with 101.
#[derive(Clone, Debug)]
pub struct Tunnel {
    client: OnUpgrade,
    slot: Slot,
    idle_timeout: Duration,
}

impl Tunnel {
    pub(super) fn new(client: OnUpgrade, slot: Slot, idle_timeout: Duration) -> Self {
        Self { client, slot, idle_timeout }
    }

    /// Joins it with its other end, until `until` or until the server ends; unless `may_be_silent`, also until nothing
    /// went either way for `idle_timeout`, or twice that. Call it before the answer 101 goes out.
    pub fn join<S, U>(self, other: S, until: U, may_be_silent: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        U: Future<Output = ()> + Send + 'static,
    {
        let Self { client, slot, idle_timeout } = self;
        let moved = Arc::<AtomicBool>::default();
        let mut other = Noticed { stream: other, moved: Arc::clone(&moved) };
        let carrying = async move {
            let silence = async {
                tokio::time::sleep(idle_timeout).await;
                while may_be_silent || moved.swap(false, Ordering::Relaxed) {
                    tokio::time::sleep(idle_timeout).await;
                }
            };
            let carry = async {
                let Ok(client) = client.await else { return };
                // How it ended matters to nobody: both ends know.
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut other).await;
            };
            tokio::select! {
                () = carry => {}
                () = until => {}
                () = silence => {}
            }
        };
        *slot.0.lock().expect("no panic while held") = Some(Box::pin(carrying));
    }
}

/// A stream that notices when something went through it.
struct Noticed<S> {
    stream: S,
    moved: Arc<AtomicBool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noticed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.moved.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noticed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.moved.store(true, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
