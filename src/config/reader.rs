//! Takes typed values out of merged layers and notes every fault on the way, where serde would stop at the first.
//!
//! A getter answers `None` both for a key that is not set and for one that is faulty; the fault is noted then, and
//! whoever reads goes on with anything harmless: what was read under a fault is thrown away in the end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::value::{Dict, Num, Value};
use figment::{Figment, Profile, Provider as _};

use super::inputs::Inputs;
use super::keys::Key;
use super::layers::{self, Layer, Origin};
use super::{Fault, Sources, values};
use crate::secret::{SecretString, sha256};

/// The largest file that a key may name, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// One set of keys, read once.
pub(super) struct Reader<'a> {
    sources: &'a Sources,
    keys: &'static [Key],
    /// What stands before a key in faults: empty, or which table of a list this is, such as `rules[0].`.
    prefix: String,
    /// Where a fault of a key that nobody wrote is reported.
    home: Origin,
    figment: Figment,
    values: Dict,
    faults: Vec<Fault>,
    /// The files and variables that values came from.
    inputs: RefCell<Inputs>,
    /// The keys that were asked for; a test compares them with the table.
    asked: BTreeSet<&'static str>,
    /// The same for the tables of lists that were read.
    #[cfg(test)]
    pub(super) never_asked_in_lists: BTreeSet<&'static str>,
}

impl<'a> Reader<'a> {
    /// Reads the defaults of `keys` and `layers` over them, the last one first in rank.
    pub(super) fn new(sources: &'a Sources, keys: &'static [Key], home: Origin, layers: &[Layer]) -> Self {
        Self::below(sources, keys, String::new(), home, layers)
    }

    fn below(sources: &'a Sources, keys: &'static [Key], prefix: String, home: Origin, layers: &[Layer]) -> Self {
        let figment = layers::defaults(keys);
        let (values, faults, asked) = (Dict::new(), Vec::new(), BTreeSet::new());
        let mut reader = Self {
            sources,
            keys,
            prefix,
            home,
            figment,
            values,
            faults,
            inputs: RefCell::default(),
            asked,
            #[cfg(test)]
            never_asked_in_lists: BTreeSet::new(),
        };
        for layer in layers {
            reader.refuse_unknown(&layer.origin, "", &layer.dict);
            reader.figment = std::mem::take(&mut reader.figment).merge(layer);
        }
        let mut profiles = reader.figment.data().expect("layers hold their values already");
        reader.values = profiles.remove(&Profile::Default).unwrap_or_default();
        reader
    }

    /// What was wrong so far.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// What was wrong so far, and the files and variables, besides the layers, that values came from.
    pub(super) fn into_parts(self) -> (Vec<Fault>, Inputs) {
        (self.faults, self.inputs.into_inner())
    }

    /// What every key says, with variables put in and the contents of files that it names: a digest for each.
    pub(super) fn digests(&self) -> BTreeMap<&'static str, [u8; 32]> {
        let digest = |key: &Key| {
            let (value, origin) = self.find(key.path)?;
            let text = serde_json::to_string(value).ok()?;
            let text = self.expand(&text, &origin).unwrap_or(text);
            let mut said = sha256(text.as_bytes()).to_vec();
            said.extend(self.inputs.borrow().of_key(key.path));
            Some((key.path, sha256(&said)))
        };
        self.keys.iter().filter_map(digest).collect()
    }

    /// How many things were wrong so far.
    pub(super) fn fault_count(&self) -> usize {
        self.faults.len()
    }

    /// Notes a fault of the key `path`.
    pub(super) fn fault(&mut self, path: &str, reason: impl Into<String>, help: Option<&str>) {
        let origin = match self.find(path) {
            Some((_, origin)) if origin != Origin::Defaults => origin,
            _ => self.home.clone(),
        };
        self.note(&origin, &origin.spell(path), reason.into(), help.map(str::to_owned));
    }

    fn note(&mut self, origin: &Origin, key: &str, reason: String, help: Option<String>) {
        let key = self.prefix.clone() + key;
        let fault = Fault { file: self.sources.shown(origin), key, reason, help };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Whether somebody wrote the key: a default does not count.
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.find(path).is_some_and(|(_, origin)| origin != Origin::Defaults)
    }

    fn find(&self, path: &str) -> Option<(&Value, Origin)> {
        let mut names = path.split('.');
        let first = self.values.get(names.next()?)?;
        let value = names.try_fold(first, |value, name| value.as_dict()?.get(name))?;
        // A value of a table in a list keeps the mark of the reader that the list was read by.
        let origin = self.figment.get_metadata(value.tag()).map_or_else(|| self.home.clone(), Origin::of);
        Some((value, origin))
    }

    fn value(&mut self, path: &str) -> Option<(Value, Origin)> {
        let key = self.keys.iter().find(|key| key.path == path).expect("every key that is read is in the table");
        self.asked.insert(key.path);
        self.find(path).map(|(value, origin)| (value.clone(), origin))
    }

    fn wrong_type(&mut self, path: &str, wanted: &str, value: &Value) {
        self.fault(path, format!("must be {wanted}, is {}", kind(value)), None);
    }

    /// Leaves a key unread, whose default is not of its type.
    pub(super) fn skip<T>(&mut self, path: &'static str) -> Option<T> {
        self.asked.insert(path);
        None
    }

    /// A text that is not empty and has neither space around it nor control characters in it.
    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        let (value, origin) = self.value(path)?;
        self.text_of(path, "a text", &value, &origin)
    }

    fn text_of(&mut self, path: &str, wanted: &str, value: &Value, origin: &Origin) -> Option<String> {
        let Value::String(_, raw) = value else {
            self.wrong_type(path, wanted, value);
            return None;
        };
        let checked = self.expand(raw, origin).and_then(|text| {
            if text.is_empty() {
                Err("is empty; leave the key out instead".to_owned())
            } else if text.trim() != text || text.chars().any(char::is_control) {
                Err("has space around it or a control character in it".to_owned())
            } else {
                Ok(text)
            }
        });
        self.keep(path, checked)
    }

    fn keep<T>(&mut self, path: &str, checked: Result<T, String>) -> Option<T> {
        checked.map_err(|reason| self.fault(path, reason, None)).ok()
    }

    /// Puts environment variables in the place of `${NAME}`, in files only.
    fn expand(&self, text: &str, origin: &Origin) -> Result<String, String> {
        if !matches!(origin, Origin::File(_)) {
            return Ok(text.to_owned());
        }
        let mut parts = text.split("${");
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let named = part.split_once('}').filter(|(name, _)| is_variable(name));
            let (name, rest) = named.ok_or("holds `${` that is not `${NAME}`, an environment variable's name")?;
            let value = self.sources.environment.get(name);
            self.inputs.borrow_mut().saw_variable(name, value.map(String::as_str));
            out += value.ok_or_else(|| format!("names the environment variable {name}, which is not set"))?;
            out += rest;
        }
        Ok(out)
    }

    /// A text with a meaning; `parse` says why it has none.
    pub(super) fn parsed<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(path)?;
        self.keep(path, parse(&text))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, path: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(path)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let help = format!("{}allowed: {}", did_you_mean(&text, &names), names.join(", "));
            self.fault(path, "is not known", Some(&help));
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, path: &str) -> Option<bool> {
        let (value, origin) = self.value(path)?;
        let flag = match &value {
            Value::Bool(_, flag) => Some(*flag),
            Value::String(_, text) if origin.texts_only() => text.parse().ok(),
            _ => None,
        };
        if flag.is_none() {
            self.wrong_type(path, "true or false", &value);
        }
        flag
    }

    /// A whole number within `range`.
    pub(super) fn count(&mut self, path: &str, range: &RangeInclusive<u64>) -> Option<u64> {
        let (value, origin) = self.value(path)?;
        let number = match &value {
            Value::Num(_, number) => whole(*number),
            Value::String(_, text) if origin.texts_only() => text.parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            self.wrong_type(path, "a whole number", &value);
            return None;
        };
        self.within(path, number, range, |number| number.to_string())
    }

    fn within<T: PartialOrd + Copy>(
        &mut self,
        path: &str,
        value: T,
        range: &RangeInclusive<T>,
        say: impl Fn(T) -> String,
    ) -> Option<T> {
        let inside = range.contains(&value);
        if !inside {
            self.fault(path, format!("must be from {} to {}", say(*range.start()), say(*range.end())), None);
        }
        inside.then_some(value)
    }

    /// A number with a unit, or a whole number of the plain unit.
    fn measured<T>(
        &mut self,
        path: &str,
        wanted: &str,
        plain: impl Fn(u64) -> T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (value, origin) = self.value(path)?;
        if let Value::Num(_, number) = value {
            let number = whole(number);
            if number.is_none() {
                self.wrong_type(path, wanted, &value);
            }
            return number.map(plain);
        }
        let text = self.text_of(path, wanted, &value, &origin)?;
        self.keep(path, parse(&text))
    }

    /// A duration within `range`.
    pub(super) fn duration(&mut self, path: &str, range: &RangeInclusive<Duration>) -> Option<Duration> {
        let wanted = "a duration such as \"15m\" or whole seconds";
        let value = self.measured(path, wanted, Duration::from_secs, values::duration)?;
        self.within(path, value, range, values::say_duration)
    }

    /// A duration of whole seconds within `range`, as a number of them.
    pub(super) fn seconds(&mut self, path: &str, range: &RangeInclusive<Duration>) -> Option<i64> {
        let value = self.duration(path, range)?;
        if value.subsec_nanos() != 0 {
            self.fault(path, "must be whole seconds", None);
        }
        i64::try_from(value.as_secs()).ok()
    }

    /// A number of bytes within `range`.
    pub(super) fn size(&mut self, path: &str, range: &RangeInclusive<u64>) -> Option<u64> {
        let value = self.measured(path, "a size such as \"64MiB\" or whole bytes", |bytes| bytes, values::size)?;
        self.within(path, value, range, values::say_size)
    }

    /// A list of texts with a meaning, no two of them equal; commas separate them where all is text.
    pub(super) fn list<T: PartialEq>(
        &mut self,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (value, origin) = self.value(path)?;
        let items = match &value {
            Value::Array(_, items) => items.clone(),
            Value::String(_, text) if origin.texts_only() => {
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()
            }
            _ => {
                self.wrong_type(path, "a list of texts", &value);
                return None;
            }
        };
        let mut list = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let checked = match item {
                Value::String(_, raw) => self.expand(raw, &origin).and_then(|text| parse(&text)),
                other => Err(format!("must be a text, is {}", kind(other))),
            };
            let checked =
                checked.and_then(|item| if list.contains(&item) { Err("stands twice".into()) } else { Ok(item) });
            match checked {
                Ok(item) => list.push(item),
                Err(reason) => self.note(&origin, &format!("{}[{i}]", origin.spell(path)), reason, None),
            }
        }
        Some(list)
    }

    /// A table of texts under names that are free.
    pub(super) fn map(&mut self, path: &str) -> BTreeMap<String, String> {
        let Some((value, origin)) = self.value(path) else { return BTreeMap::new() };
        let Value::Dict(_, dict) = &value else {
            self.wrong_type(path, "a table of texts", &value);
            return BTreeMap::new();
        };
        let mut map = BTreeMap::new();
        for (name, value) in dict {
            if let Some(text) = self.text_of(&format!("{path}.{name}"), "a text", value, &origin) {
                map.insert(name.clone(), text);
            }
        }
        map
    }

    /// A list of tables, `[[path]]`; `read` takes each of them. One that `read` makes nothing of is left out.
    pub(super) fn tables<T>(&mut self, path: &str, read: impl Fn(&mut Reader<'a>) -> Option<T>) -> Vec<T> {
        let Some((value, origin)) = self.value(path) else { return Vec::new() };
        let Value::Array(_, items) = &value else {
            self.wrong_type(path, &format!("a list of tables, [[{path}]]"), &value);
            return Vec::new();
        };
        let keys = self.keys.iter().find(|key| key.path == path).map_or(&[][..], |key| key.items);
        let mut list = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let here = format!("{path}[{i}]");
            let Value::Dict(_, dict) = item else {
                self.note(&origin, &here, format!("must be a table, is {}", kind(item)), None);
                continue;
            };
            let layer = Layer { origin: origin.clone(), dict: dict.clone() };
            let prefix = format!("{}{here}.", self.prefix);
            let mut reader = Reader::below(self.sources, keys, prefix, origin.clone(), &[layer]);
            list.extend(read(&mut reader));
            #[cfg(test)]
            self.never_asked_in_lists.extend(reader.never_asked().into_iter().chain(reader.never_asked_in_lists));
            self.faults.extend(reader.faults);
            self.inputs.borrow_mut().extend(reader.inputs.into_inner());
        }
        list
    }

    /// A text, a whole number, or true or false: what a claim is compared with.
    pub(super) fn scalar(&mut self, path: &str) -> Option<serde_json::Value> {
        let (value, origin) = self.value(path)?;
        let scalar = self.scalar_of(&value, &origin);
        self.keep(path, scalar)
    }

    fn scalar_of(&self, value: &Value, origin: &Origin) -> Result<serde_json::Value, String> {
        match value {
            Value::String(_, raw) => self.expand(raw, origin).map(Into::into),
            Value::Bool(_, flag) => Ok((*flag).into()),
            Value::Num(_, number) if number.to_f64().is_none() => {
                let number = number.to_i128().or_else(|| number.to_u128()?.try_into().ok());
                let number = number.and_then(|number| i64::try_from(number).ok());
                number.map(Into::into).ok_or_else(|| "is too large a number".to_owned())
            }
            other => Err(format!("must be a text, a whole number, or true or false, is {}", kind(other))),
        }
    }

    /// A list of what [`Reader::scalar`] reads.
    pub(super) fn scalars(&mut self, path: &str) -> Option<Vec<serde_json::Value>> {
        let (value, origin) = self.value(path)?;
        let Value::Array(_, items) = &value else {
            self.wrong_type(path, "a list", &value);
            return None;
        };
        let list = items.iter().map(|item| self.scalar_of(item, &origin)).collect();
        self.keep(path, list)
    }

    /// A text, or a list of texts, each read as it stands.
    pub(super) fn one_or_more(&mut self, path: &str) -> Option<Vec<String>> {
        match self.value(path)?.0 {
            Value::Array(..) => {
                let texts = self.scalars(path)?.iter().map(|value| value.as_str().map(str::to_owned)).collect();
                self.keep(path, Option::ok_or_else(texts, || "must be a text or a list of texts".to_owned()))
            }
            _ => self.text(path).map(|text| vec![text]),
        }
    }

    /// A path; a relative one starts at the file that names it, or at the working directory.
    pub(super) fn path(&mut self, path: &str) -> Option<PathBuf> {
        let (value, origin) = self.value(path)?;
        let text = self.text_of(path, "a path", &value, &origin)?;
        let base = match &origin {
            Origin::File(file) => file.parent().unwrap_or(Path::new("")),
            _ => &self.sources.directory,
        };
        Some(base.join(text))
    }

    /// The text in the file that the key names.
    pub(super) fn file(&mut self, path: &str) -> Option<String> {
        let file = self.path(path)?;
        let text = read_small(&file);
        self.inputs.borrow_mut().saw_file(path, &file, text.as_ref().ok().map(String::as_bytes));
        self.keep(path, text)
    }

    /// A secret: `path` holds it, or `path_file` names its file; not both.
    pub(super) fn secret(&mut self, path: &str) -> Option<SecretString> {
        let by_file = format!("{path}_file");
        let inline = self.value(path);
        let file = self.file(&by_file);
        if inline.is_some() && self.is_set(&by_file) {
            self.fault(path, format!("and {by_file} are both given"), Some("leave one of them out"));
        }
        let (path, text) = match inline {
            Some((Value::String(_, raw), origin)) => {
                let text = self.expand(&raw, &origin);
                (path, self.keep(path, text)?)
            }
            Some((other, _)) => {
                self.wrong_type(path, "a text", &other);
                return None;
            }
            None => (by_file.as_str(), file?),
        };
        let text = text.trim_end_matches(['\r', '\n']);
        let checked = if text.is_empty() {
            Err("is empty".to_owned())
        } else if text.trim() != text {
            Err("has space around it".to_owned())
        } else {
            Ok(SecretString::from(text))
        };
        self.keep(path, checked)
    }

    fn refuse_unknown(&mut self, origin: &Origin, table: &str, dict: &Dict) {
        let here: Vec<&str> = self.names_in(table);
        for (name, value) in dict {
            let path = if table.is_empty() { name.clone() } else { format!("{table}.{name}") };
            if !here.contains(&name.as_str()) {
                let help = self.help_for_unknown(table, name, &here);
                let place = path.strip_suffix(name.as_str()).unwrap_or_default();
                let key = format!("{place}{}", shown(name));
                self.note(origin, &origin.spell(&key), "unknown key".into(), Some(help));
            } else if !self.keys.iter().any(|key| key.path == path) {
                match value {
                    Value::Dict(_, inner) => self.refuse_unknown(origin, &path, inner),
                    other => {
                        let reason = format!("must be a table, is {}", kind(other));
                        let help = format!("allowed in it: {}", self.names_in(&path).join(", "));
                        self.note(origin, &origin.spell(&path), reason, Some(help));
                    }
                }
            }
        }
    }

    /// The names that may stand in `table`, tables among them.
    fn names_in(&self, table: &str) -> Vec<&'static str> {
        let prefix = if table.is_empty() { String::new() } else { format!("{table}.") };
        let mut names: Vec<&str> = Vec::new();
        for rest in self.keys.iter().filter_map(|key| key.path.strip_prefix(prefix.as_str())) {
            let name = rest.split('.').next().unwrap_or(rest);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    fn help_for_unknown(&self, table: &str, name: &str, here: &[&str]) -> String {
        let elsewhere = self.keys.iter().find(|key| key.name() == name && key.table() != table);
        let hint = match elsewhere.map(|key| (key.name(), key.table())) {
            Some((name, "")) => format!("did you mean {name} at the top, before the first [table]? "),
            Some((name, table)) => format!("did you mean {name} in [{table}]? "),
            None => did_you_mean(name, here),
        };
        format!("{hint}allowed here: {}", here.join(", "))
    }
}

/// The text of a small file.
fn read_small(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("names a file that cannot be read: {error}");
    let size = path.metadata().map_err(cannot)?.len();
    if size > MAX_FILE {
        return Err(format!("names a file of more than {}", values::say_size(MAX_FILE)));
    }
    std::fs::read_to_string(path).map_err(cannot)
}

/// Whether `name` can be an environment variable's.
fn is_variable(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(word) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// `did you mean …? `, or nothing when no name is near.
pub(super) fn did_you_mean(name: &str, names: &[&str]) -> String {
    let near = names
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase()), *known))
        .min()
        .filter(|(distance, known)| *distance <= 1.max(known.len() / 3));
    near.map_or(String::new(), |(_, known)| format!("did you mean {known}? "))
}

fn whole(number: Num) -> Option<u64> {
    match number {
        Num::F32(_) | Num::F64(_) => None,
        _ => number.to_u128().and_then(|n| n.try_into().ok()).or_else(|| number.to_i128()?.try_into().ok()),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "a text",
        Value::Bool(..) => "true or false",
        Value::Num(_, number) if number.to_f64().is_some() => "a number with a fraction",
        Value::Num(..) => "a number",
        Value::Empty(..) => "nothing",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list",
    }
}

/// A key as a fault shows it: no more than looks like one. The rest may be a value, a secret even, that a slip in a file made
/// a part of the key.
fn shown(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match name.char_indices().find(|(at, c)| *at >= 64 || !is_plain(*c)) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
impl Reader<'_> {
    /// Keys of the table that nobody asked for.
    pub(super) fn never_asked(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.path).filter(|path| !self.asked.contains(path)).collect()
    }
}
