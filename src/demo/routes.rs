//! The URL map, and what is common to all endpoints: the record of requests, and troubles on order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::DATE;
use http::{Method, StatusCode};
use warp::{Filter as _, Rejection};

use super::answer::{self, Answer};
use super::call::Call;
use super::fault::{Endpoint, Fault, Place, Trouble};
use super::serve::Route;
use super::{Shared, authorize, discovery, pages, sign_in, sign_out, token, userinfo};

/// Bytes of a form.
const MAX_BODY: u64 = 256 * 1024;

/// All routes of a provider.
pub(super) fn route(shared: &Arc<Shared>) -> Route {
    let shared = Arc::clone(shared);
    let body = warp::post().and(warp::body::content_length_limit(MAX_BODY)).and(warp::body::bytes());
    let body = warp::get().map(Bytes::new).or(body).unify();
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(body)
        .map(|method, path, query: String, headers, body| Call::new(method, &path, &query, headers, &body))
        .then(move |call: Call| {
            let shared = Arc::clone(&shared);
            async move {
                let mut answer = answer(&shared, &call).await;
                // Its own time, which a test may have moved.
                let now = UNIX_EPOCH + Duration::from_secs(shared.now().0.unsigned_abs());
                answer::set(&mut answer, DATE, &httpdate::fmt_http_date(now));
                answer
            }
        })
        .recover(unreadable)
        .unify()
        .boxed()
}

/// Answers a request that is neither GET nor POST or has too large a body.
async fn unreadable(_: Rejection) -> Result<Answer, Infallible> {
    Ok(answer::error(StatusCode::BAD_REQUEST, "invalid_request", "only GET and POST, with a small body"))
}

async fn answer(shared: &Shared, call: &Call) -> Answer {
    shared.remember(call.record());
    let _refreshing = (call.form.get("grant_type") == Some("refresh_token")).then(|| shared.refreshes.begin());
    if let Some(endpoint) = Endpoint::at(&call.path) {
        for fault in shared.faults(Place::Endpoint(endpoint)) {
            let Fault::At(_, trouble) = fault else { continue };
            if let Trouble::Slow(time) = trouble {
                tokio::time::sleep(time).await;
            } else if let Some(answer) = answer::in_trouble(trouble, &shared.url(&call.path)) {
                return answer;
            }
        }
    }
    let get = call.method == Method::GET;
    match call.path.as_str() {
        "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server" if get => {
            discovery::metadata(shared)
        }
        "/.well-known/jwks.json" if get => discovery::jwks(shared),
        "/authorize" => authorize::authorize(shared, call),
        "/u/login" if get => sign_in::sign_in_page(shared, call),
        "/u/login" => sign_in::sign_in(shared, call),
        "/u/signup" if get => sign_in::sign_up_page(shared, call),
        "/u/signup" => sign_in::sign_up(shared, call),
        "/oauth/token" if !get => token::token(shared, call),
        "/oauth/par" if !get => authorize::push(shared, call),
        "/oauth/revoke" if !get => token::revoke(shared, call),
        "/userinfo" => userinfo::userinfo(shared, call),
        "/v2/logout" if get => sign_out::v2_logout(shared, call),
        "/oidc/logout" => sign_out::oidc_logout(shared, call),
        "/" if get => pages::home(shared),
        _ => pages::failure(shared, StatusCode::NOT_FOUND, "There is no such page here."),
    }
}
