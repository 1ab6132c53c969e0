//! Ends of sessions as the audit log is told of them, at the places where they are counted.

use std::sync::Arc;

use super::store::Swept;
use super::{EndReason, Sessions};
use crate::audit::{Audit, Event, Kind, Witness};
use crate::tenant_id::TenantId;

/// Tells the audit log, on behalf of whoever asked; also from a task that goes on without them.
pub(super) struct Told(Option<Witness>);

impl Sessions {
    /// Tells `audit` of all sessions that end from now on; once.
    pub fn report_to(&self, audit: Arc<Audit>) {
        // A second log has no business here.
        let _ = self.audit.set(audit);
    }

    pub(super) fn told(&self) -> Told {
        Told(self.audit.get().map(Audit::witness))
    }
}

impl Told {
    /// Sessions ended.
    pub(super) async fn ended(&self, tenant: &TenantId, ids: &[[u8; 32]], reason: EndReason) {
        let Some(witness) = &self.0 else { return };
        for id_hash in ids {
            let event = Event::new(Kind::SessionEnded).reason(reason.as_str()).tenant(tenant);
            witness.record(event.session(id_hash)).await;
        }
    }

    /// Sessions were over.
    pub(super) async fn swept(&self, swept: &[Swept]) {
        for Swept { tenant, id_hash, idle } in swept {
            let reason = if *idle { EndReason::Idle } else { EndReason::Absolute };
            if let Some(tenant) = tenant {
                self.ended(tenant, &[*id_hash], reason).await;
            }
        }
    }
}
