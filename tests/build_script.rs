//! A message that is missing is an error of the build: the build script's own check, on templates with mistakes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, clippy::print_stdout, reason = "cargo calls the rest, which speaks to cargo")]
#[path = "../build.rs"]
mod build;

use std::fs;
use std::path::Path;

/// The faults of our templates after `change` of the file `name`.
fn faults_after(name: &str, change: impl FnOnce(String) -> String) -> Vec<String> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("messages")).unwrap();
    for folder in ["", "messages"] {
        for entry in fs::read_dir(ours.join(folder)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), copy.path().join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    let path = copy.path().join(name);
    fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    let mut faults = Vec::new();
    build::check(copy.path(), &mut faults).unwrap();
    faults
}

fn without_line(text: &str, start: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with(start)).collect()
}

#[test]
fn the_templates_of_this_repository_have_all_their_messages() {
    assert_eq!(faults_after("index.hbs", |text| text), Vec::<String>::new());
}

#[test]
fn a_message_that_a_language_lacks_is_an_error() {
    for language in ["de", "fr", "es", "ja"] {
        let faults = faults_after(&format!("messages/{language}.toml"), |text| without_line(&text, "sign_up = "));
        assert_eq!(faults, [format!("messages/{language}.toml: `index.sign_up` is missing")]);
    }
}

#[test]
fn a_message_that_a_template_or_code_asks_for_in_vain_is_an_error() {
    let faults = faults_after("index.hbs", |text| format!("{text}{{{{t \"index.nonsense\"}}}}"));
    assert!(faults.len() == 1 && faults[0].contains("`index.nonsense` is missing"), "{faults:?}");
    let faults = faults_after("messages/en.toml", |text| without_line(&text, "other_account = "));
    assert!(faults.contains(&"messages/en.toml: `action.other_account` is missing, code asks for it".to_owned()));
}

#[test]
fn another_placeholder_or_an_unused_message_is_an_error() {
    let faults = faults_after("messages/de.toml", |text| text.replacen("{name}", "{nobody}", 1));
    assert!(faults.len() == 1 && faults[0].contains("has other placeholders than in English"), "{faults:?}");
    let faults = faults_after("messages/en.toml", |text| text.replacen("[index]\n", "[index]\nspare = \"x\"\n", 1));
    assert!(faults.contains(&"messages/en.toml: nothing asks for `index.spare`".to_owned()), "{faults:?}");
}
