//! The floor plan of the house, checked: who may import whom, where each big dependency lives, how a file begins and
//! how long it may be. The floors are read from the table in `src/lib.rs`, which is what people read, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Lines a file may have; files of tests alone may have more.
const MAX_LINES: usize = 800;

/// The modules of the ground floor that its other modules may use.
const CELLAR: &[&str] = &["tenant_id", "clock", "secret"];

/// On one floor, the first may use the second: the state struct holds tenants; readiness asks whether we drain; what ends
/// a session is told to the audit log.
const NEIGHBOURS: &[(&str, &str)] = &[("gateway", "tenant"), ("web", "server"), ("session", "audit")];

/// Each big dependency and its homes.
const HOMES: &[(&str, &[&str])] = &[
    ("warp", &["web", "server", "demo"]),
    ("hyper", &["server", "upstream", "demo"]),
    ("hyper_util", &["server", "upstream", "demo"]),
    ("hyper_rustls", &["upstream"]),
    ("rustls", &["server", "upstream", "oidc"]),
    ("tokio_rustls", &["server"]),
    ("x509_cert", &["server"]),
    ("openidconnect", &["oidc", "demo"]),
    ("jsonwebtoken", &["oidc", "demo"]),
    ("figment", &["config"]),
    ("prometheus", &["metrics"]),
    ("handlebars", &["pages"]),
    ("redis", &["session"]),
    ("notify", &["reload"]),
    ("rusqlite", &["session"]),
    ("rusqlite_migration", &["session"]),
    ("clap", &["cli"]),
    ("listenfd", &["cli"]),
    ("sd_notify", &["cli"]),
    ("clap_complete", &["cli"]),
    ("tracing_subscriber", &["cli"]),
    ("aws_lc_rs", &["secret"]),
    ("argon2", &["credentials"]),
    ("bcrypt", &["credentials"]),
    ("governor", &["rate_limits"]),
    ("rpassword", &["cli"]),
    ("gethostname", &["audit"]),
    ("opentelemetry", &["trace"]),
    ("opentelemetry_sdk", &["trace"]),
    ("opentelemetry_otlp", &["trace"]),
    ("opentelemetry_http", &["trace"]),
    ("tracing_opentelemetry", &["trace", "cli"]),
];

/// What asks the system for the time, which only `clock` may.
const CLOCKS: &[(&str, &str)] =
    &[("SystemTime", "now"), ("OffsetDateTime", "now_utc"), ("OffsetDateTime", "now_local")];

#[test]
fn the_house_is_built_as_planned() {
    let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(files.contains_key("lib.rs"), "no sources found");
    let faults = faults(&files);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Every Rust file below `src`, by its path there.
fn sources(src: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![src.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("a folder of sources").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(src).expect("below src").display().to_string();
                files.insert(name, fs::read_to_string(path).expect("a source"));
            }
        }
    }
    files
}

fn faults(files: &BTreeMap<String, String>) -> Vec<String> {
    let plan = Plan::read(&files["lib.rs"]);
    let mut faults = Vec::new();
    for (name, text) in files {
        if !text.starts_with("//!") {
            faults.push(format!("{name}: does not open with `//!`"));
        }
        if text.lines().count() > MAX_LINES && !is_test(name) {
            faults.push(format!("{name}: has more than {MAX_LINES} lines"));
        }
        let path = module_path(name);
        // The roots, lib.rs and main.rs, only tie the house together.
        let Some(module) = path.first().cloned() else { continue };
        if !plan.floors.contains_key(&module) {
            faults.push(format!("{name}: the table in lib.rs does not know `{module}`"));
            continue;
        }
        let code = Code::read(text);
        for (used, line) in code.imports(path) {
            if !plan.allows(&module, &used) {
                faults.push(format!("{name}:{line}: `{module}` may not use `{used}`"));
            }
        }
        for (dependency, homes) in HOMES {
            if !homes.contains(&module.as_str())
                && let Some(line) = code.first_use(dependency)
            {
                faults.push(format!("{name}:{line}: `{dependency}` lives in {}", homes.join(", ")));
            }
        }
        for (clock, now) in CLOCKS {
            if module != "clock"
                && let Some(line) = code.call(clock, now)
            {
                faults.push(format!("{name}:{line}: `{clock}::{now}` is called in clock.rs only"));
            }
        }
    }
    faults
}

fn is_test(name: &str) -> bool {
    name.ends_with("tests.rs") || name.contains("/tests/")
}

/// `server/tls.rs` is `[server, tls]`, `server/mod.rs` is `[server]`, `lib.rs` is empty.
fn module_path(name: &str) -> Vec<String> {
    let mut path: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| last == "mod") || name == "lib.rs" || name == "main.rs" {
        path.pop();
    }
    path
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Floor {
    Number(u8),
    /// Beside the house: uses the ground floor and `server`.
    Annex,
}

const GROUND: Floor = Floor::Number(0);

struct Plan {
    floors: BTreeMap<String, Floor>,
    roof: Floor,
}

impl Plan {
    /// Reads the table: `| 2 skills | [`oidc`], [`session`] | … |`.
    fn read(lib: &str) -> Self {
        let mut floors = BTreeMap::new();
        for row in lib.lines().filter_map(|line| line.strip_prefix("//! | ")) {
            let mut cells = row.split(" | ");
            let (Some(floor), Some(modules)) = (cells.next(), cells.next()) else { continue };
            let floor = match floor.split_once(' ').map(|(number, _)| number.parse()) {
                Some(Ok(number)) => Floor::Number(number),
                None if floor == "annex" => Floor::Annex,
                _ => continue,
            };
            for module in modules.split('`').skip(1).step_by(2) {
                floors.insert(module.to_owned(), floor);
            }
        }
        let number = |floor: &Floor| if let Floor::Number(number) = floor { Some(*number) } else { None };
        let roof = floors.values().filter_map(number).max().expect("lib.rs has a table of floors");
        Self { floors, roof: Floor::Number(roof) }
    }

    /// Whether `module` may use `used`. What is not in the table is an item of the root, such as a macro.
    fn allows(&self, module: &str, used: &str) -> bool {
        let (Some(&from), Some(&to)) = (self.floors.get(module), self.floors.get(used)) else { return true };
        if module == used || from == self.roof || NEIGHBOURS.contains(&(module, used)) {
            return true;
        }
        match (from, to) {
            (Floor::Annex, _) => to == GROUND || used == "server",
            (GROUND, GROUND) => CELLAR.contains(&used) && CELLAR.first() != Some(&module),
            (Floor::Number(from), Floor::Number(to)) => to < from,
            (Floor::Number(_), Floor::Annex) => false,
        }
    }
}

/// A file as names and signs, without comments and literals; each with its line.
struct Code<'a>(Vec<(&'a str, usize)>);

impl<'a> Code<'a> {
    fn read(text: &'a str) -> Self {
        let mut tokens = Vec::new();
        let (mut rest, mut line) = (text, 1);
        while !rest.is_empty() {
            let (length, is_code) = token(rest);
            if is_code {
                tokens.push((&rest[..length], line));
            }
            line += rest[..length].matches('\n').count();
            rest = &rest[length..];
        }
        Self(tokens)
    }

    fn at(&self, index: usize) -> &'a str {
        self.0.get(index).map_or("", |(token, _)| token)
    }

    /// Every module of the root that the module at `path` names, by `crate::…` or by `super::…` out of its own.
    fn imports(&self, mut path: Vec<String>) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        // The depth of braces at which each inline module on the way began.
        let (mut depth, mut inline) = (0_usize, Vec::new());
        let mut index = 0;
        while index < self.0.len() {
            match self.at(index) {
                "mod" if self.at(index + 2) == "{" => {
                    path.push(self.at(index + 1).to_owned());
                    inline.push(depth);
                }
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    if inline.last() == Some(&depth) {
                        inline.pop();
                        path.pop();
                    }
                }
                "crate" if self.at(index + 1) == "::" => self.names(index + 2, &mut found),
                "super" if self.at(index + 1) == "::" => {
                    let mut up = 1;
                    while self.at(index + 2 * up) == "super" {
                        up += 1;
                    }
                    index += 2 * (up - 1);
                    if up >= path.len() {
                        self.names(index + 2, &mut found);
                    }
                }
                _ => {}
            }
            index += 1;
        }
        found
    }

    /// The first names of a path that goes on at `index`: one, or those of a group in braces.
    fn names(&self, index: usize, found: &mut Vec<(String, usize)>) {
        let Some((token, line)) = self.0.get(index) else { return };
        if *token != "{" {
            found.push(((*token).to_owned(), *line));
            return;
        }
        let (mut depth, mut starts) = (0, false);
        for (token, line) in &self.0[index..] {
            match *token {
                "{" => {
                    depth += 1;
                    starts = depth == 1;
                }
                "}" if depth == 1 => return,
                "}" => depth -= 1,
                "," => starts = depth == 1,
                name if starts => {
                    found.push((name.to_owned(), *line));
                    starts = false;
                }
                _ => {}
            }
        }
    }

    /// The line where `name` is first used as the beginning of a path, or imported.
    fn first_use(&self, name: &str) -> Option<usize> {
        let before = |index: usize, back: usize| index.checked_sub(back).map_or("", |index| self.at(index));
        // `::name` alone names the dependency, too; `x::name` does not.
        let begins = |index| match (before(index, 2), before(index, 1)) {
            ("use", "::") => true,
            (owner, "::") => !is_name(owner) && owner != ">",
            _ => true,
        };
        let in_path = |index| self.at(index + 1) == "::" || before(index, 1) == "use";
        (0..self.0.len())
            .find(|&index| self.at(index) == name && begins(index) && in_path(index))
            .map(|index| self.0[index].1)
    }

    fn call(&self, owner: &str, function: &str) -> Option<usize> {
        let called = |tokens: &[(&str, usize)]| tokens[0].0 == owner && tokens[1].0 == "::" && tokens[2].0 == function;
        self.0.windows(3).find(|tokens| called(tokens)).map(|tokens| tokens[0].1)
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c == '_' || c.is_alphabetic())
}

/// The length of the first token of `text`, and whether it is a name or a sign: not blank, comment or literal.
fn token(text: &str) -> (usize, bool) {
    let first = text.chars().next().expect("not empty");
    let up_to = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return (up_to("\n", 2), false);
    }
    if text.starts_with("/*") {
        return (up_to("*/", 2), false);
    }
    if let Some(length) = raw_string(text) {
        return (length, false);
    }
    if first == '"' || text.starts_with("b\"") || text.starts_with("c\"") {
        return (quoted(text, '"'), false);
    }
    if let Some(rest) = text.strip_prefix('\'') {
        // `'a` is a lifetime, `'a'` a character.
        let mut next = rest.chars();
        let is_character = next.next() == Some('\\') || next.next() == Some('\'');
        return (if is_character { quoted(text, '\'') } else { 1 }, false);
    }
    if is_name(text) {
        return (text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len()), true);
    }
    if text.starts_with("::") {
        return (2, true);
    }
    (first.len_utf8(), !first.is_whitespace())
}

/// The length of a literal in `quote`s, with what stands before the first.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    let mut opened = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote && opened => return at + 1,
            c if c == quote => opened = true,
            _ => {}
        }
    }
    text.len()
}

/// The length of a literal such as `r#"…"#`, if `text` begins with one.
fn raw_string(text: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"]
        .into_iter()
        .find(|prefix| text.starts_with(&format!("{prefix}\"")) || text.starts_with(&format!("{prefix}#")))?;
    let hashes = text[prefix.len()..].bytes().take_while(|b| *b == b'#').count();
    let body = prefix.len() + hashes;
    // `r#type` is a name.
    text[body..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text[body + 1..].find(&end).map_or(text.len(), |at| body + 1 + at + end.len()))
}

/// Bad examples, since a check that cannot fail checks nothing.
mod examples {
    use super::*;

    const LIB: &str = "//! | floor | modules |\n//! | --- | --- |\n\
        //! | 0 ground | [`clock`], [`secret`], [`tenant_id`], [`net`], [`metrics`] | x |\n\
        //! | 1 asked for | [`config`] | x |\n\
        //! | 2 skills | [`oidc`], [`session`] | x |\n\
        //! | 3 domain | [`tenant`], [`gateway`] | x |\n\
        //! | 5 the outside | [`web`], [`server`] | x |\n\
        //! | 6 roof | [`cli`] | x |\n\
        //! | annex | [`demo`] | x |\n";

    /// The faults of one file in an otherwise sound house.
    fn faults_of(name: &str, text: &str) -> Vec<String> {
        faults(&[("lib.rs", LIB), (name, text)].map(|(name, text)| (name.to_owned(), text.to_owned())).into())
    }

    #[track_caller]
    fn assert_fault(name: &str, code: &str, expected: &str) {
        assert_eq!(faults_of(name, &format!("//! A file.\n{code}\n")), [format!("{name}{expected}")], "{code}");
    }

    #[track_caller]
    fn assert_sound(name: &str, code: &str) {
        assert_eq!(faults_of(name, &format!("//! A file.\n{code}\n")), [""; 0], "{code}");
    }

    #[test]
    fn an_import_from_a_floor_above_is_a_fault() {
        for code in [
            "use crate::web::Problem;",
            "use crate::{clock::Clock, web};",
            "use crate::{clock::{Clock, Timestamp}, web::{A, B}};",
            "fn f(x: crate::web::Problem) {}",
            "use super::web;",
            "mod tests { use super::super::web::X; }",
            "macro_rules! m { () => { $crate::web::f() } }",
            "fn f() { let _ = \"}\"; } mod a { fn g() {} } use super::web::X;",
        ] {
            assert_fault("oidc/mod.rs", code, ":2: `oidc` may not use `web`");
        }
        assert_fault("oidc/keys.rs", "mod tests {\n use super::super::super::web; }", ":3: `oidc` may not use `web`");
        assert_fault("clock.rs", "use crate::config::Settings;", ":2: `clock` may not use `config`");
    }

    #[test]
    fn a_neighbour_is_not_imported() {
        assert_fault("oidc.rs", "use crate::session::Sessions;", ":2: `oidc` may not use `session`");
        assert_fault("server.rs", "use crate::web::Route;", ":2: `server` may not use `web`");
        assert_fault("tenant.rs", "use crate::gateway::Gateway;", ":2: `tenant` may not use `gateway`");
        assert_fault("net.rs", "use crate::metrics::Metrics;", ":2: `net` may not use `metrics`");
        assert_fault("tenant_id.rs", "use crate::clock::Clock;", ":2: `tenant_id` may not use `clock`");
    }

    #[test]
    fn the_annex_uses_the_ground_and_the_server_and_only_the_roof_uses_it() {
        assert_sound("demo.rs", "use crate::{clock::Clock, secret, server::Listener};");
        assert_fault("demo.rs", "use crate::config::X;", ":2: `demo` may not use `config`");
        assert_fault("web.rs", "use crate::demo::X;", ":2: `web` may not use `demo`");
        assert_sound("cli.rs", "use crate::{demo, web, clock};");
    }

    #[test]
    fn what_is_allowed_is_no_fault() {
        assert_sound("web/mod.rs", "use crate::{clock::Clock, gateway, server::Shutdown, web::other, a_macro};");
        assert_sound("web/pages.rs", "use super::problem; mod tests { use super::super::session; use super::*; }");
        assert_sound("net.rs", "use crate::secret::Key; mod tests { use super::*; } pub(crate) fn f() {}");
        assert_sound("gateway.rs", "use crate::tenant::Tenant;");
        assert_sound(
            "oidc.rs",
            "// crate::web::x\n/* crate::web::x */ /// [`crate::web`]\nconst A: &str = \"crate::web::x \\\" crate::web\";\n\
             const B: &str = r#\"crate::web::x\" \"#; fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' }",
        );
    }

    #[test]
    fn a_dependency_away_from_home_is_a_fault() {
        assert_fault("oidc.rs", "use warp::Filter;", ":2: `warp` lives in web, server, demo");
        assert_fault("oidc.rs", "mod tests {\n fn f() { warp::any() } }", ":3: `warp` lives in web, server, demo");
        assert_fault("oidc.rs", "use ::warp::Filter;", ":2: `warp` lives in web, server, demo");
        assert_fault("oidc.rs", "use warp as w;", ":2: `warp` lives in web, server, demo");
        assert_fault("web.rs", "#[derive(clap::Parser)] struct A;", ":2: `clap` lives in cli");
        assert_fault("server/tls.rs", "use aws_lc_rs::rand;", ":2: `aws_lc_rs` lives in secret");
        assert_sound("server/tls.rs", "use rustls::crypto::aws_lc_rs::default_provider;");
        assert_sound("web.rs", "use warp::Filter; fn f() { let clap = 1; clap.x() }");
    }

    #[test]
    fn asking_the_system_for_the_time_is_a_fault_outside_the_clock() {
        let code = "fn f() { std::time::SystemTime::now() }";
        assert_fault("oidc.rs", code, ":2: `SystemTime::now` is called in clock.rs only");
        assert_sound("clock.rs", code);
        let code = "fn f() { OffsetDateTime::now_utc() }";
        assert_fault("oidc.rs", code, ":2: `OffsetDateTime::now_utc` is called in clock.rs only");
    }

    #[test]
    fn a_file_says_what_it_is_and_is_not_too_long() {
        assert_eq!(faults_of("oidc.rs", "use std::fmt;\n"), ["oidc.rs: does not open with `//!`"]);
        let long = "//! Long.\n".repeat(MAX_LINES + 1);
        assert_eq!(faults_of("oidc/keys.rs", &long), ["oidc/keys.rs: has more than 800 lines"]);
        assert_eq!(faults_of("oidc/tests.rs", &long), [""; 0]);
        assert_eq!(faults_of("oidc/tests/keys.rs", &long), [""; 0]);
    }

    #[test]
    fn a_module_that_the_table_does_not_know_is_a_fault() {
        assert_eq!(faults_of("helpers.rs", "//! Help.\n"), ["helpers.rs: the table in lib.rs does not know `helpers`"]);
    }
}
