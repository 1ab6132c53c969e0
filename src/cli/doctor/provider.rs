//! A tenant's provider: the way there, the discovery document, the keys, the clock, the client.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::Findings;
use crate::clock::Timestamp;
use crate::config::{ProviderSettings, TenantSettings};
use crate::error_chain::chain;
use crate::oidc::{Answered, Examination, ProviderError, Providers, PublishedKey};
use crate::server;

/// How long a name may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(5);
/// Seconds; a certificate with less left is warned of.
const EXPIRES_SOON: i64 = 14 * 86400;
/// Seconds that clocks may differ without a word: the provider tells whole seconds, and answers take their time.
const SAME_TIME: i64 = 5;

/// Everything about the provider of `tenant`.
pub(super) async fn look(providers: &Arc<Providers>, tenant: &TenantSettings) -> Findings {
    let settings = &tenant.provider;
    let mut findings =
        Findings { tenant: Some(tenant.id.clone()), issuer: settings.issuer.clone(), ..Findings::default() };
    let provider = match providers.provider(&tenant.id, settings) {
        Ok(provider) => provider,
        Err(error) => {
            let advice = format!("correct `{}` in the tenant's file", error.key());
            findings.error("settings", chain(&error), advice);
            return findings;
        }
    };
    let found = provider.examine().await;
    if !dns(&mut findings, settings, &found.discovery_url).await {
        return findings;
    }
    let answered = match &found.answer {
        Ok(answered) => answered,
        Err(error) => {
            let (check, advice) = unreached(error, settings, &found.discovery_url);
            findings.error(check, error.to_string(), advice);
            return findings;
        }
    };
    certificate(&mut findings, answered);
    clock(&mut findings, answered, settings.leeway);
    if discovery(&mut findings, &found, settings) {
        keys(&mut findings, &found, settings);
        client(&mut findings, &found, settings);
    }
    findings
}

/// Whether the issuer's name leads somewhere. Where a proxy is asked, that one looks it up.
async fn dns(findings: &mut Findings, settings: &ProviderSettings, url: &Url) -> bool {
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
    if let Some(proxy) = &settings.fetch.proxy {
        findings.ok("dns", format!("the proxy at {} looks up {host}", proxy.host_str().unwrap_or_default()));
        return true;
    }
    match look_up(host, port).await {
        Ok(addresses) => findings.ok("dns", format!("{host} is {addresses}")),
        Err(reason) => {
            let advice = "check the spelling of `domain` or `issuer`, and the name servers of this machine \
                          (/etc/resolv.conf; in Kubernetes a NetworkPolicy must allow port 53)";
            findings.error("dns", format!("{host}: {reason}"), advice);
            return false;
        }
    }
    true
}

/// The addresses of a host, or why there are none.
pub(super) async fn look_up(host: &str, port: u16) -> Result<String, String> {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let looking = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((name, port))).await;
    let addresses = looking.map_err(|_| "no name server answers".to_owned())?.map_err(|error| error.to_string())?;
    let addresses: Vec<String> = addresses.map(|address| address.ip().to_string()).collect();
    if addresses.is_empty() { Err("there is no such name".to_owned()) } else { Ok(addresses.join(", ")) }
}

/// Which step failed where no answer came, or none that is one, and what to do.
fn unreached(error: &ProviderError, settings: &ProviderSettings, url: &Url) -> (&'static str, String) {
    let reason = match error {
        ProviderError::Unreachable { reason } => reason.as_str(),
        ProviderError::Slow => {
            return (
                "connection",
                "the way is open but nothing comes back: look at the provider, or raise `timeout`".to_owned(),
            );
        }
        ProviderError::Limited { .. } | ProviderError::Failed { .. } => {
            return (
                "discovery",
                "the provider is in trouble, or limits us: look at its status page, try again later".to_owned(),
            );
        }
        _ => {
            return (
                "discovery",
                format!("open {url} in a browser: it should show JSON. Is the issuer right, path included?"),
            );
        }
    };
    if let Some(advice) = tls_advice(reason, "`ca_file` in the tenant's file") {
        return ("tls", advice);
    }
    let way = match &settings.fetch.proxy {
        Some(_) => "is the proxy of `proxy` there, and does it let us out?",
        None => {
            "does a firewall or a NetworkPolicy keep this machine from port 443 outside? Then allow it, or set `proxy`"
        }
    };
    ("connection", format!("nothing can be reached there: {way}"))
}

/// What to do about a failed TLS handshake; none if it was something else. `trust` is where authorities are set.
pub(super) fn tls_advice(reason: &str, trust: &str) -> Option<String> {
    let said = reason.to_ascii_lowercase();
    if said.contains("expired") {
        return Some(
            "its certificate is over: renew it there. If that is not so, this machine's clock is wrong".to_owned(),
        );
    }
    if said.contains("notvalidyet") || said.contains("not valid yet") {
        return Some("its certificate begins later: this machine's clock is most likely behind".to_owned());
    }
    if said.contains("unknownissuer") || said.contains("caused") || said.contains("unknown issuer") {
        return Some(format!(
            "an authority signed it that this machine does not know: put its certificate (PEM) into {trust}"
        ));
    }
    if said.contains("not valid for name") || said.contains("notvalidforname") {
        return Some("its certificate is for another name: correct the name here, or the certificate there".to_owned());
    }
    let tls = ["certificate", "handshake", "tls", "peer"].iter().any(|word| said.contains(word));
    tls.then(|| {
        "the other side does not speak TLS as we do: does something in between break it open, or is the port wrong?"
            .to_owned()
    })
}

fn certificate(findings: &mut Findings, answered: &Answered) {
    let Some(certificate) = &answered.certificate else {
        findings.warning("tls", "the way there is not encrypted", "only for a provider on this machine, as for tests");
        return;
    };
    let Some(end) = server::certificate_end(certificate) else {
        findings.ok("tls", "the certificate is trusted");
        return;
    };
    let now = answered.times.map_or(end, |(_, ours)| ours);
    let message = format!("the certificate is trusted, and good until {end}");
    if answered.times.is_some() && end.since(now) < EXPIRES_SOON {
        findings.warning("tls", message, "that is soon: see to it that the provider renews it");
    } else {
        findings.ok("tls", message);
    }
}

fn clock(findings: &mut Findings, answered: &Answered, leeway: i64) {
    let Some((theirs, ours)): Option<(Timestamp, Timestamp)> = answered.times else {
        findings.warning(
            "clock",
            "the provider does not tell the time",
            "see to it that a time service keeps this machine's clock right",
        );
        return;
    };
    let ahead = ours.since(theirs);
    let differ = match ahead {
        0 => "both clocks agree".to_owned(),
        1.. => format!("this machine's clock is {ahead} s ahead of the provider's"),
        _ => format!("this machine's clock is {} s behind the provider's", -ahead),
    };
    let advice = "let a time service keep the clock right (chrony, systemd-timesyncd); raise `leeway` only if the \
                  provider's clock is the wrong one";
    if ahead.abs() > leeway {
        findings.error(
            "clock",
            format!("{differ}: more than `leeway` ({leeway} s), so its tokens are refused"),
            advice,
        );
    } else if ahead.abs() > SAME_TIME {
        findings.warning("clock", format!("{differ}; up to `leeway` ({leeway} s) that does no harm"), advice);
    } else {
        findings.ok("clock", differ);
    }
}

/// Whether the rest can be looked at.
fn discovery(findings: &mut Findings, found: &Examination, settings: &ProviderSettings) -> bool {
    match &found.endpoints {
        Ok(endpoints) => {
            findings.ok(
                "discovery",
                format!("{}: {} endpoints, issuer as configured", found.discovery_url, endpoints.len()),
            );
        }
        Err(error) => {
            let advice = match error {
                ProviderError::DiscoveryIssuer { found } => {
                    format!(
                        "they must be equal to the letter, a slash at the end included: \
 set `issuer = {found:?}` if that is the right one"
                    )
                }
                ProviderError::DiscoveryUnsupported { what } if what.starts_with("id_token_signing") => format!(
                    "the provider signs id tokens otherwise: set `id_token_signed_response_alg` to what it \
 uses (it is {}), or change that there",
                    settings.id_token_alg.as_str()
                ),
                ProviderError::AddressRefused { what, .. } => format!(
                    "the provider points into this machine or its link: let it publish its own address there. If it really \
 is there, name it in [endpoints]: {what} = \"…\""
                ),
                _ => "the provider does not publish what sign-ins need: set the endpoint in [endpoints] if it has one"
                    .to_owned(),
            };
            findings.error("discovery", error.to_string(), advice);
        }
    }
    for (name, url) in &found.unsafe_endpoints {
        let advice = "the provider publishes it in the clear: let it know its own public https address \
 (Keycloak: hostname settings)";
        findings.warning("discovery", format!("{name} is {url}, which is not https and is left out"), advice);
    }
    found.endpoints.is_ok()
}

fn keys(findings: &mut Findings, found: &Examination, settings: &ProviderSettings) {
    let alg = settings.id_token_alg.as_str();
    let keys = match &found.keys {
        None => {
            let advice = "RS256 keeps the power to sign with the provider alone: set it there if you can";
            findings.warning("keys", "id tokens are signed with the client secret (HS256)", advice);
            return;
        }
        Some(Err(error)) => {
            findings.error(
                "keys",
                error.to_string(),
                "open the jwks_uri of the discovery document: it should show a key set",
            );
            return;
        }
        Some(Ok(keys)) => keys,
    };
    let shown = |key: &PublishedKey| format!("{} ({})", key.kid.as_deref().unwrap_or("without kid"), key.kind);
    let good: Vec<String> = keys.iter().filter(|key| key.verifies).map(shown).collect();
    if good.is_empty() {
        let all: Vec<String> = keys.iter().map(shown).collect();
        let message = format!("none of {} keys verifies {alg}: {}", keys.len(), all.join(", "));
        let advice =
            "set `id_token_signed_response_alg` to what the provider signs with; RSA keys below 2048 bits do not count";
        findings.error("keys", message, advice);
    } else {
        findings.ok("keys", format!("{} of {} verify {alg}: {}", good.len(), keys.len(), good.join(", ")));
    }
}

fn client(findings: &mut Findings, found: &Examination, settings: &ProviderSettings) {
    let id = &settings.client_id;
    match &found.client {
        None => findings.ok("client", format!("{id} is a public client, with nothing to prove")),
        Some(Ok(())) => findings.ok("client", format!("the provider takes {id} for what it says it is")),
        Some(Err(error @ ProviderError::ClientRefused { .. })) => {
            let advice = "copy client_id and client secret from the provider anew; look whether it wants another \
                          `client_auth` (Auth0: Credentials, Authentication Methods)";
            findings.error("client", error.to_string(), advice);
        }
        Some(Err(error)) => {
            findings.warning(
                "client",
                format!("could not be tried: {error}"),
                "try again later; sign-ins fail as long as this does",
            );
        }
    }
}
