//! The audit log: every event is told, in lines that the schema knows, without a secret; what was done to the lines shows;
//! and what happens when they cannot be written.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use lychgate::audit::verify::{self, Linked};
use lychgate::audit::{Audit, Event, Kind};
use lychgate::clock::Clock;
use lychgate::config::{
    AuditSettings, AuditSink, Effect, LocalUser, OnFull, PathPattern, Rule, Settings, Subjects, SyslogAddress,
};
use lychgate::credentials::PasswordHash;
use lychgate::demo::{Fault, LogoutSubject};
use lychgate::key_ring::{KeyRing, RingFiles, RingKey};
use lychgate::metrics::Metrics;
use reqwest::StatusCode;
use serde_json::Value;

use crate::support::{ADA, Browser, Page, Tenant, World};

const PASSWORD: &str = "correct horse battery";
const WRONG_PASSWORD: &str = "a wrong password that nobody may see";
const FORGED: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJmb3JnZWQifQ.forged-signature";

/// A folder with an audit log.
struct Log(tempfile::TempDir);

impl Log {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("audit.log")
    }

    fn settings(&self, on_full: OnFull) -> AuditSettings {
        AuditSettings { sink: AuditSink::File(self.path()), on_full, subjects: Subjects::Raw }
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap_or_default()
    }

    fn lines(&self) -> Vec<Value> {
        lines_of(&self.text())
    }

    /// The lines of an event.
    fn told(&self, event: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["event"] == event).collect()
    }

    #[track_caller]
    fn assert_whole(&self) {
        let report = verify::verify(&[self.path()], Linked::ToTheLineAbove, None).unwrap();
        assert_eq!(report.faults, [], "{}", self.text());
    }

    /// A log of its own that some events are told to.
    async fn with(count: usize) -> Self {
        let log = Self::new();
        let audit = log.open(OnFull::Drop);
        for number in 0..count {
            audit.record(Event::new(Kind::AdminAction).count(number));
        }
        audit.finish().await.unwrap();
        log
    }

    fn open(&self, on_full: OnFull) -> std::sync::Arc<Audit> {
        open(&self.settings(on_full))
    }
}

fn open(settings: &AuditSettings) -> std::sync::Arc<Audit> {
    Audit::open(settings, KeyRing::of_one(RingKey::generate()), Clock::system(), Metrics::new(9)).unwrap()
}

fn lines_of(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[track_caller]
pub fn assert_by_schema(lines: &[Value]) {
    let schema = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/audit.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    for line in lines {
        let faults: Vec<String> = schema.iter_errors(line).map(|error| error.to_string()).collect();
        assert_eq!(faults, [""; 0], "{line}");
    }
}

async fn until(what: &str, true_at_last: impl Fn() -> bool) {
    let wait = async {
        while !true_at_last() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A tenant of whom every event can be had, and another.
async fn world(log: &Log, on_full: OnFull) -> World {
    world_with(log, |settings| settings.audit = log.settings(on_full)).await
}

async fn world_with(_: &Log, change: impl FnOnce(&mut Settings)) -> World {
    let mut tenant = Tenant::start("acme").await;
    tenant.settings.sign_in.scopes.push("offline_access".to_owned());
    tenant.settings.api.audiences = vec!["https://api.acme.example".to_owned()];
    tenant.settings.local_users = vec![LocalUser::new("grace", PasswordHash::of(&PASSWORD.into()))];
    tenant.settings.policy.rules = vec![Rule {
        name: Some("no-vault".to_owned()),
        paths: vec![PathPattern::parse("/vault/**").unwrap()],
        methods: Vec::new(),
        hosts: Vec::new(),
        networks: lychgate::net::Networks::default(),
        effect: Effect::Deny,
    }]
    .into();
    World::start_with(vec![tenant], change).await
}

/// A browser that says where its requests come from, as today's browsers do.
fn own(world: &World, browser: &Browser) -> Browser {
    browser.clone().with("sec-fetch-site", "same-origin").with("origin", &world.url(""))
}

async fn local(world: &World, browser: &mut Browser, password: &str) -> Page {
    let page = browser.get("/acme/login/local").await;
    let form = page.body.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("form", form), ("username", "grace"), ("password", password)])
        .finish();
    own(world, browser).post("/acme/login/local", &form).await
}

async fn asked(world: &World, browser: &Browser, path: &str) -> Page {
    let url = format!("http://127.0.0.1:{}{path}", world.address.port());
    browser.clone().with("x-original-url", &url).with("x-original-method", "GET").get("/acme/auth").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_told_in_a_line_that_the_schema_knows_and_none_holds_a_secret() {
    let log = Log::new();
    let world = world(&log, OnFull::Block).await;
    let mut secrets: Vec<String> = [PASSWORD, WRONG_PASSWORD, FORGED, "a good password"].map(str::to_owned).into();
    let keep = |secrets: &mut Vec<String>, browser: &Browser| {
        secrets.extend(browser.cookies.values().filter(|value| value.len() > 15).cloned());
    };

    // Sign-ins, good and bad; the second in the same browser replaces the first.
    let mut browser = world.signed_in("acme").await;
    keep(&mut secrets, &browser);
    let callback = browser.until_callback("/acme/login").await;
    secrets.extend(callback.query_pairs().map(|(_, value)| value.into_owned()));
    keep(&mut secrets, &browser);
    browser.get(callback.as_str()).await;
    keep(&mut secrets, &browser);
    let stolen = world.browser().get(callback.as_str()).await;
    assert_eq!(stolen.code(), "cookie_missing");

    // Tokens.
    world.pass(61);
    let mut script = own(&world, &browser).with("sec-fetch-mode", "cors").with("accept", "application/json");
    assert_eq!(script.post("/acme/session/refresh", "").await.status, StatusCode::OK);
    world.pass(61);
    world.provider().order_once(Fault::InvalidGrant);
    assert_eq!(script.post("/acme/session/refresh", "").await.status, StatusCode::UNAUTHORIZED);
    let bearer = format!("Bearer {FORGED}");
    let refused = asked(&world, &world.browser().with("authorization", &bearer), "/reports").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);

    // Policies, other sites, too many tries.
    assert_eq!(asked(&world, &browser, "/reports").await.status, StatusCode::OK);
    assert_eq!(asked(&world, &browser, "/vault/7?pin=4711-secret-pin").await.status, StatusCode::FORBIDDEN);
    secrets.push("4711-secret-pin".to_owned());
    let foreign = browser.clone().with("origin", "https://evil.example").post("/acme/sessions/revoke", "").await;
    assert_eq!(foreign.code(), "csrf_refused");
    let mut guesser = world.browser();
    for _ in 0..10 {
        assert_eq!(local(&world, &mut guesser, WRONG_PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(local(&world, &mut guesser, WRONG_PASSWORD).await.status, StatusCode::TOO_MANY_REQUESTS);

    // Every way to end a session.
    world.signed_in("acme").await;
    own(&world, &browser).post("/acme/sessions/revoke", "").await;
    let mut second = world.signed_in("acme").await;
    keep(&mut secrets, &second);
    second.get("/acme/logout").await;
    let mut third = world.signed_in("acme").await;
    let user = third.session("acme").await.unwrap()["user"].clone();
    let subject = LogoutSubject { sid: user["sid"].as_str().map(str::to_owned), sub: None };
    let token = world.provider().logout_token("acme-client", &subject);
    world.browser().post("/acme/backchannel-logout", &format!("logout_token={token}")).await;
    secrets.push(token);
    let mut fourth = world.signed_in("acme").await;
    let user = fourth.session("acme").await.unwrap()["user"].clone();
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("iss", world.provider().issuer()), ("sid", user["sid"].as_str().unwrap())])
        .finish();
    world.browser().get(&format!("/acme/frontchannel-logout?{query}")).await;
    world.pass(3600);
    let mut grace = world.browser();
    assert_eq!(local(&world, &mut grace, PASSWORD).await.status, StatusCode::SEE_OTHER);
    // `local` sends from a copy of the browser: the session's cookie is its own business.
    let mut grace = own(&world, &grace);
    let page = grace.get("/acme/login/local").await;
    let form = page.body.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    grace
        .post("/acme/login/local", &format!("form={form}&username=grace&password={}", PASSWORD.replace(' ', "+")))
        .await;
    keep(&mut secrets, &grace);
    assert_eq!(grace.get("/acme/logout").await.location().path(), "/acme/logged-out");

    // Keys.
    let files = RingFiles::new(world.data_dir().join("secret.key"));
    files.prepare().unwrap();
    world.gateway.look_at_keys(&mut None).await;
    let former = files.activate(world.clock.now().plus(60)).unwrap().0.key.id();
    world.gateway.look_at_keys(&mut None).await;
    files.drop_key(former).unwrap();
    world.gateway.look_at_keys(&mut None).await;
    world.gateway.audit.close().await.unwrap();

    let text = log.text();
    let lines = log.lines();
    assert_by_schema(&lines);
    log.assert_whole();
    let told: BTreeSet<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    let missing: Vec<&str> = Kind::ALL
        .iter()
        .map(|kind| kind.name())
        // These are provoked by tests of their own: in `reload`, and where the sink fails.
        .filter(|name| !["tenant.added", "tenant.changed", "tenant.removed", "tenant.rejected"].contains(name))
        .filter(|name| !["config.rejected", "audit.dropped"].contains(name))
        .filter(|name| !told.contains(name))
        .collect();
    assert_eq!(missing, [""; 0], "{text}");
    for secret in &secrets {
        assert!(!text.contains(secret.as_str()), "{secret} is in the audit log");
    }
    assert!(secrets.len() > 15, "{}", secrets.len());

    let success = log.told("sign_in.succeeded").remove(0);
    assert_eq!(success["subject"], user["sub"]);
    assert_eq!((&success["client_address"], &success["tenant"]), (&"127.0.0.1".into(), &"acme".into()));
    let created = log.told("session.created").remove(0);
    assert_eq!((&created["session"], &created["request_id"]), (&success["session"], &success["request_id"]));
    let replaced = log.told("session.ended").remove(0);
    assert_eq!((&replaced["reason"], &replaced["session"]), (&"replaced".into(), &success["session"]));
    let denied = log.told("access.denied").remove(0);
    assert_eq!((&denied["path"], &denied["rule"]), (&"/vault/7".into(), &"rules[0] (no-vault)".into()), "{denied}");
    assert_eq!(denied["subject"], user["sub"]);
    let reasons: BTreeSet<String> =
        log.told("session.ended").iter().map(|line| line["reason"].as_str().unwrap().to_owned()).collect();
    for reason in ["replaced", "revoked", "logout", "backchannel", "frontchannel"] {
        assert!(reasons.contains(reason), "{reason}: {reasons:?}");
    }
    assert_eq!(world.metric("lychgate_audit_events_dropped_total{sink=\"file\"}"), 0);
}

#[tokio::test]
async fn a_session_that_nobody_uses_is_told_when_it_is_swept() {
    let log = Log::new();
    let world = world(&log, OnFull::Drop).await;
    world.signed_in("acme").await;
    world.pass(2 * 24 * 3600);
    world.gateway.sessions.sweep().await.unwrap();
    until("session.ended", || log.told("session.ended").len() == 1).await;
    let ended = log.told("session.ended").remove(0);
    assert_eq!(ended["reason"], "idle");
    assert_eq!(ended["session"], log.told("session.created")[0]["session"]);
}

#[tokio::test]
async fn people_are_named_hashed_or_left_out_as_the_settings_say() {
    let mut told = Vec::new();
    for subjects in [Subjects::Raw, Subjects::Hashed, Subjects::Omitted] {
        let log = Log::new();
        let world = world_with(&log, |settings| {
            settings.audit = AuditSettings { subjects, ..log.settings(OnFull::Block) };
        })
        .await;
        let mut browser = world.signed_in("acme").await;
        let sub = browser.session("acme").await.unwrap()["user"]["sub"].as_str().unwrap().to_owned();
        world.signed_in("acme").await;
        let lines = log.told("sign_in.succeeded");
        assert_by_schema(&log.lines());
        assert_eq!(lines[0]["subject"], lines[1]["subject"], "the same person");
        assert_eq!(log.text().contains(&sub), subjects == Subjects::Raw, "{subjects:?}");
        assert!(!log.text().contains(ADA), "an address is no subject");
        told.push(lines[0]["subject"].clone());
    }
    assert!(told[0].is_string() && told[1].is_string() && told[0] != told[1], "{told:?}");
    assert_eq!(told[2], Value::Null);
}

#[tokio::test]
async fn the_chain_goes_on_over_a_restart_and_says_where() {
    let log = Log::new();
    let mut world = world(&log, OnFull::Block).await;
    world.signed_in("acme").await;
    world.gateway.audit.close().await.unwrap();
    let before = log.lines().len();
    world.restart_with(|_| {}).await;
    world.signed_in("acme").await;
    log.assert_whole();
    let lines = log.lines();
    let started = &lines[before];
    assert_eq!((&started["event"], &started["seq"]), (&"process.started".into(), &1.into()));
    assert_eq!(started["after"]["instance"], lines[before - 1]["instance"]);
    assert_eq!(started["after"]["seq"], lines[before - 1]["seq"]);
    assert_ne!(started["instance"], lines[before - 1]["instance"]);
}

#[tokio::test]
async fn a_file_that_was_renamed_is_followed_by_a_new_one_and_the_chain_goes_on() {
    let log = Log::new();
    let audit = log.open(OnFull::Drop);
    let rotated = log.0.path().join("audit.log.1");
    for number in 0..40 {
        audit.record(Event::new(Kind::AdminAction).count(number));
        if number == 20 {
            until("twenty-one lines", || log.lines().len() == 21).await;
            fs::rename(log.path(), &rotated).unwrap();
        }
    }
    audit.finish().await.unwrap();
    assert_eq!((lines_of(&fs::read_to_string(&rotated).unwrap()).len(), log.lines().len()), (21, 19));
    // In whichever order they are named.
    for files in [[log.path(), rotated.clone()], [rotated.clone(), log.path()]] {
        let report = verify::verify(&files, Linked::ToTheLineAbove, None).unwrap();
        assert_eq!((report.lines, &report.faults[..]), (40, &[][..]));
    }
    // A rotation while nobody runs: the file beside it knows where to go on.
    let older = log.0.path().join("audit.log.2");
    fs::rename(&rotated, &older).unwrap();
    fs::rename(log.path(), &rotated).unwrap();
    let audit = log.open(OnFull::Drop);
    audit.record(Event::new(Kind::AdminAction));
    audit.finish().await.unwrap();
    let report = verify::verify(&[log.path(), rotated, older], Linked::ToTheLineAbove, None).unwrap();
    assert_eq!((report.lines, &report.faults[..]), (41, &[][..]));
}

#[tokio::test]
async fn two_processes_write_to_one_file_in_turns() {
    let log = Log::new();
    let (one, other) = (log.open(OnFull::Drop), log.open(OnFull::Drop));
    for number in 0..200 {
        let audit = if number % 3 == 0 { &one } else { &other };
        audit.record(Event::new(Kind::AdminAction).count(number));
    }
    one.finish().await.unwrap();
    other.finish().await.unwrap();
    assert_eq!(log.lines().len(), 200);
    log.assert_whole();
}

/// What `verify` says of a log whose lines were changed.
fn faults_after(log: &Log, change: impl FnOnce(&mut Vec<String>)) -> Vec<String> {
    let mut lines: Vec<String> = log.text().lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(log.path(), lines.join("\n") + "\n").unwrap();
    let report = verify::verify(&[log.path()], Linked::ToTheLineAbove, None).unwrap();
    report.faults.iter().map(|fault| format!("{}: {}", fault.line, fault.what)).collect()
}

#[track_caller]
fn assert_told(faults: &[String], start: &str, words: &str) {
    let told = faults.iter().any(|fault| fault.starts_with(start) && fault.contains(words));
    assert!(told, "{start} {words}: {faults:?}");
}

#[tokio::test]
async fn whatever_is_done_to_the_lines_shows_with_file_and_line() {
    let unlinked = "does not link to the line before it";
    let faults = faults_after(&Log::with(9).await, |lines| drop(lines.remove(4)));
    assert_told(&faults, "5: ", "1 lines of");
    assert_told(&faults, "5: ", unlinked);
    let faults = faults_after(&Log::with(9).await, |lines| lines[3] = lines[3].replace("\"count\":3", "\"count\":4"));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_told(&faults, "5: ", unlinked);
    let faults = faults_after(&Log::with(9).await, |lines| lines.swap(2, 3));
    assert_told(&faults, "3: ", "lines of");
    assert_told(&faults, "4: ", "it was moved, or stands twice");
    let faults = faults_after(&Log::with(9).await, |lines| lines.insert(2, lines[1].clone()));
    assert_told(&faults, "3: ", "it was moved, or stands twice");
    let faults = faults_after(&Log::with(9).await, |lines| lines.truncate(6));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_told(&faults, "6: the log ends here, but ", "audit.log.head knows a later line");
    let faults = faults_after(&Log::with(9).await, |lines| lines[8].truncate(40));
    assert_told(&faults, "9: ", "cut off");
    assert_eq!(faults_after(&Log::with(9).await, |_| {}), [""; 0]);
    // Earlier files are no longer kept: that is a note, no fault.
    let log = Log::with(9).await;
    let text = log.text();
    fs::write(log.path(), text.split_inclusive('\n').skip(3).collect::<String>()).unwrap();
    let report = verify::verify(&[log.path()], Linked::ToTheLineAbove, None).unwrap();
    assert_eq!((report.faults.len(), report.notes.len()), (0, 1));
}

#[tokio::test]
async fn a_log_that_was_made_anew_lacks_the_line_that_was_noted() {
    let log = Log::with(5).await;
    let report = verify::verify(&[log.path()], Linked::ToTheLineAbove, None).unwrap();
    let noted = verify::unhex(&report.last.unwrap());
    let again = log.open(OnFull::Drop);
    again.record(Event::new(Kind::AdminAction));
    again.finish().await.unwrap();
    let report = verify::verify(&[log.path()], Linked::ToTheLineAbove, noted).unwrap();
    assert_eq!(report.faults, [], "it has grown since");
    let forged = Log::with(6).await;
    let report = verify::verify(&[forged.path()], Linked::ToTheLineAbove, noted).unwrap();
    assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
    assert!(report.faults[0].what.contains("no line has the noted hash"), "{:?}", report.faults);
}

#[tokio::test]
async fn the_command_says_what_is_wrong_and_exits_with_1() {
    let log = Log::with(5).await;
    let files = [log.path(), log.0.path().join("audit.log.head")];
    let verify = || -> Output {
        Command::new(env!("CARGO_BIN_EXE_lychgate")).args(["audit", "verify"]).args(&files).output().unwrap()
    };
    let good = verify();
    let said = String::from_utf8(good.stdout).unwrap();
    assert!(good.status.success() && said.starts_with("5 lines, nothing missing, nothing changed"), "{said}");
    faults_after(&log, |lines| drop(lines.remove(2)));
    let bad = verify();
    let said = String::from_utf8(bad.stdout).unwrap();
    assert_eq!(bad.status.code(), Some(1), "{said}");
    assert!(said.contains("audit.log:3: "), "{said}");
    let missing =
        Command::new(env!("CARGO_BIN_EXE_lychgate")).args(["audit", "verify", "nowhere.log"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("nowhere.log cannot be read"));
}

#[tokio::test]
async fn an_operator_who_ends_sessions_stands_in_the_gateway_s_log() {
    let log = Log::new();
    let world = world(&log, OnFull::Drop).await;
    world.signed_in("acme").await;
    let tenants = tempfile::tempdir().unwrap();
    let file = format!("issuer = \"{}\"\nclient_id = \"acme-client\"\n", world.provider().issuer());
    fs::write(tenants.path().join("acme.toml"), file + "client_auth = \"none\"\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lychgate"))
        .args(["sessions", "revoke", "--user", ADA, "--data"])
        .arg(world.data_dir())
        .arg("--tenants")
        .arg(tenants.path())
        .env("LYCHGATE_AUDIT__SINK", "file")
        .env("LYCHGATE_AUDIT__FILE", log.path())
        .current_dir(tenants.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let action = log.told("admin.action").remove(0);
    assert_eq!((&action["action"], &action["by"]), (&"sessions revoke".into(), &"operator".into()));
    assert_eq!((&action["target"], &action["count"]), (&ADA.into(), &1.into()));
    assert_eq!(log.told("session.ended")[0]["reason"], "revoked");
    assert_eq!(log.told("session.ended")[0]["session"], log.told("session.created")[0]["session"]);
    world.gateway.audit.close().await.unwrap();
    log.assert_whole();
    assert_by_schema(&log.lines());
}

/// A sink that fails until somebody sees to it: no file can be made in a folder that is gone.
fn broken(log: &Log) -> PathBuf {
    log.0.path().join("folder")
}

fn in_folder(log: &Log, on_full: OnFull) -> AuditSettings {
    fs::create_dir_all(broken(log)).unwrap();
    AuditSettings { sink: AuditSink::File(broken(log).join("audit.log")), ..log.settings(on_full) }
}

#[tokio::test]
async fn lines_that_cannot_be_written_are_counted_and_the_gap_is_reported() {
    let log = Log::new();
    let world = world_with(&log, |settings| settings.audit = in_folder(&log, OnFull::Drop)).await;
    let path = broken(&log).join("audit.log");
    let read = || lines_of(&fs::read_to_string(&path).unwrap_or_default());
    until("config.applied", || read().len() == 2).await;
    let away = log.0.path().join("away");
    fs::rename(broken(&log), &away).unwrap();
    world.signed_in("acme").await;
    let dropped = || world.metric("lychgate_audit_events_dropped_total{sink=\"file\"}");
    until("three lines are lost", || dropped() == 3).await;
    assert_eq!(world.metric(r#"lychgate_audit_events_total{event="sign_in.started",result="success"}"#), 1);
    // Whoever saw to it put the folder back.
    fs::rename(&away, broken(&log)).unwrap();
    until("audit.dropped", || read().len() == 3).await;
    let report = read().remove(2);
    assert_eq!((&report["event"], &report["count"]), (&"audit.dropped".into(), &3.into()));
    assert!(report["since"].is_string());
    world.signed_in("acme").await;
    until("the next lines", || read().len() == 6).await;
    assert_by_schema(&read());
    let whole = verify::verify(std::slice::from_ref(&path), Linked::ToTheLineAbove, None).unwrap();
    assert_eq!(whole.faults, []);
}

#[tokio::test]
async fn where_requests_wait_nothing_begins_that_cannot_be_recorded_and_nothing_is_lost() {
    let log = Log::new();
    let world = world_with(&log, |settings| settings.audit = in_folder(&log, OnFull::Block)).await;
    let path = broken(&log).join("audit.log");
    let read = || lines_of(&fs::read_to_string(&path).unwrap_or_default());
    let mut browser = world.signed_in("acme").await;
    let before = read().len();
    let away = log.0.path().join("away");
    fs::rename(broken(&log), &away).unwrap();
    // The first finds out, and waits.
    let mut first = world.browser();
    let page = first.get("/acme/login").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{}", page.body);
    assert_eq!(page.json()["code"], "audit_unavailable");
    assert_eq!(first.cookies_named(""), [], "nothing of it comes through");
    // All others are told at once; a session that is good goes on.
    let at_once = tokio::time::timeout(Duration::from_secs(3), async {
        let page = browser.get("/acme/logout").await;
        assert_eq!((page.status, page.code()), (StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable"));
        assert!(page.header("retry-after") == "5", "{:?}", page.headers);
        assert_eq!(asked(&world, &browser, "/reports").await.status, StatusCode::OK);
        assert!(browser.session("acme").await.is_some(), "it did not end");
    });
    at_once.await.unwrap();
    fs::rename(&away, broken(&log)).unwrap();
    until("what waited", || read().len() == before + 1 && !world.gateway.audit.is_stuck()).await;
    assert_eq!(read()[before]["event"], "sign_in.started");
    assert_eq!(browser.get("/acme/logout").await.status, StatusCode::FOUND);
    assert!(read().iter().any(|line| line["event"] == "sign_out.provider"));
    assert_eq!(world.metric("lychgate_audit_events_dropped_total{sink=\"file\"}"), 0);
}

/// `<86>1 2026-… host lychgate 1 admin.action - {…}`: the header, and the line.
#[track_caller]
fn assert_entry(entry: &str) -> Value {
    let mut words = entry.splitn(8, ' ');
    let mut next = || words.next().unwrap_or_else(|| panic!("{entry}"));
    // authpriv and notice.
    assert_eq!(next(), "<85>1");
    assert!(next().ends_with('Z'), "{entry}");
    assert!(!next().is_empty(), "{entry}");
    assert_eq!((next(), next()), ("lychgate", std::process::id().to_string().as_str()));
    assert_eq!((next(), next()), ("admin.action", "-"));
    lines_of(next()).remove(0)
}

#[tokio::test]
async fn syslog_is_spoken_over_a_local_socket_udp_and_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let settings = |address| AuditSettings { sink: AuditSink::Syslog(address), ..AuditSettings::default() };
    let told = |audit: std::sync::Arc<Audit>| async move {
        audit.record(Event::new(Kind::AdminAction).action("one"));
        audit.record(Event::new(Kind::AdminAction).action("two"));
        audit.finish().await.unwrap();
    };
    let mut buffer = [0; 4096];

    let socket = UnixDatagram::bind(folder.path().join("log")).unwrap();
    told(open(&settings(SyslogAddress::Unix(folder.path().join("log"))))).await;
    for (seq, action) in [(1, "one"), (2, "two")] {
        let length = socket.recv(&mut buffer).unwrap();
        let line = assert_entry(std::str::from_utf8(&buffer[..length]).unwrap());
        assert_eq!((&line["seq"], &line["action"]), (&seq.into(), &action.into()));
    }

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    told(open(&settings(SyslogAddress::Udp("127.0.0.1".to_owned(), socket.local_addr().unwrap().port())))).await;
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(assert_entry(std::str::from_utf8(&buffer[..length]).unwrap())["action"], "one");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    told(open(&settings(SyslogAddress::Tcp("127.0.0.1".to_owned(), listener.local_addr().unwrap().port())))).await;
    let mut stream = String::new();
    listener.accept().unwrap().0.read_to_string(&mut stream).unwrap();
    let mut rest = stream.as_str();
    let mut lines = String::new();
    while let Some((length, entries)) = rest.split_once(' ') {
        let (entry, others) = entries.split_at(length.parse().unwrap());
        assert_entry(entry);
        lines.push_str(entry);
        lines.push('\n');
        rest = others;
    }
    assert_eq!(lines.lines().count(), 2, "{stream}");
    // What a daemon writes before each line hides nothing.
    let collected = folder.path().join("collected");
    fs::write(&collected, lines).unwrap();
    let report = verify::verify(&[collected], Linked::WithinProcesses, None).unwrap();
    assert_eq!((report.lines, &report.faults[..]), (2, &[][..]));
}

#[tokio::test]
async fn a_daemon_that_comes_back_gets_what_happens_then_and_is_told_of_the_gap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let audit =
        open(&AuditSettings { sink: AuditSink::Syslog(SyslogAddress::Unix(path.clone())), ..AuditSettings::default() });
    audit.record(Event::new(Kind::AdminAction).action("nobody hears it"));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut buffer = [0; 4096];
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    let entry = std::str::from_utf8(&buffer[..length]).unwrap();
    assert!(entry.contains("audit.dropped") && entry.contains("\"count\":1") && entry.starts_with("<83>1 "), "{entry}");
    audit.finish().await.unwrap();
}
