//! The house as `src/lib.rs` draws it: a module imports only from floors below its own, each big dependency has one
//! home, every file says what it is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by floor; those of one floor do not know one another, but for [`NEIGHBOURS`].
const FLOORS: [&[&str]; 7] = [
    &["clock", "secret", "tenant_id", "net", "metrics", "pages"],
    &["config"],
    &["oidc", "session"],
    &["tenant", "gateway"],
    &["flow"],
    &["web", "server"],
    &["cli"],
];

/// Who may know whom on the same floor.
const NEIGHBOURS: [(&str, &str); 6] = [
    ("secret", "tenant_id"),
    ("metrics", "tenant_id"),
    ("pages", "tenant_id"),
    ("pages", "clock"),
    ("gateway", "tenant"),
    ("web", "server"),
];

/// Crates that live in a few modules only.
const HOMES: [(&str, &[&str]); 13] = [
    ("warp", &["web", "server", "demo"]),
    ("openidconnect", &["oidc", "demo"]),
    ("jsonwebtoken", &["oidc", "demo"]),
    ("figment", &["config"]),
    ("prometheus", &["metrics"]),
    ("handlebars", &["pages"]),
    ("rusqlite", &["session"]),
    ("clap", &["cli"]),
    ("tracing_subscriber", &["cli"]),
    ("aws_lc_rs", &["secret"]),
    ("tokio_rustls", &["server"]),
    ("rustls", &["server"]),
    ("reqwest", &["oidc", "cli"]),
];

/// Lines that a file of the product may have.
const MOST_LINES: usize = 700;

/// What a file's module may import.
fn may_import(from: &str, to: &str) -> bool {
    let floor = |module: &str| FLOORS.iter().position(|modules| modules.contains(&module));
    match (floor(from), floor(to)) {
        _ if from == to => true,
        // The annex stands on the ground, beside the server.
        _ if from == "demo" => floor(to) == Some(0) || to == "server",
        (Some(roof), None) => roof == FLOORS.len() - 1 && to == "demo",
        (Some(from_floor), Some(to_floor)) => to_floor < from_floor || NEIGHBOURS.contains(&(from, to)),
        _ => false,
    }
}

/// What is wrong with a file of module `module`.
fn faults(module: &str, is_test: bool, text: &str) -> Vec<String> {
    let product = if is_test { "" } else { text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default() };
    let code: String =
        product.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push("does not open with `//!`".to_owned());
    }
    if product.lines().count() > MOST_LINES {
        faults.push(format!("is longer than {MOST_LINES} lines"));
    }
    for to in imported_modules(&code) {
        if !may_import(module, &to) {
            faults.push(format!("imports crate::{to}, which does not stand below it"));
        }
    }
    for (library, homes) in HOMES {
        if !homes.contains(&module) && mentions(&code, library) {
            faults.push(format!("uses {library}, whose home is {}", homes.join(", ")));
        }
    }
    for clock in ["SystemTime::now", "OffsetDateTime::now_utc"] {
        if module != "clock" && code.contains(clock) {
            faults.push(format!("asks {clock}; time is injected"));
        }
    }
    faults
}

/// The modules after `crate::`, one by one or in braces.
fn imported_modules(code: &str) -> Vec<String> {
    let word =
        |text: &str| -> String { text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut modules = Vec::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        _ if start && !c.is_whitespace() => {
                            modules.push(word(&list[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
            None => modules.push(word(after)),
        }
    }
    modules.retain(|module| module.chars().next().is_some_and(char::is_lowercase));
    modules
}

/// Whether a path starts with this crate's name.
fn mentions(code: &str, library: &str) -> bool {
    let start = format!("{library}::");
    code.match_indices(&start).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn the_house_stands_as_it_is_drawn() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    let files = files_in(&source);
    for file in &files {
        let inside = file.strip_prefix(&source).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.trim_end_matches(".rs");
        if module == "lib" || module == "main" {
            continue;
        }
        let is_test = inside.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
        let text = fs::read_to_string(file).unwrap();
        all.extend(
            faults(module, is_test, &text).into_iter().map(|fault| format!("src/{}: {fault}", inside.display())),
        );
    }
    assert!(files.len() > 40, "{} files", files.len());
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

#[test]
fn every_module_has_a_floor() {
    let library = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for module in library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')) {
        assert!(module == "demo" || FLOORS.iter().any(|floor| floor.contains(&module)), "{module}");
        assert!(library.contains(&format!("[`{module}`]")), "{module} is in the picture");
    }
}

#[test]
fn a_house_that_leans_is_seen() {
    for (module, text) in [
        ("clock", "// no head"),
        ("config", "//! x\nuse crate::web::routes;"),
        ("oidc", "//! x\nuse crate::{clock::Clock, session::Sessions};"),
        ("session", "//! x\nlet x = crate::oidc::Provider::new();"),
        ("demo", "//! x\nuse crate::oidc::Provider;"),
        ("flow", "//! x\nuse warp::Filter;"),
        ("web", "//! x\nprometheus::Registry::new()"),
        ("session", "//! x\nstd::time::SystemTime::now()"),
        ("net", "//! x\nuse crate::pages::Locale;"),
    ] {
        assert_eq!(faults(module, false, text).len(), 1, "{module}: {text}");
    }
    let long = format!("//! x\n{}", "//\n".repeat(MOST_LINES));
    assert_eq!(faults("web", false, &long).len(), 1);
    let good = "//! x\nuse crate::{clock::{Clock, Timestamp}, config::Settings};\nuse crate::server::Route;\nuse warp::Filter;";
    assert_eq!(faults("web", false, good), Vec::<String>::new());
    let in_tests = "//! x\n#[cfg(test)]\nmod tests {\n    use crate::web::x;\n}\n";
    assert_eq!(faults("config", false, in_tests), Vec::<String>::new());
}
