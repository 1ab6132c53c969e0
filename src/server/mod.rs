//! The server: accepts connections, limits them, times them out, drains them.
//!
//! What a request means is not known here: that is the route's matter. `warp::serve` sets no header timeout and no
//! limit of connections, and drains without a deadline; hence a loop of our own over `warp::service`.

mod activity;
mod body;
mod connection;
mod limits;
mod listener;
mod request;
mod shutdown;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub use body::RequestBody;
use http::{HeaderMap, Method};
pub use limits::Limits;
pub use listener::{BindError, Listener};
pub use request::{Answering, Arrived};
pub use shutdown::{Shutdown, ShutdownHandle};
pub use tls::{TlsError, certificate_end, check_pair};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
pub use tunnel::Tunnel;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::config::ServerSettings;
use crate::metrics::Metrics;
use crate::net::Arrival;

/// What answers requests.
#[derive(Clone)]
pub struct Route {
    filter: BoxedFilter<(Response,)>,
    at_once: Option<AtOnce>,
    past: Option<Past>,
}

/// Answers a request by its head alone, if it can without waiting. May take the header fields away while it looks at them.
type AtOnce = Arc<dyn Fn(&mut HeaderMap, &Method, &Arrival) -> Option<Response> + Send + Sync>;

/// Answers a request that the router need not see, or gives it back.
type Past = Arc<dyn Fn(Box<Arrived>) -> Result<Answering, Box<Arrived>> + Send + Sync>;

impl Route {
    /// Asks `at_once` first about each request without a body, and goes on where that has no answer.
    pub fn answering_at_once<F>(self, at_once: F) -> Self
    where
        F: Fn(&mut HeaderMap, &Method, &Arrival) -> Option<Response> + Send + Sync + 'static,
    {
        Self { at_once: Some(Arc::new(at_once)), ..self }
    }

    /// Asks `past` about each request that was not answered at once, and the router about what it gives back.
    pub fn answering_past_the_router<F>(self, past: F) -> Self
    where
        F: Fn(Box<Arrived>) -> Result<Answering, Box<Arrived>> + Send + Sync + 'static,
    {
        Self { past: Some(Arc::new(past)), ..self }
    }

    /// The answer to a request without a body, if there is one at once.
    pub fn at_once(&self, headers: &mut HeaderMap, method: &Method, arrival: &Arrival) -> Option<Response> {
        self.at_once.as_ref()?(headers, method, arrival)
    }

    fn past_the_router(&self, arrived: Box<Arrived>) -> Result<Answering, Box<Arrived>> {
        match &self.past {
            Some(past) => past(arrived),
            None => Err(arrived),
        }
    }

    /// What answers any request.
    pub fn router(&self) -> BoxedFilter<(Response,)> {
        self.filter.clone()
    }
}

impl From<BoxedFilter<(Response,)>> for Route {
    fn from(filter: BoxedFilter<(Response,)>) -> Self {
        Self { filter, at_once: None, past: None }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route(…)")
    }
}

/// How long no connection is accepted after the system refused to give one, as it does when we are out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How long, after the last connection was accepted, one that is open may still bring a request: a balancer may be
/// about to send one, and not every method may be sent to another server then. There is no balancer to spare where
/// `drain_delay` is shorter.
const LINGER: Duration = Duration::from_secs(1);

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request was answered.
    Clean,
    /// So many requests were cut off.
    Cut(usize),
}

/// Serves `route` on `listener` until `shutdown` is ordered and done: for `drain_delay` all goes on, so that balancers
/// learn of it; then nothing new is accepted, what is connected has a moment to send what it was about to, and what runs
/// has `drain_timeout` to finish. A second order cuts it.
pub async fn serve(
    listener: Listener,
    route: Route,
    settings: &ServerSettings,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> Drained {
    let Listener { name, socket, certificates, .. } = listener;
    let tls = certificates.as_ref().map(tls::Certificates::acceptor);
    let mut background = JoinSet::new();
    if let Some(certificates) = certificates {
        background.spawn(certificates.keep_fresh(Arc::clone(&metrics)));
    }
    let server = Arc::new(Server {
        name,
        route,
        settings: settings.clone(),
        shutdown: shutdown.clone(),
        metrics,
        running: Arc::default(),
    });
    let mut connections =
        Connections { server: Arc::clone(&server), tls, tasks: JoinSet::new(), closing: watch::Sender::new(false) };

    connections.accept(&socket, shutdown.draining()).await;
    server.metrics.draining.set(1);
    tracing::info!(listener = name, delay = ?settings.drain_delay, timeout = ?settings.drain_timeout, "draining; another signal stops at once");
    let delay = async {
        tokio::select! {
            () = tokio::time::sleep(settings.drain_delay) => {}
            () = shutdown.stopping() => {}
        }
    };
    connections.accept(&socket, delay).await;
    connections.accept_last(socket);
    connections.linger(LINGER.min(settings.drain_delay), &shutdown).await;
    connections.drain(settings.drain_timeout, &shutdown).await
}

/// What the connections of one listener have in common.
#[derive(Debug)]
struct Server {
    name: &'static str,
    route: Route,
    settings: ServerSettings,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
    /// Requests from their heads to the ends of their answers.
    running: Arc<AtomicUsize>,
}

impl Server {
    fn rejected(&self, reason: &str) {
        self.metrics.http_connections_rejected_total.with_label_values(&[self.name, reason]).inc();
    }

    /// Takes note of a connection that ended by an error: nearly always the client's doing.
    fn failed(&self, peer: SocketAddr, error: &(dyn Error + 'static)) {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse_too_large) {
            self.metrics.http_rejected_requests_total.with_label_values(&["header_too_large"]).inc();
        }
        tracing::debug!(listener = self.name, %peer, error, "connection failed");
    }
}

/// The connections of one listener.
struct Connections {
    server: Arc<Server>,
    tls: Option<TlsAcceptor>,
    tasks: JoinSet<()>,
    closing: watch::Sender<bool>,
}

impl Connections {
    /// Accepts connections until `stop`, whatever happens.
    async fn accept(&mut self, socket: &TcpListener, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.as_mut() => return,
                accepted = socket.accept() => accepted,
                Some(_) = self.tasks.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => self.open(stream, peer),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(listener = self.server.name, %error, "cannot accept a connection");
                    tokio::select! {
                        () = stop.as_mut() => return,
                        () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
    }

    /// Closes the door behind those who have connected already.
    fn accept_last(&mut self, socket: TcpListener) {
        let Ok(socket) = socket.into_std() else { return };
        while let Ok((stream, peer)) = socket.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                self.open(stream, peer);
            }
        }
    }

    /// Goes on with what is connected for `time`, or until nothing is.
    async fn linger(&mut self, time: Duration, shutdown: &Shutdown) {
        let gone = async { while self.tasks.join_next().await.is_some() {} };
        tokio::select! {
            () = gone => {}
            () = tokio::time::sleep(time) => {}
            () = shutdown.stopping() => {}
        }
    }

    fn open(&mut self, stream: TcpStream, peer: SocketAddr) {
        while self.tasks.try_join_next().is_some() {}
        if self.tasks.len() >= self.server.settings.max_connections {
            self.server.rejected("limit");
            return;
        }
        let (server, tls, closing) = (Arc::clone(&self.server), self.tls.clone(), self.closing.subscribe());
        self.tasks.spawn(connection::run(server, stream, peer, tls, closing));
    }

    /// Lets what runs finish, but no longer than `timeout`.
    async fn drain(mut self, timeout: Duration, shutdown: &Shutdown) -> Drained {
        self.closing.send_replace(true);
        let done = async { while self.tasks.join_next().await.is_some() {} };
        tokio::select! {
            () = done => return Drained::Clean,
            () = tokio::time::sleep(timeout) => {}
            () = shutdown.stopping() => {}
        }
        let cut = self.server.running.load(Ordering::Acquire);
        self.tasks.shutdown().await;
        if cut == 0 { Drained::Clean } else { Drained::Cut(cut) }
    }
}

/// Whether accepting failed because of the one connection that was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
