//! Ending sessions that need not be the one at hand: by order of the provider, from the list of one's own, everywhere,
//! and with all that is remembered of a user.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::{sign_out, trail};
use crate::audit::Kind;
use crate::gateway::Gateway;
use crate::oidc::{LogoutToken, LogoutTokenError};
use crate::session::{EndReason, ListedSession, Session, StoreError};
use crate::tenant::{Place, Tenant};

/// How long the revocation of refresh tokens may keep a person waiting.
const REVOKING: Duration = Duration::from_secs(5);
/// Refresh tokens that are revoked at the same time.
const REVOKED_AT_ONCE: usize = 8;

/// Why a logout token ended nothing.
#[derive(Debug, thiserror::Error)]
pub enum BackchannelError {
    /// It failed a check.
    #[error(transparent)]
    Token(#[from] LogoutTokenError),
    /// It came before.
    #[error("the logout token was used before")]
    Replayed,
    /// Sessions could not be looked up or ended. The token may come again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackchannelError {
    /// The outcome's name, for answers and logs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::Replayed => "logout_token_replayed",
            Self::Store(_) => "store_unavailable",
        }
    }
}

/// Ends what a logout token names; how many sessions that were. None is no failure: they have ended already
/// (OpenID Connect Back-Channel Logout 1.0, section 2.7).
///
/// # Errors
/// The token does not count, or the store did not do it.
pub async fn back_channel(
    gateway: &Gateway,
    tenant: &Tenant,
    unverified_token: &str,
) -> Result<usize, BackchannelError> {
    let ended = end_by_token(gateway, tenant, unverified_token).await;
    gateway.audit.record(match &ended {
        Ok(sessions) => trail::event(Kind::SignOutBackchannel, tenant).count(*sessions),
        Err(error @ BackchannelError::Store(_)) => trail::event(Kind::SignOutBackchannel, tenant).failed(error.code()),
        Err(error) => trail::event(Kind::TokenRejected, tenant).token("logout_token").reason(error.code()),
    });
    ended
}

async fn end_by_token(gateway: &Gateway, tenant: &Tenant, unverified_token: &str) -> Result<usize, BackchannelError> {
    let token = tenant.provider.check_logout_token(unverified_token).await?;
    let (id, issuer, sessions) = (tenant.id(), tenant.provider.issuer(), &gateway.sessions);
    if !sessions.use_logout_token(id, issuer, &token.jti, token.accepted_until).await? {
        return Err(BackchannelError::Replayed);
    }
    let ended = end_named(gateway, tenant, &token).await;
    if ended.is_err()
        && let Err(error) = sessions.reuse_logout_token(id, issuer, &token.jti).await
    {
        tracing::warn!(%error, "the provider cannot send the same logout token again");
    }
    Ok(ended?)
}

/// `sid` names sessions, and `sub` then says whose they must be; `sub` alone names all of a user's.
async fn end_named(gateway: &Gateway, tenant: &Tenant, token: &LogoutToken) -> Result<usize, StoreError> {
    let issuer = tenant.provider.issuer();
    let (id, sessions) = (tenant.id(), &gateway.sessions);
    let mut listed = match (&token.sid, &token.sub) {
        (Some(sid), _) => sessions.of_sid(id, issuer, sid).await?,
        (None, Some(sub)) => sessions.of_user(id, issuer, sub).await?,
        (None, None) => Vec::new(),
    };
    listed.retain(|session| token.sub.as_ref().is_none_or(|sub| *sub == session.summary.sub));
    end(gateway, tenant, &listed, EndReason::Backchannel).await
}

async fn end(
    gateway: &Gateway,
    tenant: &Tenant,
    sessions: &[ListedSession],
    reason: EndReason,
) -> Result<usize, StoreError> {
    let ids: Vec<_> = sessions.iter().map(|session| session.id_hash).collect();
    if ids.is_empty() { Ok(0) } else { gateway.sessions.end_listed(tenant.id(), &ids, reason).await }
}

/// Ends the sessions of one session at the provider (OpenID Connect Front-Channel Logout 1.0, section 2), if `iss` is
/// the tenant's. Both come without any proof, but `sid` is known to the provider, its clients and the person alone.
///
/// # Errors
/// The store did not do it.
pub async fn front_channel(
    gateway: &Gateway,
    tenant: &Tenant,
    unverified_iss: &str,
    unverified_sid: &str,
) -> Result<usize, StoreError> {
    let issuer = tenant.provider.issuer();
    if unverified_iss != issuer || unverified_sid.is_empty() {
        return Ok(0);
    }
    let listed = gateway.sessions.of_sid(tenant.id(), issuer, unverified_sid).await?;
    let ended = end(gateway, tenant, &listed, EndReason::Frontchannel).await;
    gateway.audit.record(match &ended {
        Ok(sessions) => trail::event(Kind::SignOutFrontchannel, tenant).count(*sessions),
        Err(_) => trail::event(Kind::SignOutFrontchannel, tenant).failed("store_unavailable"),
    });
    ended
}

/// All sessions of the person whose session this is, which comes first.
///
/// # Errors
/// The store did not answer.
pub async fn own(gateway: &Gateway, session: &Session) -> Result<Vec<ListedSession>, StoreError> {
    let mut listed = gateway.sessions.of_user(&session.tenant, session.issuer(), session.sub()).await?;
    listed.sort_by_key(|other| !other.is(session));
    Ok(listed)
}

/// What became of the order to end a session.
#[derive(Debug)]
pub enum Revoked {
    /// It was another one than the one at hand, or has ended already.
    Other,
    /// It was the one at hand: the browser goes on to this address, as after any sign-out.
    This(String),
}

/// Ends the one of a person's own sessions that the reference names, and revokes its refresh token.
///
/// # Errors
/// The store did not do it.
pub async fn revoke(
    gateway: &Gateway,
    tenant: &Tenant,
    place: &Place,
    session: &Arc<Session>,
    unverified_reference: &str,
) -> Result<Revoked, StoreError> {
    let listed = own(gateway, session).await?;
    let meant = gateway.sessions.referred(tenant.id(), &listed, unverified_reference);
    if meant.is_some_and(|meant| meant.is(session)) {
        return Ok(Revoked::This(sign_out::sign_out(gateway, tenant, place, Some(session)).await?));
    }
    let meant = meant.map(std::slice::from_ref).unwrap_or_default();
    let ended = end(gateway, tenant, meant, EndReason::Revoked).await?;
    record_own(gateway, tenant, session, "sessions revoke", ended);
    revoke_tokens(tenant, meant).await;
    Ok(Revoked::Other)
}

/// Ends all sessions of a person, the one at hand last, and says where the browser goes.
///
/// # Errors
/// The store did not end them all.
pub async fn everywhere(
    gateway: &Gateway,
    tenant: &Tenant,
    place: &Place,
    session: &Arc<Session>,
) -> Result<String, StoreError> {
    let mut others = own(gateway, session).await?;
    others.retain(|other| !other.is(session));
    let ended = end(gateway, tenant, &others, EndReason::Revoked).await?;
    record_own(gateway, tenant, session, "sessions revoke", ended);
    revoke_tokens(tenant, &others).await;
    sign_out::sign_out(gateway, tenant, place, Some(session)).await
}

/// Forgets a person: all sessions end, their refresh tokens are revoked, the record of the user is removed.
///
/// # Errors
/// The store did not do all of it.
pub async fn disconnect(gateway: &Gateway, tenant: &Tenant, session: &Session) -> Result<(), StoreError> {
    // First what a failure must not leave behind; the session at hand last, or nobody could try again.
    gateway.sessions.forget_user(tenant.id(), session.issuer(), session.sub()).await?;
    let listed = own(gateway, session).await?;
    // The first is the one at hand.
    end(gateway, tenant, listed.get(1..).unwrap_or_default(), EndReason::Disconnect).await?;
    gateway.sessions.end(session, EndReason::Disconnect).await?;
    record_own(gateway, tenant, session, "disconnect", listed.len());
    revoke_tokens(tenant, &listed).await;
    Ok(())
}

/// Tells the audit log what a person did to their own sessions.
fn record_own(gateway: &Gateway, tenant: &Tenant, session: &Session, action: &str, sessions: usize) {
    let event = trail::of_session(Kind::AdminAction, tenant, session).action(action).by("person");
    gateway.audit.record(event.count(sessions));
}

/// Revokes the refresh tokens of sessions that have ended. A failure does not keep anybody signed in here.
async fn revoke_tokens(tenant: &Tenant, ended: &[ListedSession]) {
    // No other provider, which the tenant may have by now, gets to see them.
    let ended = ended.iter().filter(|session| session.summary.issuer == tenant.provider.issuer());
    let tokens: Vec<_> = ended.filter_map(|session| session.refresh_token.clone()).collect();
    let revoking = stream::iter(tokens).for_each_concurrent(REVOKED_AT_ONCE, |token| {
        let provider = tenant.provider.clone();
        async move {
            if let Err(error) = provider.revoke(&token).await {
                tracing::warn!(%error, code = error.code(), "the refresh token could not be revoked");
            }
        }
    });
    if tokio::time::timeout(REVOKING, revoking).await.is_err() {
        tracing::warn!("not all refresh tokens could be revoked in time");
    }
}
