//! One HTTP request to a provider: limits on time, size and redirects, what its failure means, counted and logged.
//! What a success says is read elsewhere; how long it is kept is in `documents`.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Proxy, RequestBuilder, StatusCode, redirect};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{Instrument as _, debug, warn};
use url::Url;

use super::address::{Clients, ForbiddenName, NamedHosts};
use super::{ProviderError, ProviderSetupError};
use crate::clock::{Clock, Timestamp};
use crate::config::FetchSettings;
use crate::metrics::Metrics;
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant_id::TenantId;
use crate::trace;

/// Bytes of an answer; more is not read.
const MAX_BODY: usize = 1024 * 1024;
/// How long a connection may take to stand; never longer than the whole request may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than servers keep idle connections, so that a request seldom meets one that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(30);
/// The longest wait that a provider may ask for.
const MAX_RETRY_AFTER: i64 = 3600;

const RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What builds a client with these settings: no redirects, no cookies, no proxy but the configured one.
///
/// `loopback` is for an issuer on http, which is a loopback: such a provider needs no authorities of the system, which a
/// bare machine lacks.
pub(super) fn builder(fetch: &FetchSettings, loopback: bool) -> Result<reqwest::ClientBuilder, ProviderSetupError> {
    let mut authorities = Vec::new();
    for pem in &fetch.ca {
        let certificates = Certificate::from_pem_bundle(pem).map_err(|_| ProviderSetupError::Ca)?;
        if certificates.is_empty() {
            return Err(ProviderSetupError::Ca);
        }
        authorities.extend(certificates);
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("lychgate/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .timeout(fetch.timeout)
        .connect_timeout(fetch.timeout.min(CONNECT_TIMEOUT))
        .pool_idle_timeout(POOL_IDLE)
        .https_only(!loopback)
        .no_proxy();
    if let Some(proxy) = &fetch.proxy {
        builder = builder.proxy(Proxy::all(proxy.clone()).map_err(ProviderSetupError::Proxy)?);
    }
    Ok(if loopback { builder.tls_certs_only(authorities) } else { builder.tls_certs_merge(authorities) })
}

/// The endpoints that are asked, as the label `endpoint` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Discovery,
    Jwks,
    Par,
    Token,
    Userinfo,
    Revocation,
}

impl Endpoint {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Jwks => "jwks",
            Self::Par => "par",
            Self::Token => "token",
            Self::Userinfo => "userinfo",
            Self::Revocation => "revocation",
        }
    }

    /// What the discovery document calls it.
    const fn metadata_name(self) -> &'static str {
        match self {
            Self::Discovery => "issuer",
            Self::Jwks => "jwks_uri",
            Self::Par => "pushed_authorization_request_endpoint",
            Self::Token => "token_endpoint",
            Self::Userinfo => "userinfo_endpoint",
            Self::Revocation => "revocation_endpoint",
        }
    }
}

/// A whole answer.
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// The server's certificate, where the client tells of it.
    pub(super) certificate: Option<Vec<u8>>,
}

impl Answer {
    /// The body as JSON, whatever media type it claims.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        serde_json::from_slice(&self.body).map_err(|_| self.malformed("is not the JSON that belongs there"))
    }

    /// The fault `fault`, the end of a sentence.
    pub(super) const fn malformed(&self, fault: &'static str) -> ProviderError {
        ProviderError::AnswerMalformed { status: self.status.as_u16(), fault }
    }

    /// Seconds that the answer may be kept by its Cache-Control; 0 for `no-store` and `no-cache` (RFC 9111, section 5.2.2).
    pub(super) fn max_age(&self) -> Option<i64> {
        let values = self.headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        let mut max_age = None;
        for directive in values.flat_map(|value| value.split(',')) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Some(0),
                "max-age" => max_age = value.trim().trim_matches('"').parse().ok(),
                _ => {}
            }
        }
        max_age
    }

    /// What it means that this is no success.
    fn failure(&self, now: Timestamp) -> ProviderError {
        let retry_after = self.retry_after(now);
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => ProviderError::Limited { retry_after },
            status if status.is_server_error() => ProviderError::Failed { status: status.as_u16(), retry_after },
            status if status.is_redirection() => self.malformed("is a redirect, which is not followed"),
            _ => self.malformed("is no success"),
        }
    }

    /// The same where the client authenticated itself: the error code in the body decides (RFC 6749, section 5.2).
    fn refusal(&self, now: Timestamp) -> ProviderError {
        let failure = self.failure(now);
        let error = self.error_code();
        match error.as_deref() {
            _ if matches!(failure, ProviderError::Limited { .. }) => failure,
            Some("too_many_requests") => ProviderError::Limited { retry_after: self.retry_after(now) },
            Some("server_error" | "temporarily_unavailable") => {
                ProviderError::Failed { status: self.status.as_u16(), retry_after: self.retry_after(now) }
            }
            Some("invalid_client" | "unauthorized_client") => {
                ProviderError::ClientRefused { error: error.unwrap_or_default() }
            }
            _ if self.status == StatusCode::UNAUTHORIZED => {
                ProviderError::ClientRefused { error: error.unwrap_or_else(|| "status 401".to_owned()) }
            }
            Some(_) if self.status.is_client_error() => {
                ProviderError::RequestRefused { error: error.unwrap_or_default() }
            }
            _ => failure,
        }
    }

    /// The `error` of the body, if it looks like an error code.
    fn error_code(&self) -> Option<String> {
        let body: Map<String, Value> = serde_json::from_slice(&self.body).ok()?;
        let error = body.get("error")?.as_str()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        ((1..=64).contains(&error.len()) && error.bytes().all(plain)).then(|| error.to_owned())
    }

    /// The provider's time (RFC 9110, section 6.6.1).
    pub(super) fn date(&self) -> Option<Timestamp> {
        timestamp(self.text(DATE)?)
    }

    fn text(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }

    /// How long to leave the provider alone: Retry-After, a number or a date (RFC 9110, section 10.2.3), or, with a 429,
    /// Auth0's X-RateLimit-Reset, seconds since the epoch.
    fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let text = |name| self.text(name);
        let at_date = |date: &str| Some(timestamp(date)?.since(now));
        let reset = || Some(Timestamp(text(RATE_LIMIT_RESET)?.parse().ok()?).since(now));
        let limited = self.status == StatusCode::TOO_MANY_REQUESTS;
        let seconds = text(RETRY_AFTER)
            .and_then(|value| value.parse().ok().or_else(|| at_date(value)))
            .or_else(|| if limited { reset() } else { None })?;
        Some(Duration::from_secs(seconds.clamp(1, MAX_RETRY_AFTER).unsigned_abs()))
    }
}

fn timestamp(date: &str) -> Option<Timestamp> {
    let since_epoch = httpdate::parse_http_date(date).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp(since_epoch.as_secs().try_into().ok()?))
}

/// Sends requests to a provider in the name of one tenant.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    pub(super) clients: Arc<Clients>,
    pub(super) hosts: Arc<NamedHosts>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tenant: TenantId,
    /// The label `provider`.
    pub(super) provider: &'static str,
}

impl Fetcher {
    /// Gets `url` and has `read` make something of a success.
    pub(super) async fn get<T>(
        &self,
        endpoint: Endpoint,
        url: &Url,
        bearer: Option<&SecretString>,
        read: impl FnOnce(&Answer) -> Result<T, ProviderError>,
    ) -> Result<T, ProviderError> {
        let request = self.client(endpoint, url).map(|client| {
            let request = client.get(url.clone());
            match bearer {
                Some(token) => request.bearer_auth(token.expose_secret()),
                None => request,
            }
        });
        self.observed(endpoint, request, read, Answer::failure).await
    }

    /// Posts a form that says who we are and has `read` make something of a success.
    pub(super) async fn post<T>(
        &self,
        endpoint: Endpoint,
        url: &Url,
        form: &[(String, String)],
        authorization: Option<&SecretString>,
        read: impl FnOnce(&Answer) -> Result<T, ProviderError>,
    ) -> Result<T, ProviderError> {
        let request = self.client(endpoint, url).map(|client| {
            let request = client.post(url.clone()).form(form);
            let Some(authorization) = authorization else { return request };
            let mut value = HeaderValue::from_str(authorization.expose_secret())
                .expect("the authenticator writes base64 or nothing");
            value.set_sensitive(true);
            request.header(AUTHORIZATION, value)
        });
        self.observed(endpoint, request, read, Answer::refusal).await
    }

    fn client(&self, endpoint: Endpoint, url: &Url) -> Result<&reqwest::Client, ProviderError> {
        self.clients.of(&self.hosts, endpoint.metadata_name(), url)
    }

    async fn observed<T>(
        &self,
        endpoint: Endpoint,
        request: Result<RequestBuilder, ProviderError>,
        read: impl FnOnce(&Answer) -> Result<T, ProviderError>,
        failure: impl FnOnce(&Answer, Timestamp) -> ProviderError,
    ) -> Result<T, ProviderError> {
        let started = Instant::now();
        let span = trace::provider(endpoint.as_str(), self.tenant.as_str());
        // Boxed: it is large, and every request that may need a provider's keys would carry it along.
        let sending = Box::pin(send(endpoint, request)).instrument(span.clone());
        let result = match sending.await {
            Ok(answer) if answer.status.is_success() => read(&answer),
            Ok(answer) => Err(failure(&answer, self.clock.now())),
            Err(error) => Err(error),
        };
        let endpoint = endpoint.as_str();
        let outcome = result.as_ref().map_or_else(ProviderError::code, |_| "ok");
        let labels = [self.metrics.tenant(&self.tenant), self.provider, endpoint, outcome];
        self.metrics.provider_requests_total.with_label_values(&labels).inc();
        let duration = started.elapsed();
        let durations = self.metrics.provider_request_duration_seconds.with_label_values(&[endpoint]);
        durations.observe(duration.as_secs_f64());
        if result.is_err() {
            trace::failed(&span, outcome);
        }
        match &result {
            Ok(_) => {}
            // Everyday: a code that was used twice.
            Err(error @ ProviderError::RequestRefused { .. }) => {
                debug!(tenant = %self.tenant, endpoint, code = outcome, %error, "the provider refused a request");
            }
            Err(error) => {
                warn!(tenant = %self.tenant, endpoint, code = outcome, %error, ?duration, "a request to the provider failed");
            }
        }
        result
    }
}

async fn send(endpoint: Endpoint, request: Result<RequestBuilder, ProviderError>) -> Result<Answer, ProviderError> {
    let transport_error = |error| transport_error(endpoint, error);
    let mut response = request?.header(ACCEPT, "application/json").send().await.map_err(transport_error)?;
    let headers = std::mem::take(response.headers_mut());
    let tls = response.extensions().get::<reqwest::tls::TlsInfo>();
    let certificate = tls.and_then(|tls| tls.peer_certificate()).map(<[u8]>::to_vec);
    let mut answer = Answer { status: response.status(), headers, body: Vec::new(), certificate };
    while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
        if answer.body.len() + chunk.len() > MAX_BODY {
            return Err(answer.malformed("is larger than 1 MiB"));
        }
        answer.body.extend_from_slice(&chunk);
    }
    Ok(answer)
}

/// What a failure below HTTP means. Only the innermost cause is kept: the others name the URL or say nothing.
fn transport_error(endpoint: Endpoint, error: reqwest::Error) -> ProviderError {
    if error.is_timeout() && !error.is_connect() {
        return ProviderError::Slow;
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if let Some(ForbiddenName(name)) = cause.downcast_ref() {
        return ProviderError::AddressRefused { what: endpoint.metadata_name(), host: name.clone() };
    }
    ProviderError::Unreachable { reason: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into(), certificate: None }
    }

    #[test]
    fn cache_control_says_how_long_an_answer_is_kept() {
        for (value, kept) in [
            ("max-age=300", Some(300)),
            ("public, Max-Age=\"60\" , immutable", Some(60)),
            ("max-age=300, no-store", Some(0)),
            ("no-cache", Some(0)),
            ("public", None),
            ("max-age=soon", None),
            ("max-age=99999999999999999999", None),
        ] {
            assert_eq!(answer(200, &[("cache-control", value)], "").max_age(), kept, "{value}");
        }
        assert_eq!(answer(200, &[], "").max_age(), None);
    }

    #[test]
    fn the_error_in_the_body_decides_then_the_status() {
        for (status, body, code) in [
            (400, r#"{"error":"invalid_grant"}"#, "request_refused"),
            (403, r#"{"error":"invalid_grant","error_description":"Invalid authorization code"}"#, "request_refused"),
            (400, r#"{"error":"invalid_client"}"#, "client_refused"),
            (403, r#"{"error":"unauthorized_client"}"#, "client_refused"),
            (401, r#"{"error":"access_denied"}"#, "client_refused"),
            (401, "", "client_refused"),
            (429, r#"{"error":"invalid_client"}"#, "provider_limited"),
            (403, r#"{"error":"too_many_requests"}"#, "provider_limited"),
            (400, r#"{"error":"temporarily_unavailable"}"#, "provider_failed"),
            (500, r#"{"error":"oops"}"#, "provider_failed"),
            (503, "<html>", "provider_failed"),
            (302, "", "provider_answer_malformed"),
            (404, "<html>", "provider_answer_malformed"),
            (400, r#"{"error":"<script>"}"#, "provider_answer_malformed"),
        ] {
            assert_eq!(answer(status, &[], body).refusal(Timestamp(0)).code(), code, "{status} {body}");
        }
    }

    #[test]
    fn the_provider_says_how_long_to_wait() {
        let now = Timestamp(784_111_777 - 40); // Sun, 06 Nov 1994 08:49:37 GMT
        for (headers, seconds) in [
            (&[("retry-after", "7")][..], Some(7)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(40)),
            (&[("x-ratelimit-reset", "784111747")], Some(10)),
            (&[("x-ratelimit-reset", "1")], Some(1)),
            (&[("retry-after", "999999")], Some(3600)),
            (&[("retry-after", "soon")], None),
            (&[], None),
        ] {
            let waits = answer(429, headers, "").retry_after(now).map(|wait| wait.as_secs());
            assert_eq!(waits, seconds, "{headers:?}");
        }
    }
}
