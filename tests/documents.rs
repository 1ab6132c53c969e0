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
    let declared: BTreeSet<String> = declared
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("///"))
        .filter_map(|line| Some(format!("lychgate_{}", line.split_once(": ")?.0)))
        .collect();
    assert!(declared.len() > 20, "{declared:?}");
    let told: BTreeSet<String> =
        names(&section("metrics")).into_iter().filter(|name| name.starts_with("lychgate_")).collect();
    assert_eq!(told, declared);
}

#[test]
fn readme_explains_every_error_code() {
    let shown = quoted(&body_of(&file("src/web/problem.rs"), "fn presentation(code"));
    assert!(shown.len() > 35, "{shown:?}");
    let mut made = BTreeSet::new();
    for source in [
        "src/flow/callback.rs",
        "src/flow/revocation.rs",
        "src/flow/sign_in.rs",
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
        let shared = code.starts_with("id_token_") || code.starts_with("logout_token_");
        assert!(shared || shown.contains(code), "{code} has no status and no text of its own");
    }
    let told = names(&section("codes"));
    for code in made.iter().chain(&shown).filter(|code| *code != "id_token_") {
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
