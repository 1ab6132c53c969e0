//! Whose new form may be served where tenants want the same host, client or API: whoever has it already keeps it.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Claims, Fault, TenantSettings, clashes_between};
use crate::tenant_id::TenantId;

/// A tenant and its forms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contender<'a> {
    pub(super) id: &'a TenantId,
    /// Its file, as faults name it.
    pub(super) file: &'a str,
    /// What is served, if it is.
    pub(super) old: Option<&'a TenantSettings>,
    /// What would be served instead; none if that is no different, or no good.
    pub(super) new: Option<&'a TenantSettings>,
}

/// Whose new forms are refused, and why; their old ones go on.
pub(super) fn refused(contenders: &[Contender<'_>]) -> BTreeMap<TenantId, Vec<Fault>> {
    let mut refused: BTreeMap<TenantId, Vec<Fault>> = BTreeMap::new();
    // Who is refused falls back on what it had before, which another's new form may want: so until all is quiet.
    loop {
        let new = |at: usize| contenders[at].new.filter(|_| !refused.contains_key(contenders[at].id));
        let form = |at: usize| new(at).or(contenders[at].old);
        let clash = |one: Option<&TenantSettings>, at: usize, other: Option<&TenantSettings>, other_at: usize| {
            let (Some(one), Some(other)) = (one, other) else { return Vec::new() };
            clashes_between((contenders[at].file, one), (contenders[other_at].file, other))
        };
        let mut losers: BTreeMap<TenantId, Vec<Fault>> = BTreeMap::new();
        for (first, second) in rivals(contenders.len(), form) {
            let loser = match (new(first), new(second)) {
                (None, None) => continue,
                (Some(_), None) => first,
                (None, Some(_)) => second,
                // Both are new; who would have stood against the other's old form wants what the other has already.
                (one, _) if !clash(one, first, contenders[second].old, second).is_empty() => first,
                _ => second,
            };
            let winner = if loser == first { second } else { first };
            let faults = clash(form(loser), loser, form(winner), winner);
            if !faults.is_empty() {
                losers.entry(contenders[loser].id.clone()).or_default().extend(faults);
            }
        }
        if losers.is_empty() {
            return refused;
        }
        refused.extend(losers);
    }
}

/// Pairs that may clash, the earlier first.
fn rivals<'a>(count: usize, form: impl Fn(usize) -> Option<&'a TenantSettings>) -> BTreeSet<(usize, usize)> {
    let mut claims = Claims::default();
    let mut pairs = BTreeSet::new();
    for (at, tenant) in (0..count).filter_map(|at| Some((at, form(at)?))) {
        pairs.extend(claims.rivals(tenant).into_iter().map(|earlier| (earlier, at)));
        claims.add(at, tenant);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str, hosts: &[&str]) -> TenantSettings {
        let issuer = format!("https://{id}.example/");
        let mut settings = TenantSettings::least(id.parse().unwrap(), &issuer, "client", "hush".into());
        settings.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        settings
    }

    type Hosts<'a> = Option<&'a [&'a str]>;

    /// Old hosts and new hosts by tenant; who is refused.
    fn losers(contenders: &[(&str, Hosts, Hosts)]) -> Vec<String> {
        let made: Vec<_> = contenders
            .iter()
            .map(|(id, old, new)| {
                let make = |hosts: Hosts| hosts.map(|hosts| tenant(id, hosts));
                (id.parse::<TenantId>().unwrap(), make(*old), make(*new))
            })
            .collect();
        let contenders: Vec<_> = made
            .iter()
            .map(|(id, old, new)| Contender { id, file: id.as_str(), old: old.as_ref(), new: new.as_ref() })
            .collect();
        refused(&contenders).into_keys().map(|id| id.to_string()).collect()
    }

    #[test]
    fn a_host_stays_with_whoever_has_it() {
        assert_eq!(losers(&[("a", None, Some(&["x"])), ("b", Some(&["x"]), None)]), ["a"], "a newcomer");
        assert_eq!(losers(&[("a", Some(&["y"]), Some(&["x"])), ("b", Some(&["x"]), None)]), ["a"], "a change");
        let also_changed: &[&str] = &["x", "z"];
        assert_eq!(losers(&[("a", None, Some(&["x"])), ("b", Some(&["x"]), Some(also_changed))]), ["a"]);
        assert_eq!(losers(&[("a", Some(&["y"]), Some(&["x", "y"])), ("b", Some(&["x"]), Some(also_changed))]), ["a"]);
    }

    #[test]
    fn of_two_newcomers_the_first_by_name_has_it() {
        assert_eq!(losers(&[("a", None, Some(&["x"])), ("b", None, Some(&["x"]))]), ["b"]);
    }

    #[test]
    fn a_host_that_was_given_up_may_be_taken_and_two_may_be_exchanged() {
        assert_eq!(losers(&[("a", Some(&["x"]), Some(&[])), ("b", None, Some(&["x"]))]), [""; 0]);
        assert_eq!(losers(&[("a", Some(&["x"]), Some(&["y"])), ("b", Some(&["y"]), Some(&["x"]))]), [""; 0]);
    }

    #[test]
    fn who_falls_back_on_its_old_form_takes_its_host_along() {
        // `b` may not have z, so it keeps y, so `a` may not have y and keeps x, so `d` may not have x.
        let refused = losers(&[
            ("a", Some(&["x"]), Some(&["y"])),
            ("b", Some(&["y"]), Some(&["z"])),
            ("c", Some(&["z"]), None),
            ("d", None, Some(&["x"])),
        ]);
        assert_eq!(refused, ["a", "b", "d"]);
    }
}
