//! Names, labels, and what becomes of a tenant's series.

use std::collections::BTreeSet;

use super::*;

fn id(number: usize) -> TenantId {
    format!("tenant-{number}").parse().unwrap()
}

fn scrape(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render()).unwrap()
}

/// The values of the label `tenant` in a scrape.
fn tenants(scrape: &str) -> BTreeSet<&str> {
    scrape.lines().filter_map(|line| Some(line.split_once("tenant=\"")?.1.split_once('"')?.0)).collect()
}

#[test]
fn tenants_beyond_the_limit_share_a_label() {
    let metrics = Metrics::new(200);
    for number in 0..300 {
        metrics.introduce(&id(number), "oidc", false);
        metrics.sessions_created_total.with_label_values(&[metrics.tenant(&id(number))]).inc();
    }
    let text = scrape(&metrics);
    let labels = tenants(&text);
    assert_eq!(labels.len(), 201);
    assert!(labels.contains("tenant-199") && labels.contains(OTHER_TENANT) && !labels.contains("tenant-200"));
    assert!(text.contains("lychgate_sessions_created_total{tenant=\"_other\"} 100"), "the others' events count");
    assert_eq!(metrics.tenant(&id(0)), "tenant-0", "who came first keeps its own");
}

#[test]
fn the_first_event_of_a_tenant_is_an_increase() {
    let metrics = Metrics::new(200);
    metrics.introduce(&id(1), "auth0", true);
    let text = scrape(&metrics);
    for series in [
        r#"sign_ins_started_total{provider="auth0",tenant="tenant-1"} 0"#,
        r#"sign_ins_total{provider="auth0",result="provider_unreachable",tenant="tenant-1"} 0"#,
        r#"sign_ins_total{provider="local",result="local_refused",tenant="tenant-1"} 0"#,
        r#"forward_auth_decisions_total{outcome="denied",tenant="tenant-1"} 0"#,
        r#"token_refreshes_total{result="refresh_refused",tenant="tenant-1"} 0"#,
        r#"token_validations_total{kind="id_token",result="id_token_signature",tenant="tenant-1"} 0"#,
        r#"backchannel_logout_requests_total{result="ok",tenant="tenant-1"} 0"#,
        r#"rate_limited_requests_total{limit="renewals",tenant="tenant-1"} 0"#,
        r#"sessions_ended_total{reason="idle",tenant="tenant-1"} 0"#,
        r#"http_rejected_requests_total{reason="misdirected"} 0"#,
    ] {
        assert!(text.contains(&format!("\nlychgate_{series}\n")), "{series}: {text}");
    }
    assert!(!text.contains(r#"tenant="""#) && !text.contains(r#"provider="oidc""#), "{text}");
}

#[test]
fn the_series_of_a_tenant_go_with_it_and_stay_away() {
    let metrics = Metrics::new(1);
    metrics.introduce(&id(1), "oidc", false);
    metrics.provider_up.with_label_values(&[metrics.tenant(&id(1)), "oidc"]).set(1);
    metrics.http_requests_total.with_label_values(&[metrics.tenant(&id(1)), "auth", "GET", "200"]).inc();
    metrics.introduce(&id(2), "oidc", false);
    metrics.forget(&id(1));
    metrics.sessions_created_total.with_label_values(&[metrics.tenant(&id(1))]).inc();
    assert_eq!(tenants(&scrape(&metrics)), [OTHER_TENANT].into(), "a request that was under way is nobody's");
    metrics.introduce(&id(3), "oidc", false);
    assert!(tenants(&scrape(&metrics)).contains("tenant-3"), "the label is free");
    metrics.forget(&id(3));
    metrics.introduce(&id(1), "oidc", false);
    let text = scrape(&metrics);
    assert!(text.contains("lychgate_sessions_created_total{tenant=\"tenant-1\"} 0"), "it begins anew: {text}");
}

#[test]
fn a_hundred_tenants_cost_few_series() {
    let metrics = Metrics::new(200);
    let before = scrape(&metrics).lines().count();
    (0..100).for_each(|number| metrics.introduce(&id(number), "oidc", false));
    let each = (scrape(&metrics).lines().count() - before) / 100;
    assert!((50..=70).contains(&each), "{each} series for each tenant before its first request");
}

#[test]
fn a_scrape_carries_help_and_prefix() {
    let metrics = Metrics::new(200);
    metrics.ready.set(1);
    let text = scrape(&metrics);
    assert!(text.contains("# HELP lychgate_ready 1 while /readyz answers 200."), "{text}");
    assert!(text.contains("lychgate_ready 1"), "{text}");
}
