//! How often somebody may try a password: per name and per address, each at one tenant.
//!
//! Memory has a bound: a try is counted in one of 65536 places that a keyed hash chooses. Two names that share a place
//! share its tries; nobody outside can find such a pair.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::LocalError;
use crate::clock::Clock;
use crate::secret::Key;
use crate::tenant_id::TenantId;

/// Tries with one name: so many at once, then one in every so many seconds.
const NAME: (u32, u64) = (10, 30);
/// Tries from one address.
const ADDRESS: (u32, u64) = (30, 5);

type Limiter = RateLimiter<u16, DashMapStateStore<u16>, Ticking, NoOpMiddleware<Duration>>;

/// Our clock, as `governor` reads it: the time since we began.
#[derive(Clone)]
struct Ticking(Clock);

impl clock::Clock for Ticking {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.uptime().elapsed()
    }
}

pub(super) struct Limits {
    clock: Ticking,
    key: Key,
    names: Limiter,
    addresses: Limiter,
}

impl Limits {
    pub(super) fn new(clock: Clock) -> Self {
        let clock = Ticking(clock);
        let limiter = |(at_once, seconds): (u32, u64)| {
            let quota = Quota::with_period(Duration::from_secs(seconds)).expect("more than no time");
            let at_once = NonZeroU32::new(at_once).expect("more than none");
            RateLimiter::dashmap_with_clock(quota.allow_burst(at_once), clock.clone())
        };
        Self { names: limiter(NAME), addresses: limiter(ADDRESS), key: Key::generate(), clock }
    }

    /// Counts a try. An address that is over its limit does not use up the tries of a name.
    pub(super) fn take(&self, tenant: &TenantId, canonical: &str, address: IpAddr) -> Result<(), LocalError> {
        let address = self.place(tenant, "address", &network(address).to_string());
        self.count("local_address", &self.addresses, address)?;
        self.count("local_name", &self.names, self.place(tenant, "name", canonical))
    }

    fn count(&self, limit: &'static str, limiter: &Limiter, place: u16) -> Result<(), LocalError> {
        limiter.check_key(&place).map_err(|not_until| {
            let wait = not_until.wait_time_from(clock::Clock::now(&self.clock));
            // Our clock counts whole seconds.
            LocalError::Limited { retry_after: wait.max(Duration::from_secs(1)), limit }
        })
    }

    fn place(&self, tenant: &TenantId, kind: &str, what: &str) -> u16 {
        let hash = self.key.hash(format!("{tenant}\0{kind}\0{what}").as_bytes());
        u16::from_be_bytes([hash[0], hash[1]])
    }
}

/// What one client can choose its address from: all of IPv4's, and half of IPv6's, counts as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        id.parse().unwrap()
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    #[test]
    fn a_name_is_limited_wherever_it_is_tried_from_and_time_heals() {
        let clock = Clock::system();
        let limits = Limits::new(clock.clone());
        for last in 0..10 {
            assert_eq!(limits.take(&tenant("acme"), "ada", address(last)), Ok(()));
        }
        let Err(LocalError::Limited { retry_after, limit: "local_name" }) =
            limits.take(&tenant("acme"), "ada", address(99))
        else {
            panic!("limited")
        };
        assert!((1..=30).contains(&retry_after.as_secs()), "{retry_after:?}");
        assert_eq!(limits.take(&tenant("globex"), "ada", address(99)), Ok(()), "another tenant's Ada");
        clock.advance(30);
        assert_eq!(limits.take(&tenant("acme"), "ada", address(99)), Ok(()));
        assert!(limits.take(&tenant("acme"), "ada", address(99)).is_err());
    }

    #[test]
    fn an_address_is_limited_whatever_names_it_tries_and_uses_up_nobodys_tries_then() {
        let limits = Limits::new(Clock::system());
        for number in 0..30 {
            assert_eq!(limits.take(&tenant("acme"), &format!("name {number}"), address(1)), Ok(()));
        }
        for _ in 0..20 {
            assert!(limits.take(&tenant("acme"), "ada", address(1)).is_err());
        }
        assert_eq!(limits.take(&tenant("acme"), "ada", address(2)), Ok(()));
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_as_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:203.0.113.1"), address(1));
    }
}
