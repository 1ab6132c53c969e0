//! What can go wrong between us and the provider. What is wrong with an id token or a callback is in `id_token` and
//! `response`.

use std::time::Duration;

use super::{ClientKeyError, IdTokenError};

/// How long a person should wait where the provider did not say.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The same where it said that we ask too much.
const RETRY_AFTER_LIMITED: Duration = Duration::from_secs(30);

/// Why the provider could not be asked, or what is wrong with its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No connection, or one that was cut.
    #[error("the provider cannot be reached: {reason}")]
    Unreachable {
        /// The innermost cause, such as `Connection refused`.
        reason: String,
    },
    /// No whole answer in time.
    #[error("the provider did not answer in time")]
    Slow,
    /// It says that it failed.
    #[error("the provider failed with status {status}")]
    Failed {
        /// The HTTP status.
        status: u16,
        /// Its Retry-After.
        retry_after: Option<Duration>,
    },
    /// We ask too often.
    #[error("the provider limits how often it may be asked")]
    Limited {
        /// Its Retry-After, or the time to its X-RateLimit-Reset.
        retry_after: Option<Duration>,
    },
    /// The answer is not what the endpoint should say.
    #[error("the provider's answer (status {status}) {fault}")]
    AnswerMalformed {
        /// The HTTP status.
        status: u16,
        /// What is wrong, as the end of a sentence.
        fault: &'static str,
    },
    /// It failed a moment ago and is left alone for a while. Keeps the code of that failure.
    #[error("the provider failed a moment ago ({last}) and is left alone for {} s", .retry_after.as_secs())]
    Unavailable {
        /// The code of that failure.
        last: &'static str,
        /// When it will be asked again.
        retry_after: Duration,
    },
    /// The discovery document belongs to another issuer (OpenID Connect Discovery, section 4.3).
    #[error("the discovery document is of issuer {found:?}, not the configured one")]
    DiscoveryIssuer {
        /// What it says, 200 characters of it at most.
        found: String,
    },
    /// The discovery document lacks what the tenant needs.
    #[error("the discovery document has no usable {what}")]
    DiscoveryUnsupported {
        /// The metadata's name.
        what: &'static str,
    },
    /// It sends us to this machine, its link or a metadata service, where only an operator may.
    #[error("the provider's {what} is at {host}, where only the issuer or a configured endpoint may be")]
    AddressRefused {
        /// The metadata's name.
        what: &'static str,
        /// The host.
        host: String,
    },
    /// It does not accept our client authentication.
    #[error("the provider refused the client: check client_id and its credentials ({error})")]
    ClientRefused {
        /// Its error code.
        error: String,
    },
    /// It refused the request.
    #[error("the provider refused the request ({error})")]
    RequestRefused {
        /// Its error code.
        error: String,
    },
}

impl ProviderError {
    /// The name of this outcome.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "provider_unreachable",
            Self::Slow => "provider_slow",
            Self::Failed { .. } => "provider_failed",
            Self::Limited { .. } => "provider_limited",
            Self::AnswerMalformed { .. } => "provider_answer_malformed",
            Self::Unavailable { last, .. } => last,
            Self::DiscoveryIssuer { .. } => "discovery_issuer",
            Self::DiscoveryUnsupported { .. } => "discovery_unsupported",
            Self::AddressRefused { .. } => "provider_address_refused",
            Self::ClientRefused { .. } => "client_refused",
            Self::RequestRefused { .. } => "request_refused",
        }
    }

    /// How long to wait before another try; `None` where only an operator can help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreachable { .. } | Self::Slow | Self::AnswerMalformed { .. } => Some(RETRY_AFTER),
            Self::Failed { retry_after, .. } => Some(retry_after.unwrap_or(RETRY_AFTER)),
            Self::Limited { retry_after } => Some(retry_after.unwrap_or(RETRY_AFTER_LIMITED)),
            Self::Unavailable { retry_after, .. } => Some(*retry_after),
            Self::DiscoveryIssuer { .. }
            | Self::DiscoveryUnsupported { .. }
            | Self::AddressRefused { .. }
            | Self::ClientRefused { .. }
            | Self::RequestRefused { .. } => None,
        }
    }
}

/// Why a code did not become an identity.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// The provider, or the way to it.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The code is used, expired, or was not made for us (RFC 6749, section 5.2: `invalid_grant`).
    #[error("the provider refused the code")]
    CodeRefused,
    /// The answer of the token endpoint lacks something (RFC 6749, section 5.1).
    #[error("the token endpoint's answer {fault}")]
    TokenAnswerMalformed {
        /// What is wrong, as the end of a sentence.
        fault: &'static str,
    },
    /// The id token failed a check.
    #[error(transparent)]
    IdToken(#[from] IdTokenError),
    /// The userinfo endpoint speaks of somebody else (OpenID Connect Core, section 5.3.2).
    #[error("the userinfo endpoint's sub is not the id token's")]
    UserinfoSub,
    /// The userinfo endpoint gave no claims.
    #[error("the userinfo endpoint gave no claims")]
    UserinfoUnavailable(#[source] ProviderError),
}

impl RedeemError {
    /// The name of this outcome.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Provider(error) => error.code(),
            Self::CodeRefused => "code_refused",
            Self::TokenAnswerMalformed { .. } => "token_answer_malformed",
            Self::IdToken(error) => error.code(),
            Self::UserinfoSub => "userinfo_sub",
            Self::UserinfoUnavailable(_) => "userinfo_unavailable",
        }
    }

    /// How long to wait before another try; `None` where waiting does not help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Provider(error) | Self::UserinfoUnavailable(error) => error.retry_after(),
            _ => None,
        }
    }
}

/// Why a refresh token did not bring new tokens.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RefreshError {
    /// The provider, or the way to it; the refresh token may still be good.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The refresh token is used, expired or revoked (RFC 6749, section 5.2: `invalid_grant`).
    #[error("the provider refused the refresh token")]
    Refused,
    /// The answer of the token endpoint lacks something (RFC 6749, section 5.1).
    #[error("the token endpoint's answer {fault}")]
    TokenAnswerMalformed {
        /// What is wrong, as the end of a sentence.
        fault: &'static str,
    },
    /// The id token failed a check.
    #[error(transparent)]
    IdToken(#[from] IdTokenError),
    /// The userinfo endpoint speaks of somebody else (OpenID Connect Core, section 5.3.2).
    #[error("the userinfo endpoint's sub is not the session's")]
    UserinfoSub,
}

impl RefreshError {
    /// The name of this outcome.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Provider(error) => error.code(),
            Self::Refused => "refresh_refused",
            Self::TokenAnswerMalformed { .. } => "token_answer_malformed",
            Self::IdToken(error) => error.code(),
            Self::UserinfoSub => "userinfo_sub",
        }
    }

    /// How long to wait before another try; `None` where waiting does not help.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Provider(error) = self { error.retry_after() } else { None }
    }
}

/// Why a tenant's provider could not be set up from its settings.
#[derive(Debug, thiserror::Error)]
pub enum ProviderSetupError {
    /// The issuer is no URL.
    #[error("the issuer is not a URL")]
    Issuer,
    /// The certificates are none.
    #[error("a certificate of the provider's authority is not PEM")]
    Ca,
    /// The proxy's URL is no good.
    #[error("the proxy cannot be used")]
    Proxy(#[source] reqwest::Error),
    /// The private key is no good.
    #[error(transparent)]
    ClientKey(#[from] ClientKeyError),
    /// No client could be made, for lack of certificates of the system above all.
    #[error("no HTTPS client can be made: check that this system has certificates of authorities (ca-certificates)")]
    Client(#[source] reqwest::Error),
}

impl ProviderSetupError {
    /// The key of the tenant's file that is to blame, if one is.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Ca => "ca_file",
            Self::Proxy(_) => "proxy",
            Self::ClientKey(_) => "private_key",
            Self::Client(_) => "",
        }
    }
}
