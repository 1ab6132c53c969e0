//! What stands where a picture is missing: one or two letters, and a colour that is always the same for the same
//! person.

/// How many colours the style sheet has for them.
pub const COLORS: u32 = 8;

/// The first letters of the first and the last word; `?` if there is no letter.
pub fn initials(name: &str) -> String {
    let name = name.split('@').next().unwrap_or_default();
    let mut words =
        name.split([' ', '.', '_', '-', '\u{3000}']).filter_map(|word| word.chars().find(|c| c.is_alphanumeric()));
    let first = words.next();
    // One letter says enough where a letter is a syllable or a word.
    let last = words.next_back().filter(|_| first.is_some_and(|letter| letter < '\u{2e80}'));
    let letters: String = first.into_iter().chain(last).flat_map(char::to_uppercase).collect();
    if letters.is_empty() { "?".to_owned() } else { letters }
}

/// A number below [`COLORS`] (FNV-1a).
pub fn color(name: &str) -> u32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 16) % COLORS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initials_are_the_first_letters_of_the_first_and_the_last_name() {
        for (name, expected) in [
            ("Ada Lovelace", "AL"),
            ("Johann Wolfgang von Goethe", "JG"),
            ("ada", "A"),
            ("ada.lovelace@acme.example", "AL"),
            ("élise", "É"),
            ("山田 太郎", "山"),
            ("<script>", "S"),
            ("  ", "?"),
            ("", "?"),
        ] {
            assert_eq!(initials(name), expected, "{name}");
        }
    }

    #[test]
    fn a_person_keeps_the_color() {
        assert_eq!(color("auth0|1"), color("auth0|1"));
        let mut seen: Vec<_> = (0..200).map(|n| color(&format!("auth0|{n}"))).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (0..COLORS).collect::<Vec<_>>());
    }
}
