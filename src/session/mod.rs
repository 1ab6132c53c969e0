//! Sessions: made, found by the cookie's value, ended, swept; with them used sign-in attempts and the users seen.
//!
//! The browser keeps a `cookie`, which holds the only key of its `record`; the `store`, SQLite or Redis, keeps the
//! record, sealed. In front lies a cache, and on the hot path nothing else: no I/O, no lock that all share. The cache
//! forgets as it likes; a session decides its own end by the [`Clock`]. What the store does not answer signs nobody
//! out who is in the cache.
//!
//! Loading a session and ending one take turns, session by session: a load that began before an end cannot put back
//! into the cache what the end removed; a renewal takes the same turns. Touches and renewals update their row and never
//! insert one. What another process ended is dropped from the cache the same way (`watch`).

mod cookie;
mod ends;
mod error;
mod list;
mod news;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod tokens;
mod turn;
mod user;
mod watch;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use moka::future::Cache;
use moka::notification::RemovalCause;
use moka::ops::compute::{CompResult, Op};

use self::cookie::{Cookie, cookie_hash};
pub use self::error::{ExamineError, OpenError, StoreError};
pub use self::list::{ListedSession, ListedSummary};
use self::news::News;
pub use self::record::{EndReason, ExpiryReason, NewSession, Session};
use self::record::{Lock, Touch};
pub use self::store::RedisServer;
use self::store::{FoundUser, Store};
pub use self::tokens::{AccessToken, Renewal, RenewedTokens};
pub use self::turn::Turn;
pub use self::user::{SeenUser, UserRecord};
use crate::audit::Audit;
use crate::clock::{Clock, Timestamp};
use crate::config::{RedisSettings, SessionLimits, StoreKind, StoreSettings};
use crate::key_ring::{KeyId, KeyRing, RingKey, TenantKeys};
use crate::metrics::{IntCounter, Metrics, NO_TENANT};
use crate::secret::{ExposeSecret as _, SecretString, base64url, sha256};
use crate::tenant_id::TenantId;

/// How long a used attempt is remembered, in seconds: as long as its cookie could come back.
const ATTEMPT_KEPT: i64 = 600;
/// Time between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// Last uses that are told to the store at the same time.
const TOLD_AT_ONCE: usize = 256;

/// All sessions of all tenants.
pub struct Sessions {
    ring: Arc<KeyRing>,
    clock: Clock,
    metrics: Arc<Metrics>,
    store: Store,
    /// By what the store knows a session by, so that one can be dropped without its cookie.
    cache: Cache<[u8; 32], Arc<Session>>,
    news: Arc<News>,
    hits: IntCounter,
    misses: IntCounter,
    ends: Arc<watch::Ends>,
    audit: OnceLock<Arc<Audit>>,
}

impl Sessions {
    /// Opens the store that `settings` name. Embedded, this is `lychgate.db` in `data_dir`; both are made where they are
    /// missing and the schema is brought up to date. Redis may be away: [`Sessions::check`] says so.
    ///
    /// # Errors
    /// The file cannot be had, is damaged, or was written by a newer version. It is left as it is. Or certificates for
    /// Redis are none.
    pub async fn open(
        data_dir: &Path,
        ring: Arc<KeyRing>,
        settings: &StoreSettings,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, OpenError> {
        let (folder, counted) = (data_dir.to_owned(), Arc::clone(&metrics));
        let (kind, time) = (settings.store.clone(), clock.clone());
        let opening = tokio::task::spawn_blocking(move || match kind {
            StoreKind::Embedded => Store::embedded(&folder, counted),
            StoreKind::Redis(redis) => Store::redis(&redis, time, counted),
        });
        let news = match &settings.store {
            StoreKind::Embedded => News::new(false, Duration::ZERO),
            StoreKind::Redis(redis) => News::new(true, redis.stale_grace),
        };
        let store = opening.await.unwrap_or_else(|_| {
            // It fails only when the runtime ends.
            Err(OpenError::Store { path: data_dir.to_owned(), source: StoreError::Closed })
        })?;
        metrics.session_store_up.with_label_values(&[store.label()]).set(1);
        metrics.session_news_up.set((!news.is_shared()).into());
        let evicted = store.clone();
        let cache = Cache::builder()
            .max_capacity(settings.cache_bytes)
            .weigher(|_: &[u8; 32], session: &Arc<Session>| session.weight)
            .eviction_listener(move |_, session: Arc<Session>, cause| {
                if let (RemovalCause::Size, Some(touch)) = (cause, session.untold()) {
                    touch_later(&evicted, session, touch);
                }
            })
            .build();
        let looked_up = |result| metrics.cache_requests_total.with_label_values(&["sessions", result]);
        let (hits, misses) = (looked_up("hit"), looked_up("miss"));
        let ends = Arc::new(watch::Ends::new());
        Ok(Arc::new(Self { ring, clock, metrics, store, cache, news, hits, misses, ends, audit: OnceLock::new() }))
    }

    /// What the masters of Redis say about themselves, for an operator.
    ///
    /// # Errors
    /// Redis does not answer, or does not let us in.
    pub async fn examine_redis(settings: &RedisSettings, clock: Clock) -> Result<Vec<RedisServer>, ExamineError> {
        Store::examine(settings, clock).await
    }

    /// Makes a session. When this returns, it is on the disk; the value belongs into the cookie and nowhere else.
    ///
    /// # Errors
    /// The store could not keep it; there is no session then.
    pub async fn create(
        &self,
        tenant: &TenantId,
        limits: &SessionLimits,
        new: NewSession,
    ) -> Result<(SecretString, Arc<Session>), StoreError> {
        let ring = self.ring.active();
        let cookie = Cookie::generate(&ring);
        let value = cookie.to_text();
        let hash = cookie_hash(value.expose_secret());
        let (session, row) =
            Session::begin(&ring, tenant, &cookie, hash, limits, (self.clock.now(), self.news.now()), new);
        let session = Arc::new(session);
        let (store, cache, owner, made) =
            (self.store.clone(), self.cache.clone(), tenant.clone(), Arc::clone(&session));
        let (news, ends, told) = (Arc::clone(&self.news), Arc::clone(&self.ends), self.told());
        // Goes on to its end even if nobody waits for it any more: it may end others.
        let making = tokio::spawn(async move {
            let mut ended = Vec::new();
            let insertion = async {
                ended = store.insert(&owner, row).await?;
                Ok::<_, StoreError>(Op::Put(Arc::clone(&made)))
            };
            // Whoever ends it at once takes turns with this.
            cache.entry(made.id_hash).and_try_compute_with(|_| insertion).await?;
            watch::forget(&store, &cache, &news, &ends, &owner, &ended).await;
            told.ended(&owner, &ended, EndReason::Replaced).await;
            Ok::<_, StoreError>(ended)
        });
        // The task fails only when the runtime ends.
        let ended = making.await.unwrap_or(Err(StoreError::Closed))?;
        let label = self.metrics.tenant(tenant);
        self.metrics.sessions_created_total.with_label_values(&[label]).inc();
        if self.store.counts() {
            self.metrics.sessions_active.with_label_values(&[label]).add(1 - ended.len() as i64);
        }
        let replaced = [label, EndReason::Replaced.as_str()];
        self.metrics.sessions_ended_total.with_label_values(&replaced).inc_by(ended.len() as u64);
        Ok((value, session))
    }

    /// The session that `cookie_value` opens at `tenant`, if it is not over. Counts as a use.
    ///
    /// # Errors
    /// It is not in the cache and the store did not answer; nothing is known about it then.
    pub async fn find(
        &self,
        tenant: &TenantId,
        limits: &SessionLimits,
        cookie_value: &str,
    ) -> Result<Option<Arc<Session>>, StoreError> {
        let Some(cookie) = Cookie::parse(cookie_value) else { return Ok(None) };
        // A ring key that was dropped takes its sessions with it, those in the cache as well.
        let Some(ring) = self.ring.get(cookie.ring) else { return Ok(None) };
        let (id_hash, hash) = (record::id_hash(&ring, tenant, &cookie.id), cookie_hash(cookie_value));
        let lock = || Lock::of(&ring, tenant, &cookie, id_hash, hash);
        let asked = self.news.now();
        let mut found = self.cache.get(&id_hash).await;
        if found.as_ref().is_some_and(|session| self.holds(session)) {
            self.hits.inc();
        } else {
            self.misses.inc();
            found = self.load(&ring, lock(), None).await?;
        }
        let now = self.clock.now();
        // It may be in use at another replica.
        if found.as_ref().is_some_and(|session| self.news.is_shared() && session.is_over(limits, now)) {
            found = self.load(&ring, lock(), Some(asked)).await?;
        }
        // The id alone finds a session; only the whole cookie opens it.
        let good = |session: &Arc<Session>| session.opens_with(&hash) && !session.is_over(limits, now);
        let Some(session) = found.filter(good) else { return Ok(None) };
        if let Some(touch) = session.see(limits, now) {
            touch_later(&self.store, Arc::clone(&session), touch);
        }
        Ok(Some(session))
    }

    /// Ends `session`; true if it had not been ended yet. Afterwards its cookie opens nothing. Goes on to its end even
    /// if nobody waits for it any more.
    ///
    /// # Errors
    /// The store could not remove it; the session then goes on, unless this was [`StoreError::Slow`].
    pub async fn end(&self, session: &Session, reason: EndReason) -> Result<bool, StoreError> {
        self.end_by_id(&session.tenant, session.id_hash, reason).await
    }

    async fn end_by_id(&self, tenant: &TenantId, id_hash: [u8; 32], reason: EndReason) -> Result<bool, StoreError> {
        let (store, cache, metrics) = (self.store.clone(), self.cache.clone(), Arc::clone(&self.metrics));
        let (tenant, now) = (tenant.clone(), self.clock.now());
        let (ends, news, told) = (Arc::clone(&self.ends), Arc::clone(&self.news), self.told());
        let ending = tokio::spawn(async move {
            let mut was_there = false;
            let removal = async {
                was_there = store.remove(&tenant, id_hash, now).await?;
                Ok::<_, StoreError>(Op::Remove)
            };
            cache.entry(id_hash).and_try_compute_with(|_| removal).await?;
            ends.tell(id_hash);
            news.ended(&tenant, id_hash);
            news.tell(&store, &[(tenant.clone(), id_hash)], &[]).await;
            if was_there {
                told.ended(&tenant, &[id_hash], reason).await;
                let label = metrics.tenant(&tenant);
                metrics.sessions_ended_total.with_label_values(&[label, reason.as_str()]).inc();
                if store.counts() {
                    metrics.sessions_active.with_label_values(&[label]).dec();
                }
            }
            Ok(was_there)
        });
        // The task fails only when the runtime ends.
        ending.await.unwrap_or(Err(StoreError::Closed))
    }

    /// What has become of `session` since it was found, by renewals; `None` if it has ended. Counts as no use.
    ///
    /// # Errors
    /// It is not in the cache and the store did not answer.
    pub async fn current(&self, session: &Session) -> Result<Option<Arc<Session>>, StoreError> {
        let Some(ring) = self.ring.get(session.ring) else { return Ok(None) };
        match self.cache.get(&session.id_hash).await.filter(|current| self.holds(current)) {
            Some(current) => Ok(Some(current)),
            None => self.load(&ring, session.lock(), None).await,
        }
    }

    /// The same as the store has it now, where other replicas may have renewed it a moment ago.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn latest(&self, session: &Session) -> Result<Option<Arc<Session>>, StoreError> {
        let Some(ring) = self.ring.get(session.ring).filter(|_| self.news.is_shared()) else {
            return self.current(session).await;
        };
        self.load(&ring, session.lock(), Some(self.news.now())).await
    }

    /// Stores what became of a session's tokens, then shows it to everybody who asks; the cookie stays the same. `None`
    /// if the session has ended meanwhile: it stays ended.
    ///
    /// # Errors
    /// The store did not keep it; the session is as it was, unless this was [`StoreError::Slow`].
    pub async fn renew(&self, session: &Arc<Session>, renewal: &Renewal) -> Result<Option<Arc<Session>>, StoreError> {
        let Some(ring) = self.ring.get(session.ring) else { return Ok(None) };
        let renew = self.cache.entry(session.id_hash).and_try_compute_with(|entry| async move {
            let current = entry.map_or_else(|| Arc::clone(session), moka::Entry::into_value);
            let (renewed, update) = current.renewed(&ring, renewal, self.news.now());
            let was_there = self.store.update(&current.tenant, current.id_hash, update).await?;
            Ok::<_, StoreError>(if was_there { Op::Put(Arc::new(renewed)) } else { Op::Remove })
        });
        Ok(match renew.await? {
            CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) => {
                self.news.tell(&self.store, &[], &[session.id_hash]).await;
                Some(entry.into_value())
            }
            _ => None,
        })
    }

    /// Uses up a sign-in attempt: true the first time, false for ten minutes from then on.
    ///
    /// # Errors
    /// The store did not answer; the attempt must then count as used.
    pub async fn use_attempt(&self, tenant: &TenantId, attempt: &str) -> Result<bool, StoreError> {
        self.store.use_once(tenant, attempt, self.clock.now().plus(ATTEMPT_KEPT)).await
    }

    /// Uses up a logout token by its `jti`, unique at `issuer`: true the first time, false until `forget_at`.
    ///
    /// # Errors
    /// The store did not answer; the token must then not count.
    pub async fn use_logout_token(
        &self,
        tenant: &TenantId,
        issuer: &str,
        jti: &str,
        forget_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.store.use_once(tenant, &logout_token(issuer, jti), forget_at).await
    }

    /// Takes [`Sessions::use_logout_token`] back: what the token asked for could not be done, it may come again.
    ///
    /// # Errors
    /// The store did not answer; the token stays used up.
    pub async fn reuse_logout_token(&self, tenant: &TenantId, issuer: &str, jti: &str) -> Result<(), StoreError> {
        self.store.use_again(tenant, &logout_token(issuer, jti)).await
    }

    /// Remembers that a user signed in.
    ///
    /// # Errors
    /// The store could not keep it.
    pub async fn remember_user(&self, tenant: &TenantId, seen: &SeenUser) -> Result<(), StoreError> {
        let (seen, now) = (seen.clone(), self.clock.now());
        let user = [seen.issuer.clone(), seen.sub.clone()];
        self.change_user(tenant, &user, move |before| Some(seen.clone().seen(now, before.as_ref()))).await
    }

    /// Brings what is remembered of users, of all tenants, under the active ring key, so that the others can be dropped
    /// without anybody being forgotten. Returns how many that were. It may look at everything there is.
    ///
    /// # Errors
    /// The store did not answer; some may have been brought there.
    pub async fn rekey_users(&self) -> Result<usize, StoreError> {
        let ring = self.ring.keys();
        let opened = |found: FoundUser| {
            let FoundUser { tenant, user_hash, sealed } = found;
            let open = |keys: &TenantKeys| record::open(&keys.user, "user", &tenant, &user_hash, &sealed);
            let user: UserRecord = ring.all().iter().find_map(|key| open(&key.of(&tenant)))?;
            Some((tenant, [user.issuer, user.sub]))
        };
        let found = self.store.users_elsewhere(ring.active().id().0).await?;
        let users: Vec<_> = found.into_iter().filter_map(opened).collect();
        let count = users.len();
        // Who has been forgotten meanwhile stays so.
        let rekey = |(tenant, user)| async move { self.change_user(&tenant, &user, |before| before).await };
        stream::iter(users).map(Ok).try_for_each_concurrent(TOLD_AT_ONCE, rekey).await?;
        Ok(count)
    }

    /// Puts what `change` makes of a user's record, found under any ring key, in its place, under the active one; nothing
    /// if it makes nothing.
    async fn change_user(
        &self,
        tenant: &TenantId,
        [issuer, sub]: &[String; 2],
        change: impl Fn(Option<UserRecord>) -> Option<UserRecord> + Send + 'static,
    ) -> Result<(), StoreError> {
        let ring = self.ring.keys();
        let keys: Vec<_> = ring.all().iter().map(|key| key.of(tenant)).collect();
        let hashes: Vec<_> = keys.iter().map(|keys| keys.user_index.hash(&record::joined(&[issuer, sub]))).collect();
        let (owner, known_as) = (tenant.clone(), hashes.clone());
        let change = move |before: &[Option<Vec<u8>>]| {
            let mut found = keys.iter().zip(&known_as).zip(before);
            let before = found
                .find_map(|((keys, hash), sealed)| record::open(&keys.user, "user", &owner, hash, sealed.as_ref()?));
            Some(record::seal(&keys[0].user, "user", &owner, &known_as[0], &change(before)?))
        };
        self.store.change_user(tenant, hashes, ring.active().id().0, change).await
    }

    /// Forgets a user, if there is one.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn forget_user(&self, tenant: &TenantId, issuer: &str, sub: &str) -> Result<(), StoreError> {
        self.change_user(tenant, &[issuer.to_owned(), sub.to_owned()], |_| None).await
    }

    /// The users of `tenant` that are remembered, the one seen last first.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn users(&self, tenant: &TenantId) -> Result<Vec<UserRecord>, StoreError> {
        let rows = self.store.users(tenant).await?;
        let keys: Vec<_> = self.ring.keys().all().iter().map(|key| key.of(tenant)).collect();
        let opened = |(hash, sealed): &([u8; 32], Vec<u8>)| {
            keys.iter().find_map(|keys| record::open(&keys.user, "user", tenant, hash, sealed))
        };
        let mut users: Vec<UserRecord> = rows.iter().filter_map(opened).collect();
        users.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then_with(|| a.sub.cmp(&b.sub)));
        Ok(users)
    }

    /// How many sessions stand under the ring key of this id; none if the store cannot tell.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn under(&self, ring: KeyId) -> Result<Option<u64>, StoreError> {
        self.store.count_under(ring.0, self.clock.now()).await
    }

    /// Whether the store can be read and has room for more; sets `session_store_up`.
    ///
    /// # Errors
    /// It cannot, or has none.
    pub async fn check(&self) -> Result<(), StoreError> {
        let checked = self.store.check().await;
        self.news.answered(&checked);
        checked
    }

    /// Removes what is over, and returns how many sessions that were. Used attempts go, too; `sessions_active` is
    /// counted anew.
    ///
    /// # Errors
    /// The store did not answer; what is left is for the next time.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        // First all that the store does not know yet, or it would end sessions that were used just now.
        self.flush().await?;
        let swept = self.store.sweep(now).await?;
        for session in &swept {
            let reason = if session.idle { EndReason::Idle } else { EndReason::Absolute };
            let labels = [self.label(session.tenant.as_ref()), reason.as_str()];
            self.metrics.sessions_ended_total.with_label_values(&labels).inc();
        }
        self.told().swept(&swept).await;
        for (key, session) in &self.cache {
            if session.ends_at() <= now {
                self.cache.invalidate(key.as_ref()).await;
            }
        }
        self.count_active().await?;
        Ok(swept.len())
    }

    /// Sweeps and checks now and once a minute, for ever; the caller spawns this and aborts it.
    pub async fn keep_swept(self: Arc<Self>) {
        loop {
            let swept = self.sweep().await;
            // The check must be made in any case: it says by a metric how the store is.
            if let Err(error) = self.check().await.and(swept) {
                tracing::error!(error = &error as &dyn Error, "session store is not well");
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }

    /// Writes what was put off, moves everything into the one file and closes it. What is asked afterwards fails.
    pub async fn close(&self) {
        if let Err(error) = self.flush().await {
            tracing::warn!(error = &error as &dyn Error, "last uses of sessions could not be written");
        }
        self.news.leave(&self.store).await;
        self.store.close().await;
    }

    /// Whether a cached session is still as it was read.
    fn holds(&self, session: &Session) -> bool {
        !session.doubtful.load(Ordering::Acquire) && self.news.holds(session.read_at)
    }

    /// Reads a session from the store into the cache, unless it is there and still holds, or was read at `read_since` or
    /// later; those who ask at the same time share one answer. If the store does not answer, a session goes on for a
    /// while as it was, unless it is given since when it must have been read.
    async fn load(
        &self,
        ring: &RingKey,
        lock: Lock,
        read_since: Option<u64>,
    ) -> Result<Option<Arc<Session>>, StoreError> {
        let id_hash = lock.id_hash;
        let load = self.cache.entry(id_hash).and_try_compute_with(|entry| async move {
            let known = entry.map(moka::Entry::into_value);
            let is_good = |known: &Arc<Session>| match read_since {
                _ if !known.opens_with(&lock.cookie_hash) => true,
                Some(since) => known.read_at >= since && !known.doubtful.load(Ordering::Acquire),
                None => self.holds(known),
            };
            if known.as_ref().is_some_and(is_good) {
                return Ok(Op::Nop);
            }
            let read_at = self.news.now();
            let stored = if let Some(error) = self.news.failure() {
                Err(error)
            } else {
                let stored = self.store.find(&lock.tenant, id_hash).await;
                self.news.answered(&stored);
                stored
            };
            match stored {
                Ok(stored) => {
                    let stored = stored.filter(|_| !self.news.has_ended(&lock.tenant, &id_hash));
                    let session =
                        stored.and_then(|stored| Session::open(ring, lock, &stored, known.as_deref(), read_at));
                    Ok(match session {
                        Some(session) => Op::Put(Arc::new(session)),
                        None if known.is_some() => Op::Remove,
                        None => Op::Nop,
                    })
                }
                Err(_) if read_since.is_none() && known.is_some_and(|known| self.news.is_forgivable(known.read_at)) => {
                    self.metrics.session_stale_uses_total.inc();
                    Ok(Op::Nop)
                }
                Err(error) => Err(error),
            }
        });
        Ok(match load.await? {
            CompResult::Removed(_) => None,
            result => result.into_entry().map(moka::Entry::into_value),
        })
    }

    /// Writes the last uses that the store does not know yet.
    async fn flush(&self) -> Result<(), StoreError> {
        let untold: Vec<_> =
            self.cache.iter().filter_map(|(_, session)| session.untold().map(|touch| (session, touch))).collect();
        // Those that come at the same time share a transaction.
        let tell = |(session, touch): (Arc<Session>, Touch)| async move { self.tell(&session, touch).await };
        stream::iter(untold).map(Ok).try_for_each_concurrent(TOLD_AT_ONCE, tell).await
    }

    async fn tell(&self, session: &Session, touch: Touch) -> Result<(), StoreError> {
        let at = touch.last_seen_at;
        self.store.touch(touch).await?;
        session.stored(at);
        Ok(())
    }

    fn label<'a>(&'a self, tenant: Option<&'a TenantId>) -> &'a str {
        tenant.map_or(NO_TENANT, |tenant| self.metrics.tenant(tenant))
    }

    async fn count_active(&self) -> Result<(), StoreError> {
        let mut active = HashMap::new();
        for (tenant, count) in self.store.count().await? {
            *active.entry(self.label(tenant.as_ref()).to_owned()).or_insert(0) += count;
        }
        // Tenants without sessions vanish.
        self.metrics.sessions_active.reset();
        for (label, count) in active {
            self.metrics.sessions_active.with_label_values(&[label]).set(count);
        }
        Ok(())
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(…)")
    }
}

/// What a logout token is remembered by; no sign-in attempt has a blank in its id.
fn logout_token(issuer: &str, jti: &str) -> String {
    format!("logout {}", base64url(&sha256(&record::joined(&[issuer, jti]))))
}

/// Writes a session's last use while nobody waits for it.
fn touch_later(store: &Store, session: Arc<Session>, touch: Touch) {
    let store = store.clone();
    tokio::spawn(async move {
        let at = touch.last_seen_at;
        match store.touch(touch).await {
            Ok(()) => session.stored(at),
            // The next sweep tries again.
            Err(error) => tracing::debug!(error = &error as &dyn Error, "last use of a session could not be written"),
        }
    });
}
