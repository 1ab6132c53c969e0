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

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use jsonwebtoken::{DecodingKey, Validation, decode};
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);
    const ISSUER: &str = "https://op.example/";

    static RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
    static EC: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());

    fn with_key(pem: String, alg: SigningAlg) -> Result<ClientAuthenticator, ClientKeyError> {
        let auth = ClientAuth::PrivateKeyJwt { key: pem.into(), alg, kid: Some("k-1".to_owned()) };
        ClientAuthenticator::new(&auth, "client-1")
    }

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    fn applied(auth: &ClientAuthenticator) -> (Vec<(String, String)>, Option<SecretString>) {
        let mut form = vec![("grant_type".to_owned(), "authorization_code".to_owned())];
        let header = auth.apply(ISSUER, NOW, &mut form);
        (form.split_off(1), header)
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_secret_goes_in_the_body() {
        let auth = ClientAuthenticator::new(&ClientAuth::SecretPost("s&".into()), "client-1").unwrap();
        let (form, header) = applied(&auth);
        assert_eq!(form, pairs(&[("client_secret", "s&"), ("client_id", "client-1")]));
        assert!(header.is_none());
    }

    #[test]
    fn a_secret_goes_form_urlencoded_in_the_header() {
        let auth = ClientAuthenticator::new(&ClientAuth::SecretBasic("p%ü+& ".into()), "a:b").unwrap();
        let (form, header) = applied(&auth);
        assert!(form.is_empty());
        let expected = format!("Basic {}", STANDARD.encode("a%3Ab:p%25%C3%BC%2B%26+"));
        assert_eq!(header.unwrap().expose_secret(), expected);
    }

    #[test]
    fn a_public_client_says_who_it_is() {
        let auth = ClientAuthenticator::new(&ClientAuth::None, "client-1").unwrap();
        assert_eq!(applied(&auth).0, pairs(&[("client_id", "client-1")]));
    }

    #[test]
    fn a_client_id_that_is_there_already_is_not_doubled() {
        let auth = ClientAuthenticator::new(&ClientAuth::None, "client-1").unwrap();
        let mut form = pairs(&[("client_id", "client-1")]);
        assert!(auth.apply(ISSUER, NOW, &mut form).is_none());
        assert_eq!(form.len(), 1);
    }

    #[test]
    fn an_assertion_is_signed_by_our_key_for_the_issuer_and_new_each_time() {
        let rsa_public = DecodingKey::from_rsa_pem(RSA.public_key_pem().as_bytes()).unwrap();
        let ec_public = DecodingKey::from_ec_pem(EC.public_key_pem().as_bytes()).unwrap();
        for (key, public, alg) in [
            (&*RSA, &rsa_public, SigningAlg::Rs256),
            (&*RSA, &rsa_public, SigningAlg::Ps256),
            (&*EC, &ec_public, SigningAlg::Es256),
        ] {
            let auth = with_key(key.serialize_pem(), alg).unwrap();
            let assertion = || {
                let (form, header) = applied(&auth);
                assert!(header.is_none());
                assert_eq!(form[0], ("client_assertion_type".to_owned(), ASSERTION_TYPE.to_owned()));
                assert_eq!((form[1].0.as_str(), form[2].1.as_str()), ("client_assertion", "client-1"));
                assert_eq!(form.len(), 3);
                let mut validation = Validation::new(algorithm(alg));
                validation.validate_exp = false;
                validation.set_audience(&[ISSUER]);
                decode::<Value>(&form[1].1, public, &validation).unwrap()
            };
            let (first, second) = (assertion(), assertion());
            assert_eq!(first.header.kid.as_deref(), Some("k-1"));
            let claims = &first.claims;
            assert_eq!((&claims["iss"], &claims["sub"]), (&json!("client-1"), &json!("client-1")));
            assert_eq!(claims["aud"], json!(ISSUER));
            assert_eq!((&claims["iat"], &claims["exp"]), (&json!(NOW.0), &json!(NOW.0 + ASSERTION_LIFETIME)));
            assert_ne!(claims["jti"], second.claims["jti"]);
        }
    }

    #[test]
    fn an_rsa_key_may_be_in_pkcs_1_form() {
        let pkcs8 = EncodingKey::from_rsa_pem(RSA.serialize_pem().as_bytes()).unwrap();
        let pkcs1 = pem("RSA PRIVATE KEY", pkcs8.as_bytes());
        assert!(with_key(pkcs1.clone(), SigningAlg::Rs256).is_ok());
        assert!(with_key(pkcs1.replace('\n', "\r\n"), SigningAlg::Ps256).is_ok());
    }

    #[test]
    fn a_key_that_cannot_sign_is_found_at_set_up_and_not_shown() {
        use SigningAlg::{EdDsa, Es256, Hs256, Ps256, Rs256};
        let rsa = RSA.serialize_pem();
        let ec = EC.serialize_pem();
        let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        let ed = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
        for (key, alg) in [
            (ec.clone(), Rs256),
            (ec.clone(), Ps256),
            (rsa.clone(), Es256),
            (p384, Es256),
            (ed.clone(), EdDsa),
            (ed, Es256),
            (rsa.clone(), Hs256),
            (RSA.public_key_pem(), Rs256),
            (EC.public_key_pem(), Es256),
            (rsa.replace("MII", "MIJ"), Rs256),
            (rsa.lines().nth(1).unwrap().to_owned(), Rs256),
            (pem("RSA PRIVATE KEY", b"not DER"), Rs256),
            (pem("EC PRIVATE KEY", EC.serialized_der()), Es256),
            ("not a key".to_owned(), Es256),
            (String::new(), Rs256),
        ] {
            let error = with_key(key.clone(), alg).unwrap_err();
            let printed = format!("{error} {error:?}");
            assert!(printed.contains(alg.as_str()), "{printed}");
            let shown = key.lines().find(|line| line.len() > 8 && !line.starts_with('-') && printed.contains(*line));
            assert_eq!(shown, None);
        }
    }

    #[test]
    fn an_authenticator_does_not_print_its_secret() {
        for auth in [ClientAuth::SecretPost("hunter22".into()), ClientAuth::SecretBasic("hunter22".into())] {
            let printed = format!("{:?}", ClientAuthenticator::new(&auth, "c").unwrap());
            assert!(!printed.contains("hunter22") && !printed.contains(&STANDARD.encode("c:hunter22")), "{printed}");
        }
        let printed = format!("{:?}", with_key(EC.serialize_pem(), SigningAlg::Es256).unwrap());
        assert!(printed.contains("[redacted]"), "{printed}");
    }
}
