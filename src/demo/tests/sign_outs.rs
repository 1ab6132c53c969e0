//! The end of single sign-on.

use super::*;

async fn is_signed_in(scene: &mut Scene) -> bool {
    scene.response(&[("prompt", "none")]).await.contains_key("code")
}

#[tokio::test]
async fn auth0s_own_logout_ends_single_sign_on_and_goes_where_it_is_allowed_to() {
    let mut scene = Scene::new().await;
    for path in [
        &format!("/v2/logout?client_id={CLIENT}&returnTo={LOGGED_OUT}"),
        &format!("/v2/logout?client_id={CLIENT}&federated"),
        "/v2/logout",
    ] {
        scene.code(&[]).await;
        let cookie = scene.cookie.clone();
        let response = scene.get(&scene.url(path)).await;
        assert_eq!(location(&response), LOGGED_OUT);
        assert!(cookie.is_some() && scene.cookie.is_none(), "the browser keeps no cookie");
        scene.cookie = cookie;
        assert!(!is_signed_in(&mut scene).await, "the old cookie is worth nothing");
    }
    let url = scene.url(&format!("/v2/logout?client_id={CLIENT}&returnTo={LOGGED_OUT}?a=b"));
    assert_eq!(location(&scene.get(&url).await), format!("{LOGGED_OUT}?a=b"));
}

#[tokio::test]
async fn a_logout_to_elsewhere_is_refused_and_ends_nothing() {
    let mut scene = Scene::new().await;
    let hint = scene.id_token(&[]).await;
    for path in [
        &format!("/v2/logout?client_id={CLIENT}&returnTo=https://evil.example/"),
        &format!("/oidc/logout?id_token_hint={hint}&post_logout_redirect_uri=https://evil.example/"),
        &format!("/oidc/logout?id_token_hint={hint}&post_logout_redirect_uri={LOGGED_OUT}?a=b"),
        &format!("/oidc/logout?id_token_hint={hint}&client_id=another"),
        &format!("/oidc/logout?post_logout_redirect_uri={LOGGED_OUT}"),
    ] {
        assert_eq!(scene.get(&scene.url(path)).await.status(), StatusCode::BAD_REQUEST, "{path}");
    }
    assert!(is_signed_in(&mut scene).await);
}

#[tokio::test]
async fn a_logout_with_a_hint_ends_single_sign_on() {
    let mut scene = Scene::new().await;
    let hint = scene.id_token(&[]).await;
    let sid = claims_of(&hint)["sid"].as_str().unwrap().to_owned();
    let path = format!("/oidc/logout?id_token_hint={hint}&post_logout_redirect_uri={LOGGED_OUT}&state=s");
    assert_eq!(location(&scene.get(&scene.url(&path)).await), format!("{LOGGED_OUT}?state=s"));
    assert!(!is_signed_in(&mut scene).await);
    // The browser has no session any more; the hint still is one of ours.
    assert_eq!(location(&scene.get(&scene.url(&path)).await), format!("{LOGGED_OUT}?state=s"));

    scene.code(&[]).await;
    let url = scene.url("/oidc/logout");
    let posted = [("logout_hint", &*sid), ("client_id", CLIENT), ("post_logout_redirect_uri", LOGGED_OUT)];
    let asked = scene.submit(&url, &posted).await;
    assert_eq!(asked.status(), StatusCode::OK, "the hint names a session that is over");
    assert!(is_signed_in(&mut scene).await);
}

#[tokio::test]
async fn a_logout_without_a_hint_asks_first() {
    let mut scene = Scene::new().await;
    scene.code(&[]).await;
    let url = scene.url("/oidc/logout");
    let params = [("client_id", CLIENT), ("post_logout_redirect_uri", LOGGED_OUT), ("confirmed", "yes")];
    let asked = scene.get(url::Url::parse_with_params(&url, params).unwrap().as_str()).await;
    assert!(asked.text().await.unwrap().contains("name=\"confirmed\" value=\"yes\""));
    assert!(is_signed_in(&mut scene).await);
    assert_eq!(location(&scene.submit(&url, &params).await), LOGGED_OUT);
    assert!(!is_signed_in(&mut scene).await);
}
