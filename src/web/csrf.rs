//! Whether a request that a browser's cookie speaks for was made by our own pages, or by somebody else's.

use http::Method;
use url::Url;

use super::request::Request;
use crate::tenant::{Place, Tenant};

/// Whether a method may change something (RFC 9110, section 9.2.1).
pub(super) fn changes_something(method: &Method) -> bool {
    !method.is_safe()
}

/// Whether a request that changes something came from an origin that may: `Sec-Fetch-Site` and `Origin` are set by the
/// browser, no page can forge them. A request with neither is not believed.
pub(super) fn is_own(request: &Request, tenant: &Tenant, place: &Place) -> bool {
    let origin = match request.count("origin") {
        0 => None,
        _ => Some(request.header("origin").is_some_and(|origin| is_known(origin, tenant, place))),
    };
    let site = match request.count("sec-fetch-site") {
        0 => None,
        _ => Some(request.header("sec-fetch-site").unwrap_or_default()),
    };
    match (site, origin) {
        (_, Some(false)) | (None, None) => false,
        (Some("same-origin" | "none"), _) | (None, Some(true)) => true,
        (Some("same-site"), origin) => origin.is_some(),
        (Some(_), _) => false,
    }
}

/// Whether a WebSocket is opened by a page that may: browsers always name the page's origin (RFC 6455, section 4.1), and
/// where a session speaks for the request it is a browser's.
pub(super) fn may_open_tunnel(request: &Request, tenant: &Tenant, place: &Place, by_session: bool) -> bool {
    match request.count("origin") {
        0 => !by_session,
        _ => request.header("origin").is_some_and(|origin| is_known(origin, tenant, place)),
    }
}

/// Whether an origin is our own or one that the tenant allows to return to.
fn is_known(origin: &str, tenant: &Tenant, place: &Place) -> bool {
    if origin == place.origin {
        return true;
    }
    let Ok(url) = Url::parse(origin) else { return false };
    url.origin().ascii_serialization() == origin
        && tenant.settings.sign_in.return_to_origins.iter().any(|pattern| pattern.matches(&url))
}
