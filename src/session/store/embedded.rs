//! The store of one process: tables of the SQLite database, and what is asked of them.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::database::Database;
use super::{FoundUser, Listed, PER_USER, StoredSession, Swept, Update};
use crate::clock::Timestamp;
use crate::session::error::{OpenError, StoreError};
use crate::session::record::{Row, Touch};
use crate::tenant_id::TenantId;

/// Rows that are written or removed at a time, so that others can write in between.
pub(in crate::session) const AT_ONCE: u16 = 500;
/// Seconds for which word of an ended session is left to other processes.
const ENDED_KEPT: i64 = 3600;
/// Bytes that must find room for the store to count as well.
const PROBE_BYTES: u32 = 16 * 1024;

/// Sessions, used attempts and users in the data folder.
#[derive(Clone)]
pub(in crate::session) struct Embedded {
    pub(in crate::session) database: Database,
}

impl Embedded {
    /// Opens the database in `folder`; makes both where they are missing. Blocks.
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        Ok(Self { database: Database::open(folder)? })
    }

    /// Keeps a session; gives the ids of those that had to end for it.
    pub(super) async fn insert(&self, tenant: &TenantId, row: Row) -> Result<Vec<[u8; 32]>, StoreError> {
        let tenant = tenant.clone();
        let insert = move |db: &Connection| {
            let mut make_room = db.prepare_cached(
                "DELETE FROM sessions WHERE rowid IN (
                     SELECT rowid FROM sessions WHERE tenant = ? AND sub_hash = ?
                     ORDER BY expires_at DESC, rowid DESC LIMIT -1 OFFSET ?)
                 RETURNING id_hash",
            )?;
            let ended =
                make_room.query_map(params![tenant.as_str(), row.sub_hash, PER_USER as i64 - 1], |row| row.get(0))?;
            let ended = ended.collect::<Result<Vec<_>, _>>()?;
            ended.iter().try_for_each(|id_hash| leave_word(db, id_hash, row.created_at))?;
            db.prepare_cached(
                "INSERT INTO sessions (tenant, id_hash, ring, created_at, last_seen_at, ends_at, expires_at,
                                       sub_hash, sid_hash, summary, refresh_token, record)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                tenant.as_str(),
                row.id_hash,
                row.ring,
                row.created_at.0,
                row.last_seen_at.0,
                row.ends_at.0,
                row.expires_at.0,
                row.sub_hash,
                row.sid_hash,
                row.summary,
                row.refresh_token,
                row.record,
            ])?;
            Ok(ended)
        };
        self.database.write(insert).await
    }

    pub(super) async fn find(&self, tenant: &TenantId, id_hash: [u8; 32]) -> Result<Option<StoredSession>, StoreError> {
        let tenant = tenant.clone();
        let select = move |db: &Connection| {
            db.prepare_cached(
                "SELECT last_seen_at, record, refresh_token FROM sessions WHERE tenant = ? AND id_hash = ?",
            )?
            .query_row(params![tenant.as_str(), id_hash], |row| {
                let last_seen_at = Timestamp(row.get(0)?);
                Ok(StoredSession { last_seen_at, record: row.get(1)?, refresh_token: row.get(2)? })
            })
            .optional()
        };
        self.database.read(select).await
    }

    pub(super) async fn touch(&self, touch: Touch) -> Result<(), StoreError> {
        self.database.write(move |db| write_touch(db, &touch)).await
    }

    pub(super) async fn remove(
        &self,
        tenant: &TenantId,
        id_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.remove_many(tenant, vec![id_hash], now).await? == 1)
    }

    pub(super) async fn update(
        &self,
        tenant: &TenantId,
        id_hash: [u8; 32],
        update: Update,
    ) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        let replace = move |db: &Connection| {
            db.prepare_cached(
                "UPDATE sessions SET record = ?1, refresh_token = ?2, expires_at = min(expires_at, ?3),
                                     ends_at = min(ends_at, ?3)
                 WHERE tenant = ?4 AND id_hash = ?5",
            )?
            .execute(params![
                update.record,
                update.refresh_token,
                update.expires_at.0,
                tenant.as_str(),
                id_hash
            ])
        };
        Ok(self.database.write(replace).await? == 1)
    }

    /// Ends sessions; says how many were there.
    pub(super) async fn remove_many(
        &self,
        tenant: &TenantId,
        ids: Vec<[u8; 32]>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let tenant = tenant.clone();
        let delete = move |db: &Connection| {
            let mut delete = db.prepare_cached("DELETE FROM sessions WHERE tenant = ? AND id_hash = ?")?;
            let mut removed = 0;
            for id_hash in &ids {
                if delete.execute(params![tenant.as_str(), id_hash])? == 1 {
                    leave_word(db, id_hash, now)?;
                    removed += 1;
                }
            }
            Ok(removed)
        };
        self.database.write(delete).await
    }

    /// What was ended after the end of this number, each with its own.
    pub(super) async fn ended_since(&self, last: i64) -> Result<Vec<(i64, [u8; 32])>, StoreError> {
        let select = move |db: &Connection| {
            let mut select = db.prepare_cached(
                "SELECT number, id_hash FROM ended_sessions WHERE number > ? ORDER BY number LIMIT ?",
            )?;
            let rows = select.query_map(params![last, AT_ONCE], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        self.database.read(select).await
    }

    pub(super) async fn by_sub(
        &self,
        tenant: &TenantId,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        self.list(tenant, "sub_hash = ?2", Some(hash), now).await
    }

    pub(super) async fn by_sid(
        &self,
        tenant: &TenantId,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        self.list(tenant, "sid_hash = ?2", Some(hash), now).await
    }

    pub(super) async fn all(&self, tenant: &TenantId, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        self.list(tenant, "?2 IS NULL", None, now).await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        which: &'static str,
        hash: Option<[u8; 32]>,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let tenant = tenant.clone();
        let select = move |db: &Connection| {
            let mut select = db.prepare_cached(&format!(
                "SELECT id_hash, ring, last_seen_at, ends_at, summary, refresh_token FROM sessions
                 WHERE tenant = ?1 AND {which} AND ends_at > ?3 ORDER BY last_seen_at DESC, id_hash"
            ))?;
            let rows = select.query_map(params![tenant.as_str(), hash, now.0], |row| {
                Ok(Listed {
                    id_hash: row.get(0)?,
                    ring: row.get(1)?,
                    last_seen_at: Timestamp(row.get(2)?),
                    ends_at: Timestamp(row.get(3)?),
                    summary: row.get(4)?,
                    refresh_token: row.get(5)?,
                })
            })?;
            rows.collect()
        };
        self.database.read(select).await
    }

    pub(super) async fn use_again(&self, tenant: &TenantId, name: &str) -> Result<(), StoreError> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        let delete = move |db: &Connection| {
            db.prepare_cached("DELETE FROM used_attempts WHERE tenant = ? AND attempt = ?")?
                .execute(params![tenant.as_str(), name])
        };
        self.database.write(delete).await.map(drop)
    }

    pub(super) async fn use_once(
        &self,
        tenant: &TenantId,
        name: &str,
        forget_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (tenant, attempt) = (tenant.clone(), name.to_owned());
        let insert = move |db: &Connection| {
            db.prepare_cached(
                "INSERT INTO used_attempts (tenant, attempt, forget_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            )?
            .execute(params![tenant.as_str(), attempt, forget_at.0])
        };
        Ok(self.database.write(insert).await? == 1)
    }

    pub(super) async fn change_user(
        &self,
        tenant: &TenantId,
        hashes: Vec<[u8; 32]>,
        ring: [u8; 4],
        change: impl Fn(&[Option<Vec<u8>>]) -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<(), StoreError> {
        let tenant = tenant.clone();
        let upsert = move |db: &Connection| {
            let mut take =
                db.prepare_cached("DELETE FROM users WHERE tenant = ? AND user_hash = ? RETURNING record")?;
            let mut taken =
                |hash: &[u8; 32]| take.query_row(params![tenant.as_str(), hash], |row| row.get(0)).optional();
            let before = hashes.iter().map(&mut taken).collect::<Result<Vec<_>, _>>()?;
            let Some(record) = change(&before) else { return Ok(0) };
            db.prepare_cached("INSERT INTO users (tenant, user_hash, ring, record) VALUES (?, ?, ?, ?)")?
                .execute(params![tenant.as_str(), hashes.first(), ring, record])
        };
        self.database.write(upsert).await.map(drop)
    }

    pub(super) async fn users(&self, tenant: &TenantId) -> Result<Vec<([u8; 32], Vec<u8>)>, StoreError> {
        let tenant = tenant.clone();
        let select = move |db: &Connection| {
            let mut select = db.prepare_cached("SELECT user_hash, record FROM users WHERE tenant = ?")?;
            let rows = select.query_map([tenant.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        self.database.read(select).await
    }

    pub(super) async fn users_elsewhere(&self, ring: [u8; 4]) -> Result<Vec<FoundUser>, StoreError> {
        let select = move |db: &Connection| {
            let mut select = db.prepare_cached("SELECT tenant, user_hash, record FROM users WHERE ring <> ?")?;
            let rows = select.query_map([ring], |row| {
                let tenant = row.get::<_, String>(0)?.parse().ok();
                Ok(tenant.zip(Some((row.get(1)?, row.get(2)?))))
            })?;
            let found = rows.filter_map(Result::transpose);
            found.map(|row| row.map(|(tenant, (user_hash, sealed))| FoundUser { tenant, user_hash, sealed })).collect()
        };
        self.database.read(select).await
    }

    pub(super) async fn check(&self) -> Result<(), StoreError> {
        self.database.look().await?;
        let room = |db: &Connection| {
            db.prepare_cached("INSERT INTO probes (room) VALUES (zeroblob(?))")?.execute([PROBE_BYTES])?;
            db.prepare_cached("DELETE FROM probes")?.execute([])
        };
        self.database.write(room).await.map(drop)
    }

    /// Removes some of what is over; fewer than [`AT_ONCE`] of each if that was all.
    pub(super) async fn sweep(&self, now: Timestamp) -> Result<(Vec<Swept>, bool), StoreError> {
        let sessions = move |db: &Connection| {
            let mut delete = db.prepare_cached(
                "DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions WHERE ends_at <= ? LIMIT ?)
                 RETURNING tenant, id_hash, ends_at < expires_at",
            )?;
            let rows = delete.query_map(params![now.0, AT_ONCE], |row| {
                Ok(Swept { tenant: row.get::<_, String>(0)?.parse().ok(), id_hash: row.get(1)?, idle: row.get(2)? })
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        let attempts = move |db: &Connection| {
            db.prepare_cached(
                "DELETE FROM used_attempts
                 WHERE rowid IN (SELECT rowid FROM used_attempts WHERE forget_at < ? LIMIT ?)",
            )?
            .execute(params![now.0, AT_ONCE])
        };
        let ended = move |db: &Connection| {
            db.prepare_cached(
                "DELETE FROM ended_sessions
                 WHERE number IN (SELECT number FROM ended_sessions WHERE forget_at < ? LIMIT ?)",
            )?
            .execute(params![now.0, AT_ONCE])
        };
        let swept = self.database.write(sessions).await?;
        let forgotten = self.database.write(attempts).await?.max(self.database.write(ended).await?);
        let all = swept.len() < AT_ONCE.into() && forgotten < AT_ONCE.into();
        Ok((swept, all))
    }

    pub(super) async fn count_under(&self, ring: [u8; 4], now: Timestamp) -> Result<u64, StoreError> {
        let select = move |db: &Connection| {
            db.prepare_cached("SELECT count(*) FROM sessions WHERE ring = ? AND ends_at > ?")?
                .query_row(params![ring, now.0], |row| row.get::<_, i64>(0))
        };
        self.database.read(select).await.map(i64::unsigned_abs)
    }

    pub(super) async fn count(&self) -> Result<Vec<(Option<TenantId>, i64)>, StoreError> {
        let select = |db: &Connection| {
            let mut select = db.prepare_cached("SELECT tenant, count(*) FROM sessions GROUP BY tenant")?;
            let rows = select.query_map([], |row| Ok((row.get::<_, String>(0)?.parse().ok(), row.get(1)?)))?;
            rows.collect()
        };
        self.database.read(select).await
    }
}

/// Tells other processes that a session was ended.
fn leave_word(db: &Connection, id_hash: &[u8; 32], now: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO ended_sessions (id_hash, forget_at) VALUES (?, ?)")?
        .execute(params![id_hash, now.plus(ENDED_KEPT).0])
        .map(drop)
}

fn write_touch(db: &Connection, touch: &Touch) -> rusqlite::Result<()> {
    // Two touches may come out of order; the later use stays.
    db.prepare_cached(
        "UPDATE sessions SET last_seen_at = ?1, ends_at = ?2
         WHERE tenant = ?3 AND id_hash = ?4 AND last_seen_at <= ?1",
    )?
    .execute(params![touch.last_seen_at.0, touch.ends_at.0, touch.tenant.as_str(), touch.id_hash])
    .map(drop)
}
