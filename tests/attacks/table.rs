//! `docs/security-tests.md` says which test shows that an attack fails: it names tests that exist, and every attack here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/security-tests.md";

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{PAGE} names {name}: {error}"))
}

/// The tests that a file of Rust has.
fn tests_of(text: &str) -> BTreeSet<String> {
    let mut marked = false;
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        let name = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('(')).map(|(name, _)| name);
        match (marked, name) {
            _ if line.starts_with("#[test]") || line.starts_with("#[tokio::test") => marked = true,
            (true, Some(name)) => {
                found.insert(name.to_owned());
                marked = false;
            }
            _ => {}
        }
    }
    found
}

/// The tests that rows of the page name, by their files: in the last cell a file in back quotes, and after it its tests.
fn named() -> BTreeMap<String, BTreeSet<String>> {
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in read(PAGE).lines().filter(|line| line.starts_with("| ") && line.contains("` `")) {
        let cell = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
        let mut file = None;
        for quoted in cell.split('`').skip(1).step_by(2) {
            if quoted.starts_with("tests/") || quoted.starts_with("src/") {
                file = Some(quoted);
            } else {
                let file = file.unwrap_or_else(|| panic!("{PAGE}: {quoted} stands after no file"));
                named.entry(file.to_owned()).or_default().insert(quoted.to_owned());
            }
        }
    }
    named
}

#[test]
fn the_page_names_tests_that_exist_and_every_attack() {
    let mut named = named();
    assert!(named.len() > 20, "{PAGE} has lost its rows");
    for (file, names) in &named {
        let text = read(file);
        let of_rust = file.strip_suffix(".rs").map(|_| tests_of(&text));
        for name in names {
            let exists = of_rust.as_ref().map_or_else(|| text.contains(name.as_str()), |tests| tests.contains(name));
            assert!(exists, "{PAGE} names {name}, which is no test of {file}");
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    for entry in fs::read_dir(folder).unwrap() {
        let file = format!("tests/attacks/{}", entry.unwrap().file_name().to_str().unwrap());
        let known = named.remove(&file).unwrap_or_default();
        let unknown: Vec<_> = tests_of(&read(&file)).into_iter().filter(|name| !known.contains(name)).collect();
        assert!(unknown.is_empty() || file.ends_with("table.rs"), "{PAGE} has no row for {unknown:?} of {file}");
    }
}
