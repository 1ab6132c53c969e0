//! Whose request it is: the session that a cookie opens, if it is one of the provider that the tenant has now.

use std::sync::Arc;

use crate::gateway::Gateway;
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
