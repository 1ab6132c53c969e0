//! What the audit log is told, in the words of the use cases.

use crate::audit::{Event, Kind};
use crate::config::LOCAL_ISSUER;
use crate::gateway::Gateway;
use crate::session::Session;
use crate::tenant::Tenant;

/// The kind of provider of local accounts, which have none; the label `provider` of their sign-ins.
pub(super) const LOCAL: &str = "local";

/// An event at `tenant`, about its provider.
pub(super) fn event(kind: Kind, tenant: &Tenant) -> Event {
    let provider = &tenant.settings.provider;
    Event::new(kind)
        .tenant(tenant.id())
        .provider(tenant.provider.label())
        .issuer(&provider.issuer)
        .client_id(&provider.client_id)
}

/// An event at `tenant`, about its local accounts.
pub(super) fn local_event(kind: Kind, tenant: &Tenant) -> Event {
    Event::new(kind).tenant(tenant.id()).provider(LOCAL).issuer(LOCAL_ISSUER)
}

/// An event about a session of `tenant`.
pub(super) fn of_session(kind: Kind, tenant: &Tenant, session: &Session) -> Event {
    let event = if session.is_local { local_event(kind, tenant) } else { event(kind, tenant) };
    event.subject(session.issuer(), session.sub()).session(session.id_hash())
}

/// Somebody signed in, and a session began.
pub(super) fn signed_in(gateway: &Gateway, tenant: &Tenant, session: &Session) {
    let signed_in = of_session(Kind::SignInSucceeded, tenant, session).authentication(session.claims());
    gateway.audit.record(signed_in);
    let created = of_session(Kind::SessionCreated, tenant, session).expires_at(&session.expires_at.to_string());
    gateway.audit.record(created);
}
