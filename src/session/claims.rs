//! A session's claims in little memory: as JSON, since a map of texts takes several times as much, and without those that
//! repeat what the session says itself.

use serde_json::{Map, Value};

/// The claims that a session says itself, most of the time: issuer, subject, and the provider's id of its session.
const NAMES: [&str; 3] = ["iss", "sub", "sid"];
/// The bit of each.
const BITS: [u8; 3] = [1, 2, 4];

/// What a session says of each of [`NAMES`].
pub(super) type Said<'a> = [Option<&'a str>; 3];

/// Claims, packed: a byte whose bits say which of [`NAMES`] were left out, then the others as JSON. They are unpacked with
/// the same [`Said`].
#[derive(Clone)]
pub(super) struct PackedClaims(Box<[u8]>);

impl PackedClaims {
    pub(super) fn new(mut claims: Map<String, Value>, said: Said<'_>) -> Self {
        let mut left_out = 0;
        for ((name, bit), said) in NAMES.into_iter().zip(BITS).zip(said) {
            if said.is_some() && claims.get(name).and_then(Value::as_str) == said {
                claims.remove(name);
                left_out |= bit;
            }
        }
        let mut packed = vec![left_out];
        serde_json::to_writer(&mut packed, &claims).expect("a map of JSON");
        Self(packed.into())
    }

    pub(super) fn unpacked(&self, said: Said<'_>) -> Map<String, Value> {
        let (left_out, json) = self.0.split_first().expect("never empty");
        let mut claims: Map<String, Value> = serde_json::from_slice(json).expect("it was written as JSON by ourselves");
        for ((name, bit), said) in NAMES.into_iter().zip(BITS).zip(said) {
            if let Some(said) = said.filter(|_| left_out & bit != 0) {
                claims.insert(name.to_owned(), said.into());
            }
        }
        claims
    }

    /// Bytes.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_come_out_as_they_went_in_whatever_they_repeat() {
        let said = [Some("https://id.example/"), Some("ada"), None];
        for claims in [
            json!({"iss": "https://id.example/", "sub": "ada", "sid": "s", "n": 1}),
            json!({"iss": "https://other.example/", "sub": 5, "sid": null}),
            json!({"name": "Ada"}),
            json!({}),
        ] {
            let claims = claims.as_object().unwrap();
            let packed = PackedClaims::new(claims.clone(), said);
            assert_eq!(packed.unpacked(said), *claims);
        }
        let repeating = json!({"iss": "https://id.example/", "sub": "ada"}).as_object().unwrap().clone();
        assert_eq!(PackedClaims::new(repeating, said).len(), 3, "nothing is kept twice");
    }
}
