//! Where the settings of this process come from: its folder, its environment, its flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Fault;
use super::layers::Origin;

/// The file that fills in what the environment lacks.
const DOTENV: &str = ".env";

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
    /// What is wrong with `.env`.
    pub faults: Vec<Fault>,
    /// Whether the environment is that of this process, with `.env`.
    pub of_process: bool,
}

impl Sources {
    /// The sources of this process: its environment, and over it nothing; `.env` fills what the environment lacks.
    pub fn of_process(config: Option<PathBuf>, flags: Vec<(&'static str, String)>) -> Self {
        let (mut environment, faults) = match dotenv(Path::new(DOTENV)) {
            Ok(variables) => (variables, Vec::new()),
            Err(reason) => {
                let file = DOTENV.to_owned();
                (BTreeMap::new(), vec![Fault { file, key: String::new(), reason, help: None }])
            }
        };
        let own =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        environment.extend(own);
        Self { config, flags, environment, directory: PathBuf::new(), faults, of_process: true }
    }

    /// The same sources as they are by now: `.env` may have changed.
    pub fn anew(&self) -> Self {
        match self.of_process {
            true => Self::of_process(self.config.clone(), self.flags.clone()),
            false => self.clone(),
        }
    }

    /// How an origin is called in a fault.
    pub(super) fn shown(&self, origin: &Origin) -> String {
        match origin {
            Origin::Defaults => "defaults".to_owned(),
            Origin::File(path) => {
                // Where Kubernetes keeps a volume's files is no place that people know.
                let path = path.strip_prefix(&self.directory).unwrap_or(path).components();
                path.filter(|part| part.as_os_str() != "..data").collect::<PathBuf>().display().to_string()
            }
            Origin::Environment | Origin::Auth0 => "environment".to_owned(),
            Origin::Flags => "command line".to_owned(),
        }
    }
}

/// The variables of a file like `.env`; none if there is no such file. Folders above are not searched: their `.env` may be
/// anybody's, such as one in `/tmp`.
fn dotenv(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let told = |error| match error {
        dotenvy::Error::Io(error) => format!("cannot be read: {error}"),
        // The error shows the line, which may hold a secret.
        _ => "has a line that is not NAME=value; a value with spaces, $ or # in it stands in single quotes".to_owned(),
    };
    match dotenvy::from_path_iter(path) {
        Ok(variables) => variables.collect::<Result<_, _>>().map_err(told),
        Err(error) if error.not_found() => Ok(BTreeMap::new()),
        Err(error) => Err(told(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotenv_file_is_read_whole_or_told_without_its_values() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DOTENV);
        assert_eq!(dotenv(&path), Ok(BTreeMap::new()));
        std::fs::write(&path, "# ours\nA=1\nB='x $y #z'\n").unwrap();
        let expected = [("A", "1"), ("B", "x $y #z")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(dotenv(&path), Ok(BTreeMap::from(expected)));
        std::fs::write(&path, "A=1\nhush hush\n").unwrap();
        let reason = dotenv(&path).unwrap_err();
        assert!(reason.starts_with("has a line") && !reason.contains("hush"), "{reason}");
    }
}
