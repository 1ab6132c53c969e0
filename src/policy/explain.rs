//! Why a decision is what it is, in sentences for operators. The decision itself is made where all are made.

use std::fmt;

use super::{Decision, Lack, Mismatch, Pass, Question, Subject, claims, decide, judge, mismatch};
use crate::config::{DefaultRule, Effect, PolicySettings, Rule};

/// A decision and how it came about.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// What [`decide`] says.
    pub decision: Decision<'a>,
    /// A sentence for each rule that was passed over, for what decided, and for what it comes to.
    pub sentences: Vec<String>,
}

impl fmt::Display for Explanation<'_> {
    /// A line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentences.join("\n"))
    }
}

/// Decides, and says why. No claim is repeated, only what settings say of it.
pub fn explain<'a>(
    policy: &'a PolicySettings,
    question: &Question<'_>,
    subject: Option<&Subject<'_>>,
) -> Explanation<'a> {
    let (question, decision) = (&question.of_bare_host(), decide(policy, question, subject));
    let mut sentences = Vec::new();
    let mut matching = None;
    for (place, rule) in policy.rules.iter().enumerate() {
        let Some(part) = mismatch(rule, question) else {
            matching = Some((place, rule));
            break;
        };
        sentences.push(format!("{} does not match: {}.", rule.called(place), other(rule, part)));
    }
    let word_of_default = if policy.default_rule == DefaultRule::Deny { "deny" } else { "signed_in" };
    sentences.push(match matching {
        Some((place, rule)) => format!("{} matches; its effect is {}.", rule.called(place), word(&rule.effect)),
        None => format!("No rule matches; default_rule is {word_of_default}."),
    });
    sentences.push(match judge(policy, question, subject).1 {
        Ok(Pass::Public) => "Passes, as everybody does.".to_owned(),
        Ok(Pass::Subject) => "Passes.".to_owned(),
        Err(lack) => lacking(lack, subject),
    });
    Explanation { decision, sentences }
}

/// What a part of a rule wants instead.
fn other(rule: &Rule, part: Mismatch) -> String {
    match part {
        Mismatch::Path => format!("the path is not {}", either(&rule.paths)),
        Mismatch::Method => format!("the method is not {}", either(&rule.methods)),
        Mismatch::Host => format!("the host is not {}", either(&rule.hosts)),
        Mismatch::Network => format!("the client is not in {}", rule.networks),
    }
}

fn lacking(lack: Lack<'_>, subject: Option<&Subject<'_>>) -> String {
    match lack {
        Lack::Subject => "Must sign in first: nobody is signed in.".to_owned(),
        Lack::Access(refused) => format!("Denied by [access], which is asked first: {refused}."),
        Lack::Anybody => "Denied, as everybody is.".to_owned(),
        Lack::Claim(condition) => {
            let there = subject.is_some_and(|subject| claims::find(subject.claims, &condition.claim).is_some());
            let why = if there { "the claim is another" } else { "there is no such claim" };
            format!("Denied: this does not hold: {condition} ({why}).")
        }
        Lack::Scopes(scopes) => {
            let missing = |scope: &&String| !subject.is_some_and(|subject| claims::has_scope(scope, subject));
            let missing: Vec<&String> = scopes.iter().filter(missing).collect();
            format!("Denied: these scopes were not granted: {}.", join(&missing, ", "))
        }
        Lack::Recent(step_up) => {
            let seconds = step_up.max_age.unwrap_or_default();
            format!("Must sign in again: auth_time does not say that it was within the last {seconds} s.")
        }
        Lack::Strong(step_up) => {
            let values = step_up.acr_values.unwrap_or_default();
            format!("Must sign in again: neither acr nor amr says that it was by {}.", values.replace(' ', " or "))
        }
    }
}

const fn word(effect: &Effect) -> &'static str {
    match effect {
        Effect::Public => "public",
        Effect::SignedIn => "signed_in",
        Effect::Allow { .. } => "allow",
        Effect::Deny => "deny",
        Effect::StepUp { .. } => "step_up",
    }
}

/// Things with `or` between.
fn either<T: fmt::Display>(things: &[T]) -> String {
    join(things, " or ")
}

fn join<T: fmt::Display>(things: &[T], between: &str) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}
