//! The embedded OpenID provider that behaves like Auth0: `lychgate demo` shows the product with it, and every
//! integration test signs in at it, with faults to order. Imports the ground floor only; knows nothing of
//! how the gateway does its part.
//!
//! One [`Provider`] is one issuer on one loopback socket. What differs from Auth0: every authorization request needs
//! PKCE by S256, and codes, tokens and sessions live in memory.

mod answer;
mod authorize;
mod call;
mod client_auth;
mod discovery;
mod fault;
mod id_token;
mod keys;
mod logout_token;
mod mint;
mod pages;
mod routes;
mod serve;
mod sign_in;
mod sign_out;
mod spec;
mod state;
mod tenants;
#[cfg(test)]
mod tests;
mod token;
mod userinfo;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpListener;

pub use self::call::Request;
pub use self::fault::{Endpoint, Fault, Trouble};
pub use self::keys::OtherAlg;
pub use self::logout_token::{Delivery, LogoutFault, LogoutSubject};
pub use self::spec::{Client, Invitation, ProviderSpec, User};
pub use self::tenants::{DemoPerson, DemoTenant, tenants};

use self::fault::{Orders, Place};
use self::keys::Keys;
use self::logout_token::Deliveries;
use self::serve::Serving;
use self::state::State;
use crate::clock::{Clock, Timestamp};

/// Requests that are remembered; older ones are forgotten.
const REMEMBERED_REQUESTS: usize = 10_000;

/// A running provider. Stops when dropped.
#[derive(Debug)]
pub struct Provider {
    shared: Arc<Shared>,
    serving: Option<Serving>,
}

/// Why a provider did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It shows everybody its passwords, so it must not be reached from outside.
    #[error("the demo's provider listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
}

/// What all requests share.
struct Shared {
    name: String,
    accent: String,
    /// Who to sign in as, for the sign-in page.
    people: Vec<User>,
    issuer: String,
    address: SocketAddr,
    /// The name of the single sign-on cookie: hosts share a cookie jar across ports, so it holds the port.
    cookie: String,
    clock: Clock,
    keys: Mutex<Keys>,
    state: Mutex<State>,
    orders: Mutex<Orders>,
    requests: Mutex<VecDeque<Request>>,
    deliveries: Deliveries,
    access_token_life: i64,
    refreshes: Refreshes,
}

/// How often refresh tokens were used.
#[derive(Default)]
struct Refreshes {
    all: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One use of a refresh token, until it is dropped.
struct Refreshing<'a>(&'a Refreshes);

impl Refreshes {
    fn begin(&self) -> Refreshing<'_> {
        self.all.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Refreshing(self)
    }
}

impl Drop for Refreshing<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Provider {
    /// Starts a provider on a loopback address; port 0 picks a free one.
    pub async fn start(spec: ProviderSpec, address: SocketAddr, clock: Clock) -> Result<Self, StartError> {
        if !address.ip().is_loopback() {
            return Err(StartError::NotLoopback(address));
        }
        let failed = |error| StartError::Listen(address, error);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let keys = Keys::new();
        let warming = keys.clone();
        std::thread::spawn(move || warming.warm());
        let shared = Arc::new(Shared {
            issuer: format!("http://{address}{}", if spec.issuer_slash { "/" } else { "" }),
            address,
            cookie: format!("demo_provider_{}", address.port()),
            clock,
            keys: Mutex::new(keys),
            state: Mutex::new(State::new(&spec)),
            orders: Mutex::default(),
            requests: Mutex::default(),
            deliveries: Deliveries::default(),
            name: spec.name,
            accent: spec.accent,
            people: spec.users,
            access_token_life: spec.access_token_life,
            refreshes: Refreshes::default(),
        });
        let serving = Some(Serving::start(listener, routes::route(&shared)));
        Ok(Self { shared, serving })
    }

    /// The issuer, such as `http://127.0.0.1:40123/`.
    pub fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Allows a client to come back to `redirect_uri` after a sign-in and to `logout_uri` after a sign-out.
    pub fn allow(&self, client_id: &str, redirect_uri: &str, logout_uri: &str) {
        let mut state = self.shared.state();
        for client in state.clients.iter_mut().filter(|client| client.client_id == client_id) {
            client.redirect_uris.push(redirect_uri.to_owned());
            client.logout_uris.push(logout_uri.to_owned());
        }
    }

    /// Signs this user in where the sign-in page would be shown, until told otherwise; for tests without a browser.
    pub fn auto_approve(&self, username: Option<&str>) {
        self.shared.state().auto_approve = username.map(str::to_owned);
    }

    /// Orders a fault until [`Provider::clear`].
    pub fn order(&self, fault: Fault) {
        self.prepare(&fault);
        lock(&self.shared.orders).add(fault);
    }

    /// Orders a fault for the next time that it can show.
    pub fn order_once(&self, fault: Fault) {
        self.prepare(&fault);
        lock(&self.shared.orders).add_once(fault);
    }

    fn prepare(&self, fault: &Fault) {
        if matches!(fault, Fault::OtherAlg(_) | Fault::LogoutToken(LogoutFault::OtherAlg(_))) {
            lock(&self.shared.keys).add_others();
        }
    }

    /// Cancels all faults.
    pub fn clear(&self) {
        lock(&self.shared.orders).clear();
    }

    /// Signs with the next key from now on and drops the current one. As the key set always shows the next key too, a
    /// client meets an unknown key only after the second rotation.
    pub fn rotate_keys(&self) {
        lock(&self.shared.keys).rotate();
    }

    /// Takes the keys of another provider: two issuers that share keys, as the custom domains of one Auth0 tenant do.
    pub fn share_keys_of(&self, other: &Self) {
        let keys = lock(&other.shared.keys).clone();
        *lock(&self.shared.keys) = keys;
    }

    /// The requests so far, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).iter().cloned().collect()
    }

    /// How many requests came for this path, such as `/oauth/token`.
    pub fn count(&self, path: &str) -> usize {
        lock(&self.shared.requests).iter().filter(|request| request.path == path).count()
    }

    /// How many requests with a refresh token have begun.
    pub fn refreshes(&self) -> usize {
        self.shared.refreshes.all.load(Ordering::SeqCst)
    }

    /// How many of them were under way at the same time, at most.
    pub fn most_refreshes_at_once(&self) -> usize {
        self.shared.refreshes.most.load(Ordering::SeqCst)
    }

    /// How many are under way.
    pub fn refreshes_now(&self) -> usize {
        self.shared.refreshes.now.load(Ordering::SeqCst)
    }

    /// Gives a person another claim from now on.
    pub fn change_claim(&self, username: &str, claim: &str, value: impl Into<serde_json::Value>) {
        if let Some(user) = self.shared.state().users.iter_mut().find(|user| user.username == username) {
            user.claims.insert(claim.to_owned(), value.into());
        }
    }

    /// Cuts all connections and stops listening; what it knows is kept.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.stop().await;
        }
    }

    /// Listens again at the same address, with what it knew.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.stop().await;
        let address = self.shared.address;
        let listener = TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error))?;
        self.serving = Some(Serving::start(listener, routes::route(&self.shared)));
        Ok(())
    }
}

impl Shared {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn keys(&self) -> Keys {
        lock(&self.keys).clone()
    }

    fn faults(&self, place: Place) -> Vec<Fault> {
        lock(&self.orders).take(place)
    }

    fn has_order(&self, fault: &Fault) -> bool {
        lock(&self.orders).has(fault)
    }

    /// The URL of one of our paths.
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn remember(&self, request: Request) {
        let mut requests = lock(&self.requests);
        if requests.len() == REMEMBERED_REQUESTS {
            requests.pop_front();
        }
        requests.push_back(request);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.name, self.issuer)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while held")
}
