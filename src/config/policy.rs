//! The resolved policy of one tenant: who may sign in at all, and who may do what.

use std::time::Duration;

use serde_json::Value;

use crate::net::Networks;

/// Who may pass.
#[derive(Clone, Debug, Default)]
pub struct PolicySettings {
    /// Who may sign in at all.
    pub access: AccessSettings,
    /// The rules in their order; the first that matches decides.
    pub rules: Vec<Rule>,
    /// What holds where no rule matches.
    pub default_rule: DefaultRule,
}

/// Who may sign in at all; an empty list asks nothing. Organizations are the sign-in's own business.
#[derive(Clone, Debug, Default)]
pub struct AccessSettings {
    /// Verified e-mail addresses, lower case; with `email_domains`, either is enough.
    pub emails: Vec<String>,
    /// Domains of verified e-mail addresses, lower case.
    pub email_domains: Vec<String>,
    /// Conditions, all of which must hold.
    pub claims: Vec<Condition>,
}

/// What holds where no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultRule {
    /// Whoever is signed in passes.
    #[default]
    SignedIn,
    /// Nobody passes.
    Deny,
}

/// One rule. Each kind of matcher that is empty matches everything.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it is called in explanations.
    pub name: Option<String>,
    /// Paths.
    pub paths: Vec<PathPattern>,
    /// Methods, upper case.
    pub methods: Vec<String>,
    /// Hosts, lower case.
    pub hosts: Vec<HostPattern>,
    /// Networks of clients.
    pub networks: Networks,
    /// What it does.
    pub effect: Effect,
}

/// What a rule does with a request that it matches.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Everybody passes.
    Public,
    /// Whoever is signed in, or has a good token, passes.
    SignedIn,
    /// Passes if all conditions hold and all scopes were granted; else nobody.
    Allow {
        /// Conditions on claims.
        claims: Vec<Condition>,
        /// Scopes or permissions.
        scopes: Vec<String>,
    },
    /// Nobody passes.
    Deny,
    /// Passes if the authentication is recent and strong enough; else the person signs in again.
    StepUp {
        /// How old the authentication may be.
        max_age: Option<Duration>,
        /// The authentication context classes, one of which must have been used, parted by blanks.
        acr_values: Option<String>,
    },
}

/// A pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// `/a/b`: this path, with or without a slash at the end.
    Exact(String),
    /// `/a/**`: this path and everything below it.
    Prefix(String),
    /// `/a/*/c*`: `*` is any text within one segment.
    Glob(Vec<String>),
}

/// A pattern of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// `*.example.com`: every host below this domain.
    Below(String),
}

/// A condition on one claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The claim's name; several names lead into nested objects.
    pub claim: Vec<String>,
    /// What must be so.
    pub test: Test,
}

/// What must be so of a claim. A claim that is not there fails every test.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// It is there, and neither null, false, nor empty.
    Present,
    /// It is this value.
    Equals(Value),
    /// It is a list that holds this value.
    Contains(Value),
    /// It is one of these values, or a list that holds one of them.
    AnyOf(Vec<Value>),
    /// It is a list that holds all of these values.
    AllOf(Vec<Value>),
}
