//! `/u/login` and `/u/signup`: the pages on which a person says who they are.

use http::StatusCode;

use super::Shared;
use super::answer::Answer;
use super::authorize::signed_in;
use super::call::{Call, Params};
use super::pages::{self, Form};
use super::spec::User;
use crate::secret::{ExposeSecret as _, same};

/// The shortest password for a new account.
const MIN_PASSWORD: usize = 8;

/// GET `/u/login`.
pub(super) fn sign_in_page(shared: &Shared, call: &Call) -> Answer {
    show(shared, call, false, None)
}

/// GET `/u/signup`.
pub(super) fn sign_up_page(shared: &Shared, call: &Call) -> Answer {
    show(shared, call, true, None)
}

/// POST `/u/login`.
pub(super) fn sign_in(shared: &Shared, call: &Call) -> Answer {
    let Some(request) = pending(shared, call) else { return gone(shared) };
    let username = call.form.get("username").unwrap_or_default().trim();
    let password = call.form.get("password").unwrap_or_default();
    let user = shared.state().user(username).cloned();
    match user.filter(|user| same(user.password.expose_secret().as_bytes(), password.as_bytes())) {
        Some(user) => go_on(shared, call, &request, &user.username),
        None => show(shared, call, false, Some("Wrong e-mail address or password.")),
    }
}

/// POST `/u/signup`.
pub(super) fn sign_up(shared: &Shared, call: &Call) -> Answer {
    let Some(request) = pending(shared, call) else { return gone(shared) };
    let username = call.form.get("username").unwrap_or_default().trim();
    let password = call.form.get("password").unwrap_or_default();
    let problem = if !username.contains('@') {
        Some("Please enter an e-mail address.")
    } else if password.len() < MIN_PASSWORD {
        Some("The password needs 8 characters or more.")
    } else if shared.state().user(username).is_some() {
        Some("This e-mail address is taken. Sign in instead.")
    } else {
        None
    };
    if problem.is_some() {
        return show(shared, call, true, problem);
    }
    let user = User::new(username, password, username).with("email_verified", false);
    shared.state().users.push(user);
    go_on(shared, call, &request, username)
}

fn go_on(shared: &Shared, call: &Call, request: &Params, username: &str) -> Answer {
    let mut state = shared.state();
    state.forget_pending(name(call));
    if let Some(cookie) = call.cookie(&shared.cookie) {
        state.sessions.remove(cookie);
    }
    drop(state);
    signed_in(shared, request, username)
}

fn name(call: &Call) -> &str {
    call.query.get("state").unwrap_or_default()
}

fn pending(shared: &Shared, call: &Call) -> Option<Params> {
    shared.state().pending(name(call), shared.now())
}

fn gone(shared: &Shared) -> Answer {
    pages::failure(shared, StatusCode::BAD_REQUEST, "This page is too old or was used already. Please start again.")
}

fn show(shared: &Shared, call: &Call, sign_up: bool, problem: Option<&str>) -> Answer {
    let Some(request) = pending(shared, call) else { return gone(shared) };
    let client = {
        let state = shared.state();
        let client = request.get("client_id").and_then(|id| state.client(id));
        client.map(|client| client.name.clone()).unwrap_or_default()
    };
    let username = call.form.get("username").or_else(|| request.get("login_hint")).unwrap_or_default();
    pages::form(shared, &Form { sign_up, state: name(call), client: &client, username, problem })
}
