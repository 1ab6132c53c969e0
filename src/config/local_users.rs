//! Reads local accounts: `[[local_users]]`, and the file of names and hashes in the form of `htpasswd`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::reader::Reader;
use super::{Faults, LocalUser, Sources, read, values};
use crate::credentials::{PasswordHash, canonical_name, check_name};
use crate::tenant_id::TenantId;

/// Claims that we make ourselves, or that say who somebody is.
const OUR_CLAIMS: [&str; 16] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "amr",
    "acr",
    "auth_time",
    "sid",
    "local",
    "name",
    "preferred_username",
    "email",
    "email_verified",
    "groups",
];

const ONE_NAME: &str = "names that differ in case or in the form of letters alone are one";

/// A line of an htpasswd file that is no comment and not empty.
#[derive(Debug)]
pub struct PasswordLine<'a> {
    /// The name.
    pub name: &'a str,
    /// What stands after it.
    pub hash: &'a str,
}

impl<'a> PasswordLine<'a> {
    /// Reads a line; `None` for a comment or an empty one.
    ///
    /// # Errors
    /// It has no colon.
    pub fn parse(line: &'a str) -> Result<Option<Self>, &'static str> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let (name, hash) = line.split_once(':').ok_or("is not a name, a colon and a hash")?;
        Ok(Some(Self { name, hash }))
    }
}

/// All local accounts of a tenant.
pub(super) fn users(reader: &mut Reader<'_>) -> Vec<LocalUser> {
    let mut users = reader.tables("local_users", user);
    let mut names: BTreeSet<String> = BTreeSet::new();
    for (i, user) in users.iter().enumerate() {
        if !names.insert(canonical_name(&user.name)) {
            reader.fault(&format!("local_users[{i}].name"), "is there twice", Some(ONE_NAME));
        }
    }
    let text = reader.file("local_users_file").unwrap_or_default();
    for (number, line) in text.lines().enumerate() {
        let user = user_of_line(line).and_then(|user| match user {
            Some(user) if !names.insert(canonical_name(&user.name)) => {
                Err(format!("the name is there twice; {ONE_NAME}"))
            }
            user => Ok(user),
        });
        match user {
            Ok(user) => users.extend(user),
            Err(reason) => reader.fault("local_users_file", format!("line {}: {reason}", number + 1), None),
        }
    }
    users
}

/// The file of local accounts that the tenant's file names. It need not be there yet.
///
/// # Errors
/// There is no such tenant, or what leads to its file is faulty.
pub fn local_users_file(sources: &Sources, tenant: &TenantId) -> Result<Option<PathBuf>, Faults> {
    let mut reader = read::tenant_reader(sources, tenant)?;
    let path = reader.path("local_users_file");
    let faults = reader.into_faults().into_iter().filter(|fault| fault.key == "local_users_file");
    let faults: Vec<_> = faults.collect();
    if faults.is_empty() { Ok(path) } else { Err(Faults(faults)) }
}

fn user(reader: &mut Reader<'_>) -> Option<LocalUser> {
    let name = reader.parsed("name", |text| check_name(text).map(|()| text.to_owned()));
    let password_hash = reader.parsed("password_hash", PasswordHash::parse);
    for key in ["name", "password_hash"] {
        if !reader.is_set(key) {
            reader.fault(key, "is missing", Some("`lychgate user add` prints both"));
        }
    }
    let claims = reader.map("claims");
    for name in claims.keys().filter(|name| OUR_CLAIMS.contains(&name.as_str())) {
        reader.fault(&format!("claims.{name}"), "is a claim that lychgate makes itself", Some("leave it out"));
    }
    Some(LocalUser {
        name: name?,
        password_hash: password_hash?,
        email: reader.text("email"),
        display_name: reader.text("display_name"),
        groups: reader.list("groups", values::not_empty).unwrap_or_default(),
        claims,
    })
}

fn user_of_line(line: &str) -> Result<Option<LocalUser>, String> {
    let Some(line) = PasswordLine::parse(line)? else { return Ok(None) };
    check_name(line.name).map_err(|reason| format!("the name {reason}"))?;
    let password_hash = PasswordHash::parse(line.hash).map_err(|reason| format!("what follows the name {reason}"))?;
    Ok(Some(LocalUser::new(line.name, password_hash)))
}
