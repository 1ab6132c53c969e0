//! The key ring: one active key and any number of accepted ones. What begins now stands under the active key; what
//! began under another key goes on for as long as that one is accepted.
//!
//! A ring lies in `files`, a key in each, and is read anew while the process runs, so that keys change under running
//! gateways: first a key is accepted everywhere, then it becomes the active one. A key that is gone takes with it what
//! stands under it, and nothing else. A file that cannot be read changes nothing.

mod files;
mod ring_key;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

pub use self::files::{KeyFile, KeyFileError, MAX_KEYS, RingFiles, Role, SETTLED_AFTER};
pub use self::ring_key::{KeyId, KeyIdError, MalformedKey, RingKey, TenantKeys};
use crate::clock::Timestamp;

/// The keys of the moment, for all who need one. Reading it takes no lock.
#[derive(Debug)]
pub struct KeyRing {
    keys: ArcSwap<Keys>,
    files: Option<RingFiles>,
    /// The key that was made when the ring was opened.
    made: Option<KeyId>,
}

/// The keys of one moment, each with an id of its own, the active one first.
#[derive(Clone, Debug)]
pub struct Keys {
    keys: Vec<Arc<RingKey>>,
    /// Since when the active key is that, as its file says.
    pub active_since: Option<Timestamp>,
}

impl KeyRing {
    /// A ring of one key, for ever.
    pub fn of_one(key: RingKey) -> Arc<Self> {
        let keys = Keys { keys: vec![Arc::new(key)], active_since: None };
        Arc::new(Self { keys: ArcSwap::from_pointee(keys), files: None, made: None })
    }

    /// The ring whose active key is in the file `active`; makes that one where there is none and no other either.
    ///
    /// # Errors
    /// A file cannot be read or made, or holds something else.
    pub fn open(active: PathBuf) -> Result<Arc<Self>, KeyFileError> {
        let files = RingFiles::new(active);
        let made = files.make_first()?;
        let keys = Keys::of(files.read()?, None);
        let made = made.then(|| keys.active().id());
        Ok(Arc::new(Self { keys: ArcSwap::from_pointee(keys), files: Some(files), made }))
    }

    /// Whether the active key was made when the ring was opened, for want of one: nobody has a copy of it yet.
    pub fn is_new(&self) -> bool {
        self.made == Some(self.active().id())
    }

    /// All keys of the moment.
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// The same for no longer than a moment: it costs others who read them nothing.
    pub fn peek(&self) -> Guard<Arc<Keys>> {
        self.keys.load()
    }

    /// The key that what begins now stands under.
    pub fn active(&self) -> Arc<RingKey> {
        Arc::clone(self.keys.load().active())
    }

    /// The key of this id, if it is accepted.
    pub fn get(&self, id: KeyId) -> Option<Arc<RingKey>> {
        self.keys.load().get(id).cloned()
    }

    /// Whether the key of this id is accepted.
    pub fn accepts(&self, id: KeyId) -> bool {
        self.keys.load().get(id).is_some()
    }

    /// Reads the files once and takes over what they hold; true if that has changed. Blocks.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else. The keys stay as they were.
    pub fn look(&self) -> Result<bool, KeyFileError> {
        let Some(files) = &self.files else { return Ok(false) };
        let before = self.keys.load();
        let now = Keys::of(files.read()?, Some(&before));
        let changed = now.ids().ne(before.ids());
        if changed || now.active_since != before.active_since {
            self.keys.store(Arc::new(now));
        }
        Ok(changed)
    }
}

impl Keys {
    /// The keys in `files`. Those that `before` has as well are taken from there, with what has been derived from them.
    fn of(files: Vec<KeyFile>, before: Option<&Self>) -> Self {
        let active_since = files.first().map(|file| file.since);
        let mut keys: Vec<Arc<RingKey>> = Vec::with_capacity(files.len());
        for KeyFile { key, .. } in files {
            let is = |known: &&Arc<RingKey>| known.id() == key.id();
            if keys.iter().any(|known| is(&known)) {
                continue;
            }
            let known = before.and_then(|before| before.all().iter().find(is)).cloned();
            keys.push(known.unwrap_or_else(|| Arc::new(key)));
        }
        Self { keys, active_since }
    }

    /// The active key.
    pub fn active(&self) -> &Arc<RingKey> {
        self.keys.first().expect("no ring is without a key")
    }

    /// All accepted keys, the active one first.
    pub fn all(&self) -> &[Arc<RingKey>] {
        &self.keys
    }

    /// The key of this id, if it is accepted.
    pub fn get(&self, id: KeyId) -> Option<&Arc<RingKey>> {
        self.keys.iter().find(|key| key.id() == id)
    }

    fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().map(|key| key.id())
    }
}

#[cfg(test)]
mod tests;
