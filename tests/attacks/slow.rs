//! Slow clients: who holds a connection and gives nothing for it loses it within the limit that stands for it, and the
//! place is somebody else's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lychgate::config::{ServerSettings, Settings, TlsSettings};
use lychgate::server::{self, Listener, Shutdown, ShutdownHandle};
use lychgate::web;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::recorder::Recorder;
use crate::support::{Tenant, World};

/// The limit that a test is about; the others are too long to end anything.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_mins(10);
/// Longer than anything takes that ends.
const PATIENCE: Duration = Duration::from_mins(1);
/// Connections that are open at the same time.
const PLACES: usize = 4;
/// How often something little is sent.
const TRICKLE: Duration = Duration::from_millis(100);

struct Place {
    world: World,
    recorder: Recorder,
}

impl Place {
    async fn new(change: impl FnOnce(&mut ServerSettings)) -> Self {
        Self::before(Recorder::start().await, change).await
    }

    async fn before(recorder: Recorder, change: impl FnOnce(&mut ServerSettings)) -> Self {
        let mut tenant = Tenant::start("acme").await;
        recorder.stand_behind(&mut tenant.settings);
        let world = World::start_with(vec![tenant], |settings| {
            let server = &mut settings.server;
            (server.header_timeout, server.request_timeout, server.idle_timeout) = (LONG, LONG, LONG);
            server.max_connections = PLACES;
            change(server);
        })
        .await;
        Self { world, recorder }
    }

    /// Takes every place with connections that begin like this and go on like that, a little at a time. All must end by
    /// the gateway's doing, and somebody else must then be served; what they were told.
    async fn besieged_by(&self, first: &str, little: &str) -> Vec<String> {
        let address = self.world.address;
        let told = join_all((0..PLACES).map(|_| besiege(address, first, little))).await;
        assert!(is_served(address).await, "the places are not free");
        told
    }

    fn open(&self) -> u64 {
        self.world.metric(r#"lychgate_http_connections{listener="main"}"#)
    }
}

/// One connection that begins with `first` and then sends `little` again and again; what comes until it is closed.
async fn besiege(address: SocketAddr, first: &str, little: &str) -> String {
    let conversation = async {
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let sending = async {
            let mut open = writer.write_all(first.as_bytes()).await.is_ok();
            while open {
                tokio::time::sleep(TRICKLE).await;
                open = writer.write_all(little.as_bytes()).await.is_ok();
            }
            std::future::pending::<()>().await;
        };
        let mut answer = Vec::new();
        let reading = async {
            let _ = reader.read_to_end(&mut answer).await;
        };
        tokio::select! {
            () = sending => {}
            () = reading => {}
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::time::timeout(PATIENCE, conversation).await.expect("the connection is not ended")
}

/// Whether somebody gets an answer, sooner or later: a connection that ended frees its place a moment later.
async fn is_served(address: SocketAddr) -> bool {
    let request = "GET /acme/session HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let served = async {
        while !ask(address, request).await.starts_with("HTTP/1.1 401 ") {
            tokio::time::sleep(TRICKLE).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.is_ok()
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(address).await {
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.read_to_end(&mut answer).await;
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
    let place = Place::new(|server| server.header_timeout = SHORT).await;
    for (first, little) in [
        ("", ""),
        ("G", "E"),
        ("GET /acme/session HTTP/1.1\r\nhost: localhost\r\n", "x: y\r\n"),
        ("GET /acme/session HTTP/1.1\r\nhost: localhost\r\nx: ", "y"),
        ("\r\n", "\r\n"),
        ("PRI * HTTP/2.0\r\n\r\n", ""),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
    ] {
        for told in place.besieged_by(first, little).await {
            assert!(!told.starts_with("HTTP/1.1 2"), "{first:?}: {told}");
        }
    }
    let rejected =
        place.world.metric(r#"lychgate_http_connections_rejected_total{listener="main",reason="header_timeout"}"#);
    assert!(rejected >= 4 * PLACES as u64, "{rejected}");
}

#[tokio::test]
async fn a_second_head_is_not_waited_for_longer() {
    let place = Place::new(|server| server.header_timeout = SHORT).await;
    let first = "GET /acme/session HTTP/1.1\r\nhost: localhost\r\n\r\nGET /acme/session HTTP/1.1\r\n";
    for told in place.besieged_by(first, "x: y\r\n").await {
        assert_eq!(told.matches("HTTP/1.1 ").count(), 1, "{told}");
    }
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_not_waited_for() {
    let place = Place::new(|server| server.request_timeout = SHORT).await;
    let head = |more: &str| {
        format!(
            "POST /acme/backchannel-logout HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/x-www-form-urlencoded\r\n{more}\r\n\r\n"
        )
    };
    for (more, little) in [
        ("content-length: 100000", ""),
        ("content-length: 100000", "x"),
        ("transfer-encoding: chunked", "1\r\nx\r\n"),
        ("transfer-encoding: chunked", "0"),
        ("content-length: 100000\r\nexpect: 100-continue", ""),
    ] {
        for told in place.besieged_by(&head(more), little).await {
            assert!(told.contains("HTTP/1.1 408 "), "{more}: {told}");
        }
    }
}

#[tokio::test]
async fn a_body_for_the_application_may_be_slow_but_not_silent() {
    let place = Place::new(|server| server.idle_timeout = SHORT).await;
    let head = "POST /acme/app/open/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\nbegun";
    for told in place.besieged_by(head, "").await {
        assert!(told.starts_with("HTTP/1.1 4"), "{told}");
    }
    assert_eq!(place.recorder.take().len(), 0);
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_more_is_closed() {
    let place = Place::new(|server| server.idle_timeout = SHORT).await;
    for told in place.besieged_by("GET /acme/session HTTP/1.1\r\nhost: localhost\r\n\r\n", "").await {
        assert_eq!(told.matches("HTTP/1.1 401 ").count(), 1, "{told}");
    }
}

#[tokio::test]
async fn a_client_that_never_reads_its_answer_is_cut_off() {
    const LENGTH: usize = 32 * 1024 * 1024;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n{}", "x".repeat(LENGTH));
    let recorder = Recorder::answering(answer.into_bytes().leak()).await;
    let place = Place::before(recorder, |server| server.idle_timeout = SHORT).await;
    let address = place.world.address;
    let clients = join_all((0..PLACES).map(|_| async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /acme/app/open/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        // It is an answer, and it has begun.
        stream.read_exact(&mut [0; 12]).await.unwrap();
        stream
    }))
    .await;
    let cut = async {
        while place.open() > 0 {
            tokio::time::sleep(TRICKLE).await;
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.expect("somebody is still waited for");
    drop(clients);
    assert!(is_served(address).await);
}

#[tokio::test]
async fn a_handshake_of_tls_that_does_not_come_to_its_end_is_not_waited_for() {
    let place = Place::new(|server| server.header_timeout = SHORT).await;
    let over = OverTls::start(&place.world, SHORT).await;
    // The beginning of a ClientHello of 512 bytes.
    let hello = "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{7c}\u{3}\u{3}";
    for (first, little) in [("", ""), (hello, ""), (hello, "x"), ("\u{16}", "")] {
        join_all((0..PLACES).map(|_| besiege(over.address, first, little))).await;
        assert!(over.serves().await, "the places are not free");
    }
}

#[tokio::test]
async fn a_web_socket_of_nobody_ends_when_nothing_is_said_in_it() {
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-accept: x\r\n\r\n";
    let recorder = Recorder::answering(answer).await;
    let place = Place::before(recorder, |server| server.idle_timeout = SHORT).await;
    let upgrade = |path: &str| {
        let host = place.world.address;
        format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\norigin: http://{host}\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
    };
    for told in place.besieged_by(&upgrade("/acme/app/open/ws"), "").await {
        assert!(told.starts_with("HTTP/1.1 101 "), "{told}");
    }
    place.recorder.take();
    for told in place.besieged_by(&upgrade("/acme/app/ws"), "").await {
        assert!(told.starts_with("HTTP/1.1 401 "), "{told}");
    }
    assert_eq!(place.recorder.take().len(), 0, "nobody may open that one");
}

/// The gateway of a world, by TLS.
struct OverTls {
    address: SocketAddr,
    certificate: reqwest::Certificate,
    shutdown: ShutdownHandle,
}

impl OverTls {
    async fn start(world: &World, header_timeout: Duration) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = world.data_dir();
        let files = TlsSettings { certificate_file: folder.join("tls.crt"), key_file: folder.join("tls.key") };
        std::fs::write(&files.certificate_file, made.cert.pem()).unwrap();
        std::fs::write(&files.key_file, made.signing_key.serialize_pem()).unwrap();
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), "main", Some(&files)).await.unwrap();
        let address = listener.local_addr();
        let (shutdown, handle) = Shutdown::manual();
        let settings = ServerSettings {
            header_timeout,
            request_timeout: LONG,
            idle_timeout: LONG,
            max_connections: PLACES,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::ZERO,
            ..Settings::least(folder, Vec::new()).server
        };
        let route = web::routes(world.gateway.clone(), shutdown.clone());
        let metrics = Arc::clone(&world.gateway.metrics);
        tokio::spawn(async move { server::serve(listener, route, &settings, shutdown, metrics).await });
        let certificate = reqwest::Certificate::from_der(made.cert.der()).unwrap();
        Self { address, certificate, shutdown: handle }
    }

    async fn serves(&self) -> bool {
        let client = reqwest::Client::builder()
            .tls_certs_only([self.certificate.clone()])
            .resolve("localhost", self.address)
            .no_proxy()
            .build()
            .unwrap();
        let url = format!("https://localhost:{}/livez", self.address.port());
        let served = async {
            while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(TRICKLE).await;
            }
        };
        tokio::time::timeout(PATIENCE, served).await.is_ok()
    }
}

impl Drop for OverTls {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}
