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
