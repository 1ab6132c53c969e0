//! The checks of an id token, one by one, as OpenID Connect Core 3.1.3.7 numbers them
//! (<https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation>). Signatures are verified by
//! `jsonwebtoken`; nothing else is left to it. Where keys come from is not here.
//!
//! 1. Encrypted tokens are decrypted: we register no key for that, so there are none.
//! 2. `iss` is exactly the issuer that was discovered.
//! 3. `aud` contains our client id, and no audience that is not trusted.
//! 4. With several audiences `azp` is present.
//! 5. `azp`, if present, is our client id.
//! 6. The signature is good, by a key of the issuer. (TLS alone would do; we ask for both.)
//! 7. `alg` is the one agreed upon.
//! 8. A MAC is keyed with the client secret.
//! 9. The present is before `exp`.
//! 10. `iat` is not too far away.
//! 11. `nonce` is the one that was sent.
//! 12. `acr` is appropriate, if one was asked for.
//! 13. `auth_time` is recent, if that was asked for.
//!
//! Steps 6 to 8 go first, so that no claim is looked at before it is verified; then the rest in order.

use std::fmt;

use serde_json::{Map, Value};

use super::jwt::{Claims, JwtError, UnverifiedJwt};
use super::key_set::KeySet;
use crate::clock::Timestamp;
use crate::config::{MULTI_FACTOR, SigningAlg};
use crate::secret::{ExposeSecret, SecretString, base64url, same, sha256, sha512};

/// What the sign-in asked for, to compare the id token with.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// The nonce of the authorization request.
    pub nonce: &'a str,
    /// When the sign-in began.
    pub started_at: Timestamp,
    /// How many seconds ago the user may have signed in at the provider at most.
    pub max_age: Option<i64>,
    /// Whether the user had to sign in at the provider anew.
    pub prompt_login: bool,
    /// The authentication context classes that were asked for, space-separated; one is enough.
    pub acr_values: Option<&'a str>,
    /// The organization that was asked for, by id (`org_…`) or name.
    pub organization: Option<&'a str>,
    /// The organizations whose members may sign in, by id or name; empty: no check.
    pub organizations: &'a [String],
}

impl fmt::Debug for Expected<'_> {
    /// Without the nonce.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("started_at", &self.started_at).finish_non_exhaustive()
    }
}

/// Which check an id token failed.
#[derive(Clone, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum IdTokenError {
    #[error("there is no id token")]
    Missing,
    #[error("id token: {0}")]
    Jwt(#[from] JwtError),
    #[error("the id token is for another audience than this client")]
    Aud,
    #[error("the id token was asked for by another client, or does not say by whom")]
    Azp,
    #[error("the id token has no nonce")]
    NonceMissing,
    #[error("the id token has the nonce of another sign-in")]
    Nonce,
    #[error("the id token belongs to another access token")]
    AtHash,
    #[error("the id token does not say that the user signed in as recently as was asked")]
    AuthTime,
    #[error("the id token does not say that the user signed in in the way that was asked")]
    Acr,
    #[error("the id token is for no organization that was asked for")]
    OrganizationRefused,
    #[error("the refreshed id token does not go on from the one before: another {0}")]
    Changed(&'static str),
    #[error("the id token allows a session until {ended} only, and here it is {now}")]
    SessionExpiryPast { ended: Timestamp, now: Timestamp },
}

impl IdTokenError {
    /// The outcome's name, for pages, logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "id_token_missing",
            Self::Jwt(JwtError::Malformed(_)) => "id_token_malformed",
            Self::Jwt(JwtError::Alg { .. }) => "id_token_alg",
            Self::Jwt(JwtError::KeyUnknown) => "id_token_key_unknown",
            Self::Jwt(JwtError::KeyAmbiguous) => "id_token_key_ambiguous",
            Self::Jwt(JwtError::Signature) => "id_token_signature",
            Self::Jwt(JwtError::IssMissing) => "id_token_iss_missing",
            Self::Jwt(JwtError::Iss { .. }) => "id_token_iss",
            Self::Jwt(JwtError::SubMissing) => "id_token_sub_missing",
            Self::Jwt(JwtError::AudMissing) => "id_token_aud_missing",
            Self::Jwt(JwtError::ExpMissing) => "id_token_exp_missing",
            Self::Jwt(JwtError::Expired { .. }) => "id_token_expired",
            Self::Jwt(JwtError::IatMissing) => "id_token_iat_missing",
            Self::Jwt(JwtError::Iat { .. }) => "id_token_iat",
            Self::Jwt(JwtError::Nbf { .. }) => "id_token_nbf",
            Self::Aud => "id_token_aud",
            Self::Azp => "id_token_azp",
            Self::NonceMissing => "id_token_nonce_missing",
            Self::Nonce => "id_token_nonce",
            Self::AtHash => "id_token_at_hash",
            Self::AuthTime => "id_token_auth_time",
            Self::Acr => "id_token_acr",
            Self::OrganizationRefused => "organization_refused",
            Self::Changed(_) => "id_token_changed",
            Self::SessionExpiryPast { .. } => "session_expiry_past",
        }
    }
}

/// Takes an id token apart.
///
/// # Errors
/// There is none, or it is no signed token.
pub(super) fn unverified(token: &str) -> Result<UnverifiedJwt<'_>, IdTokenError> {
    if token.is_empty() {
        return Err(IdTokenError::Missing);
    }
    let unverified = UnverifiedJwt::parse(token)?;
    // RFC 8725, section 3.11: a token that says it is of another kind, such as a logout token, is no id token.
    match unverified.typ() {
        Some(typ) if !typ.eq_ignore_ascii_case("JWT") => {
            Err(JwtError::Malformed("its header has another typ than JWT").into())
        }
        _ => Ok(unverified),
    }
}

/// The claims of an id token that was verified when it came.
pub(super) fn claims_again(token: &str) -> Option<Map<String, Value>> {
    let mut claims = unverified(token).ok()?.claims_again()?;
    claims.normalise();
    Some(claims.0)
}

/// What an id token is compared with.
pub(super) struct Checks<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    /// The one algorithm.
    pub(super) alg: SigningAlg,
    /// The key of HS256.
    pub(super) client_secret: Option<&'a SecretString>,
    /// Seconds by which clocks may differ.
    pub(super) leeway: i64,
    /// Seconds that the token may be old.
    pub(super) id_token_max_age: i64,
    pub(super) now: Timestamp,
    pub(super) expected: &'a Expected<'a>,
    /// What came with it, for `at_hash`.
    pub(super) access_token: Option<&'a SecretString>,
}

/// The claims of an id token that passed every check.
pub(super) struct VerifiedClaims {
    pub(super) claims: Map<String, Value>,
    pub(super) sub: String,
    pub(super) sid: Option<String>,
    /// A ceiling for the session, in the future.
    pub(super) session_expiry: Option<Timestamp>,
}

/// Checks an id token; no claim leaves before every check has passed.
///
/// # Errors
/// The first check that failed.
pub(super) fn check(
    unverified: UnverifiedJwt<'_>,
    keys: &KeySet,
    checks: &Checks<'_>,
) -> Result<VerifiedClaims, IdTokenError> {
    checked(unverified, keys, checks, |claims| {
        checks.nonce(claims)?;
        checks.acr(claims)?;
        checks.auth_time(claims)
    })
}

/// Checks an id token that came with a refresh (OpenID Connect Core, section 12.2): all but what belongs to an
/// authorization request, and that it goes on from `before`, the claims so far.
///
/// # Errors
/// The first check that failed.
pub(super) fn check_refreshed(
    unverified: UnverifiedJwt<'_>,
    keys: &KeySet,
    checks: &Checks<'_>,
    before: &Map<String, Value>,
) -> Result<VerifiedClaims, IdTokenError> {
    checked(unverified, keys, checks, |claims| checks.continuity(claims, &Claims(before.clone())))
}

/// All checks, those of `occasion` in their place.
fn checked(
    unverified: UnverifiedJwt<'_>,
    keys: &KeySet,
    checks: &Checks<'_>,
    occasion: impl FnOnce(&Claims) -> Result<(), IdTokenError>,
) -> Result<VerifiedClaims, IdTokenError> {
    let mut claims = checks.signature(unverified, keys)?;
    claims.check_issuer(checks.issuer)?;
    let sub = claims.subject()?;
    checks.audience(&claims)?;
    checks.times(&claims)?;
    occasion(&claims)?;
    checks.at_hash(&claims)?;
    checks.organization(&claims)?;
    let session_expiry = checks.session_expiry(&claims)?;
    let sid = claims.text("sid")?.map(str::to_owned);
    claims.normalise();
    Ok(VerifiedClaims { claims: claims.0, sub, sid, session_expiry })
}

impl Checks<'_> {
    /// 6, 7 and 8: the claims, if the signature is good.
    fn signature(&self, unverified: UnverifiedJwt<'_>, keys: &KeySet) -> Result<Claims, IdTokenError> {
        Ok(unverified.verify_with(keys, self.client_secret, self.alg)?)
    }

    /// `iss` and `sub` are the same, `aud` holds at least the same, `iat` is not before; `azp`, `auth_time` and `nonce`
    /// are the same if they are there (section 12.2).
    fn continuity(&self, claims: &Claims, before: &Claims) -> Result<(), IdTokenError> {
        for claim in ["iss", "sub"] {
            if claims.text(claim)? != before.text(claim)? {
                return Err(IdTokenError::Changed(claim));
            }
        }
        for claim in ["azp", "auth_time", "nonce"] {
            if let (Some(now), Some(then)) = (claims.get(claim), before.get(claim))
                && now != then
            {
                return Err(IdTokenError::Changed(claim));
            }
        }
        let audiences = claims.texts("aud")?.unwrap_or_default();
        if !before.texts("aud")?.unwrap_or_default().iter().all(|audience| audiences.contains(audience)) {
            return Err(IdTokenError::Changed("aud"));
        }
        match (claims.date("iat")?, before.date("iat")?) {
            (Some(now), Some(then)) if now.plus(self.leeway) < then => Err(IdTokenError::Changed("iat")),
            _ => Ok(()),
        }
    }

    /// 3. `aud` contains our client id; others are trusted only if the token was made for us (`azp`).
    /// 4. With several audiences `azp` is present. 5. If present, it is our client id.
    fn audience(&self, claims: &Claims) -> Result<(), IdTokenError> {
        let audiences = claims.audiences()?;
        if !audiences.contains(&self.client_id) {
            return Err(IdTokenError::Aud);
        }
        match claims.text("azp")? {
            Some(azp) if azp == self.client_id => Ok(()),
            None if audiences.len() == 1 => Ok(()),
            _ => Err(IdTokenError::Azp),
        }
    }

    /// 9. The present is before `exp`. 10. `iat` is neither in the future nor long past. Besides, `nbf`, if present, is
    ///    reached (RFC 7519, section 4.1.5).
    fn times(&self, claims: &Claims) -> Result<(), IdTokenError> {
        claims.check_exp(self.now, self.leeway)?;
        claims.check_iat(self.now, self.leeway, self.id_token_max_age)?;
        Ok(claims.check_nbf(self.now, self.leeway)?)
    }

    /// 11. `nonce` is the one that was sent.
    fn nonce(&self, claims: &Claims) -> Result<(), IdTokenError> {
        let nonce = claims.text("nonce")?.ok_or(IdTokenError::NonceMissing)?;
        if same(nonce.as_bytes(), self.expected.nonce.as_bytes()) { Ok(()) } else { Err(IdTokenError::Nonce) }
    }

    /// 12. `acr` is one of those that were asked for; Auth0 answers the demand for a second factor in `amr`.
    fn acr(&self, claims: &Claims) -> Result<(), IdTokenError> {
        let mut asked = self.expected.acr_values.unwrap_or_default().split_ascii_whitespace().peekable();
        if asked.peek().is_none() {
            return Ok(());
        }
        let acr = claims.text("acr")?;
        let mfa = claims.texts("amr")?.is_some_and(|amr| amr.contains(&"mfa"));
        let met = asked.any(|value| acr == Some(value) || (value == MULTI_FACTOR && mfa));
        if met { Ok(()) } else { Err(IdTokenError::Acr) }
    }

    /// 13. `auth_time` is recent, if `max_age` or `prompt=login` asked for that.
    fn auth_time(&self, claims: &Claims) -> Result<(), IdTokenError> {
        let Expected { max_age, prompt_login, started_at, .. } = *self.expected;
        if max_age.is_none() && !prompt_login {
            return Ok(());
        }
        let auth_time = claims.date("auth_time")?.ok_or(IdTokenError::AuthTime)?;
        let recent = max_age.is_none_or(|max_age| auth_time.plus(max_age).plus(self.leeway) >= self.now);
        let anew = !prompt_login || auth_time >= started_at.plus(-self.leeway);
        if recent && anew { Ok(()) } else { Err(IdTokenError::AuthTime) }
    }

    /// `at_hash`, if present, is the left half of the access token's hash (OpenID Connect Core 3.1.3.8). The hash is
    /// the algorithm's own: SHA-256, or for Ed25519 SHA-512.
    fn at_hash(&self, claims: &Claims) -> Result<(), IdTokenError> {
        let (Some(at_hash), Some(access_token)) = (claims.text("at_hash")?, self.access_token) else {
            return Ok(());
        };
        let access_token = access_token.expose_secret().as_bytes();
        let ours = match self.alg {
            SigningAlg::EdDsa => base64url(&sha512(access_token)[..32]),
            _ => base64url(&sha256(access_token)[..16]),
        };
        if same(at_hash.as_bytes(), ours.as_bytes()) { Ok(()) } else { Err(IdTokenError::AtHash) }
    }

    /// The organization that was asked for, and one of those that may sign in, as Auth0's SDKs compare them.
    fn organization(&self, claims: &Claims) -> Result<(), IdTokenError> {
        let Expected { organization, organizations, .. } = *self.expected;
        if organization.is_none() && organizations.is_empty() {
            return Ok(());
        }
        let asked = organization.is_none() || claims.is_of_organization(organization.into_iter())?;
        let listed = organizations.is_empty() || claims.is_of_organization(organizations.iter().map(String::as_str))?;
        if asked && listed { Ok(()) } else { Err(IdTokenError::OrganizationRefused) }
    }

    /// `session_expiry`, if present, is in the future (IPSIE session lifetime).
    fn session_expiry(&self, claims: &Claims) -> Result<Option<Timestamp>, IdTokenError> {
        match claims.date("session_expiry")? {
            Some(ended) if ended <= self.now => Err(IdTokenError::SessionExpiryPast { ended, now: self.now }),
            ceiling => Ok(ceiling),
        }
    }
}

#[cfg(test)]
mod tests;
