//! The audit log: every security event as a line of JSON, numbered and chained, for whoever must prove later what
//! happened. What happened is decided elsewhere; here it is said who asked, and brought to the sink by a thread of its
//! own. `docs/audit.md` describes the lines, `docs/audit.schema.json` defines them.
//!
//! A request that the policy lets pass writes nothing, so the hot path does not come here.

mod event;
mod file;
mod sink;
mod syslog;
pub mod verify;
mod writer;

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

pub use self::event::{Event, Kind, Outcome, Severity};
use self::sink::{Sink, Stdout};
use self::writer::{Entry, Shared, Writer};
use crate::clock::Clock;
use crate::config::{AuditSettings, AuditSink, OnFull, Subjects};
use crate::key_ring::KeyRing;
use crate::metrics::Metrics;
use crate::secret::{base64url, random};

/// Lines that may wait for the sink.
const QUEUE: usize = 8192;
/// How long somebody waits for a line to be written, where they must.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of the gateway waits for the last lines.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long the end of a command waits for them.
const FINISH: Duration = Duration::from_mins(1);
/// Time between two looks whether the queue has room.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Bytes of a hashed subject.
const SUBJECT_LEN: usize = 16;

/// Why the audit log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("audit.file: {path} cannot be opened: check that its folder exists and who owns it")]
pub struct OpenError {
    path: String,
    #[source]
    cause: std::io::Error,
}

/// Lines were not written in time; they may still be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log could not be written in time")]
pub struct Unwritten;

/// Who asks for what is done, as far as a request tells.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The request's id.
    pub request_id: Arc<str>,
    /// Where the client is.
    pub address: IpAddr,
    /// What the client says it is.
    pub user_agent: Option<http::HeaderValue>,
    /// The trace that the request belongs to.
    pub trace_id: Option<Arc<str>>,
}

/// One request, and what has been recorded in it.
struct Attended {
    caller: Caller,
    unsent: RefCell<Vec<Entry>>,
    /// Tells when the last line is written; those before it are by then.
    last: RefCell<Option<oneshot::Receiver<()>>>,
}

tokio::task_local! {
    static ATTENDED: Attended;
}

/// Who asks for what is done here and now.
fn caller() -> Option<Caller> {
    ATTENDED.try_with(|attended| attended.caller.clone()).ok()
}

/// The audit log; one that is switched off forgets what it is told.
#[derive(Debug)]
pub struct Audit(Option<Desk>);

/// Takes what happens.
struct Desk {
    queue: SyncSender<Entry>,
    shared: Arc<Shared>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    subjects: Subjects,
    blocks: bool,
    ring: Arc<KeyRing>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Audit {
    /// No audit log.
    pub fn off() -> Arc<Self> {
        Arc::new(Self(None))
    }

    /// Opens what `settings` name and starts the thread that writes to it. A syslog daemon may be away.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(
        settings: &AuditSettings,
        ring: Arc<KeyRing>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, OpenError> {
        let blocks = settings.on_full == OnFull::Block;
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let sink: Box<dyn Sink> = match &settings.sink {
            AuditSink::None => return Ok(Self::off()),
            AuditSink::Stdout => Box::new(Stdout),
            AuditSink::File(path) => {
                let opened = file::Log::open(path, blocks);
                Box::new(opened.map_err(|cause| OpenError { path: path.display().to_string(), cause })?)
            }
            AuditSink::Syslog(address) => Box::new(syslog::Daemon::new(address.clone(), &host)),
        };
        for kind in Kind::ALL {
            metrics.audit_events_total.with_label_values(&[kind.name(), Event::new(*kind).outcome.as_str()]);
        }
        let shared = Shared::new(metrics.audit_events_dropped_total.with_label_values(&[sink.label()]));
        let (queue, entries) = sync_channel(QUEUE);
        let instance = format!("{host}-{}", base64url(&random::<6>()));
        let writer = Writer::new(sink, instance, blocks, clock.clone(), Arc::clone(&shared));
        let writer = std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&entries));
        let writer = writer.map_err(|cause| OpenError { path: "a thread".to_owned(), cause })?;
        let writer = Mutex::new(Some(writer));
        Ok(Arc::new(Self(Some(Desk {
            queue,
            shared,
            writer,
            subjects: settings.subjects,
            blocks,
            ring,
            clock,
            metrics,
        }))))
    }

    /// Does the work of a request. What is recorded meanwhile says who asked; where requests are to wait for the audit
    /// log, this returns when all of it is written.
    ///
    /// # Errors
    /// Beside the work's own outcome: not all could be written, and requests are to fail then.
    pub async fn attend<T>(
        &self,
        caller: impl FnOnce() -> Caller,
        work: impl Future<Output = T>,
    ) -> (T, Result<(), Unwritten>) {
        let Some(desk) = &self.0 else { return (work.await, Ok(())) };
        let attended = Attended { caller: caller(), unsent: RefCell::default(), last: RefCell::default() };
        let work = async {
            let done = work.await;
            let waiting = ATTENDED.with(|attended| (attended.unsent.take(), attended.last.take()));
            (done, waiting)
        };
        let (done, (unsent, last)) = ATTENDED.scope(attended, work).await;
        (done, desk.settle(unsent, last).await)
    }

    /// Whether nothing must be done now that would have to be recorded: lines wait for a sink that fails, and requests
    /// are to fail then, too.
    pub fn is_stuck(&self) -> bool {
        self.0.as_ref().is_some_and(|desk| desk.blocks && desk.shared.stuck.load(Ordering::Relaxed))
    }

    /// Records an event. Within [`Audit::attend`] that waits for it to be written if it has to; without, what finds the
    /// queue full is dropped and counted.
    pub fn record(&self, event: Event) {
        let Some(desk) = &self.0 else { return };
        let mut entry = Some(desk.entry(event, caller().as_ref()));
        let wait = |attended: &Attended| {
            let (written, last) = oneshot::channel();
            let entry = entry.take().map(|entry| Entry { written: Some(written), ..entry });
            let mut unsent = attended.unsent.borrow_mut();
            // What waits already goes first.
            let refused = entry.and_then(|entry| match unsent.is_empty() {
                true => desk.try_send(entry).err(),
                false => Some(entry),
            });
            unsent.extend(refused);
            attended.last.replace(Some(last));
        };
        if desk.blocks {
            // Without a request there is nobody who could wait.
            let _ = ATTENDED.try_with(wait);
        }
        if let Some(entry) = entry {
            desk.send(entry);
        }
    }

    /// Somebody who records later, from another task, on behalf of the caller at hand.
    pub fn witness(self: &Arc<Self>) -> Witness {
        Witness { audit: Arc::clone(self), caller: self.0.as_ref().and_then(|_| caller()) }
    }

    /// Says that the process ends, and writes what waits, for some seconds at most.
    ///
    /// # Errors
    /// Lines are lost.
    pub async fn close(&self) -> Result<(), Unwritten> {
        self.record(Event::new(Kind::ProcessStopping));
        self.finish_before(Instant::now() + FAREWELL).await
    }

    /// Writes what waits, for a minute at most; what is recorded afterwards is dropped. For commands, which can wait for
    /// a disk that is slow.
    ///
    /// # Errors
    /// Lines are lost.
    pub async fn finish(&self) -> Result<(), Unwritten> {
        self.finish_before(Instant::now() + FINISH).await
    }

    async fn finish_before(&self, deadline: Instant) -> Result<(), Unwritten> {
        let Some(desk) = &self.0 else { return Ok(()) };
        desk.shared.closing.store(true, Ordering::Release);
        let writer = desk.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        while writer.as_ref().is_some_and(|writer| !writer.is_finished()) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let done = writer.is_none_or(|writer| writer.is_finished());
        match desk.shared.lost.load(Ordering::Acquire) {
            0 if done => Ok(()),
            lines => {
                tracing::error!(lines, "the audit log ends without its last lines");
                Err(Unwritten)
            }
        }
    }
}

impl Desk {
    fn entry(&self, mut event: Event, caller: Option<&Caller>) -> Entry {
        let labels = [event.kind.name(), event.outcome.as_str()];
        self.metrics.audit_events_total.with_label_values(&labels).inc();
        let (subject, tenant) = (event.subject.take(), event.tenant.take());
        let mut told = event;
        if let Some((issuer, sub)) = subject {
            told = match (self.subjects, tenant) {
                (Subjects::Raw, _) => told.text("subject", &sub),
                (Subjects::Hashed, Some(tenant)) => {
                    let ring = self.ring.active();
                    let hash = ring.of(&tenant).audit.hash(&[issuer.as_bytes(), b"\0", sub.as_bytes()].concat());
                    told.text("subject", &base64url(&hash[..SUBJECT_LEN])).text("subject_key", &ring.id().to_string())
                }
                (Subjects::Hashed, None) | (Subjects::Omitted, _) => told,
            };
        }
        if let Some(caller) = caller {
            told = told.text("client_address", &caller.address.to_string()).text("request_id", &caller.request_id);
            if let Some(agent) = caller.user_agent.as_ref().and_then(|agent| agent.to_str().ok()) {
                told = told.text("user_agent", agent);
            }
            if let Some(trace) = &caller.trace_id {
                told = told.text("trace_id", trace);
            }
        }
        let time = self.clock.stamp();
        Entry { kind: told.kind, body: told.body(&time), time, written: None }
    }

    /// Sends without waiting.
    fn try_send(&self, entry: Entry) -> Result<(), Entry> {
        self.queue.try_send(entry).map_err(|error| match error {
            TrySendError::Full(entry) | TrySendError::Disconnected(entry) => entry,
        })
    }

    fn send(&self, entry: Entry) {
        if let Err(entry) = self.try_send(entry) {
            self.shared.drop_line(&entry.time);
        }
    }

    /// Sends as soon as there is room.
    async fn send_before(&self, deadline: Instant, mut entry: Entry) -> Result<(), Unwritten> {
        loop {
            match self.try_send(entry) {
                Ok(()) => return Ok(()),
                Err(refused) if Instant::now() >= deadline => {
                    self.shared.drop_line(&refused.time);
                    return Err(Unwritten);
                }
                Err(refused) => entry = refused,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until all is written that a request has recorded.
    async fn settle(&self, unsent: Vec<Entry>, last: Option<oneshot::Receiver<()>>) -> Result<(), Unwritten> {
        let deadline = Instant::now() + PATIENCE;
        let mut settled = Ok(());
        for entry in unsent {
            settled = settled.and(self.send_before(deadline, entry).await);
        }
        settled?;
        match last {
            None => Ok(()),
            Some(last) => tokio::time::timeout_at(deadline, last).await.ok().and_then(Result::ok).ok_or(Unwritten),
        }
    }
}

/// Records from a task that goes on without the request which began it.
#[derive(Clone, Debug)]
pub struct Witness {
    audit: Arc<Audit>,
    caller: Option<Caller>,
}

impl Witness {
    /// Records an event; where requests are to wait for the audit log, this waits for room.
    pub async fn record(&self, event: Event) {
        let Some(desk) = &self.audit.0 else { return };
        let entry = desk.entry(event, self.caller.as_ref());
        if desk.blocks {
            // What comes too late is counted.
            let _ = desk.send_before(Instant::now() + PATIENCE, entry).await;
        } else {
            desk.send(entry);
        }
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("blocks", &self.blocks).field("subjects", &self.subjects).finish_non_exhaustive()
    }
}
