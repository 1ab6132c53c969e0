//! Bombs: requests and answers that are much larger, deeper or longer than anything honest, or become so when they are
//! unpacked.

use std::fmt::Write as _;
use std::time::Duration;

use lychgate::config::ResponseMode;
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::hostile::{DISCOVERY, Hostile, Reply, answer, document};
use crate::support::{self, World};

const MIB: usize = 1024 * 1024;
/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Sends a head with these fields besides the host and the end; the status of the answer, which is the last.
async fn status(world: &World, line: &str, fields: &str) -> u16 {
    let conversation = async {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let head = format!("{line} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{fields}\r\n", world.address);
        // It may have been refused before it was taken whole.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0)
    };
    tokio::time::timeout(PATIENCE, conversation).await.expect("the connection is not ended")
}

#[tokio::test]
async fn a_head_with_too_many_or_too_large_fields_is_refused() {
    let world = support::acme().await;
    let many = |count: usize| (0..count).fold(String::new(), |fields, n| fields + &format!("x-{n}: y\r\n"));
    let large = |bytes: usize| format!("x: {}\r\n", "y".repeat(bytes));
    for (what, fields) in [
        ("many", many(200)),
        ("very many", many(20_000)),
        ("many of the same name", "x: y\r\n".repeat(200)),
        ("a large value", large(40_000)),
        ("a very large value", large(4 * MIB)),
        ("a large name", format!("{}: x\r\n", "y".repeat(40_000))),
        ("much in all", (0..90).fold(String::new(), |fields, n| fields + &format!("x-{n}: {}\r\n", "y".repeat(500)))),
        ("many cookies", format!("cookie: {}\r\n", "a=b; ".repeat(10_000))),
        ("many lines of cookies", "cookie: a=b\r\n".repeat(200)),
    ] {
        assert_eq!(status(&world, "GET /acme/session", &fields).await, 431, "{what}");
    }
    assert_eq!(status(&world, "GET /acme/session", &many(80)).await, 401, "many are still allowed");
    assert_eq!(status(&world, "GET /acme/session", &large(20_000)).await, 401, "so is a large one");
}

#[tokio::test]
async fn a_request_line_that_is_too_long_is_refused() {
    let world = support::acme().await;
    for length in [40_000, 70_000, 4 * MIB] {
        let refused = status(&world, &format!("GET /acme/{}", "x".repeat(length)), "").await;
        assert!([414, 431].contains(&refused), "{length}: {refused}");
        let refused = status(&world, &format!("GET /acme/session?{}", "x&".repeat(length / 2)), "").await;
        assert!([414, 431].contains(&refused), "{length}: {refused}");
        let refused = status(&world, &"x".repeat(length), "").await;
        assert!((400..500).contains(&refused), "{length}: {refused}");
    }
    assert_eq!(status(&world, &format!("GET /acme/session?{}", "a=b&".repeat(2000)), "").await, 401);
}

#[tokio::test]
async fn as_many_cookies_as_fit_are_looked_through() {
    let world = support::acme().await;
    let mut line = String::from("cookie: ");
    while line.len() < 30_000 {
        write!(line, "lychgate-acme={}; ", "x".repeat(70)).unwrap();
    }
    assert_eq!(status(&world, "GET /acme/session", &format!("{line}\r\n")).await, 401);
    let short = format!("cookie: {}\r\n", ";=".repeat(10_000));
    assert_eq!(status(&world, "GET /acme/session", &short).await, 401);
}

#[tokio::test]
async fn a_form_that_is_too_large_is_refused_wherever_one_is_read() {
    let world = support::acme_with(|tenant| tenant.sign_in.response_mode = ResponseMode::FormPost).await;
    let large = format!("state={}", "x".repeat(100_000));
    let huge = format!("state={}", "x".repeat(2 * MIB));
    let many = "a=b&".repeat(20_000);
    for path in ["/acme/callback", "/acme/backchannel-logout"] {
        for form in [&large, &huge, &many] {
            let page = world.browser().post(path, form).await;
            let said = page.status == StatusCode::PAYLOAD_TOO_LARGE || page.body.contains("body_too_large");
            assert!(said && page.status.is_client_error(), "{path}: {} bytes: {page:?}", form.len());
        }
        let page = world.browser().post(path, &"a=b&".repeat(2000)).await;
        assert!(
            page.status != StatusCode::PAYLOAD_TOO_LARGE && !page.status.is_server_error(),
            "{path}: {}",
            page.body
        );
    }
}

/// What a sign-in at such a provider comes to, up to the callback: the error code of the page.
async fn sign_in(provider: &Hostile, timeout: Duration) -> (u16, String) {
    let world = provider.world(|tenant| tenant.provider.fetch.timeout = timeout).await;
    let signing_in = async {
        let mut browser = world.browser();
        let page = browser.get("/acme/login").await;
        if page.status != StatusCode::FOUND {
            return (page.status.as_u16(), page.code().to_owned());
        }
        let sent = page.location();
        let state = sent.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        let page = browser.get(&format!("/acme/callback?code=c&state={state}")).await;
        (page.status.as_u16(), page.code().to_owned())
    };
    let outcome = tokio::time::timeout(PATIENCE, signing_in).await.expect("somebody waits for the provider");
    assert_eq!(world.browser().get("/acme/session").await.status, StatusCode::UNAUTHORIZED, "others are served");
    outcome
}

/// Says at the paths of a sign-in, one after the other, what `reply` makes of a good answer.
async fn at_each_path(code: &str, timeout: Duration, reply: impl Fn(&str) -> Reply) {
    for path in [DISCOVERY, "/token"] {
        let provider = Hostile::near().await;
        let good = match path {
            DISCOVERY => provider.discovery(&json!({})).to_string(),
            _ => json!({ "access_token": "a", "token_type": "Bearer", "id_token": "a.b.c" }).to_string(),
        };
        provider.say(path, reply(&good));
        assert_eq!(sign_in(&provider, timeout).await.1, code, "{path}");
    }
}

/// gzip (RFC 1952) of what is short enough for one block that is stored as it is.
fn gzip(text: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in text {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let length = u16::try_from(text.len()).unwrap();
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    packed.extend(length.to_le_bytes());
    packed.extend((!length).to_le_bytes());
    packed.extend(text);
    packed.extend((!crc).to_le_bytes());
    packed.extend(u32::from(length).to_le_bytes());
    packed
}

#[tokio::test]
async fn what_a_provider_packed_is_not_unpacked_and_not_asked_for() {
    for coding in ["gzip", "deflate", "br", "zstd", "gzip, gzip"] {
        at_each_path("provider_answer_malformed", PATIENCE, |good| {
            document(&format!("content-encoding: {coding}\r\n"), gzip(good.as_bytes()))
        })
        .await;
    }
    let provider = Hostile::near().await;
    sign_in(&provider, PATIENCE).await;
    for head in provider.heads() {
        assert!(!head.to_ascii_lowercase().contains("accept-encoding"), "{head}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
    // White space may follow a document without end.
    at_each_path("provider_answer_malformed", PATIENCE, |good| document("", format!("{good}{}", " ".repeat(2 * MIB))))
        .await;
    let endless = |head: &str, part: Vec<u8>| Reply::Endless(head.as_bytes().to_vec(), part, Duration::ZERO);
    at_each_path("provider_answer_malformed", PATIENCE, |good| {
        endless(&format!("HTTP/1.1 200 OK\r\n\r\n{good}"), vec![b' '; 64 * 1024])
    })
    .await;
    at_each_path("provider_answer_malformed", PATIENCE, |_| {
        endless(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            format!("10000\r\n{}\r\n", " ".repeat(0x10000)).into(),
        )
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_comes_too_slowly_is_not_waited_for() {
    let slow = |head: &str, part: &str| Reply::Endless(head.into(), part.into(), Duration::from_millis(50));
    for (head, part) in [
        ("", ""),
        ("HTTP/1.1 200 OK\r\n", "x: y\r\n"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{", " "),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n \r\n"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"),
    ] {
        at_each_path("provider_slow", Duration::from_secs(1), |_| slow(head, part)).await;
    }
}

#[tokio::test]
async fn a_head_of_a_provider_without_end_is_not_read() {
    for part in ["x: y\r\n".repeat(1000), "y".repeat(64 * 1024)] {
        at_each_path("provider_unreachable", PATIENCE, |_| {
            Reply::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), part.clone().into_bytes(), Duration::ZERO)
        })
        .await;
    }
}

#[tokio::test]
async fn json_that_is_too_deep_is_no_json() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [200, 100_000] {
            let deep = format!("{}0{}", open.repeat(depth), close.repeat(depth));
            at_each_path("provider_answer_malformed", PATIENCE, |good| {
                document("", format!("{{\"expires_in\":{deep},{}", &good[1..]))
            })
            .await;
        }
    }
}

/// A token with this header, of which nobody knows a key.
fn token(header: &str) -> String {
    let part = |text: &[u8]| lychgate::secret::base64url(text);
    format!("{}.{}.{}", part(header.as_bytes()), part(b"{}"), part(&[7; 256]))
}

async fn with_token(id_token: &str) -> (u16, String) {
    let provider = Hostile::near().await;
    let answer = json!({ "access_token": "a", "token_type": "Bearer", "id_token": id_token });
    provider.say("/token", document("", answer.to_string()));
    provider.say("/jwks", document("", json!({ "keys": [rsa(0)] }).to_string()));
    sign_in(&provider, PATIENCE).await
}

/// A key that nobody has the other half of.
fn rsa(number: usize) -> serde_json::Value {
    let n = lychgate::secret::base64url(&[0xff; 256]);
    json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": format!("key-{number}"), "n": n, "e": "AQAB" })
}

#[tokio::test]
async fn a_token_that_is_too_large_too_deep_or_packed_is_no_token() {
    let deep = format!(r#"{{"alg":"RS256","kid":"key-0","a":{}0{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    for (what, header) in [
        ("large", format!(r#"{{"alg":"RS256","kid":"key-0","a":"{}"}}"#, "x".repeat(100_000))),
        ("deep", deep),
        ("packed", r#"{"alg":"RS256","kid":"key-0","zip":"DEF"}"#.to_owned()),
        ("encrypted and packed", r#"{"alg":"dir","enc":"A256GCM","zip":"DEF"}"#.to_owned()),
    ] {
        assert_eq!(with_token(&token(&header)).await.1, "id_token_malformed", "{what}");
    }
    assert_eq!(with_token(&"a.".repeat(30_000)).await.1, "id_token_malformed", "parts");
    assert_eq!(with_token(&token(r#"{"alg":"RS256","kid":"key-0"}"#)).await.1, "id_token_signature");
}

#[tokio::test]
async fn a_bearer_that_is_too_large_too_deep_or_packed_is_refused() {
    let provider = Hostile::near().await;
    provider.say("/jwks", document("", json!({ "keys": [rsa(0)] }).to_string()));
    let world = provider.world(|tenant| tenant.api.audiences = vec!["https://api.acme.example".to_owned()]).await;
    let deep = format!(r#"{{"alg":"RS256","kid":"key-0","a":{}0{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let packed = r#"{"alg":"RS256","kid":"key-0","zip":"DEF"}"#;
    for (bearer, expected) in [
        (token(&deep), 401),
        (token(packed), 401),
        (".".repeat(30_000), 401),
        ("x".repeat(30_000), 401),
        ("x".repeat(40_000), 431),
    ] {
        let original = world.url("/acme/dashboard");
        let fields = format!(
            "authorization: Bearer {bearer}\r\nx-forwarded-for: 203.0.113.7\r\nx-original-method: GET\r\nx-original-url: {original}\r\n"
        );
        assert_eq!(status(&world, "GET /acme/auth", &fields).await, expected, "{}", &bearer[..40]);
    }
}

#[tokio::test]
async fn a_key_set_with_more_keys_than_anybody_needs_is_refused() {
    for (count, code) in
        [(200, "id_token_signature"), (201, "provider_answer_malformed"), (2000, "provider_answer_malformed")]
    {
        let provider = Hostile::near().await;
        let keys: Vec<_> = (0..count).map(rsa).collect();
        provider.say("/jwks", document("", json!({ "keys": keys }).to_string()));
        let id_token = token(r#"{"alg":"RS256","kid":"key-0"}"#);
        let answer = json!({ "access_token": "a", "token_type": "Bearer", "id_token": id_token });
        provider.say("/token", document("", answer.to_string()));
        assert_eq!(sign_in(&provider, PATIENCE).await.1, code, "{count}");
    }
}

#[tokio::test]
async fn an_answer_of_a_provider_with_two_lengths_is_not_believed() {
    for head in ["content-length: 2\r\ncontent-length: 9\r\n", "content-length: +2\r\n"] {
        let provider = Hostile::near().await;
        provider.say(DISCOVERY, Reply::Bytes(format!("HTTP/1.1 200 OK\r\n{head}\r\n{{}}").into_bytes()));
        assert_eq!(sign_in(&provider, PATIENCE).await.1, "provider_unreachable", "{head}");
    }
    let provider = Hostile::near().await;
    provider.say(DISCOVERY, answer("200 OK", "content-type: text/html\r\n", "<html>"));
    assert_eq!(sign_in(&provider, PATIENCE).await.1, "provider_answer_malformed");
}
