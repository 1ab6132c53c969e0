//! What the provider does, asked over its socket by a browser and by a client of a few lines.

mod clients;
mod fault_orders;
mod sign_ins;
mod sign_outs;
mod token_faults;
mod tokens;

use std::collections::HashMap;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode};
use serde_json::{Map, Value};

use super::{Client, Provider, ProviderSpec, User};
use crate::clock::Clock;
use crate::secret::{ExposeSecret as _, base64url, from_base64url, sha256};

const CLIENT: &str = "gateway";
const CALLBACK: &str = "http://localhost:3000/acme/callback";
const LOGGED_OUT: &str = "http://localhost:3000/acme/logged-out";
const ADA: &str = "ada@acme.example";
const PASSWORD: &str = "correct horse";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-x";

/// A provider, and somebody's browser and a client at it.
struct Scene {
    provider: Provider,
    clock: Clock,
    secret: String,
    http: reqwest::Client,
    cookie: Option<String>,
}

fn form(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Sets or, with an empty value, removes parameters.
fn changed(mut params: Vec<(String, String)>, changes: &[(&str, &str)]) -> Vec<(String, String)> {
    for (name, value) in changes {
        params.retain(|(key, _)| key != name);
        if !value.is_empty() {
            params.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    params
}

/// A good authorization request.
fn request() -> Vec<(String, String)> {
    form(&[
        ("client_id", CLIENT),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid profile email offline_access"),
        ("state", "the-state"),
        ("nonce", "the-nonce"),
        ("code_challenge", &challenge()),
        ("code_challenge_method", "S256"),
    ])
}

fn challenge() -> String {
    base64url(&sha256(VERIFIER.as_bytes()))
}

/// The query of a URL; later values of a doubled name win.
fn query(url: &str) -> HashMap<String, String> {
    url::Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

fn location(response: &Response) -> String {
    assert_eq!(response.status(), StatusCode::FOUND);
    response.headers()[LOCATION].to_str().unwrap().to_owned()
}

fn claims_of(token: &str) -> Map<String, Value> {
    part(token, 1)
}

fn header_of(token: &str) -> Map<String, Value> {
    part(token, 0)
}

fn part(token: &str, index: usize) -> Map<String, Value> {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&from_base64url(part).unwrap()).unwrap()
}

fn ada() -> User {
    User::new(ADA, PASSWORD, "Ada Lovelace")
        .with("https://acme.example/roles", vec!["admin"])
        .in_organization("org_labs", "labs")
}

fn spec() -> ProviderSpec {
    let mut client = Client::new(CLIENT);
    client.redirect_uris.push(CALLBACK.to_owned());
    client.logout_uris.push(LOGGED_OUT.to_owned());
    let mut spec = ProviderSpec::new("Acme");
    spec.clients.push(client);
    spec.users.push(ada());
    spec
}

impl Scene {
    async fn new() -> Self {
        Self::of(spec()).await
    }

    async fn of(spec: ProviderSpec) -> Self {
        let clock = Clock::system();
        let secret = spec.clients[0].secret.clone().unwrap_or_default().expose_secret().to_owned();
        let provider = Provider::start(spec, "127.0.0.1:0".parse().unwrap(), clock.clone()).await.unwrap();
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { provider, clock, secret, http, cookie: None }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.provider.address())
    }

    /// A GET by the browser.
    async fn get(&mut self, url: &str) -> Response {
        let request = self.http.get(url).header(COOKIE, self.cookie.clone().unwrap_or_default());
        let response = request.send().await.unwrap();
        self.take_cookie(response)
    }

    /// A form sent by the browser.
    async fn submit(&mut self, url: &str, pairs: &[(&str, &str)]) -> Response {
        let request = self.http.post(url).header(COOKIE, self.cookie.clone().unwrap_or_default()).form(pairs);
        let response = request.send().await.unwrap();
        self.take_cookie(response)
    }

    fn take_cookie(&mut self, response: Response) -> Response {
        if let Some(cookie) = response.headers().get(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let pair = cookie.split(';').next().unwrap().to_owned();
            self.cookie = (!cookie.contains("Max-Age=0")).then_some(pair);
        }
        response
    }

    /// `/authorize` with these changes to a good request.
    async fn authorize(&mut self, changes: &[(&str, &str)]) -> Response {
        let params = changed(request(), changes);
        let url = url::Url::parse_with_params(&self.url("/authorize"), params).unwrap();
        self.get(url.as_str()).await
    }

    /// The parameters of the response to [`Self::authorize`], without a page in between.
    async fn response(&mut self, changes: &[(&str, &str)]) -> HashMap<String, String> {
        let response = self.authorize(changes).await;
        let location = location(&response);
        assert!(location.starts_with(CALLBACK), "{location}");
        query(&location)
    }

    /// A code for Ada, who signs in without a page.
    async fn code(&mut self, changes: &[(&str, &str)]) -> String {
        self.provider.auto_approve(Some(ADA));
        self.response(changes).await["code"].clone()
    }

    /// POST to the token endpoint as the client, with these changes to the redemption of a code.
    async fn token(&self, changes: &[(&str, &str)]) -> (StatusCode, Map<String, Value>) {
        let redemption = form(&[
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT),
            ("client_secret", &self.secret),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ]);
        let response = self.http.post(self.url("/oauth/token")).form(&changed(redemption, changes));
        let response = response.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// A sign-in from beginning to end.
    async fn tokens(&mut self, changes: &[(&str, &str)]) -> Map<String, Value> {
        let code = self.code(changes).await;
        let (status, body) = self.token(&[("code", &code)]).await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        body
    }

    async fn id_token(&mut self, changes: &[(&str, &str)]) -> String {
        self.tokens(changes).await["id_token"].as_str().unwrap().to_owned()
    }

    async fn userinfo(&self, access_token: &Value) -> (StatusCode, Map<String, Value>) {
        let request = self.http.get(self.url("/userinfo")).bearer_auth(access_token.as_str().unwrap());
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn key_set(&self) -> JwkSet {
        self.http.get(self.url("/.well-known/jwks.json")).send().await.unwrap().json().await.unwrap()
    }

    async fn metadata(&self) -> Map<String, Value> {
        let url = self.url("/.well-known/openid-configuration");
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Whether a key of the key set, found by `kid`, verifies the signature.
    async fn verifies(&self, token: &str) -> bool {
        let header = decode_header(token).unwrap();
        let Some(key) = self.key_set().await.find(header.kid.as_deref().unwrap()).cloned() else { return false };
        let mut validation = Validation::new(header.alg);
        validation.validate_aud = false;
        decode::<Map<String, Value>>(token, &DecodingKey::from_jwk(&key).unwrap(), &validation).is_ok()
    }
}
