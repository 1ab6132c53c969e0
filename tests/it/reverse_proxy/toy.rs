//! An application to proxy to: a server on a real socket that says what it sees.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use lychgate::config::{Pass, UpstreamAddress, UpstreamSettings};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type Body = BoxBody<Bytes, hyper::Error>;

/// A running application.
pub struct Toy {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

/// What it was asked and what it waits for.
pub struct Seen {
    /// Targets, in their order.
    pub targets: Mutex<Vec<String>>,
    /// Rings when `/never` is asked, and when it is given up.
    pub asked: Notify,
    pub given_up: Notify,
    /// What `/events` sends next.
    pub events: mpsc::UnboundedSender<&'static str>,
    next_events: tokio::sync::Mutex<mpsc::UnboundedReceiver<&'static str>>,
}

impl Seen {
    fn new() -> Arc<Self> {
        let (events, next_events) = mpsc::unbounded_channel();
        Arc::new(Self {
            targets: Mutex::default(),
            asked: Notify::new(),
            given_up: Notify::new(),
            events,
            next_events: tokio::sync::Mutex::new(next_events),
        })
    }

    pub fn count(&self) -> usize {
        self.targets.lock().unwrap().len()
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Toy {
    pub async fn start() -> Self {
        Self::over(None).await
    }

    /// The same by TLS.
    pub async fn over(tls: Option<TlsAcceptor>) -> Self {
        let (listener, seen) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Seen::new());
        let (address, of_task) = (listener.local_addr().unwrap(), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, seen) = (tls.clone(), Arc::clone(&of_task));
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, seen).await,
                        Some(tls) => converse(tls.accept(stream).await.unwrap(), seen).await,
                    }
                });
            }
        });
        Self { address, seen, task }
    }

    /// The same behind a socket file.
    pub fn behind(file: &std::path::Path) -> Self {
        let (listener, seen) = (UnixListener::bind(file).unwrap(), Seen::new());
        let of_task = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&of_task)));
            }
        });
        Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), seen, task }
    }

    /// Settings of an upstream at `/app` that is this one.
    pub fn upstream(&self) -> UpstreamSettings {
        upstream(vec![UpstreamAddress::Url(format!("http://{}", self.address).parse().unwrap())])
    }
}

/// Settings of an upstream at `/app`.
pub fn upstream(members: Vec<UpstreamAddress>) -> UpstreamSettings {
    UpstreamSettings {
        host: None,
        path: "/app".to_owned(),
        rewrite: None,
        members,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(20),
        max_body: None,
        preserve_host: false,
        ca: None,
        pass: Pass::None,
        audience: None,
    }
}

async fn converse<S>(stream: S, seen: Arc<Seen>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let seen = Arc::clone(&seen);
        async move { Ok::<_, Infallible>(answer(&seen, request).await) }
    });
    let _ =
        auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

/// Tells when it is dropped before it is done.
struct GivenUp(Arc<Seen>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.given_up.notify_one();
    }
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

fn streamed(receiver: mpsc::UnboundedReceiver<Frame<Bytes>>) -> Body {
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|frame| (Ok(frame), receiver))
    });
    let frames: Pin<Box<dyn futures_util::Stream<Item = _> + Send + Sync>> = Box::pin(frames);
    http_body_util::BodyExt::boxed(StreamBody::new(frames))
}

async fn answer(seen: &Arc<Seen>, mut request: Request<Incoming>) -> Response<Body> {
    let target = request.uri().path_and_query().unwrap().to_string();
    seen.targets.lock().unwrap().push(target);
    let route = request.uri().path().rsplit('/').next().unwrap().to_owned();
    match route.as_str() {
        "duplex" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            let mut body = request.into_body();
            tokio::spawn(async move {
                while let Some(Ok(frame)) = body.frame().await {
                    let _ = sender.send(frame);
                }
            });
            Response::new(streamed(receiver))
        }
        "events" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            let seen = Arc::clone(seen);
            tokio::spawn(async move {
                while let Some(event) = seen.next_events.lock().await.recv().await {
                    if sender.send(Frame::data(event.into())).is_err() {
                        break;
                    }
                }
            });
            let mut response = Response::new(streamed(receiver));
            response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
            response
        }
        "same" => Response::builder().status(304).body(full("")).unwrap(),
        "odd" => Response::builder().status(799).body(full("")).unwrap(),
        "empty" => Response::new(full("")),
        "never" => {
            let _given_up = GivenUp(Arc::clone(seen));
            seen.asked.notify_one();
            std::future::pending().await
        }
        "trailers" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            sender.send(Frame::data("body".into())).unwrap();
            let trailers = HeaderMap::from_iter([("x-auth-request-user".parse().unwrap(), "trailed".parse().unwrap())]);
            sender.send(Frame::trailers(trailers)).unwrap();
            Response::builder().header("trailer", "x-auth-request-user").body(streamed(receiver)).unwrap()
        }
        "headers" => Response::builder()
            .header("set-cookie", "app=1")
            .header("set-cookie", "lychgate-acme=stolen; Path=/")
            .header("cache-control", "max-age=60")
            .header("content-security-policy", "default-src 'self'")
            .header("clear-site-data", "\"cookies\"")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .body(full("headers"))
            .unwrap(),
        "ws" => {
            let key = request.headers()["sec-websocket-key"].clone();
            let upgrade = hyper::upgrade::on(&mut request);
            let seen = Arc::clone(seen);
            tokio::spawn(async move {
                let _given_up = GivenUp(seen);
                let stream = TokioIo::new(upgrade.await.unwrap());
                let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
                while let Some(Ok(message)) = socket.next().await {
                    if socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-accept", derive_accept_key(key.as_bytes()))
                .body(full(""))
                .unwrap()
        }
        _ => {
            let (parts, body) = request.into_parts();
            let collected = body.collect().await;
            let trailers = collected.as_ref().ok().and_then(|body| body.trailers()).map(pairs);
            let body = collected.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let document = json!({
                "method": parts.method.as_str(),
                "target": parts.uri.path_and_query().unwrap().as_str(),
                "version": format!("{:?}", parts.version),
                "authority": parts.uri.authority().map(ToString::to_string),
                "headers": pairs(&parts.headers),
                "body_length": body.len(),
                "trailers": trailers,
            });
            Response::new(full(document.to_string()))
        }
    }
}

fn pairs(headers: &HeaderMap) -> Value {
    let pair = |(name, value): (&http::HeaderName, &HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    headers.iter().map(pair).collect()
}
