//! Fuzz targets of settings: files as people, or a program that people trust, may write them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a target says by a panic what is broken")]

use std::path::{Path, PathBuf};

use url::Url;

use super::keys::SETTINGS;
use super::layers::{Layer, Origin};
use super::read::read_settings;
use super::read_tenant::{self, TenantFile};
use super::reader::Reader;
use super::{Fault, HostPattern, PathPattern, Sources, values};
use crate::request_path::RequestPath;

/// A secret, where an input has one.
const SECRET: &str = "hush-hush";

/// Where files that settings name are looked for: nowhere.
fn nowhere() -> Sources {
    Sources { directory: PathBuf::from("/nonexistent"), ..Sources::default() }
}

/// A line that says in which format what is below it is written.
fn layer(data: &[u8]) -> Result<(Layer, &str), Option<String>> {
    let (format, text) = str::from_utf8(data).map_err(|_| None)?.split_once('\n').ok_or(None)?;
    if !["toml", "yaml", "json"].contains(&format) {
        return Err(None);
    }
    // A file of whose end the rest may never be read.
    if text.contains("/dev/") || text.contains("/proc/") {
        return Err(None);
    }
    Layer::file(Path::new(&format!("acme.{format}")), text.as_bytes()).map(|layer| (layer, text)).map_err(Some)
}

/// Whether all that a file says of [`SECRET`] is that it is the value of a key for secrets.
fn is_told_as_a_secret(text: &str) -> bool {
    let mut places = text.match_indices(SECRET);
    let (Some((at, _)), None) = (places.next(), places.next()) else { return false };
    let ways = [("", " = \""), ("", " = '"), ("", ": "), ("", ": \""), ("\"", "\":\""), ("\"", "\": \"")];
    let keys = ["client_secret", "sessions.redis_password", "redis_password"];
    ways.iter().any(|(before, after)| {
        let key = text[..at].strip_suffix(after);
        let rest = keys.iter().find_map(|name| key?.strip_suffix(name)?.strip_suffix(before));
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(['\n', '{', ',']))
    })
}

/// No fault repeats a secret, and each says where it is.
fn check_faults(faults: &[Fault], text: &str) {
    for fault in faults {
        assert!(!fault.file.is_empty() && !fault.reason.is_empty(), "{fault:?}");
        assert!(!is_told_as_a_secret(text) || !fault.to_string().contains(SECRET), "{fault}");
    }
}

/// A tenant's file: settings, or faults that name the place and no secret; the same each time.
pub(crate) fn tenant_file(data: &[u8]) {
    let (layer, text) = match layer(data) {
        Ok(layer) => layer,
        Err(reason) => {
            let reason = reason.unwrap_or_default();
            assert!(
                !reason.contains(SECRET) || !is_told_as_a_secret(str::from_utf8(data).unwrap_or_default()),
                "{reason}"
            );
            return;
        }
    };
    let sources = nowhere();
    let read = || {
        let (id, origin) = ("acme".parse().unwrap(), Origin::File("acme.toml".into()));
        read_tenant::read(&sources, &TenantFile { id, origin, layers: vec![layer.clone()] }, None)
    };
    let (tenant, faults, _) = read();
    check_faults(&faults, text);
    assert_eq!(faults, read().1);
    if let Some(tenant) = tenant.filter(|_| faults.is_empty()) {
        let shown = format!("{tenant:?}");
        assert!(!is_told_as_a_secret(text) || !shown.contains(SECRET), "{shown}");
        let issuer: Url = tenant.provider.issuer.parse().expect("an issuer is a URL");
        assert!(issuer.scheme() == "https" || values::is_loopback(&issuer), "{issuer}");
        assert!(tenant.sign_in.scopes.iter().any(|scope| scope == "openid"), "not even openid");
        assert!(tenant.session.idle <= tenant.session.absolute, "idle beyond absolute");
    }
}

/// The file of the process's own settings, in the same way.
pub(crate) fn settings(data: &[u8]) {
    let Ok((layer, text)) = layer(data) else { return };
    let sources = nowhere();
    let mut reader = Reader::new(&sources, SETTINGS, Origin::File("lychgate.toml".into()), &[layer]);
    let settings = read_settings(&mut reader);
    let faults = reader.into_faults();
    check_faults(&faults, text);
    let shown = format!("{settings:?}");
    assert!(!is_told_as_a_secret(text) || !shown.contains(SECRET), "{shown}");
}

/// Lines: two patterns of one kind, and an origin, a host or a path. What one pattern is said to cover, it matches, and
/// an origin that matches is the one that is written, or truly below it.
pub(crate) fn origins(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (outer, inner, asked) = (line(), line(), line());
    if let (Ok(pattern), Ok(url)) = (values::origin_pattern(outer), Url::parse(asked))
        && pattern.matches(&url)
    {
        let (scheme, rest) = outer.split_once("://").expect("an origin");
        assert_eq!(url.scheme(), scheme);
        let host = url.host_str().unwrap_or_default();
        let wanted = rest.trim_end_matches('/').to_ascii_lowercase();
        let port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let name = wanted.rsplit_once(':').filter(|(_, text)| port(text)).map_or(&*wanted, |(name, _)| name);
        match name.strip_prefix("*.") {
            Some(domain) => assert!(host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')), "{outer} {url}"),
            None => assert_eq!(host, name, "{outer} {url}"),
        }
    }
    if let (Ok(outer), Ok(inner), Ok(path)) =
        (PathPattern::parse(outer), PathPattern::parse(inner), RequestPath::parse(asked))
        && outer.covers(&inner)
    {
        assert!(!inner.matches(&path) || outer.matches(&path), "{outer} covers {inner} and not {path}");
    }
    if let (Ok(outer), Ok(inner)) = (HostPattern::parse(outer), HostPattern::parse(inner))
        && outer.covers(&inner)
    {
        assert!(!inner.matches(asked) || outer.matches(asked), "{outer} covers {inner} and not {asked}");
    }
}
