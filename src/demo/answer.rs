//! What goes out: JSON, pages, redirects, and an endpoint's answers in trouble.

use std::fmt::Display;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use warp::Reply as _;

use super::fault::Trouble;

/// What a handler answers.
pub(super) type Answer = warp::reply::Response;

/// An empty answer.
pub(super) fn empty(status: StatusCode) -> Answer {
    with(status, "text/plain; charset=utf-8", Bytes::new())
}

/// JSON that nobody stores.
pub(super) fn json(status: StatusCode, body: &Value) -> Answer {
    with(status, "application/json", body.to_string())
}

/// An error as RFC 6749, section 5.2, writes it.
pub(super) fn error(status: StatusCode, error: &str, description: &str) -> Answer {
    json(status, &json!({ "error": error, "error_description": description }))
}

/// A page under a Content-Security-Policy.
pub(super) fn page(status: StatusCode, html: String, policy: &str) -> Answer {
    let mut answer = with(status, "text/html; charset=utf-8", html);
    set(&mut answer, HeaderName::from_static("content-security-policy"), policy);
    set(&mut answer, HeaderName::from_static("x-content-type-options"), "nosniff");
    answer
}

/// 302 to `location`.
pub(super) fn redirect(location: &str) -> Answer {
    let mut answer = empty(StatusCode::FOUND);
    set(&mut answer, LOCATION, location);
    answer
}

/// The answer with a cookie; without a value the cookie is deleted.
pub(super) fn with_cookie(mut answer: Answer, name: &str, value: Option<&str>) -> Answer {
    let age = if value.is_some() { "" } else { "; Max-Age=0" };
    let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Lax{age}", value.unwrap_or_default());
    set(&mut answer, SET_COOKIE, &cookie);
    answer
}

/// Sets a header.
pub(super) fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    // A value that no header can hold came from a parameter; it must not take the provider down.
    let value = HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(""));
    answer.headers_mut().insert(name, value);
}

/// What an endpoint in trouble answers; `None`: what it would answer anyway.
pub(super) fn in_trouble(trouble: Trouble, url: &str) -> Option<Answer> {
    Some(match trouble {
        Trouble::Slow(_) => return None,
        Trouble::Cut => cut(),
        Trouble::Status500 => error(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "ordered by a test"),
        Trouble::Status429 => too_many(),
        Trouble::Html => {
            with(StatusCode::OK, "text/html; charset=utf-8", "<!doctype html><title>Maintenance</title><p>Soon back.")
        }
        Trouble::Huge => json(StatusCode::OK, &json!({ "padding": "x".repeat(10 * 1024 * 1024) })),
        Trouble::Redirect => redirect(&format!("{url}?followed")),
    })
}

fn cut() -> Answer {
    let half = stream::once(async { Ok(Bytes::from_static(b"{\"issuer\":\"http")) });
    let end = stream::once(async {
        // The half must be on its way before the connection ends.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut, as ordered"))
    });
    let mut answer = warp::reply::stream(half.chain(end)).into_response();
    set(&mut answer, CONTENT_TYPE, "application/json");
    answer
}

fn too_many() -> Answer {
    let mut answer = error(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Global limit has been reached");
    set(&mut answer, RETRY_AFTER, "7");
    for (name, value) in [("x-ratelimit-limit", 10), ("x-ratelimit-remaining", 0), ("x-ratelimit-reset", 7)] {
        set(&mut answer, HeaderName::from_static(name), &value.to_string());
    }
    answer
}

fn with(status: StatusCode, media_type: &str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Answer::new(body.into().into());
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, media_type);
    set(&mut answer, CACHE_CONTROL, "no-store");
    answer
}

/// `url` with one more parameter in its query.
pub(super) fn add_param(url: &mut String, name: &str, value: impl Display) {
    url.push(if url.contains('?') { '&' } else { '?' });
    let value = value.to_string();
    url.push_str(&url::form_urlencoded::Serializer::new(String::new()).append_pair(name, &value).finish());
}
