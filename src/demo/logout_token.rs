//! Logout tokens as Auth0 sends them (OpenID Connect Back-Channel Logout 1.0), whatever can be ordered to be wrong with
//! them, and their delivery.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, mpsc};

use super::fault::{Fault, Place};
use super::keys::{self, OtherAlg};
use super::state::Session;
use super::{Provider, Shared};
use crate::secret::random_text;

/// The member of `events` that makes a token a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Seconds that a logout token is good for.
const LIFE: i64 = 120;
/// How long a client may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Deliveries that nobody has looked at; later ones are not told.
const KEPT: usize = 100;

/// What can be wrong with a logout token; some only do what other providers do ([`LogoutFault::TypLogoutJwt`],
/// [`LogoutFault::NoTyp`], [`LogoutFault::NoExp`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoutFault {
    /// Algorithm `none` and no signature.
    AlgNone,
    /// A good signature by another algorithm than RS256.
    OtherAlg(OtherAlg),
    /// HS256 under the PEM of the public RSA key.
    Hs256ByPublicKey,
    /// One bit of the signature is wrong.
    BadSignature,
    /// `kid` names a key that nobody knows.
    UnknownKid,
    /// `typ` is `logout+jwt`.
    TypLogoutJwt,
    /// No `typ`.
    NoTyp,
    /// `typ` is that of an access token.
    TypAccessToken,
    /// `iss` is another issuer.
    WrongIss,
    /// No `iss`.
    NoIss,
    /// `aud` is another client.
    WrongAud,
    /// `aud` lists another client besides.
    AudOthers,
    /// No `aud`.
    NoAud,
    /// No `iat`.
    NoIat,
    /// `iat` is two days ago.
    OldIat,
    /// `iat` is in an hour.
    FutureIat,
    /// No `exp`.
    NoExp,
    /// `exp` was an hour ago.
    Expired,
    /// No `jti`.
    NoJti,
    /// No `events`.
    NoEvents,
    /// `events` is a text.
    EventsText,
    /// Another event.
    WrongEvent,
    /// The event's value is no object.
    EventText,
    /// A `nonce`, as an id token has.
    WithNonce,
    /// Neither `sid` nor `sub`.
    NoSubject,
    /// `sid` is a number.
    SidNumber,
    /// `sub` is somebody else.
    OtherSub,
}

/// Whom a logout token is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogoutSubject {
    /// The session.
    pub sid: Option<String>,
    /// The user.
    pub sub: Option<String>,
}

/// What a client answered to a logout token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The status; none without an answer in time.
    pub status: Option<u16>,
    /// The header `Cache-Control`.
    pub cache_control: Option<String>,
    /// The body.
    pub body: String,
}

/// Where answers are told, in order.
pub(super) struct Deliveries {
    sender: mpsc::Sender<Delivery>,
    receiver: Mutex<mpsc::Receiver<Delivery>>,
}

impl Default for Deliveries {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(KEPT);
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl Provider {
    /// Tells a client of sign-outs from now on, by logout tokens posted to this address.
    pub fn notify(&self, client_id: &str, backchannel_logout_uri: &str) {
        self.shared.state().backchannel_uris.insert(client_id.to_owned(), backchannel_logout_uri.to_owned());
    }

    /// A logout token for a client, with what is on order wrong in it.
    pub fn logout_token(&self, client_id: &str, subject: &LogoutSubject) -> String {
        mint(&self.shared, client_id, subject)
    }

    /// What the next client that was told of a sign-out answered.
    pub async fn delivery(&self) -> Delivery {
        self.shared.deliveries.receiver.lock().await.recv().await.expect("the provider holds the other end")
    }
}

/// Tells every client that signed somebody in by this session that it has ended; nobody waits for that.
pub(super) fn announce(shared: &Shared, session: &Session) {
    let (told, sub) = {
        let state = shared.state();
        let clients = state.clients_of(&session.sid);
        let told: Vec<_> =
            clients.filter_map(|id| Some((id.clone(), state.backchannel_uris.get(id)?.clone()))).collect();
        (told, state.user(&session.username).map(|user| user.sub().to_owned()))
    };
    let subject = LogoutSubject { sid: Some(session.sid.clone()), sub };
    for (client_id, uri) in told {
        let (token, sender) = (mint(shared, &client_id, &subject), shared.deliveries.sender.clone());
        tokio::spawn(async move {
            // Nobody may be looking.
            let _ = sender.try_send(deliver(&uri, token).await);
        });
    }
}

async fn deliver(uri: &str, token: String) -> Delivery {
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build();
    let client = client.expect("a client without settings that can fail");
    let Ok(answer) = client.post(uri).form(&[("logout_token", token)]).send().await else {
        return Delivery { status: None, cache_control: None, body: String::new() };
    };
    let cache_control = answer.headers().get("cache-control").and_then(|value| value.to_str().ok()).map(str::to_owned);
    Delivery { status: Some(answer.status().as_u16()), cache_control, body: answer.text().await.unwrap_or_default() }
}

fn mint(shared: &Shared, client_id: &str, subject: &LogoutSubject) -> String {
    let now = shared.now();
    let Value::Object(mut claims) = json!({
        "iss": shared.issuer,
        "aud": client_id,
        "iat": now.0,
        "exp": now.plus(LIFE).0,
        "jti": random_text(),
        "events": { EVENT: {} },
        "trace_id": random_text(),
    }) else {
        unreachable!("written as an object")
    };
    for (name, value) in [("sid", &subject.sid), ("sub", &subject.sub)] {
        claims.extend(value.clone().map(|value| (name.to_owned(), value.into())));
    }
    let faults: Vec<_> = shared
        .faults(Place::LogoutToken)
        .into_iter()
        .filter_map(|fault| if let Fault::LogoutToken(fault) = fault { Some(fault) } else { None })
        .collect();
    for fault in &faults {
        spoil(&mut claims, *fault, now.0);
    }
    let secret = shared.state().client(client_id).and_then(|client| client.secret.clone()).unwrap_or_default();
    let keys = shared.keys();
    let kid = Some(keys.kid());
    let wrongly = faults.iter().find_map(|fault| {
        Some(match fault {
            LogoutFault::AlgNone => keys::unsigned(&claims),
            LogoutFault::OtherAlg(alg) => keys.sign_otherwise(*alg, &secret, &claims),
            LogoutFault::Hs256ByPublicKey => keys.sign_by_public_key(&claims),
            LogoutFault::BadSignature => keys::with_bad_signature(&keys.sign(kid, "JWT", &claims)),
            LogoutFault::UnknownKid => keys.sign(Some(&random_text()), "JWT", &claims),
            LogoutFault::TypLogoutJwt => keys.sign(kid, "logout+jwt", &claims),
            LogoutFault::TypAccessToken => keys.sign(kid, "at+jwt", &claims),
            LogoutFault::NoTyp => keys.sign(kid, "", &claims),
            _ => return None,
        })
    });
    wrongly.unwrap_or_else(|| keys.sign(kid, "JWT", &claims))
}

/// Spoils one claim.
fn spoil(claims: &mut Map<String, Value>, fault: LogoutFault, now: i64) {
    const HOUR: i64 = 3600;
    let (claim, value) = match fault {
        LogoutFault::WrongIss => ("iss", json!("https://other.example/")),
        LogoutFault::NoIss => ("iss", Value::Null),
        LogoutFault::WrongAud => ("aud", json!("another-client")),
        LogoutFault::AudOthers => ("aud", json!([claims["aud"], "another-client"])),
        LogoutFault::NoAud => ("aud", Value::Null),
        LogoutFault::NoIat => ("iat", Value::Null),
        LogoutFault::OldIat => ("iat", json!(now - 48 * HOUR)),
        LogoutFault::FutureIat => ("iat", json!(now + HOUR)),
        LogoutFault::NoExp => ("exp", Value::Null),
        LogoutFault::Expired => ("exp", json!(now - HOUR)),
        LogoutFault::NoJti => ("jti", Value::Null),
        LogoutFault::NoEvents => ("events", Value::Null),
        LogoutFault::EventsText => ("events", json!(EVENT)),
        LogoutFault::WrongEvent => ("events", json!({ "http://schemas.openid.net/event/foobar": {} })),
        LogoutFault::EventText => ("events", json!({ EVENT: "yes" })),
        LogoutFault::WithNonce => ("nonce", random_text().into()),
        LogoutFault::NoSubject => {
            claims.remove("sub");
            ("sid", Value::Null)
        }
        LogoutFault::SidNumber => ("sid", json!(7)),
        LogoutFault::OtherSub => ("sub", json!("auth0|somebody-else")),
        _ => return,
    };
    match value {
        Value::Null => claims.remove(claim),
        value => claims.insert(claim.to_owned(), value),
    };
}
