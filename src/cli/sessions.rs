//! `lychgate sessions list` and `sessions revoke`: who is signed in, and the end of that, beside a gateway that runs: it
//! notices within a second.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::users::{aligned, plain, sessions as open};
use super::{Exit, audit, put};
use crate::audit::Audit;
use crate::config::{Settings, Subjects};
use crate::error_chain::chain;
use crate::pages::browser_name;
use crate::session::{EndReason, ListedSession, Sessions, StoreError, UserRecord};
use crate::tenant_id::TenantId;

/// Whose sessions.
#[derive(Args, Debug)]
pub(super) struct WhoseArgs {
    /// One tenant only
    #[arg(long)]
    tenant: Option<TenantId>,
    /// One user's only: the subject, or the e-mail address of a user that is remembered
    #[arg(long, value_name = "SUB_OR_EMAIL")]
    user: Option<String>,
}

/// A session, and what is remembered of its user.
struct Known {
    tenant: TenantId,
    session: ListedSession,
    user: Option<Arc<UserRecord>>,
}

impl Known {
    fn is_of(&self, user: &str) -> bool {
        let email = self.user.as_ref().and_then(|user| user.email.as_deref());
        self.session.summary.sub == user || email.is_some_and(|email| email.eq_ignore_ascii_case(user))
    }
}

/// Prints the sessions.
pub(super) async fn list(settings: &Settings, whose: &WhoseArgs, as_json: bool) -> Exit {
    match listed(settings, whose, as_json).await {
        Ok(text) => put(&text),
        Err(error) => failed("list", &*error),
    }
}

/// Ends the sessions.
pub(super) async fn revoke(settings: &Settings, whose: &WhoseArgs) -> Exit {
    let audit = match audit::open(settings) {
        Ok(audit) => audit,
        Err(error) => return failed("revoke", &*Box::<dyn std::error::Error>::from(error)),
    };
    let mut event = audit::action("sessions revoke");
    if let Some(tenant) = &whose.tenant {
        event = event.tenant(tenant);
    }
    if let (Some(user), Subjects::Raw) = (&whose.user, settings.audit.subjects) {
        event = event.target(user);
    }
    match revoked(settings, whose, &audit).await {
        Ok(ended) => {
            let exit = put(&format!("{ended} session{} ended\n", if ended == 1 { "" } else { "s" }));
            audit::record(&audit, event.count(ended), exit).await
        }
        Err(error) => {
            let exit = failed("revoke", &*error);
            audit::record(&audit, event.failed("store_unavailable"), exit).await
        }
    }
}

type Done<T> = Result<T, Box<dyn std::error::Error>>;

fn failed(command: &str, error: &dyn std::error::Error) -> Exit {
    eprintln!("lychgate sessions {command}: {}", chain(error));
    Exit::Failure
}

async fn listed(settings: &Settings, whose: &WhoseArgs, as_json: bool) -> Done<String> {
    let mut known = Vec::new();
    if let Some(sessions) = open(settings).await? {
        known = find(settings, &sessions, whose).await?;
        sessions.close().await;
    }
    Ok(if as_json { lines(&known) } else { table(&known) })
}

async fn revoked(settings: &Settings, whose: &WhoseArgs, audit: &Arc<Audit>) -> Done<usize> {
    let mut ended = 0;
    if let Some(sessions) = open(settings).await? {
        sessions.report_to(Arc::clone(audit));
        let known = find(settings, &sessions, whose).await?;
        for of_tenant in known.chunk_by(|one, next| one.tenant == next.tenant) {
            let ids: Vec<_> = of_tenant.iter().map(|known| known.session.id_hash).collect();
            ended += sessions.end_listed(&of_tenant[0].tenant, &ids, EndReason::Revoked).await?;
        }
        sessions.close().await;
    }
    Ok(ended)
}

async fn find(settings: &Settings, sessions: &Sessions, whose: &WhoseArgs) -> Result<Vec<Known>, StoreError> {
    let tenants = settings.tenants.iter().map(|tenant| &tenant.id);
    let mut found = Vec::new();
    for tenant in tenants.filter(|id| whose.tenant.as_ref().is_none_or(|only| only == *id)) {
        let users = sessions.users(tenant).await?.into_iter();
        let users: HashMap<_, _> =
            users.map(|user| ((user.issuer.clone(), user.sub.clone()), Arc::new(user))).collect();
        let listed = sessions.of_tenant(tenant).await?.into_iter();
        found.extend(
            listed
                .map(|session| {
                    let user = users.get(&(session.summary.issuer.clone(), session.summary.sub.clone())).cloned();
                    Known { tenant: tenant.clone(), session, user }
                })
                .filter(|known| whose.user.as_ref().is_none_or(|user| known.is_of(user))),
        );
    }
    Ok(found)
}

/// A line of JSON each.
fn lines(known: &[Known]) -> String {
    let mut text = String::new();
    for Known { tenant, session, user } in known {
        let summary = &session.summary;
        let line = json!({
            "tenant": tenant.as_str(), "issuer": summary.issuer, "sub": summary.sub, "sid": summary.sid,
            "email": user.as_ref().and_then(|user| user.email.as_ref()), "user_agent": summary.user_agent,
            "address": summary.address, "created_at": summary.created_at.to_string(),
            "last_seen_at": session.last_seen_at.to_string(), "ends_at": session.ends_at.to_string(),
            "expires_at": summary.expires_at.to_string(),
        });
        writeln!(text, "{line}").expect("writing to memory");
    }
    text
}

/// For people.
fn table(known: &[Known]) -> String {
    let rows = known.iter().map(|Known { tenant, session, user }| {
        let summary = &session.summary;
        let browser = match browser_name(summary.user_agent.as_deref().unwrap_or_default()) {
            (Some(browser), Some(system)) => format!("{browser} on {system}"),
            (browser, _) => browser.unwrap_or("-").to_owned(),
        };
        [
            tenant.to_string(),
            plain(user.as_ref().and_then(|user| user.email.as_deref()).unwrap_or("-")),
            plain(&summary.sub),
            summary.created_at.to_string(),
            session.last_seen_at.to_string(),
            session.ends_at.to_string(),
            summary.address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
            plain(&browser),
        ]
    });
    let heading = ["TENANT", "E-MAIL", "SUB", "SIGNED IN", "LAST SEEN", "ENDS", "FROM", "BROWSER"].map(str::to_owned);
    aligned(&[heading].into_iter().chain(rows).collect::<Vec<_>>())
}
