//! Bearers: access tokens that scripts and services bring along. A token is checked once, by `access_token`, and then
//! remembered until it ends, so that a script's next request asks nobody, even while the provider is down.

use std::fmt;
use std::sync::Arc;

use moka::sync::Cache;

use super::access_token::{self, AccessToken, AccessTokenError, Checks};
use super::jwt::{JwtError, UnverifiedJwt};
use super::{Provider, ProviderError};
use crate::config::{ApiSettings, TenantSettings};
use crate::metrics::{IntCounter, Metrics};
use crate::secret::{ExposeSecret as _, HashKey, Key, sha256};

/// Memory for tokens that were verified, of all tenants, in bytes.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Bytes of memory that a token takes besides its text and its claims.
const OVERHEAD: usize = 1024;

/// Why a bearer does not count.
#[derive(Debug, thiserror::Error)]
pub enum BearerError {
    /// The token is no good.
    #[error(transparent)]
    Token(#[from] AccessTokenError),
    /// Whether it is good is not known: the provider's keys cannot be had.
    #[error("the provider's keys cannot be had")]
    Provider(#[from] ProviderError),
}

impl From<JwtError> for BearerError {
    fn from(error: JwtError) -> Self {
        Self::Token(error.into())
    }
}

impl BearerError {
    /// The outcome's name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::Provider(error) => error.code(),
        }
    }
}

/// The tokens that were verified lately. One per process; a key holds all that decided (see [`Bearer::new`]).
pub(super) struct Verified {
    cache: Cache<[u8; 32], Arc<AccessToken>>,
    hits: IntCounter,
    misses: IntCounter,
}

impl Verified {
    pub(super) fn new(metrics: &Metrics) -> Self {
        // The claims are a part of the text, and twice as large when they are taken apart.
        let weigher = |_: &[u8; 32], token: &Arc<AccessToken>| {
            u32::try_from(OVERHEAD + 3 * token.text.expose_secret().len()).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(CACHE_BYTES).weigher(weigher).build();
        let looked_up = |result| metrics.cache_requests_total.with_label_values(&["access_tokens", result]);
        Self { cache, hits: looked_up("hit"), misses: looked_up("miss") }
    }
}

/// A tenant's check of bearers. A tenant without an API has none.
pub struct Bearer {
    provider: Provider,
    api: ApiSettings,
    organizations: Vec<String>,
    /// Keys the hash of a token: a token that is good by other checks, or at another tenant, has another hash.
    cache_key: HashKey,
}

impl Bearer {
    /// The check of `tenant`, if it has an API. No network.
    pub fn new(provider: &Provider, tenant: &TenantSettings) -> Option<Self> {
        let (api, organizations) = (tenant.api.clone(), tenant.sign_in.organizations.clone());
        if api.audiences.is_empty() {
            return None;
        }
        provider.will_need_keys();
        let settings = provider.settings();
        let checks = (
            tenant.id.as_str(),
            (&settings.issuer, &settings.client_id, settings.leeway),
            (&api.audiences, api.signing_alg.as_str(), &organizations),
        );
        let checks = serde_json::to_vec(&checks).expect("texts and numbers make JSON");
        let cache_key = HashKey::from(&Key::from_bytes(sha256(&checks)));
        Some(Self { provider: provider.clone(), api, organizations, cache_key })
    }

    /// Checks the token that somebody brought. One that was good is good until it ends.
    ///
    /// # Errors
    /// It failed a check, or the keys to check it with cannot be had.
    pub async fn check(&self, unverified: &str) -> Result<Arc<AccessToken>, BearerError> {
        let key = self.cache_key.hash(unverified.as_bytes());
        if let Some(token) = self.remembered(&key) {
            return Ok(token);
        }
        let verified = self.provider.verified_tokens();
        verified.cache.invalidate(&key);
        verified.misses.inc();
        let checked = self.check_anew(unverified).await.map(Arc::new);
        self.provider.count_validation("access_token", checked.as_ref().map_or_else(BearerError::code, |_| "ok"));
        let token = checked?;
        verified.cache.insert(key, Arc::clone(&token));
        Ok(token)
    }

    /// The token, if it was checked before and has not ended.
    pub fn checked_before(&self, unverified: &str) -> Option<Arc<AccessToken>> {
        self.remembered(&self.cache_key.hash(unverified.as_bytes()))
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<Arc<AccessToken>> {
        let verified = self.provider.verified_tokens();
        let token = verified.cache.get(key)?;
        (self.provider.now() < token.ends_at).then(|| {
            verified.hits.inc();
            token
        })
    }

    async fn check_anew(&self, text: &str) -> Result<AccessToken, BearerError> {
        let settings = self.provider.settings();
        let unverified = UnverifiedJwt::parse(text)?;
        access_token::check_header(&unverified, self.api.signing_alg)?;
        let keys = self.provider.keys_for(&unverified, self.api.signing_alg).await?;
        let checks = Checks {
            issuer: &settings.issuer,
            client_id: &settings.client_id,
            audiences: &self.api.audiences,
            alg: self.api.signing_alg,
            organizations: &self.organizations,
            leeway: settings.leeway,
            now: self.provider.now(),
        };
        Ok(access_token::check(text, unverified, &keys, &checks)?)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("audiences", &self.api.audiences).finish_non_exhaustive()
    }
}
