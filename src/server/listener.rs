//! A socket that listens, with or without TLS.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::tls::{Certificates, TlsError};
use crate::config::TlsSettings;

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    pub(super) name: &'static str,
    pub(super) socket: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) certificates: Option<Certificates>,
}

/// Why a listener could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, not ours, or not allowed to us.
    #[error("cannot listen on {address}")]
    Address {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A socket that somebody else opened is none that we can listen on.
    #[error("cannot listen on the socket that was handed over")]
    Socket(#[source] io::Error),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Listener {
    /// Binds `address`; port 0 picks a free one. `name` is the label in metrics and logs.
    ///
    /// # Errors
    /// The address cannot be had, or the certificate cannot be used.
    pub async fn bind(address: SocketAddr, name: &'static str, tls: Option<&TlsSettings>) -> Result<Self, BindError> {
        let refused = |source| BindError::Address { address, source };
        Self::of(TcpListener::bind(address).await.map_err(refused)?, name, tls).await
    }

    /// Takes a socket that listens already.
    ///
    /// # Errors
    /// It does not, or the certificate cannot be used.
    pub async fn over(
        socket: std::net::TcpListener,
        name: &'static str,
        tls: Option<&TlsSettings>,
    ) -> Result<Self, BindError> {
        socket.set_nonblocking(true).map_err(BindError::Socket)?;
        Self::of(TcpListener::from_std(socket).map_err(BindError::Socket)?, name, tls).await
    }

    async fn of(socket: TcpListener, name: &'static str, tls: Option<&TlsSettings>) -> Result<Self, BindError> {
        let certificates = match tls {
            Some(files) => Some(Certificates::load(files, name).await?),
            None => None,
        };
        let address = socket.local_addr().map_err(BindError::Socket)?;
        Ok(Self { name, socket, address, certificates })
    }

    /// The address that was bound, with the port the system picked.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}
