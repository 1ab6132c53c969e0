//! The resolved policy of one tenant: who may sign in at all, and who may do what.

use std::fmt;

use serde_json::Value;

use super::{HostPattern, PathPattern, Rules};
use crate::net::Networks;

/// The value of `acr_values` by which Auth0 is asked for a second factor; it answers in `amr`.
pub const MULTI_FACTOR: &str = "http://schemas.openid.net/pape/policies/2007/06/multi-factor";

/// Who may pass.
#[derive(Clone, Debug, Default)]
pub struct PolicySettings {
    /// Who may sign in at all.
    pub access: AccessSettings,
    /// The rules in their order; the first that matches decides.
    pub rules: Rules,
    /// What holds where no rule matches.
    pub default_rule: DefaultRule,
    /// Seconds by which the provider's clock and ours may differ.
    pub leeway: i64,
}

/// Who may sign in at all; an empty list asks nothing. Organizations are the sign-in's own business.
#[derive(Clone, Debug, Default)]
pub struct AccessSettings {
    /// Verified e-mail addresses, lower case; with `email_domains`, either is enough.
    pub emails: Vec<String>,
    /// Domains of verified e-mail addresses.
    pub email_domains: Vec<HostPattern>,
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
    /// Methods, upper case; GET is HEAD as well.
    pub methods: Vec<String>,
    /// Hosts.
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
        /// How many seconds old the authentication may be.
        max_age: Option<i64>,
        /// The authentication context classes, one of which must have been used, parted by blanks.
        acr_values: Option<String>,
    },
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

impl Rule {
    /// What people call the rule of this place in the list.
    pub fn called(&self, place: usize) -> String {
        match &self.name {
            Some(name) => format!("rules[{place}] ({name})"),
            None => format!("rules[{place}]"),
        }
    }

    /// Whether the rule speaks of this method.
    pub fn takes_method(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|known| is_method(known, method))
    }

    /// Whether this rule matches whatever `later` does, so that a later rule behind it is never reached. Rules are
    /// compared one to one: that several together cover another is not seen.
    pub fn covers(&self, later: &Self) -> bool {
        let anywhere = [PathPattern::anywhere()];
        let paths = |rule: &'_ Self| if rule.paths.is_empty() { anywhere.to_vec() } else { rule.paths.clone() };
        covers(&paths(self), &paths(later), PathPattern::covers)
            && covers(&self.methods, &later.methods, |outer, inner| is_method(outer, inner))
            && covers(&self.hosts, &later.hosts, HostPattern::covers)
            && (self.networks.is_empty() || !later.networks.is_empty() && self.networks.covers(&later.networks))
    }
}

/// Whether a rule for the method `known` takes `method`: HEAD asks for what GET does.
fn is_method(known: &str, method: &str) -> bool {
    known.eq_ignore_ascii_case(method) || known == "GET" && method.eq_ignore_ascii_case("HEAD")
}

/// Whether a list covers another; an empty one is everything.
fn covers<T>(outer: &[T], inner: &[T], one: impl Fn(&T, &T) -> bool) -> bool {
    outer.is_empty() || !inner.is_empty() && inner.iter().all(|inner| outer.iter().any(|outer| one(outer, inner)))
}

impl fmt::Display for Condition {
    /// As one would say it: `realm_access > roles contains "admin"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.claim.join(" > "))?;
        match &self.test {
            Test::Present => f.write_str(" is present"),
            Test::Equals(value) => write!(f, " equals {value}"),
            Test::Contains(value) => write!(f, " contains {value}"),
            Test::AnyOf(values) => write!(f, " is any of {}", list(values)),
            Test::AllOf(values) => write!(f, " contains all of {}", list(values)),
        }
    }
}

/// Things with commas between.
fn list<T: fmt::Display>(things: &[T]) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
