//! Whether browsers find us: the callback addresses, asked from this machine as a browser would.

use std::time::Duration;

use reqwest::header::ACCEPT;
use serde_json::Value;
use url::Url;

use super::super::urls::Urls;
use super::provider::{look_up, tls_advice};
use super::{Findings, Level};
use crate::config::{Settings, TenantSettings};
use crate::error_chain::chain;

const TIMEOUT: Duration = Duration::from_secs(5);
/// What a callback without parameters is told, by us and nobody else.
const OURS: &str = "state_missing";

/// Asks every callback address of `tenant`.
pub(super) async fn look(settings: &Settings, tenant: &TenantSettings, findings: &mut Findings) {
    let urls = Urls::of(settings, tenant);
    if urls.callback.is_empty() {
        let advice = "set `public_url`, or give the tenant `hosts`";
        findings.error("callback", "browsers have no address by which to come back", advice);
    }
    for url in &urls.callback {
        if let Ok(url) = url.parse::<Url>() {
            ask(&url, findings).await;
        }
    }
}

async fn ask(url: &Url, findings: &mut Findings) {
    let host = url.host_str().unwrap_or_default();
    if let Err(reason) = look_up(host, url.port_or_known_default().unwrap_or(443)).await {
        let advice = "browsers need a DNS record for it. If theirs is another name server, nobody can know from here";
        findings.warning("callback", format!("{url}: {host}: {reason}"), advice);
        return;
    }
    match request(url).await {
        Ok((_, Some(OURS))) => findings.ok("callback", format!("{url} leads to us, seen from this machine")),
        Ok((status, Some("misdirected"))) => {
            let advice = "the proxy in front passes on another host: let it set Host, or X-Forwarded-Host and \
                          X-Forwarded-Proto, and name it in `trusted_proxies`";
            findings.error(
                "callback",
                format!("{url}: lychgate answers {status}: for a host that is not ours"),
                advice,
            );
        }
        Ok((status, Some("not_found"))) => {
            let advice = "it runs with other settings than these: reload or restart it";
            findings.error(
                "callback",
                format!("{url}: a lychgate answers {status} that does not know this tenant"),
                advice,
            );
        }
        Ok((status, _)) => {
            let advice = "the name or a rule of the proxy in front leads elsewhere: \
 all below the tenant's address must come to lychgate";
            findings.error("callback", format!("{url}: something else answers {status}"), advice);
        }
        Err(error) => {
            let reason = chain(&error.without_url());
            let Some(advice) = tls_advice(&reason, "the browsers of all who sign in") else {
                let advice = "does lychgate run? If it does, this machine may not reach its own public address, \
                              and nobody can know from here: open it in a browser, which should show our error page";
                findings.warning("callback", format!("{url}: {reason}"), advice);
                return;
            };
            // They may know an authority that this machine does not.
            let level = if reason.contains("UnknownIssuer") { Level::Warning } else { Level::Error };
            findings.add("callback", level, format!("{url}: {reason}"), advice);
        }
    }
}

/// The status, and the code of the problem if the answer is one of ours.
async fn request(url: &Url) -> Result<(reqwest::StatusCode, Option<&'static str>), reqwest::Error> {
    let client =
        reqwest::Client::builder().timeout(TIMEOUT).no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let answer = client.get(url.clone()).header(ACCEPT, "application/json").send().await?;
    let status = answer.status();
    let problem: Value = answer.json().await.unwrap_or_default();
    let code = problem["code"].as_str().unwrap_or_default();
    Ok((status, [OURS, "misdirected", "not_found"].into_iter().find(|known| *known == code)))
}
