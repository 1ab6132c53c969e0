//! The checks of an access token that somebody brings as a bearer, one by one, as RFC 9068, section 4, orders them
//! (<https://www.rfc-editor.org/rfc/rfc9068#section-4>), and of the form that Auth0 gives its tokens by default. Where
//! keys come from and what is remembered is in `bearer`.
//!
//! 1. `typ` is `at+jwt` or `application/at+jwt`. Auth0 and others write `JWT` or nothing: what then looks like a token
//!    of another kind is refused by its claims.
//! 2. Encrypted tokens are decrypted: we register no key for that, so there are none.
//! 3. `iss` is exactly the issuer that was discovered.
//! 4. `aud` names an API of ours.
//! 5. The signature is good, by a key of the issuer and the one algorithm agreed upon; `none` never is.
//! 6. The present is before `exp`.
//!
//! Step 5 goes before the claims, so that none is looked at before it is verified. Besides: `sub` and `iat` are there
//! (section 2.2), `nbf` is reached (RFC 7519, section 4.1.5), the token is bound to no key that we do not see (RFC 8705,
//! RFC 9449), and it is of an organization of the tenant.

use std::fmt;

use serde_json::{Map, Value};

use super::jwt::{Claims, JwtError, UnverifiedJwt};
use super::key_set::KeySet;
use crate::clock::Timestamp;
use crate::config::SigningAlg;
use crate::secret::SecretString;

/// Claims of an id token or a logout token that no access token has (OpenID Connect Core, section 2 and 3.3.2.11;
/// Back-Channel Logout, section 2.4).
const FOREIGN_CLAIMS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "events"];

/// An access token that passed every check.
pub struct AccessToken {
    /// The token as it came.
    pub text: SecretString,
    /// Who it is about: a user, or the client itself.
    pub sub: String,
    /// All its claims.
    pub claims: Map<String, Value>,
    /// The scopes (`scope`, `scp`) and permissions (`permissions`) that were granted, parted by blanks.
    pub scope: String,
    /// From when on it counts no more, the leeway included.
    pub ends_at: Timestamp,
}

impl fmt::Debug for AccessToken {
    /// Without the claims.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("scope", &self.scope)
            .field("ends_at", &self.ends_at)
            .finish_non_exhaustive()
    }
}

/// Which check an access token failed.
#[derive(Debug, thiserror::Error)]
pub enum AccessTokenError {
    /// One that all tokens pass.
    #[error(transparent)]
    Jwt(#[from] JwtError),
    /// Its header says that it is something else.
    #[error("the token's header says that it is no access token")]
    Typ,
    /// It is an id token, or another that a client gets for itself.
    #[error("the token is of another kind, such as an id token")]
    Foreign,
    /// It is for another API.
    #[error("the token is for another audience")]
    Aud,
    /// Only the owner of a key may use it (`cnf`), which a bearer does not show.
    #[error("the token is bound to a key")]
    Bound,
    /// It is of no organization of the tenant.
    #[error("the token is of no organization of this tenant")]
    Organization,
}

impl AccessTokenError {
    /// The outcome's name, for answers, logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Jwt(JwtError::Malformed(_)) => "bearer_malformed",
            Self::Jwt(JwtError::Alg { .. }) => "bearer_alg",
            Self::Jwt(JwtError::KeyUnknown | JwtError::KeyAmbiguous) => "bearer_key_unknown",
            Self::Jwt(JwtError::Signature) => "bearer_signature",
            Self::Jwt(JwtError::IssMissing | JwtError::Iss { .. }) => "bearer_iss",
            Self::Jwt(JwtError::SubMissing) => "bearer_sub",
            Self::Jwt(JwtError::AudMissing) | Self::Aud => "bearer_aud",
            Self::Jwt(JwtError::ExpMissing | JwtError::Expired { .. }) => "bearer_expired",
            Self::Jwt(JwtError::IatMissing | JwtError::Iat { .. }) => "bearer_iat",
            Self::Jwt(JwtError::Nbf { .. }) => "bearer_nbf",
            Self::Typ => "bearer_typ",
            Self::Foreign => "bearer_foreign",
            Self::Bound => "bearer_bound",
            Self::Organization => "bearer_organization",
        }
    }
}

/// What an access token is compared with.
pub(super) struct Checks<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    /// The APIs that we stand in front of.
    pub(super) audiences: &'a [String],
    /// The one algorithm.
    pub(super) alg: SigningAlg,
    /// The organizations whose tokens count, by id or name; empty: no check.
    pub(super) organizations: &'a [String],
    /// Seconds by which clocks may differ.
    pub(super) leeway: i64,
    pub(super) now: Timestamp,
}

/// What the header alone rules out, so that no key need be asked for: 1, and the algorithm of 5.
///
/// # Errors
/// It is no access token, or none that we could verify.
pub(super) fn check_header(unverified: &UnverifiedJwt<'_>, alg: SigningAlg) -> Result<(), AccessTokenError> {
    let known = unverified.typ().is_none_or(|typ| is_explicit(typ) || typ.eq_ignore_ascii_case("JWT"));
    if !known {
        return Err(AccessTokenError::Typ);
    }
    Ok(unverified.check_alg(alg)?)
}

/// Media types know no case (RFC 7515, section 4.1.9).
fn is_explicit(typ: &str) -> bool {
    ["at+jwt", "application/at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known))
}

/// Checks an access token, that is `text` taken apart; no claim leaves before every check has passed.
///
/// # Errors
/// The first check that failed.
pub(super) fn check(
    text: &str,
    unverified: UnverifiedJwt<'_>,
    keys: &KeySet,
    checks: &Checks<'_>,
) -> Result<AccessToken, AccessTokenError> {
    check_header(&unverified, checks.alg)?;
    let explicit = unverified.typ().is_some_and(is_explicit);
    let key = keys.key_of(&unverified, checks.alg)?;
    let mut claims = unverified.verify(key, checks.alg)?;
    if !explicit {
        checks.kind(&claims)?;
    }
    claims.check_issuer(checks.issuer)?;
    checks.audience(&claims)?;
    let exp = claims.check_exp(checks.now, checks.leeway)?;
    let sub = claims.subject()?;
    claims.check_iat(checks.now, checks.leeway, i64::MAX)?;
    claims.check_nbf(checks.now, checks.leeway)?;
    if claims.get("cnf").is_some() {
        return Err(AccessTokenError::Bound);
    }
    if !checks.organizations.is_empty()
        && !claims.is_of_organization(checks.organizations.iter().map(String::as_str))?
    {
        return Err(AccessTokenError::Organization);
    }
    let scope = granted(&claims)?;
    claims.normalise();
    Ok(AccessToken { text: text.into(), sub, claims: claims.0, scope, ends_at: exp.plus(checks.leeway) })
}

impl Checks<'_> {
    /// 1. A token whose header does not say what it is: an id token is for our client, or has claims of its own.
    ///    Keycloak says the kind in a claim `typ`.
    fn kind(&self, claims: &Claims) -> Result<(), AccessTokenError> {
        let for_us = claims.audiences()?.contains(&self.client_id);
        let other = claims.text("typ")?.is_some_and(|typ| !typ.eq_ignore_ascii_case("Bearer"));
        let foreign = FOREIGN_CLAIMS.iter().any(|claim| claims.get(claim).is_some());
        if for_us || other || foreign { Err(AccessTokenError::Foreign) } else { Ok(()) }
    }

    /// 4. `aud` names an API of ours.
    fn audience(&self, claims: &Claims) -> Result<(), AccessTokenError> {
        let ours = claims.audiences()?.iter().any(|audience| self.audiences.iter().any(|own| own == audience));
        if ours { Ok(()) } else { Err(AccessTokenError::Aud) }
    }
}

/// `scope` (RFC 8693, section 4.2); `scp`, which is Entra ID's text and Okta's list; Auth0's `permissions`.
fn granted(claims: &Claims) -> Result<String, AccessTokenError> {
    let scopes = claims.text("scope")?.unwrap_or_default().split_ascii_whitespace();
    let listed = match claims.get("scp") {
        Some(Value::String(words)) => words.split_ascii_whitespace().collect(),
        _ => claims.texts("scp")?.unwrap_or_default(),
    };
    let permissions = claims.texts("permissions")?.unwrap_or_default();
    let mut all: Vec<&str> = scopes.collect();
    for one in listed.into_iter().chain(permissions) {
        // What has a blank in it would count as two.
        if !one.contains(char::is_whitespace) && !all.contains(&one) {
            all.push(one);
        }
    }
    Ok(all.join(" "))
}
