//! What a scrape of a gateway at work holds: the declared series and label values, and no others.

use std::collections::{BTreeMap, BTreeSet};

use lychgate::metrics::{SERIES, Series, Values};

use crate::support::{self, Tenant, World};

/// Labels and their values of a line such as `name{a="b",c="d"} 1`.
fn labels(line: &str) -> BTreeMap<&str, &str> {
    let Some((_, rest)) = line.split_once('{') else { return BTreeMap::new() };
    let (inside, _) = rest.rsplit_once('}').unwrap();
    inside
        .split("\",")
        .map(|pair| pair.split_once("=\"").unwrap())
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect()
}

/// The series that a line belongs to, and how it differs from what is declared.
fn fault(line: &str) -> Result<&'static Series, String> {
    let name = line.split(['{', ' ']).next().unwrap();
    let of = |series: &&Series| {
        name.strip_prefix(series.name).is_some_and(|rest| match series.kind {
            "histogram" => ["_bucket", "_sum", "_count"].contains(&rest),
            _ => rest.is_empty(),
        })
    };
    let series = SERIES.iter().find(of).ok_or(format!("undeclared: {line}"))?;
    let mut labels = labels(line);
    labels.remove("le");
    let declared: BTreeSet<&str> = series.labels.iter().map(|label| label.name).collect();
    if labels.keys().copied().collect::<BTreeSet<_>>() != declared {
        return Err(format!("other labels than {declared:?}: {line}"));
    }
    for label in series.labels {
        if let Values::Only(values) = label.values
            && !values.contains(&labels[label.name])
        {
            return Err(format!("`{}` has another value than {values:?}: {line}", label.name));
        }
    }
    Ok(series)
}

#[tokio::test]
async fn a_scrape_holds_what_is_declared_and_nothing_else() {
    let world = World::start(vec![Tenant::start("acme").await, Tenant::start("globex").await]).await;
    let mut ada = world.signed_in("acme").await;
    assert_eq!(ada.get("/acme/auth").await.status, 403, "asked without the headers of a proxy");
    ada.get("/acme/callback?state=foreign").await;
    ada.get("/nobody").await;
    ada.visit("/acme/logout").await;
    let scrape = ada.get("/metrics").await.body;
    let mut shown = BTreeSet::new();
    for line in scrape.lines().filter(|line| line.starts_with("lychgate_")) {
        shown.insert(fault(line).unwrap_or_else(|fault| panic!("{fault}")).name);
    }
    // Of what nobody did and nothing is there.
    let absent = [
        "upstream_",
        "build_info",
        "tls_",
        "http_connections",
        "log_messages_total",
        "config_",
        "audit_",
        "tenant_config_",
    ];
    for series in SERIES.iter().filter(|series| !shown.contains(series.name)) {
        let name = &series.name["lychgate_".len()..];
        assert!(absent.iter().any(|start| name.starts_with(start)), "{name} is not in the scrape");
    }
    assert!(SERIES.len() >= 45 && shown.len() >= 40, "{} declared, {} shown", SERIES.len(), shown.len());
}

#[tokio::test]
async fn a_provider_that_failed_is_left_alone_and_the_metrics_say_how_long() {
    let mut acme = Tenant::start("acme").await;
    acme.provider.stop().await;
    let mut world = World::start(vec![acme, Tenant::start("globex").await]).await;
    let mut browser = world.browser();
    // Each failure in a row is remembered for longer.
    for _ in 0..5 {
        world.pass(60);
        browser.get("/acme/login").await;
    }
    browser.get("/globex/login").await;
    let open = |scrape: &str, tenant: &str| {
        scrape.contains(&format!("lychgate_provider_circuit_open{{provider=\"auth0\",tenant=\"{tenant}\"}} 1"))
    };
    let circuits = |scrape: &str| -> String {
        scrape
            .lines()
            .filter(|line| line.contains("circuit") || line.contains("provider_up"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let scrape = browser.get("/metrics").await.body;
    assert_eq!([open(&scrape, "acme"), open(&scrape, "globex")], [true, false], "{}", circuits(&scrape));
    world.providers.get_mut("acme").unwrap().restart().await.unwrap();
    world.pass(60);
    browser.get("/acme/login").await;
    let scrape = browser.get("/metrics").await.body;
    assert!(!open(&scrape, "acme"), "{}", circuits(&scrape));
    assert_eq!(world.metric("lychgate_provider_up{provider=\"auth0\",tenant=\"acme\"}"), 1);
}

#[tokio::test]
async fn a_key_that_nobody_had_before_is_said_until_the_next_start() {
    let mut world = support::acme().await;
    assert_eq!(world.metric("lychgate_session_key_ephemeral"), 1);
    world.restart_with(|_| {}).await;
    assert_eq!(world.metric("lychgate_session_key_ephemeral"), 0);
}
