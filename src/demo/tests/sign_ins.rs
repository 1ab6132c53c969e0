//! From `/authorize` to the response.

use super::*;
use crate::demo::{Invitation, tenants};
use crate::tenant_id::TenantId;

#[tokio::test]
async fn a_person_signs_in_on_the_page() {
    let mut scene = Scene::new().await;
    let page = location(&scene.authorize(&[("login_hint", "ada@\"><script>")]).await);
    let text = scene.get(&page).await.text().await.unwrap();
    for part in ["<html lang=\"en\"", "<main>", "<h1>", "id=\"username\"", "id=\"password\"", "name=\"action\""] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.contains("ada@&quot;&gt;&lt;script&gt;") && !text.contains("<script"), "{text}");
    assert!(text.contains("Demo provider"), "{text}");

    let refused = scene.submit(&page, &[("username", ADA), ("password", "wrong")]).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(refused.text().await.unwrap().contains("role=\"alert\""));
    assert_eq!(scene.cookie, None);

    let response = query(&location(&scene.submit(&page, &[("username", ADA), ("password", PASSWORD)]).await));
    assert_eq!(response["state"], "the-state");
    assert!(!response.contains_key("iss"));
    let (status, body) = scene.token(&[("code", &response["code"])]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(claims_of(body["id_token"].as_str().unwrap())["email"], ADA);
    assert!(scene.cookie.unwrap().contains(&scene.provider.address().port().to_string()));
}

#[tokio::test]
async fn a_page_works_once() {
    let mut scene = Scene::new().await;
    let page = location(&scene.authorize(&[]).await);
    let credentials = [("username", ADA), ("password", PASSWORD)];
    assert_eq!(scene.submit(&page, &credentials).await.status(), StatusCode::FOUND);
    assert_eq!(scene.submit(&page, &credentials).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_person_who_signs_up_is_signed_in_and_can_sign_in_again() {
    let mut scene = Scene::new().await;
    let page = location(&scene.authorize(&[("screen_hint", "signup")]).await);
    assert!(page.contains("/u/signup"), "{page}");
    for (username, password) in [("nobody", "long enough"), ("new@acme.example", "short"), (ADA, "long enough")] {
        let refused = scene.submit(&page, &[("username", username), ("password", password)]).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{username}");
    }
    let credentials = [("username", "new@acme.example"), ("password", "long enough")];
    assert!(query(&location(&scene.submit(&page, &credentials).await)).contains_key("code"));
    scene.cookie = None;
    let page = location(&scene.authorize(&[]).await);
    assert!(query(&location(&scene.submit(&page, &credentials).await)).contains_key("code"));
}

#[tokio::test]
async fn nobody_is_redirected_to_where_the_client_did_not_allow() {
    let mut scene = Scene::new().await;
    scene.provider.auto_approve(Some(ADA));
    for (change, status) in [
        (("redirect_uri", "https://evil.example/"), StatusCode::FORBIDDEN),
        (("redirect_uri", "http://localhost:3000/acme/callback/"), StatusCode::FORBIDDEN),
        (("redirect_uri", ""), StatusCode::FORBIDDEN),
        (("client_id", "another"), StatusCode::FORBIDDEN),
        (("request_uri", "urn:ietf:params:oauth:request_uri:x"), StatusCode::BAD_REQUEST),
    ] {
        let response = scene.authorize(&[change]).await;
        assert_eq!(response.status(), status, "{change:?}");
        assert!(!response.headers().contains_key(LOCATION), "{change:?}");
    }
    let twice = scene.url("/authorize?client_id=gateway&client_id=gateway");
    assert_eq!(scene.get(&twice).await.status(), StatusCode::BAD_REQUEST);
    scene.provider.allow(CLIENT, "https://gw.example/acme/callback", "https://gw.example/");
    let response = scene.authorize(&[("redirect_uri", "https://gw.example/acme/callback")]).await;
    assert!(location(&response).starts_with("https://gw.example/acme/callback?code="));
}

#[tokio::test]
async fn a_bad_request_is_told_to_the_client() {
    let mut scene = Scene::new().await;
    for (change, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("response_mode", "fragment"), "invalid_request"),
        (("scope", "profile"), "invalid_scope"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("max_age", "soon"), "invalid_request"),
        (("prompt", "none login"), "invalid_request"),
        (("organization", "org_unknown"), "invalid_request"),
        (("invitation", "unknown"), "invalid_request"),
    ] {
        let response = scene.response(&[change]).await;
        assert_eq!((&*response["error"], &*response["state"]), (error, "the-state"), "{change:?}");
    }
}

#[tokio::test]
async fn who_is_signed_in_is_not_asked_again_unless_the_client_wants_it() {
    let mut scene = Scene::new().await;
    assert_eq!(scene.response(&[("prompt", "none")]).await["error"], "login_required");
    scene.code(&[]).await;
    scene.provider.auto_approve(None);
    assert!(scene.response(&[]).await.contains_key("code"));
    assert!(scene.response(&[("prompt", "none")]).await.contains_key("code"));
    assert!(scene.response(&[("max_age", "60")]).await.contains_key("code"));
    assert!(location(&scene.authorize(&[("prompt", "login")]).await).contains("/u/login"));
    assert!(location(&scene.authorize(&[("max_age", "0")]).await).contains("/u/login"));
    scene.clock.advance(61);
    assert_eq!(scene.response(&[("max_age", "60"), ("prompt", "none")]).await["error"], "login_required");
    assert!(location(&scene.authorize(&[("max_age", "60")]).await).contains("/u/login"));
}

#[tokio::test]
async fn a_response_comes_as_a_form_where_the_client_wants_one() {
    let mut scene = Scene::new().await;
    scene.provider.auto_approve(Some(ADA));
    let page = scene.authorize(&[("response_mode", "form_post"), ("state", "a\"b")]).await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let text = page.text().await.unwrap();
    let nonce = text.split_once("<script nonce=\"").unwrap().1.split_once('"').unwrap().0;
    assert!(policy.contains(&format!("script-src 'nonce-{nonce}'")) && !policy.contains("form-action"), "{policy}");
    for part in [&format!("action=\"{CALLBACK}\""), "name=\"code\"", "value=\"a&quot;b\"", "<button"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn a_blocked_person_is_unauthorized() {
    let mut spec = spec();
    spec.users[0].blocked = true;
    let mut scene = Scene::of(spec).await;
    scene.provider.auto_approve(Some(ADA));
    let response = scene.response(&[]).await;
    assert_eq!((&*response["error"], &*response["error_description"]), ("unauthorized", "user is blocked"));
}

#[tokio::test]
async fn an_organization_is_for_its_members_and_those_invited() {
    let mut spec = spec();
    spec.users.push(User::new("bob@acme.example", PASSWORD, "Bob"));
    spec.invitations.push(Invitation { ticket: "ticket".to_owned(), organization: ("org_new".into(), "new".into()) });
    let mut scene = Scene::of(spec).await;
    for organization in ["org_labs", "labs"] {
        let claims = claims_of(&scene.id_token(&[("organization", organization)]).await);
        assert_eq!((&claims["org_id"], &claims["org_name"]), (&"org_labs".into(), &"labs".into()));
    }
    assert!(!claims_of(&scene.id_token(&[]).await).contains_key("org_id"));
    scene.cookie = None;
    scene.provider.auto_approve(Some("bob@acme.example"));
    assert_eq!(scene.response(&[("organization", "org_labs")]).await["error"], "access_denied");
    assert_eq!(scene.response(&[("organization", "org_new")]).await["error"], "access_denied");
    let invited = [("organization", "org_new"), ("invitation", "ticket")];
    assert!(scene.response(&invited).await.contains_key("code"));
    assert!(scene.response(&[("organization", "org_new")]).await.contains_key("code"));
    assert_eq!(scene.response(&invited).await["error"], "invalid_request");
}

#[tokio::test]
async fn a_provider_that_was_stopped_goes_on_with_what_it_knew() {
    let mut scene = Scene::new().await;
    let code = scene.code(&[]).await;
    scene.provider.stop().await;
    assert!(scene.http.get(scene.url("/")).send().await.unwrap_err().is_connect());
    scene.provider.restart().await.unwrap();
    assert_eq!(scene.token(&[("code", &code)]).await.0, StatusCode::OK);
    assert!(scene.response(&[("prompt", "none")]).await.contains_key("code"));
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let refused = Provider::start(spec(), "0.0.0.0:0".parse().unwrap(), Clock::system()).await;
    assert!(matches!(refused, Err(crate::demo::StartError::NotLoopback(_))));
}

#[tokio::test]
async fn the_people_of_the_demo_can_sign_in() {
    for tenant in tenants() {
        assert!(tenant.id.parse::<TenantId>().is_ok());
        let client_id = tenant.provider.clients[0].client_id.clone();
        let mut scene = Scene::of(tenant.provider).await;
        scene.provider.allow(&client_id, CALLBACK, LOGGED_OUT);
        for person in tenant.people {
            scene.cookie = None;
            let page = location(&scene.authorize(&[("client_id", &client_id)]).await);
            let credentials = [("username", person.username), ("password", person.password)];
            let response = query(&location(&scene.submit(&page, &credentials).await));
            assert_eq!(response.contains_key("code"), person.note != "blocked", "{person:?}");
        }
    }
}
