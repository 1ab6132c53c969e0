//! Where settings come from: files in three formats, the environment, flags, the embedded defaults; each a layer that
//! figment merges over those before it. What the values mean is not decided here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use figment::providers::{Format, Json, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::keys::Key;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// In this program.
    Defaults,
    /// In a file.
    File(PathBuf),
    /// In a variable `LYCHGATE_…`.
    Environment,
    /// In a variable `AUTH0_…`.
    Auth0,
    /// In a flag.
    Flags,
}

impl Origin {
    /// How the key `path` is spelled there.
    pub(super) fn spell(&self, path: &str) -> String {
        match self {
            Self::Defaults | Self::File(_) => path.to_owned(),
            Self::Environment => format!("LYCHGATE_{}", path.replace('.', "__").to_uppercase()),
            Self::Auth0 => format!("AUTH0_{}", path.to_uppercase()),
            Self::Flags => format!("--{}", path.replace(['.', '_'], "-")),
        }
    }

    /// Whether every value there is a text, so that numbers, truths and lists are written as texts, too.
    pub(super) const fn texts_only(&self) -> bool {
        matches!(self, Self::Environment | Self::Auth0 | Self::Flags)
    }

    fn metadata(&self) -> Metadata {
        match self {
            Self::Defaults => Metadata::named("defaults"),
            Self::File(path) => Metadata::from("file", path.as_path()),
            Self::Environment => Metadata::named("environment"),
            Self::Auth0 => Metadata::named("auth0"),
            Self::Flags => Metadata::named("flags"),
        }
    }

    /// The origin that [`Origin::metadata`] described.
    pub(super) fn of(metadata: &Metadata) -> Self {
        match (&*metadata.name, metadata.source.as_ref().and_then(figment::Source::file_path)) {
            (_, Some(path)) => Self::File(path.to_owned()),
            ("environment", _) => Self::Environment,
            ("auth0", _) => Self::Auth0,
            ("flags", _) => Self::Flags,
            _ => Self::Defaults,
        }
    }
}

/// Values of one origin.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) origin: Origin,
    pub(super) dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.origin.metadata()
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

impl Layer {
    /// One key of a text-only origin.
    pub(super) fn of_text(origin: Origin, path: &str, text: &str) -> Self {
        let dict = figment::util::nest(path, Value::from(text)).into_dict().unwrap_or_default();
        Self { origin, dict }
    }

    fn defaults(keys: &[Key]) -> Self {
        let lines: Vec<String> =
            keys.iter().filter_map(|key| key.default.map(|default| format!("{} = {default}\n", key.path))).collect();
        let dict = Toml::from_str(&lines.concat()).expect("a test reads the embedded defaults");
        Self { origin: Origin::Defaults, dict }
    }

    /// The file at `path`, which holds these `bytes`, in the format that its name says; TOML if it says none of ours.
    ///
    /// # Errors
    /// Says why the file is none of settings, without a word of what is in it.
    pub(super) fn file(path: &Path, bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let extension = path.extension().and_then(|name| name.to_str()).unwrap_or_default().to_ascii_lowercase();
        let dict = match extension.as_str() {
            "json" => Json::from_str(text).map_err(|error| located("JSON", error.line(), error.column())),
            "yaml" | "yml" => Yaml::from_str(text).map_err(|error| match error.location() {
                Some(place) => located("YAML", place.line(), place.column()),
                None => "is not YAML of keys and values".to_owned(),
            }),
            _ => Toml::from_str(text).map_err(|error| {
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
                let line = before.matches('\n').count() + 1;
                let hint = error.message().lines().next().unwrap_or_default();
                format!("{}: {hint}", located("TOML", line, column))
            }),
        };
        Ok(Self { origin: Origin::File(path.to_owned()), dict: dict.map(|OnceOnly(dict)| dict)? })
    }
}

/// The defaults that are written beside the keys, parsed once: thousands of files are merged over the same ones.
pub(super) fn defaults(keys: &'static [Key]) -> Figment {
    /// By where a table of keys lies.
    static PARSED: RwLock<BTreeMap<(usize, usize), Arc<Figment>>> = RwLock::new(BTreeMap::new());
    let table = (keys.as_ptr().addr(), keys.len());
    let known = PARSED.read().unwrap_or_else(PoisonError::into_inner).get(&table).cloned();
    let known = known.unwrap_or_else(|| {
        let parsed = Arc::new(Figment::from(Layer::defaults(keys)));
        PARSED.write().unwrap_or_else(PoisonError::into_inner).insert(table, Arc::clone(&parsed));
        parsed
    });
    Figment::clone(&known)
}

fn located(format: &str, line: usize, column: usize) -> String {
    format!("is not {format} of keys and values, each key once: line {line}, column {column}")
}

/// Whether a file of this name holds a tenant, and if so which.
pub(super) fn tenant_of(name: &str) -> Option<&str> {
    let (stem, extension) = name.rsplit_once('.')?;
    let known = ["toml", "yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known));
    (known && !name.starts_with('.')).then_some(stem)
}

/// Variables `LYCHGATE_…`, a layer each so that two of them never hide one another.
pub(super) fn environment(variables: &BTreeMap<String, String>) -> Vec<Layer> {
    variables
        .iter()
        .filter_map(|(name, value)| {
            let path = name.strip_prefix("LYCHGATE_")?;
            let ours = path != "CONFIG" && !is_service_link(path, value);
            ours.then(|| Layer::of_text(Origin::Environment, &path.to_lowercase().replace("__", "."), value))
        })
        .collect()
}

/// Whether Kubernetes made the variable because a Service is called `lychgate…`: `LYCHGATE_SERVICE_HOST`,
/// `LYCHGATE_PORT=tcp://…`, `LYCHGATE_PORT_80_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let service = words.windows(2).any(|pair| pair[0] == "SERVICE" && matches!(pair[1], "HOST" | "PORT"));
    let port = words
        .windows(3)
        .any(|word| word[0] == "PORT" && word[1].parse::<u16>().is_ok() && matches!(word[2], "TCP" | "UDP" | "SCTP"));
    let link = words.last() == Some(&"PORT") && value.contains("://");
    service || port || link
}

/// YAML 1.2 over `serde_norway`; figment's own stands on a crate that nobody keeps.
struct Yaml;

impl Format for Yaml {
    type Error = serde_norway::Error;

    const NAME: &'static str = "YAML";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Self::Error> {
        serde_norway::from_str(text)
    }
}

/// A table in which no key stands twice, at any depth: JSON and YAML readers would let the last one win in silence.
struct OnceOnly(Dict);

impl<'de> Deserialize<'de> for OnceOnly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match OnceOnlyValue::deserialize(deserializer)?.0 {
            Value::Dict(_, dict) => Ok(Self(dict)),
            _ => Err(D::Error::custom("not a table")),
        }
    }
}

struct OnceOnlyValue(Value);

impl<'de> Deserialize<'de> for OnceOnlyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(figment::value::Empty::Unit.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(OnceOnlyValue(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut dict = Dict::new();
        while let Some((key, OnceOnlyValue(value))) = entries.next_entry::<String, _>()? {
            if dict.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(dict.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_puts_beside_our_variables_is_not_ours() {
        for (name, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT_HTTP", "80"),
            ("PORT", "tcp://10.0.0.1:80"),
            ("PORT_80_TCP_ADDR", "10.0.0.1"),
            ("ADMIN_PORT", "tcp://10.0.0.1:80"),
        ] {
            assert!(is_service_link(name, value), "{name}");
        }
        for (name, value) in [("PORT", "8080"), ("LISTEN", "127.0.0.1:80"), ("PUBLIC_URL", "https://a.example")] {
            assert!(!is_service_link(name, value), "{name}");
        }
    }

    #[test]
    fn tenant_files_are_told_by_their_names() {
        assert_eq!(tenant_of("acme.toml"), Some("acme"));
        assert_eq!(tenant_of("acme.YAML"), Some("acme"));
        assert_eq!(tenant_of("a.b.json"), Some("a.b"));
        for other in [".acme.toml", "example.toml.sample", "README.md", "acme", "acme.toml~", ".toml", "..data"] {
            assert_eq!(tenant_of(other), None, "{other}");
        }
    }
}
