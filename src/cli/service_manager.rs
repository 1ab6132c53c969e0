//! systemd, or whoever speaks as it does: takes the socket that it holds for us, and tells it how we are. Does nothing
//! where nobody is there. The only home of `listenfd` and `sd_notify`.

use std::future::pending;
use std::net::TcpListener;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::server::Shutdown;

/// The socket that a socket unit opened for us, if there is one: the first, where there are several.
///
/// # Errors
/// It is none that listens by TCP.
pub(super) fn socket() -> std::io::Result<Option<TcpListener>> {
    ListenFd::from_env().take_tcp_listener(0)
}

/// Tells that we listen, that we live as often as is asked (`WatchdogSec` of a unit), and that we are about to end; for
/// ever.
pub(super) async fn keep_told(shutdown: Shutdown) {
    tell(NotifyState::Ready);
    let alive = async {
        let Some(within) = sd_notify::watchdog_enabled() else { return pending().await };
        loop {
            tell(NotifyState::Watchdog);
            tokio::time::sleep(within / 3).await;
        }
    };
    let end = async {
        shutdown.draining().await;
        tell(NotifyState::Stopping);
    };
    tokio::join!(alive, end);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
