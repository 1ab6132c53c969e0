//! Text that is written into HTML.

/// Writes a text as Handlebars writes it: between tags and within quoted attributes it is text and nothing else.
pub fn html(text: &str, written: &mut String) {
    let mut rest = text;
    while let Some((before, replacement, after)) = next(rest) {
        written.push_str(before);
        written.push_str(replacement);
        rest = after;
    }
    written.push_str(rest);
}

/// Bytes that are looked at together: as many as a processor compares at once.
const TOGETHER: usize = 16;

/// The text before the first character that means something, what stands for it, and the text after it.
fn next(text: &str) -> Option<(&str, &'static str, &str)> {
    let means = |byte: &u8| replacement(*byte).is_some();
    let (pieces, _) = text.as_bytes().as_chunks::<TOGETHER>();
    let plain = pieces.iter().take_while(|piece| !piece.iter().fold(false, |any, byte| any | means(byte))).count();
    let at = TOGETHER * plain + text.as_bytes()[TOGETHER * plain..].iter().position(means)?;
    Some((&text[..at], replacement(text.as_bytes()[at])?, &text[at + 1..]))
}

const fn replacement(byte: u8) -> Option<&'static str> {
    match byte {
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'"' => Some("&quot;"),
        b'&' => Some("&amp;"),
        b'\'' => Some("&#x27;"),
        b'`' => Some("&#x60;"),
        b'=' => Some("&#x3D;"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::html;

    proptest! {
        #[test]
        fn a_text_is_escaped_as_handlebars_would(text in "[<>\"&'`=a-zé山]{0,24}[a-zé山]{0,24}[<>\"&'`=a-z]{0,4}") {
            let mut written = String::new();
            html(&text, &mut written);
            prop_assert_eq!(written, handlebars::html_escape(&text));
        }
    }
}
