//! From text to meaning: durations, sizes, URLs, hosts, colours, log filters. Each function refuses with a reason that
//! does not repeat the text.

use std::time::Duration;

use url::{Host, Url};

use super::{AccentColor, OriginPattern};

type Refused = String;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads any text but an empty one.
pub(super) fn not_empty(text: &str) -> Result<String, Refused> {
    if text.is_empty() { Err("is empty".into()) } else { Ok(text.to_owned()) }
}

/// Reads `1d`, `12h`, `15m`, `30s`, `250ms`, or seconds without a unit.
pub(super) fn duration(text: &str) -> Result<Duration, Refused> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = if unit.is_empty() { "s" } else { unit };
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    number
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .map(Duration::from_millis)
        .ok_or_else(|| "is not a duration such as \"1d\", \"12h\", \"15m\", \"30s\", \"250ms\" or whole seconds".into())
}

/// Writes a duration in the largest unit that needs no fraction.
pub(super) fn say_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = UNITS.iter().find(|(_, factor)| millis != 0 && millis % factor == 0).unwrap_or(&("s", 1000));
    format!("{}{unit}", millis / factor)
}

/// Reads `64MiB`, `512KiB`, `1GiB`, or bytes without a unit.
pub(super) fn size(text: &str) -> Result<u64, Refused> {
    let (number, shift) = [("KiB", 10), ("MiB", 20), ("GiB", 30)]
        .iter()
        .find_map(|(unit, shift)| text.strip_suffix(unit).map(|number| (number, *shift)))
        .unwrap_or((text, 0));
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number
        .parse::<u64>()
        .ok()
        .filter(|_| plain)
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "is not a size such as \"64MiB\", \"512KiB\" or whole bytes".into())
}

/// Writes a size in the largest unit that needs no fraction.
pub(super) fn say_size(bytes: u64) -> String {
    let (unit, shift) = [("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| bytes != 0 && bytes.is_multiple_of(1 << shift))
        .unwrap_or(("", 0));
    format!("{}{unit}", bytes >> shift)
}

/// Whether this name stays on this machine.
pub(super) fn is_loopback_name(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether `host` is `domain` or below it.
pub(super) fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether `url` stays on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_loopback_name(name),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Reads an absolute URL whose meaning no reader disputes, of one of `schemes`.
pub(super) fn url(text: &str, schemes: &[&str]) -> Result<Url, Refused> {
    let names = schemes.join("://, ");
    let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| schemes.contains(scheme)) else {
        return Err(format!("is not an absolute URL; it starts with {names}://"));
    };
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || rest.split('/').next().unwrap_or("").contains('@') {
        return Err("holds a user name or password; leave it out".into());
    }
    let host = url.host_str().unwrap_or_default();
    // Parsers drop control characters, wherever they stand, and what no host may hold (WHATWG URL, sections 3.3 and 4.4).
    let odd = |c: char| c == '\\' || c == ' ' || c.is_control();
    let rest = rest.to_ascii_lowercase();
    let after_host =
        rest.strip_prefix(host).filter(|after| after.is_empty() || after.starts_with([':', '/', '?', '#']));
    if scheme != url.scheme() || after_host.is_none() || text.contains(odd) {
        return Err("is a URL that readers may take differently; write the host in ASCII and use plain slashes".into());
    }
    Ok(url)
}

/// Reads a URL that is https, or http on loopback.
pub(super) fn safe_url(text: &str) -> Result<Url, Refused> {
    let url = url(text, &["https", "http"])?;
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err("is http; only https is safe beyond loopback (localhost, 127.0.0.1, [::1])".into());
    }
    Ok(url)
}

/// Reads scheme, host and port alone, by the rules of [`safe_url`].
pub(super) fn bare_origin(text: &str) -> Result<Url, Refused> {
    let url = safe_url(text)?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("has a path, query or fragment; write scheme, host and port only".into());
    }
    Ok(url)
}

/// Reads an issuer, kept byte for byte: https, or http on loopback, without query and fragment (OpenID Connect
/// Discovery 1.0, section 3).
pub(super) fn issuer(text: &str) -> Result<String, Refused> {
    let url = safe_url(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment, which an issuer never has".into());
    }
    let plain = url.as_str() == text || url.as_str().strip_suffix('/') == Some(text);
    if plain { Ok(text.to_owned()) } else { Err("is not in its plain form: lower-case host, no default port".into()) }
}

/// Reads the host of an Auth0 tenant.
pub(super) fn domain(text: &str) -> Result<String, Refused> {
    let wrong = if text.contains("://") {
        Some("has a scheme")
    } else if text.contains(['/', '?', '#']) {
        Some("has a path")
    } else if text.contains(':') {
        Some("has a port")
    } else if text.contains('@') {
        Some("has a user name")
    } else if !text.contains('.') {
        Some("is not a whole host name")
    } else {
        None
    };
    match wrong {
        Some(wrong) => Err(format!(
            "{wrong}; write the host alone, such as acme.eu.auth0.com, or use `issuer` for a provider's whole URL"
        )),
        None => host(text),
    }
}

/// Reads a host name, in lower case.
pub(super) fn host(text: &str) -> Result<String, Refused> {
    let lower = text.to_ascii_lowercase();
    let labels = lower.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    });
    if labels && lower.len() <= 253 && matches!(Host::parse(&lower), Ok(Host::Domain(_))) {
        Ok(lower)
    } else {
        Err("is not a host name such as login.acme.example: ASCII, no scheme, port, path, trailing dot or `*`".into())
    }
}

/// Reads the path under which our routes stand: empty, or `/` and segments.
pub(super) fn prefix(text: &str) -> Result<String, Refused> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let segments = text.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain))
    });
    if segments {
        Ok(text.to_owned())
    } else {
        Err("is not `/` and segments of letters, digits and `-._~`, such as \"/.lychgate\"".into())
    }
}

/// Reads a path that means the same to every reader: no `..`, no backslash, no second slash in front.
pub(super) fn plain_path(text: &str) -> Result<String, Refused> {
    let base = Url::parse("https://a.invalid/").expect("well formed");
    let as_written = base.join(text).is_ok_and(|url| url.as_str().strip_prefix("https://a.invalid") == Some(text));
    if text.starts_with('/') && !text.starts_with("//") && as_written {
        Ok(text.to_owned())
    } else {
        Err("is not a plain path such as \"/dashboard\"".into())
    }
}

/// Reads `#rrggbb`.
pub(super) fn color(text: &str) -> Result<AccentColor, Refused> {
    let digits = text.strip_prefix('#').filter(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let number = digits.and_then(|hex| u32::from_str_radix(hex, 16).ok());
    number
        .map(|number| AccentColor([(number >> 16) as u8, (number >> 8) as u8, number as u8]))
        .ok_or_else(|| "is not a colour such as \"#eb5424\"".into())
}

/// Reads one scope (RFC 6749, section 3.3).
pub(super) fn scope(text: &str) -> Result<String, Refused> {
    if text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
        Ok(text.to_owned())
    } else {
        Err("is not one scope; write each as an item of its own, without spaces".into())
    }
}

/// Reads a `prompt` (OpenID Connect Core 1.0, section 3.1.2.1).
pub(super) fn prompt(text: &str) -> Result<String, Refused> {
    let words: Vec<&str> = text.split(' ').collect();
    let known = words.iter().all(|word| ["none", "login", "consent", "select_account"].contains(word));
    if known && (words.len() == 1 || !words.contains(&"none")) {
        Ok(text.to_owned())
    } else {
        Err("is not known; allowed: none, or any of login, consent, select_account with a space between".into())
    }
}

/// Reads a filter of log lines: levels and `target=level`, commas between. (The reader of `tracing` takes a misspelt
/// level for a target's name and then logs nothing else.)
pub(super) fn log_level(text: &str) -> Result<String, Refused> {
    let level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    let target =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
    let directive = |part: &str| part.split_once('=').map_or(level(part), |(name, word)| target(name) && level(word));
    if text.split(',').all(directive) {
        Ok(text.to_owned())
    } else {
        Err("is not a level (off, error, warn, info, debug, trace) or a filter such as \"lychgate=debug,warn\"".into())
    }
}

/// Reads an origin that may be returned to: `https://app.acme.example`, `https://*.acme.example`.
pub(super) fn origin_pattern(text: &str) -> Result<OriginPattern, Refused> {
    let starred = text.split_once("://*.");
    let url = match starred {
        Some((scheme, rest)) => bare_origin(&format!("{scheme}://{rest}"))?,
        None => bare_origin(text)?,
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    let widest = matches!(url.host(), Some(Host::Domain(name)) if name.trim_end_matches('.').contains('.'));
    if host.contains('*') || starred.is_some() && !widest {
        return Err("has a `*` that is not the first label of a domain, such as https://*.acme.example".into());
    }
    let port = url.port_or_known_default().unwrap_or_default();
    Ok(OriginPattern { scheme: url.scheme().to_owned(), host, port, subdomains: starred.is_some() })
}

impl OriginPattern {
    /// Whether the origin of `url` is this one, or one of these. A URL with a user name never is.
    pub fn matches(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let same_host = if self.subdomains {
            host.strip_suffix(&self.host).is_some_and(|label| label.len() > 1 && label.ends_with('.'))
        } else {
            host == self.host
        };
        same_host
            && url.scheme() == self.scheme
            && url.port_or_known_default() == Some(self.port)
            && url.username().is_empty()
            && url.password().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_unit() {
        assert_eq!(duration("1d"), Ok(Duration::from_hours(24)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        for bad in
            ["", "d", "1w", "1h30m", "-1s", "1.5h", "1 d", "1D", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for text in ["1d", "90m", "30s", "250ms", "0s"] {
            assert_eq!(say_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("100"), Ok(100));
        for bad in ["", "MiB", "64MB", "64 MiB", "-1", "+1", "1.5GiB", "99999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for text in ["64MiB", "1GiB", "1000", "32KiB", "0"] {
            assert_eq!(say_size(size(text).unwrap()), text);
        }
    }

    #[test]
    fn an_origin_pattern_with_a_star_takes_hosts_below_a_domain_only() {
        let below = origin_pattern("https://*.acme.example").unwrap();
        let at = |text: &str| Url::parse(text).unwrap();
        assert!(below.matches(&at("https://a.acme.example/x?y")));
        assert!(below.matches(&at("https://a.b.acme.example")));
        for bad in [
            "https://acme.example",
            "https://evilacme.example",
            "http://a.acme.example",
            "https://a.acme.example:8443",
            "https://a.acme.example.evil.example",
            "https://u@a.acme.example",
        ] {
            assert!(!below.matches(&at(bad)), "{bad}");
        }
        let exact = origin_pattern("http://localhost:8080").unwrap();
        assert!(exact.matches(&at("http://localhost:8080/")));
        assert!(!exact.matches(&at("http://localhost/")));
        for bad in ["https://*", "https://*.com", "https://a.*.b", "https://*.10.0.0.1", "https://a.b/c", "http://a.b"]
        {
            assert!(origin_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_that_readers_take_differently_are_refused() {
        for bad in [
            "https:acme.example",
            "https:/acme.example",
            "HTTPS://acme.example",
            "https://acme.example\\@evil.example",
            "https://user@acme.example",
            "https://@acme.example",
            "https://2130706433",
            "https://bücher.example",
            "http://acme.example",
            "ftp://acme.example",
            "//acme.example",
            "https://",
            "https://acme.example\t",
            "https://acme\n.example",
            "https://acme.example:8443\0",
            "https://acme.example\u{ad}",
            "https://acme.example\u{ad}:8443/x",
        ] {
            assert!(safe_url(bad).is_err(), "{bad}");
        }
        for good in ["https://Acme.example/a?b", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"] {
            assert!(safe_url(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_plain_path_stays_as_it_is_written() {
        for good in ["/", "/dashboard", "/a/b?c=d#e", "/a%20b"] {
            assert!(plain_path(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "//a", "/\\a", "/a/../b", "/%2e%2e/b", "/a b", "/\tb", "https://a"] {
            assert!(plain_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_misspelt_log_level_is_no_target() {
        assert!(log_level("inof").is_err());
        assert!(log_level("lychgate=debug,warn").is_ok());
        assert!(log_level("lychgate::web=trace").is_ok());
        assert!(log_level("").is_err());
    }
}
