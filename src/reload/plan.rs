//! What a look at the files comes to: what is served from now on, what is refused, how both differ from before. Blocks;
//! puts nothing in place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::contest::{self, Contender};
use crate::config::{Fault, Faults, Keys, RELOADABLE, Reading, Settings, Sources, TenantReading};
use crate::error_chain::chain;
use crate::gateway::{Gateway, Rejection, ReloadOutcome, ReloadResult, Trigger};
use crate::pages::Pages;
use crate::secret::sha256;
use crate::tenant::{Tenant, TenantError};
use crate::tenant_id::TenantId;

/// Keys that say where to look and not what is served.
const PLACES: [&str; 3] = ["tenants", "templates", "on_invalid_tenant"];

/// What is in force, and what the last look at the files found besides.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// Settings of the process; no tenants.
    settings: Arc<Settings>,
    /// What the process's keys said at the start.
    keys_at_start: Keys,
    /// What they say of what is in force.
    keys: Keys,
    /// The last look at which the settings of the process were good.
    pub(super) reading: Arc<Reading>,
    /// The tenants that are served.
    pub(super) in_force: BTreeMap<TenantId, Form>,
    /// The tenants whose files are no good.
    pub(super) invalid: BTreeSet<TenantId>,
    templates: Templates,
    rejected: Vec<Rejection>,
    needs_restart: Vec<&'static str>,
}

/// Digests of a tenant that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    fingerprint: [u8; 32],
    shown: [u8; 32],
}

/// Digests of templates.
#[derive(Clone, Debug, Default)]
struct Templates {
    in_force: [u8; 32],
    /// What was looked at last, and what is wrong with it.
    tried: [u8; 32],
    rejected: Vec<Rejection>,
}

impl Form {
    fn of(reading: &TenantReading) -> Self {
        Self { fingerprint: reading.fingerprint, shown: reading.shown }
    }
}

impl Standing {
    /// What a process starts with.
    pub(super) fn at_start(
        settings: Settings,
        reading: Reading,
        skipped: &Faults,
        gateway: &Gateway,
    ) -> (Self, ReloadOutcome) {
        let mut rejected: Vec<Rejection> = skipped.0.iter().map(|fault| rejection(fault, &reading)).collect();
        let left_out = settings.tenants.iter().filter(|tenant| gateway.tenants.get(tenant.id.as_str()).is_none());
        for tenant in left_out {
            let error = gateway.tenant(Arc::clone(tenant)).err();
            let file = reading.tenants.get(&tenant.id).map_or("", |reading| &reading.file);
            rejected.extend(error.map(|error| unusable(&tenant.id, file, &error)));
        }
        let served = gateway.tenants.iter().filter_map(|tenant| reading.tenants.get_key_value(tenant.id()));
        let in_force: BTreeMap<_, _> = served.map(|(id, reading)| (id.clone(), Form::of(reading))).collect();
        let templates = Pages::fingerprint(settings.templates_dir.as_deref()).unwrap_or_default();
        let standing = Self {
            keys_at_start: reading.keys().clone(),
            keys: reading.keys().clone(),
            invalid: reading.tenants.keys().filter(|id| !in_force.contains_key(*id)).cloned().collect(),
            settings: Arc::new(Settings { tenants: Vec::new(), ..settings }),
            reading: Arc::new(reading),
            in_force,
            templates: Templates { in_force: templates, tried: templates, rejected: Vec::new() },
            rejected,
            needs_restart: Vec::new(),
        };
        let outcome = ReloadOutcome {
            at: gateway.clock.now(),
            trigger: Trigger::Startup,
            result: if standing.is_clean() { ReloadResult::Applied } else { ReloadResult::Partial },
            added: standing.in_force.keys().cloned().collect(),
            changed: Vec::new(),
            removed: Vec::new(),
            settings: Vec::new(),
            rejected: standing.rejected.clone(),
            needs_restart: Vec::new(),
            config_hash: standing.hash(),
        };
        (standing, outcome)
    }

    /// Whether all that the files say is in force.
    pub(super) const fn is_clean(&self) -> bool {
        self.rejected.is_empty() && self.needs_restart.is_empty()
    }

    /// All tenants that there is a file of, served or not.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.in_force.keys().chain(self.invalid.iter().filter(|id| !self.in_force.contains_key(*id)))
    }

    /// Whether there is a file of this tenant.
    pub(super) fn has(&self, tenant: &TenantId) -> bool {
        self.in_force.contains_key(tenant) || self.invalid.contains(tenant)
    }

    /// Of all that is in force and no secret; 48 bits, which a metric holds without loss.
    fn hash(&self) -> u64 {
        let mut said = Vec::new();
        for key in RELOADABLE.iter().filter(|key| !PLACES.contains(key)) {
            said.extend(self.keys.digest(key));
        }
        for (id, form) in &self.in_force {
            said.extend(sha256(id.as_str().as_bytes()));
            said.extend(form.shown);
        }
        said.extend(self.templates.in_force);
        sha256(&said)[..6].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// What to put in place.
pub(super) struct Plan {
    /// Another gateway; none if nothing is different.
    pub(super) gateway: Option<Gateway>,
    pub(super) standing: Standing,
    pub(super) outcome: ReloadOutcome,
}

impl Plan {
    /// Looks at the files.
    pub(super) fn make(sources: &Sources, before: &Standing, gateway: &Gateway, trigger: Trigger) -> Self {
        let reading = before.reading.again(sources, &before.settings);
        let mut faults = reading.faults.clone();
        if reading.tenants.is_empty() && !before.in_force.is_empty() && !reading.settings.allow_no_tenants {
            faults.push(Fault {
                file: reading.settings.tenants_dir.display().to_string(),
                key: String::new(),
                reason: "all tenants' files are gone at once".to_owned(),
                help: Some("put them back, or set allow_no_tenants = true".to_owned()),
            });
        }
        if !faults.is_empty() {
            let rejected = faults.iter().map(|fault| rejection(fault, &reading)).collect();
            return Self::refused(before, gateway, trigger, rejected);
        }
        Self::of(before, gateway, trigger, reading)
    }

    /// Everything stays.
    fn refused(before: &Standing, gateway: &Gateway, trigger: Trigger, rejected: Vec<Rejection>) -> Self {
        let known = rejected == before.rejected && !trigger.is_asked();
        let standing = Standing { rejected, ..before.clone() };
        let outcome = ReloadOutcome {
            at: gateway.clock.now(),
            trigger,
            result: if known { ReloadResult::Unchanged } else { ReloadResult::Rejected },
            added: Vec::new(),
            changed: Vec::new(),
            removed: Vec::new(),
            settings: Vec::new(),
            rejected: standing.rejected.clone(),
            needs_restart: standing.needs_restart.clone(),
            config_hash: standing.hash(),
        };
        Self { gateway: None, standing, outcome }
    }

    /// What is good is put in place.
    fn of(before: &Standing, gateway: &Gateway, trigger: Trigger, reading: Reading) -> Self {
        let settings = Settings {
            tenants_dir: reading.settings.tenants_dir.clone(),
            templates_dir: reading.settings.templates_dir.clone(),
            trusted_proxies: reading.settings.trusted_proxies.clone(),
            metrics_allow: reading.settings.metrics_allow.clone(),
            list_tenants: reading.settings.list_tenants,
            on_invalid_tenant: reading.settings.on_invalid_tenant,
            allow_no_tenants: reading.settings.allow_no_tenants,
            ..(*before.settings).clone()
        };
        let (reloadable, _): (Vec<_>, Vec<_>) = by_kind(reading.keys().changed_since(&before.keys));
        let (_, needs_restart) = by_kind(reading.keys().changed_since(&before.keys_at_start));
        let mut served = Served::choose(before, gateway, &reading);
        let mut rejected: Vec<Rejection> = reading.stray.iter().map(|fault| rejection(fault, &reading)).collect();
        let invalid = served.rejected.keys().cloned().collect();
        rejected.extend(std::mem::take(&mut served.rejected).into_values().flatten());
        let (templates, pages) = before.templates.look(settings.templates_dir.as_deref());
        rejected.extend(templates.rejected.iter().cloned());

        let mut changed_settings = reloadable;
        if pages.is_some() && !changed_settings.contains(&"templates") {
            changed_settings.push("templates");
        }
        let (added, changed, removed) = served.difference(before);
        let standing = Standing {
            settings: Arc::new(settings),
            keys_at_start: before.keys_at_start.clone(),
            keys: reading.keys().clone(),
            reading: Arc::new(reading),
            in_force: served.forms,
            invalid,
            templates,
            rejected,
            needs_restart,
        };
        let mut outcome = ReloadOutcome {
            at: gateway.clock.now(),
            trigger,
            result: ReloadResult::Unchanged,
            added,
            changed,
            removed,
            settings: changed_settings,
            rejected: standing.rejected.clone(),
            needs_restart: standing.needs_restart.clone(),
            config_hash: standing.hash(),
        };
        let told = standing.rejected == before.rejected && standing.needs_restart == before.needs_restart;
        outcome.result = match (outcome.is_different(), standing.is_clean()) {
            (false, clean) if told && (clean || !trigger.is_asked()) => ReloadResult::Unchanged,
            (_, true) => ReloadResult::Applied,
            (_, false) => ReloadResult::Partial,
        };
        let pages = pages.unwrap_or_else(|| Arc::clone(&gateway.pages));
        let gateway = outcome.is_different().then(|| gateway.with(&standing.settings, served.tenants, pages));
        Self { gateway, standing, outcome }
    }
}

/// The tenants that are served from now on.
struct Served {
    tenants: Vec<Arc<Tenant>>,
    forms: BTreeMap<TenantId, Form>,
    /// What is wrong with those whose new form is refused, and with those that are left out.
    rejected: BTreeMap<TenantId, Vec<Rejection>>,
}

impl Served {
    fn choose(before: &Standing, gateway: &Gateway, reading: &Reading) -> Self {
        let mut rejected: BTreeMap<TenantId, Vec<Rejection>> = BTreeMap::new();
        let mut made: HashMap<&TenantId, Arc<Tenant>> = HashMap::new();
        for (id, tenant) in &reading.tenants {
            if before.in_force.get(id).is_some_and(|form| form.fingerprint == tenant.fingerprint) {
                continue;
            }
            let faults = match &tenant.outcome {
                Ok(settings) => match gateway.tenant(Arc::clone(settings)) {
                    Ok(new) => {
                        made.insert(id, Arc::new(new));
                        continue;
                    }
                    Err(error) => vec![unusable(id, &tenant.file, &error)],
                },
                Err(faults) => faults.iter().map(|fault| rejection(fault, reading)).collect(),
            };
            rejected.insert(id.clone(), faults);
        }
        if !made.is_empty() {
            let contenders: Vec<_> = reading
                .tenants
                .iter()
                .map(|(id, tenant)| Contender {
                    id,
                    file: &tenant.file,
                    old: gateway.tenants.get(id.as_str()).map(|old| &*old.settings),
                    new: made.get(id).map(|new| &*new.settings),
                })
                .collect();
            for (id, faults) in contest::refused(&contenders) {
                let faults = faults.iter().map(|fault| rejection(fault, reading)).collect();
                rejected.insert(id, faults);
            }
        }
        let (mut tenants, mut forms) = (Vec::new(), BTreeMap::new());
        for (id, tenant) in &reading.tenants {
            let refused = rejected.contains_key(id);
            let old = gateway.tenants.get(id.as_str()).map(Arc::clone).zip(before.in_force.get(id).copied());
            let new = made.remove(id).filter(|_| !refused).map(|new| (new, Form::of(tenant)));
            if let Some((tenant, form)) = new.or(old) {
                tenants.push(tenant);
                forms.insert(id.clone(), form);
            }
        }
        Self { tenants, forms, rejected }
    }

    /// Who came, who is another now, who is gone.
    fn difference(&self, before: &Standing) -> (Vec<TenantId>, Vec<TenantId>, Vec<TenantId>) {
        let (now, before) = (&self.forms, &before.in_force);
        let added = now.keys().filter(|id| !before.contains_key(*id)).cloned().collect();
        let is_other = |(id, form): &(&TenantId, &Form)| before.get(*id).is_some_and(|known| known != *form);
        let changed = now.iter().filter(is_other).map(|(id, _)| id.clone()).collect();
        let removed = before.keys().filter(|id| !now.contains_key(*id)).cloned().collect();
        (added, changed, removed)
    }
}

impl Templates {
    /// Looks at the templates; new pages if they are good and different.
    fn look(&self, folder: Option<&Path>) -> (Self, Option<Arc<Pages>>) {
        let faulty = |tried, error: crate::pages::PagesError| {
            let rejected = error.faults.iter().map(|fault| Rejection { tenant: None, reason: fault.to_string() });
            (Self { tried, rejected: rejected.collect(), ..self.clone() }, None)
        };
        let found = match Pages::fingerprint(folder) {
            Ok(found) => found,
            Err(error) => return faulty([0; 32], error),
        };
        if found == self.tried && (found != self.in_force || self.rejected.is_empty()) {
            return (self.clone(), None);
        }
        if found == self.in_force {
            return (Self { tried: found, in_force: found, rejected: Vec::new() }, None);
        }
        match Pages::new(folder) {
            Ok(pages) => (Self { tried: found, in_force: found, rejected: Vec::new() }, Some(Arc::new(pages))),
            Err(error) => faulty(found, error),
        }
    }
}

/// The keys that a reload takes over, and the others.
fn by_kind(keys: Vec<&'static str>) -> (Vec<&'static str>, Vec<&'static str>) {
    keys.into_iter().partition(|key| RELOADABLE.contains(key))
}

fn rejection(fault: &Fault, reading: &Reading) -> Rejection {
    let tenant = reading.tenants.iter().find(|(_, tenant)| tenant.file == fault.file).map(|(id, _)| id.clone());
    Rejection { tenant, reason: fault.to_string() }
}

fn unusable(tenant: &TenantId, file: &str, error: &TenantError) -> Rejection {
    Rejection { tenant: Some(tenant.clone()), reason: format!("{file}: cannot be used: {}", chain(error)) }
}
