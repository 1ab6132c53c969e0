//! A tenant's routes. Those that end sessions other than by `/logout` are in `revocation`.

mod revocation;

mod tokens;

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::Value;
use url::form_urlencoded;
use warp::reply::Response;

use super::cookies::Cookies;
use super::pages::{self, Home};
use super::request::Request;
use super::{Problem, answers, local_login, reverse_proxy};
use crate::audit::Unwritten;
use crate::config::ResponseMode;
use crate::flow::access::{self, Visit};
use crate::flow::attempt::AttemptId;
use crate::flow::callback::{self, Callback, CallbackError, Finished};
use crate::flow::sign_in::{self, SignInRequest};
use crate::flow::sign_out;
use crate::gateway::{Act, Gateway, Work};
use crate::oidc::AuthorizationResponse;
use crate::pages::{Dashboard, Page, SessionEnd, SessionTimes};
use crate::request_path::RequestPath;
use crate::secret::ExposeSecret as _;
use crate::session::{ExpiryReason, Session, StoreError};
use crate::tenant::{Place, Tenant};

/// What a handler works with.
pub(super) struct Scope<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) request: &'a mut Request,
    pub(super) tenant: &'a Tenant,
    pub(super) place: &'a Place,
    pub(super) cookies: Cookies<'a>,
}

/// Routes, besides those of `revocation`, at which something begins, changes or ends that the audit log tells of.
const RECORDED: [&str; 7] = ["/login", "/login/local", "/signup", "/callback", "/session/refresh", "/token", "/logout"];

/// Routes that there are besides: they are read and nothing else.
const OTHERS: [&str; 4] = ["", "/dashboard", "/session", "/logged-out"];

/// Whether a route below a tenant's base may be one of ours; no other ever is.
pub(super) fn may_be_ours(route: &str) -> bool {
    let route = route.strip_suffix('/').unwrap_or(route);
    RECORDED.contains(&route) || OTHERS.contains(&route) || revocation::Route::of(route).is_some()
}

pub(super) type Answer = Result<Response, Problem>;

/// Answers a request to a tenant: the label of its route, and the response.
pub(super) async fn tenant(
    gateway: &Gateway,
    request: &mut Request,
    tenant: &Tenant,
    place: &Place,
    path: &RequestPath<'_>,
    route: Option<&str>,
) -> (&'static str, Response) {
    let method = request.method().clone();
    let cookies = Cookies::of(tenant, place);
    let scope = Scope { gateway, request: &mut *request, tenant, place, cookies };
    let reads = method == Method::GET || method == Method::HEAD;
    // Outside our routes' own prefix nothing but applications is found.
    let route = route.map_or("/elsewhere", |route| route.strip_suffix('/').unwrap_or(route));
    let revocation = revocation::Route::of(route);
    // Nothing begins or ends that could not be recorded.
    if (revocation.is_some() || RECORDED.contains(&route)) && gateway.audit.is_stuck() {
        let response = pages::problem(gateway, request, Some((tenant, place)), &Unwritten.into());
        return ("none", response);
    }
    if let Some(revocation) = revocation {
        let answer = revocation.answer(scope).await;
        let response =
            answer.unwrap_or_else(|problem| pages::problem(gateway, request, Some((tenant, place)), &problem));
        return (revocation.label(), response);
    }
    // What is seldom asked for is boxed, or every request would have its size.
    let (label, answer) = match (route, &method) {
        ("", _) if reads => ("index", index(scope).await),
        ("/login", &Method::GET) => ("login", Box::pin(login(scope, None)).await),
        ("/login/local", _) if tenant.accounts.is_some() => ("login_local", local_login::answer(scope).await),
        ("/signup", &Method::GET) => ("signup", login(scope, Some("signup")).await),
        ("/callback", &Method::GET | &Method::POST) => ("callback", Box::pin(counted_callback(scope)).await),
        ("/dashboard", _) if reads => ("dashboard", dashboard(scope).await),
        ("/session", _) if reads => ("session", tokens::session(scope).await),
        ("/session/refresh", &Method::POST) => ("session_refresh", tokens::refresh(scope).await),
        ("/token", &Method::GET) if tenant.settings.tokens.endpoint => ("token", tokens::token(scope).await),
        ("/logout", &Method::GET | &Method::POST) => ("logout", logout(scope).await),
        ("/logged-out", _) if reads => ("logged_out", Ok(scope.page(&Page::LoggedOut))),
        ("/session/refresh", _) => ("session_refresh", Err(Problem::method_not_allowed("POST"))),
        ("/token", _) if tenant.settings.tokens.endpoint => ("token", Err(Problem::method_not_allowed("GET"))),
        ("/callback", _) => ("callback", Err(Problem::method_not_allowed(callback_methods(tenant)))),
        ("/logout", _) => ("logout", Err(Problem::method_not_allowed("GET, POST"))),
        ("/login", _) => ("login", Err(Problem::method_not_allowed("GET"))),
        ("/signup", _) => ("signup", Err(Problem::method_not_allowed("GET"))),
        (route, _) if OTHERS.contains(&route) => ("none", Err(Problem::method_not_allowed("GET, HEAD"))),
        _ => {
            let rest = scope.request.take_rest();
            reverse_proxy::answer(gateway, scope.request, rest, tenant, place, path).await
        }
    };
    let response = answer.unwrap_or_else(|problem| pages::problem(gateway, request, Some((tenant, place)), &problem));
    (label, response)
}

impl<'a> Scope<'a> {
    pub(super) fn home(&self) -> Home<'a> {
        (self.tenant, self.place)
    }

    fn page(&self, page: &Page<'_>) -> Response {
        pages::page(self.gateway, self.request, self.home(), page)
    }

    /// The session of this browser at this tenant.
    pub(super) async fn session(&self) -> Result<Option<Arc<Session>>, StoreError> {
        let visit = visit(self.gateway, self.tenant, &self.cookies, self.request).await?;
        Ok(visit.map(|visit| visit.session))
    }
}

/// The session that a request's cookie opens at `tenant`. The answer tells if nobody could ask the store about it.
pub(super) async fn visit(
    gateway: &Gateway,
    tenant: &Tenant,
    cookies: &Cookies<'_>,
    request: &Request,
) -> Result<Option<Visit>, StoreError> {
    let Some(unverified) = cookies.unverified_session(request) else { return Ok(None) };
    let found = access::session(gateway, tenant, unverified).await?;
    if found.as_ref().is_some_and(|found| found.is_stale) {
        request.mark_stale();
    }
    Ok(found.map(Visit::from))
}

/// The first page; whoever is signed in goes on to the dashboard.
async fn index(scope: Scope<'_>) -> Answer {
    Ok(match scope.session().await? {
        Some(_) => answers::redirect(StatusCode::FOUND, &scope.place.path("/dashboard")),
        None => scope.page(&Page::Index),
    })
}

/// Starts a sign-in.
async fn login(scope: Scope<'_>, screen_hint: Option<&str>) -> Answer {
    if scope.request.is_prefetch() {
        return Ok(answers::empty(StatusCode::NO_CONTENT));
    }
    scope.gateway.count(scope.tenant, Act::SignIn, scope.request.client())?;
    let _pass = scope.gateway.begin(Work::SignIn).await?;
    let mut request = sign_in_request(scope.request, screen_hint)?;
    if request.unverified_return_to.is_some() && scope.session().await?.is_none() {
        refuse_loop(&scope)?;
    }
    let cross_site = scope.tenant.settings.sign_in.response_mode == ResponseMode::FormPost;
    if cross_site {
        // A store that is down lets the session of before go on to its own end.
        request.previous = scope.session().await.unwrap_or_default().map(|session| session.handle());
    }
    let started = sign_in::start(scope.gateway, scope.tenant, scope.place, &request).await?;
    let mut response = answers::redirect(StatusCode::FOUND, started.location.as_str());
    answers::add_cookies(&mut response, scope.cookies.make_room(scope.request));
    answers::add_cookies(&mut response, [scope.cookies.attempt(&started.id, &started.sealed, cross_site)]);
    Ok(response)
}

fn sign_in_request(request: &Request, screen_hint: Option<&str>) -> Result<SignInRequest, Problem> {
    let mut wanted = SignInRequest::default();
    let mut target_link_uri = None;
    for (name, value) in request.query_pairs() {
        let once = match name.as_str() {
            "return_to" => &mut wanted.unverified_return_to,
            "target_link_uri" => &mut target_link_uri,
            "iss" => &mut wanted.unverified_iss,
            "step_up" => &mut wanted.unverified_step_up,
            "screen_hint" if screen_hint.is_some() => continue,
            _ => {
                wanted.unverified_params.push((name, value));
                continue;
            }
        };
        if once.replace(value).is_some() {
            return Err(Problem::new("bad_parameter").detailed(format!("{name} stands twice")));
        }
    }
    wanted.unverified_return_to = wanted.unverified_return_to.or(target_link_uri);
    wanted.unverified_params.extend(screen_hint.map(|hint| ("screen_hint".to_owned(), hint.to_owned())));
    Ok(wanted)
}

/// Sign-ins in a row, none of whose sessions were there afterwards, before we send nobody to another.
const MAX_SIGN_INS: u8 = 3;

/// For somebody without a session: whoever has just signed in and comes back without the cookie would be sent round for
/// ever. A cookie whose session has ended since leads to a sign-in, unless that helps nobody: the store may lose all that
/// it is given, or the browser keep an old cookie.
fn refuse_loop(scope: &Scope<'_>) -> Result<(), Problem> {
    let returned = scope.cookies.unverified_session(scope.request).is_some();
    match scope.cookies.marked(scope.request) {
        0 => Ok(()),
        count if returned && count < MAX_SIGN_INS => Ok(()),
        _ => Err(Problem::new("cookie_not_returned")),
    }
}

/// What the callback answers to: where answers are posted, a GET is that of somebody who comes back.
fn callback_methods(tenant: &Tenant) -> &'static str {
    match tenant.settings.sign_in.response_mode {
        ResponseMode::Query => "GET",
        ResponseMode::FormPost => "GET, POST",
    }
}

/// Finishes a sign-in, unless too many of the client's came to nothing. What the provider or the store is to blame for
/// is no failure of theirs.
async fn counted_callback(scope: Scope<'_>) -> Answer {
    let (gateway, tenant, address) = (scope.gateway, scope.tenant, scope.request.client());
    gateway.may_try(tenant, Act::FailedCallback, address)?;
    let _pass = gateway.begin(Work::Callback).await?;
    let answer = callback(scope).await;
    let status = answer.as_ref().map_or_else(|problem| problem.presentation().0, Response::status);
    if status.is_client_error() {
        gateway.count_failure(tenant, Act::FailedCallback, address);
    }
    answer
}

/// Finishes a sign-in. The answer counts only where it was asked to be: in the query, or in a form.
async fn callback(scope: Scope<'_>) -> Answer {
    let raw = match (scope.request.method(), scope.tenant.settings.sign_in.response_mode) {
        (&Method::POST, ResponseMode::FormPost) => scope.request.form().await?,
        (&Method::POST, ResponseMode::Query) => {
            return Err(Problem::method_not_allowed(callback_methods(scope.tenant)));
        }
        (_, ResponseMode::FormPost) => String::new(),
        (_, ResponseMode::Query) => scope.request.query().to_owned(),
    };
    if let Some(code) = stale_code(scope.request) {
        return stale(&scope, Problem::new(code)).await;
    }
    let response = AuthorizationResponse::parse(&raw);
    let id = response.as_ref().ok().and_then(|response| AttemptId::parse(&response.unverified_state));
    let callback = Callback {
        response,
        unverified_attempt: id.as_ref().and_then(|id| scope.cookies.unverified_attempt(scope.request, id)),
        // A store that is down shows itself when the attempt is used.
        previous: scope.session().await.unwrap_or_default(),
        user_agent: scope.request.user_agent(),
        address: Some(scope.request.client()),
    };
    let has_attempt = callback.unverified_attempt.is_some();
    let finished = callback::finish(scope.gateway, scope.tenant, scope.place, callback).await;
    let keeps_attempt =
        matches!(&finished, Err(CallbackError::CookieMissing | CallbackError::CookieForeign | CallbackError::Store(_)));
    let used_up = id.filter(|_| has_attempt && !keeps_attempt).map(|id| scope.cookies.remove_attempt(&id));
    let mut response = match finished {
        Ok(Finished::SignedIn { cookie, return_to }) => {
            let mut response = answers::redirect(StatusCode::SEE_OTHER, &return_to);
            let marker = scope.cookies.marker(scope.request, *scope.request.method() == Method::POST);
            answers::add_cookies(&mut response, [scope.cookies.session(cookie.expose_secret()), marker]);
            response
        }
        Ok(Finished::Guest { return_to }) => answers::redirect(StatusCode::SEE_OTHER, &return_to),
        Err(error) if error.is_stale() => stale(&scope, error.into()).await?,
        Err(error) => pages::problem(scope.gateway, scope.request, Some(scope.home()), &error.into()),
    };
    answers::add_cookies(&mut response, used_up);
    Ok(response)
}

/// The codes that a POST hands on to a GET, which alone sees the session's cookie.
const STALE_CODES: [&str; 5] = ["cookie_missing", "state_foreign", "sign_in_expired", "sign_in_used", "state_missing"];

fn stale_code(request: &Request) -> Option<&'static str> {
    if request.method() != Method::GET {
        return None;
    }
    let code = request.query().strip_prefix("stale=")?;
    STALE_CODES.into_iter().find(|known| *known == code)
}

/// A callback of the past: whoever is signed in goes to the dashboard, everybody else reads what is wrong.
async fn stale(scope: &Scope<'_>, problem: Problem) -> Answer {
    if scope.request.method() == Method::POST {
        let again = format!("{}?stale={}", scope.place.path("/callback"), problem.code);
        return Ok(answers::redirect(StatusCode::SEE_OTHER, &again));
    }
    match scope.session().await? {
        Some(_) => Ok(answers::redirect(StatusCode::SEE_OTHER, &scope.place.path("/dashboard"))),
        None => Err(problem),
    }
}

/// Who is signed in.
async fn dashboard(scope: Scope<'_>) -> Answer {
    let Some(session) = scope.session().await? else {
        if scope.request.is_script() {
            return Err(Problem::new("not_signed_in"));
        }
        refuse_loop(&scope)?;
        let back = scope.place.path("/dashboard");
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("return_to", &back).finish();
        return Ok(answers::redirect(StatusCode::FOUND, &format!("{}?{query}", scope.place.path("/login"))));
    };
    let own = revocation::listed(&scope, &session).await;
    let claims = session.claims().to_map();
    let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let page = Page::Dashboard(Dashboard {
        name: text("name").or_else(|| text("nickname")).or_else(|| text("email")).unwrap_or_else(|| session.sub()),
        email: text("email"),
        picture: text("picture").filter(|picture| picture.starts_with("https://")),
        claims: &claims,
        local: session.is_local,
        session: times(&session, scope.tenant),
        sessions: &own,
    });
    Ok(scope.page(&page))
}

fn times(session: &Session, tenant: &Tenant) -> SessionTimes {
    let idle_end = session.idle_expires_at(&tenant.settings.session);
    let ends = match session.expires_because {
        _ if idle_end < session.expires_at => SessionEnd::Idle,
        ExpiryReason::AbsoluteLimit => SessionEnd::Absolute,
        ExpiryReason::SessionExpiry => SessionEnd::Provider,
    };
    SessionTimes { created: session.created_at, idle_end, absolute_end: session.expires_at, ends }
}

/// Ends the session. A request that another site caused is confirmed first.
async fn logout(scope: Scope<'_>) -> Answer {
    if scope.request.is_prefetch() {
        return Ok(answers::empty(StatusCode::NO_CONTENT));
    }
    if scope.request.is_cross_site(&scope.place.origin) {
        return Ok(scope.page(&Page::ConfirmLogout));
    }
    let session = scope.session().await?;
    let location = sign_out::sign_out(scope.gateway, scope.tenant, scope.place, session.as_ref()).await?;
    let status = if scope.request.method() == Method::POST { StatusCode::SEE_OTHER } else { StatusCode::FOUND };
    let mut response = answers::redirect(status, &location);
    answers::add_cookies(&mut response, scope.cookies.remove_all(scope.request));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::may_be_ours;

    #[test]
    fn every_route_of_ours_is_told_from_an_applications_path() {
        let acting = ["/login", "/login/local", "/signup", "/callback", "/logout", "/session/refresh", "/token"];
        let ending =
            ["/backchannel-logout", "/frontchannel-logout", "/sessions/revoke", "/sessions/abc/revoke", "/disconnect"];
        for route in acting.into_iter().chain(ending).chain(["", "/dashboard", "/session", "/logged-out"]) {
            assert!(may_be_ours(route) && may_be_ours(&format!("{route}/")), "{route}");
        }
        for path in ["/api", "/logins", "/login/x", "/sessions", "/dashboard/x"] {
            assert!(!may_be_ours(path), "{path}");
        }
    }
}
