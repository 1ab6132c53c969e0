//! The limits of one request, which whoever answers it may lift: a proxied request is as long as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

const READING: u8 = 0;
const COMPLETE: u8 = 1;
const TOO_LARGE: u8 = 2;

/// The limits of a request, and how far its body was read. A request carries them in its extensions.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    has_body: bool,
    /// The least that the body will be, in bytes.
    announced: u64,
    max_body: AtomicU64,
    lifted: AtomicBool,
    state: AtomicU8,
}

impl Limits {
    pub(super) fn new(has_body: bool, announced: u64, max_body: u64) -> Self {
        Self(Arc::new(Inner {
            has_body,
            announced,
            max_body: AtomicU64::new(max_body),
            lifted: AtomicBool::new(false),
            state: AtomicU8::new(if has_body { READING } else { COMPLETE }),
        }))
    }

    /// Lets the request take as long as it likes, and its body be as large as `max_body`, in bytes. What stays is that
    /// the client must not pause for longer than `idle_timeout`.
    pub fn lift(&self, max_body: Option<u64>) {
        self.0.max_body.store(max_body.unwrap_or(u64::MAX), Ordering::Release);
        self.0.lifted.store(true, Ordering::Release);
    }

    /// Whether a body comes with the request, be it empty in the end.
    pub fn has_body(&self) -> bool {
        self.0.has_body
    }

    /// Whether the body is known to be larger than it may be.
    pub fn is_too_large(&self) -> bool {
        self.0.announced > self.max_body() || self.0.state.load(Ordering::Acquire) == TOO_LARGE
    }

    pub(super) fn are_lifted(&self) -> bool {
        self.0.lifted.load(Ordering::Acquire)
    }

    pub(super) fn max_body(&self) -> u64 {
        self.0.max_body.load(Ordering::Acquire)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.0.state.load(Ordering::Acquire) == COMPLETE
    }

    pub(super) fn set_complete(&self) {
        self.0.state.store(COMPLETE, Ordering::Release);
    }

    pub(super) fn set_too_large(&self) {
        self.0.state.store(TOO_LARGE, Ordering::Release);
    }
}
