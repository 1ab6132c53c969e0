//! Whether an audit log is whole: every line links to the one above it by its hash, and every process numbers its lines
//! without a gap.
//!
//! What this proves: nobody changed, removed, moved or put in a line without rewriting all lines after it. Whoever can
//! rewrite all of them, and the `.head` beside the file, is found out only by a hash that was noted elsewhere.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use super::file::unhex;
use super::file::{head_path, last_line};
use super::writer::{VERSION, hex};
use crate::secret::sha256;

/// How lines are linked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Linked {
    /// Each to the one above it, as in a file.
    #[default]
    ToTheLineAbove,
    /// Each to the one above it of the same process, as where lines of several were collected.
    WithinProcesses,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Lines read.
    pub lines: u64,
    /// What is wrong with them.
    pub faults: Vec<Fault>,
    /// What should be known of a log that is whole, in sentences.
    pub notes: Vec<String>,
    /// The hash of the last line, in hexadecimal digits.
    pub last: Option<String>,
}

/// What a line says of its place in the chain.
#[derive(Deserialize)]
struct Place {
    v: u32,
    seq: u64,
    instance: String,
    prev: String,
}

/// Reads lines and compares.
#[derive(Debug, Default)]
struct Verifier {
    linked: Linked,
    report: Report,
    /// The last line, whosoever it is.
    above: Option<[u8; 32]>,
    /// The last line of each process: its number and hash.
    processes: HashMap<String, (u64, [u8; 32])>,
    /// Hashes to look out for.
    wanted: HashSet<[u8; 32]>,
}

/// Checks the lines of these files, which may be given in any order; `-` is the standard input. `noted` is the hash of a
/// line that must be there, as an earlier report said it.
///
/// # Errors
/// A file cannot be read.
pub fn verify(files: &[PathBuf], linked: Linked, noted: Option<[u8; 32]>) -> Result<Report, (PathBuf, io::Error)> {
    let files = in_order(files)?;
    let mut verifier = Verifier { linked, wanted: noted.into_iter().collect(), ..Verifier::default() };
    // Before the files: a process may be writing.
    let head = |path: &PathBuf| unhex(std::fs::read_to_string(head_path(path)).ok()?.trim());
    let heads: Vec<_> = files.iter().map(head).collect();
    verifier.wanted.extend(heads.iter().flatten());
    let mut end = (String::new(), 0);
    let mut lengths = Vec::new();
    for path in &files {
        let cannot = |error| (path.clone(), error);
        let name = path.display().to_string();
        let lines = match path.to_str() {
            Some("-") => verifier.read(&name, io::stdin().lock()),
            _ => File::open(path).and_then(|file| verifier.read(&name, BufReader::new(file))),
        };
        let lines = lines.map_err(cannot)?;
        lengths.push(lines);
        if lines > 0 {
            end = (name, lines);
        }
    }
    let Verifier { mut report, wanted, above, .. } = verifier;
    for ((path, head), lines) in files.iter().zip(heads).zip(lengths) {
        // One that was rotated a moment ago has no lines yet.
        if lines > 0 && head.is_some_and(|head| wanted.contains(&head)) {
            let what = format!("the log ends here, but {} knows a later line", head_path(path).display());
            report.faults.push(Fault { file: path.display().to_string(), line: lines, what });
        }
    }
    if let Some(noted) = noted.filter(|noted| wanted.contains(noted)) {
        let what = format!("no line has the noted hash {}: lines are missing, or all was rewritten", hex(&noted));
        report.faults.push(Fault { file: end.0, line: end.1, what });
    }
    report.last = above.map(|hash| hex(&hash));
    Ok(report)
}

impl Verifier {
    /// Takes all lines of a file; how many those were.
    fn read(&mut self, file: &str, mut lines: impl BufRead) -> io::Result<u64> {
        let (mut text, mut number) = (Vec::new(), 0);
        loop {
            text.clear();
            if lines.read_until(b'\n', &mut text)? == 0 {
                return Ok(number);
            }
            number += 1;
            let line = text.strip_suffix(b"\n").unwrap_or(&text);
            for what in self.take(line) {
                self.report.faults.push(Fault { file: file.to_owned(), line: number, what });
            }
        }
    }

    /// Takes the next line; what is wrong with it.
    fn take(&mut self, line: &[u8]) -> Vec<String> {
        self.report.lines += 1;
        // A daemon may put its own words before the line.
        let start = line.windows(5).position(|window| window == b"{\"v\":").unwrap_or_default();
        let line = &line[start..];
        let hash = sha256(line);
        self.wanted.remove(&hash);
        let above = self.above.replace(hash);
        let Ok(place) = serde_json::from_slice::<Place>(line) else {
            return vec!["is no line of an audit log, or was cut off, as by a crash".to_owned()];
        };
        let mut faults = Vec::new();
        if place.v != VERSION {
            faults.push(format!("is of version {}; this lychgate knows version {VERSION}", place.v));
        }
        let known = self.processes.insert(place.instance.clone(), (place.seq, hash));
        match &known {
            Some((seq, _)) if place.seq == seq + 1 => {}
            Some((seq, _)) if place.seq > seq + 1 => {
                let missing = place.seq - seq - 1;
                faults.push(format!("{missing} lines of {} are missing before it", place.instance));
            }
            Some((seq, _)) => faults.push(format!(
                "is line {} of {}, after its line {seq}: it was moved, or stands twice",
                place.seq, place.instance
            )),
            None if place.seq == 1 => {}
            // The very first line may be one whose predecessors are in files that are no longer kept.
            None if above.is_none() => {
                self.report.notes.push(format!("the log begins with line {} of {}", place.seq, place.instance));
            }
            None => faults.push(format!("{} lines of {} are missing before it", place.seq - 1, place.instance)),
        }
        let before = match self.linked {
            Linked::ToTheLineAbove => above,
            Linked::WithinProcesses => known.map(|(_, hash)| hash),
        };
        match before {
            None => {
                // What a noted line links to need not be there itself.
                if let Some(prev) = unhex(&place.prev) {
                    self.wanted.remove(&prev);
                }
            }
            Some(before) if place.prev == hex(&before) => {}
            Some(_) => faults.push(
                "does not link to the line before it: that one was changed, or lines were removed, moved or put in"
                    .to_owned(),
            ),
        }
        faults
    }
}

/// The files as they follow one another: each after the one whose last line its first line links to; else as given.
fn in_order(files: &[PathBuf]) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut left: Vec<(PathBuf, Option<String>, Option<String>)> = Vec::new();
    for path in files {
        let (first, last) = match path.to_str() {
            Some("-") => (None, None),
            _ => ends(path).map_err(|error| (path.clone(), error))?,
        };
        left.push((path.clone(), first, last));
    }
    let mut ordered: Vec<PathBuf> = Vec::new();
    let mut end: Option<String> = None;
    while !left.is_empty() {
        let follows = left.iter().position(|(_, first, _)| first.is_some() && *first == end);
        let begins =
            || left.iter().position(|(_, first, _)| first.is_none() || !left.iter().any(|(_, _, last)| last == first));
        let (path, _, last) = left.remove(follows.or_else(begins).unwrap_or_default());
        end = last.or(end);
        ordered.push(path);
    }
    Ok(ordered)
}

/// What the first line of a file links to, and the hash of its last line.
fn ends(path: &Path) -> io::Result<(Option<String>, Option<String>)> {
    let file = File::open(path)?;
    let mut first = Vec::new();
    BufReader::new(&file).read_until(b'\n', &mut first)?;
    let first = serde_json::from_slice::<Place>(&first).ok().map(|place| place.prev);
    let last = last_line(&file, file.metadata()?.len())?;
    Ok((first, last.map(|line| hex(&sha256(&line)))))
}
