//! Every Prometheus series, declared once. A label `tenant` is made only from a [`TenantId`] that is configured.
//!
//! Names, labels and meaning stand in docs/reference/metrics.md as [`table`] writes them; a test compares them with a
//! scrape.
//! A tenant's counters are there from its first moment ([`Metrics::introduce`]) and go with it ([`Metrics::forget`]).

mod series;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus::{
    Counter, Encoder as _, Gauge, GaugeVec, Histogram, HistogramVec, IntCounterVec, IntGaugeVec, Registry, TextEncoder,
};
pub use prometheus::{IntCounter, IntGauge};

use self::Values::{First, Only};
use self::series::Declared;
pub use self::series::{Label, Series, Values};
use crate::tenant_id::TenantId;

/// The media type of what [`Metrics::render`] writes.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The label of requests that reached no tenant.
pub const NO_TENANT: &str = "_none";
/// The label that tenants beyond the limit share.
pub const OTHER_TENANT: &str = "_other";

const REQUEST_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const PROVIDER_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const STORE_BUCKETS: &[f64] = &[0.00001, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
const PERSON_BUCKETS: &[f64] = &[1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
const COOKIE_BUCKETS: &[f64] = &[256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0];

const METHODS: Values = Only(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"]);
const LISTENERS: Values = Only(&["main", "admin"]);
const STORES: Values = Only(&["embedded", "redis"]);
const PROVIDERS: Values = Only(&["auth0", "oidc"]);
const ENDPOINTS: Values = Only(&["discovery", "jwks", "par", "token", "userinfo", "revocation"]);
/// What sign-ins commonly end as.
const SIGN_INS: Values = First(&[
    "ok",
    "access_denied",
    "access_refused",
    "client_refused",
    "code_refused",
    "cookie_missing",
    "id_token_nonce",
    "id_token_signature",
    "provider_failed",
    "provider_unreachable",
    "sign_in_expired",
    "store_unavailable",
]);
/// The same of sign-ins with a local account.
const LOCAL_SIGN_INS: &[&str] = &["ok", "local_limited", "local_refused"];
/// How checks of tokens commonly end, and those that alerts ask for, by kind.
const VALIDATIONS: &[(&str, &[&str])] = &[
    (
        "id_token",
        &[
            "ok",
            "id_token_alg",
            "id_token_aud",
            "id_token_azp",
            "id_token_expired",
            "id_token_iss",
            "id_token_nonce",
            "id_token_signature",
        ],
    ),
    ("refresh", &["ok"]),
    ("access_token", &["ok", "bearer_expired", "bearer_signature"]),
    ("logout_token", &["ok", "logout_token_signature"]),
];

macro_rules! values {
    () => {
        Values::Any
    };
    ($values:expr) => {
        $values
    };
}

macro_rules! series {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty { $($label:ident $(: $values:expr)?),* } $(in $buckets:expr)?;)*) => {
        /// Every series of ours, in order; the process's own come besides.
        pub const SERIES: &[Series] = &[$(Series {
            name: concat!("lychgate_", stringify!($field)),
            kind: <$kind>::KIND,
            labels: &[$(Label { name: stringify!($label), values: values!($($values)?) }),*],
            help: concat!($($help),+).trim_ascii(),
        }),*];

        /// The handles of all series.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            labels: RwLock<TenantLabels>,
            scrape: Mutex<()>,
            $($(#[doc = $help])+ pub $field: $kind,)*
        }

        impl Metrics {
            /// Declares every series. Up to `tenant_label_limit` tenants get a label of their own.
            pub fn new(tenant_label_limit: usize) -> Arc<Self> {
                let registry = Registry::new();
                let mut declared = SERIES.iter();
                $(
                    let $field = {
                        let buckets: &[f64] = &[];
                        $(let buckets = if true { $buckets } else { buckets };)?
                        let series = declared.next().expect("as many as there are");
                        let series = <$kind>::declare(series, buckets).expect("names and labels are well formed");
                        registry.register(Box::new(series.clone())).expect("every name is declared once");
                        series
                    };
                )*
                #[cfg(target_os = "linux")]
                registry
                    .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
                    .expect("process metrics are declared once");
                let labels = RwLock::new(TenantLabels { limit: tenant_label_limit, ..TenantLabels::default() });
                let metrics = Self { registry, labels, scrape: Mutex::new(()), $($field),* };
                metrics.begin(&[]);
                Arc::new(metrics)
            }

            /// Makes the counters that have all of the labels in `known`, and no tenant without one, at zero.
            fn begin(&self, known: &[(&str, &str)]) {
                let mut declared = SERIES.iter();
                $(
                    let series = declared.next().expect("as many as there are");
                    if series.has("tenant") == !known.is_empty() {
                        series.first_values(known).iter().for_each(|values| self.$field.begin(values));
                    }
                )*
            }

            /// Removes every series whose label `tenant` is this.
            fn remove(&self, tenant: &str) {
                let mut declared = SERIES.iter();
                $(
                    if declared.next().expect("as many as there are").has("tenant") {
                        self.$field.forget("tenant", tenant);
                    }
                )*
            }
        }
    };
}

series! {
    /// HTTP requests answered.
    http_requests_total: IntCounterVec { tenant, route, method: METHODS, status };
    /// Time from request head to response head, in seconds.
    http_request_duration_seconds: HistogramVec { route } in REQUEST_BUCKETS;
    /// Requests now being handled.
    http_requests_in_flight: IntGauge {};
    /// Open client connections.
    http_connections: IntGaugeVec { listener: LISTENERS };
    /// Connections refused, or cut off.
    http_connections_rejected_total: IntCounterVec {
        listener: LISTENERS,
        reason: Only(&["limit", "tls_handshake", "header_timeout", "requests_taken_back"])
    };
    /// Requests refused before a tenant was chosen.
    http_rejected_requests_total: IntCounterVec {
        reason: Only(&["misdirected", "bad_forwarded_header", "path_refused", "bad_target", "bad_host", "connect",
            "transfer_coding", "header_too_large", "body_too_large", "timeout"])
    };
    /// Redirects to a provider.
    sign_ins_started_total: IntCounterVec { tenant, provider: PROVIDERS };
    /// Callbacks, by how the sign-in ended.
    sign_ins_total: IntCounterVec { tenant, provider: Only(&["auth0", "oidc", "local"]), result: SIGN_INS };
    /// Time between redirect and callback, with the person at the provider, in seconds.
    sign_in_duration_seconds: Histogram {} in PERSON_BUCKETS;
    /// Answers to proxies that asked whether a request may pass, by outcome.
    forward_auth_decisions_total: IntCounterVec {
        tenant,
        outcome: Only(&["allowed", "sign_in", "step_up", "denied", "invalid_token", "refused", "unavailable"])
    };
    /// Sign-outs, by kind.
    sign_outs_total: IntCounterVec { tenant, kind: Only(&["provider", "local", "no_session"]) };
    /// Logout requests of providers by the back channel, by result.
    backchannel_logout_requests_total: IntCounterVec {
        tenant,
        result: First(&["ok", "logout_token_replayed", "logout_token_signature", "store_unavailable"])
    };
    /// Requests that were not met because somebody asks too often, or too many ask at once.
    rate_limited_requests_total: IntCounterVec {
        tenant,
        limit: Only(&["sign_ins_per_address", "sign_ins", "failed_callbacks_per_address", "failed_callbacks",
            "failed_bearers_per_address", "logout_requests_per_address", "logout_requests", "local_name", "local_address",
            "local_passwords", "renewals"])
    };
    /// Requests for new work that were turned away because there was too much of it.
    requests_shed_total: IntCounterVec { work: Only(&["sign_in", "callback", "session", "bearer", "logout_request"]) };
    /// Renewals of a session's tokens that the provider was asked for, by result.
    token_refreshes_total: IntCounterVec {
        tenant,
        result: First(&["ok", "refresh_refused", "provider_failed", "provider_slow", "provider_unreachable"])
    };
    /// Tokens checked, by result.
    token_validations_total: IntCounterVec {
        tenant,
        kind: Only(&["id_token", "refresh", "access_token", "logout_token"]),
        result
    };
    /// Requests sent to providers.
    provider_requests_total: IntCounterVec { tenant, provider: PROVIDERS, endpoint: ENDPOINTS, outcome };
    /// Duration of requests to providers, in seconds.
    provider_request_duration_seconds: HistogramVec { endpoint: ENDPOINTS } in PROVIDER_BUCKETS;
    /// 1 when the last fetch of discovery document and key set succeeded.
    provider_up: IntGaugeVec { tenant, provider: PROVIDERS };
    /// 1 while a provider that failed is left alone: what was fetched before is used, and who needs more is refused.
    provider_circuit_open: IntGaugeVec { tenant, provider: PROVIDERS };
    /// Time of the last good discovery document, in seconds since the epoch.
    provider_metadata_last_success_timestamp_seconds: GaugeVec { tenant, provider: PROVIDERS };
    /// Time of the last good key set, in seconds since the epoch.
    provider_jwks_last_success_timestamp_seconds: GaugeVec { tenant, provider: PROVIDERS };
    /// Live sessions.
    sessions_active: IntGaugeVec { tenant };
    /// Sessions created.
    sessions_created_total: IntCounterVec { tenant };
    /// Sessions ended, by reason.
    sessions_ended_total: IntCounterVec {
        tenant,
        reason: Only(&["logout", "idle", "absolute", "replaced", "revoked", "backchannel", "frontchannel", "disconnect",
            "refused"])
    };
    /// Operations of the session store.
    session_operations_total: IntCounterVec { store: STORES, operation, result };
    /// Duration of operations of the session store, in seconds.
    session_operation_duration_seconds: HistogramVec { store: STORES, operation } in STORE_BUCKETS;
    /// Ends of sessions that no replica of Redis had in time: a failover at that moment may lose them.
    session_ends_unreplicated_total: IntCounter {};
    /// 1 while this process hears what others on the same Redis end and renew; the embedded store is its alone.
    session_news_up: IntGauge {};
    /// Uses of sessions from memory although the store did not answer.
    session_stale_uses_total: IntCounter {};
    /// 1 when the last check of the session store succeeded.
    session_store_up: IntGaugeVec { store: STORES };
    /// Keys of the ring, by role.
    session_keys: IntGaugeVec { role: Only(&["active", "accepted"]) };
    /// Since when the active key is that, as its file says, in seconds since the epoch.
    session_key_active_since_timestamp_seconds: Gauge {};
    /// 1 when this process made the active key, since it found none: a data folder that is lost signs everybody out.
    session_key_ephemeral: IntGauge {};
    /// 1 when the last look at the key files succeeded.
    session_key_files_up: IntGauge {};
    /// Look-ups in the caches in memory.
    cache_requests_total: IntCounterVec { cache: Only(&["discovery", "jwks", "sessions", "access_tokens"]), result };
    /// Bytes of the Set-Cookie headers of one response.
    set_cookie_size_bytes: Histogram {} in COOKIE_BUCKETS;
    /// Requests to upstreams, by outcome and class of status.
    upstream_requests_total: IntCounterVec { tenant, outcome, status };
    /// Time until an upstream's answer begins, in seconds.
    upstream_request_duration_seconds: HistogramVec { outcome } in REQUEST_BUCKETS;
    /// Open WebSockets to upstreams.
    upstream_tunnels: IntGaugeVec { tenant };
    /// Tenants, by state.
    tenants: IntGaugeVec { state: Only(&["active", "invalid"]) };
    /// 1 while the tenant's file is good; where it is not, what is served is its last good form, if there is one.
    tenant_config_valid: IntGaugeVec { tenant };
    /// Looks at all files, by who wanted it and how much was taken over.
    config_reloads_total: IntCounterVec {
        trigger: Only(&["startup", "signal", "watch", "poll", "request"]),
        result: Only(&["applied", "unchanged", "partial", "rejected"])
    };
    /// 1 when all that the files said at the last look is in force.
    config_last_reload_successful: IntGauge {};
    /// Time of the last look at which all that the files said was in force, in seconds since the epoch.
    config_last_reload_success_timestamp_seconds: Gauge {};
    /// A number made of all that is in force and no secret: where it differs, two processes serve different settings.
    config_hash: Gauge {};
    /// End of validity of a loaded certificate, in seconds since the epoch.
    tls_certificate_expiry_timestamp_seconds: GaugeVec { name: LISTENERS };
    /// Events told to the audit log, by outcome.
    audit_events_total: IntCounterVec { event, result: Only(&["success", "failure", "denied"]) };
    /// Lines that the audit log has lost.
    audit_events_dropped_total: IntCounterVec { sink: Only(&["stdout", "file", "syslog"]) };
    /// Log lines, by level.
    log_messages_total: IntCounterVec { level: Only(&["error", "warn", "info", "debug", "trace"]) };
    /// 1 while /readyz answers 200.
    ready: IntGauge {};
    /// 1 between SIGTERM and exit.
    draining: IntGauge {};
    /// The running build; always 1.
    build_info: IntGaugeVec { version, revision, rustc };
    /// Worker threads of the runtime.
    tokio_workers: IntGauge {};
    /// Tasks alive in the runtime.
    tokio_alive_tasks: IntGauge {};
    /// Tasks waiting in the runtime's global queue.
    tokio_global_queue_depth: IntGauge {};
    /// Time that the runtime's workers spent running tasks, in seconds.
    tokio_worker_busy_seconds_total: Counter {};
}

/// The process's own series, as the library names them.
#[cfg(target_os = "linux")]
const PROCESS: &[(&str, &str, &str)] = &[
    ("process_cpu_seconds_total", "counter", "Time on the processor, user and system, in seconds."),
    ("process_open_fds", "gauge", "Open file descriptors."),
    ("process_max_fds", "gauge", "File descriptors that may be open."),
    ("process_virtual_memory_bytes", "gauge", "Virtual memory, in bytes."),
    ("process_resident_memory_bytes", "gauge", "Resident memory, in bytes."),
    ("process_start_time_seconds", "gauge", "When the process started, in seconds since the epoch."),
    ("process_threads", "gauge", "Threads."),
];

/// All metrics as a table in Markdown, for the documentation. Values are shown of labels that have no others.
pub fn table() -> String {
    let mut table = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    table.extend(SERIES.iter().map(Series::row));
    #[cfg(target_os = "linux")]
    table.extend(PROCESS.iter().map(|(name, kind, help)| Series { name, kind, labels: &[], help }.row()));
    table
}

#[derive(Debug, Default)]
struct TenantLabels {
    limit: usize,
    known: HashSet<TenantId>,
    /// Who had a label once and has none any more, whatever is still under way there.
    forgotten: HashSet<TenantId>,
    /// The kinds of tenants that have begun under the shared label: label of the provider, local accounts.
    others: HashSet<(String, bool)>,
}

impl TenantLabels {
    fn own(&self, tenant: &TenantId) -> Option<bool> {
        if self.known.contains(tenant) {
            return Some(true);
        }
        (self.forgotten.contains(tenant) || self.known.len() >= self.limit).then_some(false)
    }
}

/// The series that passing checks of one tenant count in: they pass too often to be looked up each time.
#[derive(Debug)]
pub struct CheckCounters {
    answered: IntCounter,
    allowed: IntCounter,
    took: Histogram,
}

impl CheckCounters {
    /// Counts a check by GET that passed.
    pub fn passed(&self, took: Duration) {
        self.answered.inc();
        self.allowed.inc();
        self.took.observe(took.as_secs_f64());
    }
}

/// The series that what most applications of one tenant answer counts in: 200 to a GET.
#[derive(Debug)]
pub struct PassageCounters {
    asked: IntCounter,
    waited: Histogram,
    answered: IntCounter,
    took: Histogram,
}

impl PassageCounters {
    /// Counts a request that an application answered with 2xx, and how long that took.
    pub fn asked(&self, waited: Duration) {
        self.asked.inc();
        self.waited.observe(waited.as_secs_f64());
    }

    /// Counts a GET that was answered with an application's 200.
    pub fn answered(&self, took: Duration) {
        self.answered.inc();
        self.took.observe(took.as_secs_f64());
    }
}

impl Metrics {
    /// The counters of `tenant`'s applications.
    pub fn passages_of(&self, tenant: &TenantId) -> PassageCounters {
        let label = self.tenant(tenant);
        PassageCounters {
            asked: self.upstream_requests_total.with_label_values(&[label, "ok", "2xx"]),
            waited: self.upstream_request_duration_seconds.with_label_values(&["ok"]),
            answered: self.http_requests_total.with_label_values(&[label, "upstream", "GET", "200"]),
            took: self.http_request_duration_seconds.with_label_values(&["upstream"]),
        }
    }

    /// The counters of `tenant`'s checks.
    pub fn checks_of(&self, tenant: &TenantId) -> CheckCounters {
        let label = self.tenant(tenant);
        CheckCounters {
            answered: self.http_requests_total.with_label_values(&[label, "auth", "GET", "200"]),
            allowed: self.forward_auth_decisions_total.with_label_values(&[label, "allowed"]),
            took: self.http_request_duration_seconds.with_label_values(&["auth"]),
        }
    }

    /// The label of `tenant`: its id, or `_other` beyond the limit. Who comes first keeps a label of its own.
    pub fn tenant<'a>(&self, tenant: &'a TenantId) -> &'a str {
        let own = self.labels.read().unwrap_or_else(PoisonError::into_inner).own(tenant);
        let own = own.unwrap_or_else(|| {
            let mut labels = self.labels.write().unwrap_or_else(PoisonError::into_inner);
            labels.own(tenant).unwrap_or_else(|| labels.known.insert(tenant.clone()))
        });
        if own { tenant.as_str() } else { OTHER_TENANT }
    }

    /// A tenant is served from now on: its counters exist at zero, so that the first event is an increase. `provider` is
    /// the label of its provider; `local` says whether it has local accounts, too. Does no harm when called again.
    pub fn introduce(&self, tenant: &TenantId, provider: &str, local: bool) {
        self.labels.write().unwrap_or_else(PoisonError::into_inner).forgotten.remove(tenant);
        let label = self.tenant(tenant);
        if label == OTHER_TENANT && !self.is_first_other(provider, local) {
            return;
        }
        self.begin(&[("tenant", label), ("provider", provider)]);
        for (kind, results) in VALIDATIONS {
            for result in *results {
                self.token_validations_total.begin(&[label, kind, result]);
            }
        }
        if local {
            for result in LOCAL_SIGN_INS {
                self.sign_ins_total.begin(&[label, "local", result]);
            }
        }
    }

    /// Whether counters of the label that tenants share are still to be made for such a tenant: of thousands, one is enough.
    fn is_first_other(&self, provider: &str, local: bool) -> bool {
        let mut labels = self.labels.write().unwrap_or_else(PoisonError::into_inner);
        labels.others.insert((provider.to_owned(), local))
    }

    /// A tenant is not served any more: its series go, and its label is free for another. What is still under way there
    /// counts as `_other`.
    pub fn forget(&self, tenant: &TenantId) {
        let was_known = {
            let mut labels = self.labels.write().unwrap_or_else(PoisonError::into_inner);
            labels.forgotten.insert(tenant.clone());
            labels.known.remove(tenant)
        };
        if was_known {
            self.remove(tenant.as_str());
        }
    }

    /// All series in the text format of Prometheus.
    pub fn render(&self) -> Vec<u8> {
        // One at a time: what the runtime counts is taken over here.
        let _turn = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.look_at(&runtime.metrics());
        }
        let mut out = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut out).expect("writing to memory");
        out
    }

    fn look_at(&self, runtime: &tokio::runtime::RuntimeMetrics) {
        let workers = runtime.num_workers();
        self.tokio_workers.set(workers as i64);
        self.tokio_alive_tasks.set(runtime.num_alive_tasks() as i64);
        self.tokio_global_queue_depth.set(runtime.global_queue_depth() as i64);
        let busy: Duration = (0..workers).map(|worker| runtime.worker_total_busy_duration(worker)).sum();
        let since = busy.as_secs_f64() - self.tokio_worker_busy_seconds_total.get();
        self.tokio_worker_busy_seconds_total.inc_by(since.max(0.0));
    }
}

#[cfg(test)]
mod tests;
