//! How often somebody may try a password: per name and per address, each at one tenant.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use super::LocalError;
use crate::clock::Clock;
use crate::rate_limits::{RateLimits, TooOften, network};
use crate::tenant_id::TenantId;

/// Tries with one name: ten at once, then one every 30 seconds.
const NAME: (NonZeroU32, Duration) = (NonZeroU32::new(10).expect("it is not 0"), Duration::from_mins(5));
/// Tries from one address: thirty at once, then one every 5 seconds.
const ADDRESS: (NonZeroU32, Duration) = (NonZeroU32::new(30).expect("it is not 0"), Duration::from_secs(150));

pub(super) struct Limits {
    names: RateLimits,
    addresses: RateLimits,
}

impl Limits {
    pub(super) fn new(clock: Clock) -> Self {
        Self { names: RateLimits::new(clock.clone(), NAME.1), addresses: RateLimits::new(clock, ADDRESS.1) }
    }

    /// Counts a try. An address that is over its limit does not use up the tries of a name.
    pub(super) fn take(&self, tenant: &TenantId, canonical: &str, address: IpAddr) -> Result<(), LocalError> {
        let limited = |limit| move |TooOften { retry_after }| LocalError::Limited { retry_after, limit };
        let address = network(address).to_string();
        self.addresses.take(&[tenant.as_str(), &address], ADDRESS.0).map_err(limited("local_address"))?;
        self.names.take(&[tenant.as_str(), canonical], NAME.0).map_err(limited("local_name"))
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
}
