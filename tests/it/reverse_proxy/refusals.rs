//! Every way not to pass: what is refused reaches no application, and what an application says where it should not is
//! shown to nobody.

use std::sync::Arc;

use lychgate::config::{Condition, Effect, HostPattern, PathPattern, Rule, Test, UpstreamAddress};
use lychgate::net::{Networks, parse_network};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::toy::Toy;
use super::{Place, cookies, raw_as};
use crate::support::{Tenant, World};

const PAGE: &str = "accept: text/html\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n";
const SCRIPT: &str = "accept: application/json\r\nsec-fetch-site: same-origin\r\nsec-fetch-mode: cors\r\n";
const SOCKET: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                      sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn rule(path: &str, effect: Effect) -> Rule {
    let paths = vec![PathPattern::parse(path).unwrap()];
    Rule { name: None, paths, methods: vec![], hosts: vec![], networks: Networks::default(), effect }
}

fn allow(claim: &str, scopes: &[&str]) -> Effect {
    let claims = vec![Condition { claim: vec![claim.to_owned()], test: Test::Present }];
    Effect::Allow { claims, scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect() }
}

/// Two tenants with a session each, one application, and rules of every kind.
async fn place() -> (Place, String) {
    let (toy, mut acme, globex) = (Toy::start().await, Tenant::start("acme").await, Tenant::start("globex").await);
    let mut upstream = toy.upstream();
    upstream.max_body = Some(10);
    acme.settings.upstreams = vec![upstream];
    acme.settings.policy.rules = vec![
        rule("/app/deny/**", Effect::Deny),
        rule("/app/claim/**", allow("nobody_has_this", &[])),
        rule("/app/scope/**", allow("sub", &["nobody:has:this"])),
        rule("/app/recent/**", Effect::StepUp { max_age: Some(0), acr_values: Some("none".to_owned()) }),
        Rule {
            networks: [parse_network("10.0.0.0/8").unwrap()].into_iter().collect(),
            ..rule("/app/network/**", Effect::SignedIn)
        },
        rule("/app/network/**", Effect::Deny),
        Rule { hosts: vec![HostPattern::parse("other.example").unwrap()], ..rule("/app/host/**", Effect::SignedIn) },
        rule("/app/host/**", Effect::Deny),
        Rule { methods: vec!["POST".to_owned()], ..rule("/app/method/**", Effect::SignedIn) },
        rule("/app/method/**", Effect::Deny),
    ]
    .into();
    let world = World::start(vec![acme, globex]).await;
    let ada = world.signed_in("acme").await;
    // A cookie of the other tenant under the name of this one.
    let other = cookies(&world.signed_in("globex").await).replace("lychgate-globex", "lychgate-acme");
    (Place { world, toy, ada }, other)
}

#[tokio::test]
async fn what_is_refused_reaches_no_application() {
    let (mut place, others) = place().await;
    let ended = {
        let mut browser = place.world.signed_in("acme").await;
        let ended = cookies(&browser);
        browser.get("/acme/logout").await;
        ended
    };
    let ada = cookies(&place.ada);
    let (nobody, own) = (String::new(), format!("origin: {}\r\n", place.world.url("")));
    let foreign = "origin: https://evil.example\r\n".to_owned();
    let s = |parts: &[&str]| parts.concat();
    let mut cases: Vec<(&str, &str, String, &str)> = Vec::new();
    for (cookie, whose) in [(&nobody, "nobody"), (&ended, "a session that has ended"), (&others, "another tenant's")] {
        cases.extend([
            (cookie.as_str(), "GET /acme/app/x HTTP/1.1", PAGE.to_owned(), "302"),
            (cookie, "GET /acme/app/x HTTP/1.1", SCRIPT.to_owned(), "401"),
            (cookie, "HEAD /acme/app/x HTTP/1.1", SCRIPT.to_owned(), "401"),
            (cookie, "OPTIONS /acme/app/x HTTP/1.1", s(&[SCRIPT, "access-control-request-method: GET\r\n"]), "401"),
            (cookie, "POST /acme/app/x HTTP/1.1", s(&[PAGE, "content-length: 4\r\n\r\nbody"]), "401"),
            (cookie, "GET /acme/app/ws HTTP/1.1", s(&[SOCKET, &own]), "401"),
            (cookie, "GET /acme/app/recent/x HTTP/1.1", PAGE.to_owned(), "302"),
            (cookie, "GET /acme/app/deny/x HTTP/1.1", PAGE.to_owned(), "403"),
        ]);
        assert!(!cookie.contains(&ada), "{whose}");
    }
    for path in ["deny", "claim", "scope", "network", "host", "method"] {
        for (headers, line) in [(PAGE, "HTTP/1.1"), (SCRIPT, "HTTP/1.1")] {
            let line: &str = Box::leak(format!("GET /acme/app/{path}/x {line}").into_boxed_str());
            cases.push((&ada, line, headers.to_owned(), "403"));
        }
    }
    cases.extend([
        (ada.as_str(), "GET /acme/app/recent/x HTTP/1.1", PAGE.to_owned(), "302"),
        (&ada, "GET /acme/app/recent/x HTTP/1.1", SCRIPT.to_owned(), "401"),
        (&ada, "POST /acme/app/x HTTP/1.1", s(&[SCRIPT, &foreign]), "403"),
        (&ada, "DELETE /acme/app/x HTTP/1.1", "accept: application/json\r\n".to_owned(), "403"),
        (&ada, "GET /acme/app/ws HTTP/1.1", s(&[SOCKET, &foreign]), "403"),
        (&ada, "GET /acme/app/ws HTTP/1.1", SOCKET.to_owned(), "403"),
        (&ada, "POST /acme/app/x HTTP/1.1", s(&[SCRIPT, "content-length: 11\r\n\r\nelevenbytes"]), "413"),
        (&ada, "GET /acme/app/../app/x HTTP/1.1", PAGE.to_owned(), "400"),
        (&ada, "GET /acme/app/%2e%2e/app/x HTTP/1.1", PAGE.to_owned(), "400"),
        (&ada, "GET //acme/app/x HTTP/1.1", PAGE.to_owned(), "400"),
        (&ada, "GET /acme/app;/x HTTP/1.1", PAGE.to_owned(), "400"),
        (&ada, "GET /acme/app/x%23 HTTP/1.1", PAGE.to_owned(), "400"),
        (&ada, "GET /acme/application HTTP/1.1", PAGE.to_owned(), "404"),
        (&ada, "GET /acme/App/x HTTP/1.1", PAGE.to_owned(), "404"),
        (&ada, "GET /globex/app/x HTTP/1.1", PAGE.to_owned(), "404"),
        (&ada, "GET /nobody/app/x HTTP/1.1", PAGE.to_owned(), "404"),
        (&ada, "GET http://evil.example/acme/app/x HTTP/1.1", PAGE.to_owned(), "400"),
        (&ada, "GET /acme/app/x HTTP/1.1", s(&[PAGE, "x-forwarded-host: evil.example\r\n"]), "421"),
        (&ada, "GET /acme/app/x HTTP/1.1", s(&[PAGE, "x-forwarded-proto: gopher\r\n"]), "400"),
        (&ada, "GET /acme/app/x HTTP/1.1", s(&[PAGE, "host: evil.example\r\n"]), "400"),
        (&ada, "TRACE /acme/app/x HTTP/1.1", SCRIPT.to_owned(), "405"),
        (&ada, "CONNECT /acme/app/x HTTP/1.1", String::new(), "501"),
    ]);
    for (cookie, line, headers, status) in &cases {
        let answer = raw_as(cookie, &place, line, &format!("connection: close\r\n{headers}"), "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers}: {answer}");
        assert_eq!(place.toy.seen.count(), 0, "{line} {headers}");
    }

    place
        .world
        .restart_with(|settings| {
            Arc::make_mut(&mut settings.tenants[0]).policy.access.emails = vec!["bob@acme.example".into()];
        })
        .await;
    for headers in [PAGE, SCRIPT] {
        let answer =
            raw_as(&ada, &place, "GET /acme/app/x HTTP/1.1", &format!("connection: close\r\n{headers}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 403"), "whom [access] no longer admits: {answer}");
    }
    // After a restart no session is in memory.
    place.world.restart_with(|_| {}).await;
    let other = rusqlite::Connection::open(place.world.data_dir().join("lychgate.db")).unwrap();
    other.execute_batch("DROP TABLE sessions").unwrap();
    let answer = raw_as(&ada, &place, "GET /acme/app/x HTTP/1.1", &format!("connection: close\r\n{PAGE}"), "").await;
    assert!(answer.starts_with("HTTP/1.1 503") && !answer.contains("\r\nlocation"), "the store is gone: {answer}");
    assert_eq!(place.toy.seen.count(), 0);
}

#[tokio::test]
async fn what_is_no_answer_of_an_application_is_shown_to_nobody() {
    let huge = format!("HTTP/1.1 200 OK\r\nx-huge: SECRET{}\r\n\r\n", "x".repeat(1 << 20));
    for said in [
        "SECRET",
        "HTTP/1.1 SECRET\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-cut: SECRET\r\n",
        "HTTP/1.1 200 OK\r\nSECRET\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: SECRET\r\n\r\nSECRET",
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\ncontent-length: 7\r\n\r\nSECRET",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: SECRET\r\n\r\nSECRET",
        &huge,
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let text = said.to_owned();
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let text = text.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    let _ = stream.read(&mut buffer).await;
                    let _ = stream.write_all(text.as_bytes()).await;
                });
            }
        });
        let place = Place::with(|_, settings| {
            settings.members = vec![UpstreamAddress::Url(format!("http://{address}").parse().unwrap())];
        })
        .await;
        let begins = &said[..said.len().min(80)];
        for headers in [PAGE, SCRIPT] {
            let headers = format!("connection: close\r\n{headers}");
            let answer = raw_as(&cookies(&place.ada), &place, "GET /acme/app/x HTTP/1.1", &headers, "").await;
            assert!(answer.starts_with("HTTP/1.1 502"), "{begins}: {answer}");
            assert!(answer.contains("upstream_failed") && !answer.contains("SECRET"), "{begins}: {answer}");
        }
        server.abort();
    }
}
