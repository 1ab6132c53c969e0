//! Every page is in the book's summary, and every link and anchor of README, the book and the other documents leads
//! somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{file, path};

/// What a document links to, and what can be linked to in it.
struct Document {
    links: Vec<String>,
    anchors: BTreeSet<String>,
}

impl Document {
    fn read(name: &str) -> Self {
        let text = file(name);
        let mut document = Self { links: Vec::new(), anchors: BTreeSet::new() };
        let mut heading: Option<String> = None;
        for event in parser(&text) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    // Of several headings of one name only the first can be linked to.
                    document.anchors.insert(anchor(&heading.take().unwrap_or_default()));
                }
                _ => {}
            }
        }
        document
    }
}

/// Reads Markdown as mdBook does.
pub(super) fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH)
}

/// The name that mdBook, and others, give a heading.
fn anchor(heading: &str) -> String {
    let of_a_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    heading
        .trim()
        .chars()
        .filter_map(|c| if c.is_whitespace() { Some('-') } else { of_a_name(c).then(|| c.to_ascii_lowercase()) })
        .collect()
}

/// Every Markdown file below a folder, by its path in the repository.
pub(super) fn pages(folder: &str) -> Vec<String> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(path(folder)).unwrap() {
        let name = format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap());
        if name.ends_with("/node_modules") {
            continue;
        }
        if path(&name).is_dir() {
            pages.extend(self::pages(&name));
        } else if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
            pages.push(name);
        }
    }
    pages.sort();
    pages
}

/// Where a link leads, as a path in the repository.
pub(super) fn target(page: &str, link: &str) -> String {
    let mut parts = PathBuf::from(page);
    parts.pop();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(name) => parts.push(name),
            _ => {}
        }
    }
    parts.to_str().unwrap().to_owned()
}

#[test]
fn every_page_is_in_the_summary() {
    let listed = Document::read("docs/SUMMARY.md").links;
    let listed: Vec<String> = listed.iter().map(|link| format!("docs/{link}")).collect();
    let once: BTreeSet<&String> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "a page stands twice in docs/SUMMARY.md");
    let there: BTreeSet<String> = pages("docs").into_iter().filter(|page| page != "docs/SUMMARY.md").collect();
    let missing: Vec<&String> = there.iter().filter(|page| !once.contains(page)).collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
    let gone: Vec<&&String> = once.iter().filter(|page| !there.contains(**page)).collect();
    assert!(gone.is_empty(), "in docs/SUMMARY.md, but not there: {gone:?}");
}

#[test]
fn every_link_leads_somewhere() {
    let mut names = pages("docs");
    names.extend(pages("deploy"));
    names.extend(["README.md", "CHANGELOG.md"].map(str::to_owned));
    let documents: BTreeMap<String, Document> =
        names.into_iter().map(|name| (name.clone(), Document::read(&name))).collect();
    let mut faults = Vec::new();
    let mut followed = 0;
    for (page, document) in &documents {
        for link in &document.links {
            if link.is_empty() || link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (place, name) = link.split_once('#').unwrap_or((link, ""));
            let place = if place.is_empty() { page.clone() } else { target(page, place) };
            if page.starts_with("docs/") && !place.starts_with("docs/") {
                faults.push(format!("{page}: {link} leads out of the book; write the path as code"));
            } else if !path(&place).exists() {
                faults.push(format!("{page}: {link} is not there"));
            } else if !name.is_empty() && !documents.get(&place).is_some_and(|to| to.anchors.contains(name)) {
                faults.push(format!("{page}: {link}: no such heading"));
            }
        }
    }
    assert!(followed > 50, "{followed}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
