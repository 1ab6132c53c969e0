//! Claims as people read them: known ones first and under a label, times as times, the rest as it is.

use std::borrow::Cow;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::calendar::{Calendar, Moment};
use super::code_messages::CLAIMS;
use super::data::Data;
use super::locale::Locale;
use super::messages::Messages;
use crate::clock::Timestamp;

/// Claims that are moments: seconds since 1970, or RFC 3339 as Auth0 writes `updated_at`.
const TIMES: [&str; 6] = ["auth_time", "exp", "iat", "nbf", "session_expiry", "updated_at"];

/// A row of the dashboard's table.
#[derive(Debug)]
pub struct Row<'a> {
    label: Option<&'a str>,
    name: &'a str,
    value: Shown<'a>,
}

/// A value, in exactly one of these forms.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown<'a> {
    yes: bool,
    no: bool,
    none: bool,
    text: Option<Cow<'a, str>>,
    time: Option<Moment>,
    list: Option<Vec<String>>,
    json: Option<String>,
}

impl<'a> From<Row<'a>> for Data<'a> {
    fn from(row: Row<'a>) -> Self {
        Self::fields([("label", row.label.into()), ("name", row.name.into()), ("value", row.value.into())])
    }
}

impl<'a> From<Shown<'a>> for Data<'a> {
    fn from(shown: Shown<'a>) -> Self {
        Self::fields([
            ("text", shown.text.into()),
            ("time", shown.time.into()),
            ("yes", shown.yes.into()),
            ("no", shown.no.into()),
            ("none", shown.none.into()),
            ("list", shown.list.into()),
            ("json", shown.json.into()),
        ])
    }
}

/// The rows of the table, known claims first.
pub fn rows<'a>(claims: &'a Map<String, Value>, messages: &'a Messages, locale: Locale) -> Vec<Row<'a>> {
    let place = |name: &str| CLAIMS.iter().position(|known| *known == name).unwrap_or(CLAIMS.len());
    let mut sorted: Vec<_> = claims.iter().map(|(name, value)| (place(name), name, value)).collect();
    sorted.sort_by_key(|(place, ..)| *place);
    let calendar = Calendar::of(messages, locale);
    let mut key = String::new();
    let row = |(_, name, value): (usize, &'a String, &'a Value)| {
        key.clear();
        key.push_str("claim.");
        key.push_str(name);
        Row { label: messages.get(locale, &key), name, value: shown(name, value, &calendar) }
    };
    sorted.into_iter().map(row).collect()
}

fn shown<'a>(name: &str, value: &'a Value, calendar: &Calendar<'_>) -> Shown<'a> {
    if let Some(at) = time(name, value) {
        return Shown { time: Some(calendar.moment(at)), ..Shown::default() };
    }
    match value {
        Value::Bool(yes) => Shown { yes: *yes, no: !*yes, ..Shown::default() },
        Value::Array(items) if !items.is_empty() => {
            Shown { list: Some(items.iter().map(plain).collect()), ..Shown::default() }
        }
        Value::Object(fields) if !fields.is_empty() => Shown { json: Some(plain(value)), ..Shown::default() },
        Value::Number(_) => Shown { text: Some(plain(value).into()), ..Shown::default() },
        Value::String(text) if !text.is_empty() => Shown { text: Some(text.into()), ..Shown::default() },
        Value::Null | Value::Array(_) | Value::Object(_) | Value::String(_) => Shown { none: true, ..Shown::default() },
    }
}

/// The moment that a claim of this name means, if it is one that a calendar has.
fn time(name: &str, value: &Value) -> Option<Timestamp> {
    let at = match value {
        Value::Number(number) if TIMES.contains(&name) => number.as_i64().or_else(|| Some(number.as_f64()? as i64))?,
        Value::String(text) if TIMES.contains(&name) => OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp(),
        _ => return None,
    };
    OffsetDateTime::from_unix_timestamp(at).ok().map(|_| Timestamp(at))
}

/// A text as it is, anything else as compact JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words() -> Messages {
        let mut messages = Messages::default();
        let source = "claim.email = \"E-mail\"\ntime.format = \"{day} {month} {year}, {time} UTC\"\n\
                      time.months = \"January February March April May June July August September October November December\"";
        messages.insert(Locale::En, source).unwrap();
        messages
    }

    fn value<'a>(name: &str, value: &'a Value) -> Shown<'a> {
        shown(name, value, &Calendar::of(&words(), Locale::En))
    }

    #[test]
    fn known_claims_come_first_and_have_labels() {
        let claims = json!({"https://acme.example/role": "admin", "email": "a@b.example", "name": "Ada"});
        let words = words();
        let rows = rows(claims.as_object().unwrap(), &words, Locale::En);
        let shown: Vec<_> = rows.iter().map(|row| (row.name, row.label)).collect();
        assert_eq!(shown, [("name", None), ("email", Some("E-mail")), ("https://acme.example/role", None)]);
    }

    #[test]
    fn times_are_shown_as_times_only_where_a_time_is_meant() {
        let expected = Some(Calendar::of(&words(), Locale::En).moment(Timestamp(1_795_442_700)));
        for spelling in [json!(1_795_442_700), json!(1_795_442_700.4), json!("2026-11-23T15:05:00.250+01:00")] {
            assert_eq!(value("updated_at", &spelling).time, expected, "{spelling}");
        }
        assert_eq!(value("points", &json!(1_795_442_700)).text.as_deref(), Some("1795442700"));
        assert_eq!(value("exp", &json!(u64::MAX)).time, None);
        assert_eq!(value("exp", &json!("soon")).text.as_deref(), Some("soon"));
    }

    #[test]
    fn every_kind_of_value_has_its_form() {
        assert!(value("a", &json!(true)).yes);
        assert!(value("a", &json!(false)).no);
        for empty in [json!(null), json!([]), json!({}), json!("")] {
            assert!(value("a", &empty).none, "{empty}");
        }
        assert_eq!(value("a", &json!(["x", 1, {"y": 2}])).list.unwrap(), ["x", "1", "{\"y\":2}"]);
        assert_eq!(value("a", &json!({"b": [1, 2]})).json.as_deref(), Some("{\"b\":[1,2]}"));
    }
}
