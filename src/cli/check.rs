//! `lychgate check`: reads everything as `serve` would, and says everything that is wrong.

use super::{Exit, block_on, online, say_faults, serve};
use crate::config::{self, Sources};
use crate::key_ring::RingFiles;
use crate::pages::Pages;

/// Checks settings, tenant files, templates and keys; with `online` the providers, too.
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
    let keys = RingFiles::new(settings.secret_file.clone());
    if settings.secret.is_none()
        && keys.active().exists()
        && let Err(error) = keys.read()
    {
        eprintln!("root secret: {}", serve::chain(&error));
        return Exit::Config;
    }
    let ids: Vec<&str> = settings.tenants.iter().map(|tenant| tenant.id.as_str()).collect();
    match ids.as_slice() {
        [] => println!("the settings are good, but there is no tenant yet: `lychgate tenant add` writes one"),
        [id] => println!("1 tenant: {id}"),
        ids => println!("{} tenants: {}", ids.len(), ids.join(", ")),
    }
    if ask_providers { block_on(online::check(&settings)) } else { Exit::Success }
}
