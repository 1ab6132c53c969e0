//! Bodies of any length, both ways, at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use lychgate::config::UpstreamAddress;
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::toy::{Toy, upstream};
use super::{Place, code, cookies, header, raw};
use crate::support::{Tenant, World};

/// Longer than the limits of the server in these tests.
const WHILE: Duration = Duration::from_millis(600);

/// A gateway whose own limits are far too small for streams.
async fn strict() -> Place {
    let toy = Toy::start().await;
    let mut tenant = Tenant::start("acme").await;
    tenant.settings.upstreams = vec![toy.upstream()];
    let world = World::start_with(vec![tenant], |settings| {
        settings.server.request_timeout = Duration::from_millis(300);
        settings.server.idle_timeout = Duration::from_millis(400);
        settings.server.max_body_bytes = 8192;
    })
    .await;
    let ada = world.signed_in("acme").await;
    Place { world, toy, ada }
}

#[tokio::test]
async fn a_body_streams_both_ways_at_once_for_as_long_as_it_likes() {
    let place = strict().await;
    let (sender, receiver) = mpsc::channel::<&str>(1);
    let parts = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|part| (Ok::<_, std::io::Error>(Bytes::from(part)), receiver))
    });
    let request = place.fetch(Method::POST, "/acme/app/duplex").body(reqwest::Body::wrap_stream(parts));
    sender.send("first").await.unwrap();
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut answer = answer.bytes_stream();
    assert_eq!(answer.next().await.unwrap().unwrap(), "first", "back before the second went out");
    for part in ["second", "third"] {
        // Each pause is within idle_timeout, all of them are beyond request_timeout.
        assert!(tokio::time::timeout(Duration::from_millis(200), answer.next()).await.is_err());
        sender.send(part).await.unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap(), part);
    }
    drop(sender);
    assert!(answer.next().await.is_none());
}

#[tokio::test]
async fn a_client_may_speak_http2() {
    let place = strict().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let request = |method, path: &str| {
        let request = client.request(method, place.world.url(path)).header("cookie", cookies(&place.ada));
        request.header("cookie", "app=1").header("sec-fetch-site", "same-origin")
    };
    let seen = place.seen(request(Method::GET, "/acme/app/x?y")).await;
    assert_eq!((seen["target"].as_str(), header(&seen, "cookie")), (Some("/acme/app/x?y"), vec!["app=1"]));
    assert!(header(&seen, "transfer-encoding").is_empty() && header(&seen, "content-length").is_empty(), "{seen}");
    let seen = place.seen(request(Method::POST, "/acme/app/x").body(vec![7; 1 << 20])).await;
    assert_eq!(seen["body_length"], 1 << 20);
    // Two streams at once; the one that waits does not end the connection.
    let mut events = request(Method::GET, "/acme/app/events").send().await.unwrap().bytes_stream();
    assert!(tokio::time::timeout(WHILE, events.next()).await.is_err(), "not closed");
    assert_eq!(place.seen(request(Method::GET, "/acme/app/x")).await["method"], "GET");
    place.toy.seen.events.send("data: 1\n\n").unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), "data: 1\n\n");
}

#[tokio::test]
async fn a_body_of_unknown_length_passes_with_any_method() {
    let place = Place::new().await;
    for method in ["GET", "DELETE", "POST"] {
        for framing in ["transfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 3\r\n"] {
            let head = format!("{framing}connection: close\r\nsec-fetch-site: same-origin\r\n");
            let seen = raw(&place, &format!("{method} /acme/app/x HTTP/1.1"), &head, "5\r\nhello\r\n0\r\n\r\n").await;
            assert!(seen.contains("\"body_length\":5"), "{method}: {seen}");
        }
    }
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let part = futures_util::stream::iter([Ok::<_, std::io::Error>("hello")]);
    let request = client.get(place.world.url("/acme/app/x")).header("cookie", cookies(&place.ada));
    assert_eq!(place.seen(request.body(reqwest::Body::wrap_stream(part))).await["body_length"], 5);
}

#[tokio::test]
async fn events_may_be_far_apart() {
    let place = strict().await;
    let answer = place.fetch(Method::GET, "/acme/app/events").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut events = answer.bytes_stream();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        assert!(tokio::time::timeout(WHILE, events.next()).await.is_err(), "not closed");
        place.toy.seen.events.send(event).unwrap();
        assert_eq!(events.next().await.unwrap().unwrap(), event);
    }
}

#[tokio::test]
async fn a_client_that_pauses_in_the_midst_of_a_body_is_not_waited_for() {
    let place = strict().await;
    let mut stream = TcpStream::connect(place.world.address).await.unwrap();
    let head = format!(
        "POST /acme/app/x HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\nsec-fetch-site: same-origin\r\n\
         accept: application/json\r\ncontent-length: 10\r\n\r\nhalf",
        place.world.address,
        cookies(&place.ada),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("body_cut"), "{answer}");
}

#[tokio::test]
async fn a_body_larger_than_our_own_routes_take_passes() {
    let place = strict().await;
    let request = place.fetch(Method::POST, "/acme/app/x").body(vec![7; 1 << 20]);
    assert_eq!(place.seen(request).await["body_length"], 1 << 20);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.put(place.world.url("/acme/app/x")).header("accept", "application/json");
    let answer = request.body(vec![7; 1 << 20]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "whoever may not pass is told that, and not the size");
    assert_eq!(place.toy.seen.count(), 1);
    let answer = place.fetch(Method::POST, "/acme/logout").body(vec![7; 1 << 20]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_body_larger_than_the_application_takes_is_refused() {
    let place = Place::with(|_, upstream| upstream.max_body = Some(1000)).await;
    let answer = place.fetch(Method::POST, "/acme/app/x").body(vec![7; 1001]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(code(answer).await, "body_too_large");
    assert_eq!(place.toy.seen.count(), 0);
    let parts = futures_util::stream::iter([(); 11]).map(|()| Ok::<_, std::io::Error>(Bytes::from_static(&[7; 100])));
    let answer = place.fetch(Method::POST, "/acme/app/x").body(reqwest::Body::wrap_stream(parts)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(code(answer).await, "body_too_large");
    let request = place.fetch(Method::POST, "/acme/app/x").body(vec![7; 1000]);
    assert_eq!(place.seen(request).await["body_length"], 1000);
}

#[tokio::test]
async fn who_waits_for_a_go_ahead_gets_it_only_if_the_request_passes() {
    let place = Place::new().await;
    for (cookie, first) in
        [(cookies(&place.ada), "HTTP/1.1 100 Continue"), (String::new(), "HTTP/1.1 401 Unauthorized")]
    {
        let stream = TcpStream::connect(place.world.address).await.unwrap();
        let mut stream = BufReader::new(stream);
        let head = format!(
            "PUT /acme/app/x HTTP/1.1\r\nhost: {}\r\nx-cookie: 1\r\ncookie: {cookie}\r\nsec-fetch-site: same-origin\r\n\
             expect: 100-continue\r\ncontent-length: 4\r\nconnection: close\r\n\r\n",
            place.world.address,
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line.trim_end(), first);
        if first.contains("100") {
            stream.write_all(b"body").await.unwrap();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            assert!(rest.contains("HTTP/1.1 200 OK") && rest.contains("\"body_length\":4"), "{rest}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_body_has_none() {
    let place = Place::new().await;
    for (method, path, status, length) in [
        (Method::HEAD, "headers", 200, Some("7")),
        (Method::GET, "same", 304, None),
        (Method::GET, "empty", 200, Some("0")),
    ] {
        // By one connection, so that whatever is left over would be read as the next answer.
        for _ in 0..2 {
            let answer = place.fetch(method.clone(), &format!("/acme/app/{path}")).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            let told = answer.headers().get("content-length").map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(told.as_deref(), length, "{path}");
            assert_eq!(answer.bytes().await.unwrap().len(), 0, "{path}");
        }
    }
}

#[tokio::test]
async fn a_status_that_nobody_knows_passes_and_is_counted_as_another() {
    let place = Place::new().await;
    assert_eq!(place.fetch(Method::GET, "/acme/app/odd").send().await.unwrap().status().as_u16(), 799);
    let series = |status: &str| {
        format!("lychgate_http_requests_total{{method=\"GET\",route=\"upstream\",status=\"{status}\",tenant=\"acme\"}}")
    };
    assert_eq!((place.world.metric(&series("other")), place.world.metric(&series("799"))), (1, 0));
}

#[tokio::test]
async fn trailers_pass_neither_way() {
    let place = Place::new().await;
    for path in ["x", "trailers"] {
        let mut stream = TcpStream::connect(place.world.address).await.unwrap();
        let head = format!(
            "POST /acme/app/{path} HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\nsec-fetch-site: same-origin\r\nte: trailers\r\n\
             trailer: x-auth-request-user\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
             4\r\nbody\r\n0\r\nx-auth-request-user: forged\r\n\r\n",
            place.world.address,
            cookies(&place.ada),
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(!answer.contains("forged") && !answer.contains("trailed"), "{answer}");
        assert!(path != "x" || answer.contains("\"trailers\":null"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_takes_its_request_back() {
    let place = Place::new().await;
    let request = tokio::spawn(place.fetch(Method::GET, "/acme/app/never").send());
    place.toy.seen.asked.notified().await;
    request.abort();
    place.toy.seen.given_up.notified().await;
    let series = r#"lychgate_upstream_requests_total{outcome="cancelled",status="none",tenant="acme"}"#;
    assert_eq!(place.world.metric(series), 1);
}

#[tokio::test]
async fn an_application_is_spoken_to_by_http2_where_it_offers_that() {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let config = |protocols: &[&[u8]]| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![issued.cert.der().clone()],
                rustls::pki_types::PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()).into(),
            )
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    };
    for (protocols, version) in [(&[&b"h2"[..], b"http/1.1"][..], "HTTP/2.0"), (&[&b"http/1.1"[..]], "HTTP/1.1")] {
        let toy = Toy::over(Some(config(protocols))).await;
        let url = format!("https://localhost:{}", toy.address.port()).parse().unwrap();
        let place = Place::with(|_, settings| {
            *settings = upstream(vec![UpstreamAddress::Url(url)]);
            settings.ca = Some(issued.cert.pem().into_bytes());
            settings.preserve_host = true;
        })
        .await;
        let seen = place.seen(place.fetch(Method::POST, "/acme/app/x").body("body")).await;
        assert_eq!((seen["version"].as_str(), seen["body_length"].as_u64()), (Some(version), Some(4)));
        let own = place.world.address.to_string();
        assert!(seen["authority"] == own.as_str() || header(&seen, "host") == [own.as_str()], "{seen}");
        super::tunnels::echo(&place).await;
    }
    let toy = Toy::over(Some(config(&[]))).await;
    let url = format!("https://localhost:{}", toy.address.port()).parse().unwrap();
    let place = Place::with(|_, settings| *settings = upstream(vec![UpstreamAddress::Url(url)])).await;
    let answer = place.fetch(Method::GET, "/acme/app/x").send().await.unwrap();
    assert_eq!(code(answer).await, "upstream_unreachable", "nobody vouches for its certificate");
}
