//! The token endpoint, userinfo, revocation.

use super::*;

#[tokio::test]
async fn an_id_token_is_as_auth0_makes_it() {
    let mut scene = Scene::new().await;
    let body = scene.tokens(&[]).await;
    assert_eq!((&body["token_type"], &body["expires_in"]), (&"Bearer".into(), &86_400.into()));
    let token = body["id_token"].as_str().unwrap();
    assert!(scene.verifies(token).await);
    assert_eq!(scene.key_set().await.keys.len(), 2);
    let claims = claims_of(token);
    assert_eq!(claims["iss"], scene.provider.issuer());
    assert!(scene.provider.issuer().ends_with('/'));
    assert_eq!(scene.metadata().await["issuer"], scene.provider.issuer());
    assert_eq!((&claims["aud"], &claims["nonce"]), (&CLIENT.into(), &"the-nonce".into()));
    assert!(claims["sub"].as_str().unwrap().starts_with("auth0|"));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 36_000);
    assert_eq!((&claims["nickname"], &claims["name"]), (&"ada".into(), &"Ada Lovelace".into()));
    assert_eq!(claims["https://acme.example/roles"][0], "admin");
    assert!(claims["updated_at"].is_string() && claims["sid"].is_string());
    for absent in ["at_hash", "auth_time", "azp", "picture"] {
        assert!(!claims.contains_key(absent), "{absent}");
    }
}

#[tokio::test]
async fn what_was_asked_for_is_in_the_id_token() {
    let mut scene = Scene::new().await;
    let claims = claims_of(&scene.id_token(&[("max_age", "600"), ("acr_values", "urn:mfa other")]).await);
    assert!(claims["auth_time"].is_i64());
    assert_eq!(claims["acr"], "urn:mfa");
    assert!(claims_of(&scene.id_token(&[("prompt", "login")]).await).contains_key("auth_time"));
    let claims = claims_of(&scene.id_token(&[("scope", "openid")]).await);
    assert!(!claims.contains_key("email") && !claims.contains_key("name"));
}

#[tokio::test]
async fn an_access_token_for_an_api_has_two_audiences() {
    let mut scene = Scene::new().await;
    let body = scene.tokens(&[("audience", "https://api.example")]).await;
    let token = body["access_token"].as_str().unwrap();
    assert!(scene.verifies(token).await);
    assert_eq!(claims_of(token)["aud"][0], "https://api.example");
    assert_eq!(claims_of(token)["aud"][1], scene.url("/userinfo"));
    assert_eq!(scene.userinfo(&body["access_token"]).await.0, StatusCode::OK);
    assert!(!scene.tokens(&[]).await["access_token"].as_str().unwrap().contains('.'));
}

#[tokio::test]
async fn a_code_needs_its_verifier_its_callback_and_its_client() {
    let mut spec = spec();
    spec.clients.push(Client { secret: None, ..Client::new("another") });
    let mut scene = Scene::of(spec).await;
    for changes in [
        &[("code_verifier", "another-verifier-of-at-least-forty-three-chars")][..],
        &[("code_verifier", "")],
        &[("redirect_uri", "http://localhost:3000/globex/callback")],
        &[("client_id", "another"), ("client_secret", "")],
        &[("code", "unknown")],
    ] {
        let code = scene.code(&[]).await;
        let (status, body) = scene.token(&[&[("code", &*code)], changes].concat()).await;
        assert_eq!((status, &body["error"]), (StatusCode::FORBIDDEN, &"invalid_grant".into()), "{changes:?}");
    }
    let code = scene.code(&[]).await;
    scene.clock.advance(601);
    assert_eq!(scene.token(&[("code", &code)]).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_code_works_once_and_its_second_use_kills_what_the_first_brought() {
    let mut scene = Scene::new().await;
    let code = scene.code(&[]).await;
    let (_, first) = scene.token(&[("code", &code)]).await;
    assert_eq!(scene.userinfo(&first["access_token"]).await.0, StatusCode::OK);
    assert_eq!(scene.token(&[("code", &code)]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(scene.userinfo(&first["access_token"]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(refreshed(&scene, &first["refresh_token"]).await.0, StatusCode::FORBIDDEN);
}

async fn refreshed(scene: &Scene, token: &Value) -> (StatusCode, Map<String, Value>) {
    scene.token(&[("grant_type", "refresh_token"), ("refresh_token", token.as_str().unwrap())]).await
}

#[tokio::test]
async fn a_refresh_token_is_replaced_by_its_use() {
    let mut scene = Scene::new().await;
    let first = scene.tokens(&[]).await;
    let (status, second) = refreshed(&scene, &first["refresh_token"]).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let claims = claims_of(second["id_token"].as_str().unwrap());
    assert!(!claims.contains_key("sid") && !claims.contains_key("nonce"));
    assert_eq!(refreshed(&scene, &second["refresh_token"]).await.0, StatusCode::OK);
    assert!(!scene.tokens(&[("scope", "openid")]).await.contains_key("refresh_token"));
}

#[tokio::test]
async fn a_refresh_token_used_twice_kills_its_family() {
    let mut scene = Scene::new().await;
    let first = scene.tokens(&[]).await;
    let other = scene.tokens(&[]).await;
    let (_, second) = refreshed(&scene, &first["refresh_token"]).await;
    let (status, body) = refreshed(&scene, &first["refresh_token"]).await;
    assert_eq!((status, &body["error"]), (StatusCode::FORBIDDEN, &"invalid_grant".into()));
    assert_eq!(refreshed(&scene, &second["refresh_token"]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(scene.userinfo(&second["access_token"]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(refreshed(&scene, &other["refresh_token"]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_revoked_refresh_token_is_dead_with_its_family() {
    let mut scene = Scene::new().await;
    let body = scene.tokens(&[]).await;
    let token = body["refresh_token"].as_str().unwrap();
    for token in [token, "unknown"] {
        let form = [("client_id", CLIENT), ("client_secret", &scene.secret), ("token", token)];
        let response = scene.http.post(scene.url("/oauth/revoke")).form(&form).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(refreshed(&scene, &body["refresh_token"]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(scene.userinfo(&body["access_token"]).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn userinfo_says_what_the_id_token_says() {
    let mut scene = Scene::new().await;
    let body = scene.tokens(&[]).await;
    let (status, userinfo) = scene.userinfo(&body["access_token"]).await;
    let claims = claims_of(body["id_token"].as_str().unwrap());
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&userinfo["sub"], &userinfo["email"]), (&claims["sub"], &claims["email"]));
    assert_eq!(scene.userinfo(&"unknown".into()).await.0, StatusCode::UNAUTHORIZED);
    scene.clock.advance(86_401);
    assert_eq!(scene.userinfo(&body["access_token"]).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_rotated_key_signs_what_comes_and_the_old_one_is_gone() {
    let mut scene = Scene::new().await;
    let before = scene.id_token(&[]).await;
    let known = scene.key_set().await;
    scene.provider.rotate_keys();
    let after = scene.id_token(&[]).await;
    assert!(known.find(header_of(&after)["kid"].as_str().unwrap()).is_some());
    assert!(scene.verifies(&after).await && !scene.verifies(&before).await);
    scene.provider.rotate_keys();
    let later = scene.id_token(&[]).await;
    assert!(known.find(header_of(&later)["kid"].as_str().unwrap()).is_none());
    assert!(scene.verifies(&later).await);
}

#[tokio::test]
async fn two_providers_share_keys_only_when_told_to() {
    let mut one = Scene::new().await;
    let two = Scene::new().await;
    let token = one.id_token(&[]).await;
    assert!(!two.verifies(&token).await);
    two.provider.share_keys_of(&one.provider);
    assert!(two.verifies(&token).await);
}
