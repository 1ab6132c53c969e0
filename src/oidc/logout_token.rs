//! The checks of a logout token, one by one, as OpenID Connect Back-Channel Logout 1.0, section 2.6, numbers them
//! (<https://openid.net/specs/openid-connect-backchannel-1_0.html#Validation>). What a logout token ends is not here.
//!
//! 1. Encrypted tokens are decrypted: we register no key for that, so there are none.
//! 2. The signature is good, as that of an id token.
//! 3. `alg` is the one agreed upon for id tokens, and never `none`.
//! 4. `iss`, `aud`, `iat` and `exp` are those of an id token.
//! 5. There is a `sub`, a `sid`, or both.
//! 6. `events` is an object with the member of back-channel logout, an object itself (section 2.4).
//! 7. There is no `nonce`: an id token is no logout token.
//! 8. No token of the same `jti` was received lately; the caller keeps them, see [`LogoutToken::accepted_until`].
//!
//! Steps 9 to 11, that issuer, subject and session are those of a session here, are what a caller looks sessions up by:
//! one that is not found has ended already (section 2.7).
//!
//! Besides, `typ` is `logout+jwt` (section 2.4), or as Auth0 writes it `JWT`, or absent: an access token (`at+jwt`) is no
//! logout token either. Providers built after drafts of the specification leave `exp` out; `iat` then bounds the time.

use serde_json::Value;

use super::jwt::{Claims, JwtError, UnverifiedJwt};
use super::key_set::KeySet;
use super::{Provider, ProviderError};
use crate::clock::Timestamp;
use crate::config::SigningAlg;
use crate::secret::SecretString;

/// The member of `events` that makes a token a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Characters of `sid` and `jti`.
const ID_MAX: usize = 512;

/// Why a logout token does not count.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum LogoutTokenError {
    #[error("logout token: {0}")]
    Jwt(#[from] JwtError),
    #[error("the token is of another type than a logout token: {0:?}")]
    Typ(String),
    #[error("the logout token is for another audience than this client, or for others as well")]
    Aud,
    #[error("the logout token has neither sub nor sid")]
    Subject,
    #[error("the logout token has no events, or not that of a back-channel logout")]
    Events,
    #[error("the logout token has a nonce, as an id token has")]
    Nonce,
    #[error("the logout token has no jti")]
    JtiMissing,
    /// Whether it is good is not known.
    #[error("the provider's keys cannot be had")]
    Provider(#[from] ProviderError),
}

impl LogoutTokenError {
    /// The outcome's name, for answers, logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Jwt(JwtError::Malformed(_)) => "logout_token_malformed",
            Self::Jwt(JwtError::Alg { .. }) => "logout_token_alg",
            Self::Jwt(JwtError::KeyUnknown) => "logout_token_key_unknown",
            Self::Jwt(JwtError::KeyAmbiguous) => "logout_token_key_ambiguous",
            Self::Jwt(JwtError::Signature) => "logout_token_signature",
            Self::Jwt(JwtError::IssMissing | JwtError::Iss { .. }) => "logout_token_iss",
            Self::Jwt(JwtError::AudMissing) | Self::Aud => "logout_token_aud",
            Self::Jwt(JwtError::IatMissing | JwtError::Iat { .. } | JwtError::Nbf { .. }) => "logout_token_iat",
            Self::Jwt(JwtError::ExpMissing | JwtError::Expired { .. }) => "logout_token_expired",
            Self::Jwt(JwtError::SubMissing) | Self::Subject => "logout_token_subject",
            Self::Typ(_) => "logout_token_typ",
            Self::Events => "logout_token_events",
            Self::Nonce => "logout_token_nonce",
            Self::JtiMissing => "logout_token_jti_missing",
            Self::Provider(error) => error.code(),
        }
    }
}

/// A logout token that passed every check but that of its `jti`. It names a session, a user, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    /// The session at the provider; without one, all of the user's are meant.
    pub sid: Option<String>,
    /// The user.
    pub sub: Option<String>,
    /// The token's own id, unique at the issuer.
    pub jti: String,
    /// From then on it would be refused for its age.
    pub accepted_until: Timestamp,
}

/// What a logout token is compared with.
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
    pub(super) max_age: i64,
    pub(super) now: Timestamp,
}

impl Provider {
    /// Checks a logout token that somebody posted.
    ///
    /// # Errors
    /// It failed a check, or the keys to check it with cannot be had.
    pub async fn check_logout_token(&self, unverified: &str) -> Result<LogoutToken, LogoutTokenError> {
        let checked = self.logout_token(unverified).await;
        self.count_validation("logout_token", checked.as_ref().map_or_else(LogoutTokenError::code, |_| "ok"));
        checked
    }

    async fn logout_token(&self, text: &str) -> Result<LogoutToken, LogoutTokenError> {
        let settings = self.settings();
        let unverified = unverified(text)?;
        let keys = self.keys_for(&unverified, settings.id_token_alg).await?;
        let checks = Checks {
            issuer: &settings.issuer,
            client_id: &settings.client_id,
            alg: settings.id_token_alg,
            client_secret: self.client_secret(),
            leeway: settings.leeway,
            max_age: settings.id_token_max_age,
            now: self.now(),
        };
        check(unverified, &keys, &checks)
    }
}

/// Takes a logout token apart.
///
/// # Errors
/// It is no signed token, or of another type.
pub(super) fn unverified(text: &str) -> Result<UnverifiedJwt<'_>, LogoutTokenError> {
    let unverified = UnverifiedJwt::parse(text)?;
    check_typ(unverified.typ())?;
    Ok(unverified)
}

/// Checks a logout token; no claim leaves before every check but that of its `jti` has passed.
///
/// # Errors
/// The first check that failed.
pub(super) fn check(
    unverified: UnverifiedJwt<'_>,
    keys: &KeySet,
    checks: &Checks<'_>,
) -> Result<LogoutToken, LogoutTokenError> {
    checks.check(&unverified.verify_with(keys, checks.client_secret, checks.alg)?)
}

/// `typ` is compared as RFC 7515, section 4.1.9, says: without regard to case, with or without `application/`.
fn check_typ(typ: Option<&str>) -> Result<(), LogoutTokenError> {
    let Some(typ) = typ else { return Ok(()) };
    let short = match typ.split_at_checked("application/".len()) {
        Some((kind, short)) if kind.eq_ignore_ascii_case("application/") => short,
        _ => typ,
    };
    let known = ["logout+jwt", "JWT"].iter().any(|known| short.eq_ignore_ascii_case(known));
    if known { Ok(()) } else { Err(LogoutTokenError::Typ(typ.chars().take(32).collect())) }
}

impl Checks<'_> {
    /// Steps 4 to 7, in order.
    fn check(&self, claims: &Claims) -> Result<LogoutToken, LogoutTokenError> {
        claims.check_issuer(self.issuer)?;
        self.audience(claims)?;
        let accepted_until = self.times(claims)?;
        let sub = claims.get("sub").map(|_| claims.subject()).transpose()?;
        let sid = text(claims, "sid")?;
        if sub.is_none() && sid.is_none() {
            return Err(LogoutTokenError::Subject);
        }
        let event = claims.get("events").and_then(|events| events.get(EVENT));
        if !event.is_some_and(Value::is_object) {
            return Err(LogoutTokenError::Events);
        }
        // Even one that is null: the claim must not be there.
        if claims.0.contains_key("nonce") {
            return Err(LogoutTokenError::Nonce);
        }
        let jti = text(claims, "jti")?.ok_or(LogoutTokenError::JtiMissing)?;
        Ok(LogoutToken { sid, sub, jti, accepted_until })
    }

    /// `aud` is our client id and nobody else, unless the token was made for us (`azp`), as an id token's.
    fn audience(&self, claims: &Claims) -> Result<(), LogoutTokenError> {
        let audiences = claims.audiences()?;
        let ours = audiences.contains(&self.client_id);
        match claims.text("azp")? {
            Some(azp) if ours && azp == self.client_id => Ok(()),
            None if ours && audiences.len() == 1 => Ok(()),
            _ => Err(LogoutTokenError::Aud),
        }
    }

    /// `iat` is neither in the future nor long past, `exp` and `nbf` are right if they are there.
    fn times(&self, claims: &Claims) -> Result<Timestamp, LogoutTokenError> {
        claims.check_iat(self.now, self.leeway, self.max_age)?;
        claims.check_nbf(self.now, self.leeway)?;
        let iat = claims.date("iat")?.ok_or(JwtError::IatMissing)?;
        let exp = claims.get("exp").map(|_| claims.check_exp(self.now, self.leeway)).transpose()?;
        let too_old = iat.plus(self.max_age);
        Ok(exp.map_or(too_old, |exp| exp.min(too_old)).plus(self.leeway).plus(1))
    }
}

/// A text that is not empty; `None` if the claim is absent.
fn text(claims: &Claims, name: &str) -> Result<Option<String>, JwtError> {
    match claims.text(name)? {
        Some("") => Err(JwtError::Malformed("a claim is empty")),
        Some(text) if text.len() > ID_MAX => Err(JwtError::Malformed("a claim is longer than 512 bytes")),
        text => Ok(text.map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn check(change: impl FnOnce(&mut Value)) -> Result<LogoutToken, &'static str> {
        let mut claims = json!({
            "iss": "https://id.example/", "aud": "client", "iat": NOW.0, "exp": NOW.0 + 120, "jti": "one",
            "events": { EVENT: {} }, "sid": "session", "sub": "user", "ignored_claim": "ignored",
        });
        change(&mut claims);
        let Value::Object(claims) = claims else { unreachable!("an object") };
        let checks = Checks {
            issuer: "https://id.example/",
            client_id: "client",
            alg: SigningAlg::EdDsa,
            client_secret: None,
            leeway: 60,
            max_age: 600,
            now: NOW,
        };
        checks.check(&Claims(claims)).map_err(|error| error.code())
    }

    #[test]
    fn a_good_token_is_accepted_until_its_end_or_until_it_is_too_old() {
        let token = check(|_| {}).unwrap();
        assert_eq!((token.sid.as_deref(), token.sub.as_deref()), (Some("session"), Some("user")));
        assert_eq!(token.accepted_until, NOW.plus(120 + 60 + 1));
        assert_eq!(check(|claims| claims["exp"] = Value::Null).unwrap().accepted_until, NOW.plus(600 + 60 + 1));
        assert_eq!(check(|claims| claims["exp"] = json!(NOW.0 + 90_000)).unwrap().accepted_until, NOW.plus(661));
    }

    #[test]
    fn times_are_held_to_the_second() {
        for (claim, good, bad, code) in [
            ("exp", -59, -60, "logout_token_expired"),
            ("iat", 60, 61, "logout_token_iat"),
            ("iat", -660, -661, "logout_token_iat"),
            ("nbf", 60, 61, "logout_token_iat"),
        ] {
            assert!(check(|claims| claims[claim] = json!(NOW.0 + good)).is_ok(), "{claim}");
            assert_eq!(check(|claims| claims[claim] = json!(NOW.0 + bad)).unwrap_err(), code, "{claim}");
        }
    }

    #[test]
    fn a_claim_of_another_form_is_refused() {
        for (claim, value, code) in [
            ("nonce", Value::Null, "logout_token_nonce"),
            ("sid", json!(""), "logout_token_malformed"),
            ("sub", json!(""), "logout_token_subject"),
            ("sub", json!(["user"]), "logout_token_malformed"),
            ("jti", json!(""), "logout_token_malformed"),
            ("jti", json!("x".repeat(513)), "logout_token_malformed"),
            ("events", json!([EVENT]), "logout_token_events"),
            ("events", json!({ EVENT: null }), "logout_token_events"),
            ("events", json!({ EVENT: [] }), "logout_token_events"),
            ("aud", json!([]), "logout_token_aud"),
            ("azp", json!("another"), "logout_token_aud"),
        ] {
            assert_eq!(check(|claims| claims[claim] = value).unwrap_err(), code, "{claim}");
        }
        assert!(check(|claims| claims["aud"] = json!(["client"])).is_ok());
        assert!(check(|claims| claims["events"]["https://another.example/event"] = json!("anything")).is_ok());
    }

    #[test]
    fn types_are_compared_without_regard_to_case() {
        for good in [None, Some("JWT"), Some("jwt"), Some("logout+jwt"), Some("application/Logout+JWT")] {
            assert!(check_typ(good).is_ok(), "{good:?}");
        }
        for bad in ["", "at+jwt", "JOSE", "application/", "dpop+jwt", "logout+jwt "] {
            assert_eq!(check_typ(Some(bad)).unwrap_err().code(), "logout_token_typ", "{bad}");
        }
    }
}
