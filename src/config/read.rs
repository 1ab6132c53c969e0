//! Reads all settings: the process's own, then every tenant's, then what only shows when tenants are seen together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::{SETTINGS, TENANT};
use super::layers::{self, Layer, Origin, tenant_of};
use super::read_tenant::{self, TenantFile};
use super::reader::Reader;
use super::{
    Fault, Faults, LogFormat, LogSettings, MetricsSettings, OnInvalidTenant, ServerSettings, Settings, Sources,
    TenantSettings, TlsSettings, store, values,
};
use crate::key_ring::RingKey;
use crate::net::{self, Networks};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant_id::TenantId;

/// The file that is read if none is named.
const CONFIG_FILE: &str = "lychgate.toml";

/// The tenant of `AUTH0_…` variables.
const DEFAULT_TENANT: &str = "default";

const A_YEAR: Duration = Duration::from_hours(24 * 365);

/// Settings that can be served.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What is wrong with tenants that were left out, where settings say that they may be.
    pub skipped: Faults,
}

/// Reads everything.
///
/// # Errors
/// All faults of all files, variables and flags. Faults of tenant files are none where `on_invalid_tenant` is `skip`.
pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
    let (settings, mut faults, tenant_faults) = read_all(sources);
    if faults.is_empty() && (tenant_faults.is_empty() || settings.on_invalid_tenant == OnInvalidTenant::Skip) {
        return Ok(Loaded { settings, skipped: Faults(tenant_faults) });
    }
    faults.extend(tenant_faults);
    Err(Faults(faults))
}

/// Reads everything for whoever looks for mistakes: what is good, and every fault. Where there is one, the settings are
/// for looking further and not for serving.
pub fn examine(sources: &Sources) -> (Settings, Faults) {
    let (settings, mut faults, tenant_faults) = read_all(sources);
    faults.extend(tenant_faults);
    (settings, Faults(faults))
}

/// Settings with the tenants that are good, faults of the process's own settings, faults of tenants.
fn read_all(sources: &Sources) -> (Settings, Vec<Fault>, Vec<Fault>) {
    let mut faults = sources.faults.clone();
    let settings = process_settings(sources, &mut faults);
    let mut tenant_faults = Vec::new();
    let files = tenant_files(sources, &settings.tenants_dir, &mut tenant_faults);
    let mut tenants = Vec::new();
    for file in &files {
        let (tenant, found) = read_tenant::read(sources, file, settings.public_url.as_ref());
        match tenant {
            Some(tenant) if found.is_empty() => tenants.push((file.shown.clone(), tenant)),
            _ => tenant_faults.extend(found),
        }
    }
    let (tenants, clashes) = without_clashes(tenants, &settings);
    tenant_faults.extend(clashes);
    (Settings { tenants, ..settings }, faults, tenant_faults)
}

/// A reader of one tenant's file.
///
/// # Errors
/// There is no such tenant, or what leads to its file is faulty.
pub(super) fn tenant_reader<'a>(sources: &'a Sources, tenant: &TenantId) -> Result<Reader<'a>, Faults> {
    let mut faults = Vec::new();
    let folder = process_settings(sources, &mut faults).tenants_dir;
    let files = tenant_files(sources, &folder, &mut faults);
    match files.iter().find(|file| file.id == *tenant) {
        Some(file) if faults.is_empty() => Ok(Reader::new(sources, TENANT, file.origin.clone(), &file.layers)),
        None if faults.is_empty() => Err(Faults(vec![Fault {
            file: sources.shown(&Origin::File(folder)),
            key: String::new(),
            reason: format!("there is no tenant {tenant}"),
            help: Some("`lychgate tenant add` makes one".to_owned()),
        }])),
        _ => Err(Faults(faults)),
    }
}

fn seconds(from: u64, to: Duration) -> RangeInclusive<Duration> {
    Duration::from_secs(from)..=to
}

/// Everything but the tenants.
fn process_settings(sources: &Sources, faults: &mut Vec<Fault>) -> Settings {
    let home = config_file(sources);
    let mut layers = Vec::new();
    if let Some(path) = &home {
        match Layer::file(path) {
            Ok(layer) => layers.push(layer),
            Err(reason) => faults.push(Fault {
                file: sources.shown(&Origin::File(path.clone())),
                key: String::new(),
                reason,
                help: None,
            }),
        }
    }
    layers.extend(layers::environment(&sources.environment));
    layers.extend(sources.flags.iter().map(|(key, text)| Layer::of_text(Origin::Flags, key, text)));
    let origin = Origin::File(home.unwrap_or_else(|| sources.directory.join(CONFIG_FILE)));
    let mut reader = Reader::new(sources, SETTINGS, origin, &layers);
    let settings = read_settings(&mut reader);
    faults.extend(reader.into_faults());
    settings
}

fn config_file(sources: &Sources) -> Option<PathBuf> {
    let named = sources.config.clone().or_else(|| sources.environment.get("LYCHGATE_CONFIG").map(PathBuf::from));
    match named {
        Some(path) => Some(sources.directory.join(path)),
        None => Some(sources.directory.join(CONFIG_FILE)).filter(|path| path.exists()),
    }
}

/// Reads every key of the process. What a fault hides is replaced by something harmless: it is thrown away.
pub(super) fn read_settings(reader: &mut Reader<'_>) -> Settings {
    let address = |text: &str| {
        text.parse::<SocketAddr>().map_err(|_| "is not an address and a port such as \"127.0.0.1:3000\"".to_owned())
    };
    let listen = reader.parsed("listen", address).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 3000)));
    let minute = Duration::from_mins(1);
    let secret = reader.secret("secret");
    let data_dir = reader.path("data").unwrap_or_default();
    let secret_file = reader.path("secret_file");
    check_secret(reader, secret.as_ref());
    let replicas = reader.count("replicas", &(1..=1000)).unwrap_or(1);
    check_shared_secret(reader, replicas);
    Settings {
        listen,
        admin_listen: reader.parsed("admin_listen", address),
        public_url: reader.parsed("public_url", values::bare_origin),
        tenants_dir: reader.path("tenants").unwrap_or_default(),
        templates_dir: reader.path("templates"),
        trusted_proxies: networks(reader, "trusted_proxies"),
        metrics_allow: networks(reader, "metrics_allow"),
        list_tenants: reader.flag("list_tenants").unwrap_or_default(),
        on_invalid_tenant: reader
            .choice("on_invalid_tenant", &[("fail", OnInvalidTenant::Fail), ("skip", OnInvalidTenant::Skip)])
            .unwrap_or_default(),
        replicas,
        // What a file holds may change; it is read when it is needed.
        secret: secret.filter(|_| secret_file.is_none()),
        secret_file: secret_file.unwrap_or_else(|| data_dir.join("secret.key")),
        data_dir,
        sessions: store::read(reader, replicas),
        log: LogSettings {
            format: reader
                .choice(
                    "log.format",
                    &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)],
                )
                .unwrap_or_default(),
            level: reader.parsed("log.level", values::log_level).unwrap_or_default(),
        },
        server: ServerSettings {
            header_timeout: reader.duration("server.header_timeout", &seconds(1, minute)).unwrap_or(minute),
            request_timeout: reader.duration("server.request_timeout", &seconds(1, minute * 60)).unwrap_or(minute),
            idle_timeout: reader.duration("server.idle_timeout", &seconds(1, minute * 60)).unwrap_or(minute),
            max_connections: reader.count("server.max_connections", &(1..=1_000_000)).unwrap_or(1) as usize,
            max_header_bytes: reader.size("server.max_header_bytes", &(8192..=(1 << 20))).unwrap_or(8192) as usize,
            max_body_bytes: reader.size("server.max_body_bytes", &(8192..=(1 << 30))).unwrap_or(8192) as usize,
            drain_delay: reader.duration("server.drain_delay", &seconds(0, minute * 10)).unwrap_or(minute),
            drain_timeout: reader.duration("server.drain_timeout", &seconds(0, minute * 60)).unwrap_or(minute),
        },
        tls: tls(reader),
        metrics: MetricsSettings {
            tenant_label_limit: reader.count("metrics.tenant_label_limit", &(0..=100_000)).unwrap_or_default() as usize,
        },
        tenants: Vec::new(),
    }
}

fn check_secret(reader: &mut Reader<'_>, secret: Option<&SecretString>) {
    if secret.is_some_and(|secret| RingKey::from_text(secret.expose_secret()).is_err()) {
        let path = if reader.is_set("secret") { "secret" } else { "secret_file" };
        reader.fault(path, "is not a key", Some("`lychgate secret` prints one"));
    }
}

/// Several replicas are given their root secret: each would make one of its own, and open no cookie of another's.
fn check_shared_secret(reader: &mut Reader<'_>, replicas: u64) {
    if replicas > 1 && !reader.is_set("secret") && !reader.is_set("secret_file") {
        let reason = format!("is missing, and each of the {replicas} replicas would make a root secret of its own");
        let help = "`lychgate secret` prints one: give all replicas the same; or set replicas = 1";
        reader.fault("secret_file", reason, Some(help));
    }
}

fn networks(reader: &mut Reader<'_>, path: &str) -> Networks {
    let list = reader.list(path, |text| net::parse_network(text).map_err(|error| error.to_string()));
    list.unwrap_or_default().into_iter().collect()
}

fn tls(reader: &mut Reader<'_>) -> Option<TlsSettings> {
    let (certificate, key) = (reader.path("tls.certificate_file"), reader.path("tls.key_file"));
    match (certificate, key) {
        (Some(certificate_file), Some(key_file)) => Some(TlsSettings { certificate_file, key_file }),
        (None, None) => None,
        (Some(_), None) => {
            reader.fault("tls.key_file", "is missing", Some("a certificate needs its private key"));
            None
        }
        (None, Some(_)) => {
            reader.fault("tls.certificate_file", "is missing", Some("a private key needs its certificate"));
            None
        }
    }
}

/// The tenant files in the folder, in order of their names, and the tenant of `AUTH0_…` variables.
fn tenant_files(sources: &Sources, folder: &Path, faults: &mut Vec<Fault>) -> Vec<TenantFile> {
    let shown = |path: &Path| sources.shown(&Origin::File(path.to_owned()));
    let fault = |path: &Path, reason: String, help: Option<String>| Fault {
        file: shown(path),
        key: String::new(),
        reason,
        help,
    };
    let mut paths = match std::fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| !path.is_dir()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            faults.push(fault(folder, format!("the folder of tenants cannot be read: {error}"), None));
            Vec::new()
        }
    };
    paths.sort();
    let mut files: BTreeMap<TenantId, TenantFile> = BTreeMap::new();
    for path in paths {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).and_then(tenant_of) else { continue };
        let id: TenantId = match name.parse::<TenantId>() {
            Ok(id) => id,
            Err(error) => {
                faults.push(fault(&path, format!("the file's name {error}"), None));
                continue;
            }
        };
        if let Some(first) = files.get(&id) {
            faults.push(fault(
                &path,
                format!("is a second file of the tenant {id}"),
                Some(format!("keep one; the other is {}", first.shown)),
            ));
            continue;
        }
        match Layer::file(&path) {
            Ok(layer) => {
                files.insert(
                    id.clone(),
                    TenantFile { id, shown: shown(&path), origin: layer.origin.clone(), layers: vec![layer] },
                );
            }
            Err(reason) => faults.push(fault(&path, reason, None)),
        }
    }
    if let Some(file) = auth0_tenant(sources, faults).filter(|file| !files.contains_key(&file.id)) {
        files.insert(file.id.clone(), file);
    }
    files.into_values().collect()
}

/// The tenant that `AUTH0_DOMAIN`, `AUTH0_CLIENT_ID` and `AUTH0_CLIENT_SECRET` make, all three together.
fn auth0_tenant(sources: &Sources, faults: &mut Vec<Fault>) -> Option<TenantFile> {
    let variable = |key: &str| Origin::Auth0.spell(key);
    let value = |key: &str| sources.environment.get(&variable(key)).filter(|value| !value.is_empty());
    let needed = ["domain", "client_id", "client_secret"];
    let missing: Vec<&str> = needed.into_iter().filter(|key| value(key).is_none()).collect();
    if missing.len() == needed.len() {
        return None;
    }
    for key in &missing {
        faults.push(Fault {
            file: sources.shown(&Origin::Auth0),
            key: variable(key),
            reason: "is not set, though others of AUTH0_DOMAIN, AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET are".to_owned(),
            help: Some("set all three, or none and write tenant files".to_owned()),
        });
    }
    if !missing.is_empty() {
        return None;
    }
    let layers =
        needed.iter().chain(&["audience"]).filter_map(|key| Some(Layer::of_text(Origin::Auth0, key, value(key)?)));
    let layers = layers.collect();
    let id = DEFAULT_TENANT.parse().expect("a good id");
    Some(TenantFile { id, shown: sources.shown(&Origin::Auth0), origin: Origin::Auth0, layers })
}

/// What only shows when tenants are seen together. A tenant that clashes with an earlier one is left out.
fn without_clashes(tenants: Vec<(String, TenantSettings)>, settings: &Settings) -> (Vec<TenantSettings>, Vec<Fault>) {
    let mut good: Vec<(String, TenantSettings)> = Vec::new();
    let mut faults = Vec::new();
    for (file, tenant) in tenants {
        let before = faults.len();
        let mut fault = |key: &str, reason: String, help: &str| {
            faults.push(Fault { file: file.clone(), key: key.to_owned(), reason, help: Some(help.to_owned()) });
        };
        for (other_file, other) in &good {
            if let Some(host) = tenant.hosts.iter().find(|host| other.hosts.contains(host)) {
                fault("hosts", format!("{host} is also a host of {other_file}"), "give each host to one tenant");
            }
            let same_client = tenant.provider.issuer == other.provider.issuer
                && tenant.provider.client_id == other.provider.client_id;
            let same_api = tenant.provider.issuer == other.provider.issuer
                && tenant.api.audiences.iter().any(|audience| other.api.audiences.contains(audience));
            if same_api && !told_apart(&tenant, other) {
                let reason =
                    format!("an API of the same issuer is also one of {other_file}: its tokens would pass at both");
                let help = "give each API to one tenant, or set `organizations` in both, with none in both";
                fault("api.audiences", reason, help);
            }
            if same_client && !told_apart(&tenant, other) {
                let reason =
                    format!("issuer and client_id are also those of {other_file}, and nothing tells the two apart");
                fault(
                    "organization",
                    reason,
                    "set `organization` or `organizations` in both, with no organization in both",
                );
            }
        }
        let public_host = settings.public_url.as_ref().and_then(|url| url.host_str());
        if let Some(host) = tenant.hosts.iter().find(|host| public_host == Some(host)) {
            fault(
                "hosts",
                format!("{host} is the host of public_url, which all tenants share"),
                "use another host, or leave it out",
            );
        }
        let public = settings.public_url.is_some() || settings.listen.ip().to_canonical().is_loopback();
        if !public && tenant.hosts.is_empty() {
            let reason = "is missing: we listen beyond loopback, and no URL of this tenant is known".to_owned();
            fault("hosts", reason, "set public_url for all tenants, or hosts for this one");
        }
        if faults.len() == before {
            good.push((file, tenant));
        }
    }
    (good.into_iter().map(|(_, tenant)| tenant).collect(), faults)
}

/// Whether organizations keep the users of two tenants apart that are one client of one provider. Their names are
/// compared as in id tokens: `Acme` is `acme`.
fn told_apart(one: &TenantSettings, other: &TenantSettings) -> bool {
    let [one, other] = [one, other].map(|tenant| {
        tenant.sign_in.organizations.iter().map(|organization| organization.to_lowercase()).collect::<Vec<_>>()
    });
    !one.is_empty() && !other.is_empty() && !one.iter().any(|organization| other.contains(organization))
}

impl Settings {
    /// The defaults, with these tenants and this data folder, on a free port of loopback.
    pub fn least(data_dir: &Path, tenants: Vec<TenantSettings>) -> Self {
        let flags = vec![("listen", "127.0.0.1:0".to_owned()), ("data", data_dir.display().to_string())];
        let sources = Sources { flags, ..Sources::default() };
        let mut reader = Reader::new(&sources, SETTINGS, Origin::Defaults, &flag_layers(&sources));
        Self { tenants, ..read_settings(&mut reader) }
    }
}

fn flag_layers(sources: &Sources) -> Vec<Layer> {
    sources.flags.iter().map(|(key, text)| Layer::of_text(Origin::Flags, key, text)).collect()
}

/// How long anything of a tenant may last.
pub(super) const LONGEST: Duration = A_YEAR;
