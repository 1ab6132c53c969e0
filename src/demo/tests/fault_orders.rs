//! Faults of the response, of the metadata, and of endpoints as a whole.

use std::time::Duration;

use super::*;
use crate::demo::{Endpoint, Fault, Trouble};

/// The values of a parameter in the response, in order.
async fn values(scene: &mut Scene, fault: Fault, name: &str) -> Vec<String> {
    scene.provider.order_once(fault);
    scene.provider.auto_approve(Some(ADA));
    let location = location(&scene.authorize(&[]).await);
    let url = url::Url::parse(&location).unwrap();
    url.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect()
}

#[tokio::test]
async fn the_response_is_spoiled_as_ordered() {
    let mut scene = Scene::new().await;
    let state = values(&mut scene, Fault::StateTampered, "state").await;
    assert!(state.len() == 1 && state[0] != "the-state");
    assert!(values(&mut scene, Fault::StateMissing, "state").await.is_empty());
    let states = values(&mut scene, Fault::StateDoubled, "state").await;
    assert!(states.len() == 2 && states[0] == "the-state" && states[1] != "the-state");
    let codes = values(&mut scene, Fault::CodeDoubled, "code").await;
    assert!(codes.len() == 2 && codes[0] != codes[1]);
    assert_eq!(values(&mut scene, Fault::AuthorizeError("access_denied".into()), "error").await, ["access_denied"]);
    assert_eq!(values(&mut scene, Fault::AuthorizeError("server_error".into()), "state").await, ["the-state"]);
}

#[tokio::test]
async fn the_issuer_in_the_response_is_announced_and_right_wrong_or_missing() {
    const ANNOUNCED: &str = "authorization_response_iss_parameter_supported";
    let mut scene = Scene::new().await;
    assert!(!scene.metadata().await.contains_key(ANNOUNCED));
    let issuer = scene.provider.issuer().to_owned();
    for (fault, expected) in [
        (Fault::ResponseIss, Some(&*issuer)),
        (Fault::WrongResponseIss, Some("https://other.example/")),
        (Fault::MissingResponseIss, None),
    ] {
        scene.provider.order(fault.clone());
        assert_eq!(scene.metadata().await[ANNOUNCED], true);
        scene.provider.auto_approve(Some(ADA));
        let response = scene.response(&[]).await;
        assert_eq!(response.get("iss").map(String::as_str), expected, "{fault:?}");
        scene.provider.clear();
    }
}

#[tokio::test]
async fn the_metadata_are_as_ordered() {
    let mut scene = Scene::new().await;
    scene.provider.order_once(Fault::WrongDiscoveryIssuer);
    assert_eq!(scene.metadata().await["issuer"], "https://other.example/");
    for (fault, field) in
        [(Fault::NoEndSession, "end_session_endpoint"), (Fault::NoPar, "pushed_authorization_request_endpoint")]
    {
        scene.provider.order_once(fault);
        assert!(!scene.metadata().await.contains_key(field));
        assert!(scene.metadata().await.contains_key(field));
    }
    scene.provider.order(Fault::RequirePar);
    assert_eq!(scene.metadata().await["require_pushed_authorization_requests"], true);
    assert_eq!(scene.response(&[]).await["error"], "invalid_request");
}

#[tokio::test]
async fn an_issuer_may_have_no_slash() {
    let scene = Scene::of(ProviderSpec { issuer_slash: false, ..spec() }).await;
    assert!(!scene.provider.issuer().ends_with('/'));
    assert_eq!(scene.metadata().await["issuer"], scene.provider.issuer());
}

#[tokio::test]
async fn an_endpoint_is_in_trouble_as_ordered() {
    let scene = Scene::new().await;
    for (endpoint, path) in [
        (Endpoint::Discovery, "/.well-known/openid-configuration"),
        (Endpoint::Jwks, "/.well-known/jwks.json"),
        (Endpoint::Token, "/oauth/token"),
        (Endpoint::Userinfo, "/userinfo"),
        (Endpoint::Par, "/oauth/par"),
        (Endpoint::Revoke, "/oauth/revoke"),
    ] {
        let url = scene.url(path);
        let ask = async |trouble| {
            scene.provider.order_once(Fault::At(endpoint, trouble));
            let form = [("client_id", CLIENT)];
            let post = matches!(endpoint, Endpoint::Token | Endpoint::Par | Endpoint::Revoke);
            let request = if post { scene.http.post(&url).form(&form) } else { scene.http.get(&url) };
            request.send().await.unwrap()
        };
        assert_eq!(ask(Trouble::Status500).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let limited = ask(Trouble::Status429).await;
        assert_eq!(
            (limited.status(), &limited.headers()["retry-after"]),
            (StatusCode::TOO_MANY_REQUESTS, &"7".parse().unwrap())
        );
        let html = ask(Trouble::Html).await;
        assert!(
            html.status() == StatusCode::OK
                && html.headers()["content-type"].to_str().unwrap().starts_with("text/html")
        );
        assert!(ask(Trouble::Huge).await.bytes().await.unwrap().len() > 10_000_000);
        assert!(location(&ask(Trouble::Redirect).await).starts_with(&url));
        let cut = ask(Trouble::Cut).await;
        assert_eq!(cut.status(), StatusCode::OK);
        assert!(cut.bytes().await.is_err());
        let began = tokio::time::Instant::now();
        ask(Trouble::Slow(Duration::from_millis(30))).await;
        assert!(began.elapsed() >= Duration::from_millis(30));
        // Seven orders, seven requests; none is left.
        assert_eq!(scene.provider.count(path), 7);
    }
    assert_eq!(scene.metadata().await["issuer"], scene.provider.issuer());
}
