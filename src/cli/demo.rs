//! `lychgate demo`: two tenants with a provider of their own in this process, on loopback. No network, no account, no
//! file that stays.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::{Exit, logging, serve};
use crate::clock::Clock;
use crate::config::{AccentColor, LogFormat, LogSettings, Look, Settings, TenantSettings};
use crate::demo::{DemoTenant, Provider, StartError, tenants};
use crate::error_chain::chain;
use crate::metrics::Metrics;
use crate::secret::SecretString;
use crate::server::Shutdown;

/// What the command line asks for.
pub(super) struct Demo {
    pub(super) listen: SocketAddr,
    pub(super) data: Option<PathBuf>,
    pub(super) templates: Option<PathBuf>,
    pub(super) log_level: String,
    pub(super) log_format: LogFormat,
}

/// Runs the demo until a signal comes.
pub(super) async fn run(demo: Demo) -> Exit {
    if !demo.listen.ip().is_loopback() {
        eprintln!("lychgate demo: listens on loopback only, such as 127.0.0.1:3000: its passwords are public");
        return Exit::Usage;
    }
    match start(demo).await {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("lychgate demo: {}", chain(&*error));
            Exit::Failure
        }
    }
}

async fn start(demo: Demo) -> Result<(), Box<dyn std::error::Error>> {
    let metrics = Metrics::new(usize::MAX);
    let traces = logging::start(&LogSettings { format: demo.log_format, level: demo.log_level }, &metrics);
    // Removed when it is dropped, at the end.
    let temporary = tempfile::tempdir()?;
    let data = demo.data.unwrap_or_else(|| temporary.path().to_owned());

    let mut running = Vec::new();
    for tenant in tenants() {
        running.push(RunningTenant::start(tenant).await?);
    }
    let settings = running.iter().map(RunningTenant::settings).collect::<Result<_, _>>()?;
    let settings = Settings {
        listen: demo.listen,
        templates_dir: demo.templates,
        list_tenants: true,
        server: crate::config::ServerSettings {
            drain_delay: std::time::Duration::ZERO,
            ..Settings::least(&data, Vec::new()).server
        },
        ..Settings::least(&data, settings)
    };
    serve::serve(serve::Served::Fixed(Box::new(settings)), metrics, Shutdown::on_signals(), |address| {
        for tenant in &running {
            tenant.allow(address);
        }
        announce(address, &running);
    })
    .await?;
    if let Some(traces) = traces {
        tokio::task::spawn_blocking(move || traces.finish()).await?;
    }
    Ok(())
}

/// A tenant of the demo and its provider.
struct RunningTenant {
    tenant: DemoTenant,
    client_id: String,
    secret: SecretString,
    provider: Provider,
}

impl RunningTenant {
    async fn start(tenant: DemoTenant) -> Result<Self, StartError> {
        let spec = tenant.provider.clone();
        let client = spec.clients.first().cloned();
        let (client_id, secret) = client.map(|client| (client.client_id, client.secret)).unwrap_or_default();
        let secret = secret.unwrap_or_else(|| String::new().into());
        let provider = Provider::start(spec, (Ipv4Addr::LOCALHOST, 0).into(), Clock::system()).await?;
        Ok(Self { tenant, client_id, secret, provider })
    }

    fn settings(&self) -> Result<TenantSettings, crate::tenant_id::TenantIdError> {
        let accent =
            u32::from_str_radix(self.tenant.accent.trim_start_matches('#'), 16).unwrap_or_default().to_be_bytes();
        let mut settings = TenantSettings::least(
            self.tenant.id.parse()?,
            self.provider.issuer(),
            &self.client_id,
            self.secret.clone(),
        );
        settings.provider.auth0 = true;
        settings.look = Look {
            display_name: Some(self.tenant.display_name.to_owned()),
            accent_color: Some(AccentColor([accent[1], accent[2], accent[3]])),
            ..Look::default()
        };
        Ok(settings)
    }

    /// Registers our addresses, under each name that a browser may use.
    fn allow(&self, address: SocketAddr) {
        for host in ["127.0.0.1", "localhost", "[::1]"] {
            let base = format!("http://{host}:{}/{}", address.port(), self.tenant.id);
            self.provider.allow(&self.client_id, &format!("{base}/callback"), &format!("{base}/logged-out"));
        }
        let backchannel = format!("http://{address}/{}/backchannel-logout", self.tenant.id);
        self.provider.notify(&self.client_id, &backchannel);
    }
}

fn announce(address: SocketAddr, tenants: &[RunningTenant]) {
    println!("\nlychgate is running with two tenants, each with a sign-in provider of its own in this process.\n");
    println!("  Open http://{address}/\n");
    for running in tenants {
        println!("  {}", running.tenant.display_name);
        for person in &running.tenant.people {
            let (username, password, note) = (person.username, person.password, person.note);
            println!(
                "    http://{address}/{:<7} sign in as {username:<22} password {password:<20} {note}",
                running.tenant.id
            );
        }
        println!();
    }
    println!("  Metrics: http://{address}/metrics    End: Ctrl-C\n");
}
