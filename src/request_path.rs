//! The path of a request in the one form that rules, routes and upstreams all see. What another reader might take for
//! a different path is refused, not repaired: no rule can be walked around by a spelling.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stays as it is in a path (RFC 3986, section 3.3, without `;` and `\`).
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// A path that means the same to every reader: absolute, no empty or dot segment, no delimiter hidden in an encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath<'a> {
    decoded: Cow<'a, str>,
    encoded: Cow<'a, str>,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not start with `/`.
    #[error("the path does not start with a slash")]
    Relative,
    /// A `%` without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("the path is not percent-encoded UTF-8")]
    Encoding,
    /// A control character, blank, backslash, `;`, `?`, `#`, or an encoded `/`: some readers cut or split there.
    #[error("the path holds a character that readers take differently")]
    Ambiguous,
    /// `.` or `..`, in any spelling.
    #[error("the path holds a dot segment")]
    Dots,
    /// `//`.
    #[error("the path holds an empty segment")]
    Empty,
    /// What is left after decoding could be decoded again.
    #[error("the path is encoded twice")]
    Twice,
}

impl<'a> RequestPath<'a> {
    /// Reads the path of a request target, without query.
    ///
    /// # Errors
    /// Another reader could take it for a different path.
    pub fn parse(raw: &'a str) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::Relative);
        }
        let decoded = decode(raw)?;
        check(raw, &decoded)?;
        let encoded = match raw.contains('%') || !raw.is_ascii() {
            true => Cow::Owned(encode(&decoded).into_owned()),
            false => Cow::Borrowed(raw),
        };
        Ok(Self { decoded, encoded })
    }

    /// The path as rules and routes match it: decoded.
    pub fn as_str(&self) -> &str {
        &self.decoded
    }

    /// The path as it goes into a URL: each character encoded in its one way, or not at all.
    pub fn encoded(&self) -> &str {
        &self.encoded
    }

    /// What follows `prefix`, a path without a slash at its end, decoded: nothing, or a slash and more.
    pub fn after(&self, prefix: &str) -> Option<&str> {
        self.decoded.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path as seen from `prefix`.
    pub fn below(&self, prefix: &str) -> Option<RequestPath<'_>> {
        if prefix.is_empty() {
            return Some(RequestPath { decoded: (&*self.decoded).into(), encoded: (&*self.encoded).into() });
        }
        let rest = self.after(prefix)?;
        let rest = if rest.is_empty() { "/" } else { rest };
        Some(RequestPath { decoded: rest.into(), encoded: encode(rest) })
    }

    /// The path with `other` in the place of `prefix`, both decoded and without a slash at the end, as it goes into a
    /// URL.
    pub fn rewritten(&self, prefix: &str, other: &str) -> Option<String> {
        let path = format!("{other}{}", self.after(prefix)?);
        Some(encode(if path.is_empty() { "/" } else { &path }).into_owned())
    }

    /// The segments between slashes, decoded; a slash at the end leaves an empty last one.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.decoded[1..].split('/')
    }
}

impl fmt::Display for RequestPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encoded)
    }
}

fn encode(path: &str) -> Cow<'_, str> {
    utf8_percent_encode(path, KEPT).into()
}

fn decode(raw: &str) -> Result<Cow<'_, str>, PathError> {
    let bytes = raw.as_bytes();
    let escape = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
    if raw.match_indices('%').any(|(at, _)| !escape(at)) {
        return Err(PathError::Encoding);
    }
    percent_decode_str(raw).decode_utf8().map_err(|_| PathError::Encoding)
}

fn check(raw: &str, decoded: &str) -> Result<(), PathError> {
    let odd = |c: char| c.is_control() || matches!(c, '\\' | ';' | '?' | '#');
    // A blank is fine where it is encoded; an encoded slash shows by there being more of them than before.
    let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
    if decoded.contains(odd) || raw.contains(char::is_whitespace) || slashes(raw) != slashes(decoded) {
        return Err(PathError::Ambiguous);
    }
    let again = decoded.as_bytes();
    let escape = |at: usize| again.get(at + 1..at + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
    if decoded.match_indices('%').any(|(at, _)| escape(at)) {
        return Err(PathError::Twice);
    }
    let segments: Vec<&str> = decoded[1..].split('/').collect();
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return Err(PathError::Dots);
    }
    if segments.iter().rev().skip(1).any(|segment| segment.is_empty()) {
        return Err(PathError::Empty);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_stays_as_it_is() {
        for path in ["/", "/a", "/a/", "/a/b.c", "/a:b@c", "/.well-known/x", "/...", "/a=b&c"] {
            let parsed = RequestPath::parse(path).unwrap();
            assert_eq!((parsed.as_str(), parsed.encoded()), (path, path));
        }
    }

    #[test]
    fn an_encoding_that_means_nothing_is_taken_away_and_others_have_one_spelling() {
        for (raw, decoded, encoded) in [
            ("/%61dmin", "/admin", "/admin"),
            ("/a%20b", "/a b", "/a%20b"),
            ("/%c3%a4", "/ä", "/%C3%A4"),
            ("/100%25", "/100%", "/100%25"),
        ] {
            let parsed = RequestPath::parse(raw).unwrap();
            assert_eq!((parsed.as_str(), parsed.encoded()), (decoded, encoded), "{raw}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let path = RequestPath::parse("/acme/%C3%A4/x").unwrap();
        assert_eq!(path.below("/acme").unwrap().encoded(), "/%C3%A4/x");
        assert_eq!(path.below("/acme/ä/x").unwrap().as_str(), "/");
        assert_eq!(path.below("").unwrap(), path);
        assert!(path.below("/ac").is_none() && path.below("/acme/ä/x/").is_none());
        assert_eq!(path.rewritten("/acme/ä", "").unwrap(), "/x");
        assert_eq!(path.rewritten("/acme/ä/x", "").unwrap(), "/");
        assert_eq!(path.rewritten("/acme", "/v 2").unwrap(), "/v%202/%C3%A4/x");
        assert!(path.rewritten("/acm", "").is_none());
    }

    #[test]
    fn what_readers_take_differently_is_refused() {
        for (raw, error) in [
            ("", PathError::Relative),
            ("a", PathError::Relative),
            ("/a/../b", PathError::Dots),
            ("/a/%2e%2E/b", PathError::Dots),
            ("/a/.", PathError::Dots),
            ("//a", PathError::Empty),
            ("/a//b", PathError::Empty),
            ("/a%2fb", PathError::Ambiguous),
            ("/a%5cb", PathError::Ambiguous),
            ("/a\\b", PathError::Ambiguous),
            ("/a;b", PathError::Ambiguous),
            ("/a%3Bb", PathError::Ambiguous),
            ("/a%23b", PathError::Ambiguous),
            ("/a#b", PathError::Ambiguous),
            ("/a%3fb", PathError::Ambiguous),
            ("/a%00", PathError::Ambiguous),
            ("/a%0d%0ab", PathError::Ambiguous),
            ("/a b", PathError::Ambiguous),
            ("/%252e%252e/b", PathError::Twice),
            ("/%2561", PathError::Twice),
            ("/%", PathError::Encoding),
            ("/%zz", PathError::Encoding),
            ("/%ff", PathError::Encoding),
            ("/%c0%af", PathError::Encoding),
        ] {
            assert_eq!(RequestPath::parse(raw), Err(error), "{raw}");
        }
    }
}
