//! Attacks, each by its name: what somebody tries, on real sockets, and what they get.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was measured is shown")]

mod bombs;
mod browser;
mod frames;
mod gateway_process;
mod home;
mod hostile;
mod http2;
mod identity;
mod logs;
mod recorder;
mod routes;
mod sessions;
mod sign_in;
mod slow;
mod smuggling;
mod ssrf;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "not every attack needs all of it")]
mod support;
mod table;
mod timing;
