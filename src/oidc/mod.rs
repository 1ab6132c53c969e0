//! The protocol: OpenID Connect as a relying party. Discovery, keys, the authorization request, the code's exchange, the
//! id token's checks, sign-out at the provider. Not here: sessions and attempts (`session`), what an outcome means to a
//! person (`flow`, `web`). The only home of `openidconnect`.
//!
//! `response`, `key_set`, `id_token` and `client_auth` are pure; `fetch`, `documents` and `provider` talk to the network.

mod documents;
mod error;
mod fetch;
mod metadata;
mod provider;
mod providers;
mod source;
mod stubs;
#[cfg(test)]
mod tests;
use stubs as client_auth;
use stubs as id_token;
use stubs as key_set;

pub use error::{ProviderError, ProviderSetupError, RedeemError};
pub use provider::{AuthorizationRequest, Provider, Redeemed, SignOutRequest};
pub use providers::Providers;
pub use stubs::{AuthorizationResponse, Expected, IdTokenError, Outcome, ResponseError};
