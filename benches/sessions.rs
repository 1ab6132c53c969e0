//! What sessions cost: memory, bytes in each store, the time of a check among few and among many. Prints a table.
//!
//! `cargo bench --bench sessions`; needs `redis-server`. `LYCHGATE_BENCH_SESSIONS` takes another number than 100,000.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it measures, prints, is told by the environment, and fails by panicking"
)]

#[path = "../tests/typical/mod.rs"]
mod typical;

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lychgate::config::{RedisNode, RedisServers, RedisSettings, StoreKind, StoreSettings};
use lychgate::session::Sessions;

use self::typical::{House, cookies, limits, open, tenant};

/// Sessions where there are few.
const FEW: usize = 100;
/// Checks in one round.
const CHECKS: usize = 20_000;
/// Claims that the identity headers show.
const SHOWN: [&str; 4] = ["email", "preferred_username", "name", "groups"];
/// Rounds; the median counts.
const ROUNDS: usize = 15;
/// What the near cache may hold: everything.
const ROOM: u64 = 4 << 30;
/// What a process that only makes sessions is told.
const MAKE: &str = "LYCHGATE_BENCH_MAKE";

#[tokio::main]
async fn main() {
    let many = std::env::var("LYCHGATE_BENCH_SESSIONS").map_or(100_000, |text| text.parse().expect("a number"));
    if let Some(folder) = std::env::var_os(MAKE) {
        make(Path::new(&folder), many).await;
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Another process makes them, so that this one's memory holds nothing but what it is asked for.
    let made = Command::new(std::env::current_exe().unwrap()).env(MAKE, folder.path()).status().unwrap();
    assert!(made.success(), "the sessions could not be made");

    let claims = serde_json::to_vec(&typical::claims(0)).unwrap().len();
    println!(
        "{many} sessions; id token {} bytes, access token {}, refresh token {}, claims {claims}",
        typical::ID_TOKEN,
        typical::ACCESS_TOKEN,
        typical::REFRESH_TOKEN
    );
    let (few, house) = (House::at(&folder.path().join("few")), House::at(&folder.path().join("many")));
    let (few_cookies, many_cookies) = (few.cookies(), house.cookies());
    let few = few.open(ROOM).await;
    let sessions = house.open(ROOM).await;
    let before = resident();
    find_all(&sessions, &many_cookies).await;
    let cold = resident() - before;
    row("memory: a session, its tokens cold", per(cold, many), "bytes (resident)");

    find_all(&few, &few_cookies).await;
    let (small, large) = checks(&few, &few_cookies, &sessions, &many_cookies).await;
    row("a check among 100 sessions", small.as_nanos(), "ns");
    row(&format!("a check among {many} sessions"), large.as_nanos(), "ns");
    println!("{:<44} {:>10.2}", "ratio", large.as_secs_f64() / small.as_secs_f64());

    stream::iter(&many_cookies)
        .for_each_concurrent(64, async |cookie| {
            let found = sessions.find(&tenant(), &limits(), cookie).await.unwrap().unwrap();
            sessions.opened(&found.session).await.unwrap().unwrap();
        })
        .await;
    row("memory: the same, its tokens in use", per(resident() - before, many), "bytes (resident)");
    sessions.close().await;
    row("SQLite: a session", per(house.file_size(), many), "bytes (file)");

    let redis = Redis::start();
    let empty = redis.memory();
    let sessions = open(folder.path(), &redis.settings()).await;
    make_in(&sessions, many).await;
    row("Redis: a session with its indexes", per(redis.memory() - empty, many), "bytes (used_memory)");
    row("Redis: the session's own key", redis.key_size(), "bytes (MEMORY USAGE)");
}

async fn make(folder: &Path, many: usize) {
    for (name, count) in [("few", FEW), ("many", many)] {
        let house = House::at(&folder.join(name));
        let sessions = house.open(1 << 20).await;
        house.keep(&make_in(&sessions, count).await);
        sessions.close().await;
    }
}

async fn make_in(sessions: &Arc<Sessions>, count: usize) -> Vec<String> {
    cookies(sessions, 0..count).buffered(64).try_collect().await.unwrap()
}

async fn find_all(sessions: &Sessions, cookies: &[String]) {
    for cookie in cookies {
        assert!(sessions.find(&tenant(), &limits(), cookie).await.unwrap().is_some());
    }
}

/// Medians of what a check takes in each house; they take turns, so that both suffer alike from what else the machine does.
async fn checks(
    few: &Sessions,
    few_cookies: &[String],
    many: &Sessions,
    many_cookies: &[String],
) -> (Duration, Duration) {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        small.push(check(few, few_cookies, round).await);
        large.push(check(many, many_cookies, round).await);
    }
    (median(small), median(large))
}

/// What one check takes: the session found, the claims read that forward auth's headers show. Which session, is as good as random.
async fn check(sessions: &Sessions, cookies: &[String], round: usize) -> Duration {
    let (tenant, limits) = (tenant(), limits());
    let began = Instant::now();
    for n in 0..CHECKS {
        let cookie = &cookies[(n + round * CHECKS).wrapping_mul(2_654_435_761) % cookies.len()];
        let found = sessions.find(&tenant, &limits, cookie).await.unwrap().unwrap();
        let claims = found.session.claims();
        black_box(SHOWN.map(|name| claims.text(name)));
    }
    began.elapsed() / CHECKS as u32
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

fn row(what: &str, value: impl std::fmt::Display, unit: &str) {
    println!("{what:<44} {value:>10} {unit}");
}

const fn per(bytes: u64, sessions: usize) -> u64 {
    bytes / sessions as u64
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

/// A server of the benchmark's own.
struct Redis {
    port: u16,
    process: Child,
}

impl Redis {
    fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be there: it is Debian's package of that name");
        let redis = Self { port, process };
        let since = Instant::now();
        while redis.ask(&["PING"]).trim() != "PONG" {
            assert!(since.elapsed() < Duration::from_secs(20), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        redis
    }

    fn ask(&self, question: &[&str]) -> String {
        let port = self.port.to_string();
        let said = Command::new("redis-cli").args(["-p", &port]).args(question).output().expect("redis-cli");
        String::from_utf8(said.stdout).unwrap()
    }

    fn memory(&self) -> u64 {
        let said = self.ask(&["INFO", "memory"]);
        said.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
    }

    fn key_size(&self) -> u64 {
        let found = self.ask(&["SCAN", "0", "MATCH", "*session:*", "COUNT", "1000"]);
        let key = found.lines().find(|line| line.contains("session:")).expect("a session");
        self.ask(&["MEMORY", "USAGE", key]).trim().parse().unwrap()
    }

    fn settings(&self) -> StoreSettings {
        let redis = RedisSettings {
            servers: RedisServers::Single(RedisNode { host: "127.0.0.1".into(), port: self.port }, 0),
            tls: None,
            username: None,
            password: None,
            prefix: "lychgate:".into(),
            timeout: Duration::from_secs(30),
            stale_grace: Duration::from_secs(30),
        };
        StoreSettings { store: StoreKind::Redis(redis.into()), cache_bytes: 1 << 20 }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
