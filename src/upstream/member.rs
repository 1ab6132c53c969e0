//! One server of an upstream: its connections, what it has to do, whether it rests.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use hyper::body::Body as _;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::connect::{Dial, Tcp, Trust, Unix, Used, tcp};
use super::error::{BoxError, UpstreamSetupError};
use super::upload::Upload;
use super::{Answer, AnswerBody, Head};
use crate::config::{UpstreamAddress, UpstreamSettings};

/// How long a member is left alone that could not be connected to, as long as there are others.
const REST: Duration = Duration::from_secs(10);
/// How long a connection is kept that has nothing to do.
const IDLE: Duration = Duration::from_mins(1);
/// How often a connection of HTTP/2 is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(20);

/// One server.
#[derive(Debug)]
pub(super) struct Member {
    place: Uri,
    /// What `Host` says unless told otherwise. Over TLS it may be HTTP/2 that is spoken, where another field says that.
    host: Option<HeaderValue>,
    shown: String,
    client: Client,
    /// HTTP/1.1 without a pool: for what needs a connection of its own.
    single: Client,
    in_flight: AtomicUsize,
    born: Instant,
    /// Until when it rests, in milliseconds since `born`.
    rests_until: AtomicU64,
}

#[derive(Debug)]
enum Client {
    Tcp(legacy::Client<Dial<Tcp>, Upload>),
    Unix(legacy::Client<Dial<Unix>, Upload>),
}

/// By which connection a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// One that is there, or a new one.
    Pooled,
    /// A new one.
    Fresh,
    /// A new one, which may become a tunnel.
    Upgrade,
}

/// A request that got no answer.
#[derive(Debug)]
pub(super) struct Failed {
    /// Whether there was no connection, so that nothing was sent.
    pub(super) is_connect: bool,
    /// Whether the connection had been used before, and so may have been closed while we wrote.
    pub(super) was_stale: bool,
    pub(super) cause: BoxError,
}

/// Counts as load as long as it lives.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Member>);

impl InFlight {
    fn new(member: &Arc<Member>) -> Self {
        member.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(member))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Member {
    pub(super) fn new(address: &UpstreamAddress, settings: &UpstreamSettings) -> Result<Self, UpstreamSetupError> {
        let timeout = settings.connect_timeout;
        let (place, shown, client, single) = match address {
            UpstreamAddress::Url(url) => {
                let place: Uri = url
                    .as_str()
                    .parse()
                    .map_err(|error: http::uri::InvalidUri| UpstreamSetupError::Address(error.into()))?;
                let trust = match &settings.ca {
                    _ if url.scheme() == "http" => Trust::Nothing,
                    Some(pem) => Trust::Only(pem),
                    None => Trust::System,
                };
                let dial = |http2| Ok(Dial::new(tcp(trust, http2)?, place.clone(), timeout));
                let (pooled, single) = (Client::Tcp(pool(dial(true)?)), Client::Tcp(no_pool(dial(false)?)));
                (place, url.origin().ascii_serialization(), pooled, single)
            }
            UpstreamAddress::Unix(path) => {
                let place = Uri::from_static("http://localhost/");
                let dial = || Dial::new(Unix(path.as_path().into()), place.clone(), timeout);
                let (pooled, single) = (Client::Unix(pool(dial())), Client::Unix(no_pool(dial())));
                (place, format!("unix:{}", path.display()), pooled, single)
            }
        };
        Ok(Self {
            host: host(&place),
            place,
            shown,
            client,
            single,
            in_flight: AtomicUsize::new(0),
            born: Instant::now(),
            rests_until: AtomicU64::new(0),
        })
    }

    /// Whether it rests, and what it has to do.
    pub(super) fn load(&self) -> (bool, usize) {
        (self.rests_until.load(Ordering::Relaxed) > self.age(), self.in_flight.load(Ordering::Relaxed))
    }

    /// Leaves it alone for a while.
    pub(super) fn rest(&self) {
        self.rests_until.store(self.age() + REST.as_millis() as u64, Ordering::Relaxed);
    }

    fn age(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }

    /// One request and the head of its answer.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        head: &Head,
        headers: HeaderMap,
        body: Upload,
        way: Way,
    ) -> Result<Answer, Failed> {
        let in_flight = InFlight::new(self);
        let request = self.request(head, headers, body);
        let client = if way == Way::Pooled { &self.client } else { &self.single };
        let answered = match client {
            Client::Tcp(client) => client.request(request).await,
            Client::Unix(client) => client.request(request).await,
        };
        let mut response = answered.map_err(|error| Failed {
            is_connect: error.is_connect(),
            was_stale: error.connect_info().is_some_and(|connection| {
                let mut known = Extensions::new();
                connection.get_extras(&mut known);
                known.get::<Used>().is_some_and(Used::get)
            }),
            cause: error.into(),
        })?;
        self.rests_until.store(0, Ordering::Relaxed);
        if let Some(used) = response.extensions().get::<Used>() {
            used.set();
        }
        let upgrade = hyper::upgrade::on(&mut response);
        let (parts, body) = Response::into_parts(response);
        Ok(Answer { status: parts.status, headers: parts.headers, body: AnswerBody::new(body, in_flight), upgrade })
    }

    fn request(&self, head: &Head, mut headers: HeaderMap, body: Upload) -> Request<Upload> {
        // The place is dialled in any case; what stands here is what the application sees.
        let own = self.place.authority().cloned().expect("an address has a host");
        let authority = head.host.as_deref().and_then(|host| host.parse::<Authority>().ok()).unwrap_or(own);
        let scheme = self.place.scheme().cloned().unwrap_or(Scheme::HTTP);
        let mut parts = http::uri::Parts::default();
        (parts.scheme, parts.authority, parts.path_and_query) =
            (Some(scheme), Some(authority), Some(head.target.clone()));
        // With these methods hyper sends no body, unless it is told how.
        let asks = matches!(head.method, Method::GET | Method::HEAD);
        let is_untold = !body.is_end_stream() && !headers.contains_key(header::CONTENT_LENGTH);
        let mut request = Request::new(body);
        *request.uri_mut() = Uri::from_parts(parts).expect("scheme, host and path make a URI");
        *request.method_mut() = head.method.clone();
        if let (None, Some(host)) = (&head.host, &self.host) {
            headers.insert(header::HOST, host.clone());
        }
        *request.headers_mut() = headers;
        if asks && is_untold {
            request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        request
    }
}

fn host(place: &Uri) -> Option<HeaderValue> {
    let name = place.host().filter(|_| place.scheme() == Some(&Scheme::HTTP))?;
    let host = match place.port_u16() {
        None | Some(80) => HeaderValue::from_str(name),
        Some(port) => HeaderValue::try_from(format!("{name}:{port}")),
    };
    host.ok()
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn builder() -> legacy::Builder {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http2_keep_alive_interval(PING_EVERY);
    builder
}

fn pool<C>(dial: Dial<C>) -> legacy::Client<Dial<C>, Upload>
where
    Dial<C>: legacy::connect::Connect + Clone,
{
    builder().build(dial)
}

fn no_pool<C>(dial: Dial<C>) -> legacy::Client<Dial<C>, Upload>
where
    Dial<C>: legacy::connect::Connect + Clone,
{
    builder().pool_max_idle_per_host(0).build(dial)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pass;

    #[tokio::test(start_paused = true)]
    async fn a_member_that_could_not_be_reached_rests_for_a_while() {
        let address = UpstreamAddress::Url("http://127.0.0.1:1".parse().unwrap());
        let settings = UpstreamSettings {
            host: None,
            path: String::new(),
            rewrite: None,
            members: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_mins(1),
            max_body: None,
            preserve_host: false,
            ca: None,
            pass: Pass::None,
            audience: None,
        };
        let member = Arc::new(Member::new(&address, &settings).unwrap());
        assert_eq!(member.load(), (false, 0));
        member.rest();
        let in_flight = InFlight::new(&member);
        assert_eq!(member.load(), (true, 1), "after all that do not rest");
        tokio::time::advance(REST + Duration::from_millis(1)).await;
        drop(in_flight);
        assert_eq!(member.load(), (false, 0));
    }
}
