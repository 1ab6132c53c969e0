//! The root secret changes while gateways run, and who notices.

use std::path::PathBuf;
use std::process::{Command, Output};

use lychgate::gateway::LiveGateway;
use lychgate::key_ring::{KeyId, RingFiles};
use reqwest::StatusCode;

use crate::support::{self, Browser, World};

/// The keys of `world`.
struct Keys {
    files: RingFiles,
}

impl Keys {
    fn of(world: &World) -> Self {
        Self { files: RingFiles::new(world.data_dir().join("secret.key")) }
    }

    /// The first step.
    fn prepare(&self) -> KeyId {
        self.files.prepare().unwrap().key.id()
    }

    /// The second step, a minute later; returns the id of the former key.
    fn activate(&self, world: &World) -> KeyId {
        self.files.activate(world.clock.now().plus(60)).unwrap().0.key.id()
    }
}

/// The gateway looks at the keys, and brings users under the active one.
async fn look(world: &World) {
    world.gateway.look_at_keys(&mut None).await;
    world.gateway.sessions.rekey_users().await.unwrap();
}

/// The path and query of the callback that the provider sends the browser to.
async fn callback_of(browser: &mut Browser) -> String {
    browser.until_callback("/acme/login").await[url::Position::BeforePath..].to_owned()
}

#[tokio::test]
async fn everybody_stays_signed_in_while_the_root_secret_changes_and_over_a_restart() {
    let mut world = support::acme().await;
    let keys = Keys::of(&world);
    let mut browsers = vec![world.signed_in("acme").await];
    keys.prepare();
    look(&world).await;
    browsers.push(world.signed_in("acme").await);
    let former = keys.activate(&world);
    look(&world).await;
    browsers.push(world.signed_in("acme").await);
    assert_ne!(world.gateway.ring.active().id(), former);
    for turn in 0..2 {
        for browser in &mut browsers {
            assert!(browser.session("acme").await.is_some(), "turn {turn}");
        }
        world.restart_with(|_| {}).await;
    }
    let ada = world.gateway.sessions.users(&"acme".parse().unwrap()).await.unwrap();
    assert_eq!((ada.len(), ada[0].sign_ins), (1, 3), "she is one user under whatever key");
}

#[tokio::test]
async fn a_sign_in_that_is_under_way_while_the_key_changes_is_finished() {
    let world = support::acme().await;
    let keys = Keys::of(&world);
    let (mut first, mut second) = (world.browser(), world.browser());
    let first_callback = callback_of(&mut first).await;
    keys.prepare();
    look(&world).await;
    let second_callback = callback_of(&mut second).await;
    let former = keys.activate(&world);
    look(&world).await;
    for (browser, callback) in [(&mut first, first_callback), (&mut second, second_callback)] {
        assert_eq!(browser.get(&callback).await.status, StatusCode::SEE_OTHER);
        assert!(browser.session("acme").await.is_some());
    }
    let mut late = world.browser();
    let late_callback = callback_of(&mut late).await;
    keys.files.drop_key(former).unwrap();
    look(&world).await;
    assert_eq!(late.get(&late_callback).await.status, StatusCode::SEE_OTHER, "it began under the active key");
}

#[tokio::test]
async fn gateways_that_look_at_different_times_take_what_the_other_began() {
    let world = support::acme().await;
    let twin = world.twin().await;
    let keys = Keys::of(&world);
    let next = keys.prepare();
    for gateway in [&world, &twin] {
        look(gateway).await;
        assert!(gateway.gateway.ring.accepts(next));
    }
    let former = keys.activate(&world);
    look(&world).await;
    assert_eq!((world.gateway.ring.active().id(), twin.gateway.ring.active().id()), (next, former));

    let mut signed_in = Vec::new();
    for (begins, ends) in [(&world, &twin), (&twin, &world)] {
        let mut browser = begins.behind(&world, &world.browser());
        let callback = callback_of(&mut browser).await;
        let mut browser = ends.behind(&world, &browser);
        let page = browser.get(&callback).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.body);
        signed_in.push(browser);
    }
    look(&twin).await;
    for browser in &signed_in {
        for gateway in [&world, &twin] {
            assert!(gateway.behind(&world, browser).session("acme").await.is_some());
        }
    }
    assert_eq!(twin.gateway.ring.active().id(), next);
}

#[tokio::test]
async fn a_key_that_is_dropped_signs_out_those_under_it_and_nobody_else() {
    let mut world = support::acme().await;
    let twin = world.twin().await;
    let keys = Keys::of(&world);
    let mut old = world.signed_in("acme").await;
    let mut old_at_twin = twin.behind(&world, &old);
    assert!(old_at_twin.session("acme").await.is_some(), "it is in the memory of both");
    keys.prepare();
    let former = keys.activate(&world);
    look(&world).await;
    look(&twin).await;
    let mut new = world.signed_in("acme").await;
    let mut old_attempt = world.browser();
    let old_callback = callback_of(&mut old_attempt).await;

    keys.files.drop_key(former).unwrap();
    look(&world).await;
    look(&twin).await;
    assert_eq!(old.session("acme").await, None);
    assert_eq!(old_at_twin.session("acme").await, None);
    assert!(new.session("acme").await.is_some());
    assert!(twin.behind(&world, &new).session("acme").await.is_some());
    assert_eq!(old_attempt.get(&old_callback).await.status, StatusCode::SEE_OTHER, "it began under the new key");
    let users = world.gateway.sessions.users(&"acme".parse().unwrap()).await.unwrap();
    assert_eq!((users.len(), users[0].sign_ins), (1, 3), "nobody is forgotten");
    world.restart_with(|_| {}).await;
    assert_eq!(old.session("acme").await, None);
    assert!(new.session("acme").await.is_some());
    assert!(old.visit("/acme/login").await.status.is_success(), "and may sign in again");
}

#[tokio::test]
async fn a_bad_file_keeps_the_keys_as_they_were_and_shows() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    look(&world).await;
    let accepted = r#"lychgate_session_keys{role="accepted"}"#;
    assert_eq!((world.metric("lychgate_session_key_files_up"), world.metric(accepted)), (1, 0));
    assert!(world.metric("lychgate_session_key_active_since_timestamp_seconds") > 1_700_000_000);
    let key = std::fs::read(world.data_dir().join("secret.key")).unwrap();
    std::fs::write(world.data_dir().join("secret.key"), &key[..20]).unwrap();
    look(&world).await;
    assert_eq!(world.metric("lychgate_session_key_files_up"), 0);
    assert!(browser.session("acme").await.is_some());
    world.signed_in("acme").await;
    std::fs::write(world.data_dir().join("secret.key"), &key).unwrap();
    Keys::of(&world).prepare();
    look(&world).await;
    assert_eq!((world.metric("lychgate_session_key_files_up"), world.metric(accepted)), (1, 1));
    assert_eq!(world.metric(r#"lychgate_session_keys{role="active"}"#), 1);
}

#[tokio::test]
async fn a_running_gateway_notices_by_itself() {
    let world = support::acme().await;
    world.signed_in("acme").await;
    let keys = Keys::of(&world);
    keys.prepare();
    look(&world).await;
    let former = keys.activate(&world);
    let running = tokio::spawn(LiveGateway::from(world.gateway.clone()).keep_keys());
    let noticed = async {
        while world.gateway.ring.active().id() == former {
            tokio::task::yield_now().await;
        }
    };
    let noticed = tokio::time::timeout(std::time::Duration::from_secs(10), noticed).await;
    running.abort();
    assert!(noticed.is_ok(), "within the ten seconds that the commands promise");
}

/// `lychgate secret …` in the folder of `world`.
fn secret(world: &World, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lychgate"))
        .arg("secret")
        .args(arguments)
        .arg("--data")
        .arg(world.data_dir())
        .current_dir(world.data_dir())
        .env_clear()
        .output()
        .unwrap()
}

#[track_caller]
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn id_in(path: PathBuf) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    lychgate::key_ring::RingKey::from_text(&text).unwrap().id().to_string()
}

#[tokio::test]
async fn the_commands_change_files_that_a_running_gateway_follows() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let [active, next] = ["secret.key", "secret.next.key"].map(|name| world.data_dir().join(name));
    let old = id_in(active.clone());

    assert!(refused(&secret(&world, &["rotate", "--activate"])).contains("there is no next key"));
    let first = said(&secret(&world, &["rotate"]));
    let new = id_in(next.clone());
    assert!(first.contains(&new) && first.contains("rotate --activate"), "{first}");
    assert!(said(&secret(&world, &["rotate"])).contains(&new), "once more is the same");
    assert!(refused(&secret(&world, &["rotate", "--activate"])).contains("not 10 s old"));
    look(&world).await;

    let aged = std::time::UNIX_EPOCH + std::time::Duration::from_secs(world.clock.now().0 as u64 - 60);
    std::fs::File::open(&next).unwrap().set_modified(aged).unwrap();
    let second = said(&secret(&world, &["rotate", "--activate"]));
    assert!(second.contains(&format!("The active key is {new}")), "{second}");
    assert!(second.contains(&format!("lychgate secret drop {old}")), "{second}");
    assert_eq!((id_in(active.clone()), next.exists()), (new.clone(), false));
    look(&world).await;
    world.signed_in("acme").await;
    assert!(browser.session("acme").await.is_some());

    let list = said(&secret(&world, &["list"]));
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "ROLE", "SINCE", "SESSIONS", "FILE"]);
    assert_eq!((rows[1][0], rows[1][1], rows[1][3]), (new.as_str(), "active", "1"), "{list}");
    assert_eq!((rows[2][0], rows[2][1], rows[2][3]), (old.as_str(), "accepted", "1"), "{list}");
    let retired = world.data_dir().join(format!("secret.{old}.key"));
    #[cfg(unix)]
    for path in [&active, &retired] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    for output in [first, second, list] {
        assert!(!output.contains(std::fs::read_to_string(&active).unwrap().trim()), "no command shows a key");
    }

    assert!(refused(&secret(&world, &["drop", &new])).contains("is the active key"));
    assert!(refused(&secret(&world, &["drop", "00000000"])).contains("no key here"));
    let dropped = said(&secret(&world, &["drop", &old]));
    assert!(dropped.contains("Sessions that end with it: 1."), "{dropped}");
    assert!(!retired.exists());
    look(&world).await;
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn check_tells_of_a_bad_key_before_a_start_does() {
    let world = support::acme().await;
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
        command.args(["check", "--data"]).arg(world.data_dir()).current_dir(world.data_dir()).env_clear();
        command.output().unwrap()
    };
    said(&check());
    std::fs::write(world.data_dir().join("secret.more.key"), "half").unwrap();
    let output = check();
    assert_eq!(output.status.code(), Some(78));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("secret.more.key") && error.contains("is not a key"), "{error}");
}

#[tokio::test]
async fn a_root_secret_that_settings_hold_themselves_has_no_ring() {
    let world = support::acme().await;
    let key = lychgate::key_ring::RingKey::generate().to_text();
    let output = Command::new(env!("CARGO_BIN_EXE_lychgate"))
        .args(["secret", "rotate"])
        .current_dir(world.data_dir())
        .env_clear()
        .env("LYCHGATE_SECRET", lychgate::secret::ExposeSecret::expose_secret(&key))
        .output()
        .unwrap();
    assert!(refused(&output).contains("name that in `secret_file`"));
}
