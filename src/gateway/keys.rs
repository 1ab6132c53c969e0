//! The keys of the process: where settings say that they are, and what happens when their files change.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::{Gateway, GatewayError, LiveGateway};
use crate::audit::{Event, Kind};
use crate::config::Settings;
use crate::key_ring::{KeyId, KeyRing, Keys, RingKey};
use crate::metrics::Metrics;
use crate::secret::ExposeSecret as _;

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

impl LiveGateway {
    /// Keeps the keys as their files say, for ever; the caller spawns this and aborts it.
    pub async fn keep_keys(self) {
        let look = async {
            let mut fault = None;
            loop {
                self.now().look_at_keys(&mut fault).await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let bring = async {
            let mut brought_under = None;
            loop {
                self.now().bring_users(&mut brought_under).await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::join!(look, bring);
    }
}

impl Gateway {
    /// Looks at the files once, takes over what has changed, and says it; a fault once, for as long as it is `said`.
    pub async fn look_at_keys(&self, said: &mut Option<String>) {
        let before = self.ring.keys();
        let ring = Arc::clone(&self.ring);
        // It fails only when the runtime ends.
        let Ok(looked) = tokio::task::spawn_blocking(move || ring.look()).await else { return };
        let keys = self.ring.keys();
        tell(&self.metrics, &self.ring, looked.is_ok());
        let fault = looked.as_ref().err().map(ToString::to_string);
        match &looked {
            Ok(true) => {
                let accepted: Vec<String> = keys.all().iter().skip(1).map(|key| key.id().to_string()).collect();
                tracing::info!(active = %keys.active().id(), accepted = accepted.join(" "), "the keys have changed");
                self.record_keys(&before, &keys);
            }
            Err(error) if fault != *said => {
                let error = error as &dyn Error;
                tracing::error!(error, "the key files cannot be used; the keys read before stay");
            }
            _ => {}
        }
        *said = fault;
    }

    fn record_keys(&self, before: &Keys, after: &Keys) {
        let event = |kind, id: KeyId| self.audit.record(Event::new(kind).key(&id.to_string()));
        if before.active().id() != after.active().id() {
            event(Kind::KeyActivated, after.active().id());
        }
        let kept = |id: KeyId| after.all().iter().any(|key| key.id() == id);
        before.all().iter().map(|key| key.id()).filter(|id| !kept(*id)).for_each(|id| event(Kind::KeyRetired, id));
    }

    /// Brings the users under the active key once it has changed, so that a key that is dropped later takes no user with
    /// it. What the store does not answer is for the next time.
    async fn bring_users(&self, brought_under: &mut Option<KeyId>) {
        let keys = self.ring.keys();
        let active = keys.active().id();
        if *brought_under == Some(active) {
            return;
        }
        if keys.all().len() > 1 {
            match self.sessions.rekey_users().await {
                Ok(users) => tracing::info!(%active, users, "users have been brought under the active key"),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn Error, "users could not be brought under the active key");
                    return;
                }
            }
        }
        *brought_under = Some(active);
    }
}

/// Shows the keys in use, and whether their files are good.
pub(super) fn tell(metrics: &Metrics, ring: &KeyRing, good: bool) {
    let keys = ring.keys();
    metrics.session_keys.with_label_values(&["active"]).set(1);
    metrics.session_keys.with_label_values(&["accepted"]).set(keys.all().len() as i64 - 1);
    metrics.session_key_files_up.set(good.into());
    metrics.session_key_ephemeral.set(ring.is_new().into());
    if let Some(since) = keys.active_since {
        metrics.session_key_active_since_timestamp_seconds.set(since.0 as f64);
    }
}
