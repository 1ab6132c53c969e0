//! A provider's public keys (RFC 7517), and which of them an id token names. Fetching and caching are not here.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::id_token::{IdTokenError, UnverifiedIdToken};
use crate::config::SigningAlg;
use crate::secret::from_base64url;

/// RSA keys with fewer bits count as none (RFC 7518, section 3.3).
const RSA_BITS_MIN: usize = 2048;

/// The keys of a set that we can verify with.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    alg: Option<String>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a key set. Keys we cannot verify with (another kind, another use, too weak, malformed) are left out.
    ///
    /// # Errors
    /// The body is no JSON, or no key set.
    pub(super) fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: RawSet = serde_json::from_slice(body)?;
        let keys = raw.keys.into_iter().filter_map(|key| RawKey::deserialize(key).ok()?.read()).collect();
        Ok(Self { keys })
    }

    /// How many keys can be used.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether a key for this token is here. If not, the set may have been rotated: the caller fetches it once more.
    /// A token that no key could help (of another algorithm) makes no difference and counts as known.
    pub(super) fn knows(&self, unverified: &UnverifiedIdToken<'_>, alg: SigningAlg) -> bool {
        alg == SigningAlg::Hs256 || !matches!(self.key_of(unverified, alg), Err(IdTokenError::KeyUnknown))
    }

    /// The key that verifies this token: the one it names or, if it names none, the only one for this algorithm.
    pub(super) fn key_of(
        &self,
        unverified: &UnverifiedIdToken<'_>,
        alg: SigningAlg,
    ) -> Result<&DecodingKey, IdTokenError> {
        unverified.check_alg(alg)?;
        let named = |key: &&Key| unverified.kid().is_none_or(|kid| key.kid.as_deref() == Some(kid));
        let mut suitable = self.keys.iter().filter(|key| key.suits(alg)).filter(named);
        match (suitable.next(), suitable.next()) {
            (Some(only), None) => Ok(&only.key),
            (Some(_), Some(_)) => Err(IdTokenError::KeyAmbiguous),
            (None, _) => Err(IdTokenError::KeyUnknown),
        }
    }
}

impl Key {
    fn suits(&self, alg: SigningAlg) -> bool {
        self.key.family() == algorithm(alg).family() && self.alg.as_deref().is_none_or(|own| own == alg.as_str())
    }
}

impl RawKey {
    fn read(self) -> Option<Key> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let key = if signs && verifies { self.decoding_key()? } else { return None };
        Some(Key { kid: self.kid, alg: self.alg, key })
    }

    /// RFC 7518, section 6; RFC 8037, section 2. Never a symmetric key: HS256 is keyed with the client secret.
    fn decoding_key(&self) -> Option<DecodingKey> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let n = without_leading_zeros(from_base64url(self.n.as_deref()?)?);
                let e = without_leading_zeros(from_base64url(self.e.as_deref()?)?);
                let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
                (bits >= RSA_BITS_MIN).then(|| DecodingKey::from_rsa_raw_components(&n, &e))
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (self.x.as_deref()?, self.y.as_deref()?);
                let whole = [x, y].iter().all(|part| from_base64url(part).is_some_and(|part| part.len() == 32));
                DecodingKey::from_ec_components(x, y).ok().filter(|_| whole)
            }
            ("OKP", Some("Ed25519")) => DecodingKey::from_ed_components(self.x.as_deref()?).ok(),
            _ => None,
        }
    }
}

fn without_leading_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}

/// The same algorithm in the words of `jsonwebtoken`.
pub(super) const fn algorithm(alg: SigningAlg) -> Algorithm {
    match alg {
        SigningAlg::Rs256 => Algorithm::RS256,
        SigningAlg::Ps256 => Algorithm::PS256,
        SigningAlg::Es256 => Algorithm::ES256,
        SigningAlg::EdDsa => Algorithm::EdDSA,
        SigningAlg::Hs256 => Algorithm::HS256,
    }
}
