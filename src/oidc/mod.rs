//! The protocol: OpenID Connect towards a tenant's provider.
//!
//! Pure, without network or clock: what comes to the callback ([`response`](AuthorizationResponse)), the provider's
//! keys, the checks of an id token ([`IdTokenError`] says which one failed), how the client proves who it is.
//! Sessions, cookies and pages are not known here.
#![allow(dead_code, reason = "used as soon as the networked half is wired in")]

mod client_auth;
mod id_token;
mod key_set;
mod response;

pub use client_auth::ClientKeyError;
pub use id_token::{Expected, IdTokenError};
pub use response::{AuthorizationResponse, Outcome, Refusal, ResponseError};
