//! Where the settings of this process come from: its folder, its environment, its flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::layers::Origin;

/// What settings are read from. The process makes it once; tests make their own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The settings file that was named; else `lychgate.toml` in the working directory, if it is there.
    pub config: Option<PathBuf>,
    /// Flags: a key and its text.
    pub flags: Vec<(&'static str, String)>,
    /// Environment variables, those of `.env` among them.
    pub environment: BTreeMap<String, String>,
    /// The working directory; relative paths of flags, environment and defaults start there.
    pub directory: PathBuf,
}

impl Sources {
    /// The sources of this process: its environment, and over it nothing; `.env` fills what the environment lacks.
    pub fn of_process(config: Option<PathBuf>, flags: Vec<(&'static str, String)>) -> Self {
        let directory = PathBuf::new();
        let mut environment = dotenv(&directory);
        let own =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        environment.extend(own);
        Self { config, flags, environment, directory }
    }

    /// How an origin is called in a fault.
    pub(super) fn shown(&self, origin: &Origin) -> String {
        match origin {
            Origin::Defaults => "defaults".to_owned(),
            Origin::File(path) => path.strip_prefix(&self.directory).unwrap_or(path).display().to_string(),
            Origin::Environment | Origin::Auth0 => "environment".to_owned(),
            Origin::Flags => "command line".to_owned(),
        }
    }
}

/// The variables of the `.env` in this folder. Not of one above it: that may be anybody's, such as `/tmp`.
fn dotenv(folder: &Path) -> BTreeMap<String, String> {
    dotenvy::from_path_iter(folder.join(".env")).into_iter().flatten().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotenv_counts_in_its_own_folder_alone() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        std::fs::create_dir(&below).unwrap();
        std::fs::write(folder.path().join(".env"), "AUTH0_DOMAIN=acme.eu.auth0.com\n").unwrap();
        assert_eq!(dotenv(folder.path())["AUTH0_DOMAIN"], "acme.eu.auth0.com");
        assert!(dotenv(&below).is_empty());
    }
}
