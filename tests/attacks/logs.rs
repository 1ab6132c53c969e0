//! Log injection: what somebody writes into an address, a form, a header or a claim stays within one line, and has no
//! hold on the terminal of whoever reads it.

use std::cell::RefCell;
use std::io::Write;

use lychgate::config::{AuditSettings, AuditSink, LocalUser, OnFull, Subjects};
use lychgate::credentials::PasswordHash;
use serde_json::Value;
use tracing_subscriber::EnvFilter;
use url::form_urlencoded;

use crate::support::{ADA, Tenant, World};

/// Begins a line of its own, moves the cursor and clears the screen, by each control character there is for it.
const FORGERY: &str = "x\r\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J\u{9b}2J\u{85}forged\u{2028}forged\u{8}\u{7f}";

thread_local! {
    /// What is logged in this thread, if somebody wants to know. A test has one thread, and all that runs in it.
    static HEARD: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

struct Ear;

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        HEARD.with_borrow_mut(|heard| heard.as_mut().map(|heard| heard.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// CVE-2021-32785 asks it of us: the log's lines for people and the lines of the audit log.
#[tokio::test]
async fn nothing_from_outside_begins_a_line_or_reaches_a_terminal() {
    let filter = EnvFilter::new("info,lychgate=debug");
    let lines = tracing_subscriber::fmt().compact().with_ansi(false).with_env_filter(filter);
    // For the process: what is set for a thread misses lines that another thread was the first to reach.
    tracing::subscriber::set_global_default(lines.with_writer(|| Ear).finish()).unwrap();
    HEARD.set(Some(Vec::new()));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let mut tenant = Tenant::start("acme").await;
    tenant.settings.local_users = vec![LocalUser::new("grace", PasswordHash::of(&"a password".into()))];
    let sink = AuditSink::File(file.clone());
    let world = World::start_with(vec![tenant], |settings| {
        settings.audit = AuditSettings { sink, on_full: OnFull::Drop, subjects: Subjects::Raw };
    })
    .await;
    for claim in ["name", "email", "org_name", "sid"] {
        world.provider().change_claim(ADA, claim, FORGERY);
    }
    let text: String = form_urlencoded::byte_serialize(FORGERY.as_bytes()).collect();
    let text = text.replace('+', "%20");
    let mut ada = world.browser().with("sec-fetch-site", "same-origin");
    ada.headers.push(("user-agent", "a\tforged\u{9b}2J".to_owned()));
    ada.headers.push(("x-request-id", "forged\u{85}forged".to_owned()));
    ada.visit("/acme/login").await;
    let state = world.browser().get("/acme/login").await.location();
    let state = state.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let mut other = world.browser();
    let begun = other.get("/acme/login").await.location();
    let own = begun.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    other.get(&format!("/acme/callback?error={text}&error_description={text}&error_uri={text}&state={own}")).await;
    for path in [
        format!("/acme/callback?code={text}&state={state}"),
        format!("/acme/callback?error={text}&error_description={text}&state={text}"),
        format!("/acme/login?return_to={text}&login_hint={text}"),
        format!("/acme/login?iss={text}&step_up={text}"),
        format!("/acme/{text}"),
        format!("/{text}/login"),
        format!("/acme/frontchannel-logout?iss={text}&sid={text}"),
        format!("/acme/token?audience={text}"),
    ] {
        ada.clone().get(&path).await;
    }
    let page = ada.get("/acme/login/local").await;
    let token = page.body.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    ada.post("/acme/login/local", &format!("form={token}&username={text}&password={text}")).await;
    ada.post("/acme/backchannel-logout", &format!("logout_token={text}")).await;
    world.browser().with("authorization", "Bearer forged\u{9b}").get("/acme/session").await;
    for host in ["x-forwarded-host", "x-forwarded-for", "x-forwarded-proto"] {
        world.browser().with(host, "forged\u{9b}2J").get("/acme").await;
    }
    world.gateway.audit.finish().await.unwrap();

    let log = String::from_utf8(HEARD.take().unwrap()).unwrap();
    assert!(log.lines().count() > 10, "{log}");
    for line in log.split_terminator('\n') {
        let date = line.as_bytes().iter().take(11).map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte });
        assert_eq!(date.collect::<Vec<_>>(), b"0000-00-00T", "{line:?}");
        assert!(!line.starts_with("2026-01-01T00:00:00Z") && is_harmless(line), "{line:?}");
    }
    let audit = std::fs::read_to_string(&file).unwrap();
    assert!(audit.contains("sign_in"), "{audit}");
    for line in audit.split_terminator('\n') {
        assert!(is_harmless(line), "{line:?}");
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{line:?}");
    }
}

fn is_harmless(line: &str) -> bool {
    !line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}
