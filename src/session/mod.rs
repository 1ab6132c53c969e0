//! Sessions: made, found by the cookie's value, ended, swept; with them used sign-in attempts and the users seen.
//!
//! The browser keeps a `cookie`, which holds the only key of its `record`; the `store` keeps the
//! record, sealed. In front lies a cache, and on the hot path nothing else: no I/O, no lock that all share. The cache
//! forgets as it likes; a session decides its own end by the [`Clock`]. What the store does not answer signs nobody
//! out who is in the cache.
//!
//! Loading a session and ending one take turns, session by session: a load that began before an end cannot put back
//! into the cache what the end removed; a renewal takes the same turns. Touches and renewals update their row and never
//! insert one.

mod cookie;
mod error;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod tokens;
mod user;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::notification::RemovalCause;
use moka::ops::compute::{CompResult, Op};
use rusqlite::{Connection, OptionalExtension as _, params};

use self::cookie::{CacheKey, Cookie, cache_key};
pub use self::error::{OpenError, StoreError};
pub use self::record::{EndReason, ExpiryReason, NewSession, Session};
use self::record::{Lock, Touch};
use self::store::Store;
pub use self::tokens::{AccessToken, Renewal, RenewedTokens};
pub use self::user::{SeenUser, UserRecord};
use crate::clock::{Clock, Timestamp};
use crate::config::{SessionLimits, StoreSettings};
use crate::metrics::{IntCounter, Metrics, NO_TENANT};
use crate::secret::{ExposeSecret as _, RingKey, SecretString};
use crate::tenant_id::TenantId;

/// How long a used attempt is remembered, in seconds: as long as its cookie could come back.
const ATTEMPT_KEPT: i64 = 600;
/// Time between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// Rows that a sweep takes at a time, so that others can write in between.
const SWEEP_ROWS: u16 = 500;
/// Bytes that must find room for the store to count as well.
const PROBE_BYTES: u32 = 16 * 1024;

/// All sessions of all tenants.
pub struct Sessions {
    ring: RingKey,
    clock: Clock,
    metrics: Arc<Metrics>,
    store: Store,
    cache: Cache<CacheKey, Arc<Session>>,
    hits: IntCounter,
    misses: IntCounter,
}

impl Sessions {
    /// Opens `lychgate.db` in `data_dir`; makes both where they are missing and brings the schema up to date.
    ///
    /// # Errors
    /// The file cannot be had, is damaged, or was written by a newer version. It is left as it is.
    pub async fn open(
        data_dir: &Path,
        ring: RingKey,
        settings: &StoreSettings,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, OpenError> {
        let (folder, counted) = (data_dir.to_owned(), Arc::clone(&metrics));
        let opening = tokio::task::spawn_blocking(move || Store::open(&folder, counted));
        let store = opening.await.unwrap_or_else(|_| {
            // It fails only when the runtime ends.
            Err(OpenError::Store { path: data_dir.to_owned(), source: StoreError::Closed })
        })?;
        metrics.session_store_up.with_label_values(&[store::LABEL]).set(1);
        let evicted = store.clone();
        let cache = Cache::builder()
            .max_capacity(settings.cache_bytes)
            .weigher(|_: &CacheKey, session: &Arc<Session>| session.weight)
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
        let key = cache_key(tenant, value.expose_secret()).expect("our own cookies have the length of cookies");
        let (session, row) = Session::begin(&self.ring, tenant, &cookie, key, limits, self.clock.now(), new);
        let session = Arc::new(session);
        let stored = Arc::clone(&session);
        let insert = self.store.write(move |db| {
            db.prepare_cached(
                "INSERT INTO sessions (tenant, id_hash, ring, created_at, last_seen_at, ends_at, expires_at,
                                       sub_hash, sid_hash, summary, refresh_token, record)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                stored.tenant.as_str(),
                stored.id_hash,
                cookie.ring,
                stored.created_at.0,
                stored.last_seen_at().0,
                stored.ends_at().0,
                stored.expires_at.0,
                row.sub_hash,
                row.sid_hash,
                row.summary,
                row.refresh_token,
                row.record,
            ])
        });
        self.store.timed("create", insert).await?;
        self.cache.insert(key, Arc::clone(&session)).await;
        let label = self.metrics.tenant(tenant);
        self.metrics.sessions_created_total.with_label_values(&[label]).inc();
        self.metrics.sessions_active.with_label_values(&[label]).inc();
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
        let Some(key) = cache_key(tenant, cookie_value) else { return Ok(None) };
        let found = if let Some(session) = self.cache.get(&key).await {
            self.hits.inc();
            Some(session)
        } else {
            self.misses.inc();
            match Cookie::parse(cookie_value) {
                Some(cookie) if cookie.ring == self.ring.id() => {
                    self.load(Lock::of(&self.ring, tenant, &cookie, key)).await?
                }
                _ => None,
            }
        };
        let now = self.clock.now();
        let Some(session) = found.filter(|session| !session.is_over(limits, now)) else { return Ok(None) };
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
        let (store, cache, metrics) = (self.store.clone(), self.cache.clone(), Arc::clone(&self.metrics));
        let (tenant, id_hash, key) = (session.tenant.clone(), session.id_hash, session.cache_key);
        let ending = tokio::spawn(async move {
            let owner = tenant.clone();
            let mut was_there = false;
            let removal = async {
                let delete = move |db: &Connection| {
                    db.prepare_cached("DELETE FROM sessions WHERE tenant = ? AND id_hash = ?")?
                        .execute(params![owner.as_str(), id_hash])
                };
                was_there = store.write(delete).await? == 1;
                Ok::<_, StoreError>(Op::Remove)
            };
            cache.entry(key).and_try_compute_with(|_| removal).await?;
            if was_there {
                let label = metrics.tenant(&tenant);
                metrics.sessions_ended_total.with_label_values(&[label, reason.as_str()]).inc();
                metrics.sessions_active.with_label_values(&[label]).dec();
            }
            Ok(was_there)
        });
        // The task fails only when the runtime ends.
        self.store.timed("end", async { ending.await.unwrap_or(Err(StoreError::Closed)) }).await
    }

    /// What has become of `session` since it was found, by renewals; `None` if it has ended. Counts as no use.
    ///
    /// # Errors
    /// It is not in the cache and the store did not answer.
    pub async fn current(&self, session: &Session) -> Result<Option<Arc<Session>>, StoreError> {
        match self.cache.get(&session.cache_key).await {
            Some(current) => Ok(Some(current)),
            None => self.load(session.lock()).await,
        }
    }

    /// Stores what became of a session's tokens, then shows it to everybody who asks; the cookie stays the same. `None`
    /// if the session has ended meanwhile: it stays ended.
    ///
    /// # Errors
    /// The store did not keep it; the session is as it was, unless this was [`StoreError::Slow`].
    pub async fn renew(&self, session: &Arc<Session>, renewal: &Renewal) -> Result<Option<Arc<Session>>, StoreError> {
        let renew = self.cache.entry(session.cache_key).and_try_compute_with(|entry| async move {
            let current = entry.map_or_else(|| Arc::clone(session), moka::Entry::into_value);
            let (renewed, row) = current.renewed(&self.ring, renewal);
            let (owner, id_hash) = (current.tenant.clone(), current.id_hash);
            let update = move |db: &Connection| {
                db.prepare_cached(
                    "UPDATE sessions SET record = ?1, refresh_token = ?2, expires_at = min(expires_at, ?3),
                                         ends_at = min(ends_at, ?3)
                     WHERE tenant = ?4 AND id_hash = ?5",
                )?
                .execute(params![
                    row.record,
                    row.refresh_token,
                    row.expires_at.0,
                    owner.as_str(),
                    id_hash
                ])
            };
            let was_there = self.store.write(update).await? == 1;
            Ok(if was_there { Op::Put(Arc::new(renewed)) } else { Op::Remove })
        });
        Ok(match self.store.timed("renew", renew).await? {
            CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) => Some(entry.into_value()),
            _ => None,
        })
    }

    /// Uses up a sign-in attempt: true the first time, false for ten minutes from then on.
    ///
    /// # Errors
    /// The store did not answer; the attempt must then count as used.
    pub async fn use_attempt(&self, tenant: &TenantId, attempt: &str) -> Result<bool, StoreError> {
        let (tenant, attempt) = (tenant.clone(), attempt.to_owned());
        let forget_at = self.clock.now().plus(ATTEMPT_KEPT);
        let insert = self.store.write(move |db| {
            db.prepare_cached(
                "INSERT INTO used_attempts (tenant, attempt, forget_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            )?
            .execute(params![tenant.as_str(), attempt, forget_at.0])
        });
        Ok(self.store.timed("use_attempt", insert).await? == 1)
    }

    /// Remembers that a user signed in.
    ///
    /// # Errors
    /// The store could not keep it.
    pub async fn remember_user(&self, tenant: &TenantId, seen: &SeenUser) -> Result<(), StoreError> {
        let (tenant, seen, ring, now) = (tenant.clone(), seen.clone(), self.ring.id(), self.clock.now());
        let key = self.ring.derive(&tenant, "user");
        let index = self.ring.derive(&tenant, "user index");
        let hash = index.hash(&record::joined(&[&seen.issuer, &seen.sub]));
        let upsert = self.store.write(move |db| {
            let before: Option<Vec<u8>> = db
                .prepare_cached("SELECT record FROM users WHERE tenant = ? AND user_hash = ?")?
                .query_row(params![tenant.as_str(), hash], |row| row.get(0))
                .optional()?;
            let before = before.and_then(|sealed| record::open::<UserRecord>(&key, "user", &tenant, &hash, &sealed));
            let after = seen.seen(now, before.as_ref());
            let sealed = record::seal(&key, "user", &tenant, &hash, &after);
            db.prepare_cached(
                "INSERT INTO users (tenant, user_hash, ring, record) VALUES (?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET ring = excluded.ring, record = excluded.record",
            )?
            .execute(params![tenant.as_str(), hash, ring, sealed])
        });
        self.store.timed("remember_user", upsert).await.map(drop)
    }

    /// The users of `tenant` that are remembered, the one seen last first.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn users(&self, tenant: &TenantId) -> Result<Vec<UserRecord>, StoreError> {
        let owner = tenant.clone();
        let select = self.store.read(move |db| {
            let mut select = db.prepare_cached("SELECT user_hash, record FROM users WHERE tenant = ?")?;
            let rows = select.query_map([owner.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<Vec<([u8; 32], Vec<u8>)>, _>>()
        });
        let rows = self.store.timed("users", select).await?;
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
        let probe = async {
            self.store.look().await?;
            let room = "INSERT INTO probes (room) VALUES (zeroblob(?))";
            self.store
                .write(move |db| {
                    db.prepare_cached(room)?.execute([PROBE_BYTES])?;
                    db.prepare_cached("DELETE FROM probes")?.execute([])
                })
                .await
        };
        let done = self.store.timed("check", probe).await.map(drop);
        self.metrics.session_store_up.with_label_values(&[store::LABEL]).set(done.is_ok().into());
        done
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
        let sessions = self.sweep_sessions(now).await?;
        self.sweep_attempts(now).await?;
        for (key, session) in &self.cache {
            if session.ends_at() <= now {
                self.cache.invalidate(key.as_ref()).await;
            }
        }
        self.count_active().await?;
        Ok(sessions)
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
    async fn load(&self, lock: Lock) -> Result<Option<Arc<Session>>, StoreError> {
        let load = self.cache.entry(lock.cache_key).and_try_compute_with(|entry| async move {
            if entry.is_some() {
                return Ok(Op::Nop);
            }
            let session = self.read(lock).await?;
            Ok(session.map_or(Op::Nop, |session| Op::Put(Arc::new(session))))
        });
        let found = self.store.timed("find", load).await?;
        Ok(found.into_entry().map(moka::Entry::into_value))
    }

    async fn read(&self, lock: Lock) -> Result<Option<Session>, StoreError> {
        let (owner, id_hash) = (lock.tenant.clone(), lock.id_hash);
        let row = self.store.read(move |db| {
            db.prepare_cached(
                "SELECT last_seen_at, record, refresh_token FROM sessions WHERE tenant = ? AND id_hash = ?",
            )?
            .query_row(params![owner.as_str(), id_hash], |row| {
                Ok((Timestamp(row.get(0)?), row.get::<_, Vec<u8>>(1)?, row.get::<_, Option<Vec<u8>>>(2)?))
            })
            .optional()
        });
        Ok(row.await?.and_then(|(last_seen_at, record, refresh_token)| {
            Session::open(&self.ring, lock, last_seen_at, &record, refresh_token.as_deref())
        }))
    }

    /// Writes the last uses that the store does not know yet.
    async fn flush(&self) -> Result<(), StoreError> {
        let untold = self.cache.iter().filter_map(|(_, session)| session.untold().map(|touch| (session, touch)));
        let (sessions, mut touches): (Vec<_>, Vec<_>) = untold.unzip();
        let times: Vec<Timestamp> = touches.iter().map(|touch| touch.last_seen_at).collect();
        while !touches.is_empty() {
            let some = touches.split_off(touches.len().saturating_sub(SWEEP_ROWS.into()));
            let update = self.store.write(move |db| some.iter().try_for_each(|one| write_touch(db, one)));
            self.store.timed("touch", update).await?;
        }
        for (session, at) in sessions.iter().zip(times) {
            session.stored(at);
        }
        Ok(())
    }

    async fn sweep_sessions(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut swept = 0;
        loop {
            let delete = self.store.write(move |db| {
                let mut delete = db.prepare_cached(
                    "DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions WHERE ends_at <= ? LIMIT ?)
                     RETURNING tenant, ends_at < expires_at",
                )?;
                let rows = delete.query_map(params![now.0, SWEEP_ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.collect::<Result<Vec<(String, bool)>, _>>()
            });
            let rows = self.store.timed("sweep", delete).await?;
            for (tenant, idle) in &rows {
                let reason = if *idle { EndReason::Idle } else { EndReason::Absolute };
                let tenant = tenant.parse::<TenantId>().ok();
                let label = tenant.as_ref().map_or(NO_TENANT, |tenant| self.metrics.tenant(tenant));
                self.metrics.sessions_ended_total.with_label_values(&[label, reason.as_str()]).inc();
            }
            swept += rows.len();
            if rows.len() < SWEEP_ROWS.into() {
                return Ok(swept);
            }
        }
    }

    async fn sweep_attempts(&self, now: Timestamp) -> Result<(), StoreError> {
        loop {
            let delete = self.store.write(move |db| {
                db.prepare_cached(
                    "DELETE FROM used_attempts
                     WHERE rowid IN (SELECT rowid FROM used_attempts WHERE forget_at < ? LIMIT ?)",
                )?
                .execute(params![now.0, SWEEP_ROWS])
            });
            if self.store.timed("sweep", delete).await? < SWEEP_ROWS.into() {
                return Ok(());
            }
        }
    }

    async fn count_active(&self) -> Result<(), StoreError> {
        let select = self.store.read(|db| {
            let mut select = db.prepare_cached("SELECT tenant, count(*) FROM sessions GROUP BY tenant")?;
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<Vec<(String, i64)>, _>>()
        });
        let mut active = HashMap::new();
        for (tenant, count) in self.store.timed("count", select).await? {
            let tenant = tenant.parse::<TenantId>().ok();
            let label = tenant.as_ref().map_or(NO_TENANT, |tenant| self.metrics.tenant(tenant));
            *active.entry(label.to_owned()).or_insert(0) += count;
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

/// Writes a session's last use while nobody waits for it.
fn touch_later(store: &Store, session: Arc<Session>, touch: Touch) {
    let store = store.clone();
    tokio::spawn(async move {
        let at = touch.last_seen_at;
        match store.timed("touch", store.write(move |db| write_touch(db, &touch))).await {
            Ok(()) => session.stored(at),
            // The next sweep tries again.
            Err(error) => tracing::debug!(error = &error as &dyn Error, "last use of a session could not be written"),
        }
    });
}

fn write_touch(db: &Connection, touch: &Touch) -> rusqlite::Result<()> {
    // Two touches may come out of order; the later use stays.
    db.prepare_cached(
        "UPDATE sessions SET last_seen_at = ?1, ends_at = min(?2, expires_at)
         WHERE tenant = ?3 AND id_hash = ?4 AND last_seen_at <= ?1",
    )?
    .execute(params![touch.last_seen_at.0, touch.ends_at.0, touch.tenant.as_str(), touch.id_hash])
    .map(drop)
}
