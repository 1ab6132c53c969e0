//! The store that several processes share: keys of Redis or Valkey, and what is asked of them. How Redis is reached is
//! the business of `link`, what it does in one go of `scripts`.
//!
//! Every key but a user's has a time to live, which is reckoned by our clock: Redis' own does not matter. Keys that a
//! script uses together share a hash tag, and so a slot. A session's indexes lie elsewhere; they are written before it
//! and cleared after it, so that they may name a session that is gone, but none is missing from them.

mod link;
mod scripts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use redis::cluster_routing::{Route, SlotAddr};
use redis::{Cmd, cmd};
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::link::{Link, Servers};
use super::{FoundUser, Listed, PER_USER, RedisServer, StoredSession, Update};
use crate::clock::{Clock, Timestamp};
use crate::config::{RedisNode, RedisSettings};
use crate::metrics::{IntCounter, Metrics};
use crate::secret;
use crate::session::error::{OpenError, StoreError};
use crate::session::news::Messages;
use crate::session::record::{Row, Touch};
use crate::tenant_id::TenantId;

/// Seconds that a session outlives its end by idling: its last use may reach Redis that late.
const LATE: i64 = 60;
/// Seconds that word of an end is kept, for a touch or a renewal that comes late.
const ENDED_KEPT: i64 = 600;
/// How long an end waits for a replica to have it.
const REPLICATED_WITHIN: Duration = Duration::from_millis(100);
/// How long no end waits after one that waited in vain.
const NO_REPLICA: Duration = Duration::from_secs(1);
/// Questions of one operation that are under way at the same time.
const AT_ONCE: usize = 32;
/// Keys that Redis looks at in one step of a list.
const SCANNED_AT_ONCE: usize = 1000;
/// What a request needs of a session.
const FOUND: &[&str] = &["seen", "record", "refresh"];
/// What a list tells of a session.
const LISTED: &[&str] = &["ring", "seen", "ends", "summary", "refresh"];
/// Attempts to change a user's record that others change at the same time.
const CHANGES: usize = 200;
/// How long a subscription may take.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(1);
/// Keys that are written to know that Redis can be written; of a cluster, they meet every shard in turn.
const PROBES: u32 = 64;

/// What a session's end tells: whether it was there, how many replicas there are, the session's indexes.
pub(in crate::session) type Ended = (bool, u32, Option<Vec<u8>>, Option<Vec<u8>>);

/// Sessions, used attempts and users in Redis; cheap to clone.
#[derive(Clone)]
pub(in crate::session) struct Redis {
    prefix: Arc<str>,
    link: Link,
    /// Ends have a connection of their own: who waits for a replica would hold up everybody else.
    ends: Link,
    clock: Clock,
    unreplicated: IntCounter,
    /// Held by the end that waits for a replica; when that was last in vain.
    in_vain: Arc<Mutex<Option<Instant>>>,
    probes: Arc<AtomicU32>,
}

impl Redis {
    /// The way to the servers of `settings`; connects to none.
    pub(super) fn open(settings: &RedisSettings, clock: Clock, metrics: &Metrics) -> Result<Self, OpenError> {
        if settings.tls.is_none() && !settings.servers.nodes().iter().all(RedisNode::is_loopback) {
            tracing::warn!(
                "Redis is reached without TLS over a network: who listens there learns its password, and what users do; \
                 write rediss://"
            );
        }
        let servers = Arc::new(Servers::new(settings).map_err(|cause| OpenError::Redis { cause: Arc::new(cause) })?);
        Ok(Self {
            prefix: settings.prefix.as_str().into(),
            link: Link::new(Arc::clone(&servers)),
            ends: Link::new(servers),
            clock,
            unreplicated: metrics.session_ends_unreplicated_total.clone(),
            in_vain: Arc::default(),
            probes: Arc::default(),
        })
    }

    /// What each master says about itself; none where the user may not ask.
    pub(super) async fn examine(&self) -> Result<Vec<RedisServer>, StoreError> {
        self.link.ask::<()>(&cmd("PING")).await?;
        let mut servers = Vec::new();
        for at in self.link.masters().await? {
            let info: redis::InfoDict = self.link.ask_at(at, &cmd("INFO")).await?;
            let text = |key: &str| info.get::<String>(key);
            let number = |key: &str| info.get::<u64>(key).unwrap_or_default();
            servers.push(RedisServer {
                version: text("valkey_version").or_else(|| text("redis_version")).unwrap_or_default(),
                eviction: text("maxmemory_policy").unwrap_or_default(),
                max_memory: number("maxmemory"),
                used_memory: number("used_memory"),
                appends: number("aof_enabled") == 1,
                replicas: number("connected_slaves"),
            });
        }
        Ok(servers)
    }

    /// Keeps a session; gives the ids of those that had to end for it.
    pub(super) async fn insert(&self, tenant: &TenantId, row: Row) -> Result<Vec<[u8; 32]>, StoreError> {
        let mut keep = eval(scripts::INSERT, &[&self.session(tenant, &row.id_hash)[0]]);
        keep.arg(self.seconds_to_live(row.ends_at, row.expires_at));
        keep.arg("ring").arg(&row.ring[..]).arg("created").arg(row.created_at.0);
        keep.arg("seen").arg(row.last_seen_at.0).arg("ends").arg(row.ends_at.0).arg("expires").arg(row.expires_at.0);
        keep.arg("sub").arg(&row.sub_hash[..]).arg("summary").arg(&row.summary).arg("record").arg(&row.record);
        if let Some(token) = &row.refresh_token {
            keep.arg("refresh").arg(token);
        }
        if let Some(sid) = &row.sid_hash {
            keep.arg("sid").arg(&sid[..]);
        }
        let by_sub = self.index(self.key("sub", tenant, &row.sub_hash), &row);
        let by_sid = async {
            match &row.sid_hash {
                Some(sid) => self.index(self.key("sid", tenant, sid), &row).await,
                None => Ok(Vec::new()),
            }
        };
        let (mut ended, more) = tokio::try_join!(by_sub, by_sid)?;
        self.link.ask::<()>(&keep).await?;
        ended.extend(more);
        ended.retain(|id_hash| *id_hash != row.id_hash);
        ended.sort_unstable();
        ended.dedup();
        self.remove_many(tenant, &ended).await?;
        Ok(ended)
    }

    async fn index(&self, key: String, row: &Row) -> Result<Vec<[u8; 32]>, StoreError> {
        let mut index = eval(scripts::INDEX, &[&key]);
        index.arg(self.clock.now().0).arg(row.expires_at.0).arg(&row.id_hash[..]).arg(PER_USER);
        let over: Vec<Vec<u8>> = self.link.ask(&index).await?;
        Ok(over.into_iter().filter_map(|id| id.try_into().ok()).collect())
    }

    pub(super) async fn find(&self, tenant: &TenantId, id_hash: [u8; 32]) -> Result<Option<StoredSession>, StoreError> {
        Ok(found(self.read(tenant, &id_hash, FOUND).await?))
    }

    async fn read(
        &self,
        tenant: &TenantId,
        id_hash: &[u8; 32],
        fields: &[&str],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let [session, ended] = self.session(tenant, id_hash);
        self.link.ask(eval(scripts::READ, &[&session, &ended]).arg(fields)).await
    }

    pub(super) async fn touch(&self, touch: Touch) -> Result<(), StoreError> {
        let [session, ended] = self.session(&touch.tenant, &touch.id_hash);
        let mut note = eval(scripts::TOUCH, &[&session, &ended]);
        let (now, latest) = (self.clock.now(), touch.ends_at.plus(LATE));
        note.arg(touch.last_seen_at.0).arg(touch.ends_at.0).arg(latest.since(now)).arg(now.0);
        self.link.ask(&note).await
    }

    pub(super) async fn update(
        &self,
        tenant: &TenantId,
        id_hash: [u8; 32],
        update: Update,
    ) -> Result<bool, StoreError> {
        let [session, ended] = self.session(tenant, &id_hash);
        let mut replace = eval(scripts::UPDATE, &[&session, &ended]);
        replace.arg(update.expires_at.0).arg(self.seconds_to_live(update.expires_at, update.expires_at));
        replace.arg(update.record).arg(update.refresh_token.unwrap_or_default());
        self.link.ask(&replace).await
    }

    pub(super) async fn remove(&self, tenant: &TenantId, id_hash: [u8; 32]) -> Result<bool, StoreError> {
        let [session, ended] = self.session(tenant, &id_hash);
        let mut end = eval(scripts::END, &[&session, &ended]);
        end.arg(&secret::random::<16>()[..]).arg(ENDED_KEPT);
        let (was_there, replicas, sub, sid): Ended = self.ends.ask(&end).await?;
        let clear = async |index, hash: Option<Vec<u8>>| {
            if let Some(hash) = hash {
                let key = self.key(index, tenant, &hash);
                // What stays behind there names a session that is gone.
                let _: Result<(), _> = self.link.ask(cmd("ZREM").arg(key).arg(&id_hash[..])).await;
            }
        };
        let replicated = async {
            // One that is cut off from its master is not counted there, and may yet become master.
            let is_at_risk = match replicas {
                0 => self.ends.has_replicas(),
                _ => !self.is_replicated(&session).await,
            };
            // Else this end is not the first, and has been counted.
            self.unreplicated.inc_by((was_there && is_at_risk).into());
        };
        tokio::join!(clear("sub", sub), clear("sid", sid), replicated);
        Ok(was_there)
    }

    /// Whether a replica has in time what was written over the connection for ends. Those who end sessions wait one
    /// after the other, and not at all if nobody answered a moment ago.
    async fn is_replicated(&self, key: &str) -> bool {
        let mut in_vain = self.in_vain.lock().await;
        if in_vain.is_some_and(|at| at.elapsed() < NO_REPLICA) {
            return false;
        }
        let mut wait = cmd("WAIT");
        wait.arg(1).arg(REPLICATED_WITHIN.as_millis() as u64);
        let at = Route::with_key(key, SlotAddr::Master);
        let replicated = self.ends.ask_at(Some(at), &wait).await.is_ok_and(|replicas: u32| replicas > 0);
        *in_vain = (!replicated).then(Instant::now);
        replicated
    }

    /// Ends sessions; says how many were there.
    pub(super) async fn remove_many(&self, tenant: &TenantId, ids: &[[u8; 32]]) -> Result<usize, StoreError> {
        let ends = stream::iter(ids.to_vec()).map(|id_hash| self.remove(tenant, id_hash));
        ends.buffer_unordered(AT_ONCE).try_fold(0, async |sum, was_there| Ok(sum + usize::from(was_there))).await
    }

    /// The sessions that an index names: `sub` or `sid`.
    pub(super) async fn by(
        &self,
        index: &str,
        tenant: &TenantId,
        hash: &[u8],
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let mut select = cmd("ZRANGEBYSCORE");
        select.arg(self.key(index, tenant, hash)).arg(format!("({}", now.0)).arg("+inf");
        let ids: Vec<Vec<u8>> = self.link.ask(&select).await?;
        self.listed(tenant, ids.into_iter().filter_map(|id| id.try_into().ok()).collect(), now).await
    }

    /// All sessions of a tenant: for operators, it looks at every key.
    pub(super) async fn all(&self, tenant: &TenantId, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        let ids = self.scan("session", tenant).await?;
        self.listed(tenant, ids, now).await
    }

    async fn listed(&self, tenant: &TenantId, ids: Vec<[u8; 32]>, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        let one = async |id_hash| Ok::<_, StoreError>(listed(id_hash, self.read(tenant, &id_hash, LISTED).await?));
        let listed: Vec<_> = stream::iter(ids).map(one).buffer_unordered(AT_ONCE).try_collect().await?;
        let mut listed: Vec<Listed> = listed.into_iter().flatten().filter(|one| one.ends_at > now).collect();
        listed.sort_unstable_by_key(|one| (std::cmp::Reverse(one.last_seen_at), one.id_hash));
        Ok(listed)
    }

    pub(super) async fn use_again(&self, tenant: &TenantId, name: &str) -> Result<(), StoreError> {
        self.link.ask(cmd("DEL").arg(self.used(tenant, name))).await
    }

    fn used(&self, tenant: &TenantId, name: &str) -> String {
        format!("{}attempt:{{{tenant}:{name}}}", self.prefix)
    }

    pub(super) async fn use_once(
        &self,
        tenant: &TenantId,
        name: &str,
        forget_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut use_up = eval(scripts::USE_ONCE, &[&self.used(tenant, name)]);
        use_up.arg(&secret::random::<16>()[..]).arg(self.seconds_to_live(forget_at, forget_at));
        self.link.ask(&use_up).await
    }

    pub(super) async fn change_user(
        &self,
        tenant: &TenantId,
        hashes: Vec<[u8; 32]>,
        ring: [u8; 4],
        change: impl Fn(&[Option<Vec<u8>>]) -> Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let keys: Vec<String> = hashes.iter().map(|hash| self.key("user", tenant, hash)).collect();
        for _ in 0..CHANGES {
            let mut before: Vec<Option<Vec<u8>>> = Vec::with_capacity(keys.len());
            for key in &keys {
                before.push(self.link.ask(cmd("GET").arg(key)).await?);
            }
            let sealed: Vec<_> = before.iter().map(|one| one.as_deref().and_then(sealed_part)).collect();
            let after = change(&sealed).map_or_else(Vec::new, |after| [&ring[..], &after].concat());
            let mut swap = eval(scripts::CHANGE_USER, &[&keys[0]]);
            swap.arg(before[0].as_deref().unwrap_or_default()).arg(after);
            if self.link.ask(&swap).await? {
                // The others lie in slots of their own: they go once the record is safe under its new name.
                for (key, _) in keys.iter().zip(&before).skip(1).filter(|(_, before)| before.is_some()) {
                    self.link.ask::<()>(cmd("DEL").arg(key)).await?;
                }
                return Ok(());
            }
        }
        Err(StoreError::Slow)
    }

    /// The users of a tenant: for operators, it looks at every key.
    pub(super) async fn users(&self, tenant: &TenantId) -> Result<Vec<([u8; 32], Vec<u8>)>, StoreError> {
        let users = stream::iter(self.scan("user", tenant).await?).map(async |hash| {
            let record: Option<Vec<u8>> = self.link.ask(cmd("GET").arg(self.key("user", tenant, &hash))).await?;
            Ok::<_, StoreError>(record.as_deref().and_then(sealed_part).map(|sealed| (hash, sealed)))
        });
        let users: Vec<Option<_>> = users.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(users.into_iter().flatten().collect())
    }

    /// The users of all tenants whose records stand under another ring key: it looks at every key.
    pub(super) async fn users_elsewhere(&self, ring: [u8; 4]) -> Result<Vec<FoundUser>, StoreError> {
        let named = |name: String| Some((name.split_once(':')?.0.parse().ok()?, hash_in(name.split_once(':')?.1)?));
        let all = self.scan_names(&format!("{}user:{{", self.prefix)).await?.into_iter().filter_map(named);
        let users = stream::iter(all.collect::<Vec<(TenantId, _)>>()).map(async |(tenant, user_hash)| {
            let record: Option<Vec<u8>> = self.link.ask(cmd("GET").arg(self.key("user", &tenant, &user_hash))).await?;
            let record = record.filter(|record| !record.starts_with(&ring));
            let sealed = record.as_deref().and_then(sealed_part);
            Ok::<_, StoreError>(sealed.map(|sealed| FoundUser { tenant, user_hash, sealed }))
        });
        let users: Vec<Option<_>> = users.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(users.into_iter().flatten().collect())
    }

    /// The hashes in the names of a tenant's keys of one kind.
    async fn scan(&self, kind: &str, tenant: &TenantId) -> Result<Vec<[u8; 32]>, StoreError> {
        let names = self.scan_names(&format!("{}{kind}:{{{tenant}:", self.prefix)).await?;
        Ok(names.iter().filter_map(|name| hash_in(name)).collect())
    }

    /// What follows `start` in the names of keys, up to the end of the hash tag.
    async fn scan_names(&self, start: &str) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for master in self.link.masters().await? {
            let mut cursor = 0_u64;
            loop {
                let mut scan = cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(format!("{start}*")).arg("COUNT").arg(SCANNED_AT_ONCE);
                let (next, keys): (u64, Vec<String>) = self.link.ask_at(master, &scan).await?;
                let name = |key: &String| Some(key.strip_prefix(start)?.strip_suffix('}')?.to_owned());
                names.extend(keys.iter().filter_map(name));
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        // Redis may name a key twice.
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Whether Redis can be written; a connection to a master of old is left.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        self.follow_master().await?;
        let probe = self.probes.fetch_add(1, Ordering::Relaxed) % PROBES;
        self.link.ask(cmd("SET").arg(format!("{}probe:{probe}", self.prefix)).arg(0).arg("EX").arg(60)).await
    }

    pub(super) async fn take_turn(
        &self,
        tenant: &TenantId,
        id_hash: [u8; 32],
        owner: &str,
        lasts: Duration,
    ) -> Result<bool, StoreError> {
        let mut take = eval(scripts::TAKE_TURN, &[&self.key("renewing", tenant, &id_hash)]);
        self.link.ask(take.arg(owner).arg(lasts.as_millis() as u64)).await
    }

    pub(super) async fn give_turn_back(
        &self,
        tenant: &TenantId,
        id_hash: [u8; 32],
        owner: &str,
    ) -> Result<(), StoreError> {
        self.link.ask(eval(scripts::GIVE_TURN_BACK, &[&self.key("renewing", tenant, &id_hash)]).arg(owner)).await
    }

    /// Publishes by the master of the channel's slot: what it says reaches a listener in the order it was said.
    pub(in crate::session) async fn publish(&self, message: &str) -> Result<(), StoreError> {
        let channel = self.channel();
        let at = Route::with_key(&channel, SlotAddr::Master);
        self.link.ask_at(Some(at), cmd("PUBLISH").arg(&channel).arg(message)).await
    }

    /// What is published, heard over a connection of its own, which is not made anew.
    pub(in crate::session) async fn subscribe(&self) -> Result<Messages, StoreError> {
        let mut subscriber = self.link.subscriber().await?;
        let subscribing = tokio::time::timeout(SUBSCRIBED_WITHIN, subscriber.subscribe(self.channel())).await;
        subscribing.map_err(|_| StoreError::Slow)??;
        Ok(Box::pin(subscriber.into_on_message().map(|message| message.get_payload_bytes().to_vec())))
    }

    /// The masters; connections to a master of old are left.
    pub(super) async fn servers(&self) -> Result<Vec<String>, StoreError> {
        self.follow_master().await?;
        self.link.servers().await
    }

    async fn follow_master(&self) -> Result<(), StoreError> {
        if let Some(master) = self.link.master().await? {
            self.link.follow(&master);
            self.ends.follow(&master);
        }
        Ok(())
    }

    fn channel(&self) -> String {
        format!("{}news", self.prefix)
    }

    /// Asks what a test wants to know.
    #[cfg(test)]
    pub(in crate::session) async fn ask<T: redis::FromRedisValue>(&self, question: &Cmd) -> T {
        self.link.ask(question).await.expect("an answer")
    }

    /// All our keys.
    #[cfg(test)]
    pub(in crate::session) async fn keys(&self) -> Vec<String> {
        let mut all = Vec::new();
        for master in self.link.masters().await.expect("masters") {
            let mut scan = cmd("SCAN");
            scan.arg(0).arg("MATCH").arg(format!("{}*", self.prefix)).arg("COUNT").arg(1_000_000);
            let (_, keys): (u64, Vec<String>) = self.link.ask_at(master, &scan).await.expect("keys");
            all.extend(keys);
        }
        all
    }

    /// An operation that began then took too long.
    pub(super) fn suspect(&self, began: Instant) {
        self.link.suspect(began);
        self.ends.suspect(began);
    }

    /// The keys of a session, and of the word that it was ended.
    fn session(&self, tenant: &TenantId, id_hash: &[u8; 32]) -> [String; 2] {
        ["session", "ended"].map(|kind| self.key(kind, tenant, id_hash))
    }

    fn key(&self, kind: &str, tenant: &TenantId, hash: &[u8]) -> String {
        format!("{}{kind}:{{{tenant}:{}}}", self.prefix, secret::base64url(hash))
    }

    fn seconds_to_live(&self, ends_at: Timestamp, expires_at: Timestamp) -> i64 {
        ends_at.plus(LATE).min(expires_at).since(self.clock.now()).max(1)
    }
}

fn eval(script: &str, keys: &[&str]) -> Cmd {
    let mut eval = cmd("EVAL");
    eval.arg(script).arg(keys.len()).arg(keys);
    eval
}

/// A session, of its fields [`FOUND`]; `None` if it is gone.
pub(in crate::session) fn found(fields: Vec<Option<Vec<u8>>>) -> Option<StoredSession> {
    let mut fields = fields.into_iter();
    let [seen, record, refresh_token] = [(); 3].map(|()| fields.next().flatten());
    Some(StoredSession { last_seen_at: number(seen.as_deref())?, record: record?, refresh_token })
}

/// A session of a list, of its fields [`LISTED`]; `None` if it is gone.
pub(in crate::session) fn listed(id_hash: [u8; 32], fields: Vec<Option<Vec<u8>>>) -> Option<Listed> {
    let mut fields = fields.into_iter();
    let [ring, seen, ends, summary, refresh_token] = [(); 5].map(|()| fields.next().flatten());
    Some(Listed {
        id_hash,
        ring: ring?.try_into().ok()?,
        last_seen_at: number(seen.as_deref())?,
        ends_at: number(ends.as_deref())?,
        summary: summary?,
        refresh_token,
    })
}

/// The hash in a key's name.
fn hash_in(text: &str) -> Option<[u8; 32]> {
    secret::from_base64url(text)?.try_into().ok()
}

/// A user's record without the ring key's id before it.
fn sealed_part(record: &[u8]) -> Option<Vec<u8>> {
    record.get(4..).map(<[u8]>::to_vec)
}

fn number(text: Option<&[u8]>) -> Option<Timestamp> {
    std::str::from_utf8(text?).ok()?.parse().ok().map(Timestamp)
}
