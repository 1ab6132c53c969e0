//! Whose tokens are being renewed right now, and whose are left alone for a while after a failure. What a renewal does
//! is in `flow::renewal`; here is only that each session has one at a time, and that everybody who waits for it gets
//! its outcome.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument as _;

use crate::clock::{Clock, Uptime};
use crate::oidc::RefreshError;
use crate::session::{Opened, Renewal, Session, StoreError};
use crate::tenant_id::TenantId;

/// Sessions of one tenant that are renewed or left alone at the same time; beyond, nothing begins.
const MOST: usize = 4096;
/// Seconds that a session is left alone after a failure of the provider's, at least.
const PAUSE: i64 = 10;
/// Seconds that it is left alone after one of the store, which is asked again soon: it may be back at any moment.
const STORE_PAUSE: i64 = 1;
/// Seconds that tokens which could not be stored are kept for.
const UNSAVED_KEPT: i64 = 3600;

/// How a renewal ended.
pub type Outcome = Result<Opened, RenewalError>;

/// Why there is no new token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RenewalError {
    /// The session has ended meanwhile.
    #[error("the session has ended")]
    SessionEnded,
    /// No token that is good, and no refresh token to get one by.
    #[error("the session has neither a good access token nor a refresh token")]
    NoToken,
    /// Not among the tenant's audiences.
    #[error("the tenant has no such audience")]
    AudienceUnknown,
    /// The provider gave none.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// The new ones could not be stored; they are kept in memory and stored before the provider is asked again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too many sessions of the tenant are being renewed.
    #[error("too many sessions are being renewed")]
    TooMany,
}

impl RenewalError {
    /// The name of this outcome.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SessionEnded => "not_signed_in",
            Self::NoToken => "token_unavailable",
            Self::AudienceUnknown => "audience_unknown",
            Self::Refresh(error) => error.code(),
            Self::Store(_) => "store_unavailable",
            Self::TooMany => "renewals_limited",
        }
    }

    /// How long to wait before another try; `None` where waiting does not help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refresh(error) => error.retry_after(),
            Self::Store(_) => Some(Duration::from_secs(STORE_PAUSE.unsigned_abs())),
            Self::TooMany => Some(Duration::from_secs(PAUSE.unsigned_abs())),
            Self::SessionEnded | Self::NoToken | Self::AudienceUnknown => None,
        }
    }
}

/// All that are under way.
pub struct Renewals {
    clock: Clock,
    slots: Mutex<HashMap<TenantId, HashMap<[u8; 32], Slot>>>,
}

/// What is known of one session.
#[derive(Default)]
struct Slot {
    running: Option<Running>,
    pauses: Vec<Pause>,
    /// Tokens that the provider gave and the store did not take, and when that was.
    unsaved: Option<(Renewal, Uptime)>,
}

struct Running {
    audience: Option<String>,
    outcome: watch::Receiver<Option<Outcome>>,
}

struct Pause {
    audience: Option<String>,
    until: Uptime,
    error: RenewalError,
}

/// What [`Renewals::begin`] comes to.
#[derive(Debug)]
pub enum Turn {
    /// It has begun, or had already.
    Ours(Waiting),
    /// A renewal for another audience goes first.
    After(Waiting),
    /// The last one failed so a moment ago.
    Paused(RenewalError),
}

/// Waits for a renewal. Dropping it stops nothing.
pub struct Waiting(watch::Receiver<Option<Outcome>>);

impl Waiting {
    /// How it ended.
    pub async fn outcome(mut self) -> Outcome {
        let outcome = self.0.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        // The task ends without one only when the runtime ends.
        outcome.unwrap_or(Err(RenewalError::Store(StoreError::Closed)))
    }
}

impl Renewals {
    /// None yet.
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, slots: Mutex::default() })
    }

    /// Spawns what `renew` makes, if nothing is under way for `session` and the last failure is long enough ago. It
    /// then goes on to its end even if nobody waits for it.
    pub fn begin<F>(self: &Arc<Self>, session: &Session, audience: Option<&str>, renew: impl FnOnce() -> F) -> Turn
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let now = self.clock.uptime();
        let mut slots = self.slots();
        let slots = slots.entry(session.tenant.clone()).or_default();
        if let Some(slot) = slots.get(&session.key()) {
            if let Some(running) = slot.running.as_ref().filter(|running| running.goes_on()) {
                let waiting = Waiting(running.outcome.clone());
                return if running.audience.as_deref() == audience {
                    Turn::Ours(waiting)
                } else {
                    Turn::After(waiting)
                };
            }
            if let Some(pause) = slot.pauses.iter().find(|pause| pause.holds(audience, now)) {
                return Turn::Paused(pause.error.clone());
            }
        } else if slots.len() >= MOST {
            slots.retain(|_, slot| slot.matters(now));
            if slots.len() >= MOST {
                return Turn::Paused(RenewalError::TooMany);
            }
        }
        let (tell, outcome) = watch::channel(None);
        let running = Running { audience: audience.map(str::to_owned), outcome: outcome.clone() };
        slots.entry(session.key()).or_default().running = Some(running);
        let (renewals, work) = (Arc::clone(self), renew());
        let (tenant, key, audience) = (session.tenant.clone(), session.key(), audience.map(str::to_owned));
        let span = tracing::info_span!("renewal", %tenant);
        let task = async move {
            let outcome = work.await;
            renewals.finish(&tenant, key, audience, &outcome);
            tell.send_replace(Some(outcome));
        };
        tokio::spawn(task.instrument(span));
        Turn::Ours(Waiting(outcome))
    }

    fn finish(&self, tenant: &TenantId, key: [u8; 32], audience: Option<String>, outcome: &Outcome) {
        let now = self.clock.uptime();
        let mut slots = self.slots();
        let Some(slots) = slots.get_mut(tenant) else { return };
        let Some(slot) = slots.get_mut(&key) else { return };
        slot.running = None;
        slot.pauses.retain(|pause| pause.audience != audience && now < pause.until);
        if let Err(error @ (RenewalError::Refresh(_) | RenewalError::Store(_))) = outcome {
            let least = if matches!(error, RenewalError::Store(_)) { STORE_PAUSE } else { PAUSE };
            let wait = error.retry_after().map_or(0, |wait| wait.as_secs().try_into().unwrap_or(i64::MAX));
            slot.pauses.push(Pause { audience, until: now.plus(wait.max(least)), error: error.clone() });
        }
        if !slot.matters(now) {
            slots.remove(&key);
        }
    }

    /// Keeps tokens that could not be stored until the next renewal of the same session, which is under way.
    pub fn put_unsaved(&self, session: &Session, renewal: Renewal) {
        let now = self.clock.uptime();
        let mut slots = self.slots();
        if let Some(slot) = slots.get_mut(&session.tenant).and_then(|slots| slots.get_mut(&session.key())) {
            slot.unsaved = Some((renewal, now));
        }
    }

    /// Takes them back.
    pub fn take_unsaved(&self, session: &Session) -> Option<Renewal> {
        let mut slots = self.slots();
        let slot = slots.get_mut(&session.tenant)?.get_mut(&session.key())?;
        slot.unsaved.take().map(|(renewal, _)| renewal)
    }

    /// Waits until nothing is under way: a provider may have used up a refresh token already.
    pub async fn settled(&self) {
        let waiting: Vec<Waiting> = self
            .slots()
            .values()
            .flat_map(HashMap::values)
            .filter_map(|slot| slot.running.as_ref())
            .map(|running| Waiting(running.outcome.clone()))
            .collect();
        for waiting in waiting {
            // Whoever began it has the outcome.
            let _ = waiting.outcome().await;
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<TenantId, HashMap<[u8; 32], Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn matters(&self, now: Uptime) -> bool {
        self.running.as_ref().is_some_and(Running::goes_on)
            || self.pauses.iter().any(|pause| now < pause.until)
            || self.unsaved.as_ref().is_some_and(|(_, since)| now < since.plus(UNSAVED_KEPT))
    }
}

impl Running {
    /// Whether the task that tells the outcome is there.
    fn goes_on(&self) -> bool {
        self.outcome.has_changed().is_ok()
    }
}

impl Pause {
    fn holds(&self, audience: Option<&str>, now: Uptime) -> bool {
        self.audience.as_deref() == audience && now < self.until
    }
}

impl fmt::Debug for Renewals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewals(…)")
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::future::join_all;
    use serde_json::Map;

    use super::*;
    use crate::config::{SessionLimits, StoreKind, StoreSettings};
    use crate::key_ring::{KeyRing, RingKey};
    use crate::metrics::Metrics;
    use crate::session::{NewSession, Sessions};

    struct House {
        _dir: tempfile::TempDir,
        sessions: Arc<Sessions>,
        renewals: Arc<Renewals>,
        clock: Clock,
    }

    impl House {
        async fn new() -> Self {
            let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::system());
            let settings = StoreSettings { store: StoreKind::Embedded, cache_bytes: 1 << 20 };
            let ring = KeyRing::of_one(RingKey::generate());
            let sessions = Sessions::open(dir.path(), ring, &settings, clock.clone(), Metrics::new(2)).await.unwrap();
            Self { _dir: dir, sessions, renewals: Renewals::new(clock.clone()), clock }
        }

        async fn sign_in(&self, tenant: &str) -> Arc<Session> {
            let day = Duration::from_hours(24);
            let new = NewSession {
                issuer: "https://issuer.example/".to_owned(),
                // A user may not have that many.
                sub: crate::secret::random_text(),
                sid: None,
                claims: Map::new(),
                id_token: "id token".into(),
                access_token: "access token".into(),
                access_token_expires_at: None,
                refresh_token: None,
                scope: None,
                session_expiry: None,
                user_agent: None,
                address: None,
            };
            let limits = SessionLimits { idle: day, absolute: day, local_idle: day, local_absolute: day };
            self.sessions.create(&tenant.parse().unwrap(), &limits, new).await.unwrap().1
        }
    }

    #[tokio::test]
    async fn of_one_tenant_only_so_many_are_renewed_at_once_and_others_have_room() {
        let house = House::new().await;
        let sessions = join_all((0..=MOST).map(|_| house.sign_in("acme"))).await;
        for session in &sessions[1..] {
            assert!(matches!(house.renewals.begin(session, None, pending), Turn::Ours(_)));
        }
        let one_more = || house.renewals.begin(&sessions[0], None, pending);
        assert!(matches!(one_more(), Turn::Paused(RenewalError::TooMany)));
        let other = house.sign_in("globex").await;
        assert!(matches!(house.renewals.begin(&other, None, pending), Turn::Ours(_)));
    }

    #[tokio::test]
    async fn what_failed_long_ago_makes_room() {
        let house = House::new().await;
        let sessions = join_all((0..=MOST).map(|_| house.sign_in("acme"))).await;
        let fail = || async { Err(RenewalError::Refresh(RefreshError::Refused)) };
        for session in &sessions[1..] {
            let Turn::Ours(waiting) = house.renewals.begin(session, None, fail) else { panic!("there is room") };
            assert!(waiting.outcome().await.is_err());
            assert!(matches!(house.renewals.begin(session, None, fail), Turn::Paused(RenewalError::Refresh(_))));
        }
        let one_more = || house.renewals.begin(&sessions[0], None, pending);
        assert!(matches!(one_more(), Turn::Paused(RenewalError::TooMany)));
        house.clock.advance(PAUSE + 1);
        assert!(matches!(one_more(), Turn::Ours(_)));
    }

    #[tokio::test]
    async fn a_renewal_that_ends_without_an_outcome_blocks_nobody() {
        let house = House::new().await;
        let session = house.sign_in("acme").await;
        let Turn::Ours(waiting) = house.renewals.begin(&session, None, || async { panic!("as ordered") }) else {
            panic!("nothing is under way")
        };
        assert!(matches!(waiting.outcome().await, Err(RenewalError::Store(StoreError::Closed))));
        let again = house.sessions.opened(&session).await.unwrap().unwrap();
        let Turn::Ours(waiting) = house.renewals.begin(&session, None, || async { Ok(again) }) else {
            panic!("nothing is under way any more")
        };
        assert!(waiting.outcome().await.is_ok());
    }

    #[tokio::test]
    async fn another_audience_waits_its_turn_and_pauses_on_its_own() {
        let house = House::new().await;
        let session = house.sign_in("acme").await;
        let fail = || async { Err(RenewalError::Store(StoreError::Full)) };
        let Turn::Ours(waiting) = house.renewals.begin(&session, Some("two"), fail) else { panic!("it is free") };
        assert!(matches!(house.renewals.begin(&session, None, pending), Turn::After(_)));
        assert!(waiting.outcome().await.is_err());
        assert!(matches!(house.renewals.begin(&session, Some("two"), pending), Turn::Paused(_)));
        assert!(matches!(house.renewals.begin(&session, None, pending), Turn::Ours(_)));
    }
}
