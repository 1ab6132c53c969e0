//! Text that is written into HTML.

/// What Handlebars itself would make of a text, without a look at each character: between and within quoted attributes
/// it is text and nothing else.
pub fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    let mut rest = text;
    while let Some((before, replacement, after)) = next(rest) {
        escaped.push_str(before);
        escaped.push_str(replacement);
        rest = after;
    }
    escaped.push_str(rest);
    escaped
}

/// The text before the first character that means something, what stands for it, and the text after it.
fn next(text: &str) -> Option<(&str, &'static str, &str)> {
    let at = text.bytes().position(|byte| replacement(byte).is_some())?;
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
        fn a_text_is_escaped_as_handlebars_would(text in "[<>\"&'`=a-zé山]{0,24}") {
            prop_assert_eq!(html(&text), handlebars::html_escape(&text));
        }
    }
}
