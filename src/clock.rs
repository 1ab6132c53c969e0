//! Time, injected. Nothing else in this crate asks the system what time it is (`clippy.toml` sees to it).
//!
//! Durations of requests are measured with `tokio::time::Instant`; what is compared with dates that others wrote
//! (tokens, cookies, records) is a [`Timestamp`]. Somebody may set the system's clock: a pause, or the age of what only
//! this process knows, is measured by its [`Uptime`], or an hour back would make a pause of seconds one of an hour.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use tokio::time::Instant;

/// RFC 3339 in UTC with milliseconds.
const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `seconds` later; saturates at the ends of time.
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Seconds from `earlier` to here; negative if `earlier` is later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, such as `2026-11-23T14:00:00Z`; the bare number where no such date exists.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OffsetDateTime::from_unix_timestamp(self.0).ok().and_then(|date| date.format(&Rfc3339).ok()) {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Seconds that this process has run. They pass evenly, whatever becomes of the date, and mean nothing elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(i64);

impl Uptime {
    /// The moment `seconds` later; saturates at the end of time.
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Seconds from `earlier` to here; negative if `earlier` is later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The same from the beginning.
    pub fn elapsed(self) -> Duration {
        Duration::from_secs(self.0.try_into().unwrap_or_default())
    }
}

/// Tells the time: the system's, or the system's moved by a test.
#[derive(Clone, Debug)]
pub struct Clock {
    begun: Instant,
    /// Seconds that a test let pass.
    passed: Arc<AtomicI64>,
    /// Seconds by which a test set the clock.
    set_by: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { begun: Instant::now(), passed: Arc::default(), set_by: Arc::default() }
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        let seconds = |duration: Duration| duration.as_secs().try_into().unwrap_or(i64::MAX);
        let now = system_time().duration_since(UNIX_EPOCH).map_or_else(|before| -seconds(before.duration()), seconds);
        Timestamp(now).plus(self.moved())
    }

    /// The present moment for a log, such as `2026-11-23T14:00:00.123Z`.
    pub fn stamp(&self) -> String {
        let now = OffsetDateTime::from(system_time()).checked_add(time::Duration::seconds(self.moved()));
        now.and_then(|now| now.format(STAMP).ok()).unwrap_or_else(|| self.now().to_string())
    }

    fn moved(&self) -> i64 {
        self.passed.load(Ordering::Relaxed).saturating_add(self.set_by.load(Ordering::Relaxed))
    }

    /// How long this process has run.
    pub fn uptime(&self) -> Uptime {
        let seconds = self.begun.elapsed().as_secs().try_into().unwrap_or(i64::MAX);
        Uptime(seconds).plus(self.passed.load(Ordering::Relaxed))
    }

    /// Lets `seconds` pass, for this clock and all its clones; for tests.
    pub fn advance(&self, seconds: i64) {
        self.passed.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Sets this clock, and all its clones, ahead by `seconds`, or back, though no time passes; for tests.
    pub fn set_ahead(&self, seconds: i64) {
        self.set_by.fetch_add(seconds, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
fn system_time() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_as_a_date() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp(i64::MAX).to_string(), i64::MAX.to_string());
    }

    #[test]
    fn a_stamp_has_milliseconds_and_moves_with_its_clock() {
        let clock = Clock::system();
        clock.advance(-clock.now().0);
        let stamp = clock.stamp();
        assert!(stamp.starts_with("1970-01-01T00:00:0") && stamp.ends_with('Z'), "{stamp}");
        assert_eq!(stamp.len(), "1970-01-01T00:00:00.000Z".len());
    }

    #[test]
    fn clones_of_a_clock_move_together() {
        let clock = Clock::system();
        let twin = clock.clone();
        let before = twin.now();
        clock.advance(3600);
        assert!(twin.now().since(before) >= 3600);
    }

    #[test]
    fn whoever_sets_the_clock_makes_no_time_pass() {
        let clock = Clock::system();
        let (date, uptime) = (clock.now(), clock.uptime());
        clock.set_ahead(-3600);
        assert!(clock.now() < date.plus(-3000) && (0..60).contains(&clock.uptime().since(uptime)));
        clock.advance(60);
        assert!(clock.uptime().since(uptime) >= 60);
    }
}
