//! The validated name of a tenant: part of routes, cookie names, store keys and metric labels.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Names that are routes of our own, or may become some, and so cannot be tenants.
pub const RESERVED: [&str; 16] = [
    "assets",
    "auth",
    "callback",
    "dashboard",
    "favicon",
    "livez",
    "login",
    "logout",
    "metrics",
    "ping",
    "readyz",
    "robots",
    "session",
    "signup",
    "startupz",
    "well-known",
];

/// The longest tenant id, in bytes: a DNS label.
pub const MAX_LEN: usize = 63;

/// A tenant's id: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?` and not one of [`RESERVED`]. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// Why a text is no tenant id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantIdError {
    /// Does not match the pattern.
    #[error("is not a tenant id: 1 to 63 of a-z, 0-9 and '-', neither first nor last a '-'")]
    Malformed,
    /// Is a route of ours.
    #[error("is reserved for a route of the gateway; choose another name")]
    Reserved,
}

impl TenantId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = TenantIdError;

    fn from_str(text: &str) -> Result<Self, TenantIdError> {
        let bytes = text.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        let well_formed = (1..=MAX_LEN).contains(&bytes.len())
            && bytes.iter().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !well_formed {
            Err(TenantIdError::Malformed)
        } else if RESERVED.contains(&text) {
            Err(TenantIdError::Reserved)
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TenantId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_dns_labels_in_lower_case() {
        for good in ["a", "acme", "a-b", "0", &"x".repeat(63)] {
            assert!(good.parse::<TenantId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "a/b", "ä", " a", "..", &"x".repeat(64)] {
            assert_eq!(bad.parse::<TenantId>(), Err(TenantIdError::Malformed), "{bad}");
        }
        assert_eq!("metrics".parse::<TenantId>(), Err(TenantIdError::Reserved));
    }
}
