//! What a provider says about itself (OpenID Connect Discovery 1.0, sections 3 and 4).
//!
//! Read by hand, not into `openidconnect::ProviderMetadata`: that demands lists nobody here looks at and refuses the
//! whole document for one odd value in them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::Url;

use super::ProviderError;
use super::address::{NamedHosts, is_loopback};
use crate::config::SigningAlg;

/// Characters of a foreign issuer that an error repeats.
const MAX_SHOWN: usize = 200;

/// Where the discovery document of `issuer` is (section 4.1).
pub(super) fn discovery_url(issuer: &Url) -> Url {
    let mut url = issuer.clone();
    let path = issuer.path().strip_suffix('/').unwrap_or(issuer.path());
    url.set_path(&format!("{path}/.well-known/openid-configuration"));
    url
}

/// The endpoints that we use.
pub(super) const ENDPOINTS: &[&str] = &[
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "userinfo_endpoint",
    "pushed_authorization_request_endpoint",
    "revocation_endpoint",
    "end_session_endpoint",
];

/// What we use of a discovery document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    jwks_uri: Option<Url>,
    userinfo_endpoint: Option<Url>,
    par_endpoint: Option<Url>,
    pub(super) revocation_endpoint: Option<Url>,
    pub(super) end_session_endpoint: Option<Url>,
    /// Whether an authorization request must be pushed (RFC 9126, section 5).
    pub(super) par_required: bool,
    /// Whether every authorization response carries `iss` (RFC 9207, section 3).
    pub(super) response_issuer: bool,
    id_token_algs: Vec<String>,
}

impl Metadata {
    /// Reads the document of `issuer`; `overrides` replace endpoints by their metadata name, `hosts` are those that an
    /// operator named.
    ///
    /// # Errors
    /// It is another issuer's (section 4.3), lacks an endpoint that every sign-in needs, or sends us where it must not.
    pub(super) fn read(
        document: &Map<String, Value>,
        issuer: &str,
        overrides: &BTreeMap<String, Url>,
        hosts: &NamedHosts,
    ) -> Result<Self, ProviderError> {
        let found = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if found != issuer {
            return Err(ProviderError::DiscoveryIssuer { found: found.chars().take(MAX_SHOWN).collect() });
        }
        let http_allowed = issuer.starts_with("http:");
        let endpoint = |name: &str| {
            let discovered = || document.get(name)?.as_str()?.parse().ok();
            overrides.get(name).cloned().or_else(discovered).filter(|url| is_safe(url, http_allowed))
        };
        for what in ENDPOINTS {
            if let Some(url) = endpoint(what) {
                hosts.check(what, &url)?;
            }
        }
        let needed = |what| endpoint(what).ok_or(ProviderError::DiscoveryUnsupported { what });
        let says = |name| document.get(name).and_then(Value::as_bool).unwrap_or(false);
        let id_token_algs = document.get("id_token_signing_alg_values_supported").and_then(Value::as_array);
        Ok(Self {
            authorization_endpoint: needed("authorization_endpoint")?,
            token_endpoint: needed("token_endpoint")?,
            jwks_uri: endpoint("jwks_uri"),
            userinfo_endpoint: endpoint("userinfo_endpoint"),
            par_endpoint: endpoint("pushed_authorization_request_endpoint"),
            revocation_endpoint: endpoint("revocation_endpoint"),
            end_session_endpoint: endpoint("end_session_endpoint"),
            par_required: says("require_pushed_authorization_requests"),
            response_issuer: says("authorization_response_iss_parameter_supported"),
            id_token_algs: id_token_algs.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    /// The endpoint of this metadata name, one of [`ENDPOINTS`].
    pub(super) fn endpoint(&self, name: &str) -> Option<&Url> {
        match name {
            "authorization_endpoint" => Some(&self.authorization_endpoint),
            "token_endpoint" => Some(&self.token_endpoint),
            "jwks_uri" => self.jwks_uri.as_ref(),
            "userinfo_endpoint" => self.userinfo_endpoint.as_ref(),
            "pushed_authorization_request_endpoint" => self.par_endpoint.as_ref(),
            "revocation_endpoint" => self.revocation_endpoint.as_ref(),
            "end_session_endpoint" => self.end_session_endpoint.as_ref(),
            _ => None,
        }
    }

    /// Where browsers are sent.
    pub(super) fn browser_endpoints(&self) -> impl Iterator<Item = &Url> {
        std::iter::once(&self.authorization_endpoint).chain(&self.end_session_endpoint)
    }

    /// Where the keys are.
    pub(super) fn jwks_uri(&self) -> Result<&Url, ProviderError> {
        self.jwks_uri.as_ref().ok_or(ProviderError::DiscoveryUnsupported { what: "jwks_uri" })
    }

    /// Where claims are.
    pub(super) fn userinfo_endpoint(&self) -> Result<&Url, ProviderError> {
        self.userinfo_endpoint.as_ref().ok_or(ProviderError::DiscoveryUnsupported { what: "userinfo_endpoint" })
    }

    /// Where authorization requests are pushed.
    pub(super) fn par_endpoint(&self) -> Result<&Url, ProviderError> {
        let what = "pushed_authorization_request_endpoint";
        self.par_endpoint.as_ref().ok_or(ProviderError::DiscoveryUnsupported { what })
    }

    /// Checks that id tokens can be signed with `alg`; a document that lists nothing may.
    pub(super) fn check_alg(&self, alg: SigningAlg) -> Result<(), ProviderError> {
        // RFC 9864 renames EdDSA with this curve.
        let same = |name: &String| name == alg.as_str() || (alg == SigningAlg::EdDsa && name == "Ed25519");
        if self.id_token_algs.is_empty() || self.id_token_algs.iter().any(same) {
            return Ok(());
        }
        Err(ProviderError::DiscoveryUnsupported { what: "id_token_signing_alg_values_supported for this tenant" })
    }
}

/// Whether codes and tokens may be sent to `url`: by https, or to loopback if `http_allowed`.
fn is_safe(url: &Url, http_allowed: bool) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && http_allowed && is_loopback(url))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.example/";

    fn document() -> Map<String, Value> {
        let document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example/authorize",
            "token_endpoint": "https://id.example/token",
            "jwks_uri": "https://id.example/jwks",
            "subject_types_supported": ["odd"],
            "userinfo_endpoint": "",
            "end_session_endpoint": "http://id.example/logout",
            "id_token_signing_alg_values_supported": ["RS256", "XX512", 5],
        });
        document.as_object().unwrap().clone()
    }

    fn read(change: impl FnOnce(&mut Map<String, Value>)) -> Result<Metadata, ProviderError> {
        let mut document = document();
        change(&mut document);
        read_with(&document, &BTreeMap::new())
    }

    fn read_with(document: &Map<String, Value>, overrides: &BTreeMap<String, Url>) -> Result<Metadata, ProviderError> {
        let hosts = NamedHosts::new(&ISSUER.parse().unwrap(), overrides);
        Metadata::read(document, ISSUER, overrides, &hosts)
    }

    #[test]
    fn an_endpoint_that_only_we_can_reach_spoils_the_document() {
        for name in ENDPOINTS {
            for host in ["127.0.0.1", "localhost", "169.254.169.254", "[fd00:ec2::254]", "[::ffff:127.0.0.1]"] {
                let url = json!(format!("https://{host}/x"));
                let error = read(|document| drop(document.insert((*name).to_owned(), url))).unwrap_err();
                assert!(
                    matches!(error, ProviderError::AddressRefused { what, .. } if what == *name),
                    "{name}: {error}"
                );
            }
            let url = json!("https://10.0.0.1/x");
            assert!(read(|document| drop(document.insert((*name).to_owned(), url))).is_ok(), "{name}");
        }
    }

    #[test]
    fn an_odd_but_harmless_document_is_read() {
        let metadata = read(|_| {}).unwrap();
        assert_eq!(metadata.userinfo_endpoint, None);
        assert_eq!(metadata.end_session_endpoint, None, "http is no place for tokens");
        assert!(!metadata.par_required && !metadata.response_issuer);
        assert_eq!(metadata.check_alg(SigningAlg::Rs256), Ok(()));
        assert_eq!(metadata.check_alg(SigningAlg::Es256).unwrap_err().code(), "discovery_unsupported");
    }

    #[test]
    fn the_issuer_must_be_the_configured_one_byte_for_byte() {
        for issuer in [json!("https://id.example"), json!("https://ID.example/"), json!(null), json!(5)] {
            let error = read(|document| drop(document.insert("issuer".into(), issuer))).unwrap_err();
            assert_eq!(error.code(), "discovery_issuer");
        }
    }

    #[test]
    fn an_endpoint_that_is_missing_or_unsafe_is_unsupported() {
        for (name, value) in [
            ("authorization_endpoint", json!("http://id.example/authorize")),
            ("authorization_endpoint", json!("javascript:alert(1)")),
            ("token_endpoint", json!(null)),
            ("token_endpoint", json!("http://127.0.0.1/token")),
        ] {
            let error = read(|document| drop(document.insert(name.into(), value))).unwrap_err();
            assert_eq!(error, ProviderError::DiscoveryUnsupported { what: name });
        }
        let metadata = read(|document| drop(document.remove("jwks_uri"))).unwrap();
        assert_eq!(metadata.jwks_uri().unwrap_err().code(), "discovery_unsupported");
    }

    #[test]
    fn http_is_for_loopback_behind_a_loopback_issuer() {
        for (url, safe) in [
            ("http://127.0.0.1:1/", true),
            ("http://[::1]:1/", true),
            ("http://localhost/", true),
            ("http://localhost.example/", false),
            ("http://10.0.0.1/", false),
            ("https://10.0.0.1/", true),
            ("ftp://127.0.0.1/", false),
        ] {
            assert_eq!(is_safe(&url.parse().unwrap(), true), safe, "{url}");
        }
    }

    #[test]
    fn a_configured_endpoint_replaces_the_discovered_one() {
        let url: Url = "https://proxy.example/token".parse().unwrap();
        let overrides = BTreeMap::from([("token_endpoint".to_owned(), url.clone())]);
        assert_eq!(read_with(&document(), &overrides).unwrap().token_endpoint, url);
    }

    #[test]
    fn the_document_is_below_the_issuers_path() {
        for (issuer, url) in [
            ("https://a.example", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/realms/x", "https://a.example/realms/x/.well-known/openid-configuration"),
            ("https://a.example/realms/x/", "https://a.example/realms/x/.well-known/openid-configuration"),
        ] {
            assert_eq!(discovery_url(&issuer.parse().unwrap()).as_str(), url);
        }
    }
}
