//! `lychgate users list`: who has signed in, and when.

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::json;

use super::{Exit, serve};
use crate::clock::Clock;
use crate::config::{Settings, StoreKind};
use crate::gateway;
use crate::metrics::Metrics;
use crate::session::{Sessions, UserRecord};
use crate::tenant_id::TenantId;

/// Prints the users of one tenant, or of all.
pub(super) async fn list(settings: &Settings, only: Option<&TenantId>, as_json: bool) -> Exit {
    match collect(settings, only).await.and_then(|users| Ok(print(&mut io::stdout().lock(), &users, as_json)?)) {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("lychgate users list: {}", serve::chain(&*error));
            Exit::Failure
        }
    }
}

type Users = Vec<(TenantId, UserRecord)>;

async fn collect(settings: &Settings, only: Option<&TenantId>) -> Result<Users, Box<dyn std::error::Error>> {
    let Some(sessions) = open(settings).await? else { return Ok(Vec::new()) };
    let mut users = Vec::new();
    for tenant in settings.tenants.iter().map(|tenant| &tenant.id).filter(|id| only.is_none_or(|only| only == *id)) {
        users.extend(sessions.users(tenant).await?.into_iter().map(|user| (tenant.clone(), user)));
    }
    sessions.close().await;
    Ok(users)
}

/// The sessions and users that there are; none where nobody has signed in yet: looking makes no files.
pub(super) async fn open(settings: &Settings) -> Result<Option<Arc<Sessions>>, Box<dyn std::error::Error>> {
    let embedded = matches!(settings.sessions.store, StoreKind::Embedded);
    if embedded && !settings.data_dir.join("lychgate.db").exists() {
        return Ok(None);
    }
    let ring = gateway::ring_key(settings)?;
    let metrics = Metrics::new(0);
    let sessions = Sessions::open(&settings.data_dir, ring, &settings.sessions, Clock::system(), metrics).await?;
    Ok(Some(sessions))
}

fn print(out: &mut impl Write, users: &Users, as_json: bool) -> io::Result<()> {
    if !as_json {
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
        return table(out, &[heading].into_iter().chain(rows).collect::<Vec<_>>());
    }
    for (tenant, user) in users {
        let line = json!({
            "tenant": tenant.as_str(), "issuer": user.issuer, "sub": user.sub, "name": user.name, "email": user.email,
            "picture": user.picture, "first_seen": user.first_seen.to_string(), "last_seen": user.last_seen.to_string(),
            "sign_ins": user.sign_ins,
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// What a provider said, without what could steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

pub(super) fn table<const N: usize>(out: &mut impl Write, rows: &[[String; N]]) -> io::Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
