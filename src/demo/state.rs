//! What the provider remembers: who is registered, who is signed in, what was issued.

use std::collections::{HashMap, HashSet};

use super::call::Params;
use super::keys::opaque;
use super::spec::{Client, Invitation, ProviderSpec, User};
use crate::clock::Timestamp;
use crate::secret::sha256;

/// Seconds that a code is good for.
const CODE_LIFE: i64 = 600;
/// Seconds that a pushed request is good for.
pub(super) const PUSHED_LIFE: i64 = 30;
/// Seconds that a sign-in page is good for.
const PENDING_LIFE: i64 = 3600;

/// Everything that changes while the provider runs.
#[derive(Default)]
pub(super) struct State {
    pub(super) clients: Vec<Client>,
    pub(super) users: Vec<User>,
    pub(super) invitations: Vec<Invitation>,
    pub(super) auto_approve: Option<String>,
    /// By the value of the single sign-on cookie.
    pub(super) sessions: HashMap<String, Session>,
    /// Authorization requests whose person looks at the sign-in page, by the page's `state`.
    pending: HashMap<String, Kept<Params>>,
    /// Pushed authorization requests, by `request_uri`.
    pushed: HashMap<String, Kept<(String, Params)>>,
    codes: HashMap<String, Kept<Code>>,
    access_tokens: HashMap<String, Kept<Grant>>,
    /// Refresh tokens, also used and revoked ones: the name of their family.
    refresh_tokens: HashMap<String, String>,
    /// What a family of refresh tokens may still do.
    families: HashMap<String, Family>,
    /// Seconds that the refresh token before the latest may be used again.
    rotation_overlap: i64,
    /// Where clients want to be told of sign-outs.
    pub(super) backchannel_uris: HashMap<String, String>,
    /// `jti` of client assertions.
    pub(super) assertions: HashSet<String>,
    /// The id tokens issued, by their hash: for which client and session.
    id_tokens: HashMap<[u8; 32], (String, Option<String>)>,
}

/// Refresh tokens of one sign-in.
struct Family {
    grant: Grant,
    /// The one good token.
    good: String,
    /// The one before, and until when it is good, too.
    before: Option<(String, Timestamp)>,
}

/// Somebody signed in at the provider (single sign-on).
#[derive(Clone)]
pub(super) struct Session {
    pub(super) sid: String,
    pub(super) username: String,
    pub(super) auth_time: Timestamp,
}

/// What a person's sign-in allows a client.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) username: String,
    pub(super) scope: String,
    pub(super) audience: Option<String>,
    pub(super) organization: Option<(String, String)>,
    pub(super) sid: String,
    pub(super) auth_time: Timestamp,
    /// Whether the id token shows `auth_time`.
    pub(super) shows_auth_time: bool,
    pub(super) nonce: Option<String>,
    pub(super) acr_values: Option<String>,
    /// The name of what was issued together: revoked together.
    pub(super) family: String,
}

impl Grant {
    pub(super) fn has_scope(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|one| one == scope)
    }
}

/// An authorization code.
#[derive(Clone)]
pub(super) struct Code {
    pub(super) grant: Grant,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) used: bool,
}

/// Something with an end.
struct Kept<T> {
    until: Timestamp,
    it: T,
}

fn keep<T>(map: &mut HashMap<String, Kept<T>>, key: String, it: T, now: Timestamp, life: i64) {
    map.retain(|_, kept| kept.until > now);
    map.insert(key, Kept { until: now.plus(life), it });
}

fn good<T>(kept: &Kept<T>, now: Timestamp) -> Option<&T> {
    (kept.until > now).then_some(&kept.it)
}

impl State {
    pub(super) fn new(spec: &ProviderSpec) -> Self {
        Self {
            clients: spec.clients.clone(),
            users: spec.users.clone(),
            invitations: spec.invitations.clone(),
            rotation_overlap: spec.rotation_overlap,
            ..Self::default()
        }
    }

    pub(super) fn client(&self, client_id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.client_id == client_id)
    }

    pub(super) fn user(&self, username: &str) -> Option<&User> {
        self.users.iter().find(|user| user.username.eq_ignore_ascii_case(username))
    }

    /// Signs somebody in; the value of their cookie.
    pub(super) fn sign_in(&mut self, username: &str, now: Timestamp) -> String {
        let cookie = opaque();
        let session = Session { sid: opaque(), username: username.to_owned(), auth_time: now };
        self.sessions.insert(cookie.clone(), session);
        cookie
    }

    pub(super) fn keep_pending(&mut self, request: Params, now: Timestamp) -> String {
        let name = opaque();
        keep(&mut self.pending, name.clone(), request, now, PENDING_LIFE);
        name
    }

    pub(super) fn pending(&self, name: &str, now: Timestamp) -> Option<Params> {
        good(self.pending.get(name)?, now).cloned()
    }

    pub(super) fn forget_pending(&mut self, name: &str) {
        self.pending.remove(name);
    }

    /// Keeps a request that a client pushed; its `request_uri`.
    pub(super) fn push(&mut self, client_id: &str, request: Params, now: Timestamp) -> String {
        let uri = format!("urn:ietf:params:oauth:request_uri:{}", opaque());
        keep(&mut self.pushed, uri.clone(), (client_id.to_owned(), request), now, PUSHED_LIFE);
        uri
    }

    /// Takes a pushed request, once.
    pub(super) fn take_pushed(&mut self, uri: &str, client_id: &str, now: Timestamp) -> Option<Params> {
        let (owner, request) = good(&self.pushed.remove(uri)?, now)?.clone();
        (owner == client_id).then_some(request)
    }

    pub(super) fn issue_code(&mut self, code: Code, now: Timestamp) -> String {
        let text = opaque();
        keep(&mut self.codes, text.clone(), code, now, CODE_LIFE);
        text
    }

    /// The code as it was before this use. A second use kills what the first one brought (RFC 6749, section 4.1.2).
    pub(super) fn use_code(&mut self, text: &str, now: Timestamp) -> Option<Code> {
        let kept = self.codes.get_mut(text)?;
        let code = good(kept, now)?.clone();
        kept.it.used = true;
        if code.used {
            self.revoke_family(&code.grant.family);
        }
        Some(code)
    }

    pub(super) fn issue_access_token(&mut self, text: String, grant: Grant, now: Timestamp, life: i64) {
        keep(&mut self.access_tokens, text, grant, now, life);
    }

    pub(super) fn access(&self, token: &str, now: Timestamp) -> Option<&Grant> {
        good(self.access_tokens.get(token)?, now)
    }

    /// A new refresh token; the family's earlier ones are used up.
    pub(super) fn issue_refresh_token(&mut self, grant: Grant, now: Timestamp) -> String {
        let text = opaque();
        let name = grant.family.clone();
        self.refresh_tokens.insert(text.clone(), name.clone());
        let until = now.plus(self.rotation_overlap);
        let before = self.families.remove(&name).map(|family| (family.good, until));
        self.families.insert(name, Family { grant, good: text.clone(), before });
        text
    }

    /// What a refresh token allows. One that was used before kills its family.
    pub(super) fn use_refresh_token(&mut self, token: &str, client_id: &str, now: Timestamp) -> Option<Grant> {
        let name = self.refresh_tokens.get(token)?.clone();
        let family = self.families.get(&name)?;
        if family.grant.client_id != client_id {
            return None;
        }
        if family.good == token || family.before.as_ref().is_some_and(|(text, until)| text == token && now < *until) {
            return Some(family.grant.clone());
        }
        self.revoke_family(&name);
        None
    }

    /// Revokes a refresh token of this client with its family, or an access token.
    pub(super) fn revoke(&mut self, token: &str, client_id: &str) {
        let owned = |grant: &Grant| grant.client_id == client_id;
        if let Some(family) = self.refresh_tokens.get(token).cloned() {
            if self.families.get(&family).is_some_and(|family| owned(&family.grant)) {
                self.revoke_family(&family);
            }
        } else if self.access_tokens.get(token).is_some_and(|kept| owned(&kept.it)) {
            self.access_tokens.remove(token);
        }
    }

    fn revoke_family(&mut self, family: &str) {
        self.families.remove(family);
        self.access_tokens.retain(|_, kept| kept.it.family != family);
    }

    /// Remembers an id token that was issued, for hints at the sign-out.
    pub(super) fn remember_id_token(&mut self, token: &str, client_id: &str, sid: Option<&str>) {
        self.id_tokens.insert(sha256(token.as_bytes()), (client_id.to_owned(), sid.map(str::to_owned)));
    }

    /// The clients that signed somebody in by this session.
    pub(super) fn clients_of(&self, sid: &str) -> impl Iterator<Item = &String> {
        let of_session = self.id_tokens.values().filter(move |(_, of)| of.as_deref() == Some(sid));
        of_session.map(|(client_id, _)| client_id).collect::<HashSet<_>>().into_iter()
    }

    /// The client and session of an id token that this provider issued.
    pub(super) fn id_token(&self, token: &str) -> Option<&(String, Option<String>)> {
        self.id_tokens.get(&sha256(token.as_bytes()))
    }
}
