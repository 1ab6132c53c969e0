//! Where sessions, used attempts and users are kept: what can be asked of a store, whichever it is, counted, timed and
//! bounded in time. What the rows hold is the business of `record`.

mod database;
mod embedded;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

#[cfg(test)]
pub(super) use self::embedded::AT_ONCE;
use self::embedded::Embedded;
use super::error::{OpenError, StoreError};
use super::record::{Row, Touch};
use crate::clock::Timestamp;
use crate::metrics::Metrics;
use crate::tenant_id::TenantId;

/// How long an operation may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The way to a store; cheap to clone.
#[derive(Clone)]
pub(super) struct Store {
    kind: Kind,
    metrics: Arc<Metrics>,
    pub(super) limit: Duration,
}

#[derive(Clone)]
enum Kind {
    Embedded(Embedded),
}

/// What a store keeps of a session that a request needs.
pub(super) struct StoredSession {
    pub(super) last_seen_at: Timestamp,
    pub(super) record: Vec<u8>,
    pub(super) refresh_token: Option<Vec<u8>>,
}

/// Which sessions of a tenant to list.
#[derive(Clone, Copy)]
pub(super) enum Which {
    All,
    /// By the keyed hash of issuer and sub.
    Sub([u8; 32]),
    /// By the keyed hash of issuer and sid.
    Sid([u8; 32]),
}

/// What a store keeps of a session that a list needs.
pub(super) struct ListedRow {
    pub(super) id_hash: [u8; 32],
    pub(super) last_seen_at: Timestamp,
    pub(super) ends_at: Timestamp,
    pub(super) summary: Vec<u8>,
    pub(super) refresh_token: Option<Vec<u8>>,
}

/// A session that was over.
pub(super) struct Swept {
    /// Whose it was; none if nobody is called so any more.
    pub(super) tenant: Option<TenantId>,
    /// Whether nobody had used it for too long.
    pub(super) idle: bool,
}

impl Store {
    /// The database in `folder`; both are made where they are missing. Blocks.
    pub(super) fn embedded(folder: &Path, metrics: Arc<Metrics>) -> Result<Self, OpenError> {
        Ok(Self { kind: Kind::Embedded(Embedded::open(folder)?), metrics, limit: LIMIT })
    }

    /// The label `store`.
    pub(super) const fn label(&self) -> &'static str {
        match self.kind {
            Kind::Embedded(_) => "embedded",
        }
    }

    /// Keeps a new session. When this returns, a killed process does not lose it.
    pub(super) async fn insert(&self, tenant: &TenantId, row: Row) -> Result<(), StoreError> {
        let Kind::Embedded(store) = &self.kind;
        self.timed("create", store.insert(tenant, row)).await
    }

    /// The session of this id.
    pub(super) async fn find(&self, tenant: &TenantId, id_hash: [u8; 32]) -> Result<Option<StoredSession>, StoreError> {
        let Kind::Embedded(store) = &self.kind;
        self.timed("find", store.find(tenant, id_hash)).await
    }

    /// Notes a session's last use, unless a later one is known; makes no session.
    pub(super) async fn touch(&self, touch: Touch) -> Result<(), StoreError> {
        let Kind::Embedded(store) = &self.kind;
        self.timed("touch", store.touch(touch)).await
    }

    /// Removes a session and leaves word of it for other processes; true if it was there.
    pub(super) async fn remove(
        &self,
        tenant: &TenantId,
        id_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Kind::Embedded(store) = &self.kind;
        self.timed("end", store.remove(tenant, id_hash, now)).await
    }

    /// Sessions as they are kept, by an index or all of a tenant's.
    pub(super) async fn list(&self, tenant: &TenantId, which: Which) -> Result<Vec<ListedRow>, StoreError> {
        let Kind::Embedded(store) = &self.kind;
        self.timed("list", store.list(tenant, which)).await
    }

    /// What was ended since `last`, which then names the newest of them. 0 is the beginning, an hour ago.
    pub(super) async fn ended_since(&self, last: &mut i64) -> Result<Vec<[u8; 32]>, StoreError> {
        let Kind::Embedded(store) = &self.kind;
        let ended = tokio::time::timeout(self.limit, store.ended_since(*last)).await;
        let ended = ended.unwrap_or(Err(StoreError::Slow))?;
        *last = ended.last().map_or(*last, |(number, _)| *number);
        Ok(ended.into_iter().map(|(_, id_hash)| id_hash).collect())
    }

    /// Notes that something was used that can be used once; false if that was known.
    pub(super) async fn use_once(
        &self,
        tenant: &TenantId,
        name: &str,
        forget_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let Kind::Embedded(store) = &self.kind;
        self.timed("use_once", store.use_once(tenant, name, forget_at)).await
    }

    /// Takes that note back.
    pub(super) async fn use_again(&self, tenant: &TenantId, name: &str) -> Result<(), StoreError> {
        let Kind::Embedded(store) = &self.kind;
        self.timed("use_again", store.use_again(tenant, name)).await
    }

    /// Replaces a user's record by what `change` makes of it. Nobody else changes it meanwhile.
    pub(super) async fn change_user(
        &self,
        tenant: &TenantId,
        user_hash: [u8; 32],
        ring: [u8; 4],
        change: impl FnOnce(Option<Vec<u8>>) -> Vec<u8> + Send + 'static,
    ) -> Result<(), StoreError> {
        let Kind::Embedded(store) = &self.kind;
        self.timed("remember_user", store.change_user(tenant, user_hash, ring, change)).await
    }

    /// Removes a user's record.
    pub(super) async fn forget_user(&self, tenant: &TenantId, user_hash: [u8; 32]) -> Result<(), StoreError> {
        let Kind::Embedded(store) = &self.kind;
        self.timed("forget_user", store.forget_user(tenant, user_hash)).await
    }

    /// The users of a tenant, each with what it is found by.
    pub(super) async fn users(&self, tenant: &TenantId) -> Result<Vec<([u8; 32], Vec<u8>)>, StoreError> {
        let Kind::Embedded(store) = &self.kind;
        self.timed("users", store.users(tenant)).await
    }

    /// Whether it can be read and has room for more; sets `session_store_up`.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let Kind::Embedded(store) = &self.kind;
        let done = self.timed("check", store.check()).await;
        self.metrics.session_store_up.with_label_values(&[self.label()]).set(done.is_ok().into());
        done
    }

    /// Removes what is over, and says which sessions that were.
    pub(super) async fn sweep(&self, now: Timestamp) -> Result<Vec<Swept>, StoreError> {
        let Kind::Embedded(store) = &self.kind;
        let mut all = Vec::new();
        loop {
            let (mut swept, done) = self.timed("sweep", store.sweep(now)).await?;
            all.append(&mut swept);
            if done {
                return Ok(all);
            }
        }
    }

    /// How many sessions each tenant has.
    pub(super) async fn count(&self) -> Result<Vec<(Option<TenantId>, i64)>, StoreError> {
        let Kind::Embedded(store) = &self.kind;
        self.timed("count", store.count()).await
    }

    /// Does what still waits, and closes. What is asked afterwards fails.
    pub(super) async fn close(&self) {
        let Kind::Embedded(store) = &self.kind;
        if tokio::time::timeout(self.limit, store.database.close()).await.is_err() {
            tracing::warn!("session store takes too long to close");
        }
    }

    /// Counts and times `work`, and gives up on it when an operation's time is over.
    async fn timed<T>(
        &self,
        operation: &str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        let done = tokio::time::timeout(self.limit, work).await.unwrap_or(Err(StoreError::Slow));
        let result = done.as_ref().map_or_else(StoreError::as_str, |_| "ok");
        self.metrics.session_operations_total.with_label_values(&[self.label(), operation, result]).inc();
        let duration = self.metrics.session_operation_duration_seconds.with_label_values(&[self.label(), operation]);
        duration.observe(start.elapsed().as_secs_f64());
        done
    }

    #[cfg(test)]
    pub(super) const fn database(&self) -> &database::Database {
        let Kind::Embedded(store) = &self.kind;
        &store.database
    }
}
