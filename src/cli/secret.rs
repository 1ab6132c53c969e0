//! `lychgate secret`: prints a new root secret; lists, rotates and drops the keys of the ring. It changes files and
//! nothing else: running gateways see for themselves.

use std::error::Error;
use std::fmt::Write as _;

use clap::Subcommand;

use super::{Exit, audit, put, users};
use crate::audit::Audit;
use crate::clock::Clock;
use crate::config::Settings;
use crate::error_chain::chain;
use crate::key_ring::{KeyFile, KeyId, RingFiles, RingKey, SETTLED_AFTER};
use crate::secret::ExposeSecret as _;
use crate::session::Sessions;

/// What can be done with the ring.
#[derive(Subcommand, Debug)]
pub(super) enum SecretCommand {
    /// Change the root secret in two steps, while gateways run and without signing anybody out
    #[command(after_help = "First:  lychgate secret rotate             makes the next key, accepted from now on\n\
                      Then:   lychgate secret rotate --activate  makes it the active one, some seconds later")]
    Rotate {
        /// The second step: make the next key the active one, and go on accepting the former
        #[arg(long)]
        activate: bool,
    },
    /// List the keys: which is active, since when, how many sessions stand under each
    List,
    /// Remove a key that is not the active one; this signs out whoever signed in under it
    #[command(after_help = "Example: lychgate secret drop 1f6a09c2")]
    Drop {
        /// Its id, as `lychgate secret list` shows it
        id: KeyId,
    },
}

/// Prints a new root secret.
pub(super) fn print() -> Exit {
    put(&format!("{}\n", RingKey::generate().to_text().expose_secret()))
}

/// Does what `command` says.
pub(super) async fn run(settings: &Settings, command: SecretCommand) -> Exit {
    let (words, key) = match &command {
        SecretCommand::List => ("", None),
        SecretCommand::Rotate { activate: false } => ("secret rotate", None),
        SecretCommand::Rotate { activate: true } => ("secret rotate --activate", None),
        SecretCommand::Drop { id } => ("secret drop", Some(id.to_string())),
    };
    let audit = match audit::open(settings) {
        _ if words.is_empty() => Audit::off(),
        Ok(audit) => audit,
        Err(error) => {
            eprintln!("lychgate secret: {error}");
            return Exit::Failure;
        }
    };
    let done = match &command {
        SecretCommand::Rotate { activate: false } => prepare(settings),
        SecretCommand::Rotate { activate: true } => activate(settings),
        SecretCommand::List => list(settings).await,
        SecretCommand::Drop { id } => drop_key(settings, *id).await,
    };
    let event = audit::action(words);
    let event = key.iter().fold(event, |event, key| event.key(key));
    match done {
        Ok(text) => audit::record(&audit, event, put(&text)).await,
        Err(error) => {
            eprintln!("lychgate secret: {}", chain(&*error));
            audit::record(&audit, event.failed("refused"), Exit::Failure).await
        }
    }
}

/// What there is to say.
type Done = Result<String, Box<dyn Error>>;

/// The ring's files, if it has some.
fn files(settings: &Settings) -> Result<RingFiles, &'static str> {
    match &settings.secret {
        None => Ok(RingFiles::new(settings.secret_file.clone())),
        Some(_) => Err("`secret` holds the one key itself: put it into a file and name that in `secret_file`"),
    }
}

fn prepare(settings: &Settings) -> Done {
    let next = files(settings)?.prepare()?;
    Ok(format!(
        "The next key is {}, in {}.\n\
         Every gateway that reads this folder accepts it within {SETTLED_AFTER} s. Then:\n\
         \x20 lychgate secret rotate --activate\n",
        next.key.id(),
        next.path.display()
    ))
}

fn activate(settings: &Settings) -> Done {
    let now = Clock::system().now();
    let (former, active) = files(settings)?.activate(now)?;
    let longest = settings.tenants.iter().map(|tenant| tenant.session.absolute.as_secs()).max().unwrap_or_default();
    Ok(format!(
        "The active key is {}, in {}.\n\
         {} goes on being accepted, in {}. Nobody is signed out.\n\
         The last session under it is over by {}. Then:\n\
         \x20 lychgate secret drop {}\n",
        active.key.id(),
        active.path.display(),
        former.key.id(),
        former.path.display(),
        now.plus(longest as i64),
        former.key.id()
    ))
}

async fn list(settings: &Settings) -> Done {
    let files = files(settings)?.read()?;
    let sessions = users::sessions(settings).await?;
    let mut rows = vec![["ID", "ROLE", "SINCE", "SESSIONS", "FILE"].map(str::to_owned)];
    for KeyFile { path, role, since, key } in &files {
        let under = under(sessions.as_deref(), key.id()).await?;
        rows.push([
            key.id().to_string(),
            role.as_str().to_owned(),
            since.to_string(),
            under.map_or_else(|| "-".to_owned(), |count| count.to_string()),
            path.display().to_string(),
        ]);
    }
    if let Some(sessions) = sessions {
        sessions.close().await;
    }
    Ok(users::aligned(&rows))
}

async fn drop_key(settings: &Settings, id: KeyId) -> Done {
    let sessions = users::sessions(settings).await?;
    let under = under(sessions.as_deref(), id).await?;
    if let Some(sessions) = sessions {
        sessions.close().await;
    }
    let mut text = String::new();
    for path in files(settings)?.drop_key(id)? {
        let _ = writeln!(text, "Removed {}.", path.display());
    }
    let _ = match under {
        Some(count) => writeln!(text, "Sessions that end with it: {count}."),
        None => writeln!(text, "The sessions under it end; the store cannot tell how many they are."),
    };
    let _ = writeln!(text, "Every running gateway sees it within {SETTLED_AFTER} s.");
    Ok(text)
}

async fn under(sessions: Option<&Sessions>, id: KeyId) -> Result<Option<u64>, Box<dyn Error>> {
    match sessions {
        Some(sessions) => Ok(sessions.under(id).await?),
        None => Ok(Some(0)),
    }
}
