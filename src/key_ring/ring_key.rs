//! One key of the ring: the root that every other key derives from, and the keys of each tenant, derived once.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::secret::{HashKey, Key, SecretString, base64url, from_base64url};
use crate::tenant_id::TenantId;

/// The id of a ring key: a hash that tells nothing about it. It stands in cookies and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 4]);

/// The text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the id of a key: expected eight hexadecimal digits, as `lychgate secret list` shows")]
pub struct KeyIdError;

/// The text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a key: expected 43 characters of base64url, as `lychgate secret` prints")]
pub struct MalformedKey;

/// A root secret. Nothing is sealed with it; see [`TenantKeys`].
pub struct RingKey {
    root: Key,
    id: KeyId,
    /// One for all tenants: each check needs it, and of ten thousand it would never be at hand.
    session_id: HashKey,
    tenants: ArcSwap<HashMap<TenantId, Arc<TenantKeys>>>,
}

/// What derives from one ring key for one tenant, each for one purpose.
#[derive(Debug)]
pub struct TenantKeys {
    /// Together with the cookie's own key, makes the key of a session's record.
    pub record: Key,
    /// Seals the summaries of sessions.
    pub summary: Key,
    /// Seals refresh tokens.
    pub refresh_token: Key,
    /// Hashes `sub` and `sid` into what sessions are listed by.
    pub index: Key,
    /// Seals what is remembered of users.
    pub user: Key,
    /// Hashes users into what the store knows them by.
    pub user_index: Key,
    /// The keys of sign-in attempts derive from it.
    pub attempt: Key,
    /// Seals what proves a form to be ours.
    pub form: Key,
    /// Hashes what a user's own sessions are called on the dashboard.
    pub reference: Key,
    /// Hashes what the audit log calls people.
    pub audit: Key,
}

impl RingKey {
    /// The ring key of this root secret.
    pub fn new(root: Key) -> Self {
        let [a, b, c, d, ..] = *root.derive(b"lychgate", &[b"ring key id"]).expose();
        let session_id = HashKey::from(&root.derive(b"lychgate", &[b"session id"]));
        Self { root, id: KeyId([a, b, c, d]), session_id, tenants: ArcSwap::default() }
    }

    /// A new random one.
    pub fn generate() -> Self {
        Self::new(Key::generate())
    }

    /// Which key of the ring this is.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Reads a key as [`RingKey::to_text`] writes it; space around it is ignored.
    ///
    /// # Errors
    /// It is anything but 32 bytes of base64url.
    pub fn from_text(text: &str) -> Result<Self, MalformedKey> {
        let bytes = from_base64url(text.trim()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Self::new(Key::from_bytes(bytes))).ok_or(MalformedKey)
    }

    /// The key for its file: 43 characters of base64url.
    pub fn to_text(&self) -> SecretString {
        base64url(self.root.expose()).into()
    }

    /// The keys of `tenant`. Derived at the first call; later ones take no lock.
    pub fn of(&self, tenant: &TenantId) -> Arc<TenantKeys> {
        if let Some(keys) = self.tenants.load().get(tenant) {
            return Arc::clone(keys);
        }
        let keys = Arc::new(self.derive(tenant));
        self.tenants.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.entry(tenant.clone()).or_insert_with(|| Arc::clone(&keys));
            known
        });
        self.tenants.load().get(tenant).cloned().unwrap_or(keys)
    }

    /// What the store knows the session of this id by.
    pub fn session_hash(&self, tenant: &TenantId, session_id: &[u8]) -> [u8; 32] {
        let tenant = tenant.as_str().as_bytes();
        // The length keeps a tenant's name and an id from being another name and another id.
        self.session_id.hash_all(&[&[tenant.len() as u8], tenant, session_id])
    }

    fn derive(&self, tenant: &TenantId) -> TenantKeys {
        let key =
            |purpose: &str| self.root.derive(b"lychgate", &[purpose.as_bytes(), b"\0", tenant.as_str().as_bytes()]);
        TenantKeys {
            record: key("session record"),
            summary: key("session summary"),
            refresh_token: key("refresh token"),
            index: key("session index"),
            user: key("user"),
            user_index: key("user index"),
            attempt: key("sign-in attempt"),
            form: key("form"),
            reference: key("session reference"),
            audit: key("audit subject"),
        }
    }
}

impl fmt::Debug for RingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingKey({})", self.id)
    }
}

impl fmt::Display for KeyId {
    /// Eight hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let hex = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = hex.then(|| u32::from_str_radix(text, 16).ok()).flatten().ok_or(KeyIdError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ExposeSecret as _;

    #[test]
    fn keys_of_tenants_and_purposes_differ_and_stay_the_same() {
        let key = RingKey::generate();
        let (acme, globex) = ("acme".parse().unwrap(), "globex".parse().unwrap());
        let bytes = |keys: &TenantKeys| {
            let TenantKeys { record, summary, refresh_token, index, user, user_index, attempt, form, reference, audit } =
                keys;
            [record, summary, refresh_token, index, user, user_index, attempt, form, reference, audit]
                .map(|key| *key.expose())
        };
        let all = [bytes(&key.of(&acme)), bytes(&key.of(&globex))].concat();
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), 20);
        let again = RingKey::from_text(key.to_text().expose_secret()).unwrap();
        assert_eq!(bytes(&again.of(&acme)), bytes(&key.of(&acme)));
        assert!(Arc::ptr_eq(&key.of(&acme), &key.of(&acme)), "derived once");
    }

    #[test]
    fn a_session_of_one_tenant_is_none_of_another() {
        let hash = |key: &RingKey, tenant: &str, id: &str| key.session_hash(&tenant.parse().unwrap(), id.as_bytes());
        let (key, other) = (RingKey::generate(), RingKey::generate());
        let known = hash(&key, "ac", "me-1");
        assert_eq!(hash(&key, "ac", "me-1"), known);
        for different in [hash(&other, "ac", "me-1"), hash(&key, "ac", "me-2"), hash(&key, "acme", "-1")] {
            assert_ne!(different, known);
        }
    }

    #[test]
    fn a_key_prints_its_id_alone() {
        let key = RingKey::generate();
        key.of(&"acme".parse().unwrap());
        assert_eq!(format!("{key:?}"), format!("RingKey({})", key.id()));
        assert!(!format!("{:?}", key.of(&"acme".parse().unwrap())).contains(|c: char| c.is_ascii_digit()));
    }

    #[test]
    fn an_id_reads_back_and_nothing_else_does() {
        assert_eq!(KeyId([0, 1, 0xab, 0xff]).to_string(), "0001abff");
        assert_eq!("0001abff".parse(), Ok(KeyId([0, 1, 0xab, 0xff])));
        for bad in ["", "1abff", "0001abfg", "+001abff", "0001abff0"] {
            assert_eq!(bad.parse::<KeyId>(), Err(KeyIdError), "{bad}");
        }
    }
}
