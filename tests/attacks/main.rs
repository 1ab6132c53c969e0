//! Attacks, each by its name: what somebody tries, on real sockets, and what they get.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was measured is shown")]

mod bombs;
mod frames;
mod gateway_process;
mod hostile;
mod http2;
mod recorder;
mod slow;
mod smuggling;
mod ssrf;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "not every attack needs all of it")]
mod support;
mod timing;
