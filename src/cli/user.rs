//! `lychgate user add` and `lychgate user passwd`: local accounts, in the tenant's file of names and hashes, or printed
//! for the tenant's own file, which nobody but its owner rewrites.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use clap::Args;

use super::{Exit, audit, block_on, say_faults};
use crate::config::{self, Faults, PasswordLine, Sources, Subjects};
use crate::credentials::{PasswordHash, canonical_name, check_name};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant_id::TenantId;

/// Characters that a new password has at least (NIST SP 800-63B, section 5.1.1.2).
const PASSWORD_MIN: usize = 8;

#[derive(Args, Debug)]
pub(super) struct Account {
    /// The tenant
    tenant: TenantId,
    /// The name to sign in with; case makes no difference
    name: String,
}

/// Why it was not done.
enum Failed {
    Settings(Faults),
    Said(String),
}

impl From<Faults> for Failed {
    fn from(faults: Faults) -> Self {
        Self::Settings(faults)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Said(error.to_string())
    }
}

/// Makes an account.
pub(super) fn add(account: &Account, sources: &Sources) -> Exit {
    ended("add", account, sources, change(account, sources, true))
}

/// Changes an account's password.
pub(super) fn passwd(account: &Account, sources: &Sources) -> Exit {
    ended("passwd", account, sources, change(account, sources, false))
}

fn ended(command: &str, account: &Account, sources: &Sources, result: Result<(), Failed>) -> Exit {
    match result {
        Ok(()) => record(command, account, sources),
        Err(Failed::Settings(faults)) => {
            say_faults(&faults);
            Exit::Config
        }
        Err(Failed::Said(why)) => {
            eprintln!("lychgate user {command}: {why}");
            Exit::Failure
        }
    }
}

fn record(command: &str, account: &Account, sources: &Sources) -> Exit {
    let settings = config::examine(sources).0;
    let event = audit::action(&format!("user {command}")).tenant(&account.tenant);
    let event = if settings.audit.subjects == Subjects::Raw { event.target(&account.name) } else { event };
    match audit::open(&settings) {
        Ok(audit) => block_on(async { audit::record(&audit, event, Exit::Success).await }),
        Err(error) => {
            eprintln!("lychgate user {command}: it is done, but not in the audit log: {error}");
            Exit::Failure
        }
    }
}

fn change(account: &Account, sources: &Sources, is_new: bool) -> Result<(), Failed> {
    check_name(&account.name).map_err(|reason| Failed::Said(format!("the name {reason}")))?;
    let file = config::local_users_file(sources, &account.tenant)?;
    let text = match &file {
        // The file that the settings name may be made here; all else must be in order.
        Some(path) if is_new && !path.exists() => None,
        _ => {
            let known = known_names(sources, &account.tenant)?;
            let there = known.contains(&canonical_name(&account.name));
            if there && is_new {
                return Err(Failed::Said("there is such an account already; see lychgate user passwd".to_owned()));
            }
            if !there && !is_new {
                return Err(Failed::Said("there is no such account; see lychgate user add".to_owned()));
            }
            file.as_ref().map(fs::read_to_string).transpose()?
        }
    };
    let in_file = text.as_deref().is_some_and(|text| position(text, &account.name).is_some());
    let hash = PasswordHash::of(&ask_password()?);
    match file {
        Some(path) if is_new || in_file => {
            replace_private(&path, &with_line(text.as_deref().unwrap_or_default(), &account.name, &hash))?;
            println!("wrote {}; restart lychgate for it to count", path.display());
        }
        _ => print_toml(account, &hash, is_new),
    }
    Ok(())
}

/// The canonical names of the tenant's accounts.
fn known_names(sources: &Sources, tenant: &TenantId) -> Result<Vec<String>, Failed> {
    let settings = config::load(sources)?.settings;
    let tenant = settings.tenants.iter().find(|other| other.id == *tenant);
    let tenant = tenant.ok_or_else(|| Failed::Said("the tenant's file has faults; see lychgate check".to_owned()))?;
    Ok(tenant.local_users.iter().map(|user| canonical_name(&user.name)).collect())
}

/// Where the line of this name is.
fn position(text: &str, name: &str) -> Option<usize> {
    let name = canonical_name(name);
    let is_it = |line: &str| {
        PasswordLine::parse(line).is_ok_and(|line| line.is_some_and(|line| canonical_name(line.name) == name))
    };
    text.lines().position(is_it)
}

/// The file with one more line, or with the line of this name changed; all others stay as they are.
fn with_line(text: &str, name: &str, hash: &PasswordHash) -> String {
    let at = position(text, name);
    let hash = hash.to_text().expose_secret();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    match at {
        Some(at) => {
            let written = lines[at].trim().split(':').next().unwrap_or(name).to_owned();
            lines[at] = format!("{written}:{hash}");
        }
        None => lines.push(format!("{name}:{hash}")),
    }
    lines.join("\n") + "\n"
}

fn print_toml(account: &Account, hash: &PasswordHash, is_new: bool) {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let hash = quoted(hash.to_text().expose_secret());
    if is_new {
        eprintln!("Add this to the tenant's file, then restart lychgate:\n");
        println!("[[local_users]]\nname = {}\npassword_hash = {hash}", quoted(&account.name));
    } else {
        eprintln!("Put this in the place of password_hash in the tenant's file, then restart lychgate:\n");
        println!("password_hash = {hash}");
    }
}

/// Asks twice on a terminal, without showing anything; else reads a line.
fn ask_password() -> Result<SecretString, Failed> {
    let password: SecretString = if io::stdin().is_terminal() {
        let password = SecretString::from(rpassword::prompt_password("Password: ")?);
        let again = SecretString::from(rpassword::prompt_password("The same again: ")?);
        if password.expose_secret() != again.expose_secret() {
            return Err(Failed::Said("the two are not the same".to_owned()));
        }
        password
    } else {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        line.into()
    };
    if password.expose_secret().chars().count() < PASSWORD_MIN {
        return Err(Failed::Said(format!("a password has at least {PASSWORD_MIN} characters")));
    }
    Ok(password)
}

/// Writes the whole file beside the old one and puts it in its place: a reader sees the old or the new one. Only its
/// owner reads it.
fn replace_private(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    Ok(())
}
