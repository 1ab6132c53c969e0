//! The form for local accounts, and what it sends.
//!
//! Another site must neither send the form (a person would be signed in as somebody else without noticing) nor guess
//! with other people's browsers. So a form counts only if the browser says that our own page sent it, and if it brings a
//! sealed token of this tenant that belongs to the cookie set with it and is not too old.

use std::collections::BTreeMap;

use http::header::{ORIGIN, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use url::form_urlencoded;
use warp::reply::Response;

use super::handlers::{Answer, Scope};
use super::request::Request;
use super::{Problem, answers, pages};
use crate::clock::Timestamp;
use crate::flow::local_sign_in::{self, LocalSignIn, LocalSignInError};
use crate::gateway::Gateway;
use crate::local::LocalError;
use crate::pages::{LocalLogin, Page};
use crate::secret::{self, ExposeSecret as _};
use crate::tenant::{Place, Tenant};

/// Seconds that a form may stay open.
const FORM_LIFETIME: i64 = 3600;
/// Characters of what [`secret::random_text`] makes.
const NONCE_LEN: usize = 22;

/// Where the form is, for links to it; none where the tenant has no local accounts. Where the request wanted to go in the
/// end goes along, if it may.
pub(super) fn url(gateway: &Gateway, tenant: &Tenant, place: &Place, request: &Request) -> Option<String> {
    tenant.accounts.as_ref()?;
    let form = place.path("/login/local");
    let allowed = |unverified: &String| gateway.tenants.return_to(tenant, place, unverified).is_ok();
    let return_to = request.query_value("return_to").filter(allowed);
    Some(match return_to {
        Some(return_to) => {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("return_to", &return_to).finish();
            format!("{form}?{query}")
        }
        None => form,
    })
}

/// Answers a request to the form's route, at a tenant that has local accounts.
pub(super) async fn answer(scope: Scope<'_>) -> Answer {
    match *scope.request.method() {
        _ if scope.request.is_prefetch() => Ok(answers::empty(StatusCode::NO_CONTENT)),
        Method::GET | Method::HEAD => {
            let return_to = scope.request.query_value("return_to");
            if let Some(unverified) = &return_to {
                scope
                    .gateway
                    .tenants
                    .return_to(scope.tenant, scope.place, unverified)
                    .map_err(LocalSignInError::from)?;
            }
            Ok(form(&scope, StatusCode::OK, "", return_to.as_deref(), false))
        }
        Method::POST => submitted(scope).await,
        _ => Err(Problem::method_not_allowed("GET, HEAD, POST")),
    }
}

/// The form, empty or with what is wrong.
fn form(scope: &Scope<'_>, status: StatusCode, username: &str, return_to: Option<&str>, refused: bool) -> Response {
    // Several tabs share one cookie: a second form does not spoil the first.
    let known = scope.cookies.unverified_form(scope.request).filter(|nonce| nonce.len() == NONCE_LEN);
    let nonce = known.map_or_else(secret::random_text, str::to_owned);
    let token = form_token(scope.tenant, &nonce, scope.gateway.clock.now());
    let page = Page::LocalLogin(LocalLogin { form: &token, username, return_to, refused });
    let mut response = pages::page_with(scope.gateway, scope.request, scope.home(), status, &page);
    answers::add_cookies(&mut response, [scope.cookies.form(&nonce, FORM_LIFETIME)]);
    response
}

async fn submitted(scope: Scope<'_>) -> Answer {
    if !is_from_our_page(scope.request, scope.place) {
        return Err(Problem::new("form_foreign"));
    }
    let body = scope.request.form().await?;
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(body.as_bytes()).into_owned() {
        if fields.insert(name, value).is_some() {
            return Err(Problem::new("bad_parameter").detailed("a field of the form stands twice"));
        }
    }
    let nonce = scope.cookies.unverified_form(scope.request).unwrap_or_default();
    let token = fields.remove("form").unwrap_or_default();
    if !is_good_form(scope.tenant, nonce, &token, scope.gateway.clock.now()) {
        return Err(Problem::new("form_expired"));
    }
    let Some(accounts) = &scope.tenant.accounts else { return Err(Problem::not_found()) };
    let username = fields.remove("username").unwrap_or_default();
    let return_to = fields.remove("return_to");
    let request = LocalSignIn {
        unverified_name: &username,
        password: fields.remove("password").unwrap_or_default().into(),
        unverified_return_to: return_to.as_deref(),
        address: scope.request.client(),
        // A store that is down shows itself when the new session is stored.
        previous: scope.session().await.unwrap_or_default(),
        user_agent: scope.request.user_agent(),
    };
    match local_sign_in::sign_in(scope.gateway, scope.tenant, accounts, scope.place, request).await {
        Ok((cookie, return_to)) => {
            let mut response = answers::redirect(StatusCode::SEE_OTHER, return_to.as_str());
            let cookies = &scope.cookies;
            let marker = cookies.marker(scope.request, false);
            answers::add_cookies(
                &mut response,
                [cookies.session(cookie.expose_secret()), marker, cookies.remove_form()],
            );
            Ok(response)
        }
        Err(LocalSignInError::Local(LocalError::Refused)) if !scope.request.is_script() => {
            tracing::info!(code = "local_refused", "refused");
            let mut response = form(&scope, StatusCode::UNAUTHORIZED, &username, return_to.as_deref(), true);
            answers::set(&mut response, WWW_AUTHENTICATE, pages::SESSION_CHALLENGE);
            Ok(response)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the browser says that a page of this very origin sent the request; silence is a no.
fn is_from_our_page(request: &Request, place: &Place) -> bool {
    let site = request.header("sec-fetch-site").map(|site| site == "same-origin");
    let origin = request.header(ORIGIN).map(|origin| origin == place.origin);
    match (site, origin) {
        (None, None) => false,
        (site, origin) => site.unwrap_or(true) && origin.unwrap_or(true),
    }
}

/// When the form ends, sealed for this tenant and the cookie's `nonce`.
fn form_token(tenant: &Tenant, nonce: &str, now: Timestamp) -> String {
    secret::base64url(&tenant.seal_form(nonce.as_bytes(), &now.plus(FORM_LIFETIME).0.to_be_bytes()))
}

fn is_good_form(tenant: &Tenant, nonce: &str, unverified: &str, now: Timestamp) -> bool {
    let sealed = secret::from_base64url(unverified).unwrap_or_default();
    let until = tenant.open_form(nonce.as_bytes(), &sealed).and_then(|plain| plain.try_into().ok());
    !nonce.is_empty() && until.is_some_and(|until| now < Timestamp(i64::from_be_bytes(until)))
}
