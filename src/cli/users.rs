//! `lychgate users list`: who has signed in, and when.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;

use super::{Exit, put};
use crate::clock::Clock;
use crate::config::{Settings, StoreKind};
use crate::error_chain::chain;
use crate::gateway;
use crate::metrics::Metrics;
use crate::session::{Sessions, UserRecord};
use crate::tenant_id::TenantId;

/// Prints the users of one tenant, or of all.
pub(super) async fn list(settings: &Settings, only: Option<&TenantId>, as_json: bool) -> Exit {
    if let Some(only) = only.filter(|only| settings.tenants.iter().all(|tenant| tenant.id != **only)) {
        eprintln!("lychgate users list: there is no tenant {only}");
        return Exit::Failure;
    }
    match collect(settings, only).await {
        Ok(users) => {
            if users.is_empty() {
                eprintln!("nobody has signed in yet");
                return Exit::Success;
            }
            put(&if as_json { lines(&users) } else { table(&users) })
        }
        Err(error) => {
            eprintln!("lychgate users list: {}", chain(&*error));
            Exit::Failure
        }
    }
}

type Users = Vec<(TenantId, UserRecord)>;

async fn collect(settings: &Settings, only: Option<&TenantId>) -> Result<Users, Box<dyn std::error::Error>> {
    let Some(sessions) = sessions(settings).await? else { return Ok(Vec::new()) };
    let mut users = Vec::new();
    for tenant in settings.tenants.iter().map(|tenant| &tenant.id).filter(|id| only.is_none_or(|only| only == *id)) {
        users.extend(sessions.users(tenant).await?.into_iter().map(|user| (tenant.clone(), user)));
    }
    sessions.close().await;
    Ok(users)
}

/// The sessions; none if nobody has signed in yet, since looking shall make no files.
pub(super) async fn sessions(settings: &Settings) -> Result<Option<Arc<Sessions>>, Box<dyn std::error::Error>> {
    if matches!(settings.sessions.store, StoreKind::Embedded) && !settings.data_dir.join("lychgate.db").exists() {
        return Ok(None);
    }
    let (ring, metrics) = (gateway::key_ring(settings)?, Metrics::new(0));
    Ok(Some(Sessions::open(&settings.data_dir, ring, &settings.sessions, Clock::system(), metrics).await?))
}

/// A line of JSON each.
fn lines(users: &Users) -> String {
    let line = |(tenant, user): &(TenantId, UserRecord)| {
        let line = json!({
            "tenant": tenant.as_str(), "issuer": user.issuer, "sub": user.sub, "name": user.name, "email": user.email,
            "picture": user.picture, "first_seen": user.first_seen.to_string(), "last_seen": user.last_seen.to_string(),
            "sign_ins": user.sign_ins,
        });
        format!("{line}\n")
    };
    users.iter().map(line).collect()
}

/// For people.
fn table(users: &Users) -> String {
    let rows = users.iter().map(|(tenant, user)| {
        let name = user.name.as_deref().or(user.email.as_deref()).unwrap_or("-");
        [
            tenant.to_string(),
            plain(name),
            plain(user.email.as_deref().unwrap_or("-")),
            plain(&user.sub),
            user.first_seen.to_string(),
            user.last_seen.to_string(),
            user.sign_ins.to_string(),
        ]
    });
    let heading = ["TENANT", "NAME", "E-MAIL", "SUB", "FIRST SEEN", "LAST SEEN", "SIGN-INS"].map(str::to_owned);
    aligned(&[heading].into_iter().chain(rows).collect::<Vec<_>>())
}

/// What a provider said, without what could steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A table for people, the columns aligned.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(text, "{}", cells.join("  ").trim_end()).expect("writing to memory");
    }
    text
}
