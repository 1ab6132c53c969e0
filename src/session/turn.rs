//! The turn to renew a session's tokens: across all replicas, one has it at a time. A refresh token may be good for one
//! use only, so two who refresh at the same time would end a sign-in's tokens.
//!
//! In Redis it is a key that lives for seconds and is extended while the turn lasts, so that a replica that dies delays
//! the others by little. In one process `gateway::renewals` sees to it already.

use std::fmt;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::store::Store;
use super::{Session, Sessions, StoreError};
use crate::secret::random_text;
use crate::tenant_id::TenantId;

/// How long a turn lasts that nobody extends.
const LASTS: Duration = Duration::from_secs(4);
/// Time between two extensions.
const EXTENDED_EVERY: Duration = Duration::from_secs(1);
/// Time between two questions whether it is our turn.
const ASKED_EVERY: Duration = Duration::from_millis(50);

/// Our turn, until it is given back or dropped.
pub struct Turn {
    held: Option<Held>,
}

struct Held {
    store: Store,
    tenant: TenantId,
    id_hash: [u8; 32],
    owner: String,
    extending: JoinHandle<()>,
}

impl Sessions {
    /// Waits for the turn to renew `session`, for as long as another replica has it.
    ///
    /// # Errors
    /// The store did not answer: nobody may renew then.
    pub async fn turn(&self, session: &Session) -> Result<Turn, StoreError> {
        if !self.news.is_shared() {
            return Ok(Turn { held: None });
        }
        let (store, tenant, id_hash) = (self.store.clone(), session.tenant.clone(), session.id_hash);
        let owner = random_text();
        while !store.take_turn(&tenant, id_hash, &owner, LASTS).await? {
            tokio::time::sleep(ASKED_EVERY).await;
        }
        let (extended, of, by) = (store.clone(), tenant.clone(), owner.clone());
        let extending = tokio::spawn(async move {
            let mut next = Instant::now();
            loop {
                next += EXTENDED_EVERY;
                tokio::time::sleep_until(next).await;
                // What could not be extended is tried again while it lasts; a turn that was lost is not taken back.
                let _ = extended.take_turn(&of, id_hash, &by, LASTS).await;
            }
        });
        Ok(Turn { held: Some(Held { store, tenant, id_hash, owner, extending }) })
    }
}

impl Turn {
    /// Whether other replicas wait for it.
    pub const fn is_shared(&self) -> bool {
        self.held.is_some()
    }

    /// Gives it back; if that fails, it passes by itself.
    pub async fn give_back(mut self) {
        if let Some(held) = self.held.take() {
            held.extending.abort();
            let _ = held.store.give_turn_back(&held.tenant, held.id_hash, &held.owner).await;
        }
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn(…)")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            held.extending.abort();
        }
    }
}
