//! What the book shows, works: command lines parse, settings files pass `lychgate check`, settings and files that are
//! named exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use clap::error::ErrorKind;
use lychgate::config;
use pulldown_cmark::{CodeBlockKind, Event, Tag, TagEnd};

use super::links::{pages, parser, target};
use super::{file, names, path};

/// What stands in a page as code.
struct Code {
    page: String,
    /// Language and text of each block.
    blocks: Vec<(String, String)>,
    /// Within sentences.
    spans: Vec<String>,
    /// In the column “in lychgate” of a table.
    ours: Vec<String>,
}

impl Code {
    fn read(page: &str) -> Self {
        let text = with_includes(page);
        let mut code = Self { page: page.to_owned(), blocks: Vec::new(), spans: Vec::new(), ours: Vec::new() };
        let mut block = false;
        let (mut column, mut head, mut of_ours) = (0, String::new(), None);
        for event in parser(&text) {
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    code.blocks.push((language, String::new()));
                    block = true;
                }
                Event::End(TagEnd::CodeBlock) => block = false,
                Event::Text(text) if block => code.blocks.last_mut().unwrap().1.push_str(&text),
                Event::Start(Tag::Table(_)) => of_ours = None,
                Event::Start(Tag::TableHead | Tag::TableRow) => column = 0,
                Event::Start(Tag::TableCell) => head.clear(),
                Event::Text(text) => head.push_str(&text),
                Event::End(TagEnd::TableCell) => {
                    if of_ours.is_none() && head.starts_with("in lychgate") {
                        of_ours = Some(column);
                    }
                    column += 1;
                }
                Event::Code(span) => {
                    if of_ours == Some(column) {
                        code.ours.push(span.to_string());
                    }
                    code.spans.push(span.into_string());
                }
                _ => {}
            }
        }
        code
    }
}

/// A page with the files that it includes, as mdBook reads it.
fn with_includes(page: &str) -> String {
    let mut text = file(page);
    while let Some((before, rest)) = text.split_once("{{#include ") {
        let (name, after) = rest.split_once("}}").unwrap();
        text = format!("{before}{}{after}", file(&target(page, name)));
    }
    text
}

fn all() -> Vec<Code> {
    let mut names = pages("docs");
    names.extend(pages("deploy"));
    names.push("README.md".to_owned());
    names.iter().map(|name| Code::read(name)).collect()
}

fn fail_with(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The arguments of every `lychgate` that a line of a shell calls.
fn calls(line: &str) -> Vec<Vec<String>> {
    let line = line.strip_prefix("$ ").unwrap_or(line).replace("cargo run -- ", "lychgate ");
    let words = shlex::split(&line).unwrap_or_default();
    let begins = |at: usize| {
        at == 0 || ["|", "&&", "||", ";", "--", "sudo", "exec", "then", "!"].contains(&words[at - 1].as_str())
    };
    let ends = |word: &String| ["|", "&&", "||", ";", ">", ">>", "<", "2>", "&"].contains(&word.as_str());
    (0..words.len())
        .filter(|&at| words[at] == "lychgate" && begins(at))
        .map(|at| words[at..].iter().take_while(|word| !ends(word)).cloned().collect())
        .collect()
}

/// Why clap does not take a command line.
fn refused(call: &[String]) -> Option<clap::Error> {
    lychgate::cli::definition().try_get_matches_from(call).err().filter(|error| error.kind() != ErrorKind::DisplayHelp)
}

#[test]
fn every_command_line_is_one_that_the_program_takes() {
    let mut tried = 0;
    let mut faults = Vec::new();
    for code in all() {
        for (language, text) in &code.blocks {
            if !["sh", "bash", "console"].contains(&language.as_str()) {
                continue;
            }
            let joined = text.replace("\\\n", " ");
            for line in joined.lines().filter(|line| language != "console" || line.starts_with("$ ")) {
                for call in calls(line) {
                    tried += 1;
                    faults.extend(refused(&call).map(|error| format!("{}: {line}: {error}", code.page)));
                }
            }
        }
        for span in code.spans.iter().filter(|span| span.starts_with("lychgate ") && *span != "lychgate help COMMAND") {
            for call in calls(span) {
                tried += 1;
                // Whoever speaks of a command need not say what it works on.
                let named = |error: &clap::Error| {
                    let kinds =
                        [ErrorKind::MissingRequiredArgument, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
                    kinds.contains(&error.kind())
                };
                let error = refused(&call).filter(|error| !named(error));
                faults.extend(error.map(|error| format!("{}: {span}: {error}", code.page)));
            }
        }
    }
    assert!(tried > 40, "{tried}");
    fail_with(&faults);
}

/// The keys of a settings file and of a tenant file.
fn known() -> [BTreeSet<String>; 2] {
    [names(&config::settings_table()), names(&config::tenant_table())]
}

/// Whether a file holds nothing but keys of these at its top.
fn is_of(known: &BTreeSet<String>, top: &[String]) -> bool {
    let first = |key: &String| key.split(['.', '[']).next().unwrap().to_owned();
    let known: BTreeSet<String> = known.iter().map(first).collect();
    !top.is_empty() && top.iter().all(|key| known.contains(key))
}

#[test]
fn every_settings_file_passes_the_check() {
    let [settings, tenant] = known();
    let mut faults = Vec::new();
    let mut tried = 0;
    for code in all() {
        for (language, text) in &code.blocks {
            let top: Vec<String> = match language.as_str() {
                "toml" => match text.parse::<toml::Table>() {
                    Ok(table) => table.keys().cloned().collect(),
                    Err(error) => {
                        faults.push(format!("{}: {error}\n{text}", code.page));
                        continue;
                    }
                },
                "yaml" => match serde_norway::from_str::<BTreeMap<String, serde_norway::Value>>(text) {
                    Ok(map) => map.into_keys().collect(),
                    Err(_) => continue, // several documents, or a template
                },
                _ => continue,
            };
            let sample = Sample { extension: language, text };
            let said = match (is_of(&settings, &top), is_of(&tenant, &top)) {
                (true, _) => sample.check_as_settings(),
                (_, true) => sample.check_as_tenant(&top),
                _ if language == "yaml" => continue,
                _ => Err("is neither of the settings nor a tenant".to_owned()),
            };
            tried += 1;
            faults.extend(said.err().map(|error| format!("{}: {error}\n{text}", code.page)));
        }
    }
    assert!(tried > 20, "{tried}");
    fail_with(&faults);
}

/// A file that the book shows.
struct Sample<'a> {
    extension: &'a str,
    text: &'a str,
}

/// What the least tenant file holds, as far as it is wanted.
fn least(wanted: impl Fn(&str) -> bool, between: &str) -> String {
    let keys = [("domain", "acme.eu.auth0.com"), ("client_id", "YOUR_CLIENT_ID"), ("client_secret", "hush-hush")];
    let lines =
        keys.into_iter().filter(|(key, _)| wanted(key)).map(|(key, value)| format!("{key}{between} {value:?}\n"));
    lines.collect::<Vec<_>>().concat()
}

impl Sample<'_> {
    fn check_as_settings(&self) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("lychgate.{}", self.extension);
        fs::create_dir(folder.path().join("tenants")).unwrap();
        fs::write(folder.path().join("tenants/acme.toml"), least(|_| true, " =")).unwrap();
        let text = self.with_its_files(folder.path());
        fs::write(folder.path().join(&name), text).unwrap();
        self.check(folder.path(), &["check", "--config", &name])
    }

    fn check_as_tenant(&self, top: &[String]) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let tenants = folder.path().join("tenants");
        fs::create_dir(&tenants).unwrap();
        // What a part of a file leaves out.
        let has = |names: &[&str]| top.iter().any(|key| names.contains(&key.as_str()));
        let missing = |key: &str| match key {
            "domain" => !has(&["domain", "issuer"]),
            "client_secret" => !has(&["client_secret", "client_secret_file", "private_key_file", "client_auth"]),
            key => !has(&[key]),
        };
        let mut text = least(missing, if self.extension == "toml" { " =" } else { ":" });
        text.push_str(&self.with_its_files(&tenants));
        fs::write(tenants.join(format!("acme.{}", self.extension)), text).unwrap();
        self.check(folder.path(), &["check"])
    }

    /// Makes the files that it names, and names them as they are then called.
    fn with_its_files(&self, folder: &Path) -> String {
        let mut text = self.text.to_owned();
        for line in self.text.lines() {
            let Some((key, value)) = line.trim_start_matches("# ").split_once(['=', ':']) else { continue };
            let (key, value) = (key.trim(), value.trim().trim_matches('"'));
            let value = value.split('"').next().unwrap();
            let name = Path::new(value).file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.is_empty() || !(key.ends_with("_file") || ["templates", "tenants", "data"].contains(&key)) {
                continue;
            }
            text = text
                .replace(&format!("\"{value}\""), &format!("\"{name}\""))
                .replace(&format!(" {value}\n"), &format!(" {name}\n"));
            match content(key) {
                Some(content) => fs::write(folder.join(name), content).unwrap(),
                None => fs::create_dir_all(folder.join(name)).unwrap(),
            }
        }
        text
    }

    fn check(&self, folder: &Path, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
        command.args(arguments).current_dir(folder).env_clear();
        for rest in self.text.split("${").skip(1) {
            command.env(rest.split('}').next().unwrap(), "hush-hush");
        }
        let said = command.output().unwrap();
        if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said.stderr).into_owned()) }
    }
}

/// What may stand in the file that a setting names; none for a folder.
fn content(key: &str) -> Option<String> {
    thread_local! {
        static PAIR: rcgen::CertifiedKey<rcgen::KeyPair> =
            rcgen::generate_simple_self_signed(["login.example.com".to_owned()]).unwrap();
    }
    Some(match key {
        "certificate_file" | "ca_file" | "redis_certificate_file" | "redis_ca_file" => {
            PAIR.with(|pair| pair.cert.pem())
        }
        "key_file" | "redis_key_file" => PAIR.with(|pair| pair.signing_key.serialize_pem()),
        "local_users_file" => "ada:$2y$12$OPVM/cDmUoWFQxDHjzb2UuwjL3nMv2QVu3fl.V1cMsq4UZS/AW9vu\n".to_owned(),
        "secret_file" => {
            let said = Command::new(env!("CARGO_BIN_EXE_lychgate")).arg("secret").output().unwrap();
            String::from_utf8(said.stdout).unwrap()
        }
        key if key.ends_with("_file") => "hush-hush".to_owned(),
        _ => return None,
    })
}

#[test]
fn every_setting_that_is_named_exists() {
    let [settings, tenant] = known();
    let known: BTreeSet<String> = settings.union(&tenant).cloned().collect();
    let last = |key: &String| key.rsplit('.').next().unwrap().to_owned();
    let short: BTreeSet<String> = known.iter().map(last).collect();
    let mut program = lychgate::cli::definition();
    program.build();
    let mut faults = Vec::new();
    let mut tried = 0;
    for code in all() {
        for span in &code.spans {
            let Some((key, _)) = span.split_once(" = ") else { continue };
            if key.chars().all(|c| c.is_ascii_lowercase() || "_.[]".contains(c)) {
                tried += 1;
                if !known.contains(key) && !short.contains(key) {
                    faults.push(format!("{}: {span}: no such setting", code.page));
                }
            }
        }
        for span in &code.ours {
            tried += 1;
            let flag = |name: &str| program.get_arguments().any(|argument| argument.get_long() == Some(name));
            let fine = match span.strip_prefix("--") {
                Some(name) => flag(name),
                None => span.starts_with('/') || known.contains(span) || span.starts_with("lychgate "),
            };
            if !fine {
                faults.push(format!("{}: {span}: no such setting", code.page));
            }
        }
    }
    assert!(tried > 150, "{tried}");
    fail_with(&faults);
}

#[test]
fn every_file_that_is_named_is_there() {
    let mut faults = Vec::new();
    let mut tried = 0;
    for code in all() {
        for span in &code.spans {
            let of_ours = ["deploy/", "tests/", "benches/", "docs/"].iter().any(|folder| span.starts_with(folder));
            if of_ours && !span.contains([' ', '*', '<', '…']) {
                tried += 1;
                if !path(span).exists() {
                    faults.push(format!("{}: {span} is not there", code.page));
                }
            }
        }
    }
    assert!(tried > 5, "{tried}");
    fail_with(&faults);
}
