//! From requests to use cases and back: the URL map, cookies, headers, pages and problems. With `server` the only home
//! of warp.
//!
//! warp matches nothing here but "any request": which tenant and route a request is for depends on its host and on
//! tenants' prefixes, so [`routes`] copies the request's parts and [`answer`] decides in one `match`. No filter of ours
//! rejects, so no request can fall through to another route. A check that passes by what is in memory and what is surely
//! for an application do not come so far: they are answered before, as the routes would have answered.

mod answers;
pub mod bearer;
mod cookies;
mod csrf;
mod forward_auth;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handlers;
mod identity_headers;
mod local_login;
mod ops;
mod original;
mod pages;
mod problem;
mod request;
mod reverse_proxy;
mod scrub;
mod status;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::level_filters::LevelFilter;
use warp::Filter as _;
use warp::reply::Response;

pub use self::problem::Problem;
use self::request::Request;
use self::reverse_proxy::{Application, Proxied};
use crate::gateway::{Destination, Gateway, LiveGateway};
use crate::reload::Reloader;
use crate::request_path::RequestPath;
use crate::server::{Arrived, Route, Shutdown};
use crate::tenant::Tenant;
use crate::trace;

const REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");

/// What the process says of itself to probes.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether the process is about to end.
    pub shutdown: Shutdown,
    /// Where the last reload is told.
    pub live: LiveGateway,
    /// Who reads the files again, where somebody may ask for that.
    pub reloader: Option<Arc<Reloader>>,
}

/// Everything that the main listener answers.
pub fn routes(gateway: impl Into<LiveGateway>, shutdown: Shutdown) -> Route {
    let live = gateway.into();
    let health = Health { shutdown, live: live.clone(), reloader: None };
    let filter = request::filter(live.clone()).then(move |gateway: Arc<Gateway>, mut request: Request| {
        let health = health.clone();
        async move { observed(&gateway, &mut request, To::Us(&health)).await }
    });
    let passing = live.clone();
    let route = Route::from(filter.boxed()).answering_past_the_router(move |mut arrived| {
        let gateway = passing.now();
        let Arrived { head, arrival, .. } = &mut *arrived;
        let request = Request::new(&gateway, head.method.clone(), std::mem::take(&mut head.headers), arrival.clone());
        let Some(application) = Application::of(&gateway, &request) else {
            head.headers = request.into_headers();
            return Err(arrived);
        };
        let mut request = request.with_rest(arrived.limits, arrived.tunnel, arrived.body);
        Ok(Box::pin(async move { observed(&gateway, &mut request, To::Application(&application)).await }))
    });
    route.answering_at_once(move |headers, method, arrival| {
        if is_watched() || *method != Method::GET || !forward_auth::may_be_asked(arrival.target.path()) {
            return None;
        }
        let (began, gateway) = (Instant::now(), live.peek());
        let request = Request::new(&gateway, method.clone(), std::mem::take(headers), arrival.clone());
        let answer = forward_auth::at_once(&gateway, &request, began);
        *headers = request.into_headers();
        answer
    })
}

/// What the listener for operators answers: health with details, metrics; to operators on this machine, orders for the
/// `reloader`.
pub fn admin_routes(gateway: impl Into<LiveGateway>, reloader: Option<Arc<Reloader>>, shutdown: Shutdown) -> Route {
    let live = gateway.into();
    let health = Health { shutdown, live: live.clone(), reloader };
    request::filter(live)
        .then(move |gateway: Arc<Gateway>, request: Request| {
            let health = health.clone();
            async move { ops::admin(&gateway, &health, &request).await }
        })
        .boxed()
        .into()
}

/// Who answers a request.
#[derive(Clone, Copy)]
enum To<'a> {
    /// A route of ours, if there is one.
    Us(&'a Health),
    /// An application.
    Application(&'a Application),
}

/// Answers inside a span of the request, and counts.
async fn observed(gateway: &Gateway, request: &mut Request, to: To<'_>) -> Response {
    let started = Instant::now();
    let in_flight = InFlight::new(gateway);
    let span = span_of(request, to);
    let answered = answered(gateway, request, to).instrument(span.clone()).await;
    if let To::Us(_) = to {
        span.record("route", answered.route);
    }
    let mut response = answered.response;
    // Nobody but a proxy sees that a check passed.
    let passed = answered.route == "auth" && response.status().is_success();
    if passed {
        response.headers_mut().extend(identity_headers::stale(request.is_stale()));
    } else {
        if response.extensions().get::<Proxied>().is_none() {
            answers::finish(&mut response, request, gateway);
        }
        answers::set(&mut response, REQUEST_ID, request.id());
    }
    let status = response.status();
    let took = started.elapsed();
    let tenant = answered.tenant.as_deref();
    count(gateway, request, tenant, answered.route, status, took);
    trace::answered(&span, request.method_label(), answered.route, status, || label(gateway, tenant));
    let _entered = span.enter();
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match answered.route {
        "livez" | "readyz" | "startupz" | "metrics" | "assets" => {
            tracing::debug!(status = status.as_u16(), duration_ms, "answered");
        }
        _ if passed => tracing::debug!(status = status.as_u16(), duration_ms, client = %request.client(), "answered"),
        _ => tracing::info!(status = status.as_u16(), duration_ms, client = %request.client(), "answered"),
    }
    drop(in_flight);
    response
}

/// The label of a tenant.
fn label<'t>(gateway: &Gateway, tenant: Option<&'t Tenant>) -> &'t str {
    tenant.map_or(crate::metrics::NO_TENANT, |tenant| gateway.metrics.tenant(tenant.id()))
}

fn count(
    gateway: &Gateway,
    request: &Request,
    tenant: Option<&Tenant>,
    route: &str,
    status: StatusCode,
    took: Duration,
) {
    let (metrics, method) = (&gateway.metrics, request.method_label());
    if let (Some(tenant), reverse_proxy::ROUTE, "GET", StatusCode::OK) = (tenant, route, method, status) {
        return tenant.passages(metrics).answered(took);
    }
    // An application may make numbers up.
    let code = status.canonical_reason().map_or("other", |_| status.as_str());
    metrics.http_requests_total.with_label_values(&[label(gateway, tenant), route, method, code]).inc();
    metrics.http_request_duration_seconds.with_label_values(&[route]).observe(took.as_secs_f64());
}

/// Whether somebody wants to hear of what passes without a word otherwise.
fn is_watched() -> bool {
    trace::is_on() || LevelFilter::current() >= LevelFilter::DEBUG
}

/// The span that a request's log lines stand in, and that a collector is sent. Nobody traces probes.
fn span_of(request: &mut Request, to: To<'_>) -> tracing::Span {
    use tracing::field::Empty;
    // What is told later costs more than all that is told at once.
    let (tenant, route) = match to {
        To::Us(_) => (None, None),
        To::Application(application) => (Some(application.tenant()), Some(reverse_proxy::ROUTE)),
    };
    let (id, method) = (request.id(), request.method_label());
    if ops::route(request.path()).is_some() {
        return tracing::info_span!("probe", request_id = %id, method, tenant = Empty, route = Empty);
    }
    let span = tracing::info_span!(
        "request",
        request_id = %id,
        method,
        tenant,
        route,
        trace_id = Empty,
        span_id = Empty,
        otel.kind = trace::is_on().then_some("server"),
    );
    trace::follow(&span, request.headers(), request.is_from_trusted_proxy());
    if let Some((trace_id, span_id)) = trace::ids(&span) {
        span.record("trace_id", trace_id.as_str()).record("span_id", span_id);
        request.set_trace(trace_id.into());
    }
    span
}

/// The answer, once the audit log has what belongs into it. Where that cannot be had, the answer is that nothing was done,
/// and no cookie is set.
async fn answered(gateway: &Gateway, request: &mut Request, to: To<'_>) -> Answered {
    let caller = request.caller();
    let (answered, written) = match to {
        // It is large: it must not lie in memory twice, nor wherever a request to an application does.
        To::Us(health) => gateway.audit.attend(|| caller, Box::pin(answer(gateway, health, request))).await,
        To::Application(application) => {
            let work = std::pin::pin!(application.answer(gateway, request));
            gateway.audit.attend(|| caller, work).await
        }
    };
    match written {
        Ok(()) => answered,
        Err(unwritten) => {
            let problem = Problem::from(unwritten);
            pages::log(gateway, None, &problem);
            Answered { response: pages::problem_json(request, &problem), ..answered }
        }
    }
}

struct InFlight<'a>(&'a Gateway);

impl<'a> InFlight<'a> {
    fn new(gateway: &'a Gateway) -> Self {
        gateway.metrics.http_requests_in_flight.inc();
        Self(gateway)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.metrics.http_requests_in_flight.dec();
    }
}

/// A response and the labels it is counted under.
struct Answered {
    response: Response,
    route: &'static str,
    tenant: Option<Arc<Tenant>>,
}

impl Answered {
    const fn nobodys(route: &'static str, response: Response) -> Self {
        Self { response, route, tenant: None }
    }
}

/// The URL map.
async fn answer(gateway: &Gateway, health: &Health, request: &mut Request) -> Answered {
    if let Some(question) = forward_auth::find(gateway, request) {
        let tenant = question.tenant.cloned();
        tracing::Span::current().record("tenant", tenant.as_ref().map(|tenant| tenant.id().as_str()));
        return Answered { response: forward_auth::answer(gateway, request, question).await, route: "auth", tenant };
    }
    let visitor = match request.visitor() {
        Ok(visitor) => visitor.clone(),
        Err(problem) => {
            gateway.metrics.http_rejected_requests_total.with_label_values(&[problem.code]).inc();
            return Answered::nobodys("none", pages::problem(gateway, request, None, &problem));
        }
    };
    let raw = request.path().to_owned();
    let path = match RequestPath::parse(&raw) {
        Ok(path) => path,
        Err(error) => {
            let problem = Problem::new("path_refused").because(error);
            gateway.metrics.http_rejected_requests_total.with_label_values(&[problem.code]).inc();
            return Answered::nobodys("none", pages::problem(gateway, request, None, &problem));
        }
    };
    if let Some(route) = ops::route(path.as_str()).filter(|_| !gateway.tenants.claims_host(&visitor.host)) {
        let details = gateway.is_operator(&visitor, request.peer());
        let response = ops::answer(gateway, health, path.as_str(), request.wants_details(), details).await;
        return Answered::nobodys(route, response);
    }
    match gateway.tenants.find(&visitor, path.as_str()) {
        Destination::Tenant { tenant, place, route } => {
            tracing::Span::current().record("tenant", tenant.id().as_str());
            let (route, response) = handlers::tenant(gateway, request, &tenant, &place, &path, route).await;
            Answered { response, route, tenant: Some(tenant) }
        }
        Destination::Asset(file) => Answered::nobodys("assets", answers::asset(gateway, request, file)),
        Destination::Landing if request.is_read() => Answered::nobodys("landing", pages::landing(gateway, request)),
        Destination::Landing => Answered::nobodys(
            "landing",
            pages::problem(gateway, request, None, &Problem::method_not_allowed("GET, HEAD")),
        ),
        Destination::Nowhere => {
            Answered::nobodys("none", pages::problem(gateway, request, None, &Problem::not_found()))
        }
        Destination::UnknownHost => {
            gateway.metrics.http_rejected_requests_total.with_label_values(&["misdirected"]).inc();
            Answered::nobodys("none", pages::problem(gateway, request, None, &Problem::new("misdirected")))
        }
    }
}
