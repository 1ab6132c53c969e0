//! `lychgate check --online`: asks every tenant's provider.

use super::Exit;
use crate::clock::Clock;
use crate::config::Settings;
use crate::error_chain::chain;
use crate::metrics::Metrics;
use crate::oidc::Providers;

/// Fetches discovery document and key set of every tenant, and tries its client credentials where the provider allows.
pub(super) async fn check(settings: &Settings) -> Exit {
    let providers = Providers::new(Clock::system(), Metrics::new(0));
    let mut exit = Exit::Success;
    for tenant in &settings.tenants {
        let said = match providers.provider(&tenant.id, &tenant.provider) {
            Err(error) => Err(chain(&error)),
            Ok(provider) => {
                provider.check_online().await.map_err(|error| format!("{}: {}", error.code(), chain(&error)))
            }
        };
        match said {
            Ok(()) => println!("{}: {} answers as it should", tenant.id, tenant.provider.issuer),
            Err(fault) => {
                eprintln!("{}: {}: {fault}", tenant.id, tenant.provider.issuer);
                exit = Exit::Failure;
            }
        }
    }
    exit
}
