//! The resolved settings of one upstream: which requests go there, and how.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// An application behind a tenant.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// The one host of the tenant's own that it answers on; any place of the tenant if unset.
    pub host: Option<String>,
    /// The path it stands below, decoded, without a slash at the end: empty for the whole place.
    pub path: String,
    /// What stands in the place of mount and `path` on the way there; the path goes on unchanged if unset.
    pub rewrite: Option<String>,
    /// Where it runs; several share the load.
    pub members: Vec<UpstreamAddress>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long it may do nothing before its answer begins.
    pub timeout: Duration,
    /// The largest body of a request, in bytes.
    pub max_body: Option<u64>,
    /// Whether it is told the host that the browser asked for, not its own.
    pub preserve_host: bool,
    /// Certificates, PEM, trusted instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// The token that it is given.
    pub pass: Pass,
    /// The API that the access token is for; the tenant's own if unset.
    pub audience: Option<String>,
}

/// Where a member of an upstream runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// At a host, by http or https.
    Url(Url),
    /// Behind a socket file.
    Unix(PathBuf),
}

/// The token that goes along as `Authorization: Bearer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pass {
    /// None; what the client sends as `Authorization` goes through.
    #[default]
    None,
    /// The access token of the session.
    AccessToken,
    /// The id token of the session.
    IdToken,
}
