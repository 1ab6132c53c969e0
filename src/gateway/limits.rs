//! What a tenant and a client address may do how often. What a good session does is not limited.
//!
//! At a tenant an address is asked before all addresses: one that is over its limit uses up nobody else's. What is
//! refused is counted, and the audit log is told of it, a few times a minute and no more.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use super::Gateway;
use crate::audit::{Event, Kind};
use crate::clock::Clock;
use crate::config::Limit;
use crate::rate_limits::{RateLimits, TooOften, network};
use crate::tenant::Tenant;

/// In which an allowance is used up and fills again.
const WINDOW: Duration = Duration::from_mins(1);
/// Lines of the audit log in a window about one limit of one tenant.
const TOLD: NonZeroU32 = NonZeroU32::new(6).expect("it is not 0");

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Somebody starts a sign-in.
    SignIn,
    /// A callback came to nothing.
    FailedCallback,
    /// A bearer was no good.
    FailedBearer,
    /// The provider, or whoever says so, asks for sessions to end.
    LogoutRequest,
}

impl Act {
    /// The limit of one address, and that of all.
    const fn limits(self) -> (Limit, Option<Limit>) {
        match self {
            Self::SignIn => (Limit::SignInsPerAddress, Some(Limit::SignIns)),
            Self::FailedCallback => (Limit::FailedCallbacksPerAddress, Some(Limit::FailedCallbacks)),
            Self::FailedBearer => (Limit::FailedBearersPerAddress, None),
            Self::LogoutRequest => (Limit::LogoutRequestsPerAddress, Some(Limit::LogoutRequests)),
        }
    }
}

/// What was counted, at all tenants. Outlives reloads.
#[derive(Debug)]
pub struct Tally {
    addresses: RateLimits,
    tenants: RateLimits,
    told: RateLimits,
}

impl Tally {
    /// Nothing yet.
    pub fn new(clock: &Clock) -> Self {
        Self {
            addresses: RateLimits::new(clock.clone(), WINDOW),
            tenants: RateLimits::of_known_keys(clock.clone(), WINDOW),
            told: RateLimits::of_known_keys(clock.clone(), WINDOW),
        }
    }
}

/// Something was done too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limits.{}: again in {} s", .limit.name(), .retry_after.as_secs())]
pub struct Limited {
    /// The limit that was reached.
    pub limit: Limit,
    /// When to try again.
    pub retry_after: Duration,
}

impl Gateway {
    /// Counts what somebody at `address` is about to do at `tenant`.
    ///
    /// # Errors
    /// It must not be done now.
    pub fn count(&self, tenant: &Tenant, act: Act, address: IpAddr) -> Result<(), Limited> {
        self.each(tenant, act, address, RateLimits::take)
    }

    /// Whether somebody may try what counts only if it fails; [`Gateway::count`] then counts it.
    ///
    /// # Errors
    /// It failed too often.
    pub fn may_try(&self, tenant: &Tenant, act: Act, address: IpAddr) -> Result<(), Limited> {
        self.each(tenant, act, address, RateLimits::look)
    }

    /// Counts that it failed. Whoever is over the limit by now learns of it the next time.
    pub fn count_failure(&self, tenant: &Tenant, act: Act, address: IpAddr) {
        let (per_address, per_tenant) = act.limits();
        let _ = self.address(tenant, per_address, address, RateLimits::take);
        let _ = per_tenant.map_or(Ok(()), |limit| self.all(tenant, limit, RateLimits::take));
    }

    fn each(&self, tenant: &Tenant, act: Act, address: IpAddr, ask: Ask) -> Result<(), Limited> {
        let (per_address, per_tenant) = act.limits();
        let asked = self.address(tenant, per_address, address, ask);
        let asked = asked.and_then(|()| per_tenant.map_or(Ok(()), |limit| self.all(tenant, limit, ask)));
        asked.inspect_err(|limited| self.tell(tenant, *limited))
    }

    fn address(&self, tenant: &Tenant, limit: Limit, address: IpAddr, ask: Ask) -> Result<(), Limited> {
        let Some(most) = self.limits.most(&tenant.settings.limits, limit) else { return Ok(()) };
        let key = [tenant.id().as_str(), limit.name(), &network(address).to_string()];
        ask(&self.tally.addresses, &key, most).map_err(|TooOften { retry_after }| Limited { limit, retry_after })
    }

    fn all(&self, tenant: &Tenant, limit: Limit, ask: Ask) -> Result<(), Limited> {
        let Some(most) = self.limits.most(&tenant.settings.limits, limit) else { return Ok(()) };
        let key = [tenant.id().as_str(), limit.name()];
        ask(&self.tally.tenants, &key, most).map_err(|TooOften { retry_after }| Limited { limit, retry_after })
    }

    fn tell(&self, tenant: &Tenant, limited: Limited) {
        let name = limited.limit.name();
        let labels = [self.metrics.tenant(tenant.id()), name];
        self.metrics.rate_limited_requests_total.with_label_values(&labels).inc();
        if self.tally.told.take(&[tenant.id().as_str(), name], TOLD).is_ok() {
            self.audit.record(Event::new(Kind::RateLimited).tenant(tenant.id()).reason(name));
        }
    }
}

type Ask = fn(&RateLimits, &[&str], NonZeroU32) -> Result<(), TooOften>;
