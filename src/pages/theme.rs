//! A theme: templates, words and names of assets that belong together, for one tenant or for all. Loading one checks
//! all that can be known before it is shown. Which theme a page takes is decided in the module above.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use handlebars::{
    Context, Handlebars, Helper, HelperDef, RenderContext, RenderErrorReason, ScopedJson, TemplateErrorReason,
};
use rust_embed::{EmbeddedFile, RustEmbed};
use serde_json::Value;

use super::data::Data;
use super::joined::Joiner;
use super::locale::Locale;
use super::messages::Messages;
use super::steps::{self, Step};
use super::template_source::{Kind, names};
use super::{Asset, KNOWN};

#[derive(RustEmbed)]
#[folder = "templates/"]
struct Embedded;

/// What is wrong with a file that replaces one of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, from 1, where one is to blame.
    pub line: Option<usize>,
    /// What is wrong and, where it helps, what is allowed.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}

/// Files from one place: embedded, the operator's folder, or a tenant's folder in it.
pub struct Layer {
    files: Vec<File>,
    shipped: bool,
}

struct File {
    /// Below the layer's root: `error.hbs`, `messages/de.toml`, `assets/style.css`.
    name: String,
    /// For people who look for it.
    origin: String,
    content: EmbeddedFile,
}

impl Layer {
    /// The files in the binary.
    pub fn embedded() -> Self {
        let file = |name: Cow<'static, str>| {
            Some(File { content: Embedded::get(&name)?, origin: format!("(shipped) {name}"), name: name.into_owned() })
        };
        Self { files: Embedded::iter().filter_map(file).collect(), shipped: true }
    }

    /// The files in a folder of the operator's; those that are none of ours by name are left alone.
    pub fn read(folder: &Path) -> Result<Self, Fault> {
        let mut files = Vec::new();
        read_into(&mut files, folder, "", Some("hbs"))?;
        for (below, wanted) in [("messages", Some("toml")), ("assets", None)] {
            if folder.join(below).is_dir() {
                read_into(&mut files, &folder.join(below), &format!("{below}/"), wanted)?;
            }
        }
        Ok(Self { files, shipped: false })
    }

    /// What the files hold and how they are called.
    pub fn fingerprint(&self) -> Vec<u8> {
        let mut files: Vec<(&str, [u8; 32])> =
            self.files.iter().map(|file| (file.name.as_str(), file.content.metadata.sha256_hash())).collect();
        files.sort_unstable();
        files.iter().flat_map(|(name, hash)| name.bytes().chain([0]).chain(*hash)).collect()
    }
}

/// Takes in the files right in `folder`; only those with this extension, if one is given.
fn read_into(files: &mut Vec<File>, folder: &Path, prefix: &str, extension: Option<&str>) -> Result<(), Fault> {
    let unreadable = |path: &Path, error: std::io::Error| Fault {
        file: path.display().to_string(),
        line: None,
        reason: format!("cannot be read: {error}"),
    };
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let wanted = extension.is_none_or(|extension| path.extension().is_some_and(|other| other == extension));
        if path.is_file() && !name.starts_with('.') && wanted {
            let content = rust_embed::utils::read_file_from_fs(&path).map_err(|error| unreadable(&path, error))?;
            files.push(File { name: format!("{prefix}{name}"), origin: path.display().to_string(), content });
        }
    }
    Ok(())
}

/// Templates, words and assets that belong together.
#[derive(Debug)]
pub struct Theme {
    registry: Handlebars<'static>,
    /// The steps of each template in each language, made when it is first shown; none where it is left to Handlebars.
    steps: BTreeMap<String, [OnceLock<Option<Vec<Step>>>; Locale::ALL.len()]>,
    /// The words.
    pub messages: Arc<Messages>,
    /// By their hashed names.
    pub assets: BTreeMap<String, Asset>,
    origins: BTreeMap<String, String>,
}

impl Theme {
    /// Lays the later layers over the earlier ones. All faults are reported.
    pub fn load(layers: &[&Layer]) -> Result<Self, Vec<Fault>> {
        let mut draft = Draft::default();
        for layer in layers {
            for file in &layer.files {
                draft.take(file, layer.shipped);
            }
        }
        draft.finish()
    }

    /// Renders a page's template with data.
    pub fn render(&self, page: &str, locale: Locale, data: &Data<'_>) -> Result<String, handlebars::RenderError> {
        let steps = self.steps.get(page).and_then(|of_languages| {
            of_languages[locale as usize].get_or_init(|| self.joined(page, locale, data)).as_deref()
        });
        match steps.map(|steps| steps::run(steps, data)) {
            Some(Ok(html)) => Ok(html),
            Some(Err(_)) | None => self.by_handlebars(page, data),
        }
    }

    /// The same by Handlebars, which knows of errors what is to blame, and where.
    pub fn by_handlebars(&self, page: &str, data: &Data<'_>) -> Result<String, handlebars::RenderError> {
        self.registry.render(page, data)
    }

    fn joined(&self, page: &str, locale: Locale, data: &Data<'_>) -> Option<Vec<Step>> {
        let known =
            KNOWN.iter().filter_map(|name| Some(((*name).to_owned(), serde_json::to_value(data.get(name)?).ok()?)));
        let message = |key: &str| self.messages.get(locale, key);
        Joiner::new(&self.registry, known.collect(), &message).page(page).ok()
    }

    /// Whether a page that was shown was not left to Handlebars.
    #[cfg(test)]
    pub fn has_steps(&self, page: &str, locale: Locale) -> bool {
        self.steps[page][locale as usize].get().is_some_and(Option::is_some)
    }

    /// Where the template that an error blames came from.
    pub fn blame(&self, error: &handlebars::RenderError) -> Fault {
        let name = error.template_name.as_deref().unwrap_or_default();
        Fault {
            file: self.origins.get(name).map_or(name, String::as_str).to_owned(),
            line: error.line_no,
            reason: error.reason().to_string(),
        }
    }
}

#[derive(Default)]
struct Draft {
    /// Name without `.hbs`, source, origin.
    templates: BTreeMap<String, (String, String)>,
    shipped: BTreeSet<String>,
    messages: Messages,
    /// Plain name to hashed name.
    asset_names: BTreeMap<String, String>,
    assets: BTreeMap<String, Asset>,
    faults: Vec<Fault>,
}

impl Draft {
    fn take(&mut self, file: &File, shipped: bool) {
        if let Some(name) = file.name.strip_prefix("assets/") {
            self.take_asset(name, file);
            return;
        }
        let Ok(source) = str::from_utf8(&file.content.data) else {
            self.fault(&file.origin, None, "is not UTF-8");
            return;
        };
        if let Some(name) = file.name.strip_prefix("messages/") {
            self.take_messages(name, source, &file.origin, shipped);
        } else if let Some(name) = file.name.strip_suffix(".hbs") {
            if shipped {
                self.shipped.insert(name.to_owned());
            }
            self.templates.insert(name.to_owned(), (source.to_owned(), file.origin.clone()));
        }
    }

    fn take_messages(&mut self, name: &str, source: &str, origin: &str, shipped: bool) {
        let Some(locale) = Locale::ALL.into_iter().find(|locale| name.strip_suffix(".toml") == Some(locale.as_str()))
        else {
            self.fault(origin, None, "is no language of ours: en, de, fr, es, ja");
            return;
        };
        let taken = if shipped {
            self.messages.insert(locale, source).map_err(|fault| vec![fault])
        } else {
            self.messages.replace(locale, source)
        };
        for fault in taken.err().into_iter().flatten() {
            self.fault(origin, Some(fault.line), &fault.reason);
        }
    }

    fn take_asset(&mut self, name: &str, file: &File) {
        let Some((stem, extension, content_type)) = kind_of_asset(name) else {
            self.fault(
                &file.origin,
                None,
                "is no asset: letters, digits, '-', '_' and one of .css .svg .png .jpg .webp .ico .woff2",
            );
            return;
        };
        let [a, b, c, d, ..] = file.content.metadata.sha256_hash();
        let hash = u32::from_be_bytes([a, b, c, d]);
        let hashed = format!("{stem}-{hash:08x}.{extension}");
        let bytes = match &file.content.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::copy_from_slice(bytes),
        };
        self.assets.insert(hashed.clone(), Asset { content_type, bytes });
        self.asset_names.insert(name.to_owned(), hashed);
    }

    fn fault(&mut self, file: &str, line: Option<usize>, reason: &str) {
        self.faults.push(Fault { file: file.to_owned(), line, reason: reason.to_owned() });
    }

    /// Every name that a template uses must exist, and every template that is not ours must be used.
    fn check_names(&mut self) {
        let mut used = BTreeSet::new();
        let mut faults = Vec::new();
        for (source, origin) in self.templates.values() {
            let found = names(source);
            for name in &found {
                let inline = || found.iter().any(|other| other.kind == Kind::Inline && other.name == name.name);
                let (known, what) = match name.kind {
                    Kind::Message => (self.messages.get(Locale::En, name.name).is_some(), "message"),
                    Kind::Asset => (self.asset_names.contains_key(name.name), "asset"),
                    Kind::Partial => (self.templates.contains_key(name.name) || inline(), "partial"),
                    Kind::Inline => continue,
                };
                if !known {
                    let reason = format!("there is no {what} `{}`", name.name);
                    faults.push(Fault { file: origin.clone(), line: Some(name.line), reason });
                }
                used.insert(name.name);
            }
        }
        for (name, (_, origin)) in &self.templates {
            if !self.shipped.contains(name) && !used.contains(name.as_str()) {
                let ours: Vec<_> = self.shipped.iter().map(|name| format!("{name}.hbs")).collect();
                let reason = format!("replaces no template and is no partial of one; there are {}", ours.join(", "));
                faults.push(Fault { file: origin.clone(), line: None, reason });
            }
        }
        self.faults.append(&mut faults);
    }

    fn finish(mut self) -> Result<Theme, Vec<Fault>> {
        self.check_names();
        let messages = Arc::new(self.messages);
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        registry.set_prevent_indent(true);
        registry.register_helper("t", Box::new(Translate(Arc::clone(&messages))));
        registry.register_helper("asset", Box::new(AssetName(self.asset_names)));
        let mut origins = BTreeMap::new();
        for (name, (source, origin)) in self.templates {
            if let Err(error) = registry.register_template_string(&name, &source) {
                let line = error.pos().map(|(line, _)| line);
                let reason = match error.reason() {
                    // The parser names every rule of its grammar here.
                    TemplateErrorReason::InvalidSyntax(_) => {
                        "is no Handlebars: is a tag or a block not closed?".to_owned()
                    }
                    said => said.to_string(),
                };
                self.faults.push(Fault { file: origin.clone(), line, reason });
            }
            origins.insert(name, origin);
        }
        if self.faults.is_empty() {
            let steps = origins.keys().map(|name| (name.clone(), Default::default())).collect();
            Ok(Theme { registry, steps, messages, assets: self.assets, origins })
        } else {
            Err(self.faults)
        }
    }
}

/// Stem, extension and content type.
fn kind_of_asset(name: &str) -> Option<(&str, &str, &'static str)> {
    let (stem, extension) = name.rsplit_once('.')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let content_type = match extension {
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => return None,
    };
    (!stem.is_empty() && stem.bytes().all(plain)).then_some((stem, extension, content_type))
}

/// `{{t "key" name=value}}`: the message in the page's language, which is `locale` at the root of the data. The result
/// is plain text; Handlebars escapes it where it is written.
struct Translate(Arc<Messages>);

impl HelperDef for Translate {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, handlebars::RenderError> {
        let key = first_param(helper)?;
        let locale = Locale::negotiate(context.data()["locale"].as_str(), None);
        let text = self.0.get(locale, key).ok_or_else(|| other(format!("there is no message `{key}`")))?;
        let value = |name: &str| match helper.hash_get(name)?.value() {
            Value::String(text) => Some(text.into()),
            value => Some(value.to_string().into()),
        };
        let filled = Messages::fill(text, value).map_err(|name| other(format!("message `{key}` needs `{name}`")))?;
        Ok(ScopedJson::Derived(Value::String(filled)))
    }
}

/// `{{asset "style.css"}}`: the name under which it is served, below `assets`.
struct AssetName(BTreeMap<String, String>);

impl HelperDef for AssetName {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, handlebars::RenderError> {
        let name = first_param(helper)?;
        let hashed = self.0.get(name).ok_or_else(|| other(format!("there is no asset `{name}`")))?;
        Ok(ScopedJson::Derived(Value::String(hashed.clone())))
    }
}

fn first_param<'a>(helper: &'a Helper<'_>) -> Result<&'a str, handlebars::RenderError> {
    let name = helper.param(0).and_then(|param| param.value().as_str());
    name.ok_or_else(|| other(format!("`{}` needs a name in quotes", helper.name())))
}

fn other(reason: String) -> handlebars::RenderError {
    RenderErrorReason::Other(reason).into()
}
