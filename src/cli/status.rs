//! `lychgate status`: how a running gateway is, at a glance.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use url::Url;

use super::admin::Admin;
use super::{Exit, put};
use crate::config::Sources;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the gateway at `admin`, or where the settings say that its listener for operators is. Fails if it is not ready.
pub(super) async fn run(sources: &Sources, admin: Option<Url>, as_json: bool) -> Exit {
    let asked = match Admin::find(sources, admin) {
        Ok(admin) => admin.ask::<Value>(Method::GET, "/status", TIMEOUT).await,
        Err(exit) => Err(exit),
    };
    let status = match asked {
        Ok(status) => status,
        Err(exit) => return exit,
    };
    match put(&if as_json { format!("{status}\n") } else { text(&status) }) {
        Exit::Success if status["ready"] != true => Exit::Failure,
        exit => exit,
    }
}

/// For people: what the process is, then a row for each tenant.
fn text(status: &Value) -> String {
    let ready = if status["ready"] == true { "ready" } else { "not ready" };
    let up = span(status["uptime_seconds"].as_i64().unwrap_or_default());
    let mut lines = vec![format!("lychgate {}, up {up}, {ready}\n", word(&status["version"]))];
    let mut line = |name: &str, what: &str| lines.push(format!("{name:<10} {what}"));
    for (name, faults) in [("not ready", words(&status["reasons"])), ("degraded", words(&status["degraded"]))] {
        for fault in faults {
            line(name, fault);
        }
    }
    line("sessions", &sessions(&status["sessions"]));
    for key in status["keys"].as_array().into_iter().flatten() {
        let since = key["since"].as_str().map(|since| format!(" since {since}")).unwrap_or_default();
        line("key", &format!("{} {}{since}", word(&key["id"]), word(&key["role"])));
    }
    reload(&status["last_reload"], &mut line);
    let tenants = status["tenants"].as_array().map(Vec::as_slice).unwrap_or_default();
    if tenants.is_empty() {
        line("tenants", "none: `lychgate tenant add` writes one");
    }
    let head = ["TENANT", "PROVIDER", "STATE", "DOCUMENT", "KEYS", "SESSIONS"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(tenants.iter().map(tenant)).collect();
    let table = if tenants.is_empty() { String::new() } else { format!("\n{}", table(&rows)) };
    format!("{}\n{table}", lines.join("\n"))
}

fn sessions(sessions: &Value) -> String {
    let up = if sessions["up"] == true { "up" } else { "down" };
    let active = sessions["active"].as_i64().map(|active| format!(", {active} active")).unwrap_or_default();
    let deaf = if sessions["news_up"] == true { "" } else { ", deaf to the other gateways" };
    format!("{}, {up}{active}{deaf}", word(&sessions["store"]))
}

fn reload(last: &Value, line: &mut impl FnMut(&str, &str)) {
    if last.is_null() {
        return line("reload", "none since the start");
    }
    let changes = ["added", "changed", "removed", "settings"].map(|what| (what, words(&last[what])));
    let changes = changes.into_iter().filter(|(_, names)| !names.is_empty());
    let changes: Vec<String> = changes.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect();
    let became = format!("{} at {} ({})", word(&last["result"]), word(&last["at"]), word(&last["trigger"]));
    line("reload", &[vec![became], changes].concat().join("; "));
    for rejection in last["rejected"].as_array().into_iter().flatten() {
        line("", &format!("refused: {}", word(&rejection["reason"])));
    }
    let restart = words(&last["needs_restart"]);
    if !restart.is_empty() {
        line("", &format!("needs a restart: {}", restart.join(", ")));
    }
}

fn tenant(tenant: &Value) -> [String; 6] {
    let provider = &tenant["provider"];
    let state = match (provider["up"].as_bool(), provider["left_alone_seconds"].as_u64()) {
        (None, _) => "not asked yet".to_owned(),
        (Some(true), _) => "up".to_owned(),
        (Some(false), None) => "down".to_owned(),
        (Some(false), Some(seconds)) => format!("down, asked again in {seconds} s"),
    };
    let or_none = |value: &Value| value.as_str().unwrap_or("–").to_owned();
    [
        word(&tenant["id"]).to_owned(),
        word(&provider["issuer"]).to_owned(),
        state,
        or_none(&provider["metadata_fetched_at"]),
        or_none(&provider["keys_fetched_at"]),
        tenant["sessions"].as_i64().map_or_else(|| "–".to_owned(), |count| count.to_string()),
    ]
}

/// Rows with aligned columns.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default());
    let row = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(row).collect()
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(word).collect()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A time in two units at most, such as `3 h 12 min`.
fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_two_units_at_most() {
        for (seconds, text) in [(5, "5 s"), (65, "1 min 5 s"), (3725, "1 h 2 min"), (180_000, "2 d 2 h")] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["A", "B"], ["längste", "1"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A        B\nlängste  1\n");
    }
}
