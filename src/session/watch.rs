//! Waiting for the end of a session, for what lasts longer than a request.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use moka::future::Cache;
use moka::ops::compute::Op;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::news::News;
use super::store::Store;
use super::{Session, Sessions};
use crate::config::SessionLimits;
use crate::tenant_id::TenantId;

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

/// The session of this hash was ended in the store: it opens nothing here any more. A load that is under way is waited
/// for, as in [`Sessions::end`].
pub(super) async fn drop_from(cache: &Cache<[u8; 32], Arc<Session>>, id_hash: [u8; 32]) {
    cache.entry(id_hash).and_compute_with(|_| async { Op::Remove }).await;
}

/// Takes sessions that were ended out of the cache, and tells everybody whom it concerns.
pub(super) async fn forget(
    store: &Store,
    cache: &Cache<[u8; 32], Arc<Session>>,
    news: &News,
    ends: &Ends,
    tenant: &TenantId,
    ended: &[[u8; 32]],
) {
    for id_hash in ended {
        news.ended(tenant, *id_hash);
        drop_from(cache, *id_hash).await;
        ends.tell(*id_hash);
    }
    for some in ended.chunks(TOLD_AT_ONCE) {
        let ended: Vec<_> = some.iter().map(|id_hash| (tenant.clone(), *id_hash)).collect();
        news.tell(store, &ended, &[]).await;
    }
}

/// Another replica has changed the session of this hash: it is read anew at its next use.
pub(super) async fn doubt(cache: &Cache<[u8; 32], Arc<Session>>, id_hash: [u8; 32]) {
    let mark = |entry: Option<moka::Entry<[u8; 32], Arc<Session>>>| async {
        if let Some(entry) = entry {
            entry.value().doubtful.store(true, Ordering::Release);
        }
        Op::Nop
    };
    cache.entry(id_hash).and_compute_with(mark).await;
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
}
