//! A signed token (RFC 7515, RFC 7519): taken apart, its signature verified, its claims read; and the checks that
//! several kinds of token have in common. What only one kind asks is in the file of its name.

use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::key_set::{KeySet, algorithm};
use crate::clock::Timestamp;
use crate::config::SigningAlg;
use crate::secret::{ExposeSecret, SecretString, from_base64url};

/// Bytes of a token.
const TOKEN_MAX: usize = 64 * 1024;
/// Characters of `sub` (OpenID Connect Core, section 2).
const SUB_MAX: usize = 255;

/// Which check a token failed, of those that all tokens pass.
#[derive(Clone, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum JwtError {
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    #[error("the token is signed with {got:?}, not with {}", .expected.as_str())]
    Alg { got: String, expected: SigningAlg },
    #[error("no key of the provider fits the token")]
    KeyUnknown,
    #[error("more than one key of the provider fits the token")]
    KeyAmbiguous,
    #[error("the signature of the token is wrong")]
    Signature,
    #[error("the token has no iss")]
    IssMissing,
    #[error("the token is of the issuer {got:?}, not of {expected:?}")]
    Iss { got: String, expected: String },
    #[error("the token has no sub")]
    SubMissing,
    #[error("the token has no aud")]
    AudMissing,
    #[error("the token has no exp")]
    ExpMissing,
    #[error("the token ended at {exp}, and here it is {now}")]
    Expired { exp: Timestamp, now: Timestamp },
    #[error("the token has no iat")]
    IatMissing,
    #[error("the token was made at {iat}, and here it is {now}")]
    Iat { iat: Timestamp, now: Timestamp },
    #[error("the token counts from {nbf} on, and here it is {now}")]
    Nbf { nbf: Timestamp, now: Timestamp },
}

/// A token taken apart, of which nothing is believed.
pub(super) struct UnverifiedJwt<'a> {
    /// Header and payload, as they were signed.
    message: &'a str,
    payload: Vec<u8>,
    signature: &'a str,
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
}

impl<'a> UnverifiedJwt<'a> {
    /// Takes a token apart (RFC 7515, section 7.1) and reads its header.
    ///
    /// # Errors
    /// [`JwtError::Malformed`] if it is no signed token.
    pub(super) fn parse(token: &'a str) -> Result<Self, JwtError> {
        use JwtError::Malformed;
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
        // Of encrypted tokens alone (RFC 7516, section 4.1.3); nothing is unpacked here.
        if header.contains_key("zip") {
            return Err(Malformed("its header has zip"));
        }
        let text = |name| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Malformed("alg, kid or typ is no text")),
        };
        let alg = text("alg")?.ok_or(Malformed("its header has no alg"))?;
        Ok(Self { message, payload, signature, alg, kid: text("kid")?, typ: text("typ")? })
    }

    /// The id of the key it says it is signed with.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The kind of token it says it is.
    pub(super) fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// `alg` is the one agreed upon. What the header says is compared, never obeyed.
    pub(super) fn check_alg(&self, expected: SigningAlg) -> Result<(), JwtError> {
        if self.alg == expected.as_str() {
            return Ok(());
        }
        Err(JwtError::Alg { got: self.alg.chars().take(16).collect(), expected })
    }

    /// The claims of a token that was verified when it came.
    pub(super) fn claims_again(&self) -> Option<Claims> {
        serde_json::from_slice(&self.payload).ok().map(Claims)
    }

    /// The claims, if the signature by a key of the set, or a MAC keyed with the client secret, is good.
    pub(super) fn verify_with(
        self,
        keys: &KeySet,
        client_secret: Option<&SecretString>,
        alg: SigningAlg,
    ) -> Result<Claims, JwtError> {
        self.check_alg(alg)?;
        if alg != SigningAlg::Hs256 {
            let key = keys.key_of(&self, alg)?;
            return self.verify(key, alg);
        }
        // The octets of the client secret, never a key of the set (OpenID Connect Core, section 3.1.3.7, step 8).
        let secret = client_secret.map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty());
        self.verify(&DecodingKey::from_secret(secret.ok_or(JwtError::KeyUnknown)?.as_bytes()), alg)
    }

    /// The claims, if the signature by `key` and the one algorithm is good.
    pub(super) fn verify(self, key: &DecodingKey, alg: SigningAlg) -> Result<Claims, JwtError> {
        self.check_alg(alg)?;
        // An error is a signature that cannot be one of this key.
        match jsonwebtoken::crypto::verify(self.signature, self.message.as_bytes(), key, algorithm(alg)) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(JwtError::Signature),
        }
        let claims = serde_json::from_slice(&self.payload);
        Ok(Claims(claims.map_err(|_| JwtError::Malformed("its payload is no JSON object"))?))
    }
}

/// Claims whose signature is good. A claim that is `null` counts as absent, one of another type than it should have as
/// malformed.
pub(super) struct Claims(pub(super) Map<String, Value>);

impl Claims {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, JwtError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(JwtError::Malformed("a claim is no text")),
        }
    }

    /// One text or a list of them.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, JwtError> {
        let texts = match self.get(name) {
            None => return Ok(None),
            Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
            Some(one) => one.as_str().map(|one| vec![one]),
        };
        texts.map(Some).ok_or(JwtError::Malformed("a claim is no list of texts"))
    }

    /// A NumericDate (RFC 7519, section 2): seconds, whole or not.
    pub(super) fn date(&self, name: &str) -> Result<Option<Timestamp>, JwtError> {
        let seconds = |value: &Value| value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64));
        let date = |value: &Value| seconds(value).map(Timestamp).ok_or(JwtError::Malformed("a claim is no date"));
        self.get(name).map(date).transpose()
    }

    /// `iss` is exactly this issuer.
    pub(super) fn check_issuer(&self, issuer: &str) -> Result<(), JwtError> {
        match self.text("iss")? {
            Some(iss) if iss == issuer => Ok(()),
            Some(iss) => Err(JwtError::Iss { got: iss.chars().take(200).collect(), expected: issuer.to_owned() }),
            None => Err(JwtError::IssMissing),
        }
    }

    /// `sub` is present and at most 255 ASCII characters (OpenID Connect Core, section 2).
    pub(super) fn subject(&self) -> Result<String, JwtError> {
        match self.text("sub")? {
            None | Some("") => Err(JwtError::SubMissing),
            Some(sub) if sub.len() > SUB_MAX || !sub.is_ascii() => {
                Err(JwtError::Malformed("sub is not at most 255 ASCII characters"))
            }
            Some(sub) => Ok(sub.to_owned()),
        }
    }

    /// Whom the token is for.
    pub(super) fn audiences(&self) -> Result<Vec<&str>, JwtError> {
        self.texts("aud")?.ok_or(JwtError::AudMissing)
    }

    /// The present is before `exp`, which is returned.
    pub(super) fn check_exp(&self, now: Timestamp, leeway: i64) -> Result<Timestamp, JwtError> {
        let exp = self.date("exp")?.ok_or(JwtError::ExpMissing)?;
        if now >= exp.plus(leeway) { Err(JwtError::Expired { exp, now }) } else { Ok(exp) }
    }

    /// `iat` is neither in the future nor more than `max_age` past.
    pub(super) fn check_iat(&self, now: Timestamp, leeway: i64, max_age: i64) -> Result<(), JwtError> {
        let iat = self.date("iat")?.ok_or(JwtError::IatMissing)?;
        let age = now.since(iat);
        if age < -leeway || age > max_age.saturating_add(leeway) { Err(JwtError::Iat { iat, now }) } else { Ok(()) }
    }

    /// `nbf`, if present, is reached (RFC 7519, section 4.1.5).
    pub(super) fn check_nbf(&self, now: Timestamp, leeway: i64) -> Result<(), JwtError> {
        match self.date("nbf")? {
            Some(nbf) if nbf > now.plus(leeway) => Err(JwtError::Nbf { nbf, now }),
            _ => Ok(()),
        }
    }

    /// Whether the token is for a member of one of these organizations, by id (`org_…`) or name, as Auth0's SDKs
    /// compare them.
    pub(super) fn is_of_organization<'a>(&self, mut wanted: impl Iterator<Item = &'a str>) -> Result<bool, JwtError> {
        let (id, name) = (self.text("org_id")?, self.text("org_name")?.map(str::to_lowercase));
        Ok(wanted.any(|wanted| match wanted.starts_with("org_") {
            true => id == Some(wanted),
            false => name.as_deref() == Some(&wanted.to_lowercase()),
        }))
    }

    /// Some of Auth0's connections write `email_verified` as text.
    pub(super) fn normalise(&mut self) {
        if let Some(verified) = self.0.get_mut("email_verified") {
            match verified.as_str() {
                Some("true") => *verified = Value::Bool(true),
                Some("false") => *verified = Value::Bool(false),
                _ => {}
            }
        }
    }
}
