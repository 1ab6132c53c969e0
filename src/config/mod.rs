//! Settings: from raw, as people wrote them, to resolved and checked, as the floors above use them.
//!
//! `settings` and `tenant` hold the resolved forms; reading and checking live in `read` and its neighbours. Nothing
//! above this module parses a setting, and nothing resolved can be invalid.

mod audit;
mod clashes;
mod fault;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod identity;
mod inputs;
mod keys;
mod layers;
mod limits;
mod local_users;
mod patterns;
mod policy;
mod read;
mod read_policy;
mod read_tenant;
mod read_upstream;
mod reader;
mod reading;
mod rules;
mod settings;
mod sources;
mod store;
mod tenant;
mod tenant_files;
#[cfg(test)]
mod tests;
mod tokens;
mod upstream;
mod values;

pub use audit::{AuditSettings, AuditSink, OnFull, Subjects, SyslogAddress};
pub use clashes::{Claims, between as clashes_between};
pub use fault::{Fault, Faults};
pub use identity::{IdentitySettings, IdentityValue};
pub use keys::{RELOADABLE, settings_table, tenant_sample, tenant_table};
pub use limits::{Limit, LimitSettings};
pub use local_users::{PasswordLine, local_users_file};
pub use patterns::*;
pub use policy::*;
pub use read::{Loaded, examine, load};
pub use reading::{Keys, Reading, TenantReading};
pub use rules::Rules;
pub use settings::*;
pub use sources::Sources;
pub use store::*;
pub use tenant::*;
pub use tokens::TokenSettings;
pub use upstream::*;
