//! Reads `[[upstreams]]`: each table by itself, then what only shows when they are seen together.

use std::time::Duration;

use super::reader::Reader;
use super::{Pass, UpstreamAddress, UpstreamSettings, values};
use crate::request_path::RequestPath;

/// The first segments of our own routes, below the tenant's prefix.
const OUR_ROUTES: [&str; 15] = [
    "",
    "assets",
    "auth",
    "backchannel-logout",
    "callback",
    "dashboard",
    "disconnect",
    "frontchannel-logout",
    "logged-out",
    "login",
    "logout",
    "session",
    "sessions",
    "signup",
    "token",
];

/// Reads the upstreams of a tenant with these hosts, this prefix, and access tokens for these audiences.
pub(super) fn read(
    reader: &mut Reader<'_>,
    hosts: &[String],
    prefix: &str,
    audiences: &[&String],
) -> Vec<UpstreamSettings> {
    let mut upstreams: Vec<UpstreamSettings> = Vec::new();
    for (index, upstream) in
        reader.tables("upstreams", |table| one(table, hosts, prefix, audiences)).into_iter().enumerate()
    {
        let same = |other: &UpstreamSettings| (&other.host, &other.path) == (&upstream.host, &upstream.path);
        if upstreams.iter().any(same) {
            let reason = format!("the upstream of place {} has host and path of an earlier one", index + 1);
            reader.fault("upstreams", reason, Some("give each its own path or host"));
        }
        upstreams.push(upstream);
    }
    // The most specific first: the longest path, and of equal ones that with a host.
    upstreams.sort_by_key(|upstream| std::cmp::Reverse((upstream.path.len(), upstream.host.is_some())));
    upstreams
}

fn one(reader: &mut Reader<'_>, hosts: &[String], prefix: &str, audiences: &[&String]) -> Option<UpstreamSettings> {
    let host = reader.parsed("host", values::host);
    if let Some(host) = host.as_ref().filter(|host| !hosts.contains(host)) {
        reader.fault("host", format!("{host} is not among the tenant's hosts"), Some("add it to `hosts`"));
    }
    let path = reader.parsed("path", plain_path);
    let path = path.unwrap_or_default();
    let key = if reader.is_set("path") || !reader.is_set("host") { "path" } else { "host" };
    if !reader.is_set(key) {
        reader.fault("path", "is missing", Some("give a `path`, a `host`, or both"));
    } else if let Some(reason) = shadowed(&path, prefix) {
        reader.fault(key, reason, Some("choose another path, or set `prefix` to move our routes out of its way"));
    }
    let strip = reader.flag("strip_prefix").unwrap_or_default();
    let rewrite = reader.parsed("rewrite", plain_path);
    if strip && rewrite.is_some() {
        reader.fault("rewrite", "and strip_prefix are both given", Some("leave one of them out"));
    }
    let url = reader.parsed("url", address);
    let urls = reader.list("urls", address).unwrap_or_default();
    match (reader.is_set("url"), reader.is_set("urls")) {
        (true, true) => reader.fault("url", "and urls are both given", Some("leave one of them out")),
        (false, false) => reader.fault("url", "is missing", Some("give `url`, or `urls` for several")),
        (false, true) if urls.is_empty() => reader.fault("urls", "names no good address", None),
        _ => {}
    }
    let members: Vec<UpstreamAddress> = url.into_iter().chain(urls).collect();
    let timeouts = Duration::from_millis(10)..=Duration::from_hours(1);
    let connect_timeout = reader.duration("connect_timeout", &timeouts);
    let timeout = reader.duration("timeout", &timeouts);
    let max_body = reader.size("max_body", &(0..=(1 << 50)));
    let preserve_host = reader.flag("preserve_host");
    let ca = reader.file("ca_file").map(String::into_bytes);
    let https = |member: &UpstreamAddress| matches!(member, UpstreamAddress::Url(url) if url.scheme() == "https");
    if reader.is_set("ca_file") && !members.iter().any(https) {
        reader.fault("ca_file", "is given, but no url is https", Some("leave it out"));
    }
    let words = [("none", Pass::None), ("access_token", Pass::AccessToken), ("id_token", Pass::IdToken)];
    let pass = reader.choice("pass", &words);
    let audience = reader.text("audience");
    match &audience {
        Some(_) if pass.is_some_and(|pass| pass != Pass::AccessToken) => {
            reader.fault("audience", "is given, but pass is not access_token", None);
        }
        Some(audience) if !audiences.contains(&audience) => {
            reader.fault("audience", "is no audience of the tenant", Some("add it to tokens.audiences"));
        }
        _ => {}
    }
    if members.is_empty() {
        return None;
    }
    Some(UpstreamSettings {
        host,
        path,
        rewrite: rewrite.or(strip.then(String::new)),
        members,
        connect_timeout: connect_timeout.unwrap_or_default(),
        timeout: timeout.unwrap_or_default(),
        max_body,
        preserve_host: preserve_host.unwrap_or_default(),
        ca,
        pass: pass.unwrap_or_default(),
        audience,
    })
}

/// A path in its one form, decoded, without a slash at the end.
fn plain_path(text: &str) -> Result<String, String> {
    let path = RequestPath::parse(text).map_err(|error| error.to_string())?;
    Ok(path.as_str().trim_end_matches('/').to_owned())
}

/// Why no request would ever reach an upstream at `path`, or not all of those below it.
fn shadowed(path: &str, prefix: &str) -> Option<String> {
    let below = path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
    let first = below.trim_start_matches('/').split('/').next().unwrap_or_default();
    match prefix {
        "" if OUR_ROUTES.contains(&first) => Some("lies where our own routes are".to_owned()),
        "" => None,
        _ => Some(format!("lies below prefix, {prefix}, where our own routes are")),
    }
}

/// `http://…`, `https://…`, or `unix:` and the path of a socket.
fn address(text: &str) -> Result<UpstreamAddress, String> {
    if let Some(file) = text.strip_prefix("unix:") {
        return match file.starts_with('/') && !file.starts_with("//") {
            true => Ok(UpstreamAddress::Unix(file.into())),
            false => Err("is not unix: and a whole path, such as unix:/run/app.sock".to_owned()),
        };
    }
    let url = values::url(text, &["http", "https"]).map_err(|reason| format!("{reason}, or unix: and a path"))?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("has a path, query or fragment; write scheme, host and port, and the path as `rewrite`".to_owned());
    }
    Ok(UpstreamAddress::Url(url))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fault, Sources, TenantSettings, load};

    const ACME: &str = "domain = \"acme.eu.auth0.com\"\nclient_id = \"abc\"\nclient_secret = \"x\"\n";

    /// What comes of a tenant file with these lines.
    fn read_file(lines: &str) -> Result<TenantSettings, Vec<Fault>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tenants")).unwrap();
        std::fs::write(folder.path().join("tenants/acme.toml"), format!("{ACME}{lines}")).unwrap();
        let sources = Sources { directory: folder.path().to_owned(), ..Sources::default() };
        load(&sources).map(|loaded| TenantSettings::clone(&loaded.settings.tenants[0])).map_err(|faults| faults.0)
    }

    #[track_caller]
    fn refused(lines: &str, key: &str, words: &str) {
        let faults = read_file(lines).expect_err(lines);
        assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), [key], "{lines}: {faults:?}");
        assert!(faults[0].to_string().contains(words), "{lines}: {}", faults[0]);
    }

    #[test]
    fn an_upstream_needs_a_place_and_an_address_and_has_defaults() {
        let tenant = read_file("[[upstreams]]\npath = \"/app/\"\nurl = \"http://10.0.0.1:8080\"\n").unwrap();
        let [upstream] = &tenant.upstreams[..] else { panic!("{:?}", tenant.upstreams) };
        assert_eq!((upstream.path.as_str(), &upstream.rewrite), ("/app", &None));
        assert_eq!(upstream.members, [UpstreamAddress::Url("http://10.0.0.1:8080".parse().unwrap())]);
        assert_eq!((upstream.connect_timeout, upstream.timeout), (Duration::from_secs(5), Duration::from_mins(1)));
        assert!(tenant.csrf && upstream.max_body.is_none() && upstream.pass == Pass::None);
        refused("[[upstreams]]\nurl = \"http://a\"\n", "upstreams[0].path", "is missing");
        refused("[[upstreams]]\npath = \"/app\"\n", "upstreams[0].url", "is missing");
    }

    #[test]
    fn the_most_specific_upstream_comes_first() {
        let lines = "hosts = [\"app.acme.example\"]\nprefix = \"/.lychgate\"\n\
            [[upstreams]]\npath = \"/\"\nurl = \"http://a\"\n\
            [[upstreams]]\nhost = \"app.acme.example\"\nurl = \"unix:/run/app.sock\"\n\
            [[upstreams]]\npath = \"/api\"\nurls = [\"http://b:1\", \"http://b:2\"]\nstrip_prefix = true\n";
        let upstreams = read_file(lines).unwrap().upstreams;
        let order: Vec<_> = upstreams.iter().map(|one| (one.path.as_str(), one.host.is_some())).collect();
        assert_eq!(order, [("/api", false), ("", true), ("", false)]);
        assert_eq!(upstreams[0].rewrite.as_deref(), Some(""));
        assert_eq!(upstreams[1].members, [UpstreamAddress::Unix("/run/app.sock".into())]);
    }

    #[test]
    fn an_upstream_that_our_routes_shadow_is_refused() {
        for path in ["/", "/login", "/login/x", "/auth/traefik", "/session/refresh", "/assets", "/%6Cogin", "/token"] {
            refused(
                &format!("[[upstreams]]\npath = \"{path}\"\nurl = \"http://a\"\n"),
                "upstreams[0].path",
                "our own routes",
            );
        }
        for path in ["/.lychgate", "/.lychgate/x"] {
            let lines = format!("prefix = \"/.lychgate\"\n[[upstreams]]\npath = \"{path}\"\nurl = \"http://a\"\n");
            refused(&lines, "upstreams[0].path", "our own routes");
        }
        let lines = "hosts = [\"app.acme.example\"]\n[[upstreams]]\nhost = \"app.acme.example\"\nurl = \"http://a\"\n";
        refused(lines, "upstreams[0].host", "our own routes");
        for path in ["/logins", "/app/login", "/.lychgate-x"] {
            let lines = format!("[[upstreams]]\npath = \"{path}\"\nurl = \"http://a\"\n");
            assert!(read_file(&lines).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_makes_no_sense_of_an_upstream_is_told() {
        let with = |lines: &str| format!("[[upstreams]]\npath = \"/app\"\nurl = \"http://a\"\n{lines}\n");
        refused(&with("[[upstreams]]\npath = \"/app/\"\nurl = \"http://b\""), "upstreams", "earlier one");
        refused(&with("host = \"other.example\""), "upstreams[0].host", "not among the tenant's hosts");
        refused(&with("urls = [\"http://b\"]"), "upstreams[0].url", "both given");
        refused(&with("strip_prefix = true\nrewrite = \"/x\""), "upstreams[0].rewrite", "both given");
        refused(&with("rewrite = \"/a/../b\""), "upstreams[0].rewrite", "dot segment");
        refused(&with("pass = \"token\""), "upstreams[0].pass", "access_token");
        refused(&with("audience = \"https://api\""), "upstreams[0].audience", "pass is not access_token");
        let other = with("pass = \"access_token\"\naudience = \"https://api.two\"");
        refused(&other, "upstreams[0].audience", "add it to tokens.audiences");
        let second = format!("[[upstreams]]\npath = \"/\"\nurl = \"http://b\"\n{other}");
        let second = format!("prefix = \"/.lychgate\"\n{second}");
        refused(&second, "upstreams[1].audience", "add it to tokens.audiences");
        for good in [
            "audience = \"https://api.two\"\n",
            "scopes = [\"offline_access\"]\ntokens.audiences = [\"https://api.two\"]\n",
        ] {
            assert!(read_file(&format!("{good}{other}")).is_ok(), "{good}");
        }
        refused(&with("timeout = \"0s\""), "upstreams[0].timeout", "must be from");
        for url in ["ftp://a", "http://a/path", "http://u:p@a", "unix:app.sock", "unix:", "a:80"] {
            let lines = format!("[[upstreams]]\npath = \"/app\"\nurl = \"{url}\"\n");
            assert_eq!(read_file(&lines).expect_err(url)[0].key, "upstreams[0].url", "{url}");
        }
    }
}
