//! The networked half against a small server of its own, over real sockets.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::Url;

use super::*;
use crate::clock::Clock;
use crate::config::{AuthorizeParams, ClientAuth, FetchSettings, ProviderSettings, ResponseMode, SigningAlg};
use crate::metrics::Metrics;
use crate::secret::{ExposeSecret as _, SecretString, base64url};

const DISCOVERY: &str = "/.well-known/openid-configuration";
const JWKS: &str = "/jwks";
const REDIRECT_URI: &str = "https://gateway.example/acme/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const HOUR: i64 = 3600;

/// What the server says at one path.
#[derive(Clone)]
enum Reply {
    /// A status, headers as lines, a body.
    Says(u16, String, Vec<u8>),
    /// The connection ends in the middle of the answer.
    Cut,
    /// Nothing, ever.
    Silence,
}

fn says(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply::Says(status, String::new(), body.into())
}

fn headed(status: u16, header: &str, body: impl Into<Vec<u8>>) -> Reply {
    Reply::Says(status, format!("{header}\r\n"), body.into())
}

fn json(body: &Value) -> Reply {
    says(200, body.to_string())
}

#[derive(Clone, Debug)]
struct Request {
    path: String,
    head: String,
    form: BTreeMap<String, String>,
}

struct Server {
    origin: String,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    requests: Arc<Mutex<Vec<Request>>>,
    open: watch::Sender<bool>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (open, gate) = watch::channel(true);
        let server = Self { origin, replies: Arc::default(), requests: Arc::default(), open };
        server.publish(&json!({}));
        let (replies, requests) = (Arc::clone(&server.replies), Arc::clone(&server.requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&replies), Arc::clone(&requests), gate.clone()));
            }
        });
        server
    }

    fn set(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    fn document(&self, change: &Value) -> Value {
        let at = |path: &str| format!("{}{path}", self.origin);
        let mut document = json!({
            "issuer": self.origin,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at(JWKS),
            "userinfo_endpoint": at("/userinfo"),
            "revocation_endpoint": at("/revoke"),
            "pushed_authorization_request_endpoint": at("/par"),
            "end_session_endpoint": at("/logout"),
        });
        for (name, value) in change.as_object().unwrap() {
            document[name] = value.clone();
        }
        document
    }

    fn publish(&self, change: &Value) {
        self.set(DISCOVERY, json(&self.document(change)));
    }

    /// Every path but those named in `replies` fails from now on.
    fn fails(&self, reply: &Reply) {
        for path in [DISCOVERY, JWKS, "/token", "/userinfo"] {
            self.set(path, reply.clone());
        }
    }

    fn count(&self, path: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|request| request.path == path).count()
    }

    #[track_caller]
    fn last(&self, path: &str) -> Request {
        self.requests.lock().unwrap().iter().rfind(|request| request.path == path).cloned().unwrap()
    }
}

async fn answer(
    mut stream: TcpStream,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    requests: Arc<Mutex<Vec<Request>>>,
    mut gate: watch::Receiver<bool>,
) -> Option<()> {
    let mut bytes = Vec::new();
    let head_len = loop {
        stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..head_len].to_vec()).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    while bytes.len() < head_len + length {
        stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
    }
    let path = String::from_utf8_lossy(&bytes).split(' ').nth(1)?.to_owned();
    let head = String::from_utf8_lossy(&bytes[..head_len]).into_owned();
    let form = url::form_urlencoded::parse(&bytes[head_len..]).into_owned().collect();
    requests.lock().unwrap().push(Request { path: path.clone(), head, form });
    gate.wait_for(|open| *open).await.ok()?;
    let reply = replies.lock().unwrap().get(&path).cloned().unwrap_or(says(404, "<html>"));
    match reply {
        Reply::Says(status, headers, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
            stream.write_all(&[head.as_bytes(), &body].concat()).await.ok()
        }
        Reply::Cut => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{").await.ok(),
        Reply::Silence => std::future::pending().await,
    }
}

/// A server, and a gateway's providers.
struct World {
    server: Server,
    clock: Clock,
    metrics: Arc<Metrics>,
    providers: Arc<Providers>,
}

impl World {
    async fn new() -> Self {
        let (clock, metrics) = (Clock::system(), Metrics::new(200));
        let providers = Providers::new(clock.clone(), Arc::clone(&metrics));
        Self { server: Server::start().await, clock, metrics, providers }
    }

    fn settings(&self) -> ProviderSettings {
        ProviderSettings {
            issuer: self.server.origin.clone(),
            auth0: false,
            client_id: "client".to_owned(),
            client_auth: ClientAuth::SecretPost("a secret of thirty-two characters".into()),
            id_token_alg: SigningAlg::Es256,
            leeway: 60,
            id_token_max_age: 600,
            par: false,
            userinfo: false,
            fetch: FetchSettings {
                ca: Vec::new(),
                proxy: None,
                timeout: Duration::from_secs(30),
                endpoints: BTreeMap::new(),
            },
        }
    }

    fn provider(&self) -> Provider {
        self.provider_with(|_| {})
    }

    fn provider_with(&self, change: impl FnOnce(&mut ProviderSettings)) -> Provider {
        self.tenant("acme", change)
    }

    fn tenant(&self, id: &str, change: impl FnOnce(&mut ProviderSettings)) -> Provider {
        let mut settings = self.settings();
        change(&mut settings);
        self.providers.provider(&id.parse().unwrap(), &settings).unwrap()
    }

    fn up(&self) -> i64 {
        self.metrics.provider_up.with_label_values(&["acme", "oidc"]).get()
    }

    fn looked_up(&self, cache: &str, result: &str) -> u64 {
        self.metrics.cache_requests_total.with_label_values(&[cache, result]).get()
    }

    fn claims(&self) -> Value {
        let now = self.clock.now().0;
        json!({ "iss": self.server.origin, "sub": "alice", "aud": "client", "exp": now + 300, "iat": now, "nonce": "n", "sid": "s" })
    }

    /// Has the token endpoint answer with an id token of `claims`, signed by `key`.
    fn grant(&self, key: &SigningKey, claims: &Value) {
        let answer = json!({
            "access_token": "at", "token_type": "bearer", "expires_in": "3600", "refresh_token": "rt", "scope": "openid",
            "id_token": key.sign(claims),
        });
        self.server.set("/token", json(&answer));
    }

    async fn redeem(&self, provider: &Provider) -> Result<Redeemed, RedeemError> {
        let expected = Expected {
            nonce: "n",
            started_at: self.clock.now(),
            max_age: None,
            prompt_login: false,
            acr_values: None,
            organization: None,
            organizations: &[],
        };
        provider.redeem(&"the code".into(), REDIRECT_URI, &VERIFIER.into(), &expected).await
    }
}

/// A key of the server.
struct SigningKey {
    kid: &'static str,
    pair: rcgen::KeyPair,
}

impl SigningKey {
    fn new(kid: &'static str) -> Self {
        Self { kid, pair: rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap() }
    }

    fn set(keys: &[&Self]) -> Value {
        let jwk = |key: &&Self| {
            let (x, y) = key.pair.public_key_raw()[1..].split_at(32);
            json!({ "kty": "EC", "use": "sig", "crv": "P-256", "kid": key.kid, "x": base64url(x), "y": base64url(y) })
        };
        json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() })
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_pem(self.pair.serialize_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}

async fn authorize(provider: &Provider) -> Result<Url, ProviderError> {
    authorize_with(provider, &AuthorizeParams::default(), &BTreeMap::new()).await
}

async fn authorize_with(
    provider: &Provider,
    params: &AuthorizeParams,
    extra: &BTreeMap<String, String>,
) -> Result<Url, ProviderError> {
    let request = AuthorizationRequest {
        redirect_uri: REDIRECT_URI,
        state: "the state",
        nonce: "the nonce",
        pkce_verifier: &VERIFIER.into(),
        scopes: &["openid".to_owned(), "email".to_owned()],
        response_mode: ResponseMode::FormPost,
        params,
        extra,
    };
    provider.authorization_url(&request).await
}

fn query(url: &Url) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = url.query_pairs().into_owned().collect();
    pairs.sort();
    pairs
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    pairs.sort();
    pairs
}

#[track_caller]
fn code_of<T>(result: Result<T, ProviderError>) -> &'static str {
    result.err().expect("a failure").code()
}

// The authorization request.

#[tokio::test]
async fn an_authorization_url_carries_what_the_protocol_and_the_tenant_ask() {
    let world = World::new().await;
    world.server.publish(&json!({ "authorization_endpoint": format!("{}/authorize?p=1", world.server.origin) }));
    let text = |text: &str| Some(text.to_owned());
    let params = AuthorizeParams {
        audience: text("https://api.example"),
        connection: text("google-oauth2"),
        organization: text("org_1"),
        invitation: text("a ticket"),
        screen_hint: text("signup"),
        prompt: text("login consent"),
        login_hint: text("ada@acme.example"),
        ui_locales: text("de en"),
        max_age: Some(0),
        acr_values: text("gold silver"),
    };
    let extra = BTreeMap::from([("ext-x".to_owned(), "1&2".to_owned()), ("state".to_owned(), "foreign".to_owned())]);
    let url = authorize_with(&world.provider(), &params, &extra).await.unwrap();
    assert!(url.as_str().starts_with(&format!("{}/authorize?", world.server.origin)), "{url}");
    let asked = pairs(&[
        ("acr_values", "gold silver"),
        ("audience", "https://api.example"),
        ("client_id", "client"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"), // RFC 7636, appendix B
        ("code_challenge_method", "S256"),
        ("connection", "google-oauth2"),
        ("ext-x", "1&2"),
        ("invitation", "a ticket"),
        ("login_hint", "ada@acme.example"),
        ("max_age", "0"),
        ("nonce", "the nonce"),
        ("organization", "org_1"),
        ("p", "1"),
        ("prompt", "login consent"),
        ("redirect_uri", REDIRECT_URI),
        ("response_mode", "form_post"),
        ("response_type", "code"),
        ("scope", "openid email"),
        ("screen_hint", "signup"),
        ("state", "the state"),
        ("ui_locales", "de en"),
    ]);
    assert_eq!(query(&url), asked);
}

#[tokio::test]
async fn a_required_push_leaves_only_client_and_request_uri_in_the_url() {
    let world = World::new().await;
    world.server.publish(&json!({ "require_pushed_authorization_requests": true }));
    let pushed = json!({ "request_uri": "urn:ietf:params:oauth:request_uri:x", "expires_in": 30 });
    world.server.set("/par", says(201, pushed.to_string()));
    let url = authorize(&world.provider()).await.unwrap();
    assert_eq!(query(&url), pairs(&[("client_id", "client"), ("request_uri", "urn:ietf:params:oauth:request_uri:x")]));
    let form = world.server.last("/par").form;
    assert_eq!(form["client_id"], "client");
    assert_eq!(form["client_secret"], "a secret of thirty-two characters");
    assert_eq!(form["state"], "the state");
    assert_eq!(form["redirect_uri"], REDIRECT_URI);
    assert_eq!(form["response_mode"], "form_post");
}

#[tokio::test]
async fn a_push_that_is_refused_says_why() {
    let world = World::new().await;
    let provider = world.provider_with(|settings| settings.par = true);
    for (status, body, code) in [
        (400, r#"{"error":"invalid_request"}"#, "request_refused"),
        (401, r#"{"error":"invalid_client"}"#, "client_refused"),
        (429, "", "provider_limited"),
        (500, "", "provider_failed"),
        (201, r#"{"expires_in":30}"#, "provider_answer_malformed"),
    ] {
        world.server.set("/par", says(status, body));
        assert_eq!(code_of(authorize(&provider).await), code, "{status} {body}");
    }
    world.server.publish(&json!({ "pushed_authorization_request_endpoint": null }));
    world.clock.advance(HOUR);
    assert_eq!(code_of(authorize(&provider).await), "discovery_unsupported");
}

#[tokio::test]
async fn a_provider_that_does_not_sign_as_pinned_is_unsupported() {
    let world = World::new().await;
    world.server.publish(&json!({ "id_token_signing_alg_values_supported": ["RS256"] }));
    assert_eq!(code_of(authorize(&world.provider()).await), "discovery_unsupported");
    let provider = world.provider_with(|settings| settings.id_token_alg = SigningAlg::Rs256);
    assert!(authorize(&provider).await.is_ok());
}

// Documents.

#[tokio::test]
async fn nothing_is_asked_before_somebody_signs_in() {
    let world = World::new().await;
    let provider = world.provider();
    assert_eq!(provider.origins(), [world.server.origin.as_str()]);
    assert_eq!(provider.label(), "oidc");
    assert_eq!(world.server.requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn many_who_wait_cause_one_fetch() {
    let world = World::new().await;
    world.server.open.send(false).unwrap();
    let providers: Vec<Provider> = (0..20).map(|i| world.tenant(&format!("t{i}"), |_| {})).collect();
    let all = join_all(providers.iter().map(authorize));
    let open = async {
        while world.server.count(DISCOVERY) == 0 {
            tokio::task::yield_now().await;
        }
        world.server.open.send(true).unwrap();
    };
    let (urls, ()) = tokio::join!(all, open);
    assert!(urls.iter().all(Result::is_ok));
    assert_eq!(world.server.count(DISCOVERY), 1);
}

#[tokio::test]
async fn a_fetch_outlives_the_request_that_began_it() {
    let world = World::new().await;
    world.server.open.send(false).unwrap();
    let provider = world.provider();
    let gone = tokio::spawn({
        let provider = provider.clone();
        async move { authorize(&provider).await }
    });
    while world.server.count(DISCOVERY) == 0 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    world.server.open.send(true).unwrap();
    assert!(authorize(&provider).await.is_ok());
    assert_eq!(world.server.count(DISCOVERY), 1);
}

#[tokio::test]
async fn tenants_share_a_document_only_where_all_is_equal() {
    let world = World::new().await;
    let authority = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem();
    let tenants = [
        world.tenant("a", |_| {}),
        world.tenant("b", |settings| settings.client_id = "other".to_owned()),
        world.tenant("c", |settings| settings.fetch.ca = vec![authority.into_bytes()]),
        world.tenant("d", |settings| settings.fetch.timeout = Duration::from_secs(29)),
        world.tenant("e", |settings| {
            settings.fetch.endpoints.insert("token_endpoint".to_owned(), "http://127.0.0.1:1/".parse().unwrap());
        }),
    ];
    for (tenant, fetches) in tenants.iter().zip([1, 1, 2, 3, 4]) {
        authorize(tenant).await.unwrap();
        assert_eq!(world.server.count(DISCOVERY), fetches, "{tenant:?}");
    }
    let proxied = world.tenant("f", |settings| settings.fetch.proxy = Some(world.server.origin.parse().unwrap()));
    authorize(&proxied).await.unwrap_err();
    assert_eq!(world.server.count(&format!("{}{DISCOVERY}", world.server.origin)), 1, "by way of the proxy");
}

#[tokio::test]
async fn a_document_is_fresh_as_long_as_it_says_within_bounds() {
    for (cache_control, fresh) in [
        ("cache-control: max-age=900", 900),
        ("cache-control: max-age=1", 60),
        ("cache-control: no-store", 60),
        ("cache-control: max-age=9999999", 24 * HOUR),
        ("x-nothing: said", 600),
    ] {
        let world = World::new().await;
        world.server.set(DISCOVERY, headed(200, cache_control, world.server.document(&json!({})).to_string()));
        let provider = world.provider();
        authorize(&provider).await.unwrap();
        world.clock.advance(fresh - 5);
        authorize(&provider).await.unwrap();
        assert_eq!(world.server.count(DISCOVERY), 1, "{cache_control}");
        world.clock.advance(5);
        authorize(&provider).await.unwrap();
        assert_eq!(world.server.count(DISCOVERY), 2, "{cache_control}");
        assert_eq!((world.looked_up("discovery", "miss"), world.looked_up("discovery", "hit")), (2, 1));
    }
}

#[tokio::test]
async fn a_provider_that_is_down_is_served_stale_for_a_week() {
    let world = World::new().await;
    let provider = world.provider();
    authorize(&provider).await.unwrap();
    assert_eq!(world.up(), 1);
    world.server.fails(&says(503, "<html>"));
    for _ in 0..6 {
        world.clock.advance(24 * HOUR);
        authorize(&provider).await.unwrap();
    }
    assert_eq!(world.looked_up("discovery", "stale"), 6);
    assert_eq!(world.up(), 0);
    world.clock.advance(24 * HOUR);
    assert_eq!(code_of(authorize(&provider).await), "provider_failed");
    world.server.publish(&json!({}));
    world.clock.advance(HOUR);
    authorize(&provider).await.unwrap();
    assert_eq!(world.up(), 1);
}

#[tokio::test]
async fn a_failure_is_remembered_for_longer_each_time() {
    let world = World::new().await;
    let provider = world.provider();
    world.server.fails(&says(500, ""));
    for (fetches, back_off) in [1, 2, 4, 8, 16, 30, 30].into_iter().enumerate() {
        assert_eq!(code_of(authorize(&provider).await), "provider_failed");
        assert_eq!(world.server.count(DISCOVERY), fetches + 1);
        if back_off > 3 {
            // The test itself may take a while.
            world.clock.advance(back_off - 3);
            let error = authorize(&provider).await.unwrap_err();
            assert!(matches!(error, ProviderError::Unavailable { last: "provider_failed", .. }), "{error}");
            assert!((1..=3).contains(&error.retry_after().unwrap().as_secs()), "{error}");
            assert_eq!(world.server.count(DISCOVERY), fetches + 1);
        }
        world.clock.advance(3);
    }
    assert_eq!(world.looked_up("discovery", "negative"), 5);
    world.server.publish(&json!({}));
    assert!(authorize(&provider).await.is_ok());
}

#[tokio::test]
async fn a_provider_may_ask_to_be_left_alone() {
    let world = World::new().await;
    let provider = world.provider();
    world.server.set(DISCOVERY, headed(429, "Retry-After: 120", ""));
    let error = authorize(&provider).await.unwrap_err();
    assert_eq!((error.code(), error.retry_after()), ("provider_limited", Some(Duration::from_mins(2))));
    world.clock.advance(110);
    assert_eq!(code_of(authorize(&provider).await), "provider_limited");
    assert_eq!(world.server.count(DISCOVERY), 1);
    world.clock.advance(10);
    let _ = authorize(&provider).await;
    assert_eq!(world.server.count(DISCOVERY), 2);
}

#[tokio::test]
async fn every_way_to_fail_has_its_code() {
    let other = json!({ "issuer": "https://other.example" });
    let world = World::new().await;
    for (reply, code) in [
        (says(500, ""), "provider_failed"),
        (says(404, "<html>"), "provider_answer_malformed"),
        (says(200, "<html>"), "provider_answer_malformed"),
        (says(200, "[]"), "provider_answer_malformed"),
        (says(200, vec![b' '; 10 << 20]), "provider_answer_malformed"),
        (headed(302, &format!("Location: {}/elsewhere", world.server.origin), ""), "provider_answer_malformed"),
        (Reply::Cut, "provider_unreachable"),
        (json(&world.server.document(&other)), "discovery_issuer"),
        (json(&world.server.document(&json!({ "token_endpoint": null }))), "discovery_unsupported"),
        (
            json(&world.server.document(&json!({ "token_endpoint": "http://id.example/token" }))),
            "discovery_unsupported",
        ),
    ] {
        world.server.set(DISCOVERY, reply);
        assert_eq!(code_of(authorize(&world.provider()).await), code);
        let labels = ["acme", "oidc", "discovery", code];
        assert!(world.metrics.provider_requests_total.with_label_values(&labels).get() > 0, "{code}");
        world.clock.advance(HOUR);
    }
    assert_eq!(world.server.count("/elsewhere"), 0);
}

#[tokio::test]
async fn a_silent_provider_is_slow_and_a_closed_port_unreachable() {
    let world = World::new().await;
    world.server.set(DISCOVERY, Reply::Silence);
    let slow = world.tenant("slow", |settings| settings.fetch.timeout = Duration::from_millis(50));
    assert_eq!(code_of(authorize(&slow).await), "provider_slow");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let closed = world.tenant("closed", |settings| settings.issuer = format!("http://{closed}"));
    assert_eq!(code_of(authorize(&closed).await), "provider_unreachable");
}

#[tokio::test]
async fn a_provider_on_https_may_have_an_authority_of_its_own() {
    let world = World::new().await;
    let authority = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem();
    let provider = world.provider_with(|settings| {
        settings.issuer = world.server.origin.replace("http:", "https:");
        settings.fetch.ca = vec![authority.into_bytes()];
    });
    // The server speaks plain HTTP, which such a provider never does.
    assert_eq!(code_of(authorize(&provider).await), "provider_unreachable");
    assert_eq!(world.server.requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_bad_issuer_or_authority_is_found_at_start() {
    let world = World::new().await;
    let setup = |change: fn(&mut ProviderSettings)| {
        let mut settings = world.settings();
        change(&mut settings);
        world.providers.provider(&"acme".parse().unwrap(), &settings).unwrap_err()
    };
    assert!(matches!(setup(|settings| settings.issuer = "acme".to_owned()), ProviderSetupError::Issuer));
    assert!(matches!(setup(|settings| settings.fetch.ca = vec![b"no PEM".to_vec()]), ProviderSetupError::Ca));
}

#[tokio::test]
async fn the_background_fetches_at_start_and_before_anything_expires() {
    let world = World::new().await;
    let provider = world.provider();
    world.server.set(JWKS, json(&SigningKey::set(&[&SigningKey::new("1")])));
    let fetches = || (world.server.count(DISCOVERY), world.server.count(JWKS));
    world.providers.refresh_due().await;
    assert_eq!(fetches(), (1, 1));
    world.clock.advance(440);
    world.providers.refresh_due().await;
    assert_eq!(fetches(), (1, 1));
    world.clock.advance(20);
    world.providers.refresh_due().await;
    assert_eq!(fetches(), (2, 2));
    assert_eq!(world.up(), 1);
    world.server.set(JWKS, headed(500, "Retry-After: 60", ""));
    world.clock.advance(500);
    world.providers.refresh_due().await;
    world.providers.refresh_due().await;
    assert_eq!(fetches(), (3, 3), "a failure is left alone for a while");
    assert_eq!(world.up(), 0);
    authorize(&provider).await.unwrap();
    assert_eq!(world.looked_up("discovery", "miss"), 0, "nobody waited");
    let now = world.metrics.provider_jwks_last_success_timestamp_seconds.with_label_values(&["acme", "oidc"]).get();
    assert!(now > 1.0e9, "{now}");
}

#[tokio::test]
async fn who_signs_with_the_client_secret_needs_no_keys() {
    let world = World::new().await;
    world.provider_with(|settings| settings.id_token_alg = SigningAlg::Hs256);
    world.providers.refresh_due().await;
    assert_eq!((world.server.count(DISCOVERY), world.server.count(JWKS)), (1, 0));
    assert_eq!(world.up(), 1);
}

// The code's exchange.

#[tokio::test]
async fn a_code_becomes_an_identity() {
    let world = World::new().await;
    let key = SigningKey::new("1");
    world.server.set(JWKS, json(&SigningKey::set(&[&key])));
    world.grant(&key, &world.claims());
    let redeemed = world.redeem(&world.provider()).await.unwrap();
    assert_eq!(redeemed.sub, "alice");
    assert_eq!(redeemed.sid.as_deref(), Some("s"));
    assert_eq!(redeemed.claims["nonce"], "n");
    assert_eq!(redeemed.access_token.expose_secret(), "at");
    assert_eq!(redeemed.refresh_token.unwrap().expose_secret(), "rt");
    let left = redeemed.access_token_expires_at.unwrap().since(world.clock.now());
    assert!((3590..=3600).contains(&left), "{left}");
    let form = world.server.last("/token").form;
    let sent = [
        ("client_id", "client"),
        ("client_secret", "a secret of thirty-two characters"),
        ("code", "the code"),
        ("code_verifier", VERIFIER),
        ("grant_type", "authorization_code"),
        ("redirect_uri", REDIRECT_URI),
    ];
    assert_eq!(form.into_iter().collect::<Vec<_>>(), pairs(&sent));
    assert_eq!(world.server.count("/userinfo"), 0);
    let labels = ["acme", "id_token", "ok"];
    assert_eq!(world.metrics.token_validations_total.with_label_values(&labels).get(), 1);
}

#[tokio::test]
async fn basic_credentials_are_urlencoded_first() {
    let world = World::new().await;
    let provider = world.provider_with(|settings| {
        settings.client_id = "a:b".to_owned();
        settings.client_auth = ClientAuth::SecretBasic("p w/ü".into());
    });
    world.server.set("/revoke", says(200, ""));
    provider.revoke(&"rt".into()).await.unwrap();
    let request = world.server.last("/revoke");
    // base64("a%3Ab:p+w%2F%C3%BC")
    let header = "authorization: Basic YSUzQWI6cCt3JTJGJUMzJUJD";
    assert!(request.head.to_ascii_lowercase().contains(&header.to_ascii_lowercase()), "{}", request.head);
    assert!(!request.form.contains_key("client_secret"));
    assert_eq!(request.form["token"], "rt");
    assert_eq!(request.form["token_type_hint"], "refresh_token");
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_a_minute() {
    let world = World::new().await;
    let provider = world.provider();
    let [old, new, foreign] = ["old", "new", "foreign"].map(SigningKey::new);
    world.server.set(JWKS, json(&SigningKey::set(&[&old])));
    world.grant(&old, &world.claims());
    world.redeem(&provider).await.unwrap();
    assert_eq!(world.server.count(JWKS), 1);
    // The provider turns to a new key.
    world.server.set(JWKS, json(&SigningKey::set(&[&old, &new])));
    world.grant(&new, &world.claims());
    world.redeem(&provider).await.unwrap();
    assert_eq!(world.server.count(JWKS), 2);
    world.grant(&foreign, &world.claims());
    for _ in 0..3 {
        assert_eq!(world.redeem(&provider).await.unwrap_err().code(), "id_token_key_unknown");
    }
    assert_eq!(world.server.count(JWKS), 2);
    world.clock.advance(60);
    world.grant(&foreign, &world.claims());
    for _ in 0..3 {
        assert_eq!(world.redeem(&provider).await.unwrap_err().code(), "id_token_key_unknown");
    }
    assert_eq!(world.server.count(JWKS), 3);
    world.grant(&new, &world.claims());
    world.redeem(&provider).await.unwrap();
}

#[tokio::test]
async fn keys_are_served_stale_for_a_day() {
    let world = World::new().await;
    let provider = world.provider();
    let key = SigningKey::new("1");
    world.server.set(JWKS, json(&SigningKey::set(&[&key])));
    world.grant(&key, &world.claims());
    world.redeem(&provider).await.unwrap();
    world.server.set(JWKS, says(200, "<html>"));
    world.clock.advance(23 * HOUR);
    world.grant(&key, &world.claims());
    world.redeem(&provider).await.unwrap();
    world.clock.advance(HOUR);
    world.grant(&key, &world.claims());
    let error = world.redeem(&provider).await.unwrap_err();
    assert_eq!(error.code(), "provider_answer_malformed");
    let labels = ["acme", "id_token", "provider_answer_malformed"];
    assert_eq!(world.metrics.token_validations_total.with_label_values(&labels).get(), 1);
}

#[tokio::test]
async fn a_token_answer_that_is_no_good_has_its_code() {
    let world = World::new().await;
    let key = SigningKey::new("1");
    world.server.set(JWKS, json(&SigningKey::set(&[&key])));
    let id_token = key.sign(&world.claims());
    let provider = world.provider();
    for (reply, code) in [
        (says(400, r#"{"error":"invalid_grant"}"#), "code_refused"),
        (says(403, r#"{"error":"invalid_grant"}"#), "code_refused"),
        (says(400, r#"{"error":"invalid_request"}"#), "request_refused"),
        (says(401, r#"{"error":"invalid_client"}"#), "client_refused"),
        (says(400, r#"{"error":"unauthorized_client"}"#), "client_refused"),
        (says(401, "no"), "client_refused"),
        (says(429, ""), "provider_limited"),
        (says(503, ""), "provider_failed"),
        (says(200, "<html>"), "provider_answer_malformed"),
        (says(200, vec![b' '; 10 << 20]), "provider_answer_malformed"),
        (headed(307, "Location: /elsewhere", ""), "provider_answer_malformed"),
        (Reply::Cut, "provider_unreachable"),
        (json(&json!({ "token_type": "Bearer", "id_token": id_token })), "token_answer_malformed"),
        (json(&json!({ "access_token": "at", "id_token": id_token })), "token_answer_malformed"),
        (json(&json!({ "access_token": "at", "token_type": "DPoP", "id_token": id_token })), "token_answer_malformed"),
        (json(&json!({ "access_token": "at", "token_type": "BEARER" })), "id_token_missing"),
        (json(&json!({ "access_token": "at", "token_type": "Bearer", "id_token": "x" })), "id_token_malformed"),
    ] {
        world.server.set("/token", reply);
        assert_eq!(world.redeem(&provider).await.unwrap_err().code(), code);
    }
    assert_eq!(world.server.count("/elsewhere"), 0);
    assert_eq!(world.up(), 1, "a refused code says nothing about documents");
}

#[tokio::test]
async fn an_access_token_may_live_for_no_said_time() {
    for (expires_in, lifetime) in
        [(json!(60), Some(60)), (json!("60"), Some(60)), (json!(null), None), (json!([]), None)]
    {
        let world = World::new().await;
        let key = SigningKey::new("1");
        world.server.set(JWKS, json(&SigningKey::set(&[&key])));
        let id_token = key.sign(&world.claims());
        let answer =
            json!({ "access_token": "at", "token_type": "Bearer", "id_token": id_token, "expires_in": expires_in });
        world.server.set("/token", json(&answer));
        let redeemed = world.redeem(&world.provider()).await.unwrap();
        let left = redeemed.access_token_expires_at.map(|at| at.since(world.clock.now()));
        assert_eq!(left.map(|left| (50..=60).contains(&left)), lifetime.map(|_| true), "{expires_in}");
    }
}

#[tokio::test]
async fn userinfo_adds_claims_and_overrides_none() {
    let world = World::new().await;
    let provider = world.provider_with(|settings| settings.userinfo = true);
    let key = SigningKey::new("1");
    world.server.set(JWKS, json(&SigningKey::set(&[&key])));
    let mut claims = world.claims();
    claims["name"] = json!("Alice");
    world.grant(&key, &claims);
    let userinfo =
        json!({ "sub": "alice", "name": "Mallory", "email": "alice@example.com", "org_id": "org_1", "sid": "x" });
    world.server.set("/userinfo", json(&userinfo));
    let claims = world.redeem(&provider).await.unwrap().claims;
    assert_eq!((&claims["name"], &claims["email"]), (&json!("Alice"), &json!("alice@example.com")));
    assert_eq!((claims.get("org_id"), &claims["sid"]), (None, &json!("s")));
    assert!(world.server.last("/userinfo").head.contains("authorization: Bearer at"));
    for (reply, code) in [
        (json(&json!({ "sub": "mallory", "email": "alice@example.com" })), "userinfo_sub"),
        (json(&json!({ "email": "alice@example.com" })), "userinfo_sub"),
        (says(200, "[]"), "userinfo_unavailable"),
        (says(401, ""), "userinfo_unavailable"),
        (says(500, ""), "userinfo_unavailable"),
    ] {
        world.server.set("/userinfo", reply);
        assert_eq!(world.redeem(&provider).await.unwrap_err().code(), code);
    }
}

// The answer's issuer, sign-out, revocation, the check.

#[tokio::test]
async fn a_response_must_come_from_the_issuer_and_say_so_where_it_always_does() {
    let world = World::new().await;
    let provider = world.provider();
    let code = async |iss: Option<&str>| provider.check_response_issuer(iss).await.err().map(|error| error.code());
    assert_eq!(code(None).await, None);
    assert_eq!(code(Some(&world.server.origin)).await, None);
    assert_eq!(code(Some("https://other.example")).await, Some("response_issuer"));
    world.server.publish(&json!({ "authorization_response_iss_parameter_supported": true }));
    world.clock.advance(HOUR);
    assert_eq!(code(None).await, Some("response_issuer_missing"));
    let closed = World::new().await;
    closed.server.fails(&says(500, ""));
    let error = closed.provider().check_response_issuer(None).await.unwrap_err();
    assert_eq!(error.code(), "provider_failed");
}

fn sign_out(id_token_hint: Option<&SecretString>) -> SignOutRequest<'_> {
    SignOutRequest {
        id_token_hint,
        sid: Some("the session"),
        post_logout_redirect_uri: "https://gateway.example/acme/logged-out",
        federated: true,
        state: Some("x"),
        ui_locales: None,
    }
}

#[tokio::test]
async fn a_sign_out_goes_to_the_discovered_place() {
    let world = World::new().await;
    let provider = world.provider();
    let url = provider.sign_out_url(&sign_out(Some(&"the.id.token".into()))).await.unwrap();
    assert_eq!(url.path(), "/logout");
    let mut asked = vec![
        ("client_id", "client"),
        ("id_token_hint", "the.id.token"),
        ("post_logout_redirect_uri", "https://gateway.example/acme/logged-out"),
        ("state", "x"),
    ];
    assert_eq!(query(&url), pairs(&asked));
    let long = provider.sign_out_url(&sign_out(Some(&"x".repeat(4097).into()))).await.unwrap();
    asked.remove(1);
    assert_eq!(query(&long), pairs(&asked));
    let auth0 = world.tenant("auth0", |settings| settings.auth0 = true);
    let long = auth0.sign_out_url(&sign_out(Some(&"x".repeat(4097).into()))).await.unwrap();
    assert!(query(&long).contains(&("logout_hint".to_owned(), "the session".to_owned())), "{long}");
    assert!(provider.origins().contains(&world.server.origin));
}

#[tokio::test]
async fn a_provider_that_is_down_does_not_stop_a_sign_out() {
    let world = World::new().await;
    world.server.fails(&says(500, ""));
    assert_eq!(world.provider().sign_out_url(&sign_out(None)).await, None);
    let auth0 = world.tenant("auth0", |settings| settings.auth0 = true);
    let url = auth0.sign_out_url(&sign_out(None)).await.unwrap();
    let origin = &world.server.origin;
    let return_to = "https%3A%2F%2Fgateway.example%2Facme%2Flogged-out";
    assert_eq!(url.as_str(), format!("{origin}/v2/logout?client_id=client&returnTo={return_to}&federated"));
    let configured = world.tenant("configured", |settings| {
        let url = "https://id.example/bye".parse().unwrap();
        settings.fetch.endpoints.insert("end_session_endpoint".to_owned(), url);
    });
    assert!(configured.origins().contains(&"https://id.example".to_owned()));
    let url = configured.sign_out_url(&sign_out(None)).await.unwrap();
    assert_eq!(url.host_str(), Some("id.example"));
}

#[tokio::test]
async fn a_revocation_is_asked_where_there_is_a_place_for_it() {
    let world = World::new().await;
    let provider = world.provider();
    world.server.set("/revoke", says(503, ""));
    assert_eq!(code_of(provider.revoke(&"rt".into()).await), "provider_failed");
    world.server.publish(&json!({ "revocation_endpoint": null }));
    world.clock.advance(HOUR);
    assert_eq!(provider.revoke(&"rt".into()).await, Ok(()));
}

#[tokio::test]
async fn a_check_finds_bad_credentials() {
    let world = World::new().await;
    let provider = world.provider();
    world.server.set(JWKS, json(&json!({ "keys": [] })));
    assert_eq!(code_of(provider.check_online().await), "provider_answer_malformed");
    world.server.set(JWKS, json(&SigningKey::set(&[&SigningKey::new("1")])));
    world.clock.advance(HOUR);
    world.server.set("/token", says(401, r#"{"error":"invalid_client"}"#));
    assert_eq!(code_of(provider.check_online().await), "client_refused");
    world.server.set("/token", says(403, r#"{"error":"invalid_grant"}"#));
    assert_eq!(provider.check_online().await, Ok(()));
}

#[tokio::test]
async fn neither_debug_nor_errors_show_secrets() {
    let world = World::new().await;
    let provider = world.provider();
    world.server.set("/token", says(400, r#"{"error":"invalid_request","error_description":"the code is bad"}"#));
    let error = world.redeem(&provider).await.unwrap_err();
    let text = format!("{provider:?} {:?} {error:?} {error}", world.providers);
    for secret in ["thirty-two", "the code"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_provider_that_no_tenant_is_left_of_is_not_asked_again() {
    let world = World::new().await;
    let (acme, globex) =
        (world.provider(), world.tenant("globex", |settings| settings.fetch.timeout = Duration::from_secs(9)));
    authorize(&acme).await.unwrap();
    authorize(&globex).await.unwrap();
    world.providers.refresh_due().await;
    assert_eq!(
        (world.server.count(DISCOVERY), world.server.count(JWKS)),
        (2, 2),
        "each reaches it in a way of its own"
    );
    world.providers.keep_only(&[&acme]).await;
    world.clock.advance(24 * HOUR);
    world.providers.refresh_due().await;
    assert_eq!((world.server.count(DISCOVERY), world.server.count(JWKS)), (3, 3), "for the one that is left");
    authorize(&globex).await.unwrap();
    assert_eq!(world.server.count(DISCOVERY), 4, "who still holds the other may go on with it");
}
