//! Whose request it is, and whether it may pass: the session or the token that comes with it, judged by the tenant's
//! policy. Forward auth and the reverse proxy both ask here and nowhere else. No call to a provider.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::gateway::Gateway;
use crate::policy::{self, Decision, Question, Subject, Verdict};
use crate::request_path::RequestPath;
use crate::session::{Session, StoreError};
use crate::tenant::Tenant;

/// The session that this value of the session cookie opens at `tenant`. One that another provider began is none: its
/// `sub` may be somebody else's at this one, and its tokens are no business of this one.
///
/// # Errors
/// The store did not answer; nothing is known about the session then.
pub async fn session(
    gateway: &Gateway,
    tenant: &Tenant,
    unverified_cookie: &str,
) -> Result<Option<Arc<Session>>, StoreError> {
    let found = gateway.sessions.find(tenant.id(), &tenant.settings.session, unverified_cookie).await?;
    Ok(found.filter(|session| session.issuer == tenant.settings.provider.issuer))
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
    /// The session that the request's cookie opened.
    pub session: Option<Arc<Session>>,
}

/// Proof that one request may pass, and as whom. Only [`admit`] makes one.
#[derive(Debug)]
pub struct Permit {
    who: Who,
}

#[derive(Debug)]
enum Who {
    Anybody,
    Session(Arc<Session>),
}

/// Who a request passes as.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The subject.
    pub sub: &'a str,
    /// What is known about them.
    pub claims: &'a Map<String, Value>,
}

impl Permit {
    /// Who it is; nobody on a public path without a session.
    pub fn identity(&self) -> Option<Identity<'_>> {
        let session = self.session()?;
        Some(Identity { sub: &session.sub, claims: &session.claims })
    }

    /// The session, if the request passes by one.
    pub fn session(&self) -> Option<&Arc<Session>> {
        match &self.who {
            Who::Anybody => None,
            Who::Session(session) => Some(session),
        }
    }
}

/// Judges a request.
///
/// # Errors
/// It may not pass; the decision says why.
pub fn admit<'t>(gateway: &Gateway, tenant: &'t Tenant, knock: Knock<'_>) -> Result<Permit, Decision<'t>> {
    let question = Question { method: knock.method, host: knock.host, path: knock.path, address: knock.address };
    let subject = knock.session.as_ref().map(|session| Subject {
        claims: &session.claims,
        scope: session.scope.as_deref(),
        now: gateway.clock.now(),
    });
    let decision = policy::decide(&tenant.settings.policy, &question, subject.as_ref());
    match decision.verdict {
        Verdict::Public | Verdict::Allowed => Ok(Permit { who: knock.session.map_or(Who::Anybody, Who::Session) }),
        _ => Err(decision),
    }
}
