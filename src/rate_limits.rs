//! How often something may be done: each key has an allowance, so many at once, that fills up again in a window of
//! time. The only home of `governor`; whose keys these are, and how much they may, is said by those who count here.
//!
//! Memory has a bound: keys that anybody may bring are counted in [`PLACES`] places that a keyed hash chooses. Two keys
//! that share a place share what is left there; nobody outside can find such a pair, and whoever uses up a place in the
//! hope of hitting somebody else's hits one in 65536.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter, clock};

use crate::clock::Clock;
use crate::secret::Key;

/// Places that keys are counted in which anybody may bring.
const PLACES: u64 = 1 << 16;
/// What an allowance is divided into, so that one limiter serves allowances of any size.
const UNITS: NonZeroU32 = NonZeroU32::new(1_000_000).expect("it is not 0");

/// Counts how often keys were used. All allowances here fill up within the same time.
pub struct RateLimits {
    key: Key,
    clock: Ticking,
    places: u64,
    limiter: RateLimiter<Look, Places, Ticking, NoOpMiddleware<Duration>>,
}

/// The allowance of a key is used up for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too often; again in {} s", .retry_after.as_secs())]
pub struct TooOften {
    /// When there is some of it again; at least a second, since our clock counts whole ones.
    pub retry_after: Duration,
}

impl RateLimits {
    /// Nothing was counted yet. An allowance that is used up is whole again after `window`.
    pub fn new(clock: Clock, window: Duration) -> Self {
        Self::in_places(clock, window, PLACES)
    }

    /// The same for keys that are few and ours: each has a place of its own.
    pub fn of_known_keys(clock: Clock, window: Duration) -> Self {
        Self::in_places(clock, window, u64::MAX)
    }

    fn in_places(clock: Clock, window: Duration, places: u64) -> Self {
        let clock = Ticking(clock);
        let quota = Quota::with_period(window / UNITS.get()).expect("a window is longer than a millisecond");
        let store = Places(DashMapStateStore::default());
        let limiter = RateLimiter::new(quota.allow_burst(UNITS), store, clock.clone());
        Self { key: Key::generate(), clock, places, limiter }
    }

    /// Counts one use of the key that `parts` make up, which may be used `most` times in a window.
    ///
    /// # Errors
    /// It was used too often. This time counts for nothing then.
    pub fn take(&self, parts: &[&str], most: NonZeroU32) -> Result<(), TooOften> {
        self.ask(Look { place: self.place(parts), counts: true }, most)
    }

    /// Whether [`Self::take`] would do; counts nothing.
    ///
    /// # Errors
    /// It would not.
    pub fn look(&self, parts: &[&str], most: NonZeroU32) -> Result<(), TooOften> {
        self.ask(Look { place: self.place(parts), counts: false }, most)
    }

    fn ask(&self, look: Look, most: NonZeroU32) -> Result<(), TooOften> {
        // Up to 100,000 in a window it is so many, and a twentieth more at most.
        let price = NonZeroU32::new(UNITS.get() / most.get()).unwrap_or(NonZeroU32::MIN);
        let asked = self.limiter.check_key_n(&look, price).unwrap_or(Ok(()));
        asked.map_err(|not_until| {
            let wait = not_until.wait_time_from(clock::Clock::now(&self.clock));
            TooOften { retry_after: wait.max(Duration::from_secs(1)) }
        })
    }

    fn place(&self, parts: &[&str]) -> u64 {
        let hash = self.key.hash(parts.join("\0").as_bytes());
        u64::from_be_bytes(hash[..8].try_into().expect("8 of 32 bytes")) % self.places
    }
}

impl fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimits").field("places", &self.places).finish_non_exhaustive()
    }
}

/// What one client can choose its address from counts as one: an IPv4 address, half of an IPv6 address.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Our clock, as `governor` reads it: the time since we began.
#[derive(Clone, Debug)]
struct Ticking(Clock);

impl clock::Clock for Ticking {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.uptime().elapsed()
    }
}

/// A place, and whether looking at it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Look {
    place: u64,
    counts: bool,
}

/// `governor`'s own store, whose places may be looked at as well.
#[derive(Debug)]
struct Places(DashMapStateStore<u64>);

impl StateStore for Places {
    type Key = Look;

    fn measure_and_replace<T, F, E>(&self, look: &Look, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if look.counts {
            return self.0.measure_and_replace(&look.place, measure);
        }
        if !self.0.contains_key(&look.place) {
            return measure(None).map(|(outcome, _)| outcome);
        }
        // What was there is put back.
        self.0.measure_and_replace(&look.place, |state| {
            let (outcome, _) = measure(state)?;
            Ok((outcome, state.unwrap_or(Nanos::from(0))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: NonZeroU32 = NonZeroU32::new(10).unwrap();

    fn limits() -> (RateLimits, Clock) {
        let clock = Clock::system();
        (RateLimits::new(clock.clone(), Duration::from_mins(1)), clock)
    }

    #[test]
    fn an_allowance_is_used_up_and_fills_again_with_time() {
        let (limits, clock) = limits();
        for _ in 0..10 {
            assert_eq!(limits.take(&["ada"], TEN), Ok(()));
        }
        let TooOften { retry_after } = limits.take(&["ada"], TEN).unwrap_err();
        assert!((1..=6).contains(&retry_after.as_secs()), "{retry_after:?}");
        assert_eq!(limits.take(&["grace"], TEN), Ok(()), "another key");
        clock.advance(6);
        assert_eq!(limits.take(&["ada"], TEN), Ok(()));
        assert!(limits.take(&["ada"], TEN).is_err());
        clock.advance(60);
        let taken = (0..20).filter(|_| limits.take(&["ada"], TEN).is_ok()).count();
        assert!((10..=11).contains(&taken), "whole again, and no more than that: {taken}");
    }

    #[test]
    fn allowances_of_any_size_stand_side_by_side() {
        let (limits, _clock) = limits();
        for most in [1, 3, 7, 600, 6000] {
            let key = most.to_string();
            let most = NonZeroU32::new(most).unwrap();
            let taken = (0..20_000).take_while(|_| limits.take(&[&key], most).is_ok()).count();
            // A machine that is busy lets a second pass meanwhile.
            assert!((most.get() as usize..=most.get() as usize * 3 / 2 + 1).contains(&taken), "{most}: {taken}");
        }
    }

    #[test]
    fn looking_counts_nothing() {
        let (limits, _clock) = limits();
        for _ in 0..100 {
            assert_eq!(limits.look(&["ada"], TEN), Ok(()));
        }
        assert!(limits.limiter.into_state_store().0.is_empty(), "and takes no memory");
        let (limits, _clock) = self::limits();
        for _ in 0..10 {
            assert_eq!(limits.look(&["ada"], TEN), Ok(()));
            assert_eq!(limits.take(&["ada"], TEN), Ok(()));
        }
        assert!(limits.look(&["ada"], TEN).is_err());
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_memory_than_there_are_places() {
        let (limits, _clock) = limits();
        for number in 0..200_000 {
            let _ = limits.take(&[&number.to_string()], TEN);
        }
        let places = limits.limiter.into_state_store().0.len() as u64;
        assert!((PLACES * 9 / 10..=PLACES).contains(&places), "{places}");
    }

    #[test]
    fn parts_do_not_run_into_one_another() {
        let (limits, _clock) = limits();
        assert_ne!(limits.place(&["a", "bc"]), limits.place(&["ab", "c"]));
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_as_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:203.0.113.1"), IpAddr::from([203, 0, 113, 1]));
        assert_ne!(of("203.0.113.1"), of("203.0.113.2"));
    }
}
