//! Files change while a gateway runs: what is taken over, what is refused, and who notices nothing.

mod process;
mod writers;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use lychgate::clock::Clock;
use lychgate::config::{self, Sources};
use lychgate::demo::{Client, Provider, ProviderSpec, User};
use lychgate::gateway::{Gateway, LiveGateway, ReloadOutcome, ReloadResult, Trigger};
use lychgate::metrics::Metrics;
use lychgate::reload::Reloader;
use lychgate::secret::ExposeSecret as _;
use lychgate::server::{self, Listener, Shutdown, ShutdownHandle};
use lychgate::web;
use reqwest::{Method, StatusCode};

use crate::reverse_proxy::toy::Toy;
use crate::support::{ADA, Browser, Page};

/// Tenants that the provider knows as clients, all of them with Ada as their user.
const CLIENTS: [&str; 3] = ["acme", "globex", "initech"];

/// A gateway that follows files, and a provider.
struct House {
    folder: tempfile::TempDir,
    provider: Provider,
    secrets: BTreeMap<&'static str, String>,
    live: LiveGateway,
    reloader: Arc<Reloader>,
    address: SocketAddr,
    _running: ShutdownHandle,
}

impl House {
    /// With the tenant `acme`.
    async fn new() -> Self {
        Self::with(&["acme"], "").await
    }

    /// With these tenants and this settings file.
    async fn with(tenants: &[&str], settings: &str) -> Self {
        Self::prepared(settings, |house| {
            for id in tenants {
                house.write(&format!("tenants/{id}.toml"), &house.tenant(id));
            }
        })
        .await
    }

    /// With what `prepare` writes.
    async fn prepared(settings: &str, prepare: impl FnOnce(&Draft)) -> Self {
        let clients: Vec<Client> = CLIENTS.map(|id| Client::new(&format!("{id}-client"))).into();
        let secrets = CLIENTS.into_iter().zip(&clients);
        let secrets = secrets.map(|(id, client)| (id, client.secret.as_ref().unwrap().expose_secret().to_owned()));
        let secrets = secrets.collect();
        let users = vec![User::new(ADA, "a good password", "Ada Lovelace")];
        let spec = ProviderSpec { clients, users, ..ProviderSpec::new("House") };
        let provider = Provider::start(spec, (Ipv4Addr::LOCALHOST, 0).into(), Clock::system()).await.unwrap();
        provider.auto_approve(Some(ADA));
        let draft = Draft { folder: tempfile::tempdir().unwrap(), issuer: provider.issuer().to_owned(), secrets };
        draft
            .write("lychgate.toml", &format!("{settings}\n[server]\ndrain_delay = 0\n[reload]\ndebounce = \"20ms\"\n"));
        prepare(&draft);

        let sources = Sources { directory: draft.folder.path().to_owned(), ..Sources::default() };
        let mut loaded = config::load(&sources).unwrap_or_else(|faults| panic!("{faults}"));
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), "main", None).await.unwrap();
        let address = listener.local_addr();
        loaded.settings.listen = address;
        for id in CLIENTS {
            let base = format!("http://{address}/{id}");
            provider.allow(&format!("{id}-client"), &format!("{base}/callback"), &format!("{base}/logged-out"));
        }
        let settings = loaded.settings.clone();
        let metrics = Metrics::new(settings.metrics.tenant_label_limit);
        let gateway = Gateway::open(&settings, Clock::system(), metrics.clone()).await.unwrap();
        gateway.pulse.check_store().await;
        let live = LiveGateway::from(Arc::new(gateway));
        let reloader = Reloader::new(sources, loaded, live.clone());
        let (shutdown, handle) = Shutdown::manual();
        let route = web::routes(live.clone(), shutdown.clone());
        tokio::spawn(async move { server::serve(listener, route, &settings.server, shutdown, metrics).await });
        let Draft { folder, secrets, .. } = draft;
        Self { folder, provider, secrets, live, reloader, address, _running: handle }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        writers::replace(&self.path(name), text);
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    fn tenant(&self, id: &str) -> String {
        tenant(self.provider.issuer(), id, &self.secrets[id])
    }

    /// Reads the files again because somebody asks.
    async fn reload(&self) -> Arc<ReloadOutcome> {
        self.reloader.reload(Trigger::Request).await
    }

    /// The same, and all of it must be taken over.
    #[track_caller]
    fn applied(&self) -> impl Future<Output = Arc<ReloadOutcome>> {
        let reloader = Arc::clone(&self.reloader);
        async move {
            let outcome = reloader.reload(Trigger::Request).await;
            assert_eq!((outcome.result, outcome.rejected.as_slice()), (ReloadResult::Applied, &[][..]));
            outcome
        }
    }

    fn browser(&self) -> Browser {
        Browser::new(format!("http://{}", self.address))
    }

    async fn get(&self, path: &str) -> Page {
        self.browser().get(path).await
    }

    async fn signed_in(&self, tenant: &str) -> Browser {
        let mut browser = self.browser();
        let page = browser.visit(&format!("/{tenant}/login")).await;
        assert!(page.url.path().ends_with("/dashboard"), "{} {}", page.url, page.body);
        browser
    }

    fn metric(&self, series: &str) -> Option<f64> {
        let text = String::from_utf8(self.live.now().metrics.render()).unwrap();
        let line =
            text.lines().find_map(|line| line.strip_prefix("lychgate_")?.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }
}

/// The folder before the gateway starts.
struct Draft {
    folder: tempfile::TempDir,
    issuer: String,
    secrets: BTreeMap<&'static str, String>,
}

impl Draft {
    fn write(&self, name: &str, text: &str) {
        writers::replace(&self.folder.path().join(name), text);
    }

    fn tenant(&self, id: &str) -> String {
        tenant(&self.issuer, id, &self.secrets[id])
    }
}

fn tenant(issuer: &str, id: &str, secret: &str) -> String {
    format!("issuer = \"{issuer}\"\nclient_id = \"{id}-client\"\nclient_secret = \"{secret}\"\n")
}

fn names(ids: &[lychgate::tenant_id::TenantId]) -> Vec<&str> {
    ids.iter().map(lychgate::tenant_id::TenantId::as_str).collect()
}

/// The reasons, one text.
fn reasons(outcome: &ReloadOutcome) -> String {
    outcome.rejected.iter().map(|rejection| rejection.reason.as_str()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn tenants_come_change_and_go_and_the_others_stay_as_they_are() {
    let house = House::with(&["acme"], "").await;
    let untouched = house.live.now().tenants.get("acme").unwrap().clone();
    assert_eq!(house.get("/globex").await.status, StatusCode::NOT_FOUND);

    house.write("tenants/globex.toml", &house.tenant("globex"));
    let outcome = house.applied().await;
    assert_eq!((names(&outcome.added), outcome.changed.len(), outcome.removed.len()), (vec!["globex"], 0, 0));
    house.signed_in("globex").await;

    house.write("tenants/globex.toml", &format!("display_name = \"Globex Inc\"\n{}", house.tenant("globex")));
    let outcome = house.applied().await;
    assert_eq!((outcome.added.len(), names(&outcome.changed), outcome.removed.len()), (0, vec!["globex"], 0));
    assert!(house.get("/globex").await.body.contains("Globex Inc"));
    assert_eq!(house.reload().await.result, ReloadResult::Unchanged);

    house.remove("tenants/globex.toml");
    let outcome = house.applied().await;
    assert_eq!((outcome.added.len(), outcome.changed.len(), names(&outcome.removed)), (0, 0, vec!["globex"]));
    assert_eq!(house.get("/globex").await.status, StatusCode::NOT_FOUND);

    let now = house.live.now();
    assert!(
        Arc::ptr_eq(&untouched, now.tenants.get("acme").unwrap()),
        "with all it holds: keys, connections, circuits"
    );
    assert_eq!(house.provider.count("/.well-known/openid-configuration"), 1, "what was fetched is shared and stays");
    assert_eq!(house.metric(r#"config_reloads_total{result="applied",trigger="request"}"#), Some(3.0));
    assert_eq!(house.metric(r#"config_reloads_total{result="unchanged",trigger="request"}"#), Some(1.0));
    assert_eq!(house.metric(r#"config_reloads_total{result="applied",trigger="startup"}"#), Some(1.0));
}

#[tokio::test]
async fn a_tenant_that_is_gone_leaves_no_series() {
    let house = House::with(&["acme", "globex"], "").await;
    house.signed_in("globex").await;
    let text = || String::from_utf8(house.live.now().metrics.render()).unwrap();
    assert!(text().contains("tenant=\"globex\""));
    assert_eq!(house.metric(r#"tenants{state="active"}"#), Some(2.0));
    house.remove("tenants/globex.toml");
    house.applied().await;
    assert!(!text().contains("globex"), "{}", text());
    assert_eq!(house.metric(r#"tenants{state="active"}"#), Some(1.0));
}

#[tokio::test]
async fn a_tenant_whose_file_is_no_good_goes_on_as_it_was_and_a_new_one_is_left_out() {
    let house = House::new().await;
    let valid = |id: &str| house.metric(&format!("tenant_config_valid{{tenant=\"{id}\"}}"));
    assert_eq!((valid("acme"), house.metric("config_last_reload_successful")), (Some(1.0), Some(1.0)));
    let good = house.tenant("acme");
    house.write("tenants/acme.toml", &good.replace("client_id", "clientid"));
    house.write("tenants/globex.toml", "domain = 1\n");
    house.write("tenants/initech.toml", &house.tenant("initech"));

    let outcome = house.reload().await;
    assert_eq!(outcome.result, ReloadResult::Partial);
    assert_eq!(names(&outcome.added), ["initech"], "the good go on");
    let said = reasons(&outcome);
    assert!(
        said.contains("tenants/acme.toml: clientid: unknown key") && said.contains("tenants/globex.toml"),
        "{said}"
    );
    assert!(!said.contains(&house.secrets["acme"]), "no secret is told");
    let whose: Vec<_> = outcome.rejected.iter().map(|rejection| rejection.tenant.as_ref().unwrap().as_str()).collect();
    assert!(whose.contains(&"acme") && whose.contains(&"globex"));
    house.signed_in("acme").await;
    house.signed_in("initech").await;
    assert_eq!(house.get("/globex").await.status, StatusCode::NOT_FOUND);
    assert_eq!((valid("acme"), valid("globex"), valid("initech")), (Some(0.0), Some(0.0), Some(1.0)));
    assert_eq!(house.metric(r#"tenants{state="invalid"}"#), Some(2.0));
    assert_eq!(house.metric("config_last_reload_successful"), Some(0.0));

    assert_eq!(house.reloader.reload(Trigger::Poll).await.result, ReloadResult::Unchanged, "it is told once");
    assert_eq!(house.metric("config_last_reload_successful"), Some(0.0), "and yet not well");
    assert_eq!(house.reload().await.result, ReloadResult::Partial, "who asks is told again");
    let page = house.get("/readyz?verbose").await.json();
    assert_eq!((&page["ready"], &page["last_reload"]["result"]), (&true.into(), &"partial".into()));
    assert_eq!(page["last_reload"]["trigger"], "request");
    assert!(page["last_reload"]["rejected"].to_string().contains("clientid"), "{page}");
    let seen_by_proxy = house.browser().with("x-forwarded-for", "192.0.2.1").get("/readyz?verbose").await;
    assert_eq!(seen_by_proxy.body, "ready\n", "others are not told");

    house.write("tenants/acme.toml", &good);
    house.remove("tenants/globex.toml");
    let outcome = house.applied().await;
    assert!(outcome.changed.is_empty(), "what it was before is what it is");
    assert_eq!((valid("acme"), valid("globex")), (Some(1.0), None));
    assert_eq!(house.metric("config_last_reload_successful"), Some(1.0));
}

#[tokio::test]
async fn a_key_or_certificate_that_is_none_keeps_the_tenant_as_it_was() {
    let house = House::new().await;
    let good = house.tenant("acme");
    house.write("tenants/ca.pem", "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n");
    house.write("tenants/acme.toml", &format!("ca_file = \"ca.pem\"\n{good}"));
    let outcome = house.reload().await;
    assert_eq!(outcome.result, ReloadResult::Partial);
    assert!(reasons(&outcome).contains("tenants/acme.toml: cannot be used"), "{}", reasons(&outcome));
    house.signed_in("acme").await;
}

#[tokio::test]
async fn a_host_stays_with_the_tenant_that_has_it() {
    let house = House::prepared("", |draft| {
        draft.write("tenants/globex.toml", &format!("hosts = [\"login.example\"]\n{}", draft.tenant("globex")));
    })
    .await;
    house.write("tenants/acme.toml", &format!("hosts = [\"login.example\"]\n{}", house.tenant("acme")));
    let outcome = house.reload().await;
    assert_eq!((outcome.result, outcome.added.len()), (ReloadResult::Partial, 0));
    let said = reasons(&outcome);
    assert!(said.contains("acme.toml: hosts: login.example is also a host of tenants/globex.toml"), "{said}");
    assert_eq!(house.live.now().tenants.of_host("login.example").unwrap().id().as_str(), "globex");

    house.write("tenants/globex.toml", &house.tenant("globex"));
    let outcome = house.applied().await;
    assert_eq!((names(&outcome.added), names(&outcome.changed)), (vec!["acme"], vec!["globex"]));
    assert_eq!(house.live.now().tenants.of_host("login.example").unwrap().id().as_str(), "acme");
}

#[tokio::test]
async fn all_files_gone_at_once_are_a_volume_that_is_not_there() {
    let house = House::with(&["acme", "globex"], "").await;
    std::fs::rename(house.path("tenants"), house.path("elsewhere")).unwrap();
    let outcome = house.reload().await;
    assert_eq!(outcome.result, ReloadResult::Rejected);
    assert!(reasons(&outcome).contains("all tenants' files are gone at once"), "{}", reasons(&outcome));
    house.signed_in("acme").await;
    assert_eq!(house.reloader.reload(Trigger::Poll).await.result, ReloadResult::Unchanged, "told once");

    house.write("lychgate.toml", "allow_no_tenants = true\n[server]\ndrain_delay = 0\n[reload]\ndebounce = \"20ms\"\n");
    let outcome = house.applied().await;
    assert_eq!((outcome.removed.len(), outcome.settings.as_slice()), (2, &["allow_no_tenants"][..]));
    assert_eq!(house.get("/acme").await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.get("/readyz").await.status, StatusCode::OK, "that is meant");
}

#[tokio::test]
async fn settings_of_the_process_that_are_no_good_keep_everything_as_it_was() {
    let house = House::new().await;
    house.write("lychgate.toml", "list_tenant = true\n");
    house.write("tenants/globex.toml", &house.tenant("globex"));
    let outcome = house.reload().await;
    assert_eq!((outcome.result, outcome.added.len()), (ReloadResult::Rejected, 0));
    assert!(reasons(&outcome).contains("lychgate.toml: list_tenant: unknown key"), "{}", reasons(&outcome));
    assert_eq!(house.get("/globex").await.status, StatusCode::NOT_FOUND);
    house.signed_in("acme").await;
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_taken_over() {
    let house = House::new().await;
    assert!(!house.get("/").await.body.contains("/acme"));
    let common = "[server]\ndrain_delay = 0\n";
    let changed = format!("listen = \"127.0.0.1:9\"\nlist_tenants = true\ntrusted_proxies = []\n{common}");
    house.write("lychgate.toml", &format!("{changed}max_connections = 7\n[reload]\ndebounce = \"20ms\"\n"));
    let outcome = house.reload().await;
    assert_eq!(outcome.result, ReloadResult::Partial);
    assert_eq!(outcome.needs_restart, ["listen", "server.max_connections"]);
    assert_eq!(outcome.settings, ["list_tenants", "trusted_proxies"]);
    assert!(house.get("/").await.body.contains("/acme"));
    assert!(!house.live.now().trusted_proxies.contains(house.address.ip()));

    house.write("lychgate.toml", &format!("list_tenants = true\n{common}[reload]\ndebounce = \"20ms\"\n"));
    let outcome = house.applied().await;
    assert_eq!((outcome.needs_restart.len(), outcome.settings.as_slice()), (0, &["trusted_proxies"][..]));
}

#[tokio::test]
async fn a_secret_in_a_file_is_taken_over() {
    let house = House::prepared("", |draft| {
        let by_file =
            format!("issuer = \"{}\"\nclient_id = \"acme-client\"\nclient_secret_file = \"s/acme\"\n", draft.issuer);
        draft.write("tenants/acme.toml", &by_file);
        draft.write("tenants/s/acme", "an old secret\n");
    })
    .await;
    let mut browser = house.browser();
    let page = browser.visit("/acme/login").await;
    assert_eq!(page.code(), "client_refused", "{}", page.body);
    house.write("tenants/s/acme", &house.secrets["acme"]);
    assert_eq!(names(&house.applied().await.changed), ["acme"]);
    house.signed_in("acme").await;
    house.remove("tenants/s/acme");
    let outcome = house.reload().await;
    assert!(
        reasons(&outcome).contains("client_secret_file: names a file that cannot be read"),
        "{}",
        reasons(&outcome)
    );
    house.signed_in("acme").await;
}

#[tokio::test]
async fn templates_are_taken_over_if_they_are_good() {
    let house = House::prepared("templates = \"look\"", |draft| {
        draft.write("tenants/acme.toml", &draft.tenant("acme"));
        draft.write("look/index.hbs", "<p>first {{name}}</p>");
    })
    .await;
    assert_eq!(house.get("/acme").await.body, "<p>first acme</p>");
    house.write("look/index.hbs", "<p>second {{name}}</p>");
    house.write("look/acme/landing.hbs", "<p>of acme</p>");
    let outcome = house.applied().await;
    assert_eq!((outcome.settings.as_slice(), outcome.changed.len()), (&["templates"][..], 0));
    assert_eq!(house.get("/acme").await.body, "<p>second acme</p>");

    house.write("look/index.hbs", "<p>{{t \"no such words\"}}</p>");
    let outcome = house.reload().await;
    assert_eq!((outcome.result, outcome.settings.len()), (ReloadResult::Partial, 0));
    assert!(reasons(&outcome).contains("index.hbs"), "{}", reasons(&outcome));
    assert_eq!(house.get("/acme").await.body, "<p>second acme</p>");
    house.write("look/index.hbs", "<p>second {{name}}</p>");
    house.applied().await;
}

#[tokio::test]
async fn certificates_that_an_application_is_trusted_by_are_taken_over() {
    let issued = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (own, other) = (issued(), issued());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    let toy = Toy::over(Some(tokio_rustls::TlsAcceptor::from(Arc::new(tls)))).await;
    let house = House::prepared("", |draft| {
        let upstream = format!(
            "[[rules]]\neffect = \"public\"\n[[upstreams]]\npath = \"/app\"\nurl = \"https://localhost:{}\"\nca_file = \"ca.pem\"\n",
            toy.address.port()
        );
        draft.write("tenants/acme.toml", &format!("{}{upstream}", draft.tenant("acme")));
        draft.write("tenants/ca.pem", &other.cert.pem());
    })
    .await;
    assert_eq!(house.get("/acme/app/x").await.status, StatusCode::BAD_GATEWAY);
    house.write("tenants/ca.pem", &own.cert.pem());
    assert_eq!(names(&house.applied().await.changed), ["acme"]);
    assert_eq!(house.get("/acme/app/x").await.status, StatusCode::OK);
}

#[tokio::test]
async fn sessions_and_sign_ins_under_way_go_on_while_their_tenant_changes() {
    let house = House::new().await;
    let mut ada = house.signed_in("acme").await;
    let mut under_way = house.browser();
    let callback = under_way.until_callback("/acme/login?return_to=/acme/dashboard").await;

    house.write(
        "tenants/acme.toml",
        &format!("display_name = \"Other\"\nscopes = [\"openid\"]\n{}", house.tenant("acme")),
    );
    assert_eq!(names(&house.applied().await.changed), ["acme"]);
    assert!(ada.session("acme").await.is_some());
    let page = under_way.get(callback.as_str()).await;
    assert_eq!((page.status, page.location().path()), (StatusCode::SEE_OTHER, "/acme/dashboard"), "{}", page.body);
    assert!(under_way.session("acme").await.is_some());

    // Gone for a while, it finds its sessions when it is back.
    house.write("tenants/globex.toml", &house.tenant("globex"));
    let file = house.tenant("acme");
    house.remove("tenants/acme.toml");
    house.applied().await;
    assert_eq!(ada.get("/acme/session").await.status, StatusCode::NOT_FOUND);
    house.write("tenants/acme.toml", &file);
    house.applied().await;
    assert!(ada.session("acme").await.is_some());
}

#[tokio::test]
async fn a_request_that_is_under_way_ends_as_it_began() {
    let toy = Toy::start().await;
    let house = House::prepared("", |draft| {
        let upstream = format!(
            "[[rules]]\neffect = \"public\"\n[[upstreams]]\npath = \"/app\"\nurl = \"http://{}\"\n",
            toy.address
        );
        draft.write("tenants/acme.toml", &format!("{}{upstream}", draft.tenant("acme")));
        draft.write("tenants/globex.toml", &draft.tenant("globex"));
    })
    .await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    toy.seen.events.send("one ").unwrap();
    let url = format!("http://{}/acme/app/events", house.address);
    let mut answer = client.request(Method::GET, &url).send().await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "one ");
    house.remove("tenants/acme.toml");
    assert_eq!(names(&house.applied().await.removed), ["acme"]);
    toy.seen.events.send("two").unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "two", "the application goes on with its answer");
    assert_eq!(client.get(&url).send().await.unwrap().status(), StatusCode::NOT_FOUND, "and gets no new request");
}

#[tokio::test]
async fn a_tenant_that_an_editor_takes_away_for_a_moment_stays() {
    let house = House::with(&["acme", "globex"], "").await;
    let (path, backup) = (house.path("tenants/acme.toml"), house.path("tenants/acme.toml~"));
    std::fs::rename(&path, &backup).unwrap();
    let reloader = Arc::clone(&house.reloader);
    let reload = tokio::spawn(async move { reloader.reload(Trigger::Poll).await });
    std::fs::rename(&backup, &path).unwrap();
    assert_eq!(reload.await.unwrap().result, ReloadResult::Unchanged);
    house.signed_in("acme").await;
}

#[tokio::test]
async fn the_number_of_the_settings_tells_processes_apart_that_serve_others() {
    let same = |draft: &Draft| {
        draft.write(
            "tenants/acme.toml",
            "issuer = \"https://id.example\"\nclient_id = \"a\"\nclient_secret_file = \"s\"\n",
        );
        draft.write("tenants/s", "one secret\n");
    };
    let (one, other) = (House::prepared("", same).await, House::prepared("", same).await);
    let hash = |house: &House| house.metric("config_hash").unwrap();
    assert!(hash(&one) > 0.0);
    assert_eq!(hash(&one).to_bits(), hash(&other).to_bits());
    one.write("tenants/s", "another secret\n");
    one.applied().await;
    assert_eq!(hash(&one).to_bits(), hash(&other).to_bits(), "nobody can try secrets against it");
    one.write("lychgate.toml", "list_tenants = true\n[server]\ndrain_delay = 0\n[reload]\ndebounce = \"20ms\"\n");
    one.applied().await;
    let changed = hash(&one);
    assert_ne!(changed.to_bits(), hash(&other).to_bits());
    let file = std::fs::read_to_string(one.path("tenants/acme.toml")).unwrap();
    one.write("tenants/acme.toml", &format!("display_name = \"A\"\n{file}"));
    one.applied().await;
    assert_ne!(hash(&one).to_bits(), changed.to_bits());
}

#[tokio::test]
async fn every_difference_and_every_refusal_stands_in_the_audit_log() {
    let house = House::with(&["acme", "globex"], "[audit]\nsink = \"file\"\nfile = \"audit.log\"").await;
    house.write("tenants/acme.toml", &format!("{}display_name = \"Acme\"\n", house.tenant("acme")));
    house.write("tenants/initech.toml", &house.tenant("initech"));
    house.remove("tenants/globex.toml");
    house.applied().await;
    house.write("tenants/initech.toml", "nothing = \"hush-hush\"");
    house.reload().await;
    house.write("lychgate.toml", "nothing = \"hush-hush\"");
    house.reload().await;
    house.live.now().audit.finish().await.unwrap();

    let text = std::fs::read_to_string(house.path("audit.log")).unwrap();
    assert!(!text.contains("hush-hush"), "{text}");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    crate::audit::assert_by_schema(&lines);
    let told = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    for (event, tenant) in [("tenant.added", "initech"), ("tenant.changed", "acme"), ("tenant.removed", "globex")] {
        assert_eq!(told(event).len(), 1, "{text}");
        assert_eq!((&told(event)[0]["tenant"], &told(event)[0]["trigger"]), (&tenant.into(), &"request".into()));
    }
    assert_eq!(told("tenant.rejected")[0]["tenant"], "initech");
    assert!(told("tenant.rejected")[0]["fault"].as_str().unwrap().contains("nothing"), "{text}");
    assert!(told("config.rejected")[0]["fault"].as_str().unwrap().contains("lychgate.toml"), "{text}");
    let applied: Vec<_> = told("config.applied").iter().map(|line| line["trigger"].as_str().unwrap()).collect();
    assert_eq!(applied, ["startup", "request"]);
    assert!(told("config.applied")[1]["config_hash"].is_string());
}
