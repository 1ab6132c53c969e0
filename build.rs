//! Holds the build until every page has all its words: each language has exactly the messages of English with the same
//! placeholders, and every message that a template or code asks for exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

#[allow(dead_code, reason = "the library uses the rest")]
#[path = "src/pages/code_messages.rs"]
mod code_messages;
#[allow(dead_code, reason = "the library uses the rest")]
#[path = "src/pages/error_text.rs"]
mod error_text;
#[allow(dead_code, reason = "the library uses the rest")]
#[path = "src/pages/message_file.rs"]
mod message_file;
#[allow(dead_code, reason = "the library uses the rest")]
#[path = "src/pages/template_source.rs"]
mod template_source;

use error_text::{Action, ErrorText};
use template_source::Kind;

const TRANSLATIONS: [&str; 4] = ["de", "fr", "es", "ja"];

type Messages = BTreeMap<String, String>;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=templates");
    println!("cargo::rerun-if-changed=src/pages");
    let mut faults = Vec::new();
    match check(Path::new("templates"), &mut faults) {
        Err(error) => faults.push(format!("templates cannot be read: {error}")),
        Ok(()) if faults.is_empty() => return ExitCode::SUCCESS,
        Ok(()) => {}
    }
    for fault in faults {
        println!("cargo::error={fault}");
    }
    ExitCode::FAILURE
}

/// Adds what is missing or too much in `templates` to `faults`.
pub fn check(templates: &Path, faults: &mut Vec<String>) -> io::Result<()> {
    let english = messages(templates, "en", faults)?;
    for language in TRANSLATIONS {
        let translated = messages(templates, language, faults)?;
        compare(&english, &translated, language, faults);
    }
    let wanted = wanted(templates)?;
    for (key, by) in &wanted {
        if !english.contains_key(key) {
            faults.push(format!("messages/en.toml: `{key}` is missing, {by} asks for it"));
        }
    }
    for key in english.keys().filter(|key| !wanted.contains_key(*key)) {
        faults.push(format!("messages/en.toml: nothing asks for `{key}`"));
    }
    Ok(())
}

fn messages(templates: &Path, language: &str, faults: &mut Vec<String>) -> io::Result<Messages> {
    let source = fs::read_to_string(templates.join("messages").join(format!("{language}.toml")))?;
    match message_file::parse(&source) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| (entry.key, entry.text)).collect()),
        Err(fault) => {
            faults.push(format!("messages/{language}.toml:{}: {}", fault.line, fault.reason));
            Ok(Messages::new())
        }
    }
}

fn compare(english: &Messages, translated: &Messages, language: &str, faults: &mut Vec<String>) {
    let keys: BTreeSet<&String> = english.keys().chain(translated.keys()).collect();
    for key in keys {
        let fault = match (english.get(key), translated.get(key)) {
            (Some(_), None) => "is missing",
            (None, Some(_)) => "is not in English",
            (Some(ours), Some(theirs)) if message_file::placeholders(ours) != message_file::placeholders(theirs) => {
                "has other placeholders than in English"
            }
            _ => continue,
        };
        faults.push(format!("messages/{language}.toml: `{key}` {fault}"));
    }
}

/// The keys asked for, and by whom.
fn wanted(templates: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut wanted: BTreeMap<_, _> = keys_of_code().into_iter().map(|key| (key, "code".to_owned())).collect();
    for entry in fs::read_dir(templates)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "hbs") {
            let source = fs::read_to_string(&path)?;
            for name in template_source::names(&source).iter().filter(|name| name.kind == Kind::Message) {
                wanted.insert(name.name.to_owned(), format!("{}:{}", path.display(), name.line));
            }
        }
    }
    Ok(wanted)
}

/// Every key that code asks for.
fn keys_of_code() -> Vec<String> {
    let errors = ErrorText::ALL.iter().flat_map(|text| {
        let parts: &[&str] =
            if text.has_causes() { &["title", "text", "next", "causes"] } else { &["title", "text", "next"] };
        parts.iter().map(|part| format!("error.{}.{part}", text.id()))
    });
    let actions = Action::ALL.iter().map(|action| format!("action.{}", action.id()));
    let claims = code_messages::CLAIMS.iter().map(|claim| format!("claim.{claim}"));
    let times = [code_messages::TIME_FORMAT, code_messages::TIME_MONTHS].into_iter().map(str::to_owned);
    errors.chain(actions).chain(claims).chain(times).collect()
}
