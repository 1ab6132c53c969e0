//! Addresses: networks, and who a client is and which site it asked for when proxies stand in front.
//!
//! Which hosts are ours is not known here, nor who may read what.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::header::{FORWARDED, HOST, VIA};
use http::{HeaderMap, HeaderName, Uri};
use ipnet::IpNet;

/// How a request arrived; the server puts it into each request's extensions.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The address at the other end of the connection.
    pub peer: SocketAddr,
    /// Whether the connection came in by our own TLS.
    pub over_tls: bool,
    /// The request target, whole.
    pub target: Uri,
}

impl Arrival {
    /// Of a request that did not come by our own server: it has no peer, and so no trust, and asks for nothing.
    pub fn nowhere() -> Self {
        Self { peer: (Ipv4Addr::UNSPECIFIED, 0).into(), over_tls: false, target: Uri::default() }
    }
}

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

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each of `others` lies within one of these.
    pub fn covers(&self, others: &Self) -> bool {
        others.0.iter().all(|other| self.0.iter().any(|net| net.contains(other)))
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

/// Whom a proxy speaks for, and those that it heard of.
pub static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The host that the client asked for.
pub static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// How the client connected.
pub static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The longest part between two dots of a host name, and the longest name, in bytes (RFC 1035, section 2.3.4).
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;

/// Who sent a request, and to which site, as far as we believe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The client's address; never an IPv4 address mapped into IPv6.
    pub address: IpAddr,
    /// How the client reached the outermost proxy that we trust, or us.
    pub scheme: Scheme,
    /// The host asked for: lower case, no trailing dot, with the port unless it is the scheme's own.
    pub host: String,
    /// Whether no forwarding header came along at all, so that the peer itself is the client.
    pub direct: bool,
}

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// By TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// What `X-Forwarded-Proto` says; Traefik has schemes of their own for WebSockets.
    pub fn forwarded(text: &str) -> Option<Self> {
        let names = [("http", Self::Http), ("https", Self::Https), ("ws", Self::Http), ("wss", Self::Https)];
        names.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, scheme)| scheme)
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why it is not clear who asks for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VisitorError {
    /// The host is missing, doubled or malformed, or the request target names another one.
    #[error("the host is missing, doubled or malformed")]
    Host,
    /// This header of a trusted proxy is doubled or malformed.
    #[error("{0} is doubled or malformed")]
    Forwarded(&'static str),
}

/// Tells who sent a request. `X-Forwarded-For`, `-Proto` and `-Host` count if `peer` is among `trusted`; `Forwarded`
/// (RFC 7239) is not read. `uri_authority` is that of the request target, which HTTP/2 has instead of `Host`.
///
/// # Errors
/// A header that counts is doubled or malformed, or no host is named: such a request is refused, never guessed at.
pub fn visitor(
    peer: SocketAddr,
    over_tls: bool,
    headers: &HeaderMap,
    uri_authority: Option<&str>,
    trusted: &Networks,
) -> Result<Visitor, VisitorError> {
    let direct = !headers.keys().any(tells_of_a_proxy);
    let mut address = peer.ip().to_canonical();
    let mut scheme = if over_tls { Scheme::Https } else { Scheme::Http };
    let mut forwarded_host = None;
    if trusted.contains(address) {
        address = client_address(headers, trusted)?.unwrap_or(address);
        scheme = forwarded_scheme(headers)?.unwrap_or(scheme);
        forwarded_host = single(headers, &X_FORWARDED_HOST)?;
    }
    let host = match forwarded_host {
        Some(text) => normal_host(text, scheme).ok_or(VisitorError::Forwarded(X_FORWARDED_HOST.as_str()))?,
        None => asked_host(headers, uri_authority, scheme)?,
    };
    Ok(Visitor { address, scheme, host: host.into_owned(), direct })
}

/// Whether a header is one that proxies add; in any spelling a server may fold into it.
fn tells_of_a_proxy(name: &HeaderName) -> bool {
    if !matches!(name.as_str().as_bytes().first(), Some(b'f' | b'v' | b'x')) {
        return false;
    }
    let folded = || name.as_str().bytes().map(|byte| if matches!(byte, b'_' | b'.') { b'-' } else { byte });
    let begins = |prefix: &&str| name.as_str().len() >= prefix.len() && prefix.bytes().eq(folded().take(prefix.len()));
    name == FORWARDED || name == VIA || ["x-forwarded-", "x-original-", "x-real-"].iter().any(begins)
}

/// The value of a header that may come once: none if it does not come, an error if it comes twice.
fn single<'a>(headers: &'a HeaderMap, name: &'static HeaderName) -> Result<Option<&'a str>, VisitorError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(value), None) => Ok(Some(value)),
        _ => Err(VisitorError::Forwarded(name.as_str())),
    }
}

/// The first address, from the right, that is no trusted proxy; the leftmost if all are. Several lines are one list
/// (RFC 9110, section 5.3): that is how HAProxy adds to it.
fn client_address(headers: &HeaderMap, trusted: &Networks) -> Result<Option<IpAddr>, VisitorError> {
    let malformed = VisitorError::Forwarded(X_FORWARDED_FOR.as_str());
    let (mut leftmost, mut client) = (None, None);
    for line in headers.get_all(&X_FORWARDED_FOR) {
        for part in line.to_str().map_err(|_| malformed)?.split(',') {
            let address = forwarded_address(part.trim_matches([' ', '\t'])).ok_or(malformed)?;
            leftmost.get_or_insert(address);
            if !trusted.contains(address) {
                client = Some(address);
            }
        }
    }
    Ok(client.or(leftmost))
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn forwarded_address(text: &str) -> Option<IpAddr> {
    let address = IpAddr::from_str(text)
        .or_else(|_| SocketAddr::from_str(text).map(|address| address.ip()))
        .ok()
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6))?;
    Some(address.to_canonical())
}

fn forwarded_scheme(headers: &HeaderMap) -> Result<Option<Scheme>, VisitorError> {
    let Some(scheme) = single(headers, &X_FORWARDED_PROTO)? else { return Ok(None) };
    Scheme::forwarded(scheme).map(Some).ok_or(VisitorError::Forwarded(X_FORWARDED_PROTO.as_str()))
}

/// The host of the request itself: of its target or its header; of both, if they agree. In the form of
/// [`Visitor::host`].
///
/// # Errors
/// It is missing, doubled or malformed.
pub fn asked_host<'a>(
    headers: &'a HeaderMap,
    uri_authority: Option<&'a str>,
    scheme: Scheme,
) -> Result<Cow<'a, str>, VisitorError> {
    let normal = |text| normal_host(text, scheme).ok_or(VisitorError::Host);
    let mut lines = headers.get_all(HOST).iter();
    let header = lines.next().map(|line| normal(line.to_str().map_err(|_| VisitorError::Host)?)).transpose()?;
    let target = uri_authority.map(normal).transpose()?;
    match (target, header, lines.next()) {
        (Some(target), Some(header), None) if target == header => Ok(target),
        (Some(host), None, None) | (None, Some(host), None) => Ok(host),
        _ => Err(VisitorError::Host),
    }
}

/// Host and port of what [`normal_host`] made.
pub fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.bytes().rposition(|byte| byte == b':') {
        Some(colon) if !host.ends_with(']') => (&host[..colon], host[colon + 1..].parse().ok()),
        _ => (host, None),
    }
}

/// `host` or `host:port` (RFC 3986, section 3.2.2, without user information and percent-encoding), in the one form that
/// compares; none if malformed. Most are in that form already.
pub fn normal_host(text: &str, scheme: Scheme) -> Option<Cow<'_, str>> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        (Cow::Owned(format!("[{address}]")), if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
    } else {
        let (name, port) = match text.bytes().position(|byte| byte == b':') {
            Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
            None => (text, None),
        };
        (normal_name(name)?, port)
    };
    let Some(digits) = port else { return Some(host) };
    let port = parse_port(digits)?;
    if port == scheme.port() {
        return Some(host);
    }
    match host {
        Cow::Borrowed(host) if !digits.starts_with('0') && text.len() == host.len() + 1 + digits.len() => {
            Some(text.into())
        }
        host => Some(format!("{host}:{port}").into()),
    }
}

fn normal_name(name: &str) -> Option<Cow<'_, str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let (mut label, mut has_upper) = (0, false);
    for byte in name.bytes() {
        label = match byte {
            b'.' if label > 0 => 0,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' if label < MAX_LABEL => label + 1,
            _ => return None,
        };
        has_upper |= byte.is_ascii_uppercase();
    }
    let is_name = label > 0 && name.len() <= MAX_NAME;
    is_name.then(|| if has_upper { name.to_ascii_lowercase().into() } else { name.into() })
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_str(name).unwrap(), value.parse().unwrap())).collect()
    }

    fn ask(peer: &str, pairs: &[(&str, &str)]) -> Result<Visitor, VisitorError> {
        let trusted = ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"].iter().map(|net| parse_network(net).unwrap()).collect();
        visitor(SocketAddr::new(peer.parse().unwrap(), 4711), false, &headers(pairs), None, &trusted)
    }

    /// What a header of a trusted proxy leads to.
    fn forwarded(pairs: &[(&str, &str)]) -> Result<Visitor, VisitorError> {
        let mut all = vec![("host", "inner")];
        all.extend(pairs);
        ask("127.0.0.1", &all)
    }

    fn host(text: &str) -> Option<String> {
        normal_host(text, Scheme::Https).map(Cow::into_owned)
    }

    #[test]
    fn a_visitor_without_a_proxy_is_the_peer() {
        let visitor = ask("192.0.2.7", &[("host", "Login.Example.COM:3000")]).unwrap();
        let expected = Visitor {
            address: "192.0.2.7".parse().unwrap(),
            scheme: Scheme::Http,
            host: "login.example.com:3000".to_owned(),
            direct: true,
        };
        assert_eq!(visitor, expected);
        assert_eq!(ask("::ffff:192.0.2.7", &[("host", "a")]).unwrap().address, expected.address);
    }

    #[test]
    fn forwarding_headers_of_an_untrusted_peer_are_ignored_yet_seen() {
        let lies = [
            ("host", "real.example"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-for", "not an address"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
        ];
        let visitor = ask("192.0.2.7", &lies).unwrap();
        assert_eq!(visitor.address, "192.0.2.7".parse::<IpAddr>().unwrap());
        assert_eq!((visitor.scheme, visitor.host.as_str(), visitor.direct), (Scheme::Http, "real.example", false));
    }

    #[test]
    fn any_trace_of_a_proxy_makes_a_request_indirect() {
        for name in ["forwarded", "x-forwarded-for", "X_Forwarded_For", "x-real-ip", "via", "x-original-url"] {
            assert!(!ask("192.0.2.7", &[("host", "a"), (name, "x")]).unwrap().direct, "{name}");
        }
    }

    #[test]
    fn a_trusted_proxy_says_who_and_how_and_where() {
        let told = [
            ("x-forwarded-for", "198.51.100.1, 192.0.2.9,10.1.2.3"),
            ("x-forwarded-proto", "HTTPS"),
            ("x-forwarded-host", "Acme.Example.:443"),
        ];
        assert_eq!(forwarded(&[("x-forwarded-proto", "wss")]).unwrap().scheme, Scheme::Https);
        let visitor = forwarded(&told).unwrap();
        assert_eq!(visitor.address, "192.0.2.9".parse::<IpAddr>().unwrap());
        assert_eq!((visitor.scheme, visitor.host.as_str(), visitor.direct), (Scheme::Https, "acme.example", false));
    }

    #[test]
    fn the_client_is_the_first_untrusted_address_from_the_right() {
        for (list, client) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1, 192.0.2.2", "192.0.2.2"),
            ("192.0.2.1, 10.0.0.1, 127.0.0.1", "192.0.2.1"),
            ("10.0.0.9, 10.0.0.1", "10.0.0.9"),
            ("192.0.2.1:8080", "192.0.2.1"),
            ("[2001:db8::1]:8080", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1, ::ffff:10.0.0.1", "2001:db8::1"),
        ] {
            let visitor = forwarded(&[("x-forwarded-for", list)]).unwrap();
            assert_eq!(visitor.address, client.parse::<IpAddr>().unwrap(), "{list}");
        }
        let lines = [("x-forwarded-for", "192.0.2.1, 192.0.2.2"), ("x-forwarded-for", "10.0.0.1")];
        assert_eq!(forwarded(&lines).unwrap().address, "192.0.2.2".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_forwarding_header_that_is_doubled_or_malformed_is_an_error() {
        for (name, values) in [
            (
                "x-forwarded-for",
                &["", "unknown", "192.0.2.1,", "192.0.2.1 192.0.2.2", "[192.0.2.1]", "192.0.2.1:x"][..],
            ),
            ("x-forwarded-proto", &["", "ftp", "https,http", " https"]),
            ("x-forwarded-host", &["", "a, b", "a/b", "user@a", "a:0", "a:65536", "a:", "a b", "a%2eb", "[::1", "a#b"]),
        ] {
            for value in values {
                assert_eq!(forwarded(&[(name, value)]), Err(VisitorError::Forwarded(name)), "{value}");
            }
        }
        for (name, value) in [("x-forwarded-proto", "https"), ("x-forwarded-host", "a.example")] {
            assert_eq!(forwarded(&[(name, value), (name, value)]), Err(VisitorError::Forwarded(name)));
        }
    }

    #[test]
    fn a_host_has_one_form() {
        for (text, normal) in [
            ("EXAMPLE.com", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:443", "example.com"),
            ("example.com:0443", "example.com"),
            ("example.com:80", "example.com:80"),
            ("[0:0::1]:8443", "[::1]:8443"),
            ("[::1]:443", "[::1]"),
            ("my_service", "my_service"),
            ("127.0.0.1:3000", "127.0.0.1:3000"),
        ] {
            assert_eq!(host(text).as_deref(), Some(normal), "{text}");
        }
        let (long_label, long_name) = ("a".repeat(64), "a.".repeat(127) + "a");
        for text in ["", ".", "a..b", ".a", "::1", "[::1]x", "[v1.a]", "a:+80", "a:1:2", "ä", &long_label, &long_name]
        {
            assert_eq!(host(text), None, "{text}");
        }
    }

    #[test]
    fn request_target_and_header_must_name_the_same_host() {
        let ask = |authority, pairs: &[(&str, &str)]| {
            let peer = "192.0.2.7:1".parse().unwrap();
            visitor(peer, true, &headers(pairs), authority, &Networks::default()).map(|visitor| visitor.host)
        };
        assert_eq!(ask(Some("A.example:443"), &[]).unwrap(), "a.example");
        assert_eq!(ask(Some("A.example:443"), &[("host", "a.example")]).unwrap(), "a.example");
        assert_eq!(ask(Some("a.example"), &[("host", "b.example")]), Err(VisitorError::Host));
        assert_eq!(ask(Some("u@a.example"), &[]), Err(VisitorError::Host));
        assert_eq!(ask(None, &[("host", "a"), ("host", "a")]), Err(VisitorError::Host));
        assert_eq!(ask(None, &[]), Err(VisitorError::Host));
    }

    #[test]
    fn a_mapped_address_counts_as_itself() {
        let networks = Networks::loopback();
        assert!(networks.contains("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!networks.contains("::ffff:192.0.2.1".parse().unwrap()));
    }
}
