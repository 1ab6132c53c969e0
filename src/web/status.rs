//! `GET /status` of the listener for operators: the process at a glance, as JSON. Nothing in it is secret, but all of it
//! is for operators on this machine.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};
use warp::reply::Response;

use super::ops::Readiness;
use super::{Health, answers};
use crate::clock::Timestamp;
use crate::gateway::Gateway;
use crate::oidc::ProviderHealth;
use crate::tenant_id::TenantId;

/// Tells how the process is, and asks nobody but its own database.
pub(super) async fn answer(gateway: &Gateway, health: &Health) -> Response {
    let Readiness { reasons, degraded } = Readiness::of(gateway, health);
    let now = gateway.clock.now();
    let store = gateway.pulse.store();
    let counted = gateway.sessions.count_by_tenant().await.ok().flatten();
    let keys = gateway.ring.keys();
    let key = |at: usize, id: String| match at {
        0 => json!({ "id": id, "role": "active", "since": keys.active_since.map(date) }),
        _ => json!({ "id": id, "role": "accepted" }),
    };
    let document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "revision": option_env!("LYCHGATE_REVISION"),
        "started_at": date(gateway.pulse.started_at),
        "uptime_seconds": now.since(gateway.pulse.started_at),
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "degraded": degraded,
        "draining": health.shutdown.is_draining(),
        "sessions": {
            "store": gateway.sessions.store_label(),
            "up": store.down.is_none(),
            "checked_at": store.checked_at.map(date),
            "news_up": gateway.metrics.session_news_up.get() == 1,
            "active": counted.as_ref().map(|counted| counted.values().sum::<i64>()),
        },
        "keys": keys.all().iter().enumerate().map(|(at, key_of)| key(at, key_of.id().to_string())).collect::<Vec<_>>(),
        "tenants": tenants(gateway, counted.as_ref()).await,
        "last_reload": health.live.last_reload().as_deref(),
    });
    answers::json(StatusCode::OK, "application/json", &document)
}

async fn tenants(gateway: &Gateway, counted: Option<&BTreeMap<TenantId, i64>>) -> Vec<Value> {
    let providers: BTreeMap<TenantId, ProviderHealth> =
        gateway.providers.health().await.into_iter().map(|health| (health.tenant.clone(), health)).collect();
    let tenant = |id: &TenantId| {
        let sessions = counted.map(|counted| counted.get(id).copied().unwrap_or_default());
        json!({ "id": id.as_str(), "sessions": sessions, "provider": providers.get(id).map(provider) })
    };
    gateway.tenants.iter().map(|known| tenant(known.id())).collect()
}

fn provider(health: &ProviderHealth) -> Value {
    json!({
        "issuer": health.issuer,
        "kind": health.kind,
        "up": health.up,
        "metadata_fetched_at": health.metadata_fetched_at.map(date),
        "keys_fetched_at": health.keys_fetched_at.map(date),
        "left_alone_seconds": health.left_alone.map(|left| left.as_secs()),
    })
}

fn date(time: Timestamp) -> String {
    time.to_string()
}
