//! How providers are, told without asking them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Providers;
use crate::clock::Timestamp;
use crate::tenant_id::TenantId;

/// What is known of a tenant's provider.
#[derive(Clone, Debug)]
pub struct ProviderHealth {
    /// Whose provider it is.
    pub tenant: TenantId,
    /// `auth0` or `oidc`, as metrics call it.
    pub kind: &'static str,
    /// The issuer, byte for byte as configured.
    pub issuer: String,
    /// Whether the last fetches of discovery document and key set succeeded; none before the first.
    pub up: Option<bool>,
    /// When the discovery document was last fetched.
    pub metadata_fetched_at: Option<Timestamp>,
    /// When the key set was.
    pub keys_fetched_at: Option<Timestamp>,
    /// How long it is still left alone because it failed.
    pub left_alone: Option<Duration>,
}

impl Providers {
    /// How the provider of each tenant is, in order of tenants.
    pub async fn health(&self) -> Vec<ProviderHealth> {
        let mut all = Vec::new();
        for source in self.sources() {
            let left_alone = self.metadata.left_alone(&source).await.max(self.keys.left_alone(&source).await);
            source.each_health(|health| all.push(ProviderHealth { left_alone, ..health }));
        }
        all.sort_unstable_by(|one, other| one.tenant.cmp(&other.tenant));
        all
    }

    /// Shows in the metrics which providers are left alone. Where tenants share a label, one of them is enough.
    pub async fn tell_circuits(&self) {
        let all = self.health().await;
        let mut open: BTreeMap<_, bool> = BTreeMap::new();
        for health in &all {
            *open.entry((self.metrics.tenant(&health.tenant), health.kind)).or_default() |= health.left_alone.is_some();
        }
        for ((tenant, kind), open) in open {
            self.metrics.provider_circuit_open.with_label_values(&[tenant, kind]).set(i64::from(open));
        }
    }
}
