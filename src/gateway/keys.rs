//! The keys of the process: where settings say that they are, and what happens when their files change.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::{Gateway, GatewayError};
use crate::config::Settings;
use crate::key_ring::{KeyFileError, KeyId, KeyRing, Keys, RingKey};
use crate::metrics::Metrics;
use crate::secret::ExposeSecret as _;
use crate::session::StoreError;

/// How often the files are looked at. Their contents are compared: times of files tell nothing where a volume is
/// replaced by a symbolic link, as Kubernetes does.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The root secret: one key if settings give it, else those in files, of which the first is made at the first start.
///
/// # Errors
/// It cannot be read, or is no key.
pub fn key_ring(settings: &Settings) -> Result<Arc<KeyRing>, GatewayError> {
    match &settings.secret {
        Some(secret) => Ok(KeyRing::of_one(RingKey::from_text(secret.expose_secret())?)),
        None => Ok(KeyRing::open(settings.secret_file.clone())?),
    }
}

/// What was known at the last look.
#[derive(Debug, Default)]
pub struct LastLook {
    /// The fault that was logged.
    fault: Option<String>,
    /// The active key that all users have been brought under.
    users_under: Option<KeyId>,
}

impl Gateway {
    /// Keeps the keys as their files say, for ever; the caller spawns this and aborts it.
    pub async fn keep_keys(self: Arc<Self>) {
        let mut last = LastLook::default();
        loop {
            self.look_at_keys(&mut last).await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks at the files once: takes over what has changed, says it, and brings the users under the active key.
    pub async fn look_at_keys(&self, last: &mut LastLook) {
        let ring = Arc::clone(&self.ring);
        // It fails only when the runtime ends.
        let Ok(looked) = tokio::task::spawn_blocking(move || ring.look()).await else { return };
        let keys = self.ring.keys();
        tell(&self.metrics, &keys, looked.is_ok());
        last.say(&looked, &keys);
        let active = keys.active().id();
        if last.users_under != Some(active) {
            match self.bring_users_under(&keys).await {
                Ok(()) => last.users_under = Some(active),
                // The next look tries again.
                Err(error) => tracing::debug!(error = &error as &dyn Error, "users could not be brought under a key"),
            }
        }
    }

    /// A key that is dropped later takes no user with it.
    async fn bring_users_under(&self, keys: &Keys) -> Result<(), StoreError> {
        if keys.all().len() > 1 {
            let mut users = 0;
            for tenant in self.tenants.iter() {
                users += self.sessions.rekey_users(tenant.id()).await?;
            }
            tracing::info!(active = %keys.active().id(), users, "users have been brought under the active key");
        }
        Ok(())
    }
}

impl LastLook {
    /// Logs a change, and a fault once.
    fn say(&mut self, looked: &Result<bool, KeyFileError>, keys: &Keys) {
        let fault = looked.as_ref().err().map(ToString::to_string);
        if let Err(error) = looked
            && fault != self.fault
        {
            tracing::error!(error = error as &dyn Error, "the key files cannot be used; the keys read before stay");
        }
        if matches!(looked, Ok(true)) {
            let accepted: Vec<String> = keys.all().iter().skip(1).map(|key| key.id().to_string()).collect();
            tracing::info!(active = %keys.active().id(), accepted = accepted.join(" "), "the keys have changed");
        }
        self.fault = fault;
    }
}

/// Shows the keys in use, and whether their files are good.
pub(super) fn tell(metrics: &Metrics, keys: &Keys, good: bool) {
    metrics.session_keys.with_label_values(&["active"]).set(1);
    metrics.session_keys.with_label_values(&["accepted"]).set(keys.all().len() as i64 - 1);
    metrics.session_key_files_up.set(good.into());
    if let Some(since) = keys.active_since {
        metrics.session_key_active_since_timestamp_seconds.set(since.0 as f64);
    }
}
