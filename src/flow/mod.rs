//! What lychgate does, in its own words: starting a sign-in, finishing it, renewing its tokens, ending sessions. No HTTP
//! types here; `web` turns requests into these calls and their results into answers.

pub mod access;
pub mod attempt;
pub mod callback;
pub mod local_sign_in;
pub mod renewal;
pub mod revocation;
pub mod sign_in;
pub mod sign_out;
mod trail;
