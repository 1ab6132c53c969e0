//! `lychgate healthcheck`: asks a running gateway whether it is ready, for service managers and containers.

use std::time::Duration;

use url::Url;

use super::{Exit, reachable};
use crate::config::Settings;
use crate::error_chain::chain;

const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks `/readyz` of `origin`, or of where the settings say that we listen.
pub(super) async fn run(settings: &Settings, origin: Option<Url>) -> Exit {
    let own = origin.is_none();
    let origin = origin.map_or_else(|| own_origin(settings), String::from);
    let url = format!("{}/readyz", origin.trim_end_matches('/'));
    match ask(&url, own).await {
        Ok(status) if status.is_success() => {
            println!("ready");
            Exit::Success
        }
        Ok(status) => {
            eprintln!("not ready: {url} says {status}");
            Exit::Failure
        }
        Err(error) => {
            eprintln!("no answer from {url}: {}", chain(&error.without_url()));
            Exit::Failure
        }
    }
}

async fn ask(url: &str, own: bool) -> Result<reqwest::StatusCode, reqwest::Error> {
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // Our own listener on this machine: its certificate is for another name than the address that we ask.
        .tls_danger_accept_invalid_certs(own)
        .build()?;
    Ok(client.get(url).send().await?.status())
}

fn own_origin(settings: &Settings) -> String {
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let address = reachable(settings.listen);
    format!("{scheme}://{address}")
}
