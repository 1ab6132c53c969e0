//! What of sessions is kept in memory: the sessions themselves, and for a while the tokens of those whose tokens are
//! used, which take more than all the rest.
//!
//! Tokens say of which version of their session they are, and count for no other: nothing here must be changed together.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use moka::future::Cache;
use moka::notification::RemovalCause;
use moka::ops::compute::Op;

use super::record::Session;
use super::tokens::{Opened, Tokens, Warm};

/// How long tokens stay that nobody uses.
const WARM: Duration = Duration::from_mins(1);
/// The part of the memory that is for tokens is one in so many.
const TOKENS_PART: u64 = 4;

/// Sessions and tokens in memory; cheap to clone.
#[derive(Clone)]
pub(super) struct Near {
    /// By what the store knows a session by, so that one can be dropped without its cookie.
    pub(super) sessions: Cache<[u8; 32], Arc<Session>>,
    tokens: moka::sync::Cache<[u8; 32], Warm>,
}

impl Near {
    /// Keeps at most that many bytes; `evicted` gets each session that has no room any more.
    pub(super) fn new(bytes: u64, evicted: impl Fn(Arc<Session>) + Send + Sync + 'static) -> Self {
        let for_tokens = bytes / TOKENS_PART;
        let sessions = Cache::builder()
            .max_capacity(bytes - for_tokens)
            .weigher(|_: &[u8; 32], session: &Arc<Session>| session.weight())
            .eviction_listener(move |_, session: Arc<Session>, cause| {
                if cause == RemovalCause::Size {
                    evicted(session);
                }
            })
            .build();
        let tokens = moka::sync::Cache::builder()
            .max_capacity(for_tokens)
            .weigher(|_: &[u8; 32], warm: &Warm| warm.weight)
            .time_to_idle(WARM)
            .build();
        Self { sessions, tokens }
    }

    /// The session of this hash.
    pub(super) fn at_hand(&self, id_hash: &[u8; 32]) -> Option<Arc<Session>> {
        // It waits for nothing but another change of the same session.
        self.sessions.get(id_hash).now_or_never().flatten()
    }

    /// The tokens of this version of a session, if they were used lately.
    pub(super) fn tokens_of(&self, session: &Session) -> Option<Arc<Tokens>> {
        self.tokens.get(&session.id_hash)?.tokens_of(session)
    }

    /// Keeps tokens for a while.
    pub(super) fn warm(&self, opened: &Opened) {
        self.tokens.insert(opened.session.id_hash, Warm::of(opened));
    }

    /// The same where tokens of another version were kept.
    pub(super) fn keep_warm(&self, opened: &Opened) {
        if self.tokens.contains_key(&opened.session.id_hash) {
            self.warm(opened);
        }
    }

    /// The session of this hash was ended in the store: it opens nothing here any more. A load that is under way is
    /// waited for, as in `Sessions::end`.
    pub(super) async fn drop(&self, id_hash: [u8; 32]) {
        self.sessions.entry(id_hash).and_compute_with(|_| async { Op::Remove }).await;
        self.forget_tokens(&id_hash);
    }

    /// Nobody needs the tokens of this session any more.
    pub(super) fn forget_tokens(&self, id_hash: &[u8; 32]) {
        self.tokens.invalidate(id_hash);
    }

    /// Another replica has changed the session of this hash: it is read anew at its next use.
    pub(super) async fn doubt(&self, id_hash: [u8; 32]) {
        let mark = |entry: Option<moka::Entry<[u8; 32], Arc<Session>>>| async {
            if let Some(entry) = entry {
                entry.value().doubtful.store(true, Ordering::Release);
            }
            Op::Nop
        };
        self.sessions.entry(id_hash).and_compute_with(mark).await;
    }

    /// Gives back the memory of tokens that nobody used.
    pub(super) fn cool(&self) {
        self.tokens.run_pending_tasks();
    }

    /// Forgets all tokens.
    #[cfg(test)]
    pub(super) fn forget_all_tokens(&self) {
        self.tokens.invalidate_all();
    }
}
