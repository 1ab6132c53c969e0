//! A connection that is no longer HTTP: bytes both ways, until one end is done or somebody says so.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

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
}

impl Tunnel {
    pub(super) fn new(client: OnUpgrade, slot: Slot) -> Self {
        Self { client, slot }
    }

    /// Joins it with its other end, until `until` or until the server ends; call it before the answer 101 goes out.
    pub fn join<S, U>(self, mut other: S, until: U)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        U: Future<Output = ()> + Send + 'static,
    {
        let client = self.client;
        let carrying = async move {
            let carry = async {
                let Ok(client) = client.await else { return };
                // How it ended matters to nobody: both ends know.
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut other).await;
            };
            tokio::select! {
                () = carry => {}
                () = until => {}
            }
        };
        *self.slot.0.lock().expect("no panic while held") = Some(Box::pin(carrying));
    }
}
