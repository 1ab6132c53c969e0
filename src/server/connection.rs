//! One connection: TLS if there is any, then requests, until it ends, idles or is told to close.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Server;
use super::activity::{Activity, Overdue, Watched};
use super::request::{MAX_HEADERS, Requests};
use super::tunnel::Slot;
use crate::config::ServerSettings;

/// Requests at the same time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 100;
/// Streams of one connection of HTTP/2 that its client may have reset before we saw them, at any one time.
const MAX_UNSEEN: usize = 20;
/// Streams that its client may have us reset by breaking the protocol (CVE-2025-8671), in all.
const MAX_BROKEN: usize = 100;
/// Bytes of an answer that HTTP/2 keeps for each stream until the client reads them.
const MAX_UNREAD: usize = 64 * 1024;
/// The least buffer that hyper takes.
const MIN_BUFFER: usize = 8 * 1024;

/// Serves one connection until it ends. Once `closing` turns true, what runs is finished and nothing more begun.
pub(super) async fn run(
    server: Arc<Server>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    closing: watch::Receiver<bool>,
) {
    let _counted = Counted::new(Arc::clone(&server));
    // It only costs speed where it cannot be set.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = tls else { return converse(server, stream, peer, false, closing).await };
    match tokio::time::timeout(server.settings.header_timeout, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => converse(server, stream, peer, true, closing).await,
        Ok(Err(error)) => {
            tracing::debug!(listener = server.name, %peer, %error, "no TLS handshake");
            server.rejected("tls_handshake");
        }
        Err(_) => server.rejected("tls_handshake"),
    }
}

async fn converse<S>(server: Arc<Server>, stream: S, peer: SocketAddr, over_tls: bool, closing: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new(&server.settings, Arc::clone(&server.running));
    let tunnel = Slot::default();
    let requests = Arc::new(Requests {
        server: Arc::clone(&server),
        activity: Arc::clone(&activity),
        peer,
        over_tls,
        tunnel: tunnel.clone(),
    });
    let builder = builder(&server.settings);
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&activity)));
    let service = service_fn(move |request| Arc::clone(&requests).answer(request));
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, service));
    let mut told_to_close = pin!(told(closing));
    let mut ending = false;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    server.failed(peer, &*error);
                }
                break;
            }
            () = told_to_close.as_mut(), if !ending => {}
            overdue = activity.overdue() => {
                match overdue {
                    Overdue::Head => server.rejected("header_timeout"),
                    Overdue::Patience => server.rejected("requests_taken_back"),
                    Overdue::Request | Overdue::Reading => {}
                }
                if ending || overdue != Overdue::Request {
                    return;
                }
                // HTTP/2 says good-bye, which takes a moment; then it has until the same is overdue again.
                activity.progress();
            }
        }
        ending = true;
        connection.as_mut().graceful_shutdown();
    }
    if let Some(tunnel) = tunnel.take().filter(|_| !ending) {
        tokio::select! {
            () = tunnel => {}
            () = told_to_close => {}
        }
    }
}

async fn told(mut closing: watch::Receiver<bool>) {
    // A sender that is gone tells the same.
    let _ = closing.wait_for(|closing| *closing).await;
}

fn builder(settings: &ServerSettings) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams::default());
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper's own would end idle connections, too, and begins only once the version is known: see `activity`.
        .header_read_timeout(None)
        .max_buf_size(settings.max_header_bytes.max(MIN_BUFFER));
    // HTTP/2 counts 32 bytes for each field besides (RFC 9113, section 6.5.2).
    let max_header_list = u32::try_from(settings.max_header_bytes + 32 * MAX_HEADERS).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_UNSEEN)
        .max_local_error_reset_streams(MAX_BROKEN)
        .max_send_buf_size(MAX_UNREAD)
        .max_header_list_size(max_header_list)
        .keep_alive_interval(settings.idle_timeout)
        .keep_alive_timeout(settings.header_timeout);
    builder
}

/// The tasks of one connection of HTTP/2, a request each; they end with it.
#[derive(Clone, Debug, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut tasks = self.0.lock().expect("no panic while held");
        while tasks.try_join_next().is_some() {}
        tasks.spawn(stream);
    }
}

/// A connection counted in the gauge.
struct Counted(Arc<Server>);

impl Counted {
    fn new(server: Arc<Server>) -> Self {
        server.metrics.http_connections.with_label_values(&[server.name]).inc();
        Self(server)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.http_connections.with_label_values(&[self.0.name]).dec();
    }
}
