//! The audit log as a file. It may be rotated at any time by renaming it: before lines are written, the file of that name
//! is opened anew if it is another one by now. Several processes may write to one file (a gateway and commands beside it): they take
//! turns, and each line links to the one above it, whoever wrote that.
//!
//! Beside the file lies another, its name with `.head`: the hash of the last line. By it the chain goes on after a
//! rotation, and a missing tail shows. Its lock is what the processes take turns by.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::sink::{Appended, Line, Link, Sink};
use super::writer::hex;
use crate::secret::sha256;

/// Bytes that are read at once, from the end of a file, in search of its last line.
const BLOCK: u64 = 4096;

/// The log's file.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    head: File,
    /// How long the file was after our last line, if that is the last one.
    ours: Option<u64>,
    /// Whether lines must be on the disk.
    syncs: bool,
}

impl Log {
    pub(super) fn open(path: &Path, syncs: bool) -> io::Result<Self> {
        let head = open(&head_path(path), false)?;
        Ok(Self { path: path.to_owned(), file: open(path, true)?, head, ours: None, syncs })
    }

    /// Looks whether the file is another one by now, or has lines that others wrote; what the next line links to then.
    fn look(&mut self) -> io::Result<Option<Link>> {
        let opened = self.file.metadata()?;
        let named = fs::metadata(&self.path).ok();
        if named.is_none_or(|named| (named.dev(), named.ino()) != (opened.dev(), opened.ino())) {
            self.file = open(&self.path, true)?;
            self.ours = None;
        }
        let length = self.file.metadata()?.len();
        if self.ours == Some(length) {
            return Ok(None);
        }
        Ok(Some(match last_line(&self.file, length)? {
            Some(line) => link_to(&line),
            None => Link { hash: self.read_head()?.unwrap_or_default(), of: None },
        }))
    }

    fn read_head(&mut self) -> io::Result<Option<[u8; 32]>> {
        let mut text = String::new();
        self.head.seek(SeekFrom::Start(0))?;
        (&self.head).take(BLOCK).read_to_string(&mut text)?;
        Ok(unhex(text.trim()))
    }

    fn write(&mut self, lines: &[Line]) -> Appended {
        let (before, whole) =
            match self.file.metadata().and_then(|file| Ok((file.len(), ends_whole(&self.file, file.len())?))) {
                Ok(found) => found,
                Err(error) => return (0, Err(error)),
            };
        // What a crash cut off stays as it is, on a line of its own.
        let mut text = if whole { String::new() } else { "\n".to_owned() };
        for line in lines {
            text.push_str(&line.text);
            text.push('\n');
        }
        let synced = |file: &File| if self.syncs { file.sync_data() } else { Ok(()) };
        if let Err(error) = self.file.write_all(text.as_bytes()).and_then(|()| synced(&self.file)) {
            // Half a line is worse than none; on a full disk there is always room for less.
            self.ours = None;
            return (0, self.file.set_len(before).and(Err(error)));
        }
        self.ours = Some(before + text.len() as u64);
        let head =
            lines.last().map_or(Ok(()), |last| self.head.write_all_at(format!("{}\n", hex(&last.hash)).as_bytes(), 0));
        (lines.len(), head)
    }
}

impl Sink for Log {
    fn label(&self) -> &'static str {
        "file"
    }

    fn append(&mut self, lines: &mut dyn FnMut(Option<Link>) -> Vec<Line>) -> Appended {
        if let Err(error) = self.head.lock() {
            return (0, Err(error));
        }
        let appended = match self.look() {
            Ok(link) => self.write(&lines(link)),
            Err(error) => (0, Err(error)),
        };
        match self.head.unlock() {
            Ok(()) => appended,
            Err(error) => (appended.0, appended.1.and(Err(error))),
        }
    }
}

/// Where the hash of the last line lies.
pub(super) fn head_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

fn open(path: &Path, append: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).append(append).create(true).mode(0o600);
    options.open(path)
}

/// What the next line links to, after this one. One that a crash cut off has a hash like any other.
fn link_to(line: &[u8]) -> Link {
    #[derive(Deserialize)]
    struct Of {
        instance: String,
        seq: u64,
    }
    let of = serde_json::from_slice::<Of>(line).ok();
    Link { hash: sha256(line), of: of.map(|of| (of.instance, of.seq)) }
}

fn ends_whole(file: &File, length: u64) -> io::Result<bool> {
    let mut last = [b'\n'];
    if let Some(at) = length.checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    Ok(last == *b"\n")
}

/// The last line of a file of this length, without its end; none if it is empty.
pub(super) fn last_line(file: &File, length: u64) -> io::Result<Option<Vec<u8>>> {
    let mut tail = Vec::new();
    let mut from = length;
    while from > 0 {
        let block = BLOCK.min(from);
        from -= block;
        let mut read = vec![0; usize::try_from(block).unwrap_or_default()];
        file.read_exact_at(&mut read, from)?;
        read.extend_from_slice(&tail);
        tail = read;
        let line = tail.strip_suffix(b"\n").unwrap_or(&tail);
        if let Some(end) = line.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(line[end + 1..].to_vec()));
        }
    }
    let line = tail.strip_suffix(b"\n").unwrap_or(&tail);
    Ok((!tail.is_empty()).then(|| line.to_vec()))
}

/// Reads 64 hexadecimal digits.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_found_however_long_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let long = "x".repeat(3 * BLOCK as usize);
        for (text, last) in [
            (String::new(), None),
            ("one\n".to_owned(), Some("one".to_owned())),
            ("one\ntwo".to_owned(), Some("two".to_owned())),
            (format!("one\n{long}\n"), Some(long.clone())),
            (format!("{long}\n"), Some(long.clone())),
        ] {
            fs::write(&path, &text).unwrap();
            let found = last_line(&File::open(&path).unwrap(), text.len() as u64).unwrap();
            assert_eq!(found.map(|line| String::from_utf8(line).unwrap()), last);
        }
    }

    #[test]
    fn hexadecimal_reads_back() {
        let bytes = sha256(b"x");
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        assert_eq!(unhex("00"), None);
        assert_eq!(unhex(&"zz".repeat(32)), None);
    }
}
