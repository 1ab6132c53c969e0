//! One look at all files, and the next one: what has not changed in between is not parsed again. What is good, and what
//! becomes of the rest, others decide.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::inputs::Inputs;
use super::read::{self, ProcessReading};
use super::tenant_files::{self, Found};
use super::{Fault, Settings, Sources, TenantSettings, read_tenant};
use crate::secret::sha256;
use crate::tenant_id::TenantId;

/// How often a look is taken until nothing is replaced meanwhile.
const LOOKS: usize = 3;
/// Files that are worth a thread of their own.
const LEAST_SHARE: usize = 100;

/// What one look at all files found.
#[derive(Debug)]
pub struct Reading {
    /// The process's own settings; no tenants.
    pub settings: Settings,
    /// What is wrong with those, or keeps the tenants' folder from being read.
    pub faults: Vec<Fault>,
    /// Every tenant that there is a file of.
    pub tenants: BTreeMap<TenantId, Arc<TenantReading>>,
    /// What is wrong with files that would be tenants' but for their names.
    pub stray: Vec<Fault>,
    keys: Keys,
    inputs: Inputs,
}

/// What the process's keys say, the contents of files that they name included: a digest for each. For comparison alone.
#[derive(Clone)]
pub struct Keys(BTreeMap<&'static str, [u8; 32]>);

impl Keys {
    /// The keys that said something else in `earlier`.
    pub fn changed_since(&self, earlier: &Self) -> Vec<&'static str> {
        let keys: BTreeSet<&'static str> = self.0.keys().chain(earlier.0.keys()).copied().collect();
        keys.into_iter().filter(|key| self.0.get(key) != earlier.0.get(key)).collect()
    }

    /// What one of them says.
    pub fn digest(&self, key: &str) -> [u8; 32] {
        self.0.get(key).copied().unwrap_or_default()
    }
}

impl fmt::Debug for Keys {
    /// Without the digests: those of short secrets could be guessed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("count", &self.0.len()).finish_non_exhaustive()
    }
}

/// What one tenant's file says.
pub struct TenantReading {
    /// The file, as faults name it.
    pub file: String,
    /// The settings, or what is wrong with them.
    pub outcome: Result<Arc<TenantSettings>, Vec<Fault>>,
    /// Of the contents of the file and of all that it names: another one is another tenant.
    pub fingerprint: [u8; 32],
    /// Of what is no secret in the settings.
    pub shown: [u8; 32],
    inputs: Inputs,
}

impl Reading {
    /// Reads everything.
    pub fn first(sources: &Sources) -> Self {
        Self::take(sources, None, None)
    }

    /// Reads everything again. Tenants are read for a process that runs with the settings `running`, whatever the
    /// settings file says by now. Blocks.
    pub fn again(&self, sources: &Sources, running: &Settings) -> Self {
        let folders = self.folders();
        let mut before = links(&folders);
        let mut reading = Self::take(sources, Some(self), Some(running));
        for _ in 1..LOOKS {
            let after = links(&folders);
            if after == before {
                break;
            }
            before = after;
            reading = Self::take(sources, Some(&reading), Some(running));
        }
        reading
    }

    fn take(sources: &Sources, before: Option<&Self>, running: Option<&Settings>) -> Self {
        let mut faults = sources.faults.clone();
        let ProcessReading { settings, digests, inputs } = read::process_settings(sources, &mut faults);
        let mut stray = Vec::new();
        let found = tenant_files::find(sources, &settings.tenants_dir, &mut stray);
        let found = found.unwrap_or_else(|fault| {
            faults.push(fault);
            BTreeMap::new()
        });
        let tenant = |found: &Found| {
            let known = before.and_then(|before| before.tenants.get(found.id()));
            let known = known.filter(|known| known.file == found.shown(sources) && known.inputs.still_hold(sources));
            let reading = known
                .map_or_else(|| Arc::new(TenantReading::new(sources, found, running.unwrap_or(&settings))), Arc::clone);
            (found.id().clone(), reading)
        };
        let found: Vec<Found> = found.into_values().collect();
        let tenants = in_parallel(&found, tenant).into_iter().collect();
        Self { settings, faults, tenants, stray, keys: Keys(digests), inputs }
    }

    /// What the process's keys say.
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The folders of all files that were looked at, and of those that may come.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        let inputs = self.tenants.values().map(|tenant| &tenant.inputs).chain([&self.inputs]);
        let named = inputs.flat_map(Inputs::folders).map(plain);
        named.chain([plain(&self.settings.tenants_dir)]).collect()
    }
}

impl fmt::Debug for TenantReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantReading").field("file", &self.file).finish_non_exhaustive()
    }
}

impl TenantReading {
    fn new(sources: &Sources, found: &Found, running: &Settings) -> Self {
        let mut inputs = Inputs::default();
        let outcome = found.open_noting(sources, &mut inputs).and_then(|file| {
            let (tenant, faults, seen) = read_tenant::read(sources, &file, Some(running));
            inputs.extend(seen);
            tenant.filter(|_| faults.is_empty()).map(Arc::new).ok_or(faults)
        });
        let shown = outcome.as_ref().map(|settings| sha256(format!("{settings:?}").as_bytes())).unwrap_or_default();
        Self { file: found.shown(sources), outcome, fingerprint: inputs.fingerprint(), shown, inputs }
    }
}

/// Applies `work` to all of `items`, on all processors where there are many.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(processors).max(LEAST_SHARE);
    std::thread::scope(|scope| {
        let work = &work;
        let mut shares = items.chunks(share);
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> =
            shares.map(|share| scope.spawn(move || share.iter().map(work).collect::<Vec<R>>())).collect();
        let mut done: Vec<R> = own.iter().map(work).collect();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    })
}

/// The folder itself, where Kubernetes keeps its files one floor below.
fn plain(folder: &Path) -> PathBuf {
    let folder = if folder.ends_with("..data") { folder.parent().unwrap_or(folder) } else { folder };
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}

/// Where Kubernetes keeps the files of each folder right now.
fn links(folders: &BTreeSet<PathBuf>) -> Vec<Option<PathBuf>> {
    folders.iter().map(|folder| std::fs::read_link(folder.join("..data")).ok()).collect()
}
