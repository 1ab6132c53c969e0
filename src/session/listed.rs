//! Sessions without their cookie: listed from what lies sealed beside the record, ended by what they are listed by; and
//! what other processes ended, dropped from the cache of this one.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::ops::compute::Op;

use super::record::{self, Index, Summary};
use super::store::{ListedRow, Which};
use super::{EndReason, Session, Sessions, StoreError};
use crate::clock::Timestamp;
use crate::secret::{SecretString, base64url, from_base64url, same};
use crate::tenant_id::TenantId;

/// Time between two looks at what other processes ended.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// Sessions that are ended at the same time; they share a transaction.
const ENDED_AT_ONCE: usize = 64;
/// Bytes of a reference.
const REFERENCE_LEN: usize = 16;

/// Whose sessions.
#[derive(Clone, Copy)]
pub enum Whose<'a> {
    /// All of a user's.
    User {
        /// The issuer of the id token.
        issuer: &'a str,
        /// The subject.
        sub: &'a str,
    },
    /// Those of one session at the provider.
    ProviderSession {
        /// The issuer of the id token.
        issuer: &'a str,
        /// The provider's id of it.
        sid: &'a str,
    },
    /// Everybody's.
    Everybody,
}

impl fmt::Debug for Whose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User { .. } => "User",
            Self::ProviderSession { .. } => "ProviderSession",
            Self::Everybody => "Everybody",
        })
    }
}

/// A session, as far as it is known without its cookie.
pub struct ListedSession {
    /// The tenant it is good for.
    pub tenant: TenantId,
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
    /// When it was last used; up to a minute late if another process serves it.
    pub last_seen_at: Timestamp,
    /// When it ends if nobody uses it any more.
    pub ends_at: Timestamp,
    /// When it ends in any case.
    pub expires_at: Timestamp,
    id_hash: [u8; 32],
    sealed_refresh_token: Option<Vec<u8>>,
}

impl ListedSession {
    /// Whether it is this one.
    pub fn is(&self, session: &Session) -> bool {
        self.id_hash == session.id_hash
    }
}

impl fmt::Debug for ListedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListedSession")
            .field("tenant", &self.tenant)
            .field("created_at", &self.created_at)
            .field("last_seen_at", &self.last_seen_at)
            .finish_non_exhaustive()
    }
}

impl Sessions {
    /// Live sessions at `tenant`, the one used last first.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn list(&self, tenant: &TenantId, whose: Whose<'_>) -> Result<Vec<ListedSession>, StoreError> {
        let index = |issuer| Index::of(&self.ring, tenant, issuer);
        let which = match whose {
            Whose::User { issuer, sub } => Which::Sub(index(issuer).sub(sub)),
            Whose::ProviderSession { issuer, sid } => Which::Sid(index(issuer).sid(sid)),
            Whose::Everybody => Which::All,
        };
        let now = self.clock.now();
        let mut listed = Vec::new();
        let key = self.ring.derive(tenant, "session summary");
        for row in self.store.list(tenant, which).await? {
            let Some(summary) = record::open(&key, "summary", tenant, &row.id_hash, &row.summary) else { continue };
            let used = self.cache.get(&row.id_hash).await.map(|session| (session.last_seen_at(), session.ends_at()));
            let session = listed_session(tenant, row, summary, used);
            if session.ends_at > now {
                listed.push(session);
            }
        }
        listed.sort_by_key(|session| (-session.last_seen_at.0, -session.created_at.0));
        Ok(listed)
    }

    /// A name for `session` in the user's own hands: nobody can guess it, and it names nothing among the sessions of
    /// another user (see [`Sessions::referred`]).
    pub fn reference(&self, session: &ListedSession) -> String {
        let key = self.ring.derive(&session.tenant, "session reference");
        let hash = key.hash(&[&record::joined(&[&session.issuer, &session.sub])[..], &session.id_hash].concat());
        base64url(&hash[..REFERENCE_LEN])
    }

    /// The one of these sessions that `unverified` refers to.
    pub fn referred<'a>(&self, sessions: &'a [ListedSession], unverified: &str) -> Option<&'a ListedSession> {
        sessions.iter().find(|session| same(self.reference(session).as_bytes(), unverified.as_bytes()))
    }

    /// The refresh token that the store keeps for `session`.
    pub fn refresh_token(&self, session: &ListedSession) -> Option<SecretString> {
        let sealed = session.sealed_refresh_token.as_deref()?;
        record::open_refresh_token(&self.ring, &session.tenant, &session.id_hash, sealed)
    }

    /// Ends all of `sessions`; how many had not been ended yet.
    ///
    /// # Errors
    /// The store did not remove them all; the others have ended.
    pub async fn end_listed(&self, sessions: &[&ListedSession], reason: EndReason) -> Result<usize, StoreError> {
        let mut ended = Ok(0);
        for some in sessions.chunks(ENDED_AT_ONCE) {
            let ends: Vec<_> =
                some.iter().map(|session| self.ending(&session.tenant, session.id_hash, reason)).collect();
            for end in ends {
                ended = match end.await {
                    Ok(was_there) => ended.map(|count| count + usize::from(was_there)),
                    Err(error) => Err(error),
                };
            }
        }
        ended
    }

    /// Ends the session of this [`Session::handle`].
    ///
    /// # Errors
    /// The store could not remove it.
    pub async fn end_by_handle(&self, tenant: &TenantId, handle: &str, reason: EndReason) -> Result<bool, StoreError> {
        match from_base64url(handle).and_then(|bytes| bytes.try_into().ok()) {
            Some(id_hash) => self.ending(tenant, id_hash, reason).await,
            None => Ok(false),
        }
    }

    /// Somebody else ended the session of this hash: it opens nothing here any more. A load that is under way is waited
    /// for, as in [`Sessions::end`].
    pub(super) async fn ended_elsewhere(&self, id_hash: [u8; 32]) {
        self.cache.entry(id_hash).and_compute_with(|_| async { Op::Remove }).await;
    }

    /// Looks for sessions that other processes ended, for ever; the caller spawns this and aborts it.
    pub async fn keep_watched(self: Arc<Self>) {
        let (mut last, mut was_well) = (0, true);
        loop {
            match self.store.ended_since(&mut last).await {
                Ok(ended) => {
                    was_well = true;
                    for id_hash in ended {
                        self.ended_elsewhere(id_hash).await;
                    }
                }
                Err(error) => {
                    if std::mem::take(&mut was_well) {
                        let error = &error as &dyn Error;
                        tracing::warn!(error, "cannot see which sessions other processes end");
                    }
                }
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }
}

fn listed_session(
    tenant: &TenantId,
    row: ListedRow,
    summary: Summary<'_>,
    used: Option<(Timestamp, Timestamp)>,
) -> ListedSession {
    let (last_seen_at, ends_at) = used.unwrap_or((row.last_seen_at, row.ends_at));
    ListedSession {
        tenant: tenant.clone(),
        issuer: summary.issuer.into_owned(),
        sub: summary.sub.into_owned(),
        sid: summary.sid.map(Cow::into_owned),
        user_agent: summary.user_agent.map(Cow::into_owned),
        address: summary.address,
        created_at: summary.created_at,
        last_seen_at: last_seen_at.max(row.last_seen_at),
        ends_at: ends_at.max(row.ends_at),
        expires_at: summary.expires_at,
        id_hash: row.id_hash,
        sealed_refresh_token: row.refresh_token,
    }
}
