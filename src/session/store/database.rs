//! The SQLite database: one thread that writes, a few connections that read. What is written and read is the business
//! of `embedded`.
//!
//! Writes that wait at the same time share one transaction, and so one flush to the disk (group commit); each has a
//! savepoint, so that one that fails takes no other with it. A write is answered when its transaction has been
//! committed and flushed (`synchronous = FULL`): neither a killed process nor, on a disk that keeps its promises, a
//! loss of power takes back what was answered.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, MigrationDefinitionError, Migrations};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::session::error::{OpenError, StoreError};

/// The file's name in the data folder.
const FILE: &str = "lychgate.db";
/// That file, and those that SQLite puts beside it.
pub const FILES: [&str; 4] = [FILE, "lychgate.db-wal", "lychgate.db-shm", "lychgate.db-journal"];
/// How long SQLite waits for a lock.
const BUSY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(2) };
/// Writes that may wait.
const QUEUE: usize = 1024;
/// Writes that share a transaction.
const BATCH: usize = 256;
/// Connections that read.
const READERS: usize = 4;
/// What the log of writes is cut back to after a peak, in bytes.
const LOG_LIMIT: u32 = 64 << 20;

/// The schema, step by step; a step that was released is never changed.
const MIGRATIONS: &[M<'static>] = &[
    M::up(
        "CREATE TABLE sessions (
        tenant        TEXT    NOT NULL,
        id_hash       BLOB    NOT NULL, -- keyed hash of the id in the cookie
        ring          BLOB    NOT NULL, -- id of the ring key that all of the row stands under
        created_at    INTEGER NOT NULL,
        last_seen_at  INTEGER NOT NULL, -- up to a minute late
        ends_at       INTEGER NOT NULL, -- by idling, but not after expires_at
        expires_at    INTEGER NOT NULL,
        sub_hash      BLOB    NOT NULL, -- keyed hash of issuer and sub
        sid_hash      BLOB,             -- keyed hash of issuer and sid
        summary       BLOB    NOT NULL, -- sealed under the ring key
        refresh_token BLOB,             -- sealed under the ring key
        record        BLOB    NOT NULL, -- sealed under the cookie's key
        PRIMARY KEY (tenant, id_hash)
    ) STRICT;
    CREATE INDEX sessions_by_end ON sessions (ends_at);
    CREATE INDEX sessions_by_sub ON sessions (tenant, sub_hash);
    CREATE INDEX sessions_by_sid ON sessions (tenant, sid_hash) WHERE sid_hash IS NOT NULL;

    CREATE TABLE used_attempts (
        tenant    TEXT    NOT NULL,
        attempt   TEXT    NOT NULL,
        forget_at INTEGER NOT NULL,
        PRIMARY KEY (tenant, attempt)
    ) STRICT;
    CREATE INDEX used_attempts_by_end ON used_attempts (forget_at);

    CREATE TABLE users (
        tenant    TEXT NOT NULL,
        user_hash BLOB NOT NULL, -- keyed hash of issuer and sub
        ring      BLOB NOT NULL,
        record    BLOB NOT NULL, -- sealed under the ring key
        PRIMARY KEY (tenant, user_hash)
    ) STRICT;

    -- Written and emptied again, to know that there is room.
    CREATE TABLE probes (room BLOB NOT NULL) STRICT;",
    ),
    M::up(
        "-- Word to other processes, which drop these sessions from their caches; forgotten after a while.
    CREATE TABLE ended_sessions (
        number    INTEGER PRIMARY KEY AUTOINCREMENT,
        id_hash   BLOB    NOT NULL,
        forget_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX ended_sessions_by_end ON ended_sessions (forget_at);",
    ),
];

/// The way to the database; cheap to clone. The writing thread ends with the last clone, or by [`Database::close`].
#[derive(Clone)]
pub(in crate::session) struct Database {
    queue: mpsc::Sender<Message>,
    readers: Arc<Readers>,
}

enum Message {
    Write(Write),
    /// The file is not what the connection takes it for.
    Reopen,
    Close(oneshot::Sender<()>),
}

/// Does its work within the batch's transaction, or takes note that there is none, and says how that went.
type Write = Box<dyn FnOnce(Result<&Connection, StoreError>) -> (Result<(), StoreError>, Answer) + Send>;
/// Tells the one who waits, once it is known how the transaction ended.
type Answer = Box<dyn FnOnce(Result<(), StoreError>)>;

struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Database {
    /// Opens the database in `folder`; makes both where they are missing and brings the schema up to date. Blocks.
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join(FILE);
        make(folder, &path).map_err(|source| OpenError::Io { path: path.clone(), source })?;
        let db = migrated(&path)?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let writer = Writer { path: path.clone(), db: Some(db) };
        std::thread::Builder::new()
            .name("session-writer".into())
            .spawn(move || writer.run(waiting))
            .map_err(|source| OpenError::Io { path: path.clone(), source })?;
        let readers = Readers { path, permits: Arc::new(Semaphore::new(READERS)), idle: Mutex::default() };
        Ok(Self { queue, readers: Arc::new(readers) })
    }

    /// Does `work` in the next transaction; true to its word only once that has been committed. Work whose caller has
    /// gone by then is left undone.
    pub(in crate::session) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let write: Write = Box::new(move |db| {
            let done = match db {
                Ok(_) if reply.is_closed() => Err(StoreError::Slow),
                Ok(db) => in_savepoint(db, work),
                Err(error) => Err(error),
            };
            let outcome = done.as_ref().map(|_| ()).map_err(Clone::clone);
            let answer: Answer = Box::new(move |committed| {
                // Nobody may be waiting any more.
                let _ = reply.send(done.and_then(|done| committed.map(|()| done)));
            });
            (outcome, answer)
        });
        self.queue.send(Message::Write(write)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Does `work` on a connection that only reads.
    pub(in crate::session) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.blocking(move |readers| {
            let idle = readers.idle().pop();
            let db = idle.map_or_else(|| readers.connect(), Ok)?;
            let done = work(&db)?;
            // One that failed does not get here: the next reader opens the file anew.
            readers.idle().push(db);
            Ok(done)
        })
        .await
    }

    /// Whether the file, opened anew, still holds our tables. Connections of old may not notice that it does not, and
    /// would write what nobody can read again: they are given up then.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        let looked = self
            .blocking(|readers| {
                let some = "SELECT count(*) FROM (SELECT 1 FROM sessions LIMIT 1)";
                Ok(readers.connect()?.query_row(some, [], |_| Ok(()))?)
            })
            .await;
        if matches!(looked, Err(StoreError::Damaged | StoreError::Unwritable)) {
            self.close_readers();
            // Where too many wait already, the next look does it.
            let _ = self.queue.try_send(Message::Reopen);
        }
        looked
    }

    /// Does what still waits, moves all of it into the one file, and ends the writing thread.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.close_readers();
        // An error says that it is closed already.
        if self.queue.send(Message::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }

    /// Closes the connections that read; the next who reads opens one.
    pub(in crate::session) fn close_readers(&self) {
        self.readers.idle().clear();
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Readers) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.readers.permits).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let readers = Arc::clone(&self.readers);
        let work = tokio::task::spawn_blocking(move || {
            // Held for as long as the thread is, even if nobody waits for it any more.
            let _permit = permit;
            work(&readers)
        });
        // It fails only when the runtime ends.
        work.await.unwrap_or(Err(StoreError::Closed))
    }
}

impl Readers {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> Result<Connection, StoreError> {
        let db = connect(&self.path)?;
        db.pragma_update(None, "query_only", true)?;
        Ok(db)
    }
}

/// The thread that writes.
struct Writer {
    path: PathBuf,
    /// None after a failure that a new connection may cure.
    db: Option<Connection>,
}

impl Writer {
    fn run(mut self, mut waiting: mpsc::Receiver<Message>) {
        let mut messages = Vec::new();
        while waiting.blocking_recv_many(&mut messages, BATCH) > 0 {
            let mut batch = Vec::new();
            let mut closed = None;
            for message in messages.drain(..) {
                match message {
                    Message::Write(write) if closed.is_none() => batch.push(write),
                    Message::Reopen => self.give_up(),
                    // Dropped, and so refused.
                    Message::Write(_) => {}
                    Message::Close(done) => closed = Some(done),
                }
            }
            self.commit(batch);
            if let Some(done) = closed {
                self.close();
                // Nobody may be waiting any more.
                let _ = done.send(());
                return;
            }
        }
    }

    /// Does all of `batch` in one transaction, then answers.
    fn commit(&mut self, batch: Vec<Write>) {
        if batch.is_empty() {
            return;
        }
        let mut transaction = self.begin();
        let mut answers = Vec::with_capacity(batch.len());
        for write in batch {
            let db = transaction.clone().and_then(|()| self.db.as_ref().ok_or(StoreError::Closed));
            let (done, answer) = write(db);
            answers.push(answer);
            // A full disk ends not only a statement but the transaction: those before lose what they did.
            if self.db.as_ref().is_none_or(Connection::is_autocommit) {
                transaction = transaction.and(done).and(Err(StoreError::Closed));
            }
        }
        transaction = transaction.and_then(|()| self.execute("COMMIT"));
        if let Err(error) = &transaction {
            // There may be none left to roll back.
            let _ = self.execute("ROLLBACK");
            if !matches!(error, StoreError::Full | StoreError::Locked) {
                self.db = None;
            }
        }
        for answer in answers {
            answer(transaction.clone());
        }
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        if self.db.is_none() {
            self.db = Some(connect(&self.path)?);
        }
        self.execute("BEGIN IMMEDIATE")
    }

    /// Lets go of the file as it is, with the log of writes beside it.
    fn give_up(&mut self) {
        if let Some(db) = self.db.take() {
            // It would otherwise write the log into whatever the file is now.
            let _ = db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }

    fn execute(&self, sql: &str) -> Result<(), StoreError> {
        self.db.as_ref().map_or(Ok(()), |db| Ok(db.execute_batch(sql)?))
    }

    fn close(&mut self) {
        if let Err(error) = self.execute("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(error = &error as &dyn std::error::Error, "session database keeps its log of writes");
        }
        self.db = None;
    }
}

fn in_savepoint<T>(db: &Connection, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
    db.execute_batch("SAVEPOINT work")?;
    let done = work(db).and_then(|done| db.execute_batch("RELEASE work").map(|()| done));
    done.map_err(|error| {
        // The whole transaction may be gone, the savepoint with it.
        let _ = db.execute_batch("ROLLBACK TO work; RELEASE work");
        error.into()
    })
}

/// Makes folder and file where they are missing, for our own eyes only. SQLite gives its other files the same mode.
fn make(folder: &Path, file: &Path) -> std::io::Result<()> {
    let mut dirs = std::fs::DirBuilder::new();
    let mut files = std::fs::OpenOptions::new();
    #[cfg(unix)]
    {
        std::os::unix::fs::DirBuilderExt::mode(&mut dirs, 0o700);
        std::os::unix::fs::OpenOptionsExt::mode(&mut files, 0o600);
    }
    dirs.recursive(true).create(folder)?;
    match files.write(true).create_new(true).open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        done => done.map(drop),
    }
}

/// A connection to the file that is there; it makes none.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "journal_size_limit", LOG_LIMIT)?;
    Ok(db)
}

fn migrated(path: &Path) -> Result<Connection, OpenError> {
    use rusqlite_migration::Error;
    let failed = |source: StoreError| match source {
        StoreError::Damaged => OpenError::Damaged { path: path.into() },
        source => OpenError::Store { path: path.into(), source },
    };
    let mut db = connect(path).map_err(failed)?;
    db.pragma_update(None, "journal_mode", "WAL").map_err(|error| failed(error.into()))?;
    Migrations::from_slice(MIGRATIONS).to_latest(&mut db).map_err(|error| match error {
        Error::RusqliteError { err, .. } => failed(err.into()),
        Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
            OpenError::Newer { path: path.into() }
        }
        _ => OpenError::Damaged { path: path.into() },
    })?;
    Ok(db)
}
