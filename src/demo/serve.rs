//! The provider's own little server loop: it is stopped by cutting everything, as a provider that goes down does.

use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use warp::filters::BoxedFilter;

use super::answer::Answer;

/// All routes of a provider.
pub(super) type Route = BoxedFilter<(Answer,)>;

/// A loop that accepts connections until it is stopped or dropped.
#[derive(Debug)]
pub(super) struct Serving(JoinHandle<()>);

impl Serving {
    pub(super) fn start(listener: TcpListener, route: Route) -> Self {
        Self(tokio::spawn(accept(listener, route)))
    }

    /// Cuts all connections and gives the address back.
    pub(super) async fn stop(mut self) {
        self.0.abort();
        // It ends as cancelled, which is what was asked for.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept(listener: TcpListener, route: Route) {
    let service = warp::service(route);
    // Dropped with this loop, which cuts them.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Most likely we are out of file descriptors: let others end first.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let service = TowerToHyperService::new(service.clone());
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
