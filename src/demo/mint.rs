//! Access tokens to order, good and bad, for whoever checks bearers.

use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::{Provider, id_token, keys::opaque};
use crate::secret::SecretString;

/// Seconds that such a token is good for.
const LIFE: i64 = 300;

impl Provider {
    /// An access token of a script for the API `audience`, with these claims changed; those that are null are taken
    /// away. `typ` is that of its header.
    pub fn mint(&self, typ: &str, audience: &str, changes: &Value) -> String {
        let keys = self.shared.keys();
        keys.sign(Some(keys.kid()), typ, &self.script_claims(audience, changes))
    }

    /// The same, signed as a fault of id tokens says.
    ///
    /// # Panics
    /// The fault is not about a signature.
    pub fn mint_wrongly(&self, fault: &Fault, audience: &str) -> String {
        self.prepare(fault);
        let (keys, claims) = (self.shared.keys(), self.script_claims(audience, &json!({})));
        let secret = SecretString::from("a secret of the client");
        id_token::sign_wrongly(&keys, &claims, &secret, fault).expect("a fault of signatures")
    }

    fn script_claims(&self, audience: &str, changes: &Value) -> Map<String, Value> {
        let now = self.shared.now();
        let Value::Object(mut claims) = json!({
            "iss": self.shared.issuer,
            "sub": "script@clients",
            "aud": audience,
            "azp": "script",
            "iat": now.0,
            "exp": now.plus(LIFE).0,
            "scope": "read:things write:things",
            "jti": opaque(),
        }) else {
            unreachable!("written as an object")
        };
        for (name, value) in changes.as_object().into_iter().flatten() {
            if value.is_null() {
                claims.remove(name);
            } else {
                claims.insert(name.clone(), value.clone());
            }
        }
        claims
    }
}
