//! What README says of settings, metrics and error codes is what the program has.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lychgate::config;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// What stands in README between two markers.
fn section(name: &str) -> String {
    let readme = file("README.md");
    let after = readme.split_once(&format!("<!-- {name} -->")).unwrap_or_else(|| panic!("no {name} in README.md")).1;
    after.split_once(&format!("<!-- /{name} -->")).unwrap().0.trim().to_owned()
}

/// The first word in back quotes of each row.
fn names(table: &str) -> BTreeSet<String> {
    table.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

#[test]
fn readme_shows_every_setting() {
    for (name, table) in [("settings", config::settings_table()), ("tenant settings", config::tenant_table())] {
        assert_eq!(section(name), table.trim(), "README.md, {name}: should be\n{table}");
    }
}

#[test]
fn readme_explains_every_metric() {
    let declared = file("src/metrics.rs");
    let (_, declared) = declared.split_once("series! {\n    ///").unwrap();
    let (declared, _) = declared.split_once("\n}").unwrap();
    let mut help = declared.split_once('\n').unwrap().0;
    let mut rows = Vec::new();
    for line in declared.lines().skip(1).map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            help = text;
        } else if let Some((name, rest)) = line.split_once(": ") {
            let (kind, labels) = rest.split_once(" {").unwrap();
            let kind = ["Counter", "Gauge", "Histogram"].into_iter().find(|known| kind.contains(known)).unwrap();
            let labels: Vec<String> = labels
                .split('}')
                .next()
                .unwrap()
                .split(',')
                .map(str::trim)
                .filter(|label| !label.is_empty())
                .map(|label| format!("`{label}`"))
                .collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            rows.push(format!("| `lychgate_{name}` | {} | {labels} | {} |", kind.to_lowercase(), help.trim()));
        }
    }
    assert!(rows.len() > 20, "{rows:?}");
    let told = section("metrics");
    let told: Vec<&str> = told.lines().filter(|line| line.starts_with("| `lychgate_")).collect();
    assert_eq!(told, rows);
}

#[test]
fn readme_names_every_value_of_a_label() {
    let row = |start: &str| {
        let readme = file("README.md");
        let row = readme.lines().find(|line| line.starts_with(&format!("| {start} |"))).map(str::to_owned);
        row.unwrap_or_else(|| panic!("no row of {start} in README.md"))
    };
    let quoted_after = |source: &str, start: &str| -> BTreeSet<String> {
        let text = file(source);
        text.split(start).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    for (label, values) in [
        ("`reason` of `lychgate_http_connections_rejected_total`", {
            let mut reasons = quoted_after("src/server/connection.rs", "rejected(\"");
            reasons.extend(quoted_after("src/server/mod.rs", "rejected(\""));
            reasons
        }),
        (
            "`reason` of `lychgate_http_rejected_requests_total`",
            quoted(&body_of(&file("src/server/request.rs"), "fn reason(")),
        ),
        ("`reason` of `lychgate_sessions_ended_total`", {
            let text = file("src/session/record.rs");
            quoted(&body_of(text.split_once("impl EndReason").unwrap().1, "fn as_str("))
        }),
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
    let told = names(&section("metrics"));
    let rules = file("deploy/prometheus/rules.yaml");
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let asked: BTreeSet<&str> = rules
        .lines()
        .flat_map(|line| line.split(|c| !word(c)))
        .filter(|name| name.starts_with("lychgate_") || name.starts_with("process_"))
        .collect();
    assert!(asked.len() > 8, "{asked:?}");
    for name in asked {
        assert!(told.contains(name), "{name} is no metric");
    }
}

#[test]
fn readme_explains_every_error_code() {
    let shown = quoted(&body_of(&file("src/web/problem.rs"), "fn presentation(code"));
    assert!(shown.len() > 35, "{shown:?}");
    let mut made = BTreeSet::new();
    for source in [
        "src/flow/callback.rs",
        "src/flow/local_sign_in.rs",
        "src/flow/sign_in.rs",
        "src/gateway/renewals.rs",
        "src/oidc/access_token.rs",
        "src/oidc/error.rs",
        "src/oidc/id_token.rs",
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
        let of_a_family = ["id_token_", "bearer_"].iter().any(|family| code.starts_with(family));
        assert!(of_a_family || shown.contains(code), "{code} has no status and no text of its own");
    }
    let told = names(&section("codes"));
    for code in made.iter().chain(&shown).filter(|code| !["id_token_", "bearer_"].contains(&code.as_str())) {
        assert!(told.contains(code), "{code} is not in README's table of codes");
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
