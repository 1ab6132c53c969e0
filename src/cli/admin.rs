//! The listener for operators of a running gateway, as the commands on the same machine ask it.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::{Exit, reachable, say_faults};
use crate::config::{Faults, Reading, Sources};
use crate::error_chain::chain;

/// A gateway's listener for operators.
pub(super) struct Admin(String);

impl Admin {
    /// The one at `named`, or where settings say that it is; else says what to do. Tenants may be no good: they are what
    /// is asked about.
    pub(super) fn find(sources: &Sources, named: Option<Url>) -> Result<Self, Exit> {
        if let Some(url) = named {
            return Ok(Self(url.into()));
        }
        let reading = Reading::first(sources);
        if !reading.faults.is_empty() {
            say_faults(&Faults(reading.faults));
            return Err(Exit::Config);
        }
        let Some(address) = reading.settings.admin_listen else {
            eprintln!(
                "the gateway has no listener for operators: set admin_listen and restart it, or name the listener by \
                 --admin-url"
            );
            return Err(Exit::Failure);
        };
        Ok(Self(format!("http://{}", reachable(address))))
    }

    /// What it answers at `path`; else says what to do.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> Result<T, Exit> {
        let url = format!("{}{path}", self.0.trim_end_matches('/'));
        match request(method, &url, limit).await {
            Ok(answer) => Ok(answer),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => {
                eprintln!("{url} takes no orders from here: ask on the machine, or in the container, of the gateway");
                Err(Exit::Failure)
            }
            Err(error) if error.is_decode() => {
                eprintln!("{url} is not the listener for operators of a lychgate of this version: see admin_listen");
                Err(Exit::Failure)
            }
            Err(error) => {
                let reason = chain(&error.without_url());
                eprintln!("no answer from {url}: {reason}: does the gateway run, and is that its admin_listen?");
                Err(Exit::Failure)
            }
        }
    }
}

async fn request<T: DeserializeOwned>(method: Method, url: &str, limit: Duration) -> Result<T, reqwest::Error> {
    let client =
        reqwest::Client::builder().timeout(limit).no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    client.request(method, url).send().await?.error_for_status()?.json().await
}
