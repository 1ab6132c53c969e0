//! The request that a proxy asks about, read from what that kind of proxy sends; nothing is guessed. Whether it may pass
//! is decided in `forward_auth`.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

use crate::net::{self, Scheme, VisitorError, X_FORWARDED_HOST, X_FORWARDED_PROTO, split_port};
use crate::request_path::{PathError, RequestPath};

/// The longest method that anybody may ask about, in bytes.
const MAX_METHOD: usize = 32;

static X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
static X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
static X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
static X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Which kind of proxy asks; told by the path of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// nginx and HAProxy: `X-Original-URL` and `X-Original-Method`.
    Nginx,
    /// Traefik and Caddy: `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`.
    Forwarded,
    /// Envoy: the request itself; its path begins at this byte of ours.
    Envoy(usize),
}

/// The request that wants to pass, as a proxy tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Original<'a> {
    /// The method, upper case.
    pub(super) method: &'a str,
    /// How the client reached the proxy.
    pub(super) scheme: Scheme,
    /// The host, as [`net::normal_host`] writes it.
    pub(super) host: Cow<'a, str>,
    /// The path.
    pub(super) path: RequestPath<'a>,
    /// The query, as it came.
    pub(super) query: Option<&'a str>,
}

/// Why it is not clear what a proxy asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OriginalError {
    /// A header is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A header stands twice, or holds more than plain text.
    #[error("{0} is doubled or malformed")]
    Malformed(&'static str),
    /// The host.
    #[error(transparent)]
    Host(#[from] VisitorError),
    /// The path.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// What Envoy asks with: the request's own method, path below `/auth/envoy` and query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
}

impl<'a> Original<'a> {
    /// Reads `X-Original-URL` and `X-Original-Method`.
    ///
    /// # Errors
    /// One is missing, doubled or malformed, or the path could be read in two ways.
    pub(super) fn of_nginx(headers: &'a HeaderMap) -> Result<Self, OriginalError> {
        let url = one(headers, &X_ORIGINAL_URL)?;
        let malformed = OriginalError::Malformed(X_ORIGINAL_URL.as_str());
        let schemes = [("https://", Scheme::Https), ("http://", Scheme::Http)];
        let known = schemes.iter().find_map(|(prefix, scheme)| Some((*scheme, url.strip_prefix(prefix)?)));
        let (scheme, rest) = known.ok_or(malformed)?;
        let end = rest.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).ok_or(malformed)?;
        let (host, target) = rest.split_at(end);
        let host = net::normal_host(host, scheme).ok_or(malformed)?;
        Self::new(method(headers, &X_ORIGINAL_METHOD)?, scheme, host, target, &X_ORIGINAL_URL)
    }

    /// Reads `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`.
    ///
    /// # Errors
    /// As [`Original::of_nginx`].
    pub(super) fn of_forwarded(headers: &'a HeaderMap) -> Result<Self, OriginalError> {
        let scheme = scheme(headers)?;
        let host = net::normal_host(one(headers, &X_FORWARDED_HOST)?, scheme);
        let host = host.ok_or(OriginalError::Malformed(X_FORWARDED_HOST.as_str()))?;
        let target = one(headers, &X_FORWARDED_URI)?;
        Self::new(method(headers, &X_FORWARDED_METHOD)?, scheme, host, target, &X_FORWARDED_URI)
    }

    /// Reads the request itself and `X-Forwarded-Proto`; `host` is that of the request.
    ///
    /// # Errors
    /// As [`Original::of_nginx`].
    pub(super) fn of_envoy(
        headers: &'a HeaderMap,
        asked: Asked<'a>,
        host: impl FnOnce(Scheme) -> Result<Cow<'a, str>, VisitorError>,
    ) -> Result<Self, OriginalError> {
        let malformed = OriginalError::Malformed("the request target");
        let scheme = scheme(headers)?;
        if !is_method(asked.method) || !is_plain(asked.path) || !is_plain(asked.query) {
            return Err(malformed);
        }
        let query = (!asked.query.is_empty()).then_some(asked.query);
        Ok(Self { method: asked.method, scheme, host: host(scheme)?, path: RequestPath::parse(asked.path)?, query })
    }

    fn new(
        method: &'a str,
        scheme: Scheme,
        host: Cow<'a, str>,
        target: &'a str,
        name: &'static HeaderName,
    ) -> Result<Self, OriginalError> {
        if !is_plain(target) {
            return Err(OriginalError::Malformed(name.as_str()));
        }
        let (path, query) = match target.bytes().position(|byte| byte == b'?') {
            Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
            None => (target, None),
        };
        Ok(Self { method, scheme, host, path: RequestPath::parse(path)?, query })
    }

    /// The host without its port.
    pub(super) fn name(&self) -> &str {
        split_port(&self.host).0
    }

    /// Path and query, for a URL. A backslash in the query, which browsers leave as it is, is encoded.
    pub(super) fn target(&self) -> String {
        match self.query {
            None => self.path.encoded().to_owned(),
            Some(query) => format!("{}?{}", self.path.encoded(), query.replace('\\', "%5C")),
        }
    }
}

/// The one value of a header, plain text.
fn one<'a>(headers: &'a HeaderMap, name: &'static HeaderName) -> Result<&'a str, OriginalError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(OriginalError::Missing(name.as_str()))?;
    match (value.to_str(), values.next()) {
        (Ok(value), None) => Ok(value),
        _ => Err(OriginalError::Malformed(name.as_str())),
    }
}

fn scheme(headers: &HeaderMap) -> Result<Scheme, OriginalError> {
    let scheme = one(headers, &X_FORWARDED_PROTO)?;
    Scheme::forwarded(scheme).ok_or(OriginalError::Malformed(X_FORWARDED_PROTO.as_str()))
}

fn method<'a>(headers: &'a HeaderMap, name: &'static HeaderName) -> Result<&'a str, OriginalError> {
    let method = one(headers, name)?;
    if is_method(method) { Ok(method) } else { Err(OriginalError::Malformed(name.as_str())) }
}

/// Upper case only: an application may take `post` for `POST`, and rules do not.
fn is_method(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_uppercase)
        && text.len() <= MAX_METHOD
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
}

/// Visible ASCII without `#`: a reader might cut there.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    fn headers<'a>(pairs: impl IntoIterator<Item = &'a (&'static str, &'a str)>) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                map.append(*name, value);
            }
        }
        map
    }

    fn nginx(url: &str) -> Result<(String, String), OriginalError> {
        let headers = headers(&[("x-original-url", url), ("x-original-method", "GET")]);
        Original::of_nginx(&headers).map(|original| (original.host.to_string(), original.target()))
    }

    const GOOD: [(&str, &str); 4] = [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "App.Acme.Example.:443"),
        ("x-forwarded-uri", "/a/%62?c=%2F&d"),
    ];

    #[test]
    fn an_original_url_is_read_into_its_parts() {
        let host = |host: &str, target: &str| Ok((host.to_owned(), target.to_owned()));
        assert_eq!(nginx("https://app.acme.example/a?b=c"), host("app.acme.example", "/a?b=c"));
        assert_eq!(nginx("https://APP.acme.example.:443/"), host("app.acme.example", "/"));
        assert_eq!(nginx("http://app.acme.example:8080/%61?a?b=/../x"), host("app.acme.example:8080", "/a?a?b=/../x"));
        assert_eq!(nginx("https://[0::1]/a?b\\c"), host("[::1]", "/a?b%5Cc"));
    }

    #[test]
    fn an_original_url_that_could_be_another_is_refused() {
        for bad in [
            "",
            "/a",
            "//app.acme.example/a",
            "app.acme.example/a",
            "https:/app.acme.example/a",
            "https://",
            "https:///a",
            "https://app.acme.example",
            "https://app.acme.example?a",
            "https://app.acme.example#/a",
            "https://app.acme.example\\/a",
            "https://user@app.acme.example/a",
            "https://app.acme.example:0/a",
            "https://app.acme.example:443:443/a",
            "https://app acme.example/a",
            "ftp://app.acme.example/a",
            "HTTPS://app.acme.example/a",
            "https://app.acme.example/a#b",
            "https://app.acme.example/a?b#c",
            "https://app.acme.example/a%23b",
            "https://app.acme.example/a/../b",
            "https://app.acme.example/%2e%2e/b",
            "https://app.acme.example//b",
            "https://app.acme.example/a;b",
            "https://app.acme.example/a%2fb",
            "https://app.acme.example/ä",
            "https://app.acme.example/a b",
            "https://app.acme.example/a?b c",
            "https://app.acme.example/a, https://app.acme.example/b",
        ] {
            assert!(nginx(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn forwarding_headers_are_read_into_a_request() {
        let headers = headers(&GOOD);
        let original = Original::of_forwarded(&headers).unwrap();
        assert_eq!((original.method, original.scheme), ("POST", Scheme::Https));
        assert_eq!((&*original.host, original.path.as_str()), ("app.acme.example", "/a/b"));
        assert_eq!(original.target(), "/a/b?c=%2F&d");
    }

    #[test]
    fn a_header_that_is_missing_or_doubled_is_refused() {
        for (at, (name, value)) in GOOD.iter().enumerate() {
            let without = headers(GOOD.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, pair)| pair));
            assert_eq!(Original::of_forwarded(&without), Err(OriginalError::Missing(name)));
            let mut doubled = headers(&GOOD);
            doubled.append(*name, HeaderValue::from_str(value).unwrap());
            assert_eq!(Original::of_forwarded(&doubled), Err(OriginalError::Malformed(name)));
        }
        for method in ["get", "", "GET,POST", "GET ", "G@T", &"A".repeat(33)] {
            let headers = headers(&[("x-original-url", "https://a.example/"), ("x-original-method", method)]);
            assert!(Original::of_nginx(&headers).is_err(), "{method:?}");
        }
    }

    proptest! {
        /// Whatever stands in the headers: what is read is what a browser's parser reads, or nothing.
        #[test]
        fn what_is_read_of_a_url_has_one_meaning(
            url in "(https?://)?[a-z.@:\\[\\]A-Z0-9/\\\\#?%;&= é\t-]{0,30}([/?#\\\\%a-z2ef.;]{0,20})",
            method in "([A-Z]{1,6}|[a-zA-Z ,]{0,6})",
            again in any::<bool>(),
        ) {
            let mut map = headers(&[("x-original-url", url.as_str()), ("x-original-method", method.as_str())]);
            if again {
                map.append("x-original-url", HeaderValue::from_static("https://a.example/"));
            }
            if let Ok(original) = Original::of_nginx(&map) {
                prop_assert!(!again && !url.contains(['#', ' ', '\t']) && url.is_ascii());
                // Numbers that a browser takes for an address are names to us, and nobody's.
                let Some(parsed) = Url::parse(&url).ok().filter(|url| url.domain().is_some()) else { return Ok(()) };
                prop_assert_eq!(parsed.scheme(), original.scheme.as_str());
                prop_assert_eq!(parsed.host_str().unwrap().trim_end_matches('.'), original.name());
                let path = RequestPath::parse(parsed.path()).unwrap();
                prop_assert_eq!(path.as_str(), original.path.as_str());
                prop_assert!(parsed.username().is_empty() && parsed.fragment().is_none());
                prop_assert!(!original.path.as_str().contains(['\\', ';', '#', '?']));
            }
        }

        #[test]
        fn what_is_read_of_forwarding_headers_has_one_meaning(
            method in "[A-Za-z,]{0,8}",
            proto in "(https?|wss?|[a-zHTPS,]{0,6})",
            host in "[a-zA-Z0-9.:@/\\[\\]_,-]{0,24}",
            uri in "/?[a-z/.%25e2f;#?\\\\ ]{0,24}",
        ) {
            let map = headers(&[
                ("x-forwarded-method", method.as_str()),
                ("x-forwarded-proto", proto.as_str()),
                ("x-forwarded-host", host.as_str()),
                ("x-forwarded-uri", uri.as_str()),
            ]);
            if let Ok(original) = Original::of_forwarded(&map) {
                let url = format!("{}://{host}{uri}", original.scheme);
                let Ok(parsed) = Url::parse(&url) else { return Ok(()) };
                let path = RequestPath::parse(parsed.path()).unwrap();
                prop_assert_eq!(path.as_str(), original.path.as_str());
                prop_assert_eq!(original.method, method);
                prop_assert!(!uri.contains(['#', ' ']) && uri.starts_with('/'));
            }
        }
    }
}
