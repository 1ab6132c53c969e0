//! Which files hold tenants, and which tenant each of them holds. What is in them is read elsewhere.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::inputs::Inputs;
use super::layers::{Layer, Origin, tenant_of};
use super::read_tenant::TenantFile;
use super::{Fault, Sources};
use crate::tenant_id::TenantId;

/// The tenant of `AUTH0_…` variables.
const DEFAULT_TENANT: &str = "default";
/// What those variables must tell, all of it.
const NEEDED: [&str; 3] = ["domain", "client_id", "client_secret"];

/// Where Kubernetes keeps the files of a volume: a link to a folder, replaced as a whole. The names beside it lead
/// through it, and lag behind.
const KUBERNETES_DATA: &str = "..data";

/// What makes one tenant: a file, or more than one by mistake; or variables.
pub(super) struct Found {
    id: TenantId,
    /// In order of their names; none for the tenant of `AUTH0_…` variables.
    paths: Vec<PathBuf>,
}

/// What makes each tenant. What is wrong with names goes into `faults`.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn find(
    sources: &Sources,
    folder: &Path,
    faults: &mut Vec<Fault>,
) -> Result<BTreeMap<TenantId, Found>, Fault> {
    let fault = |path: &Path, reason: String| {
        let file = sources.shown(&Origin::File(path.to_owned()));
        Fault { file, key: String::new(), reason, help: None }
    };
    let data = folder.join(KUBERNETES_DATA);
    let listed = if data.is_dir() { &data } else { folder };
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(listed) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| !path.is_dir()).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fault(folder, format!("the folder of tenants cannot be read: {error}"))),
    };
    paths.sort();
    let mut found: BTreeMap<TenantId, Found> = BTreeMap::new();
    for path in paths {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).and_then(tenant_of) else { continue };
        match name.parse::<TenantId>() {
            Ok(id) => found.entry(id.clone()).or_insert(Found { id, paths: Vec::new() }).paths.push(path),
            Err(error) => faults.push(fault(&path, format!("the file's name {error}"))),
        }
    }
    if auth0_tenant(sources, faults) {
        let id: TenantId = DEFAULT_TENANT.parse().expect("a good id");
        found.entry(id.clone()).or_insert(Found { id, paths: Vec::new() });
    }
    Ok(found)
}

impl Found {
    /// The tenant's id.
    pub(super) const fn id(&self) -> &TenantId {
        &self.id
    }

    /// How its file is called in faults.
    pub(super) fn shown(&self, sources: &Sources) -> String {
        sources.shown(&self.origin())
    }

    fn origin(&self) -> Origin {
        self.paths.first().map_or(Origin::Auth0, |path| Origin::File(path.clone()))
    }

    /// Reads the file, not yet what it means; what was looked at goes into `inputs`.
    ///
    /// # Errors
    /// It cannot be read, is none of settings, or is not the only one.
    pub(super) fn open_noting(&self, sources: &Sources, inputs: &mut Inputs) -> Result<TenantFile, Vec<Fault>> {
        let (origin, shown) = (self.origin(), self.shown(sources));
        let mut layers = Vec::new();
        let mut faults = Vec::new();
        for path in &self.paths {
            let mut fault = |reason: String, help: Option<String>| {
                let file = sources.shown(&Origin::File(path.clone()));
                faults.push(Fault { file, key: String::new(), reason, help });
            };
            let bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"));
            inputs.saw_file("", path, bytes.as_deref().ok());
            if Some(path) != self.paths.first() {
                let reason = format!("is a second file of the tenant {}", self.id);
                fault(reason, Some(format!("keep one; the other is {shown}")));
                continue;
            }
            match bytes.and_then(|bytes| Layer::file(path, &bytes)) {
                Ok(layer) => layers.push(layer),
                Err(reason) => fault(reason, None),
            }
        }
        if origin == Origin::Auth0 {
            for key in NEEDED.iter().chain(&["audience"]) {
                let value = variable(sources, key);
                inputs.saw_variable(&Origin::Auth0.spell(key), value);
                layers.extend(value.map(|value| Layer::of_text(Origin::Auth0, key, value)));
            }
        }
        if faults.is_empty() { Ok(TenantFile { id: self.id.clone(), origin, layers }) } else { Err(faults) }
    }

    /// Reads the file, not yet what it means.
    ///
    /// # Errors
    /// It cannot be read, is none of settings, or is not the only one.
    pub(super) fn open(&self, sources: &Sources) -> Result<TenantFile, Vec<Fault>> {
        self.open_noting(sources, &mut Inputs::default())
    }
}

fn variable<'a>(sources: &'a Sources, key: &str) -> Option<&'a str> {
    sources.environment.get(&Origin::Auth0.spell(key)).map(String::as_str).filter(|value| !value.is_empty())
}

/// Whether `AUTH0_DOMAIN`, `AUTH0_CLIENT_ID` and `AUTH0_CLIENT_SECRET` make a tenant, all three together.
fn auth0_tenant(sources: &Sources, faults: &mut Vec<Fault>) -> bool {
    let missing: Vec<&str> = NEEDED.into_iter().filter(|key| variable(sources, key).is_none()).collect();
    if missing.len() == NEEDED.len() {
        return false;
    }
    for key in &missing {
        faults.push(Fault {
            file: sources.shown(&Origin::Auth0),
            key: Origin::Auth0.spell(key),
            reason: "is not set, though others of AUTH0_DOMAIN, AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET are".to_owned(),
            help: Some("set all three, or none and write tenant files".to_owned()),
        });
    }
    missing.is_empty()
}
