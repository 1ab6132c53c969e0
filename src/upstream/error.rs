//! Why an upstream gave no answer.

use std::error::Error;
use std::io;

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection to any of its members.
    #[error("no connection to the upstream")]
    Unreachable(#[source] BoxError),
    /// It took longer than its `timeout` to go on.
    #[error("the upstream did nothing for longer than its timeout")]
    Slow,
    /// The connection ended, or what came back is no HTTP.
    #[error("the upstream did not answer")]
    Failed(#[source] BoxError),
    /// The client did not send the whole body of its request.
    #[error("the client did not send the whole body")]
    BodyCut,
}

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

impl UpstreamError {
    /// The outcome's name for pages, logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "upstream_unreachable",
            Self::Slow => "upstream_slow",
            Self::Failed(_) => "upstream_failed",
            Self::BodyCut => "body_cut",
        }
    }
}

/// Why the client to an upstream could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamSetupError {
    /// `ca_file` holds no certificate that can be trusted.
    #[error("ca_file holds no certificates in PEM")]
    Ca(#[source] Option<rustls::Error>),
    /// The system's certificates cannot be had.
    #[error("the system's certificates cannot be used")]
    System(#[source] io::Error),
    /// The address cannot be connected to.
    #[error("its address cannot be used")]
    Address(#[source] http::Error),
}

/// A connection took too long.
pub(super) fn connect_timeout() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the connection took longer than connect_timeout")
}
