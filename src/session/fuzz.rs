//! Fuzz targets of sessions: what a browser brings, what a store gives back, what other replicas are said to have said.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a target says by a panic what is broken")]

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{FromRedisValue, Value as Answer};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::cookie::{Cookie, CookieHash, cookie_hash};
use super::news::Message;
use super::record::{self, Lock, Row};
use super::store::{self, StoredSession};
use super::{NewSession, Opened, Session, Sessions};
use crate::clock::{Clock, Timestamp};
use crate::config::{RedisNode, RedisServers, RedisSettings, SessionLimits, StoreKind, StoreSettings};
use crate::key_ring::{KeyRing, RingKey};
use crate::metrics::Metrics;
use crate::secret::{ExposeSecret as _, Key, from_base64url};
use crate::tenant_id::TenantId;

const NOW: Timestamp = Timestamp(1_800_000_000);
/// What stands in an input for the genuine record, and for the genuine refresh token.
const RECORD: &[u8] = b"{record}";
const REFRESH: &[u8] = b"{refresh}";

/// A session and everything that belongs to it; always the same one, but for the nonces of its seals.
struct Genuine {
    ring: Arc<RingKey>,
    tenant: TenantId,
    value: String,
    hash: CookieHash,
    opened: Opened,
    row: Row,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let (ring, tenant) = (Arc::new(RingKey::new(Key::from_bytes([7; 32]))), "acme".parse().unwrap());
    let cookie = cookie(&ring);
    let value = cookie.to_text().expose_secret().to_owned();
    let hash = cookie_hash(&value);
    let day = Duration::from_hours(24);
    let limits = SessionLimits { idle: day, absolute: day, local_idle: day, local_absolute: day };
    let claims = json!({"name": "Ada Lovelace", "iss": "https://id.example/", "roles": ["a", "b"]});
    let new = NewSession {
        issuer: "https://id.example/".to_owned(),
        sub: "ada".to_owned(),
        sid: Some("s".to_owned()),
        claims: claims.as_object().unwrap().clone(),
        id_token: "the-id-token".into(),
        access_token: "the-access-token".into(),
        access_token_expires_at: None,
        refresh_token: Some("the-refresh-token".into()),
        scope: None,
        session_expiry: None,
        user_agent: None,
        address: None,
    };
    let (opened, row) = Session::begin(&ring, &tenant, &cookie, hash, &limits, (NOW, 0), new);
    Genuine { ring, tenant, value, hash, opened, row }
});

fn cookie(ring: &RingKey) -> Cookie {
    Cookie { ring: ring.id(), id: [1; 16], key: Key::from_bytes([2; 32]) }
}

impl Genuine {
    fn lock(&self) -> Lock {
        Lock::of(&self.ring, &self.tenant, &cookie(&self.ring), self.row.id_hash, self.hash)
    }

    /// What a store gave back, opened with the genuine cookie.
    fn open(&self, stored: &StoredSession) -> Option<Opened> {
        Session::open(&self.ring, self.lock(), stored, None, 0)
    }

    fn stored(&self) -> StoredSession {
        StoredSession {
            last_seen_at: NOW,
            record: self.row.record.clone(),
            refresh_token: self.row.refresh_token.clone(),
        }
    }

    fn is_genuine(&self, stored: &StoredSession) -> bool {
        stored.record == self.row.record
            && (stored.refresh_token.is_none() || stored.refresh_token == self.row.refresh_token)
    }
}

/// `genuine` as somebody changes it who gives pairs of a place and what to turn there.
pub(crate) fn edited(genuine: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut edited = genuine.to_vec();
    for edit in edits.chunks_exact(2).take(64) {
        let at = usize::from(edit[0]) * edited.len() / 256;
        match edit[1] {
            0xff => edited.truncate(at.max(1)),
            0xfe => edited.push(edit[0]),
            turned => edited[at] ^= turned,
        }
    }
    edited
}

/// A cookie as it came; changes of a genuine cookie and of a genuine record; a record's content, sealed by whoever has
/// the keys. A cookie has one spelling, and a record that was not sealed for this session opens nothing.
pub(crate) fn session(data: &[u8]) {
    let genuine = &*GENUINE;
    if let Some(text) = str::from_utf8(data).ok()
        && let Some(cookie) = Cookie::parse(text)
    {
        assert_eq!(cookie.to_text().expose_secret(), text);
    }
    let value = edited(genuine.value.as_bytes(), data);
    if let Some(cookie) = str::from_utf8(&value).ok().and_then(Cookie::parse)
        && value != genuine.value.as_bytes()
    {
        let hash = cookie_hash(str::from_utf8(&value).unwrap());
        assert!(!genuine.opened.session.opens_with(&hash));
        // Even if the store finds the record: it holds by the key alone.
        let lock = Lock::of(&genuine.ring, &genuine.tenant, &cookie, genuine.row.id_hash, hash);
        let opened = Session::open(&genuine.ring, lock, &genuine.stored(), None, 0);
        assert!(opened.is_none() || cookie.key.expose() == &[2; 32], "another key opens the record");
    }
    let record = edited(&genuine.row.record, data);
    let refresh_token = genuine.row.refresh_token.as_ref().map(|token| edited(token, data));
    let changed = StoredSession { record, refresh_token, last_seen_at: NOW };
    assert_eq!(genuine.open(&changed).is_some(), genuine.is_genuine(&changed));
    if let Ok(content) = serde_json::from_slice::<Value>(data) {
        let seal =
            |kind| record::seal(&genuine.lock().record_key, kind, &genuine.tenant, &genuine.row.id_hash, &content);
        let stored = |kind| StoredSession { record: seal(kind), refresh_token: None, last_seen_at: NOW };
        assert!(genuine.open(&stored("summary")).is_none(), "a seal of another kind");
        if let Some(opened) = genuine.open(&stored("record")) {
            check(&opened);
            assert_eq!(content["sub"], opened.session.sub());
            // By their names: a number may be written anew in another way.
            let claims = content["claims"].as_object().unwrap();
            assert!(claims.keys().eq(opened.session.claims().to_map().keys()));
        }
    }
}

/// What holds of every session that opens.
fn check(opened: &Opened) {
    let (genuine, session) = (&*GENUINE, &opened.session);
    assert_eq!((&session.tenant, session.id_hash), (&genuine.tenant, genuine.row.id_hash));
    assert!(session.weight() > 0);
    let _ = (session.claims().text("name"), session.ends_at(), session.handle(), format!("{session:?} {opened:?}"));
    assert!(!format!("{session:?} {opened:?}").contains("the-"), "a token is printed");
}

fn read<T: FromRedisValue>(answer: &Answer) -> Option<T> {
    redis::from_redis_value(answer.clone()).ok()
}

/// Bytes that came from Redis: an answer to whatever was asked, or none. No session comes of it but from a genuine record.
pub(crate) fn redis_answer(data: &[u8]) {
    let genuine = &*GENUINE;
    let Ok(answer) = redis::parse_redis_value(data) else { return };
    let Ok(answer) = answer.extract_error() else { return };
    let _ = (read::<bool>(&answer), read::<u32>(&answer), read::<()>(&answer), read::<(u64, Vec<String>)>(&answer));
    let _ = (read::<store::Ended>(&answer), read::<Vec<Vec<u8>>>(&answer), read::<Option<Vec<u8>>>(&answer));
    if let Some(info) = read::<redis::InfoDict>(&answer) {
        let _ = (info.get::<String>("redis_version"), info.get::<u64>("maxmemory"));
    }
    let Some(mut fields) = read::<Vec<Option<Vec<u8>>>>(&answer) else { return };
    let refresh_token = genuine.row.refresh_token.as_ref().expect("it has one");
    for field in fields.iter_mut().flatten() {
        match field.as_slice() {
            RECORD => field.clone_from(&genuine.row.record),
            REFRESH => field.clone_from(refresh_token),
            _ => {}
        }
    }
    let listed = store::listed(genuine.row.id_hash, fields.clone());
    assert!(listed.is_none_or(|listed| listed.id_hash == genuine.row.id_hash));
    if let Some(stored) = store::found(fields) {
        let opened = genuine.open(&stored);
        assert_eq!(opened.is_some(), genuine.is_genuine(&stored));
        opened.iter().for_each(check);
    }
}

/// Sessions over a Redis that is not there, and what runs them.
static REPLICA: LazyLock<(Runtime, Arc<Sessions>)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let redis = RedisSettings {
        servers: RedisServers::Single(RedisNode { host: "127.0.0.1".into(), port: 1 }, 0),
        tls: None,
        username: None,
        password: None,
        prefix: "lychgate:".into(),
        timeout: Duration::from_secs(1),
        stale_grace: Duration::from_secs(30),
    };
    let settings = StoreSettings { store: StoreKind::Redis(redis.into()), cache_bytes: 1 << 20 };
    let ring = KeyRing::of_one(RingKey::new(Key::from_bytes([7; 32])));
    let opening = Sessions::open("".as_ref(), ring, &settings, Clock::system(), Metrics::new(1));
    let sessions = runtime.block_on(opening).unwrap();
    (runtime, sessions)
});

/// Lines, each a message that was published, by whomever. A message may take a session away and never brings one.
pub(crate) fn replica(data: &[u8]) {
    let (genuine, (runtime, sessions)) = (&*GENUINE, &*REPLICA);
    runtime.block_on(async {
        let id_hash = genuine.row.id_hash;
        sessions.near.sessions.insert(id_hash, Arc::clone(&genuine.opened.session)).await;
        let mut others = HashMap::new();
        for message in data.split(|byte| *byte == b'\n').take(32) {
            sessions.hear(&mut others, message).await;
            let known = sessions.near.sessions.get(&id_hash).await;
            let message = serde_json::from_slice::<Message>(message).unwrap_or_default();
            let named = message.ended.iter().any(|(tenant, id)| {
                tenant.parse::<TenantId>().is_ok() && from_base64url(id).is_some_and(|id| id == id_hash)
            });
            match known {
                None => sessions.near.sessions.insert(id_hash, Arc::clone(&genuine.opened.session)).await,
                Some(_) => assert!(!named, "an end was not heard"),
            }
        }
        sessions.near.sessions.run_pending_tasks().await;
        assert!(sessions.near.sessions.entry_count() <= 1);
        let _ = (sessions.news.holds(0), sessions.news.is_forgivable(0));
    });
}

#[cfg(test)]
mod tests {
    /// It was: a panic, and from then on nothing was heard of other replicas.
    #[test]
    fn a_message_with_the_highest_number_is_heard() {
        super::replica(
            format!(r#"{{"from":"a","number":{},"at":1}}"#, u64::MAX).repeat(2).replace("}{", "}\n{").as_bytes(),
        );
    }
}
