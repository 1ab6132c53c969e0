//! The protocol: OpenID Connect as a relying party. Discovery, keys, the authorization request, the code's exchange, the
//! id token's checks, sign-out at the provider. Not here: sessions and attempts (`session`), what an outcome means to a
//! person (`flow`, `web`). The only home of `openidconnect`.
//!
//! Pure, without network or clock: `response`, what comes to the callback; `key_set`, the provider's keys; `jwt`, a
//! signed token, `id_token`, `access_token` and `logout_token`, their checks; `client_auth`, how the client proves who it is;
//! `metadata`, what the provider says about itself. With both: `fetch`, one request, and `address`, where it may go;
//! `source` and `documents`, what is fetched once for all; `provider` and `providers`; `health`, what is known of them
//! without asking; `examine`, all that a look at one finds; `bearer`, access tokens that others bring.

mod access_token;
mod address;
mod bearer;
mod client_auth;
mod documents;
mod error;
mod examine;
mod fetch;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod health;
mod id_token;
mod jwt;
mod key_set;
mod logout_token;
mod metadata;
mod provider;
mod providers;
mod response;
mod source;
#[cfg(test)]
mod tests;

pub use access_token::{AccessToken, AccessTokenError};
pub use bearer::{Bearer, BearerError};
pub use client_auth::ClientKeyError;
pub use error::{ProviderError, ProviderSetupError, RedeemError, RefreshError};
pub use examine::{Answered, Examination};
pub use health::ProviderHealth;
pub use id_token::{Expected, IdTokenError};
pub use jwt::JwtError;
pub use key_set::PublishedKey;
pub use logout_token::{LogoutToken, LogoutTokenError};
pub use provider::{AuthorizationRequest, Held, Provider, Redeemed, Refreshed, SignOutRequest};
pub use providers::Providers;
pub use response::{AuthorizationResponse, Outcome, Refusal, ResponseError};
