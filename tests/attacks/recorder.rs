//! An application that believes nobody: it reads requests as strictly as RFC 9112 allows and keeps what it saw.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lychgate::config::{Effect, Pass, PathPattern, Rule, TenantSettings, UpstreamAddress, UpstreamSettings};
use lychgate::net::Networks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What it answers with.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A request as it came, or why it is none.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Request line and fields, without the empty line.
    pub head: String,
    pub body: Vec<u8>,
    /// What servers could take in more than one way.
    pub fault: Option<String>,
}

impl Recorded {
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

pub struct Recorder {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Recorded>>>,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    pub async fn start() -> Self {
        Self::answering(OK).await
    }

    /// Sends these bytes after each request.
    pub async fn answering(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Recorded>>>::default());
        let connections = Arc::<AtomicUsize>::default();
        let (of_task, counted) = (Arc::clone(&seen), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(converse(stream, Arc::clone(&of_task), answer));
            }
        });
        Self { address, seen, connections, task }
    }

    /// How often somebody connected, for whatever.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Forgets what it saw, and returns it.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Stands at `/app` of the tenant, where anybody may ask for what is below `/app/open`.
    pub fn stand_behind(&self, tenant: &mut TenantSettings) {
        tenant.upstreams = vec![UpstreamSettings {
            host: None,
            path: "/app".to_owned(),
            rewrite: None,
            members: vec![UpstreamAddress::Url(format!("http://{}", self.address).parse().unwrap())],
            connect_timeout: Duration::from_secs(20),
            timeout: Duration::from_mins(1),
            max_body: None,
            preserve_host: false,
            ca: None,
            pass: Pass::None,
            audience: None,
        }];
        tenant.policy.rules = vec![Rule {
            name: None,
            paths: vec![PathPattern::parse("/app/open/**").unwrap()],
            methods: vec![],
            hosts: vec![],
            networks: Networks::default(),
            effect: Effect::Public,
        }]
        .into();
    }
}

/// Reads requests until there is none, or none that has one meaning.
async fn converse(mut stream: TcpStream, seen: Arc<Mutex<Vec<Recorded>>>, answer: &[u8]) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let end = until(&mut stream, &mut bytes, |bytes| bytes.windows(4).position(|four| four == b"\r\n\r\n")).await?;
        let head = String::from_utf8_lossy(&bytes.drain(..end + 4).collect::<Vec<_>>()[..end]).into_owned();
        let mut recorded = Recorded { head, body: Vec::new(), fault: None };
        match framing(&recorded) {
            Ok(Framing::Length(length)) => {
                until(&mut stream, &mut bytes, |bytes| (bytes.len() >= length).then_some(0)).await?;
                recorded.body = bytes.drain(..length).collect();
            }
            Ok(Framing::Chunked) => loop {
                let end =
                    until(&mut stream, &mut bytes, |bytes| bytes.windows(2).position(|two| two == b"\r\n")).await?;
                let line = String::from_utf8_lossy(&bytes.drain(..end + 2).collect::<Vec<_>>()[..end]).into_owned();
                let hex = line.bytes().all(|byte| byte.is_ascii_hexdigit());
                let Some(size) = usize::from_str_radix(&line, 16).ok().filter(|_| hex) else {
                    recorded.fault = Some(format!("a chunk of the size {line:?}"));
                    break;
                };
                until(&mut stream, &mut bytes, |bytes| (bytes.len() >= size + 2).then_some(0)).await?;
                let chunk: Vec<u8> = bytes.drain(..size + 2).collect();
                if !chunk.ends_with(b"\r\n") {
                    recorded.fault = Some("a chunk of another size, or trailers".to_owned());
                    break;
                }
                recorded.body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            },
            Err(fault) => recorded.fault = Some(fault),
        }
        let faulty = recorded.fault.is_some();
        seen.lock().unwrap().push(recorded);
        if faulty {
            return None;
        }
        stream.write_all(answer).await.ok()?;
    }
}

async fn until(stream: &mut TcpStream, bytes: &mut Vec<u8>, done: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    loop {
        if let Some(done) = done(bytes) {
            return Some(done);
        }
        stream.read_buf(bytes).await.ok().filter(|read| *read > 0)?;
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

fn framing(request: &Recorded) -> Result<Framing, String> {
    let mut lines = request.head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let parts: Vec<&str> = line.split(' ').collect();
    if parts.len() != 3 || parts[2] != "HTTP/1.1" || line.contains(['\r', '\n', '\0', '\t']) {
        return Err(format!("the line {line:?}"));
    }
    for line in lines {
        let name = line.split_once(':').map_or("", |(name, _)| name);
        let token = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&byte));
        if !token || line.contains(['\r', '\n', '\0']) {
            return Err(format!("the field {line:?}"));
        }
    }
    if request.values("host").len() != 1 {
        return Err(format!("hosts: {:?}", request.values("host")));
    }
    match (&request.values("content-length")[..], &request.values("transfer-encoding")[..]) {
        ([], []) => Ok(Framing::Length(0)),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|_| format!("the length {length:?}"))
        }
        ([], ["chunked"]) => Ok(Framing::Chunked),
        both => Err(format!("lengths and encodings: {both:?}")),
    }
}
