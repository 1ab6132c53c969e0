//! What README and the book in `docs` say is what the program has: settings, commands, metrics, error codes; and every
//! link leads somewhere.
//!
//! What is generated stands between markers. After a change of settings, commands or metrics write it anew, and look
//! at the difference:
//!
//! ```sh
//! LYCHGATE_BLESS=1 cargo test --test documents
//! ```
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lychgate::{config, metrics};

mod alerts;
mod commands;
mod dependencies;
mod links;
mod samples;

const METRICS: &str = "docs/reference/metrics.md";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn file(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What stands in a file between two markers.
fn section(page: &str, name: &str) -> String {
    let text = file(page);
    let after = text.split_once(&format!("<!-- {name} -->")).unwrap_or_else(|| panic!("no {name} in {page}")).1;
    after.split_once(&format!("<!-- /{name} -->")).unwrap().0.trim().to_owned()
}

/// Compares what stands between two markers with what should; where that is asked for, writes it there.
fn generated(page: &str, name: &str, wanted: &str) {
    let found = section(page, name);
    let wanted = wanted.trim();
    if found != wanted && blessed() {
        let text = file(page).replacen(&found, wanted, 1);
        fs::write(path(page), text).unwrap();
    } else {
        assert!(found == wanted, "{page}: {name} is not what the program has. {BLESS}");
    }
}

const BLESS: &str = "To write it anew: LYCHGATE_BLESS=1 cargo test --test documents";

fn blessed() -> bool {
    std::env::var_os("LYCHGATE_BLESS").is_some_and(|asked| !asked.is_empty())
}

/// The first word in back quotes of each row.
fn names(table: &str) -> BTreeSet<String> {
    table.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

#[test]
fn the_book_shows_every_setting() {
    generated("docs/reference/settings.md", "settings", &config::settings_table());
    generated("docs/reference/tenant-settings.md", "tenant settings", &config::tenant_table());
}

#[test]
fn the_sample_of_a_tenant_shows_every_setting() {
    const SAMPLE: &str = "tenants/example.toml.sample";
    let wanted = config::tenant_sample();
    if file(SAMPLE) != wanted && blessed() {
        fs::write(path(SAMPLE), wanted).unwrap();
    } else {
        assert!(file(SAMPLE) == wanted, "{SAMPLE} is not what the program has. {BLESS}");
    }
}

#[test]
fn the_book_shows_every_metric() {
    generated(METRICS, "metrics", &metrics::table());
}

#[test]
fn a_label_with_declared_values_has_those_that_the_code_writes() {
    let declared = |metric: &str, label: &str| -> BTreeSet<String> {
        let series = metrics::SERIES.iter().find(|series| series.name == metric).unwrap();
        let label = series.labels.iter().find(|known| known.name == label).unwrap();
        let metrics::Values::Only(values) = label.values else { panic!("{metric}, {}: any", label.name) };
        values.iter().map(|value| (*value).to_owned()).collect()
    };
    let quoted_after = |source: &str, start: &str| -> BTreeSet<String> {
        let text = file(source);
        text.split(start).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
    };
    let mut refused = quoted_after("src/server/connection.rs", "rejected(\"");
    refused.extend(quoted_after("src/server/mod.rs", "rejected(\""));
    assert_eq!(declared("lychgate_http_connections_rejected_total", "reason"), refused);
    let reasons = quoted(&body_of(&file("src/server/request.rs"), "fn reason("));
    assert!(reasons.is_subset(&declared("lychgate_http_rejected_requests_total", "reason")), "{reasons:?}");
    let record = file("src/session/record.rs");
    let ends = quoted(&body_of(record.split_once("impl EndReason").unwrap().1, "fn as_str("));
    assert_eq!(declared("lychgate_sessions_ended_total", "reason"), ends);
    let endpoints = file("src/oidc/fetch.rs");
    let endpoints = quoted(&body_of(endpoints.split_once("impl Endpoint").unwrap().1, "fn as_str("));
    assert_eq!(declared("lychgate_provider_requests_total", "endpoint"), endpoints);
    let mut outcomes = quoted_after("src/web/forward_auth.rs", "Denial::new(\"");
    outcomes.extend(["allowed".to_owned(), "invalid_token".to_owned()]);
    assert_eq!(declared("lychgate_forward_auth_decisions_total", "outcome"), outcomes);
    let methods = quoted(&body_of(&file("src/web/request.rs"), "fn method_label("));
    assert_eq!(declared("lychgate_http_requests_total", "method"), methods);
}

#[test]
fn the_book_names_every_value_of_a_label() {
    let row = |start: &str| {
        let page = file(METRICS);
        let row = page.lines().find(|line| line.starts_with(&format!("| {start} |"))).map(str::to_owned);
        row.unwrap_or_else(|| panic!("no row of {start} in {METRICS}"))
    };
    let quoted_after = |source: &str, start: &str| -> BTreeSet<String> {
        let text = file(source);
        text.split(start).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    for (label, values) in [
        ("`operation`", {
            let mut operations = quoted_after("src/session/store/mod.rs", "timed(\"");
            operations.extend(quoted_after("src/session/store/mod.rs", "asked!(self, \""));
            operations
        }),
        (
            "`result` of `lychgate_session_operations_total`",
            quoted(&body_of(&file("src/session/error.rs"), "fn as_str(")),
        ),
    ] {
        assert!(values.len() > 2, "{label}: {values:?}");
        let row = row(label);
        for value in values {
            assert!(row.contains(&format!("`{value}`")), "{value}: {row}");
        }
    }
}

#[test]
fn an_alert_asks_for_metrics_that_exist() {
    let told = names(&section(METRICS, "metrics"));
    let rules = file("deploy/prometheus/rules.yaml");
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let asked: BTreeSet<&str> = rules
        .lines()
        .flat_map(|line| line.split(|c| !word(c)))
        .filter(|name| name.starts_with("lychgate_") || name.starts_with("process_"))
        .collect();
    assert!(asked.len() > 8, "{asked:?}");
    for name in asked {
        let name = name.strip_suffix("_bucket").unwrap_or(name); // of a histogram
        assert!(told.contains(name), "{name} is no metric");
    }
}

#[test]
fn the_book_explains_every_error_code() {
    let shown = quoted(&body_of(&file("src/web/problem.rs"), "fn presentation(code"));
    assert!(shown.len() > 35, "{shown:?}");
    let mut made = BTreeSet::new();
    for source in [
        "src/flow/callback.rs",
        "src/flow/local_sign_in.rs",
        "src/flow/revocation.rs",
        "src/flow/sign_in.rs",
        "src/gateway/renewals.rs",
        "src/oidc/access_token.rs",
        "src/oidc/error.rs",
        "src/oidc/id_token.rs",
        "src/oidc/logout_token.rs",
        "src/oidc/response.rs",
    ] {
        let text = file(source);
        assert!(text.contains("fn code("), "{source}");
        for (at, _) in text.match_indices("fn code(") {
            made.extend(quoted(&body_of(&text[at..], "fn code(")));
        }
    }
    assert!(made.contains("id_token_nonce") && made.contains("code_refused"), "{made:?}");
    for code in &made {
        // A logout request is no page's: it is answered with 400 and the code.
        let of_a_family = ["id_token_", "bearer_", "logout_token_"].iter().any(|family| code.starts_with(family));
        assert!(of_a_family || shown.contains(code), "{code} has no status and no text of its own");
    }
    let told = names(&section("docs/reference/error-codes.md", "codes"));
    for code in made.iter().chain(&shown).filter(|code| !["id_token_", "bearer_"].contains(&code.as_str())) {
        assert!(told.contains(code), "{code} is not in the book's table of codes");
    }
}

/// From `start` to the end of that function.
fn body_of(text: &str, start: &str) -> String {
    let (_, after) = text.split_once(start).unwrap();
    let indent = if after.contains("\n    }\n") { after.find("\n    }\n") } else { None };
    let end = [indent, after.find("\n}\n")].into_iter().flatten().min().unwrap();
    after[..end].to_owned()
}

/// The texts in quotation marks.
fn quoted(code: &str) -> BTreeSet<String> {
    code.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_audit_log_s_events_are_explained_and_in_its_schema() {
    let rows: Vec<String> = lychgate::audit::Kind::ALL
        .iter()
        .map(|kind| format!("| `{}` | {} | {} |", kind.name(), kind.severity().as_str(), kind.help().trim()))
        .collect();
    let table = format!("| event | severity | what it tells |\n| --- | --- | --- |\n{}", rows.join("\n"));
    generated("docs/audit.md", "audit events", &table);
    let schema: serde_json::Value = serde_json::from_str(&file("docs/audit.schema.json")).unwrap();
    let names: Vec<&str> = lychgate::audit::Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(schema["properties"]["event"]["enum"], serde_json::json!(names));
}
