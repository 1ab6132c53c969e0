//! Requests to the applications behind a tenant: who may pass, what goes along, what comes back. Connections to them
//! live in `upstream`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use http::header::{self, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::Instant;
use tracing::Instrument as _;
use url::form_urlencoded;
use warp::Reply as _;
use warp::reply::Response;

use super::cookies::Cookies;
use super::request::Request;
use super::{Problem, answers, bearer, csrf, handlers, identity_headers, scrub};
use crate::config::{Pass, UpstreamSettings};
use crate::flow::access::{self, Knock, Permit, Visit};
use crate::flow::{renewal, sign_in};
use crate::gateway::Gateway;
use crate::gateway::renewals::RenewalError;
use crate::metrics::{IntGauge, Metrics};
use crate::net::split_port;
use crate::policy::{Decision, Verdict};
use crate::request_path::RequestPath;
use crate::secret::ExposeSecret as _;
use crate::server::Limits;
use crate::tenant::{Place, Tenant};
use crate::tenant_id::TenantId;
use crate::trace;
use crate::upstream::{self, Head, Upstream, UpstreamError};

/// Marks an answer as an application's, which none of our own headers belong on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proxied;

/// One request on its way.
struct Passage<'a> {
    gateway: &'a Gateway,
    request: &'a mut Request,
    tenant: &'a Tenant,
    place: &'a Place,
    /// The whole path.
    path: &'a RequestPath<'a>,
    upstream: &'a Upstream,
}

/// Answers a request that none of our own routes is for: the label of its route, and what an upstream says.
pub(super) async fn answer(
    gateway: &Gateway,
    request: &mut Request,
    tenant: &Tenant,
    place: &Place,
    path: &RequestPath<'_>,
) -> (&'static str, Result<Response, Problem>) {
    let host = request.visitor().map(|visitor| split_port(&visitor.host).0.to_owned());
    let (Ok(host), Some(below)) = (host, path.below(&place.mount)) else { return ("none", Err(Problem::not_found())) };
    if !tenant.settings.prefix.is_empty() && path.after(&place.base).is_some() {
        return ("none", Err(Problem::not_found()));
    }
    let Some(upstream) = tenant.upstreams.iter().find(|upstream| upstream.answers(&host, &below)) else {
        return ("none", Err(Problem::not_found()));
    };
    // It would send back what only the application may see (RFC 9110, section 9.3.8).
    if request.method() == Method::TRACE {
        return ("upstream", Err(Problem::method_not_allowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")));
    }
    let passage = Passage { gateway, request, tenant, place, path, upstream };
    ("upstream", passage.pass(&host, &below).await)
}

impl Passage<'_> {
    async fn pass(mut self, host: &str, below: &RequestPath<'_>) -> Result<Response, Problem> {
        let limits = self.request.limits().cloned();
        if let Some(limits) = &limits {
            limits.lift(self.upstream.settings.max_body);
        }
        let upgrades = self.request.wants_web_socket();
        let address = self.request.client();
        let token = bearer::token(self.gateway, self.tenant, self.request.headers(), address).await?;
        let (session, no_token) = if token.is_some() { (None, None) } else { self.session().await? };
        let method = self.request.method().clone();
        let by_token = token.is_some();
        let knock = Knock { method: method.as_str(), host, path: below, address, token, session };
        let mut permit = match access::admit(self.gateway, self.tenant, knock) {
            Ok(permit) => permit,
            Err(decision) if by_token => return Err(bearer::refusal(self.tenant, &decision)),
            Err(decision) => return self.refuse(&decision),
        };
        if upgrades && !csrf::may_open_tunnel(self.request, self.tenant, self.place, permit.session().is_some()) {
            return Err(Problem::new("origin_refused"));
        }
        if self.tenant.settings.csrf
            && permit.session().is_some()
            && csrf::changes_something(&method)
            && !csrf::is_own(self.request, self.tenant, self.place)
        {
            return Err(Problem::new("csrf_refused"));
        }
        if let Some(error) = no_token.filter(|_| permit.session().is_some()) {
            permit = permit.as_nobody().ok_or(error)?;
        }
        if limits.as_ref().is_some_and(Limits::is_too_large) {
            return Err(Problem::new("body_too_large"));
        }
        let has_body = limits.is_none_or(|limits| limits.has_body());
        let body = self.request.take_body().filter(|_| has_body);
        let body = body.map(|body| -> upstream::Incoming { Box::pin(body.map_err(Into::into)) });
        let span = trace::upstream(self.request.method_label(), self.tenant.id().as_str());
        let mut head = self.head(method, &permit, upgrades)?;
        trace::pass_on(&span, &mut head.headers);

        let mut asked = Asked::new(&self.gateway.metrics, self.tenant.id());
        let answer = match self.upstream.send(&head, body).instrument(span.clone()).await {
            Ok(answer) => answer,
            Err(error) => {
                trace::failed(&span, error.code());
                return Err(asked.failed(self.problem(error)));
            }
        };
        span.record("http.response.status_code", answer.status.as_u16());
        drop(span);
        asked.answered(answer.status);
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            return match upgrades {
                true => self.tunnel(&permit, answer).await.map_err(|error| asked.failed(self.problem(error))),
                false => Err(asked.failed(Problem::new("upstream_failed"))),
            };
        }
        let mut headers = answer.headers;
        scrub::response(&mut headers);
        let body = answer.body;
        let response = if body.is_empty() { Response::default() } else { warp::reply::stream(body).into_response() };
        Ok(proxied(response, answer.status, headers))
    }

    /// The session with tokens that are good, and why it has none for the upstream, if that wants one. Rules are asked
    /// afterwards, since a renewal may change claims and end the session.
    async fn session(&self) -> Result<(Option<Visit>, Option<RenewalError>), Problem> {
        let (gateway, tenant, settings) = (self.gateway, self.tenant, &self.upstream.settings);
        let cookies = Cookies::of(tenant, self.place);
        let Some(visit) = handlers::visit(gateway, tenant, &cookies, self.request).await? else {
            return Ok((None, None));
        };
        if settings.pass != Pass::AccessToken {
            renewal::renew_ahead(gateway, tenant, &visit.session);
            let passes = settings.pass == Pass::IdToken || tenant.settings.identity.has_tokens();
            return Ok((if passes { visit.with_tokens(gateway).await? } else { Some(visit) }, None));
        }
        match renewal::fresh(gateway, tenant, &visit.session, settings.audience.as_deref()).await {
            Ok(opened) => Ok((Some(Visit { is_stale: visit.is_stale, ..opened.into() }), None)),
            Err(error) => {
                let current = gateway.sessions.current(&visit.session).await?;
                Ok((current.map(|session| Visit { session, ..visit }), Some(error)))
            }
        }
    }

    /// What the application is asked.
    fn head(&self, method: Method, permit: &Permit, upgrades: bool) -> Result<Head, Problem> {
        let settings = &self.upstream.settings;
        let mut headers = self.request.headers().clone();
        scrub::request(&mut headers, identity_headers::names(&self.tenant.settings.identity));
        let passes = settings.pass != Pass::None;
        if passes || permit.token().is_some() {
            headers.remove(header::AUTHORIZATION);
        }
        // What is empty is left out: nothing else can stand there. An upstream's own token goes before the tenant's.
        let now = self.gateway.clock.now();
        let known = identity_headers::of(self.tenant, permit, now)
            .filter(|(name, value)| !(value.is_empty() || passes && *name == header::AUTHORIZATION));
        headers.extend(known.map(|(name, value)| (name.clone(), value)));
        headers.extend(identity_headers::stale(permit.is_stale()).map(|(name, value)| (Some(name), value)));
        headers.extend(bearer_for(self.tenant, permit, settings).map(|bearer| (header::AUTHORIZATION, bearer)));
        let (scheme, authority) = self.place.origin.split_once("://").unwrap_or(("http", &self.place.origin));
        for (name, value) in [
            ("x-forwarded-for", self.request.client().to_string()),
            ("x-forwarded-proto", scheme.to_owned()),
            ("x-forwarded-host", authority.to_owned()),
            ("x-request-id", self.request.id().to_owned()),
        ] {
            let value = HeaderValue::try_from(value).ok();
            headers.extend(value.map(|value| (Some(HeaderName::from_static(name)), value)));
        }
        if upgrades {
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        let host = settings.preserve_host.then(|| authority.to_owned());
        Ok(Head { method, target: self.target()?, host, headers, upgrades })
    }

    /// Path and query as the application sees them.
    fn target(&self) -> Result<PathAndQuery, Problem> {
        let settings = &self.upstream.settings;
        let mut target = match &settings.rewrite {
            None => self.path.encoded().to_owned(),
            Some(other) => {
                let prefix = format!("{}{}", self.place.mount, settings.path);
                self.path.rewritten(&prefix, other).ok_or(Problem::not_found())?
            }
        };
        if let Some(query) = self.request.raw_query() {
            target.push('?');
            target.push_str(query);
        }
        target.try_into().map_err(|error: http::uri::InvalidUri| Problem::new("path_refused").because(error))
    }

    /// Joins the client's connection with the application's, for as long as the session, or the token, lasts; without
    /// either, as long as one of both has something to say.
    async fn tunnel(&mut self, permit: &Permit, answer: upstream::Answer) -> Result<Response, UpstreamError> {
        let mut headers = answer.headers.clone();
        scrub::response(&mut headers);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let (stream, in_flight) = answer.into_tunnel().await?;
        let open = Open::new(&self.gateway.metrics, self.tenant.id());
        let (sessions, limits) = (Arc::clone(&self.gateway.sessions), self.tenant.settings.session.clone());
        let (session, token) = (permit.session().cloned(), permit.token().cloned());
        let of_somebody = session.is_some() || token.is_some();
        let now = self.gateway.clock.now();
        let until = async move {
            let _counted = (open, in_flight);
            match (session, token) {
                (Some(session), _) => sessions.ended(&session, &limits).await,
                (None, Some(token)) => {
                    let left = token.ends_at.since(now).max(0).unsigned_abs();
                    tokio::time::sleep(Duration::from_secs(left)).await;
                }
                (None, None) => std::future::pending().await,
            }
        };
        if let Some(tunnel) = self.request.take_tunnel() {
            tunnel.join(stream, until, of_somebody);
        }
        Ok(proxied(Response::default(), StatusCode::SWITCHING_PROTOCOLS, headers))
    }

    /// What a request that may not pass is told. Only somebody who looks at a page is sent to sign in.
    fn refuse(&self, decision: &Decision<'_>) -> Result<Response, Problem> {
        let problem = match decision.verdict {
            Verdict::SignIn => Problem { challenge: bearer::invitation(self.tenant), ..Problem::new("not_signed_in") },
            Verdict::StepUp(_) => Problem::new("step_up_required"),
            _ => return Err(Problem::new("access_refused")),
        };
        match self.request.is_navigation(self.request.method().as_str()) {
            true => Ok(self.to_login(decision)),
            false => Err(problem),
        }
    }

    fn to_login(&self, decision: &Decision<'_>) -> Response {
        let path = self.path.encoded();
        let whole = self.request.raw_query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let returns = |back: &&str| self.gateway.tenants.return_to(self.tenant, self.place, back).is_ok();
        let mut query = form_urlencoded::Serializer::new(String::new());
        // An address too long to come back to whole is better than none.
        query.extend_pairs([whole.as_str(), path].into_iter().find(returns).map(|back| ("return_to", back)));
        let step_up = sign_in::step_up(&self.tenant.settings.policy, decision.by);
        query.extend_pairs(step_up.map(|rule| ("step_up", rule)));
        answers::redirect(StatusCode::FOUND, &format!("{}?{}", self.place.path("/login"), query.finish()))
    }

    fn problem(&self, error: UpstreamError) -> Problem {
        let too_large = self.request.limits().is_some_and(Limits::is_too_large);
        let code = match error {
            UpstreamError::BodyCut if too_large => "body_too_large",
            _ => error.code(),
        };
        Problem::new(code).because(error)
    }
}

fn proxied(mut response: Response, status: StatusCode, headers: HeaderMap) -> Response {
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(Proxied);
    response
}

/// The token that an upstream is given as `Authorization`.
fn bearer_for(tenant: &Tenant, permit: &Permit, upstream: &UpstreamSettings) -> Option<HeaderValue> {
    let token = match (upstream.pass, permit.tokens(), permit.token()) {
        (Pass::AccessToken, Some(tokens), _) => {
            &renewal::token_of(tenant, tokens, upstream.audience.as_deref()).ok()?.value
        }
        (Pass::AccessToken, None, Some(token)) if upstream.audience.is_none() => &token.text,
        (Pass::IdToken, Some(tokens), _) => &tokens.id_token,
        _ => return None,
    };
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Counts a request to an upstream, however it ends.
struct Asked<'a> {
    metrics: &'a Metrics,
    tenant: &'a str,
    started: Instant,
    outcome: &'static str,
    status: &'static str,
}

impl<'a> Asked<'a> {
    fn new(metrics: &'a Metrics, tenant: &'a TenantId) -> Self {
        // Whoever hangs up lets nothing else be said of it.
        Self { metrics, tenant: metrics.tenant(tenant), started: Instant::now(), outcome: "cancelled", status: "none" }
    }

    fn answered(&mut self, status: StatusCode) {
        self.outcome = "ok";
        self.status = match status.as_u16() {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
    }

    fn failed(&mut self, problem: Problem) -> Problem {
        (self.outcome, self.status) = (problem.code, "none");
        problem
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let labels = [self.tenant, self.outcome, self.status];
        self.metrics.upstream_requests_total.with_label_values(&labels).inc();
        let took = self.started.elapsed().as_secs_f64();
        self.metrics.upstream_request_duration_seconds.with_label_values(&[self.outcome]).observe(took);
    }
}

/// A tunnel, counted.
struct Open(IntGauge);

impl Open {
    fn new(metrics: &Metrics, tenant: &TenantId) -> Self {
        let gauge = metrics.upstream_tunnels.with_label_values(&[metrics.tenant(tenant)]);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
