//! Key rings in real files.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::secret::ExposeSecret as _;

/// A folder with a ring.
struct Folder {
    dir: TempDir,
    files: RingFiles,
    ring: Arc<KeyRing>,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let active = dir.path().join("secret.key");
        let ring = KeyRing::open(active.clone()).unwrap();
        Self { dir, files: RingFiles::new(active), ring }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        names(self.dir.path())
    }

    fn ids(&self) -> Vec<KeyId> {
        self.ring.keys().ids().collect()
    }

    /// When the next key may become the active one.
    fn later(&self) -> Timestamp {
        self.files.read().unwrap().iter().map(|file| file.since).max().unwrap().plus(SETTLED_AFTER)
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn key() -> String {
    RingKey::generate().to_text().expose_secret().to_owned()
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777
}

#[test]
fn a_root_secret_is_made_once_and_kept() {
    let folder = Folder::new();
    let again = KeyRing::open(folder.path("secret.key")).unwrap();
    assert_eq!(again.active().id(), folder.ring.active().id());
    assert_eq!(folder.names(), ["secret.key"]);
    #[cfg(unix)]
    assert_eq!(mode(&folder.path("secret.key")), 0o600);
    fs::write(folder.path("secret.key"), "short").unwrap();
    assert!(matches!(KeyRing::open(folder.path("secret.key")), Err(KeyFileError::Malformed { .. })));
}

#[test]
fn no_root_secret_is_made_where_other_keys_lie() {
    let folder = Folder::new();
    folder.files.prepare().unwrap();
    fs::remove_file(folder.path("secret.key")).unwrap();
    let error = KeyRing::open(folder.path("secret.key")).unwrap_err();
    assert!(matches!(error, KeyFileError::NoActive(_)), "{error}");
}

#[test]
fn many_who_start_at_the_same_time_have_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let path = dir.path().join("secret.key");
            std::thread::spawn(move || KeyRing::open(path).unwrap().active().id())
        })
        .collect();
    let ids: std::collections::HashSet<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(names(dir.path()), ["secret.key"]);
}

#[test]
fn keys_change_in_two_steps_and_none_is_lost_on_the_way() {
    let folder = Folder::new();
    let old = folder.ring.active().id();
    let next = folder.files.prepare().unwrap();
    assert_eq!(folder.files.prepare().unwrap().key.id(), next.key.id(), "made once");
    assert!(folder.ring.look().unwrap());
    assert_eq!(folder.ids(), [old, next.key.id()], "accepted, and not active yet");
    assert!(matches!(folder.files.activate(next.since), Err(KeyFileError::TooYoung)));
    let (former, active) = folder.files.activate(folder.later()).unwrap();
    assert_eq!((former.key.id(), active.key.id()), (old, next.key.id()));
    assert!(folder.ring.look().unwrap());
    assert_eq!(folder.ids(), [next.key.id(), old]);
    let retired = format!("secret.{old}.key");
    let mut expected = ["secret.key".to_owned(), retired.clone()];
    expected.sort();
    assert_eq!(folder.names(), expected);
    #[cfg(unix)]
    for name in expected {
        assert_eq!(mode(&folder.path(&name)), 0o600, "{name}");
    }
    assert!(
        folder.ring.keys().active_since.unwrap() >= next.since.plus(SETTLED_AFTER),
        "the date is that of the change"
    );
    assert!(matches!(folder.files.activate(folder.later()), Err(KeyFileError::NoNext)));
    assert!(matches!(folder.files.drop_key(next.key.id()), Err(KeyFileError::IsActive(_))));
    assert_eq!(folder.files.drop_key(old).unwrap(), [folder.path(&retired)]);
    assert!(folder.ring.look().unwrap());
    assert_eq!(folder.ids(), [next.key.id()]);
    assert!(matches!(folder.files.drop_key(old), Err(KeyFileError::Unknown(_))));
}

#[test]
fn a_change_that_was_cut_off_is_finished_by_the_next() {
    let folder = Folder::new();
    let old = folder.ring.active().id();
    let next = folder.files.prepare().unwrap().key.id();
    fs::hard_link(folder.path("secret.key"), folder.path(&format!("secret.{old}.key"))).unwrap();
    assert!(folder.ring.look().unwrap());
    let mut ids = folder.ids();
    ids.sort_by_key(|id| *id != old);
    assert_eq!(ids, [old, next], "one key in two files is one key");
    folder.files.activate(folder.later()).unwrap();
    folder.ring.look().unwrap();
    assert_eq!(folder.ids(), [next, old]);
}

#[test]
fn a_foreign_file_is_not_replaced_when_a_key_retires() {
    let folder = Folder::new();
    folder.files.prepare().unwrap();
    let taken = folder.path(&format!("secret.{}.key", folder.ring.active().id()));
    let foreign = key();
    fs::write(&taken, &foreign).unwrap();
    assert!(matches!(folder.files.activate(folder.later()), Err(KeyFileError::Io { .. })));
    assert_eq!(fs::read_to_string(&taken).unwrap(), foreign);
    assert_eq!(folder.files.read().unwrap()[0].key.id(), folder.ring.active().id(), "the active key is as before");
}

#[test]
fn a_bad_file_changes_nothing_until_it_is_good() {
    let folder = Folder::new();
    let (old, whole) = (folder.ids(), key());
    for half in ["", &whole[..20], &whole[..42], "=", &format!("{whole}{whole}")] {
        fs::write(folder.path("secret.more.key"), half).unwrap();
        let error = folder.ring.look().unwrap_err();
        assert!(matches!(error, KeyFileError::Malformed { .. }), "{error}");
        assert!(error.to_string().contains("secret.more.key"), "{error}");
        assert!(half.is_empty() || !format!("{error:?} {error}").contains(&whole[..20]), "it says nothing of the key");
        assert_eq!(folder.ids(), old);
    }
    fs::write(folder.path("secret.more.key"), format!("{whole}\n")).unwrap();
    assert!(folder.ring.look().unwrap());
    assert_eq!(folder.ids().len(), 2);
    let (ids, active) = (folder.ids(), fs::read(folder.path("secret.key")).unwrap());
    fs::remove_file(folder.path("secret.key")).unwrap();
    assert!(matches!(folder.ring.look(), Err(KeyFileError::Io { .. })));
    assert_eq!(folder.ids(), ids);
    fs::write(folder.path("secret.key"), active).unwrap();
    assert!(!folder.ring.look().unwrap(), "all is as it was");
}

#[test]
fn only_names_of_the_pattern_count() {
    let folder = Folder::new();
    for name in
        ["secret..key", "secret.key.bak", "secret.key~", ".secret.x.key", "other.key", "secret.x.pem", "secretx.key"]
    {
        fs::write(folder.path(name), "no key").unwrap();
    }
    assert!(!folder.ring.look().unwrap());
    for index in 1..MAX_KEYS {
        fs::write(folder.path(&format!("secret.{index}.key")), key()).unwrap();
    }
    assert!(folder.ring.look().unwrap());
    assert_eq!(folder.ids().len(), MAX_KEYS);
    assert!(matches!(folder.files.prepare(), Err(KeyFileError::TooMany(_))));
    fs::write(folder.path("secret.one-more.key"), key()).unwrap();
    assert!(matches!(folder.ring.look(), Err(KeyFileError::TooMany(_))));
}

#[test]
fn what_has_been_derived_stays_when_keys_change() {
    let folder = Folder::new();
    let acme = "acme".parse().unwrap();
    let derived = folder.ring.active().of(&acme);
    folder.files.prepare().unwrap();
    folder.ring.look().unwrap();
    assert!(Arc::ptr_eq(&folder.ring.active().of(&acme), &derived));
}

/// A volume of Kubernetes: names are links into a folder that is replaced as a whole.
#[cfg(unix)]
#[test]
fn a_mounted_secret_changes_as_a_whole() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mount = |version: &str, content: &[(&str, &str)]| {
        fs::create_dir(at(version)).unwrap();
        for (name, text) in content {
            fs::write(at(version).join(name), text).unwrap();
            symlink(format!("..data/{name}"), at(name)).ok();
        }
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        for name in names(dir.path()).iter().filter(|name| !name.starts_with("..")) {
            if !at(name).exists() {
                fs::remove_file(at(name)).unwrap();
            }
        }
    };
    let [one, two] = [key(), key()];
    let id = |text: &str| RingKey::from_text(text).unwrap().id();
    mount("..1", &[("secret.key", &one)]);
    let ring = KeyRing::open(at("secret.key")).unwrap();
    let ids = || ring.keys().ids().collect::<Vec<_>>();
    mount("..2", &[("secret.key", &one), ("secret.next.key", &two)]);
    assert!(ring.look().unwrap());
    assert_eq!(ids(), [id(&one), id(&two)]);
    mount("..3", &[("secret.key", &two), ("secret.old.key", &one)]);
    assert!(ring.look().unwrap());
    assert_eq!(ids(), [id(&two), id(&one)]);
    mount("..4", &[("secret.key", &two)]);
    assert!(ring.look().unwrap());
    assert_eq!(ids(), [id(&two)]);
}

#[test]
fn whoever_looks_while_keys_change_sees_all_that_are_accepted() {
    let folder = Folder::new();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (ring, stopped) = (Arc::clone(&folder.ring), Arc::clone(&stop));
    let first = folder.ring.active().id();
    let looker = std::thread::spawn(move || {
        let mut looks = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            match ring.look() {
                Ok(_) => looks += 1,
                // Changed under our eyes five times: the next look tells.
                Err(KeyFileError::Unsettled(_) | KeyFileError::Io { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(ring.accepts(first));
        }
        looks
    });
    for _ in 0..10 {
        folder.files.prepare().unwrap();
        folder.files.activate(folder.later()).unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    looker.join().unwrap();
    folder.ring.look().unwrap();
    assert_eq!(folder.ids().len(), 11);
}
