//! A session, and the sealed form of it that lies in the store. When it ends is decided here, by the caller's clock.
//!
//! Three seals: the **record** opens only with the cookie's key; the **summary** and the **refresh token** open with
//! the ring key alone, for what must work without the cookie. Each is bound to its kind, its format, its tenant and
//! its session. The first byte of a seal is its format's number: a new field that may be absent needs no new number,
//! anything else does, and [`open`] then reads both for as long as sessions of the older one may live.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::cookie::{Cookie, CookieHash};
use super::store::StoredSession;
use crate::clock::Timestamp;
use crate::config::SessionLimits;
use crate::secret::{ExposeSecret as _, Key, RingKey, SecretString, base64url, same};
use crate::tenant_id::TenantId;

/// Seconds between two writes of a session's last use.
const TOUCH_EVERY: i64 = 60;
/// The number of the format that is written.
const FORMAT: u8 = 1;
/// Bytes of memory that a session takes besides its texts.
const OVERHEAD: usize = 1024;

/// What a sign-in brings.
pub struct NewSession {
    /// The issuer of the id token.
    pub issuer: String,
    /// The subject: who it is, unique at the issuer.
    pub sub: String,
    /// The provider's own id of its session.
    pub sid: Option<String>,
    /// Everything known about the identity.
    pub claims: Map<String, Value>,
    /// The id token, for the sign-out's hint.
    pub id_token: SecretString,
    /// The access token.
    pub access_token: SecretString,
    /// When the access token ends, if the provider said so.
    pub access_token_expires_at: Option<Timestamp>,
    /// The refresh token.
    pub refresh_token: Option<SecretString>,
    /// The scope that was granted.
    pub scope: Option<String>,
    /// The moment past which the provider wants no session (Auth0's claim `session_expiry`).
    pub session_expiry: Option<Timestamp>,
    /// The browser's name of itself.
    pub user_agent: Option<String>,
    /// Where the browser was.
    pub address: Option<IpAddr>,
}

impl fmt::Debug for NewSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSession").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// One person signed in at one tenant in one browser.
pub struct Session {
    /// The tenant it is good for.
    pub tenant: TenantId,
    /// The issuer of the id token.
    pub issuer: String,
    /// The subject.
    pub sub: String,
    /// The provider's own id of its session.
    pub sid: Option<String>,
    /// Everything known about the identity.
    pub claims: Map<String, Value>,
    /// The id token.
    pub id_token: SecretString,
    /// The access token.
    pub access_token: SecretString,
    /// When the access token ends.
    pub access_token_expires_at: Option<Timestamp>,
    /// The refresh token.
    pub refresh_token: Option<SecretString>,
    /// The scope that was granted.
    pub scope: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends in any case, as fixed at the sign-in.
    pub expires_at: Timestamp,
    /// What fixed [`Session::expires_at`].
    pub expires_because: ExpiryReason,
    pub(super) id_hash: [u8; 32],
    pub(super) cookie_hash: CookieHash,
    /// Bytes of memory, roughly.
    pub(super) weight: u32,
    seen: Seen,
}

/// When a session was last used, in seconds since the epoch, and how much of that the store knows.
struct Seen {
    at: AtomicI64,
    /// The tenant's idle limit when it was last used, in seconds.
    idle: AtomicI64,
    /// The last use that the store was told.
    told: AtomicI64,
    /// The last use that the store has.
    stored: AtomicI64,
}

/// What fixed the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryReason {
    /// The tenant's absolute limit.
    AbsoluteLimit,
    /// The provider's claim `session_expiry`.
    SessionExpiry,
}

/// Why a session ended; the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The person signed out.
    Logout,
    /// Nobody used it for too long.
    Idle,
    /// Its time was over.
    Absolute,
    /// The person ended it from another browser, or an operator did.
    Revoked,
    /// A new sign-in took its place: in the same browser, or because the user had too many.
    Replaced,
    /// The provider said so, by a logout token.
    Backchannel,
    /// The provider said so, by a frame in the person's browser.
    Frontchannel,
    /// The person wanted to be forgotten.
    Disconnect,
}

impl EndReason {
    /// The reason as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Idle => "idle",
            Self::Absolute => "absolute",
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
            Self::Backchannel => "backchannel",
            Self::Frontchannel => "frontchannel",
            Self::Disconnect => "disconnect",
        }
    }
}

/// A session's last use, to be written.
pub(super) struct Touch {
    pub(super) tenant: TenantId,
    pub(super) id_hash: [u8; 32],
    pub(super) last_seen_at: Timestamp,
    pub(super) ends_at: Timestamp,
}

/// What the store keeps of a session, sealed or hashed.
pub(super) struct Row {
    pub(super) id_hash: [u8; 32],
    /// The ring key that all of the row stands under.
    pub(super) ring: [u8; 4],
    pub(super) created_at: Timestamp,
    pub(super) last_seen_at: Timestamp,
    /// When it ends if nobody uses it any more.
    pub(super) ends_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) record: Vec<u8>,
    pub(super) summary: Vec<u8>,
    pub(super) refresh_token: Option<Vec<u8>>,
    pub(super) sub_hash: [u8; 32],
    pub(super) sid_hash: Option<[u8; 32]>,
}

/// The record's content, as JSON.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    issuer: Cow<'a, str>,
    sub: Cow<'a, str>,
    sid: Option<Cow<'a, str>>,
    claims: Cow<'a, Map<String, Value>>,
    id_token: Cow<'a, str>,
    access_token: Cow<'a, str>,
    access_token_expires_at: Option<Timestamp>,
    scope: Option<Cow<'a, str>>,
    created_at: Timestamp,
    expires_at: Timestamp,
    expires_because: ExpiryReason,
}

/// The summary's content, as JSON: what a list of sessions shows.
#[derive(Serialize)]
struct Summary<'a> {
    issuer: &'a str,
    sub: &'a str,
    sid: Option<&'a str>,
    user_agent: Option<&'a str>,
    address: Option<IpAddr>,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl Session {
    /// A session that begins `now`, and its row.
    pub(super) fn begin(
        ring: &RingKey,
        tenant: &TenantId,
        cookie: &Cookie,
        cookie_hash: CookieHash,
        limits: &SessionLimits,
        now: Timestamp,
        new: NewSession,
    ) -> (Self, Row) {
        let limit = now.plus(seconds(limits.absolute));
        let (expires_at, expires_because) = match new.session_expiry {
            Some(expiry) if expiry < limit => (expiry, ExpiryReason::SessionExpiry),
            _ => (limit, ExpiryReason::AbsoluteLimit),
        };
        let (user_agent, address) = (new.user_agent, new.address);
        let mut session = Self {
            tenant: tenant.clone(),
            issuer: new.issuer,
            sub: new.sub,
            sid: new.sid,
            claims: new.claims,
            id_token: new.id_token,
            access_token: new.access_token,
            access_token_expires_at: new.access_token_expires_at,
            refresh_token: new.refresh_token,
            scope: new.scope,
            created_at: now,
            expires_at,
            expires_because,
            id_hash: id_hash(ring, tenant, &cookie.id),
            cookie_hash,
            weight: 0,
            seen: Seen::new(now, seconds(limits.idle)),
        };
        let row = session.seal(ring, cookie, user_agent.as_deref(), address);
        session.weight = weight(&row.record, row.refresh_token.as_deref());
        (session, row)
    }

    fn seal(&self, ring: &RingKey, cookie: &Cookie, user_agent: Option<&str>, address: Option<IpAddr>) -> Row {
        let record = Record {
            issuer: (&self.issuer).into(),
            sub: (&self.sub).into(),
            sid: self.sid.as_deref().map(Into::into),
            claims: Cow::Borrowed(&self.claims),
            id_token: self.id_token.expose_secret().into(),
            access_token: self.access_token.expose_secret().into(),
            access_token_expires_at: self.access_token_expires_at,
            scope: self.scope.as_deref().map(Into::into),
            created_at: self.created_at,
            expires_at: self.expires_at,
            expires_because: self.expires_because,
        };
        let summary = Summary {
            issuer: &self.issuer,
            sub: &self.sub,
            sid: self.sid.as_deref(),
            user_agent,
            address,
            created_at: self.created_at,
            expires_at: self.expires_at,
        };
        let tenant = &self.tenant;
        Row {
            id_hash: self.id_hash,
            ring: cookie.ring,
            created_at: self.created_at,
            last_seen_at: self.last_seen_at(),
            ends_at: self.ends_at(),
            expires_at: self.expires_at,
            record: seal(&record_key(ring, tenant, cookie), "record", tenant, &self.id_hash, &record),
            summary: seal(&ring.derive(tenant, "session summary"), "summary", tenant, &self.id_hash, &summary),
            refresh_token: self.refresh_token.as_ref().map(|token| {
                let key = ring.derive(tenant, "refresh token");
                seal(&key, "refresh token", tenant, &self.id_hash, token.expose_secret())
            }),
            sub_hash: index_hash(ring, tenant, "sub", &self.issuer, &self.sub),
            sid_hash: self.sid.as_deref().map(|sid| index_hash(ring, tenant, "sid", &self.issuer, sid)),
        }
    }

    /// Opens a record; `None` if the cookie's key is not its key, or if it belongs to another tenant or session.
    pub(super) fn open(
        ring: &RingKey,
        tenant: &TenantId,
        cookie: &Cookie,
        cookie_hash: CookieHash,
        stored: &StoredSession,
    ) -> Option<Self> {
        let id_hash = id_hash(ring, tenant, &cookie.id);
        let weight = weight(&stored.record, stored.refresh_token.as_deref());
        let record: Record = open(&record_key(ring, tenant, cookie), "record", tenant, &id_hash, &stored.record)?;
        let refresh_token = match &stored.refresh_token {
            Some(sealed) => {
                let key = ring.derive(tenant, "refresh token");
                Some(open::<String>(&key, "refresh token", tenant, &id_hash, sealed)?.into())
            }
            None => None,
        };
        Some(Self {
            tenant: tenant.clone(),
            issuer: record.issuer.into_owned(),
            sub: record.sub.into_owned(),
            sid: record.sid.map(Cow::into_owned),
            claims: record.claims.into_owned(),
            id_token: record.id_token.into_owned().into(),
            access_token: record.access_token.into_owned().into(),
            access_token_expires_at: record.access_token_expires_at,
            refresh_token,
            scope: record.scope.map(Cow::into_owned),
            created_at: record.created_at,
            expires_at: record.expires_at,
            expires_because: record.expires_because,
            id_hash,
            cookie_hash,
            weight,
            seen: Seen::new(stored.last_seen_at, 0),
        })
    }

    /// Whether this is the hash of its own cookie.
    pub(super) fn opens_with(&self, cookie_hash: &CookieHash) -> bool {
        same(&self.cookie_hash, cookie_hash)
    }

    /// A name for it that lasts as long as it does. It opens nothing, but whoever holds it can have the session ended:
    /// it is for our own sealed cookies.
    pub fn handle(&self) -> String {
        base64url(&self.id_hash)
    }

    /// When it was last used.
    pub fn last_seen_at(&self) -> Timestamp {
        Timestamp(self.seen.at.load(Ordering::Relaxed))
    }

    /// When it ends if nobody uses it any more.
    pub fn idle_expires_at(&self, limits: &SessionLimits) -> Timestamp {
        self.last_seen_at().plus(seconds(limits.idle)).min(self.expires_at)
    }

    /// Whether it is over. A limit lowered since the sign-in counts; one raised does not lengthen it.
    pub(super) fn is_over(&self, limits: &SessionLimits, now: Timestamp) -> bool {
        now >= self.idle_expires_at(limits) || now >= self.created_at.plus(seconds(limits.absolute))
    }

    /// Notes a use; at most once a minute this is worth a write.
    pub(super) fn see(&self, limits: &SessionLimits, now: Timestamp) -> Option<Touch> {
        self.seen.idle.store(seconds(limits.idle), Ordering::Relaxed);
        self.seen.at.fetch_max(now.0, Ordering::Relaxed);
        let told = self.seen.told.load(Ordering::Relaxed);
        let due = now.since(Timestamp(told)) >= TOUCH_EVERY;
        let mine = due && self.seen.told.compare_exchange(told, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        mine.then(|| self.touch())
    }

    /// What the store does not know yet.
    pub(super) fn untold(&self) -> Option<Touch> {
        (self.last_seen_at().0 > self.seen.stored.load(Ordering::Relaxed)).then(|| self.touch())
    }

    /// The store knows of the use at `last_seen_at`.
    pub(super) fn stored(&self, last_seen_at: Timestamp) {
        self.seen.stored.fetch_max(last_seen_at.0, Ordering::Relaxed);
    }

    /// When it ends as things stand: by idling or in any case.
    pub(super) fn ends_at(&self) -> Timestamp {
        self.last_seen_at().plus(self.seen.idle.load(Ordering::Relaxed)).min(self.expires_at)
    }

    fn touch(&self) -> Touch {
        Touch {
            tenant: self.tenant.clone(),
            id_hash: self.id_hash,
            last_seen_at: self.last_seen_at(),
            ends_at: self.ends_at(),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("tenant", &self.tenant)
            .field("created_at", &self.created_at)
            .field("last_seen_at", &self.last_seen_at())
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Seen {
    fn new(at: Timestamp, idle: i64) -> Self {
        let at = || AtomicI64::new(at.0);
        Self { at: at(), idle: AtomicI64::new(idle), told: at(), stored: at() }
    }
}

/// What the store knows a session by, and the cache.
pub(super) fn id_hash(ring: &RingKey, tenant: &TenantId, id: &[u8]) -> [u8; 32] {
    ring.derive(tenant, "session id").hash(id)
}

/// What an index, `sub` or `sid`, knows a user or a provider's session by.
pub(super) fn index_hash(ring: &RingKey, tenant: &TenantId, index: &str, issuer: &str, id: &str) -> [u8; 32] {
    ring.derive(tenant, "session index").hash(&joined(&[index, issuer, id]))
}

/// Seals `content`, bound to its kind, the tenant and what `owner` is a hash of.
pub(super) fn seal<T>(key: &Key, kind: &str, tenant: &TenantId, owner: &[u8; 32], content: &T) -> Vec<u8>
where
    T: Serialize + ?Sized,
{
    let plain = Zeroizing::new(serde_json::to_vec(content).expect("texts, numbers and maps of them are JSON"));
    let mut sealed = vec![FORMAT];
    sealed.append(&mut key.seal(&associated(FORMAT, kind, tenant, owner), &plain));
    sealed
}

/// Opens what [`seal`] made, given the same key, kind, tenant and owner.
pub(super) fn open<T>(key: &Key, kind: &str, tenant: &TenantId, owner: &[u8; 32], sealed: &[u8]) -> Option<T>
where
    T: DeserializeOwned,
{
    let (&format, body) = sealed.split_first()?;
    let plain = Zeroizing::new(key.open(&associated(format, kind, tenant, owner), body)?);
    match format {
        1 => serde_json::from_slice(&plain).ok(),
        _ => None,
    }
}

/// Texts one after the other, each with its length, so that no two lists look the same.
pub(super) fn joined(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| [&(text.len() as u64).to_be_bytes()[..], text.as_bytes()].concat()).collect()
}

fn associated(format: u8, kind: &str, tenant: &TenantId, owner: &[u8; 32]) -> Vec<u8> {
    let mut data = joined(&["lychgate", kind, tenant.as_str()]);
    data.push(format);
    data.extend(owner);
    data
}

fn record_key(ring: &RingKey, tenant: &TenantId, cookie: &Cookie) -> Key {
    cookie.key.derive(ring.derive(tenant, "session record").expose(), &[b"record"])
}

fn weight(record: &[u8], refresh_token: Option<&[u8]>) -> u32 {
    let bytes = OVERHEAD + record.len() + refresh_token.map_or(0, <[u8]>::len);
    bytes.try_into().unwrap_or(u32::MAX)
}

fn seconds(duration: std::time::Duration) -> i64 {
    duration.as_secs().try_into().unwrap_or(i64::MAX)
}
