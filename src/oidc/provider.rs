//! One tenant's provider: the requests of a sign-in and a sign-out. Those of a renewal are in `refresh`.

mod refresh;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use openidconnect::core::{CoreAuthenticationFlow, CoreClient};
use openidconnect::{
    AuthUrl, ClientId, CsrfToken, IssuerUrl, JsonWebKeySet, Nonce, PkceCodeChallenge, PkceCodeVerifier, Scope,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

pub use self::refresh::{Held, Refreshed};
use super::bearer::Verified;
use super::client_auth::ClientAuthenticator;
use super::fetch::{Answer, Endpoint, Fetcher};
use super::id_token::{Checks, VerifiedClaims, check, unverified};
use super::jwt::UnverifiedJwt;
use super::key_set::KeySet;
use super::metadata::Metadata;
use super::source::Source;
use super::{Expected, ProviderError, ProviderSetupError, Providers, RedeemError, ResponseError};
use crate::clock::Timestamp;
use crate::config::{AuthorizeParams, ClientAuth, ProviderSettings, ResponseMode, SigningAlg};
use crate::secret::{ExposeSecret as _, SecretString, random_text};
use crate::tenant_id::TenantId;

/// Bytes of an id token that still go into the URL of a sign-out; servers refuse URLs much longer than that.
const MAX_ID_TOKEN_HINT: usize = 4096;
/// Claims that say what the id token is, not who the user is: userinfo has no say in them.
const PROTOCOL_CLAIMS: [&str; 20] = [
    "acr",
    "amr",
    "at_hash",
    "aud",
    "auth_time",
    "azp",
    "c_hash",
    "cnf",
    "events",
    "exp",
    "iat",
    "iss",
    "jti",
    "nbf",
    "nonce",
    "org_id",
    "org_name",
    "session_expiry",
    "sid",
    "sub",
];

/// A tenant's view of its provider. Cheap to clone.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {
    providers: Arc<Providers>,
    source: Arc<Source>,
    fetcher: Fetcher,
    settings: ProviderSettings,
    authenticator: ClientAuthenticator,
}

/// What a sign-in asks for (OpenID Connect Core, section 3.1.2.1).
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    /// Where the answer comes back.
    pub redirect_uri: &'a str,
    /// Unguessable; ties the answer to the browser.
    pub state: &'a str,
    /// Unguessable; ties the id token to the sign-in.
    pub nonce: &'a str,
    /// 43 to 128 characters (RFC 7636, section 4.1); its hash is sent.
    pub pkce_verifier: &'a SecretString,
    /// `openid` is added if it is not among them.
    pub scopes: &'a [String],
    /// How the answer comes back.
    pub response_mode: ResponseMode,
    /// Parameters we know.
    pub params: &'a AuthorizeParams,
    /// Parameters of any other name; one that is already set is ignored.
    pub extra: &'a BTreeMap<String, String>,
}

/// What a sign-out tells the provider (OpenID Connect RP-Initiated Logout 1.0, section 2).
#[derive(Clone, Copy, Debug)]
pub struct SignOutRequest<'a> {
    /// The id token of the session that ends.
    pub id_token_hint: Option<&'a SecretString>,
    /// The provider's id of that session, for Auth0 where the id token is too long for a URL.
    pub sid: Option<&'a str>,
    /// Where the browser lands in the end.
    pub post_logout_redirect_uri: &'a str,
    /// Whether the identity provider behind an Auth0 tenant is signed out of as well.
    pub federated: bool,
    /// Comes back with the browser.
    pub state: Option<&'a str>,
    /// Languages, best first, parted by blanks.
    pub ui_locales: Option<&'a str>,
}

/// A sign-in that passed every check.
#[derive(Clone, Debug)]
pub struct Redeemed {
    /// Claims of the id token, and of userinfo where asked for.
    pub claims: Map<String, Value>,
    /// The id token as it came.
    pub id_token: SecretString,
    /// The access token.
    pub access_token: SecretString,
    /// When that expires, if the provider said.
    pub access_token_expires_at: Option<Timestamp>,
    /// The refresh token, if there is one.
    pub refresh_token: Option<SecretString>,
    /// What was granted, if the provider said.
    pub scope: Option<String>,
    /// The subject at the provider.
    pub sub: String,
    /// The session at the provider.
    pub sid: Option<String>,
    /// The end of the session by the provider's wish.
    pub session_expiry: Option<Timestamp>,
}

/// A form, as it is posted.
type Form = Vec<(String, String)>;

/// The answer of the token endpoint (RFC 6749, section 5.1; OpenID Connect Core, section 3.1.3.3).
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    token_type: Option<String>,
    id_token: Option<String>,
    refresh_token: Option<String>,
    /// Seconds; some write them as a text.
    expires_in: Option<Value>,
    scope: Option<String>,
}

impl TokenAnswer {
    fn lifetime(&self) -> Option<i64> {
        let seconds = self.expires_in.as_ref()?;
        seconds.as_i64().or_else(|| seconds.as_str()?.trim().parse().ok()).filter(|seconds| *seconds >= 0)
    }
}

/// The answer of the PAR endpoint (RFC 9126, section 2.2).
#[derive(Deserialize)]
struct PushAnswer {
    request_uri: String,
}

impl Provider {
    pub(super) fn new(
        providers: Arc<Providers>,
        source: Arc<Source>,
        fetcher: Fetcher,
        settings: ProviderSettings,
    ) -> Result<Self, ProviderSetupError> {
        let authenticator = ClientAuthenticator::new(&settings.client_auth, &settings.client_id)?;
        Ok(Self(Arc::new(Inner { providers, source, fetcher, settings, authenticator })))
    }

    /// Where to send the browser. Pushed first (RFC 9126) where configured or required.
    ///
    /// # Errors
    /// The discovery document cannot be had or does not fit the tenant, or the push failed.
    pub async fn authorization_url(&self, request: &AuthorizationRequest<'_>) -> Result<Url, ProviderError> {
        let metadata = self.metadata().await?;
        metadata.check_alg(self.0.settings.id_token_alg)?;
        let url = self.plain_authorization_url(&metadata, request);
        if self.0.settings.par || metadata.par_required { self.push(&metadata, &url).await } else { Ok(url) }
    }

    fn plain_authorization_url(&self, metadata: &Metadata, request: &AuthorizationRequest<'_>) -> Url {
        let (state, nonce) = (CsrfToken::new(request.state.to_owned()), Nonce::new(request.nonce.to_owned()));
        let verifier = PkceCodeVerifier::new(request.pkce_verifier.expose_secret().to_owned());
        let issuer = IssuerUrl::from_url(self.0.source.issuer_url.clone());
        let client_id = ClientId::new(self.0.settings.client_id.clone());
        let client = CoreClient::new(client_id, issuer, JsonWebKeySet::default())
            .set_auth_uri(AuthUrl::from_url(metadata.authorization_endpoint.clone()));
        // The crate adds `openid` by itself.
        let scopes = request.scopes.iter().filter(|scope| *scope != "openid").cloned().map(Scope::new);
        let mut url = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || state, || nonce)
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_scopes(scopes)
            .add_extra_param("redirect_uri", request.redirect_uri)
            .url()
            .0;
        let form_post = (request.response_mode == ResponseMode::FormPost).then_some("form_post");
        append(&mut url, [("response_mode", form_post)]);
        append_params(&mut url, request.params);
        let taken: HashSet<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
        let extra = request.extra.iter().filter(|(name, _)| !taken.contains(*name));
        append(&mut url, extra.map(|(name, value)| (name.as_str(), Some(value.as_str()))));
        url
    }

    /// Pushes the request that `url` makes and returns the short URL in its place (RFC 9126, sections 2.1 and 4).
    async fn push(&self, metadata: &Metadata, url: &Url) -> Result<Url, ProviderError> {
        let mut short = metadata.authorization_endpoint.clone();
        // What the endpoint's own query says stays there. The authenticator names the client.
        let own = short.query_pairs().count();
        let pairs = url.query_pairs().skip(own).filter(|(name, _)| name != "client_id");
        let form = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let read = |answer: &Answer| answer.json::<PushAnswer>();
        let pushed = self.post(Endpoint::Par, metadata.par_endpoint()?, form, read).await?;
        let client_id = self.0.settings.client_id.as_str();
        append(&mut short, [("client_id", Some(client_id)), ("request_uri", Some(&pushed.request_uri))]);
        Ok(short)
    }

    /// Checks the `iss` of an authorization response (RFC 9207, section 2.4).
    ///
    /// # Errors
    /// It is another, or missing though the provider always sends it; or the discovery document cannot be had.
    pub async fn check_response_issuer(&self, unverified_iss: Option<&str>) -> Result<(), ResponseError> {
        match unverified_iss {
            Some(issuer) if issuer == self.issuer() => Ok(()),
            Some(_) => Err(ResponseError::Issuer),
            None if self.metadata().await?.response_issuer => Err(ResponseError::IssuerMissing),
            None => Ok(()),
        }
    }

    /// Exchanges a code for tokens and checks them (OpenID Connect Core, sections 3.1.3 and 5.3).
    ///
    /// # Errors
    /// Whatever is wrong with provider, code or tokens.
    pub async fn redeem(
        &self,
        code: &SecretString,
        redirect_uri: &str,
        pkce_verifier: &SecretString,
        expected: &Expected<'_>,
    ) -> Result<Redeemed, RedeemError> {
        let metadata = self.metadata().await?;
        let answer = self.exchange(&metadata, code, redirect_uri, pkce_verifier).await?;
        let access_token_expires_at = answer.lifetime().map(|seconds| self.now().plus(seconds));
        let TokenAnswer { access_token, token_type, id_token, refresh_token, scope, .. } = answer;
        let malformed = |fault| RedeemError::TokenAnswerMalformed { fault };
        let access_token: SecretString = access_token.ok_or(malformed("has no access_token"))?.into();
        if !token_type.is_some_and(|kind| kind.eq_ignore_ascii_case("Bearer")) {
            return Err(malformed("has another token_type than Bearer"));
        }
        let id_token: SecretString = id_token.unwrap_or_default().into();
        let checked = self.check_id_token(&id_token, &access_token, expected).await;
        self.count_validation("id_token", checked.as_ref().map_or_else(RedeemError::code, |_| "ok"));
        let VerifiedClaims { mut claims, sub, sid, session_expiry } = checked?;
        if self.0.settings.userinfo {
            self.add_userinfo(&metadata, &access_token, &sub, &mut claims).await?;
        }
        Ok(Redeemed {
            claims,
            id_token,
            access_token,
            access_token_expires_at,
            refresh_token: refresh_token.map(SecretString::from),
            scope,
            sub,
            sid,
            session_expiry,
        })
    }

    async fn exchange(
        &self,
        metadata: &Metadata,
        code: &SecretString,
        redirect_uri: &str,
        pkce_verifier: &SecretString,
    ) -> Result<TokenAnswer, RedeemError> {
        let form = form([
            ("grant_type", "authorization_code"),
            ("code", code.expose_secret()),
            ("redirect_uri", redirect_uri),
            ("code_verifier", pkce_verifier.expose_secret()),
        ]);
        match self.post(Endpoint::Token, &metadata.token_endpoint, form, Answer::json).await {
            Err(ProviderError::RequestRefused { error }) if error == "invalid_grant" => Err(RedeemError::CodeRefused),
            result => Ok(result?),
        }
    }

    async fn check_id_token(
        &self,
        id_token: &SecretString,
        access_token: &SecretString,
        expected: &Expected<'_>,
    ) -> Result<VerifiedClaims, RedeemError> {
        let unverified = unverified(id_token.expose_secret())?;
        let keys = self.keys_for(&unverified, self.0.settings.id_token_alg).await?;
        Ok(check(unverified, &keys, &self.checks(access_token, expected))?)
    }

    fn checks<'a>(&'a self, access_token: &'a SecretString, expected: &'a Expected<'a>) -> Checks<'a> {
        let settings = &self.0.settings;
        Checks {
            issuer: &settings.issuer,
            client_id: &settings.client_id,
            alg: settings.id_token_alg,
            client_secret: self.client_secret(),
            leeway: settings.leeway,
            id_token_max_age: settings.id_token_max_age,
            now: self.now(),
            expected,
            access_token: Some(access_token),
        }
    }

    /// The key set, fetched once more if it does not know the token's key; none for a signature with the client secret.
    pub(super) async fn keys_for(
        &self,
        unverified: &UnverifiedJwt<'_>,
        alg: SigningAlg,
    ) -> Result<Arc<KeySet>, ProviderError> {
        let Inner { providers, source, fetcher, .. } = &*self.0;
        if alg == SigningAlg::Hs256 {
            return Ok(Arc::new(KeySet::default()));
        }
        let keys = providers.keys(source, fetcher).await?;
        if keys.knows(unverified, alg) {
            return Ok(keys);
        }
        providers.keys_anew(source, fetcher).await
    }

    pub(super) fn count_validation(&self, kind: &str, result: &str) {
        let metrics = &self.0.fetcher.metrics;
        let labels = [metrics.tenant(&self.0.fetcher.tenant), kind, result];
        metrics.token_validations_total.with_label_values(&labels).inc();
    }

    /// Adds what the userinfo endpoint knows besides the id token, which has the last word (section 5.3.2).
    async fn add_userinfo(
        &self,
        metadata: &Metadata,
        access_token: &SecretString,
        sub: &str,
        claims: &mut Map<String, Value>,
    ) -> Result<(), RedeemError> {
        let endpoint = metadata.userinfo_endpoint().map_err(RedeemError::UserinfoUnavailable)?;
        let read = Answer::json::<Map<String, Value>>;
        let userinfo = self.0.fetcher.get(Endpoint::Userinfo, endpoint, Some(access_token), read).await;
        let userinfo = userinfo.map_err(RedeemError::UserinfoUnavailable)?;
        if userinfo.get("sub").and_then(Value::as_str) != Some(sub) {
            return Err(RedeemError::UserinfoSub);
        }
        for (name, value) in userinfo {
            if !PROTOCOL_CLAIMS.contains(&name.as_str()) {
                claims.entry(name).or_insert(value);
            }
        }
        Ok(())
    }

    /// Where to send the browser to end the provider's session; `None` if the provider has no such place, or is down and
    /// has none that we know.
    pub async fn sign_out_url(&self, request: &SignOutRequest<'_>) -> Option<Url> {
        let settings = &self.0.settings;
        let client_id = Some(settings.client_id.as_str());
        let return_to = Some(request.post_logout_redirect_uri);
        let mut url = if let Some(mut url) = self.end_session_endpoint().await {
            let hint = request.id_token_hint.map(SecretString::expose_secret);
            let hint = hint.filter(|token| token.len() <= MAX_ID_TOKEN_HINT);
            append(
                &mut url,
                [
                    ("id_token_hint", hint),
                    ("logout_hint", request.sid.filter(|_| settings.auth0 && hint.is_none())),
                    ("post_logout_redirect_uri", return_to),
                    ("client_id", client_id),
                    ("state", request.state),
                    ("ui_locales", request.ui_locales),
                ],
            );
            url
        } else if settings.auth0 {
            let mut url = self.0.source.issuer_url.join("/v2/logout").ok()?;
            append(&mut url, [("client_id", client_id), ("returnTo", return_to)]);
            url
        } else {
            return None;
        };
        if settings.auth0 && request.federated {
            url.query_pairs_mut().append_key_only("federated");
        }
        Some(url)
    }

    /// A configured one needs no document.
    async fn end_session_endpoint(&self) -> Option<Url> {
        match self.0.settings.fetch.endpoints.get("end_session_endpoint") {
            Some(url) => Some(url.clone()),
            None => self.metadata().await.ok()?.end_session_endpoint.clone(),
        }
    }

    /// Revokes a refresh token (RFC 7009); does nothing where the provider has no such endpoint.
    ///
    /// # Errors
    /// The provider cannot be asked, or refuses.
    pub async fn revoke(&self, refresh_token: &SecretString) -> Result<(), ProviderError> {
        let metadata = self.metadata().await?;
        let Some(endpoint) = &metadata.revocation_endpoint else { return Ok(()) };
        let form = form([("token", refresh_token.expose_secret()), ("token_type_hint", "refresh_token")]);
        self.post(Endpoint::Revocation, endpoint, form, |_| Ok(())).await
    }

    /// Asks the provider for all that a sign-in needs.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub async fn check_online(&self) -> Result<(), ProviderError> {
        let Inner { providers, source, fetcher, settings, .. } = &*self.0;
        let metadata = self.metadata().await?;
        metadata.check_alg(settings.id_token_alg)?;
        if settings.id_token_alg != SigningAlg::Hs256 {
            providers.keys(source, fetcher).await?;
        }
        if settings.userinfo {
            metadata.userinfo_endpoint()?;
        }
        if settings.par || metadata.par_required {
            metadata.par_endpoint()?;
        }
        match settings.client_auth {
            ClientAuth::None => Ok(()),
            _ => self.check_client(&metadata).await,
        }
    }

    /// Whether the provider knows our client, from how it refuses a code that was never given out.
    pub(super) async fn check_client(&self, metadata: &Metadata) -> Result<(), ProviderError> {
        let (code, verifier) = (random_text().into(), [random_text(), random_text()].concat().into());
        match self.exchange(metadata, &code, self.issuer(), &verifier).await {
            Err(RedeemError::Provider(error)) if !matches!(error, ProviderError::RequestRefused { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// `auth0` or `oidc`, for metrics.
    pub fn label(&self) -> &'static str {
        self.0.fetcher.provider
    }

    /// The issuer, byte for byte as tokens say it.
    pub fn issuer(&self) -> &str {
        &self.0.settings.issuer
    }

    /// Origins that a form of ours may end up at, for the Content-Security-Policy: as far as known without asking.
    pub fn origins(&self) -> Vec<String> {
        let source = &self.0.source;
        let configured = std::iter::once(&source.issuer_url).chain(source.fetch.endpoints.values());
        let mut origins: Vec<String> = configured.map(|url| url.origin().ascii_serialization()).collect();
        origins.extend(source.origins());
        origins.sort_unstable();
        origins.dedup();
        origins
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.providers.clock.now()
    }

    pub(super) fn fetcher(&self) -> &Fetcher {
        &self.0.fetcher
    }

    pub(super) fn settings(&self) -> &ProviderSettings {
        &self.0.settings
    }

    pub(super) fn verified_tokens(&self) -> &Verified {
        &self.0.providers.verified_tokens
    }

    /// Where its documents come from.
    pub(super) fn source(&self) -> &Arc<Source> {
        &self.0.source
    }

    /// Whose provider it is.
    pub(super) fn tenant(&self) -> &TenantId {
        &self.0.fetcher.tenant
    }

    /// The background keeps the key set fresh from now on, whatever id tokens are signed with.
    pub(super) fn will_need_keys(&self) {
        self.0.source.join(self.0.fetcher.clone(), true);
    }

    /// What HS256 is keyed with.
    pub(super) fn client_secret(&self) -> Option<&SecretString> {
        match &self.0.settings.client_auth {
            ClientAuth::SecretPost(secret) | ClientAuth::SecretBasic(secret) => Some(secret),
            ClientAuth::PrivateKeyJwt { .. } | ClientAuth::None => None,
        }
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        self.0.providers.metadata(&self.0.source, &self.0.fetcher).await
    }

    /// Posts `form` as our client.
    async fn post<T>(
        &self,
        endpoint: Endpoint,
        url: &Url,
        mut form: Form,
        read: impl FnOnce(&Answer) -> Result<T, ProviderError>,
    ) -> Result<T, ProviderError> {
        let authorization = self.0.authenticator.apply(self.issuer(), self.now(), &mut form);
        self.0.fetcher.post(endpoint, url, &form, authorization.as_ref(), read).await
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("tenant", &self.0.fetcher.tenant).field("issuer", &self.issuer()).finish()
    }
}

fn form<const N: usize>(pairs: [(&str, &str); N]) -> Form {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Appends the parameters that have a value.
fn append<'a>(url: &mut Url, params: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) {
    for (name, value) in params {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
}

fn append_params(url: &mut Url, params: &AuthorizeParams) {
    let max_age = params.max_age.map(|seconds| seconds.to_string());
    append(
        url,
        [
            ("audience", params.audience.as_deref()),
            ("connection", params.connection.as_deref()),
            ("organization", params.organization.as_deref()),
            ("invitation", params.invitation.as_deref()),
            ("screen_hint", params.screen_hint.as_deref()),
            ("prompt", params.prompt.as_deref()),
            ("login_hint", params.login_hint.as_deref()),
            ("ui_locales", params.ui_locales.as_deref()),
            ("max_age", max_age.as_deref()),
            ("acr_values", params.acr_values.as_deref()),
        ],
    );
}
