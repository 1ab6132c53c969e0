//! `lychgate tenant add`: writes a tenant file that is good, and says what to do next.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::urls::Urls;
use super::{Exit, put, say_faults};
use crate::config::{self, Sources};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant_id::TenantId;

#[derive(Args, Debug)]
pub(super) struct AddArgs {
    /// The name in the URL: a-z, 0-9 and '-'
    id: TenantId,
    #[command(flatten)]
    provider: ProviderArgs,
    /// The application's client id at the provider
    #[arg(long)]
    client_id: String,
    /// A file that holds the client secret; else it is read from the standard input
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// A public client, which has no secret
    #[arg(long, conflicts_with = "client_secret_file")]
    public_client: bool,
    /// The name that people see
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
}

/// One of the two.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct ProviderArgs {
    /// The Auth0 tenant's host name, such as acme.eu.auth0.com
    #[arg(long)]
    domain: Option<String>,
    /// Any other OpenID provider's issuer
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
}

/// Writes the file, checks it with all others, and takes it back if it is not good.
pub(super) fn run(args: &AddArgs, sources: &Sources) -> Exit {
    match add(args, sources) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("lychgate tenant add: {error}");
            Exit::Failure
        }
    }
}

fn add(args: &AddArgs, sources: &Sources) -> io::Result<Exit> {
    let folder = match config::load(sources) {
        Ok(loaded) => loaded.settings.tenants_dir,
        Err(faults) => {
            eprintln!("The settings have faults already; please mend them first.");
            say_faults(&faults);
            return Ok(Exit::Config);
        }
    };
    if let Some(taken) = ["toml", "yaml", "yml", "json"]
        .iter()
        .map(|ending| folder.join(format!("{}.{ending}", args.id)))
        .find(|path| path.exists())
    {
        return Err(io::Error::other(format!("{} is there already; edit it, or choose another id", taken.display())));
    }
    let secret = if args.public_client || args.client_secret_file.is_some() { None } else { Some(ask_secret()?) };
    let path = folder.join(format!("{}.toml", args.id));
    let text = text(args, secret.as_ref())?;
    fs::create_dir_all(&folder)
        .and_then(|()| write_private(&path, &text))
        .map_err(|error| io::Error::other(format!("{} cannot be written: {error}", path.display())))?;
    match config::load(sources) {
        Ok(loaded) => {
            let tenant = loaded.settings.tenants.iter().find(|tenant| tenant.id == args.id);
            let urls = tenant.map(|tenant| Urls::of(&loaded.settings, tenant).text(tenant)).unwrap_or_default();
            Ok(put(&format!(
                "wrote {}\n\n{urls}\nPaste these into the application's settings at the provider, then: \
                 lychgate check --online\n",
                path.display()
            )))
        }
        Err(faults) => {
            fs::remove_file(&path)?;
            say_faults(&faults);
            eprintln!("nothing was written");
            Ok(Exit::Config)
        }
    }
}

fn text(args: &AddArgs, secret: Option<&SecretString>) -> io::Result<String> {
    let whole = |path: &PathBuf| match fs::canonicalize(path) {
        Ok(whole) => Ok(whole.display().to_string()),
        Err(error) => Err(io::Error::other(format!("--client-secret-file {}: {error}", path.display()))),
    };
    let file = args.client_secret_file.as_ref().map(whole).transpose()?;
    let lines = [
        ("domain", args.provider.domain.as_deref()),
        ("issuer", args.provider.issuer.as_deref()),
        ("client_id", Some(args.client_id.as_str())),
        ("client_secret", secret.map(SecretString::expose_secret)),
        ("client_secret_file", file.as_deref()),
        ("client_auth", args.public_client.then_some("none")),
        ("display_name", args.display_name.as_deref()),
    ];
    let quoted = |text: &str| toml::Value::from(text).to_string();
    Ok(lines.iter().filter_map(|(key, value)| Some(format!("{key} = {}\n", quoted((*value)?)))).collect())
}

fn ask_secret() -> io::Result<SecretString> {
    if io::stdin().is_terminal() {
        eprint!("Client secret (it will be seen on the screen): ");
        io::stderr().flush()?;
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    match line.trim() {
        "" => Err(io::Error::other(
            "no client secret came from the standard input; or name a file by --client-secret-file",
        )),
        secret => Ok(secret.to_owned().into()),
    }
}

/// Writes a new file that only its owner reads.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
