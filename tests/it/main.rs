//! The product as its users meet it: a gateway and providers in this process, each on a real socket, and a browser that
//! keeps cookies.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod callback;
mod faults;
mod isolation;
mod logout;
mod own_sessions;
mod requests;
mod sessions;
mod sign_out;
mod support;
