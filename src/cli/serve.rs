//! `lychgate serve`: opens everything, listens, and ends in an orderly way.

use std::sync::Arc;

use super::{Exit, logging};
use crate::clock::Clock;
use crate::config::{Loaded, Settings};
use crate::gateway::{Gateway, GatewayError};
use crate::metrics::Metrics;
use crate::server::{self, BindError, Drained, Listener, Shutdown};
use crate::web;

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// Data folder, database, templates or a tenant cannot be used.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Serves what the settings say until a signal comes.
pub(super) async fn run(loaded: Loaded) -> Exit {
    let settings = loaded.settings;
    let metrics = Metrics::new(settings.metrics.tenant_label_limit);
    logging::start(&settings.log, &metrics);
    for fault in &loaded.skipped.0 {
        tracing::error!(%fault, "a tenant was left out");
    }
    let left_out: std::collections::BTreeSet<&str> = loaded.skipped.0.iter().map(|fault| &*fault.file).collect();
    metrics.tenants.with_label_values(&["invalid"]).set(left_out.len() as i64);
    match serve(&settings, metrics, Shutdown::on_signals(), |_| {}).await {
        Ok(()) => Exit::Success,
        Err(error) => {
            tracing::error!(error = chain(&error), "cannot start");
            Exit::Failure
        }
    }
}

/// Serves until `shutdown`, and tells `listening` where once it does.
pub(super) async fn serve(
    settings: &Settings,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    listening: impl FnOnce(std::net::SocketAddr),
) -> Result<(), StartError> {
    let main = Listener::bind(settings.listen, "main", settings.tls.as_ref()).await?;
    let admin = match settings.admin_listen {
        Some(address) => Some(Listener::bind(address, "admin", None).await?),
        None => None,
    };
    // Port 0 has become a real one: hosts and redirect URIs are made of it.
    let settings = &Settings { listen: main.local_addr(), ..settings.clone() };
    let gateway = Arc::new(Gateway::open(settings, Clock::system(), metrics.clone()).await?);
    let build = [
        env!("CARGO_PKG_VERSION"),
        option_env!("LYCHGATE_REVISION").unwrap_or("unknown"),
        env!("CARGO_PKG_RUST_VERSION"),
    ];
    metrics.build_info.with_label_values(&build).set(1);

    let keep_fresh = tokio::spawn(gateway.providers.clone().keep_fresh());
    let keep_keys = tokio::spawn(gateway.clone().keep_keys());
    let keep_informed = tokio::spawn(gateway.sessions.clone().keep_informed());
    let keep_swept = tokio::spawn(gateway.sessions.clone().keep_swept());
    let operations = admin.map(|admin| {
        tracing::info!(address = %admin.local_addr(), "listening for operators");
        let route = web::admin_routes(gateway.clone(), shutdown.clone());
        let (settings, shutdown, metrics) = (settings.server.clone(), shutdown.clone(), metrics.clone());
        tokio::spawn(async move { server::serve(admin, route, &settings, shutdown, metrics).await })
    });
    let tenants = gateway.tenants.iter().count();
    listening(main.local_addr());
    tracing::info!(address = %main.local_addr(), tenants, version = env!("CARGO_PKG_VERSION"), "listening");
    if tenants == 0 {
        tracing::warn!("there is no tenant yet, so /readyz says no; write one by `lychgate tenant add`, then restart");
    }
    let route = web::routes(gateway.clone(), shutdown.clone());
    let drained = server::serve(main, route, &settings.server, shutdown, metrics).await;
    match drained {
        Drained::Clean => tracing::info!("stopped"),
        Drained::Cut(requests) => tracing::warn!(requests, "stopped; some requests were cut off at drain_timeout"),
    }
    if let Some(operations) = operations {
        operations.abort();
    }
    keep_fresh.abort();
    keep_keys.abort();
    keep_informed.abort();
    keep_swept.abort();
    gateway.renewals.settled().await;
    gateway.sessions.close().await;
    Ok(())
}

/// An error and what caused it, in a line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = source.source();
    }
    text
}
