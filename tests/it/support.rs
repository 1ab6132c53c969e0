//! A gateway with its tenants' providers, and a browser.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use lychgate::clock::Clock;
use lychgate::config::{Settings, TenantSettings};
use lychgate::demo::{Client, Provider, ProviderSpec, User};
use lychgate::gateway::Gateway;
use lychgate::metrics::Metrics;
use lychgate::server::{self, Listener, Shutdown, ShutdownHandle};
use lychgate::web;
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;

pub const ADA: &str = "ada@acme.example";

/// One tenant, `acme`, whose provider signs Ada in without a page.
pub async fn acme() -> World {
    acme_with(|_| {}).await
}

/// The same with other settings.
pub async fn acme_with(change: impl FnOnce(&mut TenantSettings)) -> World {
    let mut tenant = Tenant::start("acme").await;
    change(&mut tenant.settings);
    World::start(vec![tenant]).await
}

/// A tenant before the gateway starts.
pub struct Tenant {
    pub settings: TenantSettings,
    pub provider: Provider,
    pub clock: Clock,
}

impl Tenant {
    /// A tenant with a provider of its own.
    pub async fn start(id: &str) -> Self {
        Self::start_with(id, |_| {}).await
    }

    /// The same with another provider.
    pub async fn start_with(id: &str, change: impl FnOnce(&mut ProviderSpec)) -> Self {
        let clock = Clock::system();
        let client = Client::new(&format!("{id}-client"));
        let user = User::new(ADA, "a good password", "Ada Lovelace").in_organization("org_one", "one");
        let mut spec = ProviderSpec { clients: vec![client], users: vec![user], ..ProviderSpec::new(id) };
        change(&mut spec);
        let client = spec.clients[0].clone();
        let provider = Provider::start(spec, (Ipv4Addr::LOCALHOST, 0).into(), clock.clone()).await.unwrap();
        provider.auto_approve(Some(ADA));
        let secret = client.secret.unwrap_or_else(|| String::new().into());
        let mut settings = TenantSettings::least(id.parse().unwrap(), provider.issuer(), &client.client_id, secret);
        settings.provider.auth0 = true;
        Self { settings, provider, clock }
    }
}

/// A running gateway.
pub struct World {
    pub gateway: Arc<Gateway>,
    pub address: SocketAddr,
    pub providers: BTreeMap<String, Provider>,
    pub clock: Clock,
    provider_clocks: Vec<Clock>,
    settings: Settings,
    data: Option<tempfile::TempDir>,
    running: Option<(ShutdownHandle, tokio::task::JoinHandle<()>)>,
}

impl World {
    pub async fn start(tenants: Vec<Tenant>) -> Self {
        Self::start_with(tenants, |_| {}).await
    }

    pub async fn start_with(tenants: Vec<Tenant>, change: impl FnOnce(&mut Settings)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut settings = Settings::least(data.path(), tenants.iter().map(|tenant| tenant.settings.clone()).collect());
        settings.server.drain_delay = std::time::Duration::ZERO;
        change(&mut settings);
        let listener = Listener::bind(settings.listen, "main", None).await.unwrap();
        settings.listen = listener.local_addr();
        let clock = Clock::system();
        let provider_clocks = tenants.iter().map(|tenant| tenant.clock.clone()).collect();
        let providers: BTreeMap<String, Provider> =
            tenants.into_iter().map(|tenant| (tenant.settings.id.to_string(), tenant.provider)).collect();
        for tenant in &settings.tenants {
            let origin = format!("http://{}", settings.listen);
            let base = format!("{origin}/{}", tenant.id);
            let client = &tenant.provider.client_id;
            // A test may bring a provider of its own.
            let known = providers.values().find(|provider| provider.issuer() == tenant.provider.issuer);
            let Some(provider) = known else { continue };
            provider.allow(client, &format!("{base}/callback"), &format!("{base}/logged-out"));
        }
        let mut world = Self {
            gateway: open(&settings, &clock).await,
            address: settings.listen,
            providers,
            clock,
            provider_clocks,
            settings,
            data: Some(data),
            running: None,
        };
        world.run(listener);
        world
    }

    fn run(&mut self, listener: Listener) {
        let (shutdown, handle) = Shutdown::manual();
        let route = web::routes(self.gateway.clone(), shutdown.clone());
        let (settings, metrics) = (self.settings.server.clone(), self.gateway.metrics.clone());
        let serving = tokio::spawn(async move {
            server::serve(listener, route, &settings, shutdown, metrics).await;
        });
        self.running = Some((handle, serving));
    }

    /// Asks the session store as often as must fail until it counts as down.
    pub async fn check_store(&self) {
        for _ in 0..3 {
            self.gateway.pulse.check_store().await;
        }
    }

    /// Orders the gateway to drain; it goes on serving for its `drain_delay`.
    pub fn drain(&self) {
        self.running.as_ref().unwrap().0.trigger();
    }

    /// A second gateway on the same folder. See [`World::behind`] for how browsers reach it.
    pub async fn twin(&self) -> Self {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), "main", None).await.unwrap();
        let settings = Settings { listen: listener.local_addr(), ..self.settings.clone() };
        let mut twin = Self {
            gateway: open(&settings, &self.clock).await,
            address: settings.listen,
            providers: BTreeMap::new(),
            clock: self.clock.clone(),
            provider_clocks: Vec::new(),
            settings,
            data: None,
            running: None,
        };
        twin.run(listener);
        twin
    }

    /// The same browser, whom a proxy in front of both gateways sends here: it still knows the address of `front` alone.
    pub fn behind(&self, front: &Self, browser: &Browser) -> Browser {
        let browser = browser.clone().with("x-forwarded-host", &front.address.to_string());
        Browser { home: self.url(""), ..browser }
    }

    /// Stops the gateway and starts it anew on the same folder and port, with settings changed.
    pub async fn restart_with(&mut self, change: impl FnOnce(&mut Settings)) {
        let (handle, serving) = self.running.take().unwrap();
        handle.trigger();
        serving.await.unwrap();
        self.gateway.sessions.close().await;
        change(&mut self.settings);
        let listener = Listener::bind(self.address, "main", None).await.unwrap();
        self.gateway = open(&self.settings, &self.clock).await;
        self.run(listener);
    }

    /// Lets time pass, for the gateway and the providers.
    pub fn pass(&self, seconds: i64) {
        self.clock.advance(seconds);
        self.provider_clocks.iter().for_each(|clock| clock.advance(seconds));
    }

    /// The provider of the only tenant.
    pub fn provider(&self) -> &Provider {
        self.providers.values().next().unwrap()
    }

    pub fn data_dir(&self) -> &std::path::Path {
        self.data.as_ref().unwrap().path()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn browser(&self) -> Browser {
        Browser::new(self.url(""))
    }

    /// A browser in which Ada has signed in at `tenant`.
    #[track_caller]
    pub fn signed_in(&self, tenant: &str) -> impl Future<Output = Browser> {
        let mut browser = self.browser();
        let path = format!("/{tenant}/login");
        async move {
            let page = browser.visit(&path).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.body);
            assert!(page.url.path().ends_with("/dashboard"), "{}", page.url);
            browser
        }
    }

    /// The value of a series in a scrape; 0 if it is not there.
    pub fn metric(&self, series: &str) -> u64 {
        let text = String::from_utf8(self.gateway.metrics.render()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

async fn open(settings: &Settings, clock: &Clock) -> Arc<Gateway> {
    let metrics = Metrics::new(settings.metrics.tenant_label_limit);
    let gateway = Gateway::open(settings, clock.clone(), metrics).await.unwrap();
    gateway.pulse.check_store().await;
    Arc::new(gateway)
}

/// What came back.
#[derive(Debug)]
pub struct Page {
    pub url: Url,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Page {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where it redirects to.
    #[track_caller]
    pub fn location(&self) -> Url {
        self.url.join(self.header(header::LOCATION)).unwrap()
    }

    /// The error code on an error page.
    pub fn code(&self) -> &str {
        let after = self.body.split("<p class=\"code\">").nth(1).unwrap_or_default();
        after.split("<code>").nth(1).and_then(|rest| rest.split("</code>").next()).unwrap_or_default()
    }
}

/// Keeps cookies by host, as browsers do: ports share them. Follows redirects only when it visits.
#[derive(Clone)]
pub struct Browser {
    client: reqwest::Client,
    home: String,
    pub cookies: BTreeMap<(String, String), String>,
    pub headers: Vec<(&'static str, String)>,
}

impl Browser {
    pub fn new(home: String) -> Self {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let headers = vec![("accept", "text/html,*/*".to_owned()), ("sec-fetch-mode", "navigate".to_owned())];
        Self { client, home, cookies: BTreeMap::new(), headers }
    }

    /// Sends a header from now on.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The cookies whose names start so.
    pub fn cookies_named(&self, start: &str) -> Vec<(String, String)> {
        let named = self.cookies.iter().filter(|((_, name), _)| name.starts_with(start));
        named.map(|((_, name), value)| (name.clone(), value.clone())).collect()
    }

    /// Puts a cookie into the jar of the gateway's host.
    pub fn plant(&mut self, name: &str, value: &str) {
        self.cookies.insert(("127.0.0.1".to_owned(), name.to_owned()), value.to_owned());
    }

    fn absolute(&self, url: &str) -> Url {
        Url::parse(&self.home).unwrap().join(url).unwrap()
    }

    /// One GET; redirects are not followed.
    pub async fn get(&mut self, url: &str) -> Page {
        self.send(Method::GET, url, None).await
    }

    /// One POST of a form.
    pub async fn post(&mut self, url: &str, form: &str) -> Page {
        self.send(Method::POST, url, Some(form.to_owned())).await
    }

    pub async fn send(&mut self, method: Method, url: &str, form: Option<String>) -> Page {
        let url = self.absolute(url);
        let host = url.host_str().unwrap().to_owned();
        let mut request = self.client.request(method, url.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .filter(|((of, _), _)| *of == host)
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        if let Some(form) = form {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        for cookie in headers.get_all(header::SET_COOKIE) {
            let cookie = cookie::Cookie::parse(cookie.to_str().unwrap().to_owned()).unwrap();
            let key = (host.clone(), cookie.name().to_owned());
            if cookie.max_age() == Some(time::Duration::ZERO) {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, cookie.value().to_owned());
            }
        }
        Page { url, status, headers, body: answer.text().await.unwrap() }
    }

    /// Navigates, redirects and all.
    pub async fn visit(&mut self, url: &str) -> Page {
        let mut page = self.get(url).await;
        for _ in 0..12 {
            if !page.status.is_redirection() {
                return page;
            }
            let next = page.location();
            page = self.get(next.as_str()).await;
        }
        panic!("redirected without end at {}", page.url.path());
    }

    /// Starts a sign-in and lets the provider answer; the address of the callback, not yet opened.
    pub async fn until_callback(&mut self, login: &str) -> Url {
        let mut page = self.get(login).await;
        while page.status.is_redirection() {
            let next = page.location();
            if next.path().ends_with("/callback") {
                return next;
            }
            page = self.get(next.as_str()).await;
        }
        panic!("no callback: {} {}", page.status, page.body);
    }

    /// Who is signed in at `tenant`, as scripts see it.
    pub async fn session(&mut self, tenant: &str) -> Option<Value> {
        let page = self.get(&format!("/{tenant}/session")).await;
        match page.status {
            StatusCode::OK => Some(page.json()),
            StatusCode::UNAUTHORIZED => None,
            status => panic!("{status}: {}", page.body),
        }
    }
}
