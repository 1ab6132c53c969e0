//! Access tokens that scripts bring: who passes, who is refused and how it is said, and what is remembered.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use lychgate::clock::Timestamp;
use lychgate::config::{Condition, Effect, IdentityValue, PathPattern, Rule, TenantSettings, Test};
use lychgate::demo::{Fault, OtherAlg};
use lychgate::flow::access::{self, Knock, Permit};
use lychgate::net::Networks;
use lychgate::oidc::AccessToken;
use lychgate::policy::{By, Decision, StepUp, Verdict};
use lychgate::request_path::RequestPath;
use lychgate::secret::{ExposeSecret as _, base64url};
use lychgate::session::{Found, Session};
use lychgate::tenant::Tenant;
use lychgate::web::Problem;
use lychgate::web::bearer;
use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use serde_json::{Value, json};

use super::support::{self, Browser, Page, World};

const API: &str = "https://api.acme.example";
const JWKS: &str = "/.well-known/jwks.json";

async fn acme() -> World {
    support::acme_with(with_api).await
}

fn with_api(tenant: &mut TenantSettings) {
    tenant.api.audiences = vec![API.to_owned(), "https://other.acme.example".to_owned()];
}

fn tenant(world: &World, id: &str) -> Arc<Tenant> {
    world.gateway.tenants.iter().find(|tenant| tenant.id().as_str() == id).unwrap().clone()
}

/// What a tenant says to a request with these `Authorization` headers.
async fn said(world: &World, id: &str, authorizations: &[&str]) -> Result<Option<Arc<AccessToken>>, Problem> {
    let mut headers = HeaderMap::new();
    for value in authorizations {
        headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    bearer::token(&world.gateway, &tenant(world, id), &headers, Ipv4Addr::LOCALHOST.into()).await
}

async fn brought(world: &World, token: &str) -> Result<Arc<AccessToken>, Problem> {
    said(world, "acme", &[&format!("Bearer {token}")]).await.map(|token| token.expect("the tenant has an API"))
}

#[track_caller]
fn refused(result: Result<Arc<AccessToken>, Problem>, code: &str) {
    let problem = result.expect_err(code);
    let challenge = problem.challenge.unwrap_or_default();
    assert_eq!(problem.code, code, "{challenge}");
    assert!(
        challenge.starts_with("Bearer realm=\"acme\", error=\"invalid_token\", error_description=\""),
        "{challenge}"
    );
}

fn ask(world: &World, token: Option<Arc<AccessToken>>, session: Option<Arc<Session>>) -> Result<Permit, Problem> {
    let (path, address) = (RequestPath::parse("/things").unwrap(), IpAddr::from(Ipv4Addr::LOCALHOST));
    let session = session.map(|session| Found { session, is_stale: false }.into());
    let knock = Knock { method: "GET", host: "acme.example", path: &path, address, token, session };
    let tenant = tenant(world, "acme");
    access::admit(&world.gateway, &tenant, knock).map_err(|decision| bearer::refusal(&tenant, &decision))
}

#[tokio::test]
async fn tokens_in_the_form_of_rfc_9068_and_in_auth0s_pass() {
    let world = acme().await;
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt"] {
        let token = brought(&world, &world.provider().mint(typ, API, &json!({}))).await.unwrap();
        assert_eq!((token.sub.as_str(), token.scope.as_str()), ("script@clients", "read:things write:things"), "{typ}");
    }
    let several = json!({"aud": [API, "https://acme.example/userinfo"]});
    assert!(brought(&world, &world.provider().mint("JWT", API, &several)).await.is_ok());
    let a_second = world.provider().mint("at+jwt", "https://other.acme.example", &json!({}));
    assert!(brought(&world, &a_second).await.is_ok());
}

#[tokio::test]
async fn scopes_and_permissions_are_what_the_policy_sees_as_granted() {
    let world = acme().await;
    for (claims, granted) in [
        (json!({"scope": "a b", "permissions": ["c", "a", "d e"]}), "a b c"),
        (json!({"scope": null, "permissions": ["c"]}), "c"),
        (json!({"scope": null, "scp": "a b", "permissions": ["b"]}), "a b"),
        (json!({"scope": null, "scp": ["a", "b c"]}), "a"),
        (json!({"scope": null}), ""),
    ] {
        let token = brought(&world, &world.provider().mint("at+jwt", API, &claims)).await.unwrap();
        assert_eq!(token.scope, granted, "{claims}");
    }
    let odd = world.provider().mint("at+jwt", API, &json!({"permissions": [7]}));
    refused(brought(&world, &odd).await, "bearer_malformed");
}

#[tokio::test]
async fn a_token_with_one_fault_is_refused_by_name() {
    let world = acme().await;
    let now = world.clock.now();
    let at = |seconds: i64| now.plus(seconds).0;
    let provider = world.provider();
    for (typ, claims, code) in [
        ("logout+jwt", json!({}), "bearer_typ"),
        ("dpop+jwt", json!({}), "bearer_typ"),
        ("x", json!({}), "bearer_typ"),
        ("at+jwt", json!({"iss": "https://other.example/"}), "bearer_iss"),
        ("at+jwt", json!({"iss": provider.issuer().trim_end_matches('/')}), "bearer_iss"),
        ("at+jwt", json!({"iss": null}), "bearer_iss"),
        ("at+jwt", json!({"aud": "https://api.globex.example"}), "bearer_aud"),
        ("at+jwt", json!({"aud": format!("{API}/")}), "bearer_aud"),
        ("at+jwt", json!({"aud": []}), "bearer_aud"),
        ("at+jwt", json!({"aud": null}), "bearer_aud"),
        ("at+jwt", json!({"aud": {"x": API}}), "bearer_malformed"),
        ("at+jwt", json!({"exp": at(-61)}), "bearer_expired"),
        ("at+jwt", json!({"exp": null}), "bearer_expired"),
        ("at+jwt", json!({"exp": "soon"}), "bearer_malformed"),
        ("at+jwt", json!({"nbf": at(90)}), "bearer_nbf"),
        ("at+jwt", json!({"iat": at(90)}), "bearer_iat"),
        ("at+jwt", json!({"iat": null}), "bearer_iat"),
        ("at+jwt", json!({"sub": null}), "bearer_sub"),
        ("at+jwt", json!({"sub": ""}), "bearer_sub"),
        ("at+jwt", json!({"cnf": {"jkt": "x"}}), "bearer_bound"),
        ("JWT", json!({"nonce": "n"}), "bearer_foreign"),
        ("JWT", json!({"at_hash": "h"}), "bearer_foreign"),
        ("JWT", json!({"events": {}}), "bearer_foreign"),
        ("JWT", json!({"typ": "ID"}), "bearer_foreign"),
        ("JWT", json!({"aud": [API, "acme-client"]}), "bearer_foreign"),
        ("JWT", json!({"aud": "acme-client"}), "bearer_foreign"),
        ("at+jwt", json!({"aud": "acme-client"}), "bearer_aud"),
    ] {
        let result = brought(&world, &provider.mint(typ, API, &claims)).await;
        assert!(result.is_err(), "{typ} {claims}");
        refused(result, code);
    }
    for claims in [json!({"exp": at(-30)}), json!({"nbf": at(30), "iat": at(30)}), json!({"typ": "Bearer"})] {
        assert!(brought(&world, &provider.mint("JWT", API, &claims)).await.is_ok(), "within the leeway: {claims}");
    }
}

#[tokio::test]
async fn a_signature_counts_by_a_key_of_the_provider_and_the_one_algorithm_alone() {
    let world = acme().await;
    for (fault, code) in [
        (Fault::AlgNone, "bearer_alg"),
        (Fault::Hs256ByPublicKey, "bearer_alg"),
        (Fault::OtherAlg(OtherAlg::Hs256), "bearer_alg"),
        (Fault::OtherAlg(OtherAlg::Ps256), "bearer_alg"),
        (Fault::OtherAlg(OtherAlg::EdDsa), "bearer_alg"),
        (Fault::BadSignature, "bearer_signature"),
        (Fault::NoKid, "bearer_key_unknown"),
        (Fault::UnknownKid, "bearer_key_unknown"),
    ] {
        refused(brought(&world, &world.provider().mint_wrongly(&fault, API)).await, code);
    }
    let good = world.provider().mint("at+jwt", API, &json!({}));
    let (message, _) = good.rsplit_once('.').unwrap();
    refused(brought(&world, &format!("{message}.")).await, "bearer_signature");
    let (_, rest) = good.split_once('.').unwrap();
    let none = base64url(br#"{"alg":"nOnE","typ":"at+jwt"}"#);
    refused(brought(&world, &format!("{none}.{rest}")).await, "bearer_alg");
    let critical = base64url(br#"{"alg":"RS256","typ":"at+jwt","crit":["x"]}"#);
    refused(brought(&world, &format!("{critical}.{rest}")).await, "bearer_malformed");
}

#[tokio::test]
async fn what_is_no_token_is_refused_without_asking_the_provider() {
    let world = acme().await;
    let huge = world.provider().mint("at+jwt", API, &json!({"padding": "x".repeat(64 * 1024)}));
    for token in ["opaque-as-auth0-makes-it-without-an-audience", "", "a.b", "a.b.c", "..", "a.b.c.d.e", &huge] {
        refused(brought(&world, token).await, "bearer_malformed");
    }
    assert_eq!(world.provider().count(JWKS), 0);
}

#[tokio::test]
async fn two_headers_are_none_and_other_schemes_are_not_ours() {
    let world = acme().await;
    let good = format!("Bearer {}", world.provider().mint("at+jwt", API, &json!({})));
    let problem = said(&world, "acme", &[&good, &good]).await.unwrap_err();
    assert_eq!(problem.code, "bearer_malformed");
    let problem = said(&world, "acme", &["Basic YTpi", &good]).await.unwrap_err();
    assert_eq!(problem.code, "bearer_malformed");
    assert!(said(&world, "acme", &["Basic YTpi"]).await.unwrap().is_none());
    assert!(said(&world, "acme", &[]).await.unwrap().is_none());
}

#[tokio::test]
async fn a_tenant_without_an_api_looks_at_no_bearer() {
    let world = support::acme().await;
    let good = format!("Bearer {}", world.provider().mint("at+jwt", API, &json!({})));
    assert!(said(&world, "acme", &[&good]).await.unwrap().is_none());
    assert!(said(&world, "acme", &["Bearer of the application's own"]).await.unwrap().is_none());
    assert_eq!(world.provider().count(JWKS), 0);
}

#[tokio::test]
async fn the_id_token_of_a_sign_in_is_no_bearer_and_its_access_token_is() {
    let world = support::acme_with(|tenant| {
        with_api(tenant);
        tenant.sign_in.fixed.audience = Some(API.to_owned());
    })
    .await;
    let session = session_of_ada(&world).await;
    let tokens = world.gateway.sessions.opened(&session).await.unwrap().unwrap().tokens;
    refused(brought(&world, tokens.id_token.expose_secret()).await, "bearer_foreign");
    let token = brought(&world, tokens.access_token.as_ref().unwrap().value.expose_secret()).await.unwrap();
    assert_eq!(token.sub, session.sub());
}

async fn session_of_ada(world: &World) -> Arc<Session> {
    let browser = world.signed_in("acme").await;
    let (_, cookie) = browser.cookies_named("lychgate-acme").into_iter().find(|(name, _)| !name.contains('.')).unwrap();
    let tenant = tenant(world, "acme");
    let found = world.gateway.sessions.find(tenant.id(), &tenant.settings.session, &cookie).await.unwrap();
    found.unwrap().session
}

#[tokio::test]
async fn a_token_says_who_asks_even_beside_a_session() {
    let world = acme().await;
    let session = session_of_ada(&world).await;
    let token = brought(&world, &world.provider().mint("at+jwt", API, &json!({"email": "bot@acme.example"}))).await;
    let permit = ask(&world, token.ok(), Some(session.clone())).unwrap();
    assert!(permit.token().is_some() && permit.session().is_none());
    let identity = permit.identity().unwrap();
    assert_eq!((identity.sub, identity.claims.text("email")), ("script@clients", Some("bot@acme.example")));
    let permit = ask(&world, None, Some(session.clone())).unwrap();
    assert_eq!((permit.token().is_some(), permit.identity().unwrap().sub), (false, session.sub()));
}

#[tokio::test]
async fn rules_ask_for_scopes_permissions_and_claims_of_a_token() {
    let world = support::acme_with(|tenant| {
        with_api(tenant);
        let scopes = vec!["read:things".to_owned(), "things:list".to_owned()];
        let claims = vec![Condition { claim: vec!["azp".to_owned()], test: Test::Equals(json!("script")) }];
        let everything = Rule {
            name: None,
            paths: Vec::new(),
            methods: Vec::new(),
            hosts: Vec::new(),
            networks: Networks::default(),
            effect: Effect::Allow { claims, scopes },
        };
        tenant.policy.rules = vec![everything].into();
    })
    .await;
    for (claims, code) in [
        (json!({"permissions": ["things:list"]}), None),
        (json!({"scope": "things:list read:things"}), None),
        (json!({}), Some("bearer_scope")),
        (json!({"scope": "read:thing things:lister"}), Some("bearer_scope")),
        (json!({"permissions": ["things:list"], "azp": "another"}), Some("bearer_denied")),
    ] {
        let token = brought(&world, &world.provider().mint("at+jwt", API, &claims)).await.unwrap();
        let result = ask(&world, Some(token), None).map_err(|problem| (problem.code, problem.challenge));
        assert_eq!(result.as_ref().err().map(|(code, _)| *code), code, "{claims}");
        if let Err(("bearer_scope", challenge)) = result {
            let lacking = "Bearer realm=\"acme\", error=\"insufficient_scope\", scope=\"read:things things:list\"";
            assert_eq!(challenge.as_deref(), Some(lacking));
        }
    }
}

#[tokio::test]
async fn a_token_of_another_tenant_is_refused_also_where_both_have_one_issuer() {
    let (mut acme, mut globex, umbrella) = (
        support::Tenant::start("acme").await,
        support::Tenant::start("globex").await,
        support::Tenant::start("umbrella").await,
    );
    with_api(&mut acme.settings);
    globex.settings.api.audiences = vec!["https://api.globex.example".to_owned()];
    globex.settings.provider.issuer = acme.settings.provider.issuer.clone();
    let (shared, other) = (acme.settings.provider.issuer.clone(), umbrella.settings.provider.issuer.clone());
    assert_ne!(shared, other);
    let world = World::start(vec![acme, globex, umbrella]).await;
    let good = world.providers["acme"].mint("at+jwt", API, &json!({}));
    assert!(brought(&world, &good).await.is_ok());
    assert!(brought(&world, &good).await.is_ok(), "from the cache");
    let elsewhere = said(&world, "globex", &[&format!("Bearer {good}")]).await.unwrap_err();
    assert_eq!(elsewhere.code, "bearer_aud", "the cache of one tenant is not the other's");
    refused(brought(&world, &world.providers["umbrella"].mint("at+jwt", API, &json!({}))).await, "bearer_key_unknown");
    world.providers["umbrella"].share_keys_of(&world.providers["acme"]);
    refused(brought(&world, &world.providers["umbrella"].mint("at+jwt", API, &json!({}))).await, "bearer_iss");
}

#[tokio::test]
async fn a_tenant_of_organizations_takes_tokens_of_their_members_alone() {
    let world = support::acme_with(|tenant| {
        with_api(tenant);
        tenant.sign_in.organizations = vec!["org_one".to_owned(), "two".to_owned()];
    })
    .await;
    let with = |claims: Value| world.provider().mint("at+jwt", API, &claims);
    assert!(brought(&world, &with(json!({"org_id": "org_one"}))).await.is_ok());
    assert!(brought(&world, &with(json!({"org_id": "org_2", "org_name": "Two"}))).await.is_ok());
    for claims in [json!({}), json!({"org_id": "org_three"}), json!({"org_id": "two"}), json!({"org_name": "org_one"})]
    {
        refused(brought(&world, &with(claims)).await, "bearer_organization");
    }
}

#[tokio::test]
async fn a_token_that_was_good_is_good_until_it_ends_even_while_the_provider_is_down() {
    let mut world = acme().await;
    let token = world.provider().mint("at+jwt", API, &json!({}));
    let first = brought(&world, &token).await.unwrap();
    world.providers.get_mut("acme").unwrap().stop().await;
    world.pass(200);
    for _ in 0..3 {
        let again = brought(&world, &token).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again));
    }
    assert_eq!(world.metric("lychgate_cache_requests_total{cache=\"access_tokens\",result=\"hit\"}"), 3);
    world.pass(130);
    assert!(brought(&world, &token).await.is_ok(), "within the leeway");
    world.pass(31);
    refused(brought(&world, &token).await, "bearer_expired");
    refused(brought(&world, &token).await, "bearer_expired");
}

#[tokio::test]
async fn without_the_providers_keys_nothing_is_known_about_a_token() {
    let mut world = acme().await;
    let token = world.provider().mint("at+jwt", API, &json!({}));
    world.providers.get_mut("acme").unwrap().stop().await;
    let problem = brought(&world, &token).await.unwrap_err();
    assert_eq!((problem.code, problem.challenge.as_deref()), ("provider_unreachable", None));
    assert!(problem.retry_after.is_some());
    assert_eq!(problem.presentation().0, 503);
    world.providers.get_mut("acme").unwrap().restart().await.unwrap();
    world.pass(5);
    assert!(brought(&world, &token).await.is_ok(), "a failure is not remembered for long");
}

#[tokio::test]
async fn a_flood_of_tokens_with_unknown_keys_does_not_reach_the_provider() {
    let world = acme().await;
    for _ in 0..40 {
        let token = world.provider().mint_wrongly(&Fault::UnknownKid, API);
        refused(brought(&world, &token).await, "bearer_key_unknown");
    }
    assert_eq!(world.provider().count(JWKS), 2, "one for the set, one for the sake of an unknown key");
    world.provider().rotate_keys();
    world.provider().rotate_keys();
    let rotated = world.provider().mint("at+jwt", API, &json!({}));
    refused(brought(&world, &rotated).await, "bearer_key_unknown");
    world.pass(61);
    assert!(brought(&world, &rotated).await.is_ok(), "a minute later the new key is found");
}

#[tokio::test]
async fn a_failure_is_not_remembered_as_a_success() {
    let world = acme().await;
    let token = world.provider().mint("at+jwt", API, &json!({"nbf": world.clock.now().plus(100).0}));
    refused(brought(&world, &token).await, "bearer_nbf");
    refused(brought(&world, &token).await, "bearer_nbf");
    world.pass(41);
    assert!(brought(&world, &token).await.is_ok());
    let series = |result: &str| {
        world.metric(&format!(
            "lychgate_token_validations_total{{kind=\"access_token\",result=\"{result}\",tenant=\"acme\"}}"
        ))
    };
    assert_eq!((series("bearer_nbf"), series("ok")), (2, 1));
}

#[tokio::test]
async fn what_a_token_lacks_is_said_in_the_words_of_rfc_6750_and_rfc_9470() {
    let world = acme().await;
    let tenant = tenant(&world, "acme");
    let said = |verdict| bearer::refusal(&tenant, &Decision { verdict, by: By::Default });
    let scopes = ["read:things".to_owned(), "write:\"x\"".to_owned()];
    let problem = said(Verdict::MissingScopes(&scopes));
    assert_eq!(
        problem.challenge.as_deref(),
        Some("Bearer realm=\"acme\", error=\"insufficient_scope\", scope=\"read:things write:x\"")
    );
    assert_eq!(problem.presentation().0, 403);
    let problem = said(Verdict::StepUp(StepUp { max_age: Some(300), acr_values: Some("phr") }));
    assert_eq!(
        problem.challenge.as_deref(),
        Some("Bearer realm=\"acme\", error=\"insufficient_user_authentication\", max_age=\"300\", acr_values=\"phr\"")
    );
    assert_eq!(problem.presentation().0, 401);
    let problem = said(Verdict::Denied);
    assert_eq!((problem.challenge.as_deref(), problem.presentation().0.as_u16()), (None, 403));
}

#[tokio::test]
async fn a_script_without_credentials_is_told_that_a_bearer_would_do() {
    let world = acme().await;
    let mut script = world.browser().with("accept", "application/json").with("sec-fetch-mode", "cors");
    let page = script.get("/acme/session").await;
    assert_eq!((page.status.as_u16(), page.header(WWW_AUTHENTICATE)), (401, "Bearer realm=\"acme\""));
    let mut person = world.browser();
    let page = person.get("/acme/session").await;
    assert_eq!((page.status.as_u16(), page.header(WWW_AUTHENTICATE)), (401, "Session realm=\"lychgate\""));
    let plain = support::acme().await;
    let page = plain.browser().with("accept", "application/json").get("/acme/session").await;
    assert_eq!((page.status.as_u16(), page.header(WWW_AUTHENTICATE)), (401, "Session realm=\"lychgate\""));
}

/// What a proxy is told about a request to an application with these headers: by nginx's endpoint, or by Traefik's.
async fn asked(world: &World, browser: &Browser, nginx: bool, headers: &[(&'static str, &str)]) -> Page {
    let mut asking = browser.clone();
    asking.headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    asking.headers.push(("x-forwarded-for", "203.0.113.7".to_owned()));
    let host = world.address.to_string();
    let about: &[(&'static str, &str)] = match nginx {
        true => &[("x-original-url", &world.url("/things")), ("x-original-method", "GET")],
        false => &[
            ("x-forwarded-method", "GET"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", &host),
            ("x-forwarded-uri", "/things"),
        ],
    };
    asking.headers.extend(about.iter().map(|(name, value)| (*name, (*value).to_owned())));
    asking.get(if nginx { "/acme/auth" } else { "/acme/auth/traefik" }).await
}

#[tokio::test]
async fn a_proxy_is_told_whose_token_it_is_and_what_it_lacks() {
    let world = support::acme_with(|tenant| {
        with_api(tenant);
        let rule = |path: &str, effect| Rule {
            name: None,
            paths: vec![PathPattern::parse(path).unwrap()],
            methods: Vec::new(),
            hosts: Vec::new(),
            networks: Networks::default(),
            effect,
        };
        let scopes = vec!["read:things".to_owned()];
        tenant.policy.rules = vec![rule("/things", Effect::Allow { claims: Vec::new(), scopes })].into();
    })
    .await;
    let signed_in = world.signed_in("acme").await;
    let bearer = |claims: Value| format!("Bearer {}", world.provider().mint("at+jwt", API, &claims));
    for nginx in [true, false] {
        let page = asked(&world, &world.browser(), nginx, &[("authorization", &bearer(json!({})))]).await;
        assert_eq!(
            (page.status.as_u16(), page.header("x-auth-request-user")),
            (200, "script@clients"),
            "{}",
            page.body
        );
        assert_eq!((page.header("x-auth-request-email"), page.body.as_str()), ("", ""));

        let page =
            asked(&world, &world.browser(), nginx, &[("authorization", &bearer(json!({"scope": "write:things"})))])
                .await;
        assert_eq!((page.status.as_u16(), page.json()["code"].as_str()), (403, Some("bearer_scope")), "{}", page.body);
        assert!(page.header(WWW_AUTHENTICATE).ends_with("error=\"insufficient_scope\", scope=\"read:things\""));

        for browser in [&world.browser(), &signed_in] {
            let page = asked(&world, browser, nginx, &[("authorization", &bearer(json!({"aud": "other"})))]).await;
            assert_eq!((page.status.as_u16(), page.json()["code"].as_str()), (401, Some("bearer_aud")));
            assert!(page.header(WWW_AUTHENTICATE).starts_with("Bearer realm=\"acme\", error=\"invalid_token\""));
            assert!(!page.headers.contains_key("x-auth-request-user") && !page.headers.contains_key("location"));
        }

        let page = asked(&world, &world.browser(), nginx, &[("accept", "application/json")]).await;
        assert_eq!((page.status.as_u16(), page.header(WWW_AUTHENTICATE)), (401, "Bearer realm=\"acme\""));
    }
    let refused = "lychgate_forward_auth_decisions_total{outcome=\"invalid_token\",tenant=\"acme\"}";
    assert_eq!(world.metric(refused), 4);
}

#[tokio::test]
async fn the_application_gets_the_token_where_the_tenant_says_so() {
    let world = support::acme_with(|tenant| {
        with_api(tenant);
        let names = Arc::make_mut(&mut tenant.identity.headers);
        names.push((AUTHORIZATION, IdentityValue::BearerAccessToken));
        names.push(("x-id".parse().unwrap(), IdentityValue::BearerIdToken));
    })
    .await;
    let bearer = format!("Bearer {}", world.provider().mint("at+jwt", API, &json!({})));
    let page = asked(&world, &world.browser(), true, &[("authorization", &bearer)]).await;
    assert_eq!((page.header(AUTHORIZATION), page.header("x-id")), (bearer.as_str(), ""));
}

#[tokio::test]
async fn a_token_never_prints_its_claims() {
    let world = acme().await;
    let token = brought(&world, &world.provider().mint("at+jwt", API, &json!({"email": "bot@acme.example"}))).await;
    let token = token.unwrap();
    assert!(!format!("{token:?}").contains("acme.example"), "{token:?}");
    assert!(token.ends_at > Timestamp(0));
}
