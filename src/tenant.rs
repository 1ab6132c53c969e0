//! A tenant at work: its settings, its provider, its keys, the places where browsers find it, and where a sign-in of
//! it may end. Everything here is made once and never changes; `gateway` finds the tenant of a request.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};
use url::Url;

use crate::config::{TenantSettings, UpstreamSettings};
use crate::key_ring::{KeyRing, RingKey};
use crate::local::Accounts;
use crate::metrics::{CheckCounters, Metrics, PassageCounters};
use crate::oidc::{Bearer, Provider, ProviderSetupError, Providers};
use crate::request_path::RequestPath;
use crate::secret::Key;
use crate::tenant_id::TenantId;
use crate::upstream::{Upstream, UpstreamSetupError};

/// The longest address to come back to, in bytes. What is too long for the attempt's cookie comes back to a shorter one.
pub const MAX_RETURN_TO: usize = 2048;

/// Why a tenant could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// Its provider cannot be set up.
    #[error(transparent)]
    Provider(#[from] ProviderSetupError),
    /// One of its upstreams cannot.
    #[error("upstream {path}/")]
    Upstream {
        /// Which one.
        path: String,
        /// What is wrong.
        #[source]
        cause: UpstreamSetupError,
    },
}

/// A tenant, ready to sign people in.
#[derive(Debug)]
pub struct Tenant {
    /// What its file says.
    pub settings: Arc<TenantSettings>,
    /// Its OpenID provider.
    pub provider: Provider,
    /// The applications behind it, the most specific first.
    pub upstreams: Vec<Upstream>,
    /// How access tokens that come as bearers are checked; none where the tenant has no API.
    pub bearer: Option<Bearer>,
    /// Its local accounts; none where there are none.
    pub accounts: Option<Accounts>,
    ring: Arc<KeyRing>,
    on_own_host: Arc<Corner>,
    shared: Arc<Corner>,
    passing_headers: OnceLock<HeaderMap>,
    checks: OnceLock<CheckCounters>,
    passages: OnceLock<PassageCounters>,
}

impl Tenant {
    /// Makes the tenant of `settings`; touches no network.
    ///
    /// # Errors
    /// Certificates, proxy or private key cannot be used.
    pub fn new(
        settings: Arc<TenantSettings>,
        providers: &Arc<Providers>,
        ring: &Arc<KeyRing>,
    ) -> Result<Self, TenantError> {
        let provider = providers.provider(&settings.id, &settings.provider)?;
        let upstream = |settings: &UpstreamSettings| {
            let cannot = |cause| TenantError::Upstream { path: settings.path.clone(), cause };
            Upstream::new(settings.clone()).map_err(cannot)
        };
        let upstreams = settings.upstreams.iter().map(upstream).collect::<Result<_, _>>()?;
        let bearer = Bearer::new(&provider, &settings);
        let accounts = Accounts::new(&settings.local_users);
        let (on_own_host, shared) = (Corner::on_own_host(&settings).into(), Corner::shared(&settings).into());
        Ok(Self {
            on_own_host,
            shared,
            settings,
            provider,
            upstreams,
            bearer,
            accounts,
            ring: Arc::clone(ring),
            passing_headers: OnceLock::new(),
            checks: OnceLock::new(),
            passages: OnceLock::new(),
        })
    }

    /// Its id.
    pub fn id(&self) -> &TenantId {
        &self.settings.id
    }

    /// Shows the tenant in the metrics before its first event, when it begins to be served.
    pub fn introduce(&self, metrics: &Metrics) {
        metrics.introduce(self.id(), self.provider.label(), self.accounts.is_some());
    }

    /// Its place on a host of its own.
    pub fn on_own_host(&self, origin: String) -> Place {
        Place { origin, corner: Arc::clone(&self.on_own_host) }
    }

    /// Its place on an origin that it shares with the others.
    pub fn on_shared(&self, origin: String) -> Place {
        Place { origin, corner: Arc::clone(&self.shared) }
    }

    /// The header fields of the answer to a check that passes: first the identity headers in their order, without values.
    pub fn passing_headers(&self) -> &HeaderMap {
        static USUAL: OnceLock<HeaderMap> = OnceLock::new();
        let made = if self.settings.identity.is_usual() { &USUAL } else { &self.passing_headers };
        made.get_or_init(|| {
            let headers = &self.settings.identity.headers;
            let names = headers.iter().map(|(name, _)| (name.clone(), HeaderValue::from_static("")));
            names.chain([(CACHE_CONTROL, HeaderValue::from_static("no-store"))]).collect()
        })
    }

    /// What its passing checks count in.
    pub fn checks(&self, metrics: &Metrics) -> &CheckCounters {
        self.checks.get_or_init(|| metrics.checks_of(self.id()))
    }

    /// What most answers of its applications count in.
    pub fn passages(&self, metrics: &Metrics) -> &PassageCounters {
        self.passages.get_or_init(|| metrics.passages_of(self.id()))
    }

    /// The key of a sign-in attempt that begins: whatever the attempt needs derives from it.
    pub fn attempt_key(&self, attempt: &str) -> Key {
        self.attempt_key_under(&self.ring.active(), attempt)
    }

    /// The keys that an attempt may have begun under, the likeliest first.
    pub fn attempt_keys(&self, attempt: &str) -> impl Iterator<Item = Key> {
        let keys = self.ring.keys();
        (0..keys.all().len()).map(move |at| self.attempt_key_under(&keys.all()[at], attempt))
    }

    fn attempt_key_under(&self, ring: &RingKey, attempt: &str) -> Key {
        ring.of(self.id()).attempt.derive(attempt.as_bytes(), &[b"attempt"])
    }

    /// Seals what proves a form to be ours.
    pub fn seal_form(&self, associated: &[u8], plain: &[u8]) -> Vec<u8> {
        self.ring.active().of(self.id()).form.seal(associated, plain)
    }

    /// Opens it, under whichever ring key it was sealed.
    pub fn open_form(&self, associated: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        self.ring.keys().all().iter().find_map(|key| key.of(self.id()).form.open(associated, sealed))
    }

    /// Checks an address that somebody wants to come back to: a path below the tenant's own, or a URL on an origin
    /// that the tenant allows.
    ///
    /// # Errors
    /// Says what kept it from being one.
    pub fn return_to(&self, place: &Place, unverified: &str) -> Result<ReturnTo, ReturnToError> {
        if unverified.len() > MAX_RETURN_TO {
            return Err(ReturnToError::TooLong);
        }
        if unverified.is_empty() || unverified.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(ReturnToError::Malformed);
        }
        let url = match unverified.strip_prefix('/') {
            Some(rest) if !rest.starts_with('/') => {
                Url::parse(&place.origin).and_then(|origin| origin.join(unverified))
            }
            Some(_) => return Err(ReturnToError::Malformed),
            None => Url::parse(unverified),
        };
        let url = url.map_err(|_| ReturnToError::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ReturnToError::Malformed);
        }
        let allowed = self.settings.sign_in.return_to_origins.iter().any(|pattern| pattern.matches(&url));
        if url.origin().ascii_serialization() == place.origin {
            return return_to_own(place, &url, allowed);
        }
        if allowed { Ok(ReturnTo(url.into())) } else { Err(ReturnToError::OriginNotAllowed) }
    }

    /// Where a sign-in ends if nobody asked otherwise.
    pub fn default_return_to(&self, place: &Place) -> ReturnTo {
        match &self.settings.sign_in.login_redirect {
            Some(path) if path.starts_with('/') => ReturnTo(format!("{}{path}", place.mount)),
            Some(url) => ReturnTo(url.clone()),
            None => ReturnTo(place.path("/dashboard")),
        }
    }
}

/// On our own origin: not to a route that would act again, however it is spelled, and not out of the tenant's corner but
/// where an application shares the origin. What is left is a path alone, and one that begins with two slashes would name a host (RFC 3986,
/// section 4.2).
fn return_to_own(place: &Place, url: &Url, shared: bool) -> Result<ReturnTo, ReturnToError> {
    let path = url.path();
    if path.starts_with("//") {
        return Err(ReturnToError::Malformed);
    }
    // As our router reads it; what that refuses is nobody's route.
    let read = RequestPath::parse(path);
    let read = read.as_ref().map_or(path, RequestPath::as_str);
    let below = read.strip_prefix(&place.mount).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if below.is_none() && !shared {
        return Err(ReturnToError::OutsideTenant);
    }
    let route = read.strip_prefix(&place.base).unwrap_or_default().trim_end_matches('/');
    if ["/login", "/login/local", "/signup", "/callback", "/logout"].contains(&route) {
        return Err(ReturnToError::OwnRoute);
    }
    Ok(ReturnTo(url[url::Position::BeforePath..].to_owned()))
}

/// Where a browser found the tenant: the origin, and the corner of it that is the tenant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Scheme, host and port, such as `https://login.example.com`.
    pub origin: String,
    corner: Arc<Corner>,
}

/// The paths of a tenant on an origin.
#[derive(Debug, PartialEq, Eq)]
pub struct Corner {
    /// The tenant's own corner of the origin: `/acme`, or nothing on the tenant's own hosts.
    pub mount: String,
    /// The path before our routes: `mount` and the tenant's prefix.
    pub base: String,
    /// The path of our assets.
    pub assets: String,
}

impl Corner {
    fn on_own_host(tenant: &TenantSettings) -> Self {
        let base = tenant.prefix.clone();
        Self { mount: String::new(), assets: format!("{base}/assets"), base }
    }

    fn shared(tenant: &TenantSettings) -> Self {
        let mount = format!("/{}", tenant.id);
        Self { base: format!("{mount}{}", tenant.prefix), mount, assets: "/assets".to_owned() }
    }
}

impl Deref for Place {
    type Target = Corner;

    fn deref(&self) -> &Corner {
        &self.corner
    }
}

impl Place {
    /// The place of `tenant` on a host of its own.
    pub fn on_own_host(tenant: &TenantSettings, origin: String) -> Self {
        Self { origin, corner: Corner::on_own_host(tenant).into() }
    }

    /// The place of `tenant` on an origin that it shares with the others.
    pub fn shared(tenant: &TenantSettings, origin: String) -> Self {
        Self { origin, corner: Corner::shared(tenant).into() }
    }

    /// The same place with whole URLs in the place of paths, for a page that is read on another origin.
    pub fn from_elsewhere(&self) -> Self {
        let whole = |path: &str| format!("{}{path}", self.origin);
        let corner = Corner { mount: self.mount.clone(), base: whole(&self.base), assets: whole(&self.assets) };
        Self { origin: self.origin.clone(), corner: corner.into() }
    }

    /// The path of one of our routes, such as `/dashboard`.
    pub fn path(&self, route: &str) -> String {
        format!("{}{route}", self.base)
    }

    /// The absolute URL of one of our routes.
    pub fn url(&self, route: &str) -> String {
        format!("{}{}{route}", self.origin, self.base)
    }

    /// Host and port, such as `login.example.com` or `localhost:3000`.
    pub fn authority(&self) -> &str {
        let origin = &self.origin;
        origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")).unwrap_or_default()
    }

    /// Whether browsers come here by https.
    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https://")
    }
}

/// An address that the tenant lets a sign-in end at. Only a [`Tenant`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// A path on our origin, or an absolute URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The next shorter address that still makes sense: the page without its query, then the first page of its site.
    pub fn shorter(&self) -> Option<Self> {
        if let Some((page, _)) = self.0.split_once(['?', '#']) {
            return Some(Self(page.to_owned()));
        }
        let path = self.0.find("://").map_or(0, |scheme| scheme + 3);
        let first = &self.0[..=path + self.0[path..].find('/')?];
        (first.len() < self.0.len()).then(|| Self(first.to_owned()))
    }
}

/// Why an address is none that a sign-in may end at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReturnToError {
    /// More than [`MAX_RETURN_TO`] bytes.
    #[error("is longer than {MAX_RETURN_TO} bytes")]
    TooLong,
    /// Neither path nor URL.
    #[error("is neither a path nor a URL")]
    Malformed,
    /// Another tenant's corner, or nobody's.
    #[error("lies outside the tenant")]
    OutsideTenant,
    /// Would start or end a session again.
    #[error("is a route of the sign-in itself")]
    OwnRoute,
    /// Not in `return_to_origins`.
    #[error("lies on an origin that return_to_origins does not name")]
    OriginNotAllowed,
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;

    static ACME: LazyLock<Tenant> = LazyLock::new(|| {
        let settings = TenantSettings::least("acme".parse().unwrap(), "https://id.example/", "client", "hush".into());
        let providers = Providers::new(Clock::system(), Metrics::new(1));
        Tenant::new(settings.into(), &providers, &KeyRing::of_one(RingKey::generate())).unwrap()
    });

    /// Addresses made of what readers of URLs disagree about.
    fn addresses() -> impl Strategy<Value = String> {
        let first = prop_oneof![Just("/"), Just("/acme/"), Just("https://login.acme.example"), Just("")];
        let part = prop_oneof![
            4 => Just("/"),
            3 => Just("."),
            1 => proptest::sample::select(vec!["\\", "%2e", "%2f", "%5c", "%09", ":", "@", "?", "#", ";", "javascript:"]),
            1 => proptest::sample::select(vec!["https:", "evil.example", "login.acme.example", "acme", "globex"]),
        ];
        (first, proptest::collection::vec(part, 1..8)).prop_map(|(first, parts)| first.to_owned() + &parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn wherever_a_sign_in_may_end_the_browser_stays_with_the_tenant(unverified in addresses()) {
            let origin = "https://login.acme.example";
            let places = [Place::on_own_host(&ACME.settings, origin.into()), Place::shared(&ACME.settings, origin.into())];
            for place in places {
                let Ok(return_to) = ACME.return_to(&place, &unverified) else { continue };
                let lands = Url::parse(&place.url("/callback")).unwrap().join(return_to.as_str()).unwrap();
                prop_assert_eq!(lands.origin().ascii_serialization(), origin, "{:?}", return_to);
                prop_assert!(lands.path().starts_with(&place.mount), "{:?}", return_to);
            }
        }
    }
}
