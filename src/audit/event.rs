//! What the audit log tells: the events by name, and the fields that they may have. Every field has a method of its own
//! that takes plain text or a number: a `SecretString` goes into none of them.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::claims::Claims;
use crate::secret::{base64url, sha256};
use crate::tenant_id::TenantId;

/// Characters of a text that somebody else wrote.
const LONGEST: usize = 512;
/// Bytes of a session's name in the log.
const SESSION_LEN: usize = 12;

/// How bad an event is, as syslog says it (RFC 5424, section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something is broken.
    Error = 3,
    /// Somebody was refused.
    Warning = 4,
    /// Something changed.
    Notice = 5,
    /// All is well.
    Info = 6,
}

impl Severity {
    /// Its name in a line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
        }
    }
}

/// How what an event tells of went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Success,
    /// It went wrong.
    Failure,
    /// It was not allowed.
    Denied,
}

impl Outcome {
    /// Its name in a line, and the label `result`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Denied => "denied",
        }
    }
}

macro_rules! kinds {
    ($($(#[doc = $help:literal])+ $kind:ident: $name:literal, $outcome:ident, $severity:ident;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[doc = $help])+ $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The event's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// What it tells, a sentence.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$kind => concat!($($help),+),)* }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$kind => Severity::$severity,)* }
            }

            const fn outcome(self) -> Outcome {
                match self { $(Self::$kind => Outcome::$outcome,)* }
            }
        }
    };
}

kinds! {
    /// A browser was sent to the provider.
    SignInStarted: "sign_in.started", Success, Info;
    /// Somebody signed in.
    SignInSucceeded: "sign_in.succeeded", Success, Info;
    /// A sign-in came to nothing; `reason` is the code of its page.
    SignInFailed: "sign_in.failed", Failure, Warning;
    /// A session began.
    SessionCreated: "session.created", Success, Info;
    /// A session got new tokens.
    SessionRenewed: "session.renewed", Success, Info;
    /// A session got no new tokens.
    SessionRenewalFailed: "session.renewal_failed", Failure, Warning;
    /// A session ended; `reason` is that of `lychgate_sessions_ended_total`.
    SessionEnded: "session.ended", Success, Info;
    /// Somebody signed out here.
    SignOutLocal: "sign_out.local", Success, Info;
    /// Somebody signed out here and was sent on to the provider to do so there.
    SignOutProvider: "sign_out.provider", Success, Info;
    /// The provider's frame in a browser asked for sessions to end.
    SignOutFrontchannel: "sign_out.frontchannel", Success, Info;
    /// The provider asked for sessions to end, by a logout token.
    SignOutBackchannel: "sign_out.backchannel", Success, Info;
    /// A request was not let pass.
    AccessDenied: "access.denied", Denied, Warning;
    /// A token that somebody brought was no good; `token` says which kind.
    TokenRejected: "token.rejected", Denied, Warning;
    /// A request was not believed to come from a page that may make it.
    CsrfRejected: "csrf.rejected", Denied, Warning;
    /// Somebody tried too often.
    RateLimited: "rate_limited", Denied, Warning;
    /// A tenant was added.
    TenantAdded: "tenant.added", Success, Notice;
    /// A tenant's settings were changed.
    TenantChanged: "tenant.changed", Success, Notice;
    /// A tenant was removed.
    TenantRemoved: "tenant.removed", Success, Notice;
    /// A tenant's settings were refused; it goes on as it was, if it was there.
    TenantRejected: "tenant.rejected", Failure, Error;
    /// Settings were taken.
    ConfigApplied: "config.applied", Success, Notice;
    /// Settings were refused; those before go on.
    ConfigRejected: "config.rejected", Failure, Error;
    /// A key of the ring became the one that new sessions stand under.
    KeyActivated: "key.activated", Success, Notice;
    /// A key of the ring was dropped, and its sessions with it.
    KeyRetired: "key.retired", Success, Notice;
    /// An operator, or a person on their own behalf (`by`), did something to sessions, users, keys or settings.
    AdminAction: "admin.action", Success, Notice;
    /// The process began.
    ProcessStarted: "process.started", Success, Notice;
    /// The process ends.
    ProcessStopping: "process.stopping", Success, Notice;
    /// Lines were lost here: the sink failed, or was too slow.
    AuditDropped: "audit.dropped", Failure, Error;
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    pub(super) kind: Kind,
    pub(super) outcome: Outcome,
    pub(super) tenant: Option<TenantId>,
    /// Issuer and subject.
    pub(super) subject: Option<(String, String)>,
    fields: Vec<(&'static str, Value)>,
}

macro_rules! texts {
    ($($(#[doc = $help:literal])+ $field:ident;)*) => {
        $($(#[doc = $help])+
        #[must_use]
        pub fn $field(self, text: &str) -> Self {
            self.text(stringify!($field), text)
        })*
    };
}

impl Event {
    /// An event of this kind.
    pub const fn new(kind: Kind) -> Self {
        Self { kind, outcome: kind.outcome(), tenant: None, subject: None, fields: Vec::new() }
    }

    /// The tenant that it is about.
    #[must_use]
    pub fn tenant(self, tenant: &TenantId) -> Self {
        Self { tenant: Some(tenant.clone()), ..self.text("tenant", tenant.as_str()) }
    }

    /// The person that it is about; shown as the settings say.
    #[must_use]
    pub fn subject(self, issuer: &str, sub: &str) -> Self {
        Self { subject: Some((issuer.to_owned(), sub.to_owned())), ..self }
    }

    /// The session that it is about, by a name that says nothing about its cookie and stays the same while it lasts.
    #[must_use]
    pub fn session(self, id_hash: &[u8; 32]) -> Self {
        self.text("session", &base64url(&sha256(id_hash)[..SESSION_LEN]))
    }

    /// What was asked for was not done, for this reason.
    #[must_use]
    pub fn failed(self, reason: &str) -> Self {
        Self { outcome: Outcome::Failure, ..self.reason(reason) }
    }

    /// How the person signed in, as far as the claims say: `acr`, `amr`, `auth_time`.
    #[must_use]
    pub fn authentication(mut self, claims: Claims<'_>) -> Self {
        if let Some(acr) = claims.text("acr") {
            self = self.text("acr", acr);
        }
        let amr = claims.get("amr");
        let amr: Vec<Value> = amr
            .as_deref()
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .take(16)
            .map(|text| cut(text).into())
            .collect();
        if !amr.is_empty() {
            self.fields.push(("amr", amr.into()));
        }
        if let Some(time) = claims.get("auth_time").and_then(|time| time.as_i64()) {
            self.fields.push(("auth_time", time.into()));
        }
        self
    }

    texts! {
        /// Why: one of our own codes.
        reason;
        /// The kind of provider, as metrics call it: auth0, oidc or local.
        provider;
        /// The provider's issuer.
        issuer;
        /// Who we are at the provider.
        client_id;
        /// When the session ends in any case, RFC 3339.
        expires_at;
        /// The kind of token: bearer, id_token or logout_token.
        token;
        /// The method of the request that was denied.
        method;
        /// The host that it was for.
        host;
        /// Its path; a query is never told.
        path;
        /// What decided, as the tenant's file calls it.
        rule;
        /// What an operator did.
        action;
        /// Who did it: operator or person.
        by;
        /// Whom or what it was done to.
        target;
        /// The id of a key of the ring.
        key;
        /// What caused a reload.
        trigger;
        /// What is wrong with settings: file, key, and what is allowed.
        fault;
        /// What the settings hash to.
        config_hash;
        /// The version that runs.
        version;
    }

    /// How many of what it is about.
    #[must_use]
    pub fn count(mut self, count: usize) -> Self {
        self.fields.push(("count", count.into()));
        self
    }

    pub(super) fn text(mut self, name: &'static str, text: &str) -> Self {
        self.fields.push((name, cut(text).into()));
        self
    }

    /// The body of its line: a JSON object, without what numbers and links it.
    pub(super) fn body(&self, time: &str) -> String {
        serde_json::to_string(&Body { event: self, time }).unwrap_or_default()
    }
}

struct Body<'a> {
    event: &'a Event,
    time: &'a str,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", self.time)?;
        map.serialize_entry("event", self.event.kind.name())?;
        map.serialize_entry("outcome", self.event.outcome.as_str())?;
        map.serialize_entry("severity", self.event.kind.severity().as_str())?;
        for (name, value) in &self.event.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The beginning of a text, if it is long.
fn cut(text: &str) -> &str {
    text.char_indices().nth(LONGEST).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let names: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn a_body_is_an_object_whatever_stands_in_it() {
        let event = Event::new(Kind::AccessDenied).path("/a\"b\nc").reason(&"é".repeat(600)).count(2);
        let body: Value = serde_json::from_str(&event.body("now")).unwrap();
        assert_eq!(body["path"], "/a\"b\nc");
        assert_eq!(body["reason"].as_str().unwrap().chars().count(), LONGEST);
        assert!(!event.body("now").contains('\n'));
    }
}
