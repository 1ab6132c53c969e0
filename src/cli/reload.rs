//! `lychgate reload`: has a running gateway read its files again, and says what came of it.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use url::Url;

use super::Exit;
use super::admin::Admin;
use crate::config::Sources;

/// A reload reads every file, and waits for editors.
const TIMEOUT: Duration = Duration::from_mins(1);

/// What the gateway says, as far as people are told.
#[derive(Deserialize)]
struct Outcome {
    result: String,
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
    settings: Vec<String>,
    rejected: Vec<Rejection>,
    needs_restart: Vec<String>,
}

#[derive(Deserialize)]
struct Rejection {
    reason: String,
}

/// Asks the gateway at `admin`, or where the settings say that its listener for operators is.
pub(super) async fn run(sources: &Sources, admin: Option<Url>) -> Exit {
    let asked = match Admin::find(sources, admin) {
        Ok(admin) => admin.ask(Method::POST, "/reload", TIMEOUT).await,
        Err(exit) => {
            eprintln!("SIGHUP to the process does the same, and says in the log what came of it");
            Err(exit)
        }
    };
    match asked {
        Ok(outcome) => say(&outcome),
        Err(exit) => exit,
    }
}

fn say(outcome: &Outcome) -> Exit {
    println!("{}", outcome.result);
    for (what, names) in [
        ("added", &outcome.added),
        ("changed", &outcome.changed),
        ("removed", &outcome.removed),
        ("settings", &outcome.settings),
    ] {
        if !names.is_empty() {
            println!("{what}: {}", names.join(", "));
        }
    }
    for rejection in &outcome.rejected {
        eprintln!("refused: {}", rejection.reason);
    }
    if !outcome.needs_restart.is_empty() {
        eprintln!("needs a restart: {}", outcome.needs_restart.join(", "));
    }
    match outcome.result.as_str() {
        "applied" | "unchanged" => Exit::Success,
        _ => Exit::Failure,
    }
}
