//! One sign-in attempt, from `/login` to the callback: its id, which is the `state`, and what it asked for, sealed in a
//! cookie of its own. Nothing is kept on the server for it, so nothing that a hostile page does fills a store.
//!
//! Nonce and PKCE verifier derive from the attempt's key and are never stored; see [`Attempt::nonce`].

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::secret::{self, Key, SecretString};
use crate::tenant::Tenant;

/// How long a person may take at the provider, in seconds.
pub const LIFETIME: i64 = 600;

/// The longest cookie, name and value, in bytes.
const MAX_COOKIE: usize = 700;

/// What the cookie's name holds besides the tenant's id, and what sealing adds: nonce and tag.
const NAME_LEN: usize = "__Host-lychgate-.=".len() + TIME_LEN + 1 + RANDOM_LEN;
const SEAL_LEN: usize = 12 + 16;

/// Which attempt: when it began, and 128 random bits. Sorts by age.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptId(String);

const TIME_LEN: usize = 8;
const RANDOM_LEN: usize = 22;

impl AttemptId {
    /// A new one.
    fn generate(now: Timestamp) -> Self {
        Self(format!("{:08x}-{}", now.0.max(0), secret::random_text()))
    }

    /// Reads what [`AttemptId::as_str`] shows; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, random) = text.split_once('-')?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let good = time.len() == TIME_LEN && time.bytes().all(hex) && random.len() == RANDOM_LEN;
        (good && random.bytes().all(base64url)).then(|| Self(text.to_owned()))
    }

    /// The value of `state`, and the last part of the cookie's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When the attempt began.
    pub fn started_at(&self) -> Timestamp {
        Timestamp(i64::from_str_radix(&self.0[..TIME_LEN], 16).unwrap_or_default())
    }
}

/// What a sign-in asked for and where it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Who was asked, as [`audience`] says it: a tenant that has changed its provider since does not take the answer.
    #[serde(rename = "i")]
    pub audience: String,
    /// Where the person wants to go.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub return_to: Option<String>,
    /// Whether the request, not the tenant, asked for no interaction.
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// Whether a fresh authentication was asked for.
    #[serde(rename = "l", default, skip_serializing_if = "std::ops::Not::not")]
    pub prompt_login: bool,
    /// How old the authentication may be, in seconds.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<i64>,
    /// Which classes of authentication were asked for.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub acr_values: Option<String>,
    /// Which organization was asked for.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
}

/// A short hash of issuer and client id.
pub fn audience(tenant: &Tenant) -> String {
    let provider = &tenant.settings.provider;
    let hash = secret::sha256(format!("{}\0{}", provider.issuer, provider.client_id).as_bytes());
    secret::base64url(&hash[..12])
}

/// An attempt that is under way.
#[derive(Debug)]
pub struct Attempt {
    /// Which one.
    pub id: AttemptId,
    /// What it asked for.
    pub asked: Asked,
    key: Key,
}

/// The attempt asks for more than its cookie can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sign-in asks for more than its cookie can hold")]
pub struct TooLarge;

impl Attempt {
    /// Begins one.
    pub fn begin(tenant: &Tenant, now: Timestamp, asked: Asked) -> Self {
        let id = AttemptId::generate(now);
        let key = tenant.attempt_key(id.as_str());
        Self { id, asked, key }
    }

    /// The attempt sealed for its cookie, base64url.
    ///
    /// # Errors
    /// It is too large.
    pub fn seal(&self, tenant: &Tenant) -> Result<String, TooLarge> {
        let plain = serde_json::to_vec(&self.asked).expect("texts and numbers make JSON");
        let room = (MAX_COOKIE - NAME_LEN - tenant.id().as_str().len()) / 4 * 3;
        if plain.len() + SEAL_LEN > room {
            return Err(TooLarge);
        }
        Ok(secret::base64url(&self.key.seal(&associated(tenant, &self.id), &plain)))
    }

    /// Opens what [`Attempt::seal`] made for the same tenant and the same id, under any key that is accepted; `None` for
    /// anything else.
    pub fn open(tenant: &Tenant, id: AttemptId, unverified: &str) -> Option<Self> {
        let sealed = secret::from_base64url(unverified)?;
        let associated = associated(tenant, &id);
        let opened = |key: Key| Some((key.open(&associated, &sealed)?, key));
        let (plain, key) = tenant.attempt_keys(id.as_str()).find_map(opened)?;
        Some(Self { id, asked: serde_json::from_slice(&plain).ok()?, key })
    }

    /// The nonce of the authorization request. It derives from a ring key and the id: nobody else can make it.
    pub fn nonce(&self) -> String {
        secret::base64url(&self.key.hash(b"nonce")[..16])
    }

    /// The PKCE code verifier (RFC 7636, section 4.1), 43 characters.
    pub fn pkce_verifier(&self) -> SecretString {
        secret::base64url(&self.key.hash(b"pkce verifier")).into()
    }
}

fn associated(tenant: &Tenant, id: &AttemptId) -> Vec<u8> {
    format!("{}\0{}", tenant.id(), id.as_str()).into_bytes()
}
