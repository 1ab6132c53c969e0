//! The system tells of changes: in folders, never of files, since a file that is replaced takes its watch with it. What
//! it tells is taken as "maybe": whether anything is different, the contents say. The only home of `notify`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Config, Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many times the debounce files may go on changing before they are read all the same.
const PATIENCE: u32 = 4;

/// Folders that are watched.
pub(super) struct Watch {
    system: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    changed: Arc<Notify>,
}

impl Watch {
    /// Watches no folder yet, and in none the files of these names: this process writes them, and they may lie beside
    /// what it reads.
    ///
    /// # Errors
    /// The system has no more of what it takes.
    pub(super) fn new(written: Vec<OsString>) -> Result<Self, notify::Error> {
        let changed = Arc::new(Notify::new());
        let tell = Arc::clone(&changed);
        let is_ours = move |path: &PathBuf| written.iter().any(|ours| path.file_name() == Some(ours));
        let heard = move |event: Result<Event, notify::Error>| {
            let is_nothing = |event: &Event| is_of_readers(event.kind) || all(&event.paths, &is_ours);
            // An error may stand for events that are lost.
            if !event.is_ok_and(|event| is_nothing(&event)) {
                tell.notify_one();
            }
        };
        let system = RecommendedWatcher::new(heard, Config::default())?;
        Ok(Self { system, folders: BTreeSet::new(), changed })
    }

    /// Watches these folders and no others; whether that is more than before. With `anew` also those that are watched
    /// already: one that was replaced by another of the same name is watched no more.
    pub(super) fn set(&mut self, folders: BTreeSet<PathBuf>, anew: bool) -> bool {
        for folder in std::mem::take(&mut self.folders) {
            if !anew && folders.contains(&folder) {
                self.folders.insert(folder);
            } else {
                // It may be gone.
                let _ = self.system.unwatch(&folder);
            }
        }
        let mut more = false;
        for folder in folders {
            if self.folders.contains(&folder) {
                continue;
            }
            match self.system.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => more |= self.folders.insert(folder),
                // It may come later; until then the poll finds it.
                Err(error) => tracing::debug!(folder = %folder.display(), %error, "cannot be watched"),
            }
        }
        more
    }

    /// Waits until something may have changed and then nothing has for `debounce`, or until patience is at its end.
    pub(super) async fn changed(&self, debounce: Duration) {
        self.changed.notified().await;
        let latest = Instant::now() + debounce * PATIENCE;
        loop {
            let quiet = (Instant::now() + debounce).min(latest);
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(quiet) => return,
            }
        }
    }
}

/// Whether it is of files and all are such.
fn all(paths: &[PathBuf], are: impl Fn(&PathBuf) -> bool) -> bool {
    !paths.is_empty() && paths.iter().all(are)
}

/// Whether somebody only reads, as we do.
fn is_of_readers(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn what_the_process_writes_itself_is_no_change() {
        const PAUSE: Duration = Duration::from_millis(20);
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(vec!["lychgate.db".into(), "lychgate.db-wal".into()]).unwrap();
        assert!(watch.set(BTreeSet::from([folder.path().to_owned()]), false));
        let noticed = || async { tokio::time::timeout(Duration::from_millis(500), watch.changed(PAUSE)).await.is_ok() };
        for ours in ["lychgate.db", "lychgate.db-wal"] {
            fs::write(folder.path().join(ours), "page").unwrap();
            assert!(!noticed().await, "{ours}");
        }
        for other in ["secret", "lychgate.db.toml"] {
            fs::write(folder.path().join(other), "new").unwrap();
            assert!(noticed().await, "{other}");
        }
    }
}
