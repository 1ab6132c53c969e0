//! A session, and the sealed form of it that lies in the store. When it ends is decided here, by the caller's clock.
//!
//! Three seals: the **record** opens only with the cookie's key; the **summary** and the **refresh token** open with
//! the ring key alone, for what must work without the cookie. Each is bound to its kind, its format, its tenant and
//! its session. The first byte of a seal is its format's number: a new field that may be absent needs no new number,
//! anything else does, and [`open`] then reads both for as long as sessions of the older one may live.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::cookie::{Cookie, CookieHash};
use super::store::{StoredSession, Update};
use super::tokens::{AccessToken, Opened, Renewal, TokenTerms, Tokens};
use crate::claims::{Claims, PackedIdentity};
use crate::clock::Timestamp;
use crate::config::{LOCAL_ISSUER, SessionLimits};
use crate::key_ring::{KeyId, RingKey, TenantKeys};
use crate::secret::{ExposeSecret as _, Key, SecretString, base64url, same};
use crate::tenant_id::TenantId;

/// Seconds between two writes of a session's last use.
const TOUCH_EVERY: i64 = 60;
/// The number of the format that is written.
const FORMAT: u8 = 1;
/// Bytes of memory that a session takes besides its texts: itself, its last use, and its place in the cache. What the
/// cache takes was measured by `benches/sessions.rs`.
const OVERHEAD: usize = size_of::<Session>() + size_of::<Seen>() + 512;

/// What a sign-in brings.
pub struct NewSession {
    /// The issuer of the id token.
    pub issuer: String,
    /// The subject: who it is, unique at the issuer.
    pub sub: String,
    /// The provider's own id of its session; of a local account, what it was at the sign-in.
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

/// One person signed in at one tenant in one browser. Its tokens are not here: see [`Opened`].
///
/// What each check reads lies together, at the beginning: among many sessions it is the waiting for memory that counts.
#[repr(C)]
pub struct Session {
    pub(super) cookie_hash: CookieHash,
    /// One for all that a session becomes by renewals.
    seen: Arc<Seen>,
    identity: PackedIdentity,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends in any case, as fixed at the sign-in.
    pub expires_at: Timestamp,
    /// When it was read from the store, or written to it, in milliseconds of the process.
    pub(super) read_at: u64,
    /// Another replica has changed it since.
    pub(super) doubtful: AtomicBool,
    /// Whether a local account signed in, not somebody at the provider: there are no tokens then.
    pub is_local: bool,
    /// Whether there is a refresh token.
    pub is_renewable: bool,
    /// When the access token is good; none once the provider has ended the tokens.
    pub access_token: Option<TokenTerms>,
    /// The tenant it is good for.
    pub tenant: TenantId,
    /// What fixed [`Session::expires_at`].
    pub expires_because: ExpiryReason,
    /// The ring key that it stands under.
    pub(super) ring: KeyId,
    pub(super) id_hash: [u8; 32],
    /// What the record is sealed under: derived from the cookie, which we do not keep.
    pub(super) record_key: Key,
    /// Of its record, as it was read or written.
    pub(super) version: Version,
}

/// Tells what a record says from all that it said before and will say: the tag of its seal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Version([u8; 16]);

impl Version {
    fn of(record: &[u8]) -> Self {
        Self(record.last_chunk().copied().unwrap_or_default())
    }
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
    /// The provider refused to renew its tokens.
    Refused,
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
            Self::Refused => "refused",
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

/// Where a session lies in cache and store, and the key of its record.
pub(super) struct Lock {
    pub(super) tenant: TenantId,
    pub(super) id_hash: [u8; 32],
    pub(super) record_key: Key,
    pub(super) cookie_hash: CookieHash,
}

impl Lock {
    /// Of the session that `cookie` is for.
    pub(super) fn of(
        ring: &RingKey,
        tenant: &TenantId,
        cookie: &Cookie,
        id_hash: [u8; 32],
        cookie_hash: CookieHash,
    ) -> Self {
        Self { tenant: tenant.clone(), id_hash, record_key: record_key(ring, tenant, cookie), cookie_hash }
    }
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
    claims: Map<String, Value>,
    id_token: Cow<'a, str>,
    access_token: Option<Cow<'a, str>>,
    #[serde(default)]
    access_token_issued_at: Option<Timestamp>,
    access_token_expires_at: Option<Timestamp>,
    scope: Option<Cow<'a, str>>,
    #[serde(default)]
    further_access_tokens: BTreeMap<Cow<'a, str>, StoredToken<'a>>,
    created_at: Timestamp,
    expires_at: Timestamp,
    expires_because: ExpiryReason,
}

/// A further access token in the record.
#[derive(Serialize, Deserialize)]
struct StoredToken<'a> {
    value: Cow<'a, str>,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    scope: Option<Cow<'a, str>>,
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
        (now, read_at): (Timestamp, u64),
        new: NewSession,
    ) -> (Opened, Row) {
        let is_local = new.issuer == LOCAL_ISSUER;
        let limit = now.plus(seconds(limits.absolute_of(is_local)));
        let (expires_at, expires_because) = match new.session_expiry {
            Some(expiry) if expiry < limit => (expiry, ExpiryReason::SessionExpiry),
            _ => (limit, ExpiryReason::AbsoluteLimit),
        };
        let (user_agent, address) = (new.user_agent, new.address);
        let idle = seconds(limits.idle_of(is_local));
        let tokens = Tokens {
            id_token: new.id_token,
            // A local account has none.
            access_token: (!new.access_token.expose_secret().is_empty()).then_some(AccessToken {
                value: new.access_token,
                terms: TokenTerms { issued_at: now, expires_at: new.access_token_expires_at },
                scope: new.scope,
            }),
            further_access_tokens: BTreeMap::new(),
            refresh_token: new.refresh_token,
        };
        let session = Self {
            tenant: tenant.clone(),
            identity: PackedIdentity::new(&new.issuer, &new.sub, new.sid.as_deref(), tokens.scope(), new.claims),
            is_local,
            access_token: tokens.access_token.as_ref().map(|token| token.terms),
            is_renewable: tokens.refresh_token.is_some(),
            created_at: now,
            expires_at,
            expires_because,
            ring: ring.id(),
            id_hash: id_hash(ring, tenant, &cookie.id),
            cookie_hash,
            record_key: record_key(ring, tenant, cookie),
            version: Version([0; 16]),
            read_at,
            doubtful: AtomicBool::new(false),
            seen: Seen::new(now, idle),
        };
        let row = session.seal(ring, &tokens, user_agent.as_deref(), address);
        let session = Self { version: Version::of(&row.record), ..session };
        (Opened { session: Arc::new(session), tokens: Arc::new(tokens) }, row)
    }

    /// What becomes of the session, which has these `tokens`, by `renewal`, and what of its row.
    pub(super) fn renewed(&self, tokens: &Tokens, ring: &RingKey, renewal: &Renewal, read_at: u64) -> (Opened, Update) {
        let mut claims = None;
        let (mut expires_at, mut expires_because) = (self.expires_at, self.expires_because);
        let mut tokens = tokens.clone();
        match renewal {
            Renewal::Ended => {
                tokens = Tokens {
                    access_token: None,
                    further_access_tokens: BTreeMap::new(),
                    refresh_token: None,
                    ..tokens
                };
            }
            Renewal::Tokens(new) => {
                tokens.further_access_tokens.retain(|_, token| token.terms.is_usable(new.access_token.terms.issued_at));
                let mut token = new.access_token.clone();
                if let Some(audience) = &new.audience {
                    tokens.further_access_tokens.insert(audience.clone(), token);
                } else {
                    // No scope in the answer: the same as before (RFC 6749, section 5.1).
                    token.scope = token.scope.or_else(|| self.scope().map(str::to_owned));
                    tokens.access_token = Some(token);
                }
                tokens.refresh_token = new.refresh_token.clone().or(tokens.refresh_token);
                tokens.id_token = new.id_token.clone().unwrap_or(tokens.id_token);
                claims.clone_from(&new.claims);
                if let Some(expiry) = new.session_expiry.filter(|expiry| *expiry < self.expires_at) {
                    (expires_at, expires_because) = (expiry, ExpiryReason::SessionExpiry);
                }
            }
        }
        let claims = claims.unwrap_or_else(|| self.claims().to_map());
        let session = Self {
            tenant: self.tenant.clone(),
            identity: PackedIdentity::new(self.issuer(), self.sub(), self.sid(), tokens.scope(), claims),
            is_local: self.is_local,
            access_token: tokens.access_token.as_ref().map(|token| token.terms),
            is_renewable: tokens.refresh_token.is_some(),
            created_at: self.created_at,
            expires_at,
            expires_because,
            ring: self.ring,
            id_hash: self.id_hash,
            cookie_hash: self.cookie_hash,
            record_key: self.record_key.clone(),
            version: self.version,
            read_at,
            doubtful: AtomicBool::new(false),
            seen: Arc::clone(&self.seen),
        };
        let update = Update {
            record: session.seal_record(&tokens),
            refresh_token: session.seal_refresh_token(&tokens, &ring.of(&session.tenant)),
            expires_at,
        };
        let session = Self { version: Version::of(&update.record), ..session };
        (Opened { session: Arc::new(session), tokens: Arc::new(tokens) }, update)
    }

    fn seal(&self, ring: &RingKey, tokens: &Tokens, user_agent: Option<&str>, address: Option<IpAddr>) -> Row {
        let summary = Summary {
            issuer: self.issuer(),
            sub: self.sub(),
            sid: self.sid(),
            user_agent,
            address,
            created_at: self.created_at,
            expires_at: self.expires_at,
        };
        let tenant = &self.tenant;
        let keys = ring.of(tenant);
        Row {
            id_hash: self.id_hash,
            ring: self.ring.0,
            created_at: self.created_at,
            last_seen_at: self.last_seen_at(),
            ends_at: self.ends_at(),
            expires_at: self.expires_at,
            record: self.seal_record(tokens),
            summary: seal(&keys.summary, "summary", tenant, &self.id_hash, &summary),
            refresh_token: self.seal_refresh_token(tokens, &keys),
            sub_hash: sub_hash(&keys, self.issuer(), self.sub()),
            sid_hash: self.sid().map(|sid| sid_hash(&keys, self.issuer(), sid)),
        }
    }

    fn seal_record(&self, tokens: &Tokens) -> Vec<u8> {
        let token = tokens.access_token.as_ref();
        let further = tokens.further_access_tokens.iter().map(|(audience, token)| {
            let stored = StoredToken {
                value: token.value.expose_secret().into(),
                issued_at: token.terms.issued_at,
                expires_at: token.terms.expires_at,
                scope: token.scope.as_deref().map(Into::into),
            };
            (audience.into(), stored)
        });
        let record = Record {
            issuer: self.issuer().into(),
            sub: self.sub().into(),
            sid: self.sid().map(Into::into),
            claims: self.claims().to_map(),
            id_token: tokens.id_token.expose_secret().into(),
            access_token: token.map(|token| token.value.expose_secret().into()),
            access_token_issued_at: token.map(|token| token.terms.issued_at),
            access_token_expires_at: token.and_then(|token| token.terms.expires_at),
            scope: self.scope().map(Into::into),
            further_access_tokens: further.collect(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            expires_because: self.expires_because,
        };
        seal(&self.record_key, "record", &self.tenant, &self.id_hash, &record)
    }

    fn seal_refresh_token(&self, tokens: &Tokens, keys: &TenantKeys) -> Option<Vec<u8>> {
        let token = tokens.refresh_token.as_ref()?;
        Some(seal(&keys.refresh_token, "refresh token", &self.tenant, &self.id_hash, token.expose_secret()))
    }

    /// Opens a record; `None` if the key is not its key, or if it belongs to another tenant or session.
    /// `known` is what it was before.
    pub(super) fn open(
        ring: &RingKey,
        lock: Lock,
        stored: &StoredSession,
        known: Option<&Self>,
        read_at: u64,
    ) -> Option<Opened> {
        let Lock { tenant, id_hash, record_key, cookie_hash } = lock;
        let record: Record = open(&record_key, "record", &tenant, &id_hash, &stored.record)?;
        let refresh_token = match &stored.refresh_token {
            Some(sealed) => {
                let key = &ring.of(&tenant).refresh_token;
                Some(open::<String>(key, "refresh token", &tenant, &id_hash, sealed)?.into())
            }
            None => None,
        };
        let access_token = record.access_token.map(|value| AccessToken {
            value: value.into_owned().into(),
            terms: TokenTerms {
                issued_at: record.access_token_issued_at.unwrap_or(record.created_at),
                expires_at: record.access_token_expires_at,
            },
            scope: record.scope.map(Cow::into_owned),
        });
        let seen = known.map_or_else(|| Seen::new(stored.last_seen_at, 0), |known| Arc::clone(&known.seen));
        seen.at.fetch_max(stored.last_seen_at.0, Ordering::Relaxed);
        let further = record.further_access_tokens.into_iter().map(|(audience, token)| {
            let terms = TokenTerms { issued_at: token.issued_at, expires_at: token.expires_at };
            let scope = token.scope.map(Cow::into_owned);
            (audience.into_owned(), AccessToken { value: token.value.into_owned().into(), terms, scope })
        });
        let tokens = Tokens {
            id_token: record.id_token.into_owned().into(),
            access_token,
            further_access_tokens: further.collect(),
            refresh_token,
        };
        let session = Self {
            tenant,
            identity: PackedIdentity::new(
                &record.issuer,
                &record.sub,
                record.sid.as_deref(),
                tokens.scope(),
                record.claims,
            ),
            is_local: record.issuer == LOCAL_ISSUER,
            access_token: tokens.access_token.as_ref().map(|token| token.terms),
            is_renewable: tokens.refresh_token.is_some(),
            created_at: record.created_at,
            expires_at: record.expires_at,
            expires_because: record.expires_because,
            ring: ring.id(),
            id_hash,
            cookie_hash,
            record_key,
            version: Version::of(&stored.record),
            read_at,
            doubtful: AtomicBool::new(false),
            seen,
        };
        Some(Opened { session: Arc::new(session), tokens: Arc::new(tokens) })
    }

    /// The issuer of the id token.
    pub fn issuer(&self) -> &str {
        self.identity.issuer()
    }

    /// The subject.
    pub fn sub(&self) -> &str {
        self.identity.sub()
    }

    /// The provider's own id of its session; of a local account, what it was at the sign-in.
    pub fn sid(&self) -> Option<&str> {
        self.identity.sid()
    }

    /// The scope that was granted, parted by blanks; none without an access token.
    pub fn scope(&self) -> Option<&str> {
        self.identity.scope()
    }

    /// Everything known about the identity.
    pub const fn claims(&self) -> Claims<'_> {
        self.identity.claims()
    }

    /// Has what a check reads brought from memory.
    pub(super) fn fetch(&self) {
        self.identity.fetch();
    }

    /// Bytes of memory, roughly, in the cache.
    pub(super) fn weight(&self) -> u32 {
        (OVERHEAD + self.identity.size()).try_into().unwrap_or(u32::MAX)
    }

    /// Where and under which key it lies in the store.
    pub(super) fn lock(&self) -> Lock {
        Lock {
            tenant: self.tenant.clone(),
            id_hash: self.id_hash,
            record_key: self.record_key.clone(),
            cookie_hash: self.cookie_hash,
        }
    }

    /// What tells it from all other sessions; opens nothing.
    pub const fn key(&self) -> [u8; 32] {
        self.id_hash
    }

    /// Whether this is the hash of its own cookie.
    pub(super) fn opens_with(&self, cookie_hash: &CookieHash) -> bool {
        same(&self.cookie_hash, cookie_hash)
    }

    /// What the store knows it by.
    pub const fn id_hash(&self) -> &[u8; 32] {
        &self.id_hash
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
        self.last_seen_at().plus(seconds(limits.idle_of(self.is_local))).min(self.expires_at)
    }

    /// Whether it is over. A limit lowered since the sign-in counts; one raised does not lengthen it.
    pub(super) fn is_over(&self, limits: &SessionLimits, now: Timestamp) -> bool {
        now >= self.idle_expires_at(limits) || now >= self.created_at.plus(seconds(limits.absolute_of(self.is_local)))
    }

    /// Notes a use; at most once a minute this is worth a write.
    pub(super) fn see(&self, limits: &SessionLimits, now: Timestamp) -> Option<Touch> {
        // Nothing is written that stands there already: several processors may be at it.
        let idle = seconds(limits.idle_of(self.is_local));
        if self.seen.idle.load(Ordering::Relaxed) != idle {
            self.seen.idle.store(idle, Ordering::Relaxed);
        }
        if self.last_seen_at() < now {
            self.seen_at(now);
        }
        let told = self.seen.told.load(Ordering::Relaxed);
        // A clock that was set back waits for nobody: the store may reckon by one of its own.
        let due = now.since(Timestamp(told)).saturating_abs() >= TOUCH_EVERY;
        let mine = due && self.seen.told.compare_exchange(told, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        mine.then(|| self.touch())
    }

    /// Takes over a use that the store knows of.
    pub(super) fn seen_at(&self, last_seen_at: Timestamp) {
        self.seen.at.fetch_max(last_seen_at.0, Ordering::Relaxed);
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
    fn new(at: Timestamp, idle: i64) -> Arc<Self> {
        let at = || AtomicI64::new(at.0);
        Arc::new(Self { at: at(), idle: AtomicI64::new(idle), told: at(), stored: at() })
    }
}

/// What the store knows a session by, and the cache.
pub(super) fn id_hash(ring: &RingKey, tenant: &TenantId, id: &[u8]) -> [u8; 32] {
    ring.session_hash(tenant, id)
}

/// What all sessions of one user at one tenant share in the store, under one ring key.
pub(super) fn sub_hash(keys: &TenantKeys, issuer: &str, sub: &str) -> [u8; 32] {
    keys.index.hash(&joined(&["sub", issuer, sub]))
}

/// The same for the sessions that belong to one of the provider's own.
pub(super) fn sid_hash(keys: &TenantKeys, issuer: &str, sid: &str) -> [u8; 32] {
    keys.index.hash(&joined(&["sid", issuer, sid]))
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
    cookie.key.derive(ring.of(tenant).record.expose(), &[b"record"])
}

fn seconds(duration: std::time::Duration) -> i64 {
    duration.as_secs().try_into().unwrap_or(i64::MAX)
}
