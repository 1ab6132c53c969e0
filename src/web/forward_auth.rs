//! "May this request pass?", asked by a proxy about a request to an application: which tenant it asks, what the policy
//! says, and the answer in the form that the kind of proxy takes. Nothing is stored, no cookie is set, no provider is
//! called: whoever must sign in is told where.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::{StatusCode, header};
use tokio::time::Instant;
use url::form_urlencoded;
use warp::reply::Response;

use super::cookies::Cookies;
use super::original::{Asked, Flavour, Original, OriginalError};
use super::request::Request;
use super::{Problem, answers, bearer, handlers, identity_headers, pages};
use crate::flow::access::{self, Knock, Permit};
use crate::flow::{renewal, sign_in};
use crate::gateway::Gateway;
use crate::net::{Scheme, VisitorError, X_FORWARDED_FOR};
use crate::policy::{By, Verdict};
use crate::tenant::{Place, ReturnToError, Tenant};

/// What a proxy asks: whom, and in which way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'g> {
    /// The tenant; none if it cannot be told, and so nobody passes.
    pub(super) tenant: Option<&'g Arc<Tenant>>,
    flavour: Flavour,
}

/// Why nobody passes, whoever it is.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0} is not among trusted_proxies")]
    Peer(IpAddr),
    #[error("{0} does not let it pass")]
    Policy(String),
    #[error("the tenant cannot be told")]
    Tenant,
    #[error(transparent)]
    Visitor(#[from] VisitorError),
    #[error(transparent)]
    Original(#[from] OriginalError),
    #[error("{0} is another tenant's host")]
    OtherTenant(String),
    #[error("x-forwarded-for is missing, and there are rules on networks")]
    Client,
    #[error("it is asked about a path below /auth itself")]
    Itself,
    #[error("no setting says where people sign in who want to see {0}: set public_url, or hosts of the tenant")]
    NoPlace(String),
}

/// Why somebody who could sign in is not sent to do so.
#[derive(Debug, thiserror::Error)]
enum NoSignIn {
    #[error("the session's cookie of {place} does not reach {host}: set cookie_domain, or put lychgate on that host")]
    OutOfReach { place: String, host: String },
    #[error("return_to {reason}; return_to_origins must name {origin}")]
    Origin { origin: String, reason: ReturnToError },
    #[error("return_to {0}")]
    ReturnTo(ReturnToError),
}

/// How a request does not pass.
struct Denial {
    outcome: &'static str,
    problem: Problem,
    /// Where to sign in; only a browser that opens a page is told.
    sign_in: Option<String>,
    /// Where our pages are, if a person reads the answer.
    place: Option<Place>,
}

impl Denial {
    const fn new(outcome: &'static str, problem: Problem) -> Self {
        Self { outcome, problem, sign_in: None, place: None }
    }

    fn at(self, place: Place) -> Box<Self> {
        Box::new(Self { place: Some(place), ..self })
    }
}

impl From<Refused> for Box<Denial> {
    fn from(reason: Refused) -> Self {
        Self::new(Denial::new("refused", Problem::new("forward_auth_refused").because(reason)))
    }
}

/// What a proxy asks, if this is such a request. On a tenant's own host, the endpoints stand at the root or below the
/// tenant's prefix. On any other host they stand below `/<tenant>` and the prefix; else the application's host may be the
/// tenant's own and tells which tenant it is. Forwarding headers count only as far as the flavour reads them.
pub(super) fn find<'g>(gateway: &'g Gateway, request: &Request) -> Option<Question<'g>> {
    let mut found = None;
    let mut parts = splits(request.path()).peekable();
    parts.peek()?;
    let host_owner = match gateway.tenants.have_hosts() {
        true => request.asked_host(Scheme::Https).ok().and_then(|host| gateway.tenants.of_host(&host)),
        false => None,
    };
    for (base, flavour) in parts {
        let tenant = match host_owner {
            Some(tenant) => Some(tenant).filter(|tenant| tenant.settings.prefix == base),
            None => by_path(gateway, base).or_else(|| by_application(gateway, request, base, flavour)),
        };
        match tenant {
            Some(tenant) => return Some(Question { tenant: Some(tenant), flavour }),
            None if request.visitor().is_err() => found = Some(Question { tenant: None, flavour }),
            None => {}
        }
    }
    found
}

/// Whether a path may be one of our endpoints.
pub(super) fn may_be_asked(path: &str) -> bool {
    splits(path).next().is_some()
}

/// Every way to read a path as one of our endpoints: what stands before it, and its flavour.
fn splits(path: &str) -> impl Iterator<Item = (&str, Flavour)> {
    path.bytes().enumerate().filter(|(_, byte)| *byte == b'/').filter_map(|(at, _)| {
        let (base, route) = (&path[..at], path[at..].strip_prefix("/auth")?);
        let flavour = match route.strip_suffix('/').unwrap_or(route) {
            "" => Flavour::Nginx,
            "/traefik" | "/caddy" => Flavour::Forwarded,
            _ => {
                let below = route.strip_prefix("/envoy")?;
                (below.is_empty() || below.starts_with('/')).then_some(Flavour::Envoy(path.len() - below.len()))?
            }
        };
        Some((base, flavour))
    })
}

fn by_path<'g>(gateway: &'g Gateway, base: &str) -> Option<&'g Arc<Tenant>> {
    let rest = base.strip_prefix('/')?;
    let (id, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    gateway.tenants.get(id).filter(|tenant| tenant.settings.prefix == prefix)
}

/// The tenant of the application's host, as the proxy's headers tell it. Envoy keeps the host of the request itself, which
/// was looked at before; and its paths hold as many endpoints as somebody cares to write, too many to read each.
fn by_application<'g>(
    gateway: &'g Gateway,
    request: &Request,
    base: &str,
    flavour: Flavour,
) -> Option<&'g Arc<Tenant>> {
    if matches!(flavour, Flavour::Envoy(_)) || !request.is_from_trusted_proxy() {
        return None;
    }
    let original = read(request, flavour).ok()?;
    gateway.tenants.of_host(&original.host).filter(|tenant| tenant.settings.prefix == base)
}

fn read(request: &Request, flavour: Flavour) -> Result<Original<'_>, OriginalError> {
    match flavour {
        Flavour::Nginx => Original::of_nginx(request.headers()),
        Flavour::Forwarded => Original::of_forwarded(request.headers()),
        Flavour::Envoy(below) => {
            let path = &request.path()[below..];
            let asked = Asked { method: request.method().as_str(), path, query: request.query() };
            Original::of_envoy(request.headers(), asked, |scheme| request.asked_host(scheme))
        }
    }
}

/// The answer to a check that passes by what is in memory, as most do; nothing where somebody must be asked or told.
pub(super) fn at_once(gateway: &Gateway, request: &Request, began: Instant) -> Option<Response> {
    let question = find(gateway, request)?;
    let (tenant, original, place) = asked(gateway, request, question).ok()?;
    let address = client(request, tenant).ok()?;
    let token = bearer::token_at_hand(request.headers(), tenant).ok()?;
    let session = match Cookies::of(tenant, &place).unverified_session(request).filter(|_| token.is_none()) {
        Some(unverified) => Some(access::session_at_hand(gateway, tenant, unverified)?),
        None => None,
    };
    let knock = Knock { method: original.method, host: original.name(), path: &original.path, address, token, session };
    let permit = access::passes(gateway, tenant, knock)?;
    if permit.session().is_some_and(|session| renewal::is_due(gateway, session)) {
        return None;
    }
    let response = allowed(gateway, tenant, &permit);
    tenant.checks(&gateway.metrics).passed(began.elapsed());
    Some(response)
}

/// Answers a proxy.
pub(super) async fn answer(gateway: &Gateway, request: &Request, question: Question<'_>) -> Response {
    let tenant = question.tenant.map(Arc::as_ref);
    let (outcome, response) = match judge(gateway, request, question).await {
        Ok((tenant, permit)) => ("allowed", allowed(gateway, tenant, &permit)),
        Err(denial) => {
            pages::log(gateway, tenant, &denial.problem);
            (denial.outcome, denied(gateway, request, question, &denial))
        }
    };
    let label = tenant.map_or(crate::metrics::NO_TENANT, |tenant| gateway.metrics.tenant(tenant.id()));
    gateway.metrics.forward_auth_decisions_total.with_label_values(&[label, outcome]).inc();
    response
}

/// Whether the request that the proxy asks about may pass.
async fn judge<'g>(
    gateway: &Gateway,
    request: &Request,
    question: Question<'g>,
) -> Result<(&'g Tenant, Permit), Box<Denial>> {
    let (tenant, original, place) = asked(gateway, request, question)?;
    let cookies = Cookies::of(tenant, &place);
    let address = client(request, tenant)?;
    let token = match bearer::token(gateway, tenant, request.headers(), address).await {
        Ok(token) => token,
        Err(problem) => {
            let outcome = if problem.challenge.is_some() { "invalid_token" } else { "unavailable" };
            // nginx hands on no 429.
            let limited = question.flavour == Flavour::Nginx && problem.code == "rate_limited";
            let problem = if limited { Problem { code: "bearer_limited", ..problem } } else { problem };
            return Err(Denial::new(outcome, problem).at(place));
        }
    };
    let by_token = token.is_some();
    let session = match by_token {
        true => Ok(None),
        false => handlers::visit(gateway, tenant, &cookies, request).await,
    };
    let session = match session {
        Ok(Some(visit)) if tenant.settings.identity.has_tokens() => visit.with_tokens(gateway).await,
        visit => visit,
    };
    let session = match session {
        Ok(session) => session,
        Err(error) => return Err(Denial::new("unavailable", error.into()).at(place)),
    };
    let knock = Knock { method: original.method, host: original.name(), path: &original.path, address, token, session };
    let decision = match access::admit(gateway, tenant, knock) {
        Ok(permit) => return Ok((tenant, permit)),
        Err(decision) => decision,
    };
    if by_token {
        let reason = Refused::Policy(access::decider(tenant, decision.by));
        return Err(Denial::new("denied", bearer::refusal(tenant, &decision).because(reason)).at(place));
    }
    let mut denial = match decision.verdict {
        Verdict::SignIn => {
            let challenge = bearer::invitation(tenant).filter(|_| !request.is_navigation(original.method));
            Denial::new("sign_in", Problem { challenge, ..Problem::new("not_signed_in") })
        }
        Verdict::StepUp(_) => Denial::new("step_up", Problem::new("step_up_required")),
        _ => {
            let reason = Refused::Policy(access::decider(tenant, decision.by));
            return Err(Denial::new("denied", Problem::new("access_refused").because(reason)).at(place));
        }
    };
    if request.is_navigation(original.method) {
        match sign_in_url(gateway, tenant, &place, &cookies, &original, decision.by) {
            Ok(url) => denial.sign_in = Some(url),
            Err(reason) => denial = Denial::new("refused", Problem::new("forward_auth_refused").because(reason)),
        }
    }
    Err(denial.at(place))
}

/// The client's address. A proxy that does not tell is not the client: rules on networks would take it for one.
fn client(request: &Request, tenant: &Tenant) -> Result<IpAddr, Refused> {
    let address = request.visitor_address()?;
    let told = request.headers().contains_key(&X_FORWARDED_FOR);
    if !told && tenant.settings.policy.rules.iter().any(|rule| !rule.networks.is_empty()) {
        return Err(Refused::Client);
    }
    Ok(address)
}

/// Whom the proxy asks about what, and where people sign in for that.
fn asked<'g, 'r>(
    gateway: &Gateway,
    request: &'r Request,
    question: Question<'g>,
) -> Result<(&'g Tenant, Original<'r>, Place), Refused> {
    if !request.is_from_trusted_proxy() {
        return Err(Refused::Peer(request.peer()));
    }
    let tenant = question.tenant.ok_or(Refused::Tenant)?;
    let original = read(request, question.flavour)?;
    if gateway.tenants.of_host(&original.host).is_some_and(|owner| owner.id() != tenant.id()) {
        return Err(Refused::OtherTenant(original.host.into_owned()));
    }
    let place = gateway.tenants.sign_in_place(tenant, original.scheme, &original.host);
    let place = place.ok_or_else(|| Refused::NoPlace(original.host.to_string()))?;
    let below = original.path.as_str().strip_prefix(&place.base).and_then(|route| route.strip_prefix("/auth"));
    if place.authority() == original.host && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Err(Refused::Itself);
    }
    Ok((tenant, original, place))
}

/// The absolute URL of the sign-in that leads back to the very page.
fn sign_in_url(
    gateway: &Gateway,
    tenant: &Tenant,
    place: &Place,
    cookies: &Cookies<'_>,
    original: &Original<'_>,
    by: By,
) -> Result<String, NoSignIn> {
    if !cookies.reach(place, &original.host) {
        return Err(NoSignIn::OutOfReach { place: place.authority().to_owned(), host: original.host.to_string() });
    }
    // On our own origin a path is enough; where that is https, one that came by http comes back by https.
    let origin = match place.authority() == original.host {
        true => Cow::Borrowed(&place.origin),
        false => Cow::Owned(format!("{}://{}", original.scheme, original.host)),
    };
    let mut return_to = format!("{origin}{}", original.target());
    let mut checked = gateway.tenants.return_to(tenant, place, &return_to);
    if checked == Err(ReturnToError::TooLong) {
        return_to = format!("{origin}{}", original.path);
        checked = gateway.tenants.return_to(tenant, place, &return_to);
    }
    match checked {
        Ok(_) => {}
        Err(reason @ (ReturnToError::OriginNotAllowed | ReturnToError::OutsideTenant)) => {
            return Err(NoSignIn::Origin { origin: origin.into_owned(), reason });
        }
        Err(reason) => return Err(NoSignIn::ReturnTo(reason)),
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("return_to", &return_to);
    if let Some(rule) = sign_in::step_up(&tenant.settings.policy, by) {
        query.append_pair("step_up", &rule);
    }
    Ok(format!("{}?{}", place.url("/login"), query.finish()))
}

/// Exactly 200, with every identity header of the tenant and nothing else. Tokens that end soon are renewed meanwhile.
fn allowed(gateway: &Gateway, tenant: &Tenant, permit: &Permit) -> Response {
    if let Some(session) = permit.session() {
        renewal::renew_ahead(gateway, tenant, session);
    }
    let mut response = answers::empty(StatusCode::OK);
    // Names that are hashed once cost less than those that are hashed for each answer.
    let mut headers = tenant.passing_headers().clone();
    for ((name, value), (slot, field)) in identity_headers::of(tenant, permit, &gateway.clock).zip(headers.iter_mut()) {
        debug_assert_eq!(name, slot);
        *field = value;
    }
    *response.headers_mut() = headers;
    response
}

/// A page for a person who may not, else JSON; a redirect to the sign-in where the proxy hands it on. nginx hands on a status and no
/// redirect, which it makes itself of `Location`.
fn denied(gateway: &Gateway, request: &Request, question: Question<'_>, denial: &Denial) -> Response {
    let nginx = question.flavour == Flavour::Nginx;
    let unknown = denial.problem.presentation().0 == StatusCode::UNAUTHORIZED;
    match &denial.sign_in {
        Some(url) if nginx => {
            let mut response = pages::problem_json(request, &denial.problem);
            answers::set(&mut response, header::LOCATION, url);
            response
        }
        Some(url) => answers::redirect(StatusCode::FOUND, url),
        // A form that was posted is answered to a person, too; one that must be posted again has no use for a page.
        None => match (question.tenant, &denial.place) {
            (Some(tenant), Some(place)) if !nginx && !unknown && request.is_navigation("GET") => {
                pages::problem_page(gateway, request, Some((tenant, &place.from_elsewhere())), &denial.problem)
            }
            _ => pages::problem_json(request, &denial.problem),
        },
    }
}
