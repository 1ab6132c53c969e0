//! Server-side request forgery: a provider, or a token, that sends the gateway to where only the gateway can go.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::hostile::{DISCOVERY, FAR, Hostile, answer, document};
use crate::recorder::Recorder;
use crate::support::{self, Tenant, World};

/// Every endpoint of a discovery document that the gateway uses.
const ENDPOINTS: [&str; 7] = [
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "userinfo_endpoint",
    "revocation_endpoint",
    "pushed_authorization_request_endpoint",
    "end_session_endpoint",
];

/// What starting a sign-in comes to: a status and an error code.
async fn sign_in(world: &World) -> (u16, String) {
    let page = world.browser().get("/acme/login").await;
    (page.status.as_u16(), page.code().to_owned())
}

const REFUSED: &str = r#"lychgate_provider_requests_total{endpoint="discovery",outcome="provider_address_refused",provider="oidc",tenant="acme"}"#;

#[tokio::test]
async fn a_discovery_document_sends_us_to_no_address_of_ours_our_link_or_a_metadata_service() {
    let provider = Hostile::far().await;
    let world = provider.world(|_| {}).await;
    assert_eq!(sign_in(&world).await.0, 302, "a good document is taken");
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "localhost",
        "sub.localhost.",
        "0.0.0.0",
        "169.254.169.254",
        "0xa9fea9fe",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[64:ff9b::a9fe:a9fe]",
        "168.63.129.16",
        "100.100.100.200",
    ];
    let mut refused = 0;
    for (number, host) in hosts.iter().enumerate() {
        let endpoint = ENDPOINTS[number % ENDPOINTS.len()];
        provider.publish(&json!({ endpoint: format!("https://{host}/latest/meta-data/") }));
        // The good document, and the pause after the last failure, are over.
        world.pass(8 * 24 * 3600);
        assert_eq!(sign_in(&world).await, (502, "provider_address_refused".to_owned()), "{endpoint}: {host}");
        refused += 1;
        assert_eq!(world.metric(REFUSED), refused, "{endpoint}: {host}");
    }
    for endpoint in ENDPOINTS {
        provider.publish(&json!({ endpoint: "https://169.254.169.254/latest/meta-data/" }));
        world.pass(8 * 24 * 3600);
        assert_eq!(sign_in(&world).await.1, "provider_address_refused", "{endpoint}");
    }
    for line in provider.asked() {
        assert!(
            line.starts_with("CONNECT id.example:443 ") || line.starts_with(&format!("GET {DISCOVERY} ")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_discovery_document_may_lead_into_a_private_network() {
    let provider = Hostile::far().await;
    for host in ["10.0.0.1", "192.168.7.7", "172.16.0.1:8443", "[fd12:3456::1]", "keycloak.auth.svc.cluster.local"] {
        provider.publish(&json!({ "pushed_authorization_request_endpoint": format!("https://{host}/par"), "require_pushed_authorization_requests": true }));
        let world = provider.world(|_| {}).await;
        sign_in(&world).await;
        let asked = provider.asked();
        let there = format!("CONNECT {host}");
        assert!(asked.iter().any(|line| line.starts_with(&there)), "{host}: {asked:?}");
    }
}

#[tokio::test]
async fn an_endpoint_without_tls_is_not_asked() {
    let provider = Hostile::far().await;
    for url in [
        "http://id.example/token",
        "http://127.0.0.1/token",
        "ftp://id.example/",
        "file:///etc/passwd",
        "gopher://id.example/",
    ] {
        provider.publish(&json!({ "token_endpoint": url }));
        let world = provider.world(|_| {}).await;
        assert_eq!(sign_in(&world).await, (502, "discovery_unsupported".to_owned()), "{url}");
    }
    let near = Hostile::near().await;
    for url in ["http://10.0.0.1/token", "http://id.example/token"] {
        near.publish(&json!({ "token_endpoint": url }));
        let world = near.world(|_| {}).await;
        assert_eq!(sign_in(&world).await, (502, "discovery_unsupported".to_owned()), "{url}");
    }
}

#[tokio::test]
async fn an_issuer_on_loopback_may_have_its_endpoints_there_and_still_nowhere_else_inside() {
    let provider = Hostile::near().await;
    let world = provider.world(|_| {}).await;
    assert_eq!(sign_in(&world).await.0, 302);
    provider.publish(&json!({ "jwks_uri": "https://169.254.169.254/" }));
    let world = provider.world(|_| {}).await;
    assert_eq!(sign_in(&world).await, (502, "provider_address_refused".to_owned()));
}

#[tokio::test]
async fn what_an_operator_names_is_asked_wherever_it_is() {
    let provider = Hostile::far().await;
    let par = "pushed_authorization_request_endpoint";
    let world = provider
        .world(|tenant| {
            tenant.provider.par = true;
            tenant.provider.fetch.endpoints.insert(par.to_owned(), "https://169.254.1.1/par".parse().unwrap());
        })
        .await;
    sign_in(&world).await;
    assert!(provider.asked().iter().any(|line| line.starts_with("CONNECT 169.254.1.1:443")), "{:?}", provider.asked());
}

#[tokio::test]
async fn no_redirect_of_a_provider_is_followed() {
    let victim = Recorder::start().await;
    let inside = format!("http://{}/admin", victim.address);
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("location: {inside}\r\n");
        let provider = Hostile::near().await;
        provider.say(DISCOVERY, answer(status, &location, ""));
        let world = provider.world(|_| {}).await;
        assert_eq!(sign_in(&world).await, (502, "provider_answer_malformed".to_owned()), "{status}");

        let provider = Hostile::near().await;
        provider.publish(&json!({ "require_pushed_authorization_requests": true }));
        provider.say("/par", answer(status, &location, ""));
        let world = provider.world(|_| {}).await;
        assert_eq!(sign_in(&world).await, (502, "provider_answer_malformed".to_owned()), "{status}");

        provider.publish(&json!({}));
        for path in ["/token", "/jwks"] {
            provider.say(path, answer(status, &location, ""));
        }
        let world = provider.world(|_| {}).await;
        let mut browser = world.browser();
        let sent = browser.get("/acme/login").await.location();
        let state = sent.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        let page = browser.get(&format!("/acme/callback?code=c&state={state}")).await;
        assert_eq!((page.status.as_u16(), page.code()), (502, "provider_answer_malformed"), "{status}");
    }
    assert_eq!(victim.connections(), 0);
}

fn unsigned(header: &Value, claims: &Value) -> String {
    use lychgate::secret::base64url;
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    format!("{}.{}.{}", part(header), part(claims), base64url(&[7; 256]))
}

#[tokio::test]
async fn no_address_in_a_token_is_asked() {
    let victim = Recorder::start().await;
    let inside = format!("http://{}/jwks", victim.address);
    let provider = Hostile::near().await;
    provider.say("/jwks", document("", json!({ "keys": [rsa("k")] }).to_string()));
    let api = "https://api.acme.example";
    let world = provider.world(|tenant| tenant.api.audiences = vec![api.to_owned()]).await;
    let header = json!({ "alg": "RS256", "kid": "k", "typ": "at+jwt", "jku": inside, "x5u": inside, "iss": inside });
    let claims = json!({ "iss": provider.issuer, "sub": "a", "aud": api, "exp": 9_999_999_999_i64, "jku": inside, "_claim_sources": { "a": { "endpoint": inside } } });
    let token = unsigned(&header, &claims);
    let mut script = world
        .browser()
        .with("authorization", &format!("Bearer {token}"))
        .with("x-forwarded-for", "203.0.113.7")
        .with("x-original-method", "GET")
        .with("x-original-url", &world.url("/acme/dashboard"));
    assert_eq!(script.get("/acme/auth").await.status, StatusCode::UNAUTHORIZED);
    let page = world.browser().post("/acme/backchannel-logout", &format!("logout_token={token}")).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert_eq!(victim.connections(), 0);
    assert!(provider.asked().iter().any(|line| line.starts_with("GET /jwks ")), "the token was looked at");
}

/// A key that nobody has the other half of.
fn rsa(kid: &str) -> Value {
    json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": lychgate::secret::base64url(&[0xff; 256]), "e": "AQAB" })
}

#[tokio::test]
async fn a_picture_is_for_browsers_alone() {
    let victim = Recorder::start().await;
    let picture = format!("https://{}/picture.png", victim.address);
    let tenant = Tenant::start_with("acme", |spec| {
        spec.users[0].claims.insert("picture".to_owned(), picture.clone().into());
    })
    .await;
    let world = World::start(vec![tenant]).await;
    let mut ada = world.signed_in("acme").await;
    let page = ada.get("/acme/dashboard").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(ada.session("acme").await.unwrap().to_string().contains(&picture), "it was known");
    assert_eq!(victim.connections(), 0);
}

#[tokio::test]
async fn a_sign_in_that_somebody_else_starts_sends_us_to_no_issuer_of_theirs() {
    let victim = Recorder::start().await;
    let inside = format!("http%3A%2F%2F{}%2F", victim.address);
    let world = support::acme().await;
    for query in [format!("iss={inside}"), format!("iss={inside}&target_link_uri={inside}"), format!("iss={FAR}")] {
        let page = world.browser().get(&format!("/acme/login?{query}")).await;
        assert_eq!((page.status.as_u16(), page.code()), (400, "issuer_not_ours"), "{query}");
    }
    assert_eq!(victim.connections(), 0);
}
