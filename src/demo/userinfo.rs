//! `/userinfo` (OpenID Connect Core, section 5.3).

use http::{StatusCode, header};
use serde_json::Value;

use super::Shared;
use super::answer::{self, Answer};
use super::call::Call;
use super::fault::{Fault, Place};
use super::id_token::about;

/// GET and POST `/userinfo`, with the access token in the Authorization header.
pub(super) fn userinfo(shared: &Shared, call: &Call) -> Answer {
    let faults = shared.faults(Place::Userinfo);
    let claims = call.authorization("Bearer").filter(|_| !faults.contains(&Fault::UserinfoFails)).and_then(|token| {
        let state = shared.state();
        let grant = state.access(token, shared.now())?;
        Some(about(state.user(&grant.username)?, grant))
    });
    let Some(mut claims) = claims else {
        let mut answer = answer::error(StatusCode::UNAUTHORIZED, "invalid_token", "Unauthorized");
        answer::set(&mut answer, header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"");
        return answer;
    };
    if faults.contains(&Fault::WrongUserinfoSub) {
        claims.insert("sub".to_owned(), "auth0|somebody-else".into());
    }
    answer::json(StatusCode::OK, &Value::Object(claims))
}
