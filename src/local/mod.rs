//! Local accounts: who has one at a tenant, and whether a name and a password are theirs. Guessing is slow: see `limits`.
//! A name that nobody has costs the same time and gets the same answer as a wrong password.

mod limits;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use self::limits::Limits;
use crate::clock::Clock;
use crate::config::LocalUser;
use crate::credentials::{PasswordHash, canonical_name};
use crate::secret::{Key, SecretString};
use crate::tenant_id::TenantId;

/// Passwords that are verified at the same time; each takes a core and some megabytes.
const AT_ONCE: usize = 2;
/// How long somebody waits for their turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a password.
const PASSWORD_MAX: usize = 1024;

/// The local accounts of one tenant; at least one.
pub struct Accounts {
    users: HashMap<String, LocalUser>,
    /// The fingerprints, by `sub`.
    fingerprints: HashMap<String, String>,
    hashes: Vec<PasswordHash>,
    /// Chooses the hash that an unknown name is measured by.
    key: Key,
}

impl Accounts {
    /// These accounts; none if there are none.
    pub fn new(users: &[LocalUser]) -> Option<Self> {
        let hashes = users.iter().map(|user| user.password_hash.clone()).collect();
        let by_name = users.iter().map(|user| (canonical_name(&user.name), user.clone())).collect();
        let fingerprints = users.iter().map(|user| (user.subject(), user.fingerprint())).collect();
        (!users.is_empty()).then(|| Self { users: by_name, fingerprints, hashes, key: Key::generate() })
    }

    /// Whether somebody of this `sub` still has the account of this fingerprint.
    pub fn have(&self, sub: &str, fingerprint: Option<&str>) -> bool {
        self.fingerprints.get(sub).map(String::as_str).is_some_and(|known| Some(known) == fingerprint)
    }

    /// The account of this name, and the hash to verify the password with: if there is no such account, that of another,
    /// always the same one for the same name, so that no time tells names apart.
    fn find(&self, canonical: &str) -> (Option<&LocalUser>, &PasswordHash) {
        if let Some(user) = self.users.get(canonical) {
            return (Some(user), &user.password_hash);
        }
        let hash = self.key.hash(canonical.as_bytes());
        let number = u64::from_be_bytes(hash[..8].try_into().expect("8 of 32 bytes"));
        (None, &self.hashes[(number % self.hashes.len() as u64) as usize])
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("count", &self.users.len()).finish_non_exhaustive()
    }
}

/// Why nobody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    /// There is no such account, or it has another password.
    #[error("name or password is wrong")]
    Refused,
    /// There were too many tries with this name or from this address.
    #[error("too many tries; the next one counts in {} s", .retry_after.as_secs())]
    Limited {
        /// When the next one counts.
        retry_after: Duration,
        /// The label `limit`.
        limit: &'static str,
    },
    /// Too many passwords are being verified.
    #[error("too many passwords are being verified")]
    Busy,
}

impl LocalError {
    /// The limit that was reached, as metrics call it.
    pub const fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Refused => None,
            Self::Limited { limit, .. } => Some(limit),
            Self::Busy => Some("local_passwords"),
        }
    }
}

/// Verifies passwords. One per process.
pub struct PasswordDesk {
    limits: Limits,
    turns: Arc<Semaphore>,
}

impl PasswordDesk {
    /// Nobody has tried yet.
    pub fn new(clock: Clock) -> Self {
        Self { limits: Limits::new(clock), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The account of this name and password.
    ///
    /// # Errors
    /// There is none, there were too many tries, or too many others are trying.
    pub async fn verify<'a>(
        &self,
        tenant: &TenantId,
        accounts: &'a Accounts,
        unverified_name: &str,
        password: SecretString,
        address: IpAddr,
    ) -> Result<&'a LocalUser, LocalError> {
        use crate::secret::ExposeSecret as _;
        let canonical = canonical_name(unverified_name);
        self.limits.take(tenant, &canonical, address)?;
        if password.expose_secret().len() > PASSWORD_MAX {
            return Err(LocalError::Refused);
        }
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(LocalError::Busy)?;
        let (user, hash) = accounts.find(&canonical);
        let hash = hash.clone();
        let verified = tokio::task::spawn_blocking(move || {
            // Whoever hangs up does not give the turn to somebody else before the work is done.
            let _turn = turn;
            hash.verify(&password)
        });
        let verified = verified.await.unwrap_or(false);
        user.filter(|_| verified).ok_or(LocalError::Refused)
    }
}

impl fmt::Debug for PasswordDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordDesk").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> LocalUser {
        LocalUser::new(name, PasswordHash::of(&format!("password of {name}").into()))
    }

    fn desk() -> (PasswordDesk, Accounts, TenantId) {
        let accounts = Accounts::new(&[user("ada"), user("grace")]).unwrap();
        (PasswordDesk::new(Clock::system()), accounts, "acme".parse().unwrap())
    }

    #[tokio::test]
    async fn a_name_opens_with_its_own_password_in_any_case() {
        let (desk, accounts, tenant) = desk();
        let address = IpAddr::from([127, 0, 0, 1]);
        let found = desk.verify(&tenant, &accounts, "ADA", "password of ada".into(), address).await;
        assert_eq!(found.unwrap().name, "ada");
        for (name, password) in [("ada", "password of grace"), ("nobody", "password of ada"), ("ada", "")] {
            let refused = desk.verify(&tenant, &accounts, name, password.into(), address).await;
            assert_eq!(refused.unwrap_err(), LocalError::Refused, "{name}");
        }
    }

    #[tokio::test]
    async fn an_unknown_name_does_not_open_with_the_password_of_the_account_it_is_measured_by() {
        let (desk, accounts, tenant) = desk();
        for (number, password) in ["password of ada", "password of grace"].into_iter().enumerate() {
            let address = IpAddr::from([127, 0, 0, number as u8 + 1]);
            let refused = desk.verify(&tenant, &accounts, "mallory", password.into(), address).await;
            assert_eq!(refused.unwrap_err(), LocalError::Refused);
        }
    }

    #[test]
    fn an_unknown_name_is_always_measured_by_the_same_hash() {
        use crate::secret::ExposeSecret as _;
        let (_, accounts, _) = desk();
        let text = |name: &str| accounts.find(name).1.to_text().expose_secret().to_owned();
        for name in ["mallory", "eve", "trent"] {
            assert!(accounts.find(name).0.is_none());
            assert_eq!(text(name), text(name));
        }
    }
}
