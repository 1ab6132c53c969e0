//! What can go wrong with the session store, said so that an operator knows what to do.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{ErrorCode, ffi};

/// Why the session store did not do what was asked. What it was asked has then not happened, but for [`Self::Slow`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No room for what was to be written.
    #[error("the disk of the session database is full: free some space")]
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
    #[error("the session database did not answer in time: check the disk it lies on")]
    Slow,
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
            Self::Closed => "closed",
            Self::Other(_) => "error",
        }
    }
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
    /// Anything else.
    #[error("cannot open {path}")]
    Store {
        /// The file.
        path: PathBuf,
        /// What the store says.
        source: StoreError,
    },
}
