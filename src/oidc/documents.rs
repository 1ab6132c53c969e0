//! What providers publish, kept: fresh as long as they allow, stale while they are down, fetched once for all who wait.
//! How it is fetched is in `fetch`, what it says in `metadata` and `key_set`.
//!
//! moka holds the entries and lets one fetch at a time run for a key; whether an entry is fresh is told by our own clock.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::ops::compute::Op;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::ProviderError;
use super::source::{Document, Source};
use crate::clock::{Clock, Uptime};
use crate::metrics::Metrics;

/// Sources that are held; beyond, the least used are fetched anew.
const MAX_SOURCES: u64 = 100_000;
/// Seconds that a document without Cache-Control is fresh.
const DEFAULT_FRESH: i64 = 600;
/// Seconds that every document is fresh.
const LEAST_FRESH: i64 = 60;
/// Seconds between two fetches for the sake of unknown keys.
const REFETCH_INTERVAL: i64 = 60;
/// Seconds that the first failure in a row is remembered; each further one doubles it.
const FIRST_BACK_OFF: i64 = 1;
/// The longest that becomes.
const MAX_BACK_OFF: i64 = 30;
/// The longest that the provider's own wish makes it.
const MAX_WISHED_BACK_OFF: i64 = 300;

/// What was fetched.
pub(super) struct Fetched<T> {
    pub(super) value: T,
    /// Seconds that the answer may be kept, if it said.
    pub(super) max_age: Option<i64>,
}

/// Why a fetch is wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// There is none, or it is no longer fresh.
    Fresh,
    /// It is about to be no longer fresh.
    Fresher,
    /// It lacks a key.
    UnknownKey,
}

struct Entry<T> {
    value: Arc<T>,
    fetched_at: Uptime,
    /// Seconds.
    fresh_for: i64,
}

impl<T> Entry<T> {
    fn is_fresh(&self, now: Uptime) -> bool {
        now.since(self.fetched_at) < self.fresh_for
    }

    /// Whether a quarter of its time, or less, is left.
    fn is_due(&self, now: Uptime) -> bool {
        now.since(self.fetched_at) >= self.fresh_for - self.fresh_for / 4
    }
}

#[derive(Clone)]
struct Failure {
    error: ProviderError,
    in_a_row: u32,
    retry_at: Uptime,
}

impl Failure {
    fn new(error: ProviderError, before: Option<&Self>, now: Uptime) -> Self {
        let in_a_row = before.map_or(0, |failure| failure.in_a_row).saturating_add(1);
        let back_off = FIRST_BACK_OFF.checked_shl(in_a_row - 1).unwrap_or(MAX_BACK_OFF).clamp(1, MAX_BACK_OFF);
        let wished = match &error {
            ProviderError::Failed { retry_after, .. } | ProviderError::Limited { retry_after } => *retry_after,
            _ => None,
        };
        let wished = wished.map_or(0, |wish| i64::try_from(wish.as_secs()).unwrap_or(MAX_WISHED_BACK_OFF));
        let retry_at = now.plus(back_off.max(wished.min(MAX_WISHED_BACK_OFF)));
        Self { error, in_a_row, retry_at }
    }

    /// The answer to whoever comes before the next try; none if that may be made.
    fn answer(&self, now: Uptime) -> Option<ProviderError> {
        let left = u64::try_from(self.retry_at.since(now)).ok().filter(|left| *left > 0)?;
        Some(match self.error.retry_after() {
            Some(_) => ProviderError::Unavailable { last: self.error.code(), retry_after: Duration::from_secs(left) },
            None => self.error.clone(),
        })
    }
}

/// The documents of one kind, of all sources.
pub(super) struct Documents<T> {
    kind: Document,
    clock: Clock,
    metrics: Arc<Metrics>,
    entries: Cache<Arc<Source>, Arc<Entry<T>>>,
    failures: Cache<Arc<Source>, Failure>,
    /// When keys were last fetched for the sake of an unknown one.
    refetches: Cache<Arc<Source>, Uptime>,
}

impl<T: Send + Sync + 'static> Documents<T> {
    pub(super) fn new(kind: Document, clock: Clock, metrics: Arc<Metrics>) -> Arc<Self> {
        let (entries, failures, refetches) =
            (Cache::new(MAX_SOURCES), Cache::new(MAX_SOURCES), Cache::new(MAX_SOURCES));
        Arc::new(Self { kind, clock, metrics, entries, failures, refetches })
    }

    /// The document of `source`: a fresh one, fetched if need be, or a stale one while it cannot be fetched.
    pub(super) async fn get(
        self: &Arc<Self>,
        source: &Arc<Source>,
        fetch: impl Future<Output = Result<Fetched<T>, ProviderError>> + Send + 'static,
    ) -> Result<Arc<T>, ProviderError> {
        let held = self.held(source).await;
        let now = self.clock.uptime();
        if let Some(entry) = held.as_ref().filter(|entry| entry.is_fresh(now)) {
            return Ok(self.counted("hit", entry));
        }
        let failure = self.failures.get(source).await;
        let left_alone = failure.as_ref().and_then(|failure| failure.answer(now));
        match (held, left_alone) {
            (Some(entry), Some(_)) => Ok(self.counted("stale", &entry)),
            // It was down a moment ago: nobody has to wait to see whether it still is.
            (Some(entry), None) if failure.is_some() => {
                drop(self.refresh_apart(source, Wish::Fresh, fetch));
                Ok(self.counted("stale", &entry))
            }
            (None, Some(error)) => {
                self.count("negative");
                Err(error)
            }
            (held, None) => match (self.refresh(source, Wish::Fresh, fetch).await, held) {
                (Err(_), Some(entry)) => Ok(self.counted("stale", &entry)),
                (result, _) => {
                    self.count("miss");
                    result
                }
            },
        }
    }

    /// Fetches the document if the wish still stands when it is its turn. Then, or else, returns what there is.
    pub(super) async fn refresh(
        self: &Arc<Self>,
        source: &Arc<Source>,
        wish: Wish,
        fetch: impl Future<Output = Result<Fetched<T>, ProviderError>> + Send + 'static,
    ) -> Result<Arc<T>, ProviderError> {
        // The task ends early only if the process does.
        let given_up = |_| Err(ProviderError::Unreachable { reason: "the fetch was given up".to_owned() });
        self.refresh_apart(source, wish, fetch).await.unwrap_or_else(given_up)
    }

    /// Forgets what is known of `source`.
    pub(super) async fn forget(&self, source: &Arc<Source>) {
        self.entries.invalidate(source).await;
        self.failures.invalidate(source).await;
        self.refetches.invalidate(source).await;
    }

    /// Whether the document ought to be fetched now, before anybody needs it.
    pub(super) async fn is_due(&self, source: &Arc<Source>) -> bool {
        let now = self.clock.uptime();
        let failure = self.failures.get(source).await;
        failure.is_none_or(|failure| failure.answer(now).is_none())
            && self.held(source).await.is_none_or(|entry| entry.is_due(now))
    }

    /// How long `source` is still left alone because it failed.
    pub(super) async fn left_alone(&self, source: &Arc<Source>) -> Option<Duration> {
        let left = self.failures.get(source).await?.retry_at.since(self.clock.uptime());
        u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_secs)
    }

    /// What may be used, fresh or not.
    async fn held(&self, source: &Arc<Source>) -> Option<Arc<Entry<T>>> {
        let entry = self.entries.get(source).await?;
        (self.clock.uptime().since(entry.fetched_at) < self.kind.usable_for()).then_some(entry)
    }

    /// A task of its own: whoever wished for it may go away without taking it from the others.
    fn refresh_apart(
        self: &Arc<Self>,
        source: &Arc<Source>,
        wish: Wish,
        fetch: impl Future<Output = Result<Fetched<T>, ProviderError>> + Send + 'static,
    ) -> JoinHandle<Result<Arc<T>, ProviderError>> {
        let (documents, source) = (Arc::clone(self), Arc::clone(source));
        tokio::spawn(async move { documents.refresh_in_turn(&source, wish, fetch).await }.in_current_span())
    }

    async fn refresh_in_turn(
        &self,
        source: &Arc<Source>,
        wish: Wish,
        fetch: impl Future<Output = Result<Fetched<T>, ProviderError>>,
    ) -> Result<Arc<T>, ProviderError> {
        // moka runs one of these at a time for a key: who had to wait finds what the one before brought.
        let outcome = self.entries.entry(Arc::clone(source)).and_try_compute_with(|held| async {
            let held = held.map(moka::Entry::into_value);
            if !self.still_stands(source, wish, held.as_deref()).await {
                return Ok(Op::Nop);
            }
            self.fetch_now(source, fetch).await.map(|entry| Op::Put(Arc::new(entry)))
        });
        let entry = outcome.await?.into_entry().expect("a wish stands while there is no entry");
        Ok(Arc::clone(&entry.value().value))
    }

    async fn still_stands(&self, source: &Arc<Source>, wish: Wish, held: Option<&Entry<T>>) -> bool {
        let now = self.clock.uptime();
        let Some(entry) = held else { return true };
        match wish {
            Wish::Fresh => !entry.is_fresh(now),
            Wish::Fresher => entry.is_due(now),
            Wish::UnknownKey => {
                let last = self.refetches.get(source).await;
                let stands = last.is_none_or(|last| now.since(last) >= REFETCH_INTERVAL);
                if stands {
                    self.refetches.insert(Arc::clone(source), now).await;
                }
                stands
            }
        }
    }

    async fn fetch_now(
        &self,
        source: &Arc<Source>,
        fetch: impl Future<Output = Result<Fetched<T>, ProviderError>>,
    ) -> Result<Entry<T>, ProviderError> {
        let before = self.failures.get(source).await;
        if let Some(error) = before.as_ref().and_then(|failure| failure.answer(self.clock.uptime())) {
            return Err(error);
        }
        let result = fetch.await;
        let now = self.clock.uptime();
        source.report(self.kind, self.clock.now(), result.as_ref().err());
        match result {
            Ok(Fetched { value, max_age }) => {
                self.failures.invalidate(source).await;
                let fresh_for = max_age.unwrap_or(DEFAULT_FRESH).clamp(LEAST_FRESH, self.kind.most_fresh());
                Ok(Entry { value: Arc::new(value), fetched_at: now, fresh_for })
            }
            Err(error) => {
                let failure = Failure::new(error.clone(), before.as_ref(), now);
                self.failures.insert(Arc::clone(source), failure).await;
                Err(error)
            }
        }
    }

    fn counted(&self, result: &str, entry: &Entry<T>) -> Arc<T> {
        self.count(result);
        Arc::clone(&entry.value)
    }

    fn count(&self, result: &str) {
        self.metrics.cache_requests_total.with_label_values(&[self.kind.as_str(), result]).inc();
    }
}
