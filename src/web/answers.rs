//! Responses that are no pages, and what every response of our own carries.

use http::header::{self, HeaderName};
use http::{HeaderValue, StatusCode};
use serde_json::Value;
use warp::reply::Response;

use super::identity_headers;
use super::request::Request;
use crate::gateway::Gateway;

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// An empty answer.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// A short text.
pub(super) fn text(status: StatusCode, text: &'static str) -> Response {
    with_type(status, "text/plain; charset=utf-8", text.into())
}

/// A JSON document.
pub(super) fn json(status: StatusCode, content_type: &'static str, value: &Value) -> Response {
    with_type(status, content_type, value.to_string().into())
}

/// A body of this type, which no other site may embed.
pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: bytes::Bytes) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    // As many as a page has: a map that grows is built anew.
    response.headers_mut().reserve(12);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// Lets other sites embed it.
pub(super) fn share(response: &mut Response) {
    response.headers_mut().insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
}

/// A redirect: 302, or 303 after a form was posted.
pub(super) fn redirect(status: StatusCode, location: &str) -> Response {
    let mut response = empty(status);
    set(&mut response, header::LOCATION, location);
    response
}

/// Sets a header; a value that no header may hold is left out.
pub(super) fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Adds cookies.
pub(super) fn add_cookies(response: &mut Response, cookies: impl IntoIterator<Item = String>) {
    for cookie in cookies {
        if let Ok(mut value) = HeaderValue::from_str(&cookie) {
            value.set_sensitive(true);
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
}

/// One of our own files, whose name holds a hash of what is in it.
pub(super) fn asset(gateway: &Gateway, request: &Request, file: &str) -> Response {
    match gateway.pages.asset(file) {
        Some(asset) if request.is_read() => {
            let mut response = with_type(StatusCode::OK, asset.content_type, asset.bytes);
            let for_ever = HeaderValue::from_static("public, max-age=31536000, immutable");
            response.headers_mut().insert(header::CACHE_CONTROL, for_ever);
            // A page of ours that a proxy shows on an application's host has our style sheet.
            share(&mut response);
            response
        }
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// What every response of our own carries: that nothing of it is kept, guessed or framed, and whether it may be of a
/// session that has ended elsewhere.
pub(super) fn finish(response: &mut Response, request: &Request, gateway: &Gateway) {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = headers.get(header::CONTENT_SECURITY_POLICY).and_then(|policy| policy.to_str().ok());
    if policy.is_none_or(|policy| policy.contains("frame-ancestors 'none'")) {
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if request.visitor().is_ok_and(|visitor| gateway.tenants.is_https(visitor)) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    headers.extend(identity_headers::stale(request.is_stale()));
    let cookies: usize = headers.get_all(header::SET_COOKIE).iter().map(HeaderValue::len).sum();
    if cookies > 0 {
        gateway.metrics.set_cookie_size_bytes.observe(cookies as f64);
    }
}
