//! The resolved settings of the process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::{AuditSettings, LimitSettings, StoreSettings, TenantSettings};
use crate::net::Networks;
use crate::secret::SecretString;

/// Everything that was asked for, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where browsers and proxies connect.
    pub listen: SocketAddr,
    /// Where health and metrics are served besides, for operators only.
    pub admin_listen: Option<SocketAddr>,
    /// Scheme, host and port under which browsers reach us; no path.
    pub public_url: Option<Url>,
    /// The folder of tenant files.
    pub tenants_dir: PathBuf,
    /// The folder of templates that replace the embedded ones.
    pub templates_dir: Option<PathBuf>,
    /// The folder of the database and the root secret.
    pub data_dir: PathBuf,
    /// Peers whose forwarding headers count.
    pub trusted_proxies: Networks,
    /// Peers, besides loopback, that may read `/metrics` and health details on the main listener.
    pub metrics_allow: Networks,
    /// Whether `/` names the tenants.
    pub list_tenants: bool,
    /// What a bad tenant file does at start.
    pub on_invalid_tenant: OnInvalidTenant,
    /// How many processes run with these settings, at least 1. More than one share a store and a root secret.
    pub replicas: u64,
    /// Whether serving no tenant at all is meant: ready without one, and a reload may take the last.
    pub allow_no_tenants: bool,
    /// The root secret, if settings give it itself: one key, without a ring.
    pub secret: Option<SecretString>,
    /// Else the file of the ring's active key; the others lie beside it.
    pub secret_file: PathBuf,
    /// Where sessions are kept and how many are held in memory.
    pub sessions: StoreSettings,
    /// What is logged.
    pub log: LogSettings,
    /// Limits and times of the listener.
    pub server: ServerSettings,
    /// How often something may be done, where a tenant says nothing else.
    pub limits: LimitSettings,
    /// Certificate and key, if we speak TLS ourselves.
    pub tls: Option<TlsSettings>,
    /// How changed files are noticed.
    pub reload: ReloadSettings,
    /// Bounds on what `/metrics` tells.
    pub metrics: MetricsSettings,
    /// Where the audit log goes.
    pub audit: AuditSettings,
    /// What a session store that does not answer does to `/readyz`.
    pub on_store_failure: OnStoreFailure,
    /// The tenants that are good, in order of their ids.
    pub tenants: Vec<Arc<TenantSettings>>,
}

/// What a bad tenant file does at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnInvalidTenant {
    /// Stops it.
    #[default]
    Fail,
    /// Leaves that tenant out.
    Skip,
}

/// What is logged.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// A filter such as `info` or `lychgate=debug,warn`.
    pub level: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Limits and times of the listener.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// How long a client may take to send a request's head, or to shake hands for TLS.
    pub header_timeout: Duration,
    /// How long a request may take in all, its body included.
    pub request_timeout: Duration,
    /// How long a connection may do nothing.
    pub idle_timeout: Duration,
    /// Open connections at the same time.
    pub max_connections: usize,
    /// Requests that need more than a look into memory, waiting or under way at the same time.
    pub max_new_work: usize,
    /// Bytes of a request's head.
    pub max_header_bytes: usize,
    /// Bytes of a request's body on our own routes.
    pub max_body_bytes: usize,
    /// How long `/readyz` says no, after SIGTERM, before connections are refused.
    pub drain_delay: Duration,
    /// How long requests may then go on.
    pub drain_timeout: Duration,
}

/// Files of our own TLS; read anew when they change.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The chain, PEM.
    pub certificate_file: PathBuf,
    /// The private key, PEM.
    pub key_file: PathBuf,
}

/// How changed files are noticed, besides by a signal or a command.
#[derive(Clone, Copy, Debug)]
pub struct ReloadSettings {
    /// Whether the system is asked to tell of changes.
    pub watch: bool,
    /// How often the files are looked at in any case; zero: never.
    pub poll: Duration,
    /// How long nothing may change before files count as written. Under constant change, four times that.
    pub debounce: Duration,
}

/// What a session store that does not answer does to `/readyz`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStoreFailure {
    /// It says no: balancers send nobody here.
    #[default]
    NotReady,
    /// Nothing: people get our page, with status 503, instead of the balancer's.
    Degraded,
}

/// Bounds on what `/metrics` tells.
#[derive(Clone, Debug)]
pub struct MetricsSettings {
    /// Tenants beyond this many share the label `_other`.
    pub tenant_label_limit: usize,
}
