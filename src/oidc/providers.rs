//! All providers of the process: who shares what was fetched, and the refresh in the background.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::{Map, Value};
use url::Url;

use super::address::{Clients, NamedHosts};
use super::bearer::Verified;
use super::documents::{Documents, Fetched, Wish};
use super::fetch::{self, Endpoint, Fetcher};
use super::key_set::KeySet;
use super::metadata::{self, Metadata};
use super::source::{Document, Source};
use super::{Provider, ProviderError, ProviderSetupError};
use crate::clock::Clock;
use crate::config::{FetchSettings, ProviderSettings, SigningAlg};
use crate::metrics::Metrics;
use crate::tenant_id::TenantId;

/// How often the background looks for documents that are due.
const TICK: Duration = Duration::from_secs(5);
/// Sources that the background asks at the same time.
const AT_ONCE: usize = 16;

/// Keys of one provider; every check of a token looks through them.
const MAX_KEYS: usize = 200;

/// The providers of all tenants, with what was fetched of them. One per process.
pub struct Providers {
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) metadata: Arc<Documents<Metadata>>,
    pub(super) keys: Arc<Documents<KeySet>>,
    pub(super) verified_tokens: Verified,
    pub(super) known: Mutex<Known>,
}

#[derive(Default)]
pub(super) struct Known {
    pub(super) sources: HashSet<Arc<Source>>,
    /// By all that decides how a connection is made, since each client holds the system's certificates anew.
    clients: HashMap<(bool, FetchSettings), Arc<Clients>>,
}

impl Known {
    fn clients(&mut self, loopback: bool, settings: &FetchSettings) -> Result<Arc<Clients>, ProviderSetupError> {
        let key = (loopback, reached(settings));
        if let Some(clients) = self.clients.get(&key) {
            return Ok(Arc::clone(clients));
        }
        let clients = Arc::new(Clients::new(&key.1, loopback, false)?);
        self.clients.insert(key, Arc::clone(&clients));
        Ok(clients)
    }

    fn source(&mut self, issuer: &str, url: Url, settings: &FetchSettings) -> Arc<Source> {
        let source = Source::new(issuer.to_owned(), url, settings.clone());
        if let Some(known) = self.sources.get(&source) {
            return Arc::clone(known);
        }
        let source = Arc::new(source);
        self.sources.insert(Arc::clone(&source));
        source
    }
}

/// All that decides how a connection is made.
fn reached(settings: &FetchSettings) -> FetchSettings {
    FetchSettings { endpoints: BTreeMap::new(), ..settings.clone() }
}

/// The key of the client of `source`.
fn way(source: &Source) -> (bool, FetchSettings) {
    (source.issuer_url.scheme() == "http", reached(&source.fetch))
}

impl Providers {
    /// No provider yet.
    pub fn new(clock: Clock, metrics: Arc<Metrics>) -> Arc<Self> {
        let metadata = Documents::new(Document::Discovery, clock.clone(), Arc::clone(&metrics));
        let keys = Documents::new(Document::Jwks, clock.clone(), Arc::clone(&metrics));
        let verified_tokens = Verified::new(&metrics);
        Arc::new(Self { clock, metrics, metadata, keys, verified_tokens, known: Mutex::default() })
    }

    /// The provider of `tenant`. No network.
    ///
    /// # Errors
    /// Issuer, CA, proxy or private key are no good.
    pub fn provider(
        self: &Arc<Self>,
        tenant: &TenantId,
        settings: &ProviderSettings,
    ) -> Result<Provider, ProviderSetupError> {
        let issuer_url: Url = settings.issuer.parse().map_err(|_| ProviderSetupError::Issuer)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let loopback = issuer_url.scheme() == "http";
        let fetcher = Fetcher {
            clients: known.clients(loopback, &settings.fetch)?,
            hosts: Arc::new(NamedHosts::new(&issuer_url, &settings.fetch.endpoints)),
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
            tenant: tenant.clone(),
            provider: if settings.auth0 { "auth0" } else { "oidc" },
        };
        let source = known.source(&settings.issuer, issuer_url, &settings.fetch);
        source.join(fetcher.clone(), settings.id_token_alg != SigningAlg::Hs256);
        Provider::new(Arc::clone(self), source, fetcher, settings.clone())
    }

    /// Forgets what nobody needs but tenants that are not among these: from now on it is neither refreshed nor shown.
    /// Who still holds such a provider may go on with it.
    pub async fn keep_only(&self, providers: &[&Provider]) {
        for source in self.take_unused(providers) {
            self.metadata.forget(&source).await;
            self.keys.forget(&source).await;
        }
    }

    /// Drops sources and clients that only others need; returns those sources.
    fn take_unused(&self, providers: &[&Provider]) -> Vec<Arc<Source>> {
        let kept: HashSet<(*const Source, &TenantId)> =
            providers.iter().map(|provider| (Arc::as_ptr(provider.source()), provider.tenant())).collect();
        let ways: HashSet<(bool, FetchSettings)> = providers.iter().map(|provider| way(provider.source())).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stays = |source: &Arc<Source>| source.keep_only(|tenant| kept.contains(&(Arc::as_ptr(source), tenant)));
        let gone = known.sources.extract_if(|source| !stays(source)).collect();
        known.clients.retain(|way, _| ways.contains(way));
        gone
    }

    pub(super) fn sources(&self) -> Vec<Arc<Source>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).sources.iter().cloned().collect()
    }

    /// Fetches what is missing and refreshes what is about to expire, for ever.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            self.refresh_due().await;
            tokio::time::sleep(TICK).await;
        }
    }

    pub(super) async fn refresh_due(self: &Arc<Self>) {
        let refresh = |source| async move { self.refresh_source(&source).await };
        stream::iter(self.sources()).for_each_concurrent(AT_ONCE, refresh).await;
    }

    /// How a refresh ended is told where it happened.
    async fn refresh_source(self: &Arc<Self>, source: &Arc<Source>) {
        let Some(fetcher) = source.fetcher() else { return };
        if self.metadata.is_due(source).await {
            let fetch = fetch_metadata(Arc::clone(source), fetcher.clone());
            let _ = self.metadata.refresh(source, Wish::Fresher, fetch).await;
        }
        if source.needs_keys() && self.keys.is_due(source).await {
            let fetch = fetch_keys(Arc::clone(self), Arc::clone(source), fetcher);
            let _ = self.keys.refresh(source, Wish::Fresher, fetch).await;
        }
    }

    /// The discovery document of `source`; `fetcher` says in whose name it is fetched.
    pub(super) async fn metadata(
        &self,
        source: &Arc<Source>,
        fetcher: &Fetcher,
    ) -> Result<Arc<Metadata>, ProviderError> {
        self.metadata.get(source, fetch_metadata(Arc::clone(source), fetcher.clone())).await
    }

    /// The key set of `source`.
    pub(super) async fn keys(
        self: &Arc<Self>,
        source: &Arc<Source>,
        fetcher: &Fetcher,
    ) -> Result<Arc<KeySet>, ProviderError> {
        self.keys.get(source, fetch_keys(Arc::clone(self), Arc::clone(source), fetcher.clone())).await
    }

    /// The key set of `source`, fetched anew because a key is unknown, if that did not happen within the last minute.
    pub(super) async fn keys_anew(
        self: &Arc<Self>,
        source: &Arc<Source>,
        fetcher: &Fetcher,
    ) -> Result<Arc<KeySet>, ProviderError> {
        let fetch = fetch_keys(Arc::clone(self), Arc::clone(source), fetcher.clone());
        self.keys.refresh(source, Wish::UnknownKey, fetch).await
    }
}

async fn fetch_metadata(source: Arc<Source>, fetcher: Fetcher) -> Result<Fetched<Metadata>, ProviderError> {
    let url = metadata::discovery_url(&source.issuer_url);
    let hosts = Arc::clone(&fetcher.hosts);
    let read = |answer: &fetch::Answer| {
        let document: Map<String, Value> = answer.json()?;
        let value = Metadata::read(&document, &source.issuer, &source.fetch.endpoints, &hosts)?;
        Ok(Fetched { value, max_age: answer.max_age() })
    };
    let document = fetcher.get(Endpoint::Discovery, &url, None, read).await?;
    source.set_origins(document.value.browser_endpoints());
    Ok(document)
}

async fn fetch_keys(
    providers: Arc<Providers>,
    source: Arc<Source>,
    fetcher: Fetcher,
) -> Result<Fetched<KeySet>, ProviderError> {
    let metadata = providers.metadata(&source, &fetcher).await?;
    let read = |answer: &fetch::Answer| {
        let value = KeySet::parse(&answer.body).map_err(|_| answer.malformed("is no key set"))?;
        match value.len() {
            0 => return Err(answer.malformed("has no key that we can use")),
            1..=MAX_KEYS => {}
            _ => return Err(answer.malformed("has more keys than any provider needs")),
        }
        Ok(Fetched { value, max_age: answer.max_age() })
    };
    fetcher.get(Endpoint::Jwks, metadata.jwks_uri()?, None, read).await
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Providers").finish_non_exhaustive()
    }
}
