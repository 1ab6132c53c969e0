//! `/v2/logout`, Auth0's own, and `/oidc/logout` (OpenID Connect RP-Initiated Logout 1.0). Clients that want to be told
//! of it get a logout token (`logout_token`).

use http::{Method, StatusCode};

use super::answer::{self, Answer, add_param};
use super::call::{Call, Params};
use super::{Shared, logout_token, pages};

/// GET `/v2/logout?client_id&returnTo`: the query of `returnTo` does not count; without it, the first allowed URL.
pub(super) fn v2_logout(shared: &Shared, call: &Call) -> Answer {
    let allowed: Vec<String> = {
        let state = shared.state();
        let client_id = call.query.get("client_id");
        let clients = state.clients.iter().filter(|client| client_id.is_none_or(|id| id == client.client_id));
        clients.flat_map(|client| client.logout_uris.clone()).collect()
    };
    let target = match call.query.get("returnTo") {
        Some(url) if allowed.iter().any(|one| without_query(one) == without_query(url)) => Some(url.to_owned()),
        Some(_) => {
            let message = "The returnTo is not in the list of allowed logout URLs.";
            return pages::failure(shared, StatusCode::BAD_REQUEST, message);
        }
        None => allowed.first().cloned(),
    };
    end(shared, call, target.as_deref())
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

/// GET and POST `/oidc/logout`.
pub(super) fn oidc_logout(shared: &Shared, call: &Call) -> Answer {
    let params = call.params();
    let target = match target(shared, params) {
        Ok(target) => target,
        Err(message) => return pages::failure(shared, StatusCode::BAD_REQUEST, message),
    };
    let confirmed = call.method == Method::POST && params.get("confirmed") == Some("yes");
    if !confirmed && !is_hinted(shared, call) {
        return pages::confirm_sign_out(shared, params);
    }
    end(shared, call, target.as_deref())
}

/// Where to go afterwards, allowed byte for byte, with `state`.
fn target(shared: &Shared, params: &Params) -> Result<Option<String>, &'static str> {
    let state = shared.state();
    let hinted = params.get("id_token_hint").and_then(|hint| state.id_token(hint)).map(|(client_id, _)| &**client_id);
    let client_id = params.get("client_id").or(hinted);
    if hinted.is_some() && client_id != hinted {
        return Err("The client_id is not the audience of the id_token_hint.");
    }
    let Some(url) = params.get("post_logout_redirect_uri") else { return Ok(None) };
    let client =
        client_id.and_then(|id| state.client(id)).ok_or("Neither id_token_hint nor client_id names a client.")?;
    if !client.logout_uris.iter().any(|one| one == url) {
        return Err("The post_logout_redirect_uri is not in the list of allowed logout URLs.");
    }
    let mut url = url.to_owned();
    if let Some(state) = params.get("state") {
        add_param(&mut url, "state", state);
    }
    Ok(Some(url))
}

/// Whether a hint names the browser's own session, or there is none to ask about.
fn is_hinted(shared: &Shared, call: &Call) -> bool {
    let params = call.params();
    let state = shared.state();
    let hint = params.get("id_token_hint").and_then(|hint| state.id_token(hint));
    let Some(session) = call.cookie(&shared.cookie).and_then(|cookie| state.sessions.get(cookie)) else {
        return hint.is_some() || params.has("logout_hint");
    };
    // An id token from a refresh has no `sid`: its client is trusted to mean this browser.
    let by_token = hint.is_some_and(|(_, sid)| sid.as_ref().is_none_or(|sid| *sid == session.sid));
    by_token || params.get("logout_hint") == Some(&session.sid)
}

fn end(shared: &Shared, call: &Call, target: Option<&str>) -> Answer {
    if let Some(cookie) = call.cookie(&shared.cookie) {
        let ended = shared.state().sessions.remove(cookie);
        if let Some(session) = ended {
            logout_token::announce(shared, &session);
        }
    }
    let answer = target.map_or_else(|| pages::signed_out(shared), answer::redirect);
    answer::with_cookie(answer, &shared.cookie, None)
}
