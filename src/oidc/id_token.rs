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

use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::key_set::{KeySet, algorithm};
use crate::clock::Timestamp;
use crate::config::{MULTI_FACTOR, SigningAlg};
use crate::secret::{ExposeSecret, SecretString, base64url, from_base64url, same, sha256, sha512};

/// Bytes of a token.
const TOKEN_MAX: usize = 64 * 1024;
/// Characters of `sub` (OpenID Connect Core, section 2).
const SUB_MAX: usize = 255;

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
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum IdTokenError {
    #[error("there is no id token")]
    Missing,
    #[error("the id token is malformed: {0}")]
    Malformed(&'static str),
    #[error("the id token is signed with {got:?}, not with {}", .expected.as_str())]
    Alg { got: String, expected: SigningAlg },
    #[error("no key of the provider fits the id token")]
    KeyUnknown,
    #[error("more than one key of the provider fits the id token")]
    KeyAmbiguous,
    #[error("the signature of the id token is wrong")]
    Signature,
    #[error("the id token has no iss")]
    IssMissing,
    #[error("the id token is of the issuer {got:?}, not of {expected:?}")]
    Iss { got: String, expected: String },
    #[error("the id token has no sub")]
    SubMissing,
    #[error("the id token has no aud")]
    AudMissing,
    #[error("the id token is for another audience than this client")]
    Aud,
    #[error("the id token was asked for by another client, or does not say by whom")]
    Azp,
    #[error("the id token has no exp")]
    ExpMissing,
    #[error("the id token ended at {exp}, and here it is {now}")]
    Expired { exp: Timestamp, now: Timestamp },
    #[error("the id token has no iat")]
    IatMissing,
    #[error("the id token was made at {iat}, and here it is {now}")]
    Iat { iat: Timestamp, now: Timestamp },
    #[error("the id token counts from {nbf} on, and here it is {now}")]
    Nbf { nbf: Timestamp, now: Timestamp },
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
    #[error("the id token allows a session until {ended} only, and here it is {now}")]
    SessionExpiryPast { ended: Timestamp, now: Timestamp },
}

impl IdTokenError {
    /// The outcome's name, for pages, logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "id_token_missing",
            Self::Malformed(_) => "id_token_malformed",
            Self::Alg { .. } => "id_token_alg",
            Self::KeyUnknown => "id_token_key_unknown",
            Self::KeyAmbiguous => "id_token_key_ambiguous",
            Self::Signature => "id_token_signature",
            Self::IssMissing => "id_token_iss_missing",
            Self::Iss { .. } => "id_token_iss",
            Self::SubMissing => "id_token_sub_missing",
            Self::AudMissing => "id_token_aud_missing",
            Self::Aud => "id_token_aud",
            Self::Azp => "id_token_azp",
            Self::ExpMissing => "id_token_exp_missing",
            Self::Expired { .. } => "id_token_expired",
            Self::IatMissing => "id_token_iat_missing",
            Self::Iat { .. } => "id_token_iat",
            Self::Nbf { .. } => "id_token_nbf",
            Self::NonceMissing => "id_token_nonce_missing",
            Self::Nonce => "id_token_nonce",
            Self::AtHash => "id_token_at_hash",
            Self::AuthTime => "id_token_auth_time",
            Self::Acr => "id_token_acr",
            Self::OrganizationRefused => "organization_refused",
            Self::SessionExpiryPast { .. } => "session_expiry_past",
        }
    }
}

/// An id token taken apart, of which nothing is believed.
pub(super) struct UnverifiedIdToken<'a> {
    /// Header and payload, as they were signed.
    message: &'a str,
    payload: Vec<u8>,
    signature: &'a str,
    alg: String,
    kid: Option<String>,
}

impl<'a> UnverifiedIdToken<'a> {
    /// Takes a token apart (RFC 7515, section 7.1) and reads its header.
    ///
    /// # Errors
    /// [`IdTokenError::Missing`] if it is empty, [`IdTokenError::Malformed`] if it is no signed token.
    pub(super) fn parse(token: &'a str) -> Result<Self, IdTokenError> {
        use IdTokenError::Malformed;
        if token.is_empty() {
            return Err(IdTokenError::Missing);
        }
        if token.len() > TOKEN_MAX {
            return Err(Malformed("longer than 64 KiB"));
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Malformed("not three parts"))?;
        let (header, payload) = message.split_once('.').ok_or(Malformed("not three parts"))?;
        let [header, payload] = [header, payload].map(from_base64url);
        let (header, payload) = header.zip(payload).ok_or(Malformed("not base64url"))?;
        from_base64url(signature).ok_or(Malformed("not base64url"))?;

        let header: Map<String, Value> =
            serde_json::from_slice(&header).map_err(|_| Malformed("its header is no JSON object"))?;
        // No extension of RFC 7515, section 4.1.11, is understood here.
        if header.contains_key("crit") {
            return Err(Malformed("its header has crit"));
        }
        let text = |name| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Malformed("alg, kid or typ is no text")),
        };
        // RFC 8725, section 3.11: a token that says it is of another kind, such as a logout token, is no id token.
        if text("typ")?.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(Malformed("its header has another typ than JWT"));
        }
        let alg = text("alg")?.ok_or(Malformed("its header has no alg"))?;
        Ok(Self { message, payload, signature, alg, kid: text("kid")? })
    }

    /// The id of the key it says it is signed with.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// 7. `alg` is the one agreed upon. What the header says is compared, never obeyed.
    pub(super) fn check_alg(&self, expected: SigningAlg) -> Result<(), IdTokenError> {
        if self.alg == expected.as_str() {
            return Ok(());
        }
        Err(IdTokenError::Alg { got: self.alg.chars().take(16).collect(), expected })
    }

    /// 6, 7 and 8: the claims, if the signature is good.
    fn verify(self, keys: &KeySet, checks: &Checks<'_>) -> Result<Claims, IdTokenError> {
        self.check_alg(checks.alg)?;
        let from_secret;
        let key = if checks.alg == SigningAlg::Hs256 {
            // 8. The octets of the client secret, never a key of the set.
            let secret = checks.client_secret.map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty());
            from_secret = DecodingKey::from_secret(secret.ok_or(IdTokenError::KeyUnknown)?.as_bytes());
            &from_secret
        } else {
            keys.key_of(&self, checks.alg)?
        };
        // 6. An error is a signature that cannot be one of this key.
        match jsonwebtoken::crypto::verify(self.signature, self.message.as_bytes(), key, algorithm(checks.alg)) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(IdTokenError::Signature),
        }
        let claims = serde_json::from_slice(&self.payload);
        Ok(Claims(claims.map_err(|_| IdTokenError::Malformed("its payload is no JSON object"))?))
    }
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
    unverified: UnverifiedIdToken<'_>,
    keys: &KeySet,
    checks: &Checks<'_>,
) -> Result<VerifiedClaims, IdTokenError> {
    let mut claims = unverified.verify(keys, checks)?;
    checks.issuer(&claims)?;
    let sub = subject(&claims)?;
    checks.audience(&claims)?;
    checks.times(&claims)?;
    checks.nonce(&claims)?;
    checks.acr(&claims)?;
    checks.auth_time(&claims)?;
    checks.at_hash(&claims)?;
    checks.organization(&claims)?;
    let session_expiry = checks.session_expiry(&claims)?;
    let sid = claims.text("sid")?.map(str::to_owned);
    claims.normalise();
    Ok(VerifiedClaims { claims: claims.0, sub, sid, session_expiry })
}

impl Checks<'_> {
    /// 2. `iss` is exactly the issuer that was discovered.
    fn issuer(&self, claims: &Claims) -> Result<(), IdTokenError> {
        match claims.text("iss")? {
            Some(iss) if iss == self.issuer => Ok(()),
            Some(iss) => {
                Err(IdTokenError::Iss { got: iss.chars().take(200).collect(), expected: self.issuer.to_owned() })
            }
            None => Err(IdTokenError::IssMissing),
        }
    }

    /// 3. `aud` contains our client id; others are trusted only if the token was made for us (`azp`).
    /// 4. With several audiences `azp` is present. 5. If present, it is our client id.
    fn audience(&self, claims: &Claims) -> Result<(), IdTokenError> {
        let audiences = claims.texts("aud")?.ok_or(IdTokenError::AudMissing)?;
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
        let now = self.now;
        let exp = claims.date("exp")?.ok_or(IdTokenError::ExpMissing)?;
        if now >= exp.plus(self.leeway) {
            return Err(IdTokenError::Expired { exp, now });
        }
        let iat = claims.date("iat")?.ok_or(IdTokenError::IatMissing)?;
        let age = now.since(iat);
        if age < -self.leeway || age > self.id_token_max_age.saturating_add(self.leeway) {
            return Err(IdTokenError::Iat { iat, now });
        }
        match claims.date("nbf")? {
            Some(nbf) if nbf > now.plus(self.leeway) => Err(IdTokenError::Nbf { nbf, now }),
            _ => Ok(()),
        }
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
        let (id, name) = (claims.text("org_id")?, claims.text("org_name")?.map(str::to_lowercase));
        let is = |wanted: &str| {
            if wanted.starts_with("org_") {
                id == Some(wanted)
            } else {
                name.as_deref() == Some(&wanted.to_lowercase())
            }
        };
        let asked = organization.is_none_or(is);
        let allowed = organizations.is_empty() || organizations.iter().any(|wanted| is(wanted));
        if asked && allowed { Ok(()) } else { Err(IdTokenError::OrganizationRefused) }
    }

    /// `session_expiry`, if present, is in the future (IPSIE session lifetime).
    fn session_expiry(&self, claims: &Claims) -> Result<Option<Timestamp>, IdTokenError> {
        match claims.date("session_expiry")? {
            Some(ended) if ended <= self.now => Err(IdTokenError::SessionExpiryPast { ended, now: self.now }),
            ceiling => Ok(ceiling),
        }
    }
}

/// `sub` is present and at most 255 ASCII characters (OpenID Connect Core, section 2).
fn subject(claims: &Claims) -> Result<String, IdTokenError> {
    match claims.text("sub")? {
        None | Some("") => Err(IdTokenError::SubMissing),
        Some(sub) if sub.len() > SUB_MAX || !sub.is_ascii() => {
            Err(IdTokenError::Malformed("sub is not at most 255 ASCII characters"))
        }
        Some(sub) => Ok(sub.to_owned()),
    }
}

/// Claims whose signature is good. A claim that is `null` counts as absent, one of another type than it should have as
/// malformed.
struct Claims(Map<String, Value>);

impl Claims {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<&str>, IdTokenError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(IdTokenError::Malformed("a claim is no text")),
        }
    }

    /// One text or a list of them.
    fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, IdTokenError> {
        let texts = match self.get(name) {
            None => return Ok(None),
            Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
            Some(one) => one.as_str().map(|one| vec![one]),
        };
        texts.map(Some).ok_or(IdTokenError::Malformed("a claim is no list of texts"))
    }

    /// A NumericDate (RFC 7519, section 2): seconds, whole or not.
    fn date(&self, name: &str) -> Result<Option<Timestamp>, IdTokenError> {
        let seconds = |value: &Value| value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64));
        let date = |value: &Value| seconds(value).map(Timestamp).ok_or(IdTokenError::Malformed("a claim is no date"));
        self.get(name).map(date).transpose()
    }

    /// Some of Auth0's connections write `email_verified` as text.
    fn normalise(&mut self) {
        if let Some(verified) = self.0.get_mut("email_verified") {
            match verified.as_str() {
                Some("true") => *verified = Value::Bool(true),
                Some("false") => *verified = Value::Bool(false),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
