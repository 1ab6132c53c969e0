//! The page of dependencies has a row for each direct one, and for no other.

use std::collections::{BTreeMap, BTreeSet};

use super::{file, names};

const PAGE: &str = "docs/dependencies.md";

/// The tables of `Cargo.toml`, and the headings of the page that they belong under.
const TABLES: [(&str, &str); 3] =
    [("dependencies", "In the program"), ("build-dependencies", "When it is built"), ("dev-dependencies", "In tests")];

/// What stands under a heading, up to the next one.
fn under<'a>(page: &'a str, heading: &str) -> &'a str {
    let after = page.split_once(&format!("## {heading}\n")).unwrap_or_else(|| panic!("{PAGE}: no {heading}")).1;
    after.split_once("\n## ").unwrap().0
}

#[test]
fn every_direct_dependency_is_explained_and_no_other() {
    let manifest: BTreeMap<String, toml::Value> = toml::from_str(&file("Cargo.toml")).unwrap();
    let page = file(PAGE);
    for (table, heading) in TABLES {
        let wanted: BTreeSet<String> = manifest[table].as_table().unwrap().keys().cloned().collect();
        let rows = under(&page, heading);
        assert_eq!(names(rows), wanted, "{PAGE}, {heading}: left is the page, right is Cargo.toml");
        let cells =
            rows.lines().filter(|line| line.starts_with("| `")).flat_map(|row| row.trim_matches('|').split('|'));
        assert!(cells.into_iter().all(|cell| !cell.trim().is_empty()), "{PAGE}: a row says nothing somewhere");
    }
}
