//! Claims, as they are kept and read: a map where a token has just been checked, and in a session packed into little
//! memory, from which one is read without touching the others.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

/// The claims that a session says itself, most of the time: issuer, subject, and the provider's id of its session.
const NAMES: [&str; 3] = ["iss", "sub", "sid"];
/// The bit of each.
const BITS: [u8; 3] = [1, 2, 4];

/// The claims that are asked for most; they lie first.
const FIRST: [&str; 5] = ["email", "email_verified", "name", "preferred_username", "groups"];
/// The bit of the first of them, in the same byte as those of [`NAMES`].
const FIRST_BIT: u8 = 8;

/// What a session says of each of `iss`, `sub` and `sid`.
pub type Said<'a> = [Option<&'a str>; 3];

/// What is known about an identity. Cheap to copy.
#[derive(Clone, Copy)]
pub enum Claims<'a> {
    /// As a map.
    Map(&'a Map<String, Value>),
    /// As a session keeps them.
    Packed(&'a PackedClaims, Said<'a>),
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
            Self::Packed(claims, said) => match claims.left_out(name, said) {
                Some(said) => Some(Cow::Owned(said.into())),
                None => claims.value_of(name).map(|value| Cow::Owned(unpacked(value))),
            },
        }
    }

    /// The claim of this name, if it is a text.
    pub fn text(self, name: &str) -> Option<&'a str> {
        match self {
            Self::Map(claims) => claims.get(name).and_then(Value::as_str),
            Self::Packed(claims, said) => claims.left_out(name, said).or_else(|| text(claims.value_of(name)?)),
        }
    }

    /// All of them.
    pub fn to_map(self) -> Map<String, Value> {
        match self {
            Self::Map(claims) => claims.clone(),
            Self::Packed(claims, said) => claims.unpacked(said),
        }
    }
}

/// What a text begins with where it is packed, instead of being JSON.
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

/// Claims in one piece of memory, without those that repeat what the session says: a byte whose bits say which of `iss`,
/// `sub` and `sid` were left out and which of the claims that lie first are there, then of each claim its name and its
/// value, each after its length. A text is a quotation mark and then the text as it is, any other value is JSON. They are
/// read with the same [`Said`].
#[derive(Clone)]
pub struct PackedClaims(Box<[u8]>);

impl fmt::Debug for PackedClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PackedClaims(…)")
    }
}

impl PackedClaims {
    /// Packs claims.
    pub fn new(mut claims: Map<String, Value>, said: Said<'_>) -> Self {
        let mut bits = 0;
        for ((name, bit), said) in NAMES.into_iter().zip(BITS).zip(said) {
            if said.is_some() && claims.get(name).and_then(Value::as_str) == said {
                claims.remove(name);
                bits |= bit;
            }
        }
        let mut packed = vec![0];
        let mut pack = |name: &str, value: &Value| {
            append(&mut packed, name.as_bytes());
            match value {
                Value::String(text) => append(&mut packed, &[&[TEXT], text.as_bytes()].concat()),
                _ => append(&mut packed, &serde_json::to_vec(value).expect("a JSON value")),
            }
        };
        for (place, name) in FIRST.into_iter().enumerate() {
            if let Some(value) = claims.remove(name) {
                pack(name, &value);
                bits |= FIRST_BIT << place;
            }
        }
        for (name, value) in &claims {
            pack(name, value);
        }
        packed[0] = bits;
        Self(packed.into())
    }

    /// Bytes that they take.
    pub const fn size(&self) -> usize {
        self.0.len()
    }

    fn unpacked(&self, said: Said<'_>) -> Map<String, Value> {
        let packed = self.entries().map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), unpacked(value)));
        let repeated = NAMES.iter().filter_map(|name| Some(((*name).to_owned(), self.left_out(name, said)?.into())));
        packed.chain(repeated).collect()
    }

    /// What the session says of a claim that was left out.
    fn left_out<'a>(&self, name: &str, said: Said<'a>) -> Option<&'a str> {
        let place = NAMES.iter().position(|known| *known == name)?;
        said[place].filter(|_| self.0[0] & BITS[place] != 0)
    }

    fn value_of(&self, name: &str) -> Option<&[u8]> {
        if let Some(place) = FIRST.iter().position(|known| *known == name) {
            let (bit, there) = (FIRST_BIT << place, self.0[0] & !(FIRST_BIT - 1));
            let before = (there & (bit - 1)).count_ones() as usize;
            return self.entries().nth(before).filter(|_| there & bit != 0).map(|(_, value)| value);
        }
        self.entries().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.0[1..];
        std::iter::from_fn(move || Some((take(&mut rest)?, take(&mut rest)?)))
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

/// Reads what [`append`] wrote.
#[inline]
fn take<'p>(packed: &mut &'p [u8]) -> Option<&'p [u8]> {
    let (mut len, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = packed.split_first()?;
        *packed = rest;
        len |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
        shift += 7;
    }
    let (bytes, rest) = packed.split_at_checked(len)?;
    *packed = rest;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SAID: Said<'_> = [Some("https://id.example/"), Some("ada"), None];

    /// Whatever is asked of packed claims, they answer as the map that they were made of.
    #[track_caller]
    fn compare(claims: &Map<String, Value>) {
        let packed = PackedClaims::new(claims.clone(), SAID);
        let (map, packed) = (Claims::from(claims), Claims::Packed(&packed, SAID));
        assert_eq!(packed.to_map(), *claims);
        for name in claims.keys().map(String::as_str).chain(["iss", "sub", "sid", "nothing", ""]).chain(FIRST) {
            assert_eq!(packed.get(name), map.get(name), "{name}");
            assert_eq!(packed.text(name), map.text(name), "{name}");
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
        let repeating = json!({"iss": "https://id.example/", "sub": "ada"}).as_object().unwrap().clone();
        assert_eq!(PackedClaims::new(repeating, SAID).size(), 1, "nothing is kept twice");
    }

    proptest! {
        #[test]
        fn any_claims_come_out_as_they_went_in(claims in prop::collection::btree_map(any::<String>(), any::<String>(), 0..20)) {
            compare(&claims.into_iter().map(|(name, value)| (name, value.into())).collect());
        }
    }
}
