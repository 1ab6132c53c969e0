//! The rules of one tenant, and which of them may match a path at all.

use std::ops::Deref;

use super::Rule;
use crate::request_path::RequestPath;

/// Bytes of a path's beginning that are looked at before a rule is.
const SEEN: usize = 11;

/// Rules in their order; the first that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    list: Box<[Rule]>,
    /// Of each rule the beginnings of its paths. They lie together, where the rules and their texts lie scattered: most
    /// rules are passed over unread, which counts among thousands of tenants.
    beginnings: Box<[Beginning]>,
}

/// What the paths of a rule begin with, as far as it fits here.
#[derive(Clone, Copy, Debug)]
struct Beginning {
    rule: u32,
    len: u8,
    bytes: [u8; SEEN],
}

impl Beginning {
    fn new(rule: usize, text: &str) -> Self {
        let len = text.len().min(SEEN);
        let mut bytes = [0; SEEN];
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Self { rule: rule as u32, len: len as u8, bytes }
    }

    fn begins(&self, path: &str) -> bool {
        path.as_bytes().starts_with(&self.bytes[..usize::from(self.len)])
    }
}

impl From<Vec<Rule>> for Rules {
    fn from(rules: Vec<Rule>) -> Self {
        let of_rule = |(place, rule): (usize, &Rule)| -> Vec<Beginning> {
            match rule.paths.is_empty() {
                true => vec![Beginning::new(place, "")],
                false => rule.paths.iter().map(|path| Beginning::new(place, path.beginning())).collect(),
            }
        };
        let beginnings = rules.iter().enumerate().flat_map(of_rule).collect();
        Self { list: rules.into(), beginnings }
    }
}

impl Deref for Rules {
    type Target = [Rule];

    fn deref(&self) -> &[Rule] {
        &self.list
    }
}

impl Rules {
    /// The places of the rules that may match a path, in their order, some of them more than once. The others do not.
    pub fn that_may_match(&self, path: &RequestPath<'_>) -> impl Iterator<Item = usize> {
        let path = path.as_str();
        self.beginnings.iter().filter(move |beginning| beginning.begins(path)).map(|beginning| beginning.rule as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Effect, PathPattern};
    use crate::net::Networks;

    proptest! {
        #[test]
        fn no_rule_that_matches_is_passed_over(
            patterns in prop::collection::vec(prop::collection::vec("(/[ab*]{1,14}){1,3}(/[*]{2})?|/", 0..3), 0..6),
            path in "(/[ab]{1,14}){1,4}/?|/",
        ) {
            let parsed = |texts: &Vec<String>| texts.iter().filter_map(|text| PathPattern::parse(text).ok()).collect();
            let rule = |paths: Vec<_>| Rule {
                name: None,
                paths,
                methods: Vec::new(),
                hosts: Vec::new(),
                networks: Networks::default(),
                effect: Effect::Deny,
            };
            let rules = Rules::from(patterns.iter().map(parsed).map(rule).collect::<Vec<_>>());
            let path = RequestPath::parse(&path).unwrap();
            let matches = |rule: &Rule| rule.paths.is_empty() || rule.paths.iter().any(|pattern| pattern.matches(&path));
            let wanted: Vec<_> = (0..rules.len()).filter(|place| matches(&rules[*place])).collect();
            let found: Vec<_> = rules.that_may_match(&path).collect();
            prop_assert!(found.is_sorted());
            prop_assert!(wanted.iter().all(|place| found.contains(place)), "{wanted:?} {found:?}");
        }
    }
}
