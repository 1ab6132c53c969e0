//! Patterns of paths and of hosts: how they are written, what they match, when one lies within another.

use std::fmt;

use super::values;
use crate::request_path::RequestPath;

/// A pattern of paths: `/a` is that path, `/a/**` that path and everything below it, and `*` any text within one
/// segment. A slash at the end of a path makes no difference; case does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// Decoded, none empty; `*` stands for any text.
    segments: Vec<String>,
    /// Whether everything below matches, too.
    below: bool,
    /// What every path begins with that matches; all of it, where no segment has a `*`.
    beginning: String,
    has_stars: bool,
}

impl PathPattern {
    /// `/**`.
    pub const fn anywhere() -> Self {
        Self { segments: Vec::new(), below: true, beginning: String::new(), has_stars: false }
    }

    /// Reads a pattern, spelled as the path of a URL.
    ///
    /// # Errors
    /// Says why it is none, without repeating it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (path, below) = match text.strip_suffix("/**") {
            Some(path) => (path, true),
            None => (text, false),
        };
        let root = path == "/" && !below || path.is_empty() && below;
        if path.ends_with('/') && !root {
            return Err("ends in a slash; leave it out: a path matches with and without it".to_owned());
        }
        if path.contains("**") {
            return Err("has a `**` that is not its last segment, such as in \"/a/**\"".to_owned());
        }
        let parsed = RequestPath::parse(if root { "/" } else { path });
        let parsed = parsed.map_err(|error| format!("is no pattern of paths, such as \"/a\" or \"/a/**\": {error}"))?;
        let stars = |text: &str| text.bytes().filter(|byte| *byte == b'*').count();
        if stars(parsed.as_str()) != stars(path) {
            return Err("has an encoded `*`; a `*` always stands for any text".to_owned());
        }
        let segments: Vec<_> = parsed.segments().filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
        let mut beginning = path_of(&segments);
        let first_star = beginning.find('*');
        beginning.truncate(first_star.unwrap_or(beginning.len()));
        Ok(Self { segments, below, beginning, has_stars: first_star.is_some() })
    }

    /// What every path begins with that matches.
    pub(super) fn beginning(&self) -> &str {
        &self.beginning
    }

    /// Whether a path matches.
    pub fn matches(&self, path: &RequestPath<'_>) -> bool {
        let Some(rest) = path.as_str().strip_prefix(&self.beginning) else { return false };
        if !self.has_stars {
            return rest.is_empty() || rest == "/" || self.below && rest.starts_with('/');
        }
        let mut asked = path.segments().filter(|segment| !segment.is_empty());
        let all = self.segments.iter().all(|pattern| asked.next().is_some_and(|segment| glob(pattern, segment)));
        all && (self.below || asked.next().is_none())
    }

    /// Whether it matches every path that `inner` does.
    pub(super) fn covers(&self, inner: &Self) -> bool {
        let deep = match self.below {
            true => self.segments.len() <= inner.segments.len(),
            false => self.segments.len() == inner.segments.len() && !inner.below,
        };
        // A `*` of the inner one is matched by a `*` of the outer one only, which also matches all it stands for.
        deep && self.segments.iter().zip(&inner.segments).all(|(outer, inner)| glob(outer, inner))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&path_of(&self.segments))?;
        match (self.below, self.segments.is_empty()) {
            (true, _) => f.write_str("/**"),
            (false, true) => f.write_str("/"),
            (false, false) => Ok(()),
        }
    }
}

fn path_of(segments: &[String]) -> String {
    segments.iter().flat_map(|segment| ["/", segment]).collect()
}

/// Whether `text` is `pattern`, with any text for each `*`.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let inner = text.strip_prefix(first).and_then(|text| text.strip_suffix(last));
    let Some(mut inner) = inner else { return false };
    middle.split('*').all(|piece| inner.split_once(piece).map(|(_, after)| inner = after).is_some())
}

/// A pattern of host names, which have neither case nor a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This host; lower case.
    Exact(String),
    /// `*.example.com`: every host below this domain, at any depth, but not the domain itself; lower case.
    Below(String),
}

impl HostPattern {
    /// Reads `app.example.com` or `*.example.com`.
    ///
    /// # Errors
    /// Says why it is none, without repeating it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("*.") {
            Some(domain) => values::host(domain).map(Self::Below),
            None => values::host(text).map(Self::Exact),
        }
        .map_err(|_| "is neither a host such as app.acme.example nor all below a domain, *.acme.example".to_owned())
    }

    /// Whether a host name, without port, matches. Nothing that is no host name does.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Exact(known) => host.eq_ignore_ascii_case(known),
            Self::Below(domain) => {
                let at = host.len().checked_sub(domain.len());
                let parts = at.and_then(|at| Some((host.get(..at)?.strip_suffix('.')?, host.get(at..)?)));
                parts.is_some_and(|(labels, end)| end.eq_ignore_ascii_case(domain) && labels.split('.').all(is_label))
            }
        }
    }

    /// Whether it matches every host that `inner` does.
    pub(super) fn covers(&self, inner: &Self) -> bool {
        match inner {
            Self::Exact(host) => self.matches(host),
            Self::Below(domain) => match self {
                Self::Exact(_) => false,
                Self::Below(wider) => wider == domain || self.matches(domain),
            },
        }
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    fn host(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    #[track_caller]
    fn matching(pattern: &str, good: &[&str], bad: &[&str]) {
        for asked in good {
            assert!(path(pattern).matches(&RequestPath::parse(asked).unwrap()), "{pattern} takes {asked}");
        }
        for asked in bad {
            assert!(!path(pattern).matches(&RequestPath::parse(asked).unwrap()), "{pattern} does not take {asked}");
        }
    }

    #[test]
    fn a_path_pattern_is_exact_a_prefix_or_has_stars() {
        matching("/", &["/"], &["/a"]);
        matching("/**", &["/", "/a", "/a/b/"], &[]);
        matching("/a/b", &["/a/b", "/a/b/", "/%61/b"], &["/a", "/a/b/c", "/a/bc", "/A/b", "/a/B"]);
        matching("/a/**", &["/a", "/a/", "/a/b", "/a/b/c/"], &["/", "/ab", "/b/a"]);
        matching("/*", &["/a", "/a/"], &["/", "/a/b"]);
        matching("/a/*/c", &["/a/b/c"], &["/a/c", "/a/b/b/c", "/a/b"]);
        matching("/a/*/**", &["/a/b", "/a/b/c"], &["/a", "/a/"]);
        matching("/*.css", &["/a.css", "/.css", "/a.css.css"], &["/a.css.js", "/a/b.css"]);
        matching("/v*-*/x", &["/v1-2/x", "/v-/x", "/v--/x"], &["/v1/x", "/1-2/x"]);
        matching("/a*a", &["/aa", "/aba"], &["/a"]);
        matching("/*ab*ab*", &["/abab", "/xabyabz"], &["/ab", "/aab"]);
        matching("/caf%C3%A9", &["/café", "/caf%c3%a9"], &["/cafe"]);
        matching("/a%20b/**", &["/a%20b/c"], &["/a+b/c"]);
    }

    #[test]
    fn what_is_no_path_pattern_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "slash"),
            ("a", "slash"),
            ("/a/", "ends in a slash"),
            ("/a//**", "ends in a slash"),
            ("//**", "ends in a slash"),
            ("/a//b", "empty segment"),
            ("/a/**/b", "`**`"),
            ("/a**", "`**`"),
            ("/**a", "`**`"),
            ("/***", "`**`"),
            ("**", "`**`"),
            ("/a/../b", "dot segment"),
            ("/a?b", "differently"),
            ("/a;b", "differently"),
            ("/a%2fb", "differently"),
            ("/a b", "differently"),
            ("/%2561", "encoded twice"),
            ("/a%2a", "encoded `*`"),
            ("https://a.example/b", "slash"),
        ] {
            let said = PathPattern::parse(text).expect_err(text);
            assert!(said.contains(reason), "{text}: {said}");
        }
    }

    #[test]
    fn a_host_pattern_is_one_host_or_all_below_a_domain() {
        for (pattern, good, bad) in [
            ("App.example", &["app.example", "APP.example."][..], &["a.app.example", "example", "app.example:80"][..]),
            (
                "*.acme.example",
                &["a.acme.example", "a.b.ACME.example", "a.acme.example.", "10.acme.example"],
                &[
                    "acme.example",
                    "evilacme.example",
                    ".acme.example",
                    "a..acme.example",
                    "a b.acme.example",
                    "ä.acme.example",
                ],
            ),
        ] {
            for asked in good {
                assert!(host(pattern).matches(asked), "{pattern} takes {asked}");
            }
            for asked in bad {
                assert!(!host(pattern).matches(asked), "{pattern} does not take {asked}");
            }
        }
        for bad in ["", "*", "*.", "a.*.b", "*a.example", "https://a.example", "a.example:80", "a.example.", "10.0.0.1"]
        {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_pattern_covers_another() {
        for (outer, inner) in [
            ("/**", "/"),
            ("/**", "/a/*"),
            ("/a/**", "/a"),
            ("/a/**", "/a/b/**"),
            ("/*", "/a*"),
            ("/a*c", "/ab*c"),
            ("/*/**", "/a/**"),
        ] {
            assert!(path(outer).covers(&path(inner)) && !path(inner).covers(&path(outer)), "{outer} {inner}");
        }
        for (one, other) in [("/a", "/b"), ("/a/*", "/*/b"), ("/a*", "/*b"), ("/*", "/a/b"), ("/a/**", "/ab")] {
            assert!(!path(one).covers(&path(other)) && !path(other).covers(&path(one)), "{one} {other}");
        }
        for (outer, inner) in [("*.example", "a.example"), ("*.example", "*.a.example")] {
            assert!(host(outer).covers(&host(inner)) && !host(inner).covers(&host(outer)), "{outer} {inner}");
        }
        assert!(host("*.a.example").covers(&host("*.a.example")) && !host("*.a.example").covers(&host("a.example")));
    }

    /// Patterns of so few letters that they often meet.
    const PATTERN: &str = "(/[ab*]{1,3}){0,3}(/\\*\\*)?";

    proptest! {
        #[test]
        fn a_pattern_that_covers_another_matches_whatever_that_matches(
            outer in PATTERN, inner in PATTERN, asked in "(/[abc]{1,3}){0,4}/?",
        ) {
            let (Ok(outer), Ok(inner)) = (PathPattern::parse(&outer), PathPattern::parse(&inner)) else { return Ok(()) };
            let Ok(asked) = RequestPath::parse(&asked) else { return Ok(()) };
            prop_assert!(!outer.covers(&inner) || !inner.matches(&asked) || outer.matches(&asked));
        }

        #[test]
        fn a_pattern_reads_the_same_from_what_it_shows(text in PATTERN) {
            let Ok(pattern) = PathPattern::parse(&text) else { return Ok(()) };
            prop_assert_eq!(PathPattern::parse(&pattern.to_string()), Ok(pattern));
        }

        #[test]
        fn stars_match_as_a_regular_expression_would(pattern in "[ab*]{1,6}", text in "[ab]{0,6}") {
            prop_assert_eq!(glob(&pattern, &text), slowly(pattern.as_bytes(), text.as_bytes()));
        }
    }

    /// What a star means, spelled out.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((b'*', rest)), None) => slowly(rest, text),
            (Some((b'*', rest)), Some((_, after))) => slowly(rest, text) || slowly(pattern, after),
            (Some((p, rest)), Some((t, after))) => p == t && slowly(rest, after),
            (Some(_), None) => false,
        }
    }
}
