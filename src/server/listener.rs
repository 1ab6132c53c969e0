//! A bound address, with or without TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::tls::{Tls, TlsError};
use crate::config::TlsSettings;

/// An address that connections come in at.
#[derive(Debug)]
pub struct Listener {
    pub(super) tcp: TcpListener,
    pub(super) name: &'static str,
    pub(super) tls: Option<Arc<Tls>>,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Taken, or not ours.
    #[error("cannot listen on {address}")]
    Address {
        /// Which one.
        address: SocketAddr,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Listener {
    /// Listens on `address`; port 0 picks a free one. `name` is the label in the metrics.
    ///
    /// # Errors
    /// The address is taken or not ours, or certificate and key cannot be used.
    pub async fn bind(address: SocketAddr, name: &'static str, tls: Option<&TlsSettings>) -> Result<Self, BindError> {
        let tls = match tls {
            Some(settings) => Some(Arc::new(Tls::load(settings).await?)),
            None => None,
        };
        let tcp = TcpListener::bind(address).await.map_err(|cause| BindError::Address { address, cause })?;
        Ok(Self { tcp, name, tls })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.tcp.local_addr().expect("a bound socket knows its address")
    }
}
