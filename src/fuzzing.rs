//! What fuzzing tries: a table of targets. Each is a function of some bytes that somebody hostile may send; it panics
//! where a promise is broken. `tests/fuzz` puts them before libFuzzer; the test here replays what is kept in
//! `tests/fuzz/corpus` at every `cargo test`. There is nothing of this in a build that is neither.
//!
//! A target lives in the `fuzz` of the module whose insides it needs, else here. Inputs are text wherever that is
//! possible, so that people can read and write them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a target says by a panic what is broken")]

use http::HeaderMap;
use serde_json::Map;
use url::{Url, form_urlencoded};

use crate::clock::Timestamp;
use crate::config::{Effect, HostPattern, PathPattern, PolicySettings, Rule};
use crate::flow::attempt::{Asked, Attempt, AttemptId};
use crate::net::{self, Networks, Scheme};
use crate::oidc::{AuthorizationResponse, Outcome, ResponseError};
use crate::policy::{self, Question, Subject, Verdict};
use crate::request_path::RequestPath;
use crate::secret::ExposeSecret as _;
use crate::web::fuzz::{lines, world};
use crate::{config, oidc, session, web};

/// A target: its name, which is that of its folder of inputs, and what runs it.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("access_token", oidc::fuzz::access_token),
    ("callback", callback),
    ("cookies", web::fuzz::cookies),
    ("discovery", oidc::fuzz::discovery),
    ("headers", web::fuzz::headers),
    ("id_token", oidc::fuzz::id_token),
    ("key_set", oidc::fuzz::key_set),
    ("logout_token", oidc::fuzz::logout_token),
    ("origins", config::fuzz::origins),
    ("original", web::fuzz::original),
    ("path", path),
    ("redis_answer", session::fuzz::redis_answer),
    ("replica", session::fuzz::replica),
    ("request", web::fuzz::request),
    ("return_to", web::fuzz::return_to),
    ("rules", rules),
    ("session", session::fuzz::session),
    ("settings", config::fuzz::settings),
    ("sign_in_cookie", sign_in_cookie),
    ("tenant_file", config::fuzz::tenant_file),
    ("visitor", visitor),
];

/// The path of a request: one meaning, whoever reads it, how often and in whichever spelling.
fn path(data: &[u8]) {
    let Ok(raw) = str::from_utf8(data) else { return };
    let Ok(path) = RequestPath::parse(raw) else { return };
    let seen = path.as_str();
    assert!(seen.starts_with('/') && !seen.contains("//"), "{seen:?}");
    assert!(!seen.contains(['\\', ';', '?', '#']) && !seen.contains(char::is_control), "{seen:?}");
    assert!(path.segments().all(|segment| !matches!(segment, "." | "..")), "{seen:?}");
    assert!(path.encoded().bytes().all(|byte| byte.is_ascii_graphic()), "{}", path.encoded());
    for spelling in spellings(raw, &path) {
        let again = RequestPath::parse(&spelling).unwrap_or_else(|error| panic!("{spelling:?}: {error}"));
        assert_eq!((again.as_str(), again.encoded()), (seen, path.encoded()), "{spelling:?}");
        let target = format!("{spelling}?x=/../y");
        assert_eq!(RequestPath::of_target(&target).unwrap().as_str(), seen, "{spelling:?}");
        // As browsers read it.
        let url = Url::parse(&format!("https://app.example{spelling}")).unwrap();
        assert_eq!(RequestPath::parse(url.path()).unwrap().as_str(), seen, "{spelling:?}");
    }
    for (at, _) in seen.match_indices('/').skip(1) {
        let below = path.below(&seen[..at]).unwrap();
        assert_eq!(format!("{}{}", &seen[..at], below.as_str()), seen);
        let rewritten = path.rewritten(&seen[..at], "/x y").unwrap();
        assert_eq!(RequestPath::parse(&rewritten).unwrap().as_str(), format!("/x y{}", &seen[at..]));
    }
}

/// A path as it came, as we write it, and with every character encoded that may be.
fn spellings(raw: &str, path: &RequestPath<'_>) -> [String; 3] {
    let encoded = |byte: u8| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02x}") };
    [raw.to_owned(), path.encoded().to_owned(), path.as_str().bytes().map(encoded).collect()]
}

/// Lines: a pattern of paths, a path, a pattern of hosts, a host, a method. A rule decides by what a path and a host mean,
/// not by how they are spelled, and matches what its pattern says.
fn rules(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (Ok(paths), raw) = (PathPattern::parse(line()), line()) else { return };
    let Ok(path) = RequestPath::parse(raw) else { return };
    let (hosts, host, method) = (HostPattern::parse(line()).ok(), line(), line());
    let matches = paths.matches(&path);
    assert_eq!(matches, matches_slowly(&paths.to_string(), path.as_str()), "{paths} and {path}");
    let at_host = hosts.as_ref().is_none_or(|hosts| {
        let matches = hosts.matches(host);
        let (name, wanted) = (host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(), hosts.to_string());
        match wanted.strip_prefix("*.") {
            None => assert_eq!(matches, name == wanted, "{wanted} and {host:?}"),
            Some(domain) => assert!(!matches || name.ends_with(&format!(".{domain}")), "{wanted} and {host:?}"),
        }
        hosts.matches(
            host.rsplit_once(':')
                .map_or(host, |(name, port)| if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }),
        )
    });
    let deny = Rule {
        name: None,
        paths: vec![paths],
        methods: Vec::new(),
        hosts: hosts.into_iter().collect(),
        networks: Networks::default(),
        effect: Effect::Deny,
    };
    let policy = PolicySettings { rules: vec![deny].into(), ..PolicySettings::default() };
    let (claims, address) = (Map::new(), [192, 0, 2, 1].into());
    let ada = Subject { claims: (&claims).into(), scope: None, now: Timestamp(0) };
    let wanted = if matches && at_host { Verdict::Denied } else { Verdict::Allowed };
    for spelling in spellings(raw, &path) {
        let path = RequestPath::parse(&spelling).unwrap();
        let question = Question { method, host, path: &path, address };
        let decision = policy::decide(&policy, &question, Some(&ada));
        assert_eq!(decision.verdict, wanted, "{spelling:?}");
        assert_eq!(policy::explain(&policy, &question, Some(&ada)).decision, decision);
    }
}

/// What [`PathPattern`] says that it does, done in another way.
fn matches_slowly(pattern: &str, path: &str) -> bool {
    fn glob(pattern: &[u8], text: &[u8]) -> bool {
        // Which beginnings of the text match the pattern so far.
        let mut matched = vec![false; text.len() + 1];
        matched[0] = true;
        for sign in pattern {
            if *sign == b'*' {
                let first = matched.iter().position(|matched| *matched).unwrap_or(matched.len());
                matched[first..].fill(true);
            } else {
                for at in (0..text.len()).rev() {
                    matched[at + 1] = matched[at] && text[at] == *sign;
                }
                matched[0] = false;
            }
        }
        matched[text.len()]
    }
    let (pattern, below) = pattern.strip_suffix("/**").map_or((pattern, false), |pattern| (pattern, true));
    let parts = |text: &str| text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (pattern, path) = (parts(pattern), parts(path));
    (pattern.len() == path.len() || below && pattern.len() < path.len())
        && pattern.iter().zip(&path).all(|(pattern, part)| glob(pattern.as_bytes(), part.as_bytes()))
}

/// Header lines. What an untrusted peer says of itself has no effect; what a trusted proxy says has one reading or none.
fn visitor(data: &[u8]) {
    let headers = lines(data);
    let (stranger, proxy) = ("192.0.2.7:4711".parse().unwrap(), "127.0.0.1:4711".parse().unwrap());
    let trusted = Networks::loopback();
    let mut bare = HeaderMap::new();
    for value in headers.get_all(http::header::HOST) {
        bare.append(http::header::HOST, value.clone());
    }
    for over_tls in [false, true] {
        let plain = net::visitor(stranger, over_tls, &bare, None, &trusted);
        let told = net::visitor(stranger, over_tls, &headers, None, &trusted);
        let direct = told.as_ref().is_ok_and(|visitor| visitor.direct);
        assert_eq!(
            told.map(|visitor| net::Visitor { direct, ..visitor }),
            plain.map(|visitor| net::Visitor { direct, ..visitor })
        );
        let Ok(visitor) = net::visitor(proxy, over_tls, &headers, None, &trusted) else { continue };
        assert_eq!(visitor.address, visitor.address.to_canonical());
        assert_eq!(net::normal_host(&visitor.host, visitor.scheme).as_deref(), Some(&*visitor.host));
        let says = |name| headers.contains_key(name);
        assert!(says("x-forwarded-proto") || (visitor.scheme == Scheme::Https) == over_tls);
        assert!(says("x-forwarded-for") || visitor.address == proxy.ip());
        assert!(says("x-forwarded-host") || says("host"));
        // Numbers that a browser takes for an address, and names that it spells in another way, are nobody's.
        let url = Url::parse(&format!("{}://{}", visitor.scheme, visitor.host)).ok();
        if let Some(url) = url.filter(|url| url.domain().is_some_and(|name| !name.contains("xn--"))) {
            assert_eq!(url.host_str(), Some(net::split_port(&visitor.host).0));
            assert_eq!(url.port(), net::split_port(&visitor.host).1);
        }
    }
}

/// The query or the form of a callback: nothing in it stands twice or contradicts itself, and what a provider says cannot
/// break out of where it is shown.
fn callback(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Some(id) = AttemptId::parse(text) {
        assert_eq!(id.as_str(), text);
        assert!(id.started_at() >= Timestamp(0));
    }
    let Ok(response) = AuthorizationResponse::parse(text) else { return };
    let given: Vec<(String, String)> = form_urlencoded::parse(data).into_owned().collect();
    let all = |name: &str| given.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
    let one = |name: &str| -> Option<&str> {
        let all: Vec<&str> = all(name);
        assert!(all.len() <= 1, "{name} stands twice");
        all.first().copied().filter(|value| !value.is_empty())
    };
    for name in ["access_token", "id_token", "response", "token"] {
        let all: Vec<&str> = all(name);
        assert!(all.is_empty(), "{name} is of another flow");
    }
    assert_eq!(one("state"), Some(response.unverified_state.as_str()));
    assert_eq!(one("iss"), response.unverified_iss.as_deref());
    match response.unverified_outcome {
        Outcome::Code(code) => {
            assert_eq!((one("code"), one("error")), (Some(code.expose_secret()), None));
        }
        Outcome::Refused { error, description } => {
            assert_eq!((one("code"), one("error")), (None, Some(error.as_str())));
            assert_eq!(one("error_description"), description.as_deref());
            let refused = ResponseError::refused(&error, description.as_deref());
            let shown = refused.to_string() + refused.description().unwrap_or_default();
            assert!(!shown.contains(char::is_control) && shown.chars().count() < 400, "{shown:?}");
        }
    }
}

/// A line of JSON, what a sign-in asks for, and what somebody makes of the sealed cookie; or a cookie that we did not
/// seal. Only what we sealed opens, at the tenant and the attempt that it was sealed for.
fn sign_in_cookie(data: &[u8]) {
    let (acme, globex) = (&world().acme, &world().globex);
    let (line, edits) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let Ok(asked) = serde_json::from_slice::<Asked>(line) else {
        let id = AttemptId::parse("6b49d200-AAAAAAAAAAAAAAAAAAAAAA").unwrap();
        let opened = str::from_utf8(data).ok().and_then(|text| Attempt::open(acme, id, text));
        return assert!(opened.is_none(), "a cookie that nobody sealed opens");
    };
    let attempt = Attempt::begin(acme, Timestamp(1_800_000_000), asked);
    let Ok(sealed) = attempt.seal(acme) else { return };
    assert!(sealed.len() < 700, "a cookie of {} bytes", sealed.len());
    let opened = Attempt::open(acme, attempt.id.clone(), &sealed).expect("what we sealed opens");
    assert_eq!((&opened.asked, opened.nonce()), (&attempt.asked, attempt.nonce()));
    let other = Attempt::begin(acme, Timestamp(1_800_000_000), Asked::default());
    assert!(Attempt::open(acme, other.id, &sealed).is_none(), "it opens for another attempt");
    assert!(Attempt::open(globex, attempt.id.clone(), &sealed).is_none(), "it opens at another tenant");
    let edited = session::fuzz::edited(sealed.as_bytes(), edits.get(1..).unwrap_or_default());
    if let Some(edited) = str::from_utf8(&edited).ok().filter(|edited| *edited != sealed) {
        assert!(Attempt::open(acme, attempt.id, edited).is_none(), "what somebody changed opens");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn entries(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    fn name(path: &Path) -> &str {
        path.file_name().and_then(|name| name.to_str()).unwrap()
    }

    #[test]
    fn every_input_that_is_kept_passes() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        for (target, run) in TARGETS {
            let inputs = entries(&corpus.join(target));
            assert!(!inputs.is_empty(), "{target} has no inputs");
            for input in inputs {
                let bytes = std::fs::read(&input).unwrap();
                let passed = std::panic::catch_unwind(|| run(&bytes)).is_ok();
                assert!(passed, "{target} fails with {}", input.display());
            }
        }
    }

    #[test]
    fn every_folder_of_inputs_is_a_targets() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        let folders: BTreeSet<String> = entries(&corpus).iter().map(|path| name(path).to_owned()).collect();
        let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(folders, targets);
    }
}
