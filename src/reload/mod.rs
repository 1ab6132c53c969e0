//! Changed files are taken over while the process runs: all of it read and checked first, then put in place at once. A
//! request that is under way goes on with what it began with. A tenant whose file is no good goes on as it was; so does
//! everything if the settings of the process are no good, or if all tenants' files are gone at once, as when a volume
//! is not there.

mod contest;
mod plan;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::Mutex;

use self::plan::{Plan, Standing};
use self::watch::Watch;
use crate::audit::{Audit, Event, Kind};
use crate::config::{AuditSink, Loaded, ReloadSettings, Sources};
use crate::gateway::{LiveGateway, Rejection, ReloadOutcome, ReloadResult, Trigger};
use crate::metrics::Metrics;
use crate::pages::Pages;
use crate::session::DATABASE_FILES;
use crate::tenant_id::TenantId;

/// Ids that one log line names at most.
const MOST_NAMED: usize = 20;

/// Reads the files again and puts what is good in place.
#[derive(Debug)]
pub struct Reloader {
    sources: Sources,
    live: LiveGateway,
    how: ReloadSettings,
    /// The names of the files that this process writes.
    written: Vec<OsString>,
    standing: Mutex<Arc<Standing>>,
}

impl Reloader {
    /// Follows the files that `loaded` came from and `live` runs by.
    pub fn new(sources: Sources, loaded: Loaded, live: LiveGateway) -> Arc<Self> {
        let Loaded { settings, reading, skipped } = loaded;
        let how = settings.reload;
        let audit = if let AuditSink::File(file) = &settings.audit.sink { file.file_name() } else { None };
        let written = audit.into_iter().chain(DATABASE_FILES.map(OsStr::new)).map(OsStr::to_owned).collect();
        let (standing, outcome) = Standing::at_start(settings, reading, &skipped, &live.now());
        tell(&live.now().metrics, None, &standing, &outcome);
        record_rejections(&live.now().audit, &outcome);
        live.set_last_reload(Arc::new(outcome));
        Arc::new(Self { sources, live, how, written, standing: Mutex::new(Arc::new(standing)) })
    }

    /// Reads everything again and puts what is good in place. Whoever comes meanwhile waits, then does the same. It goes on
    /// to its end even if nobody waits for it.
    pub async fn reload(self: &Arc<Self>, trigger: Trigger) -> Arc<ReloadOutcome> {
        let reloader = Arc::clone(self);
        let work = tokio::spawn(async move { reloader.reload_in_turn(trigger).await });
        work.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn reload_in_turn(&self, trigger: Trigger) -> Arc<ReloadOutcome> {
        let mut standing = self.standing.lock().await;
        let mut plan = self.plan(&standing, trigger).await;
        if !plan.outcome.removed.is_empty() {
            // An editor may be about to put it back.
            tokio::time::sleep(self.how.debounce).await;
            plan = self.plan(&standing, trigger).await;
        }
        let Plan { gateway, standing: next, outcome } = plan;
        if let Some(gateway) = gateway {
            let gateway = Arc::new(gateway);
            let new = outcome.added.iter().chain(&outcome.changed);
            let new = new.filter_map(|id| gateway.tenants.get(id.as_str()));
            new.for_each(|tenant| tenant.introduce(&gateway.metrics));
            self.live.replace(Arc::clone(&gateway));
            let providers: Vec<_> = gateway.tenants.iter().map(|tenant| &tenant.provider).collect();
            gateway.providers.keep_only(&providers).await;
        }
        tell(&self.live.now().metrics, Some(&standing), &next, &outcome);
        if outcome.result != ReloadResult::Unchanged {
            record(&self.live.now().audit, &next, &outcome);
        }
        let outcome = Arc::new(outcome);
        if outcome.result != ReloadResult::Unchanged || trigger.is_asked() {
            self.live.set_last_reload(Arc::clone(&outcome));
        }
        *standing = Arc::new(next);
        outcome
    }

    async fn plan(&self, standing: &Arc<Standing>, trigger: Trigger) -> Plan {
        let (sources, standing, gateway) = (self.sources.clone(), Arc::clone(standing), self.live.now());
        let work = tokio::task::spawn_blocking(move || Plan::make(&sources.anew(), &standing, &gateway, trigger));
        work.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Reloads whenever `hangups` come, the system tells of a change, or it is time; for ever. The caller spawns this
    /// and aborts it.
    pub async fn keep_loaded(self: Arc<Self>, mut hangups: Signal) {
        let mut watch = self.how.watch.then(|| Watch::new(self.written.clone())).and_then(|watch| {
            watch.inspect_err(|error| tracing::warn!(%error, "changes of files are noticed by looking only")).ok()
        });
        // What happened between the start and the first watch.
        let mut due = watch.is_some().then_some(Trigger::Watch);
        loop {
            // Watched before they are looked at, so that nothing happens in between.
            let more = match &mut watch {
                Some(watch) => watch.set(self.folders().await, due == Some(Trigger::Poll)),
                None => false,
            };
            if let Some(trigger) = due.take().or(more.then_some(Trigger::Watch)) {
                self.reload(trigger).await;
                continue;
            }
            due = Some(tokio::select! {
                hangup = hangups.recv() => match hangup {
                    Some(()) => Trigger::Signal,
                    None => std::future::pending().await,
                },
                () = changed(watch.as_ref(), self.how.debounce) => Trigger::Watch,
                () = poll(self.how.poll) => Trigger::Poll,
            });
        }
    }

    async fn folders(&self) -> BTreeSet<PathBuf> {
        let standing = Arc::clone(&*self.standing.lock().await);
        let looked = tokio::task::spawn_blocking(move || {
            let templates = standing.reading.settings.templates_dir.as_deref().map(Pages::folders);
            standing.reading.folders().into_iter().chain(templates.unwrap_or_default()).collect()
        });
        looked.await.unwrap_or_default()
    }
}

async fn changed(watch: Option<&Watch>, debounce: Duration) {
    match watch {
        Some(watch) => watch.changed(debounce).await,
        None => std::future::pending().await,
    }
}

async fn poll(every: Duration) {
    match every {
        Duration::ZERO => std::future::pending().await,
        every => tokio::time::sleep(every).await,
    }
}

/// Tells log and metrics.
fn tell(metrics: &Metrics, before: Option<&Standing>, standing: &Standing, outcome: &ReloadOutcome) {
    let labels = [outcome.trigger.as_str(), outcome.result.as_str()];
    metrics.config_reloads_total.with_label_values(&labels).inc();
    metrics.config_last_reload_successful.set(standing.is_clean().into());
    if standing.is_clean() {
        metrics.config_last_reload_success_timestamp_seconds.set(outcome.at.0 as f64);
    }
    metrics.config_hash.set(outcome.config_hash as f64);
    tell_tenants(metrics, before, standing);
    if outcome.result != ReloadResult::Unchanged {
        tell_difference(outcome);
    }
}

fn tell_tenants(metrics: &Metrics, before: Option<&Standing>, standing: &Standing) {
    let gone = before.into_iter().flat_map(Standing::tenants).filter(|tenant| !standing.has(tenant));
    gone.for_each(|tenant| metrics.forget(tenant));
    let mut valid: BTreeMap<&str, bool> = BTreeMap::new();
    for tenant in standing.tenants() {
        *valid.entry(metrics.tenant(tenant)).or_insert(true) &= !standing.invalid.contains(tenant);
    }
    for (label, good) in &valid {
        metrics.tenant_config_valid.with_label_values(&[label]).set((*good).into());
    }
    metrics.tenants.with_label_values(&["active"]).set(standing.in_force.len() as i64);
    metrics.tenants.with_label_values(&["invalid"]).set(standing.invalid.len() as i64);
}

/// Tells the audit log.
fn record(audit: &Audit, standing: &Standing, outcome: &ReloadOutcome) {
    let trigger = outcome.trigger.as_str();
    for (kind, tenants) in [
        (Kind::TenantAdded, &outcome.added),
        (Kind::TenantChanged, &outcome.changed),
        (Kind::TenantRemoved, &outcome.removed),
    ] {
        for tenant in tenants {
            audit.record(Event::new(kind).tenant(tenant).trigger(trigger));
        }
    }
    record_rejections(audit, outcome);
    if outcome.is_different() {
        let applied = Event::new(Kind::ConfigApplied).trigger(trigger).count(standing.in_force.len());
        audit.record(applied.config_hash(&format!("{:x}", outcome.config_hash)));
    }
}

fn record_rejections(audit: &Audit, outcome: &ReloadOutcome) {
    for Rejection { tenant, reason } in &outcome.rejected {
        let event = match tenant {
            Some(tenant) => Event::new(Kind::TenantRejected).tenant(tenant),
            None => Event::new(Kind::ConfigRejected),
        };
        audit.record(event.trigger(outcome.trigger.as_str()).fault(reason));
    }
}

fn tell_difference(outcome: &ReloadOutcome) {
    for Rejection { tenant, reason } in &outcome.rejected {
        let tenant = tenant.as_ref().map(tracing::field::display);
        tracing::error!(tenant, reason, "not taken over; what was in force before goes on");
    }
    if !outcome.needs_restart.is_empty() {
        let keys = outcome.needs_restart.join(", ");
        tracing::warn!(keys, "these settings have changed and need a restart");
    }
    tracing::info!(
        trigger = outcome.trigger.as_str(),
        result = outcome.result.as_str(),
        added = named(&outcome.added),
        changed = named(&outcome.changed),
        removed = named(&outcome.removed),
        settings = (!outcome.settings.is_empty()).then(|| outcome.settings.join(", ")),
        rejected = outcome.rejected.len(),
        "settings read",
    );
}

/// The first of them, and how many more there are; nothing if there is none.
fn named(tenants: &[TenantId]) -> Option<String> {
    let first: Vec<&str> = tenants.iter().take(MOST_NAMED).map(TenantId::as_str).collect();
    let more = tenants.len() - first.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!first.is_empty()).then(|| first.join(", ") + &more)
}
