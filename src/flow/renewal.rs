//! Renewing a session's tokens by its refresh token: ahead of their end while somebody uses them, for a further
//! audience when it is first asked for, or on demand.
//!
//! Refresh tokens rotate: each is good for one use, and a second use may end all of a sign-in's tokens. So each session
//! has one renewal at a time, all who need it share its outcome, it runs in a task that no caller can cut short, and it
//! begins by looking what the session has become meanwhile. New tokens are stored before anybody gets them. A provider
//! in trouble costs nobody a token that is still good.

use std::sync::Arc;
use std::time::Duration;

use super::trail;
use crate::audit::{Event, Kind, Witness};
use crate::clock::{Clock, Timestamp};
use crate::gateway::Gateway;
use crate::gateway::renewals::{Outcome, RenewalError, Renewals, Turn, Waiting};
use crate::metrics::Metrics;
use crate::oidc::{Held, IdTokenError, Provider, RefreshError};
use crate::secret::SecretString;
use crate::session::{
    AccessToken, EndReason, Opened, Renewal, RenewedTokens, Session, Sessions, TokenTerms, Tokens, Turn as SharedTurn,
};
use crate::tenant::Tenant;

/// Seconds between two renewals on demand.
const COOLDOWN: i64 = 60;
/// Time between two attempts to store tokens, where other replicas wait for them.
const SAVED_EVERY: Duration = Duration::from_millis(250);
/// How often that is tried.
const SAVES: u32 = 480;

/// An access token of `session` that is good: for the API of the sign-in, or for one of the tenant's further audiences.
///
/// # Errors
/// There is none, and none can be had.
pub async fn access_token(
    gateway: &Gateway,
    tenant: &Tenant,
    session: &Arc<Session>,
    audience: Option<&str>,
) -> Result<AccessToken, RenewalError> {
    let opened = fresh(gateway, tenant, session, audience).await?;
    token_of(tenant, &opened.tokens, audience).cloned()
}

/// The access token for `audience` among a session's `tokens`; [`fresh`] sees to it that it is good.
///
/// # Errors
/// There is none.
pub fn token_of<'s>(
    tenant: &Tenant,
    tokens: &'s Tokens,
    audience: Option<&str>,
) -> Result<&'s AccessToken, RenewalError> {
    tokens.access_token_for(further_audience(tenant, audience)?).ok_or(RenewalError::NoToken)
}

/// What `session` is once its access token for `audience` is good; claims and id token may be others than before, so
/// whoever judges by them asks this first. Asks the provider only where there is no good token; one that ends soon is
/// renewed meanwhile.
///
/// # Errors
/// There is no such token, and none can be had.
pub async fn fresh(gateway: &Gateway, tenant: &Tenant, session: &Arc<Session>, audience: Option<&str>) -> Outcome {
    let audience = further_audience(tenant, audience)?;
    let now = gateway.clock.now();
    let opened = gateway.sessions.opened(session).await?.ok_or(RenewalError::SessionEnded)?;
    let session = &opened.session;
    let Some(token) = opened.tokens.access_token_for(audience).filter(|token| token.terms.is_usable(now)) else {
        return renewed(gateway, tenant, session, audience, Wish::Due).await;
    };
    if token.terms.is_due(now) && session.is_renewable {
        drop(begin(gateway, tenant, session, audience, Wish::Due));
    }
    Ok(opened)
}

/// Has the access token renewed if it ends soon, without waiting for that.
pub fn renew_ahead(gateway: &Gateway, tenant: &Tenant, session: &Arc<Session>) {
    if is_due(gateway, session) {
        drop(begin(gateway, tenant, session, None, Wish::Due));
    }
}

/// Whether [`renew_ahead`] has something to do.
pub fn is_due(gateway: &Gateway, session: &Session) -> bool {
    session.is_renewable && session.access_token.as_ref().is_some_and(|token| token.is_due(gateway.clock.now()))
}

/// Renews tokens and claims now; within a minute of the last time the session comes back as it is.
///
/// # Errors
/// See [`RenewalError`]; the session is then as it was, or has lost its tokens.
pub async fn renew_now(
    gateway: &Gateway,
    tenant: &Tenant,
    session: &Arc<Session>,
) -> Result<Arc<Session>, RenewalError> {
    Ok(renewed(gateway, tenant, session, None, Wish::Now).await?.session)
}

/// When [`renew_now`] does something again; `None` if it cannot.
pub fn renewable_from(session: &Session) -> Option<Timestamp> {
    let from = || session.access_token.as_ref().map_or(session.created_at, |token| token.issued_at.plus(COOLDOWN));
    session.is_renewable.then(from)
}

/// The audience as tokens are kept by: none is that of the sign-in.
fn further_audience<'a>(tenant: &Tenant, audience: Option<&'a str>) -> Result<Option<&'a str>, RenewalError> {
    let settings = &tenant.settings;
    match audience {
        Some(audience) if settings.sign_in.fixed.audience.as_deref() == Some(audience) => Ok(None),
        Some(audience) if !settings.tokens.audiences.iter().any(|known| known == audience) => {
            Err(RenewalError::AudienceUnknown)
        }
        audience => Ok(audience),
    }
}

async fn renewed(
    gateway: &Gateway,
    tenant: &Tenant,
    session: &Arc<Session>,
    audience: Option<&str>,
    wish: Wish,
) -> Outcome {
    if !session.is_renewable {
        return Err(RenewalError::NoToken);
    }
    loop {
        match begin(gateway, tenant, session, audience, wish) {
            Turn::Ours(renewal) => return Waiting::outcome(renewal).await,
            // How it ends concerns those who wanted it.
            Turn::After(other) => drop(other.outcome().await),
            Turn::Paused(error) => return Err(error),
        }
    }
}

fn begin(gateway: &Gateway, tenant: &Tenant, session: &Arc<Session>, audience: Option<&str>, wish: Wish) -> Turn {
    let work = || {
        let job = Job {
            sessions: gateway.sessions.clone(),
            renewals: gateway.renewals.clone(),
            metrics: gateway.metrics.clone(),
            witness: gateway.audit.witness(),
            renewed: trail::of_session(Kind::SessionRenewed, tenant, session),
            failed: trail::of_session(Kind::SessionRenewalFailed, tenant, session),
            clock: gateway.clock.clone(),
            provider: tenant.provider.clone(),
            organizations: tenant.settings.sign_in.organizations.clone(),
            end_session_on_refusal: tenant.settings.tokens.end_session_on_refusal,
            audience: audience.map(str::to_owned),
            wish,
        };
        job.run(session.clone())
    };
    let turn = gateway.renewals.begin(session, audience, work);
    if matches!(turn, Turn::Paused(RenewalError::TooMany)) {
        let labels = [gateway.metrics.tenant(tenant.id()), "renewals"];
        gateway.metrics.rate_limited_requests_total.with_label_values(&labels).inc();
    }
    turn
}

/// When a renewal is not needed after all.
#[derive(Clone, Copy)]
enum Wish {
    /// The token is good for a while yet.
    Due,
    /// The last renewal was a moment ago.
    Now,
}

/// All that a renewal needs, wherever the request is that began it.
struct Job {
    sessions: Arc<Sessions>,
    renewals: Arc<Renewals>,
    metrics: Arc<Metrics>,
    witness: Witness,
    renewed: Event,
    failed: Event,
    clock: Clock,
    provider: Provider,
    organizations: Vec<String>,
    end_session_on_refusal: bool,
    audience: Option<String>,
    wish: Wish,
}

impl Job {
    async fn run(self, session: Arc<Session>) -> Outcome {
        let turn = self.sessions.turn(&session).await?;
        let outcome = self.renew(&session).await;
        if turn.is_shared() && matches!(outcome, Err(RenewalError::Store(_))) {
            tokio::spawn(self.save(session, turn));
        } else {
            turn.give_back().await;
        }
        outcome
    }

    /// Goes on trying to store what the store did not take, and keeps the turn meanwhile: another replica would use the
    /// old refresh token again.
    async fn save(self, session: Arc<Session>, turn: SharedTurn) {
        for _ in 0..SAVES {
            tokio::time::sleep(SAVED_EVERY).await;
            let Some(unsaved) = self.renewals.take_unsaved(&session) else { break };
            if !matches!(self.keep(&session, unsaved).await, Err(RenewalError::Store(_))) {
                break;
            }
        }
        turn.give_back().await;
    }

    async fn renew(&self, session: &Session) -> Outcome {
        // Another replica may have renewed it while we waited for our turn.
        let mut opened = self.sessions.latest(session).await?.ok_or(RenewalError::SessionEnded)?;
        if let Some(unsaved) = self.renewals.take_unsaved(session) {
            opened = self.keep(session, unsaved).await?;
        }
        if self.is_met(&opened) {
            return Ok(opened);
        }
        let Opened { session, tokens } = &opened;
        let Some(refresh_token) = &tokens.refresh_token else { return Err(RenewalError::NoToken) };
        let held = Held {
            refresh_token,
            id_token: &tokens.id_token,
            claims: &session.claims().to_map(),
            sub: session.sub(),
            organizations: &self.organizations,
        };
        let refreshed = self.provider.refresh(&held, self.audience.as_deref()).await;
        let result = refreshed.as_ref().map_or_else(RefreshError::code, |_| "ok");
        let labels = [self.metrics.tenant(&session.tenant), result];
        self.metrics.token_refreshes_total.with_label_values(&labels).inc();
        self.witness
            .record(match &refreshed {
                Ok(_) => self.renewed.clone(),
                Err(error) => self.failed.clone().reason(error.code()),
            })
            .await;
        match refreshed {
            Ok(new) => {
                let access_token = AccessToken {
                    value: new.access_token,
                    terms: TokenTerms { issued_at: self.clock.now(), expires_at: new.access_token_expires_at },
                    scope: new.scope,
                };
                let tokens = RenewedTokens {
                    audience: self.audience.clone(),
                    access_token,
                    refresh_token: new.refresh_token,
                    id_token: new.id_token,
                    claims: new.claims,
                    session_expiry: new.session_expiry,
                };
                self.keep(session, Renewal::Tokens(Box::new(tokens))).await
            }
            Err(error) => {
                tracing::warn!(%error, code = error.code(), "the tokens of a session were not renewed");
                self.give_up(session, &error).await?;
                Err(error.into())
            }
        }
    }

    /// Whether somebody else has done already what is wanted here.
    fn is_met(&self, opened: &Opened) -> bool {
        let now = self.clock.now();
        let token = opened.tokens.access_token_for(self.audience.as_deref());
        match (self.wish, token.map(|token| &token.terms)) {
            // One that came this very second is as new as can be, however short its life.
            (Wish::Due, Some(token)) => !token.is_due(now) || token.issued_at >= now,
            // After a clock that was set back nobody knows when that was.
            (Wish::Now, Some(token)) => (token.issued_at..token.issued_at.plus(COOLDOWN)).contains(&now),
            (_, None) => false,
        }
    }

    /// Stores what the provider gave; nobody gets it before. What the store does not take is tried again next time.
    async fn keep(&self, session: &Session, renewal: Renewal) -> Outcome {
        match self.sessions.renew(session, &renewal).await {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => {
                if let Renewal::Tokens(tokens) = &renewal
                    && let Some(token) = &tokens.refresh_token
                {
                    self.revoke(token).await;
                }
                Err(RenewalError::SessionEnded)
            }
            Err(error) => {
                self.renewals.put_unsaved(session, renewal);
                Err(error.into())
            }
        }
    }

    /// The session ended while the provider gave it new tokens: nobody has them, and nobody shall.
    async fn revoke(&self, refresh_token: &SecretString) {
        if let Err(error) = self.provider.revoke(refresh_token).await {
            tracing::warn!(%error, code = error.code(), "the refresh token of an ended session could not be revoked");
        }
    }

    /// Ends what the provider no longer wants; everything else stays as it is.
    async fn give_up(&self, session: &Session, error: &RefreshError) -> Result<(), RenewalError> {
        let past = matches!(error, RefreshError::IdToken(IdTokenError::SessionExpiryPast { .. }));
        let refused = matches!(error, RefreshError::Refused);
        if past || (refused && self.end_session_on_refusal) {
            self.sessions.end(session, EndReason::Refused).await?;
        } else if refused {
            self.sessions.renew(session, &Renewal::Ended).await?.ok_or(RenewalError::SessionEnded)?;
        }
        Ok(())
    }
}
