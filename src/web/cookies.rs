//! The cookies that we set: the session's, one for each sign-in attempt, and the marker of a sign-in that has just
//! succeeded. Their names are made of the tenant's id, which holds no dot; whatever follows a dot is ours.

use cookie::time::Duration;
use cookie::{Cookie, SameSite};

use super::request::Request;
use crate::flow::attempt::{AttemptId, LIFETIME};
use crate::tenant::{Place, Tenant};

/// Attempts that one browser may have under way at one tenant.
const MAX_ATTEMPTS: usize = 5;

/// How long a sign-in counts as one that has just succeeded, in seconds.
const MARKER_LIFETIME: i64 = 60;

/// The names and attributes of one tenant's cookies at one place.
#[derive(Clone, Copy)]
pub(super) struct Cookies<'a> {
    tenant: &'a Tenant,
    secure: bool,
}

impl<'a> Cookies<'a> {
    /// The cookies of `tenant` at `place`.
    pub(super) fn of(tenant: &'a Tenant, place: &Place) -> Self {
        Self { tenant, secure: place.is_https() }
    }

    fn name(&self) -> String {
        let prefix = if self.secure { "__Host-" } else { "" };
        format!("{prefix}lychgate-{}", self.tenant.id())
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
        self.cookie(self.name(), value.to_owned(), SameSite::Lax).to_string()
    }

    /// The session cookie's value, as the browser brought it. Two of a name are none: one of them is somebody else's.
    pub(super) fn unverified_session<'r>(&self, request: &'r Request) -> Option<&'r str> {
        only(request, &self.name())
    }

    /// The cookie of an attempt.
    pub(super) fn attempt(&self, id: &AttemptId, sealed: &str, cross_site: bool) -> String {
        let same_site = if cross_site { SameSite::None } else { SameSite::Lax };
        self.lasting(self.attempt_name(id), sealed.to_owned(), same_site, LIFETIME).to_string()
    }

    /// The value of the attempt's cookie.
    pub(super) fn unverified_attempt<'r>(&self, request: &'r Request, id: &AttemptId) -> Option<&'r str> {
        only(request, &self.attempt_name(id))
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

    /// Marks that a sign-in has just succeeded.
    pub(super) fn marker(&self) -> String {
        self.lasting(self.marker_name(), "1".to_owned(), SameSite::Lax, MARKER_LIFETIME).to_string()
    }

    /// Whether a sign-in has just succeeded.
    pub(super) fn has_marker(&self, request: &Request) -> bool {
        only(request, &self.marker_name()).is_some()
    }

    /// Takes the marker back.
    pub(super) fn remove_marker(&self) -> String {
        self.removal(self.marker_name())
    }

    /// Takes everything back: session, marker, attempts.
    pub(super) fn remove_all(&self, request: &Request) -> Vec<String> {
        let attempts = self.attempts(request).into_iter().map(|id| self.remove_attempt(&id));
        attempts.chain([self.removal(self.name()), self.remove_marker()]).collect()
    }
}

/// The value of the one cookie of this name.
fn only<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    let mut values = request.cookies().filter(|(cookie, _)| *cookie == name).map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}
