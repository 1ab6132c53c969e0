//! A request, as far as the handlers need it: copied out of warp once, read by name.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, header};
use http_body_util::BodyDataStream;
use url::form_urlencoded;
use warp::Filter;

use super::{Problem, REQUEST_ID, bearer};
use crate::audit::Caller;
use crate::gateway::{Gateway, LiveGateway};
use crate::net::{self, Arrival, Networks, Scheme, Visitor, VisitorError};
use crate::pages::Locale;
use crate::secret;
use crate::server::{Limits, RequestBody, Tunnel};

/// The largest form that a callback may bring, in bytes. The server limits bodies before that.
const MAX_FORM: usize = 64 * 1024;

type BoxBody = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + Sync>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What may come after a request's head.
#[derive(Default)]
pub(super) struct Rest {
    /// The body.
    pub(super) body: Option<BoxBody>,
    /// The client's end of a tunnel.
    pub(super) tunnel: Option<Tunnel>,
}

/// A request's parts.
pub(super) struct Request {
    /// Made when somebody wants to know it.
    id: OnceLock<Arc<str>>,
    trace: Option<Arc<str>>,
    method: Method,
    headers: HeaderMap,
    arrival: Arrival,
    /// Whether the peer's forwarding headers count.
    is_from_trusted_proxy: bool,
    visitor: Result<Visitor, VisitorError>,
    rest: Rest,
    limits: Option<Limits>,
    stale: AtomicBool,
}

/// Takes the gateway of the moment and copies any request's parts; never rejects.
pub(super) fn filter(live: LiveGateway) -> impl Filter<Extract = (Arc<Gateway>, Request), Error = Infallible> + Clone {
    let body = warp::body::stream().map(|stream| Some(boxed(stream))).or(warp::any().map(|| None)).unify();
    warp::method()
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Arrival>())
        .and(warp::ext::optional::<Limits>())
        .and(warp::ext::optional::<Tunnel>())
        .and(body)
        .map(move |method, headers, arrival: Option<Arrival>, limits, tunnel, body| {
            let gateway = live.now();
            let arrival = arrival.unwrap_or_else(Arrival::nowhere);
            let request = Request::new(&gateway, method, headers, arrival);
            (gateway, Request { rest: Rest { body, tunnel }, limits, ..request })
        })
        .untuple_one()
}

fn boxed(stream: impl Stream<Item = Result<impl Buf, warp::Error>> + Send + Sync + 'static) -> BoxBody {
    Box::pin(stream.map(|part| Ok(part.map(|mut part| part.copy_to_bytes(part.remaining()))?)))
}

/// A trusted proxy's id if it is short and plain, else a new one.
fn request_id(headers: &HeaderMap, trusted: bool) -> String {
    let plain = |id: &&str| {
        (8..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let given = headers.get(REQUEST_ID).filter(|_| trusted).and_then(|id| id.to_str().ok()).filter(plain);
    given.map_or_else(secret::random_id, str::to_owned)
}

impl Request {
    /// The request of this head.
    pub(super) fn new(gateway: &Gateway, method: Method, headers: HeaderMap, arrival: Arrival) -> Self {
        let trusted = &gateway.trusted_proxies;
        let Arrival { peer, over_tls, target } = &arrival;
        let visitor = net::visitor(*peer, *over_tls, &headers, target.authority().map(Authority::as_str), trusted);
        let is_from_trusted_proxy = trusted.contains(peer.ip());
        Self { method, arrival, is_from_trusted_proxy, visitor, ..Self::of_headers(headers) }
    }

    /// A request of which nothing but its headers is known.
    pub(super) fn of_headers(headers: HeaderMap) -> Self {
        Self {
            id: OnceLock::new(),
            trace: None,
            method: Method::GET,
            headers,
            arrival: Arrival::nowhere(),
            is_from_trusted_proxy: false,
            visitor: Err(VisitorError::Host),
            rest: Rest::default(),
            limits: None,
            stale: AtomicBool::new(false),
        }
    }

    /// The same with all that came with it.
    pub(super) fn with_rest(self, limits: Limits, tunnel: Option<Tunnel>, body: RequestBody) -> Self {
        let body = limits.has_body().then(|| -> BoxBody { Box::pin(BodyDataStream::new(body)) });
        Self { rest: Rest { body, tunnel }, limits: Some(limits), ..self }
    }

    /// The header fields alone.
    pub(super) fn into_headers(self) -> HeaderMap {
        self.headers
    }

    /// The request's id.
    pub(super) fn id(&self) -> &str {
        self.shared_id()
    }

    fn shared_id(&self) -> &Arc<str> {
        self.id.get_or_init(|| request_id(&self.headers, self.is_from_trusted_proxy).into())
    }

    /// Keeps the id of the trace that it belongs to.
    pub(super) fn set_trace(&mut self, trace: Arc<str>) {
        self.trace = Some(trace);
    }

    /// Who asks, for the audit log.
    pub(super) fn caller(&self) -> Caller {
        Caller {
            request_id: Arc::clone(self.shared_id()),
            address: self.client(),
            user_agent: self.headers.get(header::USER_AGENT).cloned(),
            trace_id: self.trace.clone(),
        }
    }

    /// Notes that its session is one that nobody could ask the store about.
    pub(super) fn mark_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    /// Whether that was noted.
    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// The path, as it came.
    pub(super) fn path(&self) -> &str {
        self.arrival.target.path()
    }

    /// Path and query, as they came.
    pub(super) fn target(&self) -> Option<&PathAndQuery> {
        self.arrival.target.path_and_query()
    }

    /// The raw query.
    pub(super) fn query(&self) -> &str {
        self.raw_query().unwrap_or_default()
    }

    /// The raw query, if there is a question mark.
    pub(super) fn raw_query(&self) -> Option<&str> {
        self.arrival.target.query()
    }

    /// How many lines a header has.
    pub(super) fn count(&self, name: &'static str) -> usize {
        self.headers.get_all(name).iter().count()
    }

    /// The server's limits of this request.
    pub(super) const fn limits(&self) -> Option<&Limits> {
        self.limits.as_ref()
    }

    /// What comes after the head; once.
    pub(super) fn take_rest(&mut self) -> Rest {
        std::mem::take(&mut self.rest)
    }

    /// Whether the connection shall become a WebSocket (RFC 6455, section 4.1). No other upgrade is known.
    pub(super) fn wants_web_socket(&self) -> bool {
        let upgrades = self.headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        self.method == Method::GET
            && upgrades.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
            && self.header(header::UPGRADE).is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
    }

    /// The other end of the connection.
    pub(super) fn peer(&self) -> IpAddr {
        self.arrival.peer.ip()
    }

    /// Whether the peer's forwarding headers count.
    pub(super) const fn is_from_trusted_proxy(&self) -> bool {
        self.is_from_trusted_proxy
    }

    /// Whether a program on this machine asks, itself: no proxy, and no page that a browser here has open.
    pub(super) fn is_from_this_machine(&self) -> bool {
        let browser = self.headers.contains_key(header::ORIGIN) || self.headers.contains_key("sec-fetch-site");
        let direct = self.visitor.as_ref().is_ok_and(|visitor| visitor.direct);
        direct && !browser && Networks::loopback().contains(self.peer())
    }

    /// The client, for the log.
    pub(super) fn client(&self) -> IpAddr {
        self.visitor.as_ref().map_or(self.arrival.peer.ip(), |visitor| visitor.address)
    }

    /// Who asks, and for which host.
    pub(super) fn visitor(&self) -> Result<&Visitor, Problem> {
        self.visitor.as_ref().map_err(|error| Problem::new("bad_forwarded_header").because(*error))
    }

    /// The client's address; an error where it is not clear who asks for what.
    pub(super) fn visitor_address(&self) -> Result<IpAddr, VisitorError> {
        self.visitor.as_ref().map(|visitor| visitor.address).map_err(|error| *error)
    }

    /// The host that the peer itself asked for, whatever forwarding headers say; in the form of [`Visitor::host`].
    pub(super) fn asked_host(&self, scheme: Scheme) -> Result<Cow<'_, str>, VisitorError> {
        net::asked_host(&self.headers, self.arrival.target.authority().map(Authority::as_str), scheme)
    }

    /// All headers.
    pub(super) const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The method, for metrics and logs: one of those we know, or `other`.
    pub(super) fn method_label(&self) -> &'static str {
        match self.method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            Method::OPTIONS => "OPTIONS",
            _ => "other",
        }
    }

    /// GET or HEAD.
    pub(super) fn is_read(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// The method itself.
    pub(super) const fn method(&self) -> &Method {
        &self.method
    }

    /// A header that stands once and is plain text.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    /// Name and value of each cookie, of all `Cookie` headers: HTTP/2 splits them. One that is not ASCII is somebody
    /// else's and hides no other: a neighbour may set it for the domain that we share.
    pub(super) fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|&b| b == b';'));
        let texts = pairs.filter(|pair| pair.is_ascii()).filter_map(|pair| std::str::from_utf8(pair.trim_ascii()).ok());
        texts.filter_map(|pair| {
            let equals = pair.bytes().position(|byte| byte == b'=')?;
            Some((&pair[..equals], &pair[equals + 1..]))
        })
    }

    /// The first value of a parameter of the query.
    pub(super) fn query_value(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query().as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// All parameters of the query.
    pub(super) fn query_pairs(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.query().as_bytes()).into_owned().collect()
    }

    /// Whether a probe asks for details.
    pub(super) fn wants_details(&self) -> bool {
        form_urlencoded::parse(self.query().as_bytes()).any(|(key, _)| key == "verbose")
    }

    /// Whether a script asks, which reads problems as JSON, not a person who reads pages.
    pub(super) fn is_script(&self) -> bool {
        let accept = self.header(header::ACCEPT).unwrap_or_default();
        self.header("sec-fetch-mode").is_some_and(|mode| mode != "navigate")
            || self.headers.contains_key("x-requested-with")
            || (accept.contains("json") && !accept.contains("text/html"))
            || bearer::is_there(&self.headers)
    }

    /// Whether a browser opens a page for a person with this request, whose method is `method`: told by Fetch Metadata,
    /// else by what scripts send, else by what is accepted; where that says nothing, reading is enough.
    pub(super) fn is_navigation(&self, method: &str) -> bool {
        let script = self.headers.contains_key("x-requested-with") || self.headers.contains_key("sec-websocket-key");
        if !matches!(method, "GET" | "HEAD")
            || self.is_prefetch()
            || script
            || bearer::is_there(&self.headers)
            || self.headers.contains_key(header::UPGRADE)
        {
            return false;
        }
        let fetch = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        if fetch.iter().any(|(name, _)| self.headers.contains_key(*name)) {
            return fetch
                .iter()
                .all(|(name, wanted)| !self.headers.contains_key(*name) || self.header(*name) == Some(wanted));
        }
        let accept = self.header(header::ACCEPT).unwrap_or("*/*");
        accept.trim() == "*/*" || accept.contains("text/html") || accept.contains("application/xhtml+xml")
    }

    /// Whether the browser only guesses that somebody may go here.
    pub(super) fn is_prefetch(&self) -> bool {
        ["sec-purpose", "purpose", "x-moz"].into_iter().any(|name| {
            self.header(name).is_some_and(|purpose| purpose.contains("prefetch") || purpose.contains("prerender"))
        })
    }

    /// Whether another site caused the request. A browser too old to say so is asked by `Origin`.
    pub(super) fn is_cross_site(&self, own_origin: &str) -> bool {
        match self.header("sec-fetch-site") {
            Some(site) => site == "cross-site",
            None => self.header(header::ORIGIN).is_some_and(|origin| origin != own_origin),
        }
    }

    /// Whether a script of our own origin asks: no page of another origin, and nobody who only follows a link. A browser
    /// too old to say so, or another program, must send a header that no foreign page can send without our leave.
    pub(super) fn is_own_script(&self, own_origin: &str) -> bool {
        let origin = self.headers.get(header::ORIGIN);
        if origin.is_some_and(|origin| origin.as_bytes() != own_origin.as_bytes()) {
            return false;
        }
        match self.headers.contains_key("sec-fetch-site") {
            true => {
                self.header("sec-fetch-site") == Some("same-origin")
                    && matches!(self.header("sec-fetch-mode"), Some("cors" | "same-origin"))
            }
            false => origin.is_some() || self.headers.contains_key("x-requested-with"),
        }
    }

    /// Whether a page of our own origin caused the request. A browser that says nothing is none that we trust.
    pub(super) fn is_same_origin(&self, own_origin: &str) -> bool {
        let site = self.header("sec-fetch-site");
        let origin = self.header(header::ORIGIN);
        site.is_none_or(|site| site == "same-origin")
            && origin.is_none_or(|origin| origin == own_origin)
            && (site.is_some() || origin.is_some())
    }

    /// What the browser says it is, shortened.
    pub(super) fn user_agent(&self) -> Option<String> {
        self.header(header::USER_AGENT).map(|agent| agent.chars().take(200).collect())
    }

    /// The language of the pages.
    pub(super) fn locale(&self) -> Locale {
        Locale::negotiate(self.query_value("ui_locales").as_deref(), self.header(header::ACCEPT_LANGUAGE))
    }

    /// Reads a form; once.
    pub(super) async fn form(&mut self) -> Result<String, Problem> {
        let kind = self.header(header::CONTENT_TYPE).unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
        {
            return Err(Problem::new("form_expected"));
        }
        let mut bytes = BytesMut::new();
        let Some(mut body) = self.rest.body.take() else { return Ok(String::new()) };
        while let Some(part) = body.next().await {
            let part = part.map_err(|error| Problem::new("body_cut").because(error))?;
            if bytes.len() + part.len() > MAX_FORM {
                return Err(Problem::new("body_too_large"));
            }
            bytes.extend_from_slice(&part);
        }
        String::from_utf8(bytes.into()).map_err(|_| Problem::new("form_expected"))
    }
}
