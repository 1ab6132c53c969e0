//! Signing in with a local account: a name and a password become a session that no provider knows.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::callback::after_sign_in;
use super::trail;
use crate::audit::Kind;
use crate::clock::Timestamp;
use crate::config::{LOCAL_ISSUER, LocalUser};
use crate::gateway::Gateway;
use crate::local::{Accounts, LocalError};
use crate::policy::{self, AccessRefused};
use crate::secret::SecretString;
use crate::session::{NewSession, SeenUser, Session, StoreError};
use crate::tenant::{Place, ReturnTo, ReturnToError, Tenant};

/// What the form brought.
#[derive(Debug)]
pub struct LocalSignIn<'a> {
    /// The name.
    pub unverified_name: &'a str,
    /// The password.
    pub password: SecretString,
    /// Where to go afterwards.
    pub unverified_return_to: Option<&'a str>,
    /// The client.
    pub address: IpAddr,
    /// Who is signed in already; ends when the new session begins.
    pub previous: Option<Arc<Session>>,
    /// What the browser says it is.
    pub user_agent: Option<String>,
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum LocalSignInError {
    /// `return_to` leads somewhere that is not allowed.
    #[error("return_to {0}")]
    ReturnTo(#[from] ReturnToError),
    /// Name and password are no good, or cannot be tried now.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The tenant does not let this person in.
    #[error("[access] does not admit the person: {0}")]
    AccessRefused(#[from] AccessRefused),
    /// The session could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LocalSignInError {
    /// The outcome's name for pages, logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ReturnTo(_) => "return_to_refused",
            Self::Local(LocalError::Refused) => "local_refused",
            Self::Local(LocalError::Limited { .. }) => "local_limited",
            Self::Local(LocalError::Busy) => "local_busy",
            Self::AccessRefused(_) => "access_refused",
            Self::Store(_) => "store_unavailable",
        }
    }
}

/// Signs somebody in: the session's cookie, and where to go.
///
/// # Errors
/// See [`LocalSignInError`]; there is no session then.
pub async fn sign_in(
    gateway: &Gateway,
    tenant: &Tenant,
    accounts: &Accounts,
    place: &Place,
    request: LocalSignIn<'_>,
) -> Result<(SecretString, ReturnTo), LocalSignInError> {
    let signed_in = checked(gateway, tenant, accounts, place, request).await;
    let result = signed_in.as_ref().map_or_else(LocalSignInError::code, |_| "ok");
    let metrics = &gateway.metrics;
    let label = metrics.tenant(tenant.id());
    metrics.sign_ins_total.with_label_values(&[label, trail::LOCAL, result]).inc();
    if let Err(LocalSignInError::Local(error)) = &signed_in
        && let Some(limit) = error.limit()
    {
        metrics.rate_limited_requests_total.with_label_values(&[label, limit]).inc();
    }
    if result != "ok" {
        // Not the name: a password may have been typed in its place.
        gateway.audit.record(trail::local_event(Kind::SignInFailed, tenant).reason(result));
    }
    signed_in
}

async fn checked(
    gateway: &Gateway,
    tenant: &Tenant,
    accounts: &Accounts,
    place: &Place,
    request: LocalSignIn<'_>,
) -> Result<(SecretString, ReturnTo), LocalSignInError> {
    let return_to = match request.unverified_return_to {
        Some(unverified) => gateway.tenants.return_to(tenant, place, unverified)?,
        None => tenant.default_return_to(place),
    };
    let (name, address) = (request.unverified_name, request.address);
    let user = gateway.passwords.verify(tenant.id(), accounts, name, request.password, address).await?;
    let sub = user.subject();
    let claims = claims(user, &sub, gateway.clock.now());
    policy::admits(&tenant.settings.policy.access, &claims)?;
    let seen = SeenUser {
        issuer: LOCAL_ISSUER.to_owned(),
        sub: sub.clone(),
        name: user.display_name.clone().or_else(|| Some(user.name.clone())),
        email: user.email.clone(),
        picture: None,
    };
    let new = NewSession {
        issuer: LOCAL_ISSUER.to_owned(),
        claims,
        sub,
        sid: Some(user.fingerprint()),
        id_token: String::new().into(),
        access_token: String::new().into(),
        access_token_expires_at: None,
        refresh_token: None,
        scope: None,
        session_expiry: None,
        user_agent: request.user_agent,
        address: Some(address),
    };
    let (cookie, session) = gateway.sessions.create(tenant.id(), &tenant.settings.session, new).await?;
    trail::signed_in(gateway, tenant, &session);
    let previous = request.previous.map(|session| session.handle());
    after_sign_in(gateway, tenant, previous.as_deref(), &seen).await;
    Ok((cookie, return_to))
}

/// What policies, pages and applications know about the person.
fn claims(user: &LocalUser, sub: &str, now: Timestamp) -> Map<String, Value> {
    let mut claims: Map<String, Value> =
        user.claims.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("iss", LOCAL_ISSUER.into());
    set("sub", sub.into());
    set("preferred_username", user.name.clone().into());
    set("name", user.display_name.as_ref().unwrap_or(&user.name).clone().into());
    set("auth_time", now.0.into());
    set("amr", json!(["pwd"]));
    set("local", true.into());
    if let Some(email) = &user.email {
        set("email", email.clone().into());
        set("email_verified", true.into());
    }
    if !user.groups.is_empty() {
        set("groups", user.groups.clone().into());
    }
    claims
}
