//! Settings: from raw, as people wrote them, to resolved and checked, as the floors above use them.
//!
//! `settings` and `tenant` hold the resolved forms; reading and checking live in `read` and its neighbours. Nothing
//! above this module parses a setting, and nothing resolved can be invalid.

mod fault;
mod keys;
mod layers;
mod policy;
mod read;
mod read_tenant;
mod reader;
mod settings;
mod sources;
mod store;
mod tenant;
#[cfg(test)]
mod tests;
mod values;

pub use fault::{Fault, Faults};
pub use keys::{settings_table, tenant_sample, tenant_table};
pub use policy::*;
pub use read::{Loaded, load};
pub use settings::*;
pub use sources::Sources;
pub use store::*;
pub use tenant::*;
