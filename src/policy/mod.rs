//! Who may pass: claims and a request in, a decision out. Pure: no I/O, no clock of its own, no HTTP types.

mod access;
mod claims;
mod explain;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

pub use self::access::{AccessRefused, admits};
pub use self::explain::{Explanation, explain};
use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::config::{Condition, DefaultRule, Effect, PolicySettings, Rule};
use crate::request_path::RequestPath;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The host, lower case, without trailing dot.
    pub host: &'a str,
    /// The path.
    pub path: &'a RequestPath<'a>,
    /// The client.
    pub address: IpAddr,
}

impl Question<'_> {
    /// The same with the host without port: whoever asks should leave it out, and yet a rule must not depend on that.
    fn of_bare_host(&self) -> Self {
        let port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let bare = self.host.rsplit_once(':').filter(|(_, text)| port(text)).map_or(self.host, |(name, _)| name);
        Self { host: bare, ..*self }
    }
}

/// Who asks.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// What is known about them.
    pub claims: Claims<'a>,
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

/// Decides: the first rule that matches, or `default_rule`. Whoever passes only when signed in must still be one whom
/// `[access]` admits, by the claims as they are now.
pub fn decide<'a>(policy: &'a PolicySettings, question: &Question<'_>, subject: Option<&Subject<'_>>) -> Decision<'a> {
    let (by, judged) = judge(policy, question, subject);
    let verdict = match judged {
        Ok(Pass::Public) => Verdict::Public,
        Ok(Pass::Subject) => Verdict::Allowed,
        Err(Lack::Subject) => Verdict::SignIn,
        Err(Lack::Access(_) | Lack::Anybody | Lack::Claim(_)) => Verdict::Denied,
        Err(Lack::Scopes(scopes)) => Verdict::MissingScopes(scopes),
        Err(Lack::Recent(step_up) | Lack::Strong(step_up)) => Verdict::StepUp(step_up),
    };
    Decision { verdict, by }
}

/// Who passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Everybody.
    Public,
    /// This subject.
    Subject,
}

/// What is lacking for this request to pass.
#[derive(Clone, Copy, Debug)]
enum Lack<'a> {
    /// Somebody who asks.
    Subject,
    /// What `[access]` demands.
    Access(AccessRefused),
    /// Nothing would do.
    Anybody,
    /// This condition does not hold.
    Claim(&'a Condition),
    /// One of these was not granted.
    Scopes(&'a [String]),
    /// A recent authentication.
    Recent(StepUp<'a>),
    /// A strong authentication.
    Strong(StepUp<'a>),
}

fn judge<'a>(
    policy: &'a PolicySettings,
    question: &Question<'_>,
    subject: Option<&Subject<'_>>,
) -> (By, Result<Pass, Lack<'a>>) {
    let question = &question.of_bare_host();
    let rules = &policy.rules;
    let (by, effect) = match rules.that_may_match(question.path).find(|at| mismatch(&rules[*at], question).is_none()) {
        Some(place) => (By::Rule(place), &rules[place].effect),
        None if policy.default_rule == DefaultRule::SignedIn => (By::Default, &Effect::SignedIn),
        None => (By::Default, &Effect::Deny),
    };
    match (effect, subject) {
        (Effect::Public, _) => (by, Ok(Pass::Public)),
        (Effect::Deny, _) => (by, Err(Lack::Anybody)),
        (_, None) => (by, Err(Lack::Subject)),
        (_, Some(subject)) => match admits(&policy.access, subject.claims) {
            Ok(()) => (by, meets(effect, subject, policy.leeway).map(|()| Pass::Subject)),
            Err(refused) => (By::Access, Err(Lack::Access(refused))),
        },
    }
}

/// A part of a rule that does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mismatch {
    Path,
    Method,
    Host,
    Network,
}

/// What of a rule does not match the question, if anything.
fn mismatch(rule: &Rule, question: &Question<'_>) -> Option<Mismatch> {
    if !rule.paths.is_empty() && !rule.paths.iter().any(|path| path.matches(question.path)) {
        Some(Mismatch::Path)
    } else if !rule.takes_method(question.method) {
        Some(Mismatch::Method)
    } else if !rule.hosts.is_empty() && !rule.hosts.iter().any(|pattern| pattern.matches(question.host)) {
        Some(Mismatch::Host)
    } else if !rule.networks.is_empty() && !rule.networks.contains(question.address) {
        Some(Mismatch::Network)
    } else {
        None
    }
}

/// Whether a subject meets what an effect asks of it.
fn meets<'a>(effect: &'a Effect, subject: &Subject<'_>, leeway: i64) -> Result<(), Lack<'a>> {
    match effect {
        Effect::Public | Effect::SignedIn => Ok(()),
        Effect::Deny => Err(Lack::Anybody),
        Effect::Allow { claims, scopes } => {
            if let Some(condition) = claims.iter().find(|condition| !claims::holds(condition, subject.claims)) {
                return Err(Lack::Claim(condition));
            }
            let granted = scopes.iter().all(|scope| claims::has_scope(scope, subject));
            if granted { Ok(()) } else { Err(Lack::Scopes(scopes)) }
        }
        Effect::StepUp { max_age, acr_values } => {
            let step_up = StepUp { max_age: *max_age, acr_values: acr_values.as_deref() };
            if max_age.is_some_and(|max_age| !claims::is_recent(subject, max_age, leeway)) {
                Err(Lack::Recent(step_up))
            } else if acr_values.as_ref().is_some_and(|values| !claims::is_strong(subject.claims, values)) {
                Err(Lack::Strong(step_up))
            } else {
                Ok(())
            }
        }
    }
}
