//! `lychgate doctor`: looks at everything that a sign-in needs, from this machine, and says what to do about what it
//! finds. Nothing is changed.

mod callback;
mod machine;
mod provider;
mod store;

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{Exit, put};
use crate::clock::Clock;
use crate::config::{Settings, StoreKind, TenantSettings};
use crate::metrics::Metrics;
use crate::oidc::Providers;
use crate::tenant_id::TenantId;

/// Tenants that are looked at side by side.
const AT_ONCE: usize = 8;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    /// It works, or nobody can know from here; somebody should look.
    Warning,
    /// Sign-ins fail, or will.
    Error,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    /// What, in a word.
    check: &'static str,
    level: Level,
    message: String,
    /// What to do; empty where all is well.
    advice: String,
}

/// What was found about the machine, or about one tenant.
#[derive(Debug, Default)]
struct Findings {
    tenant: Option<TenantId>,
    issuer: String,
    all: Vec<Finding>,
}

impl Findings {
    fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.add(check, Level::Ok, message, "");
    }

    fn warning(&mut self, check: &'static str, message: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Level::Warning, message, advice);
    }

    fn error(&mut self, check: &'static str, message: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Level::Error, message, advice);
    }

    fn add(&mut self, check: &'static str, level: Level, message: impl Into<String>, advice: impl Into<String>) {
        self.all.push(Finding { check, level, message: message.into(), advice: advice.into() });
    }

    fn count(&self, level: Level) -> usize {
        self.all.iter().filter(|finding| finding.level == level).count()
    }

    fn text(&self) -> String {
        let mut text = match &self.tenant {
            Some(tenant) => format!("{tenant} ({})\n", self.issuer),
            None => "this machine\n".to_owned(),
        };
        for Finding { check, level, message, advice } in &self.all {
            // Writing to memory does not fail.
            let _ = writeln!(text, "  {:<8} {check:<13} {message}", level.as_str());
            if !advice.is_empty() {
                let _ = writeln!(text, "{:25}→ {advice}", "");
            }
        }
        text
    }

    fn json(&self) -> impl Iterator<Item = Value> {
        let tenant = self.tenant.as_ref().map(TenantId::as_str);
        self.all.iter().map(move |Finding { check, level, message, advice }| {
            json!({
                "tenant": tenant,
                "check": check,
                "level": level.as_str(),
                "message": message,
                "advice": Some(advice).filter(|advice| !advice.is_empty()),
            })
        })
    }
}

/// Looks at the machine and at one tenant, or at all.
pub(super) async fn run(settings: &Settings, only: Option<&TenantId>, as_json: bool) -> Exit {
    let tenants: Vec<_> = settings.tenants.iter().filter(|tenant| only.is_none_or(|only| *only == tenant.id)).collect();
    if let (Some(only), true) = (only, tenants.is_empty()) {
        eprintln!("lychgate doctor: there is no tenant {only}");
        return Exit::Failure;
    }
    let mut all = vec![machine::look(settings).await];
    if let StoreKind::Redis(redis) = &settings.sessions.store {
        store::look(redis, &mut all[0]).await;
    }
    let providers = Providers::new(Clock::system(), Metrics::new(0));
    let look = |tenant: &Arc<TenantSettings>| {
        let (providers, tenant) = (&providers, Arc::clone(tenant));
        async move {
            let mut findings = provider::look(providers, &tenant).await;
            callback::look(settings, &tenant, &mut findings).await;
            findings
        }
    };
    all.extend(stream::iter(tenants).map(look).buffered(AT_ONCE).collect::<Vec<_>>().await);

    let count = |level| all.iter().map(|findings| findings.count(level)).sum::<usize>();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    let told = if as_json {
        let findings: Vec<Value> = all.iter().flat_map(Findings::json).collect();
        format!("{}\n", json!({ "errors": errors, "warnings": warnings, "findings": findings }))
    } else {
        let mut texts: Vec<String> = all.iter().map(Findings::text).collect();
        texts.push(format!("{errors} errors, {warnings} warnings\n"));
        texts.join("\n")
    };
    match put(&told) {
        Exit::Success if errors > 0 => Exit::Failure,
        exit => exit,
    }
}
