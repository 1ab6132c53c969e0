//! Failures as people and scripts see them: the one place where an error code meets a status and a text.

use std::error::Error;
use std::time::Duration;

use http::StatusCode;

use crate::audit::{Event, Kind, Unwritten};
use crate::error_chain::chain;
use crate::flow::callback::CallbackError;
use crate::flow::local_sign_in::LocalSignInError;
use crate::flow::sign_in::SignInError;
use crate::gateway::Limited;
use crate::gateway::renewals::RenewalError;
use crate::local::LocalError;
use crate::pages::ErrorText;
use crate::session::StoreError;
use crate::turnstile::Overloaded;

/// When to ask again while the session store is in trouble.
const STORE_RETRY: Duration = Duration::from_secs(5);
/// When to ask again while there is too much to do.
const OVERLOAD_RETRY: Duration = Duration::from_secs(2);

/// A failure on its way to the client.
#[derive(Debug)]
pub struct Problem {
    /// The error's code, the same in page, JSON, log and metric.
    pub code: &'static str,
    /// What exactly is wrong, in our words; shown escaped.
    pub detail: Option<String>,
    /// What the provider said; shown escaped, and as the provider's.
    pub provider_said: Option<String>,
    /// When it may be better.
    pub retry_after: Option<Duration>,
    /// The methods that are allowed, if another was used.
    pub allow: Option<&'static str>,
    /// The `WWW-Authenticate` that belongs to it, if it is not that of a session.
    pub challenge: Option<String>,
    /// What an operator wants to know; never shown.
    pub cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Problem {
    /// The problem of this code.
    pub const fn new(code: &'static str) -> Self {
        Self { code, detail: None, provider_said: None, retry_after: None, allow: None, challenge: None, cause: None }
    }

    /// No such page.
    pub const fn not_found() -> Self {
        Self::new("not_found")
    }

    /// The page exists, the method does not.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::new("method_not_allowed") }
    }

    /// With the reason, for the log.
    #[must_use]
    pub fn because(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// With more for the person.
    #[must_use]
    pub fn detailed(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// Whether there is too much to do to say more than that.
    pub(super) fn is_of_overload(&self) -> bool {
        self.code == "overloaded"
    }

    /// Its status and what its page says.
    pub fn presentation(&self) -> (StatusCode, ErrorText) {
        presentation(self.code)
    }

    /// What the audit log is told of it: of requests that are refused before anybody's policy is asked. Sign-ins and
    /// what a policy decides tell of themselves.
    pub(super) fn event(&self) -> Option<Event> {
        let kind = match self.code {
            "forward_auth_refused" => Kind::AccessDenied,
            "csrf_refused" | "origin_refused" | "cross_site_refused" | "form_foreign" | "form_expired" => {
                Kind::CsrfRejected
            }
            "local_limited" | "renewals_limited" => Kind::RateLimited,
            // Limits tell of themselves, now and then.
            "bearer_scope" | "bearer_denied" | "bearer_step_up" | "bearer_limited" => return None,
            code if code.starts_with("bearer_") => {
                return Some(Event::new(Kind::TokenRejected).token("bearer").reason(code));
            }
            _ => return None,
        };
        Some(Event::new(kind).reason(self.code))
    }

    /// The whole chain of causes, in a line, if there is one.
    pub(super) fn chain(&self) -> Option<String> {
        let text = chain(self.cause.as_deref()?);
        (!text.is_empty()).then_some(text)
    }
}

/// What each code means to HTTP and to a person. Codes of failed id-token checks share one line.
fn presentation(code: &str) -> (StatusCode, ErrorText) {
    use ErrorText as Text;
    use StatusCode as Status;
    match code {
        "access_denied" => (Status::FORBIDDEN, Text::AccessDenied),
        "user_blocked" => (Status::FORBIDDEN, Text::UserBlocked),
        "access_refused" => (Status::FORBIDDEN, Text::AccessRefused),
        "organization_refused" => (Status::FORBIDDEN, Text::OrganizationRefused),
        "forward_auth_refused" => (Status::FORBIDDEN, Text::Misconfigured),
        "sign_in_required" | "not_signed_in" | "step_up_required" | "local_refused" | "token_unavailable"
        | "refresh_refused" => (Status::UNAUTHORIZED, Text::SignInRequired),
        "request_refused" => (Status::BAD_REQUEST, Text::RequestRefused),
        "client_misconfigured" | "client_refused" | "provider_changed" => {
            (Status::INTERNAL_SERVER_ERROR, Text::Misconfigured)
        }
        "provider_unreachable" | "provider_slow" | "provider_failed" | "provider_limited" | "provider_unavailable" => {
            (Status::SERVICE_UNAVAILABLE, Text::ProviderTrouble)
        }
        "provider_answer_malformed"
        | "token_answer_malformed"
        | "discovery_issuer"
        | "discovery_unsupported"
        | "provider_address_refused"
        | "userinfo_unavailable" => (Status::BAD_GATEWAY, Text::ProviderTrouble),
        "userinfo_sub" | "response_issuer" | "response_issuer_missing" | "session_expiry_past" => {
            (Status::BAD_GATEWAY, Text::ProviderUntrusted)
        }
        "local_limited" | "rate_limited" => (Status::TOO_MANY_REQUESTS, Text::TooManyTries),
        "local_busy" => (Status::SERVICE_UNAVAILABLE, Text::Unavailable),
        "form_foreign" => (Status::FORBIDDEN, Text::FormExpired),
        "form_expired" => (Status::BAD_REQUEST, Text::FormExpired),
        "bearer_scope" | "bearer_denied" => (Status::FORBIDDEN, Text::TokenRefused),
        _ if code.starts_with("bearer_") => (Status::UNAUTHORIZED, Text::TokenRefused),
        _ if code.starts_with("id_token_") => (Status::BAD_GATEWAY, Text::ProviderUntrusted),
        "state_missing"
        | "state_foreign"
        | "parameter_doubled"
        | "parameter_unexpected"
        | "code_missing"
        | "code_refused"
        | "sign_in_used" => (Status::BAD_REQUEST, Text::LinkBroken),
        "sign_in_expired" => (Status::BAD_REQUEST, Text::SignInExpired),
        "cookie_missing" => (Status::BAD_REQUEST, Text::CookieMissing),
        "cookie_not_returned" => (Status::BAD_REQUEST, Text::CookieNotReturned),
        "bad_parameter"
        | "return_to_refused"
        | "issuer_not_ours"
        | "audience_unknown"
        | "bad_forwarded_header"
        | "form_expected"
        | "path_refused"
        | "body_cut" => (Status::BAD_REQUEST, Text::BadRequest),
        "cross_site_refused" => (Status::FORBIDDEN, Text::BadRequest),
        "body_too_large" => (Status::PAYLOAD_TOO_LARGE, Text::TooLarge),
        "not_found" => (Status::NOT_FOUND, Text::NotFound),
        "method_not_allowed" => (Status::METHOD_NOT_ALLOWED, Text::MethodNotAllowed),
        "csrf_refused" | "origin_refused" => (Status::FORBIDDEN, Text::ForeignRequest),
        "upstream_unreachable" | "upstream_failed" => (Status::BAD_GATEWAY, Text::UpstreamTrouble),
        "upstream_slow" => (Status::GATEWAY_TIMEOUT, Text::UpstreamTrouble),
        "misdirected" => (Status::MISDIRECTED_REQUEST, Text::Misdirected),
        "store_unavailable" | "renewals_limited" | "audit_unavailable" | "overloaded" => {
            (Status::SERVICE_UNAVAILABLE, Text::Unavailable)
        }
        _ => (Status::INTERNAL_SERVER_ERROR, Text::Internal),
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        let detail = match &error {
            SignInError::Provider(_) => None,
            said => Some(said.to_string()),
        };
        let retry_after = if let SignInError::Provider(provider) = &error { provider.retry_after() } else { None };
        Self { detail, retry_after, ..Self::new(error.code()) }.because(error)
    }
}

impl From<CallbackError> for Problem {
    fn from(error: CallbackError) -> Self {
        let provider_said = match &error {
            CallbackError::Response(response) => response.description().map(str::to_owned),
            _ => None,
        };
        let retry_after = match &error {
            CallbackError::Redeem(redeem) => redeem.retry_after(),
            CallbackError::Response(response) => response.retry_after(),
            CallbackError::Store(_) => Some(STORE_RETRY),
            _ => None,
        };
        Self { provider_said, retry_after, ..Self::new(error.code()) }.because(error)
    }
}

impl From<LocalSignInError> for Problem {
    fn from(error: LocalSignInError) -> Self {
        let detail = match &error {
            LocalSignInError::ReturnTo(said) => Some(format!("return_to {said}")),
            _ => None,
        };
        let retry_after = match &error {
            LocalSignInError::Local(LocalError::Limited { retry_after, .. }) => Some(*retry_after),
            LocalSignInError::Local(LocalError::Busy) | LocalSignInError::Store(_) => Some(STORE_RETRY),
            _ => None,
        };
        Self { detail, retry_after, ..Self::new(error.code()) }.because(error)
    }
}

impl From<RenewalError> for Problem {
    fn from(error: RenewalError) -> Self {
        Self { retry_after: error.retry_after(), ..Self::new(error.code()) }.because(error)
    }
}

impl From<Unwritten> for Problem {
    fn from(error: Unwritten) -> Self {
        Self { retry_after: Some(STORE_RETRY), ..Self::new("audit_unavailable") }.because(error)
    }
}

impl From<Limited> for Problem {
    fn from(error: Limited) -> Self {
        Self { retry_after: Some(error.retry_after), ..Self::new("rate_limited") }.because(error)
    }
}

impl From<Overloaded> for Problem {
    fn from(error: Overloaded) -> Self {
        Self { retry_after: Some(OVERLOAD_RETRY), ..Self::new("overloaded") }.because(error)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::Overloaded(overloaded) = error {
            return overloaded.into();
        }
        Self { retry_after: Some(STORE_RETRY), ..Self::new("store_unavailable") }.because(error)
    }
}
