//! `[access]`: who may sign in at all, told by verified e-mail address and by claims.

use super::claims;
use crate::claims::Claims;
use crate::config::AccessSettings;

/// Why `[access]` does not admit somebody. Says which setting, never what a claim holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessRefused {
    /// There is no claim `email`.
    #[error("access.emails or access.email_domains asks for an e-mail address, and there is none")]
    NoEmail,
    /// `email_verified` is not true.
    #[error("the e-mail address is not verified (the claim email_verified is not true)")]
    Unverified,
    /// The address has not exactly one `@` with something on either side.
    #[error("the e-mail address does not have exactly one @")]
    Malformed,
    /// The address is not among those that may.
    #[error("the e-mail address is in neither access.emails nor access.email_domains")]
    OtherEmail,
    /// The condition of this place in the list, from 0, does not hold.
    #[error("access.claims[{0}] does not hold")]
    Claim(usize),
}

/// Whether somebody with these claims may sign in.
///
/// # Errors
/// They may not; the first reason found.
pub fn admits<'a>(access: &AccessSettings, claims: impl Into<Claims<'a>>) -> Result<(), AccessRefused> {
    let claims = claims.into();
    if !(access.emails.is_empty() && access.email_domains.is_empty()) {
        email(access, claims)?;
    }
    match access.claims.iter().position(|condition| !claims::holds(condition, claims)) {
        Some(place) => Err(AccessRefused::Claim(place)),
        None => Ok(()),
    }
}

fn email(access: &AccessSettings, claims: Claims<'_>) -> Result<(), AccessRefused> {
    let email = claims.text("email").ok_or(AccessRefused::NoEmail)?;
    let verified = claims.get("email_verified");
    // Some of Auth0's connections write it as text.
    if !verified.is_some_and(|verified| *verified == true || *verified == "true") {
        return Err(AccessRefused::Unverified);
    }
    let parts = email.split_once('@').filter(|(local, domain)| !local.is_empty() && !domain.contains('@'));
    let (_, domain) = parts.filter(|(_, domain)| !domain.is_empty()).ok_or(AccessRefused::Malformed)?;
    let known = access.emails.iter().any(|known| known.eq_ignore_ascii_case(email))
        || access.email_domains.iter().any(|pattern| pattern.matches(domain));
    if known { Ok(()) } else { Err(AccessRefused::OtherEmail) }
}
