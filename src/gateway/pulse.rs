//! How the process is, looked at in the background: whoever probes it reads what is known, and no probe asks the store.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock::{Clock, Timestamp};
use crate::config::OnStoreFailure;
use crate::session::{Sessions, StoreError};

/// Time between two beats.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A process whose last beat is older is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Time between two checks of the session store.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Checks in a row that must fail before the store counts as down: a failover in between is no reason to send everybody
/// away.
const FAILURES: u32 = 3;

/// What is known of the process.
#[derive(Debug)]
pub struct Pulse {
    /// When the process began to serve.
    pub started_at: Timestamp,
    on_failure: OnStoreFailure,
    sessions: Arc<Sessions>,
    clock: Clock,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    last_beat: Option<Instant>,
    /// Whether a check has ever succeeded.
    was_well: bool,
    /// Checks that failed in a row.
    failures: u32,
    /// How the last of them failed.
    fault: Option<String>,
    checked_at: Option<Timestamp>,
}

/// What is known of the session store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorePulse {
    /// When it was last asked; none before the first time.
    pub checked_at: Option<Timestamp>,
    /// Why it counts as down; none while it does not.
    pub down: Option<String>,
    /// Whether that makes the process not ready.
    pub is_needed: bool,
}

impl Pulse {
    /// Nothing is known yet.
    pub fn new(sessions: Arc<Sessions>, clock: Clock, on_failure: OnStoreFailure) -> Arc<Self> {
        Arc::new(Self { started_at: clock.now(), on_failure, sessions, clock, known: Mutex::default() })
    }

    /// Whether the runtime gets on; true before the first beat.
    pub fn beats(&self) -> bool {
        self.known().last_beat.is_none_or(|last| last.elapsed() < STUCK_AFTER)
    }

    /// How the session store is: down after three failed checks in a row, and before the first good one; well after one.
    pub fn store(&self) -> StorePulse {
        let known = self.known();
        let is_down = !known.was_well || known.failures >= FAILURES;
        let unknown = || "the session store was not asked yet".to_owned();
        let down = is_down.then(|| known.fault.clone().unwrap_or_else(unknown));
        StorePulse { checked_at: known.checked_at, down, is_needed: self.on_failure == OnStoreFailure::NotReady }
    }

    /// Asks the session store once.
    pub async fn check_store(&self) {
        let checked = self.sessions.check().await;
        self.known().checked(self.clock.now(), checked);
    }

    /// Keeps all this up to date, for ever; the caller spawns this and aborts it.
    pub async fn keep(self: Arc<Self>) {
        let beat = async {
            loop {
                self.beat();
                sleep(BEAT_EVERY).await;
            }
        };
        let check = async {
            loop {
                sleep(CHECK_EVERY).await;
                self.check_store().await;
            }
        };
        tokio::join!(beat, check);
    }

    fn beat(&self) {
        self.known().last_beat = Some(Instant::now());
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn checked(&mut self, now: Timestamp, check: Result<(), StoreError>) {
        self.checked_at = Some(now);
        match check {
            Ok(()) => {
                if self.failures > 0 {
                    tracing::info!("the session store is well again");
                }
                *self = Self { was_well: true, failures: 0, fault: None, ..std::mem::take(self) };
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::error!(error = &error as &dyn Error, "the session store is not well");
                }
                self.failures = self.failures.saturating_add(1);
                self.fault = Some(error.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StoreSettings;
    use crate::key_ring::{KeyRing, RingKey};
    use crate::metrics::Metrics;

    async fn pulse(on_failure: OnStoreFailure) -> (Arc<Pulse>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let (ring, clock) = (KeyRing::of_one(RingKey::generate()), Clock::system());
        let settings = StoreSettings { store: crate::config::StoreKind::Embedded, cache_bytes: 1 << 20 };
        let sessions = Sessions::open(folder.path(), ring, &settings, clock.clone(), Metrics::new(0)).await.unwrap();
        (Pulse::new(sessions, clock, on_failure), folder)
    }

    #[tokio::test]
    async fn a_store_is_down_until_it_was_well_once_then_after_three_failures_and_until_one_success() {
        let (pulse, _folder) = pulse(OnStoreFailure::NotReady).await;
        let check = |check| {
            pulse.known().checked(Timestamp(0), check);
            pulse.store().down.is_none()
        };
        assert!(pulse.store().down.unwrap().contains("not asked yet"));
        assert!(!check(Err(StoreError::Slow)));
        assert!(check(Ok(())));
        let well = [(); 4].map(|()| check(Err(StoreError::Full)));
        assert_eq!(well, [true, true, false, false]);
        assert!(pulse.store().down.unwrap().contains("is full"));
        assert!(check(Ok(())));
        assert!(check(Err(StoreError::Full)), "it counts anew");
    }

    #[tokio::test]
    async fn a_check_tells_how_the_store_is_and_a_setting_whether_that_matters() {
        let (degraded, _folder) = pulse(OnStoreFailure::Degraded).await;
        assert!(!degraded.store().is_needed);
        let (pulse, _folder) = pulse(OnStoreFailure::NotReady).await;
        assert!(pulse.store().is_needed);
        pulse.check_store().await;
        assert_eq!(pulse.store().down, None);
        assert!(pulse.store().checked_at.is_some());
    }

    #[tokio::test]
    async fn a_process_that_does_not_beat_is_stuck() {
        let (pulse, _folder) = pulse(OnStoreFailure::NotReady).await;
        assert!(pulse.beats(), "it begins only now");
        tokio::time::pause();
        pulse.beat();
        tokio::time::advance(STUCK_AFTER / 2).await;
        assert!(pulse.beats());
        tokio::time::advance(STUCK_AFTER / 2).await;
        assert!(!pulse.beats());
        pulse.beat();
        assert!(pulse.beats());
    }
}
