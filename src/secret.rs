//! Secrets: random values, keys and what is derived from them, sealing. The only home of randomness and of
//! `aws_lc_rs`; texts that must not be printed are `secrecy::SecretString`s, re-exported here. The keys that all others
//! derive from are in `key_ring`.

use std::cell::RefCell;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use aws_lc_rs::{digest, hkdf, hmac, rand, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
pub use secrecy::{ExposeSecret, SecretString};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes in a key of ours.
pub const KEY_LEN: usize = 32;

/// `N` bytes from the system's generator.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// An unguessable text of 128 bits, 22 characters of base64url, such as a nonce.
pub fn random_text() -> String {
    base64url(&random::<16>())
}

/// The same for what need not be secret and is wanted often, such as the id of a request: out of bytes that each thread
/// has fetched before.
pub fn random_id() -> String {
    const LEN: usize = 16;
    const FETCHED: usize = 64 * LEN;
    thread_local! {
        static LEFT: RefCell<(usize, [u8; FETCHED])> = const { RefCell::new((0, [0; FETCHED])) };
    }
    LEFT.with_borrow_mut(|(left, bytes)| {
        if *left == 0 {
            (*left, *bytes) = (FETCHED, random());
        }
        *left -= LEN;
        base64url(&bytes[*left..*left + LEN])
    })
}

/// Base64url without padding (RFC 4648, section 5).
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads base64url without padding; `None` for anything else, a second spelling of the same bytes included.
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

/// SHA-512 of `data`.
pub fn sha512(data: &[u8]) -> [u8; 64] {
    let mut out = [0; 64];
    out.copy_from_slice(digest::digest(&digest::SHA512, data).as_ref());
    out
}

/// Whether two byte strings are the same, in a time that does not tell where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// 32 secret bytes: seals, opens, hashes and derives. Never printed, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// A new random key.
    pub fn generate() -> Self {
        Self(random())
    }

    /// The key made of these bytes.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves, for the one file or cookie that keeps them.
    pub const fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// A key for `purpose` alone, from this one and `salt` (HKDF-SHA256, RFC 5869).
    pub fn derive(&self, salt: &[u8], purpose: &[&[u8]]) -> Self {
        struct Len;
        impl hkdf::KeyType for Len {
            fn len(&self) -> usize {
                KEY_LEN
            }
        }
        let mut out = [0; KEY_LEN];
        hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
            .extract(&self.0)
            .expand(purpose, Len)
            .and_then(|okm| okm.fill(&mut out))
            .expect("32 bytes are within HKDF's reach");
        Self(out)
    }

    /// Seals `plain` so that only this key and the same `associated` data open it (AES-256-GCM, random nonce first).
    pub fn seal(&self, associated: &[u8], plain: &[u8]) -> Vec<u8> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.0).expect("a key of 32 bytes");
        let mut body = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(associated), &mut body).expect("sealing has room");
        [nonce.as_ref().as_slice(), &body].concat()
    }

    /// Opens what [`Key::seal`] made; `None` for anything else.
    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.0).ok()?;
        let nonce = aws_lc_rs::aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let len = key.open_in_place(nonce, Aad::from(associated), &mut body).ok()?.len();
        body.truncate(len);
        Some(body)
    }

    /// A keyed hash (HMAC-SHA256), for look-ups that tell a thief of the store nothing.
    pub fn hash(&self, data: &[u8]) -> [u8; 32] {
        HashKey::from(self).hash(data)
    }
}

/// A key that only hashes, ready to.
pub struct HashKey(hmac::Key);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

impl From<&Key> for HashKey {
    fn from(key: &Key) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key.0))
    }
}

impl HashKey {
    /// A keyed hash (HMAC-SHA256), for look-ups that tell a thief of the store nothing.
    pub fn hash(&self, data: &[u8]) -> [u8; 32] {
        self.hash_all(&[data])
    }

    /// The same of several pieces, one after the other.
    pub fn hash_all(&self, pieces: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for piece in pieces {
            context.update(piece);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// What a key pair can sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPairKind {
    /// RSA of 2048 bits: RS256, PS256. Takes a quarter of a second to make.
    Rsa,
    /// P-256: ES256.
    P256,
    /// Ed25519: EdDSA.
    Ed25519,
}

/// A new key pair, PEM.
#[derive(Clone, Debug)]
pub struct KeyPairPem {
    /// The private key (PKCS #8).
    pub private: SecretString,
    /// The public key (SubjectPublicKeyInfo).
    pub public: String,
}

impl KeyPairPem {
    /// Makes a key pair.
    pub fn generate(kind: KeyPairKind) -> Self {
        Self::try_generate(kind).expect("the system gives random bytes")
    }

    fn try_generate(kind: KeyPairKind) -> Result<Self, Unspecified> {
        let (private, public): (Vec<u8>, PublicKeyX509Der<'_>) = match kind {
            KeyPairKind::Rsa => {
                let pair = rsa::KeyPair::generate(KeySize::Rsa2048)?;
                let private: Pkcs8V1Der<'_> = pair.as_der()?;
                (private.as_ref().to_vec(), pair.public_key().as_der()?)
            }
            KeyPairKind::P256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
                (pair.to_pkcs8v1()?.as_ref().to_vec(), pair.public_key().as_der()?)
            }
            KeyPairKind::Ed25519 => {
                let pair = Ed25519KeyPair::generate()?;
                (pair.to_pkcs8v1()?.as_ref().to_vec(), pair.public_key().as_der()?)
            }
        };
        Ok(Self { private: pem("PRIVATE KEY", &private).into(), public: pem("PUBLIC KEY", public.as_ref()) })
    }
}

/// Writes `der` as PEM (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 bytes are 64 characters: a line.
    for line in der.chunks(48) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_the_same_key_and_associated_data() {
        let key = Key::generate();
        let sealed = key.seal(b"acme", b"hello");
        assert_eq!(key.open(b"acme", &sealed).as_deref(), Some(&b"hello"[..]));
        assert_eq!(key.open(b"globex", &sealed), None);
        assert_eq!(Key::generate().open(b"acme", &sealed), None);
        for cut in [0, 5, NONCE_LEN, sealed.len() - 1] {
            assert_eq!(key.open(b"acme", &sealed[..cut]), None);
        }
    }

    #[test]
    fn no_two_ids_are_the_same() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| random_id()).collect();
        assert!(ids.len() == 1000 && ids.iter().all(|id| id.len() == 22), "{ids:?}");
    }

    #[test]
    fn two_seals_of_the_same_text_differ() {
        let key = Key::generate();
        assert_ne!(key.seal(b"", b"same"), key.seal(b"", b"same"));
    }

    #[test]
    fn a_key_pair_prints_its_public_half_alone() {
        for kind in [KeyPairKind::P256, KeyPairKind::Ed25519] {
            let pair = KeyPairPem::generate(kind);
            assert!(pair.private.expose_secret().starts_with("-----BEGIN PRIVATE KEY-----\n"));
            assert!(pair.public.ends_with("-----END PUBLIC KEY-----\n"));
            assert!(!format!("{pair:?}").contains("PRIVATE"));
        }
    }
}
