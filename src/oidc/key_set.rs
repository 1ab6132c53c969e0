//! A provider's public keys (RFC 7517), and which of them a token names. Fetching and caching are not here.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::jwt::{JwtError, UnverifiedJwt};
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

/// A key as it is published.
#[derive(Clone, Debug)]
pub struct PublishedKey {
    /// Its id.
    pub kid: Option<String>,
    /// What it is, such as `RSA 2048` or `EC P-256`.
    pub kind: String,
    /// Whether it can verify what the tenant's settings say that id tokens are signed with.
    pub verifies: bool,
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

    /// Every key of a set that is one, and whether it verifies what is signed with `alg`.
    ///
    /// # Errors
    /// The body is no JSON, or no key set.
    pub(super) fn published(body: &[u8], alg: SigningAlg) -> Result<Vec<PublishedKey>, serde_json::Error> {
        let raw: RawSet = serde_json::from_slice(body)?;
        let keys = raw.keys.into_iter().filter_map(|key| RawKey::deserialize(key).ok());
        let published = |key: RawKey| {
            let unread = PublishedKey { kid: key.kid.clone(), kind: key.kind(), verifies: false };
            PublishedKey { verifies: key.read().is_some_and(|key| key.suits(alg)), ..unread }
        };
        Ok(keys.map(published).collect())
    }

    /// How many keys can be used.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether a key for this token is here. If not, the set may have been rotated: the caller fetches it once more.
    /// A token that no key could help (of another algorithm) makes no difference and counts as known.
    pub(super) fn knows(&self, unverified: &UnverifiedJwt<'_>, alg: SigningAlg) -> bool {
        alg == SigningAlg::Hs256 || !matches!(self.key_of(unverified, alg), Err(JwtError::KeyUnknown))
    }

    /// The key that verifies this token: the one it names or, if it names none, the only one for this algorithm.
    pub(super) fn key_of(&self, unverified: &UnverifiedJwt<'_>, alg: SigningAlg) -> Result<&DecodingKey, JwtError> {
        unverified.check_alg(alg)?;
        let named = |key: &&Key| unverified.kid().is_none_or(|kid| key.kid.as_deref() == Some(kid));
        let mut suitable = self.keys.iter().filter(|key| key.suits(alg)).filter(named);
        match (suitable.next(), suitable.next()) {
            (Some(only), None) => Ok(&only.key),
            (Some(_), Some(_)) => Err(JwtError::KeyAmbiguous),
            (None, _) => Err(JwtError::KeyUnknown),
        }
    }
}

impl Key {
    fn suits(&self, alg: SigningAlg) -> bool {
        self.key.family() == algorithm(alg).family() && self.alg.as_deref().is_none_or(|own| own == alg.as_str())
    }
}

impl RawKey {
    fn kind(&self) -> String {
        match self.kty.as_str() {
            "RSA" => format!("RSA {}", self.rsa_modulus().map_or(0, |n| bits(&n))),
            kty => format!("{kty} {}", self.crv.as_deref().unwrap_or_default()).trim_end().to_owned(),
        }
    }

    fn rsa_modulus(&self) -> Option<Vec<u8>> {
        Some(without_leading_zeros(from_base64url(self.n.as_deref()?)?)).filter(|n| !n.is_empty())
    }

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
                let n = self.rsa_modulus()?;
                let e = without_leading_zeros(from_base64url(self.e.as_deref()?)?);
                (bits(&n) >= RSA_BITS_MIN).then(|| DecodingKey::from_rsa_raw_components(&n, &e))
            }
            ("EC", Some("P-256")) => {
                DecodingKey::from_ec_components(coordinate(self.x.as_deref())?, coordinate(self.y.as_deref())?).ok()
            }
            ("OKP", Some("Ed25519")) => DecodingKey::from_ed_components(coordinate(self.x.as_deref())?).ok(),
            _ => None,
        }
    }
}

/// A coordinate of P-256 or Ed25519: 32 bytes, no more and no less.
fn coordinate(text: Option<&str>) -> Option<&str> {
    text.filter(|text| from_base64url(text).is_some_and(|bytes| bytes.len() == 32))
}

fn bits(number: &[u8]) -> usize {
    number.len() * 8 - number.first().map_or(0, |first| first.leading_zeros() as usize)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::base64url;

    /// A key of which `first` is the modulus's first byte and `len` its length.
    fn rsa(first: u8, len: usize) -> Value {
        let mut n = vec![0xff; len];
        n[0] = first;
        json!({"kty": "RSA", "n": base64url(&n), "e": "AQAB"})
    }

    fn len(keys: &[Value]) -> usize {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap().len()
    }

    #[test]
    fn a_key_that_cannot_be_used_does_not_spoil_the_others() {
        let bytes = base64url(&[1; 32]);
        let useless = [
            json!(null),
            json!("text"),
            json!({}),
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": bytes}),
            json!({"kty": "oct", "k": bytes}),
            json!({"kty": "RSA", "n": 7}),
            json!({"kty": "RSA", "e": "AQAB"}),
            json!({"kty": "RSA", "n": "", "e": "AQAB"}),
            json!({"kty": "RSA", "n": "+/==", "e": "AQAB"}),
            json!({"kty": "EC", "crv": "P-384", "x": bytes, "y": bytes}),
            json!({"kty": "EC", "crv": "P-256", "x": bytes, "y": bytes, "use": "enc"}),
            json!({"kty": "EC", "crv": "P-256", "x": bytes, "y": "AA"}),
            json!({"kty": "OKP", "crv": "X25519", "x": bytes}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
        ];
        assert_eq!(len(&useless), 0);
        let good = [
            rsa(0xff, 256),
            json!({"kty": "EC", "crv": "P-256", "x": bytes, "y": bytes, "x5c": ["?"]}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": bytes, "key_ops": ["verify"]}),
        ];
        assert_eq!(len(&[&useless[..], &good[..]].concat()), 3);
    }

    #[test]
    fn an_rsa_key_below_2048_bits_counts_as_none() {
        assert_eq!(len(&[rsa(0xff, 128)]), 0);
        assert_eq!(len(&[rsa(0x7f, 256)]), 0);
        assert_eq!(len(&[rsa(0x00, 256)]), 0);
        assert_eq!(len(&[rsa(0x80, 256)]), 1);
        assert_eq!(len(&[rsa(0x00, 257)]), 1);
        assert_eq!(len(&[rsa(0xff, 512)]), 1);
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        for body in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]"#] {
            assert!(KeySet::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
