//! Every alert has a runbook, says where it is, and is shown firing and silent.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{file, links};

const RULES: &str = "deploy/prometheus/rules.yaml";
const SECTIONS: [&str; 4] = ["## What it means", "## Is anyone affected", "## What to look at", "## What to do"];

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: Option<String>,
    labels: Option<Labels>,
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
struct Labels {
    severity: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations {
    summary: String,
    description: String,
    runbook_url: String,
}

#[derive(Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    alert_rule_test: Vec<Expectation>,
}

#[derive(Deserialize)]
struct Expectation {
    alertname: String,
    exp_alerts: Vec<serde_norway::Value>,
}

fn alerts() -> Vec<(String, Labels, Annotations)> {
    let rules: Rules = serde_norway::from_str(&file(RULES)).unwrap();
    let rules = rules.groups.into_iter().flat_map(|group| group.rules);
    rules.filter_map(|rule| Some((rule.alert?, rule.labels?, rule.annotations?))).collect()
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let runbooks: BTreeSet<String> = links::pages("docs/runbooks").into_iter().collect();
    let mut wanted = BTreeSet::new();
    for (name, labels, annotations) in alerts() {
        let page = format!("docs/runbooks/{name}.md");
        assert!(["critical", "warning", "info"].contains(&&*labels.severity), "{name}: {}", labels.severity);
        assert!(!annotations.summary.is_empty() && !annotations.description.is_empty(), "{name}");
        assert!(annotations.runbook_url.ends_with(&format!("/runbooks/{name}.html")), "{}", annotations.runbook_url);
        assert!(runbooks.contains(&page), "{page} is missing");
        let text = file(&page);
        assert!(text.starts_with(&format!("# {name}\n")), "{page}: another heading");
        assert!(text.contains(&format!("Severity {}", labels.severity)), "{page}: another severity");
        let at: Vec<usize> = SECTIONS
            .iter()
            .map(|section| text.find(section).unwrap_or_else(|| panic!("{page}: no {section}")))
            .collect();
        assert!(at.is_sorted(), "{page}: sections in another order");
        let row = format!("| [{name}](runbooks/{name}.md) | {}", labels.severity);
        assert!(file("docs/alerts.md").contains(&row), "docs/alerts.md: no row {row}");
        wanted.insert(page);
    }
    assert!(wanted.len() >= 15, "{wanted:?}");
    assert_eq!(runbooks, wanted, "a runbook without an alert");
}

#[test]
fn every_alert_is_shown_firing_and_silent() {
    let tests: Tests = serde_norway::from_str(&file("deploy/prometheus/rules_test.yaml")).unwrap();
    let expectations: Vec<Expectation> = tests.tests.into_iter().flat_map(|test| test.alert_rule_test).collect();
    for (name, ..) in alerts() {
        let (firing, silent): (Vec<_>, Vec<_>) =
            expectations.iter().filter(|one| one.alertname == name).partition(|one| !one.exp_alerts.is_empty());
        assert!(!firing.is_empty(), "no test shows {name} firing");
        assert!(!silent.is_empty(), "no test shows {name} silent");
    }
}
