//! Whose request it is, and whether it may pass: the session or the token that comes with it, judged by the tenant's
//! policy. Forward auth and the reverse proxy both ask here and nowhere else. No call to a provider.

use std::net::IpAddr;
use std::sync::Arc;

use super::trail;
use crate::audit::{Event, Kind};
use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::gateway::Gateway;
use crate::oidc::AccessToken;
use crate::policy::{self, By, Decision, Question, Subject, Verdict};
use crate::request_path::RequestPath;
use crate::secret::SecretString;
use crate::session::{Found, Opened, Session, StoreError, Tokens};
use crate::tenant::Tenant;

/// The session that this value of the session cookie opens at `tenant`. One that another provider began is none: its
/// `sub` may be somebody else's at this one, and its tokens are no business of this one. Nor is one of a local account
/// that is gone, or has another password or other rights by now.
///
/// # Errors
/// The store did not answer; nothing is known about the session then.
pub async fn session(gateway: &Gateway, tenant: &Tenant, unverified_cookie: &str) -> Result<Option<Found>, StoreError> {
    let found = gateway.sessions.find(tenant.id(), &tenant.settings.session, unverified_cookie).await?;
    Ok(found.filter(|found| counts(tenant, &found.session)))
}

/// The same, with its tokens where an application is to have one of them, if all of it is in memory.
pub fn session_at_hand(gateway: &Gateway, tenant: &Tenant, unverified_cookie: &str) -> Option<Visit> {
    let session = gateway.sessions.at_hand(tenant.id(), &tenant.settings.session, unverified_cookie)?;
    let tokens = match tenant.settings.identity.has_tokens() {
        true => Some(gateway.sessions.tokens_at_hand(&session)?),
        false => None,
    };
    counts(tenant, &session).then_some(Visit { session, tokens, is_stale: false })
}

fn counts(tenant: &Tenant, session: &Session) -> bool {
    match (&tenant.accounts, session.is_local) {
        (Some(accounts), true) => accounts.have(session.sub(), session.sid()),
        (None, true) => false,
        (_, false) => session.issuer() == tenant.settings.provider.issuer,
    }
}

/// The session by which a request may pass.
#[derive(Clone, Debug)]
pub struct Visit {
    /// The session.
    pub session: Arc<Session>,
    /// Its tokens, where an application is to have one of them.
    pub tokens: Option<Arc<Tokens>>,
    /// Whether the store could not be asked: the session may have ended elsewhere a moment ago.
    pub is_stale: bool,
}

impl Visit {
    /// The same session with its tokens, or what it has become; none if it has ended.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn with_tokens(self, gateway: &Gateway) -> Result<Option<Self>, StoreError> {
        let opened = gateway.sessions.opened(&self.session).await?;
        Ok(opened.map(|opened| Self { is_stale: self.is_stale, ..opened.into() }))
    }
}

impl From<Found> for Visit {
    fn from(Found { session, is_stale }: Found) -> Self {
        Self { session, tokens: None, is_stale }
    }
}

impl From<Opened> for Visit {
    fn from(Opened { session, tokens }: Opened) -> Self {
        Self { session, tokens: Some(tokens), is_stale: false }
    }
}

/// A request that wants to pass, as our own listener or a trusted proxy saw it.
#[derive(Debug)]
pub struct Knock<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The host, lower case, without port.
    pub host: &'a str,
    /// The path.
    pub path: &'a RequestPath<'a>,
    /// The client.
    pub address: IpAddr,
    /// The access token that the request brought as a bearer, checked. It then says who asks, whatever else is there.
    pub token: Option<Arc<AccessToken>>,
    /// The session that the request's cookie opened.
    pub session: Option<Visit>,
}

impl<'a> Knock<'a> {
    const fn question(&self) -> Question<'a> {
        Question { method: self.method, host: self.host, path: self.path, address: self.address }
    }
}

/// Proof that one request may pass, and as whom. Only [`admit`] makes one.
#[derive(Debug)]
pub struct Permit {
    who: Who,
    is_public: bool,
}

#[derive(Debug)]
enum Who {
    Anybody,
    Session(Visit),
    Bearer(Arc<AccessToken>),
}

/// Who a request passes as.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The subject.
    pub sub: &'a str,
    /// What is known about them.
    pub claims: Claims<'a>,
}

impl Permit {
    /// Who it is; nobody on a public path without session and token.
    pub fn identity(&self) -> Option<Identity<'_>> {
        match &self.who {
            Who::Anybody => None,
            Who::Session(visit) => Some(Identity { sub: visit.session.sub(), claims: visit.session.claims() }),
            Who::Bearer(token) => Some(Identity { sub: &token.sub, claims: (&token.claims).into() }),
        }
    }

    /// The same without saying who it is, where everybody passes.
    pub fn as_nobody(self) -> Option<Self> {
        self.is_public.then_some(Self { who: Who::Anybody, ..self })
    }

    /// The session, if the request passes by one.
    pub fn session(&self) -> Option<&Arc<Session>> {
        self.visit().map(|visit| &visit.session)
    }

    /// The session's tokens, if the request passes by one whose tokens were asked for.
    pub fn tokens(&self) -> Option<&Tokens> {
        self.visit()?.tokens.as_deref()
    }

    /// Whether the request passes by a session that the store could not be asked about.
    pub fn is_stale(&self) -> bool {
        self.visit().is_some_and(|visit| visit.is_stale)
    }

    fn visit(&self) -> Option<&Visit> {
        if let Who::Session(visit) = &self.who { Some(visit) } else { None }
    }

    /// The access token that the request brought, if it passes by that.
    pub fn token(&self) -> Option<&Arc<AccessToken>> {
        if let Who::Bearer(token) = &self.who { Some(token) } else { None }
    }

    /// The access token that says who it is: the one that the request brought, or the session's, unless it has ended.
    pub fn access_token(&self, now: Timestamp) -> Option<&SecretString> {
        match &self.who {
            Who::Anybody => None,
            Who::Session(visit) => {
                let token = visit.tokens.as_ref()?.access_token.as_ref();
                token.filter(|token| token.terms.is_usable(now)).map(|token| &token.value)
            }
            Who::Bearer(token) => Some(&token.text),
        }
    }
}

impl Who {
    fn of(token: Option<Arc<AccessToken>>, session: Option<Visit>) -> Self {
        match (token, session) {
            (Some(token), _) => Self::Bearer(token),
            (None, Some(visit)) => Self::Session(visit),
            (None, None) => Self::Anybody,
        }
    }

    /// The refusal of them.
    fn told(&self, tenant: &Tenant) -> Event {
        match self {
            Self::Anybody => trail::event(Kind::AccessDenied, tenant),
            Self::Session(visit) => trail::of_session(Kind::AccessDenied, tenant, &visit.session),
            Self::Bearer(token) => {
                let issuer = &tenant.settings.provider.issuer;
                trail::event(Kind::AccessDenied, tenant).subject(issuer, &token.sub).token("bearer")
            }
        }
    }

    fn claims(&self) -> Option<Claims<'_>> {
        match self {
            Self::Anybody => None,
            Self::Session(visit) => Some(visit.session.claims()),
            Self::Bearer(token) => Some((&token.claims).into()),
        }
    }

    /// As the policy sees them.
    fn subject(&self, now: Timestamp) -> Option<Subject<'_>> {
        let scope = match self {
            Self::Anybody => None,
            Self::Session(visit) => visit.session.scope(),
            Self::Bearer(token) => Some(token.scope.as_str()),
        };
        self.claims().map(|claims| Subject { claims, scope, now })
    }
}

/// Judges a request.
///
/// # Errors
/// It may not pass; the decision says why.
pub fn admit<'t>(gateway: &Gateway, tenant: &'t Tenant, knock: Knock<'_>) -> Result<Permit, Decision<'t>> {
    let question = knock.question();
    judge(gateway, tenant, knock).map_err(|(who, decision)| {
        if let Some(reason) = denied_because(&decision) {
            let event = who.told(tenant).reason(reason).rule(&decider(tenant, decision.by));
            let asked = event.method(question.method).host(question.host).path(question.path.as_str());
            gateway.audit.record(asked);
        }
        decision
    })
}

/// Judges a request that nobody is told of if it may not pass: somebody else judges it again then.
pub fn passes(gateway: &Gateway, tenant: &Tenant, knock: Knock<'_>) -> Option<Permit> {
    judge(gateway, tenant, knock).ok()
}

fn judge<'t>(gateway: &Gateway, tenant: &'t Tenant, knock: Knock<'_>) -> Result<Permit, (Who, Decision<'t>)> {
    let question = knock.question();
    let who = Who::of(knock.token, knock.session);
    let decision = policy::decide(&tenant.settings.policy, &question, who.subject(gateway.clock.now()).as_ref());
    match decision.verdict {
        Verdict::Allowed => Ok(Permit { who, is_public: false }),
        // Whom `[access]` no longer admits passes here, too, but as nobody in particular.
        Verdict::Public => {
            let access = &tenant.settings.policy.access;
            let known = who.claims().is_none_or(|claims| policy::admits(access, claims).is_ok());
            Ok(Permit { who: if known { who } else { Who::Anybody }, is_public: true })
        }
        _ => Err((who, decision)),
    }
}

/// Tells the audit log that `[access]` no longer admits whose session this is.
pub fn record_refusal(gateway: &Gateway, tenant: &Tenant, session: &Session) {
    let event = trail::of_session(Kind::AccessDenied, tenant, session).reason("access_refused");
    gateway.audit.record(event.rule(&decider(tenant, By::Access)));
}

/// Why somebody is turned away who is known; whoever is not may sign in.
const fn denied_because(decision: &Decision<'_>) -> Option<&'static str> {
    match decision.verdict {
        Verdict::SignIn | Verdict::Allowed | Verdict::Public => None,
        Verdict::StepUp(_) => Some("step_up_required"),
        Verdict::MissingScopes(_) => Some("scope_missing"),
        Verdict::Denied => Some("access_refused"),
    }
}

/// What decided, as the tenant's file calls it.
pub fn decider(tenant: &Tenant, by: By) -> String {
    match by {
        By::Access => "[access]".to_owned(),
        By::Rule(place) => tenant.settings.policy.rules[place].called(place),
        By::Default => "default_rule".to_owned(),
    }
}
