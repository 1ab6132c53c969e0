//! Secrets: random values, the ring key and what is derived from it, sealing. The only home of randomness and of
//! `aws_lc_rs`; texts that must not be printed are `secrecy::SecretString`s, re-exported here.
//!
//! Every key is derived for one purpose and one tenant, so that nothing sealed for one can be opened for another.

use std::fmt;
use std::io::Write as _;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey};
use aws_lc_rs::{digest, hkdf, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use secrecy::{ExposeSecret, SecretString};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::tenant_id::TenantId;

/// Bytes in a key of ours.
pub const KEY_LEN: usize = 32;

/// `N` bytes from the system's generator.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// An unguessable text of 128 bits, 22 characters of base64url: a nonce, a request id.
pub fn random_text() -> String {
    base64url(&random::<16>())
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
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&key, data).as_ref());
        out
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Why the root secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RingKeyError {
    /// The file cannot be read or made.
    #[error("cannot read or make the file")]
    Io(#[from] std::io::Error),
    /// The file holds something else.
    #[error("is not a key: expected 43 characters of base64url, as `lychgate secret` prints")]
    Malformed,
}

/// The root secret: from it and a tenant's id every other key derives.
#[derive(Clone, Debug)]
pub struct RingKey {
    root: Key,
    id: [u8; 4],
}

impl RingKey {
    /// The ring key of this root secret. Its id is a hash that tells nothing about it.
    pub fn new(root: Key) -> Self {
        let mut id = [0; 4];
        id.copy_from_slice(&root.derive(b"lychgate", &[b"ring key id"]).0[..4]);
        Self { root, id }
    }

    /// Which key of the ring this is.
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Reads a key as [`RingKey::to_text`] writes it; space around it is ignored.
    ///
    /// # Errors
    /// [`RingKeyError::Malformed`] for anything but 32 bytes of base64url.
    pub fn from_text(text: &str) -> Result<Self, RingKeyError> {
        let bytes = from_base64url(text.trim()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Self::new(Key(bytes))).ok_or(RingKeyError::Malformed)
    }

    /// The key for its file: 43 characters of base64url.
    pub fn to_text(&self) -> SecretString {
        base64url(self.root.expose()).into()
    }

    /// Reads the key at `path`, or makes one there (mode 0600) that no second process can make at the same time.
    ///
    /// # Errors
    /// The file cannot be read or made, or holds something else.
    pub fn read_or_make(path: &Path) -> Result<Self, RingKeyError> {
        match std::fs::read_to_string(path) {
            Ok(text) => return Self::from_text(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let key = Self::new(Key::generate());
        // Written whole under another name, then linked: a reader sees all of it or none, and the first maker wins.
        let draft = path.with_extension(format!("{}.new", base64url(&random::<6>())));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(key.to_text().expose_secret().as_bytes())?;
        file.sync_all()?;
        let linked = std::fs::hard_link(&draft, path);
        std::fs::remove_file(&draft)?;
        match linked {
            Ok(()) => Ok(key),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Self::from_text(&std::fs::read_to_string(path)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The key of `tenant` for `purpose`.
    pub fn derive(&self, tenant: &TenantId, purpose: &str) -> Key {
        self.root.derive(b"lychgate", &[purpose.as_bytes(), b"\0", tenant.as_str().as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        id.parse().unwrap()
    }

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
    fn two_seals_of_the_same_text_differ() {
        let key = Key::generate();
        assert_ne!(key.seal(b"", b"same"), key.seal(b"", b"same"));
    }

    #[test]
    fn keys_of_tenants_and_purposes_differ() {
        let ring = RingKey::new(Key::generate());
        let key = ring.derive(&tenant("a"), "attempt");
        assert_ne!(key.0, ring.derive(&tenant("b"), "attempt").0);
        assert_ne!(key.0, ring.derive(&tenant("a"), "session").0);
        assert_eq!(key.0, ring.derive(&tenant("a"), "attempt").0);
    }

    #[test]
    fn a_key_does_not_print_itself() {
        let ring = RingKey::new(Key::generate());
        let text = ring.to_text();
        assert!(!format!("{ring:?}").contains(text.expose_secret()));
        assert_eq!(format!("{:?}", ring.root), "Key(…)");
    }

    #[test]
    fn a_root_secret_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        let first = RingKey::read_or_make(&path).unwrap();
        let second = RingKey::read_or_make(&path).unwrap();
        assert_eq!(first.id(), second.id());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777, 0o600);
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(RingKey::read_or_make(&path), Err(RingKeyError::Malformed)));
    }
}
