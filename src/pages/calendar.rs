//! Moments as people read them, in UTC.

use std::fmt::Write as _;

use time::OffsetDateTime;

use super::code_messages::{TIME_FORMAT, TIME_MONTHS};
use super::data::Data;
use super::locale::Locale;
use super::messages::{Messages, next_placeholder};
use crate::clock::Timestamp;

/// How one language writes a moment.
#[derive(Clone, Copy, Debug)]
pub struct Calendar<'m> {
    format: Option<&'m str>,
    months: Option<&'m str>,
}

/// A point in time, for machines and for people.
#[derive(Debug, PartialEq, Eq)]
pub struct Moment {
    iso: String,
    text: String,
}

impl From<Moment> for Data<'_> {
    fn from(moment: Moment) -> Self {
        Self::fields([("iso", moment.iso.into()), ("text", moment.text.into())])
    }
}

impl<'m> Calendar<'m> {
    /// The calendar of a language.
    pub fn of(messages: &'m Messages, locale: Locale) -> Self {
        Self { format: messages.get(locale, TIME_FORMAT), months: messages.get(locale, TIME_MONTHS) }
    }

    /// A moment in UTC; one beyond all calendars keeps its number.
    pub fn moment(self, at: Timestamp) -> Moment {
        let iso = at.to_string();
        let text = OffsetDateTime::from_unix_timestamp(at.0).ok().and_then(|date| self.written(date));
        Moment { text: text.unwrap_or_else(|| iso.clone()), iso }
    }

    fn written(self, date: OffsetDateTime) -> Option<String> {
        let mut written = String::with_capacity(40);
        let mut rest = self.format?;
        while let Some((before, name, after)) = next_placeholder(rest) {
            written.push_str(before);
            match name {
                "day" => write!(written, "{}", date.day()),
                "month" => write!(written, "{}", self.months?.split(' ').nth(usize::from(u8::from(date.month())) - 1)?),
                "year" => write!(written, "{}", date.year()),
                "time" => write!(written, "{:02}:{:02}", date.hour(), date.minute()),
                _ => return None,
            }
            .ok()?;
            rest = after;
        }
        written.push_str(rest);
        Some(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_its_language_does() {
        let mut messages = Messages::default();
        let source = "time.format = \"{day} {month} {year}, {time} UTC\"\n\
                      time.months = \"January February March April May June July August September October November December\"";
        messages.insert(Locale::En, source).unwrap();
        let calendar = Calendar::of(&messages, Locale::En);
        let moment = |at| calendar.moment(Timestamp(at)).text;
        assert_eq!(moment(0), "1 January 1970, 00:00 UTC");
        assert_eq!(moment(1_795_442_700), "23 November 2026, 14:05 UTC");
        assert_eq!(moment(i64::MAX), i64::MAX.to_string());
        let nameless = Calendar::of(&messages, Locale::De).moment(Timestamp(0));
        assert_eq!(nameless, Moment { iso: "1970-01-01T00:00:00Z".into(), text: "1970-01-01T00:00:00Z".into() });
    }
}
