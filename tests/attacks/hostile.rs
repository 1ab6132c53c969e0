//! A provider that says what it is told to say, byte for byte, and keeps what it was asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lychgate::config::TenantSettings;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Tenant, World};

pub const DISCOVERY: &str = "/.well-known/openid-configuration";
/// The issuer of a provider that is reached through its proxy alone.
pub const FAR: &str = "https://id.example";

/// What is sent at a path.
#[derive(Clone)]
pub enum Reply {
    /// These bytes; then the connection ends.
    Bytes(Vec<u8>),
    /// The first bytes, and then others again and again, with pauses, for as long as somebody takes them.
    Endless(Vec<u8>, Vec<u8>, Duration),
}

/// A JSON document with these lines of headers, each with its end.
pub fn document(headers: &str, body: impl AsRef<[u8]>) -> Reply {
    answer("200 OK", headers, body)
}

pub fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    Reply::Bytes([head.as_bytes(), body].concat())
}

pub struct Hostile {
    pub issuer: String,
    address: SocketAddr,
    /// For [`FAR`]: the certificate of its authority, PEM.
    certificate: String,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    /// Heads of requests; `CONNECT` lines are those to its proxy.
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hostile {
    /// One on loopback, in the clear.
    pub async fn near() -> Self {
        Self::start(false).await
    }

    /// One whose issuer is [`FAR`]: it is a proxy, too, and answers for every host by itself.
    pub async fn far() -> Self {
        Self::start(true).await
    }

    async fn start(far: bool) -> Self {
        let made = rcgen::generate_simple_self_signed(["id.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let replies = Arc::<Mutex<HashMap<String, Reply>>>::default();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (of_replies, of_asked) = (Arc::clone(&replies), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (replies, asked, acceptor) = (Arc::clone(&of_replies), Arc::clone(&of_asked), acceptor.clone());
                tokio::spawn(async move {
                    if !far {
                        return converse(stream, &replies, &asked).await;
                    }
                    let connect = head(&mut stream).await?;
                    asked.lock().unwrap().push(connect);
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                    converse(acceptor.accept(stream).await.ok()?, &replies, &asked).await
                });
            }
        });
        let issuer = if far { FAR.to_owned() } else { format!("http://{address}") };
        let hostile = Self { issuer, address, certificate: made.cert.pem(), replies, asked, task };
        hostile.publish(&json!({}));
        hostile
    }

    /// Says this at `path` from now on.
    pub fn say(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// Publishes a good discovery document with these changes.
    pub fn publish(&self, changes: &Value) {
        self.say(DISCOVERY, document("", self.discovery(changes).to_string()));
    }

    pub fn discovery(&self, changes: &Value) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        let mut document = json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/jwks"),
            "userinfo_endpoint": at("/userinfo"),
            "revocation_endpoint": at("/revoke"),
            "pushed_authorization_request_endpoint": at("/par"),
            "end_session_endpoint": at("/logout"),
        });
        for (name, value) in changes.as_object().unwrap() {
            document[name] = value.clone();
        }
        document
    }

    /// The first lines of what it was asked.
    pub fn asked(&self) -> Vec<String> {
        let heads = self.asked.lock().unwrap();
        heads.iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }

    /// The whole heads.
    pub fn heads(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// A gateway with one tenant, `acme`, whose provider it is.
    pub async fn world(&self, change: impl FnOnce(&mut TenantSettings)) -> World {
        let mut tenant = Tenant::start("acme").await;
        let provider = &mut tenant.settings.provider;
        provider.issuer.clone_from(&self.issuer);
        provider.auth0 = false;
        if self.issuer == FAR {
            provider.fetch.ca = vec![self.certificate.clone().into_bytes()];
            provider.fetch.proxy = Some(format!("http://{}", self.address).parse().unwrap());
        }
        change(&mut tenant.settings);
        World::start(vec![tenant]).await
    }
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(bytes).ok()
}

async fn converse<S>(mut stream: S, replies: &Mutex<HashMap<String, Reply>>, asked: &Mutex<Vec<String>>) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = head(&mut stream).await?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap_or(0)]).await.ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    asked.lock().unwrap().push(head);
    let reply = replies.lock().unwrap().get(&path).cloned().unwrap_or(answer("404 Not Found", "", ""));
    match reply {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await.ok()?,
        Reply::Endless(first, again, pause) => {
            stream.write_all(&first).await.ok()?;
            loop {
                stream.write_all(&again).await.ok()?;
                stream.flush().await.ok()?;
                tokio::time::sleep(pause).await;
            }
        }
    }
    stream.shutdown().await.ok()
}
