//! Where sessions are kept: the section `[sessions]`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use url::Url;

use super::reader::Reader;
use crate::secret::SecretString;

/// Redis' port if a URL names none.
const REDIS_PORT: u16 = 6379;
/// The Sentinels' port if a URL names none.
const SENTINEL_PORT: u16 = 26379;
/// Everything that only Redis needs.
const REDIS_KEYS: [&str; 16] = [
    "sessions.redis_url",
    "sessions.redis_cluster",
    "sessions.redis_sentinels",
    "sessions.redis_master",
    "sessions.redis_username",
    "sessions.redis_password",
    "sessions.redis_password_file",
    "sessions.redis_sentinel_username",
    "sessions.redis_sentinel_password",
    "sessions.redis_sentinel_password_file",
    "sessions.redis_ca_file",
    "sessions.redis_certificate_file",
    "sessions.redis_key_file",
    "sessions.redis_prefix",
    "sessions.redis_timeout",
    "sessions.stale_session_grace",
];
/// The three that say where Redis is.
const PLACES: [&str; 3] = ["sessions.redis_url", "sessions.redis_cluster", "sessions.redis_sentinels"];

/// Where sessions are kept.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Which store.
    pub store: StoreKind,
    /// Bytes of memory for sessions read lately.
    pub cache_bytes: u64,
}

/// The kinds of session store.
#[derive(Clone, Debug, Default)]
pub enum StoreKind {
    /// SQLite in the data folder, for one process.
    #[default]
    Embedded,
    /// Redis or Valkey, shared by several processes.
    Redis(Box<RedisSettings>),
}

/// How Redis is reached.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Which servers.
    pub servers: RedisServers,
    /// TLS to all of them, Sentinels included.
    pub tls: Option<RedisTls>,
    /// The ACL user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
    /// What all our keys begin with.
    pub prefix: String,
    /// How long an operation may take.
    pub timeout: Duration,
    /// How long sessions in memory go on while Redis does not answer.
    pub stale_grace: Duration,
}

/// Which servers.
#[derive(Clone, Debug)]
pub enum RedisServers {
    /// One server, and the number of its database.
    Single(RedisNode, i64),
    /// The master that Sentinels know by a name.
    Sentinel {
        /// The Sentinels.
        nodes: Vec<RedisNode>,
        /// The master's name.
        master: String,
        /// The ACL user at the Sentinels.
        username: Option<String>,
        /// Its password.
        password: Option<SecretString>,
    },
    /// A cluster; the nodes by which the others are found.
    Cluster(Vec<RedisNode>),
}

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisNode {
    /// Name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// TLS to Redis.
#[derive(Clone, Default)]
pub struct RedisTls {
    /// Certificates, PEM, trusted instead of the system's.
    pub ca: Option<String>,
    /// Our own certificate chain and its private key, PEM.
    pub client: Option<(String, SecretString)>,
}

impl RedisServers {
    /// The servers that are named: of a cluster and of Sentinels, the others are found through them.
    pub fn nodes(&self) -> &[RedisNode] {
        match self {
            Self::Single(node, _) => std::slice::from_ref(node),
            Self::Sentinel { nodes, .. } | Self::Cluster(nodes) => nodes,
        }
    }
}

impl RedisNode {
    /// Whether the way there stays on this machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.host.as_str();
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

impl fmt::Debug for RedisTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTls")
            .field("ca", &self.ca.is_some())
            .field("client", &self.client.is_some())
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Embedded,
    Redis,
}

/// Reads the section for so many replicas: several need a store that they share.
pub(super) fn read(reader: &mut Reader<'_>, replicas: u64) -> StoreSettings {
    let kind = reader.choice("sessions.store", &[("embedded", Kind::Embedded), ("redis", Kind::Redis)]);
    let cache_bytes = reader.size("sessions.cache", &((1 << 20)..=(1 << 40))).unwrap_or(1 << 20);
    // Read in any case, so that a mistake in it is reported.
    let redis = redis(reader);
    let store = match (kind, redis) {
        (Some(Kind::Redis), Some(redis)) => StoreKind::Redis(Box::new(redis)),
        (Some(Kind::Redis), None) => {
            if !PLACES.iter().any(|place| reader.is_set(place)) {
                let help = "name the server; or redis_cluster, or redis_sentinels and redis_master";
                reader.fault("sessions.redis_url", "is missing", Some(help));
            }
            StoreKind::Embedded
        }
        (Some(Kind::Embedded), _) => {
            for key in REDIS_KEYS.iter().filter(|key| reader.is_set(key)).copied().collect::<Vec<_>>() {
                reader.fault(key, "is given, but sessions.store is embedded", Some("set sessions.store = \"redis\""));
            }
            if replicas > 1 {
                let reason = format!(
                    "is embedded, but there are {replicas} replicas: each would keep sessions that the others do not know"
                );
                let help = "set sessions.store = \"redis\" and say where it is, or replicas = 1";
                reader.fault("sessions.store", reason, Some(help));
            }
            StoreKind::Embedded
        }
        (None, _) => StoreKind::Embedded,
    };
    StoreSettings { store, cache_bytes }
}

/// Reads what is needed for Redis; `None` if it is not said where that is, or badly.
fn redis(reader: &mut Reader<'_>) -> Option<RedisSettings> {
    let url = reader.parsed("sessions.redis_url", |text| server(text, REDIS_PORT));
    let cluster = reader.list("sessions.redis_cluster", |text| member(text, REDIS_PORT)).unwrap_or_default();
    let sentinels = reader.list("sessions.redis_sentinels", |text| member(text, SENTINEL_PORT)).unwrap_or_default();
    let master = reader.text("sessions.redis_master");
    let sentinel_username = reader.text("sessions.redis_sentinel_username");
    let sentinel_password = reader.secret("sessions.redis_sentinel_password");
    let username = reader.text("sessions.redis_username");
    let password = reader.secret("sessions.redis_password");
    let files = tls_files(reader);
    let prefix = reader.parsed("sessions.redis_prefix", prefix).unwrap_or_default();
    let (least, most) = (Duration::from_millis(100), Duration::from_secs(30));
    let timeout = reader.duration("sessions.redis_timeout", &(least..=most)).unwrap_or(most);

    let grace = Duration::ZERO..=Duration::from_mins(10);
    let stale_grace = reader.duration("sessions.stale_session_grace", &grace).unwrap_or_default();

    let places: Vec<&str> = PLACES.into_iter().filter(|place| reader.is_set(place)).collect();
    if let [first, others @ ..] = &places[..] {
        for other in others {
            let other = (*other).to_owned();
            reader.fault(&other, format!("and {first} are both given"), Some("Redis is in one place: leave one out"));
        }
    }
    for key in ["sessions.redis_master", "sessions.redis_sentinel_username", "sessions.redis_sentinel_password"] {
        if reader.is_set(key) && sentinels.is_empty() {
            reader.fault(key, "is given, but no redis_sentinels", Some("leave it out, or name the Sentinels"));
        }
    }
    if !sentinels.is_empty() && !reader.is_set("sessions.redis_master") {
        reader.fault("sessions.redis_master", "is missing", Some("the name by which the Sentinels know the master"));
    }
    if url.as_ref().is_some_and(|url| url.password.is_some()) {
        for key in ["sessions.redis_password", "sessions.redis_password_file"] {
            if reader.is_set(key) {
                reader.fault(key, "and a password in redis_url are both given", Some("leave one of them out"));
            }
        }
    }
    for (key, empty) in [(PLACES[1], cluster.is_empty()), (PLACES[2], sentinels.is_empty())] {
        if reader.is_set(key) && empty {
            reader.fault(key, "names no server that can be used", None);
        }
    }
    let schemes = [url.as_ref().map(|url| url.tls)].into_iter().flatten();
    let schemes = schemes.chain(cluster.iter().chain(&sentinels).map(|member| member.tls));
    let schemes: Vec<bool> = schemes.collect();
    let tls = schemes.first().copied().unwrap_or_default();
    if let (Some(place), true) = (places.first(), schemes.iter().any(|one| *one != tls)) {
        reader.fault(place, "mixes redis:// and rediss://", Some("use TLS to all of them, or to none"));
    }
    if let (Some(place), Some(_), false) = (places.first(), &files, tls) {
        let help = "write rediss://, or leave the files out";
        reader.fault(place, "is without TLS, but files for TLS are given", Some(help));
    }

    let nodes = |members: Vec<Member>| members.into_iter().map(|member| member.node).collect::<Vec<_>>();
    let (mut login, servers) = if let Some(url) = url {
        ((url.username, url.password), RedisServers::Single(url.node, url.database))
    } else if !cluster.is_empty() {
        ((None, None), RedisServers::Cluster(nodes(cluster)))
    } else if !sentinels.is_empty() {
        let (username, password) = (sentinel_username, sentinel_password);
        ((None, None), RedisServers::Sentinel { nodes: nodes(sentinels), master: master?, username, password })
    } else {
        return None;
    };
    login = (username.or(login.0), password.or(login.1));
    let tls = tls.then(|| files.unwrap_or_default());
    Some(RedisSettings { servers, tls, username: login.0, password: login.1, prefix, timeout, stale_grace })
}

fn tls_files(reader: &mut Reader<'_>) -> Option<RedisTls> {
    let ca = reader.file("sessions.redis_ca_file");
    let (certificate, key) = (reader.file("sessions.redis_certificate_file"), reader.file("sessions.redis_key_file"));
    let [has_certificate, has_key] =
        ["sessions.redis_certificate_file", "sessions.redis_key_file"].map(|path| reader.is_set(path));
    if has_certificate && !has_key {
        reader.fault("sessions.redis_key_file", "is missing", Some("a certificate needs its private key"));
    }
    if has_key && !has_certificate {
        reader.fault("sessions.redis_certificate_file", "is missing", Some("a private key needs its certificate"));
    }
    let client = certificate.zip(key.map(SecretString::from));
    (ca.is_some() || client.is_some()).then_some(RedisTls { ca, client })
}

#[derive(PartialEq)]
struct Member {
    node: RedisNode,
    tls: bool,
}

struct Server {
    node: RedisNode,
    tls: bool,
    username: Option<String>,
    password: Option<SecretString>,
    database: i64,
}

/// Reads one of several nodes: no user, no password, no database.
fn member(text: &str, port: u16) -> Result<Member, String> {
    let server = server(text, port)?;
    if server.username.is_some() || server.password.is_some() {
        return Err("holds a user name or password; write them into redis_username and redis_password_file".into());
    }
    if server.database != 0 {
        return Err("names a database; Sentinels and clusters have none but 0".into());
    }
    Ok(Member { node: server.node, tls: server.tls })
}

/// Reads `redis[s]://[[user]:password@]host[:port][/database]`. What it says of a mistake holds nothing of the text.
fn server(text: &str, port: u16) -> Result<Server, String> {
    let wrong = || "is not a URL such as rediss://redis.internal:6379".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        _ => return Err("does not begin with redis:// or rediss://".into()),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
    let database = match url.path().trim_matches('/') {
        "" => 0,
        number => number
            .parse()
            .ok()
            .filter(|number| (0..1 << 16).contains(number))
            .ok_or("has a path that is no database's number")?,
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment".into());
    }
    let decoded = |text: &str| {
        let plain = percent_encoding::percent_decode_str(text).decode_utf8();
        plain.map(Cow::into_owned).map_err(|_| "holds a user or password that is not UTF-8".to_owned())
    };
    let node = RedisNode {
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: url.port().unwrap_or(port),
    };
    let username = Some(decoded(url.username())?).filter(|name| !name.is_empty());
    let password = url.password().map(decoded).transpose()?.map(SecretString::from);
    Ok(Server { node, tls, username, password, database })
}

fn prefix(text: &str) -> Result<String, String> {
    let good = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":._-".contains(&byte));
    if good { Ok(text.to_owned()) } else { Err("may hold letters, digits, `:`, `.`, `_` and `-`, at most 64".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ExposeSecret as _;

    #[test]
    fn a_url_says_where_redis_is_and_who_asks() {
        let url = server("rediss://gate%20way:p%40ss@[::1]:7000/3", REDIS_PORT).ok().unwrap();
        assert_eq!((url.node.host.as_str(), url.node.port, url.tls, url.database), ("::1", 7000, true, 3));
        assert_eq!(url.username.as_deref(), Some("gate way"));
        assert_eq!(url.password.unwrap().expose_secret(), "p@ss");
        assert!(url.node.is_loopback());
        let url = server("redis://redis.internal", REDIS_PORT).ok().unwrap();
        assert_eq!((url.node.port, url.tls, url.database), (6379, false, 0));
        assert!(!url.node.is_loopback() && url.username.is_none() && url.password.is_none());
    }

    #[test]
    fn what_is_no_address_of_redis_is_refused_without_its_text() {
        for bad in
            ["", "secret", "http://secret", "redis://", "redis://:secret@", "redis://h/secret", "redis://h/?secret"]
        {
            let said = server(bad, 1).err().unwrap_or_else(|| panic!("{bad} is good"));
            assert!(!said.contains("secret"), "{said}");
        }
        for bad in ["redis://u@h", "redis://:secret@h", "redis://h/1"] {
            assert!(member(bad, 1).is_err(), "{bad}");
        }
    }
}
