//! The files of a key ring: the active key's, such as `secret.key`, and beside it one for each further key that is
//! accepted, `secret.<anything>.key`. Read as a whole, made, rotated in two steps, dropped.
//!
//! A reader never meets half a change: files are written under another name and linked, the active one is replaced in
//! one step and is there at every moment, and what two readings in a row do not agree about is not taken.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::ring_key::{KeyId, MalformedKey, RingKey};
use crate::clock::Timestamp;
use crate::secret::{ExposeSecret as _, random_text};

/// Files that a ring may have: whoever brings a cookie of a sign-in may make us try them all.
pub const MAX_KEYS: usize = 16;
/// Seconds until every running gateway has read a new file, with some to spare.
pub const SETTLED_AFTER: i64 = 10;
/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 1024;
/// Readings until two in a row agree.
const READINGS: usize = 5;
/// What stands in the name of the next key's file.
const NEXT: &str = "next";

/// Where the keys of a ring lie.
#[derive(Clone, Debug)]
pub struct RingFiles {
    active: PathBuf,
}

/// A file of the ring.
#[derive(Debug)]
pub struct KeyFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What its key is there for.
    pub role: Role,
    /// Since when it has been there for that: the file's time.
    pub since: Timestamp,
    /// The key.
    pub key: RingKey,
}

/// What a key is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What begins now stands under it.
    Active,
    /// It is the active one next.
    Next,
    /// What began under it goes on.
    Accepted,
}

impl Role {
    /// The role as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Next => "next",
            Self::Accepted => "accepted",
        }
    }
}

/// Why the files of a ring could not be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A file or the folder cannot be read, made or changed.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: MalformedKey,
    },
    /// Accepted keys lie there without the active one: to make a new one would sign everybody out.
    #[error("{} is missing, though other keys lie beside it: restore it", .0.display())]
    NoActive(PathBuf),
    /// More files than may be.
    #[error("more than {MAX_KEYS} keys beside {}: drop some", .0.display())]
    TooMany(PathBuf),
    /// Somebody writes them right now.
    #[error("the keys beside {} are being changed", .0.display())]
    Unsettled(PathBuf),
    /// There is no next key to activate.
    #[error("there is no next key: `lychgate secret rotate` makes one")]
    NoNext,
    /// Not every gateway may have read the next key.
    #[error("the next key is not {SETTLED_AFTER} s old, and some gateway may not have read it yet: try again then")]
    TooYoung,
    /// The active key cannot be dropped.
    #[error("{0} is the active key: rotate, then drop it")]
    IsActive(KeyId),
    /// The ring has no such key.
    #[error("no key here has the id {0}")]
    Unknown(KeyId),
}

impl RingFiles {
    /// The ring whose active key is in the file `active`.
    pub const fn new(active: PathBuf) -> Self {
        Self { active }
    }

    /// The file of the active key.
    pub fn active(&self) -> &Path {
        &self.active
    }

    /// Makes a ring of one key where there is no key at all; true if it did. Two who do so at the same time make one.
    ///
    /// # Errors
    /// The file cannot be made, or it alone is missing.
    pub fn make_first(&self) -> Result<bool, KeyFileError> {
        if self.active.symlink_metadata().is_ok() {
            return Ok(false);
        }
        if !self.others()?.is_empty() {
            return Err(KeyFileError::NoActive(self.active.clone()));
        }
        match write_new(&self.active, &RingKey::generate()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(source) => Err(KeyFileError::Io { path: self.active.clone(), source }),
        }
    }

    /// Reads all keys, the active one first, the others by the names of their files.
    ///
    /// # Errors
    /// One cannot be read or holds something else, there are too many, or they do not stay the same meanwhile.
    pub fn read(&self) -> Result<Vec<KeyFile>, KeyFileError> {
        let same = |a: &[KeyFile], b: &[KeyFile]| {
            a.iter().map(|file| (&file.path, file.key.id())).eq(b.iter().map(|file| (&file.path, file.key.id())))
        };
        let mut before = self.read_once();
        for _ in 1..READINGS {
            let now = self.read_once();
            if let (Ok(a), Ok(b)) = (&before, &now)
                && same(a, b)
            {
                return now;
            }
            before = now;
        }
        before.and(Err(KeyFileError::Unsettled(self.active.clone())))
    }

    fn read_once(&self) -> Result<Vec<KeyFile>, KeyFileError> {
        let mut others = self.others()?;
        others.sort();
        if others.len() >= MAX_KEYS {
            return Err(KeyFileError::TooMany(self.active.clone()));
        }
        let next = self.sibling(NEXT);
        let role = |path: &Path| if path == next { Role::Next } else { Role::Accepted };
        let mut files = vec![read_file(self.active.clone(), Role::Active)?];
        for path in others {
            let role = role(&path);
            files.push(read_file(path, role)?);
        }
        Ok(files)
    }

    /// Makes the key that becomes the active one next, if there is none yet, and says which it is.
    ///
    /// # Errors
    /// The file cannot be made, or the ring cannot be read or is full.
    pub fn prepare(&self) -> Result<KeyFile, KeyFileError> {
        let path = self.sibling(NEXT);
        if self.read()?.len() >= MAX_KEYS {
            return Err(KeyFileError::TooMany(self.active.clone()));
        }
        if let Err(source) = write_new(&path, &RingKey::generate())
            && source.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(KeyFileError::Io { path, source });
        }
        self.read()?.into_iter().find(|file| file.role == Role::Next).ok_or(KeyFileError::NoNext)
    }

    /// Makes the next key the active one and accepts the former; returns both ids, the former first. What fails on the
    /// way is done by trying again.
    ///
    /// # Errors
    /// There is no next key, or it is so new that somebody may not have read it; or the files cannot be changed.
    pub fn activate(&self, now: Timestamp) -> Result<(KeyFile, KeyFile), KeyFileError> {
        let mut files = self.read()?;
        let place = files.iter().position(|file| file.role == Role::Next).ok_or(KeyFileError::NoNext)?;
        let (next, mut former) = (files.swap_remove(place), files.swap_remove(0));
        if now.since(next.since) < SETTLED_AFTER {
            return Err(KeyFileError::TooYoung);
        }
        let retired = self.sibling(&former.key.id().to_string());
        let step = |path: &Path, done: io::Result<()>| {
            done.map_err(|source| KeyFileError::Io { path: path.to_owned(), source })
        };
        match fs::hard_link(&self.active, &retired) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by an attempt that went no further, or put there by somebody else.
                if read_file(retired.clone(), Role::Accepted)?.key.id() != former.key.id() {
                    return Err(KeyFileError::Io { path: retired, source: error });
                }
            }
            linked => step(&retired, linked)?,
        }
        step(&retired, date(&retired, now))?;
        step(&next.path, date(&next.path, now))?;
        step(&self.active, fs::rename(&next.path, &self.active))?;
        step(&self.active, sync_folder(&self.active))?;
        (former.path, former.role, former.since) = (retired, Role::Accepted, now);
        Ok((former, KeyFile { path: self.active.clone(), role: Role::Active, since: now, ..next }))
    }

    /// Removes the files of an accepted key; returns their names.
    ///
    /// # Errors
    /// It is the active key, or none of the ring; or the files cannot be removed.
    pub fn drop_key(&self, id: KeyId) -> Result<Vec<PathBuf>, KeyFileError> {
        let files = self.read()?;
        if files.iter().any(|file| file.role == Role::Active && file.key.id() == id) {
            return Err(KeyFileError::IsActive(id));
        }
        let paths: Vec<PathBuf> = files.into_iter().filter(|file| file.key.id() == id).map(|file| file.path).collect();
        if paths.is_empty() {
            return Err(KeyFileError::Unknown(id));
        }
        for path in &paths {
            let removed = fs::remove_file(path).and_then(|()| sync_folder(path));
            removed.map_err(|source| KeyFileError::Io { path: path.clone(), source })?;
        }
        Ok(paths)
    }

    /// `secret.<word>.key` beside `secret.key`.
    fn sibling(&self, word: &str) -> PathBuf {
        let (stem, extension) = self.name();
        self.active.with_file_name(format!("{stem}{word}{extension}"))
    }

    /// What the names of the others begin and end with: `secret.` and `.key`.
    fn name(&self) -> (String, String) {
        let text = |part: Option<&OsStr>, default| part.and_then(OsStr::to_str).unwrap_or(default).to_owned();
        let (stem, extension) = (text(self.active.file_stem(), "secret"), text(self.active.extension(), "key"));
        (format!("{stem}."), format!(".{extension}"))
    }

    /// The files of the other keys.
    fn others(&self) -> Result<Vec<PathBuf>, KeyFileError> {
        let (stem, extension) = self.name();
        let folder = folder_of(&self.active);
        let failed = |source| KeyFileError::Io { path: folder.to_owned(), source };
        let mut others = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let word = name.to_str().and_then(|name| name.strip_prefix(&stem)?.strip_suffix(&extension));
            if word.is_some_and(|word| !word.is_empty()) {
                others.push(self.active.with_file_name(&name));
            }
        }
        Ok(others)
    }
}

fn read_file(path: PathBuf, role: Role) -> Result<KeyFile, KeyFileError> {
    let read = || {
        let file = File::open(&path)?;
        let since = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE).read_to_string(&mut text)?;
        Ok((Timestamp(since.as_secs() as i64), text))
    };
    match read() {
        Ok((since, text)) => match RingKey::from_text(&text) {
            Ok(key) => Ok(KeyFile { path, role, since, key }),
            Err(source) => Err(KeyFileError::Malformed { path, source }),
        },
        Err(source) => Err(KeyFileError::Io { path, source }),
    }
}

/// Writes a key's file (mode 0600) under another name, then links it: a reader sees all of it or none, and of several
/// who make it the first wins.
fn write_new(path: &Path, key: &RingKey) -> io::Result<()> {
    let draft = path.with_file_name(format!(".lychgate-{}", random_text()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    let written = file.write_all(key.to_text().expose_secret().as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    linked?;
    sync_folder(path)
}

/// Gives the file the time `now`.
fn date(path: &Path, now: Timestamp) -> io::Result<()> {
    File::open(path)?.set_modified(UNIX_EPOCH + Duration::from_secs(now.0.max(0) as u64))
}

/// Makes names in the folder of `path` outlast a loss of power.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder_of(path))?.sync_all() } else { Ok(()) }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
