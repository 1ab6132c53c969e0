//! Scripts that bring a token of their own to an application.

use futures_util::{SinkExt as _, StreamExt as _};
use lychgate::config::{Effect, IdentityValue, Pass, PathPattern, Rule, TenantSettings, UpstreamSettings};
use lychgate::demo::Fault;
use lychgate::net::Networks;
use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Place, code, cookies, header};

const API: &str = "https://api.acme.example";

fn rule(path: &str, effect: Effect) -> Rule {
    let paths = vec![PathPattern::parse(path).unwrap()];
    Rule { name: None, paths, methods: vec![], hosts: vec![], networks: Networks::default(), effect }
}

fn scope(name: &str) -> Effect {
    Effect::Allow { claims: vec![], scopes: vec![name.to_owned()] }
}

async fn place() -> Place {
    place_with(|_, _| {}).await
}

async fn place_with(change: impl FnOnce(&mut TenantSettings, &mut UpstreamSettings)) -> Place {
    Place::with(|tenant, upstream| {
        tenant.api.audiences = vec![API.to_owned()];
        tenant.policy.rules = vec![
            rule("/app/things", scope("read:things")),
            rule("/app/admin", scope("admin:all")),
            rule("/app/public", Effect::Public),
            rule("/app/secret", Effect::Deny),
            rule("/app/money", Effect::StepUp { max_age: Some(60), acr_values: None }),
        ]
        .into();
        change(tenant, upstream);
    })
    .await
}

fn minted(place: &Place, claims: &Value) -> String {
    format!("Bearer {}", place.world.provider().mint("at+jwt", API, claims))
}

/// A request of a script, which says nothing of where it comes from.
fn script(place: &Place, method: Method, path: &str, authorization: &str) -> RequestBuilder {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    client.request(method, place.world.url(path)).header(AUTHORIZATION, authorization)
}

#[tokio::test]
async fn a_good_token_passes_whatever_it_does_and_stays_with_us() {
    let place = place().await;
    let good = minted(&place, &json!({"email": "bot@acme.example"}));
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let seen = place.seen(script(&place, method.clone(), "/acme/app/things", &good)).await;
        assert_eq!(header(&seen, "x-auth-request-user"), ["script@clients"], "{method}");
        assert_eq!(header(&seen, "x-forwarded-email"), ["bot@acme.example"]);
        assert_eq!(header(&seen, "x-auth-request-tenant"), ["acme"]);
        assert!(header(&seen, "authorization").is_empty(), "it was meant for us: {seen}");
    }
    let beside = script(&place, Method::POST, "/acme/app/things", &good).header("cookie", cookies(&place.ada));
    let seen = place.seen(beside.header("origin", "https://elsewhere.example")).await;
    assert_eq!(
        header(&seen, "x-auth-request-user"),
        ["script@clients"],
        "the token says who asks, and no browser sent it"
    );
    assert_eq!(place.seen(script(&place, Method::GET, "/acme/app/public", &good)).await["method"], "GET");
}

#[tokio::test]
async fn a_token_that_is_remembered_is_still_asked_for_its_scopes() {
    let place = place().await;
    let good = minted(&place, &json!({}));
    for _ in 0..2 {
        place.seen(script(&place, Method::GET, "/acme/app/things", &good)).await;
        for (path, status, named, challenge) in [
            (
                "/acme/app/admin",
                StatusCode::FORBIDDEN,
                "bearer_scope",
                ", error=\"insufficient_scope\", scope=\"admin:all\"",
            ),
            (
                "/acme/app/money",
                StatusCode::UNAUTHORIZED,
                "bearer_step_up",
                ", error=\"insufficient_user_authentication\", max_age=\"60\"",
            ),
            ("/acme/app/secret", StatusCode::FORBIDDEN, "bearer_denied", ""),
        ] {
            let answer = script(&place, Method::GET, path, &good).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            let said = answer.headers().get(WWW_AUTHENTICATE).map_or("", |value| value.to_str().unwrap());
            assert_eq!(said.strip_prefix("Bearer realm=\"acme\"").unwrap_or_default(), challenge, "{path}");
            assert_eq!(code(answer).await, named);
        }
    }
    assert_eq!(place.toy.seen.count(), 2);
}

#[tokio::test]
async fn a_bad_token_reaches_nothing_even_where_a_session_or_anybody_would() {
    let place = place().await;
    let provider = place.world.provider();
    let bad = |text: String| format!("Bearer {text}");
    for (what, authorization) in [
        ("expired", minted(&place, &json!({"exp": place.world.clock.now().plus(-61).0}))),
        ("for another API", minted(&place, &json!({"aud": "https://other.example"}))),
        ("of another issuer", minted(&place, &json!({"iss": "https://other.example/"}))),
        ("unsigned", bad(provider.mint_wrongly(&Fault::AlgNone, API))),
        ("wrongly signed", bad(provider.mint_wrongly(&Fault::BadSignature, API))),
        ("opaque", bad("opaque".to_owned())),
        ("empty", "Bearer".to_owned()),
        ("any", "bearer any".to_owned()),
    ] {
        for path in ["/acme/app/things", "/acme/app/public", "/acme/app/else"] {
            for cookie in [String::new(), cookies(&place.ada)] {
                let request = script(&place, Method::GET, path, &authorization).header("cookie", cookie);
                let answer =
                    request.header("accept", "text/html").header("sec-fetch-mode", "cors").send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{what} {path}");
                let said = answer.headers()[WWW_AUTHENTICATE].to_str().unwrap().to_owned();
                assert!(said.starts_with("Bearer realm=\"acme\", error=\"invalid_token\""), "{what}: {said}");
                assert!(code(answer).await.starts_with("bearer_"), "{what}");
            }
        }
    }
    let good = minted(&place, &json!({}));
    let doubled = script(&place, Method::GET, "/acme/app/things", &good).header(AUTHORIZATION, &good);
    assert_eq!(code(doubled.send().await.unwrap()).await, "bearer_malformed");
    assert_eq!(place.toy.seen.count(), 0);
}

#[tokio::test]
async fn a_token_goes_on_to_an_application_that_is_to_have_it() {
    for (pass, audience, goes_on) in [
        (Pass::None, None, false),
        (Pass::AccessToken, None, true),
        (Pass::AccessToken, Some("https://another.example"), false),
        (Pass::IdToken, None, false),
    ] {
        for named in [false, true] {
            let place = place_with(|tenant, upstream| {
                (upstream.pass, upstream.audience) = (pass, audience.map(str::to_owned));
                if named {
                    std::sync::Arc::make_mut(&mut tenant.identity.headers)
                        .push((AUTHORIZATION, IdentityValue::BearerAccessToken));
                }
            })
            .await;
            let good = minted(&place, &json!({}));
            let seen = place.seen(script(&place, Method::GET, "/acme/app/things", &good)).await;
            let expected = if goes_on || named && pass == Pass::None { vec![good.as_str()] } else { vec![] };
            assert_eq!(header(&seen, "authorization"), expected, "{pass:?} {audience:?} {named}");
        }
    }
}

#[tokio::test]
async fn where_the_tenant_has_no_api_the_header_is_the_applications() {
    let place = Place::new().await;
    let own = minted(&place, &json!({}));
    let seen = place.seen(place.fetch(Method::GET, "/acme/app/x").header(AUTHORIZATION, &own)).await;
    assert_eq!(header(&seen, "authorization"), [own.as_str()]);
    assert_eq!(header(&seen, "x-auth-request-email"), [crate::support::ADA]);
    let answer = script(&place, Method::GET, "/acme/app/x", &own).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "and nobody passes by it");
    assert_eq!(place.toy.seen.count(), 1);
}

#[tokio::test]
async fn a_script_without_a_token_is_told_that_one_would_do() {
    let place = place().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(place.world.url("/acme/app/things")).header("accept", "application/json").send().await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()[WWW_AUTHENTICATE]),
        (StatusCode::UNAUTHORIZED, &"Bearer realm=\"acme\"".parse().unwrap())
    );
}

#[tokio::test]
async fn a_web_socket_of_a_token_needs_no_page_and_ends_with_the_token() {
    let place = place().await;
    let open = async |authorization: &str, origin: Option<&str>| {
        let url = format!("ws://{}/acme/app/ws", place.world.address);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", authorization.parse().unwrap());
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        connect_async(request).await.map(|(socket, _)| socket)
    };
    let status = |opened: Result<_, Error>| match opened {
        Err(Error::Http(answer)) => answer.status(),
        Err(error) => panic!("{error}"),
        Ok(()) => StatusCode::SWITCHING_PROTOCOLS,
    };
    assert_eq!(status(open("Bearer a.b.c", None).await.map(drop)), StatusCode::UNAUTHORIZED);
    let good = minted(&place, &json!({}));
    assert_eq!(status(open(&good, Some("https://evil.example")).await.map(drop)), StatusCode::FORBIDDEN);
    assert_eq!(place.toy.seen.count(), 0);
    // The leeway is a minute: two seconds are left.
    let ending = minted(&place, &json!({"exp": place.world.clock.now().plus(-58).0}));
    let mut socket = open(&ending, None).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "hello");
    while let Some(Ok(_)) = socket.next().await {}
    place.toy.seen.given_up.notified().await;
}
