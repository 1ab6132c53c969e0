//! Settings: from raw, as people wrote them, to resolved and checked, as the floors above use them.
//!
//! `settings` and `tenant` hold the resolved forms; reading and checking live in `read` and its neighbours. Nothing
//! above this module parses a setting, and nothing resolved can be invalid.

mod settings;
mod tenant;

pub use settings::*;
pub use tenant::*;
