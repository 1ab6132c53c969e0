//! Sessions as a whole, over a real file; what holds for Redis as well is in `either`.

mod clock;
mod either;
mod keys;
mod redis;
mod renewals;
mod replicas;

mod watch;

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use futures_util::future::{FutureExt as _, join_all};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::clock::Timestamp;
use crate::config::StoreKind;
use crate::key_ring::RingKey;
use crate::secret::{self, from_base64url};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const PLENTY: u64 = 32 << 20;

/// A folder, and the sessions that live in it, or in Redis under a prefix of their own.
struct House {
    dir: TempDir,
    settings: StoreSettings,
    ring: Arc<KeyRing>,
    clock: Clock,
    metrics: Arc<Metrics>,
    sessions: Arc<Sessions>,
    acme: TenantId,
    globex: TenantId,
}

/// What none may read in a store: of [`ada`] and of [`grace`].
const READABLE: [&str; 12] = [
    "the-id-token",
    "the-access-token",
    "the-refresh-token",
    "ada-the-subject",
    "sid-of-the-provider",
    "Lovelace",
    "engine.example",
    "issuer.example",
    "Lynx",
    "grace-the-subject",
    "Hopper",
    "navy.example",
];
/// Where `tests/with-redis` says how Redis is reached.
const REDIS: &str = "LYCHGATE_TEST_REDIS";

fn embedded(cache_bytes: u64) -> StoreSettings {
    StoreSettings { store: StoreKind::Embedded, cache_bytes }
}

/// Redis if there is one for tests, else SQLite.
fn either(cache_bytes: u64) -> StoreSettings {
    if std::env::var_os(REDIS).is_some() { redis::settings(cache_bytes) } else { embedded(cache_bytes) }
}

async fn open(dir: &Path, ring: &Arc<KeyRing>, clock: &Clock, cache_bytes: u64) -> Result<Arc<Sessions>, OpenError> {
    Sessions::open(dir, ring.clone(), &embedded(cache_bytes), clock.clone(), Metrics::new(200)).await
}

impl House {
    async fn new() -> Self {
        Self::with_cache(PLENTY).await
    }

    async fn with_cache(bytes: u64) -> Self {
        Self::with(embedded(bytes)).await
    }

    /// Over Redis if there is one for tests, else over SQLite.
    async fn either() -> Self {
        Self::either_with_cache(PLENTY).await
    }

    async fn either_with_cache(bytes: u64) -> Self {
        Self::with(either(bytes)).await.informed().await
    }

    /// A house that hears of others, if there may be any.
    async fn informed(self) -> Self {
        if self.sessions.news.is_shared() {
            tokio::spawn(Arc::clone(&self.sessions).keep_informed());
            until(|| self.metrics.session_news_up.get() == 1).await;
        }
        self
    }

    async fn with(settings: StoreSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::with_keys(dir, KeyRing::of_one(RingKey::generate()), settings).await
    }

    async fn with_keys(dir: TempDir, ring: Arc<KeyRing>, settings: StoreSettings) -> Self {
        let (clock, metrics) = (Clock::system(), Metrics::new(200));
        let data = dir.path().join("data");
        let opening = Sessions::open(&data, ring.clone(), &settings, clock.clone(), Arc::clone(&metrics));
        let sessions = opening.await.unwrap();
        let (acme, globex) = ("acme".parse().unwrap(), "globex".parse().unwrap());
        Self { dir, settings, ring, clock, metrics, sessions, acme, globex }
    }

    /// Another process, which has this ring key.
    async fn beside(&self, ring: &Arc<KeyRing>) -> Arc<Sessions> {
        let metrics = Metrics::new(200);
        Sessions::open(&self.data(), ring.clone(), &self.settings, self.clock.clone(), metrics).await.unwrap()
    }

    /// How many sessions acme has.
    async fn live(&self) -> usize {
        self.sessions.store.all(&self.acme, self.clock.now()).await.unwrap().len()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn file(&self) -> PathBuf {
        self.data().join("lychgate.db")
    }

    /// A connection that another process could have.
    fn stranger(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }

    fn rows(&self, table: &str) -> i64 {
        self.stranger().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    async fn restart(&mut self) {
        self.sessions.close().await;
        self.sessions = self.beside(&self.ring).await;
        self.metrics = Arc::clone(&self.sessions.metrics);
    }

    async fn sign_in(&self) -> (String, Arc<Session>) {
        self.sign_in_as(ada()).await
    }

    async fn sign_in_as(&self, new: NewSession) -> (String, Arc<Session>) {
        let (cookie, session) = self.sessions.create(&self.acme, &limits(), new).await.unwrap();
        (cookie.expose_secret().to_owned(), session)
    }

    async fn find(&self, cookie: &str) -> Option<Arc<Session>> {
        self.sessions.find(&self.acme, &limits(), cookie).await.unwrap().map(|found| found.session)
    }

    /// The session with its tokens.
    async fn open(&self, cookie: &str) -> Option<Opened> {
        self.sessions.opened(&self.find(cookie).await?).await.unwrap()
    }

    /// Makes the cache forget.
    fn cool(&self) {
        self.sessions.near.sessions.invalidate_all();
        self.sessions.near.forget_all_tokens();
    }

    /// Keeps the writing thread busy until the answer is dropped.
    async fn hold_writer(&self) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel();
        let busy = Arc::new(AtomicBool::new(false));
        let (store, flag) = (self.sessions.store.clone(), Arc::clone(&busy));
        tokio::spawn(async move {
            let hold = move |_: &Connection| {
                flag.store(true, Ordering::SeqCst);
                let _ = released.recv();
                Ok(())
            };
            store.database().write(hold).await.unwrap();
        });
        until(|| busy.load(Ordering::SeqCst)).await;
        release
    }

    /// What a scrape says of the series that starts like this; 0 if there is none.
    fn metric(&self, series: &str) -> i64 {
        let text = String::from_utf8(self.metrics.render()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("lychgate_{series} ")).map(str::to_owned));
        line.map_or(0, |value| value.parse().unwrap())
    }

    fn operations(&self, operation: &str, result: &str) -> i64 {
        let store = self.sessions.store.label();
        self.metric(&format!(
            r#"session_operations_total{{operation="{operation}",result="{result}",store="{store}"}}"#
        ))
    }
}

fn limits() -> SessionLimits {
    let (idle, absolute) = (Duration::from_secs(DAY as u64), Duration::from_secs(7 * DAY as u64));
    SessionLimits { idle, absolute, local_idle: Duration::from_mins(15), local_absolute: Duration::from_hours(8) }
}

fn ada() -> NewSession {
    let claims = json!({"name": "Ada Lovelace", "email": "ada@engine.example"});
    NewSession {
        issuer: "https://issuer.example/".into(),
        sub: "auth0|ada-the-subject".into(),
        sid: Some("sid-of-the-provider".into()),
        claims: claims.as_object().unwrap().clone(),
        id_token: "the-id-token".to_owned().into(),
        access_token: "the-access-token".to_owned().into(),
        access_token_expires_at: Some(Timestamp(4_000_000_000)),
        refresh_token: Some("the-refresh-token".to_owned().into()),
        scope: Some("openid profile".into()),
        session_expiry: None,
        user_agent: Some("Lynx of Ada".into()),
        address: Some([192, 0, 2, 1].into()),
    }
}

fn grace() -> SeenUser {
    SeenUser {
        issuer: "https://issuer.example/".into(),
        sub: "auth0|grace-the-subject".into(),
        name: Some("Grace Hopper".into()),
        email: Some("grace@navy.example".into()),
        picture: None,
    }
}

/// Whether `future`, asked once, has no answer yet.
fn pending(future: &mut (impl Future + Unpin)) -> bool {
    future.now_or_never().is_none()
}

/// Lets other tasks and threads go on until `true_at_last`.
#[track_caller]
fn until(true_at_last: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let wait = async {
            while !true_at_last() {
                tokio::task::yield_now().await;
            }
        };
        let came = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(came.is_ok(), "never came: {caller}");
    }
}

#[tokio::test]
async fn a_killed_process_loses_no_session_that_it_answered_for() {
    let house = House::new().await;
    let made = join_all((0..100).map(|_| house.sign_in())).await;
    // What a killed process leaves behind is what the system knows of its files now.
    let left = tempfile::tempdir().unwrap();
    for file in ["lychgate.db", "lychgate.db-wal"] {
        fs::copy(house.data().join(file), left.path().join(file)).unwrap();
    }
    let again = open(left.path(), &house.ring, &house.clock, PLENTY).await.unwrap();
    for (cookie, _) in &made {
        assert!(again.find(&house.acme, &limits(), cookie).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_cookie_opens_nothing_at_another_tenant() {
    let house = House::new().await;
    let (cookie, _) = house.sign_in().await;
    for _ in 0..2 {
        assert!(house.sessions.find(&house.globex, &limits(), &cookie).await.unwrap().is_none());
        house.cool();
    }
    // Nor does the row, moved there by somebody who can write into the database.
    house.stranger().execute("UPDATE sessions SET tenant = 'globex'", []).unwrap();
    assert!(house.sessions.find(&house.globex, &limits(), &cookie).await.unwrap().is_none());
    // Not even with the hash that the id has there.
    let hash = record::id_hash(&house.ring.active(), &house.globex, &Cookie::parse(&cookie).unwrap().id);
    house.stranger().execute("UPDATE sessions SET id_hash = ?", [hash]).unwrap();
    assert!(house.sessions.find(&house.globex, &limits(), &cookie).await.unwrap().is_none());
    assert_eq!(house.rows("sessions"), 1);
}

#[tokio::test]
async fn a_record_put_into_another_row_opens_nothing() {
    let house = House::new().await;
    let (cookie, _) = house.sign_in().await;
    house.sign_in().await;
    house.cool();
    let swap =
        "UPDATE sessions SET record = (SELECT record FROM sessions AS other WHERE other.rowid <> sessions.rowid)";
    house.stranger().execute(swap, []).unwrap();
    assert!(house.find(&cookie).await.is_none());
}

#[tokio::test]
async fn a_record_of_an_unknown_format_is_a_miss_and_stays() {
    let house = House::new().await;
    let (cookie, _) = house.sign_in().await;
    house.cool();
    house.stranger().execute("UPDATE sessions SET record = CAST(x'ff' || substr(record, 2) AS BLOB)", []).unwrap();
    assert!(house.find(&cookie).await.is_none());
    assert_eq!(house.rows("sessions"), 1);
}

#[tokio::test]
async fn summary_and_refresh_token_open_without_the_cookie() {
    let house = House::new().await;
    let (_, session) = house.sign_in().await;
    let (summary, token): (Vec<u8>, Vec<u8>) = house
        .stranger()
        .query_row("SELECT summary, refresh_token FROM sessions", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let keys = house.ring.active().of(&house.acme);
    let opened = |key, kind, sealed: &[u8]| {
        record::open::<serde_json::Value>(key, kind, &house.acme, &session.id_hash, sealed).unwrap()
    };
    let summary = opened(&keys.summary, "summary", &summary);
    assert_eq!(summary["sub"], ada().sub);
    assert_eq!(summary["user_agent"], "Lynx of Ada");
    assert_eq!(opened(&keys.refresh_token, "refresh token", &token), "the-refresh-token");
}

#[tokio::test]
async fn sessions_of_one_user_share_an_index_at_one_tenant_only() {
    let house = House::new().await;
    house.sign_in().await;
    house.sign_in().await;
    house.sign_in_as(NewSession { sub: "other".into(), sid: None, ..ada() }).await;
    house.sessions.create(&house.globex, &limits(), ada()).await.unwrap();
    let count = |what: &str| -> i64 {
        house.stranger().query_row(&format!("SELECT count(DISTINCT {what}) FROM sessions"), [], |r| r.get(0)).unwrap()
    };
    assert_eq!((count("sub_hash"), count("sid_hash")), (3, 2));
}

#[tokio::test]
async fn the_files_hold_nothing_that_can_be_read() {
    let house = House::new().await;
    let (cookie, _) = house.sign_in().await;
    house.sessions.remember_user(&house.acme, &grace()).await.unwrap();
    let secrets = [&READABLE[..], &[&cookie]].concat();
    let bytes = from_base64url(&cookie).unwrap();
    for round in 0..2 {
        let mut size = 0;
        for entry in fs::read_dir(house.data()).unwrap() {
            let content = fs::read(entry.unwrap().path()).unwrap();
            size += content.len();
            let holds = |needle: &[u8]| content.windows(needle.len()).any(|window| window == needle);
            for secret in &secrets {
                assert!(!holds(secret.as_bytes()), "{secret}, round {round}");
            }
            assert!(!holds(&bytes[4..20]) && !holds(&bytes[20..]), "parts of the cookie, round {round}");
        }
        assert!(size > 10_000);
        house.sessions.close().await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_for_our_own_eyes() {
    use std::os::unix::fs::PermissionsExt as _;
    let house = House::new().await;
    house.sign_in().await;
    assert_eq!(fs::metadata(house.data()).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(house.data()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[tokio::test]
async fn a_load_during_an_end_does_not_bring_the_session_back() {
    let house = House::new().await;
    let (cookie, session) = house.sign_in().await;
    house.cool();
    let release = house.hold_writer().await;
    let mut end = Box::pin(house.sessions.end(&session, EndReason::Logout));
    let mut find = Box::pin(house.find(&cookie));
    // The end waits for the writing thread; the load could read the row, which is still there, and must not.
    assert!(pending(&mut end));
    tokio::task::yield_now().await;
    for _ in 0..20 {
        assert!(pending(&mut find));
        house.sessions.store.database().read(|_| Ok(())).await.unwrap();
    }
    drop(release);
    let (ended, found) = tokio::join!(end, find);
    assert!(ended.unwrap());
    assert!(found.is_none());
}

#[tokio::test]
async fn an_end_goes_on_if_nobody_waits_for_it() {
    let house = House::new().await;
    let (cookie, session) = house.sign_in().await;
    let release = house.hold_writer().await;
    let mut end = Box::pin(house.sessions.end(&session, EndReason::Logout));
    assert!(pending(&mut end));
    tokio::task::yield_now().await;
    drop(end);
    drop(release);
    until(|| house.metric(r#"sessions_ended_total{reason="logout",tenant="acme"}"#) == 1).await;
    assert!(house.find(&cookie).await.is_none());
}

#[tokio::test]
async fn the_cache_stays_within_its_bytes() {
    let house = House::with_cache(20 * 1024).await;
    for _ in 0..50 {
        house.sign_in().await;
    }
    house.sessions.near.sessions.run_pending_tasks().await;
    assert!(house.sessions.near.sessions.weighted_size() <= 20 * 1024);
    assert!(house.sessions.near.sessions.entry_count() >= 1);
}

#[tokio::test]
async fn a_sweep_removes_what_is_over_and_counts_the_rest() {
    let house = House::new().await;
    let now = house.clock.now();
    house.sign_in_as(NewSession { session_expiry: Some(now.plus(HOUR)), ..ada() }).await;
    house.sign_in().await;
    let (cookie, _) = house.sign_in().await;
    house.sessions.create(&house.globex, &limits(), ada()).await.unwrap();
    assert_eq!(house.sessions.sweep().await.unwrap(), 0);
    assert_eq!(house.metric(r#"sessions_active{tenant="acme"}"#), 3);
    house.clock.advance(HOUR);
    assert_eq!(house.sessions.sweep().await.unwrap(), 1);
    assert_eq!(house.metric(r#"sessions_ended_total{reason="absolute",tenant="acme"}"#), 1);
    assert!(house.find(&cookie).await.is_some());
    house.clock.advance(DAY - 5);
    assert_eq!(house.sessions.sweep().await.unwrap(), 2);
    assert_eq!(house.metric(r#"sessions_ended_total{reason="idle",tenant="acme"}"#), 1);
    assert_eq!(house.metric(r#"sessions_ended_total{reason="idle",tenant="globex"}"#), 1);
    assert_eq!(house.metric(r#"sessions_active{tenant="acme"}"#), 1);
    assert_eq!(house.metric(r#"sessions_active{tenant="globex"}"#), 0);
    assert!(house.find(&cookie).await.is_some());
    assert_eq!(house.rows("sessions"), 1);
}

#[tokio::test]
async fn a_sweep_takes_more_than_one_helping() {
    let house = House::new().await;
    let many = usize::from(store::AT_ONCE) + 10;
    let user = |n| NewSession { sub: format!("user {n}"), ..ada() };
    join_all((0..many).map(|n| house.sign_in_as(user(n)))).await;
    house.clock.advance(2 * DAY);
    assert_eq!(house.sessions.sweep().await.unwrap(), many);
}

#[tokio::test]
async fn a_used_attempt_is_remembered_for_ten_minutes() {
    let mut house = House::new().await;
    assert!(house.sessions.use_attempt(&house.acme, "attempt").await.unwrap());
    house.clock.advance(590);
    house.sessions.sweep().await.unwrap();
    house.restart().await;
    assert!(!house.sessions.use_attempt(&house.acme, "attempt").await.unwrap());
    house.clock.advance(20);
    house.sessions.sweep().await.unwrap();
    assert_eq!(house.rows("used_attempts"), 0);
}

#[tokio::test]
async fn writes_that_wait_share_a_transaction() {
    let house = House::new().await;
    let log = house.data().join("lychgate.db-wal");
    let before = commits(&fs::read(&log).unwrap());
    let release = house.hold_writer().await;
    let mut waiting = Box::pin(join_all((0..50).map(|_| house.sign_in())));
    assert!(pending(&mut waiting));
    // Each runs in a task of its own, which must have its turn first.
    tokio::task::yield_now().await;
    drop(release);
    waiting.await;
    assert_eq!(house.rows("sessions"), 50);
    // The one that held the writer wrote nothing; the fifty are one.
    assert_eq!(commits(&fs::read(&log).unwrap()) - before, 1);
}

/// Transactions in a write-ahead log: the frames that say how long the database has become (SQLite's file format, 4.1).
fn commits(log: &[u8]) -> usize {
    log.get(32..).unwrap_or_default().chunks_exact(24 + 4096).filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test]
async fn a_write_that_fails_takes_no_other_with_it() {
    let house = House::new().await;
    let release = house.hold_writer().await;
    let mut waiting = Box::pin(async {
        let bad = house.sessions.store.database().write(|db| {
            db.execute("INSERT INTO used_attempts VALUES ('acme', 'half', 0)", [])?;
            db.execute("INSERT INTO no_such_table VALUES (1)", [])
        });
        tokio::join!(house.sign_in(), bad, house.sign_in())
    });
    assert!(pending(&mut waiting));
    drop(release);
    let (_, bad, _) = waiting.await;
    assert!(matches!(bad, Err(StoreError::Other(_))));
    assert_eq!((house.rows("sessions"), house.rows("used_attempts")), (2, 0));
}

#[tokio::test]
async fn a_locked_database_signs_nobody_out() {
    let house = House::new().await;
    let (hot, _) = house.sign_in().await;
    let (cold, _) = house.sign_in().await;
    house.cool();
    house.find(&hot).await.unwrap();
    let stranger = house.stranger();
    stranger.execute_batch("BEGIN EXCLUSIVE").unwrap();
    house.clock.advance(HOUR);
    assert!(matches!(house.sessions.create(&house.acme, &limits(), ada()).await, Err(StoreError::Locked)));
    assert!(matches!(house.sessions.use_attempt(&house.acme, "attempt").await, Err(StoreError::Locked)));
    assert!(matches!(house.sessions.check().await, Err(StoreError::Locked)));
    assert_eq!(house.metric(r#"session_store_up{store="embedded"}"#), 0);
    assert!(house.operations("create", "locked") == 1);
    assert!(house.find(&hot).await.is_some());
    assert!(house.find(&cold).await.is_some(), "readers do not mind");
    let session = house.find(&hot).await.unwrap();
    assert!(matches!(house.sessions.end(&session, EndReason::Logout).await, Err(StoreError::Locked)));
    assert!(house.find(&hot).await.is_some(), "what could not be ended goes on, and that was said");
    stranger.execute_batch("ROLLBACK").unwrap();
    house.sessions.check().await.unwrap();
    assert_eq!(house.metric(r#"session_store_up{store="embedded"}"#), 1);
    house.sign_in().await;
    assert!(house.sessions.end(&session, EndReason::Logout).await.unwrap());
}

#[tokio::test]
async fn a_session_in_use_outlives_a_store_that_could_not_be_told() {
    let house = House::new().await;
    let (cookie, session) = house.sign_in().await;
    let stranger = house.stranger();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    for turn in 1..=3 {
        house.clock.advance(DAY - HOUR);
        assert!(house.find(&cookie).await.is_some());
        until(|| house.operations("touch", "locked") == turn).await;
    }
    assert!(matches!(house.sessions.sweep().await, Err(StoreError::Locked)));
    stranger.execute_batch("ROLLBACK").unwrap();
    assert_eq!(house.sessions.sweep().await.unwrap(), 0);
    house.cool();
    let stored = house.sessions.of_tenant(&house.acme).await.unwrap()[0].last_seen_at;
    assert_eq!(stored, session.last_seen_at());
    assert!(house.find(&cookie).await.is_some());
}

#[tokio::test]
async fn a_full_disk_signs_nobody_out_and_passes() {
    let house = House::new().await;
    let (hot, _) = house.sign_in().await;
    let (cold, _) = house.sign_in().await;
    house.cool();
    house.find(&hot).await.unwrap();
    let pages = |limit: u32| {
        house
            .sessions
            .store
            .database()
            .write(move |db| db.pragma_update_and_check(None, "max_page_count", limit, |row| row.get::<_, i64>(0)))
    };
    pages(1).await.unwrap();
    assert!(matches!(house.sessions.check().await, Err(StoreError::Full)));
    assert_eq!(house.metric(r#"session_store_up{store="embedded"}"#), 0);
    let mut last = house.sessions.create(&house.acme, &limits(), ada()).await;
    while last.is_ok() {
        last = house.sessions.create(&house.acme, &limits(), ada()).await;
    }
    let error = last.unwrap_err();
    assert!(matches!(error, StoreError::Full), "{error}");
    assert!(error.to_string().contains("free some space"));
    assert!(house.find(&hot).await.is_some());
    assert!(house.find(&cold).await.is_some());
    let session = house.find(&hot).await.unwrap();
    assert!(house.sessions.end(&session, EndReason::Logout).await.unwrap(), "a sign-out needs no new page");
    pages(1_000_000).await.unwrap();
    house.sessions.check().await.unwrap();
    house.sign_in().await;
    assert!(house.find(&hot).await.is_none());
}

#[tokio::test]
async fn a_full_disk_fails_all_who_share_the_transaction() {
    let house = House::new().await;
    house.sessions.store.database().write(|db| db.pragma_update(None, "max_page_count", 1)).await.unwrap();
    let rows = house.rows("used_attempts");
    let release = house.hold_writer().await;
    let mut waiting = Box::pin(async {
        let attempt = house.sessions.use_attempt(&house.acme, "attempt");
        let too_much =
            house.sessions.store.database().write(|db| db.execute("INSERT INTO probes VALUES (zeroblob(1000000))", []));
        tokio::join!(attempt, too_much, house.sessions.use_attempt(&house.acme, "another"))
    });
    assert!(pending(&mut waiting));
    drop(release);
    let (before, culprit, after) = waiting.await;
    assert!(matches!(culprit, Err(StoreError::Full)));
    // Whether SQLite rolled back one statement or all: nobody was told of a write that is not there.
    let told = [before, after].iter().filter(|done| matches!(done, Ok(true))).count();
    assert_eq!(house.rows("used_attempts") - rows, told as i64);
}

#[tokio::test]
async fn a_damaged_file_signs_nobody_out_of_the_cache() {
    let house = House::new().await;
    let (hot, _) = house.sign_in().await;
    let (cold, _) = house.sign_in().await;
    house.cool();
    house.find(&hot).await.unwrap();
    house.sessions.store.database().close_readers();
    house.stranger().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let good = fs::read(house.file()).unwrap();
    fs::write(house.file(), vec![b'x'; good.len()]).unwrap();
    assert!(house.find(&hot).await.is_some());
    let error = house.sessions.find(&house.acme, &limits(), &cold).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged), "{error}");
    assert!(matches!(house.sessions.check().await, Err(StoreError::Damaged)));
    assert_eq!(house.metric(r#"session_store_up{store="embedded"}"#), 0);
    let error = house.sessions.create(&house.acme, &limits(), ada()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged), "no session is made that a restart would lose: {error}");
    assert!(house.find(&hot).await.is_some());
    fs::write(house.file(), &good).unwrap();
    assert!(house.find(&cold).await.is_some(), "it passes when the file is itself again");
    house.sessions.check().await.unwrap();
    house.sign_in().await;
}

#[tokio::test]
async fn a_file_that_went_away_is_noticed() {
    let house = House::new().await;
    let (hot, _) = house.sign_in().await;
    let aside = house.dir.path().join("aside");
    fs::rename(house.file(), &aside).unwrap();
    assert!(matches!(house.sessions.check().await, Err(StoreError::Unwritable)));
    let error = house.sessions.create(&house.acme, &limits(), ada()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unwritable), "{error}");
    assert!(!house.file().exists(), "no new one is made");
    assert!(house.find(&hot).await.is_some());
    fs::rename(&aside, house.file()).unwrap();
    house.sessions.check().await.unwrap();
    house.cool();
    assert!(house.find(&hot).await.is_some(), "what was written last is there");
    house.sign_in().await;
}

#[tokio::test]
async fn a_damaged_file_is_refused_by_name_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lychgate.db");
    let garbage = b"this is no database at all; ".repeat(1000);
    fs::write(&path, &garbage).unwrap();
    let error = open(dir.path(), &KeyRing::of_one(RingKey::generate()), &Clock::system(), PLENTY).await.unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert_eq!(fs::read(&path).unwrap(), garbage);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let house = House::new().await;
    house.sessions.close().await;
    house.stranger().pragma_update(None, "user_version", 99).unwrap();
    let error = open(&house.data(), &house.ring, &house.clock, PLENTY).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { .. }), "{error:?}");
}

#[tokio::test]
async fn a_locked_file_or_a_folder_that_cannot_be_made_is_refused() {
    let house = House::new().await;
    house.sessions.close().await;
    let stranger = house.stranger();
    stranger.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
    stranger.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = open(&house.data(), &house.ring, &house.clock, PLENTY).await.unwrap_err();
    assert!(matches!(error, OpenError::Store { source: StoreError::Locked, .. }), "{error:?}");
    let below_a_file = house.file().join("data");
    let error = open(&below_a_file, &house.ring, &house.clock, PLENTY).await.unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
}

#[tokio::test]
async fn an_operation_that_takes_too_long_is_given_up() {
    let mut house = House::new().await;
    let (cookie, _) = house.sign_in().await;
    Arc::get_mut(&mut house.sessions).unwrap().store.limit = Duration::from_millis(1);
    let release = house.hold_writer().await;
    assert!(matches!(house.sessions.create(&house.acme, &limits(), ada()).await, Err(StoreError::Slow)));
    assert!(matches!(house.sessions.check().await, Err(StoreError::Slow)));
    assert!(house.find(&cookie).await.is_some());
    drop(release);
    // The next write comes after the one that nobody waits for, which is then left undone.
    house.sessions.store.database().write(|_| Ok(())).await.unwrap();
    assert_eq!(house.rows("sessions"), 1);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let house = House::new().await;
    let (cookie, _) = house.sign_in().await;
    house.sessions.close().await;
    assert!(matches!(house.sessions.create(&house.acme, &limits(), ada()).await, Err(StoreError::Closed)));
    assert!(house.find(&cookie).await.is_some(), "who is in the cache may finish");
    house.sessions.close().await;
}
