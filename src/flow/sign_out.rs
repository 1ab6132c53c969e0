//! Ending a session: here, the refresh token, and at the provider.

use std::sync::Arc;

use super::trail;
use crate::audit::Kind;
use crate::gateway::Gateway;
use crate::oidc::SignOutRequest;
use crate::session::{EndReason, Session, StoreError, Tokens};
use crate::tenant::{Place, Tenant};

/// Ends the session, if there is one, and says where the browser goes: to the provider's logout, or straight to where
/// that would lead back.
///
/// # Errors
/// The store did not end the session; it goes on.
pub async fn sign_out(
    gateway: &Gateway,
    tenant: &Tenant,
    place: &Place,
    session: Option<&Arc<Session>>,
) -> Result<String, StoreError> {
    let mut tokens = None;
    if let Some(session) = session {
        tokens = gateway.sessions.opened(session).await?.map(|opened| opened.tokens);
        gateway.sessions.end(session, EndReason::Logout).await?;
        revoke(tenant, tokens.as_deref()).await;
    }
    let settings = &tenant.settings.sign_out;
    let landing = settings.post_logout_redirect.as_ref().map_or_else(|| place.url("/logged-out"), ToString::to_string);
    let request = SignOutRequest {
        id_token_hint: tokens.as_ref().map(|tokens| &tokens.id_token),
        sid: session.and_then(|session| session.sid()),
        post_logout_redirect_uri: &landing,
        federated: settings.federated,
        state: None,
        ui_locales: None,
    };
    // The provider knows nothing of a local account.
    let asks_provider = settings.at_provider && session.is_none_or(|session| !session.is_local);
    let at_provider = if asks_provider { tenant.provider.sign_out_url(&request).await } else { None };
    let kind = match (session, &at_provider) {
        (None, _) => "no_session",
        (Some(_), Some(_)) => "provider",
        (Some(_), None) => "local",
    };
    let metrics = &gateway.metrics;
    if let Some(session) = session {
        let kind = if at_provider.is_some() { Kind::SignOutProvider } else { Kind::SignOutLocal };
        gateway.audit.record(trail::of_session(kind, tenant, session));
    }
    metrics.sign_outs_total.with_label_values(&[metrics.tenant(tenant.id()), kind]).inc();
    Ok(at_provider.map_or(landing, Into::into))
}

/// Revokes the refresh token, which at Auth0 ends the whole grant. A failure does not keep anybody signed in here.
async fn revoke(tenant: &Tenant, tokens: Option<&Tokens>) {
    if let Some(token) = tokens.and_then(|tokens| tokens.refresh_token.as_ref())
        && let Err(error) = tenant.provider.revoke(token).await
    {
        tracing::warn!(%error, code = error.code(), "the refresh token could not be revoked");
    }
}
