//! Claims, as they are kept and read: a map where a token has just been checked, and in a session packed into little
//! memory, from which one is read without touching the others.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

/// The claims that repeat what an identity says besides, most of the time: issuer, subject, and the provider's id of its
/// session.
const NAMES: [&str; 3] = ["iss", "sub", "sid"];
/// The bit of each.
const BITS: [u8; 3] = [1, 2, 4];

/// The claims that are asked for most; they lie first.
const FIRST: [&str; 5] = ["email", "email_verified", "name", "preferred_username", "groups"];
/// The bit of the first of them, in the same byte as those of [`NAMES`].
const FIRST_BIT: u8 = 8;

/// The bits of the second byte: whether there is a sid, and a scope.
const SID: u8 = 1;
const SCOPE: u8 = 2;
/// What no entry begins before.
const HEAD: usize = 2;

/// What is known about an identity. Cheap to copy.
#[derive(Clone, Copy)]
pub enum Claims<'a> {
    /// As a map.
    Map(&'a Map<String, Value>),
    /// As a session keeps them.
    Packed(&'a PackedIdentity),
}

impl fmt::Debug for Claims<'_> {
    /// Without what they say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims(…)")
    }
}

impl<'a> From<&'a Map<String, Value>> for Claims<'a> {
    fn from(claims: &'a Map<String, Value>) -> Self {
        Self::Map(claims)
    }
}

impl<'a> Claims<'a> {
    /// The claim of this name.
    pub fn get(self, name: &str) -> Option<Cow<'a, Value>> {
        match self {
            Self::Map(claims) => claims.get(name).map(Cow::Borrowed),
            Self::Packed(identity) => match identity.left_out(name) {
                Some(said) => Some(Cow::Owned(said.into())),
                None => identity.value_of(name).map(|value| Cow::Owned(unpacked(value))),
            },
        }
    }

    /// The claim of this name, if it is a text.
    pub fn text(self, name: &str) -> Option<&'a str> {
        match self {
            Self::Map(claims) => claims.get(name).and_then(Value::as_str),
            Self::Packed(identity) => identity.left_out(name).or_else(|| text(identity.value_of(name)?)),
        }
    }

    /// All of them.
    pub fn to_map(self) -> Map<String, Value> {
        match self {
            Self::Map(claims) => claims.clone(),
            Self::Packed(identity) => identity.unpacked(),
        }
    }
}

/// What a text begins with where it is a packed claim, instead of being JSON.
const TEXT: u8 = b'"';

/// A packed value, if it is a text.
fn text(value: &[u8]) -> Option<&str> {
    let (&TEXT, text) = value.split_first()? else { return None };
    std::str::from_utf8(text).ok()
}

fn unpacked(value: &[u8]) -> Value {
    match value {
        b"true" => Value::Bool(true),
        b"false" => Value::Bool(false),
        [TEXT, text @ ..] => String::from_utf8_lossy(text).into(),
        json => serde_json::from_slice(json).expect("it was written as JSON by ourselves"),
    }
}

/// Who somebody is and what is known about them, in one piece of memory: of 100,000 sessions each piece that is read costs
/// a wait for memory, and what is asked for most lies together.
///
/// Two bytes whose bits say which claims of [`NAMES`] were left out because they repeat what is said besides, which of
/// [`FIRST`] are there, and whether sid and scope are; subject and issuer; of each claim of `FIRST` that is there its name
/// and its value; sid and scope; the other claims. Each part follows its length. The value of a claim that is a text is a
/// quotation mark and then the text as it is, any other is JSON.
#[derive(Clone)]
pub struct PackedIdentity(Box<[u8]>);

impl fmt::Debug for PackedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PackedIdentity(…)")
    }
}

impl PackedIdentity {
    /// Packs what is said about `sub` at `issuer`.
    pub fn new(
        issuer: &str,
        sub: &str,
        sid: Option<&str>,
        scope: Option<&str>,
        mut claims: Map<String, Value>,
    ) -> Self {
        let (mut packed, mut bits) = (vec![0; HEAD], 0);
        for ((name, bit), said) in NAMES.into_iter().zip(BITS).zip([Some(issuer), Some(sub), sid]) {
            if said.is_some() && claims.get(name).and_then(Value::as_str) == said {
                claims.remove(name);
                bits |= bit;
            }
        }
        append(&mut packed, sub.as_bytes());
        append(&mut packed, issuer.as_bytes());
        for (place, name) in FIRST.into_iter().enumerate() {
            if let Some(value) = claims.remove(name) {
                append_claim(&mut packed, name, &value);
                bits |= FIRST_BIT << place;
            }
        }
        packed[0] = bits;
        for (bit, said) in [(SID, sid), (SCOPE, scope)] {
            if let Some(said) = said {
                append(&mut packed, said.as_bytes());
                packed[1] |= bit;
            }
        }
        for (name, value) in &claims {
            append_claim(&mut packed, name, value);
        }
        Self(packed.into())
    }

    /// The subject: who it is, unique at the issuer.
    pub fn sub(&self) -> &str {
        said(Parts(&self.0[HEAD..]).next())
    }

    /// The issuer that says so.
    pub fn issuer(&self) -> &str {
        said(Parts(&self.0[HEAD..]).nth(1))
    }

    /// The provider's own id of its session.
    pub fn sid(&self) -> Option<&str> {
        self.has(SID).then(|| said(self.after_first().next()))
    }

    /// The scope that was granted.
    pub fn scope(&self) -> Option<&str> {
        self.has(SCOPE).then(|| said(self.after_first().nth(usize::from(self.has(SID)))))
    }

    /// What is known about them.
    pub const fn claims(&self) -> Claims<'_> {
        Claims::Packed(self)
    }

    /// Has what is asked for most brought from memory, all of it at once, where one part after the other would be waited
    /// for.
    pub fn fetch(&self) {
        const LINE: usize = 64;
        const ASKED_MOST: usize = 4 * LINE;
        let some = self.0.iter().take(ASKED_MOST).step_by(LINE);
        std::hint::black_box(some.fold(0, |all, byte| all ^ byte));
    }

    /// Bytes that it takes.
    pub const fn size(&self) -> usize {
        self.0.len()
    }

    fn unpacked(&self) -> Map<String, Value> {
        let packed = self.first().pairs().take(self.first_there()).chain(self.others().pairs());
        let packed = packed.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), unpacked(value)));
        let repeated = NAMES.iter().filter_map(|name| Some(((*name).to_owned(), self.left_out(name)?.into())));
        packed.chain(repeated).collect()
    }

    /// What is said besides, where a claim that repeats it was left out.
    fn left_out(&self, name: &str) -> Option<&str> {
        let place = NAMES.iter().position(|known| *known == name).filter(|place| self.0[0] & BITS[*place] != 0)?;
        match place {
            0 => Some(self.issuer()),
            1 => Some(self.sub()),
            _ => self.sid(),
        }
    }

    fn value_of(&self, name: &str) -> Option<&[u8]> {
        if let Some(place) = FIRST.iter().position(|known| *known == name) {
            let (bit, there) = (FIRST_BIT << place, self.0[0] & !(FIRST_BIT - 1));
            let before = (there & (bit - 1)).count_ones() as usize;
            return self.first().pairs().nth(before).filter(|_| there & bit != 0).map(|(_, value)| value);
        }
        self.others().pairs().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    /// How many of [`FIRST`] there are.
    const fn first_there(&self) -> usize {
        (self.0[0] / FIRST_BIT).count_ones() as usize
    }

    const fn has(&self, bit: u8) -> bool {
        self.0[1] & bit != 0
    }

    fn first(&self) -> Parts<'_> {
        Parts(&self.0[HEAD..]).without(2)
    }

    fn after_first(&self) -> Parts<'_> {
        self.first().without(2 * self.first_there())
    }

    fn others(&self) -> Parts<'_> {
        self.after_first().without(self.0[1].count_ones() as usize)
    }
}

fn said(part: Option<&[u8]>) -> &str {
    part.and_then(|part| std::str::from_utf8(part).ok()).expect("it was written as text by ourselves")
}

fn append_claim(packed: &mut Vec<u8>, name: &str, value: &Value) {
    append(packed, name.as_bytes());
    match value {
        Value::String(text) => append(packed, &[&[TEXT], text.as_bytes()].concat()),
        _ => append(packed, &serde_json::to_vec(value).expect("a JSON value")),
    }
}

/// Writes a length, seven bits a byte, the lowest first, the eighth where more follow; then the bytes.
fn append(packed: &mut Vec<u8>, bytes: &[u8]) {
    let mut len = bytes.len();
    while len >= 0x80 {
        packed.push(len as u8 | 0x80);
        len >>= 7;
    }
    packed.push(len as u8);
    packed.extend(bytes);
}

/// Reads what [`append`] wrote, part after part.
struct Parts<'p>(&'p [u8]);

impl<'p> Parts<'p> {
    fn without(mut self, parts: usize) -> Self {
        for _ in 0..parts {
            self.next();
        }
        self
    }

    fn pairs(mut self) -> impl Iterator<Item = (&'p [u8], &'p [u8])> {
        std::iter::from_fn(move || Some((self.next()?, self.next()?)))
    }
}

impl<'p> Iterator for Parts<'p> {
    type Item = &'p [u8];

    #[inline]
    fn next(&mut self) -> Option<&'p [u8]> {
        let (mut len, mut shift) = (0, 0);
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            len |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
            shift += 7;
        }
        let (part, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.example/";

    /// Whatever is asked of packed claims, they answer as the map that they were made of, and as what was said besides.
    #[track_caller]
    fn compare(claims: &Map<String, Value>) {
        for (sid, scope) in [(None, None), (Some("s"), None), (None, Some("openid")), (Some("s"), Some("openid"))] {
            let identity = PackedIdentity::new(ISSUER, "ada", sid, scope, claims.clone());
            assert_eq!((identity.issuer(), identity.sub()), (ISSUER, "ada"));
            assert_eq!((identity.sid(), identity.scope()), (sid, scope));
            let (map, packed) = (Claims::from(claims), identity.claims());
            assert_eq!(packed.to_map(), *claims);
            for name in claims.keys().map(String::as_str).chain(["iss", "sub", "sid", "nothing", ""]).chain(FIRST) {
                assert_eq!(packed.get(name), map.get(name), "{name}");
                assert_eq!(packed.text(name), map.text(name), "{name}");
            }
        }
    }

    #[test]
    fn claims_come_out_as_they_went_in_whatever_they_repeat() {
        for claims in [
            json!({"iss": "https://id.example/", "sub": "ada", "sid": "s", "n": 1}),
            json!({"iss": "https://other.example/", "sub": 5, "sid": null, "email": "a@b", "groups": ["x"], "zip": 1, "name": "n"}),
            json!({"name": "Ada \"Countess\" Lovelace\n", "ä": "ö", "": "", "groups": ["a", {"b": 1.5}], "x".repeat(300): "y".repeat(70_000)}),
            json!({}),
        ] {
            compare(claims.as_object().unwrap());
        }
        let repeating = json!({"iss": ISSUER, "sub": "ada", "sid": "s"}).as_object().unwrap().clone();
        let size = |claims| PackedIdentity::new(ISSUER, "ada", Some("s"), None, claims).size();
        assert_eq!(size(repeating), size(Map::new()), "nothing is kept twice");
    }

    proptest! {
        #[test]
        fn any_claims_come_out_as_they_went_in(claims in prop::collection::btree_map(any::<String>(), any::<String>(), 0..20)) {
            compare(&claims.into_iter().map(|(name, value)| (name, value.into())).collect());
        }
    }
}
