//! Where we connect to at a provider's word, which may be a lie (server-side request forgery).
//!
//! The issuer, and endpoints that replace discovered ones, are named by an operator: their hosts are asked wherever they
//! are. What a discovery document names besides is no address of this machine, of its link or of a cloud's metadata
//! service; private networks may be, for a provider in the same cluster. An address in a URL is looked at when the
//! document is read, that of a name when it is connected to: what a name is can change in between.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::{ProviderError, ProviderSetupError, fetch};
use crate::config::FetchSettings;

/// Metadata services outside the link-local network: Azure, Alibaba, Oracle Classic.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
/// The same in IPv6, as networks and the lengths of their prefixes: AWS, Google, Scaleway, Oracle.
const METADATA_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
];

/// Whether only an operator may send us there: this machine, its link, everybody on it, or a cloud's metadata service.
/// An IPv4 address in an IPv6 one counts as itself.
fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.octets()[0] == 0
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
                || METADATA_V6.iter().any(|(network, length)| (v6.to_bits() ^ network.to_bits()) >> (128 - length) == 0)
                || embedded_v4(v6).is_some_and(|v4| is_forbidden(v4.into()))
        }
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped or compatible (RFC 4291, section 2.5.5), translated by NAT64 (RFC
/// 6052, section 2.1; RFC 8215) or tunnelled by 6to4 (RFC 3056, section 2).
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let pair = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0 | 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(pair(high, low)),
        _ => None,
    }
}

/// `localhost` and what is below it, which always is this machine (RFC 6761, section 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether a host is this machine, by name or address.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The hosts that an operator named for a provider.
#[derive(Clone, Debug)]
pub(super) struct NamedHosts {
    hosts: Vec<Host<String>>,
    /// Whether the issuer is this machine; then its endpoints may be, too.
    loopback: bool,
}

impl NamedHosts {
    /// Those of the issuer and of the endpoints that replace discovered ones.
    pub(super) fn new(issuer: &Url, endpoints: &BTreeMap<String, Url>) -> Self {
        let hosts = std::iter::once(issuer).chain(endpoints.values()).filter_map(Url::host).map(|host| host.to_owned());
        Self { hosts: hosts.collect(), loopback: is_loopback(issuer) }
    }

    /// Whether `url` is where the operator wished us to go, whatever address that has.
    fn contains(&self, url: &Url) -> bool {
        let named = url.host().is_some_and(|host| self.hosts.contains(&host.to_owned()));
        named || self.loopback && is_loopback(url)
    }

    /// Refuses `url`, which a provider calls its `what`, if by itself it says that it is a place only an operator may
    /// send us to. A name may still turn out to be one.
    ///
    /// # Errors
    /// [`ProviderError::AddressRefused`].
    pub(super) fn check(&self, what: &'static str, url: &Url) -> Result<(), ProviderError> {
        let forbidden = match url.host() {
            Some(Host::Domain(name)) => is_localhost(name),
            Some(Host::Ipv4(address)) => is_forbidden(address.into()),
            Some(Host::Ipv6(address)) => is_forbidden(address.into()),
            None => false,
        };
        if !forbidden || self.contains(url) {
            return Ok(());
        }
        Err(ProviderError::AddressRefused { what, host: url.host_str().unwrap_or_default().to_owned() })
    }
}

/// The clients of one way to providers.
#[derive(Debug)]
pub(super) struct Clients {
    /// For hosts that an operator named.
    named: reqwest::Client,
    /// For others; made when first needed, since each client holds the system's certificates anew.
    others: OnceLock<Option<reqwest::Client>>,
    fetch: FetchSettings,
    loopback: bool,
}

impl Clients {
    /// See [`fetch::builder`]; if wished, answers tell of the server's certificate. They open nothing yet.
    ///
    /// # Errors
    /// Certificates or the proxy are no good.
    pub(super) fn new(fetch: &FetchSettings, loopback: bool, tls_info: bool) -> Result<Self, ProviderSetupError> {
        let builder = fetch::builder(fetch, loopback)?.tls_info(tls_info);
        let named = builder.build().map_err(ProviderSetupError::Client)?;
        Ok(Self { named, others: OnceLock::new(), fetch: fetch.clone(), loopback })
    }

    /// The client that may ask `url`, which the provider calls its `what`.
    ///
    /// # Errors
    /// Nobody named that host, and it is none that others may send us to.
    pub(super) fn of(
        &self,
        hosts: &NamedHosts,
        what: &'static str,
        url: &Url,
    ) -> Result<&reqwest::Client, ProviderError> {
        hosts.check(what, url)?;
        // A proxy looks names up itself; what it connects to is its matter.
        if hosts.contains(url) || self.fetch.proxy.is_some() {
            return Ok(&self.named);
        }
        self.others()
    }

    fn others(&self) -> Result<&reqwest::Client, ProviderError> {
        let others = self.others.get_or_init(|| {
            let builder = fetch::builder(&self.fetch, self.loopback).ok()?;
            builder.dns_resolver(Arc::new(Resolver)).build().ok()
        });
        others.as_ref().ok_or_else(|| ProviderError::Unreachable { reason: "no HTTPS client can be made".to_owned() })
    }
}

/// Looks names up as the system does, and leaves out what only an operator may send us to.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> = found.iter().copied().filter(|found| !is_forbidden(found.ip())).collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(ForbiddenName(name.as_str().to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// A name that has no address but forbidden ones.
#[derive(Debug)]
pub(super) struct ForbiddenName(pub(super) String);

impl fmt::Display for ForbiddenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is an address of this machine, its link or a metadata service", self.0)
    }
}

impl std::error::Error for ForbiddenName {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn url(host: &str) -> Url {
        format!("https://{host}/x").parse().unwrap()
    }

    fn named(issuer: &str) -> NamedHosts {
        NamedHosts::new(&issuer.parse().unwrap(), &BTreeMap::new())
    }

    #[test]
    fn this_machine_its_link_and_metadata_services_are_forbidden_in_every_spelling() {
        let hosts = named("https://id.example/");
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "2130706433",
            "017700000001",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "0.0.0.0",
            "0",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "169.254.170.2",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[::127.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::7f00:1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "[febf::1]",
            "[ff02::1]",
            "[fd00:ec2::254]",
            "[fd00:ec2::23]",
            "[fd20:ce::254]",
        ] {
            let error = hosts.check("jwks_uri", &url(host)).unwrap_err();
            assert_eq!(error.code(), "provider_address_refused", "{host}");
        }
    }

    #[test]
    fn public_and_private_networks_are_allowed() {
        let hosts = named("https://id.example/");
        for host in [
            "id.example",
            "keycloak.auth.svc.cluster.local",
            "localhost.example",
            "notlocalhost",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "192.0.2.1",
            "169.253.0.1",
            "[fd00::1]",
            "[fd20:ce::1]",
            "[fc00::1]",
            "[2001:db8::1]",
            "[64:ff9b::c000:201]",
            "[2002:c000:201::]",
            "[::ffff:10.0.0.1]",
        ] {
            assert_eq!(hosts.check("jwks_uri", &url(host)), Ok(()), "{host}");
        }
    }

    #[test]
    fn where_an_operator_sends_us_we_go() {
        let elsewhere = BTreeMap::from([("token_endpoint".to_owned(), url("169.254.1.1"))]);
        let hosts = NamedHosts::new(&url("127.0.0.2:8443"), &elsewhere);
        for host in ["127.0.0.2", "127.0.0.2:9000", "127.0.0.1", "localhost", "[::1]", "169.254.1.1"] {
            assert_eq!(hosts.check("jwks_uri", &url(host)), Ok(()), "{host}");
        }
        for host in ["169.254.169.254", "0.0.0.0", "[fe80::1]", "[::ffff:127.0.0.1]"] {
            assert!(hosts.check("jwks_uri", &url(host)).is_err(), "{host}");
        }
    }

    fn clients(proxy: Option<&str>) -> Clients {
        let fetch = FetchSettings {
            ca: Vec::new(),
            proxy: proxy.map(|proxy| proxy.parse().unwrap()),
            timeout: Duration::from_secs(30),
            endpoints: BTreeMap::new(),
        };
        Clients::new(&fetch, true, false).unwrap()
    }

    #[tokio::test]
    async fn a_host_that_nobody_named_is_not_connected_to_if_its_name_leads_here() {
        let (clients, hosts) = (clients(None), named("https://id.example/"));
        let client = clients.of(&hosts, "jwks_uri", &url("keys.example")).unwrap();
        // Names that lead here belong to no test machine but this one, which is refused before it is looked up.
        let error = client.get("http://localhost:1/").send().await.unwrap_err();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        assert_eq!(cause.downcast_ref::<ForbiddenName>().unwrap().0, "localhost");
        let error = clients.of(&hosts, "jwks_uri", &url("id.example")).unwrap().get("http://localhost:1/").send().await;
        assert!(error.unwrap_err().is_connect(), "an operator named it: it is tried");
    }

    #[test]
    fn behind_a_proxy_the_proxy_looks_names_up() {
        let (clients, hosts) = (clients(Some("http://127.0.0.1:3128")), named("https://id.example/"));
        assert!(std::ptr::eq(clients.of(&hosts, "jwks_uri", &url("keys.example")).unwrap(), &raw const clients.named));
        assert!(clients.of(&hosts, "jwks_uri", &url("169.254.169.254")).is_err());
    }

    #[tokio::test]
    async fn a_name_without_another_address_is_forbidden() {
        let looked_up = |name: &str| Resolver.resolve(name.parse().unwrap());
        let error = looked_up("localhost").await.err().unwrap();
        assert!(error.downcast_ref::<ForbiddenName>().is_some(), "{error}");
        let addresses: Vec<_> = looked_up("10.0.0.1").await.unwrap().collect();
        assert_eq!(addresses.len(), 1);
    }
}
