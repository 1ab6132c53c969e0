//! Requests to the applications behind a tenant: who may pass, what goes along, what comes back. Connections to them
//! live in `upstream`.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::Instant;
use tracing::Instrument as _;
use url::form_urlencoded;
use warp::Reply as _;
use warp::reply::Response;

use super::REQUEST_ID;
use super::bearer::Unchecked;
use super::cookies::Cookies;
use super::request::{Request, Rest};
use super::{Answered, Problem, answers, bearer, csrf, forward_auth, handlers, identity_headers, ops, pages, scrub};
use crate::config::{Pass, UpstreamSettings};
use crate::flow::access::{self, Knock, Permit, Visit};
use crate::flow::{renewal, sign_in};
use crate::gateway::renewals::RenewalError;
use crate::gateway::{Destination, Gateway};
use crate::metrics::{IntGauge, Metrics};
use crate::net::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, split_port};
use crate::oidc::AccessToken;
use crate::policy::{Decision, Verdict};
use crate::request_path::RequestPath;
use crate::secret::ExposeSecret as _;
use crate::server::{Limits, Tunnel};
use crate::tenant::{Place, Tenant};
use crate::tenant_id::TenantId;
use crate::trace;
use crate::upstream::{self, Head, Upstream, UpstreamError};

/// How many headers an application is sent besides the client's and those of the tenant's identities.
const MORE_HEADERS: usize = 4;

/// Marks an answer as an application's, which none of our own headers belong on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proxied;

/// The label of requests to applications.
pub(super) const ROUTE: &str = "upstream";

/// Whose application a request is for, where the router has no say.
pub(super) struct Application {
    tenant: Arc<Tenant>,
    place: Place,
}

impl Application {
    /// The one that a request is for, if no route of ours can be meant.
    pub(super) fn of(gateway: &Gateway, request: &Request) -> Option<Self> {
        let path = RequestPath::parse(request.path()).ok()?;
        if forward_auth::may_be_asked(request.path()) || ops::route(path.as_str()).is_some() {
            return None;
        }
        let Destination::Tenant { tenant, place, route } = gateway.tenants.find(request.visitor().ok()?, path.as_str())
        else {
            return None;
        };
        if route.is_some_and(handlers::may_be_ours) || upstream(request, &tenant, &place, &path).is_none() {
            return None;
        }
        Some(Self { tenant, place })
    }

    /// Whose it is.
    pub(super) fn tenant(&self) -> &str {
        self.tenant.id().as_str()
    }

    /// Answers it, as the router would.
    pub(super) async fn answer(&self, gateway: &Gateway, request: &mut Request) -> Answered {
        let (tenant, place) = (&self.tenant, &self.place);
        let rest = request.take_rest();
        let request = &*request;
        let (route, answer) = match RequestPath::parse(request.path()) {
            Ok(path) => answer(gateway, request, rest, tenant, place, &path).await,
            Err(error) => ("none", Err(Problem::new("path_refused").because(error))),
        };
        let response =
            answer.unwrap_or_else(|problem| pages::problem(gateway, request, Some((tenant, place)), &problem));
        Answered { response, route, tenant: Some(Arc::clone(tenant)) }
    }
}

/// One request on its way.
struct Passage<'a> {
    gateway: &'a Gateway,
    request: &'a Request,
    tenant: &'a Tenant,
    place: &'a Place,
    /// The whole path.
    path: &'a RequestPath<'a>,
    upstream: &'a Upstream,
}

/// Answers a request that none of our own routes is for: the label of its route, and what an upstream says.
pub(super) async fn answer(
    gateway: &Gateway,
    request: &Request,
    rest: Rest,
    tenant: &Tenant,
    place: &Place,
    path: &RequestPath<'_>,
) -> (&'static str, Result<Response, Problem>) {
    let Some((upstream, host, below)) = upstream(request, tenant, place, path) else {
        return ("none", Err(Problem::not_found()));
    };
    // It would send back what only the application may see (RFC 9110, section 9.3.8).
    if request.method() == Method::TRACE {
        return (ROUTE, Err(Problem::method_not_allowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")));
    }
    let passage = Passage { gateway, request, tenant, place, path, upstream };
    (ROUTE, passage.pass(rest, host, &below).await)
}

/// The upstream that a request to the whole `path` goes to, with its host and the path below the tenant's mount.
fn upstream<'a>(
    request: &'a Request,
    tenant: &'a Tenant,
    place: &Place,
    path: &'a RequestPath<'_>,
) -> Option<(&'a Upstream, &'a str, RequestPath<'a>)> {
    let (host, _) = split_port(&request.visitor().ok()?.host);
    let below = path.below(&place.mount)?;
    if !tenant.settings.prefix.is_empty() && path.after(&place.base).is_some() {
        return None;
    }
    let upstream = tenant.upstreams.iter().find(|upstream| upstream.answers(host, &below))?;
    Some((upstream, host, below))
}

impl Passage<'_> {
    async fn pass(self, rest: Rest, host: &str, below: &RequestPath<'_>) -> Result<Response, Problem> {
        let limits = self.request.limits();
        if let Some(limits) = limits {
            limits.lift(self.upstream.settings.max_body);
        }
        let tunnel = rest.tunnel.filter(|_| self.request.wants_web_socket());
        let upgrades = tunnel.is_some();
        let address = self.request.client();
        let token = match bearer::token_at_hand(self.request.headers(), self.tenant) {
            Ok(token) => token,
            Err(Unchecked) => Box::pin(self.token()).await?,
        };
        let (session, no_token) = match token {
            Some(_) => (None, None),
            None => self.session().await?,
        };
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
        if limits.is_some_and(Limits::is_too_large) {
            return Err(Problem::new("body_too_large"));
        }
        let has_body = limits.is_none_or(Limits::has_body);
        let body = rest.body.filter(|_| has_body).map(|body| -> upstream::Incoming { body });
        let span = trace::upstream(self.request.method_label(), self.tenant.id().as_str());
        let head = self.head(method, upgrades)?;
        let headers = || {
            let mut headers = self.headers(&permit, upgrades);
            trace::pass_on(&span, &mut headers);
            headers
        };
        let mut asked = Asked::new(&self.gateway.metrics, self.tenant);
        let answer = match self.upstream.send(&head, &headers, body).instrument(span.clone()).await {
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
            let Some(tunnel) = tunnel else { return Err(asked.failed(Problem::new("upstream_failed"))) };
            let joined = Box::pin(self.join(tunnel, &permit, answer)).await;
            return joined.map_err(|error| asked.failed(self.problem(error)));
        }
        let mut headers = answer.headers;
        scrub::response(&mut headers);
        let body = answer.body;
        let response = if body.is_empty() { Response::default() } else { warp::reply::stream(body).into_response() };
        Ok(proxied(response, answer.status, headers))
    }

    async fn token(&self) -> Result<Option<Arc<AccessToken>>, Problem> {
        bearer::token(self.gateway, self.tenant, self.request.headers(), self.request.client()).await
    }

    /// The session with tokens that are good, and why it has none for the upstream, if that wants one. Rules are asked
    /// afterwards, since a renewal may change claims and end the session.
    async fn session(&self) -> Result<(Option<Visit>, Option<RenewalError>), Problem> {
        let (gateway, tenant) = (self.gateway, self.tenant);
        let cookies = Cookies::of(tenant, self.place);
        let Some(unverified) = cookies.unverified_session(self.request) else { return Ok((None, None)) };
        let passes_none = self.upstream.settings.pass == Pass::None;
        match passes_none.then(|| access::session_at_hand(gateway, tenant, unverified)).flatten() {
            Some(visit) => {
                renewal::renew_ahead(gateway, tenant, &visit.session);
                Ok((Some(visit), None))
            }
            None => Box::pin(self.session_by(&cookies)).await,
        }
    }

    /// The same, whatever must be asked for it.
    async fn session_by(&self, cookies: &Cookies<'_>) -> Result<(Option<Visit>, Option<RenewalError>), Problem> {
        let (gateway, tenant, settings) = (self.gateway, self.tenant, &self.upstream.settings);
        let Some(visit) = handlers::visit(gateway, tenant, cookies, self.request).await? else {
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
    fn head(&self, method: Method, upgrades: bool) -> Result<Head, Problem> {
        let host = self.upstream.settings.preserve_host.then(|| self.place.authority().to_owned());
        Ok(Head { method, target: self.target()?, host, upgrades })
    }

    /// The headers that it is asked with.
    fn headers(&self, permit: &Permit, upgrades: bool) -> HeaderMap {
        let (settings, identity) = (&self.upstream.settings, &self.tenant.settings.identity);
        let more = identity.headers.len() + MORE_HEADERS;
        let mut headers = scrub::request(self.request.headers(), &identity_headers::names(identity), more);
        let passes = settings.pass != Pass::None;
        if passes || permit.token().is_some() {
            headers.remove(header::AUTHORIZATION);
        }
        // What is empty is left out: nothing else can stand there. An upstream's own token goes before the tenant's.
        let known = identity_headers::of(self.tenant, permit, &self.gateway.clock)
            .filter(|(name, value)| !(value.is_empty() || passes && *name == header::AUTHORIZATION));
        headers.extend(known.map(|(name, value)| (name.clone(), value)));
        headers.extend(identity_headers::stale(permit.is_stale()).map(|(name, value)| (Some(name), value)));
        headers.extend(bearer_for(self.tenant, permit, settings).map(|bearer| (header::AUTHORIZATION, bearer)));
        let (scheme, authority) = self.place.origin.split_once("://").unwrap_or(("http", &self.place.origin));
        for (name, value) in [
            (&X_FORWARDED_FOR, HeaderValue::try_from(self.request.client().to_string())),
            (&X_FORWARDED_PROTO, HeaderValue::from_str(scheme)),
            (&X_FORWARDED_HOST, HeaderValue::from_str(authority)),
            (&REQUEST_ID, HeaderValue::from_str(self.request.id())),
        ] {
            value.map(|value| headers.insert(name, value)).ok();
        }
        if upgrades {
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        headers
    }

    /// Path and query as the application sees them.
    fn target(&self) -> Result<PathAndQuery, Problem> {
        let mut target = match &self.upstream.settings.rewrite {
            None => match self.request.target().filter(|target| target.path() == self.path.encoded()) {
                Some(target) => return Ok(target.clone()),
                None => self.path.encoded().to_owned(),
            },
            Some(other) => {
                let prefix = format!("{}{}", self.place.mount, self.upstream.settings.path);
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
    async fn join(&self, tunnel: Tunnel, permit: &Permit, answer: upstream::Answer) -> Result<Response, UpstreamError> {
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
        tunnel.join(stream, until, of_somebody);
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
    tenant: &'a Tenant,
    started: Instant,
    outcome: &'static str,
    status: &'static str,
}

impl<'a> Asked<'a> {
    fn new(metrics: &'a Metrics, tenant: &'a Tenant) -> Self {
        // Whoever hangs up lets nothing else be said of it.
        Self { metrics, tenant, started: Instant::now(), outcome: "cancelled", status: "none" }
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
        let waited = self.started.elapsed();
        if (self.outcome, self.status) == ("ok", "2xx") {
            return self.tenant.passages(self.metrics).asked(waited);
        }
        let labels = [self.metrics.tenant(self.tenant.id()), self.outcome, self.status];
        self.metrics.upstream_requests_total.with_label_values(&labels).inc();
        let waited = waited.as_secs_f64();
        self.metrics.upstream_request_duration_seconds.with_label_values(&[self.outcome]).observe(waited);
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
