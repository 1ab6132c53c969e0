//! `lychgate explain`: which rule decides about a request, and why.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};

use super::{Exit, say_faults};
use crate::clock::Clock;
use crate::config::{Loaded, Settings, TenantSettings};
use crate::policy::{self, Question, Subject};
use crate::request_path::RequestPath;
use crate::tenant_id::TenantId;

/// A request to explain, and who sends it.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The tenant
    tenant: TenantId,
    /// The request's method
    method: String,
    /// Its path; a query is not looked at
    path: String,
    /// A file of claims, a JSON object such as /session shows as `user`; without it, nobody is signed in
    #[arg(long, value_name = "FILE")]
    user: Option<PathBuf>,
    /// Scopes that were granted, with blanks between
    #[arg(long, requires = "user")]
    scope: Option<String>,
    /// The host that is asked for [default: the tenant's own, or that of public_url]
    #[arg(long)]
    host: Option<String>,
    /// The client's address
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
}

/// Prints how the tenant decides about the request.
pub(super) fn run(loaded: &Loaded, args: &ExplainArgs) -> Exit {
    let settings = &loaded.settings;
    let Some(tenant) = settings.tenants.iter().find(|tenant| tenant.id == args.tenant) else {
        eprintln!("lychgate explain: there is no tenant {}", args.tenant);
        if loaded.skipped.0.is_empty() {
            return Exit::Usage;
        }
        say_faults(&loaded.skipped);
        return Exit::Config;
    };
    match explained(settings, tenant, args) {
        Ok(text) => {
            println!("{text}");
            Exit::Success
        }
        Err(fault) => {
            eprintln!("lychgate explain: {fault}");
            Exit::Usage
        }
    }
}

fn explained(settings: &Settings, tenant: &TenantSettings, args: &ExplainArgs) -> Result<String, String> {
    let path = RequestPath::of_target(&args.path)
        .map_err(|error| format!("no rule is asked about such a path, it is always refused: {error}"))?;
    let claims = args.user.as_ref().map(claims).transpose()?;
    let subject = claims.as_ref().map(|claims| Subject {
        claims: claims.into(),
        scope: args.scope.as_deref(),
        now: Clock::system().now(),
    });
    let method = args.method.to_ascii_uppercase();
    let public_host = settings.public_url.as_ref().and_then(|url| url.host_str());
    let host = args.host.as_deref().or(tenant.hosts.first().map(String::as_str)).or(public_host).unwrap_or("localhost");
    let question = Question { method: &method, host, path: &path, address: args.address };
    let who = if subject.is_some() { "with these claims" } else { "nobody signed in" };
    let explanation = policy::explain(&tenant.policy, &question, subject.as_ref());
    Ok(format!("{method} {path} at {host} from {}, {who}:\n{explanation}", args.address))
}

fn claims(file: &PathBuf) -> Result<Map<String, Value>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{} is not a JSON object of claims: {error}", file.display()))
}
