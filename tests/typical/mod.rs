//! Sessions as Auth0 begins them, for what measures: `benches/sessions.rs` and `tests/memory.rs`.
#![allow(dead_code, reason = "neither needs all of it")]

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use lychgate::clock::{Clock, Timestamp};
use lychgate::config::{SessionLimits, StoreKind, StoreSettings};
use lychgate::key_ring::KeyRing;
use lychgate::metrics::Metrics;
use lychgate::secret::{self, ExposeSecret as _, SecretString};
use lychgate::session::{NewSession, Sessions, StoreError};
use lychgate::tenant_id::TenantId;
use serde_json::{Map, Value, json};

/// Bytes of an id token.
pub const ID_TOKEN: usize = 1200;
/// Bytes of an access token.
pub const ACCESS_TOKEN: usize = 1000;
/// Bytes of a refresh token.
pub const REFRESH_TOKEN: usize = 64;

pub fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

pub fn limits() -> SessionLimits {
    let (idle, absolute) = (Duration::from_hours(24), Duration::from_hours(24 * 7));
    SessionLimits { idle, absolute, local_idle: idle, local_absolute: absolute }
}

/// What an id token of that size says.
pub fn claims(n: usize) -> Map<String, Value> {
    let claims = json!({
        "iss": "https://example.eu.auth0.com/",
        "aud": "Zq1TqM4vPz0dDq3oVnXw8sYbR7kJc2Lh",
        "sub": sub(n),
        "iat": 1_795_000_000,
        "exp": 1_795_036_000,
        "sid": format!("{n:032}"),
        "nonce": "4hTq2nL0bKx9fWv7yRzJc5sMd8eGp1uAiO3kXwQ6tZo",
        "given_name": "Ada",
        "family_name": "Lovelace",
        "nickname": "ada.lovelace",
        "name": "Ada Lovelace",
        "picture": "https://s.gravatar.com/avatar/5f7c8ec7c33c6c004bbafe825f7c8ec7?s=480&r=pg&d=https%3A%2F%2Fcdn.auth0.com%2Favatars%2Fal.png",
        "updated_at": "2026-11-23T14:00:00.000Z",
        "email": format!("ada.lovelace.{n}@engine.example"),
        "email_verified": true,
    });
    claims.as_object().unwrap().clone()
}

fn sub(n: usize) -> String {
    format!("auth0|{n:024x}")
}

fn token(bytes: usize) -> SecretString {
    let random: String = (0..bytes.div_ceil(22)).map(|_| secret::random_text()).collect();
    random[..bytes].into()
}

/// What a sign-in gives.
pub fn new_session(n: usize) -> NewSession {
    NewSession {
        issuer: "https://example.eu.auth0.com/".to_owned(),
        sub: sub(n),
        sid: Some(format!("{n:032}")),
        claims: claims(n),
        id_token: token(ID_TOKEN),
        access_token: token(ACCESS_TOKEN),
        access_token_expires_at: Some(Timestamp(4_000_000_000)),
        refresh_token: Some(token(REFRESH_TOKEN)),
        scope: Some("openid profile email offline_access".to_owned()),
        session_expiry: None,
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".to_owned()),
        address: Some([192, 0, 2, 1].into()),
    }
}

/// Makes sessions; gives their cookies.
pub fn cookies(
    sessions: &Arc<Sessions>,
    which: Range<usize>,
) -> impl Stream<Item = impl Future<Output = Result<String, StoreError>>> {
    stream::iter(which).map(async |n| {
        let (cookie, _) = sessions.create(&tenant(), &limits(), new_session(n)).await?;
        Ok(cookie.expose_secret().to_owned())
    })
}

/// Opens a store.
pub async fn open(folder: &Path, settings: &StoreSettings) -> Arc<Sessions> {
    fs::create_dir_all(folder).unwrap();
    let ring = KeyRing::open(folder.join("secret")).unwrap();
    Sessions::open(folder, ring, settings, Clock::system(), Metrics::new(2)).await.unwrap()
}

/// A folder with a database of sessions, and their cookies.
pub struct House(PathBuf);

impl House {
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    pub async fn open(&self, cache_bytes: u64) -> Arc<Sessions> {
        open(&self.0, &StoreSettings { store: StoreKind::Embedded, cache_bytes }).await
    }

    pub fn keep(&self, cookies: &[String]) {
        fs::write(self.0.join("cookies"), cookies.join("\n")).unwrap();
    }

    pub fn cookies(&self) -> Vec<String> {
        fs::read_to_string(self.0.join("cookies")).unwrap().lines().map(str::to_owned).collect()
    }

    pub fn file_size(&self) -> u64 {
        fs::metadata(self.0.join("lychgate.db")).unwrap().len()
    }
}
