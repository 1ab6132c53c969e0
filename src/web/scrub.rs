//! What never passes between a client and an application: headers of one connection, headers that only we may set, our
//! own cookies. Names are compared as the laxest server folds them: `X_Forwarded.user` is `X-Forwarded-User`.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

/// Families of headers that say who asks for what, folded: only we, or proxies that we trust, may say so.
const OURS_BEGIN: [&str; 3] = ["X_AUTH_REQUEST_", "X_FORWARDED_", "X_ORIGINAL_"];

/// The same, whole.
const OURS: [&str; 3] = ["FORWARDED", "X_REAL_IP", "X_REWRITE_URL"];

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// What may reach an application of a request's headers, with room for `more`; `names` are those that the tenant sets.
pub(super) fn request<'a>(
    headers: &HeaderMap,
    names: &(impl Iterator<Item = &'a HeaderName> + Clone),
    more: usize,
) -> HeaderMap {
    let of_connection = OfConnection::of(headers);
    let mut kept = HeaderMap::with_capacity(headers.len() + more);
    for (name, value) in headers {
        // We name the host ourselves; and whether the application wants the body shows when it is asked.
        let ours = matches!(name.as_str(), "host" | "expect" | "cookie") || is_ours(name);
        let forged = || names.clone().any(|own| same(name, own.as_str()));
        if !(ours || of_connection.has(name) || is_disguised_framing(name) || forged()) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept.extend(cookies(headers).map(|line| (header::COOKIE, line)));
    kept
}

/// Takes out of an answer what may not reach a client.
pub(super) fn response(headers: &mut HeaderMap) {
    let of_connection = OfConnection::of(headers);
    // `Alt-Svc` would lead browsers past us.
    remove_where(headers, |name| of_connection.has(name) || *name == header::ALT_SVC);
    filtered(headers, &header::SET_COOKIE, |line| {
        let name = line.split(|byte| *byte == b'=' || *byte == b';').find(|part| !part.trim_ascii().is_empty());
        (!is_our_cookie(name.unwrap_or_default())).then(|| line.to_owned())
    });
    filtered(headers, &CLEAR_SITE_DATA, |line| {
        let kinds = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let kept: Vec<&[u8]> = kinds.filter(|kind| !matches!(*kind, b"\"cookies\"" | b"\"*\"")).collect();
        (!kept.is_empty()).then(|| kept.join(&b", "[..]))
    });
}

/// The headers of one connection (RFC 9110, section 7.6.1).
struct OfConnection {
    /// Those that `Connection` names.
    named: Vec<HeaderName>,
    /// Whether the length is one, too: beside a transfer coding it is a lie (RFC 9112, section 6.3).
    length: bool,
}

impl OfConnection {
    fn of(headers: &HeaderMap) -> Self {
        let named = |value: &HeaderValue| -> Vec<HeaderName> {
            let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
        };
        Self {
            named: headers.get_all(header::CONNECTION).iter().flat_map(named).collect(),
            length: headers.contains_key(header::TRANSFER_ENCODING),
        }
    }

    fn has(&self, name: &HeaderName) -> bool {
        match name.as_str() {
            "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade" => true,
            "content-length" if self.length => true,
            _ => self.named.contains(name),
        }
    }
}

fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    // Folding leaves letters what they are.
    if !name.starts_with(['f', 'x']) {
        return false;
    }
    let begins = |family: &str| name.len() >= family.len() && same_bytes(&name.as_bytes()[..family.len()], family);
    OURS_BEGIN.iter().any(|family| begins(family)) || OURS.iter().any(|own| same_bytes(name.as_bytes(), own))
}

/// Whether a name is one that says where a body ends, to a server that folds it alone.
fn is_disguised_framing(name: &HeaderName) -> bool {
    let framing = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    framing.iter().any(|plain| same(name, plain.as_str()) && name != plain)
}

fn same(name: &HeaderName, other: &str) -> bool {
    same_bytes(name.as_str().as_bytes(), other)
}

fn same_bytes(name: &[u8], other: &str) -> bool {
    name.len() == other.len() && name.iter().zip(other.as_bytes()).all(|(one, other)| fold(*one) == fold(*other))
}

/// As CGI makes variables of names.
fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase() } else { b'_' }
}

fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// All cookies but our own, in one line (RFC 9113, section 8.2.3).
fn cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let pairs = pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty());
    let others: Vec<&[u8]> =
        pairs.filter(|pair| !is_our_cookie(pair.split(|byte| *byte == b'=').next().unwrap_or_default())).collect();
    let mut line = HeaderValue::from_bytes(&others.join(&b"; "[..])).ok().filter(|line| !line.is_empty())?;
    line.set_sensitive(true);
    Some(line)
}

/// Whether a cookie has a name of ours, under any prefix that browsers know.
fn is_our_cookie(name: &[u8]) -> bool {
    let name = name.trim_ascii();
    let begins =
        |name: &[u8], start: &[u8]| name.len() >= start.len() && name[..start.len()].eq_ignore_ascii_case(start);
    let prefixes: [&[u8]; 4] = [b"__Host-Http-", b"__Http-", b"__Host-", b"__Secure-"];
    let bare = prefixes.iter().find(|prefix| begins(name, prefix)).map_or(name, |prefix| &name[prefix.len()..]);
    begins(bare, b"lychgate-")
}

/// Replaces each line of a header by what `keep` makes of it, or drops it.
fn filtered(headers: &mut HeaderMap, name: &HeaderName, keep: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    if !headers.contains_key(name) {
        return;
    }
    let kept = headers.get_all(name).iter().filter_map(|line| HeaderValue::from_bytes(&keep(line.as_bytes())?).ok());
    let kept: Vec<HeaderValue> = kept.collect();
    headers.remove(name);
    for line in kept {
        headers.append(name, line);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDENTITY: [&str; 14] = [
        "X-Auth-Request-User",
        "X-Auth-Request-Email",
        "X-Auth-Request-Preferred-Username",
        "X-Auth-Request-Name",
        "X-Auth-Request-Groups",
        "X-Auth-Request-Tenant",
        "X-Auth-Request-Access-Token",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
        "X-Forwarded-Preferred-Username",
        "X-Original-URL",
        "Forwarded",
        "X-Acme-Role",
    ];

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| (HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    fn request_left(pairs: &[(&str, &str)]) -> HeaderMap {
        request(&headers(pairs), &[HeaderName::from_static("x-acme-role")].iter(), 0)
    }

    proptest! {
        #[test]
        fn an_identity_header_is_removed_in_any_spelling(
            name in prop::sample::select(&IDENTITY[..]),
            marks in prop::collection::vec((any::<bool>(), prop::sample::select(b"-_.~!#$%&'*+^`|".as_slice())), 32),
        ) {
            let spelled: String = name
                .bytes()
                .zip(marks.iter().cycle())
                .map(|(byte, (upper, mark))| match byte {
                    b'-' => char::from(*mark),
                    letter if *upper => char::from(letter.to_ascii_uppercase()),
                    letter => char::from(letter.to_ascii_lowercase()),
                })
                .collect();
            let left = request_left(&[(&spelled, "forged"), (&spelled, "twice"), ("x-own", "kept")]);
            prop_assert_eq!(left, headers(&[("x-own", "kept")]), "{}", spelled);
        }

        #[test]
        fn a_cookie_of_ours_never_passes(before in "[a-z]{0,5}(=[a-z]{0,5})?", after in "[ ;a-z=]{0,20}") {
            let line = format!("{before}; __Host-lychgate-acme=secret;lychgate-acme.x=secret;{after}");
            let left = request_left(&[("cookie", &line), ("cookie", "a=1")]);
            prop_assert!(!left["cookie"].to_str().unwrap().contains("secret"));
            prop_assert!(left["cookie"].to_str().unwrap().ends_with("a=1"));
        }
    }

    #[test]
    fn headers_of_the_connection_and_those_it_names_are_removed() {
        let left = request_left(&[
            ("connection", "close, X-Secret-Hop"),
            ("connection", "x-auth-request-user"),
            ("x-secret-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x-auth-request-user"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("expect", "100-continue"),
            ("host", "evil.example"),
            ("accept", "*/*"),
        ]);
        assert_eq!(left, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn what_only_looks_like_ours_passes() {
        let pairs = [("x-forwarded", "a"), ("x-authenticate", "b"), ("user", "c"), ("cookie", "my-lychgate-x=1; b=2")];
        assert_eq!(request_left(&pairs), headers(&pairs));
    }

    #[test]
    fn an_application_neither_sets_nor_clears_our_cookies() {
        let mut answer = headers(&[
            ("set-cookie", "app=1; Path=/"),
            ("set-cookie", "__Host-lychgate-acme=stolen; Path=/; Secure"),
            ("set-cookie", " lychgate-acme=; Max-Age=0"),
            ("set-cookie", "=lychgate-acme=x"),
            ("set-cookie", "__secure-LYCHGATE-acme=x; Secure"),
            ("clear-site-data", "\"cache\", \"cookies\""),
            ("clear-site-data", "\"*\""),
            ("alt-svc", "h3=\":443\""),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("cache-control", "max-age=60"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
        ]);
        response(&mut answer);
        let expected =
            [("set-cookie", "app=1; Path=/"), ("clear-site-data", "\"cache\""), ("cache-control", "max-age=60")];
        assert_eq!(answer, headers(&expected));
    }
}
