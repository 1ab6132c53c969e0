//! Connections to one member of an upstream: TCP with or without TLS, or a socket file. A connection tells whether it
//! was used before.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::UnixStream;
use tower_service::Service;

use super::error::{BoxError, UpstreamSetupError, connect_timeout};

/// Connects to the same place whatever is asked for, in time.
#[derive(Clone, Debug)]
pub(super) struct Dial<C> {
    connector: C,
    place: Uri,
    timeout: Duration,
}

impl<C> Dial<C> {
    pub(super) fn new(connector: C, place: Uri, timeout: Duration) -> Self {
        Self { connector, place, timeout }
    }
}

type Dialling<S> = Pin<Box<dyn Future<Output = Result<Dialled<S>, BoxError>> + Send>>;

impl<C> Service<Uri> for Dial<C>
where
    C: Service<Uri>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = Dialled<C::Response>;
    type Error = BoxError;
    type Future = Dialling<C::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (connecting, timeout) = (self.connector.call(self.place.clone()), self.timeout);
        Box::pin(async move {
            let connected = tokio::time::timeout(timeout, connecting).await.map_err(|_| connect_timeout())?;
            Ok(Dialled { stream: connected.map_err(Into::into)?, used: Used::default() })
        })
    }
}

/// Whether an answer has come by this connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Used(Arc<AtomicBool>);

impl Used {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Dialled<S> {
    stream: S,
    used: Used,
}

impl<S: Connection> Connection for Dialled<S> {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.used.clone())
    }
}

impl<S: Read + Unpin> Read for Dialled<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: Write + Unpin> Write for Dialled<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

/// Connects by TCP, and by TLS where the place is https.
pub(super) type Tcp = HttpsConnector<HttpConnector>;

/// What TLS trusts in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trust<'a> {
    /// Nothing: there is no TLS.
    Nothing,
    /// What the system trusts in.
    System,
    /// These certificates alone, PEM.
    Only(&'a [u8]),
}

/// A connector by TCP that offers HTTP/2 in its handshakes if `http2`.
///
/// # Errors
/// No certificates can be had to trust in.
pub(super) fn tcp(trust: Trust<'_>, http2: bool) -> Result<Tcp, UpstreamSetupError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let roots = match trust {
        Trust::System => None,
        Trust::Nothing => Some(RootCertStore::empty()),
        Trust::Only(pem) => Some(roots(pem)?),
    };
    let builder = match roots {
        None => HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(provider)
            .map_err(UpstreamSetupError::System)?,
        Some(roots) => {
            let config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_safe_default_protocol_versions()
                .expect("the provider has suites for TLS 1.2 and 1.3")
                .with_root_certificates(roots)
                .with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        }
    };
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let builder = builder.https_or_http().enable_http1();
    Ok(if http2 { builder.enable_http2().wrap_connector(http) } else { builder.wrap_connector(http) })
}

fn roots(pem: &[u8]) -> Result<RootCertStore, UpstreamSetupError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| UpstreamSetupError::Ca(None))?;
        roots.add(certificate).map_err(|error| UpstreamSetupError::Ca(Some(error)))?;
    }
    if roots.is_empty() { Err(UpstreamSetupError::Ca(None)) } else { Ok(roots) }
}

/// Connects by a socket file.
#[derive(Clone, Debug)]
pub(super) struct Unix(pub(super) Arc<Path>);

impl Service<Uri> for Unix {
    type Response = UnixConnection;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<UnixConnection>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = Arc::clone(&self.0);
        Box::pin(async move { Ok(UnixConnection(TokioIo::new(UnixStream::connect(path).await?))) })
    }
}

/// A connection by a socket file.
#[derive(Debug)]
pub(super) struct UnixConnection(TokioIo<UnixStream>);

impl Connection for UnixConnection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for UnixConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for UnixConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
