//! `lychgate check`: reads everything as `serve` would, and says everything that is wrong.

use super::serve::chain;
use super::{Exit, block_on, online, say_faults};
use crate::config::{self, Sources};
use crate::pages::Pages;
use crate::upstream::Upstream;

/// Checks settings, tenant files and templates; with `online` the providers, too.
pub(super) fn run(sources: &Sources, ask_providers: bool) -> Exit {
    let loaded = match config::load(sources) {
        Ok(loaded) => loaded,
        Err(faults) => {
            say_faults(&faults);
            return Exit::Config;
        }
    };
    let settings = loaded.settings;
    if !loaded.skipped.0.is_empty() {
        say_faults(&loaded.skipped);
        return Exit::Config;
    }
    if let Err(error) = Pages::new(settings.templates_dir.as_deref()) {
        eprintln!("{error}");
        return Exit::Config;
    }
    for tenant in &settings.tenants {
        for upstream in &tenant.upstreams {
            if let Err(error) = Upstream::new(upstream.clone()) {
                eprintln!("tenant {}: upstream {}/: {}", tenant.id, upstream.path, chain(&error));
                return Exit::Config;
            }
        }
    }
    let ids: Vec<&str> = settings.tenants.iter().map(|tenant| tenant.id.as_str()).collect();
    match ids.as_slice() {
        [] => println!("the settings are good, but there is no tenant yet: `lychgate tenant add` writes one"),
        [id] => println!("1 tenant: {id}"),
        ids => println!("{} tenants: {}", ids.len(), ids.join(", ")),
    }
    if ask_providers { block_on(online::check(&settings)) } else { Exit::Success }
}
