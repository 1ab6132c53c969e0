//! The provider's keys: what the key set shows and what signs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value, json};

use crate::secret::{ExposeSecret as _, KeyPairKind, KeyPairPem, SecretString, base64url, random, random_text};

/// Algorithms besides RS256 that an id token may be ordered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherAlg {
    /// RSASSA-PSS under the same RSA key.
    Ps256,
    /// ECDSA with P-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// HMAC under the client's secret.
    Hs256,
}

/// The keys of one provider: the current and the next, as Auth0 shows them. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    current: RsaKey,
    next: RsaKey,
    others: Option<[OtherKey; 2]>,
}

/// An RSA key under a key id.
#[derive(Clone, Debug)]
struct RsaKey {
    kid: String,
    index: usize,
}

/// A key for ES256 or EdDSA.
#[derive(Clone, Debug)]
struct OtherKey {
    kid: String,
    algorithm: Algorithm,
    private: EncodingKey,
}

impl Keys {
    /// Two keys of the stock.
    pub(super) fn new() -> Self {
        Self { current: RsaKey::deal(), next: RsaKey::deal(), others: None }
    }

    /// Makes the keys that are not made yet; takes a while.
    pub(super) fn warm(&self) {
        self.current.material();
        self.next.material();
    }

    /// The next key becomes the current one, the current one is gone.
    pub(super) fn rotate(&mut self) {
        self.current = std::mem::replace(&mut self.next, RsaKey::deal());
        self.next.material();
    }

    /// Adds a key for ES256 and one for EdDSA.
    pub(super) fn add_others(&mut self) {
        self.others.get_or_insert_with(|| {
            [OtherKey::new(KeyPairKind::P256, Algorithm::ES256), OtherKey::new(KeyPairKind::Ed25519, Algorithm::EdDSA)]
        });
    }

    /// What an id token may be signed with: Auth0's algorithms, and those of the keys that were added.
    pub(super) fn algorithms(&self) -> Vec<&'static str> {
        let others: &[&str] = if self.others.is_some() { &["ES256", "EdDSA"] } else { &[] };
        [&["HS256", "RS256", "PS256"], others].concat()
    }

    /// The key set (RFC 7517), with the current key alone on request.
    pub(super) fn jwks(&self, current_only: bool) -> Value {
        let mut keys = vec![self.current.jwk()];
        if !current_only {
            keys.push(self.next.jwk());
            keys.extend(self.others.iter().flatten().map(OtherKey::jwk));
        }
        json!({ "keys": keys })
    }

    /// The id of the current RSA key.
    pub(super) fn kid(&self) -> &str {
        &self.current.kid
    }

    /// Signs by RS256 with the current key; an empty `typ` is left out.
    pub(super) fn sign(&self, kid: Option<&str>, typ: &str, claims: &Map<String, Value>) -> String {
        signed(Algorithm::RS256, kid, typ, claims, &self.current.material().private)
    }

    /// Signs by another algorithm.
    pub(super) fn sign_otherwise(&self, alg: OtherAlg, secret: &SecretString, claims: &Map<String, Value>) -> String {
        let rsa = &self.current;
        match alg {
            OtherAlg::Ps256 => signed(Algorithm::PS256, Some(&rsa.kid), "JWT", claims, &rsa.material().private),
            OtherAlg::Hs256 => {
                let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
                signed(Algorithm::HS256, None, "JWT", claims, &key)
            }
            OtherAlg::Es256 | OtherAlg::EdDsa => {
                let others = self.others.as_ref().expect("made when the algorithm was ordered");
                let other = &others[usize::from(alg == OtherAlg::EdDsa)];
                signed(other.algorithm, Some(&other.kid), "JWT", claims, &other.private)
            }
        }
    }

    /// HS256 under the text of the public RSA key.
    pub(super) fn sign_by_public_key(&self, claims: &Map<String, Value>) -> String {
        let key = EncodingKey::from_secret(self.current.material().public_pem.as_bytes());
        signed(Algorithm::HS256, Some(&self.current.kid), "JWT", claims, &key)
    }
}

/// No signature at all: `alg` is `none` (RFC 7519, section 6).
pub(super) fn unsigned(claims: &Map<String, Value>) -> String {
    let header = json!({ "alg": "none", "typ": "JWT" }).to_string();
    format!("{}.{}.", base64url(header.as_bytes()), base64url(Value::Object(claims.clone()).to_string().as_bytes()))
}

/// The same token with the first bit of its signature turned.
pub(super) fn with_bad_signature(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').expect("a token of three parts");
    let mut bytes = crate::secret::from_base64url(signature).expect("we wrote it");
    bytes[0] ^= 0x80;
    format!("{message}.{}", base64url(&bytes))
}

fn signed(
    algorithm: Algorithm,
    kid: Option<&str>,
    typ: &str,
    claims: &Map<String, Value>,
    key: &EncodingKey,
) -> String {
    let mut header = Header::new(algorithm);
    header.typ = (!typ.is_empty()).then(|| typ.to_owned());
    header.kid = kid.map(str::to_owned);
    encode(&header, claims, key).expect("the key fits the algorithm")
}

/// An RSA key, made.
struct Material {
    private: EncodingKey,
    public_pem: String,
    public: Value,
}

/// RSA keys take a quarter of a second to make, and a run of the tests starts hundreds of providers: the process makes
/// these few when they are first needed and deals them in turn. Key ids are new each time.
static STOCK: [OnceLock<Material>; 8] = [const { OnceLock::new() }; 8];
static DEALT: AtomicUsize = AtomicUsize::new(0);

impl RsaKey {
    fn deal() -> Self {
        Self { kid: random_text(), index: DEALT.fetch_add(1, Ordering::Relaxed) % STOCK.len() }
    }

    fn material(&self) -> &'static Material {
        STOCK[self.index].get_or_init(|| {
            let pair = KeyPairPem::generate(KeyPairKind::Rsa);
            let private =
                EncodingKey::from_rsa_pem(pair.private.expose_secret().as_bytes()).expect("written by ourselves");
            Material { public: public_part(&private, Algorithm::RS256), private, public_pem: pair.public }
        })
    }

    fn jwk(&self) -> Value {
        with_id(&self.material().public, &self.kid)
    }
}

impl OtherKey {
    fn new(kind: KeyPairKind, algorithm: Algorithm) -> Self {
        let pem = KeyPairPem::generate(kind).private;
        let pem = pem.expose_secret().as_bytes();
        let private = match kind {
            KeyPairKind::Ed25519 => EncodingKey::from_ed_pem(pem),
            _ => EncodingKey::from_ec_pem(pem),
        };
        Self { kid: random_text(), algorithm, private: private.expect("written by ourselves") }
    }

    fn jwk(&self) -> Value {
        with_id(&public_part(&self.private, self.algorithm), &self.kid)
    }
}

fn public_part(private: &EncodingKey, algorithm: Algorithm) -> Value {
    let jwk = Jwk::from_encoding_key(private, algorithm).expect("a key of ours");
    serde_json::to_value(jwk).expect("a key set is JSON")
}

fn with_id(public: &Value, kid: &str) -> Value {
    let mut jwk = public.clone();
    jwk["kid"] = kid.into();
    jwk["use"] = "sig".into();
    jwk
}

/// A text that looks like one of Auth0's opaque codes and tokens: 256 bits.
pub(super) fn opaque() -> String {
    base64url(&random::<32>())
}
