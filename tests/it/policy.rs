//! Who may sign in, and what `lychgate explain` says to operators.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use lychgate::config::{Condition, Effect, HostPattern, PathPattern, Rule, Test};
use lychgate::demo::Fault;
use lychgate::flow::access::{self, Knock, Permit};
use lychgate::net::Networks;
use lychgate::request_path::RequestPath;
use reqwest::StatusCode;

use crate::support::{self, Browser, Tenant, World};

const REFUSED: &str = r#"lychgate_sign_ins_total{provider="auth0",result="access_refused",tenant="acme"}"#;

async fn is_refused(world: &World) {
    let mut browser = world.browser();
    let page = browser.visit("/acme/login").await;
    assert_eq!((page.status, page.code()), (StatusCode::FORBIDDEN, "access_refused"), "{}", page.body);
    assert!(page.body.contains("another account") && page.body.contains("operator"), "{}", page.body);
    assert!(page.body.contains("/acme/login?prompt"), "{}", page.body);
    assert_eq!(browser.session("acme").await, None);
    assert_eq!(browser.cookies_named("lychgate-acme"), []);
    assert_eq!(world.metric(REFUSED), 1);
    assert_eq!(world.metric(r#"lychgate_sessions_created_total{tenant="acme"}"#), 0);
}

#[tokio::test]
async fn an_account_of_another_domain_gets_no_session() {
    let world = support::acme_with(|tenant| {
        tenant.policy.access.email_domains = vec![HostPattern::parse("other.example").unwrap()];
    })
    .await;
    is_refused(&world).await;
}

#[tokio::test]
async fn an_account_that_lacks_a_claim_gets_no_session() {
    let world = support::acme_with(|tenant| {
        tenant.policy.access.claims = vec![Condition { claim: vec!["staff".to_owned()], test: Test::Present }];
    })
    .await;
    is_refused(&world).await;
}

#[tokio::test]
async fn an_address_that_is_not_verified_gets_no_session() {
    let mut tenant = Tenant::start_with("acme", |spec| {
        spec.users[0].claims.insert("email_verified".to_owned(), false.into());
    })
    .await;
    tenant.settings.policy.access.emails = vec![support::ADA.to_owned()];
    is_refused(&World::start(vec![tenant]).await).await;
}

#[tokio::test]
async fn an_account_that_access_admits_signs_in() {
    let world = support::acme_with(|tenant| {
        tenant.policy.access.email_domains = vec![HostPattern::parse("acme.example").unwrap()];
        tenant.policy.access.claims = vec![Condition { claim: vec!["name".to_owned()], test: Test::Present }];
    })
    .await;
    world.signed_in("acme").await;
    assert_eq!(world.metric(REFUSED), 0);
}

#[tokio::test]
async fn who_is_refused_in_a_browser_that_has_a_session_keeps_it() {
    let mut world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    world
        .restart_with(|settings| {
            Arc::make_mut(&mut settings.tenants[0]).policy.access.emails = vec!["bob@acme.example".to_owned()];
        })
        .await;
    assert_eq!(browser.visit("/acme/login").await.code(), "access_refused");
    assert!(browser.session("acme").await.is_some());
}

/// The session of a browser, and what the policy says to it.
async fn admitted(world: &World, browser: &Browser, path: &str) -> Option<Permit> {
    let tenant = world.gateway.tenants.get("acme").unwrap();
    let (_, cookie) = browser.cookies_named("lychgate-acme").into_iter().find(|(_, value)| value.len() > 40).unwrap();
    let session = world.gateway.sessions.find(tenant.id(), &tenant.settings.session, &cookie).await.unwrap();
    assert!(session.is_some());
    let path = RequestPath::parse(path).unwrap();
    let knock = Knock {
        method: "GET",
        host: "a",
        path: &path,
        address: [127, 0, 0, 1].into(),
        token: None,
        session: session.map(Into::into),
    };
    access::admit(&world.gateway, tenant, knock).ok()
}

fn rule(path: &str, effect: Effect) -> Rule {
    let paths = vec![PathPattern::parse(path).unwrap()];
    Rule { name: None, paths, methods: vec![], hosts: vec![], networks: Networks::default(), effect }
}

fn allow_scope(scope: &str) -> Effect {
    Effect::Allow { claims: vec![], scopes: vec![scope.to_owned()] }
}

#[tokio::test]
async fn a_session_has_the_scopes_that_were_granted_told_or_not() {
    let rules = vec![rule("/profile", allow_scope("profile")), rule("/other", allow_scope("other"))];
    let world = support::acme_with(|tenant| tenant.policy.rules = rules.into()).await;
    for fault in [None, Some(Fault::NoScope)] {
        if let Some(fault) = fault {
            world.provider().order(fault);
        }
        let browser = world.signed_in("acme").await;
        assert!(admitted(&world, &browser, "/profile").await.is_some());
        assert!(admitted(&world, &browser, "/other").await.is_none());
    }
}

#[tokio::test]
async fn whom_access_admits_no_longer_passes_public_paths_as_nobody() {
    let rules = vec![rule("/public", Effect::Public)];
    let mut world = support::acme_with(|tenant| tenant.policy.rules = rules.into()).await;
    let browser = world.signed_in("acme").await;
    assert!(admitted(&world, &browser, "/public").await.unwrap().identity().is_some());
    assert!(admitted(&world, &browser, "/").await.unwrap().identity().is_some());
    world
        .restart_with(|settings| {
            Arc::make_mut(&mut settings.tenants[0]).policy.access.emails = vec!["bob@acme.example".to_owned()];
        })
        .await;
    assert!(admitted(&world, &browser, "/public").await.unwrap().identity().is_none());
    assert!(admitted(&world, &browser, "/").await.is_none());
}

/// A folder with one tenant, and what `lychgate explain` says there.
struct Operator(tempfile::TempDir);

impl Operator {
    fn new(policy: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tenants")).unwrap();
        let tenant = format!("issuer = \"https://id.example\"\nclient_id = \"a\"\nclient_secret = \"b\"\n{policy}");
        std::fs::write(folder.path().join("tenants/acme.toml"), tenant).unwrap();
        std::fs::write(
            folder.path().join("ada.json"),
            r#"{"sub": "ada", "groups": ["staff"], "email": "a@b.example"}"#,
        )
        .unwrap();
        Self(folder)
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
        command.args(arguments).current_dir(self.folder()).env_clear().output().unwrap()
    }

    #[track_caller]
    fn explain(&self, arguments: &[&str]) -> String {
        let output = self.run(&[&["explain", "acme"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

const RULES: &str = "\
default_rule = \"deny\"
[[rules]]
name = \"reports\"
paths = [\"/reports/**\"]
effect = \"allow\"
claims = [{ claim = \"groups\", contains = \"staff\" }]
[[rules]]
hosts = [\"api.example\"]
networks = [\"10.0.0.0/8\"]
effect = \"allow\"
scopes = [\"read:all\"]
";

#[test]
fn explain_says_which_rule_decides_and_why() {
    let operator = Operator::new(RULES);
    assert_eq!(
        operator.explain(&["GET", "/reports/7?x=/other"]),
        "GET /reports/7 at localhost from 127.0.0.1, nobody signed in:\n\
         rules[0] (reports) matches; its effect is allow.\n\
         Must sign in first: nobody is signed in.\n"
    );
    let said = operator.explain(&["--user", "ada.json", "get", "/%72eports"]);
    assert!(said.starts_with("GET /reports at") && said.ends_with("Passes.\n"), "{said}");
    assert!(!said.contains("staff") && !said.contains("b.example"), "{said}");
    let said = operator.explain(&["--user", "ada.json", "GET", "/other"]);
    assert!(said.contains("rules[1] does not match: the host is not api.example."), "{said}");
    assert!(said.ends_with("No rule matches; default_rule is deny.\nDenied, as everybody is.\n"), "{said}");
    let at = ["--user", "ada.json", "--host", "api.example", "--address", "10.1.2.3", "POST", "/other"];
    assert!(operator.explain(&at).ends_with("Denied: these scopes were not granted: read:all.\n"));
    assert!(operator.explain(&[&["--scope", "openid read:all"], &at[..]].concat()).ends_with("Passes.\n"));
}

#[test]
fn explain_refuses_what_makes_no_sense() {
    let operator = Operator::new(RULES);
    std::fs::write(operator.folder().join("list.json"), "[]").unwrap();
    for arguments in [
        &["other", "GET", "/"][..],
        &["acme", "GET", "/a/../b"],
        &["acme", "GET", "a"],
        &["acme", "GET"],
        &["acme", "--address", "x", "GET", "/"],
        &["acme", "--user", "nowhere.json", "GET", "/"],
        &["acme", "--user", "list.json", "GET", "/"],
        &["acme", "--scope", "x", "GET", "/"],
    ] {
        let output = operator.run(&[&["explain"], arguments].concat());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    let output = Operator::new("[[rules]]\n").run(&["explain", "acme", "GET", "/"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

#[test]
fn check_tells_of_a_rule_that_is_never_reached() {
    let hidden = format!("{RULES}[[rules]]\nname = \"late\"\npaths = [\"/reports/*\"]\neffect = \"deny\"\n");
    let output = Operator::new(&hidden).run(&["check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("rules[2] (late): is never reached: rules[0] (reports) matches all that it does"), "{said}");
    assert_eq!(Operator::new(RULES).run(&["check"]).status.code(), Some(0));
}
