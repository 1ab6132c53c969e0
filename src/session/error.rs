//! What can go wrong with the session store, said so that an operator knows what to do.

use std::path::PathBuf;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use rusqlite::{ErrorCode, ffi};

use crate::turnstile::Overloaded;

/// Why Redis could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// What settings say of it cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It does not answer as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the session store did not do what was asked. What it was asked has then not happened, but for [`Self::Slow`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No room for what was to be written.
    #[error("the session store is full: free some space on the disk of the database, or give Redis more memory")]
    Full,
    /// Another process holds the database.
    #[error("the session database is locked by another process: let that process finish, or end it")]
    Locked,
    /// The file is no database any more.
    #[error("the session database is damaged: stop lychgate, restore the file or move it away, and start again")]
    Damaged,
    /// The file is gone, or may not be written.
    #[error("the session database cannot be opened or written: check that file and folder exist and who owns them")]
    Unwritable,
    /// Took longer than an operation may; it may still happen.
    #[error("the session store did not answer in time: check the disk of the database, or Redis and the way to it")]
    Slow,
    /// No server of Redis that could answer is there, or it is on its way up.
    #[error("Redis cannot be reached: check that it runs, and what sessions.redis_* say of it")]
    Unreachable(#[source] Arc<RedisError>),
    /// Redis takes no writes: a replica, or a master without the replicas that it must have.
    #[error("Redis takes no writes: check that a master is there and has its replicas")]
    ReadOnly,
    /// Redis does not let us in, or not do something.
    #[error("Redis refuses user, password or a command: check sessions.redis_username and what that user may do")]
    Denied(#[source] Arc<RedisError>),
    /// Anything else Redis says.
    #[error("Redis failed")]
    Redis(#[source] Arc<RedisError>),
    /// There is too much else to do to ask the store.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The process is on its way out.
    #[error("the session store is closed")]
    Closed,
    /// Anything else SQLite says.
    #[error("the session database failed")]
    Other(#[source] Arc<rusqlite::Error>),
}

impl StoreError {
    /// The label `result` of the metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Locked => "locked",
            Self::Damaged => "damaged",
            Self::Unwritable => "unwritable",
            Self::Slow => "slow",
            Self::Unreachable(_) => "unreachable",
            Self::ReadOnly => "read_only",
            Self::Denied(_) => "denied",
            Self::Overloaded(_) => "overloaded",
            Self::Closed => "closed",
            Self::Redis(_) | Self::Other(_) => "error",
        }
    }

    /// Why no connection to Redis could be made.
    pub(super) fn unreachable(error: RedisError) -> Self {
        match Self::from(error.clone()) {
            denied @ Self::Denied(_) => denied,
            _ => Self::Unreachable(Arc::new(error)),
        }
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Self::Denied(Arc::new(error))
            }
            _ if says(&error, "NOAUTH") || says(&error, "WRONGPASS") => Self::Denied(Arc::new(error)),
            _ if says(&error, "OOM") => Self::Full,
            _ if says(&error, "READONLY") || says(&error, "NOREPLICAS") => Self::ReadOnly,
            ErrorKind::Io if error.is_timeout() => Self::Slow,
            ErrorKind::Io
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                // A cluster that names a node nobody can reach.
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask,
            ) => Self::Unreachable(Arc::new(error)),
            _ => Self::Redis(Arc::new(error)),
        }
    }
}

/// Whether it is no use to go on asking over the connection that this came from.
pub(super) fn is_lost(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || says(error, "READONLY")
        || error.kind() == ErrorKind::Server(ServerErrorKind::MasterDown)
}

/// Whether another server may know better, or the same in a moment: one on its way up, or that takes a cluster for down
/// or does not know its way around there, as for a while after a failover.
pub(super) fn is_misled(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ClusterConnectionNotFound
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::Moved
                    | ServerErrorKind::Ask,
            )
    )
}

/// Whether Redis answers with this code; older ones put a script's errors into the text of another.
fn says(error: &RedisError, code: &str) -> bool {
    error.code() == Some(code) || error.detail().is_some_and(|text| text.contains(code))
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let Some(sqlite) = error.sqlite_error() else { return Self::Other(Arc::new(error)) };
        match sqlite.code {
            ErrorCode::DiskFull => Self::Full,
            // The index of the write-ahead log is made room for in a way of its own.
            ErrorCode::SystemIoFailure if sqlite.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Self::Full,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Locked,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged,
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => Self::Unwritable,
            _ => Self::Other(Arc::new(error)),
        }
    }
}

/// Why the session store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or the file can be neither found nor made.
    #[error("cannot make {path}: check that its folder exists and belongs to the user who runs lychgate")]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no database.
    #[error(
        "{path} is damaged or no database: restore it from a backup, or move it away to start with an empty one \
         (everybody then signs in again)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The schema is one that this version does not know.
    #[error("{path} was written by a newer lychgate: run that version, or restore the backup made before it")]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// Certificates or the private key for Redis are none.
    #[error("cannot speak TLS to Redis: check sessions.redis_ca_file, redis_certificate_file and redis_key_file")]
    Redis {
        /// What is wrong.
        #[source]
        cause: Arc<RedisError>,
    },
    /// Anything else.
    #[error("cannot open {path}")]
    Store {
        /// The file.
        path: PathBuf,
        /// What the store says.
        source: StoreError,
    },
}
