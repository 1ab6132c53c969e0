//! The gateway of the moment. A request takes it once and keeps it to its end; a reload puts another in its place.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

use super::{Gateway, ReloadOutcome};

/// Where the gateway of the moment is found. Cheap to clone; reading takes no lock.
#[derive(Clone, Debug)]
pub struct LiveGateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    now: ArcSwap<Gateway>,
    last_reload: ArcSwapOption<ReloadOutcome>,
}

impl From<Arc<Gateway>> for LiveGateway {
    fn from(gateway: Arc<Gateway>) -> Self {
        Self(Arc::new(Inner { now: ArcSwap::new(gateway), last_reload: ArcSwapOption::empty() }))
    }
}

impl LiveGateway {
    /// The gateway of this moment.
    pub fn now(&self) -> Arc<Gateway> {
        self.0.now.load_full()
    }

    /// The same for no longer than a moment: it costs others who look at it nothing.
    pub fn peek(&self) -> Guard<Arc<Gateway>> {
        self.0.now.load()
    }

    /// Puts another in its place, for all requests that come from now on.
    pub fn replace(&self, gateway: Arc<Gateway>) {
        self.0.now.store(gateway);
    }

    /// What became of the last reload; looks by the clock or the system that found nothing new do not count.
    pub fn last_reload(&self) -> Option<Arc<ReloadOutcome>> {
        self.0.last_reload.load_full()
    }

    /// Keeps that.
    pub fn set_last_reload(&self, outcome: Arc<ReloadOutcome>) {
        self.0.last_reload.store(Some(outcome));
    }
}
