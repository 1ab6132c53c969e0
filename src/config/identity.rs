//! What an application learns of whoever passes: the identity headers, resolved once, and how they are read.

use std::sync::{Arc, LazyLock};

use http::HeaderName;

use super::reader::Reader;

/// The identity headers of one tenant. A value that nobody has still has its name: a header that is left out is one
/// that a client could bring along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySettings {
    /// Each name and what stands there; best one after the other where it is the same.
    pub headers: Arc<Vec<(HeaderName, IdentityValue)>>,
}

/// What tenants have whose files say nothing of it: one list, or each check among thousands of tenants would wait for
/// another one to come from memory.
static USUAL: LazyLock<Arc<Vec<(HeaderName, IdentityValue)>>> =
    LazyLock::new(|| Arc::new(shipped(IdentityValue::Claim("groups".to_owned()), IdentityValue::Nothing)));

impl IdentitySettings {
    fn new(headers: Vec<(HeaderName, IdentityValue)>) -> Self {
        Self { headers: if headers == **USUAL { Arc::clone(&USUAL) } else { Arc::new(headers) } }
    }

    /// Whether these are the headers of a tenant whose file says nothing of them.
    pub fn is_usual(&self) -> bool {
        Arc::ptr_eq(&self.headers, &USUAL)
    }

    /// Whether an application is given one of the session's tokens.
    pub fn has_tokens(&self) -> bool {
        use IdentityValue::{AccessToken, BearerAccessToken, BearerIdToken};
        self.headers.iter().any(|(_, value)| matches!(value, AccessToken | BearerAccessToken | BearerIdToken))
    }
}

/// What stands in an identity header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityValue {
    /// The subject.
    Subject,
    /// The e-mail address, unless the provider says that nobody has verified it.
    Email,
    /// A claim.
    Claim(String),
    /// The tenant's id.
    Tenant,
    /// The access token.
    AccessToken,
    /// `Bearer` and the access token.
    BearerAccessToken,
    /// `Bearer` and the id token.
    BearerIdToken,
    /// Nothing, ever.
    Nothing,
}

/// What `identity.authorization` may say.
const AUTHORIZATION: [(&str, IdentityValue); 3] = [
    ("none", IdentityValue::Nothing),
    ("access_token", IdentityValue::BearerAccessToken),
    ("id_token", IdentityValue::BearerIdToken),
];

/// Names that HTTP, proxies or we give a meaning of their own: no claim stands under them. A `-` at the end takes in
/// all that begin so.
const TAKEN: &[&str] = &[
    "accept",
    "accept-",
    "access-control-",
    "age",
    "allow",
    "alt-svc",
    "authorization",
    "cache-control",
    "clear-site-data",
    "connection",
    "content-",
    "cookie",
    "cross-origin-",
    "date",
    "dnt",
    "dpop",
    "early-data",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "if-",
    "keep-alive",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "origin",
    "permissions-policy",
    "pragma",
    "prefer",
    "priority",
    "proxy-",
    "purpose",
    "range",
    "referer",
    "referrer-policy",
    "refresh",
    "retry-after",
    "sec-",
    "server",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-accel-",
    "x-auth-request-",
    "x-content-type-options",
    "x-forwarded-",
    "x-frame-options",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
    "x-rewrite-url",
];

/// Reads `[identity]`.
pub(super) fn identity(reader: &mut Reader<'_>) -> IdentitySettings {
    use IdentityValue as Value;
    let groups = reader.text("identity.groups_claim").map_or(Value::Nothing, Value::Claim);
    let token = if reader.flag("identity.access_token") == Some(true) { Value::AccessToken } else { Value::Nothing };
    let words: Vec<_> = AUTHORIZATION.iter().map(|(word, value)| (*word, value)).collect();
    let authorization = reader.choice("identity.authorization", &words);
    let mut headers = shipped(groups, token);
    if let Some(value) = authorization.filter(|value| **value != Value::Nothing) {
        headers.push((http::header::AUTHORIZATION, value.clone()));
    }
    for (name, claim) in reader.map("identity.headers") {
        match header_name(&name) {
            Ok(known) if headers.iter().any(|(other, _)| *other == known) => {
                reader.fault(&format!("identity.headers.{name}"), "stands twice, in upper and lower case", None);
            }
            Ok(name) => headers.push((name, Value::Claim(claim))),
            Err(reason) => reader.fault(&format!("identity.headers.{name}"), reason, None),
        }
    }
    IdentitySettings::new(headers)
}

/// The headers that every tenant has.
fn shipped(groups: IdentityValue, token: IdentityValue) -> Vec<(HeaderName, IdentityValue)> {
    use IdentityValue as Value;
    let claim = |name: &str| Value::Claim(name.to_owned());
    [
        ("x-auth-request-user", Value::Subject),
        ("x-forwarded-user", Value::Subject),
        ("x-auth-request-email", Value::Email),
        ("x-forwarded-email", Value::Email),
        ("x-auth-request-preferred-username", claim("preferred_username")),
        ("x-forwarded-preferred-username", claim("preferred_username")),
        ("x-auth-request-name", claim("name")),
        ("x-auth-request-groups", groups.clone()),
        ("x-forwarded-groups", groups),
        ("x-auth-request-tenant", Value::Tenant),
        ("x-auth-request-access-token", token),
    ]
    .map(|(name, value)| (HeaderName::from_static(name), value))
    .into()
}

/// Reads the name of a header that a claim may stand under.
fn header_name(text: &str) -> Result<HeaderName, &'static str> {
    let name = text.to_ascii_lowercase();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain || name.is_empty() || name.starts_with('-') || name.ends_with('-') {
        return Err("is not a name such as X-Roles: letters, digits and `-`");
    }
    if TAKEN.iter().any(|known| name == *known || known.ends_with('-') && name.starts_with(known)) {
        return Err("has a meaning of its own; choose another name, such as X-Roles or Remote-User");
    }
    HeaderName::try_from(name).map_err(|_| "is not the name of a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_stands_under_a_name_that_nobody_else_uses() {
        for good in ["X-Roles", "Remote-User", "x-1", "Cookies"] {
            assert!(header_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "X_Roles",
            "X.Roles",
            "-X",
            "X-",
            "X Roles",
            "X-Röles",
            "Connection",
            "Host",
            "Cookie",
            "Authorization",
            "Content-Length",
            "Proxy-Authorization",
            "Sec-Fetch-Mode",
            "TE",
            "X-Forwarded-For",
            "x-auth-request-user",
            "X-Request-Id",
            "Location",
        ] {
            assert!(header_name(bad).is_err(), "{bad}");
        }
    }
}
