//! Every Prometheus series, declared once. A label `tenant` is made only from a [`TenantId`] that is configured.
//!
//! Names, labels and meaning stand in docs/reference/metrics.md; a test compares them with a scrape.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Counter, Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
pub use prometheus::{IntCounter, IntGauge};

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

trait Declared: Collector + Clone + Sized + 'static {
    fn declare(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<Self>;
}

macro_rules! declared {
    ($($kind:ty: |$name:ident, $help:ident, $labels:ident, $buckets:ident| $make:expr;)*) => {$(
        impl Declared for $kind {
            fn declare($name: &str, $help: &str, $labels: &[&str], $buckets: &[f64]) -> prometheus::Result<Self> {
                let _ = ($labels, $buckets);
                $make
            }
        }
    )*};
}

declared! {
    Counter: |name, help, labels, buckets| Self::new(name, help);
    IntCounter: |name, help, labels, buckets| Self::new(name, help);
    IntCounterVec: |name, help, labels, buckets| Self::new(Opts::new(name, help), labels);
    IntGauge: |name, help, labels, buckets| Self::new(name, help);
    IntGaugeVec: |name, help, labels, buckets| Self::new(Opts::new(name, help), labels);
    Gauge: |name, help, labels, buckets| Self::new(name, help);
    GaugeVec: |name, help, labels, buckets| Self::new(Opts::new(name, help), labels);
    Histogram: |name, help, labels, buckets| Self::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()));
    HistogramVec: |name, help, labels, buckets| Self::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels);
}

macro_rules! series {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty { $($label:ident),* } $(in $buckets:expr)?;)*) => {
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
                $(
                    let $field = {
                        let buckets: &[f64] = &[];
                        $(let buckets = if true { $buckets } else { buckets };)?
                        let series = <$kind>::declare(
                            concat!("lychgate_", stringify!($field)),
                            concat!($($help),+).trim(),
                            &[$(stringify!($label)),*],
                            buckets,
                        ).expect("names and labels are well formed");
                        registry.register(Box::new(series.clone())).expect("every name is declared once");
                        series
                    };
                )*
                #[cfg(target_os = "linux")]
                registry
                    .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
                    .expect("process metrics are declared once");
                let labels = RwLock::new(TenantLabels { limit: tenant_label_limit, known: HashSet::new() });
                Arc::new(Self { registry, labels, scrape: Mutex::new(()), $($field),* })
            }
        }
    };
}

series! {
    /// HTTP requests answered.
    http_requests_total: IntCounterVec { tenant, route, method, status };
    /// Time from request head to response head, in seconds.
    http_request_duration_seconds: HistogramVec { route } in REQUEST_BUCKETS;
    /// Requests now being handled.
    http_requests_in_flight: IntGauge {};
    /// Open client connections.
    http_connections: IntGaugeVec { listener };
    /// Connections refused before a request was read.
    http_connections_rejected_total: IntCounterVec { listener, reason };
    /// Requests refused before a tenant was chosen.
    http_rejected_requests_total: IntCounterVec { reason };
    /// Redirects to a provider.
    sign_ins_started_total: IntCounterVec { tenant, provider };
    /// Callbacks, by how the sign-in ended.
    sign_ins_total: IntCounterVec { tenant, provider, result };
    /// Time between redirect and callback, with the person at the provider, in seconds.
    sign_in_duration_seconds: Histogram {} in PERSON_BUCKETS;
    /// Answers to proxies that asked whether a request may pass, by outcome.
    forward_auth_decisions_total: IntCounterVec { tenant, outcome };
    /// Sign-outs, by kind.
    sign_outs_total: IntCounterVec { tenant, kind };
    /// Renewals of a session's tokens that the provider was asked for, by result.
    token_refreshes_total: IntCounterVec { tenant, result };
    /// Tokens checked, by result.
    token_validations_total: IntCounterVec { tenant, kind, result };
    /// Requests sent to providers.
    provider_requests_total: IntCounterVec { tenant, provider, endpoint, outcome };
    /// Duration of requests to providers, in seconds.
    provider_request_duration_seconds: HistogramVec { endpoint } in PROVIDER_BUCKETS;
    /// 1 when the last fetch of discovery document and key set succeeded.
    provider_up: IntGaugeVec { tenant, provider };
    /// Time of the last good discovery document, in seconds since the epoch.
    provider_metadata_last_success_timestamp_seconds: GaugeVec { tenant, provider };
    /// Time of the last good key set, in seconds since the epoch.
    provider_jwks_last_success_timestamp_seconds: GaugeVec { tenant, provider };
    /// Live sessions.
    sessions_active: IntGaugeVec { tenant };
    /// Sessions created.
    sessions_created_total: IntCounterVec { tenant };
    /// Sessions ended, by reason.
    sessions_ended_total: IntCounterVec { tenant, reason };
    /// Operations of the session store.
    session_operations_total: IntCounterVec { store, operation, result };
    /// Duration of operations of the session store, in seconds.
    session_operation_duration_seconds: HistogramVec { store, operation } in STORE_BUCKETS;
    /// Ends of sessions that no replica of Redis had in time: a failover at that moment may lose them.
    session_ends_unreplicated_total: IntCounter {};
    /// 1 while this process hears what others on the same Redis end and renew; the embedded store is its alone.
    session_news_up: IntGauge {};
    /// Uses of sessions from memory although the store did not answer.
    session_stale_uses_total: IntCounter {};
    /// 1 when the last check of the session store succeeded.
    session_store_up: IntGaugeVec { store };
    /// Keys of the ring, by role.
    session_keys: IntGaugeVec { role };
    /// Since when the active key is that, as its file says, in seconds since the epoch.
    session_key_active_since_timestamp_seconds: Gauge {};
    /// 1 when the last look at the key files succeeded.
    session_key_files_up: IntGauge {};
    /// Look-ups in the caches in memory.
    cache_requests_total: IntCounterVec { cache, result };
    /// Bytes of the Set-Cookie headers of one response.
    set_cookie_size_bytes: Histogram {} in COOKIE_BUCKETS;
    /// Requests to upstreams, by outcome and class of status.
    upstream_requests_total: IntCounterVec { tenant, outcome, status };
    /// Time until an upstream's answer begins, in seconds.
    upstream_request_duration_seconds: HistogramVec { outcome } in REQUEST_BUCKETS;
    /// Open WebSockets to upstreams.
    upstream_tunnels: IntGaugeVec { tenant };
    /// Tenants, by state.
    tenants: IntGaugeVec { state };
    /// End of validity of a loaded certificate, in seconds since the epoch.
    tls_certificate_expiry_timestamp_seconds: GaugeVec { name };
    /// Log lines, by level.
    log_messages_total: IntCounterVec { level };
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

#[derive(Debug)]
struct TenantLabels {
    limit: usize,
    known: HashSet<TenantId>,
}

impl Metrics {
    /// The label of `tenant`: its id, or `_other` beyond the limit. Who comes first keeps a label of its own.
    pub fn tenant<'a>(&self, tenant: &'a TenantId) -> &'a str {
        let known = |labels: &TenantLabels| labels.known.contains(tenant);
        if known(&self.labels.read().expect("no panic while held")) {
            return tenant.as_str();
        }
        let mut labels = self.labels.write().expect("no panic while held");
        if labels.known.len() < labels.limit {
            labels.known.insert(tenant.clone());
        }
        if known(&labels) { tenant.as_str() } else { OTHER_TENANT }
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
mod tests {
    use super::*;

    #[test]
    fn tenants_beyond_the_limit_share_a_label() {
        let metrics = Metrics::new(2);
        let ids: Vec<TenantId> = ["a", "b", "c"].iter().map(|id| id.parse().unwrap()).collect();
        let labels: Vec<&str> = ids.iter().map(|id| metrics.tenant(id)).collect();
        assert_eq!(labels, ["a", "b", OTHER_TENANT]);
        assert_eq!(metrics.tenant(&ids[0]), "a");
    }

    #[test]
    fn a_scrape_carries_help_and_prefix() {
        let metrics = Metrics::new(200);
        metrics.ready.set(1);
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(text.contains("# HELP lychgate_ready 1 while /readyz answers 200."), "{text}");
        assert!(text.contains("lychgate_ready 1"), "{text}");
    }
}
