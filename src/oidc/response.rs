//! What the browser brings to the callback: the authorization response (OpenID Connect Core 3.1.2.5 and 3.1.2.6,
//! RFC 9207), read strictly and believed by nobody yet. Comparing state and issuer is the caller's.

use std::fmt;
use std::time::Duration;

use url::form_urlencoded;

use super::ProviderError;
use super::error::RETRY_AFTER;
use crate::secret::SecretString;

/// Bytes of `state`; ours is far shorter.
const STATE_MAX: usize = 512;
/// Bytes of any other value that is used.
const VALUE_MAX: usize = 8 * 1024;
/// What answers to other requests than ours carry: the implicit and hybrid flows, and JARM.
const OF_OTHER_FLOWS: [&str; 4] = ["access_token", "id_token", "response", "token"];
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
    /// A code and an error at once, an overlong value, or something that no code flow sends.
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
        if let Some(foreign) = OF_OTHER_FLOWS.into_iter().find(|foreign| *foreign == name) {
            return Err(ResponseError::ParameterUnexpected(foreign));
        }
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

    /// How long to wait before another try; `None` where waiting does not help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Provider(error) => error.retry_after(),
            Self::Refused { refusal: Refusal::ProviderFailed | Refusal::ProviderUnavailable, .. } => Some(RETRY_AFTER),
            _ => None,
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

/// At most `max` characters of `text`, none that moves a cursor, ends a line or turns the direction of writing.
fn cleaned(text: &str, max: usize) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|&c| !c.is_control() && !turns(c)).take(max).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::ExposeSecret as _;

    #[track_caller]
    fn refused(query: &str, code: &str) {
        assert_eq!(AuthorizationResponse::parse(query).unwrap_err().code(), code, "{query}");
    }

    #[test]
    fn a_code_is_read_and_what_is_not_known_ignored() {
        let query = "code=a%2Bb+c&state=s&iss=https%3A%2F%2Fop.example%2F&session_state=x&scope=a&scope=b";
        let response = AuthorizationResponse::parse(query).unwrap();
        assert_eq!(response.unverified_state, "s");
        assert_eq!(response.unverified_iss.as_deref(), Some("https://op.example/"));
        assert!(matches!(response.unverified_outcome, Outcome::Code(code) if code.expose_secret() == "a+b c"));
    }

    #[test]
    fn an_error_is_read_with_its_description() {
        let response = AuthorizationResponse::parse("error=access_denied&error_description=no+way&state=s").unwrap();
        let said = format!("{:?}", response.unverified_outcome);
        assert_eq!(said, r#"Refused { error: "access_denied", description: Some("no way") }"#);
    }

    #[test]
    fn a_response_without_state_is_refused() {
        refused("", "state_missing");
        refused("code=c", "state_missing");
        refused("code=c&state=", "state_missing");
        refused("error=access_denied", "state_missing");
        refused(&format!("code=c&state={}", "s".repeat(STATE_MAX + 1)), "state_missing");
    }

    #[test]
    fn a_parameter_given_twice_is_refused_even_if_the_values_agree() {
        for name in ["state", "code", "iss", "error", "error_description", "error_uri", "session_state"] {
            refused(&format!("state=s&code=c&{name}=x&{name}=x"), "parameter_doubled");
            refused(&format!("{name}=&{name}=x&state=s&code=c"), "parameter_doubled");
        }
        refused("state=s&code=c&c%6fde=c", "parameter_doubled");
    }

    #[test]
    fn code_and_error_exclude_one_another() {
        refused("state=s&code=c&error=access_denied", "parameter_unexpected");
        refused("state=s", "code_missing");
        refused("state=s&code=&error=", "code_missing");
        refused("state=s&error_description=only", "code_missing");
    }

    #[test]
    fn what_no_code_flow_sends_is_refused() {
        for name in ["response", "id_token", "token", "access_token"] {
            refused(&format!("state=s&code=c&{name}=x"), "parameter_unexpected");
        }
    }

    #[test]
    fn an_overlong_value_is_refused() {
        let long = "x".repeat(VALUE_MAX + 1);
        refused(&format!("state=s&code={long}"), "parameter_unexpected");
        refused(&format!("state=s&error={long}"), "parameter_unexpected");
        refused(&format!("state=s&code=c&iss={long}"), "parameter_unexpected");
        assert!(AuthorizationResponse::parse(&format!("state=s&code={}", &long[1..])).is_ok());
    }

    #[test]
    fn every_error_of_a_provider_has_its_outcome() {
        for (error, code) in [
            ("access_denied", "access_denied"),
            ("unauthorized", "user_blocked"),
            ("login_required", "sign_in_required"),
            ("consent_required", "sign_in_required"),
            ("interaction_required", "sign_in_required"),
            ("account_selection_required", "sign_in_required"),
            ("invalid_request", "request_refused"),
            ("invalid_target", "request_refused"),
            ("something_new", "request_refused"),
            ("Access_Denied", "request_refused"),
            ("unsupported_response_type", "client_misconfigured"),
            ("invalid_scope", "client_misconfigured"),
            ("unauthorized_client", "client_misconfigured"),
            ("invalid_client", "client_misconfigured"),
            ("server_error", "provider_failed"),
            ("temporarily_unavailable", "provider_unavailable"),
        ] {
            assert_eq!(ResponseError::refused(error, None).code(), code, "{error}");
        }
    }

    #[test]
    fn a_description_is_cut_and_cannot_break_a_line() {
        let description =
            |text: &str| ResponseError::refused("access_denied", Some(text)).description().map(str::to_owned);
        assert_eq!(description("a\r\n\u{2028}b\u{1b}[31m\u{202e}c\u{85}").as_deref(), Some("ab[31mc"));
        assert_eq!(description(&"é".repeat(300)), Some("é".repeat(200)));
        assert_eq!(description("\n"), None);
        assert_eq!(ResponseError::refused("x", None).description(), None);
        assert_eq!(ResponseError::CodeMissing.description(), None);
        assert!(!ResponseError::refused("bad\nline", None).to_string().contains('\n'));
    }

    #[test]
    fn a_response_prints_neither_code_nor_state() {
        let response = AuthorizationResponse::parse("code=the-code&state=the-state").unwrap();
        let printed = format!("{response:?}");
        assert!(!printed.contains("the-code") && !printed.contains("the-state"), "{printed}");
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused_without_a_panic(query in any::<String>(), values in "[a-z=&%0-9+]{0,200}") {
            let _ = AuthorizationResponse::parse(&query);
            if let Ok(response) = AuthorizationResponse::parse(&values) {
                prop_assert!(!response.unverified_state.is_empty());
            }
        }
    }
}
