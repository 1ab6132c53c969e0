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
    /// A control character, backslash, `;`, `?`, `#`, an encoded `/`, a blank that is not encoded or stands at either end
    /// of a segment: some readers cut, split or trim there.
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
        if is_plain(raw) {
            return Ok(Self { decoded: raw.into(), encoded: raw.into() });
        }
        let decoded = decode(raw)?;
        check(raw, &decoded)?;
        let encoded = match &decoded {
            Cow::Borrowed(plain) => encode(plain),
            Cow::Owned(text) => Cow::Owned(encode(text).into_owned()),
        };
        Ok(Self { decoded, encoded })
    }

    /// Reads the path of a request target, path and query (RFC 9112, section 3.2.1). The query is not looked at.
    ///
    /// # Errors
    /// Another reader could take it for a different path, or there is a `#`, where some readers cut.
    pub fn of_target(target: &'a str) -> Result<Self, PathError> {
        if target.contains('#') {
            return Err(PathError::Ambiguous);
        }
        Self::parse(target.split('?').next().unwrap_or(target))
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

/// Whether all of a path is [`KEPT`], without an empty segment and one that begins with a dot: it stays as it is. A short
/// look at what most paths are.
fn is_plain(raw: &str) -> bool {
    let mut before = b' ';
    raw.bytes().all(|byte| {
        let begins = std::mem::replace(&mut before, byte) == b'/';
        byte.is_ascii_alphanumeric() || b"-_~!$&'()*+,=:@".contains(&byte) || matches!(byte, b'/' | b'.') && !begins
    })
}

fn encode(path: &str) -> Cow<'_, str> {
    utf8_percent_encode(path, KEPT).into()
}

fn decode(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if raw.match_indices('%').any(|(at, _)| !is_escape(raw, at)) {
        return Err(PathError::Encoding);
    }
    percent_decode_str(raw).decode_utf8().map_err(|_| PathError::Encoding)
}

/// Whether two hexadecimal digits follow the `%` at `at`.
fn is_escape(text: &str, at: usize) -> bool {
    text.as_bytes().get(at + 1..at + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
}

fn check(raw: &str, decoded: &str) -> Result<(), PathError> {
    let odd = |c: char| c.is_control() || matches!(c, '\\' | ';' | '?' | '#');
    // A blank is fine where it is encoded; an encoded slash shows by there being more of them than before.
    let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
    if decoded.contains(odd) || raw.contains(char::is_whitespace) || slashes(raw) != slashes(decoded) {
        return Err(PathError::Ambiguous);
    }
    if decoded.match_indices('%').any(|(at, _)| is_escape(decoded, at)) {
        return Err(PathError::Twice);
    }
    let segments = || decoded[1..].split('/');
    // Some readers trim: `..%20` is `..` to them.
    if segments().any(|segment| matches!(segment.trim(), "." | "..")) {
        return Err(PathError::Dots);
    }
    if segments().any(|segment| segment.trim() != segment) {
        return Err(PathError::Ambiguous);
    }
    if segments().rev().skip(1).any(str::is_empty) {
        return Err(PathError::Empty);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_path_stays_as_it_is_and_is_not_copied() {
        for path in ["/", "/a", "/a/", "/a/b.c", "/a:b@c", "/.well-known/x", "/...", "/a=b&c"] {
            let parsed = RequestPath::parse(path).unwrap();
            assert_eq!((parsed.as_str(), parsed.encoded()), (path, path));
            assert!(matches!(parsed, RequestPath { decoded: Cow::Borrowed(_), encoded: Cow::Borrowed(_) }), "{path}");
        }
    }

    #[test]
    fn an_encoding_that_means_nothing_is_taken_away_and_others_have_one_spelling() {
        for (raw, decoded, encoded) in [
            ("/%61dmin", "/admin", "/admin"),
            ("/a%20b", "/a b", "/a%20b"),
            ("/%c3%a4", "/ä", "/%C3%A4"),
            ("/ä", "/ä", "/%C3%A4"),
            ("/a|b", "/a|b", "/a%7Cb"),
            ("/a%7cb", "/a|b", "/a%7Cb"),
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
            ("*", PathError::Relative),
            ("\\a", PathError::Relative),
            ("%2fa", PathError::Relative),
            ("http://a/b", PathError::Relative),
            ("/a/../b", PathError::Dots),
            ("/..", PathError::Dots),
            ("/a/%2e%2E/b", PathError::Dots),
            ("/a/.%2e", PathError::Dots),
            ("/a/.", PathError::Dots),
            ("/./a", PathError::Dots),
            ("/..%20/a", PathError::Dots),
            ("/%c2%a0../a", PathError::Dots),
            ("//a", PathError::Empty),
            ("/a//b", PathError::Empty),
            ("/a//", PathError::Empty),
            ("///", PathError::Empty),
            ("/a%2fb", PathError::Ambiguous),
            ("/a%2F..%2Fb", PathError::Ambiguous),
            ("/a%5cb", PathError::Ambiguous),
            ("/a\\b", PathError::Ambiguous),
            ("/a;b", PathError::Ambiguous),
            ("/a;/b", PathError::Ambiguous),
            ("/..;/b", PathError::Ambiguous),
            ("/a%3Bb", PathError::Ambiguous),
            ("/a%23b", PathError::Ambiguous),
            ("/a#b", PathError::Ambiguous),
            ("/a?b", PathError::Ambiguous),
            ("/a%3fb", PathError::Ambiguous),
            ("/a%00", PathError::Ambiguous),
            ("/a%7f", PathError::Ambiguous),
            ("/a%09b", PathError::Ambiguous),
            ("/a%0d%0ab", PathError::Ambiguous),
            ("/a%c2%85b", PathError::Ambiguous),
            ("/a b", PathError::Ambiguous),
            ("/a\tb", PathError::Ambiguous),
            ("/a%20", PathError::Ambiguous),
            ("/%20/b", PathError::Ambiguous),
            ("/%252e%252e/b", PathError::Twice),
            ("/%25%32%65/b", PathError::Twice),
            ("/%2561", PathError::Twice),
            ("/a%252fb", PathError::Twice),
            ("/%", PathError::Encoding),
            ("/%2", PathError::Encoding),
            ("/%zz", PathError::Encoding),
            ("/%u002e%u002e/", PathError::Encoding),
            ("/%ff", PathError::Encoding),
            ("/%c0%af", PathError::Encoding),
            ("/%c0%ae%c0%ae/", PathError::Encoding),
            ("/%e0%80%af", PathError::Encoding),
            ("/%ed%a0%80", PathError::Encoding),
        ] {
            assert_eq!(RequestPath::parse(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn a_query_is_no_part_of_the_path() {
        for target in ["/private", "/private?", "/private?x=/public", "/private?/../%2e%2e//;\\%zz?"] {
            assert_eq!(RequestPath::of_target(target).unwrap().as_str(), "/private", "{target}");
        }
        for target in ["/private#/public", "/private?x#y", "/private%3fx", "?/private", ""] {
            assert!(RequestPath::of_target(target).is_err(), "{target}");
        }
    }

    /// Paths, near to and far from good ones.
    fn any_path() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[a-z0-9._~-]{1,6}",
            1 => "\\PC{0,3}",
            1 => r"[%2-7a-fA-F0-9]{1,6}",
            1 => prop::sample::select(vec![
                "..", ".", "", "%2e", "%2F", "%5c", ";", "\\", "%25", "%252e", "%00", "#", "?", "%C3%A4", "+", "|", "*",
            ])
            .prop_map(str::to_owned),
        ];
        let segment = prop::collection::vec(piece, 0..3).prop_map(|pieces| pieces.concat());
        prop::collection::vec(segment, 0..5).prop_map(|segments| format!("/{}", segments.join("/")))
    }

    proptest! {
        #[test]
        fn a_short_look_says_what_a_long_one_does(raw in "/[a-z/.%25~ ;=*]{0,8}") {
            if is_plain(&raw) {
                prop_assert_eq!(decode(&raw), Ok(Cow::Borrowed(raw.as_str())));
                prop_assert_eq!(check(&raw, &raw), Ok(()));
                prop_assert_eq!(encode(&raw), raw.as_str());
            }
        }

        #[test]
        fn a_path_that_is_taken_reads_the_same_from_its_encoded_form(raw in any_path()) {
            let Ok(path) = RequestPath::parse(&raw) else { return Ok(()) };
            prop_assert_eq!(&RequestPath::parse(path.encoded()).unwrap(), &path);
        }

        #[test]
        fn browsers_and_servers_find_nothing_to_change_in_the_encoded_form(raw in any_path()) {
            let Ok(path) = RequestPath::parse(&raw) else { return Ok(()) };
            let url = url::Url::parse(&format!("https://a.example{}", path.encoded())).unwrap();
            prop_assert_eq!((url.path(), url.query(), url.fragment()), (path.encoded(), None, None));
            let uri: http::Uri = path.encoded().parse().unwrap();
            prop_assert_eq!(uri.path(), path.encoded());
        }

        #[test]
        fn a_path_that_is_taken_holds_nothing_to_cut_or_split_at(raw in any_path()) {
            let Ok(path) = RequestPath::parse(&raw) else { return Ok(()) };
            prop_assert!(!path.as_str().contains(['\\', ';', '?', '#', '\0', '\n', '\r']));
            prop_assert!(!path.as_str().contains("//"));
            prop_assert!(path.segments().all(|segment| segment != "." && segment != ".."));
            prop_assert!(path.encoded().is_ascii());
        }

        #[test]
        fn every_spelling_of_a_path_is_one_path(
            text in "(/[a-zäß日0-9._~!$&'()*+,=:@|<>^-]{1,8}){1,4}/?",
            escapes in prop::collection::vec(0..3_u8, 120),
        ) {
            let Ok(path) = RequestPath::parse(&text) else { return Ok(()) };
            let raw = respell(&text, &escapes);
            prop_assert_eq!(&RequestPath::parse(&raw).unwrap(), &path, "{}", raw);
        }
    }

    /// The same path with some of its bytes escaped, in upper or lower case.
    fn respell(text: &str, escapes: &[u8]) -> String {
        let spell = |(index, c): (usize, char)| {
            let hex = |upper: bool| {
                let mut bytes = [0; 4];
                let bytes = c.encode_utf8(&mut bytes).bytes();
                bytes.map(|byte| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") }).collect()
            };
            match escapes[index % escapes.len()] {
                0 => c.to_string(),
                _ if c == '/' => c.to_string(),
                escape => hex(escape == 1),
            }
        };
        text.char_indices().map(spell).collect()
    }
}
