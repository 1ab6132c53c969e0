//! The value of the session cookie: which ring key, which session, and the key that opens its record.

use crate::key_ring::{KeyId, RingKey};
use crate::secret::{self, Key, SecretString};

const RING_LEN: usize = 4;
const ID_LEN: usize = 16;
const TEXT_LEN: usize = (RING_LEN + ID_LEN + secret::KEY_LEN) * 4 / 3 + 1;

/// A cookie's three parts. Id and key are random; the ring key's id is not secret.
pub(super) struct Cookie {
    /// The ring key that the session stands under.
    pub(super) ring: KeyId,
    /// The session's id; the store knows only a keyed hash of it.
    pub(super) id: [u8; ID_LEN],
    /// What the record's key derives from; nothing but the browser keeps it.
    pub(super) key: Key,
}

impl Cookie {
    /// The cookie of a new session.
    pub(super) fn generate(ring: &RingKey) -> Self {
        Self { ring: ring.id(), id: secret::random(), key: Key::generate() }
    }

    /// The cookie's value: 70 characters of base64url.
    pub(super) fn to_text(&self) -> SecretString {
        secret::base64url(&[&self.ring.0[..], &self.id, self.key.expose()].concat()).into()
    }

    /// Reads a value as [`Cookie::to_text`] writes it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_LEN {
            return None;
        }
        let bytes = secret::from_base64url(text)?;
        let (ring, rest) = bytes.split_first_chunk::<RING_LEN>()?;
        let (id, key) = rest.split_first_chunk()?;
        Some(Self { ring: KeyId(*ring), id: *id, key: Key::from_bytes(key.try_into().ok()?) })
    }
}

/// A hash of the whole cookie value, by which a cached session tells whether a cookie is its own.
pub(super) type CookieHash = [u8; 32];

/// The hash of `value`.
pub(super) fn cookie_hash(value: &str) -> CookieHash {
    secret::sha256(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ExposeSecret as _;

    #[test]
    fn a_cookie_reads_back_and_nothing_else_does() {
        let cookie = Cookie::generate(&RingKey::generate());
        let text = cookie.to_text();
        let text = text.expose_secret();
        assert_eq!(text.len(), TEXT_LEN);
        let again = Cookie::parse(text).unwrap();
        assert_eq!((again.ring, again.id, again.key.expose()), (cookie.ring, cookie.id, cookie.key.expose()));
        for bad in ["", "x", &text[1..], &format!("{text}A"), &text.replace(|_: char| true, "é"), &"!".repeat(70)] {
            assert!(Cookie::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_cookie_has_one_spelling() {
        let text = Cookie::generate(&RingKey::generate()).to_text();
        let (head, last) = text.expose_secret().split_at(TEXT_LEN - 1);
        let spellings = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']);
        // The last character holds two bits of the key; the other four must be zero.
        assert_eq!(spellings.filter(|c| Cookie::parse(&format!("{head}{c}")).is_some()).count(), 4, "{last}");
    }
}
