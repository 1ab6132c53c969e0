//! Sessions: made, found by the cookie's value, ended, swept; with them used sign-in attempts and the users seen.
//!
//! The browser keeps a `cookie`, which holds the only key of its `record`; the `store`, SQLite or Redis, keeps the
//! record, sealed. In front lies a cache, `near`, and on the hot path nothing else: no I/O, no lock that all share. The
//! cache forgets as it likes; a session decides its own end by the [`Clock`]. What the store does not answer signs
//! nobody out who is in the cache. Tokens are most of a session's bytes and seldom needed: they stay in memory only while
//! they are used, and are read from the store when they are needed again.
//!
//! Loading a session and ending one take turns, session by session: a load that began before an end cannot put back
//! into the cache what the end removed; a renewal takes the same turns. Touches and renewals update their row and never
//! insert one. What another process ended is dropped from the cache the same way (`watch`).

mod cookie;
mod ends;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod list;
mod near;
mod news;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod tokens;
mod turn;
mod user;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use moka::ops::compute::{CompResult, Op};
use tracing::Instrument as _;

use self::cookie::{Cookie, CookieHash, cookie_hash};
pub use self::error::{ExamineError, OpenError, StoreError};
pub use self::list::{ListedSession, ListedSummary};
use self::near::Near;
use self::news::News;
pub use self::record::{EndReason, ExpiryReason, NewSession, Session};
use self::record::{Lock, Touch};
pub use self::store::{DATABASE_FILES, RedisServer};
use self::store::{FoundUser, Store, StoredSession};
pub use self::tokens::{AccessToken, Opened, Renewal, RenewedTokens, TokenTerms, Tokens};
pub use self::turn::Turn;
pub use self::user::{SeenUser, UserRecord};
use crate::audit::Audit;
use crate::clock::{Clock, Timestamp};
use crate::config::{RedisSettings, SessionLimits, StoreKind, StoreSettings};
use crate::key_ring::{KeyId, KeyRing, RingKey, TenantKeys};
use crate::metrics::{IntCounter, Metrics, NO_TENANT};
use crate::secret::{ExposeSecret as _, SecretString, base64url, sha256};
use crate::tenant_id::TenantId;
use crate::turnstile::{Overloaded, Pass, Turnstile};

/// How long a used attempt is remembered, in seconds: as long as its cookie could come back.
const ATTEMPT_KEPT: i64 = 600;
/// Time between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// How long a store is waited for that may know more of a session than we do, where we may go on without.
const PATIENCE: Duration = Duration::from_millis(500);
/// Last uses that are told to the store at the same time.
const TOLD_AT_ONCE: usize = 256;

/// A session that a cookie opened.
#[derive(Clone, Debug)]
pub struct Found {
    /// The session.
    pub session: Arc<Session>,
    /// Whether the store could not be asked whether it still is one: it may have ended elsewhere, up to
    /// `sessions.stale_grace` ago.
    pub is_stale: bool,
}

/// What is to be read.
#[derive(Clone, Copy)]
struct Read {
    /// Unless it was read then or later, in milliseconds of the process; else unless what is in the cache holds.
    since: Option<u64>,
    /// The tokens, too.
    tokens: bool,
}

/// What was read, or was in the cache and holds.
struct Loaded {
    session: Arc<Session>,
    tokens: Option<Arc<Tokens>>,
    is_stale: bool,
}

impl Loaded {
    fn opened(self) -> Option<Opened> {
        Some(Opened { session: self.session, tokens: self.tokens? })
    }
}

/// All sessions of all tenants.
pub struct Sessions {
    ring: Arc<KeyRing>,
    clock: Clock,
    metrics: Arc<Metrics>,
    store: Store,
    near: Near,
    news: Arc<News>,
    hits: IntCounter,
    misses: IntCounter,
    ends: Arc<watch::Ends>,
    audit: OnceLock<Arc<Audit>>,
    turnstile: OnceLock<Arc<Turnstile>>,
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
        let near = Near::new(settings.cache_bytes, move |session: Arc<Session>| {
            if let Some(touch) = session.untold() {
                touch_later(&evicted, session, touch);
            }
        });
        let looked_up = |result| metrics.cache_requests_total.with_label_values(&["sessions", result]);
        let (hits, misses) = (looked_up("hit"), looked_up("miss"));
        let ends = Arc::new(watch::Ends::new());
        Ok(Arc::new(Self {
            ring,
            clock,
            metrics,
            store,
            near,
            news,
            hits,
            misses,
            ends,
            audit: OnceLock::new(),
            turnstile: OnceLock::new(),
        }))
    }

    /// Lets reads of sessions that are not in memory wait there from now on; once.
    pub fn wait_at(&self, turnstile: Arc<Turnstile>) {
        // Two would not know of one another.
        let _ = self.turnstile.set(turnstile);
    }

    async fn enter(&self) -> Result<Option<Pass<'_>>, Overloaded> {
        let Some(turnstile) = self.turnstile.get() else { return Ok(None) };
        let entered = turnstile.enter().await;
        if entered.is_err() {
            self.metrics.requests_shed_total.with_label_values(&["session"]).inc();
        }
        entered.map(Some)
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
        let (opened, row) =
            Session::begin(&ring, tenant, &cookie, hash, limits, (self.clock.now(), self.news.now()), new);
        let session = Arc::clone(&opened.session);
        let (store, near, owner, made) = (self.store.clone(), self.near.clone(), tenant.clone(), Arc::clone(&session));
        let (news, ends, told) = (Arc::clone(&self.news), Arc::clone(&self.ends), self.told());
        // Goes on to its end even if nobody waits for it any more: it may end others.
        let making = tokio::spawn(traced(async move {
            let mut ended = Vec::new();
            let insertion = async {
                ended = store.insert(&owner, row).await?;
                Ok::<_, StoreError>(Op::Put(Arc::clone(&made)))
            };
            // Whoever ends it at once takes turns with this.
            near.sessions.entry(made.id_hash).and_try_compute_with(|_| insertion).await?;
            // They are often used at once.
            near.warm(&opened);
            watch::forget(&store, &near, &news, &ends, &owner, &ended).await;
            told.ended(&owner, &ended, EndReason::Replaced).await;
            Ok::<_, StoreError>(ended)
        }));
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
    ) -> Result<Option<Found>, StoreError> {
        let Some(cookie) = Cookie::parse(cookie_value) else { return Ok(None) };
        // A ring key that was dropped takes its sessions with it, those in the cache as well.
        let Some(ring) = self.ring.get(cookie.ring) else { return Ok(None) };
        let (id_hash, hash) = (record::id_hash(&ring, tenant, &cookie.id), cookie_hash(cookie_value));
        let lock = || Lock::of(&ring, tenant, &cookie, id_hash, hash);
        let asked = self.news.now();
        let (mut found, mut is_stale) = (self.near.sessions.get(&id_hash).await, false);
        if found.as_ref().is_some_and(|session| self.holds(session)) {
            self.hits.inc();
        } else {
            self.misses.inc();
            let _pass = self.enter().await?;
            let loaded = self.load(&ring, lock(), Read { since: None, tokens: false }).await?;
            is_stale = loaded.as_ref().is_some_and(|loaded| loaded.is_stale);
            found = loaded.map(|loaded| loaded.session);
        }
        let now = self.clock.now();
        // It may be in use at another replica.
        if found.as_ref().is_some_and(|session| self.news.is_shared() && session.is_over(limits, now)) {
            let loaded = self.load(&ring, lock(), Read { since: Some(asked), tokens: false }).await?;
            (found, is_stale) = (loaded.map(|loaded| loaded.session), false);
        }
        let opened = found.filter(|session| self.opens(session, &hash, limits, now));
        Ok(opened.map(|session| Found { session, is_stale }))
    }

    /// The session that `cookie_value` opens at `tenant`, if it is in memory and nobody need be asked about it; else
    /// [`Sessions::find`] knows more. Counts as a use.
    pub fn at_hand(&self, tenant: &TenantId, limits: &SessionLimits, cookie_value: &str) -> Option<Arc<Session>> {
        let cookie = Cookie::parse(cookie_value)?;
        let id_hash = record::id_hash(self.ring.peek().get(cookie.ring)?, tenant, &cookie.id);
        let session = self.near.at_hand(&id_hash)?;
        session.fetch();
        let opens = self.holds(&session) && self.opens(&session, &cookie_hash(cookie_value), limits, self.clock.now());
        opens.then(|| {
            self.hits.inc();
            session
        })
    }

    /// Whether the cookie of this hash opens a session that is not over; then it is used. The id alone finds a session,
    /// only the whole cookie opens it.
    fn opens(&self, session: &Arc<Session>, hash: &CookieHash, limits: &SessionLimits, now: Timestamp) -> bool {
        let opens = session.opens_with(hash) && !session.is_over(limits, now);
        if let Some(touch) = opens.then(|| session.see(limits, now)).flatten() {
            touch_later(&self.store, Arc::clone(session), touch);
        }
        opens
    }

    /// The tokens of `session`, if they are in memory: they are when they were used within a minute.
    pub fn tokens_at_hand(&self, session: &Session) -> Option<Arc<Tokens>> {
        self.near.tokens_of(session)
    }

    /// The tokens of `session`, and what it is by now, if it was renewed since it was found; `None` if it has ended.
    /// Whoever judges by the session judges by the one that comes with its tokens. Counts as no use, and reads from the
    /// store unless they were used within a minute.
    ///
    /// # Errors
    /// They are not in memory and the store did not answer.
    pub async fn opened(&self, session: &Arc<Session>) -> Result<Option<Opened>, StoreError> {
        if let Some(tokens) = self.near.tokens_of(session) {
            return Ok(Some(Opened { session: Arc::clone(session), tokens }));
        }
        self.open_by(session, None).await
    }

    async fn open_by(&self, session: &Session, since: Option<u64>) -> Result<Option<Opened>, StoreError> {
        let Some(ring) = self.ring.get(session.ring) else { return Ok(None) };
        let loaded = self.load(&ring, session.lock(), Read { since, tokens: true }).await?;
        Ok(loaded.and_then(Loaded::opened))
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
        let (store, near, metrics) = (self.store.clone(), self.near.clone(), Arc::clone(&self.metrics));
        let (tenant, now) = (tenant.clone(), self.clock.now());
        let (ends, news, told) = (Arc::clone(&self.ends), Arc::clone(&self.news), self.told());
        let ending = tokio::spawn(traced(async move {
            let mut was_there = false;
            let removal = async {
                was_there = store.remove(&tenant, id_hash, now).await?;
                Ok::<_, StoreError>(Op::Remove)
            };
            near.sessions.entry(id_hash).and_try_compute_with(|_| removal).await?;
            near.forget_tokens(&id_hash);
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
        }));
        // The task fails only when the runtime ends.
        ending.await.unwrap_or(Err(StoreError::Closed))
    }

    /// What has become of `session` since it was found, by renewals; `None` if it has ended. Counts as no use.
    ///
    /// # Errors
    /// It is not in the cache and the store did not answer.
    pub async fn current(&self, session: &Session) -> Result<Option<Arc<Session>>, StoreError> {
        let Some(ring) = self.ring.get(session.ring) else { return Ok(None) };
        if let Some(current) = self.near.sessions.get(&session.id_hash).await.filter(|current| self.holds(current)) {
            return Ok(Some(current));
        }
        let loaded = self.load(&ring, session.lock(), Read { since: None, tokens: false }).await?;
        Ok(loaded.map(|loaded| loaded.session))
    }

    /// The same with its tokens, as the store has it now, where other replicas may have renewed it a moment ago.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn latest(&self, session: &Session) -> Result<Option<Opened>, StoreError> {
        self.open_by(session, self.news.is_shared().then(|| self.news.now())).await
    }

    /// Stores what became of a session's tokens, then shows it to everybody who asks; the cookie stays the same. What is
    /// renewed is what the store has. `None` if the session has ended meanwhile: it stays ended.
    ///
    /// # Errors
    /// The store did not keep it; the session is as it was, unless this was [`StoreError::Slow`].
    pub async fn renew(&self, session: &Session, renewal: &Renewal) -> Result<Option<Opened>, StoreError> {
        let Some(ring) = self.ring.get(session.ring) else { return Ok(None) };
        let (tenant, id_hash) = (&session.tenant, session.id_hash);
        let mut renewed = None;
        let kept = &mut renewed;
        let renew = self.near.sessions.entry(id_hash).and_try_compute_with(|entry| async move {
            let known = entry.map(moka::Entry::into_value);
            let known = known.as_deref().unwrap_or(session);
            let stored = self.store.find(tenant, id_hash).await?.filter(|_| !self.news.has_ended(tenant, &id_hash));
            let now = self.news.now();
            let Some(current) =
                stored.and_then(|stored| Session::open(&ring, session.lock(), &stored, Some(known), now))
            else {
                return Ok(Op::Remove);
            };
            let (opened, update) = current.renewed(&current.tokens, &ring, renewal, now);
            if !self.store.update(tenant, id_hash, update).await? {
                return Ok(Op::Remove);
            }
            self.near.warm(&opened);
            let session = Arc::clone(&opened.session);
            *kept = Some(opened);
            Ok::<_, StoreError>(Op::Put(session))
        });
        renew.await?;
        if renewed.is_some() {
            self.news.tell(&self.store, &[], &[id_hash]).await;
        }
        Ok(renewed)
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
        for (key, session) in &self.near.sessions {
            if session.ends_at() <= now {
                self.near.sessions.invalidate(key.as_ref()).await;
            }
        }
        self.near.cool();
        self.count_active().await?;
        Ok(swept.len())
    }

    /// Sweeps now and once a minute, for ever; the caller spawns this and aborts it.
    pub async fn keep_swept(self: Arc<Self>) {
        loop {
            if let Err(error) = self.sweep().await {
                tracing::error!(error = &error as &dyn Error, "sessions could not be swept");
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

    /// Reads a session from the store into the cache, unless what is there will do; those who ask at the same time share
    /// one answer. If the store does not answer, a session goes on for a while as it was, unless it is given since when
    /// it must have been read.
    async fn load(&self, ring: &RingKey, lock: Lock, read: Read) -> Result<Option<Loaded>, StoreError> {
        let id_hash = lock.id_hash;
        let (mut tokens, mut is_stale) = (None, false);
        let (kept, stale) = (&mut tokens, &mut is_stale);
        let load = self.near.sessions.entry(id_hash).and_try_compute_with(|entry| async move {
            let known = entry.map(moka::Entry::into_value);
            let holds = |known: &Arc<Session>| match read.since {
                _ if !known.opens_with(&lock.cookie_hash) => true,
                Some(since) => known.read_at >= since && !known.doubtful.load(Ordering::Acquire),
                None => self.holds(known),
            };
            if let Some(known) = &known {
                *kept = self.near.tokens_of(known).filter(|_| read.tokens);
                if holds(known) && (kept.is_some() || !read.tokens) {
                    return Ok(Op::Nop);
                }
            }
            let read_at = self.news.now();
            let enough = read.since.is_none() && (kept.is_some() || !read.tokens);
            let is_forgiven = enough && known.as_ref().is_some_and(|known| self.news.is_forgivable(known.read_at));
            match self.ask(&lock, is_forgiven).await {
                Ok(stored) => {
                    let stored = stored.filter(|_| !self.news.has_ended(&lock.tenant, &id_hash));
                    let opened =
                        stored.and_then(|stored| Session::open(ring, lock, &stored, known.as_deref(), read_at));
                    let Some(opened) = opened else {
                        return Ok(if known.is_some() { Op::Remove } else { Op::Nop });
                    };
                    if read.tokens {
                        self.near.warm(&opened);
                        *kept = Some(opened.tokens);
                    } else {
                        self.near.keep_warm(&opened);
                    }
                    Ok(Op::Put(opened.session))
                }
                Err(_) if is_forgiven => {
                    self.metrics.session_stale_uses_total.inc();
                    *stale = true;
                    Ok(Op::Nop)
                }
                Err(error) => Err(error),
            }
        });
        let entry = match load.await? {
            CompResult::Removed(_) => None,
            result => result.into_entry(),
        };
        Ok(entry.map(|entry| Loaded { session: entry.into_value(), tokens, is_stale }))
    }

    /// Asks the store for a session. Where `impatient`, it is not waited for long, nor asked where it just did not answer.
    async fn ask(&self, lock: &Lock, impatient: bool) -> Result<Option<StoredSession>, StoreError> {
        if impatient && let Some(error) = self.news.failure() {
            return Err(error);
        }
        let patience = if impatient { PATIENCE } else { self.store.limit };
        let stored = self.store.find_within(patience, &lock.tenant, lock.id_hash).await;
        self.news.answered(&stored);
        stored
    }

    /// Writes the last uses that the store does not know yet.
    async fn flush(&self) -> Result<(), StoreError> {
        let untold: Vec<_> = self
            .near
            .sessions
            .iter()
            .filter_map(|(_, session)| session.untold().map(|touch| (session, touch)))
            .collect();
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

    /// The label `store` of the metrics.
    pub const fn store_label(&self) -> &'static str {
        self.store.label()
    }

    /// How many sessions each tenant has that are not swept yet; none where the store does not count.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn count_by_tenant(&self) -> Result<Option<BTreeMap<TenantId, i64>>, StoreError> {
        let counted = self.store.count().await?;
        let known = counted.into_iter().filter_map(|(tenant, count)| Some((tenant?, count)));
        Ok(self.store.counts().then(|| known.collect()))
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

/// In the trace of whoever begins it.
fn traced<F: Future>(task: F) -> tracing::instrument::Instrumented<F> {
    task.in_current_span()
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
