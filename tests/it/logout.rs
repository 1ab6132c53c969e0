//! Sessions that the provider ends: logout tokens on the back channel (Back-Channel Logout 1.0, each check of section
//! 2.6), frames on the front channel.

use lychgate::demo::{Fault, LogoutFault, LogoutSubject, OtherAlg, User};
use reqwest::StatusCode;

use crate::support::{self, Browser, Page, Tenant, World};

const CLIENT: &str = "acme-client";
const GRACE: &str = "grace@acme.example";

/// What the session at hand is called at the provider.
async fn subject(browser: &mut Browser) -> LogoutSubject {
    let session = browser.session("acme").await.unwrap();
    let text = |name: &str| session["user"][name].as_str().map(str::to_owned);
    LogoutSubject { sid: text("sid"), sub: text("sub") }
}

/// What the provider sends, without a cookie.
async fn post(world: &World, tenant: &str, token: &str) -> Page {
    world.browser().post(&format!("/{tenant}/backchannel-logout"), &format!("logout_token={token}")).await
}

#[track_caller]
fn assert_done(page: &Page) {
    assert_eq!((page.status, page.body.as_str()), (StatusCode::OK, ""));
    assert_eq!(page.header("cache-control"), "no-store");
}

#[track_caller]
fn assert_refused(page: &Page, code: &str) {
    assert_eq!(page.status, StatusCode::BAD_REQUEST, "{code}");
    assert_eq!(page.json()["error"], "invalid_request");
    assert_eq!(page.json()["error_description"], code);
    assert_eq!(page.header("cache-control"), "no-store");
}

fn ended(world: &World, reason: &str) -> u64 {
    world.metric(&format!(r#"lychgate_sessions_ended_total{{reason="{reason}",tenant="acme"}}"#))
}

#[tokio::test]
async fn a_logout_token_ends_the_session_it_names_and_no_other() {
    let world = support::acme().await;
    let (mut here, mut there) = (world.signed_in("acme").await, world.signed_in("acme").await);
    let subject = LogoutSubject { sub: None, ..subject(&mut here).await };
    assert_done(&post(&world, "acme", &world.provider().logout_token(CLIENT, &subject)).await);
    assert_eq!(here.session("acme").await, None);
    assert!(there.session("acme").await.is_some());
    assert_eq!(ended(&world, "backchannel"), 1);
    let counted = r#"lychgate_token_validations_total{kind="logout_token",result="ok",tenant="acme"}"#;
    assert_eq!(world.metric(counted), 1);
}

#[tokio::test]
async fn every_form_that_providers_give_a_logout_token_is_taken() {
    let world = support::acme().await;
    for form in [None, Some(LogoutFault::TypLogoutJwt), Some(LogoutFault::NoTyp), Some(LogoutFault::NoExp)] {
        let mut browser = world.signed_in("acme").await;
        let subject = subject(&mut browser).await;
        if let Some(form) = form {
            world.provider().order_once(Fault::LogoutToken(form));
        }
        assert_done(&post(&world, "acme", &world.provider().logout_token(CLIENT, &subject)).await);
        assert_eq!(browser.session("acme").await, None, "{form:?}");
    }
}

#[tokio::test]
async fn a_logout_token_without_sid_ends_all_of_the_users_sessions_and_nobody_elses() {
    let grace = User::new(GRACE, "a good password", "Grace Hopper");
    let world = World::start(vec![Tenant::start_with("acme", |spec| spec.users.push(grace)).await]).await;
    let (mut here, mut there) = (world.signed_in("acme").await, world.signed_in("acme").await);
    world.provider().auto_approve(Some(GRACE));
    let mut grace = world.signed_in("acme").await;
    let subject = LogoutSubject { sid: None, ..subject(&mut here).await };
    assert_done(&post(&world, "acme", &world.provider().logout_token(CLIENT, &subject)).await);
    assert_eq!((here.session("acme").await, there.session("acme").await), (None, None));
    assert!(grace.session("acme").await.is_some());
    assert_eq!(ended(&world, "backchannel"), 2);
}

#[tokio::test]
async fn what_has_ended_or_never_was_is_no_failure() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let known = subject(&mut browser).await;
    for subject in [
        LogoutSubject { sid: Some("unknown".into()), sub: None },
        LogoutSubject { sid: None, sub: Some("auth0|unknown".into()) },
        // Both must fit.
        LogoutSubject { sub: Some("auth0|unknown".into()), ..known.clone() },
        // A name in one place is no name in the other.
        LogoutSubject { sid: known.sub.clone(), sub: None },
        LogoutSubject { sid: None, sub: known.sid.clone() },
    ] {
        assert_done(&post(&world, "acme", &world.provider().logout_token(CLIENT, &subject)).await);
    }
    assert!(browser.session("acme").await.is_some());
    assert_eq!(ended(&world, "backchannel"), 0);
}

#[tokio::test]
async fn a_bad_logout_token_is_refused_and_ends_nothing() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let subject = subject(&mut browser).await;
    for (fault, code) in [
        (LogoutFault::AlgNone, "logout_token_alg"),
        (LogoutFault::OtherAlg(OtherAlg::Es256), "logout_token_alg"),
        (LogoutFault::OtherAlg(OtherAlg::Hs256), "logout_token_alg"),
        (LogoutFault::Hs256ByPublicKey, "logout_token_alg"),
        (LogoutFault::BadSignature, "logout_token_signature"),
        (LogoutFault::UnknownKid, "logout_token_key_unknown"),
        (LogoutFault::TypAccessToken, "logout_token_typ"),
        (LogoutFault::WrongIss, "logout_token_iss"),
        (LogoutFault::NoIss, "logout_token_iss"),
        (LogoutFault::WrongAud, "logout_token_aud"),
        (LogoutFault::AudOthers, "logout_token_aud"),
        (LogoutFault::NoAud, "logout_token_aud"),
        (LogoutFault::NoIat, "logout_token_iat"),
        (LogoutFault::OldIat, "logout_token_iat"),
        (LogoutFault::FutureIat, "logout_token_iat"),
        (LogoutFault::Expired, "logout_token_expired"),
        (LogoutFault::NoJti, "logout_token_jti_missing"),
        (LogoutFault::NoEvents, "logout_token_events"),
        (LogoutFault::EventsText, "logout_token_events"),
        (LogoutFault::WrongEvent, "logout_token_events"),
        (LogoutFault::EventText, "logout_token_events"),
        (LogoutFault::WithNonce, "logout_token_nonce"),
        (LogoutFault::NoSubject, "logout_token_subject"),
        (LogoutFault::SidNumber, "logout_token_malformed"),
    ] {
        world.provider().order_once(Fault::LogoutToken(fault));
        assert_refused(&post(&world, "acme", &world.provider().logout_token(CLIENT, &subject)).await, code);
        assert!(browser.session("acme").await.is_some(), "{fault:?}");
    }
    assert_eq!(ended(&world, "backchannel"), 0);
}

#[tokio::test]
async fn an_id_token_is_no_logout_token() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let hint = browser.clone().get("/acme/logout").await.location();
    let id_token = hint.query_pairs().find(|(name, _)| name == "id_token_hint").unwrap().1.into_owned();
    browser.visit("/acme/login").await;
    assert_refused(&post(&world, "acme", &id_token).await, "logout_token_events");
    assert!(browser.session("acme").await.is_some());
}

#[tokio::test]
async fn a_logout_token_counts_once() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let subject = LogoutSubject { sid: None, ..subject(&mut browser).await };
    let token = world.provider().logout_token(CLIENT, &subject);
    assert_done(&post(&world, "acme", &token).await);
    browser.visit("/acme/login").await;
    assert_refused(&post(&world, "acme", &token).await, "logout_token_replayed");
    for result in ["ok", "logout_token_replayed"] {
        let series = format!("lychgate_backchannel_logout_requests_total{{result=\"{result}\",tenant=\"acme\"}}");
        assert_eq!(world.metric(&series), 1, "{result}");
    }
    // As long as its age would let it pass, it is remembered.
    world.pass(170);
    world.gateway.sessions.sweep().await.unwrap();
    assert_refused(&post(&world, "acme", &token).await, "logout_token_replayed");
    world.pass(20);
    world.gateway.sessions.sweep().await.unwrap();
    assert_refused(&post(&world, "acme", &token).await, "logout_token_expired");
    assert!(browser.session("acme").await.is_some());
}

#[tokio::test]
async fn another_tenants_logout_token_is_refused() {
    let world = World::start(vec![Tenant::start("acme").await, Tenant::start("globex").await]).await;
    let mut browser = world.signed_in("acme").await;
    let subject = subject(&mut browser).await;
    let (acme, globex) = (&world.providers["acme"], &world.providers["globex"]);
    assert_refused(&post(&world, "acme", &globex.logout_token(CLIENT, &subject)).await, "logout_token_key_unknown");
    // Issuers that share their keys, as custom domains of one Auth0 tenant do, are told apart.
    world.pass(120);
    globex.share_keys_of(acme);
    assert_refused(&post(&world, "acme", &globex.logout_token(CLIENT, &subject)).await, "logout_token_iss");
    let for_another = acme.logout_token("globex-client", &subject);
    assert_refused(&post(&world, "acme", &for_another).await, "logout_token_aud");
    // A good one, at the wrong tenant.
    let token = acme.logout_token(CLIENT, &subject);
    assert_eq!(post(&world, "globex", &token).await.status, StatusCode::BAD_REQUEST);
    assert!(browser.session("acme").await.is_some());
    assert_done(&post(&world, "acme", &token).await);
}

#[tokio::test]
async fn a_logout_request_is_one_token_in_a_form() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let subject = subject(&mut browser).await;
    let token = world.provider().logout_token(CLIENT, &subject);
    let mut provider = world.browser();
    let path = "/acme/backchannel-logout";
    for (form, code) in [
        (String::new(), "logout_token_missing"),
        ("logout_token=".to_owned(), "logout_token_missing"),
        (format!("token={token}"), "logout_token_missing"),
        (format!("logout_token={token}&logout_token={token}"), "parameter_doubled"),
        ("logout_token=a.b.c".to_owned(), "logout_token_malformed"),
        (format!("logout_token={}", "a".repeat(70_000)), "body_too_large"),
    ] {
        assert_refused(&provider.post(path, &form).await, code);
    }
    let in_query = format!("{path}?logout_token={token}");
    assert_eq!(provider.get(&in_query).await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_refused(&provider.post(&in_query, "").await, "logout_token_missing");
    assert_refused(&provider.send(reqwest::Method::POST, path, None).await, "form_expected");
    assert!(browser.session("acme").await.is_some());
    assert_done(&provider.post(path, &format!("other=ignored&logout_token={token}")).await);
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn a_store_that_is_down_ends_nothing_and_the_token_may_come_again() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let subject = subject(&mut browser).await;
    let token = world.provider().logout_token(CLIENT, &subject);
    let stranger = rusqlite::Connection::open(world.data_dir().join("lychgate.db")).unwrap();
    stranger.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_refused(&post(&world, "acme", &token).await, "store_unavailable");
    stranger.execute_batch("ROLLBACK").unwrap();
    assert!(browser.session("acme").await.is_some());
    // Nor when it fails only after the token was found to be new.
    let refuse = "CREATE TRIGGER refuse BEFORE DELETE ON sessions BEGIN SELECT RAISE(ABORT, 'no'); END";
    stranger.execute_batch(refuse).unwrap();
    assert_refused(&post(&world, "acme", &token).await, "store_unavailable");
    stranger.execute_batch("DROP TRIGGER refuse").unwrap();
    assert!(browser.session("acme").await.is_some());
    assert_done(&post(&world, "acme", &token).await);
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn whoever_signs_out_at_the_provider_is_signed_out_here() {
    let world = support::acme().await;
    world.provider().notify(CLIENT, &world.url("/acme/backchannel-logout"));
    let (mut browser, mut other) = (world.signed_in("acme").await, world.signed_in("acme").await);
    browser.get(&format!("http://{}/v2/logout", world.provider().address())).await;
    let delivery = world.provider().delivery().await;
    assert_eq!((delivery.status, delivery.cache_control.as_deref()), (Some(200), Some("no-store")));
    assert_eq!(browser.session("acme").await, None);
    assert!(other.session("acme").await.is_some());
    // A fault on order shows in what is sent by itself, too.
    world.provider().order_once(Fault::LogoutToken(LogoutFault::WrongEvent));
    other.get(&format!("http://{}/v2/logout", world.provider().address())).await;
    assert_eq!(world.provider().delivery().await.status, Some(400));
    assert!(other.session("acme").await.is_some());
}

#[tokio::test]
async fn whoever_was_signed_out_elsewhere_just_after_signing_in_may_sign_in_again_at_once() {
    let world = support::acme().await;
    for start in ["/acme/dashboard", "/acme/login?return_to=/acme/dashboard"] {
        let mut browser = world.signed_in("acme").await;
        let subject = subject(&mut browser).await;
        assert_done(&post(&world, "acme", &world.provider().logout_token(CLIENT, &subject)).await);
        let page = browser.visit(start).await;
        assert_eq!((page.status, page.url.path(), page.code()), (StatusCode::OK, "/acme/dashboard", ""), "{start}");
        assert!(browser.session("acme").await.is_some());
    }
}

#[tokio::test]
async fn a_frame_of_the_providers_ends_the_session_without_its_cookie() {
    let world = support::acme().await;
    let (mut browser, mut other) = (world.signed_in("acme").await, world.signed_in("acme").await);
    let (issuer, sid) = (world.provider().issuer(), subject(&mut browser).await.sid.unwrap());
    let mut frame = world.browser().with("sec-fetch-site", "cross-site").with("sec-fetch-dest", "iframe");
    let page = frame.get(&format!("/acme/frontchannel-logout?iss={issuer}&sid={sid}")).await;
    assert_eq!((page.status, page.body.as_str()), (StatusCode::OK, "<!doctype html>\n"));
    assert_eq!(page.header("cache-control"), "no-store");
    let provider = issuer.trim_end_matches('/');
    let policy = page.header("content-security-policy");
    assert_eq!(policy, format!("default-src 'none'; frame-ancestors {provider}"));
    assert!(!page.headers.contains_key("x-frame-options") && !page.headers.contains_key("set-cookie"));
    assert_eq!(browser.session("acme").await, None);
    assert!(other.session("acme").await.is_some());
    assert_eq!(ended(&world, "frontchannel"), 1);
}

#[tokio::test]
async fn a_frame_that_names_no_session_ends_none_and_looks_the_same() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let (issuer, sid) = (world.provider().issuer().to_owned(), subject(&mut browser).await.sid.unwrap());
    for query in [
        String::new(),
        format!("sid={sid}"),
        format!("iss={issuer}"),
        format!("iss={issuer}&sid="),
        format!("iss={issuer}&sid=another"),
        format!("iss=https://other.example/&sid={sid}"),
        format!("iss={issuer}&sid={sid}&sid={sid}"),
    ] {
        // Even in the person's own browser.
        let page = browser.get(&format!("/acme/frontchannel-logout?{query}")).await;
        assert_eq!((page.status, page.body.as_str()), (StatusCode::OK, "<!doctype html>\n"), "{query}");
        assert!(browser.session("acme").await.is_some(), "{query}");
    }
    let posted = browser.post(&format!("/acme/frontchannel-logout?iss={issuer}&sid={sid}"), "").await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(browser.session("acme").await.is_some());
}

#[test]
fn the_uri_to_register_at_the_provider_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("tenants")).unwrap();
    let file = "domain = \"acme.eu.auth0.com\"\nclient_id = \"one\"\nclient_secret = \"two\"\n";
    std::fs::write(folder.path().join("tenants/acme.toml"), file).unwrap();
    let urls = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lychgate"));
        let output = command.env_clear().current_dir(folder.path()).arg("urls").args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let public = urls(&["--json", "--public-url", "https://login.example.com"]);
    let public: serde_json::Value = serde_json::from_str(&public).unwrap();
    assert_eq!(public["backchannel_logout_uri"], "https://login.example.com/acme/backchannel-logout");
    assert!(urls(&[]).contains("Back-Channel Logout:    (leave empty"), "Auth0 takes https only");
}
