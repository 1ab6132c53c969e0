//! A tenant's accent colour: from one colour, which may be any, the few that the style sheet needs, each readable in
//! the light and in the dark (WCAG 2.2, 1.4.3: 4.5:1 for text; 1.4.11: 3:1 for edges).

use std::fmt;

/// The accent of those who chose none.
pub const DEFAULT: [u8; 3] = [0x24, 0x47, 0x6b];

/// The card's colour, light and dark; the style sheet says the same.
const CARD_LIGHT: Rgb = Rgb([0xff, 0xff, 0xff]);
const CARD_DARK: Rgb = Rgb([0x17, 0x1b, 0x22]);

const BLACK: Rgb = Rgb([0, 0, 0]);
const WHITE: Rgb = Rgb([255, 255, 255]);

const TEXT: f64 = 4.5;
const EDGE: f64 = 3.0;

/// A colour in sRGB; displayed as `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rgb([u8; 3]);

/// What an accent becomes on one card.
struct Palette {
    /// A button's fill: the accent itself.
    fill: Rgb,
    /// The fill under the pointer.
    hover: Rgb,
    /// Text on the fill.
    on_fill: Rgb,
    /// Links, focus rings: the accent, moved until it can be read on the card.
    text: Rgb,
    /// Around the fill: the fill, unless it would vanish on the card.
    edge: Rgb,
}

/// The file that holds the colours made of `accent`.
pub fn file_name(accent: [u8; 3]) -> String {
    let [r, g, b] = accent;
    format!("accent-{r:02x}{g:02x}{b:02x}.css")
}

/// The content of the file of this name; `None` if it is no such name.
pub fn file(name: &str) -> Option<String> {
    let digits = name.strip_prefix("accent-")?.strip_suffix(".css")?;
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 6 || !digits.bytes().all(lower_hex) {
        return None;
    }
    let [_, r, g, b] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
    Some(css(Rgb([r, g, b])))
}

fn css(accent: Rgb) -> String {
    let light = Palette::on(CARD_LIGHT, accent);
    let dark = Palette::on(CARD_DARK, accent);
    format!(":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n")
}

impl Palette {
    fn on(card: Rgb, accent: Rgb) -> Self {
        let away = if card.contrast(WHITE) > card.contrast(BLACK) { WHITE } else { BLACK };
        let text = accent.moved_until(away, |color| color.contrast(card) >= TEXT);
        let on_fill = if accent.contrast(WHITE) >= TEXT { WHITE } else { BLACK };
        // Away from the text on it, so that it stays readable, unless there is no room left in that direction.
        let back = if on_fill == WHITE { BLACK } else { WHITE };
        let hover = accent.mixed(back, 14);
        let hover = if hover.contrast(accent) < 1.05 { accent.mixed(on_fill, 14) } else { hover };
        let edge = if accent.contrast(card) >= EDGE { accent } else { text };
        Self { fill: accent, hover, on_fill, text, edge }
    }
}

impl fmt::Display for Palette {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fill, hover, on_fill, text, edge } = self;
        write!(
            f,
            "--accent:{fill};--accent-hover:{hover};--on-accent:{on_fill};--accent-text:{text};--accent-edge:{edge}"
        )
    }
}

impl Rgb {
    /// Mixed with `percent` of another.
    fn mixed(self, other: Self, percent: u16) -> Self {
        let mix = |a: u8, b: u8| ((u16::from(a) * (100 - percent) + u16::from(b) * percent + 50) / 100) as u8;
        Self([mix(self.0[0], other.0[0]), mix(self.0[1], other.0[1]), mix(self.0[2], other.0[2])])
    }

    /// The nearest on the way to `target` that is good; `target` if none is.
    fn moved_until(self, target: Self, good: impl Fn(Self) -> bool) -> Self {
        (0..=100).map(|percent| self.mixed(target, percent)).find(|color| good(*color)).unwrap_or(target)
    }

    /// From 1 to 21 (WCAG 2.2, "contrast ratio").
    fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// From 0 to 1 (WCAG 2.2, "relative luminance").
    fn luminance(self) -> f64 {
        let [r, g, b] = self.0.map(|channel| {
            let c = f64::from(channel) / 255.0;
            if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }
}

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const STYLE: &str = include_str!("../../templates/assets/style.css");

    /// The colours `--name: #rrggbb;` of the light and of the dark scheme.
    fn schemes() -> [HashMap<&'static str, Rgb>; 2] {
        let (light, rest) = STYLE.split_once("@media (prefers-color-scheme: dark) {").unwrap();
        let (dark, _) = rest.split_once("\n}").unwrap();
        [light, dark].map(|block| block.lines().filter_map(color).collect())
    }

    fn color(line: &'static str) -> Option<(&'static str, Rgb)> {
        let (name, value) = line.trim().strip_prefix("--")?.split_once(": #")?;
        let value = u32::from_str_radix(value.strip_suffix(';')?, 16).ok()?;
        let [_, r, g, b] = value.to_be_bytes();
        Some((name, Rgb([r, g, b])))
    }

    #[test]
    fn any_accent_can_be_read_in_the_light_and_in_the_dark() {
        let steps = || (0..=255).step_by(15).map(|channel| channel as u8);
        for accent in steps().flat_map(|r| steps().flat_map(move |g| steps().map(move |b| Rgb([r, g, b])))) {
            for card in [CARD_LIGHT, CARD_DARK] {
                let palette = Palette::on(card, accent);
                assert!(palette.on_fill.contrast(palette.fill) >= TEXT, "text on {accent}");
                assert!(palette.on_fill.contrast(palette.hover) >= TEXT, "text on {accent} under the pointer");
                assert!(palette.text.contrast(card) >= TEXT, "links of {accent} on {card}");
                assert!(palette.edge.contrast(card) >= EDGE, "edge of {accent} on {card}");
                assert_ne!(palette.hover, palette.fill, "{accent} under the pointer");
            }
        }
    }

    #[test]
    fn the_colors_of_the_style_sheet_can_be_read_too() {
        for (scheme, card) in schemes().iter().zip([CARD_LIGHT, CARD_DARK]) {
            assert_eq!(scheme["card"], card);
            for text in ["text", "muted"] {
                for ground in ["card", "page", "sunken"] {
                    let contrast = scheme[text].contrast(scheme[ground]);
                    assert!(contrast >= TEXT, "{text} on {ground} of {card}: {contrast:.2}");
                }
                // The page is tinted with up to a tenth of any accent.
                for tint in [BLACK, WHITE] {
                    let contrast = scheme[text].contrast(scheme["page"].mixed(tint, 10));
                    assert!(contrast >= TEXT, "{text} on the tinted page of {card}: {contrast:.2}");
                }
            }
        }
        let [light, _] = schemes();
        for avatar in (0..super::super::initials::COLORS).map(|n| format!("avatar-{n}")) {
            assert!(light[avatar.as_str()].contrast(WHITE) >= TEXT, "{avatar}");
        }
    }

    #[test]
    fn a_name_that_is_no_color_is_no_file() {
        assert_eq!(file_name([0x0a, 0xff, 0]), "accent-0aff00.css");
        assert!(file("accent-0aff00.css").unwrap().contains("--accent:#0aff00;"));
        for name in ["accent-.css", "accent-0aff0.css", "accent-0AFF00.css", "accent-+aff00.css", "accent-0aff00", ""] {
            assert_eq!(file(name), None, "{name}");
        }
    }
}
