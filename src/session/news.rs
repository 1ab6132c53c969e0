//! What replicas tell one another: which sessions they ended or renewed, and that they are there. From it follows
//! whether what lies in the cache still holds.
//!
//! Everybody publishes a heartbeat and expects it back. While it comes back in time, everything published before it has
//! been heard, and what was read since then needs no look into the store. Messages of a replica are numbered: one that
//! is missing, or a replica that falls silent without a farewell, makes everybody read everything anew at its next use.
//! So does a heartbeat that is late, for as long as it is.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, future, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::store::Store;
use super::{Sessions, StoreError};
use crate::secret::{self, base64url, from_base64url};
use crate::tenant_id::TenantId;

/// Time between two heartbeats.
const BEAT: Duration = Duration::from_millis(200);
/// How old the last heartbeat that came back may be.
const LATE: Duration = Duration::from_millis(700);
/// How long what was read holds in any case.
const READ_HOLDS: Duration = Duration::from_millis(200);
/// How long after its last message a replica counts as silent.
const SILENT: Duration = Duration::from_millis(700);
/// How long a subscription over which no heartbeat comes back is waited for.
const DEAF: Duration = Duration::from_secs(2);
/// Time between two attempts to subscribe.
const PAUSE: Duration = Duration::from_millis(200);
/// How long it may take to publish.
const SAID_WITHIN: Duration = Duration::from_millis(300);
/// How long a store that just did not answer is not asked again for what may be stale.
const NOT_ASKED: Duration = Duration::from_millis(250);
/// How long ends are remembered, to be applied again when Redis may have lost them.
const ENDS_KEPT: Duration = Duration::from_mins(1);
/// Ends that are remembered.
const MOST_ENDS: usize = 20_000;
/// Time between two looks at which servers there are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often ends are applied again once the servers have changed.
const ROUNDS: u32 = 10;
/// Ends that are applied again at the same time.
const AT_ONCE: usize = 32;
/// The end of no time.
const NEVER: u64 = u64::MAX;

/// What has been heard, and since when. All times are milliseconds since it was made.
pub(super) struct News {
    /// Who we are among the replicas; none where the store is ours alone.
    name: Option<String>,
    begun: Instant,
    /// How long sessions go on that no store confirms.
    grace: Duration,
    /// The number of the last message; held while one is published.
    said: tokio::sync::Mutex<u64>,
    /// Since when everything has been heard.
    since: AtomicU64,
    /// Before this, something was missed.
    missed: AtomicU64,
    /// When the last heartbeat was sent that has come back.
    heard: AtomicU64,
    /// Times in which everything was heard, the last one last.
    past: Mutex<VecDeque<(u64, u64)>>,
    failure: Mutex<Option<(Instant, StoreError)>>,
    ends: Mutex<Ends>,
    /// Redis may have forgotten ends.
    servers_changed: Notify,
}

#[derive(Default)]
struct Ends {
    tenants: HashMap<[u8; 32], TenantId>,
    order: VecDeque<(Instant, [u8; 32])>,
}

/// A message, as JSON.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Message {
    from: String,
    number: u64,
    /// By the sender's clock.
    at: u64,
    /// Tenants, and hashes of ids as base64url.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ended: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    renewed: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    farewell: bool,
}

impl News {
    /// Nothing has been heard yet; a store that is not `shared` has nothing to tell.
    pub(super) fn new(shared: bool, grace: Duration) -> Arc<Self> {
        Arc::new(Self {
            name: shared.then(|| base64url(&secret::random::<9>())),
            // So that 0 is long ago.
            begun: Instant::now().checked_sub(Duration::from_hours(1)).unwrap_or_else(Instant::now),
            grace,
            said: tokio::sync::Mutex::default(),
            since: AtomicU64::new(NEVER),
            missed: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            past: Mutex::default(),
            failure: Mutex::default(),
            ends: Mutex::default(),
            servers_changed: Notify::new(),
        })
    }

    /// Whether there are other replicas that may end sessions.
    pub(super) const fn is_shared(&self) -> bool {
        self.name.is_some()
    }

    pub(super) fn now(&self) -> u64 {
        millis(self.begun.elapsed())
    }

    /// Whether what was read from the store then still holds.
    pub(super) fn holds(&self, read_at: u64) -> bool {
        if !self.is_shared() {
            return true;
        }
        let now = self.now();
        read_at.saturating_add(millis(READ_HOLDS)) >= now
            || (read_at >= self.since.load(Ordering::Acquire)
                && now.saturating_sub(self.heard.load(Ordering::Acquire)) <= millis(LATE))
    }

    /// Whether what was read then may be used although the store does not answer.
    pub(super) fn is_forgivable(&self, read_at: u64) -> bool {
        let held = self.past().iter().rev().find(|(since, until)| (*since..=*until).contains(&read_at)).copied();
        let (since, heard) = (self.since.load(Ordering::Acquire), self.heard.load(Ordering::Acquire));
        let held_until = match held {
            _ if read_at >= since => heard.max(read_at),
            Some((_, until)) => until,
            None => read_at,
        };
        self.now().saturating_sub(held_until) <= millis(self.grace)
    }

    /// Why the store did not answer a moment ago. After that moment one may ask again; the others go on without for
    /// another moment.
    pub(super) fn failure(&self) -> Option<StoreError> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, error) = failure.as_mut()?;
        if at.elapsed() < NOT_ASKED {
            return Some(error.clone());
        }
        *at = Instant::now();
        None
    }

    /// Notes how the store answered.
    pub(super) fn answered<T>(&self, answer: &Result<T, StoreError>) {
        let failure = match answer {
            Err(error @ (StoreError::Unreachable(_) | StoreError::Slow)) => Some((Instant::now(), error.clone())),
            _ => None,
        };
        if self.is_shared() {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        }
    }

    /// Remembers an end.
    pub(super) fn ended(&self, tenant: &TenantId, id_hash: [u8; 32]) {
        if !self.is_shared() {
            return;
        }
        let mut ends = self.ends();
        if ends.tenants.insert(id_hash, tenant.clone()).is_none() {
            ends.order.push_back((Instant::now(), id_hash));
        }
        while ends.order.len() > MOST_ENDS || ends.order.front().is_some_and(|(at, _)| at.elapsed() > ENDS_KEPT) {
            let Some((_, gone)) = ends.order.pop_front() else { break };
            ends.tenants.remove(&gone);
        }
    }

    /// Whether a tenant's session ended a moment ago, whatever the store says.
    pub(super) fn has_ended(&self, tenant: &TenantId, id_hash: &[u8; 32]) -> bool {
        self.is_shared() && self.ends().tenants.get(id_hash) == Some(tenant)
    }

    fn recent_ends(&self) -> Vec<(TenantId, [u8; 32])> {
        let ends = self.ends();
        let recent = ends.order.iter().filter(|(at, _)| at.elapsed() <= ENDS_KEPT);
        recent.filter_map(|(_, id_hash)| Some((ends.tenants.get(id_hash)?.clone(), *id_hash))).collect()
    }

    /// Tells all replicas. If it cannot be said, they miss a number, or us, and read everything anew.
    pub(super) async fn tell(&self, store: &Store, ended: &[(TenantId, [u8; 32])], renewed: &[[u8; 32]]) {
        let ended = ended.iter().map(|(tenant, id_hash)| (tenant.to_string(), base64url(id_hash))).collect();
        let renewed = renewed.iter().map(|id_hash| base64url(id_hash)).collect();
        self.say(store, Message { ended, renewed, ..Message::default() }).await;
    }

    async fn say(&self, store: &Store, message: Message) {
        let Some(from) = self.name.clone() else { return };
        let mut said = self.said.lock().await;
        *said += 1;
        let message = Message { from, number: *said, at: self.now(), ..message };
        let text = serde_json::to_string(&message).expect("plain text");
        if !matches!(tokio::time::timeout(SAID_WITHIN, store.publish(&text)).await, Ok(Ok(()))) {
            tracing::debug!("a message to other replicas could not be published");
        }
    }

    /// Says nothing under the next number.
    #[cfg(test)]
    pub(super) async fn skip(&self) {
        *self.said.lock().await += 1;
    }

    /// Farewell: from now on nobody misses us.
    pub(super) async fn leave(&self, store: &Store) {
        if self.is_shared() && *self.said.lock().await > 0 {
            self.say(store, Message { farewell: true, ..Message::default() }).await;
        }
    }

    /// Our own heartbeat of `at` came back.
    fn came_back(&self, at: u64) {
        self.heard.store(at, Ordering::Release);
        if self.since.load(Ordering::Acquire) == NEVER {
            self.since.store(at.max(self.missed.load(Ordering::Acquire)), Ordering::Release);
        }
    }

    /// Something was missed; what comes is heard.
    fn missed(&self) {
        let now = self.now();
        self.missed.store(now, Ordering::Release);
        if self.since.load(Ordering::Acquire) != NEVER {
            self.begin_anew(now);
        }
    }

    /// From `since` on everything is heard again.
    fn begin_anew(&self, since: u64) {
        let before = self.since.swap(since, Ordering::AcqRel);
        if before != NEVER {
            let (now, grace) = (self.now(), millis(self.grace));
            let mut past = self.past();
            past.push_back((before, self.heard.load(Ordering::Acquire)));
            past.retain(|(_, until)| now.saturating_sub(*until) <= grace);
        }
    }

    fn past(&self) -> MutexGuard<'_, VecDeque<(u64, u64)>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of another replica.
pub(super) struct Other {
    number: u64,
    heard: Instant,
}

impl Sessions {
    /// Hears what other replicas tell and tells them that we are here, for ever; the caller spawns this and aborts it.
    pub async fn keep_informed(self: Arc<Self>) {
        if !self.news.is_shared() {
            return;
        }
        let beat = async {
            let mut beat = tokio::time::interval(BEAT);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                beat.tick().await;
                self.news.say(&self.store, Message::default()).await;
            }
        };
        let listen = async {
            let mut was_heard = true;
            loop {
                let Err(error) = self.listen(&mut was_heard).await;
                self.news.begin_anew(NEVER);
                self.metrics.session_news_up.set(0);
                if std::mem::take(&mut was_heard) {
                    let error = &error as &dyn Error;
                    tracing::warn!(error, "nothing is heard of other replicas: sessions are read anew at each use");
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        future::join3(beat, listen, self.keep_ended()).await;
    }

    /// Listens for as long as something is heard.
    async fn listen(&self, was_heard: &mut bool) -> Result<Infallible, StoreError> {
        let mut messages = self.store.subscribe().await?;
        let subscribed = self.news.now();
        let mut others = HashMap::new();
        // The server that we listened to may have been replaced by one that knows less.
        self.news.servers_changed.notify_one();
        let mut heard = Instant::now();
        let mut look = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else { return Err(StoreError::Slow) };
                    let own = self.hear(&mut others, &message).await;
                    if let Some(at) = own.filter(|at| *at >= subscribed) {
                        self.news.came_back(at);
                        heard = Instant::now();
                        self.metrics.session_news_up.set(1);
                        if !std::mem::replace(was_heard, true) {
                            tracing::info!("other replicas are heard again");
                        }
                    }
                }
                _ = look.tick() => {
                    let known = others.len();
                    others.retain(|_, other: &mut Other| other.heard.elapsed() <= SILENT);
                    if others.len() < known {
                        tracing::debug!("another replica has fallen silent");
                        self.news.missed();
                    }
                    if heard.elapsed() > DEAF {
                        return Err(StoreError::Slow);
                    }
                }
            }
        }
    }

    /// Does what a message says. Gives the time of one that is our own.
    pub(super) async fn hear(&self, others: &mut HashMap<String, Other>, message: &[u8]) -> Option<u64> {
        let Ok(message) = serde_json::from_slice::<Message>(message) else {
            self.news.missed();
            return None;
        };
        if Some(&message.from) == self.news.name.as_ref() {
            return Some(message.at);
        }
        self.take_over(others, message).await;
        None
    }

    /// Does what another replica tells.
    async fn take_over(&self, others: &mut HashMap<String, Other>, message: Message) {
        let expected = others.get(&message.from).map_or(1, |other| other.number.saturating_add(1));
        // One that comes twice is known.
        if message.number > expected {
            self.news.missed();
        }
        if message.farewell {
            others.remove(&message.from);
        } else {
            let number = message.number.max(expected - 1);
            others.insert(message.from, Other { number, heard: Instant::now() });
        }
        let hash = |text: &str| -> Option<[u8; 32]> { from_base64url(text)?.try_into().ok() };
        for (tenant, id_hash) in &message.ended {
            let (Ok(tenant), Some(id_hash)) = (tenant.parse::<TenantId>(), hash(id_hash)) else { continue };
            self.news.ended(&tenant, id_hash);
            self.near.drop(id_hash).await;
            self.ends.tell(id_hash);
        }
        for id_hash in message.renewed.iter().filter_map(|text| hash(text)) {
            self.near.doubt(id_hash).await;
        }
    }

    /// Ends again what ended lately, for a while after Redis' servers have changed: one that took over may not know.
    async fn keep_ended(&self) {
        let (mut known, mut rounds) = (None, 0);
        loop {
            let told = tokio::time::timeout(LOOK_EVERY, self.news.servers_changed.notified()).await;
            let servers = self.store.servers().await.ok();
            let changed = servers.is_some() && known.is_some() && servers != known;
            known = servers.or(known);
            if changed || told.is_ok() {
                rounds = ROUNDS;
            }
            if rounds > 0 {
                rounds -= 1;
                self.end_again().await;
            }
        }
    }

    async fn end_again(&self) {
        let ends = stream::iter(self.news.recent_ends()).map(async |(tenant, id_hash)| {
            if let Err(error) = self.store.remove(&tenant, id_hash, self.clock.now()).await {
                tracing::debug!(error = &error as &dyn Error, "a session could not be ended again");
            }
        });
        ends.buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

const fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// What was published, message by message; it ends when the connection is lost.
pub(super) type Messages = std::pin::Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>;

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("News(…)")
    }
}
