//! How a message file is read: TOML tables become keys such as `error.not_found.title`. `build.rs` compiles this file
//! too. Which messages there must be is not decided here.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// One message as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The tables' names and its own, joined by dots.
    pub key: String,
    /// The words, with `{placeholders}`.
    pub text: String,
    /// The line of the words, from 1.
    pub line: usize,
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// The messages of a file, in order of their keys.
pub fn parse(source: &str) -> Result<Vec<Entry>, Malformed> {
    let table = DeTable::parse(source).map_err(|error| Malformed {
        line: line_of(source, &error.span().unwrap_or_default()),
        reason: error.message().to_owned(),
    })?;
    let mut entries = Vec::new();
    collect(source, "", table.get_ref(), &mut entries)?;
    Ok(entries)
}

/// The names within braces.
pub fn placeholders(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect()
}

fn collect(source: &str, prefix: &str, table: &DeTable<'_>, entries: &mut Vec<Entry>) -> Result<(), Malformed> {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let line = line_of(source, &value.span());
        match value.get_ref() {
            DeValue::String(text) => entries.push(Entry { key, text: text.to_string(), line }),
            DeValue::Table(inner) => collect(source, &format!("{key}."), inner, entries)?,
            _ => return Err(Malformed { line, reason: format!("`{key}` is not a text") }),
        }
    }
    Ok(())
}

fn line_of(source: &str, span: &Range<usize>) -> usize {
    1 + source.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
}
