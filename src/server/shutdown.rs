//! The way a process is asked to end.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    AtOnce,
}

/// Knows whether the process is to end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

/// Asks the process to end.
#[derive(Clone, Debug)]
pub struct ShutdownHandle(watch::Sender<Phase>);

impl Shutdown {
    /// A shutdown that somebody calls for by hand.
    pub fn manual() -> (Self, ShutdownHandle) {
        let (sender, receiver) = watch::channel(Phase::Running);
        (Self(receiver), ShutdownHandle(sender))
    }

    /// A shutdown by SIGTERM or SIGINT; a second signal ends at once.
    pub fn on_signals() -> Self {
        let (shutdown, handle) = Self::manual();
        tokio::spawn(async move {
            signal().await;
            tracing::info!("asked to stop: finishing what runs");
            handle.trigger();
            signal().await;
            tracing::warn!("asked again: stopping at once");
            handle.0.send_replace(Phase::AtOnce);
            // Whoever still holds a `Shutdown` shall not take the end of this task for an end of waiting.
            std::future::pending::<()>().await;
        });
        shutdown
    }

    /// Whether the process has been asked to end.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    /// Waits until the process is asked to end.
    pub async fn draining(&self) {
        self.reach(Phase::Draining).await;
    }

    /// Waits until there is no more time.
    pub(super) async fn at_once(&self) {
        self.reach(Phase::AtOnce).await;
    }

    async fn reach(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|now| *now >= phase).await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    }
}

impl ShutdownHandle {
    /// Asks the process to end in an orderly way.
    pub fn trigger(&self) {
        self.0.send_replace(Phase::Draining);
    }
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be caught; the process ends without draining");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
