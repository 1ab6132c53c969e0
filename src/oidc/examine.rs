//! What an operator wants to know of a provider, step by step, where [`Provider::check_online`] says the first fault.

use serde_json::{Map, Value};
use url::Url;

use super::address::Clients;
use super::fetch::{Answer, Endpoint};
use super::key_set::{KeySet, PublishedKey};
use super::metadata::{self, ENDPOINTS, Metadata};
use super::{Provider, ProviderError};
use crate::clock::Timestamp;
use crate::config::{ClientAuth, SigningAlg};

/// What was found.
#[derive(Debug)]
pub struct Examination {
    /// Where the discovery document is.
    pub discovery_url: Url,
    /// How that was answered; what follows is known only where this is good.
    pub answer: Result<Answered, ProviderError>,
    /// Endpoints by their metadata name, those that settings replace among them.
    pub endpoints: Result<Vec<(&'static str, Url)>, ProviderError>,
    /// Endpoints that are named but not used, because they are no https.
    pub unsafe_endpoints: Vec<(&'static str, String)>,
    /// The keys that are published, those we cannot use among them; none where id tokens are signed with the client
    /// secret.
    pub keys: Option<Result<Vec<PublishedKey>, ProviderError>>,
    /// Whether the provider takes our client for what it says it is; none where there is nothing to try.
    pub client: Option<Result<(), ProviderError>>,
}

/// What an answer told besides its body.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// The provider's time and ours, when the answer came.
    pub times: Option<(Timestamp, Timestamp)>,
    /// The certificate of the server, DER; none without TLS.
    pub certificate: Option<Vec<u8>>,
}

impl Provider {
    /// Asks the provider for all that a sign-in needs, each thing by itself.
    pub async fn examine(&self) -> Examination {
        let discovery_url = metadata::discovery_url(&self.source().issuer_url);
        let (answer, document) = match self.fetch_discovery(&discovery_url).await {
            Ok((answered, document)) => (Ok(answered), Ok(document)),
            Err(error) => (Err(error.clone()), Err(error)),
        };
        let overrides = &self.source().fetch.endpoints;
        let read = document.as_ref().map_err(Clone::clone).and_then(|document| {
            let metadata = Metadata::read(document, self.issuer(), overrides, &self.fetcher().hosts)?;
            metadata.check_alg(self.settings().id_token_alg)?;
            Ok(metadata)
        });
        let mut unsafe_endpoints = Vec::new();
        if let (Ok(metadata), Ok(document)) = (&read, &document) {
            let named = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
            let dropped = ENDPOINTS.iter().filter(|name| metadata.endpoint(name).is_none());
            unsafe_endpoints.extend(dropped.filter_map(|name| Some((*name, named(name)?))));
        }
        let (mut keys, mut client) = (None, None);
        if let Ok(metadata) = &read {
            keys = self.fetch_published_keys(metadata).await;
            if !matches!(self.settings().client_auth, ClientAuth::None) {
                client = Some(self.check_client(metadata).await);
            }
        }
        let endpoints = read.map(|metadata| {
            ENDPOINTS.iter().filter_map(|name| Some((*name, metadata.endpoint(name)?.clone()))).collect()
        });
        Examination { discovery_url, answer, endpoints, unsafe_endpoints, keys, client }
    }

    /// The document as it is, over a connection that tells of its certificate.
    async fn fetch_discovery(&self, url: &Url) -> Result<(Answered, Map<String, Value>), ProviderError> {
        let source = self.source();
        let mut fetcher = self.fetcher().clone();
        // The same was built when the tenant was set up.
        if let Ok(clients) = Clients::new(&source.fetch, source.issuer_url.scheme() == "http", true) {
            fetcher.clients = clients.into();
        }
        let read = |answer: &Answer| {
            let times = answer.date().map(|date| (date, self.now()));
            Ok((Answered { times, certificate: answer.certificate.clone() }, answer.json()?))
        };
        fetcher.get(Endpoint::Discovery, url, None, read).await
    }

    async fn fetch_published_keys(&self, metadata: &Metadata) -> Option<Result<Vec<PublishedKey>, ProviderError>> {
        let alg = self.settings().id_token_alg;
        if alg == SigningAlg::Hs256 {
            return None;
        }
        let read =
            |answer: &Answer| KeySet::published(&answer.body, alg).map_err(|_| answer.malformed("is no key set"));
        Some(match metadata.jwks_uri() {
            Ok(url) => self.fetcher().get(Endpoint::Jwks, url, None, read).await,
            Err(error) => Err(error),
        })
    }
}
