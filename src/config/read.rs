//! Reads all settings: the process's own, then every tenant's, then what only shows when tenants are seen together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::clashes::{self, Claims};
use super::inputs::Inputs;
use super::keys::{SETTINGS, TENANT};
use super::layers::{self, Layer, Origin};
use super::reader::Reader;
use super::{
    Fault, Faults, LimitSettings, LogFormat, LogSettings, MetricsSettings, OnInvalidTenant, OnStoreFailure, Reading,
    ReloadSettings, ServerSettings, Settings, Sources, TenantSettings, TlsSettings, audit, store, tenant_files, values,
};
use crate::key_ring::RingKey;
use crate::net::{self, Networks};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant_id::TenantId;

/// The file that is read if none is named.
const CONFIG_FILE: &str = "lychgate.toml";

const A_YEAR: Duration = Duration::from_hours(24 * 365);

/// Settings that can be served.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What is wrong with tenants that were left out, where settings say that they may be.
    pub skipped: Faults,
    /// What was read, so that it can be read again.
    pub reading: Reading,
}

/// Reads everything.
///
/// # Errors
/// All faults of all files, variables and flags. Faults of tenant files are none where `on_invalid_tenant` is `skip`.
pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
    let (settings, reading, tenant_faults) = read_all(sources);
    if reading.faults.is_empty() && (tenant_faults.is_empty() || settings.on_invalid_tenant == OnInvalidTenant::Skip) {
        return Ok(Loaded { settings, skipped: Faults(tenant_faults), reading });
    }
    Err(Faults(reading.faults.into_iter().chain(tenant_faults).collect()))
}

/// Reads everything for whoever looks for mistakes: what is good, and every fault. Where there is one, the settings are
/// for looking further and not for serving.
pub fn examine(sources: &Sources) -> (Settings, Faults) {
    let (settings, reading, tenant_faults) = read_all(sources);
    (settings, Faults(reading.faults.into_iter().chain(tenant_faults).collect()))
}

/// Settings with the tenants that are good, what they were made of, faults of tenants.
fn read_all(sources: &Sources) -> (Settings, Reading, Vec<Fault>) {
    let reading = Reading::first(sources);
    let mut faults = reading.stray.clone();
    let mut good: Vec<(&str, &Arc<TenantSettings>)> = Vec::new();
    let mut claims = Claims::default();
    for tenant in reading.tenants.values() {
        match &tenant.outcome {
            Ok(settings) => {
                let rivals = claims.rivals(settings).into_iter().map(|rival| good[rival]);
                let clashes: Vec<Fault> = rivals
                    .flat_map(|(file, other)| clashes::between((&tenant.file, settings), (file, other)))
                    .collect();
                if clashes.is_empty() {
                    claims.add(good.len(), settings);
                    good.push((&tenant.file, settings));
                }
                faults.extend(clashes);
            }
            Err(found) => faults.extend(found.iter().cloned()),
        }
    }
    let tenants = good.into_iter().map(|(_, settings)| Arc::clone(settings)).collect();
    (Settings { tenants, ..reading.settings.clone() }, reading, faults)
}

/// A reader of one tenant's file.
///
/// # Errors
/// There is no such tenant, or what leads to its file is faulty.
pub(super) fn tenant_reader<'a>(sources: &'a Sources, tenant: &TenantId) -> Result<Reader<'a>, Faults> {
    let mut faults = Vec::new();
    let folder = process_settings(sources, &mut faults).settings.tenants_dir;
    let mut files = tenant_files::find(sources, &folder, &mut faults).map_err(|fault| Faults(vec![fault]))?;
    match files.remove(tenant) {
        Some(files) if faults.is_empty() => {
            let file = files.open(sources).map_err(Faults)?;
            Ok(Reader::new(sources, TENANT, file.origin, &file.layers))
        }
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
pub(super) struct ProcessReading {
    pub(super) settings: Settings,
    /// What each key said.
    pub(super) digests: BTreeMap<&'static str, [u8; 32]>,
    pub(super) inputs: Inputs,
}

/// Reads everything but the tenants.
pub(super) fn process_settings(sources: &Sources, faults: &mut Vec<Fault>) -> ProcessReading {
    let home = config_file(sources);
    let mut layers = Vec::new();
    let mut inputs = Inputs::default();
    if let Some(path) = &home {
        let bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"));
        inputs.saw_file("", path, bytes.as_deref().ok());
        match bytes.and_then(|bytes| Layer::file(path, &bytes)) {
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
    let digests = reader.digests();
    let (found, seen) = reader.into_parts();
    faults.extend(found);
    inputs.extend(seen);
    ProcessReading { settings, digests, inputs }
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
        allow_no_tenants: reader.flag("allow_no_tenants").unwrap_or_default(),
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
            max_new_work: reader.count("server.max_new_work", &(1..=1_000_000)).unwrap_or(1) as usize,
            max_header_bytes: reader.size("server.max_header_bytes", &(8192..=(1 << 20))).unwrap_or(8192) as usize,
            max_body_bytes: reader.size("server.max_body_bytes", &(8192..=(1 << 30))).unwrap_or(8192) as usize,
            drain_delay: reader.duration("server.drain_delay", &seconds(0, minute * 10)).unwrap_or(minute),
            drain_timeout: reader.duration("server.drain_timeout", &seconds(0, minute * 60)).unwrap_or(minute),
        },
        limits: LimitSettings::read(reader),
        tls: tls(reader),
        reload: ReloadSettings {
            watch: reader.flag("reload.watch").unwrap_or_default(),
            poll: reader.duration("reload.poll", &seconds(0, minute * 60)).unwrap_or(minute),
            debounce: reader.duration("reload.debounce", &(Duration::from_millis(10)..=minute)).unwrap_or(minute),
        },
        metrics: MetricsSettings {
            tenant_label_limit: reader.count("metrics.tenant_label_limit", &(0..=100_000)).unwrap_or_default() as usize,
        },
        audit: audit::read(reader),
        on_store_failure: reader
            .choice(
                "health.session_store_failure",
                &[("not_ready", OnStoreFailure::NotReady), ("degraded", OnStoreFailure::Degraded)],
            )
            .unwrap_or_default(),
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

impl Settings {
    /// The defaults, with these tenants and this data folder, on a free port of loopback.
    pub fn least(data_dir: &Path, tenants: Vec<TenantSettings>) -> Self {
        let flags = vec![("listen", "127.0.0.1:0".to_owned()), ("data", data_dir.display().to_string())];
        let sources = Sources { flags, ..Sources::default() };
        let mut reader = Reader::new(&sources, SETTINGS, Origin::Defaults, &flag_layers(&sources));
        Self { tenants: tenants.into_iter().map(Arc::new).collect(), ..read_settings(&mut reader) }
    }
}

fn flag_layers(sources: &Sources) -> Vec<Layer> {
    sources.flags.iter().map(|(key, text)| Layer::of_text(Origin::Flags, key, text)).collect()
}

/// How long anything of a tenant may last.
pub(super) const LONGEST: Duration = A_YEAR;
