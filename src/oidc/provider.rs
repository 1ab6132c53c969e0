//! One tenant's provider: the requests of a sign-in and a sign-out.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::Url;

use super::{Expected, ProviderError, RedeemError, ResponseError};
use crate::clock::Timestamp;
use crate::config::{AuthorizeParams, ResponseMode};
use crate::secret::SecretString;

/// A tenant's view of its provider. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Provider {}

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

impl Provider {
    /// Where to send the browser. Pushed first (RFC 9126) where configured or required.
    ///
    /// # Errors
    /// The discovery document cannot be had, or the push failed.
    pub async fn authorization_url(&self, _request: &AuthorizationRequest<'_>) -> Result<Url, ProviderError> {
        todo!()
    }

    /// Checks the `iss` of an authorization response (RFC 9207, section 2.4).
    ///
    /// # Errors
    /// It is another, or missing though the provider always sends it; or the discovery document cannot be had.
    pub async fn check_response_issuer(&self, _unverified_iss: Option<&str>) -> Result<(), ResponseError> {
        todo!()
    }

    /// Exchanges a code for tokens and checks them.
    ///
    /// # Errors
    /// Whatever is wrong with provider, code or tokens.
    pub async fn redeem(
        &self,
        _code: &SecretString,
        _redirect_uri: &str,
        _pkce_verifier: &SecretString,
        _expected: &Expected<'_>,
    ) -> Result<Redeemed, RedeemError> {
        todo!()
    }

    /// Where to send the browser to end the provider's session; `None` if the provider has no such place.
    pub async fn sign_out_url(&self, _request: &SignOutRequest<'_>) -> Option<Url> {
        todo!()
    }

    /// Revokes a refresh token (RFC 7009); does nothing where the provider has no such endpoint.
    ///
    /// # Errors
    /// The provider cannot be asked, or refuses.
    pub async fn revoke(&self, _refresh_token: &SecretString) -> Result<(), ProviderError> {
        todo!()
    }

    /// Asks the provider for all that a sign-in needs, client credentials included where it tells about them.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub async fn check_online(&self) -> Result<(), ProviderError> {
        todo!()
    }

    /// `auth0` or `oidc`, for metrics.
    pub fn label(&self) -> &'static str {
        todo!()
    }

    /// The issuer, byte for byte as tokens say it.
    pub fn issuer(&self) -> &str {
        todo!()
    }

    /// Origins that a form of ours may end up at, for the Content-Security-Policy: as far as known without asking.
    pub fn origins(&self) -> Vec<String> {
        todo!()
    }
}
