//! The listener: accepts, limits, times out, drains. What is answered is the [`Route`]'s matter; nothing here knows a
//! tenant.
//!
//! `warp::serve` sets no time for reading a head, caps no connections and drains without an end; hence a loop of our own
//! over `warp::service`.

mod connection;
mod listener;
mod shutdown;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::connection::Connection;
pub use self::listener::{BindError, Listener};
pub use self::shutdown::{Shutdown, ShutdownHandle};
pub use self::tls::TlsError;
use crate::config::ServerSettings;
use crate::metrics::Metrics;

/// Everything that a listener answers.
pub type Route = warp::filters::BoxedFilter<(warp::reply::Response,)>;

/// How often files of TLS are looked at.
const TLS_WATCH: Duration = Duration::from_secs(5);

/// How a listener ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything that ran was finished.
    Clean,
    /// This many connections were cut off.
    Cut(usize),
}

/// Serves until `shutdown`; then goes on for `drain_delay`, refuses new connections, and gives what runs
/// `drain_timeout` to finish.
pub async fn serve(
    listener: Listener,
    route: Route,
    settings: &ServerSettings,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> Drained {
    let Listener { tcp, name, tls } = listener;
    let connection = Arc::new(Connection::new(route, settings, tls.clone()));
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(settings.max_connections));
    let mut running = JoinSet::new();
    let mut tls_watch = tokio::time::interval(TLS_WATCH);
    let last_call = last_call(&shutdown, settings.drain_delay, &metrics);
    tokio::pin!(last_call);
    loop {
        tokio::select! {
            () = &mut last_call => break,
            Some(_) = running.join_next() => {}
            _ = tls_watch.tick(), if tls.is_some() => {
                if let Some(tls) = &tls {
                    tls.look_again().await;
                }
            }
            accepted = tcp.accept() => match accepted {
                Err(error) => {
                    // Such as no file left to open: those that are open end, and then there is room again.
                    tracing::error!(%error, listener = name, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok((stream, peer)) => match room.clone().try_acquire_owned() {
                    Err(_) => refuse(stream, name, &metrics),
                    Ok(permit) => {
                        let counted = Counted::new(name, &metrics);
                        let (connection, watcher) = (connection.clone(), graceful.watcher());
                        running.spawn(async move {
                            connection.run(stream, peer, watcher).await;
                            drop((permit, counted));
                        });
                    }
                },
            },
        }
    }
    drop(tcp);
    let drained = drain(running, graceful, settings.drain_timeout, &shutdown).await;
    metrics.draining.set(0);
    drained
}

/// Waits for the signal, and then as long as load balancers need to notice.
async fn last_call(shutdown: &Shutdown, delay: Duration, metrics: &Metrics) {
    shutdown.draining().await;
    metrics.draining.set(1);
    metrics.ready.set(0);
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = shutdown.at_once() => {}
    }
}

async fn drain(
    mut running: JoinSet<()>,
    graceful: hyper_util::server::graceful::GracefulShutdown,
    timeout: Duration,
    shutdown: &Shutdown,
) -> Drained {
    let finished = async {
        graceful.shutdown().await;
        while running.join_next().await.is_some() {}
    };
    tokio::select! {
        () = finished => return Drained::Clean,
        () = tokio::time::sleep(timeout) => {}
        () = shutdown.at_once() => {}
    }
    let left = running.len();
    running.shutdown().await;
    if left == 0 { Drained::Clean } else { Drained::Cut(left) }
}

fn refuse(stream: TcpStream, name: &str, metrics: &Metrics) {
    metrics.http_connections_rejected_total.with_label_values(&[name, "too_many"]).inc();
    drop(stream);
}

/// An open connection in the metrics.
struct Counted(crate::metrics::IntGauge);

impl Counted {
    fn new(name: &str, metrics: &Metrics) -> Self {
        let gauge = metrics.http_connections.with_label_values(&[name]);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
