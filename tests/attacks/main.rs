//! Attacks, each by its name: what somebody tries, on real sockets, and what they get.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod frames;
mod gateway_process;
mod http2;
mod recorder;
mod smuggling;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "not every attack needs all of it")]
mod support;
