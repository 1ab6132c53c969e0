//! `Authorization: Bearer`, as scripts and services bring it, and the challenges that answer them (RFC 6750, section 3;
//! RFC 9470, section 3). Forward auth and the reverse proxy read and refuse tokens here.
//!
//! At a tenant without an API nobody looks at the header: it is the application's own. At one with an API a token that is
//! no good is refused even where a good session comes with it, and on public paths: whoever sends one means it.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, header};

use super::Problem;
use crate::gateway::{Act, Gateway, Work};
use crate::oidc::{AccessToken, BearerError};
use crate::policy::{Decision, StepUp, Verdict};
use crate::tenant::Tenant;

/// A bearer came that nobody has checked yet.
pub(super) struct Unchecked;

/// Whether the request brings a bearer, whosoever it is for.
pub(super) fn is_there(headers: &HeaderMap) -> bool {
    headers.get_all(header::AUTHORIZATION).iter().any(|value| after_scheme(value.as_bytes()).is_some())
}

/// The access token that the request of a client at `address` brings for this tenant, checked; none if it brings none, or
/// the tenant has no API. One that was good before is not limited.
///
/// # Errors
/// It is no good, or cannot be checked now.
pub async fn token(
    gateway: &Gateway,
    tenant: &Tenant,
    headers: &HeaderMap,
    address: IpAddr,
) -> Result<Option<Arc<AccessToken>>, Problem> {
    let Some(bearer) = &tenant.bearer else { return Ok(None) };
    if !is_there(headers) {
        return Ok(None);
    }
    let refused = |problem: Problem, why: &str| {
        let challenge = format!("{}, error=\"invalid_token\", error_description=\"{}\"", scheme(tenant), quotable(why));
        Err(Problem { challenge: Some(challenge), ..problem })
    };
    let Some(unverified) = unverified(headers) else {
        return refused(Problem::new("bearer_malformed"), "there must be one Authorization header, with one token");
    };
    if let Some(token) = bearer.checked_before(unverified) {
        return Ok(Some(token));
    }
    let limited = |limited| Problem { challenge: Some(scheme(tenant)), ..Problem::from(limited) };
    gateway.may_try(tenant, Act::FailedBearer, address).map_err(limited)?;
    let _pass = gateway.begin(Work::Bearer).await?;
    match bearer.check(unverified).await {
        Ok(token) => Ok(Some(token)),
        Err(BearerError::Token(error)) => {
            gateway.count_failure(tenant, Act::FailedBearer, address);
            let why = error.to_string();
            refused(Problem::new(error.code()).because(error), &why)
        }
        Err(BearerError::Provider(error)) => {
            Err(Problem { retry_after: error.retry_after(), ..Problem::new(error.code()) }.because(error))
        }
    }
}

/// The same, if it was checked before; an error where somebody must look closer.
pub(super) fn token_at_hand(headers: &HeaderMap, tenant: &Tenant) -> Result<Option<Arc<AccessToken>>, Unchecked> {
    match &tenant.bearer {
        Some(bearer) if is_there(headers) => {
            unverified(headers).and_then(|unverified| bearer.checked_before(unverified)).map(Some).ok_or(Unchecked)
        }
        _ => Ok(None),
    }
}

/// The one bearer that the request brings.
fn unverified(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    after_scheme(only.as_bytes()).and_then(|rest| std::str::from_utf8(rest).ok())
}

/// The challenge for somebody who brought nothing; none where the tenant takes no tokens.
pub(super) fn invitation(tenant: &Tenant) -> Option<String> {
    tenant.bearer.as_ref().map(|_| scheme(tenant))
}

/// What to tell the owner of a good token that the policy does not let pass; nothing where another token would not help.
pub fn challenge(tenant: &Tenant, decision: &Decision<'_>) -> Option<String> {
    let mut challenge = scheme(tenant);
    match decision.verdict {
        Verdict::MissingScopes(scopes) => {
            let scopes = quotable(&scopes.join(" "));
            write!(challenge, ", error=\"insufficient_scope\", scope=\"{scopes}\"").ok()?;
        }
        Verdict::StepUp(StepUp { max_age, acr_values }) => {
            challenge.push_str(", error=\"insufficient_user_authentication\"");
            if let Some(seconds) = max_age {
                write!(challenge, ", max_age=\"{seconds}\"").ok()?;
            }
            if let Some(values) = acr_values {
                write!(challenge, ", acr_values=\"{}\"", quotable(values)).ok()?;
            }
        }
        _ => return None,
    }
    Some(challenge)
}

/// The problem of a good token that the policy does not let pass.
pub fn refusal(tenant: &Tenant, decision: &Decision<'_>) -> Problem {
    let code = match decision.verdict {
        Verdict::MissingScopes(_) => "bearer_scope",
        Verdict::StepUp(_) => "bearer_step_up",
        _ => "bearer_denied",
    };
    Problem { challenge: challenge(tenant, decision), ..Problem::new(code) }
}

fn scheme(tenant: &Tenant) -> String {
    format!("Bearer realm=\"{}\"", tenant.id())
}

/// What follows `Bearer` and a blank; the scheme's name has no case (RFC 9110, section 11.1).
fn after_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("Bearer".len())?;
    match rest {
        _ if !scheme.eq_ignore_ascii_case(b"Bearer") => None,
        [] => Some(rest),
        [b' ', token @ ..] => Some(token.trim_ascii()),
        _ => None,
    }
}

/// The characters that `error_description` and `scope` may have between quotes (RFC 6750, section 3).
fn quotable(text: &str) -> String {
    text.chars().filter(|c| matches!(c, ' ' | '!' | '#'..='[' | ']'..='~')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_told_by_its_scheme_in_any_case() {
        for (value, token) in [
            ("Bearer a.b.c", Some("a.b.c")),
            ("bearer a.b.c", Some("a.b.c")),
            ("BEARER  a.b.c ", Some("a.b.c")),
            ("Bearer", Some("")),
            ("Bearer ", Some("")),
            ("Basic YTpi", None),
            ("Bearerish x", None),
            ("", None),
        ] {
            assert_eq!(after_scheme(value.as_bytes()), token.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn nothing_breaks_out_of_a_quoted_text() {
        assert_eq!(quotable("a\"b\\c\r\nd\u{e9} e"), "abcd e");
    }
}
