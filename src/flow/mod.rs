//! What lychgate does, in its own words: starting a sign-in, finishing it, ending sessions. No HTTP types here; `web`
//! turns requests into these calls and their results into answers.

pub mod access;
pub mod attempt;
pub mod callback;
pub mod revocation;
pub mod sign_in;
pub mod sign_out;
