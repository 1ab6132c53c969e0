//! Which names a template uses, read from its source with their lines, so that a wrong one is found when it is loaded
//! and not when it is shown. `build.rs` compiles this file too. Whether the names exist is not decided here.

/// What is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `(t "key")` or `{{t "key"}}`.
    Message,
    /// `{{asset "file"}}`.
    Asset,
    /// `{{> name}}` or `{{#> name}}`.
    Partial,
    /// `{{#*inline "name"}}`: a partial that the template itself defines.
    Inline,
}

/// A name in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// What it names.
    pub kind: Kind,
    /// The name.
    pub name: &'a str,
    /// Its line, from 1.
    pub line: usize,
}

/// The names in `source`, in order. Names that are computed are not seen.
pub fn names(source: &str) -> Vec<Name<'_>> {
    let mut names = Vec::new();
    let mut at = 0;
    while let Some(open) = source[at..].find("{{").map(|found| at + found) {
        let tag = source[open + 2..].trim_start_matches(['{', '~']);
        let end = if tag.starts_with("!--") { "--}}" } else { "}}" };
        let tag = &tag[..tag.find(end).unwrap_or(tag.len())];
        if !tag.starts_with('!') {
            let line = |part: &str| 1 + source[..offset(source, part)].matches('\n').count();
            names.extend(of_tag(tag).map(|(kind, name)| Name { kind, name, line: line(name) }));
        }
        at = offset(source, tag) + tag.len();
    }
    names
}

/// Every expression of a tag: its beginning, and what follows a parenthesis.
fn of_tag(tag: &str) -> impl Iterator<Item = (Kind, &str)> {
    let partial = tag.strip_prefix("#>").or_else(|| tag.strip_prefix('>')).and_then(|rest| {
        let name = rest.split_whitespace().next()?;
        (!name.starts_with(['@', '('])).then_some((Kind::Partial, name))
    });
    partial.into_iter().chain(tag.split('(').filter_map(|expression| {
        let (helper, rest) = expression.trim_start().split_once(char::is_whitespace)?;
        let kind = match helper {
            "t" => Kind::Message,
            "asset" => Kind::Asset,
            "#*inline" => Kind::Inline,
            _ => return None,
        };
        Some((kind, rest.trim_start().strip_prefix('"')?.split_once('"')?.0))
    }))
}

fn offset(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_their_lines() {
        let source = "{{#> layout title=(t \"a.b\" name=x)}}\n{{~t \"c\"}} (t \"prose\")\n{{!-- {{t \"no\"}} --}}\n\
                      {{asset \"s.css\"}}{{> @partial-block}}{{> (dynamic)}}{{#*inline \"i\"}}{{/inline}}";
        let found: Vec<_> = names(source).into_iter().map(|n| (n.kind, n.name, n.line)).collect();
        assert_eq!(
            found,
            [
                (Kind::Partial, "layout", 1),
                (Kind::Message, "a.b", 1),
                (Kind::Message, "c", 2),
                (Kind::Asset, "s.css", 4),
                (Kind::Inline, "i", 4),
            ]
        );
    }

    #[test]
    fn an_open_tag_at_the_end_is_no_trouble() {
        assert!(names("{{").is_empty());
        assert!(names("{{t \"").is_empty());
    }
}
