//! The words of one theme in all languages: the shipped message files, and over them what an operator changed.

use std::borrow::Cow;
use std::collections::HashMap;

use super::locale::Locale;
use super::message_file::{self, Malformed, placeholders};

/// Messages of each language by key. English has every key (`build.rs` sees to it).
#[derive(Clone, Debug, Default)]
pub struct Messages {
    texts: [HashMap<String, String>; Locale::ALL.len()],
}

impl Messages {
    /// Takes in a shipped file.
    pub fn insert(&mut self, locale: Locale, source: &str) -> Result<(), Malformed> {
        let entries = message_file::parse(source)?;
        self.texts[locale as usize].extend(entries.into_iter().map(|entry| (entry.key, entry.text)));
        Ok(())
    }

    /// Replaces what a file of an operator names; a message that does not exist, or has other placeholders, is a fault.
    pub fn replace(&mut self, locale: Locale, source: &str) -> Result<(), Vec<Malformed>> {
        let entries = message_file::parse(source).map_err(|fault| vec![fault])?;
        let texts = &mut self.texts[locale as usize];
        let mut faults = Vec::new();
        for entry in entries {
            let reason = match texts.get_mut(&entry.key) {
                None => format!("there is no message `{}`", entry.key),
                Some(shipped) if placeholders(shipped) != placeholders(&entry.text) => {
                    format!("`{}` has other placeholders than the shipped text: \"{shipped}\"", entry.key)
                }
                Some(text) => {
                    *text = entry.text;
                    continue;
                }
            };
            faults.push(Malformed { line: entry.line, reason });
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// The words, placeholders and all.
    pub fn get(&self, locale: Locale, key: &str) -> Option<&str> {
        self.texts[locale as usize].get(key).map(String::as_str)
    }

    /// The words, with each `{name}` replaced by what `value` says; a name it does not know is the error.
    pub fn fill<'v>(text: &str, value: impl Fn(&str) -> Option<Cow<'v, str>>) -> Result<String, &str> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, name, after)) = next_placeholder(rest) {
            filled.push_str(before);
            filled.push_str(&value(name).ok_or(name)?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// The words before the first placeholder, its name, and what follows.
pub fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_looks_like_a_placeholder_is_left_alone() {
        let value = |name: &str| (name == "name").then_some("{name}".into());
        assert_eq!(Messages::fill("Hello, {name}! {", value), Ok("Hello, {name}! {".to_owned()));
        assert_eq!(Messages::fill("{who}", value), Err("who"));
    }

    #[test]
    fn only_messages_that_exist_can_be_replaced() {
        let mut messages = Messages::default();
        messages.insert(Locale::En, "[a]\nx = \"X {name}\"\ny = \"Y\"").unwrap();
        assert_eq!(messages.replace(Locale::En, "[a]\ny = \"Why\""), Ok(()));
        assert_eq!(messages.get(Locale::En, "a.y"), Some("Why"));
        let faults = messages.replace(Locale::En, "[a]\nx = \"X\"\nz = \"Z\"").unwrap_err();
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(messages.replace(Locale::En, "[a]\nx = 1").unwrap_err()[0].line, 2);
        assert_eq!(messages.replace(Locale::En, "\n[a\n").unwrap_err()[0].line, 2);
    }
}
