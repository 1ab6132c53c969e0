//! The users a tenant has seen.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// What a sign-in tells about a user.
#[derive(Clone, PartialEq, Eq)]
pub struct SeenUser {
    /// The issuer of the id token.
    pub issuer: String,
    /// The subject.
    pub sub: String,
    /// The name people know.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// A picture's URL.
    pub picture: Option<String>,
}

/// A user, as remembered: what the last sign-in told, and how often and when.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The issuer of the id token.
    pub issuer: String,
    /// The subject.
    pub sub: String,
    /// The name people know.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// A picture's URL.
    pub picture: Option<String>,
    /// The first sign-in.
    pub first_seen: Timestamp,
    /// The last sign-in.
    pub last_seen: Timestamp,
    /// How many there were.
    pub sign_ins: u64,
}

impl SeenUser {
    /// The record after one more sign-in `now`.
    pub(super) fn seen(self, now: Timestamp, before: Option<&UserRecord>) -> UserRecord {
        UserRecord {
            issuer: self.issuer,
            sub: self.sub,
            name: self.name,
            email: self.email,
            picture: self.picture,
            first_seen: before.map_or(now, |user| user.first_seen),
            last_seen: now,
            sign_ins: before.map_or(0, |user| user.sign_ins).saturating_add(1),
        }
    }
}

impl fmt::Debug for SeenUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeenUser").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRecord").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
