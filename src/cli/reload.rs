//! `lychgate reload`: has a running gateway read its files again, and says what came of it.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::{Exit, reachable, say_faults, serve};
use crate::config::{Faults, Reading, Sources};

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
    let origin = match admin.map_or_else(|| own_origin(sources), |url| Ok(url.into())) {
        Ok(origin) => origin,
        Err(exit) => return exit,
    };
    let url = format!("{}/reload", origin.trim_end_matches('/'));
    match ask(&url).await {
        Ok(outcome) => say(&outcome),
        Err(error) if error.status() == Some(reqwest::StatusCode::NOT_FOUND) => {
            eprintln!("{url} takes no orders from here: ask on the machine, or in the container, of the gateway");
            Exit::Failure
        }
        Err(error) => {
            eprintln!("no answer from {url}: {}", serve::chain(&error.without_url()));
            Exit::Failure
        }
    }
}

/// Where settings say that the listener for operators is. Tenants may be no good: they are what is asked about.
fn own_origin(sources: &Sources) -> Result<String, Exit> {
    let reading = Reading::first(sources);
    if !reading.faults.is_empty() {
        say_faults(&Faults(reading.faults));
        return Err(Exit::Config);
    }
    let Some(address) = reading.settings.admin_listen else {
        eprintln!(
            "the gateway has no listener for operators: set admin_listen, or send SIGHUP to the process, or name the \
             listener by --admin-url"
        );
        return Err(Exit::Failure);
    };
    Ok(format!("http://{}", reachable(address)))
}

async fn ask(url: &str) -> Result<Outcome, reqwest::Error> {
    let client =
        reqwest::Client::builder().timeout(TIMEOUT).no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    client.post(url).send().await?.error_for_status()?.json().await
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
