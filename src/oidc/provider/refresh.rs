//! New tokens for a refresh token (RFC 6749, section 6; OpenID Connect Core, section 12). When that happens, and what
//! becomes of the session, is not here.

use std::fmt;

use serde_json::{Map, Value};

use super::super::id_token::{check_refreshed, claims_again, unverified};
use super::super::{Expected, ProviderError, RedeemError, RefreshError};
use super::{Answer, Endpoint, Provider, TokenAnswer, form};
use crate::clock::Timestamp;
use crate::config::SigningAlg;
use crate::secret::{ExposeSecret as _, SecretString};

/// Claims about the sign-in itself, which a refreshed id token may leave out: they stay as they were.
const LASTING_CLAIMS: [&str; 5] = ["acr", "amr", "auth_time", "nonce", "sid"];

/// What a session has, to go on from.
#[derive(Clone, Copy)]
pub struct Held<'a> {
    /// The refresh token.
    pub refresh_token: &'a SecretString,
    /// The latest id token.
    pub id_token: &'a SecretString,
    /// Everything known about the identity.
    pub claims: &'a Map<String, Value>,
    /// The subject.
    pub sub: &'a str,
    /// The organizations whose members may sign in, by id or name; empty: no check.
    pub organizations: &'a [String],
}

impl fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held(…)")
    }
}

/// New tokens that passed every check. What is `None` did not come and stays as it was.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// The access token.
    pub access_token: SecretString,
    /// When that expires.
    pub access_token_expires_at: Option<Timestamp>,
    /// What was granted.
    pub scope: Option<String>,
    /// The refresh token that takes the place of the one that was used.
    pub refresh_token: Option<SecretString>,
    /// The id token.
    pub id_token: Option<SecretString>,
    /// Everything known about the identity now.
    pub claims: Option<Map<String, Value>>,
    /// The end of the session by the provider's wish.
    pub session_expiry: Option<Timestamp>,
}

impl Provider {
    /// Uses a refresh token. With `audience` the access token is for that API, and not for what the sign-in asked for:
    /// Auth0 takes it as `audience` (multi-resource refresh tokens), all others as `resource` (RFC 8707).
    ///
    /// # Errors
    /// Whatever is wrong with provider, refresh token or answer.
    pub async fn refresh(&self, held: &Held<'_>, audience: Option<&str>) -> Result<Refreshed, RefreshError> {
        let metadata = self.metadata().await?;
        // Before the refresh token is used up: an answer that cannot be checked would be lost.
        if self.0.settings.id_token_alg != SigningAlg::Hs256 {
            self.0.providers.keys(&self.0.source, &self.0.fetcher).await?;
        }
        let mut form = form([("grant_type", "refresh_token"), ("refresh_token", held.refresh_token.expose_secret())]);
        if let Some(audience) = audience {
            let name = if self.0.settings.auth0 { "audience" } else { "resource" };
            form.push((name.to_owned(), audience.to_owned()));
        }
        let answer = match self.post(Endpoint::Token, &metadata.token_endpoint, form, Answer::json).await {
            Err(ProviderError::RequestRefused { error }) if error == "invalid_grant" => Err(RefreshError::Refused),
            result => Ok(result?),
        };
        let checked = self.check_refreshed(held, audience, answer?).await;
        self.count_validation("refresh", checked.as_ref().map_or_else(RefreshError::code, |_| "ok"));
        checked
    }

    async fn check_refreshed(
        &self,
        held: &Held<'_>,
        audience: Option<&str>,
        answer: TokenAnswer,
    ) -> Result<Refreshed, RefreshError> {
        let access_token_expires_at = answer.lifetime().map(|seconds| self.now().plus(seconds));
        let TokenAnswer { access_token, token_type, id_token, refresh_token, scope, .. } = answer;
        let malformed = |fault| RefreshError::TokenAnswerMalformed { fault };
        let access_token: SecretString = access_token.ok_or(malformed("has no access_token"))?.into();
        if !token_type.is_some_and(|kind| kind.eq_ignore_ascii_case("Bearer")) {
            return Err(malformed("has another token_type than Bearer"));
        }
        let id_token = id_token.map(SecretString::from);
        let (mut claims, mut session_expiry) = (None, None);
        if let Some(id_token) = &id_token {
            let expected = Expected {
                nonce: "",
                started_at: self.now(),
                max_age: None,
                prompt_login: false,
                acr_values: None,
                organization: None,
                organizations: held.organizations,
            };
            let unverified = unverified(id_token.expose_secret())?;
            let keys = self.keys_for(&unverified, self.0.settings.id_token_alg).await?;
            let verified = check_refreshed(unverified, &keys, &self.checks(&access_token, &expected), held.claims)?;
            (claims, session_expiry) = (Some(verified.claims), verified.session_expiry);
        }
        if self.0.settings.userinfo {
            let base = claims.or_else(|| claims_again(held.id_token.expose_secret()));
            claims = match audience {
                None => self.with_userinfo(&access_token, held.sub, base).await?,
                // A token for another API opens no userinfo: claims stay as they were.
                Some(_) => None,
            };
        }
        if let Some(claims) = &mut claims {
            for name in LASTING_CLAIMS {
                if let (false, Some(value)) = (claims.contains_key(name), held.claims.get(name)) {
                    claims.insert(name.to_owned(), value.clone());
                }
            }
        }
        let refresh_token = refresh_token.map(SecretString::from);
        Ok(Refreshed { access_token, access_token_expires_at, scope, refresh_token, id_token, claims, session_expiry })
    }

    /// The claims of an id token with those of userinfo; none if userinfo gives none, so that the old ones stay and the
    /// new tokens are not lost.
    async fn with_userinfo(
        &self,
        access_token: &SecretString,
        sub: &str,
        base: Option<Map<String, Value>>,
    ) -> Result<Option<Map<String, Value>>, RefreshError> {
        let Some(mut claims) = base else { return Ok(None) };
        let metadata = self.metadata().await?;
        match self.add_userinfo(&metadata, access_token, sub, &mut claims).await {
            Ok(()) => Ok(Some(claims)),
            Err(RedeemError::UserinfoSub) => Err(RefreshError::UserinfoSub),
            Err(error) => {
                tracing::warn!(%error, code = error.code(), "claims were not renewed");
                Ok(None)
            }
        }
    }
}
