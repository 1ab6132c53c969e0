//! `lychgate serve`: opens everything, listens, and ends in an orderly way.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, logging, service_manager};
use crate::clock::Clock;
use crate::config::{Loaded, Settings, Sources};
use crate::error_chain::chain;
use crate::gateway::{Gateway, GatewayError, LiveGateway};
use crate::metrics::Metrics;
use crate::reload::Reloader;
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

/// Serves what the settings say until a signal comes; follows their `sources`.
pub(super) async fn run(sources: Sources, loaded: Loaded) -> Exit {
    let metrics = Metrics::new(loaded.settings.metrics.tenant_label_limit);
    let traces = logging::start(&loaded.settings.log, &metrics);
    let exit = match serve(Served::Files(sources, Box::new(loaded)), metrics, Shutdown::on_signals(), |_| {}).await {
        Ok(()) => Exit::Success,
        Err(error) => {
            tracing::error!(error = chain(&error), "cannot start");
            Exit::Failure
        }
    };
    if let Some(traces) = traces {
        // It fails only when the runtime ends.
        let _ = tokio::task::spawn_blocking(move || traces.finish()).await;
    }
    exit
}

/// What is served.
pub(super) enum Served {
    /// What files say, also when they change.
    Files(Sources, Box<Loaded>),
    /// These settings to the end.
    Fixed(Box<Settings>),
}

/// Serves until `shutdown`, and tells `listening` where once it does.
pub(super) async fn serve(
    served: Served,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    listening: impl FnOnce(std::net::SocketAddr),
) -> Result<(), StartError> {
    let (mut settings, files) = match served {
        Served::Files(sources, loaded) => {
            // From here on SIGHUP does not end the process.
            let hangups = signal(SignalKind::hangup()).expect("a runtime with I/O runs, SIGHUP may be handled");
            (loaded.settings.clone(), Some((sources, loaded, hangups)))
        }
        Served::Fixed(settings) => (*settings, None),
    };
    let main = match service_manager::socket().map_err(BindError::Socket)? {
        Some(socket) => Listener::over(socket, "main", settings.tls.as_ref()).await?,
        None => Listener::bind(settings.listen, "main", settings.tls.as_ref()).await?,
    };
    let admin = match settings.admin_listen {
        Some(address) => Some(Listener::bind(address, "admin", None).await?),
        None => None,
    };
    // Port 0 has become a real one: hosts and redirect URIs are made of it.
    settings.listen = main.local_addr();
    let live = LiveGateway::from(Arc::new(Gateway::open(&settings, Clock::system(), metrics.clone()).await?));
    let (reloader, keep_loaded) = match files {
        Some((sources, loaded, hangups)) => {
            let loaded = Loaded { settings: settings.clone(), ..*loaded };
            let reloader = Reloader::new(sources, loaded, live.clone());
            (Some(reloader.clone()), Some(tokio::spawn(reloader.keep_loaded(hangups))))
        }
        None => (None, None),
    };
    let build = [
        env!("CARGO_PKG_VERSION"),
        option_env!("LYCHGATE_REVISION").unwrap_or("unknown"),
        env!("CARGO_PKG_RUST_VERSION"),
    ];
    metrics.build_info.with_label_values(&build).set(1);

    let gateway = live.now();
    // Whoever hears that we listen may ask whether we are ready.
    gateway.pulse.check_store().await;
    let (sessions, renewals, audit) = (gateway.sessions.clone(), gateway.renewals.clone(), gateway.audit.clone());
    let keep_fresh = tokio::spawn(gateway.providers.clone().keep_fresh());
    let keep_keys = tokio::spawn(live.clone().keep_keys());
    let keep_informed = tokio::spawn(sessions.clone().keep_informed());
    let keep_swept = tokio::spawn(sessions.clone().keep_swept());
    let keep_pulse = tokio::spawn(gateway.pulse.clone().keep());
    let keep_watched = tokio::spawn(sessions.clone().keep_watched());
    let operations = admin.map(|admin| {
        tracing::info!(address = %admin.local_addr(), "listening for operators");
        let route = web::admin_routes(live.clone(), reloader, shutdown.clone());
        let (settings, shutdown, metrics) = (settings.server.clone(), shutdown.clone(), metrics.clone());
        tokio::spawn(async move { server::serve(admin, route, &settings, shutdown, metrics).await })
    });
    let tenants = gateway.tenants.iter().count();
    // The gateway of the moment alone is held for long: what a reload replaces may go.
    drop(gateway);
    listening(main.local_addr());
    tracing::info!(address = %main.local_addr(), tenants, version = env!("CARGO_PKG_VERSION"), "listening");
    let manager = tokio::spawn(service_manager::keep_told(shutdown.clone()));
    if tenants == 0 && !settings.allow_no_tenants {
        tracing::warn!("there is no tenant yet, so /readyz says no; write one by `lychgate tenant add`");
    }
    let route = web::routes(live, shutdown.clone());
    let drained = server::serve(main, route, &settings.server, shutdown, metrics).await;
    match drained {
        Drained::Clean => tracing::info!("stopped"),
        Drained::Cut(requests) => tracing::warn!(requests, "stopped; some requests were cut off at drain_timeout"),
    }
    if let Some(operations) = operations {
        operations.abort();
    }
    if let Some(keep_loaded) = keep_loaded {
        keep_loaded.abort();
    }
    manager.abort();
    keep_fresh.abort();
    keep_keys.abort();
    keep_informed.abort();
    keep_swept.abort();
    keep_watched.abort();
    keep_pulse.abort();
    renewals.settled().await;
    // It has said so itself.
    let _ = audit.close().await;
    sessions.close().await;
    Ok(())
}
