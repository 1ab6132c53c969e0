//! Where the settings of this process come from: its folder, its environment, its flags.

use std::collections::BTreeMap;
use std::path::PathBuf;

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
        let dotenv = dotenvy::dotenv_iter().into_iter().flatten().flatten();
        let mut environment: BTreeMap<String, String> = dotenv.collect();
        let own =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        environment.extend(own);
        Self { config, flags, environment, directory: PathBuf::new() }
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
