//! Sessions without their cookies: whose they are, and the end of many. What a list shows is the summary that lies
//! beside each record, sealed under the ring key.

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::record;
use super::store::Listed;
use super::{EndReason, Session, Sessions, StoreError, traced, watch};
use crate::clock::Timestamp;
use crate::key_ring::KeyId;
use crate::secret::{HashKey, SecretString, base64url, same};
use crate::tenant_id::TenantId;

/// A session as a list shows it.
pub struct ListedSession {
    /// What ends it: [`Sessions::end_listed`].
    pub id_hash: [u8; 32],
    /// Whose it is, from where and since when.
    pub summary: ListedSummary,
    /// When it was last used; up to a minute late if another process serves it.
    pub last_seen_at: Timestamp,
    /// When it ends if nobody uses it any more.
    pub ends_at: Timestamp,
    /// Its refresh token, to be revoked.
    pub refresh_token: Option<SecretString>,
}

/// What is known of a session without its cookie.
#[derive(Clone, Deserialize)]
pub struct ListedSummary {
    /// The issuer of the id token.
    pub issuer: String,
    /// The subject.
    pub sub: String,
    /// The provider's own id of its session.
    pub sid: Option<String>,
    /// The browser's name of itself.
    pub user_agent: Option<String>,
    /// Where the browser was when it began.
    pub address: Option<IpAddr>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends in any case.
    pub expires_at: Timestamp,
}

/// Bytes of a reference.
const REFERENCE_LEN: usize = 16;

impl ListedSession {
    /// Whether it is this one.
    pub fn is(&self, session: &Session) -> bool {
        self.id_hash == session.id_hash
    }
}

impl Sessions {
    /// The live sessions of a user, the one used last first.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn of_user(&self, tenant: &TenantId, issuer: &str, sub: &str) -> Result<Vec<ListedSession>, StoreError> {
        let mut listed = Vec::new();
        for key in self.ring.keys().all() {
            let hash = record::sub_hash(&key.of(tenant), issuer, sub);
            listed.extend(self.store.by_sub(tenant, hash, self.clock.now()).await?);
        }
        Ok(self.open_listed(tenant, listed).await)
    }

    /// The live sessions that the provider knows as one session, the one used last first.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn of_sid(&self, tenant: &TenantId, issuer: &str, sid: &str) -> Result<Vec<ListedSession>, StoreError> {
        let mut listed = Vec::new();
        for key in self.ring.keys().all() {
            let hash = record::sid_hash(&key.of(tenant), issuer, sid);
            listed.extend(self.store.by_sid(tenant, hash, self.clock.now()).await?);
        }
        Ok(self.open_listed(tenant, listed).await)
    }

    /// All live sessions of a tenant, the one used last first. For operators: it may look at everything there is.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn of_tenant(&self, tenant: &TenantId) -> Result<Vec<ListedSession>, StoreError> {
        let listed = self.store.all(tenant, self.clock.now()).await?;
        Ok(self.open_listed(tenant, listed).await)
    }

    /// Ends sessions that a list showed, and says how many had not been ended yet.
    ///
    /// # Errors
    /// The store could not remove all of them.
    pub async fn end_listed(
        &self,
        tenant: &TenantId,
        ids: &[[u8; 32]],
        reason: EndReason,
    ) -> Result<usize, StoreError> {
        let (store, near, news) = (self.store.clone(), self.near.clone(), Arc::clone(&self.news));
        let (ends, owner, ids, now) = (Arc::clone(&self.ends), tenant.clone(), ids.to_vec(), self.clock.now());
        let told = self.told();
        // Goes on to its end even if nobody waits for it any more.
        let ending = tokio::spawn(traced(async move {
            let ended = store.remove_many(&owner, ids.clone(), now).await;
            if ended.is_ok() {
                watch::forget(&store, &near, &news, &ends, &owner, &ids).await;
                told.ended(&owner, &ids, reason).await;
            } else {
                // Some may be gone: what is still there is read again, here and elsewhere.
                for id_hash in &ids {
                    near.drop(*id_hash).await;
                    ends.tell(*id_hash);
                }
                news.tell(&store, &[], &ids).await;
            }
            ended
        }));
        // The task fails only when the runtime ends.
        let ended = ending.await.unwrap_or(Err(StoreError::Closed))?;
        let label = self.metrics.tenant(tenant);
        self.metrics.sessions_ended_total.with_label_values(&[label, reason.as_str()]).inc_by(ended as u64);
        if self.store.counts() {
            self.metrics.sessions_active.with_label_values(&[label]).sub(ended as i64);
        }
        Ok(ended)
    }

    /// Makes names for sessions of `tenant` in their users' own hands: nobody can guess one, and it names nothing among
    /// the sessions of another user (see [`Sessions::referred`]).
    pub fn references(&self, tenant: &TenantId) -> impl Fn(&ListedSession) -> String + use<> {
        let key = HashKey::from(&self.ring.active().of(tenant).reference);
        move |session| {
            let owner = record::joined(&[&session.summary.issuer, &session.summary.sub]);
            base64url(&key.hash_all(&[&owner, &session.id_hash])[..REFERENCE_LEN])
        }
    }

    /// The one of these sessions that `unverified` refers to.
    pub fn referred<'a>(
        &self,
        tenant: &TenantId,
        sessions: &'a [ListedSession],
        unverified: &str,
    ) -> Option<&'a ListedSession> {
        let reference = self.references(tenant);
        sessions.iter().find(|session| same(reference(session).as_bytes(), unverified.as_bytes()))
    }

    /// Those that stand under a ring key that is accepted, the one used last first.
    async fn open_listed(&self, tenant: &TenantId, listed: Vec<Listed>) -> Vec<ListedSession> {
        let open = |one: Listed| {
            let keys = self.ring.get(KeyId(one.ring))?.of(tenant);
            let token = one.refresh_token.as_deref();
            let token = token.and_then(|sealed| {
                record::open::<String>(&keys.refresh_token, "refresh token", tenant, &one.id_hash, sealed)
            });
            Some(ListedSession {
                id_hash: one.id_hash,
                summary: record::open(&keys.summary, "summary", tenant, &one.id_hash, &one.summary)?,
                last_seen_at: one.last_seen_at,
                ends_at: one.ends_at,
                refresh_token: token.map(SecretString::from),
            })
        };
        let mut listed: Vec<_> = listed.into_iter().filter_map(open).collect();
        for one in &mut listed {
            // What we serve ourselves we know better than the store.
            if let Some(session) = self.near.sessions.get(&one.id_hash).await {
                one.last_seen_at = one.last_seen_at.max(session.last_seen_at());
                one.ends_at = one.ends_at.max(session.ends_at());
            }
        }
        listed.sort_by_key(|one| (Reverse(one.last_seen_at), one.id_hash));
        listed
    }
}

impl fmt::Debug for ListedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListedSession")
            .field("last_seen_at", &self.last_seen_at)
            .field("ends_at", &self.ends_at)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ListedSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListedSummary").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
