//! The languages of the pages, and which one a person gets.

/// A language that every message exists in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Locale {
    /// English.
    #[default]
    En,
    /// German.
    De,
    /// French.
    Fr,
    /// Spanish.
    Es,
    /// Japanese.
    Ja,
}

impl Locale {
    /// All of them, English first.
    pub const ALL: [Self; 5] = [Self::En, Self::De, Self::Fr, Self::Es, Self::Ja];

    /// The language tag (BCP 47).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::De => "de",
            Self::Fr => "fr",
            Self::Es => "es",
            Self::Ja => "ja",
        }
    }

    /// The first of `ui_locales` (OpenID Connect Core, section 3.1.2.1) that we speak, else the best of
    /// `accept_language` (RFC 9110, section 12.5.4), else English.
    pub fn negotiate(ui_locales: Option<&str>, accept_language: Option<&str>) -> Self {
        let wanted = ui_locales.unwrap_or_default().split_ascii_whitespace().find_map(Self::of_tag);
        wanted.or_else(|| Self::accepted(accept_language?)).unwrap_or_default()
    }

    fn accepted(accept_language: &str) -> Option<Self> {
        let mut best: Option<(u16, Self)> = None;
        for range in accept_language.split(',') {
            let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
            let locale = if tag.trim() == "*" { Some(Self::default()) } else { Self::of_tag(tag.trim()) };
            let (Some(locale), Some(weight)) = (locale, weight(parameters)) else { continue };
            if weight > best.map_or(0, |(weight, _)| weight) {
                best = Some((weight, locale));
            }
        }
        best.map(|(_, locale)| locale)
    }

    fn of_tag(tag: &str) -> Option<Self> {
        let language = tag.split(['-', '_']).next()?;
        Self::ALL.into_iter().find(|locale| locale.as_str().eq_ignore_ascii_case(language))
    }
}

/// Thousandths: 1000 without a `q`; `None` if it is not a number from 0 to 1.
fn weight(parameters: &str) -> Option<u16> {
    let Some((_, q)) = parameters.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q")) else {
        return Some(1000);
    };
    let q: f32 = q.trim().parse().ok()?;
    (0.0..=1.0).contains(&q).then_some((q * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_language_that_we_speak_wins() {
        for (header, expected) in [
            ("de", Locale::De),
            ("de-AT, en;q=0.8", Locale::De),
            ("en;q=0.5, fr;q=0.9", Locale::Fr),
            ("pt-BR, nl;q=0.9, es;q=0.1", Locale::Es),
            ("fr;q=0.5, ja;q=0.5", Locale::Fr),
            ("fr;q=0, ja;q=0.001", Locale::Ja),
            ("*, de;q=0.5", Locale::En),
            ("JA-jp ; Q=0.7", Locale::Ja),
            ("fr;q=7, de;q=x, es;q=0.1", Locale::Es),
            ("pt", Locale::En),
            ("", Locale::En),
            (";;;,,,=q", Locale::En),
        ] {
            assert_eq!(Locale::negotiate(None, Some(header)), expected, "{header}");
        }
        assert_eq!(Locale::negotiate(None, None), Locale::En);
    }

    #[test]
    fn ui_locales_come_first_and_in_their_order() {
        assert_eq!(Locale::negotiate(Some("pt fr-CA de"), Some("ja")), Locale::Fr);
        assert_eq!(Locale::negotiate(Some("pt"), Some("ja")), Locale::Ja);
        assert_eq!(Locale::negotiate(Some(""), None), Locale::En);
    }
}
