//! The product as its users meet it: a gateway and providers in this process, each on a real socket, and a browser that
//! keeps cookies.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod agreement;
mod audit;
mod bearer;
mod callback;
mod clock;
mod faults;
mod forward_auth;
mod isolation;
mod key_ring;
mod limits;
mod local;
mod logout;
mod metrics;
mod own_sessions;
mod policy;
mod redirects;
mod reload;
mod renewal;
mod replicas;
mod requests;
mod reverse_proxy;
mod sessions;
mod sign_out;
mod status;
mod support;
mod traces;
mod trust;
