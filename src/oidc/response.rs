//! What the browser brings to the callback: the authorization response (OpenID Connect Core 3.1.2.5 and 3.1.2.6,
//! RFC 9207), read strictly and believed by nobody yet. Comparing state and issuer is the caller's.

use std::fmt;

use url::form_urlencoded;

use super::ProviderError;
use crate::secret::SecretString;

/// Bytes of `state`; ours is far shorter.
const STATE_MAX: usize = 512;
/// Bytes of any other value that is used.
const VALUE_MAX: usize = 8 * 1024;
/// Characters of `error` that are kept.
const ERROR_MAX: usize = 64;
/// Characters of `error_description` that are kept.
const DESCRIPTION_MAX: usize = 200;

/// An authorization response, well formed and not verified.
pub struct AuthorizationResponse {
    /// The state, to be found among the browser's attempts before anything else is believed.
    pub unverified_state: String,
    /// The issuer that says it answers (RFC 9207).
    pub unverified_iss: Option<String>,
    /// What it says.
    pub unverified_outcome: Outcome,
}

/// What an authorization response says.
#[derive(Debug)]
pub enum Outcome {
    /// A code, to be redeemed.
    Code(SecretString),
    /// No: see [`ResponseError::refused`].
    Refused {
        /// The provider's `error`.
        error: String,
        /// The provider's `error_description`, as it came.
        description: Option<String>,
    },
}

impl fmt::Debug for AuthorizationResponse {
    /// Without the state.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationResponse")
            .field("unverified_iss", &self.unverified_iss)
            .field("unverified_outcome", &self.unverified_outcome)
            .finish_non_exhaustive()
    }
}

/// Why an authorization response gives no code.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// No state, an empty or an overlong one.
    #[error("the response has no state")]
    StateMissing,
    /// A parameter stands there twice (RFC 6749, section 3.1).
    #[error("the response has the parameter {0} more than once")]
    ParameterDoubled(&'static str),
    /// A code and an error at once, or an overlong value.
    #[error("the response has a parameter that it should not have: {0}")]
    ParameterUnexpected(&'static str),
    /// Neither code nor error.
    #[error("the response has neither code nor error")]
    CodeMissing,
    /// The provider promises `iss` and the response has none (RFC 9207, section 2.4).
    #[error("the response does not name its issuer")]
    IssuerMissing,
    /// Another provider answers than was asked: a mix-up.
    #[error("the response is of another issuer")]
    Issuer,
    /// The provider says no.
    #[error("the provider refused: {error}")]
    Refused {
        /// What it means to us.
        refusal: Refusal,
        /// Its `error`, capped, without control characters.
        error: String,
        /// Its `error_description`, capped, without control characters.
        description: Option<String>,
    },
    /// Whether `iss` must be there is not known: the discovery document cannot be had.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

/// What a provider's `error` means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The user or a rule said no.
    AccessDenied,
    /// The user is blocked (Auth0's `unauthorized`).
    UserBlocked,
    /// A sign-in without interaction is not possible.
    SignInRequired,
    /// Something in the request is wrong, or the error is not known.
    RequestRefused,
    /// Something in our settings, or in those of the application at the provider, is wrong.
    ClientMisconfigured,
    /// The provider failed.
    ProviderFailed,
    /// The provider cannot answer at the moment.
    ProviderUnavailable,
}

impl AuthorizationResponse {
    /// Reads the query, or the form-urlencoded body, of a request to the callback. A parameter without a value counts
    /// as absent (RFC 6749, section 3.1), one that is not known is ignored.
    ///
    /// # Errors
    /// Missing, doubled, overlong or contradictory parameters.
    pub fn parse(query_or_body: &str) -> Result<Self, ResponseError> {
        let mut given = Given::default();
        for (name, value) in form_urlencoded::parse(query_or_body.as_bytes()) {
            given.take(&name, value.into_owned())?;
        }
        let unverified_state = given.state.filled().filter(|state| state.len() <= STATE_MAX);
        let unverified_state = unverified_state.ok_or(ResponseError::StateMissing)?;
        let unverified_outcome = match (given.code.short("code")?, given.error.short("error")?) {
            (Some(code), None) => Outcome::Code(code.into()),
            (None, Some(error)) => Outcome::Refused { error, description: given.error_description.filled() },
            (Some(_), Some(_)) => return Err(ResponseError::ParameterUnexpected("error")),
            (None, None) => return Err(ResponseError::CodeMissing),
        };
        Ok(Self { unverified_state, unverified_iss: given.iss.short("iss")?, unverified_outcome })
    }
}

/// The parameters we know, as they come.
#[derive(Default)]
struct Given {
    state: Parameter,
    code: Parameter,
    iss: Parameter,
    error: Parameter,
    error_description: Parameter,
    error_uri: Parameter,
    session_state: Parameter,
}

impl Given {
    fn take(&mut self, name: &str, value: String) -> Result<(), ResponseError> {
        let (name, parameter) = match name {
            "state" => ("state", &mut self.state),
            "code" => ("code", &mut self.code),
            "iss" => ("iss", &mut self.iss),
            "error" => ("error", &mut self.error),
            "error_description" => ("error_description", &mut self.error_description),
            "error_uri" => ("error_uri", &mut self.error_uri),
            "session_state" => ("session_state", &mut self.session_state),
            _ => return Ok(()),
        };
        match parameter.0.replace(value) {
            None => Ok(()),
            Some(_) => Err(ResponseError::ParameterDoubled(name)),
        }
    }
}

#[derive(Default)]
struct Parameter(Option<String>);

impl Parameter {
    fn filled(self) -> Option<String> {
        self.0.filter(|value| !value.is_empty())
    }

    fn short(self, name: &'static str) -> Result<Option<String>, ResponseError> {
        match self.filled() {
            Some(value) if value.len() > VALUE_MAX => Err(ResponseError::ParameterUnexpected(name)),
            value => Ok(value),
        }
    }
}

impl ResponseError {
    /// What the provider's `error` means, once the state was found good.
    pub fn refused(error: &str, description: Option<&str>) -> Self {
        let description = description.map(|text| cleaned(text, DESCRIPTION_MAX)).filter(|text| !text.is_empty());
        Self::Refused { refusal: Refusal::of(error), error: cleaned(error, ERROR_MAX), description }
    }

    /// The outcome's name, for pages, logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::StateMissing => "state_missing",
            Self::ParameterDoubled(_) => "parameter_doubled",
            Self::ParameterUnexpected(_) => "parameter_unexpected",
            Self::CodeMissing => "code_missing",
            Self::IssuerMissing => "response_issuer_missing",
            Self::Issuer => "response_issuer",
            Self::Refused { refusal, .. } => refusal.code(),
            Self::Provider(error) => error.code(),
        }
    }

    /// The provider's own words: at most 200 characters, no control characters, still to be escaped.
    pub fn description(&self) -> Option<&str> {
        match self {
            Self::Refused { description, .. } => description.as_deref(),
            _ => None,
        }
    }
}

impl Refusal {
    /// RFC 6749, section 4.1.2.1; OpenID Connect Core 3.1.2.6; Auth0's own `unauthorized`.
    fn of(error: &str) -> Self {
        match error {
            "access_denied" => Self::AccessDenied,
            "unauthorized" => Self::UserBlocked,
            "login_required" | "consent_required" | "interaction_required" | "account_selection_required" => {
                Self::SignInRequired
            }
            "unsupported_response_type" | "invalid_scope" | "unauthorized_client" | "invalid_client" => {
                Self::ClientMisconfigured
            }
            "server_error" => Self::ProviderFailed,
            "temporarily_unavailable" => Self::ProviderUnavailable,
            _ => Self::RequestRefused,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::UserBlocked => "user_blocked",
            Self::SignInRequired => "sign_in_required",
            Self::RequestRefused => "request_refused",
            Self::ClientMisconfigured => "client_misconfigured",
            Self::ProviderFailed => "provider_failed",
            Self::ProviderUnavailable => "provider_unavailable",
        }
    }
}

/// At most `max` characters of `text`, none that moves a cursor or turns the direction of writing.
fn cleaned(text: &str, max: usize) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|&c| !c.is_control() && !turns(c)).take(max).collect()
}
