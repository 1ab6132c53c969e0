//! Where sessions, used attempts and users are kept: what can be asked of a store, whichever it is, counted, timed and
//! bounded in time. What the rows hold is the business of `record`.

mod database;
mod embedded;
mod redis;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tokio::time::Instant;
use tracing::Instrument as _;

pub use self::database::FILES as DATABASE_FILES;
#[cfg(test)]
pub(super) use self::embedded::AT_ONCE;
use self::embedded::Embedded;
use self::redis::Redis;
#[cfg(any(test, fuzzing))]
pub(super) use self::redis::{Ended, found, listed};
use super::error::{ExamineError, OpenError, StoreError};
use super::news::Messages;
use super::record::{Row, Touch};
use crate::clock::{Clock, Timestamp};
use crate::config::RedisSettings;
use crate::metrics::Metrics;
use crate::tenant_id::TenantId;
use crate::trace;

/// Sessions that one user may have at a tenant; beyond that, the ones that end first end for a new one.
pub(super) const PER_USER: usize = 500;
/// How long an operation on the database may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long it may take to connect to Redis and to ask its masters about themselves.
const EXAMINED_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take to look at everything, which only operators ask for.
const LIST_LIMIT: Duration = Duration::from_mins(1);

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
    Redis(Redis),
}

/// What a store keeps of a session that a request needs.
pub(super) struct StoredSession {
    pub(super) last_seen_at: Timestamp,
    pub(super) record: Vec<u8>,
    pub(super) refresh_token: Option<Vec<u8>>,
}

/// What a store tells of a session without its cookie.
pub(super) struct Listed {
    pub(super) id_hash: [u8; 32],
    /// The ring key that summary and refresh token stand under.
    pub(super) ring: [u8; 4],
    pub(super) last_seen_at: Timestamp,
    /// When it ends if nobody uses it any more.
    pub(super) ends_at: Timestamp,
    pub(super) summary: Vec<u8>,
    pub(super) refresh_token: Option<Vec<u8>>,
}

/// A user's record as it lies there.
pub(super) struct FoundUser {
    pub(super) tenant: TenantId,
    pub(super) user_hash: [u8; 32],
    pub(super) sealed: Vec<u8>,
}

/// What a renewal changes of a session.
pub(super) struct Update {
    pub(super) record: Vec<u8>,
    pub(super) refresh_token: Option<Vec<u8>>,
    /// It ends then, or earlier if it did before.
    pub(super) expires_at: Timestamp,
}

/// A session that was over.
pub(super) struct Swept {
    /// Whose it was; none if nobody is called so any more.
    pub(super) tenant: Option<TenantId>,
    pub(super) id_hash: [u8; 32],
    /// Whether nobody had used it for too long.
    pub(super) idle: bool,
}

/// Asks the store, whichever it is: `asked!(self, OPERATION, store => what is asked of it)`, with the operation's label.
macro_rules! asked {
    ($self:ident, $operation:literal, $store:ident => $work:expr) => {
        asked!($self, $operation, $self.limit, $store => $work, $store => $work)
    };
    ($self:ident, $operation:literal, $limit:expr, $embedded:ident => $here:expr, $redis:ident => $there:expr) => {
        match &$self.kind {
            Kind::Embedded($embedded) => $self.timed($operation, $limit, $here).await,
            // Boxed: it is large, and every request that may end up here would carry it along.
            Kind::Redis($redis) => $self.timed($operation, $limit, Box::pin($there)).await,
        }
    };
}

/// What a master of Redis says about itself.
#[derive(Clone, Debug)]
pub struct RedisServer {
    /// Its version.
    pub version: String,
    /// `maxmemory-policy`.
    pub eviction: String,
    /// `maxmemory` in bytes; 0 where there is no bound.
    pub max_memory: u64,
    /// What is in use, in bytes.
    pub used_memory: u64,
    /// `appendonly yes`: a restart loses at most a second.
    pub appends: bool,
    /// Replicas that are connected.
    pub replicas: u64,
}

impl Store {
    /// What the masters of Redis say about themselves.
    pub(super) async fn examine(settings: &RedisSettings, clock: Clock) -> Result<Vec<RedisServer>, ExamineError> {
        let redis = Redis::open(settings, clock, &Metrics::new(0))?;
        let asked = tokio::time::timeout(EXAMINED_WITHIN, async {
            // It writes: a user who may only read is found out.
            redis.check().await?;
            redis.examine().await
        });
        Ok(asked.await.unwrap_or(Err(StoreError::Slow))?)
    }

    /// The database in `folder`; both are made where they are missing. Blocks.
    pub(super) fn embedded(folder: &Path, metrics: Arc<Metrics>) -> Result<Self, OpenError> {
        Ok(Self { kind: Kind::Embedded(Embedded::open(folder)?), metrics, limit: LIMIT })
    }

    /// Redis, as `settings` say; connects when something is asked.
    pub(super) fn redis(settings: &RedisSettings, clock: Clock, metrics: Arc<Metrics>) -> Result<Self, OpenError> {
        let redis = Redis::open(settings, clock, &metrics)?;
        Ok(Self { kind: Kind::Redis(redis), metrics, limit: settings.timeout })
    }

    /// The label `store`.
    pub(super) const fn label(&self) -> &'static str {
        match self.kind {
            Kind::Embedded(_) => "embedded",
            Kind::Redis(_) => "redis",
        }
    }

    /// Whether it counts its sessions; Redis would have to look at all of them.
    pub(super) const fn counts(&self) -> bool {
        matches!(self.kind, Kind::Embedded(_))
    }

    /// Keeps a new session. When this returns, a killed process does not lose it. Gives the ids of those that had to
    /// end because the user has [`PER_USER`].
    pub(super) async fn insert(&self, tenant: &TenantId, row: Row) -> Result<Vec<[u8; 32]>, StoreError> {
        asked!(self, "create", store => store.insert(tenant, row))
    }

    /// The session of this id.
    pub(super) async fn find(&self, tenant: &TenantId, id_hash: [u8; 32]) -> Result<Option<StoredSession>, StoreError> {
        self.find_within(self.limit, tenant, id_hash).await
    }

    /// The same; the answer is waited for that long.
    pub(super) async fn find_within(
        &self,
        limit: Duration,
        tenant: &TenantId,
        id_hash: [u8; 32],
    ) -> Result<Option<StoredSession>, StoreError> {
        let limit = limit.min(self.limit);
        asked!(self, "find", limit, store => store.find(tenant, id_hash), store => store.find(tenant, id_hash))
    }

    /// Notes a session's last use, unless a later one is known; makes no session.
    pub(super) async fn touch(&self, touch: Touch) -> Result<(), StoreError> {
        asked!(self, "touch", store => store.touch(touch))
    }

    /// Replaces what a renewal changes; false if there is no such session any more. Makes none.
    pub(super) async fn update(
        &self,
        tenant: &TenantId,
        id_hash: [u8; 32],
        update: Update,
    ) -> Result<bool, StoreError> {
        asked!(self, "renew", store => store.update(tenant, id_hash, update))
    }

    /// Removes a session and leaves word of it for other processes; true if it was there.
    pub(super) async fn remove(
        &self,
        tenant: &TenantId,
        id_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        asked!(self, "end", self.limit,
            store => store.remove(tenant, id_hash, now),
            store => store.remove(tenant, id_hash))
    }

    /// The same with several; says how many were there. If it fails, some may be gone.
    pub(super) async fn remove_many(
        &self,
        tenant: &TenantId,
        ids: Vec<[u8; 32]>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        asked!(self, "end_many", LIST_LIMIT,
            store => store.remove_many(tenant, ids, now),
            store => store.remove_many(tenant, &ids))
    }

    /// What was ended since `last`, which then names the newest of them. 0 is the beginning, an hour ago. Redis does not
    /// tell so.
    pub(super) async fn ended_since(&self, last: &mut i64) -> Result<Vec<[u8; 32]>, StoreError> {
        let Kind::Embedded(store) = &self.kind else { return Ok(Vec::new()) };
        let ended = tokio::time::timeout(self.limit, store.ended_since(*last)).await;
        let ended = ended.unwrap_or(Err(StoreError::Slow))?;
        *last = ended.last().map_or(*last, |(number, _)| *number);
        Ok(ended.into_iter().map(|(_, id_hash)| id_hash).collect())
    }

    /// The live sessions of a user, by the keyed hash of issuer and sub; the one used last first.
    pub(super) async fn by_sub(
        &self,
        tenant: &TenantId,
        sub_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        asked!(self, "list", self.limit,
            store => store.by_sub(tenant, sub_hash, now),
            store => store.by("sub", tenant, &sub_hash, now))
    }

    /// The live sessions of a provider's session, by the keyed hash of issuer and sid; the one used last first.
    pub(super) async fn by_sid(
        &self,
        tenant: &TenantId,
        sid_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        asked!(self, "list", self.limit,
            store => store.by_sid(tenant, sid_hash, now),
            store => store.by("sid", tenant, &sid_hash, now))
    }

    /// All live sessions of a tenant, the one used last first. For operators: it may look at everything there is.
    pub(super) async fn all(&self, tenant: &TenantId, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        asked!(self, "list_all", LIST_LIMIT, store => store.all(tenant, now), store => store.all(tenant, now))
    }

    /// Notes that something was used that can be used once; false if that was known.
    pub(super) async fn use_once(
        &self,
        tenant: &TenantId,
        name: &str,
        forget_at: Timestamp,
    ) -> Result<bool, StoreError> {
        asked!(self, "use_once", store => store.use_once(tenant, name, forget_at))
    }

    /// Takes that note back.
    pub(super) async fn use_again(&self, tenant: &TenantId, name: &str) -> Result<(), StoreError> {
        asked!(self, "use_again", store => store.use_again(tenant, name))
    }

    /// Puts a user's record, as `change` makes it, in the place of those found by `hashes`, of which the first finds it
    /// from now on, or none if it makes none. `change` is given what each of them found, and may be asked several times.
    /// Nobody else changes that record
    /// meanwhile.
    pub(super) async fn change_user(
        &self,
        tenant: &TenantId,
        hashes: Vec<[u8; 32]>,
        ring: [u8; 4],
        change: impl Fn(&[Option<Vec<u8>>]) -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<(), StoreError> {
        asked!(self, "remember_user", store => store.change_user(tenant, hashes, ring, change))
    }

    /// The users of a tenant, each with what it is found by. For operators: it may look at everything there is.
    pub(super) async fn users(&self, tenant: &TenantId) -> Result<Vec<([u8; 32], Vec<u8>)>, StoreError> {
        asked!(self, "users", LIST_LIMIT, store => store.users(tenant), store => store.users(tenant))
    }

    /// The users of all tenants whose records do not stand under the ring key `ring`. It may look at everything there is.
    pub(super) async fn users_elsewhere(&self, ring: [u8; 4]) -> Result<Vec<FoundUser>, StoreError> {
        asked!(self, "users", LIST_LIMIT, store => store.users_elsewhere(ring), store => store.users_elsewhere(ring))
    }

    /// Whether it can be read and has room for more; sets `session_store_up`.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let done = asked!(self, "check", store => store.check());
        self.metrics.session_store_up.with_label_values(&[self.label()]).set(done.is_ok().into());
        done
    }

    /// Publishes a message to all who share the store.
    pub(super) async fn publish(&self, message: &str) -> Result<(), StoreError> {
        match &self.kind {
            Kind::Embedded(_) => Ok(()),
            Kind::Redis(redis) => Box::pin(redis.publish(message)).await,
        }
    }

    /// What is published from now on, by ourselves as well.
    pub(super) async fn subscribe(&self) -> Result<Messages, StoreError> {
        match &self.kind {
            Kind::Embedded(_) => Ok(Box::pin(stream::pending())),
            Kind::Redis(redis) => redis.subscribe().await,
        }
    }

    /// Takes the turn to renew a session, or makes it last longer; false if somebody else has it.
    pub(super) async fn take_turn(
        &self,
        tenant: &TenantId,
        id_hash: [u8; 32],
        owner: &str,
        lasts: Duration,
    ) -> Result<bool, StoreError> {
        match &self.kind {
            Kind::Embedded(_) => Ok(true),
            Kind::Redis(redis) => {
                self.timed("take_turn", self.limit, Box::pin(redis.take_turn(tenant, id_hash, owner, lasts))).await
            }
        }
    }

    /// Gives it back, if it is still ours.
    pub(super) async fn give_turn_back(
        &self,
        tenant: &TenantId,
        id_hash: [u8; 32],
        owner: &str,
    ) -> Result<(), StoreError> {
        match &self.kind {
            Kind::Embedded(_) => Ok(()),
            Kind::Redis(redis) => {
                self.timed("give_turn_back", self.limit, Box::pin(redis.give_turn_back(tenant, id_hash, owner))).await
            }
        }
    }

    /// Which servers take writes.
    pub(super) async fn servers(&self) -> Result<Vec<String>, StoreError> {
        match &self.kind {
            Kind::Embedded(_) => Ok(Vec::new()),
            Kind::Redis(redis) => {
                tokio::time::timeout(self.limit, redis.servers()).await.unwrap_or(Err(StoreError::Slow))
            }
        }
    }

    /// Removes what is over, and says which sessions that were. Redis does so by itself, and says nothing.
    pub(super) async fn sweep(&self, now: Timestamp) -> Result<Vec<Swept>, StoreError> {
        let Kind::Embedded(store) = &self.kind else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        loop {
            let (mut swept, done) = self.timed("sweep", self.limit, store.sweep(now)).await?;
            all.append(&mut swept);
            if done {
                return Ok(all);
            }
        }
    }

    /// How many sessions each tenant has; nothing of a store that does not count.
    pub(super) async fn count(&self) -> Result<Vec<(Option<TenantId>, i64)>, StoreError> {
        let Kind::Embedded(store) = &self.kind else { return Ok(Vec::new()) };
        self.timed("count", self.limit, store.count()).await
    }

    /// How many sessions that are not over stand under a ring key; none of a store that does not count.
    pub(super) async fn count_under(&self, ring: [u8; 4], now: Timestamp) -> Result<Option<u64>, StoreError> {
        let Kind::Embedded(store) = &self.kind else { return Ok(None) };
        self.timed("count", self.limit, store.count_under(ring, now)).await.map(Some)
    }

    /// Does what still waits, and closes. What is asked of the database afterwards fails.
    pub(super) async fn close(&self) {
        let Kind::Embedded(store) = &self.kind else { return };
        if tokio::time::timeout(self.limit, store.database.close()).await.is_err() {
            tracing::warn!("session store takes too long to close");
        }
    }

    /// Counts and times `work`, and gives up on it when its time is over.
    async fn timed<T>(
        &self,
        operation: &str,
        limit: Duration,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        let span = trace::store(self.label(), operation);
        let done = tokio::time::timeout(limit, work).instrument(span.clone()).await.unwrap_or(Err(StoreError::Slow));
        if let Err(error) = &done {
            trace::failed(&span, error.as_str());
        }
        // Who is less patient has seen less.
        if let (Err(StoreError::Slow), Kind::Redis(store)) = (&done, &self.kind)
            && limit >= self.limit
        {
            store.suspect(start);
        }
        let result = done.as_ref().map_or_else(StoreError::as_str, |_| "ok");
        self.metrics.session_operations_total.with_label_values(&[self.label(), operation, result]).inc();
        let duration = self.metrics.session_operation_duration_seconds.with_label_values(&[self.label(), operation]);
        duration.observe(start.elapsed().as_secs_f64());
        done
    }

    #[cfg(test)]
    #[track_caller]
    pub(super) const fn database(&self) -> &database::Database {
        match &self.kind {
            Kind::Embedded(store) => &store.database,
            Kind::Redis(_) => panic!("Redis has no database"),
        }
    }

    #[cfg(test)]
    #[track_caller]
    pub(super) const fn as_redis(&self) -> &Redis {
        match &self.kind {
            Kind::Redis(store) => store,
            Kind::Embedded(_) => panic!("the database is not Redis"),
        }
    }
}
