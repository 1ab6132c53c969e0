//! Addresses: networks, and who a client is when proxies stand in front.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

/// The address at the other end of a connection; the server puts it into each request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Whether a connection came in by our own TLS; in each request's extensions, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverTls(pub bool);

/// A set of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// 127.0.0.0/8 and ::1.
    pub fn loopback() -> Self {
        Self(["127.0.0.0/8", "::1/128"].iter().map(|net| net.parse().expect("well formed")).collect())
    }

    /// Whether `address` lies in one of them; an IPv4 address mapped into IPv6 counts as itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither an address nor a network such as 10.0.0.0/8")]
pub struct NetworkError;

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// Reads one network, or an address as the network of itself.
///
/// # Errors
/// The text is neither.
pub fn parse_network(text: &str) -> Result<IpNet, NetworkError> {
    IpNet::from_str(text).or_else(|_| IpAddr::from_str(text).map(IpNet::from)).map_err(|_| NetworkError)
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, net) in self.0.iter().enumerate() {
            write!(f, "{}{net}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// How a browser reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// By TLS, ours or a trusted proxy's.
    Https,
}

impl Scheme {
    /// The scheme of the URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Who asks, by which scheme, and for which host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The client's address, as far as trusted proxies tell it.
    pub address: IpAddr,
    /// The scheme that the browser used.
    pub scheme: Scheme,
    /// The host that the browser asked for: lower case, no trailing dot, a port only if it is not the scheme's own.
    pub host: String,
    /// Whether no proxy stands between, as far as headers tell.
    pub direct: bool,
}

/// Why it cannot be said who asks for what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VisitorError {
    /// No host, two of them, or one that is none.
    #[error("the host is missing, doubled or malformed")]
    Host,
    /// A trusted proxy's header that stands twice or cannot be read.
    #[error("{0} stands twice or is malformed")]
    Forwarded(&'static str),
}

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const X_FORWARDED_HOST: &str = "x-forwarded-host";

/// Headers that proxies add; where one is, somebody stands between.
const PROXIES_HEADERS: [&str; 12] = [
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    "x-forwarded-port",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-prefix",
    "x-original-url",
    "x-original-method",
    "x-real-ip",
    "forwarded",
    "via",
];

/// Says who asks. Forwarding headers count only if `peer` is trusted, and only `X-Forwarded-For`, `-Proto` and `-Host`.
///
/// # Errors
/// The host, or a header that counts, is missing, doubled or malformed.
pub fn visitor(
    peer: SocketAddr,
    over_tls: bool,
    headers: &HeaderMap,
    uri_authority: Option<&str>,
    trusted: &Networks,
) -> Result<Visitor, VisitorError> {
    let mut visitor = Visitor {
        address: peer.ip().to_canonical(),
        scheme: if over_tls { Scheme::Https } else { Scheme::Http },
        host: String::new(),
        direct: !PROXIES_HEADERS.iter().any(|name| headers.contains_key(*name)),
    };
    let mut asked = asked_host(headers, uri_authority)?.to_owned();
    if trusted.contains(peer.ip()) {
        if let Some(address) = forwarded_for(headers, trusted)? {
            visitor.address = address;
        }
        match only(headers, X_FORWARDED_PROTO)? {
            None => {}
            Some("http") => visitor.scheme = Scheme::Http,
            Some("https") => visitor.scheme = Scheme::Https,
            Some(_) => return Err(VisitorError::Forwarded(X_FORWARDED_PROTO)),
        }
        if let Some(host) = only(headers, X_FORWARDED_HOST)? {
            normal_host(host, visitor.scheme).ok_or(VisitorError::Forwarded(X_FORWARDED_HOST))?;
            host.clone_into(&mut asked);
        }
    }
    visitor.host = normal_host(&asked, visitor.scheme).ok_or(VisitorError::Host)?;
    Ok(visitor)
}

/// The host of the request target (HTTP/2) or of the one `Host` header; both only if they agree (RFC 9112, section 3.2).
fn asked_host<'a>(headers: &'a HeaderMap, uri_authority: Option<&'a str>) -> Result<&'a str, VisitorError> {
    let mut values = headers.get_all(header::HOST).iter();
    let header = values.next().map(|value| value.to_str().map_err(|_| VisitorError::Host)).transpose()?;
    if values.next().is_some() {
        return Err(VisitorError::Host);
    }
    match (uri_authority, header) {
        (Some(authority), Some(header)) if !authority.eq_ignore_ascii_case(header) => Err(VisitorError::Host),
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(VisitorError::Host),
    }
}

/// The address that the outermost trusted proxy saw: the list is read from its end, past those we trust.
fn forwarded_for(headers: &HeaderMap, trusted: &Networks) -> Result<Option<IpAddr>, VisitorError> {
    let malformed = || VisitorError::Forwarded(X_FORWARDED_FOR);
    let mut addresses = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        for text in value.to_str().map_err(|_| malformed())?.split(',') {
            addresses.push(address(text.trim()).ok_or_else(malformed)?);
        }
    }
    let outermost = addresses.first().copied();
    Ok(addresses.into_iter().rev().find(|address| !trusted.contains(*address)).or(outermost))
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip())).ok()?;
    Some(IpAddr::to_canonical(&address))
}

/// The one value of a header that proxies may set once.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, VisitorError> {
    let mut values = headers.get_all(HeaderName::from_static(name)).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let value = value.to_str().map_err(|_| VisitorError::Forwarded(name))?;
    let doubled = values.next().is_some() || value.contains(',');
    if doubled { Err(VisitorError::Forwarded(name)) } else { Ok(Some(value)) }
}

/// A host and perhaps a port, in the one spelling that is compared; `None` for what is neither name nor address.
fn normal_host(text: &str, scheme: Scheme) -> Option<String> {
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        (format!("[{address}]"), if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
    } else {
        let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
        let name = name.strip_suffix('.').unwrap_or(name);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
        if name.len() > 253 || !name.split('.').all(label) {
            return None;
        }
        (name.to_ascii_lowercase(), port)
    };
    let Some(port) = port else { return Some(name) };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|port| digits && *port != 0)?;
    Some(if port == scheme.port() { name } else { format!("{name}:{port}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    fn seen(peer: &str, pairs: &[(&'static str, &str)]) -> Result<Visitor, VisitorError> {
        let peer = SocketAddr::new(peer.parse().unwrap(), 1234);
        let trusted = ["127.0.0.1", "10.0.0.0/8"].iter().map(|net| parse_network(net).unwrap()).collect();
        visitor(peer, false, &headers(pairs), None, &trusted)
    }

    #[test]
    fn headers_of_a_peer_that_is_not_trusted_do_not_count() {
        let visitor = seen(
            "192.0.2.7",
            &[
                ("host", "a.example"),
                ("x-forwarded-for", "1.2.3.4"),
                ("x-forwarded-host", "b.example, c"),
                ("x-forwarded-proto", "https"),
            ],
        );
        let expected = Visitor {
            address: "192.0.2.7".parse().unwrap(),
            scheme: Scheme::Http,
            host: "a.example".into(),
            direct: false,
        };
        assert_eq!(visitor, Ok(expected));
    }

    #[test]
    fn a_trusted_proxy_says_who_asks_for_what() {
        let visitor = seen(
            "127.0.0.1",
            &[
                ("host", "inner:3000"),
                ("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.1.1.1"),
                ("x-forwarded-host", "A.Example.:443"),
                ("x-forwarded-proto", "https"),
            ],
        );
        let expected = Visitor {
            address: "1.2.3.4".parse().unwrap(),
            scheme: Scheme::Https,
            host: "a.example".into(),
            direct: false,
        };
        assert_eq!(visitor, Ok(expected));
    }

    #[test]
    fn doubled_and_malformed_headers_of_a_trusted_proxy_are_refused() {
        for (name, value) in [
            (X_FORWARDED_HOST, "a.example, b.example"),
            (X_FORWARDED_HOST, "a example"),
            (X_FORWARDED_HOST, ""),
            (X_FORWARDED_PROTO, "https,http"),
            (X_FORWARDED_PROTO, "wss"),
            (X_FORWARDED_FOR, "unknown"),
        ] {
            let refused = seen("127.0.0.1", &[("host", "a.example"), (name, value)]);
            assert_eq!(refused, Err(VisitorError::Forwarded(name)), "{name}: {value}");
        }
        let twice =
            seen("127.0.0.1", &[("host", "a.example"), (X_FORWARDED_PROTO, "https"), (X_FORWARDED_PROTO, "https")]);
        assert_eq!(twice, Err(VisitorError::Forwarded(X_FORWARDED_PROTO)));
    }

    #[test]
    fn a_host_has_one_spelling() {
        for (text, host) in [
            ("A.example", "a.example"),
            ("a.example.", "a.example"),
            ("a.example:80", "a.example"),
            ("a.example:8080", "a.example:8080"),
            ("[::1]:80", "[::1]"),
            ("127.0.0.1:3000", "127.0.0.1:3000"),
        ] {
            assert_eq!(normal_host(text, Scheme::Http).as_deref(), Some(host), "{text}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            "a.example:",
            "a.example:0",
            "a.example:99999",
            "a.example:+80",
            "user@a.example",
            "[::1",
            "a/b",
            "a:1:2",
        ] {
            assert_eq!(normal_host(bad, Scheme::Http), None, "{bad}");
        }
    }

    #[test]
    fn one_host_and_no_other() {
        assert_eq!(seen("127.0.0.1", &[]), Err(VisitorError::Host));
        assert_eq!(seen("127.0.0.1", &[("host", "a"), ("host", "a")]), Err(VisitorError::Host));
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let both =
            |authority| visitor(peer, true, &headers(&[("host", "a.example")]), Some(authority), &Networks::default());
        assert!(both("A.example").is_ok_and(|visitor| visitor.direct && visitor.scheme == Scheme::Https));
        assert_eq!(both("b.example"), Err(VisitorError::Host));
    }
}
