//! How often something may be done: the section `[limits]`, of `lychgate.toml` for every tenant, of a tenant file for
//! that one.

use std::num::NonZeroU32;

use super::reader::Reader;

/// What may be done so often in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Sign-ins that one address starts.
    SignInsPerAddress,
    /// Sign-ins that all start.
    SignIns,
    /// Callbacks of one address that come to nothing.
    FailedCallbacksPerAddress,
    /// Callbacks of all that come to nothing.
    FailedCallbacks,
    /// Bearers of one address that are no good.
    FailedBearersPerAddress,
    /// Logout requests, by back and front channel, of one address.
    LogoutRequestsPerAddress,
    /// Logout requests of all.
    LogoutRequests,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::SignInsPerAddress,
        Self::SignIns,
        Self::FailedCallbacksPerAddress,
        Self::FailedCallbacks,
        Self::FailedBearersPerAddress,
        Self::LogoutRequestsPerAddress,
        Self::LogoutRequests,
    ];

    /// The key of the settings.
    pub const fn key(self) -> &'static str {
        match self {
            Self::SignInsPerAddress => "limits.sign_ins_per_address",
            Self::SignIns => "limits.sign_ins",
            Self::FailedCallbacksPerAddress => "limits.failed_callbacks_per_address",
            Self::FailedCallbacks => "limits.failed_callbacks",
            Self::FailedBearersPerAddress => "limits.failed_bearers_per_address",
            Self::LogoutRequestsPerAddress => "limits.logout_requests_per_address",
            Self::LogoutRequests => "limits.logout_requests",
        }
    }

    /// The name in metrics, logs and the audit log.
    pub fn name(self) -> &'static str {
        self.key().trim_start_matches("limits.")
    }
}

/// How often each may be done, as far as somebody said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitSettings([Option<u32>; Limit::ALL.len()]);

impl LimitSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let most = |limit: Limit| reader.count(limit.key(), &(0..=100_000)).and_then(|most| u32::try_from(most).ok());
        Self(Limit::ALL.map(most))
    }

    /// The same with another number; 0 is no limit.
    #[must_use]
    pub fn with(mut self, limit: Limit, most: u32) -> Self {
        self.0[limit as usize] = Some(most);
        self
    }

    /// How often it may be done in a minute, as the tenant says, or else these; as often as one likes if `None`.
    pub fn most(&self, tenant: &Self, limit: Limit) -> Option<NonZeroU32> {
        tenant.0[limit as usize].or(self.0[limit as usize]).and_then(NonZeroU32::new)
    }
}
