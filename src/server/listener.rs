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
        let certificates = match tls {
            Some(files) => Some(Certificates::load(files, name).await?),
            None => None,
        };
        let refused = |source| BindError::Address { address, source };
        let socket = TcpListener::bind(address).await.map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        Ok(Self { name, socket, address, certificates })
    }

    /// The address that was bound, with the port the system picked.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}
