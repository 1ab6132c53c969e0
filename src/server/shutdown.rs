//! The order to stop: who gives it, who hears it.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    Draining,
    Stopping,
}

impl Stage {
    const fn next(self) -> Self {
        match self {
            Self::Serving => Self::Draining,
            Self::Draining | Self::Stopping => Self::Stopping,
        }
    }
}

/// Hears the order to stop. The first order drains; a second one stops at once.
#[derive(Clone, Debug)]
pub struct Shutdown {
    stage: watch::Receiver<Stage>,
}

/// Gives the order to stop.
#[derive(Debug)]
pub struct ShutdownHandle {
    stage: watch::Sender<Stage>,
}

impl ShutdownHandle {
    /// Drains; called again, stops at once.
    pub fn trigger(&self) {
        self.stage.send_modify(|stage| *stage = stage.next());
    }
}

impl Shutdown {
    /// Ordered by SIGTERM or SIGINT.
    pub fn on_signals() -> Self {
        let (shutdown, handle) = Self::manual();
        let mut terminate = signal(SignalKind::terminate()).expect("a runtime with I/O runs, SIGTERM may be handled");
        let mut interrupt = signal(SignalKind::interrupt()).expect("a runtime with I/O runs, SIGINT may be handled");
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                tracing::info!(signal = name, "signal received");
                handle.trigger();
            }
        });
        shutdown
    }

    /// Ordered by a handle; never, if the handle is dropped.
    pub fn manual() -> (Self, ShutdownHandle) {
        let (sender, stage) = watch::channel(Stage::Serving);
        (Self { stage }, ShutdownHandle { stage: sender })
    }

    /// Whether the order was given.
    pub fn is_draining(&self) -> bool {
        *self.stage.borrow() >= Stage::Draining
    }

    /// Waits for the order.
    pub async fn draining(&self) {
        self.reached(Stage::Draining).await;
    }

    /// Waits for the second order.
    pub(super) async fn stopping(&self) {
        self.reached(Stage::Stopping).await;
    }

    async fn reached(&self, wanted: Stage) {
        if self.stage.clone().wait_for(|stage| *stage >= wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_first_order_drains_and_the_second_stops() {
        let (shutdown, handle) = Shutdown::manual();
        assert!(!shutdown.is_draining());
        assert!(shutdown.draining().now_or_never().is_none());
        handle.trigger();
        assert!(shutdown.is_draining());
        assert!(shutdown.draining().now_or_never().is_some());
        assert!(shutdown.stopping().now_or_never().is_none());
        handle.trigger();
        assert!(shutdown.stopping().now_or_never().is_some());
    }

    #[test]
    fn a_handle_that_is_gone_orders_nothing() {
        let (shutdown, handle) = Shutdown::manual();
        drop(handle);
        assert!(!shutdown.is_draining());
        assert!(shutdown.draining().now_or_never().is_none());
    }

    #[tokio::test]
    async fn signals_order() {
        let shutdown = Shutdown::on_signals();
        let send = |signal: &str| {
            let sent = std::process::Command::new("kill").args([signal, &std::process::id().to_string()]).status();
            assert!(sent.unwrap().success());
        };
        send("-TERM");
        shutdown.draining().await;
        assert!(shutdown.stopping().now_or_never().is_none());
        send("-INT");
        shutdown.stopping().await;
    }
}
