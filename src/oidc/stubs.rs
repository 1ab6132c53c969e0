//! Stands in for `response` and `id_token` until they are merged.
#![allow(missing_docs)]

use std::time::Duration;

use super::ProviderError;
use crate::clock::Timestamp;
use crate::secret::SecretString;

#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub nonce: &'a str,
    pub started_at: Timestamp,
    pub max_age: Option<i64>,
    pub prompt_login: bool,
    pub acr_values: Option<&'a str>,
    pub organization: Option<&'a str>,
    pub organizations: &'a [String],
}

#[derive(Debug)]
pub struct AuthorizationResponse {
    pub unverified_state: String,
    pub unverified_iss: Option<String>,
    pub unverified_outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    Code(SecretString),
    Refused { error: String, description: Option<String> },
}

impl AuthorizationResponse {
    pub fn parse(_query_or_body: &str) -> Result<Self, ResponseError> {
        todo!()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    #[error("iss is missing")]
    IssuerMissing,
    #[error("iss is another")]
    Issuer,
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

impl ResponseError {
    pub fn refused(_error: &str, _description: Option<&str>) -> Self {
        todo!()
    }
    pub fn code(&self) -> &'static str {
        todo!()
    }
    pub fn description(&self) -> Option<&str> {
        todo!()
    }
    pub fn retry_after(&self) -> Option<Duration> {
        todo!()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    #[error("todo")]
    Todo,
}

impl IdTokenError {
    pub const fn code(&self) -> &'static str {
        "id_token_malformed"
    }
}

#[derive(Debug)]
pub(super) struct KeySet(Vec<String>);

impl KeySet {
    pub(super) fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        let value: serde_json::Value = serde_json::from_slice(body)?;
        let keys = value["keys"].as_array().into_iter().flatten();
        Ok(Self(keys.filter_map(|key| key["kid"].as_str()).map(str::to_owned).collect()))
    }
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
    pub(super) fn knows(&self, token: &UnverifiedIdToken<'_>, _alg: crate::config::SigningAlg) -> bool {
        self.0.contains(&token.kid)
    }
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }
}

pub(super) struct UnverifiedIdToken<'a> {
    token: &'a str,
    kid: String,
}

fn part(token: &str, i: usize) -> Option<serde_json::Value> {
    serde_json::from_slice(&crate::secret::from_base64url(token.split('.').nth(i)?)?).ok()
}

impl<'a> UnverifiedIdToken<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, IdTokenError> {
        let header = part(token, 0).ok_or(IdTokenError::Todo)?;
        Ok(Self { token, kid: header["kid"].as_str().unwrap_or_default().to_owned() })
    }
}

#[expect(dead_code)]
pub(super) struct Checks<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) alg: crate::config::SigningAlg,
    pub(super) client_secret: Option<&'a SecretString>,
    pub(super) leeway: i64,
    pub(super) id_token_max_age: i64,
    pub(super) now: Timestamp,
    pub(super) expected: &'a Expected<'a>,
    pub(super) access_token: Option<&'a SecretString>,
}

pub(super) struct VerifiedClaims {
    pub(super) claims: serde_json::Map<String, serde_json::Value>,
    pub(super) sub: String,
    pub(super) sid: Option<String>,
    pub(super) session_expiry: Option<Timestamp>,
}

pub(super) fn check(
    unverified: UnverifiedIdToken<'_>,
    keys: &KeySet,
    checks: &Checks<'_>,
) -> Result<VerifiedClaims, IdTokenError> {
    if !keys.knows(&unverified, checks.alg) {
        return Err(IdTokenError::Todo);
    }
    let claims = part(unverified.token, 1).and_then(|c| c.as_object().cloned()).ok_or(IdTokenError::Todo)?;
    Ok(VerifiedClaims {
        sub: claims["sub"].as_str().unwrap_or_default().to_owned(),
        claims,
        sid: None,
        session_expiry: None,
    })
}

#[derive(Debug)]
pub(super) struct ClientAuthenticator(crate::config::ClientAuth, String);

impl ClientAuthenticator {
    pub(super) fn new(auth: &crate::config::ClientAuth, client_id: &str) -> Result<Self, super::ProviderSetupError> {
        Ok(Self(auth.clone(), client_id.to_owned()))
    }
    pub(super) fn apply(
        &self,
        _audience: &str,
        _now: Timestamp,
        form: &mut Vec<(String, String)>,
    ) -> Option<SecretString> {
        form.push(("client_id".to_owned(), self.1.clone()));
        None
    }
}
