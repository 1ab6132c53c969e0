//! Sessions: made, found by the cookie's value, ended, swept; with them used sign-in attempts and the users seen.
//!
//! The browser keeps a `cookie`, which holds the only key of its `record`; the `store`, SQLite or Redis, keeps the
//! record, sealed. In front lies a cache, and on the hot path nothing else: no I/O, no lock that all share. The cache
//! forgets as it likes; a session decides its own end by the [`Clock`]. What the store does not answer signs nobody
//! out who is in the cache.
//!
//! Loading a session and ending one take turns, session by session: a load that began before an end cannot put back
//! into the cache what the end removed. A touch updates its row and never inserts one. What another process ended is
//! dropped from the cache the same way (`watch`).

mod cookie;
mod error;
mod list;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod user;
mod watch;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use moka::future::Cache;
use moka::notification::RemovalCause;
use moka::ops::compute::Op;

use self::cookie::{Cookie, CookieHash, cookie_hash};
pub use self::error::{OpenError, StoreError};
pub use self::list::{ListedSession, ListedSummary};
use self::record::Touch;
pub use self::record::{EndReason, ExpiryReason, NewSession, Session};
use self::store::Store;
pub use self::user::{SeenUser, UserRecord};
use crate::clock::{Clock, Timestamp};
use crate::config::{SessionLimits, StoreKind, StoreSettings};
use crate::metrics::{IntCounter, Metrics, NO_TENANT};
use crate::secret::{ExposeSecret as _, RingKey, SecretString, base64url, sha256};
use crate::tenant_id::TenantId;

/// How long a used attempt is remembered, in seconds: as long as its cookie could come back.
const ATTEMPT_KEPT: i64 = 600;
/// Time between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// Last uses that are told to the store at the same time.
const TOLD_AT_ONCE: usize = 256;

/// All sessions of all tenants.
pub struct Sessions {
    ring: RingKey,
    clock: Clock,
    metrics: Arc<Metrics>,
    store: Store,
    /// By what the store knows a session by, so that one can be dropped without its cookie.
    cache: Cache<[u8; 32], Arc<Session>>,
    hits: IntCounter,
    misses: IntCounter,
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
        ring: RingKey,
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
        let store = opening.await.unwrap_or_else(|_| {
            // It fails only when the runtime ends.
            Err(OpenError::Store { path: data_dir.to_owned(), source: StoreError::Closed })
        })?;
        metrics.session_store_up.with_label_values(&[store.label()]).set(1);
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
        Ok(Arc::new(Self { ring, clock, metrics, store, cache, hits, misses }))
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
        let cookie = Cookie::generate(&self.ring);
        let value = cookie.to_text();
        let hash = cookie_hash(value.expose_secret());
        let (session, row) = Session::begin(&self.ring, tenant, &cookie, hash, limits, self.clock.now(), new);
        let session = Arc::new(session);
        let ended = self.store.insert(tenant, row).await?;
        self.cache.insert(session.id_hash, Arc::clone(&session)).await;
        let label = self.metrics.tenant(tenant);
        self.metrics.sessions_created_total.with_label_values(&[label]).inc();
        if self.store.counts() {
            self.metrics.sessions_active.with_label_values(&[label]).add(1 - ended.len() as i64);
        }
        let replaced = [label, EndReason::Replaced.as_str()];
        self.metrics.sessions_ended_total.with_label_values(&replaced).inc_by(ended.len() as u64);
        self.forget(&ended).await;
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
        let cookie = Cookie::parse(cookie_value).filter(|cookie| cookie.ring == self.ring.id());
        let Some(cookie) = cookie else { return Ok(None) };
        let (id_hash, hash) = (record::id_hash(&self.ring, tenant, &cookie.id), cookie_hash(cookie_value));
        let found = if let Some(session) = self.cache.get(&id_hash).await {
            self.hits.inc();
            Some(session)
        } else {
            self.misses.inc();
            self.load(tenant, cookie, id_hash, hash).await?
        };
        let now = self.clock.now();
        // The id alone finds a session; only the whole cookie opens it.
        let found = found.filter(|session| session.opens_with(&hash) && !session.is_over(limits, now));
        let Some(session) = found else { return Ok(None) };
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
        let ending = tokio::spawn(async move {
            let mut was_there = false;
            let removal = async {
                was_there = store.remove(&tenant, id_hash, now).await?;
                Ok::<_, StoreError>(Op::Remove)
            };
            cache.entry(id_hash).and_try_compute_with(|_| removal).await?;
            if was_there {
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
        let key = self.ring.derive(tenant, "user");
        let hash = self.user_hash(tenant, &seen.issuer, &seen.sub);
        let (owner, seen, now) = (tenant.clone(), seen.clone(), self.clock.now());
        let change = move |before: Option<Vec<u8>>| {
            let before = before.and_then(|sealed| record::open::<UserRecord>(&key, "user", &owner, &hash, &sealed));
            record::seal(&key, "user", &owner, &hash, &seen.clone().seen(now, before.as_ref()))
        };
        self.store.change_user(tenant, hash, self.ring.id(), change).await
    }

    /// Forgets a user; true if there was one.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn forget_user(&self, tenant: &TenantId, issuer: &str, sub: &str) -> Result<bool, StoreError> {
        self.store.remove_user(tenant, self.user_hash(tenant, issuer, sub)).await
    }

    fn user_hash(&self, tenant: &TenantId, issuer: &str, sub: &str) -> [u8; 32] {
        self.ring.derive(tenant, "user index").hash(&record::joined(&[issuer, sub]))
    }

    /// The users of `tenant` that are remembered, the one seen last first.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn users(&self, tenant: &TenantId) -> Result<Vec<UserRecord>, StoreError> {
        let rows = self.store.users(tenant).await?;
        let key = self.ring.derive(tenant, "user");
        let opened = |(hash, sealed): &([u8; 32], Vec<u8>)| record::open(&key, "user", tenant, hash, sealed);
        let mut users: Vec<UserRecord> = rows.iter().filter_map(opened).collect();
        users.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then_with(|| a.sub.cmp(&b.sub)));
        Ok(users)
    }

    /// Whether the store can be read and has room for more; sets `session_store_up`.
    ///
    /// # Errors
    /// It cannot, or has none.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
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
        self.store.close().await;
    }

    /// Reads a session from the store into the cache; those who ask at the same time share one answer.
    async fn load(
        &self,
        tenant: &TenantId,
        cookie: Cookie,
        id_hash: [u8; 32],
        hash: CookieHash,
    ) -> Result<Option<Arc<Session>>, StoreError> {
        let load = self.cache.entry(id_hash).and_try_compute_with(|entry| async move {
            if entry.is_some() {
                return Ok::<_, StoreError>(Op::Nop);
            }
            let stored = self.store.find(tenant, id_hash).await?;
            let session = stored.and_then(|stored| Session::open(&self.ring, tenant, &cookie, hash, &stored));
            Ok(session.map_or(Op::Nop, |session| Op::Put(Arc::new(session))))
        });
        Ok(load.await?.into_entry().map(moka::Entry::into_value))
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

    /// Takes sessions that were ended out of the cache.
    async fn forget(&self, ended: &[[u8; 32]]) {
        for id_hash in ended {
            watch::drop_from(&self.cache, *id_hash).await;
        }
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
