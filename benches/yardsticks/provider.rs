//! A provider that asks nobody anything, so that what a sign-in costs is the gateway's. Who wants a code takes the nonce
//! for one. It signs by RS256, as Auth0 does.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use hyper_util::service::TowerToHyperService;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use lychgate::clock::Clock;
use lychgate::secret::{ExposeSecret as _, KeyPairKind, KeyPairPem};
use serde_json::{Value, json};
use warp::Filter as _;

use super::typical;

const KEY_ID: &str = "benchmark";
/// Who signs in here.
pub(super) const CLIENT_ID: &str = "benchmark";
/// The API whose tokens are signed beforehand.
const AUDIENCE: &str = "https://api.example";
/// Seconds that a token is good for.
const LIFE: i64 = 86_400;

struct Provider {
    issuer: String,
    key: EncodingKey,
    clock: Clock,
}

pub(super) async fn run(tokens: usize, file: Option<&Path>) {
    let listener = super::listen().await;
    let pem = KeyPairPem::generate(KeyPairKind::Rsa).private;
    let key = EncodingKey::from_rsa_pem(pem.expose_secret().as_bytes()).unwrap();
    let provider = Arc::new(Provider { issuer: super::origin(&listener), key, clock: Clock::system() });
    if let Some(file) = file {
        let lines: Vec<String> = (0..tokens).map(|n| format!("Bearer {}", provider.access_token(n))).collect();
        std::fs::write(file, lines.join("\n")).unwrap();
    }
    let (metadata, keys) = (provider.metadata(), provider.keys());
    let metadata = warp::path!(".well-known" / "openid-configuration").map(move || warp::reply::json(&metadata));
    let keys = warp::path!("keys").map(move || warp::reply::json(&keys));
    let token = warp::path!("token")
        .and(warp::body::form())
        .map(move |form: HashMap<String, String>| warp::reply::json(&provider.tokens(&form["code"])));
    let route = token.or(metadata).or(keys);
    super::serve_at(listener, TowerToHyperService::new(warp::service(route))).await;
}

impl Provider {
    fn metadata(&self) -> Value {
        let issuer = &self.issuer;
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        })
    }

    fn keys(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, Algorithm::RS256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = KEY_ID.into();
        jwk["use"] = "sig".into();
        json!({ "keys": [jwk] })
    }

    fn tokens(&self, nonce: &str) -> Value {
        let mut claims = typical::claims(1);
        let now = self.clock.now().0;
        claims.insert("iss".to_owned(), self.issuer.clone().into());
        claims.insert("aud".to_owned(), CLIENT_ID.into());
        claims.insert("iat".to_owned(), now.into());
        claims.insert("exp".to_owned(), (now + LIFE).into());
        claims.insert("nonce".to_owned(), nonce.into());
        json!({
            "access_token": "x".repeat(typical::ACCESS_TOKEN),
            "token_type": "Bearer",
            "expires_in": LIFE,
            "id_token": self.sign("JWT", &claims.into()),
        })
    }

    fn access_token(&self, n: usize) -> String {
        let now = self.clock.now().0;
        let claims = json!({
            "iss": self.issuer,
            "sub": format!("auth0|{n:024x}"),
            "aud": [AUDIENCE, format!("{}/userinfo", self.issuer)],
            "iat": now,
            "exp": now + LIFE,
            "scope": "openid profile email read:reports",
            "azp": CLIENT_ID,
        });
        self.sign("at+jwt", &claims)
    }

    fn sign(&self, typ: &str, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::RS256);
        (header.typ, header.kid) = (Some(typ.to_owned()), Some(KEY_ID.to_owned()));
        encode(&header, claims, &self.key).unwrap()
    }
}
