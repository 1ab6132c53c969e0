//! Sessions that others ended, dropped from the cache of this process; and ends of sessions by a handle.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::ops::compute::Op;

use super::{EndReason, Session, Sessions, StoreError};
use crate::secret::from_base64url;
use crate::tenant_id::TenantId;

/// Time between two looks at what other processes ended.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// The session of this hash was ended in the store: it opens nothing here any more. A load that is under way is waited
/// for, as in [`Sessions::end`].
pub(super) async fn drop_from(cache: &Cache<[u8; 32], Arc<Session>>, id_hash: [u8; 32]) {
    cache.entry(id_hash).and_compute_with(|_| async { Op::Remove }).await;
}

impl Sessions {
    /// Ends the session of this [`Session::handle`].
    ///
    /// # Errors
    /// The store could not remove it.
    pub async fn end_by_handle(&self, tenant: &TenantId, handle: &str, reason: EndReason) -> Result<bool, StoreError> {
        match from_base64url(handle).and_then(|bytes| bytes.try_into().ok()) {
            Some(id_hash) => self.end_by_id(tenant, id_hash, reason).await,
            None => Ok(false),
        }
    }

    /// Somebody else ended the session of this hash.
    pub(super) async fn ended_elsewhere(&self, id_hash: [u8; 32]) {
        drop_from(&self.cache, id_hash).await;
    }

    /// Looks for sessions that other processes ended, for ever; the caller spawns this and aborts it.
    pub async fn keep_watched(self: Arc<Self>) {
        let (mut last, mut was_well) = (0, true);
        loop {
            match self.store.ended_since(&mut last).await {
                Ok(ended) => {
                    was_well = true;
                    for id_hash in ended {
                        self.ended_elsewhere(id_hash).await;
                    }
                }
                Err(error) => {
                    if std::mem::take(&mut was_well) {
                        let error = &error as &dyn Error;
                        tracing::warn!(error, "cannot see which sessions other processes end");
                    }
                }
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }
}
