//! Where documents come from: an issuer and a way to reach it. Tenants share a source, and so what was fetched, where
//! both are equal to the last byte.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use tracing::{info, warn};
use url::Url;

use super::fetch::Fetcher;
use super::{ProviderError, ProviderHealth};
use crate::clock::Timestamp;
use crate::config::FetchSettings;
use crate::tenant_id::TenantId;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The kinds of document that a provider publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Discovery,
    Jwks,
}

impl Document {
    /// The label `cache`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Jwks => "jwks",
        }
    }

    /// Seconds that it is fresh at most, whatever the provider says: a key that was withdrawn must go.
    pub(super) const fn most_fresh(self) -> i64 {
        match self {
            Self::Discovery => DAY,
            Self::Jwks => HOUR,
        }
    }

    /// Seconds that it is used at most, stale at last, while the provider is down.
    pub(super) const fn usable_for(self) -> i64 {
        match self {
            Self::Discovery => 7 * DAY,
            Self::Jwks => DAY,
        }
    }
}

/// An issuer and a way to reach it.
pub(super) struct Source {
    /// Byte for byte as configured.
    pub(super) issuer: String,
    /// The same, read.
    pub(super) issuer_url: Url,
    pub(super) fetch: FetchSettings,
    state: Mutex<State>,
}

/// What is known of a source without asking anybody.
#[derive(Default)]
struct State {
    /// One for each tenant, in order of their ids.
    fetchers: Vec<Fetcher>,
    /// Whether any tenant checks signatures with keys of the provider.
    needs_keys: bool,
    /// By [`Document`].
    fetches: [Fetches; 2],
    /// Where browsers may be sent.
    origins: Vec<String>,
}

/// How the fetches of a document went.
#[derive(Clone, Copy, Default)]
struct Fetches {
    /// Whether the last one succeeded.
    last: Option<bool>,
    succeeded_at: Option<Timestamp>,
}

impl State {
    fn is_up(&self) -> Option<bool> {
        match self.fetches.map(|fetches| fetches.last) {
            [None, None] => None,
            last => Some(!last.contains(&Some(false))),
        }
    }
}

impl Source {
    pub(super) fn new(issuer: String, issuer_url: Url, fetch: FetchSettings) -> Self {
        Self { issuer, issuer_url, fetch, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a tenant, or replaces it.
    pub(super) fn join(&self, fetcher: Fetcher, needs_keys: bool) {
        let mut state = self.state();
        state.needs_keys |= needs_keys;
        if let Some(up) = state.is_up() {
            show_up(&fetcher, up);
        }
        for document in [Document::Discovery, Document::Jwks] {
            if let Some(at) = state.fetches[document as usize].succeeded_at {
                show_success(&fetcher, document, at);
            }
        }
        match state.fetchers.binary_search_by(|other| other.tenant.cmp(&fetcher.tenant)) {
            Ok(known) => state.fetchers[known] = fetcher,
            Err(place) => {
                if state.fetchers.is_empty() {
                    // Most providers are one tenant's alone.
                    state.fetchers.reserve_exact(1);
                }
                state.fetchers.insert(place, fetcher);
            }
        }
    }

    /// Forgets the tenants of which `keep` says no; false if none is left.
    pub(super) fn keep_only(&self, keep: impl Fn(&TenantId) -> bool) -> bool {
        let mut state = self.state();
        state.fetchers.retain(|fetcher| keep(&fetcher.tenant));
        !state.fetchers.is_empty()
    }

    /// Whoever is first: the one in whose name documents are fetched in the background.
    pub(super) fn fetcher(&self) -> Option<Fetcher> {
        self.state().fetchers.first().cloned()
    }

    /// Whether any tenant checks signatures with keys of the provider.
    pub(super) fn needs_keys(&self) -> bool {
        self.state().needs_keys
    }

    /// Origins of the endpoints that browsers are sent to, as the last document names them.
    pub(super) fn origins(&self) -> Vec<String> {
        self.state().origins.clone()
    }

    /// Keeps [`Self::origins`].
    pub(super) fn set_origins<'a>(&self, urls: impl IntoIterator<Item = &'a Url>) {
        self.state().origins = urls.into_iter().map(|url| url.origin().ascii_serialization()).collect();
    }

    /// Tells for each tenant what is known.
    pub(super) fn each_health(&self, mut tell: impl FnMut(ProviderHealth)) {
        let state = self.state();
        for fetcher in &state.fetchers {
            tell(ProviderHealth {
                tenant: fetcher.tenant.clone(),
                kind: fetcher.provider,
                issuer: self.issuer.clone(),
                up: state.is_up(),
                metadata_fetched_at: state.fetches[Document::Discovery as usize].succeeded_at,
                keys_fetched_at: state.fetches[Document::Jwks as usize].succeeded_at,
                left_alone: None,
            });
        }
    }

    /// Tells metrics and log how a fetch ended.
    pub(super) fn report(&self, document: Document, now: Timestamp, error: Option<&ProviderError>) {
        let mut state = self.state();
        let before = state.is_up();
        let fetches = &mut state.fetches[document as usize];
        fetches.last = Some(error.is_none());
        if error.is_none() {
            fetches.succeeded_at = Some(now);
        }
        let up = state.is_up().unwrap_or(false);
        for fetcher in &state.fetchers {
            show_up(fetcher, up);
            if error.is_none() {
                show_success(fetcher, document, now);
            }
        }
        let (issuer, document) = (&self.issuer, document.as_str());
        match error {
            None if up && before == Some(false) => info!(issuer, document, "the provider is up again"),
            Some(error) if before != Some(false) => {
                warn!(issuer, document, code = error.code(), %error, "the provider is down");
            }
            _ => {}
        }
    }
}

fn show_up(fetcher: &Fetcher, up: bool) {
    let labels = [fetcher.metrics.tenant(&fetcher.tenant), fetcher.provider];
    fetcher.metrics.provider_up.with_label_values(&labels).set(up.into());
}

fn show_success(fetcher: &Fetcher, document: Document, now: Timestamp) {
    let series = match document {
        Document::Discovery => &fetcher.metrics.provider_metadata_last_success_timestamp_seconds,
        Document::Jwks => &fetcher.metrics.provider_jwks_last_success_timestamp_seconds,
    };
    series.with_label_values(&[fetcher.metrics.tenant(&fetcher.tenant), fetcher.provider]).set(now.0 as f64);
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.fetch == other.fetch
    }
}

impl Eq for Source {}

impl Hash for Source {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.issuer.hash(state);
        self.fetch.hash(state);
    }
}

impl fmt::Debug for Source {
    /// Without the proxy, whose URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
