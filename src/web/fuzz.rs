//! Fuzz targets of the outside: headers and cookies, what a proxy asks about, where a sign-in may end, and whole requests
//! to a gateway with two tenants.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a target says by a panic what is broken")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use http_body_util::{BodyExt as _, Full};
use percent_encoding::percent_decode_str;
use serde_json::Map;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower_service::Service as _;
use url::Url;

use super::cookies::Cookies;
use super::original::{Asked, Original, OriginalError};
use super::request::Request;
use super::{identity_headers, scrub};
use crate::clock::Clock;
use crate::config::{Sources, load};
use crate::flow::attempt::AttemptId;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::net::{self, Arrival};
use crate::request_path::RequestPath;
use crate::secret::{self, ExposeSecret as _};
use crate::server::{Route, Shutdown};
use crate::session::NewSession;
use crate::tenant::{Place, Tenant};

/// What stands in an input for the cookie of somebody who is signed in at acme.
const SESSION: &str = "{session}";
/// Where nobody ever answers: what needs the provider fails.
const PROVIDER: &str = "http://127.0.0.1:1";
const PUBLIC: &str = "https://login.example";

/// A gateway with two tenants: `acme`, below its id on the origin that all share, and `globex`, on a host of its own.
pub(crate) struct World {
    runtime: Runtime,
    gateway: Arc<Gateway>,
    route: Route,
    pub(crate) acme: Arc<Tenant>,
    pub(crate) globex: Arc<Tenant>,
    /// The cookie's value of somebody who is signed in at acme.
    session: Mutex<String>,
    /// What no answer shows to whom it does not belong: made by chance, so that no input has it.
    subject: String,
    secrets: [String; 3],
    _data: TempDir,
}

pub(crate) fn world() -> &'static World {
    static WORLD: LazyLock<World> = LazyLock::new(World::new);
    &WORLD
}

const SETTINGS: &str = r#"
public_url = "https://login.example"
data = "data"

# So that an input's answer does not hang on how many were before it.
[limits]
sign_ins_per_address = 0
sign_ins = 0
failed_callbacks_per_address = 0
failed_callbacks = 0
failed_bearers_per_address = 0
logout_requests_per_address = 0
"#;
const ACME: &str = r#"
issuer = "http://127.0.0.1:1/"
client_id = "client"
client_secret = "HUSH"
return_to_origins = ["https://app.acme.example", "https://*.apps.acme.example"]

[[rules]]
paths = ["/public/**"]
effect = "public"

[[rules]]
paths = ["/admin/**"]
effect = "deny"
"#;
const GLOBEX: &str = r#"
issuer = "http://127.0.0.1:1/"
client_id = "another"
client_secret = "HUSH"
hosts = ["globex.example"]

[api]
audiences = ["https://api.example/"]
"#;

impl World {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("tenants");
        std::fs::create_dir(&folder).unwrap();
        let secrets = [(); 3].map(|()| secret::random_text());
        let subject = secret::random_text();
        for (path, text) in [("lychgate.toml", SETTINGS), ("tenants/acme.toml", ACME), ("tenants/globex.toml", GLOBEX)]
        {
            std::fs::write(data.path().join(path), text.replace("HUSH", &secrets[0])).unwrap();
        }
        let sources = Sources { directory: data.path().to_owned(), ..Sources::default() };
        let settings = load(&sources).unwrap_or_else(|faults| panic!("{faults}")).settings;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let gateway = runtime.block_on(Gateway::open(&settings, Clock::system(), Metrics::new(10))).unwrap();
        let tenant = |id| Arc::clone(gateway.tenants.get(id).unwrap());
        let (acme, globex) = (tenant("acme"), tenant("globex"));
        let gateway = Arc::new(gateway);
        let route = super::routes(Arc::clone(&gateway), Shutdown::manual().0);
        let world =
            Self { runtime, gateway, route, acme, globex, session: Mutex::default(), subject, secrets, _data: data };
        world.sign_in();
        world
    }

    fn sign_in(&self) {
        let ada = NewSession {
            issuer: self.acme.settings.provider.issuer.clone(),
            sub: self.subject.clone(),
            sid: None,
            claims: Map::new(),
            id_token: self.secrets[1].clone().into(),
            access_token: self.secrets[2].clone().into(),
            access_token_expires_at: None,
            refresh_token: None,
            scope: None,
            session_expiry: None,
            user_agent: None,
            address: None,
        };
        let making = self.gateway.sessions.create(self.acme.id(), &self.acme.settings.session, ada);
        let value = self.runtime.block_on(making).unwrap().0.expose_secret().to_owned();
        *self.session.lock().unwrap() = value;
    }

    fn session(&self) -> String {
        self.session.lock().unwrap().clone()
    }

    fn place(&self) -> Place {
        Place::shared(&self.acme.settings, PUBLIC.to_owned())
    }
}

/// `Cookie` lines. A cookie of ours counts if it stands there once and alone, and goes no further.
pub(crate) fn cookies(data: &[u8]) {
    let (world, mut headers) = (world(), HeaderMap::new());
    for line in data.split(|byte| *byte == b'\n').take(20) {
        if let Ok(line) = HeaderValue::from_bytes(line) {
            headers.append(header::COOKIE, line);
        }
    }
    let place = world.place();
    let ours = Cookies::of(&world.acme, &place);
    let (name, id) = ("__Host-lychgate-acme", AttemptId::parse("6b49d200-AAAAAAAAAAAAAAAAAAAAAA").unwrap());
    let request = Request::of_headers(headers.clone());
    let all: Vec<(&str, &str)> = request.cookies().collect();
    for (name, value) in &all {
        assert!(!name.contains([';', '=']) && !value.contains(';') && name.is_ascii() && value.is_ascii());
    }
    let values =
        |wanted: &str| all.iter().filter(|(name, _)| *name == wanted).map(|(_, value)| *value).collect::<Vec<_>>();
    let one = |wanted: &str| Some(values(wanted)).filter(|values| values.len() == 1).map(|values| values[0]);
    assert_eq!(ours.unverified_session(&request), one(name));
    assert_eq!(ours.unverified_attempt(&request, &id), one(&format!("{name}.{}", id.as_str())));
    assert_eq!(ours.unverified_form(&request), one(&format!("{name}.form")));
    let attempts = all.iter().filter_map(|(cookie, _)| AttemptId::parse(cookie.strip_prefix(name)?.strip_prefix('.')?));
    let attempts = attempts.count();
    assert_eq!(ours.make_room(&request).len(), (attempts + 1).saturating_sub(5));
    for removal in ours.make_room(&request).into_iter().chain(ours.remove_all(&request)) {
        let removal = cookie::Cookie::parse(removal).unwrap();
        assert!(removal.name().starts_with(name) && removal.value().is_empty());
        assert_eq!(removal.max_age(), Some(time::Duration::ZERO));
    }
    // One that we set comes back, whatever stands around it.
    if values(name).is_empty() {
        let session = world.session();
        let set = ours.session(&session);
        headers.append(header::COOKIE, HeaderValue::try_from(set.split(';').next().unwrap()).unwrap());
        assert_eq!(ours.unverified_session(&Request::of_headers(headers.clone())), Some(session.as_str()));
    }
    let left = Request::of_headers(scrub::request(&headers, &std::iter::empty(), 0));
    for (name, _) in left.cookies() {
        let name = name.to_ascii_lowercase();
        assert!(["", "__host-", "__secure-"].iter().all(|prefix| !name.starts_with(&format!("{prefix}lychgate-"))));
    }
}

/// Header lines: what an application is handed on has nothing that only we may say, however it is spelled.
pub(crate) fn headers(data: &[u8]) {
    let (mut answer, tenant) = (lines(data), &world().acme);
    let headers = scrub::request(&answer, &identity_headers::names(&tenant.settings.identity), 0);
    let folded = |name: &HeaderName| {
        let fold = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        name.as_str().chars().map(fold).collect::<String>()
    };
    for name in headers.keys().map(folded) {
        let ours = ["X_AUTH_REQUEST_", "X_FORWARDED_", "X_ORIGINAL_"].iter().any(|family| name.starts_with(family));
        assert!(!ours && !["FORWARDED", "X_REAL_IP", "X_REWRITE_URL"].contains(&name.as_str()), "{name}");
        assert!(identity_headers::names(&tenant.settings.identity).all(|own| folded(own) != name), "{name}");
    }
    for name in ["connection", "transfer-encoding", "te", "upgrade", "keep-alive", "host", "expect"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    scrub::response(&mut answer);
    for line in answer.get_all(header::SET_COOKIE) {
        let Some(cookie) = line.to_str().ok().and_then(|line| cookie::Cookie::parse(line).ok()) else { continue };
        let name = cookie.name().to_ascii_lowercase();
        assert!(!name.starts_with("__host-lychgate-") && !name.starts_with("lychgate-"), "{name}");
    }
}

/// Lines of names and values; what is no header line is left out.
pub(crate) fn lines(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(50) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(line[at + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// A line that stands for the path and query that Envoy asks with; then header lines, as other proxies send them. What is
/// read is what a browser's parser reads, or nothing.
pub(crate) fn original(data: &[u8]) {
    let (line, rest) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let headers = lines(rest);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let read = |original: Result<Original<'_>, OriginalError>, url: &str, method: &str| {
        let Ok(original) = original else { return };
        assert_eq!(original.method, method);
        assert!(url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{url:?}");
        // Numbers that a browser takes for an address, and names that it spells in another way, are nobody's.
        let is_name = |url: &Url| url.domain().is_some_and(|name| !name.contains("xn--"));
        let Some(parsed) = Url::parse(url).ok().filter(is_name) else { return };
        assert_eq!(parsed.scheme(), original.scheme.as_str());
        assert_eq!(parsed.host_str().unwrap().trim_end_matches('.'), original.name());
        assert_eq!(RequestPath::parse(parsed.path()).unwrap().as_str(), original.path.as_str());
        let query = |query: Option<&str>| percent_decode_str(query.unwrap_or_default()).collect::<Vec<u8>>();
        assert_eq!(query(parsed.query()), query(original.query));
        assert!(parsed.username().is_empty() && parsed.password().is_none() && parsed.fragment().is_none());
        let again = Url::parse(&format!("{}://{}{}", original.scheme, original.host, original.target())).unwrap();
        assert_eq!(RequestPath::parse(again.path()).unwrap().as_str(), original.path.as_str());
    };
    read(Original::of_nginx(&headers), text("x-original-url"), text("x-original-method"));
    let scheme = net::Scheme::forwarded(text("x-forwarded-proto")).map_or("", net::Scheme::as_str);
    let url = format!("{scheme}://{}{}", text("x-forwarded-host"), text("x-forwarded-uri"));
    read(Original::of_forwarded(&headers), &url, text("x-forwarded-method"));
    let Ok(target) = str::from_utf8(line) else { return };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let asked = Asked { method: "GET", path, query };
    let envoy = Original::of_envoy(&headers, asked, |_| Ok("app.example".into()));
    read(envoy, &format!("{scheme}://app.example{target}"), "GET");
}

/// An address to come back to. What is allowed leads, for a browser, to the tenant or to an origin that it names, and
/// starts or ends no sign-in.
pub(crate) fn return_to(data: &[u8]) {
    let (Ok(text), world) = (str::from_utf8(data), world()) else { return };
    let own = Place::on_own_host(&world.globex.settings, "https://globex.example".to_owned());
    for (tenant, place) in [(&world.acme, world.place()), (&world.globex, own)] {
        let Ok(allowed) = world.gateway.tenants.return_to(tenant, &place, text) else { continue };
        let base = Url::parse(&place.url("/callback")).unwrap();
        let mut next = Some(allowed.clone());
        while let Some(address) = next {
            let url = base.join(address.as_str()).unwrap();
            assert!(is_allowed(&url, tenant, &place), "{text:?} leads to {url}");
            next = address.shorter();
        }
        assert!(allowed.as_str().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'), "{allowed:?}");
        let url = base.join(allowed.as_str()).unwrap();
        if url.origin().ascii_serialization() == place.origin {
            let read = RequestPath::parse(url.path()).map_or(url.path().to_owned(), |path| path.as_str().to_owned());
            assert!(read.starts_with(&place.mount), "{text:?} leads to {url}");
            let route = read.strip_prefix(&place.base).unwrap_or_default().trim_end_matches('/');
            assert!(!["/login", "/callback", "/logout", "/signup"].contains(&route), "{text:?} leads to {url}");
            assert!(place.mount.is_empty() || !read.starts_with("/globex"), "{text:?} leads to {url}");
        }
    }
}

fn is_allowed(url: &Url, tenant: &Tenant, place: &Place) -> bool {
    let origin = url.origin().ascii_serialization();
    let acme = || {
        let below = url.host_str().is_some_and(|host| host.ends_with(".apps.acme.example"));
        origin == "https://app.acme.example" || url.scheme() == "https" && below && url.port().is_none()
    };
    url.username().is_empty() && (origin == place.origin || tenant.id().as_str() == "acme" && acme())
}

/// A request: a line of method and target, header lines, an empty line, a body. A stranger's forwarding headers change
/// nothing that matters; nobody passes where a rule says no, or without the cookie; nobody is led elsewhere.
pub(crate) fn request(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &b""[..]),
    };
    let Ok(head) = str::from_utf8(head) else { return };
    let world = world();
    let (line, rest) = head.split_once('\n').unwrap_or((head, ""));
    let Some((method, target)) = line.split_once(' ') else { return };
    let (Ok(method), Ok(uri)) = (method.parse::<http::Method>(), target.parse::<Uri>()) else { return };
    if method == http::Method::CONNECT || uri.path_and_query().is_none() {
        // The server refuses it.
        return;
    }
    let signed_in = rest.contains(SESSION);
    let headers = lines(rest.replace(SESSION, &world.session()).as_bytes());
    for (peer, trusted) in [("127.0.0.1:4711", true), ("192.0.2.7:4711", false)] {
        let peer: SocketAddr = peer.parse().unwrap();
        let mut asking = http::Request::builder().method(method.clone()).uri(uri.clone());
        *asking.headers_mut().unwrap() = headers.clone();
        let arrival = Arrival { peer, over_tls: false, target: uri.clone() };
        let entered = world.runtime.enter();
        let at_once = world.route.at_once(&mut headers.clone(), &method, &arrival);
        drop(entered);
        let asking = asking.extension(arrival).body(body_of(body)).unwrap();
        let (parts, page) = world.runtime.block_on(async {
            let answer = warp::service(world.route.router()).call(asking).await.unwrap_or_else(|never| match never {});
            let (parts, body) = answer.into_parts();
            (parts, body.collect().await.unwrap().to_bytes())
        });
        check_answer(&parts, &page, &uri, &headers, (trusted, signed_in));
        // Whoever was signed out is signed in again, for the next input.
        let sets = parts.headers.get_all(header::SET_COOKIE).iter();
        if signed_in && sets.filter_map(|line| line.to_str().ok()).any(|line| line.starts_with("__Host-lychgate-acme="))
        {
            world.sign_in();
        }
        if let Some(at_once) = at_once {
            assert_eq!((at_once.status(), at_once.headers()), (parts.status, &parts.headers), "two answers");
        }
    }
}

fn body_of(bytes: &[u8]) -> http_body_util::combinators::BoxBody<Bytes, Infallible> {
    Full::new(Bytes::copy_from_slice(bytes)).boxed()
}

fn check_answer(
    answer: &http::response::Parts,
    page: &[u8],
    uri: &Uri,
    asked: &HeaderMap,
    (trusted, signed_in): (bool, bool),
) {
    let status = answer.status.as_u16();
    assert!(status != 500 && status != 501, "{answer:?}");
    let page = String::from_utf8_lossy(page);
    let values = answer.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let shown = values.collect::<Vec<_>>().join("\n") + &page;
    assert!(world().secrets.iter().all(|secret| !shown.contains(secret)), "a secret is shown: {shown}");
    assert!(signed_in || !shown.contains(&world().subject), "somebody is shown to nobody: {shown}");
    assert!(!page.to_ascii_lowercase().contains("<script"), "a page has a script");
    // Nobody has signed in, so nobody gets a session.
    for line in answer.headers.get_all(header::SET_COOKIE) {
        let cookie = cookie::Cookie::parse(line.to_str().unwrap()).unwrap();
        let is_session = cookie.name().starts_with("__Host-lychgate-") && !cookie.name().contains('.');
        assert!(!is_session || cookie.value().is_empty(), "a session for nobody");
    }
    let known = answer.headers.get("x-auth-request-user").is_some_and(|user| !user.is_empty());
    assert!(!known || trusted && signed_in, "somebody is known who brought nothing: {answer:?}");
    if let Some(location) = answer.headers.get(header::LOCATION) {
        let url = Url::parse(PUBLIC).unwrap().join(location.to_str().unwrap()).unwrap();
        let origin = url.origin().ascii_serialization();
        let globex = url.scheme() == "https" && url.host_str() == Some("globex.example");
        let known = globex || [PUBLIC, PROVIDER].contains(&origin.as_str());
        assert!(known || is_allowed(&url, &world().acme, &world().place()), "led to {url}");
    }
    let Some(route) = uri.path().strip_prefix("/acme/auth").filter(|_| status == 200) else { return };
    assert!(trusted, "a stranger asks, and is answered");
    let header = |name: &str| asked.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let path = match route.trim_end_matches('/') {
        "" => {
            let after = header("x-original-url").split_once("://").unwrap().1;
            after[after.find('/').unwrap()..].to_owned()
        }
        "/traefik" | "/caddy" => header("x-forwarded-uri").to_owned(),
        _ => route.strip_prefix("/envoy").unwrap_or_default().to_owned(),
    };
    // As an application may read it that decodes and cuts as it likes.
    let mut read = path.split('?').next().unwrap_or_default().to_owned();
    for _ in 0..3 {
        let url = Url::parse(&format!("https://app.example{read}")).unwrap();
        read = percent_decode_str(url.path()).decode_utf8_lossy().into_owned();
    }
    let first = read.split(['/', ';', '?', '#', '\\']).find(|part| !part.is_empty()).unwrap_or_default();
    assert!(first.trim() != "admin", "a rule was walked around: {uri} {asked:?}");
    assert!(signed_in || first.trim() == "public", "nobody passes there: {uri} {asked:?}");
}
