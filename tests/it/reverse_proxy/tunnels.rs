//! WebSockets: who may open one, and when it ends.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::StatusCode;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Place, cookies};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a WebSocket, as a browser with these cookies does on a page of this origin.
async fn open(place: &Place, cookies: &str, origin: Option<&str>) -> Result<Socket, Error> {
    let url = format!("ws://{}/acme/app/ws", place.world.address);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("cookie", cookies.parse().unwrap());
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

async fn open_own(place: &Place) -> Socket {
    open(place, &cookies(&place.ada), Some(&place.world.url(""))).await.unwrap()
}

#[track_caller]
fn refused(opened: Result<Socket, Error>) -> (StatusCode, String) {
    match opened {
        Err(Error::Http(answer)) => {
            (answer.status(), String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default()).into_owned())
        }
        other => panic!("{:?}", other.map(|_| "opened")),
    }
}

async fn say(socket: &mut Socket, text: &str) -> String {
    socket.send(Message::text(text)).await.unwrap();
    socket.next().await.unwrap().unwrap().into_text().unwrap().to_string()
}

/// Opens one and hears itself.
pub(super) async fn echo(place: &Place) {
    assert_eq!(say(&mut open_own(place).await, "hello").await, "hello");
}

const OPEN: &str = r#"lychgate_upstream_tunnels{tenant="acme"}"#;

/// Waits until the other side has ended the connection.
async fn ended(mut socket: Socket) {
    while let Some(Ok(_)) = socket.next().await {}
}

#[tokio::test]
async fn a_web_socket_carries_messages_both_ways_and_is_counted() {
    let place = Place::new().await;
    let mut socket = open_own(&place).await;
    for text in ["one", "two", &"x".repeat(100_000)] {
        assert_eq!(say(&mut socket, text).await, text);
    }
    assert_eq!(place.world.metric(OPEN), 1);
    drop(socket);
    place.toy.seen.given_up.notified().await;
    while place.world.metric(OPEN) != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_upgrade_without_a_session_is_401() {
    let place = Place::new().await;
    let (status, _) = refused(open(&place, "a=b", Some(&place.world.url(""))).await);
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(place.toy.seen.count(), 0);
}

#[tokio::test]
async fn an_upgrade_of_a_foreign_page_or_of_none_is_refused() {
    let place = Place::new().await;
    for origin in [Some("https://evil.example"), Some("null"), None] {
        let (status, body) = refused(open(&place, &cookies(&place.ada), origin).await);
        assert_eq!(status, StatusCode::FORBIDDEN, "{origin:?}");
        assert!(body.contains("origin_refused"), "{body}");
    }
    assert_eq!(place.toy.seen.count(), 0);
}

#[tokio::test]
async fn a_web_socket_ends_with_the_session() {
    let mut place = Place::new().await;
    let mut socket = open_own(&place).await;
    assert_eq!(say(&mut socket, "hello").await, "hello");
    place.ada.get("/acme/logout").await;
    ended(socket).await;
    place.toy.seen.given_up.notified().await;
}

#[tokio::test]
async fn a_web_socket_ends_when_the_session_has_lasted_long_enough() {
    let place = Place::with(|tenant, _| tenant.session.absolute = Duration::from_secs(2)).await;
    let mut socket = open_own(&place).await;
    assert_eq!(say(&mut socket, "hello").await, "hello");
    ended(socket).await;
}

#[tokio::test]
async fn a_web_socket_ends_when_the_gateway_does() {
    let mut place = Place::new().await;
    let mut socket = open_own(&place).await;
    assert_eq!(say(&mut socket, "hello").await, "hello");
    // It waits until all that runs has ended.
    place.world.restart_with(|settings| settings.server.drain_timeout = Duration::from_mins(10)).await;
    ended(socket).await;
}

#[tokio::test]
async fn no_other_protocol_is_switched_to() {
    let place = Place::new().await;
    let request =
        place.fetch(reqwest::Method::GET, "/acme/app/x").header("connection", "upgrade").header("upgrade", "h2c");
    let seen = place.seen(request).await;
    assert!(super::header(&seen, "upgrade").is_empty() && super::header(&seen, "connection").is_empty(), "{seen}");
}
