//! The command line: what can be asked for, what comes out, exit codes. The only home of clap and of what prints.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "commands speak to people")]

mod admin;
mod audit;
mod check;
mod demo;
mod doctor;
mod explain;
mod healthcheck;
mod logging;
mod online;
mod reload;
mod secret;
mod serve;
mod service_manager;
mod sessions;
mod status;
mod tenant_add;
mod urls;
mod user;
mod users;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::{self, LogFormat, Sources};
use crate::tenant_id::TenantId;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// All is well.
    Success,
    /// Something failed.
    Failure,
    /// The command line makes no sense.
    Usage,
    /// The settings make no sense (`EX_CONFIG` of sysexits).
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Config => 78,
        })
    }
}

/// A sign-in gateway for many Auth0 tenants, or any OpenID Connect providers, in one process.
#[derive(Parser, Debug)]
#[command(
    version,
    about,
    max_term_width = 100,
    after_help = "\
Try it:            lychgate demo
Add a tenant:      lychgate tenant add acme --domain acme.eu.auth0.com --client-id …
Paste into Auth0:  lychgate urls
See what is wrong: lychgate check
Exit codes:        0 well, 1 failed, 2 usage, 78 settings"
)]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve all tenants; the default
    Serve,
    /// Try it: two tenants with a provider of their own, on loopback, without network or account
    #[command(after_help = "\
The demo reads no settings file, no tenant file and no variable. Of the settings above it knows
--listen, --data, --templates, --log-format and --log-level.")]
    Demo(DemoArgs),
    /// Check all settings and tenant files, and say everything that is wrong with them
    #[command(after_help = "Example: lychgate check --online")]
    Check {
        /// Also ask every tenant's provider: discovery document, keys, client credentials
        #[arg(long)]
        online: bool,
    },
    /// Print what to paste into the provider's fields, per tenant
    #[command(after_help = "Example: lychgate urls acme --public-url https://login.example.com")]
    Urls {
        /// One tenant only
        tenant: Option<TenantId>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say which rule of a tenant decides about a request, and why; nothing is sent
    #[command(after_help = "Example: lychgate explain acme --user claims.json GET /reports/7")]
    Explain(explain::ExplainArgs),
    /// Manage tenant files
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Manage local accounts, which sign in with a name and a password
    #[command(subcommand)]
    User(UserCommand),
    /// See who has signed in
    #[command(subcommand)]
    Users(UsersCommand),
    /// See who is signed in, and end that; also while a gateway runs
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// Check an audit log
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Print a new root secret; list, rotate and drop the keys in use
    #[command(
        after_help = "Example: lychgate secret > /etc/lychgate/secret.key, then secret_file = \"/etc/lychgate/secret.key\""
    )]
    Secret {
        #[command(subcommand)]
        command: Option<secret::SecretCommand>,
    },
    /// Look at everything a sign-in needs, from this machine, and say what to do about what is wrong
    #[command(after_help = "\
Example: lychgate doctor acme
Looked at are files, proxies, Redis; per tenant DNS, TLS, the discovery document, keys, clocks, client
credentials and whether the callback addresses lead here. Exit code 1 if there is an error.")]
    Doctor {
        /// One tenant only
        tenant: Option<TenantId>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask a running gateway whether it is ready: exit code 0 or 1
    #[command(after_help = "Example, in a container file: HEALTHCHECK CMD [\"lychgate\", \"healthcheck\"]")]
    Healthcheck {
        /// Its origin; else made of `listen`
        #[arg(long, value_name = "URL")]
        url: Option<url::Url>,
    },
    /// Say how a running gateway is: tenants, providers, keys, sessions, the last reload
    #[command(after_help = "Example: lychgate status\n\
                      Asks the listener for operators (`admin_listen`). Exit code 1 if the gateway is not ready or does not answer.")]
    Status {
        /// The origin of the listener for operators; else made of `admin_listen`
        #[arg(long, value_name = "URL")]
        admin_url: Option<url::Url>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Have a running gateway read its files again: exit code 0 if all that they say is in force
    #[command(after_help = "Example: lychgate reload\n\
                      Asks the listener for operators (`admin_listen`). SIGHUP to the process does the same and says it in the log.")]
    Reload {
        /// The origin of the listener for operators; else made of `admin_listen`
        #[arg(long, value_name = "URL")]
        admin_url: Option<url::Url>,
    },
    /// Print completions for a shell
    #[command(after_help = "Example: lychgate completions bash > ~/.local/share/bash-completion/completions/lychgate")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Subcommand, Debug)]
enum TenantCommand {
    /// Write a tenant file and print what to paste at the provider; the client secret is read from the standard input
    #[command(after_help = "Example: lychgate tenant add acme --domain acme.eu.auth0.com --client-id nI7pQ3")]
    Add(tenant_add::AddArgs),
}

#[derive(Subcommand, Debug)]
enum UsersCommand {
    /// List the users that have signed in, with first and last time
    #[command(after_help = "Example: lychgate users list acme --json")]
    List {
        /// One tenant only
        tenant: Option<TenantId>,
        /// A line of JSON each
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand, Debug)]
enum UserCommand {
    /// Make a local account: into the tenant's local_users_file, or printed to be pasted into the tenant's file
    #[command(after_help = "Example: lychgate user add acme ada < password.txt")]
    Add(user::Account),
    /// Give a local account another password
    #[command(after_help = "Example: lychgate user passwd acme ada")]
    Passwd(user::Account),
}

#[derive(Subcommand, Debug)]
enum SessionsCommand {
    /// List the sessions: whose, since when, where from
    #[command(after_help = "Example: lychgate sessions list --tenant acme --user ada@acme.example")]
    List {
        #[command(flatten)]
        whose: sessions::WhoseArgs,
        /// A line of JSON each
        #[arg(long)]
        json: bool,
    },
    /// End sessions here; a running gateway notices within a second
    #[command(
        group = clap::ArgGroup::new("which").args(["user", "all"]).required(true),
        after_help = "Example: lychgate sessions revoke --user ada@acme.example\n\
                      Sessions at the provider and refresh tokens go on: end those there."
    )]
    Revoke {
        #[command(flatten)]
        whose: sessions::WhoseArgs,
        /// Everybody's
        #[arg(long)]
        all: bool,
    },
}

/// Settings that are flags as well; each wins over environment and file.
#[derive(Args, Debug)]
#[command(next_help_heading = "Settings, over those of environment and file")]
struct ConfigArgs {
    /// The settings file [default: lychgate.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where browsers and proxies connect [default: 127.0.0.1:3000]
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where health and metrics are served besides
    #[arg(long, global = true, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Scheme, host and port under which browsers reach us
    #[arg(long, global = true, value_name = "URL")]
    public_url: Option<String>,
    /// The folder of tenant files [default: tenants]
    #[arg(long, global = true, value_name = "DIR")]
    tenants: Option<String>,
    /// The folder of templates that replace the embedded ones
    #[arg(long, global = true, value_name = "DIR")]
    templates: Option<String>,
    /// The folder of the database and the root secret [default: data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
    /// Peers whose forwarding headers count, commas between [default: loopback]
    #[arg(long, global = true, value_name = "NETWORKS")]
    trusted_proxies: Option<String>,
    /// A file that holds the root secret
    #[arg(long, global = true, value_name = "FILE")]
    secret_file: Option<String>,
    /// How a log line looks: auto, text or json
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// What is logged, such as info or lychgate=debug,warn
    #[arg(long, global = true, value_name = "FILTER")]
    log_level: Option<String>,
}

impl ConfigArgs {
    fn sources(self) -> Sources {
        let flags = [
            ("listen", self.listen),
            ("admin_listen", self.admin_listen),
            ("public_url", self.public_url),
            ("tenants", self.tenants),
            ("templates", self.templates),
            ("data", self.data),
            ("trusted_proxies", self.trusted_proxies),
            ("secret_file", self.secret_file),
            ("log.format", self.log_format),
            ("log.level", self.log_level),
        ];
        Sources::of_process(self.config, flags.into_iter().filter_map(|(key, text)| Some((key, text?))).collect())
    }
}

/// What the demo may be told; it reads no settings file, no tenant file and no variable.
#[derive(Args, Debug)]
struct DemoArgs {}

/// Every command, argument and flag, for what describes them.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match Cli::try_parse_from(arguments) {
        Ok(cli) => run(cli).into(),
        Err(error) => {
            error.print().ok();
            if error.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() }
        }
    }
}

fn run(cli: Cli) -> Exit {
    match cli.command {
        Some(Command::Demo(DemoArgs {})) => match demo_of(cli.config) {
            Ok(demo) => block_on(demo::run(demo)),
            Err(fault) => {
                eprintln!("lychgate demo: {fault}");
                Exit::Usage
            }
        },
        Some(Command::Secret { command: None }) => secret::print(),
        Some(Command::Secret { command: Some(command) }) => {
            with_settings(cli.config, |loaded| block_on(secret::run(&loaded.settings, command)))
        }
        Some(Command::Audit(command)) => audit::run(&command),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut definition(), "lychgate", &mut script);
            put(&String::from_utf8_lossy(&script))
        }
        Some(Command::Check { online }) => block_on(check::run(&cli.config.sources(), online)),
        Some(Command::Tenant(TenantCommand::Add(args))) => tenant_add::run(&args, &cli.config.sources()),
        Some(Command::Urls { tenant, json }) => {
            with_settings(cli.config, |loaded| urls::run(&loaded.settings, tenant.as_ref(), json))
        }
        Some(Command::Doctor { tenant, json }) => {
            with_settings(cli.config, |loaded| block_on(doctor::run(&loaded.settings, tenant.as_ref(), json)))
        }
        Some(Command::User(UserCommand::Add(account))) => user::add(&account, &cli.config.sources()),
        Some(Command::User(UserCommand::Passwd(account))) => user::passwd(&account, &cli.config.sources()),
        Some(Command::Explain(args)) => with_settings(cli.config, |loaded| explain::run(&loaded, &args)),
        Some(Command::Users(UsersCommand::List { tenant, json })) => {
            with_settings(cli.config, |loaded| block_on(users::list(&loaded.settings, tenant.as_ref(), json)))
        }
        Some(Command::Sessions(SessionsCommand::List { whose, json })) => {
            with_settings(cli.config, |loaded| block_on(sessions::list(&loaded.settings, &whose, json)))
        }
        Some(Command::Sessions(SessionsCommand::Revoke { whose, all: _ })) => {
            with_settings(cli.config, |loaded| block_on(sessions::revoke(&loaded.settings, &whose)))
        }
        Some(Command::Healthcheck { url }) => {
            with_settings(cli.config, |loaded| block_on(healthcheck::run(&loaded.settings, url)))
        }
        Some(Command::Status { admin_url, json }) => block_on(status::run(&cli.config.sources(), admin_url, json)),
        Some(Command::Reload { admin_url }) => block_on(reload::run(&cli.config.sources(), admin_url)),
        None | Some(Command::Serve) => {
            let sources = cli.config.sources();
            with_sources(&sources, |loaded| block_on(serve::run(sources.clone(), loaded)))
        }
    }
}

/// Reads the settings and goes on with them, or says everything that is wrong.
fn with_settings(config: ConfigArgs, go_on: impl FnOnce(config::Loaded) -> Exit) -> Exit {
    with_sources(&config.sources(), go_on)
}

fn with_sources(sources: &Sources, go_on: impl FnOnce(config::Loaded) -> Exit) -> Exit {
    match config::load(sources) {
        Ok(loaded) => go_on(loaded),
        Err(faults) => {
            say_faults(&faults);
            Exit::Config
        }
    }
}

/// Writes to the standard output. Whoever reads may have read enough: `lychgate urls | head -1`.
fn put(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("lychgate: the output cannot be written: {error}");
            Exit::Failure
        }
        _ => Exit::Success,
    }
}

fn say_faults(faults: &config::Faults) {
    eprintln!("{faults}");
    let count = faults.0.len();
    eprintln!("{count} fault{} in the settings", if count == 1 { "" } else { "s" });
}

/// An address of this machine, where `address` stands for all of them.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(address) if address.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        address => address,
    }
}

fn block_on(future: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => {
            eprintln!("lychgate: cannot start threads: {error}");
            Exit::Failure
        }
    }
}

fn demo_of(config: ConfigArgs) -> Result<demo::Demo, String> {
    let refused = [
        ("--config", config.config.is_some()),
        ("--admin-listen", config.admin_listen.is_some()),
        ("--public-url", config.public_url.is_some()),
        ("--tenants", config.tenants.is_some()),
        ("--trusted-proxies", config.trusted_proxies.is_some()),
        ("--secret-file", config.secret_file.is_some()),
    ];
    if let Some((flag, _)) = refused.into_iter().find(|(_, given)| *given) {
        return Err(format!("{flag}: is for `lychgate serve`; the demo brings its own settings and tenants"));
    }
    let listen = config.listen.as_deref().unwrap_or("127.0.0.1:3000");
    let listen: SocketAddr =
        listen.parse().map_err(|_| "--listen: is not an address and a port such as 127.0.0.1:3000")?;
    let format = config.log_format.as_deref().unwrap_or("auto");
    Ok(demo::Demo {
        listen,
        data: config.data.map(PathBuf::from),
        templates: config.templates.map(PathBuf::from),
        log_level: config.log_level.unwrap_or_else(|| "warn,lychgate=info".to_owned()),
        log_format: LogFormat::from_str(format, true)
            .map_err(|_| "--log-format: allowed: auto, text, json".to_owned())?,
    })
}

impl ValueEnum for LogFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Text, Self::Json]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(match self {
            Self::Auto => "auto".into(),
            Self::Text => "text".into(),
            Self::Json => "json".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_demo_refuses_settings_that_it_would_not_follow() {
        let demo = |flags: &str| {
            let words = ["lychgate", "demo"].into_iter().chain(flags.split(' '));
            demo_of(Cli::try_parse_from(words).unwrap().config).err()
        };
        assert_eq!(demo("--listen 127.0.0.1:0 --log-level debug"), None);
        for flag in ["--config", "--admin-listen", "--public-url", "--tenants", "--trusted-proxies", "--secret-file"] {
            assert!(demo(&format!("{flag} x")).is_some_and(|told| told.starts_with(flag)), "{flag}");
        }
    }
}
