//! Reads who may pass: `[access]`, `[[rules]]`, `default_rule`. What rules mean for a request is in `policy`.

use std::time::Duration;

use super::read::LONGEST;
use super::reader::Reader;
use super::{
    AccessSettings, Condition, DefaultRule, Effect, HostPattern, PathPattern, PolicySettings, Rule, Test, values,
};
use crate::net;

/// The shortest `max_age` of a rule: with less, the way back from the provider could take too long.
const SHORTEST: Duration = Duration::from_mins(1);

const EFFECTS: [&str; 5] = ["public", "signed_in", "allow", "deny", "step_up"];

/// Methods that are known: RFC 9110, section 9; RFC 5789 (PATCH); RFC 4918, section 9 (WebDAV); RFC 3253, section 3.6
/// (REPORT); RFC 5323 (SEARCH). There is no CONNECT here.
const METHODS: [&str; 17] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
];

pub(super) fn policy(reader: &mut Reader<'_>, leeway: i64) -> PolicySettings {
    let access = AccessSettings {
        emails: filled(reader, "access.emails", "ask for no address", email),
        email_domains: filled(reader, "access.email_domains", "ask for no domain", HostPattern::parse),
        claims: conditions(reader, "access.claims"),
    };
    let default_rule = reader
        .choice("default_rule", &[("signed_in", DefaultRule::SignedIn), ("deny", DefaultRule::Deny)])
        .unwrap_or_default();
    let rules: Vec<Option<Rule>> = reader.tables("rules", |reader| Some(rule(reader)));
    // Where one is faulty, its place would be wrong.
    let rules: Vec<Rule> = rules.into_iter().collect::<Option<_>>().unwrap_or_default();
    for (place, later) in rules.iter().enumerate() {
        if let Some(first) = rules[..place].iter().position(|earlier| earlier.covers(later)) {
            let reason = format!("is never reached: {} matches all that it does", rules[first].called(first));
            reader.fault(&later.called(place), reason, Some("put it before that one, or leave one of them out"));
        }
    }
    PolicySettings { access, rules: rules.into(), default_rule, leeway }
}

/// A list of texts that is either left out or has something in it.
fn filled<T: PartialEq>(
    reader: &mut Reader<'_>,
    path: &str,
    instead: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let before = reader.fault_count();
    let list = reader.list(path, parse);
    if list.as_ref().is_some_and(Vec::is_empty) && reader.fault_count() == before {
        reader.fault(path, "is empty", Some(&format!("leave the key out to {instead}")));
    }
    list.unwrap_or_default()
}

fn rule(reader: &mut Reader<'_>) -> Option<Rule> {
    let all = "match all";
    let name = reader.text("name");
    let paths = filled(reader, "paths", all, PathPattern::parse);
    let methods = filled(reader, "methods", all, method);
    let hosts = filled(reader, "hosts", all, HostPattern::parse);
    let network = |text: &str| net::parse_network(text).map_err(|error| error.to_string());
    let networks = filled(reader, "networks", all, network).into_iter().collect();
    let effect = effect(reader);
    let rule = Rule { name, paths, methods, hosts, networks, effect: effect? };
    (reader.fault_count() == 0).then_some(rule)
}

fn effect(reader: &mut Reader<'_>) -> Option<Effect> {
    let claims = conditions(reader, "claims");
    let scopes = filled(reader, "scopes", "ask for none", values::scope);
    let max_age = reader.seconds("max_age", &(SHORTEST..=LONGEST));
    let acr_values = reader.text("acr_values");
    if !reader.is_set("effect") {
        reader.fault("effect", "is missing", Some(&format!("allowed: {}", EFFECTS.join(", "))));
    }
    let chosen = reader.choice("effect", &EFFECTS.map(|word| (word, word)))?;
    for (word, own, help) in [
        ("allow", ["claims", "scopes"], "for everybody who is signed in, the effect is signed_in"),
        ("step_up", ["max_age", "acr_values"], "give one of them, or both"),
    ] {
        let set = own.map(|key| reader.is_set(key));
        if chosen == word && set == [false; 2] {
            reader.fault("effect", format!("{word} needs {} or {}", own[0], own[1]), Some(help));
        }
        for key in own.into_iter().zip(set).filter_map(|(key, set)| (set && chosen != word).then_some(key)) {
            let help = "leave it out, or change the effect";
            reader.fault(key, format!("belongs to the effect {word} only"), Some(help));
        }
    }
    Some(match chosen {
        "public" => Effect::Public,
        "signed_in" => Effect::SignedIn,
        "allow" => Effect::Allow { claims, scopes },
        "step_up" => Effect::StepUp { max_age, acr_values },
        _ => Effect::Deny,
    })
}

fn conditions(reader: &mut Reader<'_>, path: &str) -> Vec<Condition> {
    let before = reader.fault_count();
    let conditions = reader.tables(path, condition);
    if conditions.is_empty() && reader.is_set(path) && reader.fault_count() == before {
        reader.fault(path, "is empty", Some("leave the key out to ask for no claims"));
    }
    conditions
}

fn condition(reader: &mut Reader<'_>) -> Option<Condition> {
    let claim = reader.one_or_more("claim");
    if !reader.is_set("claim") {
        reader.fault("claim", "is missing", Some("name the claim, such as \"email\" or [\"realm_access\", \"roles\"]"));
    }
    let present = reader.flag("present");
    if present == Some(false) {
        reader.fault(
            "present",
            "can only be true",
            Some("a claim that must not be there is a matter for the provider"),
        );
    }
    let tests = [
        ("equals", reader.scalar("equals").map(Test::Equals)),
        ("contains", reader.scalar("contains").map(Test::Contains)),
        ("any_of", reader.scalars("any_of").map(Test::AnyOf)),
        ("all_of", reader.scalars("all_of").map(Test::AllOf)),
        ("present", present.map(|_| Test::Present)),
    ];
    if claim.as_ref().is_some_and(Vec::is_empty) {
        reader.fault("claim", "is empty", None);
    }
    for (key, test) in &tests {
        if matches!(test, Some(Test::AnyOf(values) | Test::AllOf(values)) if values.is_empty()) {
            reader.fault(key, "is empty", Some("such a condition would hold of nobody, or of everybody"));
        }
    }
    if tests.iter().filter(|(key, _)| reader.is_set(key)).count() != 1 {
        let help = "allowed: equals, contains, any_of, all_of, present";
        reader.fault("claim", "needs exactly one test beside it", Some(help));
    }
    let test = tests.into_iter().find_map(|(_, test)| test);
    Some(Condition { claim: claim?, test: test? })
}

fn method(text: &str) -> Result<String, String> {
    let method = text.to_ascii_uppercase();
    match METHODS.contains(&method.as_str()) {
        true => Ok(method),
        false => Err(format!("is not a method that is known; allowed: {}", METHODS.join(", "))),
    }
}

/// Reads an e-mail address, in lower case.
fn email(text: &str) -> Result<String, String> {
    let good = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !local.contains(|c: char| c.is_whitespace() || c.is_control())
            && values::host(domain).is_ok()
    });
    if good {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("is not an e-mail address such as \"ada@acme.example\"".into())
    }
}
