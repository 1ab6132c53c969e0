//! Request smuggling: requests that two servers would part differently. The gateway refuses them and hangs up, or hands
//! on what it judged, once, in the one form that every server reads the same way.

use std::net::SocketAddr;
use std::time::Duration;

use lychgate::config::ServerSettings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::frames::{self, Connection, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, fields, frame};
use crate::recorder::{Recorded, Recorder};
use crate::support::{Tenant, World};

/// What must never be seen by anybody.
const SMUGGLED: &str = "GET /acme/app/open/smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";
/// Longer than anything takes, and shorter than a connection may idle where that is not what ends it.
const PATIENCE: Duration = Duration::from_mins(1);

struct Place {
    world: World,
    recorder: Recorder,
}

impl Place {
    /// Connections idle for as long as `idle`; heads may take long.
    async fn new(idle: Duration) -> Self {
        Self::before(Recorder::start().await, idle).await
    }

    async fn before(recorder: Recorder, idle: Duration) -> Self {
        let mut tenant = Tenant::start("acme").await;
        recorder.stand_behind(&mut tenant.settings);
        let world = World::start_with(vec![tenant], |settings| {
            let server = &mut settings.server;
            *server = ServerSettings { idle_timeout: idle, header_timeout: PATIENCE * 10, ..server.clone() };
        })
        .await;
        Self { world, recorder }
    }

    /// Where a refusal must end the connection: nothing else does.
    async fn patient() -> Self {
        Self::new(PATIENCE * 10).await
    }

    /// Where what is kept open ends soon.
    async fn brief() -> Self {
        Self::new(Duration::from_millis(300)).await
    }

    /// Sends these bytes and reads until the connection ends.
    async fn send(&self, bytes: &[u8]) -> String {
        exchange(self.world.address, bytes).await
    }

    /// Sends bytes that no server should take: they must be answered with an error, and nothing after it.
    async fn assert_refused(&self, what: &str, bytes: &[u8]) {
        let answer = self.send(bytes).await;
        let [status] = statuses(&answer)[..] else { panic!("{what}: {answer:?}") };
        assert!((400..=505).contains(&status), "{what}: {answer:?}");
        assert_eq!(self.recorder.take().len(), 0, "{what}: {answer:?}");
    }

    /// Sends bytes of which one request may be taken out: the one that the application sees.
    async fn one(&self, what: &str, bytes: &[u8]) -> Recorded {
        let answer = self.send(bytes).await;
        assert_eq!(statuses(&answer), [200], "{what}: {answer:?}");
        let seen = self.recorder.take();
        let [request] = &seen[..] else { panic!("{what}: {seen:?}") };
        assert_eq!((request.target(), &request.fault), ("/acme/app/open/x", &None), "{what}: {request:?}");
        request.clone()
    }
}

async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let conversation = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may have been refused before it was taken whole.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::time::timeout(PATIENCE, conversation).await.expect("the connection is not closed")
}

/// The status of every answer.
fn statuses(answers: &str) -> Vec<u16> {
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0);
    answers.split("HTTP/1.").skip(1).map(status).collect()
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /acme/app/open/x HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n\r\n{body}").into_bytes()
}

/// A chunked body with `text` in it, and the end.
fn chunked(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
}

#[tokio::test]
async fn of_two_lengths_the_chunks_count_and_what_follows_them_is_not_read() {
    let place = Place::patient().await;
    let body = format!("0\r\n\r\n{SMUGGLED}");
    for (what, both) in [
        ("CL.TE", format!("content-length: {}\r\ntransfer-encoding: chunked", body.len())),
        ("TE.CL", format!("transfer-encoding: chunked\r\ncontent-length: {}", body.len())),
        ("TE.CL, short", "transfer-encoding: chunked\r\ncontent-length: 5".to_owned()),
    ] {
        assert_eq!(place.one(what, &post(&both, &body)).await.body, b"", "{what}");
    }
    let request =
        place.one("in a chunk", &post("content-length: 3\r\ntransfer-encoding: chunked", &chunked(SMUGGLED))).await;
    assert_eq!(request.body, SMUGGLED.as_bytes());
}

#[tokio::test]
async fn a_transfer_coding_in_disguise_is_refused() {
    let place = Place::patient().await;
    let body = format!("0\r\n\r\n{SMUGGLED}");
    for disguise in [
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity, chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked;q=1",
        "transfer-encoding: chunked x",
        "transfer-encoding: \u{b}chunked",
        "transfer-encoding: chunked\u{0}",
        "transfer-encoding:",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        "transfer-encoding\r\n: chunked",
        " transfer-encoding: chunked",
        "x: x\r\n transfer-encoding: chunked",
        "transfer-encoding:\r\n chunked",
        "transfer-encoding: chunked\r, x",
        "x: x\rtransfer-encoding: chunked",
        "transfer-encoding\u{0}: chunked",
    ] {
        for length in ["", "content-length: 5\r\n"] {
            place.assert_refused(disguise, &post(&format!("{length}{disguise}"), &body)).await;
        }
    }
    place
        .assert_refused(
            "HTTP/1.0",
            format!("POST /acme/app/open/x HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{body}")
                .as_bytes(),
        )
        .await;
}

#[tokio::test]
async fn a_transfer_coding_has_any_case_and_blanks_around() {
    let place = Place::brief().await;
    for coding in ["Transfer-Encoding: Chunked", "TRANSFER-ENCODING:chunked", "transfer-encoding: \t chunked \t"] {
        let request = place.one(coding, &post(coding, &chunked("hello"))).await;
        assert_eq!(request.body, b"hello", "{coding}");
    }
}

#[tokio::test]
async fn a_length_that_is_no_number_is_refused() {
    let place = Place::patient().await;
    for length in [
        "content-length: +5",
        "content-length: -5",
        "content-length: 0x5",
        "content-length: 5 5",
        "content-length: 5, 5",
        "content-length: 5,6",
        "content-length: 5;",
        "content-length: five",
        "content-length: ５",
        "content-length: 5.0",
        "content-length: 99999999999999999999999999",
        "content-length: 18446744073709551615",
        "content-length:",
        "content-length: \u{b}5",
        "content-length : 5",
        "content-length\t: 5",
        " content-length: 5",
        "content-length:\r\n 5",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 0\r\ncontent-length: 5",
        "content-length: 5\r\ncontent-length: ",
    ] {
        place.assert_refused(length, &post(length, &format!("hello{SMUGGLED}"))).await;
    }
}

#[tokio::test]
async fn a_length_that_stands_twice_the_same_is_sent_on_once() {
    let place = Place::brief().await;
    for length in ["content-length: 5\r\ncontent-length: 5", "Content-Length:  5\t", "content-length: 005"] {
        let request = place.one(length, &post(length, "hello")).await;
        assert_eq!((request.body.as_slice(), request.values("content-length").len()), (&b"hello"[..], 1), "{length}");
    }
}

#[tokio::test]
async fn the_head_of_a_request_has_one_form() {
    let place = Place::patient().await;
    let path = "/acme/app/open/x";
    let host = "host: localhost\r\n";
    for (what, head) in [
        ("HTTP/0.9", format!("GET {path}\r\n\r\n")),
        ("HTTP/2.0 in the clear text of HTTP/1", format!("GET {path} HTTP/2.0\r\n{host}\r\n")),
        ("another version", format!("GET {path} HTTP/1.2\r\n{host}\r\n")),
        ("no version", format!("GET {path} \r\n{host}\r\n")),
        ("a version in lower case", format!("GET {path} http/1.1\r\n{host}\r\n")),
        ("a version with more behind", format!("GET {path} HTTP/1.1x\r\n{host}\r\n")),
        ("two blanks", format!("GET  {path} HTTP/1.1\r\n{host}\r\n")),
        ("a tabulator", format!("GET\t{path} HTTP/1.1\r\n{host}\r\n")),
        ("a blank in the target", format!("GET {path} x HTTP/1.1\r\n{host}\r\n")),
        ("NUL in the target", format!("GET {path}\u{0} HTTP/1.1\r\n{host}\r\n")),
        ("a bare CR in the line", format!("GET {path}\rx HTTP/1.1\r\n{host}\r\n")),
        ("a method that is none", format!("G@T {path} HTTP/1.1\r\n{host}\r\n")),
        ("obs-fold", format!("GET {path} HTTP/1.1\r\n{host}x: a\r\n b: c\r\n\r\n")),
        ("obs-fold by a tabulator", format!("GET {path} HTTP/1.1\r\n{host}x: a\r\n\tb: c\r\n\r\n")),
        ("a blank before the first field", format!("GET {path} HTTP/1.1\r\n {host}\r\n")),
        ("a bare CR in a value", format!("GET {path} HTTP/1.1\r\n{host}x: a\rb: c\r\n\r\n")),
        ("a bare CR at an end", format!("GET {path} HTTP/1.1\r\n{host}x: a\r\r\n\r\n")),
        ("NUL in a value", format!("GET {path} HTTP/1.1\r\n{host}x: a\u{0}b\r\n\r\n")),
        ("NUL in a name", format!("GET {path} HTTP/1.1\r\n{host}x\u{0}y: a\r\n\r\n")),
        ("a blank in a name", format!("GET {path} HTTP/1.1\r\n{host}x y: a\r\n\r\n")),
        ("a blank before the colon", format!("GET {path} HTTP/1.1\r\n{host}x : a\r\n\r\n")),
        ("no name", format!("GET {path} HTTP/1.1\r\n{host}: a\r\n\r\n")),
        ("no colon", format!("GET {path} HTTP/1.1\r\n{host}x\r\n\r\n")),
        ("no host", format!("GET {path} HTTP/1.1\r\nx: y\r\n\r\n")),
        ("two hosts", format!("GET {path} HTTP/1.1\r\n{host}host: other\r\n\r\n")),
        ("two hosts that are the same", format!("GET {path} HTTP/1.1\r\n{host}{host}\r\n")),
        ("a method that opens tunnels", format!("CONNECT {path} HTTP/1.1\r\n{host}\r\n")),
        ("a method that opens tunnels elsewhere", format!("CONNECT localhost:22 HTTP/1.1\r\n{host}\r\n")),
    ] {
        place.assert_refused(what, head.as_bytes()).await;
        // The same with a request behind, which must go under with it.
        place.assert_refused(what, format!("{head}{SMUGGLED}").as_bytes()).await;
    }
}

#[tokio::test]
async fn a_target_that_names_another_host_than_the_header_reaches_nobody() {
    let place = Place::brief().await;
    for (target, host) in [
        ("http://evil.example/acme/app/open/x", "localhost"),
        ("http://localhost@evil.example/acme/app/open/x", "localhost"),
        ("http://user@localhost/acme/app/open/x", "localhost"),
        ("http://localhost:81/acme/app/open/x", "localhost"),
        ("/acme/app/open/x", "localhost, evil.example"),
        ("/acme/app/open/x", "localhost evil.example"),
        ("/acme/app/open/x", "localhost/evil"),
        ("/acme/app/open/x", "user@localhost"),
        ("/acme/app/open/x", ""),
        ("http:///acme/app/open/x", "localhost"),
        ("//evil.example/acme/app/open/x", "localhost"),
    ] {
        let answer = place.send(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await;
        let [status] = statuses(&answer)[..] else { panic!("{target} {host}: {answer:?}") };
        assert!((400..500).contains(&status), "{target} {host}: {answer:?}");
        assert_eq!(place.recorder.take().len(), 0, "{target} {host}");
    }
    let whole = b"GET http://localhost/acme/app/open/x HTTP/1.1\r\nhost: localhost\r\n\r\n";
    place.one("an absolute target that agrees", whole).await;
}

#[tokio::test]
async fn a_bare_line_feed_ends_a_line_and_hides_nothing() {
    let place = Place::brief().await;
    let request = place.one("LF", b"GET /acme/app/open/x HTTP/1.1\nhost: localhost\nx: y\n\n").await;
    assert_eq!(request.values("x"), ["y"]);
    let hidden = b"POST /acme/app/open/x HTTP/1.1\r\nhost: localhost\r\nx: y\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let request = place.one("a coding behind a LF", hidden).await;
    assert_eq!((request.body.as_slice(), request.values("x")), (&b"hello"[..], vec!["y"]));
}

#[tokio::test]
async fn chunks_that_servers_read_differently_never_pass() {
    let place = Place::brief().await;
    for (what, body) in [
        ("an overflow", format!("10000000000000005\r\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        ("a larger overflow", format!("{}5\r\nhello\r\n0\r\n\r\n{SMUGGLED}", "f".repeat(40))),
        ("a sign", format!("+5\r\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        ("a minus", format!("-5\r\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        ("a prefix", format!("0x5\r\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        ("a blank before", format!(" 5\r\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        ("no size", format!("\r\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        ("a size by LF", format!("5\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        ("a size by CR", format!("5\rhello\r\n0\r\n\r\n{SMUGGLED}")),
        ("an end by LF", format!("5\r\nhello\n0\r\n\r\n{SMUGGLED}")),
        ("no end", format!("5\r\nhello0\r\n\r\n{SMUGGLED}")),
        ("LF in an extension", format!("5;x\nx\r\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        ("CR in an extension", format!("5;x\rx\r\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        ("too long an extension", format!("5;{}\r\nhello\r\n0\r\n\r\n{SMUGGLED}", "x".repeat(20_000))),
        ("too many trailers", format!("5\r\nhello\r\n0\r\n{}\r\n{SMUGGLED}", "x: y\r\n".repeat(200))),
        ("a trailer without end", format!("5\r\nhello\r\n0\r\nx: {}\r\n\r\n{SMUGGLED}", "y".repeat(20_000))),
        ("less than it says", "ff\r\nhello\r\n0\r\n\r\n".to_owned()),
    ] {
        let answer = place.send(&post("transfer-encoding: chunked", &body)).await;
        assert!(statuses(&answer).iter().all(|status| *status >= 400), "{what}: {answer:?}");
        let seen = place.recorder.take();
        assert!(seen.iter().all(|request| request.target() != "/acme/app/open/smuggled"), "{what}: {seen:?}");
        assert!(seen.is_empty(), "{what}: {seen:?}");
    }
}

#[tokio::test]
async fn extensions_and_trailers_of_chunks_stay_behind() {
    let place = Place::brief().await;
    for (what, body) in [
        ("an extension", "5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n"),
        ("leading zeros", "0005\r\nhello\r\n000\r\n\r\n"),
        (
            "trailers",
            "5\r\nhello\r\n0\r\ncontent-length: 9\r\ntransfer-encoding: identity\r\nx-auth-request-user: x\r\n\r\n",
        ),
    ] {
        let request = place.one(what, &post("transfer-encoding: chunked\r\ntrailer: x-auth-request-user", body)).await;
        assert_eq!(request.body, b"hello", "{what}");
        assert!(!request.head.contains("x-auth-request-user") && request.values("trailer").is_empty(), "{request:?}");
    }
}

#[tokio::test]
async fn a_body_of_a_method_that_needs_none_stays_a_body() {
    let place = Place::brief().await;
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PROPFIND"] {
        let length = SMUGGLED.len();
        let head = format!("{method} /acme/app/open/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
        let request = place.one(method, format!("{head}{SMUGGLED}").as_bytes()).await;
        assert_eq!(request.body, SMUGGLED.as_bytes(), "{method}");
    }
}

#[tokio::test]
async fn what_connection_names_does_not_change_where_a_request_ends() {
    let place = Place::brief().await;
    for named in ["content-length", "transfer-encoding", "content-length, host", "close, Content-Length", "host"] {
        let fields = format!("connection: {named}\r\ncontent-length: {}", SMUGGLED.len());
        let request = place.one(named, &post(&fields, SMUGGLED)).await;
        assert_eq!(request.body, SMUGGLED.as_bytes(), "{named}");
        let request = place
            .one(named, &post(&format!("connection: {named}\r\ntransfer-encoding: chunked"), &chunked(SMUGGLED)))
            .await;
        assert_eq!(request.body, SMUGGLED.as_bytes(), "{named}");
    }
}

#[tokio::test]
async fn fields_that_fold_into_a_length_or_a_coding_stay_behind() {
    let place = Place::brief().await;
    for name in ["transfer_encoding", "Transfer.Encoding", "content_length", "Content.Length", "transfer_Encoding"] {
        let fields = format!("{name}: chunked\r\ncontent-length: 5");
        let request = place.one(name, &post(&fields, "hello")).await;
        assert_eq!(request.values(name), Vec::<&str>::new(), "{name}");
    }
}

#[tokio::test]
async fn no_protocol_but_websocket_is_switched_to() {
    let place = Place::brief().await;
    for upgrade in ["h2c", "TLS/1.0", "HTTP/2.0", "websocket, h2c", "websocket\r\nupgrade: h2c", "connect-udp"] {
        let fields =
            format!("connection: Upgrade, HTTP2-Settings\r\nupgrade: {upgrade}\r\nhttp2-settings: AAMAAABkAAQAAP__");
        let head = format!("GET /acme/app/open/x HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n\r\n");
        let request = place.one(upgrade, head.as_bytes()).await;
        assert!(request.values("upgrade").is_empty() && request.values("http2-settings").is_empty(), "{request:?}");
    }
}

#[tokio::test]
async fn an_upgrade_that_the_application_did_not_make_opens_no_way_past_the_rules() {
    let place = Place::brief().await;
    let upgrade = format!(
        "GET /acme/app/open/x HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 777\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\norigin: http://{}\r\n\r\n",
        place.world.address, place.world.address,
    );
    let private =
        format!("GET /acme/app/private HTTP/1.1\r\nhost: {}\r\naccept: application/json\r\n\r\n", place.world.address);
    let answer = place.send(format!("{upgrade}{private}").as_bytes()).await;
    let seen: Vec<String> = place.recorder.take().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(seen, ["/acme/app/open/x"], "{answer}");
    assert!(!answer.contains(" 101 "), "{answer}");
}

#[tokio::test]
async fn a_line_feed_that_is_written_in_hex_reaches_no_line() {
    let place = Place::brief().await;
    for tail in ["%0d%0ax:%20y", "%0a", "%00", "x%20HTTP/1.1%0d%0a%0d%0aGET%20/acme/app/open/smuggled"] {
        let answer =
            place.send(format!("GET /acme/app/open/x{tail} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
        assert_eq!(statuses(&answer), [400], "{tail}: {answer}");
    }
    assert_eq!(place.recorder.take().len(), 0);
    let query = place.send(b"GET /acme/app/open/x?a=%0d%0ax:%20y HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(statuses(&query), [200], "{query}");
    assert_eq!(place.recorder.take()[0].target(), "/acme/app/open/x?a=%0d%0ax:%20y", "as it came");
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_given_to_nobody() {
    const TWO: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let place = Place::before(Recorder::answering(TWO).await, Duration::from_millis(300)).await;
    for round in 0..10 {
        let answer = place.send(b"GET /acme/app/open/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        assert!(!answer.contains("poison"), "{round}: {answer}");
    }
}

#[tokio::test]
async fn an_answer_with_two_lengths_is_not_handed_on() {
    for (what, answer) in [
        ("two lengths", &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 8\r\n\r\nokpoison"[..]),
        ("a length in disguise", b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nokpoison"),
        ("a bare CR in a field", b"HTTP/1.1 200 OK\r\nx: y\rset-cookie: a=b\r\ncontent-length: 2\r\n\r\nok"),
        ("NUL in a field", b"HTTP/1.1 200 OK\r\nx: y\0\r\ncontent-length: 2\r\n\r\nok"),
    ] {
        let place = Place::before(Recorder::answering(answer).await, Duration::from_millis(300)).await;
        let got = place.send(b"GET /acme/app/open/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        assert_eq!(statuses(&got), [502], "{what}: {got}");
        assert!(!got.contains("poison"), "{what}: {got}");
    }
}

/// How a stream of HTTP/2 ended: by an answer with status 200, by another, or by an error.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Ok,
    Refused,
    Broken,
}

async fn ask_http2(place: &Place, block: &[u8], data: &[u8]) -> Ended {
    let mut connection = Connection::open(place.world.address).await;
    let flags = if data.is_empty() { END_HEADERS | END_STREAM } else { END_HEADERS };
    let mut bytes = frame(HEADERS, flags, 1, block);
    if !data.is_empty() {
        bytes.extend(frame(DATA, END_STREAM, 1, data));
    }
    connection.send(&bytes).await;
    match connection.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await {
        // `:status: 200` is field 8 of the static table (RFC 7541, appendix A).
        Some(frame) if frame.kind == HEADERS && frame.payload[0] == 0x88 => Ended::Ok,
        Some(frame) if frame.kind == HEADERS => Ended::Refused,
        _ => Ended::Broken,
    }
}

fn block(more: &[(&str, &[u8])]) -> Vec<u8> {
    fields(&[&frames::request("POST", "/acme/app/open/x")[..], more].concat())
}

#[tokio::test]
async fn a_request_of_http2_that_http1_would_read_differently_reaches_nobody() {
    let place = Place::patient().await;
    let body = format!("0\r\n\r\n{SMUGGLED}").into_bytes();
    let path = |path: &'static [u8]| {
        fields(&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"localhost"), (":path", path)])
    };
    let method = |method: &'static [u8]| {
        fields(&[
            (":method", method),
            (":scheme", b"http"),
            (":authority", b"localhost"),
            (":path", b"/acme/app/open/x"),
        ])
    };
    for (what, block) in [
        ("transfer-encoding", block(&[("transfer-encoding", b"chunked")])),
        ("connection", block(&[("connection", b"transfer-encoding")])),
        ("proxy-connection", block(&[("proxy-connection", b"keep-alive")])),
        ("keep-alive", block(&[("keep-alive", b"1")])),
        ("upgrade", block(&[("upgrade", b"websocket")])),
        ("te", block(&[("te", b"gzip")])),
        ("a shorter length", block(&[("content-length", b"5")])),
        ("no length", block(&[("content-length", b"0")])),
        ("a longer length", block(&[("content-length", b"500")])),
        ("two lengths", block(&[("content-length", b"5"), ("content-length", b"90")])),
        ("a length that is none", block(&[("content-length", b"+90")])),
        ("CRLF in a value", block(&[("x", b"y\r\ntransfer-encoding: chunked")])),
        ("LF in a value", block(&[("x", b"y\ntransfer-encoding: chunked")])),
        ("CR in a value", block(&[("x", b"y\rtransfer-encoding: chunked")])),
        ("NUL in a value", block(&[("x", b"y\0")])),
        ("CRLF in a name", block(&[("x: y\r\ntransfer-encoding", b"chunked")])),
        ("a colon in a name", block(&[("transfer-encoding: chunked\r\nx", b"y")])),
        ("a blank in a name", block(&[("transfer-encoding ", b"chunked")])),
        ("upper case in a name", block(&[("Transfer-Encoding", b"chunked")])),
        ("no name", block(&[("", b"y")])),
        ("another host", block(&[("host", b"evil.example")])),
        ("two hosts", block(&[("host", b"localhost"), ("host", b"localhost")])),
        ("two paths", block(&[(":path", b"/acme/app/open/smuggled")])),
        ("an unknown pseudo field", block(&[(":protocols", b"x")])),
        (
            "a pseudo field at the end",
            fields(&[
                (":method", b"GET"),
                (":scheme", b"http"),
                (":authority", b"localhost"),
                ("x", b"y"),
                (":path", b"/acme/app/open/x"),
            ]),
        ),
        ("no path", fields(&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"localhost")])),
        ("no host at all", fields(&[(":method", b"GET"), (":scheme", b"http"), (":path", b"/acme/app/open/x")])),
        ("a request in the path", path(b"/acme/app/open/x HTTP/1.1\r\nhost: a\r\n\r\nGET /acme/app/open/smuggled")),
        ("a blank in the path", path(b"/acme/app/open/x y")),
        ("a path that is none", path(b"acme/app/open/x")),
        ("a whole address as the path", path(b"http://evil.example/acme/app/open/x")),
        ("an empty path", path(b"")),
        ("a request in the method", method(b"GET /acme/app/open/smuggled HTTP/1.1\r\nhost: a\r\n\r\nGET")),
        ("a tunnel", method(b"CONNECT")),
    ] {
        let ended = ask_http2(&place, &block, &body).await;
        assert_ne!(ended, Ended::Ok, "{what}");
        let seen = place.recorder.take();
        assert!(seen.is_empty(), "{what}: {seen:?}");
    }
}

#[tokio::test]
async fn a_request_of_http2_reaches_the_application_in_the_one_form_of_http1() {
    let place = Place::patient().await;
    for (what, length, data) in
        [("a length", SMUGGLED.len().to_string(), SMUGGLED.as_bytes()), ("chunks", String::new(), SMUGGLED.as_bytes())]
    {
        let mut more: Vec<(&str, &[u8])> = vec![("cookie", b"a=1"), ("cookie", b"b=2"), ("te", b"trailers")];
        if !length.is_empty() {
            more.push(("content-length", length.as_bytes()));
        }
        assert_eq!(ask_http2(&place, &block(&more), data).await, Ended::Ok, "{what}");
        let seen = place.recorder.take();
        let [request] = &seen[..] else { panic!("{what}: {seen:?}") };
        assert_eq!((request.fault.as_deref(), request.body.as_slice()), (None, data), "{what}");
        assert_eq!(request.values("cookie"), ["a=1; b=2"], "{what}");
        assert!(request.values("te").is_empty(), "{what}");
    }
}
