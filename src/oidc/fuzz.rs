//! Fuzz targets of the protocol: what a provider publishes, and tokens. Tokens are signed with a key of the target, so
//! that what is tried reaches the checks behind the signature.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a target says by a panic what is broken")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Map, Value, json};
use url::Host;

use super::address::NamedHosts;
use super::jwt::UnverifiedJwt;
use super::key_set::KeySet;
use super::metadata::{self, Metadata};
use super::{access_token, id_token, logout_token};
use crate::clock::Timestamp;
use crate::config::SigningAlg;
use crate::secret::{SecretString, base64url, from_base64url};

const NOW: Timestamp = Timestamp(1_800_000_000);
const LEEWAY: i64 = 60;
const MAX_AGE: i64 = 600;
const ISSUER: &str = "https://id.example/";
const CLIENT: &str = "client";
const API: &str = "https://api.example/";
const NONCE: &str = "n-1";

/// The key of RFC 8037, appendix A.
const PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
/// What stands before the 32 bytes of a private key in its PKCS #8 form (RFC 8410, section 7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

static SIGNER: LazyLock<EncodingKey> =
    LazyLock::new(|| EncodingKey::from_ed_der(&[&PKCS8[..], &from_base64url(PRIVATE).unwrap()].concat()));
static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": "k", "use": "sig"});
    KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).unwrap()
});
/// A client secret that is the public key, as somebody would have it who confuses algorithms.
static SECRET: LazyLock<SecretString> = LazyLock::new(|| PUBLIC.into());

/// Header and claims, and tokens that say so: one that is signed, and others that only look so.
struct Tokens {
    header: Value,
    claims: Map<String, Value>,
    signed: String,
    forged: Vec<String>,
}

impl Tokens {
    /// Reads a line of header and, below it, claims.
    fn read(data: &[u8]) -> Option<Self> {
        let (header, claims) = data.split_at(data.iter().position(|byte| *byte == b'\n')?);
        let message = format!("{}.{}", base64url(header), base64url(&claims[1..]));
        let sign = |message: &str| crypto::sign(message.as_bytes(), &SIGNER, Algorithm::EdDSA).unwrap();
        let forged = vec![
            format!("{message}."),
            format!("{message}.{}", sign("another message")),
            format!("{message}.{}", base64url(&[0; 64])),
            format!("{message}.{}", {
                let key = EncodingKey::from_secret(PUBLIC.as_bytes());
                crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap()
            }),
        ];
        let signed = format!("{message}.{}", sign(&message));
        Some(Self {
            header: serde_json::from_slice(header).unwrap_or_default(),
            claims: serde_json::from_slice(claims).unwrap_or_default(),
            signed,
            forged,
        })
    }

    /// What every token has that was accepted.
    fn check_common(&self) {
        assert_eq!(self.header["alg"], "EdDSA", "never as the token says");
        assert!(self.header.get("crit").is_none());
        assert!(self.header.get("kid").is_none_or(|kid| kid == "k"));
        assert_eq!(self.claims["iss"], ISSUER);
        let iat = self.date("iat").expect("iat");
        assert!(iat <= NOW.0 + LEEWAY);
        assert!(self.date("nbf").is_none_or(|nbf| nbf <= NOW.0 + LEEWAY));
        assert!(self.date("exp").is_none_or(|exp| exp > NOW.0 - LEEWAY));
    }

    fn date(&self, name: &str) -> Option<i64> {
        let value = self.claims.get(name).filter(|value| !value.is_null())?;
        Some(value.as_i64().unwrap_or_else(|| value.as_f64().expect("a number").floor() as i64))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    fn audiences(&self) -> Vec<&str> {
        match &self.claims["aud"] {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.claims.get(name).is_some_and(|value| !value.is_null())
    }
}

/// A line of header and, below it, claims; else a token as it came. What is accepted is signed by the provider's key and
/// says what was asked for.
pub(crate) fn id_token(data: &[u8]) {
    let accepts = |text: &str| {
        let expected = id_token::Expected {
            nonce: NONCE,
            started_at: Timestamp(NOW.0 - 30),
            max_age: Some(300),
            prompt_login: false,
            acr_values: None,
            organization: None,
            organizations: &[],
        };
        let checks = id_token::Checks {
            issuer: ISSUER,
            client_id: CLIENT,
            alg: SigningAlg::EdDsa,
            client_secret: Some(&SECRET),
            leeway: LEEWAY,
            id_token_max_age: MAX_AGE,
            now: NOW,
            expected: &expected,
            access_token: None,
        };
        id_token::unverified(text).and_then(|unverified| id_token::check(unverified, &KEYS, &checks)).ok()
    };
    let Some(tokens) = Tokens::read(data) else { return unsigned(data, |text| accepts(text).is_some()) };
    tokens.forged.iter().for_each(|forged| assert!(accepts(forged).is_none(), "{forged}"));
    let Some(accepted) = accepts(&tokens.signed) else { return };
    tokens.check_common();
    assert!(tokens.audiences().contains(&CLIENT) && tokens.has("exp"));
    assert!(if tokens.audiences().len() > 1 { tokens.text("azp") == Some(CLIENT) } else { true });
    assert_eq!(tokens.text("nonce"), Some(NONCE));
    assert!(tokens.date("iat").unwrap() >= NOW.0 - MAX_AGE - LEEWAY);
    assert!(tokens.date("auth_time").unwrap() >= NOW.0 - 300 - LEEWAY);
    assert_eq!(tokens.text("sub"), Some(accepted.sub.as_str()));
    assert!((1..=255).contains(&accepted.sub.len()) && accepted.sub.is_ascii());
    assert_eq!(tokens.text("sid"), accepted.sid.as_deref());
    assert!(accepted.session_expiry.is_none_or(|ends| ends > NOW));
    let typ = tokens.header.get("typ").and_then(Value::as_str);
    assert!(typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT")), "a token of another kind: {typ:?}");
}

/// The same with access tokens.
pub(crate) fn access_token(data: &[u8]) {
    let accepts = |text: &str| {
        let audiences = [API.to_owned()];
        let checks = access_token::Checks {
            issuer: ISSUER,
            client_id: CLIENT,
            audiences: &audiences,
            alg: SigningAlg::EdDsa,
            organizations: &[],
            leeway: LEEWAY,
            now: NOW,
        };
        access_token::check(text, UnverifiedJwt::parse(text).ok()?, &KEYS, &checks).ok()
    };
    let Some(tokens) = Tokens::read(data) else { return unsigned(data, |text| accepts(text).is_some()) };
    tokens.forged.iter().for_each(|forged| assert!(accepts(forged).is_none(), "{forged}"));
    let Some(accepted) = accepts(&tokens.signed) else { return };
    tokens.check_common();
    assert!(tokens.audiences().contains(&API) && tokens.has("exp") && !tokens.has("cnf"));
    assert_eq!(tokens.text("sub"), Some(accepted.sub.as_str()));
    assert_eq!(accepted.ends_at, Timestamp(tokens.date("exp").unwrap()).plus(LEEWAY));
    let explicit =
        tokens.header.get("typ").and_then(Value::as_str).is_some_and(|typ| typ.to_lowercase().ends_with("at+jwt"));
    let foreign = ["nonce", "at_hash", "c_hash", "s_hash", "events"].iter().any(|claim| tokens.has(claim));
    assert!(explicit || !foreign && !tokens.audiences().contains(&CLIENT), "an id token or a logout token");
    // Scopes come from claims, word by word.
    let claimed: Vec<&str> = ["scope", "scp", "permissions"]
        .into_iter()
        .filter_map(|name| tokens.claims.get(name))
        .flat_map(|value| match value {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().unwrap_or_default().split_ascii_whitespace().collect::<Vec<_>>(),
        })
        .collect();
    for scope in accepted.scope.split(' ').filter(|scope| !scope.is_empty()) {
        assert!(claimed.contains(&scope), "nobody granted {scope:?}");
    }
}

/// The same with logout tokens.
pub(crate) fn logout_token(data: &[u8]) {
    let accepts = |text: &str| {
        let checks = logout_token::Checks {
            issuer: ISSUER,
            client_id: CLIENT,
            alg: SigningAlg::EdDsa,
            client_secret: Some(&SECRET),
            leeway: LEEWAY,
            max_age: MAX_AGE,
            now: NOW,
        };
        logout_token::unverified(text).and_then(|unverified| logout_token::check(unverified, &KEYS, &checks))
    };
    let Some(tokens) = Tokens::read(data) else { return unsigned(data, |text| accepts(text).is_ok()) };
    tokens.forged.iter().for_each(|forged| assert!(accepts(forged).is_err(), "{forged}"));
    let Ok(accepted) = accepts(&tokens.signed) else { return };
    tokens.check_common();
    assert!(tokens.audiences().contains(&CLIENT) && !tokens.claims.contains_key("nonce"));
    assert!(tokens.claims["events"]["http://schemas.openid.net/event/backchannel-logout"].is_object());
    assert_eq!((tokens.text("sub"), tokens.text("sid")), (accepted.sub.as_deref(), accepted.sid.as_deref()));
    assert!(accepted.sub.is_some() || accepted.sid.is_some());
    assert_eq!(tokens.text("jti"), Some(accepted.jti.as_str()));
    assert!(accepted.accepted_until > NOW && accepted.accepted_until.since(NOW) <= MAX_AGE + 2 * LEEWAY + 1);
}

/// A token that nobody signed, as it came. Nobody knows the key but this file.
fn unsigned(data: &[u8], is_accepted: impl Fn(&str) -> bool) {
    if let Ok(text) = str::from_utf8(data) {
        assert!(!is_accepted(text), "nobody signed {text:?}");
    }
}

/// A key set, or anything else in its place: what is read of it verifies tokens of the one algorithm, and never by a
/// secret that is public.
pub(crate) fn key_set(data: &[u8]) {
    let Ok(keys) = KeySet::parse(data) else { return };
    let Ok(Value::Object(set)) = serde_json::from_slice(data) else { panic!("a key set that is no object") };
    assert!(keys.len() <= set["keys"].as_array().map_or(0, Vec::len));
    let algs = [SigningAlg::Rs256, SigningAlg::Ps256, SigningAlg::Es256, SigningAlg::EdDsa, SigningAlg::Hs256];
    for alg in algs {
        let published = KeySet::published(data, alg).expect("the same set");
        let verifying = published.iter().filter(|key| key.verifies).count();
        assert!(verifying <= keys.len() && (alg != SigningAlg::Hs256 || verifying == 0));
        for kid in published.iter().map(|key| key.kid.as_deref()).chain([None, Some("k")]).take(8) {
            let header = match kid {
                Some(kid) => json!({"alg": alg.as_str(), "kid": kid}),
                None => json!({"alg": alg.as_str()}),
            };
            let message = format!("{}.e30", base64url(header.to_string().as_bytes()));
            let hmac = crypto::sign(message.as_bytes(), &EncodingKey::from_secret(PUBLIC.as_bytes()), Algorithm::HS256);
            for signature in [hmac.unwrap(), base64url(&[1; 64]), base64url(&[1; 256])] {
                let token = format!("{message}.{signature}");
                let unverified = UnverifiedJwt::parse(&token).unwrap();
                let Ok(key) = keys.key_of(&unverified, alg) else { continue };
                assert!(verifying > 0 && alg != SigningAlg::Hs256);
                assert!(unverified.verify(key, alg).is_err(), "a forged token of {} counts", alg.as_str());
            }
        }
    }
}

/// A discovery document: that of the issuer, with endpoints to which secrets may be sent, or none.
pub(crate) fn discovery(data: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Map<String, Value>>(data) else { return };
    let overrides = BTreeMap::new();
    for issuer in [ISSUER, "http://localhost:1/"] {
        let Ok(metadata) =
            Metadata::read(&document, issuer, &overrides, &NamedHosts::new(&issuer.parse().unwrap(), &overrides))
        else {
            continue;
        };
        assert_eq!(document["issuer"], issuer);
        for name in metadata::ENDPOINTS {
            let Some(url) = metadata.endpoint(name) else { continue };
            let (here, link) = match url.host().expect("a host") {
                Host::Domain(name) => {
                    let name = name.trim_end_matches('.');
                    (name == "localhost" || name.ends_with(".localhost"), false)
                }
                Host::Ipv4(address) => (address.is_loopback(), address.is_link_local()),
                Host::Ipv6(address) => (address.is_loopback(), address.is_unicast_link_local()),
            };
            let http = issuer.starts_with("http:");
            assert!(url.scheme() == "https" || http && url.scheme() == "http" && here, "{url}");
            assert!(http || !here && !link, "{url}");
            assert_eq!(document[*name].as_str().and_then(|text| text.parse().ok()).as_ref(), Some(url));
        }
        for alg in [SigningAlg::Rs256, SigningAlg::EdDsa, SigningAlg::Hs256] {
            let listed = document.get("id_token_signing_alg_values_supported").and_then(Value::as_array);
            let listed: Vec<&str> = listed.into_iter().flatten().filter_map(Value::as_str).collect();
            let known = |name: &&str| *name == alg.as_str() || alg == SigningAlg::EdDsa && *name == "Ed25519";
            assert_eq!(metadata.check_alg(alg).is_ok(), listed.is_empty() || listed.iter().any(known));
        }
    }
}
