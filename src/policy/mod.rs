//! Who may pass: claims and a request in, a decision out. Pure: no I/O, no clock of its own, no HTTP types.

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::config::{DefaultRule, PolicySettings};
use crate::request_path::RequestPath;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The host, lower case, without port and trailing dot.
    pub host: &'a str,
    /// The path.
    pub path: &'a RequestPath<'a>,
    /// The client.
    pub address: IpAddr,
}

/// Who asks.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// What is known about them.
    pub claims: &'a Map<String, Value>,
    /// The scopes that were granted, parted by blanks.
    pub scope: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

impl fmt::Debug for Subject<'_> {
    /// Without the claims.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("scope", &self.scope).field("now", &self.now).finish_non_exhaustive()
    }
}

/// What a decision comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Everybody passes.
    Public,
    /// This subject passes.
    Allowed,
    /// Nobody asks who could pass: they must sign in first.
    SignIn,
    /// This subject does not pass.
    Denied,
    /// This subject does not pass for want of these scopes.
    MissingScopes(&'a [String]),
    /// This subject must sign in again.
    StepUp(StepUp<'a>),
}

/// How a person must sign in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepUp<'a> {
    /// How many seconds ago they may have signed in at the provider.
    pub max_age: Option<i64>,
    /// One of these classes, parted by blanks.
    pub acr_values: Option<&'a str>,
}

/// A decision and what made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// What it comes to.
    pub verdict: Verdict<'a>,
    /// What decided.
    pub by: By,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `[access]`.
    Access,
    /// The rule of this place in the list, from 0.
    Rule(usize),
    /// `default_rule`.
    Default,
}

/// Decides.
pub fn decide<'a>(policy: &'a PolicySettings, question: &Question<'_>, subject: Option<&Subject<'_>>) -> Decision<'a> {
    let _ = question;
    let verdict = match (policy.default_rule, subject) {
        (DefaultRule::Deny, _) => Verdict::Denied,
        (DefaultRule::SignedIn, Some(_)) => Verdict::Allowed,
        (DefaultRule::SignedIn, None) => Verdict::SignIn,
    };
    Decision { verdict, by: By::Default }
}
