//! Pages as responses: whose look they have, their security policy, and problems as a page or as JSON.

use http::StatusCode;
use http::header::{self, HeaderName};
use serde_json::json;
use url::Url;
use warp::reply::Response;

use super::request::Request;
use super::{Problem, answers, bearer, local_login};
use crate::gateway::Gateway;
use crate::pages::{ErrorPage, Frame, LandingTenant, Page};
use crate::tenant::{Place, Tenant};

/// A tenant and where the request found it.
pub(super) type Home<'a> = (&'a Tenant, &'a Place);

/// The media type of RFC 9457.
const PROBLEM_JSON: &str = "application/problem+json";

/// RFC 9110, section 11.6.1, demands a challenge with a 401; browsers know no scheme of this name and stay quiet.
pub(super) const SESSION_CHALLENGE: &str = "Session realm=\"lychgate\"";

/// What people read while there is too much to do.
const OVERLOADED: &str =
    "There is more to do here than can be done at the moment. Please try again in a few seconds.\n";

/// A tenant's page.
pub(super) fn page(gateway: &Gateway, request: &Request, home: Home<'_>, page: &Page<'_>) -> Response {
    page_with(gateway, request, home, StatusCode::OK, page)
}

/// A tenant's page with another status.
pub(super) fn page_with(
    gateway: &Gateway,
    request: &Request,
    home: Home<'_>,
    status: StatusCode,
    page: &Page<'_>,
) -> Response {
    render(gateway, request, Some(home), status, page)
}

/// What this is, and which tenants there are if that is no secret.
pub(super) fn landing(gateway: &Gateway, request: &Request) -> Response {
    let listed: Vec<(&Tenant, String)> = match gateway.list_tenants {
        true => gateway
            .tenants
            .iter()
            .map(|tenant| (&**tenant, format!("/{}{}", tenant.id(), tenant.settings.prefix)))
            .collect(),
        false => Vec::new(),
    };
    let tenants = listed.iter().map(|(tenant, base)| LandingTenant {
        id: tenant.id().as_str(),
        display_name: tenant.settings.look.display_name.as_deref(),
        base,
    });
    render(gateway, request, None, StatusCode::OK, &Page::Landing { tenants: tenants.collect() })
}

/// A problem, logged once with its cause: as a page, or as JSON for scripts.
pub(super) fn problem(gateway: &Gateway, request: &Request, home: Option<Home<'_>>, problem: &Problem) -> Response {
    log(gateway, home.map(|(tenant, _)| tenant), problem);
    match request.is_script() {
        true => {
            let mut response = problem_json(request, problem);
            let unknown = response.status() == StatusCode::UNAUTHORIZED && problem.challenge.is_none();
            if let Some(challenge) = home.filter(|_| unknown).and_then(|(tenant, _)| bearer::invitation(tenant)) {
                answers::set(&mut response, header::WWW_AUTHENTICATE, &challenge);
            }
            response
        }
        false => problem_page(gateway, request, home, problem),
    }
}

/// Logs a problem with its whole cause; one that is somebody's doing goes to the audit log as well.
pub(super) fn log(gateway: &Gateway, tenant: Option<&Tenant>, problem: &Problem) {
    if let Some(event) = problem.event() {
        gateway.audit.record(match tenant {
            Some(tenant) => event.tenant(tenant.id()),
            None => event,
        });
    }
    let (code, cause) = (problem.code, problem.chain().map(tracing::field::display));
    if problem.is_of_overload() {
        // It is counted; a line for each would make it worse.
        tracing::debug!(code, cause, "refused");
    } else if problem.presentation().0.is_server_error() {
        tracing::error!(code, cause, "refused");
    } else {
        tracing::info!(code, cause, "refused");
    }
}

/// A problem as JSON (RFC 9457).
pub(super) fn problem_json(request: &Request, problem: &Problem) -> Response {
    let (status, _) = problem.presentation();
    let mut document = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "code": problem.code,
        "request_id": request.id(),
    });
    if let Some(detail) = problem.detail.as_ref().or(problem.provider_said.as_ref()) {
        document["detail"] = json!(detail);
    }
    let mut response = answers::json(status, PROBLEM_JSON, &document);
    add_headers(&mut response, problem);
    response
}

/// A problem as a page.
pub(super) fn problem_page(
    gateway: &Gateway,
    request: &Request,
    home: Option<Home<'_>>,
    problem: &Problem,
) -> Response {
    let (status, text) = problem.presentation();
    if problem.is_of_overload() {
        // To make a page would take longer than what was refused.
        let mut response = answers::text(status, OVERLOADED);
        add_headers(&mut response, problem);
        return response;
    }
    let (detail, provider_said) = (problem.detail.as_deref(), problem.provider_said.as_deref());
    let page = ErrorPage { status: status.as_u16(), text, code: problem.code, detail, provider_said };
    let mut response = render(gateway, request, home, status, &Page::Error(page));
    add_headers(&mut response, problem);
    response
}

fn add_headers(response: &mut Response, problem: &Problem) {
    if let Some(allow) = problem.allow {
        answers::set(response, header::ALLOW, allow);
    }
    if let Some(wait) = problem.retry_after {
        answers::set(response, header::RETRY_AFTER, &wait.as_secs().max(1).to_string());
    }
    if let Some(challenge) = &problem.challenge {
        answers::set(response, header::WWW_AUTHENTICATE, challenge);
    } else if problem.presentation().0 == StatusCode::UNAUTHORIZED {
        answers::set(response, header::WWW_AUTHENTICATE, SESSION_CHALLENGE);
    }
}

fn render(
    gateway: &Gateway,
    request: &Request,
    home: Option<Home<'_>>,
    status: StatusCode,
    page: &Page<'_>,
) -> Response {
    let look = home.map(|(tenant, _)| &tenant.settings.look);
    let local = home.and_then(|(tenant, place)| local_login::url(gateway, tenant, place, request));
    let frame = Frame {
        tenant: home.map(|(tenant, _)| tenant.id()),
        display_name: look.and_then(|look| look.display_name.as_deref()),
        logo: look.and_then(|look| look.logo.as_deref()),
        accent: look.and_then(|look| look.accent_color).map(|color| color.0),
        support_url: look.and_then(|look| look.support_url.as_ref()).map(Url::as_str),
        base: home.map_or("", |(_, place)| &place.base),
        assets: home.map_or("/assets", |(_, place)| &place.assets),
        local: local.as_deref(),
        locale: request.locale(),
        request_id: request.id(),
    };
    match gateway.pages.render(&frame, page) {
        Ok(html) => {
            let mut response = answers::with_type(status, "text/html; charset=utf-8", html.into());
            answers::set(&mut response, header::CONTENT_SECURITY_POLICY, &policy(home));
            answers::set(&mut response, header::CONTENT_LANGUAGE, frame.locale.as_str());
            // Who opened the window of a page has no hold on it. Redirects leave it, for applications that sign in so.
            answers::set(&mut response, HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
            response
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            answers::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "This page could not be made. Please tell whoever runs this site.\n",
            )
        }
    }
}

/// No script, no inline style. Forms lead to us and, since Chromium applies the rule to redirects as well, to where our
/// answers to them redirect.
fn policy(home: Option<Home<'_>>) -> String {
    let mut policy = "default-src 'none'; style-src 'self'; img-src 'self' https:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'".to_owned();
    if let Some((_, place)) = home.filter(|(_, place)| !place.assets.starts_with('/')) {
        // A page that a proxy shows on an application's host.
        policy = policy.replace("style-src 'self'", &format!("style-src {}", place.origin));
        policy = policy.replace("img-src 'self'", &format!("img-src {}", place.origin));
    }
    if let Some((tenant, _)) = home {
        let settings = &tenant.settings;
        let after = settings.sign_out.post_logout_redirect.as_ref().map(|url| url.origin().ascii_serialization());
        let landing = settings.sign_in.login_redirect.as_ref().and_then(|to| Url::parse(to).ok());
        let landing = landing.map(|url| url.origin().ascii_serialization());
        let back = settings.sign_in.return_to_origins.iter().map(ToString::to_string);
        for origin in tenant.provider.origins().into_iter().chain(after).chain(landing).chain(back) {
            policy.push(' ');
            policy.push_str(&origin);
        }
    }
    policy
}
