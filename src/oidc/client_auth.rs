//! How we prove to the provider that we are the client (OpenID Connect Core, section 9). Sending is not here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::key_set::algorithm;
use crate::clock::Timestamp;
use crate::config::{ClientAuth, SigningAlg};
use crate::secret::{ExposeSecret, SecretString, random_text};

/// Seconds that an assertion is good for.
const ASSERTION_LIFETIME: i64 = 60;
/// RFC 7523, section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Why a client key cannot be used. Never shows the key.
#[derive(Debug, thiserror::Error)]
pub enum ClientKeyError {
    /// The algorithm is none that proves a client.
    #[error("client assertions are signed with RS256, PS256 or ES256, not with {}", .0.as_str())]
    Alg(SigningAlg),
    /// The key is none of its algorithm.
    #[error("not a private key for {}: expected {}", .0.as_str(), form(*.0))]
    Key(SigningAlg),
}

const fn form(alg: SigningAlg) -> &'static str {
    match alg {
        SigningAlg::Es256 => {
            "an EC key on P-256 as PEM in PKCS#8 form (`BEGIN PRIVATE KEY`; `openssl pkcs8 -topk8 -nocrypt` makes it)"
        }
        _ => "an RSA key of 2048 bits or more as PEM (`BEGIN PRIVATE KEY` or `BEGIN RSA PRIVATE KEY`)",
    }
}

/// Adds to a request the proof that we are the client.
#[derive(Debug)]
pub(super) struct ClientAuthenticator {
    client_id: String,
    method: Method,
}

#[derive(Debug)]
enum Method {
    Post(SecretString),
    /// The whole header.
    Basic(SecretString),
    PrivateKeyJwt {
        header: Box<Header>,
        key: EncodingKey,
    },
    None,
}

impl ClientAuthenticator {
    /// Reads the key, if there is one, and signs with it once to see that it can.
    ///
    /// # Errors
    /// The key is not one of its algorithm.
    pub(super) fn new(auth: &ClientAuth, client_id: &str) -> Result<Self, ClientKeyError> {
        let method = match auth {
            ClientAuth::SecretPost(secret) => Method::Post(secret.clone()),
            ClientAuth::SecretBasic(secret) => Method::Basic(basic(client_id, secret)),
            ClientAuth::PrivateKeyJwt { key, alg, kid } => private_key_jwt(key, *alg, kid.as_deref())?,
            ClientAuth::None => Method::None,
        };
        Ok(Self { client_id: client_id.to_owned(), method })
    }

    /// Adds to `form` what the method wants there and returns the value of the `Authorization` header, if it wants one.
    /// `audience` is the issuer.
    pub(super) fn apply(
        &self,
        audience: &str,
        now: Timestamp,
        form: &mut Vec<(String, String)>,
    ) -> Option<SecretString> {
        match &self.method {
            Method::Basic(header) => return Some(header.clone()),
            Method::Post(secret) => set(form, "client_secret", secret.expose_secret().to_owned()),
            Method::PrivateKeyJwt { header, key } => {
                set(form, "client_assertion_type", ASSERTION_TYPE.to_owned());
                set(form, "client_assertion", self.assertion(header, key, audience, now));
            }
            Method::None => {}
        }
        set(form, "client_id", self.client_id.clone());
        None
    }

    /// RFC 7523, section 3.
    fn assertion(&self, header: &Header, key: &EncodingKey, audience: &str, now: Timestamp) -> String {
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": audience,
            "jti": random_text(),
            "iat": now,
            "exp": now.plus(ASSERTION_LIFETIME),
        });
        encode(header, &claims, key).expect("the key signed when it was set up")
    }
}

/// The header of `client_secret_basic`: id and secret form-urlencoded first (RFC 6749, section 2.3.1).
fn basic(client_id: &str, secret: &SecretString) -> SecretString {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client_id), encoded(secret.expose_secret()));
    format!("Basic {}", STANDARD.encode(pair)).into()
}

fn private_key_jwt(pem: &SecretString, alg: SigningAlg, kid: Option<&str>) -> Result<Method, ClientKeyError> {
    let pem = pem.expose_secret().as_bytes();
    let key = match alg {
        SigningAlg::Rs256 | SigningAlg::Ps256 => EncodingKey::from_rsa_pem(pem),
        SigningAlg::Es256 => EncodingKey::from_ec_pem(pem),
        SigningAlg::EdDsa | SigningAlg::Hs256 => return Err(ClientKeyError::Alg(alg)),
    };
    let key = key.map_err(|_| ClientKeyError::Key(alg))?;
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm(alg)) };
    encode(&header, &Value::Null, &key).map_err(|_| ClientKeyError::Key(alg))?;
    Ok(Method::PrivateKeyJwt { header: Box::new(header), key })
}

/// Adds a parameter, unless the request has it already.
fn set(form: &mut Vec<(String, String)>, name: &str, value: String) {
    if form.iter().all(|(present, _)| present != name) {
        form.push((name.to_owned(), value));
    }
}
