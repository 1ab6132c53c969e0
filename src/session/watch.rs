//! The ends of sessions, told to whoever must know: the cache of this process, where others ended them; and what lasts
//! longer than a request. Ends by a handle, too.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::near::Near;
use super::news::News;
use super::store::Store;
use super::{EndReason, Session, Sessions, StoreError};
use crate::config::SessionLimits;
use crate::secret::from_base64url;
use crate::tenant_id::TenantId;

/// Time between two looks at what other processes ended.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// Ends that somebody who waits may be behind by; then they look into the store.
const BEHIND: usize = 256;
/// Ends that are told to other replicas in one message.
const TOLD_AT_ONCE: usize = 256;
/// How often the store is asked whether the session is still there: another process may have ended it.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Tells which sessions end, by the hashes of their ids.
pub(super) struct Ends(broadcast::Sender<[u8; 32]>);

impl Ends {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }

    pub(super) fn tell(&self, id_hash: [u8; 32]) {
        // Nobody may be waiting.
        let _ = self.0.send(id_hash);
    }
}

/// Takes sessions that were ended out of the cache, and tells everybody whom it concerns.
pub(super) async fn forget(
    store: &Store,
    near: &Near,
    news: &News,
    ends: &Ends,
    tenant: &TenantId,
    ended: &[[u8; 32]],
) {
    for id_hash in ended {
        news.ended(tenant, *id_hash);
        near.drop(*id_hash).await;
        ends.tell(*id_hash);
    }
    for some in ended.chunks(TOLD_AT_ONCE) {
        let ended: Vec<_> = some.iter().map(|id_hash| (tenant.clone(), *id_hash)).collect();
        news.tell(store, &ended, &[]).await;
    }
}

impl Sessions {
    /// Waits until `session` is over. What goes on meanwhile is no use of it; a store that does not answer ends nothing.
    pub async fn ended(&self, session: &Session, limits: &SessionLimits) {
        let mut ends = self.ends.0.subscribe();
        // It may have ended before we listened.
        while !self.is_gone(session, limits).await {
            let left = session.idle_expires_at(limits).since(self.clock.now()).max(1);
            let wait = Duration::from_secs(left.unsigned_abs()).min(LOOK_EVERY);
            let told = async {
                loop {
                    match ends.recv().await {
                        Ok(ended) if ended != session.id_hash => {}
                        Ok(_) | Err(RecvError::Lagged(_)) => return,
                        // The sender lives as long as we do.
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            // Whether the time was up or something was told: the store knows.
            let _ = tokio::time::timeout(wait, told).await;
        }
    }

    /// Whether the session is over, as far as the store knows of its last use.
    async fn is_gone(&self, session: &Session, limits: &SessionLimits) -> bool {
        if !self.ring.accepts(session.ring) {
            return true;
        }
        match self.store.find(&session.tenant, session.id_hash).await {
            Ok(None) => true,
            Ok(Some(stored)) => {
                session.seen_at(stored.last_seen_at);
                session.is_over(limits, self.clock.now())
            }
            Err(_) => session.is_over(limits, self.clock.now()),
        }
    }

    /// Ends the session of this [`Session::handle`].
    ///
    /// # Errors
    /// The store could not remove it.
    pub async fn end_by_handle(&self, tenant: &TenantId, handle: &str, reason: EndReason) -> Result<bool, StoreError> {
        match from_base64url(handle).and_then(|bytes| bytes.try_into().ok()) {
            Some(id_hash) => self.end_by_id(tenant, id_hash, reason).await,
            None => Ok(false),
        }
    }

    /// Somebody else ended the session of this hash.
    pub(super) async fn ended_elsewhere(&self, id_hash: [u8; 32]) {
        self.near.drop(id_hash).await;
        self.ends.tell(id_hash);
    }

    /// Looks for sessions that other processes ended, for ever; the caller spawns this and aborts it.
    pub async fn keep_watched(self: Arc<Self>) {
        let (mut last, mut was_well) = (0, true);
        loop {
            match self.store.ended_since(&mut last).await {
                Ok(ended) => {
                    was_well = true;
                    for id_hash in ended {
                        self.ended_elsewhere(id_hash).await;
                    }
                }
                Err(error) => {
                    if std::mem::take(&mut was_well) {
                        let error = &error as &dyn Error;
                        tracing::warn!(error, "cannot see which sessions other processes end");
                    }
                }
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }
}
