//! `/authorize` and `/oauth/par`: the authorization request, from the first check to the response that carries a code.
//!
//! Client and redirect URI are checked before anything else; where they are wrong, nobody is redirected anywhere.

use http::StatusCode;
use serde_json::json;

use super::answer::{self, Answer, add_param};
use super::call::{Call, Params};
use super::client_auth::authenticate;
use super::fault::{Fault, Place};
use super::keys::opaque;
use super::state::{Code, Grant, PUSHED_LIFE, Session, State};
use super::{Shared, pages};

/// Why an authorization request gets an error for an answer: `error` and `error_description`.
type Refusal = (&'static str, String);

fn refusal(error: &'static str, description: &str) -> Refusal {
    (error, description.to_owned())
}

/// GET and POST `/authorize`.
pub(super) fn authorize(shared: &Shared, call: &Call) -> Answer {
    let request = match unpacked(shared, call.params()) {
        Ok(request) => request,
        Err(message) => return pages::failure(shared, StatusCode::BAD_REQUEST, message),
    };
    if let Err(message) = check_client(shared, &request) {
        return pages::failure(shared, StatusCode::FORBIDDEN, message);
    }
    let pushed = call.params().has("request_uri");
    begin(shared, request, pushed, call.cookie(&shared.cookie))
}

/// POST `/oauth/par` (RFC 9126).
pub(super) fn push(shared: &Shared, call: &Call) -> Answer {
    let client = match authenticate(shared, call) {
        Ok(client) => client,
        Err(error) => return error.into(),
    };
    let mut request = call.form.clone();
    request
        .0
        .retain(|(name, _)| !matches!(name.as_str(), "client_secret" | "client_assertion" | "client_assertion_type"));
    if !request.has("client_id") {
        request.0.push(("client_id".to_owned(), client.client_id.clone()));
    }
    let refused = if request.has("request_uri") || request.get("client_id") != Some(&*client.client_id) {
        Err(refusal("invalid_request", "request_uri is not allowed, and client_id must be the client's"))
    } else if let Err(message) = check_client(shared, &request) {
        Err(refusal("invalid_request", message))
    } else {
        check(shared, &request)
    };
    if let Err((error, description)) = refused {
        return answer::error(StatusCode::BAD_REQUEST, error, &description);
    }
    let uri = shared.state().push(&client.client_id, request, shared.now());
    answer::json(StatusCode::CREATED, &json!({ "request_uri": uri, "expires_in": PUSHED_LIFE }))
}

/// The request itself, where it was pushed before.
fn unpacked(shared: &Shared, params: &Params) -> Result<Params, &'static str> {
    if params.doubled().is_some() {
        return Err("A parameter occurs twice.");
    }
    let Some(uri) = params.get("request_uri") else { return Ok(params.clone()) };
    let client_id = params.get("client_id").unwrap_or_default();
    shared.state().take_pushed(uri, client_id, shared.now()).ok_or("The request_uri is unknown, used or too old.")
}

fn check_client(shared: &Shared, request: &Params) -> Result<(), &'static str> {
    let state = shared.state();
    let client = request.get("client_id").and_then(|id| state.client(id)).ok_or("Unknown client: client_id.")?;
    let redirect_uri = request.get("redirect_uri").ok_or("redirect_uri is missing.")?;
    let allowed = client.redirect_uris.iter().any(|uri| uri == redirect_uri);
    allowed.then_some(()).ok_or("Callback URL mismatch: redirect_uri is not in the list of allowed callback URLs.")
}

/// What is checked of a request before anybody is asked to sign in.
fn check(shared: &Shared, request: &Params) -> Result<(), Refusal> {
    let invalid = |description: &str| Err(refusal("invalid_request", description));
    if request.get("response_type") != Some("code") {
        return Err(refusal("unsupported_response_type", "only code"));
    }
    if !matches!(request.get("response_mode"), None | Some("query" | "form_post")) {
        return invalid("response_mode is neither query nor form_post");
    }
    if !scopes(request).any(|scope| scope == "openid") {
        return Err(refusal("invalid_scope", "scope must hold openid"));
    }
    if request.get("code_challenge_method") != Some("S256") || request.get("code_challenge").map(str::len) != Some(43) {
        return invalid("code_challenge by S256 is required");
    }
    if request.get("max_age").is_some_and(|seconds| !seconds.bytes().all(|byte| byte.is_ascii_digit())) {
        return invalid("max_age is no number");
    }
    if prompts(request).count() > 1 && prompts(request).any(|prompt| prompt == "none") {
        return invalid("prompt=none stands alone");
    }
    let state = shared.state();
    let organization = request.get("organization");
    if organization.is_some_and(|wanted| state.organization(wanted).is_none()) {
        return invalid("parameter organization is invalid");
    }
    let invitation = request.get("invitation");
    if invitation.is_some_and(|ticket| organization.and_then(|wanted| state.invitation(ticket, wanted)).is_none()) {
        return invalid("invitation not found or already used");
    }
    Ok(())
}

fn scopes(request: &Params) -> impl Iterator<Item = &str> {
    request.get("scope").unwrap_or_default().split(' ')
}

fn prompts(request: &Params) -> impl Iterator<Item = &str> {
    request.get("prompt").unwrap_or_default().split(' ').filter(|prompt| !prompt.is_empty())
}

/// Answers at once where somebody is signed in already or nobody may be asked; else shows the sign-in page.
fn begin(shared: &Shared, request: Params, pushed: bool, cookie: Option<&str>) -> Answer {
    for fault in shared.faults(Place::Authorize) {
        if let Fault::AuthorizeError(error) = fault {
            return refuse(shared, &request, &error, "ordered by a test");
        }
    }
    if !pushed && shared.has_order(&Fault::RequirePar) {
        return refuse(shared, &request, "invalid_request", "pushed authorization requests are required");
    }
    if let Err((error, description)) = check(shared, &request) {
        return refuse(shared, &request, error, &description);
    }
    let now = shared.now();
    let session = cookie.and_then(|cookie| shared.state().sessions.get(cookie).cloned());
    let max_age = request.get("max_age").and_then(|seconds| seconds.parse().ok()).unwrap_or(i64::MAX);
    let asks_again = prompts(&request).any(|prompt| matches!(prompt, "login" | "select_account"));
    if let Some(session) = session.filter(|session| !asks_again && now.since(session.auth_time) < max_age) {
        return finish(shared, &request, &session);
    }
    if prompts(&request).any(|prompt| prompt == "none") {
        return refuse(shared, &request, "login_required", "Login required");
    }
    let approved = shared.state().auto_approve.clone();
    if let Some(username) = approved {
        return signed_in(shared, &request, &username);
    }
    let path = if request.get("screen_hint") == Some("signup") { "/u/signup" } else { "/u/login" };
    let name = shared.state().keep_pending(request, now);
    answer::redirect(&shared.url(&format!("{path}?state={name}")))
}

/// Goes on with a request whose person has just signed in.
pub(super) fn signed_in(shared: &Shared, request: &Params, username: &str) -> Answer {
    let (cookie, session) = {
        let mut state = shared.state();
        let cookie = state.sign_in(username, shared.now());
        let session = state.sessions[&cookie].clone();
        (cookie, session)
    };
    answer::with_cookie(finish(shared, request, &session), &shared.cookie, Some(&cookie))
}

/// The answer with a code, or the reason why there is none.
fn finish(shared: &Shared, request: &Params, session: &Session) -> Answer {
    let code = {
        let mut state = shared.state();
        grant(&mut state, request, session).map(|grant| {
            let code = Code {
                grant,
                redirect_uri: request.get("redirect_uri").unwrap_or_default().to_owned(),
                challenge: request.get("code_challenge").unwrap_or_default().to_owned(),
                used: false,
            };
            state.issue_code(code, shared.now())
        })
    };
    match code {
        Ok(code) => respond(shared, request, vec![("code", code)]),
        Err((error, description)) => refuse(shared, request, error, &description),
    }
}

fn grant(state: &mut State, request: &Params, session: &Session) -> Result<Grant, Refusal> {
    let user = state.user(&session.username).ok_or_else(|| refusal("access_denied", "there is no such user"))?;
    if user.blocked {
        return Err(refusal("unauthorized", "user is blocked"));
    }
    let organization = request.get("organization");
    if let (Some(ticket), Some(wanted)) = (request.get("invitation"), organization) {
        state.accept_invitation(ticket, wanted, &session.username);
    }
    let organization = organization.map(|wanted| state.membership(&session.username, wanted)).transpose()?;
    let text = |name: &str| request.get(name).map(str::to_owned);
    Ok(Grant {
        client_id: text("client_id").unwrap_or_default(),
        username: session.username.clone(),
        scope: text("scope").unwrap_or_default(),
        audience: text("audience"),
        organization,
        sid: session.sid.clone(),
        auth_time: session.auth_time,
        shows_auth_time: request.has("max_age") || prompts(request).any(|prompt| prompt == "login"),
        nonce: text("nonce"),
        acr_values: text("acr_values"),
        family: opaque(),
    })
}

impl State {
    /// Id and name of the organization with this id or name.
    fn organization(&self, wanted: &str) -> Option<&(String, String)> {
        let invited = self.invitations.iter().map(|invitation| &invitation.organization);
        let joined = self.users.iter().flat_map(|user| &user.organizations);
        joined.chain(invited).find(|(id, name)| id == wanted || name == wanted)
    }

    /// The index of the invitation with this ticket into this organization.
    fn invitation(&self, ticket: &str, wanted: &str) -> Option<usize> {
        self.invitations.iter().position(|invitation| {
            let (id, name) = &invitation.organization;
            invitation.ticket == ticket && (id == wanted || name == wanted)
        })
    }

    fn accept_invitation(&mut self, ticket: &str, wanted: &str, username: &str) {
        let Some(index) = self.invitation(ticket, wanted) else { return };
        let Some(user) = self.users.iter_mut().find(|user| user.username == username) else { return };
        user.organizations.push(self.invitations.remove(index).organization);
    }

    fn membership(&self, username: &str, wanted: &str) -> Result<(String, String), Refusal> {
        let mut joined = self.user(username).into_iter().flat_map(|user| &user.organizations);
        joined
            .find(|(id, name)| id == wanted || name == wanted)
            .cloned()
            .ok_or_else(|| refusal("access_denied", "user is not part of the organization"))
    }
}

fn refuse(shared: &Shared, request: &Params, error: &str, description: &str) -> Answer {
    respond(shared, request, vec![("error", error.to_owned()), ("error_description", description.to_owned())])
}

/// The authorization response (OpenID Connect Core, section 3.1.2.5).
fn respond(shared: &Shared, request: &Params, mut pairs: Vec<(&'static str, String)>) -> Answer {
    if let Some(state) = request.get("state") {
        pairs.push(("state", state.to_owned()));
    }
    for fault in shared.faults(Place::Response) {
        match fault {
            Fault::StateTampered => pairs.iter_mut().filter(|(name, _)| *name == "state").for_each(|(_, value)| {
                *value = tampered(value);
            }),
            Fault::StateMissing => pairs.retain(|(name, _)| *name != "state"),
            Fault::StateDoubled => double(&mut pairs, "state"),
            Fault::CodeDoubled => double(&mut pairs, "code"),
            Fault::ResponseIss => pairs.push(("iss", shared.issuer.clone())),
            Fault::WrongResponseIss => pairs.push(("iss", "https://other.example/".to_owned())),
            _ => {}
        }
    }
    let redirect_uri = request.get("redirect_uri").unwrap_or_default();
    if request.get("response_mode") == Some("form_post") {
        return pages::form_post(shared, redirect_uri, &pairs);
    }
    let mut location = redirect_uri.to_owned();
    for (name, value) in pairs {
        add_param(&mut location, name, value);
    }
    answer::redirect(&location)
}

fn double(pairs: &mut Vec<(&'static str, String)>, name: &str) {
    let twin = pairs.iter().find(|(key, _)| *key == name).map(|(key, value)| (*key, tampered(value)));
    pairs.extend(twin);
}

/// Another text of the same length and alphabet.
fn tampered(text: &str) -> String {
    let first = if text.starts_with('A') { "B" } else { "A" };
    let rest: String = text.chars().skip(1).collect();
    format!("{first}{rest}")
}
