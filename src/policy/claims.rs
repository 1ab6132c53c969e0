//! What claims say: whether a condition holds, a scope was granted, an authentication is recent or strong. A claim that
//! is `null` is not there, and one that is not there says no.

use std::borrow::Cow;

use serde_json::Value;

use super::Subject;
use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::config::{Condition, MULTI_FACTOR, Test};

/// Whether a condition holds.
pub(super) fn holds(condition: &Condition, claims: Claims<'_>) -> bool {
    let Some(value) = find(claims, &condition.claim) else { return false };
    let value = &*value;
    let in_list = |wanted: &Value| value.as_array().is_some_and(|list| list.contains(wanted));
    match &condition.test {
        Test::Present => match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(table) => !table.is_empty(),
            Value::Bool(true) | Value::Number(_) => true,
        },
        Test::Equals(wanted) => value == wanted,
        Test::Contains(wanted) => in_list(wanted),
        Test::AnyOf(wanted) => wanted.iter().any(|wanted| value == wanted || in_list(wanted)),
        Test::AllOf(wanted) => wanted.iter().all(in_list),
    }
}

/// The claim at the end of these names.
pub(super) fn find<'c>(claims: Claims<'c>, names: &[String]) -> Option<Cow<'c, Value>> {
    let (first, rest) = names.split_first()?;
    let below = |value, name: &String| match value {
        Cow::Borrowed(value) => Value::as_object(value)?.get(name).map(Cow::Borrowed),
        Cow::Owned(mut value) => value.as_object_mut()?.remove(name).map(Cow::Owned),
    };
    rest.iter().try_fold(claims.get(first)?, below).filter(|value| !value.is_null())
}

/// Whether a scope was granted: to the session, or as an access token says in `scope` (RFC 9068, section 2.2.3), in
/// Entra ID's and Okta's `scp`, or in Auth0's `permissions`.
pub(super) fn has_scope(scope: &str, subject: &Subject<'_>) -> bool {
    let among = |words: &str| words.split_ascii_whitespace().any(|word| word == scope);
    subject.scope.is_some_and(among)
        || ["scope", "scp", "permissions"].iter().any(|name| match subject.claims.get(name).as_deref() {
            Some(Value::String(words)) => among(words),
            Some(Value::Array(list)) => list.iter().any(|item| item == scope),
            _ => false,
        })
}

/// Whether the person signed in at the provider at most `max_age` seconds ago; a date in the future is none.
pub(super) fn is_recent(subject: &Subject<'_>, max_age: i64, leeway: i64) -> bool {
    let seconds = |value: &Value| value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64));
    subject.claims.get("auth_time").as_deref().and_then(seconds).is_some_and(|auth_time| {
        let age = subject.now.since(Timestamp(auth_time));
        (-leeway..=max_age.saturating_add(leeway)).contains(&age)
    })
}

/// Whether `acr` is one of `acr_values`, which blanks part; Auth0 answers the demand for a second factor in `amr`.
pub(super) fn is_strong(claims: Claims<'_>, acr_values: &str) -> bool {
    let acr = claims.text("acr");
    let amr = claims.get("amr");
    let mfa = amr.as_deref().and_then(Value::as_array).is_some_and(|amr| amr.iter().any(|method| method == "mfa"));
    acr_values.split_ascii_whitespace().any(|value| acr == Some(value) || value == MULTI_FACTOR && mfa)
}
