//! Finishing a sign-in: what the provider sent back, checked step by step, becomes a session or an error, never half of
//! both.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::attempt::{self, Attempt, AttemptId, LIFETIME};
use super::trail;
use crate::audit::Kind;
use crate::gateway::Gateway;
use crate::oidc::{AuthorizationResponse, Expected, Outcome, RedeemError, ResponseError};
use crate::policy::{self, AccessRefused};
use crate::secret::SecretString;
use crate::session::{EndReason, NewSession, SeenUser, Session, StoreError};
use crate::tenant::{Place, Tenant};

/// What the browser brought to the callback.
#[derive(Debug)]
pub struct Callback<'a> {
    /// The response, as it came.
    pub response: Result<AuthorizationResponse, ResponseError>,
    /// The cookie of the attempt that `state` names, if the browser has it.
    pub unverified_attempt: Option<&'a str>,
    /// Who is signed in already; ends when the new session begins.
    pub previous: Option<Arc<Session>>,
    /// What the browser says it is.
    pub user_agent: Option<String>,
    /// Where the browser is.
    pub address: Option<IpAddr>,
}

/// How a callback that is no error ends.
#[derive(Debug)]
pub enum Finished {
    /// Somebody has signed in.
    SignedIn {
        /// The session's cookie.
        cookie: SecretString,
        /// Where to go; a path on our origin, or a URL that the tenant allowed.
        return_to: String,
    },
    /// The person was asked nothing and is not signed in.
    Guest {
        /// Where to go.
        return_to: String,
    },
}

/// Why a sign-in failed.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// The browser has no cookie of this attempt.
    #[error("the browser brought no cookie of this attempt")]
    CookieMissing,
    /// The cookie was not sealed by us, for this tenant, for this `state`.
    #[error("the attempt's cookie does not open")]
    CookieForeign,
    /// Ten minutes have passed.
    #[error("the attempt began more than {LIFETIME} s ago")]
    Expired,
    /// The attempt was finished before.
    #[error("the attempt was used before")]
    Used,
    /// The tenant has another provider or client id than when the attempt began.
    #[error("the tenant's provider has changed since the attempt began")]
    ProviderChanged,
    /// The response is malformed, is somebody else's, or says no.
    #[error("authorization response: {0}")]
    Response(#[from] ResponseError),
    /// The code could not be redeemed for an identity.
    #[error("redeeming the code")]
    Redeem(#[from] RedeemError),
    /// The tenant does not let this person in.
    #[error("[access] does not admit the person: {0}")]
    AccessRefused(#[from] AccessRefused),
    /// The session could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CallbackError {
    /// The outcome's name for pages, logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::CookieMissing => "cookie_missing",
            Self::CookieForeign => "state_foreign",
            Self::Expired => "sign_in_expired",
            Self::Used => "sign_in_used",
            Self::ProviderChanged => "provider_changed",
            Self::Response(error) => error.code(),
            Self::Redeem(error) => error.code(),
            Self::AccessRefused(_) => "access_refused",
            Self::Store(_) => "store_unavailable",
        }
    }

    /// Whether the callback is one of the past, such as by the back button: whoever is signed in loses nothing by it.
    pub const fn is_stale(&self) -> bool {
        matches!(self, Self::CookieMissing | Self::CookieForeign | Self::Expired | Self::Used)
            || matches!(self, Self::Response(ResponseError::StateMissing))
    }
}

/// Finishes a sign-in.
///
/// # Errors
/// See [`CallbackError`]; there is no session then.
pub async fn finish(
    gateway: &Gateway,
    tenant: &Tenant,
    place: &Place,
    callback: Callback<'_>,
) -> Result<Finished, CallbackError> {
    let mut subject = None;
    let finished = checked(gateway, tenant, place, callback, &mut subject).await;
    let result = match &finished {
        Ok(Finished::SignedIn { .. }) => "ok",
        Ok(Finished::Guest { .. }) => "sign_in_required",
        Err(error) => error.code(),
    };
    let metrics = &gateway.metrics;
    let labels = [metrics.tenant(tenant.id()), tenant.provider.label(), result];
    metrics.sign_ins_total.with_label_values(&labels).inc();
    // Success is told where the session is at hand.
    if result != "ok" {
        let failed = trail::event(Kind::SignInFailed, tenant).reason(result);
        gateway.audit.record(match &subject {
            Some(sub) => failed.subject(&tenant.settings.provider.issuer, sub),
            None => failed,
        });
    }
    finished
}

/// Finishes it; `subject` is who it is about, as soon as that is known.
async fn checked(
    gateway: &Gateway,
    tenant: &Tenant,
    place: &Place,
    callback: Callback<'_>,
    subject: &mut Option<String>,
) -> Result<Finished, CallbackError> {
    let response = callback.response?;
    let attempt = own_attempt(gateway, tenant, &response.unverified_state, callback.unverified_attempt)?;
    tenant.provider.check_response_issuer(response.unverified_iss.as_deref()).await?;
    if !gateway.sessions.use_attempt(tenant.id(), attempt.id.as_str()).await? {
        return Err(CallbackError::Used);
    }
    let code = match response.unverified_outcome {
        Outcome::Code(code) => code,
        Outcome::Refused { error, description } => {
            let refused = ResponseError::refused(&error, description.as_deref());
            return match attempt.asked.silent && refused.code() == "sign_in_required" {
                true => Ok(Finished::Guest { return_to: attempt.asked.return_to.unwrap_or_else(|| place.path("/")) }),
                false => Err(refused.into()),
            };
        }
    };
    let asked = &attempt.asked;
    let expected = Expected {
        nonce: &attempt.nonce(),
        started_at: attempt.id.started_at(),
        max_age: asked.max_age,
        prompt_login: asked.prompt_login,
        acr_values: asked.acr_values.as_deref(),
        organization: asked.organization.as_deref(),
        organizations: &tenant.settings.sign_in.organizations,
    };
    let redirect_uri = place.url("/callback");
    let redeemed = tenant.provider.redeem(&code, &redirect_uri, &attempt.pkce_verifier(), &expected).await?;
    *subject = Some(redeemed.sub.clone());
    policy::admits(&tenant.settings.policy.access, &redeemed.claims)?;

    let seen = seen_user(tenant, &redeemed.sub, &redeemed.claims);
    let (cookie, session) = gateway
        .sessions
        .create(
            tenant.id(),
            &tenant.settings.session,
            NewSession {
                issuer: tenant.settings.provider.issuer.clone(),
                sub: redeemed.sub,
                sid: redeemed.sid,
                claims: redeemed.claims,
                id_token: redeemed.id_token,
                access_token: redeemed.access_token,
                access_token_expires_at: redeemed.access_token_expires_at,
                refresh_token: redeemed.refresh_token,
                // One that is not told is the one that was asked for (RFC 6749, section 5.1).
                scope: redeemed.scope.or_else(|| Some(tenant.settings.sign_in.scopes.join(" "))),
                session_expiry: redeemed.session_expiry,
                user_agent: callback.user_agent,
                address: callback.address,
            },
        )
        .await?;
    trail::signed_in(gateway, tenant, &session);
    // A form that another site posts brings no session's cookie; the attempt then knows whose place this session takes.
    let previous = callback.previous.map(|session| session.handle()).or(attempt.asked.previous);
    after_sign_in(gateway, tenant, previous.as_deref(), &seen).await;
    let took = session.created_at.since(attempt.id.started_at()).max(0);
    gateway.metrics.sign_in_duration_seconds.observe(took as f64);
    let return_to = attempt.asked.return_to;
    let return_to = return_to.unwrap_or_else(|| tenant.default_return_to(place).as_str().to_owned());
    Ok(Finished::SignedIn { cookie, return_to })
}

/// The attempt that `state` names, if this browser began it at this tenant, lately, and with this provider.
fn own_attempt(
    gateway: &Gateway,
    tenant: &Tenant,
    unverified_state: &str,
    cookie: Option<&str>,
) -> Result<Attempt, CallbackError> {
    let id = AttemptId::parse(unverified_state).ok_or(CallbackError::CookieMissing)?;
    let attempt = Attempt::open(tenant, id, cookie.ok_or(CallbackError::CookieMissing)?);
    let attempt = attempt.ok_or(CallbackError::CookieForeign)?;
    if gateway.clock.now().since(attempt.id.started_at()) > LIFETIME {
        return Err(CallbackError::Expired);
    }
    if attempt.asked.audience != attempt::audience(tenant) {
        return Err(CallbackError::ProviderChanged);
    }
    Ok(attempt)
}

/// What may fail without undoing the sign-in: the browser's previous session ends, the user is remembered.
pub(super) async fn after_sign_in(gateway: &Gateway, tenant: &Tenant, previous: Option<&str>, seen: &SeenUser) {
    if let Some(previous) = previous
        && let Err(error) = gateway.sessions.end_by_handle(tenant.id(), previous, EndReason::Replaced).await
    {
        tracing::warn!(%error, "the browser's previous session could not be ended; it ends by itself");
    }
    if tenant.settings.remember_users
        && let Err(error) = gateway.sessions.remember_user(tenant.id(), seen).await
    {
        tracing::warn!(%error, "the user could not be remembered");
    }
}

fn seen_user(tenant: &Tenant, sub: &str, claims: &Map<String, Value>) -> SeenUser {
    let text = |name| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    SeenUser {
        issuer: tenant.settings.provider.issuer.clone(),
        sub: sub.to_owned(),
        name: text("name"),
        email: text("email"),
        picture: text("picture"),
    }
}
