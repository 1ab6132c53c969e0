//! What probes and Prometheus ask: are we alive, are we ready, how are we.

use http::{Method, StatusCode, header};
use serde_json::json;
use warp::reply::Response;

use super::request::Request;
use super::{Health, answers, status};
use crate::audit::{Event, Kind};
use crate::gateway::{Gateway, Trigger};
use crate::metrics;

/// The route's label, if the path is one of ours.
pub(super) fn route(path: &str) -> Option<&'static str> {
    match path.strip_suffix('/').unwrap_or(path) {
        "/livez" => Some("livez"),
        "/startupz" => Some("startupz"),
        "/readyz" => Some("readyz"),
        "/metrics" => Some("metrics"),
        _ => None,
    }
}

/// Answers a probe. What names tenants is only for operators; for others it is not there.
pub(super) async fn answer(gateway: &Gateway, health: &Health, path: &str, verbose: bool, operator: bool) -> Response {
    match route(path) {
        Some("livez") if !gateway.pulse.beats() => answers::text(StatusCode::SERVICE_UNAVAILABLE, "stuck\n"),
        // Whoever can ask has met a process that has read its settings and tried the session store.
        Some("livez" | "startupz") => answers::text(StatusCode::OK, "ok\n"),
        Some("readyz") => readiness(gateway, health, verbose && operator),
        Some("metrics") if operator => {
            let _ = Readiness::of(gateway, health);
            gateway.providers.tell_circuits().await;
            answers::with_type(StatusCode::OK, metrics::CONTENT_TYPE, gateway.metrics.render().into())
        }
        _ => answers::text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// Answers the listener for operators. Orders are taken, and all is told, on this machine only: whoever reaches the
/// listener from elsewhere, such as Prometheus, may look at health and metrics.
pub(super) async fn admin(gateway: &Gateway, health: &Health, request: &Request) -> Response {
    match request.path().strip_suffix('/').unwrap_or(request.path()) {
        "/reload" | "/status" if !request.is_from_this_machine() => answers::text(StatusCode::NOT_FOUND, "not found\n"),
        "/reload" if *request.method() != Method::POST => {
            let mut response = answers::text(StatusCode::METHOD_NOT_ALLOWED, "POST it\n");
            answers::set(&mut response, header::ALLOW, "POST");
            response
        }
        "/status" if request.is_read() => status::answer(gateway, health).await,
        "/reload" => match &health.reloader {
            Some(reloader) => {
                let asked = Event::new(Kind::AdminAction).action("reload").by("operator");
                gateway.audit.record(asked);
                let outcome = reloader.reload(Trigger::Request).await;
                answers::json(StatusCode::OK, "application/json", &json!(*outcome))
            }
            None => answers::text(StatusCode::NOT_FOUND, "not found\n"),
        },
        _ => answer(gateway, health, request.path(), request.wants_details(), true).await,
    }
}

fn readiness(gateway: &Gateway, health: &Health, details: bool) -> Response {
    let Readiness { reasons, degraded } = Readiness::of(gateway, health);
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !details {
        return answers::text(status, if ready { "ready\n" } else { "not ready\n" });
    }
    let document = json!({
        "ready": ready,
        "reasons": reasons,
        "degraded": degraded,
        "tenants": gateway.tenants.iter().map(|tenant| tenant.id().as_str()).collect::<Vec<_>>(),
        "last_reload": health.live.last_reload().as_deref(),
    });
    answers::json(status, "application/json", &document)
}

/// Ready: there is a tenant, the store answers, and we are not about to end. No provider decides about it.
pub(super) struct Readiness {
    /// Why we are not; empty if we are.
    pub(super) reasons: Vec<String>,
    /// What does not work although we are.
    pub(super) degraded: Vec<String>,
}

impl Readiness {
    /// What is known; nobody is asked.
    pub(super) fn of(gateway: &Gateway, health: &Health) -> Self {
        let (mut reasons, mut degraded) = (Vec::new(), Vec::new());
        if health.shutdown.is_draining() {
            reasons.push("draining".to_owned());
        }
        if gateway.tenants.iter().next().is_none() && !gateway.allow_no_tenants {
            reasons.push("no tenants".to_owned());
        }
        let store = gateway.pulse.store();
        let store_matters = if store.is_needed { &mut reasons } else { &mut degraded };
        store_matters.extend(store.down);
        gateway.metrics.ready.set(i64::from(reasons.is_empty()));
        Self { reasons, degraded }
    }
}
