//! What lychgate is measured against, and what takes part in that: `benches/run` builds this program in the same way as
//! lychgate and starts it, in each of its roles, as a process of its own. A role that serves first prints where.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a part of a benchmark, which speaks to the rest of it and fails by panicking"
)]

mod answer;
mod each;
mod provider;
mod proxy;
mod sessions;
mod sign_ins;
#[path = "../../tests/typical/mod.rs"]
mod typical;
mod upstream;

use std::error::Error;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

/// The roles.
#[derive(Debug, Parser)]
#[command(about = "Yardsticks for lychgate; see benches/run")]
enum Role {
    /// A bare warp route, `/<tenant>/<route>`, that always gives one answer.
    Answer {
        /// The first segment of the path.
        #[arg(long)]
        tenant: String,
        /// The second one.
        #[arg(long)]
        route: String,
        /// The answer as JSON: status, headers, body.
        #[arg(long)]
        file: PathBuf,
    },
    /// A bare reverse proxy of hyper-util.
    Proxy {
        /// Scheme, host and port of the application.
        #[arg(long)]
        to: http::Uri,
    },
    /// An application: `…/json` is 1 KiB of JSON, `…/gib` is 1 GiB.
    Upstream,
    /// An OpenID provider that does next to nothing.
    Provider {
        /// How many access tokens to sign beforehand.
        #[arg(long, default_value_t = 0)]
        tokens: usize,
        /// Where they go, one a line, as `Authorization` holds them.
        #[arg(long, requires = "tokens")]
        file: Option<PathBuf>,
    },
    /// Browsers that sign in at the provider; prints what it took as JSON.
    SignIns {
        /// Scheme, host and port of lychgate.
        #[arg(long)]
        at: http::Uri,
        /// How many browsers at a time.
        #[arg(long)]
        browsers: usize,
        /// How long.
        #[arg(long)]
        seconds: f64,
    },
    /// Somebody who asks about each session of a file once; prints what it took as JSON.
    Each {
        /// Scheme, host and port of lychgate.
        #[arg(long)]
        at: http::Uri,
        /// The sessions: lines of a path, a tab and a cookie.
        #[arg(long)]
        file: PathBuf,
        /// The header lines of every request.
        #[arg(long)]
        headers: PathBuf,
    },
    /// Makes a data folder with sessions; what to ask about each goes into the file `asked` there.
    Sessions {
        /// The folder.
        #[arg(long)]
        data: PathBuf,
        /// How many tenants have them, in turn: `t0`, `t1` and so on.
        #[arg(long)]
        tenants: usize,
        /// How many.
        #[arg(long)]
        count: usize,
    },
}

#[tokio::main]
async fn main() {
    match Role::parse() {
        Role::Answer { tenant, route, file } => answer::run(tenant, route, &file).await,
        Role::Proxy { to } => proxy::run(&to).await,
        Role::Upstream => upstream::run().await,
        Role::Provider { tokens, file } => provider::run(tokens, file.as_deref()).await,
        Role::SignIns { at, browsers, seconds } => sign_ins::run(&at, browsers, seconds).await,
        Role::Each { at, file, headers } => each::run(&at, &file, &headers).await,
        Role::Sessions { data, tenants, count } => sessions::make(&data, tenants, count).await,
    }
}

/// A free port of this machine.
async fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// Says where it listens, then serves HTTP/1.1 and HTTP/2 in the clear as `warp::serve` does: nothing is limited, nothing
/// watched.
async fn serve<S, B>(service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    B::Data: Send,
{
    serve_at(listen().await, service).await;
}

/// The same on a port that is taken already.
async fn serve_at<S, B>(listener: TcpListener, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    B::Data: Send,
{
    println!("{}", origin(&listener));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = service.clone();
        tokio::spawn(async move {
            let connection = auto::Builder::new(TokioExecutor::new());
            // Whoever asks may end the connection as they like.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn origin(listener: &TcpListener) -> String {
    format!("http://{}", listener.local_addr().unwrap())
}

/// Prints what load took: how often, in all, and within which microseconds half of it and nearly all of it was done.
fn say(mut took: Vec<Duration>, all: Duration) {
    took.sort_unstable();
    let within = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)].as_micros();
    let said = serde_json::json!({
        "requests": took.len(), "seconds": all.as_secs_f64(), "p50": within(50), "p99": within(99), "errors": 0,
    });
    println!("{said}");
}
