//! All providers of the process: who shares what was fetched, and the refresh in the background.

use std::sync::Arc;

use super::{Provider, ProviderSetupError};
use crate::clock::Clock;
use crate::config::ProviderSettings;
use crate::metrics::Metrics;
use crate::tenant_id::TenantId;

/// The providers of all tenants, with what was fetched of them. One per process.
#[derive(Debug)]
pub struct Providers {}

impl Providers {
    /// No provider yet.
    pub fn new(_clock: Clock, _metrics: Arc<Metrics>) -> Arc<Self> {
        todo!()
    }

    /// The provider of `tenant`. No network.
    ///
    /// # Errors
    /// CA, proxy or private key are no good.
    pub fn provider(
        self: &Arc<Self>,
        _tenant: &TenantId,
        _settings: &ProviderSettings,
    ) -> Result<Provider, ProviderSetupError> {
        todo!()
    }

    /// Fetches what is missing and refreshes what is about to expire, for ever.
    pub async fn keep_fresh(self: Arc<Self>) {
        todo!()
    }
}
