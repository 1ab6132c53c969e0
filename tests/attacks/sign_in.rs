//! Attacks on a sign-in under way: codes, states and nonces of somebody else, answers of another provider, a callback
//! that somebody made up.

use lychgate::config::{Effect, ResponseMode, Rule};
use lychgate::net::Networks;
use reqwest::StatusCode;
use url::Url;

use crate::support::{self, Tenant, World};

fn param(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(key, _)| key == name).unwrap_or_else(|| panic!("no {name}")).1.into_owned()
}

/// The same address with another value of a parameter.
fn with(url: &Url, name: &str, value: &str) -> Url {
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    assert!(pairs.iter().any(|(key, _)| key == name), "no {name}");
    let mut changed = url.clone();
    changed
        .query_pairs_mut()
        .clear()
        .extend_pairs(pairs.iter().map(|(key, was)| (key, if key == name { value } else { was })));
    changed
}

fn codes_redeemed(world: &World, tenant: &str) -> usize {
    world.providers[tenant].count("/oauth/token")
}

/// Code injection (RFC 9700, section 4.5): PKCE binds a code to the attempt that asked for it.
#[tokio::test]
async fn a_code_of_somebody_elses_sign_in_buys_nothing() {
    let world = support::acme().await;
    let (mut ada, mut mallory) = (world.browser(), world.browser());
    let leaked = param(&ada.until_callback("/acme/login").await, "code");
    let own = mallory.until_callback("/acme/login").await;
    let page = mallory.get(with(&own, "code", &leaked).as_str()).await;
    assert_eq!(page.code(), "code_refused");
    assert_eq!(mallory.session("acme").await, None);
    assert_eq!(codes_redeemed(&world, "acme"), 1, "it was tried, with a verifier that does not fit");
}

/// Cut and paste between browsers: what one attempt asked the provider for does not fit another.
#[tokio::test]
async fn a_nonce_a_challenge_or_a_state_of_another_browsers_attempt_spoils_the_attempt() {
    let world = support::acme().await;
    let foreign = world.browser().get("/acme/login").await.location();
    for (name, code) in [("nonce", "id_token_nonce"), ("code_challenge", "code_refused"), ("state", "cookie_missing")] {
        let mut ada = world.browser();
        let begun = ada.get("/acme/login").await.location();
        let page = ada.visit(with(&begun, name, &param(&foreign, name)).as_str()).await;
        assert_eq!(page.code(), code, "{name}: {}", page.body);
        assert_eq!(ada.session("acme").await, None, "{name}");
    }
}

/// Cut and paste between tenants: the same, where each tenant's attempt is the browser's own.
#[tokio::test]
async fn a_nonce_a_challenge_or_a_state_of_another_tenant_spoils_the_attempt() {
    let world = World::start(vec![Tenant::start("acme").await, Tenant::start("globex").await]).await;
    for (name, code) in [("nonce", "id_token_nonce"), ("code_challenge", "code_refused"), ("state", "cookie_missing")] {
        let mut ada = world.browser();
        let foreign = ada.get("/globex/login").await.location();
        let begun = ada.get("/acme/login").await.location();
        let page = ada.visit(with(&begun, name, &param(&foreign, name)).as_str()).await;
        assert_eq!(page.code(), code, "{name}: {}", page.body);
        assert!(ada.session("acme").await.is_none() && ada.session("globex").await.is_none(), "{name}");
    }
}

/// Mix-up (RFC 9700, section 4.4): a tenant's provider sends the person on to another tenant's, with its own state. The
/// honest provider answers at the honest tenant's callback, and nobody is given the code.
#[tokio::test]
async fn a_provider_that_sends_people_on_to_another_one_learns_no_code() {
    let world = World::start(vec![Tenant::start("acme").await, Tenant::start("globex").await]).await;
    let mut ada = world.browser();
    let begun = ada.get("/acme/login").await.location();
    let honest = world.browser().get("/globex/login").await.location();
    let mixed = with(&with(&honest, "state", &param(&begun, "state")), "nonce", &param(&begun, "nonce"));
    let callback = ada.until_callback(mixed.as_str()).await;
    assert_eq!(callback.path(), "/globex/callback");
    assert_eq!(ada.get(callback.as_str()).await.code(), "cookie_missing");
    // It cannot have the answer sent to its own tenant's callback either.
    let astray = ada.visit(with(&mixed, "redirect_uri", &world.url("/acme/callback")).as_str()).await;
    assert!(astray.status.is_client_error() && astray.url.as_str().starts_with(world.providers["globex"].issuer()));
    assert_eq!((codes_redeemed(&world, "acme"), codes_redeemed(&world, "globex")), (0, 0));
    assert!(ada.session("acme").await.is_none() && ada.session("globex").await.is_none());
}

/// Login CSRF (CVE-2017-1000069): the answer to somebody else's sign-in, in a browser that has an attempt of its own.
#[tokio::test]
async fn nobody_is_signed_in_as_somebody_else_while_signing_in() {
    let world = support::acme().await;
    let (mut ada, mut mallory) = (world.browser(), world.browser());
    let own = ada.until_callback("/acme/login").await;
    let forced = mallory.until_callback("/acme/login").await;
    let page = ada.get(forced.as_str()).await;
    assert_eq!((page.status, page.code()), (StatusCode::BAD_REQUEST, "cookie_missing"));
    assert_eq!(codes_redeemed(&world, "acme"), 0);
    assert_eq!(ada.session("acme").await, None);
    assert_eq!(ada.get(own.as_str()).await.status, StatusCode::SEE_OTHER, "her own goes on");
}

/// Login CSRF where the answer is a form, which another site may post: its cookies are `SameSite=None`.
#[tokio::test]
async fn nobody_is_signed_in_as_somebody_else_by_a_form() {
    let world = support::acme_with(|tenant| tenant.sign_in.response_mode = ResponseMode::FormPost).await;
    let (mut ada, mut mallory) = (world.browser(), world.browser());
    ada.get("/acme/login").await;
    let page = mallory.visit("/acme/login").await;
    let hidden = |name: &str| {
        let after = page.body.split(&format!("name=\"{name}\"")).nth(1).unwrap();
        after.split("value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let form = format!("code={}&state={}", hidden("code"), hidden("state"));
    let mut forced = ada.clone().with("origin", "https://evil.example").with("sec-fetch-site", "cross-site");
    let answer = forced.post("/acme/callback", &form).await;
    // To a request that brings her own session's cookie, if she has one.
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let answer = forced.visit(answer.location().as_str()).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "cookie_missing"));
    assert_eq!(forced.session("acme").await, None);
    assert_eq!(codes_redeemed(&world, "acme"), 0);
}

/// PKCE downgrade (CVE-2024-23647): every way to begin a sign-in has a challenge of its own by S256, whatever the request
/// says, and the verifier goes with the code.
#[tokio::test]
async fn no_request_takes_state_nonce_or_challenge_away_or_chooses_them() {
    let world = support::acme_with(|tenant| {
        let effect = Effect::StepUp { max_age: Some(60), acr_values: None };
        let (paths, networks) = (vec![], Networks::default());
        tenant.policy.rules = vec![Rule { name: None, paths, methods: vec![], hosts: vec![], networks, effect }].into();
    })
    .await;
    let issuer = world.provider().issuer().to_owned();
    let forged = "state=evil&nonce=evil&code_challenge=evil&code_challenge_method=plain&response_type=token\
                  &response_mode=query&redirect_uri=https://evil.example&client_id=evil&request=evil&request_uri=evil";
    let mut seen = std::collections::BTreeSet::new();
    for way in ["login?", "signup?", "login?prompt=none&", "login?step_up=0&", &format!("login?iss={issuer}&")] {
        let page = world.browser().get(&format!("/acme/{way}{forged}")).await;
        assert_eq!(page.status, StatusCode::FOUND, "{way}: {}", page.body);
        let to = page.location();
        assert!(!to.as_str().contains("evil"), "{to}");
        assert_eq!((param(&to, "code_challenge_method"), param(&to, "response_type")), ("S256".into(), "code".into()));
        for name in ["state", "nonce", "code_challenge"] {
            let value = param(&to, name);
            assert!(value.len() >= 22 && seen.insert(value), "{name} of its own, {way}");
        }
    }
    world.signed_in("acme").await;
    let requests = world.provider().requests();
    let redeemed = requests.iter().find(|request| request.path == "/oauth/token").unwrap();
    assert!(redeemed.param("code_verifier").is_some_and(|verifier| verifier.len() >= 43));
}

/// State is looked at first, for codes and for errors (read in oauth2-proxy; CVE-2023-27496; ChangeLog of
/// mod_auth_openidc 2026): whatever else a callback says costs the provider nothing and changes nothing.
#[tokio::test]
async fn a_callback_that_somebody_made_up_is_believed_in_nothing() {
    let world = support::acme().await;
    let mut ada = world.browser();
    let callback = ada.until_callback("/acme/login").await;
    let (state, code) = (param(&callback, "state"), param(&callback, "code"));
    let foreign = world.browser().get("/acme/login").await.location();
    let foreign = param(&foreign, "state");
    let said = "error_description=Call+0800-EVIL&error_uri=https://evil.example";
    for query in [
        String::new(),
        "code".to_owned(),
        format!("code={code}"),
        format!("code={code}&state="),
        format!("code={code}&state=%00"),
        format!("code={code}&state=%ff%fe"),
        format!("code={code}&state={foreign}"),
        format!("code={code}&state={}", "a".repeat(9000)),
        format!("code={code}&state={state}x"),
        format!("code={code}&state={state}&state={foreign}"),
        format!("code={code}&state={state}&state={state}"),
        format!("code={code}&code=x&state={state}"),
        format!("code={code}&error=access_denied&state={state}"),
        format!("code=&state={state}"),
        format!("state={state}"),
        format!("error=&state={state}"),
        format!("error=a&error=b&state={state}"),
        format!("response=a.b.c&state={state}"),
        format!("code={code}&access_token=evil&state={state}"),
        format!("error=access_denied&{said}"),
        format!("error=access_denied&{said}&state={foreign}"),
        format!("error=access_denied&{said}&state=x"),
    ] {
        let page = ada.clone().get(&format!("/acme/callback?{query}")).await;
        assert!(page.status.is_client_error(), "{} {query}", page.status);
        assert!(!page.body.to_lowercase().contains("evil"), "{query}: {}", page.body);
        let cookies = page.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap());
        assert!(cookies.into_iter().all(|cookie| cookie.contains("Max-Age=0")), "{query}");
    }
    assert_eq!(codes_redeemed(&world, "acme"), 0);
    assert_eq!(ada.get(callback.as_str()).await.status, StatusCode::SEE_OTHER, "and the sign-in goes on");
}

/// Read in Traefik Forward Auth: there a callback deletes the state cookies of all tabs.
#[tokio::test]
async fn a_callback_that_fails_leaves_the_sign_ins_of_other_tabs_alone() {
    let world = support::acme().await;
    let mut browser = world.browser();
    let first = browser.until_callback("/acme/login").await;
    world.pass(1);
    let second = browser.until_callback("/acme/login").await;
    assert_eq!(browser.get(with(&first, "code", "forged").as_str()).await.code(), "code_refused");
    assert_eq!(browser.get(with(&first, "state", "forged").as_str()).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(browser.get(second.as_str()).await.status, StatusCode::SEE_OTHER);
}

/// Read in vouch: there the redirect URI is a variable that concurrent sign-ins on several hosts share.
#[tokio::test]
async fn sign_ins_on_several_hosts_at_once_each_come_back_to_their_own() {
    let hosts = ["one.acme.example", "two.acme.example", "three.acme.example"];
    let world = support::acme_with(|tenant| {
        tenant.hosts = hosts.map(str::to_owned).into();
        "/.lychgate".clone_into(&mut tenant.prefix);
    })
    .await;
    let browser = world.browser().with("x-forwarded-proto", "https");
    let begin = |host: &'static str| {
        let mut browser = browser.clone().with("host", host);
        async move {
            let page = browser.get("/.lychgate/login").await;
            assert_eq!(page.status, StatusCode::FOUND, "{}", page.body);
            (host, param(&page.location(), "redirect_uri"))
        }
    };
    begin(hosts[0]).await; // The provider is known from now on: nobody waits for it.
    let all = futures_util::future::join_all((0..12).map(|at| begin(hosts[at % 3]))).await;
    for (host, redirect_uri) in all {
        assert_eq!(redirect_uri, format!("https://{host}/.lychgate/callback"));
    }
}
