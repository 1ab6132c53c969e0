//! How others write files: at once, as editors do, as Kubernetes' kubelet does.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A new file in the place of the old one, as most editors do it.
pub fn replace(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let draft = path.with_file_name(format!(".{name}.draft"));
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}

/// The old file becomes a backup, then the new one is written under its name, as vim does it with `backupcopy=no`.
pub fn replace_with_backup(path: &Path, text: &str) {
    let backup = path.with_file_name(format!("{}~", path.file_name().unwrap().to_str().unwrap()));
    fs::rename(path, backup).unwrap();
    fs::write(path, text).unwrap();
}

/// A volume of a Pod, written as the kubelet's `AtomicWriter` does: the files in a folder of their own, a link `..data` to
/// it that is renamed into its place, links through it for the names that people know.
pub struct Volume<'a> {
    target: &'a Path,
    writings: u32,
}

impl<'a> Volume<'a> {
    pub fn new(target: &'a Path) -> Self {
        fs::create_dir_all(target).unwrap();
        Self { target, writings: 0 }
    }

    /// Puts these files in the place of those before.
    pub fn publish(&mut self, files: &[(&str, &str)]) {
        self.writings += 1;
        let payload = format!("..2026_11_25_03_00_00.{:09}", self.writings);
        let folder = self.target.join(&payload);
        fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        let data = self.target.join("..data");
        let before = fs::read_link(&data).ok();
        let draft = self.target.join("..data_tmp");
        let _ = fs::remove_file(&draft);
        symlink(&payload, &draft).unwrap();
        fs::rename(&draft, &data).unwrap();
        for (name, _) in files {
            let link = self.target.join(name);
            if link.symlink_metadata().is_err() {
                symlink(Path::new("..data").join(name), link).unwrap();
            }
        }
        for entry in fs::read_dir(self.target).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.starts_with("..") && !files.iter().any(|(known, _)| *known == name) {
                fs::remove_file(self.target.join(name)).unwrap();
            }
        }
        if let Some(before) = before {
            fs::remove_dir_all(self.target.join(before)).unwrap();
        }
    }
}
