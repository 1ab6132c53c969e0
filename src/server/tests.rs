//! The server against real sockets.

use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use warp::{Filter as _, Reply as _};

use super::{Drained, Listener, Route, Shutdown, ShutdownHandle, serve};
use crate::config::ServerSettings;
use crate::metrics::Metrics;
use crate::net::Arrival;

pub(super) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const SHORT: Duration = Duration::from_millis(100);
const GET: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
const GET_SLOW: &str = "GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Generous times: a test shortens the one it is about.
pub(super) fn settings() -> ServerSettings {
    let long = Duration::from_secs(30);
    ServerSettings {
        header_timeout: long,
        request_timeout: long,
        idle_timeout: long * 2,
        max_connections: 100,
        max_new_work: 100,
        max_header_bytes: 16 * 1024,
        max_body_bytes: 64 * 1024,
        drain_delay: Duration::ZERO,
        drain_timeout: long,
    }
}

/// A running server, and the gate of its route `/slow`.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) metrics: Arc<Metrics>,
    shutdown: ShutdownHandle,
    serving: JoinHandle<Drained>,
    entered: Arc<Notify>,
    released: Arc<Notify>,
}

impl Running {
    async fn start(settings: ServerSettings) -> Self {
        Self::start_on(Listener::bind(ANY_PORT, "main", None).await.unwrap(), settings)
    }

    pub(super) fn start_on(listener: Listener, settings: ServerSettings) -> Self {
        let address = listener.local_addr();
        let metrics = Metrics::new(10);
        let (shutdown, handle) = Shutdown::manual();
        let (entered, released) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let route = route(Arc::clone(&entered), Arc::clone(&released));
        let served_metrics = Arc::clone(&metrics);
        let serving = tokio::spawn(async move { serve(listener, route, &settings, shutdown, served_metrics).await });
        Self { address, metrics, shutdown: handle, serving, entered, released }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Opens a connection and sends `request`.
    async fn send(&self, request: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Sends `request` and reads until the server closes.
    async fn ask(&self, request: &str) -> String {
        read_to_end(&mut self.send(request).await).await
    }

    async fn ended(&mut self) -> Drained {
        (&mut self.serving).await.unwrap()
    }

    #[track_caller]
    fn assert_metric(&self, line: &str) {
        let text = String::from_utf8(self.metrics.render()).unwrap();
        assert!(text.lines().any(|have| have == line), "{line} not in\n{text}");
    }
}

fn route(entered: Arc<Notify>, released: Arc<Notify>) -> Route {
    let hello = warp::path::end().map(|| "hello");
    let slow = warp::path("slow").then(move || {
        let (entered, released) = (Arc::clone(&entered), Arc::clone(&released));
        async move {
            entered.notify_one();
            released.notified().await;
            "finished"
        }
    });
    let never = warp::path("never").then(|| async { pending::<&str>().await });
    let panic = warp::path("panic").map(|| -> &str { panic!("the handler fell over") });
    let huge = warp::path("huge").map(|| vec![b'x'; 64 * 1024 * 1024]);
    let count = warp::path("count").and(warp::body::bytes()).map(|body: bytes::Bytes| body.len().to_string());
    let who = warp::path("who")
        .and(warp::ext::get::<Arrival>())
        .map(|Arrival { peer, over_tls, .. }| format!("{peer} {}", if over_tls { "tls" } else { "plain" }));
    hello
        .map(warp::Reply::into_response)
        .or(slow.map(warp::Reply::into_response))
        .unify()
        .or(never.map(warp::Reply::into_response))
        .unify()
        .or(panic.map(warp::Reply::into_response))
        .unify()
        .or(huge.map(warp::Reply::into_response))
        .unify()
        .or(count.map(warp::Reply::into_response))
        .unify()
        .or(who.map(warp::Reply::into_response))
        .unify()
        .recover(|_| async { Ok::<_, std::convert::Infallible>(http::StatusCode::NOT_FOUND.into_response()) })
        .unify()
        .boxed()
        .into()
}

/// What comes until the end, be it a good one or a reset.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    // What came before a reset counts.
    let _ = stream.read_to_end(&mut all).await;
    String::from_utf8(all).unwrap()
}

/// Reads one answer whose body ends in `end`, and leaves the connection open.
async fn read_answer(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        assert_ne!(stream.read_buf(&mut all).await.unwrap(), 0, "ended early: {}", String::from_utf8_lossy(&all));
    }
    String::from_utf8(all).unwrap()
}

#[track_caller]
fn assert_status(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
}

#[tokio::test]
async fn a_handler_knows_its_peer() {
    let server = Running::start(settings()).await;
    let mut stream = server.send("GET /who HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let peer = format!("{} plain", stream.local_addr().unwrap());
    assert_status(&read_answer(&mut stream, &peer).await, 200);
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_ends_the_connection() {
    let server = Running::start(ServerSettings { header_timeout: SHORT, ..settings() }).await;
    assert_eq!(server.ask("GET / HTTP/1.1\r\nhost: loc").await, "");
    assert_eq!(server.ask("").await, "");
    server.assert_metric(r#"lychgate_http_connections_rejected_total{listener="main",reason="header_timeout"} 2"#);
}

#[tokio::test]
async fn a_second_head_must_come_in_time_too() {
    let server = Running::start(ServerSettings { header_timeout: SHORT, ..settings() }).await;
    let mut stream = server.send(GET).await;
    read_answer(&mut stream, "hello").await;
    stream.write_all(b"GET / HT").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = Running::start(ServerSettings { idle_timeout: SHORT, ..settings() }).await;
    let mut stream = server.send(GET).await;
    read_answer(&mut stream, "hello").await;
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let mut server = Running::start(ServerSettings { idle_timeout: SHORT, ..settings() }).await;
    let mut stream = server.send("GET /huge HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut start = [0; 8];
    stream.read_exact(&mut start).await.unwrap();
    server.shutdown.trigger();
    assert_eq!(server.ended().await, Drained::Clean);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused_until_one_ends() {
    let server = Running::start(ServerSettings { max_connections: 1, ..settings() }).await;
    let mut first = server.send(GET).await;
    read_answer(&mut first, "hello").await;
    assert_eq!(read_to_end(&mut server.connect().await).await, "");
    server.assert_metric(r#"lychgate_http_connections_rejected_total{listener="main",reason="limit"} 1"#);
    server.assert_metric(r#"lychgate_http_connections{listener="main"} 1"#);
    drop(first);
    let another = async {
        while !server.ask("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.ends_with("hello") {}
    };
    tokio::time::timeout(settings().header_timeout, another).await.unwrap();
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = Running::start(ServerSettings { max_header_bytes: 1024, ..settings() }).await;
    for (what, fields) in [
        ("beyond the limit", format!("x: {}\r\n", "x".repeat(1024))),
        ("beyond the buffer", format!("x: {}\r\n", "x".repeat(10_000))),
        ("too many fields", "x: x\r\n".repeat(100)),
    ] {
        let answer = server.ask(&format!("GET / HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{what}: {answer:?}");
    }
    server.assert_metric(r#"lychgate_http_rejected_requests_total{reason="header_too_large"} 3"#);
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_at_once() {
    let server = Running::start(ServerSettings { max_body_bytes: 10, ..settings() }).await;
    let post = |length| format!("POST /count HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n");
    let answer = server.ask(&format!("{}expect: 100-continue\r\n\r\n", post(11))).await;
    assert_status(&answer, 413);
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    let mut stream = server.send(&format!("{}\r\n0123456789", post(10))).await;
    assert_status(&read_answer(&mut stream, "10").await, 200);
    server.assert_metric(r#"lychgate_http_rejected_requests_total{reason="body_too_large"} 1"#);
}

#[tokio::test]
async fn a_client_that_goes_on_sending_sees_that_its_body_is_too_large() {
    let server = Running::start(settings()).await;
    let body = "x".repeat(900_000);
    let head = format!("POST /count HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    assert_status(&server.ask(&(head + &body)).await, 413);
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_refused() {
    let server = Running::start(ServerSettings { max_body_bytes: 10, ..settings() }).await;
    let chunked = "POST /count HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_status(&server.ask(&format!("{chunked}6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n")).await, 413);
    let mut stream = server.send(&format!("{chunked}5\r\n01234\r\n5\r\n01234\r\n0\r\n\r\n")).await;
    assert_status(&read_answer(&mut stream, "10").await, 200);
}

#[tokio::test]
async fn a_request_names_exactly_one_host() {
    let server = Running::start(settings()).await;
    assert_status(&server.ask("GET / HTTP/1.1\r\n\r\n").await, 400);
    assert_status(&server.ask("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n").await, 400);
    assert_status(&server.ask("GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n").await.replace("/1.0 ", "/1.1 "), 400);
    assert_status(&server.ask("GET / HTTP/1.0\r\n\r\n").await.replace("/1.0 ", "/1.1 "), 200);
}

#[tokio::test]
async fn a_target_that_is_neither_a_path_nor_a_url_is_refused() {
    let server = Running::start(settings()).await;
    for target in ["localhost", "localhost:80", "user@localhost"] {
        let answer = server.ask(&format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        assert_status(&answer, 400);
    }
    server.assert_metric(r#"lychgate_http_rejected_requests_total{reason="bad_target"} 3"#);
}

#[tokio::test]
async fn targets_of_every_form_are_answered() {
    let server = Running::start(settings()).await;
    for (target, status) in [("GET http://localhost/", 200), ("OPTIONS *", 404), ("CONNECT localhost:1", 501)] {
        let request = format!("{target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        assert_status(&server.ask(&request).await, status);
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_for() {
    let server = Running::start(ServerSettings { request_timeout: SHORT, ..settings() }).await;
    assert_status(&server.ask("GET /never HTTP/1.1\r\nhost: localhost\r\n\r\n").await, 503);
    let post = "POST /count HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n1234";
    assert_status(&server.ask(post).await, 408);
    server.assert_metric(r#"lychgate_http_rejected_requests_total{reason="timeout"} 2"#);
}

#[tokio::test]
async fn a_panic_is_answered_and_hurts_nobody_else() {
    let server = Running::start(settings()).await;
    let answer = server.ask("GET /panic HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_status(&answer, 500);
    assert!(!answer.contains("fell over"), "{answer}");
    assert_status(&read_answer(&mut server.send(GET).await, "hello").await, 200);
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_accepts_nothing_new() {
    let mut server = Running::start(settings()).await;
    let mut idle = server.send(GET).await;
    read_answer(&mut idle, "hello").await;
    let mut running = server.send(GET_SLOW).await;
    server.entered.notified().await;

    server.shutdown.trigger();
    assert_eq!(read_to_end(&mut idle).await, "", "an idle connection is closed");
    assert!(TcpStream::connect(server.address).await.is_err(), "the listener is closed");
    server.assert_metric("lychgate_draining 1");
    server.released.notify_one();
    let answer = read_to_end(&mut running).await;
    assert!(answer.ends_with("finished"), "{answer}");
    assert_eq!(server.ended().await, Drained::Clean);
}

#[tokio::test]
async fn all_is_served_while_balancers_learn_of_the_drain() {
    let mut server = Running::start(ServerSettings { drain_delay: Duration::from_secs(30), ..settings() }).await;
    let mut before = server.send(GET).await;
    assert!(!read_answer(&mut before, "hello").await.contains("connection: close"));
    server.shutdown.trigger();
    let after = server.ask(GET).await;
    assert!(after.contains("connection: close") && after.ends_with("hello"), "{after}");
    before.write_all(GET.as_bytes()).await.unwrap();
    assert!(read_to_end(&mut before).await.ends_with("hello"));

    server.shutdown.trigger();
    assert_eq!(server.ended().await, Drained::Clean, "a second order ends the wait");
}

#[tokio::test]
async fn who_came_before_the_door_closed_is_answered() {
    let mut server = Running::start(ServerSettings { drain_delay: Duration::from_secs(1), ..settings() }).await;
    let mut used = server.send(GET).await;
    read_answer(&mut used, "hello").await;
    let mut fresh = server.connect().await;
    server.shutdown.trigger();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::time::sleep(SHORT / 10).await;
    }
    for stream in [&mut used, &mut fresh] {
        stream.write_all(GET.as_bytes()).await.unwrap();
        let answer = read_to_end(stream).await;
        assert_status(&answer, 200);
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(server.ended().await, Drained::Clean);
}

#[tokio::test]
async fn what_outlasts_the_drain_is_cut() {
    let mut server = Running::start(ServerSettings { drain_timeout: SHORT, ..settings() }).await;
    let mut running = server.send(GET_SLOW).await;
    server.entered.notified().await;
    server.shutdown.trigger();
    assert_eq!(server.ended().await, Drained::Cut(1));
    assert_eq!(read_to_end(&mut running).await, "");
    server.assert_metric(r#"lychgate_http_connections{listener="main"} 0"#);
}

#[tokio::test]
async fn a_second_order_cuts_at_once() {
    let mut server = Running::start(settings()).await;
    let running = server.send(GET_SLOW).await;
    server.entered.notified().await;
    server.shutdown.trigger();
    server.shutdown.trigger();
    assert_eq!(server.ended().await, Drained::Cut(1));
    drop(running);
}

mod tls {
    //! The same over TLS, with certificates made for the occasion.

    use std::path::Path;

    use reqwest::Client;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    use super::super::BindError;
    use super::*;
    use crate::config::TlsSettings;

    struct Pair {
        certificate: rcgen::Certificate,
        key: String,
    }

    fn pair() -> Pair {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Pair { certificate: made.cert, key: made.signing_key.serialize_pem() }
    }

    fn files(folder: &Path) -> TlsSettings {
        TlsSettings { certificate_file: folder.join("tls.crt"), key_file: folder.join("tls.key") }
    }

    fn write(folder: &Path, pair: &Pair) -> TlsSettings {
        let files = files(folder);
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&files.certificate_file, pair.certificate.pem()).unwrap();
        std::fs::write(&files.key_file, &pair.key).unwrap();
        files
    }

    async fn start(files: &TlsSettings, settings: ServerSettings) -> Running {
        let mut listener = Listener::bind(ANY_PORT, "main", Some(files)).await.unwrap();
        listener.certificates.as_mut().unwrap().look_every = Duration::from_millis(5);
        Running::start_on(listener, settings)
    }

    fn client(server: &Running, pair: &Pair) -> Client {
        let certificate = reqwest::Certificate::from_der(pair.certificate.der()).unwrap();
        Client::builder().tls_certs_only([certificate]).resolve("localhost", server.address).no_proxy().build().unwrap()
    }

    fn url(server: &Running, path: &str) -> String {
        format!("https://localhost:{}{path}", server.address.port())
    }

    /// The certificate of a handshake by a client that trusts `trusted`; none if the handshake fails.
    async fn served(server: &Running, trusted: &[&Pair]) -> Option<CertificateDer<'static>> {
        let mut roots = RootCertStore::empty();
        for pair in trusted {
            roots.add(pair.certificate.der().clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, server.connect().await).await.ok()?;
        Some(stream.get_ref().1.peer_certificates().unwrap()[0].clone())
    }

    #[tokio::test]
    async fn requests_go_over_http2_and_tls() {
        let folder = tempfile::tempdir().unwrap();
        let pair = pair();
        let server = start(&write(folder.path(), &pair), settings()).await;
        let answer = client(&server, &pair).get(url(&server, "/who")).send().await.unwrap();
        assert_eq!(answer.version(), http::Version::HTTP_2);
        assert!(answer.text().await.unwrap().ends_with(" tls"));
        let text = String::from_utf8(server.metrics.render()).unwrap();
        assert!(text.contains(r#"lychgate_tls_certificate_expiry_timestamp_seconds{name="main"} "#), "{text}");
    }

    #[tokio::test]
    async fn limits_hold_in_http2() {
        let folder = tempfile::tempdir().unwrap();
        let pair = pair();
        let limits =
            ServerSettings { max_header_bytes: 1024, max_body_bytes: 10, request_timeout: SHORT, ..settings() };
        let server = start(&write(folder.path(), &pair), limits).await;
        let client = client(&server, &pair);
        let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
        assert_eq!(status(client.get(url(&server, "/")).header("x", "x".repeat(1024))).await, 431);
        assert_eq!(status(client.get(url(&server, "/")).header("x", "x".repeat(10_000))).await, 431);
        assert_eq!(status(client.post(url(&server, "/count")).body("01234567890")).await, 413);
        assert_eq!(status(client.get(url(&server, "/never"))).await, 503);
        assert_eq!(status(client.get(url(&server, "/panic"))).await, 500);
        assert_eq!(status(client.get(url(&server, "/"))).await, 200);
    }

    #[tokio::test]
    async fn a_drain_finishes_what_runs_in_http2() {
        let folder = tempfile::tempdir().unwrap();
        let pair = pair();
        let mut server = start(&write(folder.path(), &pair), settings()).await;
        let request = client(&server, &pair).get(url(&server, "/slow")).send();
        let running = tokio::spawn(async move { request.await.unwrap().text().await.unwrap() });
        server.entered.notified().await;
        server.shutdown.trigger();
        while TcpStream::connect(server.address).await.is_ok() {}
        server.released.notify_one();
        assert_eq!(running.await.unwrap(), "finished");
        assert_eq!(server.ended().await, Drained::Clean);
    }

    #[tokio::test]
    async fn a_cut_ends_what_runs_in_http2() {
        let folder = tempfile::tempdir().unwrap();
        let pair = pair();
        let mut server =
            start(&write(folder.path(), &pair), ServerSettings { drain_timeout: SHORT, ..settings() }).await;
        let request = client(&server, &pair).get(url(&server, "/slow")).send();
        let running = tokio::spawn(request);
        server.entered.notified().await;
        server.shutdown.trigger();
        assert_eq!(server.ended().await, Drained::Cut(1));
        assert!(running.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn an_idle_connection_of_http2_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let pair = pair();
        let server = start(&write(folder.path(), &pair), ServerSettings { idle_timeout: SHORT, ..settings() }).await;
        let client = client(&server, &pair);
        client.get(url(&server, "/")).send().await.unwrap().text().await.unwrap();
        let gauge = || server.metrics.http_connections.with_label_values(&["main"]).get();
        let closed = async {
            while gauge() != 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(settings().idle_timeout, closed).await.unwrap();
        drop(client);
    }

    #[tokio::test]
    async fn a_client_that_does_not_shake_hands_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let server =
            start(&write(folder.path(), &pair()), ServerSettings { header_timeout: SHORT, ..settings() }).await;
        assert_eq!(server.ask("").await, "");
        // Bytes that are no handshake get an alert.
        server.send(GET).await.read_to_end(&mut Vec::new()).await.ok();
        server.assert_metric(r#"lychgate_http_connections_rejected_total{listener="main",reason="tls_handshake"} 2"#);
    }

    #[tokio::test]
    async fn a_replaced_certificate_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (pair(), pair());
        let server = start(&write(folder.path(), &old), settings()).await;
        assert_eq!(served(&server, &[&old, &new]).await.as_ref(), Some(old.certificate.der()));
        write(folder.path(), &new);
        let replaced = async { while served(&server, &[&old, &new]).await.as_ref() != Some(new.certificate.der()) {} };
        tokio::time::timeout(settings().idle_timeout, replaced).await.unwrap();
    }

    #[tokio::test]
    async fn a_certificate_replaced_by_a_symbolic_link_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (pair(), pair());
        write(&folder.path().join("..1"), &old);
        write(&folder.path().join("..2"), &new);
        std::os::unix::fs::symlink("..1", folder.path().join("..data")).unwrap();
        let server = start(&files(&folder.path().join("..data")), settings()).await;
        assert_eq!(served(&server, &[&old]).await.as_ref(), Some(old.certificate.der()));
        std::os::unix::fs::symlink("..2", folder.path().join("..data_tmp")).unwrap();
        std::fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
        let replaced = async { while served(&server, &[&new]).await.is_none() {} };
        tokio::time::timeout(settings().idle_timeout, replaced).await.unwrap();
    }

    #[tokio::test]
    async fn a_bad_pair_leaves_the_old_one_in_place_and_a_good_one_still_follows() {
        let folder = tempfile::tempdir().unwrap();
        let (old, other, new) = (pair(), pair(), pair());
        let files = write(folder.path(), &old);
        let server = start(&files, settings()).await;
        for bad in [other.key.as_str(), "no key at all"] {
            std::fs::write(&files.key_file, bad).unwrap();
            // Long enough for several looks.
            for _ in 0..10 {
                assert_eq!(served(&server, &[&old, &other]).await.as_ref(), Some(old.certificate.der()));
            }
        }
        std::fs::remove_file(&files.key_file).unwrap();
        assert_eq!(served(&server, &[&old]).await.as_ref(), Some(old.certificate.der()));
        write(folder.path(), &new);
        let replaced = async { while served(&server, &[&new]).await.is_none() {} };
        tokio::time::timeout(settings().idle_timeout, replaced).await.unwrap();
    }

    #[tokio::test]
    async fn a_pair_that_cannot_be_used_stops_the_start_and_says_which_file() {
        let folder = tempfile::tempdir().unwrap();
        let bind = async |files: &TlsSettings| Listener::bind(ANY_PORT, "main", Some(files)).await.unwrap_err();
        let files = files(folder.path());
        assert!(bind(&files).await.to_string().starts_with("cannot read "));
        write(folder.path(), &Pair { key: pair().key, ..pair() });
        assert!(bind(&files).await.to_string().contains("cannot be used with"));
        std::fs::write(&files.key_file, "").unwrap();
        assert!(bind(&files).await.to_string().ends_with("tls.key holds no private key in PEM"));
        std::fs::write(&files.certificate_file, "").unwrap();
        let error = bind(&files).await;
        assert!(matches!(error, BindError::Tls(_)));
        assert!(error.to_string().ends_with("tls.crt holds no certificate in PEM"), "{error}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error() {
    let taken = Listener::bind(ANY_PORT, "main", None).await.unwrap();
    let error = Listener::bind(taken.local_addr(), "main", None).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {}", taken.local_addr()));
}
