//! `lychgate check`: reads everything as `serve` would, and says everything that is wrong.

use std::sync::Arc;

use super::{Exit, online, say_faults};
use crate::clock::Clock;
use crate::config::{self, Fault, Settings, Sources};
use crate::error_chain::chain;
use crate::key_ring::RingFiles;
use crate::metrics::Metrics;
use crate::oidc::Providers;
use crate::pages::Pages;
use crate::server;
use crate::upstream::Upstream;

/// Checks settings, tenant files, templates, keys and certificates; with `online` the providers, too.
pub(super) async fn run(sources: &Sources, ask_providers: bool) -> Exit {
    let (settings, mut faults) = config::examine(sources);
    faults.0.extend(certificate_fault(&settings).await);
    faults.0.extend(template_faults(&settings));
    faults.0.extend(key_fault(&settings));
    faults.0.extend(provider_faults(&settings));
    faults.0.extend(settings.tenants.iter().flat_map(|tenant| upstream_faults(tenant)));
    if !faults.0.is_empty() {
        say_faults(&faults);
        return Exit::Config;
    }
    let ids: Vec<&str> = settings.tenants.iter().map(|tenant| tenant.id.as_str()).collect();
    match ids.as_slice() {
        [] => println!("the settings are good, but there is no tenant yet: `lychgate tenant add` writes one"),
        [id] => println!("1 tenant: {id}"),
        ids => println!("{} tenants: {}", ids.len(), ids.join(", ")),
    }
    if ask_providers { online::check(&settings).await } else { Exit::Success }
}

async fn certificate_fault(settings: &Settings) -> Option<Fault> {
    let error = server::check_pair(settings.tls.as_ref()?).await.err()?;
    Some(Fault { file: "tls".to_owned(), key: String::new(), reason: chain(&error), help: None })
}

/// What is wrong with the files of the key ring; where there are none, `serve` makes one.
fn key_fault(settings: &Settings) -> Option<Fault> {
    let keys = RingFiles::new(settings.secret_file.clone());
    if settings.secret.is_some() || !keys.active().exists() {
        return None;
    }
    let reason = chain(&keys.read().err()?);
    Some(Fault { file: "root secret".to_owned(), key: String::new(), reason, help: None })
}

fn template_faults(settings: &Settings) -> Vec<Fault> {
    let error = Pages::new(settings.templates_dir.as_deref()).err();
    let faults = error.into_iter().flat_map(|error| error.faults);
    let file = |fault: &crate::pages::Fault| match fault.line {
        Some(line) => format!("{}:{line}", fault.file),
        None => fault.file.clone(),
    };
    faults.map(|fault| Fault { file: file(&fault), key: String::new(), reason: fault.reason, help: None }).collect()
}

/// What only shows when a tenant's provider is set up: keys, certificates and proxies that are none.
fn provider_faults(settings: &Settings) -> Vec<Fault> {
    let providers = Providers::new(Clock::system(), Metrics::new(0));
    let fault = |tenant: &Arc<config::TenantSettings>| {
        let error = providers.provider(&tenant.id, &tenant.provider).err()?;
        let (file, key) = (format!("tenant {}", tenant.id), error.key().to_owned());
        Some(Fault { file, key, reason: format!("cannot be used: {}", chain(&error)), help: None })
    };
    settings.tenants.iter().filter_map(fault).collect()
}

/// The same of its upstreams: certificates that are none.
fn upstream_faults(tenant: &config::TenantSettings) -> Vec<Fault> {
    let fault = |upstream: &config::UpstreamSettings| {
        let error = Upstream::new(upstream.clone()).err()?;
        let reason = format!("the upstream at {}/ cannot be used: {}", upstream.path, chain(&error));
        Some(Fault { file: format!("tenant {}", tenant.id), key: "upstreams".to_owned(), reason, help: None })
    };
    tenant.upstreams.iter().filter_map(fault).collect()
}
