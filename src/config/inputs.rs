//! What settings were made of: every file and variable that was looked at, with a digest of what was there, so that a
//! later reading knows what has changed and parses nothing else.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Sources;
use crate::secret::sha256;

/// Something that was looked at.
#[derive(Clone, PartialEq, Eq)]
enum Input {
    File(PathBuf),
    Variable(String),
}

/// All that was looked at, in order.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Inputs(Vec<Seen>);

#[derive(Clone, PartialEq, Eq)]
struct Seen {
    /// The key that names a file; empty for anything else.
    key: String,
    input: Input,
    /// Of what was there; none where it was not, or could not be read.
    digest: Option<[u8; 32]>,
}

impl Inputs {
    /// A file was looked at, and this was in it.
    pub(super) fn saw_file(&mut self, key: &str, path: &Path, content: Option<&[u8]>) {
        self.note(Seen { key: key.to_owned(), input: Input::File(path.to_owned()), digest: content.map(sha256) });
    }

    /// A variable was looked at, and this was its value.
    pub(super) fn saw_variable(&mut self, name: &str, value: Option<&str>) {
        let digest = value.map(|value| sha256(value.as_bytes()));
        self.note(Seen { key: String::new(), input: Input::Variable(name.to_owned()), digest });
    }

    fn note(&mut self, seen: Seen) {
        if !self.0.contains(&seen) {
            self.0.push(seen);
        }
    }

    /// Adds what somebody else looked at.
    pub(super) fn extend(&mut self, others: Self) {
        others.0.into_iter().for_each(|seen| self.note(seen));
    }

    /// Whether all of it is as it was.
    pub(super) fn still_hold(&self, sources: &Sources) -> bool {
        self.0.iter().all(|seen| {
            let now = match &seen.input {
                Input::File(path) => std::fs::read(path).ok().map(|content| sha256(&content)),
                Input::Variable(name) => sources.environment.get(name).map(|value| sha256(value.as_bytes())),
            };
            now == seen.digest
        })
    }

    /// The digests of the files that `key` names.
    pub(super) fn of_key<'a>(&'a self, key: &'a str) -> impl Iterator<Item = u8> + 'a {
        self.0.iter().filter(move |seen| seen.key == key).flat_map(|seen| seen.digest.unwrap_or_default())
    }

    /// A digest of all contents, whatever their names are.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let contents: Vec<u8> = self.0.iter().flat_map(|seen| seen.digest.unwrap_or_default()).collect();
        sha256(&contents)
    }

    /// The folders of the files.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|seen| match &seen.input {
            Input::File(path) => path.parent(),
            Input::Variable(_) => None,
        })
    }
}

impl fmt::Debug for Inputs {
    /// Without the digests: those of short secrets could be guessed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inputs").field("count", &self.0.len()).finish_non_exhaustive()
    }
}
