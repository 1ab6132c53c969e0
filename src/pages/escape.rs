//! Text that is written into HTML.

/// Writes a text as Handlebars writes it: between tags and within quoted attributes it is text and nothing else.
pub fn html(text: &str, written: &mut String) {
    written.reserve(text.len());
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| MEANS[usize::from(byte)]) {
        written.push_str(&rest[..at]);
        written.push_str(replacement(rest.as_bytes()[at]).unwrap_or_default());
        rest = &rest[at + 1..];
    }
    written.push_str(rest);
}

/// Whether a byte means something.
static MEANS: [bool; 256] = {
    let mut means = [false; 256];
    let mut byte = 0;
    while byte < means.len() {
        means[byte] = replacement(byte as u8).is_some();
        byte += 1;
    }
    means
};

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
