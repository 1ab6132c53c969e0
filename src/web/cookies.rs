//! The cookies that we set: the session's, one for each sign-in attempt, the marker of a sign-in that has just succeeded,
//! and what the form for local accounts is bound to. Their names are made of the tenant's id, which holds no dot; whatever follows a dot is ours.

use cookie::time::Duration;
use cookie::{Cookie, SameSite};

use super::request::Request;
use crate::flow::attempt::{AttemptId, LIFETIME};
use crate::net::split_port;
use crate::tenant::{Place, Tenant};

/// Attempts that one browser may have under way at one tenant.
const MAX_ATTEMPTS: usize = 5;

/// What all our cookies' names hold before the tenant's id.
const STEM: &str = "lychgate-";

/// How long a sign-in counts as one that has just succeeded, in seconds.
const MARKER_LIFETIME: i64 = 60;

/// The names and attributes of one tenant's cookies at one place.
#[derive(Clone, Copy)]
pub(super) struct Cookies<'a> {
    tenant: &'a Tenant,
    secure: bool,
    /// The domain that the session's cookie is set for; all others are the host's alone.
    domain: Option<&'a str>,
}

impl<'a> Cookies<'a> {
    /// The cookies of `tenant` at `place`.
    pub(super) fn of(tenant: &'a Tenant, place: &Place) -> Self {
        let secure = place.is_https();
        let host = split_port(place.authority()).0;
        Self { tenant, secure, domain: tenant.settings.cookie_domain_at(host).filter(|_| secure) }
    }

    /// Whether the session's cookie of a sign-in at `place` comes along to `host`.
    pub(super) fn reach(&self, place: &Place, host: &str) -> bool {
        let (own, host) = (split_port(place.authority()).0, split_port(host).0);
        own == host || self.domain.is_some_and(|domain| self.tenant.settings.cookie_domain_at(host) == Some(domain))
    }

    /// The name that the host's own cookies begin with.
    fn name(&self) -> String {
        format!("{}{STEM}{}", self.prefix(), self.tenant.id())
    }

    const fn prefix(&self) -> &'static str {
        if self.secure { "__Host-" } else { "" }
    }

    fn session_name(&self) -> String {
        format!("{}{STEM}{}", self.session_prefix(), self.tenant.id())
    }

    const fn session_prefix(&self) -> &'static str {
        if self.domain.is_some() { "__Secure-" } else { self.prefix() }
    }

    fn attempt_name(&self, id: &AttemptId) -> String {
        format!("{}.{}", self.name(), id.as_str())
    }

    fn marker_name(&self) -> String {
        format!("{}.signed-in", self.name())
    }

    fn cookie(&self, name: String, value: String, same_site: SameSite) -> Cookie<'static> {
        // Browsers treat loopback as secure, so that `SameSite=None` works there without https.
        let secure = self.secure || same_site == SameSite::None;
        Cookie::build((name, value)).path("/").http_only(true).same_site(same_site).secure(secure).build()
    }

    fn lasting(&self, name: String, value: String, same_site: SameSite, seconds: i64) -> Cookie<'static> {
        let mut cookie = self.cookie(name, value, same_site);
        cookie.set_max_age(Duration::seconds(seconds));
        cookie
    }

    fn removal(&self, name: String) -> String {
        self.lasting(name, String::new(), SameSite::Lax, 0).to_string()
    }

    /// The session's cookie; it lives as long as the browser, the session decides on the server.
    pub(super) fn session(&self, value: &str) -> String {
        self.with_domain(self.cookie(self.session_name(), value.to_owned(), SameSite::Lax))
    }

    /// Takes the session's cookie back: a browser heeds that only with the domain it was set for.
    fn remove_session(&self) -> String {
        self.with_domain(self.lasting(self.session_name(), String::new(), SameSite::Lax, 0))
    }

    fn with_domain(&self, mut cookie: Cookie<'static>) -> String {
        if let Some(domain) = self.domain {
            cookie.set_domain(domain.to_owned());
        }
        cookie.to_string()
    }

    /// The session cookie's value, as the browser brought it. Two of a name are none: one of them is somebody else's.
    pub(super) fn unverified_session<'r>(&self, request: &'r Request) -> Option<&'r str> {
        let (prefix, id) = (self.session_prefix(), self.tenant.id().as_str());
        let is_it = |name: &str| name.strip_prefix(prefix).and_then(|name| name.strip_prefix(STEM)) == Some(id);
        only(request, is_it)
    }

    /// The cookie of an attempt.
    pub(super) fn attempt(&self, id: &AttemptId, sealed: &str, cross_site: bool) -> String {
        let same_site = if cross_site { SameSite::None } else { SameSite::Lax };
        self.lasting(self.attempt_name(id), sealed.to_owned(), same_site, LIFETIME).to_string()
    }

    /// The value of the attempt's cookie.
    pub(super) fn unverified_attempt<'r>(&self, request: &'r Request, id: &AttemptId) -> Option<&'r str> {
        named(request, &self.attempt_name(id))
    }

    /// Takes the attempt's cookie back.
    pub(super) fn remove_attempt(&self, id: &AttemptId) -> String {
        self.removal(self.attempt_name(id))
    }

    /// Takes back the oldest attempts, so that with a new one there are at most five.
    pub(super) fn make_room(&self, request: &Request) -> Vec<String> {
        let mut ids = self.attempts(request);
        ids.sort();
        let too_many = (ids.len() + 1).saturating_sub(MAX_ATTEMPTS);
        ids.iter().take(too_many).map(|id| self.remove_attempt(id)).collect()
    }

    fn attempts(&self, request: &Request) -> Vec<AttemptId> {
        let name = self.name();
        let id = |cookie: &str| AttemptId::parse(cookie.strip_prefix(&name)?.strip_prefix('.')?);
        request.cookies().filter_map(|(cookie, _)| id(cookie)).collect()
    }

    /// Marks that a sign-in has just succeeded: how many have, each within a minute after the one before. Where another
    /// site posts the answer to a sign-in, it must see how many there were.
    pub(super) fn marker(&self, request: &Request, cross_site: bool) -> String {
        let count = self.marked(request).saturating_add(1);
        let same_site = if cross_site { SameSite::None } else { SameSite::Lax };
        self.lasting(self.marker_name(), count.to_string(), same_site, MARKER_LIFETIME).to_string()
    }

    /// How many sign-ins have just succeeded, as the browser says; what it says badly counts as one.
    pub(super) fn marked(&self, request: &Request) -> u8 {
        named(request, &self.marker_name()).map_or(0, |count| count.parse().unwrap_or(1))
    }

    /// Takes the marker back.
    pub(super) fn remove_marker(&self) -> String {
        self.removal(self.marker_name())
    }

    fn form_name(&self) -> String {
        format!("{}.form", self.name())
    }

    /// What a form of ours is bound to; for requests of our own pages alone.
    pub(super) fn form(&self, value: &str, seconds: i64) -> String {
        self.lasting(self.form_name(), value.to_owned(), SameSite::Strict, seconds).to_string()
    }

    /// The value of the form's cookie.
    pub(super) fn unverified_form<'r>(&self, request: &'r Request) -> Option<&'r str> {
        named(request, &self.form_name())
    }

    /// Takes the form's cookie back.
    pub(super) fn remove_form(&self) -> String {
        self.removal(self.form_name())
    }

    /// Takes everything back: session, marker, form, attempts.
    pub(super) fn remove_all(&self, request: &Request) -> Vec<String> {
        let attempts = self.attempts(request).into_iter().map(|id| self.remove_attempt(&id));
        attempts.chain([self.remove_session(), self.remove_marker(), self.remove_form()]).collect()
    }
}

fn named<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    only(request, |cookie| cookie == name)
}

/// The value of the one cookie whose name is it.
fn only(request: &Request, is_it: impl Fn(&str) -> bool) -> Option<&str> {
    let mut values = request.cookies().filter(|(cookie, _)| is_it(cookie)).map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}
