//! The way to Redis: which servers there are, and one connection that all who ask share, made at the first question
//! and made anew when it is lost. Questions go out side by side on it; what is asked is the business of `mod.rs`.
//!
//! While nobody can connect, or a connection answers nothing, one of those who ask finds out whether that is over; all
//! others are told at once what is wrong. So a Redis that hangs holds up one request at a time, and not all there are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo as _, Pipeline, RedisConnectionInfo, RedisError, RedisFuture, RedisResult, TlsCertificates,
    TlsMode, Value, from_redis_value,
};
use tokio::time::Instant;

use crate::config::{RedisNode, RedisServers, RedisSettings};
use crate::secret::ExposeSecret as _;
use crate::session::error::{StoreError, is_lost, is_misled};

/// How long it may take to connect to one server, handshakes included.
const CONNECT: Duration = Duration::from_secs(1);
/// How long it may take to find one's way, Sentinels asked and all.
const FIND_WAY: Duration = Duration::from_secs(2);
/// Time between two attempts to connect, so that those who wait while Redis is away share one.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a cluster may answer nothing at all before its connections are made anew; the client itself follows a
/// shard that fails over.
const CLUSTER_SILENCE: Duration = Duration::from_secs(1);
/// How long a server that is not the one to ask is left alone before the question is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Questions that may wait to be written.
const QUEUE: usize = 1024;

/// Which servers there are.
pub(super) struct Servers {
    kind: Kind,
    config: AsyncConnectionConfig,
}

enum Kind {
    Single(Client),
    Sentinel(tokio::sync::Mutex<SentinelClient>),
    /// The nodes that were named, for subscriptions, besides the cluster as a whole.
    Cluster(ClusterClient, Vec<Client>),
}

impl Servers {
    /// The servers of `settings`; connects to none.
    ///
    /// # Errors
    /// Certificates or the private key cannot be used.
    pub(super) fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let login = login(settings.username.as_deref(), settings.password.as_ref());
        let certificates = settings.tls.as_ref().map(|tls| TlsCertificates {
            client_tls: tls.client.as_ref().map(|(certificate, key)| ClientTlsConfig {
                client_cert: certificate.clone().into_bytes(),
                client_key: key.expose_secret().as_bytes().to_vec(),
            }),
            root_cert: tls.ca.clone().map(String::into_bytes),
        });
        let kind = match &settings.servers {
            RedisServers::Single(node, database) => {
                Kind::Single(client(node, login.set_db(*database), certificates.as_ref())?)
            }
            RedisServers::Sentinel { nodes, master, username, password } => {
                let addresses = nodes.iter().map(|node| address(node, certificates.is_some()));
                let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?;
                if let Some(certificates) = certificates {
                    builder = builder
                        .set_client_to_sentinel_certificates(certificates.clone())
                        .set_client_to_redis_certificates(certificates)
                        .set_client_to_redis_tls_mode(TlsMode::Secure);
                }
                if let Some(name) = &settings.username {
                    builder = builder.set_client_to_redis_username(name);
                }
                if let Some(password) = &settings.password {
                    builder = builder.set_client_to_redis_password(password.expose_secret());
                }
                if let Some(name) = username {
                    builder = builder.set_client_to_sentinel_username(name);
                }
                if let Some(password) = password {
                    builder = builder.set_client_to_sentinel_password(password.expose_secret());
                }
                Kind::Sentinel(tokio::sync::Mutex::new(builder.build()?))
            }
            RedisServers::Cluster(nodes) => {
                let info = |node| info(node, login.clone(), certificates.is_some());
                let infos = nodes.iter().map(info).collect::<RedisResult<Vec<_>>>()?;
                let clients = nodes.iter().map(|node| client(node, login.clone(), certificates.as_ref()));
                let clients = clients.collect::<RedisResult<_>>()?;
                let mut builder = ClusterClient::builder(infos)
                    .connection_timeout(CONNECT)
                    .response_timeout(settings.timeout)
                    .overall_response_timeout(None)
                    .retries(4)
                    .min_retry_wait(20)
                    .max_retry_wait(200);
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                Kind::Cluster(builder.build()?, clients)
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            // Each operation as a whole is bounded by who asks.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        Ok(Self { kind, config })
    }

    /// Whether there ought to be a replica of each master: whoever has Sentinels or a cluster has them for that.
    const fn have_replicas(&self) -> bool {
        !matches!(self.kind, Kind::Single(_))
    }

    async fn connect(&self) -> RedisResult<Connection> {
        match &self.kind {
            Kind::Single(client) => self.connect_to(client).await,
            Kind::Sentinel(sentinels) => {
                let client = sentinels.lock().await.async_get_client().await?;
                self.connect_to(&client).await
            }
            Kind::Cluster(client, _) => Ok(Connection::Cluster(client.get_async_connection().await?)),
        }
    }

    async fn connect_to(&self, client: &Client) -> RedisResult<Connection> {
        let connection = client.get_multiplexed_async_connection_with_config(&self.config).await?;
        let address = client.get_connection_info().addr().to_string();
        Ok(Connection::Server(connection, address.into()))
    }

    /// Where the Sentinels say that the master is; `None` without Sentinels.
    async fn master(&self) -> RedisResult<Option<String>> {
        let Kind::Sentinel(sentinels) = &self.kind else { return Ok(None) };
        let client = sentinels.lock().await.async_get_client().await?;
        Ok(Some(client.get_connection_info().addr().to_string()))
    }

    /// A connection of its own that subscribes. Every node of a cluster tells what was published at any other.
    async fn subscriber(&self) -> RedisResult<PubSub> {
        match &self.kind {
            Kind::Single(client) => client.get_async_pubsub().await,
            Kind::Sentinel(sentinels) => {
                let client = sentinels.lock().await.async_get_client().await?;
                client.get_async_pubsub().await
            }
            Kind::Cluster(_, clients) => {
                let mut last = None;
                for client in clients {
                    match tokio::time::timeout(CONNECT, client.get_async_pubsub()).await {
                        Ok(Ok(subscriber)) => return Ok(subscriber),
                        Ok(Err(error)) => last = Some(error),
                        Err(_) => {}
                    }
                }
                Err(last.unwrap_or_else(too_slow))
            }
        }
    }
}

fn too_slow() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

fn login(username: Option<&str>, password: Option<&crate::secret::SecretString>) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_lib_name("lychgate", env!("CARGO_PKG_VERSION"));
    if let Some(name) = username {
        login = login.set_username(name);
    }
    if let Some(password) = password {
        login = login.set_password(password.expose_secret());
    }
    login
}

fn address(node: &RedisNode, tls: bool) -> ConnectionAddr {
    let (host, port) = (node.host.clone(), node.port);
    if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn info(node: &RedisNode, login: RedisConnectionInfo, tls: bool) -> RedisResult<ConnectionInfo> {
    Ok(address(node, tls).into_connection_info()?.set_redis_settings(login))
}

fn client(node: &RedisNode, login: RedisConnectionInfo, certificates: Option<&TlsCertificates>) -> RedisResult<Client> {
    let info = info(node, login, certificates.is_some())?;
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        None => Client::open(info),
    }
}

#[derive(Clone)]
enum Connection {
    /// One server, and which.
    Server(MultiplexedConnection, Arc<str>),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection, _) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection, _) => connection.req_packed_commands(cmd, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection, _) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// The shared connection; cheap to clone.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    servers: Arc<Servers>,
    live: Mutex<Option<Live>>,
    /// Held by the one who connects.
    connecting: Arc<tokio::sync::Mutex<()>>,
    /// Why there is no connection, and when that was last found; none if nobody has tried, or one was merely lost.
    failure: Mutex<Option<(Instant, StoreError)>>,
    begun: Instant,
    connections: AtomicU64,
}

#[derive(Clone)]
struct Live {
    number: u64,
    connection: Connection,
    /// When it was made, in milliseconds since the link began.
    made: u64,
    /// When it was made or last answered, the same way.
    answered: Arc<AtomicU64>,
}

impl Link {
    /// A link that is not connected yet.
    pub(super) fn new(servers: Arc<Servers>) -> Self {
        Self(Arc::new(Inner {
            servers,
            live: Mutex::default(),
            connecting: Arc::default(),
            failure: Mutex::default(),
            begun: Instant::now(),
            connections: AtomicU64::new(0),
        }))
    }

    /// Whether there ought to be a replica of each master.
    pub(super) fn has_replicas(&self) -> bool {
        self.0.servers.have_replicas()
    }

    /// Asks a question, and once more, over a new connection, if this one turns out to be lost or to lead to a server that
    /// is not the one to ask, as while Redis fails over: every question of ours may be asked twice.
    pub(super) async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> Result<T, StoreError> {
        self.ask_at(None, question).await
    }

    /// Asks the master of a slot; without one, whoever the question's keys belong to.
    pub(super) async fn ask_at<T: FromRedisValue>(&self, at: Option<Route>, question: &Cmd) -> Result<T, StoreError> {
        let answer = match self.ask_once(at, question).await? {
            Err(error) if is_lost(&error) => self.ask_once(at, question).await??,
            Err(error) if is_misled(&error) => {
                tokio::time::sleep(AGAIN_AFTER).await;
                self.ask_once(at, question).await??
            }
            answer => answer?,
        };
        from_redis_value(answer).map_err(|error| RedisError::from(error).into())
    }

    async fn ask_once(&self, at: Option<Route>, question: &Cmd) -> Result<RedisResult<Value>, StoreError> {
        let mut live = self.live().await?;
        let answer = match (&mut live.connection, at) {
            (Connection::Cluster(cluster), Some(route)) => {
                let to = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
                cluster.route_command(question.clone(), to).await
            }
            (connection, _) => connection.req_packed_command(question).await,
        };
        let answer = answer.and_then(Value::extract_error);
        match &answer {
            Err(error) if is_lost(error) => self.lose(&live),
            Err(error) if is_misled(error) => self.distrust(&live),
            // Any answer shows that the connection works.
            _ => live.answered.store(self.elapsed(), Ordering::Relaxed),
        }
        Ok(answer)
    }

    /// A route to each master; `None` means the one server.
    pub(super) async fn masters(&self) -> Result<Vec<Option<Route>>, StoreError> {
        if !matches!(self.0.servers.kind, Kind::Cluster(..)) {
            return Ok(vec![None]);
        }
        let ranges: Vec<Vec<Value>> = self.ask(redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let mut masters = BTreeMap::new();
        for range in ranges {
            if let [Value::Int(first), _, Value::Array(master), ..] = &range[..]
                && let (Ok(slot), Some(id)) = (u16::try_from(*first), master.get(2))
            {
                masters.entry(format!("{id:?}")).or_insert(Some(Route::new(slot, SlotAddr::Master)));
            }
        }
        Ok(masters.into_values().collect())
    }

    /// Which servers are masters: of a cluster those who say so, else the one that we are connected to.
    pub(super) async fn servers(&self) -> Result<Vec<String>, StoreError> {
        if !matches!(self.0.servers.kind, Kind::Cluster(..)) {
            return Ok(match self.live().await?.connection {
                Connection::Server(_, address) => vec![address.to_string()],
                Connection::Cluster(_) => Vec::new(),
            });
        }
        let ranges: Vec<Vec<Value>> = self.ask(redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let master = |range: &Vec<Value>| format!("{:?} {:?} {:?}", range.first(), range.get(1), range.get(2));
        let mut masters: Vec<String> = ranges.iter().map(master).collect();
        masters.sort_unstable();
        Ok(masters)
    }

    /// Leaves a connection on which nothing was answered since `asked`: until another can be made, nobody waits.
    pub(super) fn suspect(&self, asked: Instant) {
        let asked = asked.saturating_duration_since(self.0.begun).as_millis() as u64;
        if let Some(live) = self.current().filter(|live| live.answered.load(Ordering::Relaxed) <= asked) {
            self.fail(StoreError::Slow);
            self.leave(&live);
        }
    }

    /// Where the Sentinels say that the master is; `None` without Sentinels.
    pub(super) async fn master(&self) -> Result<Option<String>, StoreError> {
        self.0.servers.master().await.map_err(StoreError::unreachable)
    }

    /// Leaves a server that is not this master.
    pub(super) fn follow(&self, master: &str) {
        if let Some(live) = self.current()
            && let Connection::Server(_, address) = &live.connection
            && **address != *master
        {
            self.leave(&live);
        }
    }

    /// A connection of its own that subscribes.
    ///
    /// # Errors
    /// No server can be reached.
    pub(super) async fn subscriber(&self) -> Result<PubSub, StoreError> {
        let connecting = tokio::time::timeout(FIND_WAY, self.0.servers.subscriber()).await;
        connecting.unwrap_or_else(|_| Err(too_slow())).map_err(StoreError::unreachable)
    }

    async fn live(&self) -> Result<Live, StoreError> {
        if let Some(live) = self.current() {
            return Ok(live);
        }
        let connecting = Arc::clone(&self.0.connecting);
        let turn = match (self.failure(), Arc::clone(&connecting).try_lock_owned()) {
            (Some((at, error)), _) if at.elapsed() < PAUSE => return Err(error),
            // Somebody is finding out.
            (Some((_, error)), Err(_)) => return Err(error),
            (_, Ok(turn)) => turn,
            (None, Err(_)) => connecting.lock_owned().await,
        };
        let link = self.clone();
        // Goes on if the one who asked does not wait any more: the next finds it done.
        let connecting = tokio::spawn(async move {
            let connected = link.connect().await;
            drop(turn);
            connected
        });
        // The task fails only when the runtime ends.
        connecting.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn connect(&self) -> Result<Live, StoreError> {
        // Others may have tried while we waited for our turn.
        if let Some(live) = self.current() {
            return Ok(live);
        }
        let failure = self.failure();
        if let Some((at, error)) = &failure
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        let connecting = tokio::time::timeout(FIND_WAY, self.0.servers.connect()).await;
        match connecting.unwrap_or_else(|_| Err(too_slow())) {
            Ok(connection) => {
                let number = self.0.connections.fetch_add(1, Ordering::Relaxed);
                let made = self.elapsed();
                let live = Live { number, connection, made, answered: Arc::new(AtomicU64::new(made)) };
                *self.slot() = Some(live.clone());
                self.failure_slot().take();
                if failure.is_some() || number > 0 {
                    tracing::info!("connected to Redis again");
                }
                Ok(live)
            }
            Err(error) => {
                let error = StoreError::unreachable(error);
                self.fail(error.clone());
                Err(error)
            }
        }
    }

    fn failure(&self) -> Option<(Instant, StoreError)> {
        self.failure_slot().clone()
    }

    fn fail(&self, error: StoreError) {
        *self.failure_slot() = Some((Instant::now(), error));
    }

    fn failure_slot(&self) -> MutexGuard<'_, Option<(Instant, StoreError)>> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a connection that seems lost. A cluster's holds many, and repairs each by itself: it is left only if
    /// nothing is answered on any of them.
    fn lose(&self, live: &Live) {
        let silence = self.elapsed().saturating_sub(live.answered.load(Ordering::Relaxed));
        if !matches!(live.connection, Connection::Cluster(_)) || u128::from(silence) >= CLUSTER_SILENCE.as_millis() {
            self.leave(live);
        }
    }

    /// Leaves a connection that leads to a server that is not the one to ask. A cluster's that is new knows no better.
    fn distrust(&self, live: &Live) {
        let age = u128::from(self.elapsed().saturating_sub(live.made));
        if !matches!(live.connection, Connection::Cluster(_)) || age >= CLUSTER_SILENCE.as_millis() {
            self.leave(live);
        }
    }

    fn leave(&self, live: &Live) {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|current| current.number == live.number) {
            *slot = None;
            tracing::warn!("connection to Redis lost");
        }
    }

    fn current(&self) -> Option<Live> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Live>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> u64 {
        self.0.begun.elapsed().as_millis() as u64
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link(…)")
    }
}
