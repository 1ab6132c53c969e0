//! The one state struct of the process, the same in tests: tenants, sessions, pages, metrics, clock; and which tenant
//! a request is for. It never changes; a reload makes another of it, which shares what lives on.

mod keys;
mod limits;
mod live;
mod pulse;
mod reloads;
pub mod renewals;
mod work;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use url::Url;

pub use self::keys::key_ring;
use self::limits::Tally;
pub use self::limits::{Act, Limited};
pub use self::live::LiveGateway;
pub use self::pulse::{Pulse, StorePulse};
pub use self::reloads::{Rejection, ReloadOutcome, ReloadResult, Trigger};
use self::renewals::Renewals;
pub use self::work::Work;
use crate::audit::{self, Audit, Event, Kind};
use crate::clock::Clock;
use crate::config::{LimitSettings, OnInvalidTenant, Settings, TenantSettings};
use crate::key_ring::{KeyFileError, KeyRing, MalformedKey};
use crate::local::PasswordDesk;
use crate::metrics::Metrics;
use crate::net::{Networks, Scheme, Visitor, split_port};
use crate::oidc::Providers;
use crate::pages::{Pages, PagesError};
use crate::request_path::RequestPath;
use crate::session::{OpenError, Sessions};
use crate::tenant::{Place, ReturnTo, ReturnToError, Tenant, TenantError};
use crate::tenant_id::TenantId;
use crate::turnstile::Turnstile;

/// Everything a request may need.
#[derive(Debug)]
pub struct Gateway {
    /// The tenants.
    pub tenants: Tenants,
    /// Their discovery documents and keys.
    pub providers: Arc<Providers>,
    /// The keys that all others derive from.
    pub ring: Arc<KeyRing>,
    /// Who is signed in.
    pub sessions: Arc<Sessions>,
    /// Verifies passwords of local accounts.
    pub passwords: Arc<PasswordDesk>,
    /// Whose tokens are being renewed.
    pub renewals: Arc<Renewals>,
    /// What happened, line by line.
    pub audit: Arc<Audit>,
    /// How the process is.
    pub pulse: Arc<Pulse>,
    /// Templates.
    pub pages: Arc<Pages>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// Peers whose forwarding headers count.
    pub trusted_proxies: Networks,
    /// Whether `/` names the tenants.
    pub list_tenants: bool,
    /// Whether serving no tenant at all is meant.
    pub allow_no_tenants: bool,
    metrics_allow: Networks,
    limits: LimitSettings,
    tally: Arc<Tally>,
    turnstile: Arc<Turnstile>,
}

/// Why the gateway could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The data folder cannot be made.
    #[error("data folder {path}: cannot be made")]
    DataFolder {
        /// The folder.
        path: String,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// The root secret of the settings is none.
    #[error("root secret of the settings")]
    Secret(#[from] MalformedKey),
    /// The files of the root secret cannot be used.
    #[error("root secret")]
    KeyFile(#[from] KeyFileError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] audit::OpenError),
    /// The session database cannot be opened.
    #[error("sessions")]
    Sessions(#[from] OpenError),
    /// A template is wrong.
    #[error("templates: {0}")]
    Pages(#[from] PagesError),
    /// A tenant cannot be set up.
    #[error("tenant {tenant}")]
    Tenant {
        /// Whose.
        tenant: TenantId,
        /// What is wrong.
        #[source]
        cause: TenantError,
    },
}

impl Gateway {
    /// Opens what `settings` name and makes the tenants; touches no network. Where settings allow it, a tenant that
    /// cannot be made is left out.
    ///
    /// # Errors
    /// Says which file or tenant cannot be used.
    pub async fn open(settings: &Settings, clock: Clock, metrics: Arc<Metrics>) -> Result<Self, GatewayError> {
        let pages = Arc::new(Pages::new(settings.templates_dir.as_deref())?);
        make_private_folder(&settings.data_dir)?;
        let ring = key_ring(settings)?;
        keys::tell(&metrics, &ring, true);
        let audit = Audit::open(&settings.audit, Arc::clone(&ring), clock.clone(), metrics.clone())?;
        let key = ring.active().id().to_string();
        audit.record(Event::new(Kind::ProcessStarted).version(env!("CARGO_PKG_VERSION")).key(&key));
        let providers = Providers::new(clock.clone(), metrics.clone());
        let mut tenants = Vec::new();
        for tenant in &settings.tenants {
            match Tenant::new(Arc::clone(tenant), &providers, &ring) {
                Ok(made) => tenants.push(Arc::new(made)),
                Err(cause) if settings.on_invalid_tenant == OnInvalidTenant::Fail => {
                    return Err(GatewayError::Tenant { tenant: tenant.id.clone(), cause });
                }
                Err(cause) => {
                    let error = &cause as &dyn std::error::Error;
                    tracing::error!(tenant = %tenant.id, error, "a tenant was left out");
                }
            }
        }
        let sessions =
            Sessions::open(&settings.data_dir, ring.clone(), &settings.sessions, clock.clone(), metrics.clone())
                .await?;
        for tenant in &tenants {
            tenant.introduce(&metrics);
        }
        let turnstile = Arc::new(Turnstile::new(settings.server.max_new_work));
        sessions.wait_at(Arc::clone(&turnstile));
        sessions.report_to(Arc::clone(&audit));
        audit.record(Event::new(Kind::ConfigApplied).trigger(Trigger::Startup.as_str()).count(tenants.len()));
        metrics.tenants.with_label_values(&["active"]).set(tenants.len() as i64);
        let pulse = Pulse::new(sessions.clone(), clock.clone(), settings.on_store_failure);
        Ok(Self {
            pulse,
            tenants: Tenants::new(settings, tenants),
            providers,
            ring,
            sessions,
            passwords: Arc::new(PasswordDesk::new(clock.clone())),
            renewals: Renewals::new(clock.clone()),
            tally: Arc::new(Tally::new(&clock)),
            turnstile,
            audit,
            pages,
            metrics,
            clock,
            trusted_proxies: settings.trusted_proxies.clone(),
            list_tenants: settings.list_tenants,
            allow_no_tenants: settings.allow_no_tenants,
            metrics_allow: settings.metrics_allow.clone(),
            limits: settings.limits.clone(),
        })
    }

    /// Makes a tenant that shares with the others what all share; touches no network.
    ///
    /// # Errors
    /// Says what of it cannot be used.
    pub fn tenant(&self, settings: Arc<TenantSettings>) -> Result<Tenant, TenantError> {
        Tenant::new(settings, &self.providers, &self.ring)
    }

    /// The same gateway with other tenants and pages, and what else `settings` may change while the process runs.
    pub fn with(&self, settings: &Settings, tenants: Vec<Arc<Tenant>>, pages: Arc<Pages>) -> Self {
        Self {
            tenants: Tenants::new(settings, tenants),
            providers: self.providers.clone(),
            ring: self.ring.clone(),
            sessions: self.sessions.clone(),
            passwords: self.passwords.clone(),
            audit: self.audit.clone(),
            renewals: self.renewals.clone(),
            tally: self.tally.clone(),
            turnstile: self.turnstile.clone(),
            pulse: self.pulse.clone(),
            pages,
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            trusted_proxies: settings.trusted_proxies.clone(),
            list_tenants: settings.list_tenants,
            allow_no_tenants: settings.allow_no_tenants,
            metrics_allow: settings.metrics_allow.clone(),
            limits: settings.limits.clone(),
        }
    }

    /// Whether this visitor may see what names tenants: metrics and health details.
    pub fn is_operator(&self, visitor: &Visitor, peer: IpAddr) -> bool {
        visitor.direct && (Networks::loopback().contains(peer) || self.metrics_allow.contains(peer))
    }
}

fn make_private_folder(path: &std::path::Path) -> Result<(), GatewayError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|cause| GatewayError::DataFolder { path: path.display().to_string(), cause })
}

/// All tenants, found by id or by host.
#[derive(Debug)]
pub struct Tenants {
    /// In order of their ids.
    all: Vec<Arc<Tenant>>,
    by_id: HashMap<TenantId, Arc<Tenant>>,
    by_host: HashMap<String, Arc<Tenant>>,
    shared: SharedOrigin,
    ports: Vec<u16>,
}

/// The origin that all tenants share, each below its id.
#[derive(Debug)]
enum SharedOrigin {
    /// `public_url`: its host, its origin.
    Public { host: String, origin: String },
    /// Loopback names, since nobody else can connect.
    Loopback,
    /// None: every tenant has hosts of its own.
    None,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub enum Destination<'a> {
    /// To a tenant, with what is left of the path.
    Tenant {
        /// The tenant.
        tenant: Arc<Tenant>,
        /// Where it was found.
        place: Place,
        /// The path below [`Place::base`]; none outside it, where only the tenant's applications are.
        route: Option<&'a str>,
    },
    /// To the assets of a tenant's own host, or of the shared origin: the file's name.
    Asset(&'a str),
    /// To the shared origin's first page.
    Landing,
    /// Nowhere, on a host of ours.
    Nowhere,
    /// To a host that is not ours.
    UnknownHost,
}

impl Tenants {
    fn new(settings: &Settings, mut all: Vec<Arc<Tenant>>) -> Self {
        all.sort_by(|one, other| one.id().cmp(other.id()));
        let by_host = |tenant: &Arc<Tenant>| {
            let tenant = Arc::clone(tenant);
            tenant.settings.hosts.clone().into_iter().map(move |host| (host, Arc::clone(&tenant)))
        };
        Self {
            by_id: all.iter().map(|tenant| (tenant.id().clone(), Arc::clone(tenant))).collect(),
            by_host: all.iter().flat_map(by_host).collect(),
            all,
            shared: SharedOrigin::of(settings),
            ports: ports(settings),
        }
    }

    /// All of them, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.all.iter()
    }

    /// The tenant of this id.
    pub fn get(&self, id: &str) -> Option<&Arc<Tenant>> {
        self.by_id.get(id)
    }

    /// Whether a tenant claims this host for itself.
    pub fn claims_host(&self, host: &str) -> bool {
        self.by_host.contains_key(split_port(host).0)
    }

    /// Whether any tenant claims a host for itself.
    pub fn have_hosts(&self) -> bool {
        !self.by_host.is_empty()
    }

    /// The tenant that claims this host for itself.
    pub fn of_host(&self, host: &str) -> Option<&Arc<Tenant>> {
        self.by_host.get(split_port(host).0)
    }

    /// Where people sign in at `tenant` who want to see an application at `host`, which they reach by `scheme`; none if
    /// settings do not tell. On the application's own host if that is one of ours, else on the tenant's first host,
    /// else at `public_url`.
    pub fn sign_in_place(&self, tenant: &Tenant, scheme: Scheme, host: &str) -> Option<Place> {
        let (name, port) = split_port(host);
        let own = || self.own_origin(scheme, name, port);
        if let Some(origin) = tenant.settings.hosts.iter().any(|own| own == name).then(own).flatten() {
            return Some(tenant.on_own_host(origin));
        }
        if let Some(origin) = self.shared.origin(scheme, host) {
            return Some(tenant.on_shared(origin));
        }
        if let Some(own) = tenant.settings.hosts.first() {
            return Some(tenant.on_own_host(format!("https://{own}")));
        }
        match &self.shared {
            SharedOrigin::Public { origin, .. } => Some(tenant.on_shared(origin.clone())),
            SharedOrigin::Loopback | SharedOrigin::None => None,
        }
    }

    /// Checks an address that somebody wants to come back to, as [`Tenant::return_to`] does; other tenants' corners of
    /// an origin that an application shares with us are not the application's.
    ///
    /// # Errors
    /// Says what kept it from being one.
    pub fn return_to(&self, tenant: &Tenant, place: &Place, unverified: &str) -> Result<ReturnTo, ReturnToError> {
        let return_to = tenant.return_to(place, unverified)?;
        // The first segment, as our router reads it.
        let path = return_to.as_str();
        let end =
            path.char_indices().skip(1).find(|(_, c)| matches!(c, '/' | '?' | '#')).map_or(path.len(), |(at, _)| at);
        let first = RequestPath::parse(&path[..end]).ok();
        match first.and_then(|first| self.get(&first.as_str()[1..])) {
            Some(other) if !place.mount.is_empty() && other.id() != tenant.id() => Err(ReturnToError::OutsideTenant),
            _ => Ok(return_to),
        }
    }

    /// Whether this visitor came to a host of ours by https.
    pub fn is_https(&self, visitor: &Visitor) -> bool {
        let (name, port) = split_port(&visitor.host);
        let origin = match self.by_host.contains_key(name) {
            true => self.own_origin(visitor.scheme, name, port),
            false => self.shared.origin(visitor.scheme, &visitor.host),
        };
        origin.is_some_and(|origin| origin.starts_with("https://"))
    }

    /// Finds where a request to `path` goes. A host that is not ours never leads to a tenant.
    pub fn find<'a>(&self, visitor: &Visitor, path: &'a str) -> Destination<'a> {
        let (name, port) = split_port(&visitor.host);
        if let Some(tenant) = self.by_host.get(name) {
            let Some(origin) = self.own_origin(visitor.scheme, name, port) else { return Destination::UnknownHost };
            let place = tenant.on_own_host(origin);
            return found(tenant, place, path);
        }
        let Some(origin) = self.shared.origin(visitor.scheme, &visitor.host) else { return Destination::UnknownHost };
        if path == "/" {
            return Destination::Landing;
        }
        if let Some(file) = path.strip_prefix("/assets/") {
            return Destination::Asset(file);
        }
        let id = path.strip_prefix('/').and_then(|path| path.split('/').next()).unwrap_or_default();
        match self.get(id) {
            Some(tenant) => found(tenant, tenant.on_shared(origin), path),
            None => Destination::Nowhere,
        }
    }

    /// The origin of a tenant's own host: https, but on loopback names. A port that nobody set is not ours.
    fn own_origin(&self, scheme: Scheme, name: &str, port: Option<u16>) -> Option<String> {
        let scheme = if is_loopback_name(name) { scheme.as_str() } else { "https" };
        match port {
            None => Some(format!("{scheme}://{name}")),
            Some(port) if self.ports.contains(&port) || is_loopback_name(name) => {
                Some(format!("{scheme}://{name}:{port}"))
            }
            Some(_) => None,
        }
    }
}

fn found<'a>(tenant: &Arc<Tenant>, place: Place, path: &'a str) -> Destination<'a> {
    let below = |prefix: &str| path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(file) = below(&place.assets).and_then(|rest| rest.strip_prefix('/')) {
        return Destination::Asset(file);
    }
    match below(&place.base) {
        None if tenant.upstreams.is_empty() => Destination::Nowhere,
        route => Destination::Tenant { tenant: tenant.clone(), place, route },
    }
}

impl SharedOrigin {
    fn of(settings: &Settings) -> Self {
        match &settings.public_url {
            Some(url) => Self::Public { host: authority(url), origin: url.origin().ascii_serialization() },
            None if settings.listen.ip().to_canonical().is_loopback() => Self::Loopback,
            None => Self::None,
        }
    }

    fn origin(&self, scheme: Scheme, asked: &str) -> Option<String> {
        match self {
            Self::Public { host, origin } => (host == asked).then(|| origin.clone()),
            Self::Loopback => is_loopback_name(split_port(asked).0).then(|| format!("{scheme}://{asked}")),
            Self::None => None,
        }
    }
}

/// Host and, where it is not the scheme's own, port.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The ports that a tenant's own host may be reached at, besides the scheme's own.
fn ports(settings: &Settings) -> Vec<u16> {
    settings.public_url.as_ref().and_then(Url::port).into_iter().chain([settings.listen.port()]).collect()
}

fn is_loopback_name(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost"
        || name.ends_with(".localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}
