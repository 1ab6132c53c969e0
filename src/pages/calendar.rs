//! Moments as people read them, in UTC.

use time::OffsetDateTime;

use super::code_messages::{TIME_FORMAT, TIME_MONTHS};
use super::data::Data;
use super::locale::Locale;
use super::messages::{Messages, next_placeholder};
use crate::clock::Timestamp;

/// How one language writes a moment.
#[derive(Debug)]
pub struct Calendar<'m> {
    /// Words and what follows them.
    parts: Vec<(&'m str, Part)>,
    months: Vec<&'m str>,
}

/// A part of a moment.
#[derive(Clone, Copy, Debug)]
enum Part {
    Day,
    Month,
    Year,
    Time,
    /// Nothing: the words are the last.
    End,
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
        let months = messages.get(locale, TIME_MONTHS).unwrap_or_default().split(' ').collect();
        let (mut parts, mut rest) = (Vec::with_capacity(5), messages.get(locale, TIME_FORMAT).unwrap_or_default());
        while let Some((before, name, after)) = next_placeholder(rest) {
            let part = match name {
                "day" => Part::Day,
                "month" => Part::Month,
                "year" => Part::Year,
                _ => Part::Time,
            };
            parts.push((before, part));
            rest = after;
        }
        parts.push((rest, Part::End));
        Self { parts, months }
    }

    /// A moment in UTC; one beyond all calendars keeps its number.
    pub fn moment(&self, at: Timestamp) -> Moment {
        let iso = at.to_string();
        let text = OffsetDateTime::from_unix_timestamp(at.0).map_or_else(|_| iso.clone(), |date| self.written(date));
        Moment { iso, text }
    }

    fn written(&self, date: OffsetDateTime) -> String {
        let mut written = String::with_capacity(40);
        for (words, part) in &self.parts {
            written.push_str(words);
            match part {
                Part::Day => push(&mut written, u32::from(date.day()), 1),
                Part::Month => {
                    written.push_str(
                        self.months.get(usize::from(u8::from(date.month())) - 1).copied().unwrap_or_default(),
                    );
                }
                Part::Year => push(&mut written, date.year().unsigned_abs(), 1),
                Part::Time => {
                    push(&mut written, u32::from(date.hour()), 2);
                    written.push(':');
                    push(&mut written, u32::from(date.minute()), 2);
                }
                Part::End => {}
            }
        }
        written
    }
}

/// Writes a number in at least so many digits.
fn push(written: &mut String, number: u32, digits: u32) {
    if number > 9 || digits > 1 {
        push(written, number / 10, digits.saturating_sub(1));
    }
    written.push((b'0' + (number % 10) as u8) as char);
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
    }
}
