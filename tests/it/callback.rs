//! The way from `/login` to a session, and every way not to get one.

use lychgate::config::ResponseMode;
use reqwest::StatusCode;

use crate::support::{self, Tenant, World};

fn param(url: &url::Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn a_sign_in_ends_at_the_dashboard() {
    let world = support::acme().await;
    let mut browser = world.browser();
    let page = browser.visit("/acme/dashboard").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("Ada Lovelace") && page.body.contains("qsLogoutBtn"), "{}", page.body);
    let session = browser.session("acme").await.unwrap();
    assert_eq!(session["user"]["email"], support::ADA);
    assert!(session["expires_at"].as_str() > session["idle_expires_at"].as_str());
    assert_eq!(world.metric(r#"lychgate_sign_ins_total{provider="auth0",result="ok",tenant="acme"}"#), 1);
    assert_eq!(world.metric(r#"lychgate_sessions_created_total{tenant="acme"}"#), 1);
}

#[tokio::test]
async fn the_first_page_offers_log_in_and_goes_on_once_signed_in() {
    let world = support::acme().await;
    let page = world.browser().visit("/acme").await;
    assert!(page.body.contains(r#"id="qsLoginBtn""#) && page.body.contains("/acme/signup"), "{}", page.body);
    let mut browser = world.signed_in("acme").await;
    for path in ["/acme", "/acme/"] {
        assert_eq!(browser.get(path).await.location().path(), "/acme/dashboard");
    }
}

#[tokio::test]
async fn the_authorization_request_says_what_it_must() {
    let world = support::acme().await;
    let location = world.browser().get("/acme/login").await.location();
    assert_eq!(param(&location, "response_type").as_deref(), Some("code"));
    assert_eq!(param(&location, "code_challenge_method").as_deref(), Some("S256"));
    assert_eq!(param(&location, "scope").as_deref(), Some("openid profile email"));
    assert_eq!(param(&location, "redirect_uri"), Some(world.url("/acme/callback")));
    for name in ["state", "nonce", "code_challenge"] {
        assert!(param(&location, name).is_some_and(|value| value.len() >= 22), "{name}");
    }
}

#[tokio::test]
async fn a_request_sets_what_the_tenant_allows_and_nothing_else() {
    let world = support::acme_with(|tenant| {
        tenant.sign_in.fixed.connection = Some("corporate".to_owned());
        tenant.sign_in.fixed.max_age = Some(600);
        tenant.sign_in.extra_authorize_params.insert("ext-color".to_owned(), "red".to_owned());
    })
    .await;
    let query = "screen_hint=signup&connection=evil&max_age=60&audience=evil&scope=evil&redirect_uri=https%3A%2F%2Fevil.example";
    let location = world.browser().get(&format!("/acme/login?{query}&login_hint=ada&ui_locales=de")).await.location();
    assert_eq!(param(&location, "screen_hint").as_deref(), Some("signup"));
    assert_eq!(param(&location, "connection").as_deref(), Some("corporate"));
    assert_eq!(param(&location, "max_age").as_deref(), Some("60"));
    assert_eq!(param(&location, "login_hint").as_deref(), Some("ada"));
    assert_eq!(param(&location, "ext-color").as_deref(), Some("red"));
    assert!(!location.as_str().contains("evil"), "{location}");
    let higher = world.browser().get("/acme/login?max_age=9000").await.location();
    assert_eq!(param(&higher, "max_age").as_deref(), Some("600"));
}

#[tokio::test]
async fn which_parameters_a_request_may_set_is_the_tenants_choice() {
    let world = support::acme_with(|tenant| tenant.sign_in.allowed_params = vec!["audience".to_owned()]).await;
    let location = world.browser().get("/acme/login?audience=https://api.example&login_hint=ada").await.location();
    assert_eq!(param(&location, "audience").as_deref(), Some("https://api.example"));
    assert_eq!(param(&location, "login_hint"), None);
}

#[tokio::test]
async fn a_sign_in_ends_where_the_tenant_says_unless_asked_otherwise() {
    for (redirect, lands) in [("/reports", "/acme/reports"), ("https://acme.example/in", "https://acme.example/in")] {
        let world = support::acme_with(|tenant| tenant.sign_in.login_redirect = Some(redirect.to_owned())).await;
        let mut browser = world.browser();
        let callback = browser.until_callback("/acme/login").await;
        assert_eq!(browser.get(callback.as_str()).await.header("location"), lands);
        let callback = browser.until_callback("/acme/login?return_to=/acme/dashboard").await;
        assert_eq!(browser.get(callback.as_str()).await.header("location"), "/acme/dashboard");
    }
}

#[tokio::test]
async fn signup_asks_the_provider_for_its_sign_up_page() {
    let world = support::acme().await;
    let location = world.browser().get("/acme/signup").await.location();
    assert_eq!(param(&location, "screen_hint").as_deref(), Some("signup"));
}

#[tokio::test]
async fn a_callback_with_a_foreign_state_is_refused() {
    let world = support::acme().await;
    let mut victim = world.browser();
    let mut attacker = world.browser();
    let callback = attacker.until_callback("/acme/login").await;
    let page = victim.get(callback.as_str()).await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "cookie_missing"));
    assert_eq!(victim.session("acme").await, None);
    assert_eq!(world.provider().count("/oauth/token"), 0);
}

#[tokio::test]
async fn a_forged_error_without_a_known_state_is_not_believed() {
    let world = support::acme().await;
    let page = world.browser().get("/acme/callback?error=access_denied&error_description=Call+0800-EVIL&state=x").await;
    assert_eq!(page.code(), "cookie_missing");
    assert!(!page.body.contains("EVIL"), "{}", page.body);
}

#[tokio::test]
async fn what_the_provider_says_is_escaped() {
    let world = support::acme().await;
    let mut browser = world.browser();
    let location = browser.get("/acme/login").await.location();
    let state = param(&location, "state").unwrap();
    let page = browser
        .get(&format!("/acme/callback?error=access_denied&error_description=%3Cb%3Ehello%3C/b%3E&state={state}"))
        .await;
    assert_eq!((page.status, page.code()), (StatusCode::FORBIDDEN, "access_denied"));
    assert!(page.body.contains("&lt;b&gt;hello") && !page.body.contains("<b>hello"), "{}", page.body);
    assert!(
        page.body.contains("/acme/login?prompt&#x3D;login") || page.body.contains("/acme/login?prompt=login"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn an_attempt_is_good_once_and_its_replay_leads_the_signed_in_to_the_dashboard() {
    let world = support::acme().await;
    let mut browser = world.browser();
    let callback = browser.until_callback("/acme/login").await;
    let before = browser.clone();
    assert_eq!(browser.get(callback.as_str()).await.status, StatusCode::SEE_OTHER);

    let mut thief = before; // has the attempt's cookie, but comes second
    let page = thief.get(callback.as_str()).await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "sign_in_used"));
    assert_eq!(thief.session("acme").await, None);

    let again = browser.get(callback.as_str()).await;
    assert_eq!((again.status, again.location().path()), (StatusCode::SEE_OTHER, "/acme/dashboard"));
}

#[tokio::test]
async fn an_attempt_ends_after_ten_minutes() {
    let world = support::acme().await;
    let mut browser = world.browser();
    let callback = browser.until_callback("/acme/login").await;
    world.pass(601);
    let page = browser.get(callback.as_str()).await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "sign_in_expired"));
}

#[tokio::test]
async fn several_tabs_sign_in_at_once_and_five_at_most_are_kept() {
    let world = support::acme().await;
    let mut browser = world.browser();
    let mut callbacks = Vec::new();
    for _ in 0..6 {
        callbacks.push(browser.until_callback("/acme/login").await);
        // Ids sort by the second in which they were made.
        world.pass(1);
    }
    assert_eq!(browser.cookies_named("lychgate-acme.").len(), 5);
    let oldest = browser.clone().get(callbacks[0].as_str()).await;
    assert_eq!(oldest.code(), "cookie_missing");
    for callback in &callbacks[1..] {
        assert_eq!(browser.get(callback.as_str()).await.status, StatusCode::SEE_OTHER);
    }
    assert_eq!(browser.cookies_named("lychgate-acme."), [("lychgate-acme.signed-in".to_owned(), "5".to_owned())]);
}

#[tokio::test]
async fn the_cookies_have_the_attributes_that_keep_them_safe() {
    let world = support::acme().await;
    let mut browser = world.browser();
    let start = browser.get("/acme/login").await;
    let cookie = start.header("set-cookie");
    assert!(cookie.len() < 700, "{}", cookie.len());
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"] {
        assert!(cookie.contains(attribute), "{attribute}");
    }
    let callback = browser.until_callback("/acme/login").await;
    let done = browser.get(callback.as_str()).await;
    let cookies: Vec<_> = done.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    let session = cookies.iter().find(|cookie| cookie.starts_with("lychgate-acme=")).unwrap();
    assert!(
        session.contains("HttpOnly") && session.contains("SameSite=Lax") && !session.contains("Domain"),
        "{cookies:?}"
    );
    assert!(session.split(';').next().unwrap().len() <= 128 + "lychgate-acme=".len());
    let marker = cookies.iter().find(|cookie| cookie.starts_with("lychgate-acme.signed-in=")).unwrap();
    assert!(marker.contains("Max-Age=60") && marker.contains("HttpOnly"), "{marker}");
}

#[tokio::test]
async fn the_cookie_of_an_attempt_never_grows_beyond_700_bytes() {
    let id = "a".repeat(63);
    let world = World::start(vec![Tenant::start(&id).await]).await;
    let mut largest = 0;
    for length in (0..600).step_by(10) {
        let asked = format!("return_to=/{id}/{}&acr_values={}", "r".repeat(length.min(200)), "a".repeat(length.max(1)));
        let page = world.browser().get(&format!("/{id}/login?{asked}")).await;
        if page.status == StatusCode::FOUND {
            let cookie = page.header("set-cookie").split(';').next().unwrap();
            largest = largest.max("__Host-".len() + cookie.len());
        } else {
            assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "bad_parameter"), "{length}");
            assert!(largest > 600, "{largest}");
        }
    }
    assert!(largest <= 700, "{largest}");
}

#[tokio::test]
async fn form_post_comes_back_in_a_body() {
    let world = support::acme_with(|tenant| tenant.sign_in.response_mode = ResponseMode::FormPost).await;
    let mut browser = world.browser();
    let start = browser.get("/acme/login").await;
    assert!(
        start.header("set-cookie").contains("SameSite=None; Secure")
            || start.header("set-cookie").contains("Secure; SameSite=None")
            || (start.header("set-cookie").contains("SameSite=None") && start.header("set-cookie").contains("Secure"))
    );
    assert_eq!(param(&start.location(), "response_mode").as_deref(), Some("form_post"));
    let form = browser.visit(start.location().as_str()).await;
    let value = |name: &str| {
        let after = form.body.split(&format!("name=\"{name}\"")).nth(1).unwrap();
        after.split("value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let body = format!("code={}&state={}", value("code"), value("state"));
    let done = browser.post("/acme/callback", &body).await;
    assert_eq!((done.status, done.location().path()), (StatusCode::SEE_OTHER, "/acme/dashboard"));
    let cookies = done.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let marker = cookies.into_iter().find(|cookie| cookie.starts_with("lychgate-acme.signed-in=1")).unwrap();
    assert!(marker.contains("SameSite=None"), "what counts sign-ins comes back with the next form: {marker}");
    assert!(browser.session("acme").await.is_some());
    // The same form again: the browser is sent to a GET, which sees the session.
    let again = browser.post("/acme/callback", &body).await;
    assert_eq!(again.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.visit(again.location().as_str()).await.url.path(), "/acme/dashboard");
}

#[tokio::test]
async fn an_answer_counts_only_where_it_was_asked_to_be() {
    let world = support::acme().await;
    let mut browser = world.browser();
    let callback = browser.until_callback("/acme/login").await;
    let posted = browser.post("/acme/callback", callback.query().unwrap()).await;
    assert_eq!((posted.status, posted.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET"));
    assert_eq!(browser.session("acme").await, None);
    assert_eq!(browser.get(callback.as_str()).await.status, StatusCode::SEE_OTHER, "and the attempt is still good");

    let world = support::acme_with(|tenant| tenant.sign_in.response_mode = ResponseMode::FormPost).await;
    let mut browser = world.browser();
    let start = browser.get("/acme/login").await.location();
    let query = format!("code=any&state={}", param(&start, "state").unwrap());
    let page = browser.get(&format!("/acme/callback?{query}")).await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "state_missing"));
    assert_eq!(world.provider().count("/oauth/token"), 0);
}

#[tokio::test]
async fn tokens_in_a_callback_are_refused() {
    let world = support::acme().await;
    let mut browser = world.browser();
    let callback = browser.until_callback("/acme/login").await;
    let page = browser.get(&format!("{callback}&id_token=a.b.c")).await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "parameter_unexpected"));
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn every_way_to_prove_who_we_are_signs_in() {
    use lychgate::config::{ClientAuth, SigningAlg};
    use lychgate::secret::{KeyPairKind, KeyPairPem};
    let key = |kind, alg| {
        let pair = KeyPairPem::generate(kind);
        (Some(pair.public), ClientAuth::PrivateKeyJwt { key: pair.private, alg, kid: None })
    };
    for (public_key_pem, client_auth) in [
        (None, ClientAuth::None),
        key(KeyPairKind::Rsa, SigningAlg::Rs256),
        key(KeyPairKind::Rsa, SigningAlg::Ps256),
        key(KeyPairKind::P256, SigningAlg::Es256),
    ] {
        let mut acme = Tenant::start_with("acme", |spec| {
            spec.clients[0].secret = None;
            spec.clients[0].public_key_pem = public_key_pem;
        })
        .await;
        acme.settings.provider.client_auth = client_auth;
        World::start(vec![acme]).await.signed_in("acme").await;
    }
    let basic = support::acme_with(|tenant| {
        let provider = &mut tenant.provider;
        if let ClientAuth::SecretPost(secret) = provider.client_auth.clone() {
            provider.client_auth = ClientAuth::SecretBasic(secret);
        }
    });
    basic.await.signed_in("acme").await;
}

#[tokio::test]
async fn a_silent_sign_in_that_needs_the_person_leaves_a_guest() {
    let world = support::acme().await;
    world.provider().auto_approve(None);
    let mut browser = world.browser();
    let page = browser.visit("/acme/login?prompt=none").await;
    assert_eq!((page.status, page.url.path()), (StatusCode::OK, "/acme/"));
    assert_eq!(browser.session("acme").await, None);
}

#[tokio::test]
async fn a_person_comes_back_to_the_page_they_wanted() {
    let world = support::acme().await;
    let callback = world.browser();
    for (wanted, lands) in [
        ("/acme/dashboard?tab=2", "/acme/dashboard?tab=2"),
        ("%2Facme%2Freports%3Fyear%3D2026", "/acme/reports?year=2026"),
    ] {
        let mut browser = callback.clone();
        let back = browser.until_callback(&format!("/acme/login?return_to={wanted}")).await;
        assert_eq!(browser.get(back.as_str()).await.header("location"), lands);
    }
}

#[tokio::test]
async fn nobody_is_sent_to_a_foreign_page() {
    let world = support::acme().await;
    for bad in [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/%5Cevil.example/../../x",
        "/globex/dashboard",
        "/acmeevil",
        "/acme/../globex",
        "/acme/logout",
        "/acme/login/",
        "/acme/%6Cogin",
        "/acme/lo%67out/?x",
        "/acme/login%2F..%2Flocal/../%6cogin/loc%61l",
        "javascript:alert(1)",
        "/acme/\u{9}x",
        "https://user@evil.example/acme",
        "",
    ] {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("return_to", bad).finish();
        let page = world.browser().get(&format!("/acme/login?{query}")).await;
        if page.status.is_redirection() {
            // What parses to a path below the tenant is one; nothing else may begin a sign-in.
            assert!(bad.starts_with("/%5C"), "{bad:?}");
            continue;
        }
        assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "return_to_refused"), "{bad:?}");
    }
    assert_eq!(world.provider().count("/authorize"), 0);
}

#[tokio::test]
async fn an_origin_that_the_tenant_allows_may_be_returned_to() {
    let world = support::acme_with(|tenant| {
        tenant.sign_in.return_to_origins = vec![lychgate::config::OriginPattern {
            scheme: "https".to_owned(),
            host: "acme.example".to_owned(),
            port: 443,
            subdomains: true,
        }];
    })
    .await;
    let mut browser = world.browser();
    let callback = browser.until_callback("/acme/login?return_to=https://app.acme.example/x?y=1").await;
    assert_eq!(browser.get(callback.as_str()).await.header("location"), "https://app.acme.example/x?y=1");
    for bad in [
        "https://acme.example/",
        "https://evilacme.example/",
        "http://app.acme.example/",
        "https://app.acme.example:444/",
    ] {
        let page = world.browser().get(&format!("/acme/login?return_to={bad}")).await;
        assert_eq!(page.code(), "return_to_refused", "{bad}");
    }
}

#[tokio::test]
async fn somebody_else_may_start_a_sign_in_at_our_issuer_only() {
    let world = support::acme().await;
    let issuer = world.provider().issuer().to_owned();
    let mut browser = world.browser();
    let link = format!("/acme/login?iss={issuer}&login_hint=ada&target_link_uri=/acme/reports");
    assert_eq!(param(&browser.get(&link).await.location(), "login_hint").as_deref(), Some("ada"));
    let callback = browser.until_callback(&link).await;
    assert_eq!(browser.get(callback.as_str()).await.header("location"), "/acme/reports");
    let astray = world.browser().get(&format!("/acme/login?iss={issuer}&target_link_uri=https://evil.example/")).await;
    assert_eq!((astray.status, astray.code()), (StatusCode::BAD_REQUEST, "return_to_refused"));
    let bad = world.browser().get("/acme/login?iss=https://evil.example/").await;
    assert_eq!((bad.status, bad.code()), (StatusCode::BAD_REQUEST, "issuer_not_ours"));
}

#[tokio::test]
async fn an_invitation_reaches_the_provider_with_its_organization() {
    let world = support::acme().await;
    let link = "/acme/login?invitation=ticket&organization=org_one&organization_name=One";
    let location = world.browser().get(link).await.location();
    assert_eq!(param(&location, "invitation").as_deref(), Some("ticket"));
    assert_eq!(param(&location, "organization").as_deref(), Some("org_one"));
    assert_eq!(param(&location, "organization_name"), None);
}

#[tokio::test]
async fn a_browser_that_loses_the_session_cookie_is_told_so_and_not_sent_round() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    browser.cookies.retain(|(_, name), _| name != "lychgate-acme");
    let page = browser.visit("/acme/dashboard").await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "cookie_not_returned"));
    assert!(page.body.contains("/acme/login"), "{}", page.body);
    assert_eq!(browser.visit("/acme/login").await.url.path(), "/acme/dashboard", "who wants to, tries again");
}

#[tokio::test]
async fn a_browser_that_keeps_an_old_cookie_is_not_sent_round_for_ever() {
    let world = support::acme().await;
    let mut browser = world.signed_in("acme").await;
    let old = browser.cookies_named("lychgate-acme")[0].1.clone();
    browser.clone().get("/acme/logout").await;
    for sign_in in 2..=3 {
        browser.plant("lychgate-acme", &old);
        assert_eq!(browser.visit("/acme/dashboard").await.status, StatusCode::OK, "sign-in {sign_in}");
    }
    browser.plant("lychgate-acme", &old);
    let page = browser.visit("/acme/dashboard").await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "cookie_not_returned"));
}

#[tokio::test]
async fn a_prefetch_starts_and_ends_nothing() {
    let world = support::acme().await;
    let signed_in = world.signed_in("acme").await;
    for (name, value) in [("sec-purpose", "prefetch"), ("sec-purpose", "prefetch;prerender"), ("purpose", "prefetch")] {
        for path in ["/acme/login", "/acme/signup", "/acme/logout"] {
            let page = signed_in.clone().with(name, value).get(path).await;
            assert_eq!(page.status, StatusCode::NO_CONTENT, "{path}");
            assert!(page.headers.get("set-cookie").is_none(), "{path}");
        }
    }
    assert!(signed_in.clone().session("acme").await.is_some());
}

#[tokio::test]
async fn par_pushes_the_request() {
    let world: World = support::acme_with(|tenant| tenant.provider.par = true).await;
    let location = world.browser().get("/acme/login").await.location();
    assert!(param(&location, "request_uri").is_some() && param(&location, "state").is_none(), "{location}");
    world.signed_in("acme").await;
}
