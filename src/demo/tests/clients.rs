//! How clients prove who they are, and what they push.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::*;
use crate::secret::{KeyPairKind, KeyPairPem};

const ASSERTION_TYPE: (&str, &str) =
    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");

async fn by_basic(scene: &mut Scene, client_id: &str, secret: &str) -> StatusCode {
    let code = scene.code(&[("client_id", CLIENT)]).await;
    let credentials = STANDARD.encode(format!("{client_id}:{secret}"));
    let form = [
        ("grant_type", "authorization_code"),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
        ("code", &*code),
    ];
    let request = scene.http.post(scene.url("/oauth/token")).header("authorization", format!("Basic {credentials}"));
    request.form(&form).send().await.unwrap().status()
}

#[tokio::test]
async fn a_secret_is_taken_from_the_header_form_urlencoded_or_from_the_body() {
    let mut spec = spec();
    spec.clients[0].secret = Some("a+b c:d%".to_owned().into());
    let mut scene = Scene::of(spec).await;
    assert_eq!(by_basic(&mut scene, CLIENT, "a%2Bb+c%3Ad%25").await, StatusCode::OK);
    assert_eq!(by_basic(&mut scene, CLIENT, "a+b c:d%").await, StatusCode::UNAUTHORIZED);
    scene.tokens(&[]).await;
}

#[tokio::test]
async fn a_client_without_the_right_secret_gets_nothing() {
    let mut scene = Scene::new().await;
    for (changes, status, error) in [
        (&[("client_secret", "wrong")][..], StatusCode::UNAUTHORIZED, "invalid_client"),
        (&[("client_secret", "")], StatusCode::UNAUTHORIZED, "invalid_client"),
        (&[("client_id", "another")], StatusCode::UNAUTHORIZED, "invalid_client"),
        (&[("client_assertion", "x.y.z"), ASSERTION_TYPE], StatusCode::BAD_REQUEST, "invalid_request"),
        (&[("grant_type", "password")], StatusCode::FORBIDDEN, "unsupported_grant_type"),
    ] {
        let code = scene.code(&[]).await;
        let (got, body) = scene.token(&[&[("code", &*code)], changes].concat()).await;
        assert_eq!((got, &body["error"]), (status, &error.into()), "{changes:?}");
    }
}

#[tokio::test]
async fn a_public_client_needs_no_secret() {
    let mut spec = spec();
    spec.clients[0].secret = None;
    let mut scene = Scene::of(spec).await;
    scene.tokens(&[]).await;
    let code = scene.code(&[]).await;
    assert_eq!(scene.token(&[("code", &code), ("client_secret", "any")]).await.0, StatusCode::UNAUTHORIZED);
}

fn assertion(scene: &Scene, alg: Algorithm, key: &EncodingKey, changes: &Value) -> String {
    let now = scene.clock.now().0;
    let mut claims = json!({
        "iss": CLIENT, "sub": CLIENT, "aud": scene.provider.issuer(), "iat": now, "exp": now + 60,
        "jti": crate::secret::random_text(),
    });
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    encode(&Header::new(alg), &claims, key).unwrap()
}

async fn by_assertion(scene: &mut Scene, assertion: &str) -> StatusCode {
    let code = scene.code(&[]).await;
    let changes = [("code", &*code), ("client_secret", ""), ("client_assertion", assertion), ASSERTION_TYPE];
    scene.token(&changes).await.0
}

#[tokio::test]
async fn a_client_with_a_key_signs_a_fresh_assertion_for_this_provider() {
    for (kind, algs) in
        [(KeyPairKind::Rsa, &[Algorithm::RS256, Algorithm::PS256][..]), (KeyPairKind::P256, &[Algorithm::ES256])]
    {
        let pair = KeyPairPem::generate(kind);
        let pem = pair.private.expose_secret().as_bytes();
        let key = EncodingKey::from_rsa_pem(pem).or_else(|_| EncodingKey::from_ec_pem(pem)).unwrap();
        let mut spec = spec();
        spec.clients[0].secret = None;
        spec.clients[0].public_key_pem = Some(pair.public);
        let mut scene = Scene::of(spec).await;
        for alg in algs {
            let good = assertion(&scene, *alg, &key, &json!({}));
            assert_eq!(by_assertion(&mut scene, &good).await, StatusCode::OK, "{alg:?}");
            assert_eq!(by_assertion(&mut scene, &good).await, StatusCode::UNAUTHORIZED, "used before");
            let now = scene.clock.now().0;
            for changes in [
                json!({ "aud": "http://127.0.0.1/" }),
                json!({ "iss": "another" }),
                json!({ "exp": now - 60 }),
                json!({ "exp": now + 3600 }),
                json!({ "iat": now + 60 }),
                json!({ "jti": null }),
            ] {
                let bad = assertion(&scene, *alg, &key, &changes);
                assert_eq!(by_assertion(&mut scene, &bad).await, StatusCode::UNAUTHORIZED, "{changes}");
            }
        }
        let forged = assertion(&scene, Algorithm::HS256, &EncodingKey::from_secret(b"x"), &json!({}));
        assert_eq!(by_assertion(&mut scene, &forged).await, StatusCode::UNAUTHORIZED);
        let code = scene.code(&[]).await;
        assert_eq!(scene.token(&[("code", &code), ("client_secret", "")]).await.0, StatusCode::UNAUTHORIZED);
    }
}

async fn push(scene: &Scene, changes: &[(&str, &str)]) -> (StatusCode, Map<String, Value>) {
    let request = changed(request(), &[&[("client_secret", &*scene.secret)], changes].concat());
    let response = scene.http.post(scene.url("/oauth/par")).form(&request).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

async fn use_pushed(scene: &mut Scene, uri: &Value) -> Response {
    let params = [("client_id", CLIENT), ("request_uri", uri.as_str().unwrap())];
    scene.get(url::Url::parse_with_params(&scene.url("/authorize"), params).unwrap().as_str()).await
}

#[tokio::test]
async fn a_pushed_request_works_once_and_for_half_a_minute() {
    let mut scene = Scene::new().await;
    scene.provider.auto_approve(Some(ADA));
    let (status, body) = push(&scene, &[]).await;
    assert_eq!((status, &body["expires_in"]), (StatusCode::CREATED, &30.into()));
    let response = query(&location(&use_pushed(&mut scene, &body["request_uri"]).await));
    assert_eq!(response["state"], "the-state");
    assert_eq!(scene.token(&[("code", &response["code"])]).await.0, StatusCode::OK);
    assert_eq!(use_pushed(&mut scene, &body["request_uri"]).await.status(), StatusCode::BAD_REQUEST);
    let (_, body) = push(&scene, &[]).await;
    scene.clock.advance(31);
    assert_eq!(use_pushed(&mut scene, &body["request_uri"]).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_bad_request_cannot_be_pushed() {
    let scene = Scene::new().await;
    for (change, status) in [
        (("client_secret", "wrong"), StatusCode::UNAUTHORIZED),
        (("redirect_uri", "https://evil.example/"), StatusCode::BAD_REQUEST),
        (("code_challenge", ""), StatusCode::BAD_REQUEST),
        (("request_uri", "urn:x"), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(push(&scene, &[change]).await.0, status, "{change:?}");
    }
}

#[tokio::test]
async fn requests_are_remembered_and_their_debug_text_holds_no_values() {
    let mut scene = Scene::new().await;
    scene.tokens(&[]).await;
    assert_eq!(scene.provider.count("/oauth/token"), 1);
    assert_eq!(scene.provider.count("/userinfo"), 0);
    let requests = scene.provider.requests();
    assert_eq!((&*requests[0].method, &*requests[0].path), ("GET", "/authorize"));
    assert_eq!(requests[0].param("nonce"), Some("the-nonce"));
    assert_eq!(requests[1].param("client_secret"), Some(&*scene.secret));
    assert!(!format!("{requests:?} {:?}", scene.provider).contains(&scene.secret));
}
