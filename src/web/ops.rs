//! What probes and Prometheus ask: are we alive, are we ready, how are we.

use http::{Method, StatusCode, header};
use serde_json::json;
use warp::reply::Response;

use super::request::Request;
use super::{Health, answers};
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
        Some("livez" | "startupz") => answers::text(StatusCode::OK, "ok\n"),
        Some("readyz") => readiness(gateway, health, verbose && operator).await,
        Some("metrics") if operator => {
            let _ = is_ready(gateway, health).await;
            gateway.providers.tell_circuits().await;
            answers::with_type(StatusCode::OK, metrics::CONTENT_TYPE, gateway.metrics.render().into())
        }
        _ => answers::text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// Answers the listener for operators. Orders are taken from this machine only: whoever reaches the listener from
/// elsewhere, such as Prometheus, may look.
pub(super) async fn admin(gateway: &Gateway, health: &Health, request: &Request) -> Response {
    match request.path().strip_suffix('/').unwrap_or(request.path()) {
        "/reload" if !request.is_from_this_machine() => answers::text(StatusCode::NOT_FOUND, "not found\n"),
        "/reload" if *request.method() != Method::POST => {
            let mut response = answers::text(StatusCode::METHOD_NOT_ALLOWED, "POST it\n");
            answers::set(&mut response, header::ALLOW, "POST");
            response
        }
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

/// Ready: there is a tenant, the store answers, and we are not about to end. No provider decides about it.
async fn readiness(gateway: &Gateway, health: &Health, details: bool) -> Response {
    let reasons = is_ready(gateway, health).await;
    let status = if reasons.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !details {
        return answers::text(status, if reasons.is_ok() { "ready\n" } else { "not ready\n" });
    }
    let document = json!({
        "ready": reasons.is_ok(),
        "reasons": reasons.err().unwrap_or_default(),
        "tenants": gateway.tenants.iter().map(|tenant| tenant.id().as_str()).collect::<Vec<_>>(),
        "last_reload": health.live.last_reload().as_deref(),
    });
    answers::json(status, "application/json", &document)
}

async fn is_ready(gateway: &Gateway, health: &Health) -> Result<(), Vec<String>> {
    let mut reasons = Vec::new();
    if health.shutdown.is_draining() {
        reasons.push("draining".to_owned());
    }
    if gateway.tenants.iter().next().is_none() && !gateway.allow_no_tenants {
        reasons.push("no tenants".to_owned());
    }
    if let Err(error) = gateway.sessions.check().await {
        reasons.push(error.to_string());
    }
    gateway.metrics.ready.set(i64::from(reasons.is_empty()));
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}
