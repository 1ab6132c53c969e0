//! Pages: templates and data become HTML. The only home of `handlebars`. No HTTP: statuses, headers and routes are in
//! `web`, which asks for a page by name and sends what it gets.
//!
//! A page's template becomes steps when it is first shown in a language (`joined`): nothing is copied and no word is
//! looked for then. A template that does what steps cannot do is rendered by Handlebars, to the same end.
//!
//! Everything that a template writes is escaped; no page has a script, an inline style, or anything from elsewhere but
//! a person's picture and a tenant's logo.
//!
//! Templates, message files and assets are embedded. Files of the same names in an operator's folder replace them, and
//! those in a folder named like a tenant replace them for that tenant: `error.hbs`, `assets/style.css`; of a message
//! file, such as `messages/de.toml`, only the messages that it names.

mod accent;
mod browser_name;
mod calendar;
mod claims;
mod code_messages;
mod data;
mod error_text;
mod escape;
mod initials;
mod joined;
mod locale;
mod message_file;
mod messages;
mod sample;
mod steps;
mod template_source;
mod theme;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

pub use self::browser_name::of as browser_name;
pub use self::error_text::{Action, ErrorText};
pub use self::locale::Locale;
pub use self::theme::Fault;

use self::calendar::Calendar;
use self::data::Data;
use self::theme::{Layer, Theme};
use crate::clock::Timestamp;
use crate::secret::sha256;
use crate::tenant_id::TenantId;

/// The name shown where no tenant is known.
const OWN_NAME: &str = "lychgate";

/// What all pages share.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Whose page it is; decides which templates it is made of.
    pub tenant: Option<&'a TenantId>,
    /// The tenant's name; its id if unset.
    pub display_name: Option<&'a str>,
    /// The URL of the tenant's logo.
    pub logo: Option<&'a str>,
    /// The tenant's colour.
    pub accent: Option<[u8; 3]>,
    /// Where to get help: https, http, mailto or tel; anything else is left out.
    pub support_url: Option<&'a str>,
    /// The path before the tenant's routes, such as `/acme`, `/acme/.lychgate` or nothing.
    pub base: &'a str,
    /// The path of the assets, such as `/assets`.
    pub assets: &'a str,
    /// The URL of the form for local accounts, where the tenant has them.
    pub local: Option<&'a str>,
    /// The language.
    pub locale: Locale,
    /// The request's id.
    pub request_id: &'a str,
}

/// A page and what is on it.
#[derive(Clone, Debug)]
pub enum Page<'a> {
    /// What this is.
    Landing {
        /// The tenants to choose from; empty when they are not listed.
        tenants: Vec<LandingTenant<'a>>,
    },
    /// A tenant's first page: log in, sign up.
    Index,
    /// Asks for the name and the password of a local account.
    LocalLogin(LocalLogin<'a>),
    /// Who is signed in.
    Dashboard(Dashboard<'a>),
    /// The session has ended.
    LoggedOut,
    /// Asks whether a sign-out that another site caused is wanted.
    ConfirmLogout,
    /// Asks whether a person wants to be forgotten.
    ConfirmDisconnect,
    /// Something is wrong.
    Error(ErrorPage<'a>),
}

/// A tenant on the landing page.
#[derive(Clone, Copy, Debug)]
pub struct LandingTenant<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name; the id if unset.
    pub display_name: Option<&'a str>,
    /// The path or the URL before its routes.
    pub base: &'a str,
}

/// The form for local accounts.
#[derive(Clone, Copy, Debug)]
pub struct LocalLogin<'a> {
    /// What proves that the form is ours.
    pub form: &'a str,
    /// The name, as it was typed.
    pub username: &'a str,
    /// Where to go afterwards.
    pub return_to: Option<&'a str>,
    /// Whether name and password were wrong.
    pub refused: bool,
}

/// Who is signed in and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Dashboard<'a> {
    /// What the person is called.
    pub name: &'a str,
    /// Their e-mail address.
    pub email: Option<&'a str>,
    /// The URL of their picture; initials if unset or not an http(s) URL or a path.
    pub picture: Option<&'a str>,
    /// What is known about them. No tokens.
    pub claims: &'a Map<String, Value>,
    /// Whether that is known from a local account, not from the provider.
    pub local: bool,
    /// When the session ends.
    pub session: SessionTimes,
    /// Where else they are signed in, this session included; none if that is not known.
    pub sessions: &'a [OwnSession],
}

/// A session in the list of one's own.
#[derive(Clone, Debug)]
pub struct OwnSession {
    /// What it is called in the path of the request to end it.
    pub reference: String,
    /// The browser's name of itself.
    pub user_agent: Option<String>,
    /// Where the browser was.
    pub address: Option<IpAddr>,
    /// When it began.
    pub created: Timestamp,
    /// When it was last used.
    pub last_seen: Timestamp,
    /// Whether it is the one that the page is shown to.
    pub is_this: bool,
}

/// When a session began and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimes {
    /// When the person signed in.
    pub created: Timestamp,
    /// When it ends without another request.
    pub idle_end: Timestamp,
    /// When it ends in any case.
    pub absolute_end: Timestamp,
    /// Which of these comes first.
    pub ends: SessionEnd,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// Nobody uses it until [`SessionTimes::idle_end`].
    Idle,
    /// The tenant's limit, [`SessionTimes::absolute_end`].
    Absolute,
    /// The provider's limit, [`SessionTimes::absolute_end`].
    Provider,
}

/// What is wrong.
#[derive(Clone, Copy, Debug)]
pub struct ErrorPage<'a> {
    /// The HTTP status, shown large.
    pub status: u16,
    /// What the page says and offers.
    pub text: ErrorText,
    /// The stable code, for those who help.
    pub code: &'a str,
    /// What exactly is wrong, in our words, for whoever made the link; English.
    pub detail: Option<&'a str>,
    /// A sentence of the provider's, cleaned and cut by the caller.
    pub provider_said: Option<&'a str>,
}

/// A file below the path of the assets. Its name changes with its content, so it may be cached for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The content.
    pub bytes: Bytes,
}

/// Why the templates cannot be used: every fault in every file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct PagesError {
    /// In order of files and lines, at least one.
    pub faults: Vec<Fault>,
}

/// Why a page cannot be made: a template asks for what is not there.
#[derive(Debug, thiserror::Error)]
#[error("page {page}: {fault}")]
pub struct RenderError {
    /// The page's template.
    pub page: &'static str,
    /// The template and the line to blame.
    pub fault: Fault,
}

/// All templates, checked and ready.
#[derive(Debug)]
pub struct Pages {
    shared: Theme,
    of_tenants: HashMap<TenantId, Theme>,
    assets: BTreeMap<String, Asset>,
}

impl Pages {
    /// The embedded templates, with the files of `overrides` and of `overrides/<tenant>` over them. A file that does
    /// not parse, names what does not exist, or asks for data that no page has, is an error.
    pub fn new(overrides: Option<&Path>) -> Result<Self, PagesError> {
        let shipped = Layer::embedded();
        let Some(folder) = overrides else {
            return Theme::load(&[&shipped]).map(|shared| Self::of(shared, HashMap::new())).map_err(error);
        };
        let general = Layer::read(folder).map_err(|fault| error([fault]))?;
        let shared = tried(&[&shipped, &general]).map_err(error)?;
        let mut of_tenants = HashMap::new();
        let mut faults = Vec::new();
        for tenant in tenants_in(folder).map_err(|fault| error([fault]))? {
            let layer = Layer::read(&folder.join(tenant.as_str())).map_err(|fault| vec![fault]);
            match layer.and_then(|layer| tried(&[&shipped, &general, &layer])) {
                Ok(theme) => drop(of_tenants.insert(tenant, theme)),
                Err(more) => faults.extend(more),
            }
        }
        if faults.is_empty() { Ok(Self::of(shared, of_tenants)) } else { Err(error(faults)) }
    }

    fn of(shared: Theme, of_tenants: HashMap<TenantId, Theme>) -> Self {
        let themes = of_tenants.values().chain([&shared]);
        let assets = themes.flat_map(|theme| theme.assets.clone()).collect();
        Self { shared, of_tenants, assets }
    }

    /// A digest of all files that [`Pages::new`] would read: another one is another look.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn fingerprint(overrides: Option<&Path>) -> Result<[u8; 32], PagesError> {
        let Some(folder) = overrides else { return Ok([0; 32]) };
        let mut said = Layer::read(folder).map_err(|fault| error([fault]))?.fingerprint();
        for tenant in tenants_in(folder).map_err(|fault| error([fault]))? {
            said.extend(tenant.as_str().bytes());
            said.extend(Layer::read(&folder.join(tenant.as_str())).map_err(|fault| error([fault]))?.fingerprint());
        }
        Ok(sha256(&said))
    }

    /// The folders that the files of `overrides` lie in.
    pub fn folders(overrides: &Path) -> Vec<PathBuf> {
        let tenants = tenants_in(overrides).unwrap_or_default();
        let below = |folder: PathBuf| [folder.join("messages"), folder.join("assets"), folder];
        let roots = tenants.iter().map(|tenant| overrides.join(tenant.as_str())).chain([overrides.to_owned()]);
        roots.flat_map(below).filter(|folder| folder.is_dir()).collect()
    }

    /// Makes a page.
    pub fn render(&self, frame: &Frame<'_>, page: &Page<'_>) -> Result<String, RenderError> {
        let theme = frame.tenant.and_then(|tenant| self.of_tenants.get(tenant)).unwrap_or(&self.shared);
        let name = page.template();
        let html = theme.render(name, frame.locale, &data(theme, frame, page));
        html.map_err(|error| RenderError { page: name, fault: theme.blame(&error) })
    }

    /// The file of this name below the path of the assets: a hashed name, or `accent-rrggbb.css`.
    pub fn asset(&self, file_name: &str) -> Option<Asset> {
        self.assets.get(file_name).cloned().or_else(|| {
            let css = accent::file(file_name)?;
            Some(Asset { content_type: "text/css; charset=utf-8", bytes: css.into() })
        })
    }
}

fn error(faults: impl IntoIterator<Item = Fault>) -> PagesError {
    let in_order: BTreeSet<Fault> = faults.into_iter().collect();
    PagesError { faults: in_order.into_iter().collect() }
}

/// The folders in `overrides` that are named like a tenant, in order. One called `messages` holds messages.
fn tenants_in(overrides: &Path) -> Result<BTreeSet<TenantId>, Fault> {
    let entries = fs::read_dir(overrides).map_err(|error| Fault {
        file: overrides.display().to_string(),
        line: None,
        reason: format!("cannot be read: {error}"),
    })?;
    let folders = entries.flatten().filter(|entry| entry.path().is_dir() && entry.file_name() != "messages");
    Ok(folders.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// A theme that was tried on a page of every kind.
fn tried(layers: &[&Layer]) -> Result<Theme, Vec<Fault>> {
    let theme = Theme::load(layers)?;
    let tenant = "acme".parse().ok();
    let full = Frame {
        tenant: tenant.as_ref(),
        display_name: Some("Acme Bank"),
        logo: Some("/logo.svg"),
        accent: None,
        support_url: Some("https://acme.example/help"),
        base: "/acme",
        assets: "/assets",
        local: Some("/acme/login/local"),
        locale: Locale::En,
        request_id: "sample",
    };
    let bare = Frame { tenant: None, display_name: None, logo: None, support_url: None, base: "", local: None, ..full };
    let (claims, sessions) = (sample::claims(), sample::sessions());
    let pages = sample::pages(&claims, &sessions);
    let tries = pages.iter().flat_map(|page| [(&full, page), (&bare, page)]);
    let failed =
        tries.filter_map(|(frame, page)| theme.by_handlebars(page.template(), &data(&theme, frame, page)).err());
    let faults: Vec<_> = failed.map(|error| theme.blame(&error)).collect();
    if faults.is_empty() { Ok(theme) } else { Err(faults) }
}

/// What of a page's data its kind and its language decide alone.
const KNOWN: [&str; 3] = ["locale", "kind", "brand_is_heading"];

fn data<'d>(theme: &'d Theme, frame: &Frame<'d>, page: &'d Page<'d>) -> Data<'d> {
    let schemes = ["https://", "http://", "mailto:", "tel:"];
    Data::fields([
        ("page", page.data(theme, frame)),
        ("locale", frame.locale.as_str().into()),
        ("kind", page.template().into()),
        ("brand_is_heading", matches!(page, Page::Dashboard(_)).into()),
        ("name", frame.display_name.or(frame.tenant.map(TenantId::as_str)).unwrap_or(OWN_NAME).into()),
        ("logo", frame.logo.into()),
        ("accent", accent::file_name(frame.accent.unwrap_or(accent::DEFAULT)).into()),
        ("support_url", frame.support_url.filter(|url| starts_with_one_of(url, &schemes)).into()),
        ("base", frame.base.into()),
        ("assets", frame.assets.into()),
        ("local", frame.local.into()),
        ("request_id", frame.request_id.into()),
    ])
}

impl Page<'_> {
    const fn template(&self) -> &'static str {
        match self {
            Self::Landing { .. } => "landing",
            Self::Index => "index",
            Self::LocalLogin(_) => "local_login",
            Self::Dashboard(_) => "dashboard",
            Self::LoggedOut => "logged_out",
            Self::ConfirmLogout => "confirm_logout",
            Self::ConfirmDisconnect => "confirm_disconnect",
            Self::Error(_) => "error",
        }
    }

    fn data<'d>(&'d self, theme: &'d Theme, frame: &Frame<'d>) -> Data<'d> {
        match self {
            Self::Landing { tenants } => Data::fields([("tenants", tenants.iter().map(LandingTenant::data).collect())]),
            Self::LocalLogin(form) => form.data(),
            Self::Dashboard(dashboard) => dashboard.data(theme, frame.locale),
            Self::Error(page) => page.data(theme, frame),
            Self::Index | Self::LoggedOut | Self::ConfirmLogout | Self::ConfirmDisconnect => Data::Nothing,
        }
    }
}

impl LandingTenant<'_> {
    fn data(&self) -> Data<'_> {
        let name = self.display_name.unwrap_or(self.id);
        Data::fields([
            ("name", name.into()),
            ("base", self.base.into()),
            ("initials", initials::initials(name).into()),
            ("color", initials::color(self.id).into()),
        ])
    }
}

impl LocalLogin<'_> {
    fn data(&self) -> Data<'_> {
        let encoded = self.return_to.map(|to| utf8_percent_encode(to, NON_ALPHANUMERIC).to_string());
        Data::fields([
            ("form", self.form.into()),
            ("username", self.username.into()),
            ("return_to", self.return_to.into()),
            ("return_to_encoded", encoded.into()),
            ("refused", self.refused.into()),
        ])
    }
}

impl Dashboard<'_> {
    fn data<'d>(&'d self, theme: &'d Theme, locale: Locale) -> Data<'d> {
        let calendar = Calendar::of(&theme.messages, locale);
        let SessionTimes { created, idle_end, absolute_end, ends } = self.session;
        let end = if ends == SessionEnd::Idle { idle_end } else { absolute_end };
        let person = self.claims.get("sub").and_then(Value::as_str).unwrap_or(self.name);
        let picture = self.picture.filter(|url| starts_with_one_of(url, &["https://", "http://", "/"]));
        Data::fields([
            ("name", self.name.into()),
            ("email", self.email.filter(|email| *email != self.name).into()),
            ("picture", picture.into()),
            ("initials", initials::initials(self.name).into()),
            ("color", initials::color(person).into()),
            ("created", calendar.moment(created).into()),
            ("ends", calendar.moment(end).into()),
            ("absolute_end", calendar.moment(absolute_end).into()),
            ("ends_idle", (ends == SessionEnd::Idle).into()),
            ("ends_at_provider", (ends == SessionEnd::Provider).into()),
            ("sessions", self.sessions.iter().map(|session| session.data(theme, locale)).collect()),
            ("local", self.local.into()),
            ("claims", claims::rows(self.claims, &theme.messages, locale).into()),
            ("json", serde_json::to_string_pretty(self.claims).unwrap_or_default().into()),
        ])
    }
}

impl OwnSession {
    fn data<'d>(&'d self, theme: &'d Theme, locale: Locale) -> Data<'d> {
        let calendar = Calendar::of(&theme.messages, locale);
        let (browser, system) = browser_name::of(self.user_agent.as_deref().unwrap_or_default());
        Data::fields([
            ("reference", (&*self.reference).into()),
            ("browser", browser.into()),
            ("system", system.filter(|_| browser.is_some()).into()),
            ("address", self.address.map(|address| address.to_canonical().to_string()).into()),
            ("created", calendar.moment(self.created).into()),
            ("last_seen", calendar.moment(self.last_seen).into()),
            ("is_this", self.is_this.into()),
        ])
    }
}

impl ErrorPage<'_> {
    fn data<'d>(&'d self, theme: &'d Theme, frame: &Frame<'d>) -> Data<'d> {
        let words = |key: &str| theme.messages.get(frame.locale, key).unwrap_or_default();
        let part = |part: &str| words(&format!("error.{}.{part}", self.text.id()));
        let known = |action: &&Action| frame.tenant.is_some() || !action.needs_tenant();
        let offered = self.text.actions().iter().filter(known);
        let actions: Vec<Data<'_>> = offered
            .filter_map(|action| {
                let href = match action {
                    Action::LocalSignIn => frame.local?.to_owned(),
                    _ => action.route().map(|route| format!("{}{route}", frame.base)).unwrap_or_default(),
                };
                Some(Data::fields([("href", href.into()), ("label", words(&format!("action.{}", action.id())).into())]))
            })
            .collect();
        let causes: Vec<&str> = if self.text.has_causes() { part("causes").lines().collect() } else { Vec::new() };
        Data::fields([
            ("status", self.status.into()),
            ("title", part("title").into()),
            ("text", part("text").into()),
            ("next", part("next").into()),
            ("causes", causes.into()),
            ("code", self.code.into()),
            ("detail", self.detail.into()),
            ("provider_said", self.provider_said.into()),
            ("actions", actions.into()),
        ])
    }
}

fn starts_with_one_of(url: &str, beginnings: &[&str]) -> bool {
    beginnings
        .iter()
        .any(|beginning| url.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning)))
}

#[cfg(test)]
mod tests;
