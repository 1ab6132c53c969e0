//! **lychgate**, a multi-tenant sign-in gateway for Auth0 and any OpenID Connect provider.
//!
//! The house, floor by floor; a module imports only from floors below its own (`tests/floor_plan.rs` checks):
//!
//! | floor | modules | what they are |
//! | --- | --- | --- |
//! | 0 ground | [`clock`], [`secret`], [`key_ring`], [`tenant_id`], [`claims`], [`net`], [`metrics`], [`request_path`], [`error_chain`], [`credentials`], [`trace`], [`pages`], [`rate_limits`], [`turnstile`] | time, secrets, the keys that others derive from, the validated slug, claims in little memory, hashes of passwords, spans for a collector, how often something may be done, where new work waits, addresses, every Prometheus series, the one form of a path, an error with its causes, templates → HTML |
//! | 1 asked for | [`config`] | settings: raw → resolved and checked, all faults at once |
//! | 2 skills | [`oidc`], [`session`], [`policy`], [`local`], [`upstream`], [`audit`] | unaware of one another: the protocol; the record and its stores; who may pass; local accounts; the applications behind us; what happened, line by line |
//! | 3 domain | [`tenant`], [`gateway`] | a tenant, found once a request; the one state struct |
//! | 4 use cases | [`flow`], [`reload`] | the product in domain words, no HTTP types; changed files while it runs |
//! | 5 the outside | [`web`], [`server`] | routes, handlers, problems; accept, limit, time out, drain |
//! | 6 roof | [`cli`], `fuzzing` | commands, logs, exit codes; what fuzzing tries, which is in no ordinary build |
//! | annex | [`demo`] | the embedded provider; imports the ground floor and [`server`] only |

pub mod audit;
pub mod claims;
pub mod cli;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod demo;
pub mod error_chain;
pub mod flow;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gateway;
pub mod key_ring;
pub mod local;
pub mod metrics;
pub mod net;
pub mod oidc;
pub mod pages;
pub mod policy;
pub mod rate_limits;
pub mod reload;
pub mod request_path;
pub mod secret;
pub mod server;
pub mod session;
pub mod tenant;
pub mod tenant_id;
pub mod trace;
pub mod turnstile;
pub mod upstream;
pub mod web;
