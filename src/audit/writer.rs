//! The thread that writes: numbers the lines of this process, links each to the one before, and deals with a sink that
//! fails.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::event::{Event, Kind};
use super::sink::{Line, Link, Sink};
use crate::clock::Clock;
use crate::metrics::IntCounter;
use crate::secret::sha256;

/// The version of the lines.
pub(super) const VERSION: u32 = 1;
/// Lines that are written at once.
const BATCH: usize = 256;
/// Time between two looks at what is to be done besides.
const TICK: Duration = Duration::from_millis(250);

/// An event on its way.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) time: String,
    pub(super) body: String,
    /// Told when it is written.
    pub(super) written: Option<oneshot::Sender<()>>,
}

/// What the thread and those who record have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// Lines that were dropped and not reported yet.
    pub(super) lost: AtomicU64,
    /// When the first of them was.
    since: Mutex<Option<String>>,
    /// The sink fails, and lines wait for it.
    pub(super) stuck: AtomicBool,
    /// The process ends.
    pub(super) closing: AtomicBool,
    dropped: IntCounter,
}

impl Shared {
    pub(super) fn new(dropped: IntCounter) -> Arc<Self> {
        Arc::new(Self {
            lost: AtomicU64::new(0),
            since: Mutex::default(),
            stuck: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            dropped,
        })
    }

    /// Counts a line of `time` that is lost.
    pub(super) fn drop_line(&self, time: &str) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| time.to_owned());
        self.lost.fetch_add(1, Ordering::AcqRel);
        self.dropped.inc();
    }

    /// Forgets lines whose loss has been written down.
    fn reported(&self, lost: u64) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.lost.fetch_sub(lost, Ordering::AcqRel);
    }
}

pub(super) struct Writer {
    sink: Box<dyn Sink>,
    instance: String,
    blocks: bool,
    clock: Clock,
    shared: Arc<Shared>,
    seq: u64,
    last: Link,
    failing: bool,
}

impl Writer {
    pub(super) fn new(sink: Box<dyn Sink>, instance: String, blocks: bool, clock: Clock, shared: Arc<Shared>) -> Self {
        let last = Link { hash: [0; 32], of: None };
        Self { sink, instance, blocks, clock, shared, seq: 0, last, failing: false }
    }

    /// Writes what comes until nobody can send any more, or the process ends and all is written.
    pub(super) fn run(mut self, entries: &Receiver<Entry>) {
        loop {
            let mut batch = match entries.recv_timeout(TICK) {
                Ok(entry) => vec![entry],
                Err(RecvTimeoutError::Timeout) if !self.is_closing() => Vec::new(),
                Err(_) => return,
            };
            batch.extend(entries.try_iter().take(BATCH - 1));
            self.write(batch);
        }
    }

    fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire)
    }

    fn write(&mut self, mut batch: Vec<Entry>) {
        loop {
            let lost = self.shared.lost.load(Ordering::Acquire);
            if lost > 0 {
                batch.insert(0, self.report(lost));
            }
            if batch.is_empty() {
                return;
            }
            let (written, result) = self.append(&batch);
            if written > 0 && lost > 0 {
                self.shared.reported(lost);
            }
            let left = batch.split_off(written.min(batch.len()));
            for told in batch.into_iter().filter_map(|entry| entry.written) {
                // Whoever waited may have gone.
                let _ = told.send(());
            }
            self.say(result.as_ref().err());
            batch = left;
            batch.retain(|entry| entry.kind != Kind::AuditDropped);
            if result.is_ok() {
                self.shared.stuck.store(false, Ordering::Relaxed);
                return;
            }
            if !self.blocks || self.is_closing() {
                for entry in &batch {
                    self.shared.drop_line(&entry.time);
                }
                return;
            }
            self.shared.stuck.store(true, Ordering::Relaxed);
            std::thread::sleep(TICK);
        }
    }

    /// The line that reports a gap.
    fn report(&self, lost: u64) -> Entry {
        let since = self.shared.since.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let event = Event::new(Kind::AuditDropped).count(usize::try_from(lost).unwrap_or(usize::MAX));
        let event = match &since {
            Some(since) => event.text("since", since),
            None => event,
        };
        let time = self.clock.stamp();
        Entry { kind: Kind::AuditDropped, body: event.body(&time), time, written: None }
    }

    fn append(&mut self, batch: &[Entry]) -> (usize, std::io::Result<()>) {
        let (seq, instance, own) = (self.seq, self.instance.as_str(), &self.last);
        let mut hashes = Vec::new();
        let mut lines = |link: Option<Link>| {
            let mut before = link.unwrap_or_else(|| own.clone());
            let lines: Vec<Line> = (seq + 1..)
                .zip(batch)
                .map(|(seq, entry)| {
                    let line = linked(entry, seq, instance, &before);
                    before = Link { hash: line.hash, of: None };
                    line
                })
                .collect();
            hashes = lines.iter().map(|line| line.hash).collect();
            lines
        };
        let (written, result) = self.sink.append(&mut lines);
        let written = written.min(batch.len());
        if let Some(hash) = written.checked_sub(1).and_then(|last| hashes.get(last)) {
            self.seq += written as u64;
            self.last = Link { hash: *hash, of: Some((self.instance.clone(), self.seq)) };
        }
        (written, result)
    }

    /// Says once that the sink fails, and once that it does no longer.
    fn say(&mut self, error: Option<&std::io::Error>) {
        let sink = self.sink.label();
        match error {
            Some(error) if !self.failing => {
                let blocks = self.blocks;
                tracing::error!(
                    sink,
                    blocks,
                    error = error as &dyn std::error::Error,
                    "the audit log cannot be written"
                );
            }
            None if self.failing => tracing::warn!(sink, "the audit log is written again"),
            _ => {}
        }
        self.failing = error.is_some();
    }
}

/// The line of an event: numbered, linked to the line before by its hash.
fn linked(entry: &Entry, seq: u64, instance: &str, link: &Link) -> Line {
    let mut text = format!(
        "{{\"v\":{VERSION},\"seq\":{seq},\"instance\":{},\"prev\":\"{}\",",
        serde_json::Value::from(instance),
        hex(&link.hash)
    );
    // The first line of a process names the one that it goes on from.
    if let (1, Some((instance, seq))) = (seq, &link.of) {
        let after = serde_json::json!({ "instance": instance, "seq": seq });
        let _ = write!(text, "\"after\":{after},");
    }
    text.push_str(entry.body.strip_prefix('{').unwrap_or_default());
    let hash = sha256(text.as_bytes());
    Line { kind: entry.kind, time: entry.time.clone(), text, hash }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
