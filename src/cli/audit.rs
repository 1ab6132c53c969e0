//! `lychgate audit verify`: whether an audit log is whole. And what commands themselves tell the audit log: they write to
//! it beside the gateway that runs, where it is a file or a syslog daemon; nobody collects the standard output of a
//! command.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;

use super::Exit;
use crate::audit::verify::{self, Linked, Report};
use crate::audit::{Audit, Event, Kind};
use crate::clock::Clock;
use crate::config::{AuditSettings, AuditSink, OnFull, Settings};
use crate::error_chain::chain;
use crate::key_ring::{KeyRing, RingKey};
use crate::metrics::Metrics;

#[derive(Subcommand, Debug)]
pub(super) enum AuditCommand {
    /// Check that lines of an audit log were not changed, removed, moved or put in: exit code 0 or 1
    #[command(after_help = "\
Examples: lychgate audit verify /var/log/lychgate/audit.log*
          zcat audit.log.2.gz | lychgate audit verify -
Name all files of a log, rotated ones too, in any order. The hash that is printed at the end, noted elsewhere, proves
later by --noted that the log has not been rewritten and lost nothing since.")]
    Verify {
        /// The files; - is the standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// A hash that an earlier run printed, whose line must be there
        #[arg(long, value_name = "HASH", value_parser = hash)]
        noted: Option<[u8; 32]>,
        /// The lines of several processes were collected from their standard outputs, or by syslog: each process has a
        /// chain of its own
        #[arg(long)]
        by_process: bool,
    },
}

fn hash(text: &str) -> Result<[u8; 32], &'static str> {
    verify::unhex(text).ok_or("is not a hash of 64 hexadecimal digits")
}

/// Opens the audit log for a command. What a command tells is about no subject, so it needs no key of the ring.
///
/// # Errors
/// It cannot be written, in words; nothing shall be done then.
pub(super) fn open(settings: &Settings) -> Result<Arc<Audit>, String> {
    if settings.audit.sink == AuditSink::Stdout {
        return Ok(Audit::off());
    }
    let settings = AuditSettings { on_full: OnFull::Block, ..settings.audit.clone() };
    let opened = Audit::open(&settings, KeyRing::of_one(RingKey::generate()), Clock::system(), Metrics::new(0));
    opened.map_err(|error| chain(&error))
}

/// What an operator did.
pub(super) fn action(action: &str) -> Event {
    Event::new(Kind::AdminAction).action(action).by("operator")
}

/// Records what a command has done, and waits until it is written. `exit` is how the command ends otherwise.
pub(super) async fn record(audit: &Audit, event: Event, exit: Exit) -> Exit {
    audit.record(event);
    match audit.finish().await {
        Ok(()) => exit,
        Err(error) => {
            eprintln!("lychgate: it is done, but {error}");
            Exit::Failure
        }
    }
}

/// Does what is asked.
pub(super) fn run(command: &AuditCommand) -> Exit {
    let AuditCommand::Verify { files, noted, by_process } = command;
    // Beside the log lies the hash of its last line; a pattern of a shell takes it for a part of the log.
    let files: Vec<PathBuf> =
        files.iter().filter(|file| file.extension().is_none_or(|end| end != "head")).cloned().collect();
    let linked = if *by_process { Linked::WithinProcesses } else { Linked::ToTheLineAbove };
    match verify::verify(&files, linked, *noted) {
        Ok(report) => say(&report),
        Err((file, error)) => {
            eprintln!("lychgate audit verify: {} cannot be read: {error}", file.display());
            Exit::Failure
        }
    }
}

fn say(report: &Report) -> Exit {
    for note in &report.notes {
        println!("note: {note}");
    }
    for fault in &report.faults {
        println!("{fault}");
    }
    let lines = report.lines;
    match (&report.last, report.faults.len()) {
        (Some(last), 0) => {
            println!("{lines} lines, nothing missing, nothing changed; the last is {last}");
            Exit::Success
        }
        (None, 0) => {
            println!("there are no lines");
            Exit::Success
        }
        (_, faults) => {
            println!("{lines} lines, {faults} fault{}", if faults == 1 { "" } else { "s" });
            Exit::Failure
        }
    }
}
