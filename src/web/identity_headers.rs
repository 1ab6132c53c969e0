//! Who a request passes as, in headers for the application. Forward auth answers with them, the reverse proxy sets them;
//! which there are is the tenant's `[identity]`.
//!
//! No two people look alike there: what is not plain is percent-encoded, `%` itself too, and so is a comma or a space at
//! an end where it would part or trim a value. A value with a control character is no value.

use std::fmt::Write as _;
use std::iter::repeat_n;

use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use crate::clock::Clock;
use crate::config::{IdentitySettings, IdentityValue};
use crate::flow::access::{Identity, Permit};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant::Tenant;

/// What is encoded in any value; bytes beyond ASCII always are.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
/// What is encoded in an item of a list.
const ESCAPED_ITEM: &AsciiSet = &ESCAPED.add(b',');

/// The header of [`stale`].
const SESSION_STALE: HeaderName = HeaderName::from_static("x-auth-request-session-stale");

const NOTHING: HeaderValue = HeaderValue::from_static("");

/// The names of a tenant's identity headers. Whatever comes under one of them from elsewhere, in any spelling, is forged.
pub(super) fn names(identity: &IdentitySettings) -> impl Iterator<Item = &HeaderName> + Clone {
    identity.headers.iter().map(|(name, _)| name)
}

/// Every identity header of the tenant, empty where there is no value; an access token that has ended is none.
pub(super) fn of<'a>(
    tenant: &'a Tenant,
    permit: &'a Permit,
    clock: &'a Clock,
) -> impl Iterator<Item = (&'a HeaderName, HeaderValue)> + 'a {
    let identity = permit.identity();
    let access_token = |scheme| permit.access_token(clock.now()).map_or(NOTHING, |value| token(scheme, value));
    let alike = tenant.settings.identity.headers.chunk_by(|(_, wanted), (_, next)| wanted == next);
    alike.flat_map(move |alike| {
        let value = match (&alike[0].1, identity) {
            (IdentityValue::Tenant, _) => text(tenant.id().as_str()),
            (IdentityValue::Subject, Some(who)) => text(who.sub),
            (IdentityValue::Email, Some(who)) => email(who).map_or(NOTHING, text),
            (IdentityValue::Claim(name), Some(who)) => claim(who, name),
            (IdentityValue::AccessToken, _) => access_token(""),
            (IdentityValue::BearerAccessToken, _) => access_token("Bearer "),
            (IdentityValue::BearerIdToken, _) => {
                permit.tokens().map_or(NOTHING, |tokens| token("Bearer ", &tokens.id_token))
            }
            _ => NOTHING,
        };
        alike.iter().map(|(name, _)| name).zip(repeat_n(value, alike.len()))
    })
}

/// Marks what passes by a session that nobody could ask the store about. There is none of it where all is well.
pub(super) fn stale(is_stale: bool) -> Option<(HeaderName, HeaderValue)> {
    is_stale.then(|| (SESSION_STALE, HeaderValue::from_static("true")))
}

/// The address, unless the provider says that nobody has verified it: an application takes it for the person.
fn email(who: Identity<'_>) -> Option<&str> {
    let unverified = match who.claims.get("email_verified").as_deref() {
        None | Some(Value::Null) => false,
        Some(verified) => *verified != true && *verified != "true",
    };
    who.claims.text("email").filter(|_| !unverified)
}

/// A local account has none.
fn token(scheme: &str, token: &SecretString) -> HeaderValue {
    if token.expose_secret().is_empty() {
        return NOTHING;
    }
    let mut value = HeaderValue::try_from(format!("{scheme}{}", token.expose_secret())).unwrap_or(NOTHING);
    value.set_sensitive(true);
    value
}

fn claim(who: Identity<'_>, name: &str) -> HeaderValue {
    match who.claims.text(name) {
        Some(claim) => text(claim),
        None => who.claims.get(name).map_or(NOTHING, |claim| value(&claim)),
    }
}

fn value(claim: &Value) -> HeaderValue {
    match claim {
        Value::Null => NOTHING,
        Value::String(claim) => text(claim),
        Value::Array(items) => list(items),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => text(&claim.to_string()),
    }
}

fn text(text: &str) -> HeaderValue {
    // All are counted: so several bytes are looked at in one step.
    let odd = text.bytes().filter(|byte| !matches!(byte, b' '..=b'~') || *byte == b'%').count();
    if odd == 0 && !text.starts_with(' ') && !text.ends_with(' ') {
        return header(text);
    }
    if text.contains(char::is_control) { NOTHING } else { header(&escaped(text, ESCAPED)) }
}

/// Items with commas between; one that is no text, number or truth is left out.
fn list(items: &[Value]) -> HeaderValue {
    let mut out = String::new();
    for item in items {
        let item = match item {
            Value::String(text) => escaped(text, ESCAPED_ITEM),
            Value::Bool(_) | Value::Number(_) => item.to_string(),
            _ => continue,
        };
        if item.is_empty() || item.contains(char::is_control) {
            continue;
        }
        write!(out, "{}{item}", if out.is_empty() { "" } else { "," }).expect("a String takes everything");
    }
    header(&out)
}

/// The text with `set` encoded, and spaces at its ends: HTTP would trim them. Empty where it holds a control character.
fn escaped(text: &str, set: &'static AsciiSet) -> String {
    if text.contains(char::is_control) {
        return String::new();
    }
    let inner = text.trim_matches(' ');
    let before = text.len() - text.trim_start_matches(' ').len();
    let after = text.len() - before - inner.len();
    format!("{}{}{}", "%20".repeat(before), utf8_percent_encode(inner, set), "%20".repeat(after))
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(NOTHING)
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_becomes_text_that_any_header_holds() {
        for (claim, shown) in [
            (json!("Ada Lovelace"), "Ada Lovelace"),
            (json!("auth0|5f7c8ec7c33c6c004bbafe82"), "auth0|5f7c8ec7c33c6c004bbafe82"),
            (json!("Grüße"), "Gr%C3%BC%C3%9Fe"),
            (json!("100%"), "100%25"),
            (json!(" admin "), "%20admin%20"),
            (json!("  "), "%20%20"),
            (json!("a\nb"), ""),
            (json!("a\u{85}b"), ""),
            (json!(["staff", "a,b", "ä", "", null, 7, true, {"a": 1}]), "staff,a%2Cb,%C3%A4,7,true"),
            (json!(["good", "bad\r\nSet-Cookie: a=b"]), "good"),
            (json!(true), "true"),
            (json!(1.5), "1.5"),
            (json!({"ä": 1}), "{\"%C3%A4\":1}"),
            (json!(null), ""),
            (json!([]), ""),
        ] {
            assert_eq!(value(&claim).to_str().unwrap(), shown, "{claim}");
        }
    }

    #[test]
    fn an_address_that_nobody_has_verified_is_nobodys() {
        for (claims, shown) in [
            (json!({"email": "a@b.example"}), Some("a@b.example")),
            (json!({"email": "a@b.example", "email_verified": true}), Some("a@b.example")),
            (json!({"email": "a@b.example", "email_verified": "true"}), Some("a@b.example")),
            (json!({"email": "a@b.example", "email_verified": false}), None),
            (json!({"email": "a@b.example", "email_verified": "false"}), None),
            (json!({"email": "a@b.example", "email_verified": 0}), None),
            (json!({"email": "a@b.example", "email_verified": [false]}), None),
            (json!({"email": "a@b.example", "email_verified": null}), Some("a@b.example")),
            (json!({"email": 7}), None),
        ] {
            let claims = claims.as_object().unwrap().into();
            assert_eq!(email(Identity { sub: "a", claims }), shown);
        }
    }

    proptest! {
        #[test]
        fn no_two_texts_look_alike(claim in any::<String>()) {
            let shown = text(&claim);
            let shown = shown.to_str().unwrap();
            prop_assert_eq!(shown.trim(), shown);
            let expected = if claim.contains(char::is_control) { String::new() } else { claim };
            prop_assert_eq!(percent_decode_str(shown).decode_utf8().unwrap(), expected);
        }

        #[test]
        fn no_list_gains_an_item(items in prop::collection::vec("[^\\p{Cc}]+", 0..5)) {
            let shown = list(&items.iter().map(|item| json!(item)).collect::<Vec<_>>());
            let shown = shown.to_str().unwrap();
            let read: Vec<String> = shown
                .split(',')
                .filter(|item| !item.is_empty())
                .map(|item| percent_decode_str(item).decode_utf8().unwrap().into_owned())
                .collect();
            prop_assert_eq!(read, items);
        }
    }
}
