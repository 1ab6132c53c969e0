//! What is Redis' own. Tests that need it are ignored unless asked for; `tests/with-redis` starts it.

use ::redis::cmd;

use super::*;
use crate::config::{RedisNode, RedisServers, RedisSettings, Sources, load};

/// The settings that `tests/with-redis` wrote, with a prefix that nobody else has.
pub(super) fn settings(cache_bytes: u64) -> StoreSettings {
    let file = std::env::var_os(REDIS).unwrap_or_else(|| {
        panic!(
            "{REDIS} does not name a settings file: run this by `tests/with-redis single|sentinel|cluster cargo test …`"
        )
    });
    let sources = Sources { config: Some(file.into()), ..Sources::default() };
    let StoreKind::Redis(redis) = load(&sources).expect("good settings").settings.sessions.store else {
        panic!("{REDIS} names settings of another store");
    };
    let redis = RedisSettings { prefix: format!("test-{}:", secret::random_text()), ..*redis };
    StoreSettings { store: StoreKind::Redis(redis.into()), cache_bytes }
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn the_redis_of_the_tests_answers() {
    let house = House::with(settings(PLENTY)).await;
    house.sessions.check().await.unwrap();
    assert_eq!(house.sessions.store.label(), "redis");
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn every_key_but_a_users_lives_no_longer_than_what_it_is_of() {
    let house = House::with(settings(PLENTY)).await;
    let redis = house.sessions.store.as_redis();
    let ttl = async |kind: &str| -> Vec<i64> {
        let mut all = Vec::new();
        for key in redis.keys().await.iter().filter(|key| key.contains(&format!(":{kind}:"))) {
            all.push(redis.ask(cmd("TTL").arg(key)).await);
        }
        all.sort_unstable();
        all
    };
    let near = |ttl: Vec<i64>, wanted: &[i64]| {
        let near = ttl.len() == wanted.len()
            && ttl.iter().zip(wanted).all(|(one, wanted)| (wanted - 30..=*wanted).contains(one));
        assert!(near, "{ttl:?} is not {wanted:?}");
    };
    let soon = house.clock.now().plus(HOUR);
    house.sign_in_as(NewSession { session_expiry: Some(soon), ..ada() }).await;
    near(ttl("sub").await, &[HOUR]);
    let (cookie, session) = house.sign_in().await;
    house.sessions.use_attempt(&house.acme, "attempt").await.unwrap();
    house.sessions.remember_user(&house.acme, &grace()).await.unwrap();
    house.sessions.check().await.unwrap();
    near(ttl("session").await, &[HOUR, DAY + 60]);
    near(ttl("sub").await, &[7 * DAY]);
    near(ttl("sid").await, &[7 * DAY]);
    near(ttl("attempt").await, &[600]);
    near(ttl("probe").await, &[60]);
    assert_eq!(ttl("user").await, [-1]);

    house.clock.advance(6 * DAY + DAY / 2);
    let later = SessionLimits { idle: Duration::from_secs(30 * DAY as u64), ..limits() };
    house.sessions.find(&house.acme, &later, &cookie).await.unwrap().unwrap();
    until(|| session.untold().is_none()).await;
    near(ttl("session").await, &[HOUR, DAY / 2]);
    house.sessions.end(&session, EndReason::Logout).await.unwrap();
    near(ttl("ended").await, &[600]);
    near(ttl("session").await, &[HOUR]);
    let mut left = redis.keys().await;
    left.retain(|key| key.contains(":sub:") || key.contains(":sid:"));
    for index in left {
        let members: i64 = redis.ask(cmd("ZCARD").arg(&index)).await;
        assert_eq!(members, 1, "what ended is in no index");
    }
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_dump_of_redis_holds_nothing_that_can_be_read() {
    let house = House::with(settings(PLENTY)).await;
    let (cookie, _) = house.sign_in().await;
    let (_, ended) = house.sign_in().await;
    house.sessions.end(&ended, EndReason::Logout).await.unwrap();
    house.sessions.remember_user(&house.acme, &grace()).await.unwrap();
    house.sessions.use_attempt(&house.acme, "attempt").await.unwrap();
    let redis = house.sessions.store.as_redis();
    let mut content = Vec::new();
    for key in redis.keys().await {
        content.extend(key.as_bytes());
        let (kind, dump): (String, Vec<u8>) =
            (redis.ask(cmd("TYPE").arg(&key)).await, redis.ask(cmd("DUMP").arg(&key)).await);
        content.extend(dump);
        // Redis' dumps may be compressed; these are not.
        match kind.as_str() {
            "hash" => content.extend(redis.ask::<Vec<Vec<u8>>>(cmd("HGETALL").arg(&key)).await.concat()),
            "string" => content.extend(redis.ask::<Vec<u8>>(cmd("GET").arg(&key)).await),
            _ => content.extend(redis.ask::<Vec<Vec<u8>>>(cmd("ZRANGE").arg(&key).arg(0).arg(-1)).await.concat()),
        }
    }
    let holds = |needle: &[u8]| content.windows(needle.len()).any(|window| window == needle);
    assert!(content.len() > 1000 && holds(b"record"));
    for secret in READABLE {
        assert!(!holds(secret.as_bytes()), "{secret}");
    }
    let bytes = from_base64url(&cookie).unwrap();
    assert!(!holds(cookie.as_bytes()) && !holds(&bytes[4..20]) && !holds(&bytes[20..]), "parts of the cookie");
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn word_of_an_end_outlives_the_loss_of_it() {
    let house = House::with(settings(PLENTY)).await;
    let (cookie, session) = house.sign_in().await;
    let redis = house.sessions.store.as_redis();
    let key = redis.keys().await.into_iter().find(|key| key.contains(":session:")).unwrap();
    let fields: Vec<Vec<u8>> = redis.ask(cmd("HGETALL").arg(&key)).await;
    house.sessions.end(&session, EndReason::Logout).await.unwrap();
    // A replica that became master may still have it.
    let bring_back = async || redis.ask::<()>(cmd("HSET").arg(&key).arg(&fields)).await;
    bring_back().await;
    assert!(house.find(&cookie).await.is_none());
    bring_back().await;
    house.clock.advance(HOUR);
    house.sessions.store.touch(session.see(&limits(), house.clock.now()).unwrap()).await.unwrap();
    assert_eq!(redis.ask::<i64>(cmd("EXISTS").arg(&key)).await, 0);
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn what_is_published_is_heard() {
    let house = House::with(settings(PLENTY)).await;
    let redis = house.sessions.store.as_redis();
    let mut messages = redis.subscribe().await.unwrap();
    redis.publish("word").await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(5), messages.next()).await;
    assert_eq!(heard.expect("in time").unwrap(), b"word");
}

/// A server of the test's own.
pub(super) struct Server {
    folder: TempDir,
    process: std::process::Child,
    port: u16,
    password: &'static str,
}

impl Server {
    pub(super) async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let server = Self { process: Self::spawn(port, &folder), folder, port, password: "open sesame" };
        server.is_up().await;
        server
    }

    fn spawn(port: u16, folder: &TempDir) -> std::process::Child {
        std::process::Command::new("redis-server")
            .current_dir(folder)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--requirepass", "open sesame"])
            .args(["--repl-diskless-sync-delay", "0"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("redis-server, of Debian's package of that name")
    }

    async fn is_up(&self) {
        let client = self.client();
        let asks = async {
            while client.get_multiplexed_async_connection().await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asks).await.expect("redis-server is up");
    }

    fn client(&self) -> ::redis::Client {
        ::redis::Client::open(format!("redis://:open%20sesame@127.0.0.1:{}", self.port)).unwrap()
    }

    pub(super) async fn tell(&self, words: &[&str]) {
        let mut admin = self.client().get_multiplexed_async_connection().await.unwrap();
        cmd(words[0]).arg(&words[1..]).exec_async(&mut admin).await.unwrap();
    }

    /// Waits until its state of replication holds `wanted`.
    async fn says(&self, wanted: &str) {
        let mut admin = self.client().get_multiplexed_async_connection().await.unwrap();
        let asks = async {
            while !cmd("INFO").arg("replication").query_async::<String>(&mut admin).await.unwrap().contains(wanted) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asks).await.expect(wanted);
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(super) async fn start_again(&mut self) {
        self.process = Self::spawn(self.port, &self.folder);
        self.is_up().await;
    }

    pub(super) fn settings(&self) -> StoreSettings {
        Self::settings_at(self.port, Some(self.password))
    }

    fn settings_at(port: u16, password: Option<&str>) -> StoreSettings {
        let redis = RedisSettings {
            servers: RedisServers::Single(RedisNode { host: "127.0.0.1".into(), port }, 0),
            tls: None,
            username: None,
            password: password.map(|password| password.to_owned().into()),
            prefix: "lychgate:".into(),
            timeout: Duration::from_millis(500),
            stale_grace: Duration::from_secs(30),
        };
        StoreSettings { store: StoreKind::Redis(redis.into()), cache_bytes: PLENTY }
    }

    /// Sends a signal to the process.
    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.unwrap().success());
    }

    pub(super) async fn house(&self) -> House {
        House::with(self.settings()).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn redis_may_go_and_come_back() {
    let mut server = Server::start().await;
    let house = server.house().await;
    let (hot, session) = house.sign_in().await;
    let (cold, _) = house.sign_in().await;
    house.sessions.near.sessions.invalidate_all();
    house.find(&hot).await.unwrap();
    server.kill();
    let error = house.sessions.find(&house.acme, &limits(), &cold).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    assert!(house.find(&hot).await.is_some(), "who is in the cache goes on");
    assert!(matches!(house.sessions.create(&house.acme, &limits(), ada()).await, Err(StoreError::Unreachable(_))));
    assert!(matches!(house.sessions.use_attempt(&house.acme, "attempt").await, Err(StoreError::Unreachable(_))));
    assert!(matches!(house.sessions.end(&session, EndReason::Logout).await, Err(StoreError::Unreachable(_))));
    assert!(matches!(house.sessions.check().await, Err(StoreError::Unreachable(_))));
    assert_eq!(house.metric(r#"session_store_up{store="redis"}"#), 0);
    server.start_again().await;
    let came = std::time::Instant::now();
    while house.sessions.check().await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(came.elapsed() < Duration::from_secs(2), "{:?}", came.elapsed());
    assert_eq!(house.metric(r#"session_store_up{store="redis"}"#), 1);
    let (cookie, _) = house.sign_in().await;
    house.cool();
    assert!(house.find(&cookie).await.is_some());
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_redis_that_restarts_unasked_costs_no_operation() {
    let mut server = Server::start().await;
    let house = server.house().await;
    house.sign_in().await;
    server.kill();
    server.start_again().await;
    assert!(house.sessions.use_attempt(&house.acme, "attempt").await.unwrap());
    server.kill();
    server.start_again().await;
    house.sign_in().await;
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_start_without_redis_succeeds_and_says_so() {
    let mut server = Server::start().await;
    server.kill();
    let house = server.house().await;
    assert!(matches!(house.sessions.check().await, Err(StoreError::Unreachable(_))));
    server.start_again().await;
    until_ok(&house).await;
    house.sign_in().await;
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_slow_redis_is_given_up_in_time_and_signs_nobody_out() {
    let server = Server::start().await;
    let house = server.house().await;
    let (hot, _) = house.sign_in().await;
    let (cold, _) = house.sign_in().await;
    house.cool();
    house.find(&hot).await.unwrap();
    server.tell(&["CLIENT", "PAUSE", "1500"]).await;
    let asked = std::time::Instant::now();
    let error = house.sessions.find(&house.acme, &limits(), &cold).await.unwrap_err();
    assert!(matches!(error, StoreError::Slow), "{error:?}");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(house.find(&hot).await.is_some());
    until_ok(&house).await;
    assert!(house.find(&cold).await.is_some());
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_full_redis_still_ends_sessions() {
    let server = Server::start().await;
    let house = server.house().await;
    let (cookie, session) = house.sign_in().await;
    let (other, _) = house.sign_in().await;
    house.cool();
    server.tell(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(matches!(house.sessions.create(&house.acme, &limits(), ada()).await, Err(StoreError::Full)));
    assert!(matches!(house.sessions.use_attempt(&house.acme, "attempt").await, Err(StoreError::Full)));
    assert!(matches!(house.sessions.check().await, Err(StoreError::Full)));
    assert!(house.find(&other).await.is_some());
    assert!(house.sessions.end(&session, EndReason::Logout).await.unwrap());
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
    house.sessions.check().await.unwrap();
    house.sign_in().await;
    assert!(house.find(&cookie).await.is_none());
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_redis_that_became_a_replica_takes_no_session() {
    let (master, server) = (Server::start().await, Server::start().await);
    let house = server.house().await;
    house.sign_in().await;
    server.tell(&["CONFIG", "SET", "masterauth", "open sesame"]).await;
    server.tell(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]).await;
    let error = house.sessions.create(&house.acme, &limits(), ada()).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly), "{error:?}");
    server.tell(&["REPLICAOF", "NO", "ONE"]).await;
    house.sign_in().await;
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_wrong_password_is_said_without_it() {
    let mut server = Server::start().await;
    server.password = "close sesame";
    let house = server.house().await;
    let error = house.sessions.check().await.unwrap_err();
    assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
    let said = format!("{error} {error:?} {:?} {:?}", error.source(), house.settings);
    assert!(!said.contains("sesame"), "{said}");
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn without_replicas_an_end_waits_for_none() {
    let server = Server::start().await;
    let house = server.house().await;
    let (_, session) = house.sign_in().await;
    let asked = std::time::Instant::now();
    house.sessions.end(&session, EndReason::Logout).await.unwrap();
    assert!(asked.elapsed() < Duration::from_millis(90), "{:?}", asked.elapsed());
    assert_eq!(house.metric("session_ends_unreplicated_total"), 0);
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn an_end_that_no_replica_has_is_counted() {
    let (master, mut replica) = (Server::start().await, Server::start().await);
    replica.tell(&["CONFIG", "SET", "masterauth", "open sesame"]).await;
    replica.tell(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]).await;
    master.says("state=online").await;
    let house = master.house().await;
    let made = join_all((0..40).map(|_| house.sign_in())).await;
    let counted = || house.metric("session_ends_unreplicated_total");
    // It has what it is sent, sooner or later in time.
    let in_time = async {
        loop {
            let (before, (_, session)) = (counted(), house.sign_in().await);
            house.sessions.end(&session, EndReason::Logout).await.unwrap();
            if counted() == before {
                break before;
            }
        }
    };
    let before = tokio::time::timeout(Duration::from_secs(20), in_time).await.expect("an end in time");
    replica.signal("STOP");
    let asked = std::time::Instant::now();
    for ended in join_all(made.iter().map(|(_, session)| house.sessions.end(session, EndReason::Logout))).await {
        assert!(ended.unwrap());
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "they do not wait one after the other: {:?}", asked.elapsed());
    assert_eq!(counted(), before + 40);
    replica.kill();
}

/// Waits until the store is well, as long as it may take.
async fn until_ok(house: &House) {
    let wait = async {
        while house.sessions.check().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the store is well again");
}

mod failover {
    //! Kills a master; run by `tests/with-redis sentinel` or `cluster`, and by itself.

    use super::*;

    #[tokio::test]
    #[ignore = "needs Redis with replicas: tests/with-redis"]
    async fn a_master_that_dies_takes_no_session_and_no_end_with_it() {
        let house = House::with(settings(PLENTY)).await;
        let user = |n| NewSession { sub: format!("user {n}"), ..ada() };
        let made = join_all((0..60).map(|n| house.sign_in_as(user(n)))).await;
        let (ended, kept) = made.split_at(30);
        for (_, session) in ended {
            assert!(house.sessions.end(session, EndReason::Logout).await.unwrap());
        }
        let at_risk = house.metric("session_ends_unreplicated_total");
        let master = std::env::var_os("LYCHGATE_TEST_REDIS_PID").expect("the master's process, by tests/with-redis");
        assert!(std::process::Command::new("kill").arg("-9").arg(&master).status().unwrap().success());
        let died = std::time::Instant::now();
        let found = async |cookie: &str| loop {
            house.cool();
            match house.sessions.find(&house.acme, &limits(), cookie).await {
                Ok(found) => break found.is_some(),
                Err(error) => {
                    assert!(
                        matches!(error, StoreError::Unreachable(_) | StoreError::Slow | StoreError::ReadOnly),
                        "{error:?}"
                    );
                    assert!(died.elapsed() < Duration::from_secs(20), "{error:?}");
                }
            }
        };
        for (cookie, _) in kept {
            assert!(found(cookie).await, "a session that was good");
        }
        let mut back = 0;
        for (cookie, _) in ended {
            back += i64::from(found(cookie).await);
        }
        assert!(back <= at_risk, "{back} sessions that were ended are back, {at_risk} ends were counted as at risk");
        until_ok(&house).await;
        for n in 0..60 {
            house.sign_in_as(user(n)).await;
        }
    }
}

/// A way to a server that takes its time: what comes is handed on so much later.
struct Detour {
    port: u16,
    delay: Arc<std::sync::atomic::AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Detour {
    async fn to(server: &Server) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, target) = (listener.local_addr().unwrap().port(), server.port);
        let delay = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let millis = Arc::clone(&delay);
        let task = tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let millis = Arc::clone(&millis);
                tokio::spawn(async move {
                    let Ok(to) = tokio::net::TcpStream::connect(("127.0.0.1", target)).await else { return };
                    let (from, to) = (from.into_split(), to.into_split());
                    tokio::join!(Self::carry(from.0, to.1, None), Self::carry(to.0, from.1, Some(millis)));
                });
            }
        });
        Self { port, delay, task }
    }

    /// Hands on, later and in order, while more is read.
    async fn carry(
        mut from: tokio::net::tcp::OwnedReadHalf,
        mut to: tokio::net::tcp::OwnedWriteHalf,
        delay: Option<Arc<std::sync::atomic::AtomicU64>>,
    ) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (late, mut due) = tokio::sync::mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
        let reading = async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer).await {
                let delay = delay.as_ref().map_or(0, |delay| delay.load(Ordering::SeqCst));
                let at = tokio::time::Instant::now() + Duration::from_millis(delay);
                let _ = late.send((at, buffer[..read].to_vec()));
            }
        };
        let writing = async move {
            while let Some((at, bytes)) = due.recv().await {
                tokio::time::sleep_until(at).await;
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(reading, writing);
    }

    fn takes(&self, millis: u64) {
        self.delay.store(millis, Ordering::SeqCst);
    }

    fn settings(&self, server: &Server) -> StoreSettings {
        let StoreSettings { store: StoreKind::Redis(mut redis), cache_bytes } = server.settings() else {
            panic!("Redis")
        };
        redis.servers = RedisServers::Single(RedisNode { host: "127.0.0.1".into(), port: self.port }, 0);
        StoreSettings { store: StoreKind::Redis(redis), cache_bytes }
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What becomes of requests with these cookies at once, and how long each takes.
async fn at_once(house: &House, cookies: &[String]) -> Vec<(Duration, Result<Option<bool>, StoreError>)> {
    let ask = async |cookie: &String| {
        let began = std::time::Instant::now();
        let found = house.sessions.find(&house.acme, &limits(), cookie).await;
        (began.elapsed(), found.map(|found| found.map(|found| found.is_stale)))
    };
    join_all(cookies.iter().map(ask)).await
}

async fn cookies(house: &House) -> Vec<String> {
    join_all((0..30).map(|_| house.sign_in())).await.into_iter().map(|(cookie, _)| cookie).collect()
}

/// Waits until a cookie opens a session again that is not stale.
async fn until_back(house: &House, cookie: &str) {
    let back = std::time::Instant::now();
    while !matches!(house.sessions.find(&house.acme, &limits(), cookie).await, Ok(Some(Found { is_stale: false, .. })))
    {
        assert!(back.elapsed() < Duration::from_secs(2));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_redis_that_takes_a_second_holds_up_nobody_who_is_in_the_cache_and_few_others() {
    let server = Server::start().await;
    let detour = Detour::to(&server).await;
    let house = House::with(detour.settings(&server)).await.informed().await;
    let cold = cookies(&house).await;
    house.cool();
    let hot = cookies(&house).await;
    let session = house.find(&hot[0]).await.unwrap();
    assert!(at_once(&house, &hot).await.iter().all(|(_, found)| matches!(found, Ok(Some(false)))));
    detour.takes(1000);
    until(|| !house.sessions.news.holds(session.read_at)).await;
    let is_short = |took: Duration| took < Duration::from_millis(200);
    for round in 0..4 {
        let hot = at_once(&house, &hot).await;
        assert!(hot.iter().all(|(_, found)| matches!(found, Ok(Some(true)))), "{hot:?}");
        assert!(hot.iter().all(|(took, _)| *took < PATIENCE + Duration::from_millis(200)), "{hot:?}");
        let cold = at_once(&house, &cold).await;
        assert!(cold.iter().all(|(_, found)| found.is_err()), "{cold:?}");
        // Those who ask first find out.
        if round > 0 {
            assert!(hot.iter().filter(|(took, _)| !is_short(*took)).count() <= 1, "round {round}: {hot:?}");
            assert!(cold.iter().filter(|(took, _)| !is_short(*took)).count() <= 1, "round {round}: {cold:?}");
        }
    }
    detour.takes(0);
    until_back(&house, &cold[0]).await;
    until_back(&house, &hot[0]).await;
}

#[tokio::test]
#[ignore = "needs Redis: tests/with-redis"]
async fn a_redis_that_hangs_holds_up_one_request_at_a_time() {
    let server = Server::start().await;
    let house = server.house().await;
    let cookies = cookies(&house).await;
    house.cool();
    server.signal("STOP");
    for round in 0..4 {
        let all = at_once(&house, &cookies).await;
        assert!(all.iter().all(|(_, found)| matches!(found, Err(StoreError::Slow | StoreError::Unreachable(_)))));
        let held_up = all.iter().filter(|(took, _)| *took > Duration::from_millis(200)).count();
        assert!(round == 0 || held_up <= 1, "round {round}: {all:?}");
    }
    server.signal("CONT");
    until_back(&house, &cookies[0]).await;
}

/// A server that says something else the first time it is asked anything of ours.
async fn server_that_says_first(first: &'static str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let said = Arc::new(AtomicBool::new(false));
        while let Ok((mut stream, _)) = listener.accept().await {
            let said = Arc::clone(&said);
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let asked = String::from_utf8_lossy(&buffer[..read]).into_owned();
                    let answer = if !asked.contains("EVAL") {
                        // The connection's own affairs: one answer for each.
                        "+OK\r\n".repeat(asked.matches('*').count())
                    } else if said.swap(true, Ordering::SeqCst) {
                        ":1\r\n".to_owned()
                    } else {
                        format!("-{first}\r\n")
                    };
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn who_meets_a_server_that_is_not_the_one_to_ask_asks_again() {
    for (first, kept) in [
        ("LOADING Redis is loading the dataset in memory", true),
        ("MASTERDOWN Link with MASTER is down", true),
        ("READONLY You can't write against a read only replica.", true),
        ("CLUSTERDOWN The cluster is down", true),
        ("TRYAGAIN Multiple keys request during rehashing of slot", true),
        ("ERR of another kind", false),
    ] {
        let port = server_that_says_first(first).await;
        let settings = Server::settings_at(port, None);
        let house = House::with(settings).await;
        let used = house.sessions.use_attempt(&house.acme, "attempt").await;
        assert_eq!(used.is_ok(), kept, "{first}: {used:?}");
    }
}
