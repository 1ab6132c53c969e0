//! What became of a reload: what was asked, what is different now, what was refused and why.

use serde::{Serialize, Serializer};

use crate::clock::Timestamp;
use crate::tenant_id::TenantId;

/// Who wanted the files to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The start of the process.
    Startup,
    /// SIGHUP.
    Signal,
    /// The system, which told of a change.
    Watch,
    /// The clock.
    Poll,
    /// An operator, at the listener for operators.
    Request,
}

impl Trigger {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Startup, Self::Signal, Self::Watch, Self::Poll, Self::Request];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Signal => "signal",
            Self::Watch => "watch",
            Self::Poll => "poll",
            Self::Request => "request",
        }
    }

    /// Whether a person waits for an answer, also to what was answered before.
    pub const fn is_asked(self) -> bool {
        matches!(self, Self::Startup | Self::Signal | Self::Request)
    }
}

/// How much of it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// All, and something is different.
    Applied,
    /// Nothing is different.
    Unchanged,
    /// What is good; the rest is as it was before.
    Partial,
    /// Nothing.
    Rejected,
}

impl ReloadResult {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Applied, Self::Unchanged, Self::Partial, Self::Rejected];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Partial => "partial",
            Self::Rejected => "rejected",
        }
    }
}

/// Something that was not taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// Whose; none if it is nobody's alone, such as a template's.
    pub tenant: Option<TenantId>,
    /// File, key, what is wrong and what is allowed; never a value that somebody wrote.
    pub reason: String,
}

/// What became of a reload.
#[derive(Clone, Debug, Serialize)]
pub struct ReloadOutcome {
    /// When it ended.
    #[serde(serialize_with = "as_date")]
    pub at: Timestamp,
    /// Who wanted it.
    pub trigger: Trigger,
    /// How much is in force.
    pub result: ReloadResult,
    /// Tenants that were not there before.
    pub added: Vec<TenantId>,
    /// Tenants that are others now.
    pub changed: Vec<TenantId>,
    /// Tenants that are gone.
    pub removed: Vec<TenantId>,
    /// Keys of the process that say something else now, `templates` also where only the files there do.
    pub settings: Vec<&'static str>,
    /// What was refused. A tenant among it goes on as it was, if it was there before.
    pub rejected: Vec<Rejection>,
    /// Keys of the process that say something else since it started, and can change with a restart only.
    pub needs_restart: Vec<&'static str>,
    /// Of all that is in force and no secret: equal where two processes serve the same.
    pub config_hash: u64,
}

impl ReloadOutcome {
    /// Whether anything is in force that was not before.
    pub const fn is_different(&self) -> bool {
        !(self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty() && self.settings.is_empty())
    }
}

impl Serialize for Trigger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for ReloadResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn as_date<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}
