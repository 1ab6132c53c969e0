//! What a tenant takes in memory from the start on, counted by the allocator. `benches/run growth` measures the same with ten
//! thousand, and how long it takes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use lychgate::clock::Clock;
use lychgate::config::{self, Sources};
use lychgate::gateway::{Gateway, LiveGateway};
use lychgate::metrics::Metrics;
use lychgate::reload::Reloader;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Beyond as many as have metrics of their own.
const FEW: usize = 300;
const MANY: usize = 1300;
/// Bytes that a tenant may take.
const MOST: usize = 8 * 1024;

/// A file for each tenant.
fn write_tenants(folder: &Path, count: usize) {
    fs::create_dir_all(folder).unwrap();
    for number in 0..count {
        let name = format!("tenant-{number:05}");
        let mut text = format!("issuer = \"https://localhost:1/realms/{name}\"\nclient_id = \"{number:032x}\"\n");
        writeln!(text, "client_secret = \"{number:064x}\"\ndisplay_name = \"Tenant {number}\"").unwrap();
        writeln!(text, "hosts = [\"{name}.apps.example\"]\n[access]\nemails = [\"*@{name}.example\"]").unwrap();
        fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }
}

/// Bytes that a gateway of so many tenants has in use once it has started.
async fn bytes_of(count: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    write_tenants(&folder.path().join("tenants"), count);
    let before = ALLOCATOR.current_usage();
    let sources = Sources { directory: folder.path().to_owned(), ..Sources::default() };
    let loaded = config::load(&sources).unwrap();
    let settings = loaded.settings.clone();
    let metrics = Metrics::new(settings.metrics.tenant_label_limit);
    let gateway = Gateway::open(&settings, Clock::system(), metrics).await.unwrap();
    drop(settings);
    let live = LiveGateway::from(Arc::new(gateway));
    assert_eq!(live.now().tenants.iter().count(), count);
    let reloader = Reloader::new(sources, loaded, live.clone());
    let bytes = ALLOCATOR.current_usage() - before;
    drop(reloader);
    live.now().sessions.close().await;
    bytes
}

#[tokio::test]
async fn each_of_a_thousand_tenants_takes_eight_kibibytes_at_most() {
    let few = bytes_of(FEW).await;
    let many = bytes_of(MANY).await;
    let each = (many - few) / (MANY - FEW);
    assert!((MOST / 4..=MOST).contains(&each), "{each} bytes");
}
