//! This machine: files, folders, our own certificate, and settings that are allowed but seldom meant.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::Findings;
use crate::clock::Clock;
use crate::config::{Settings, StoreKind};
use crate::error_chain::chain;
use crate::key_ring::{KeyFileError, RingFiles};
use crate::secret::random_text;
use crate::server;

/// Seconds; our own certificate with less left is warned of.
const EXPIRES_SOON: i64 = 14 * 86400;

/// Everything that does not concern one tenant.
pub(super) async fn look(settings: &Settings) -> Findings {
    let mut findings = Findings::default();
    tenants(settings, &mut findings);
    data_folder(settings, &mut findings);
    root_secret(settings, &mut findings);
    readable_by_all(&settings.tenants_dir, &mut findings);
    proxies(settings, &mut findings);
    own_certificate(settings, &mut findings).await;
    findings
}

fn tenants(settings: &Settings, findings: &mut Findings) {
    match settings.tenants.len() {
        0 => findings.warning("settings", "there is no tenant yet", "`lychgate tenant add` writes one"),
        count => findings.ok("settings", format!("good, {count} tenants")),
    }
}

/// Whether the user who runs this may write where `serve` writes.
fn data_folder(settings: &Settings, findings: &mut Findings) {
    let folder = &settings.data_dir;
    let shown = folder.display();
    if !folder.exists() {
        let made = "is not there; `serve` makes it at its first start";
        return findings.ok("data folder", format!("{shown} {made}"));
    }
    let probe = folder.join(format!(".doctor-{}", random_text()));
    let written = fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe));
    match written {
        Ok(()) => findings.ok("data folder", format!("{shown} can be written by the user who asks")),
        Err(error) => {
            let advice = "let it belong to the user who runs lychgate, and run this as that user; in a \
 container mount a volume there";
            findings.error("data folder", format!("{shown}: {error}"), advice);
        }
    }
    if let (StoreKind::Embedded, Some(bits)) = (&settings.sessions.store, mode(folder).filter(|bits| bits & 0o007 != 0))
    {
        let advice = format!("others of this machine can look in: chmod o= {shown}");
        findings.warning("data folder", format!("{shown} has mode {bits:o}"), advice);
    }
}

fn root_secret(settings: &Settings, findings: &mut Findings) {
    if settings.secret.is_some() {
        let advice = "`secret_file` can be rotated without signing anybody out, and does not show in the \
 environment of the process";
        return findings.warning("root secret", "stands in the settings or the environment", advice);
    }
    let files = RingFiles::new(settings.secret_file.clone());
    if !files.active().exists() {
        let advice =
            "keep a copy of it then: without it all sessions are lost. Several gateways must be given the same one";
        return findings.warning(
            "root secret",
            format!("{} is not there; `serve` makes it", files.active().display()),
            advice,
        );
    }
    match files.read() {
        Ok(keys) => {
            let active = keys.first().map(|file| file.key.id().to_string()).unwrap_or_default();
            findings
                .ok("root secret", format!("key {active} is active, {} more accepted", keys.len().saturating_sub(1)));
            for file in &keys {
                readable_by_all(&file.path, findings);
            }
        }
        Err(error @ KeyFileError::Io { .. }) => {
            findings.error(
                "root secret",
                chain(&error),
                "let it belong to the user who runs lychgate, and run this as that user",
            );
        }
        Err(error) => {
            findings.error(
                "root secret",
                chain(&error),
                "`lychgate secret` makes a new one, which signs everybody out",
            );
        }
    }
}

/// Warns of a file, or of the files in a folder, that everybody on this machine may read.
fn readable_by_all(path: &Path, findings: &mut Findings) {
    let files: Vec<_> = match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect(),
        Err(_) => vec![path.to_owned()],
    };
    for file in files {
        if let Some(bits) = mode(&file).filter(|bits| bits & 0o004 != 0) {
            let advice = format!("everybody on this machine may read it: chmod o= {}", file.display());
            findings.warning("secrets", format!("{} has mode {bits:o}", file.display()), advice);
        }
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o777)
}

fn proxies(settings: &Settings, findings: &mut Findings) {
    let anybody = ["203.0.113.1", "198.51.100.1", "2001:db8::1"];
    let anybody = anybody.iter().filter_map(|address| address.parse::<IpAddr>().ok());
    let trusted = &settings.trusted_proxies;
    if anybody.clone().any(|address| trusted.contains(address)) {
        let advice = "whoever connects may then say who and where he is: name the proxies' own addresses";
        findings.error("proxies", format!("trusted_proxies ({trusted}) holds addresses of the whole internet"), advice);
        return;
    }
    let https = settings.public_url.as_ref().is_some_and(|url| url.scheme() == "https");
    let elsewhere = !settings.listen.ip().to_canonical().is_loopback();
    if https && settings.tls.is_none() && elsewhere && crate::net::Networks::loopback().covers(trusted) {
        let advice = "if it is not on this machine, its headers are not believed: add its address to `trusted_proxies`";
        findings.warning(
            "proxies",
            "browsers come by https through a proxy, and trusted_proxies holds this machine alone",
            advice,
        );
        return;
    }
    if settings.public_url.is_none() && elsewhere && settings.tenants.iter().any(|tenant| tenant.hosts.is_empty()) {
        let advice = "set `public_url` to the address that browsers use";
        findings.error(
            "proxies",
            "we listen for other machines, and neither public_url nor hosts say under which name",
            advice,
        );
        return;
    }
    findings.ok(
        "proxies",
        format!("trusted: {}", if trusted.is_empty() { "none".to_owned() } else { trusted.to_string() }),
    );
}

async fn own_certificate(settings: &Settings, findings: &mut Findings) {
    let Some(tls) = &settings.tls else { return };
    readable_by_all(&tls.key_file, findings);
    match server::check_pair(tls).await {
        Ok(end) => {
            let left = end.map(|end| end.since(Clock::system().now()));
            let until = end.map(|end| format!(", good until {end}")).unwrap_or_default();
            let message = format!("certificate and key go together{until}");
            match left {
                Some(..0) => findings.error(
                    "certificate",
                    message,
                    "it is over: renew it; the files are read again by themselves",
                ),
                Some(..EXPIRES_SOON) => {
                    findings.warning("certificate", message, "renew it; the files are read again by themselves");
                }
                _ => findings.ok("certificate", message),
            }
        }
        Err(error) => findings.error("certificate", chain(&error), "correct what `[tls]` names"),
    }
}
