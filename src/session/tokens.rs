//! A session's tokens, and what a renewal puts in their place. Sealing is in `record`, storing in the module above; when
//! a renewal happens is the business of `flow`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::record::{Session, Version};
use crate::clock::Timestamp;
use crate::secret::{ExposeSecret as _, SecretString};

/// Seconds before its end when a token is not handed out any more: it must still be good when it arrives.
const TRAVEL: i64 = 5;
/// Seconds before its end when a token should be renewed, at least; or a tenth of its life, if that is more.
const AHEAD: i64 = 60;
/// Bytes of memory that the tokens of a session take besides their texts: themselves, and their place in the cache.
const OVERHEAD: usize = size_of::<Tokens>() + 384;

/// An access token.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// The token itself.
    pub value: SecretString,
    /// When it is good.
    pub terms: TokenTerms,
    /// The scope that was granted, if the provider said so.
    pub scope: Option<String>,
}

/// When an access token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTerms {
    /// When it came.
    pub issued_at: Timestamp,
    /// When it ends, if the provider said so.
    pub expires_at: Option<Timestamp>,
}

impl TokenTerms {
    /// Whether it may be handed out. One whose end nobody knows always may.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.ends_after(now, |life| TRAVEL.min(life / 2))
    }

    /// Whether it should be renewed, though it may still be usable.
    pub fn is_due(&self, now: Timestamp) -> bool {
        !self.ends_after(now, |life| AHEAD.max(life / 10).min(life / 2))
    }

    /// Whether it lives on at `now` by more than what `margin` makes of its whole life, in seconds.
    fn ends_after(&self, now: Timestamp, margin: impl Fn(i64) -> i64) -> bool {
        self.expires_at.is_none_or(|end| now < end.plus(-margin(end.since(self.issued_at).max(0))))
    }
}

/// The tokens that one version of a session has.
#[derive(Clone)]
pub struct Tokens {
    /// The id token; empty for a local account.
    pub id_token: SecretString,
    /// The access token; none once the provider has ended the tokens.
    pub access_token: Option<AccessToken>,
    /// Access tokens for further audiences, by audience.
    pub further_access_tokens: BTreeMap<String, AccessToken>,
    /// The refresh token.
    pub refresh_token: Option<SecretString>,
}

impl Tokens {
    /// The access token for one of the tenant's further audiences, or that of the sign-in. It may have ended.
    pub fn access_token_for(&self, audience: Option<&str>) -> Option<&AccessToken> {
        match audience {
            Some(audience) => self.further_access_tokens.get(audience),
            None => self.access_token.as_ref(),
        }
    }

    /// The scope of the sign-in's access token.
    pub(super) fn scope(&self) -> Option<&str> {
        self.access_token.as_ref()?.scope.as_deref()
    }

    /// Bytes of memory, roughly.
    fn weight(&self) -> usize {
        let of = |token: &AccessToken| token.value.expose_secret().len() + token.scope.as_ref().map_or(0, String::len);
        let further: usize = self.further_access_tokens.iter().map(|(name, token)| 128 + name.len() + of(token)).sum();
        OVERHEAD
            + self.id_token.expose_secret().len()
            + self.access_token.as_ref().map_or(0, of)
            + self.refresh_token.as_ref().map_or(0, |token| token.expose_secret().len())
            + further
    }
}

/// A session and its tokens, both of the same version.
#[derive(Clone)]
pub struct Opened {
    /// The session.
    pub session: Arc<Session>,
    /// Its tokens.
    pub tokens: Arc<Tokens>,
}

impl Deref for Opened {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(…)")
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.session.fmt(f)
    }
}

/// Tokens in the cache.
#[derive(Clone)]
pub(super) struct Warm {
    version: Version,
    tokens: Arc<Tokens>,
    pub(super) weight: u32,
}

impl Warm {
    pub(super) fn of(opened: &Opened) -> Self {
        let weight = opened.tokens.weight().try_into().unwrap_or(u32::MAX);
        Self { version: opened.session.version, tokens: Arc::clone(&opened.tokens), weight }
    }

    /// The tokens, if they are those of this very version of the session.
    pub(super) fn tokens_of(&self, session: &Session) -> Option<Arc<Tokens>> {
        (self.version == session.version).then(|| Arc::clone(&self.tokens))
    }
}

/// What a renewal makes of a session's tokens.
#[derive(Clone, Debug)]
pub enum Renewal {
    /// There are new ones.
    Tokens(Box<RenewedTokens>),
    /// The provider ended them: there are none any more, but for the id token as a hint.
    Ended,
}

/// What the provider gave; what is `None` stays as it was.
#[derive(Clone)]
pub struct RenewedTokens {
    /// What the access token is for: the API of the sign-in, or a further one.
    pub audience: Option<String>,
    /// The access token.
    pub access_token: AccessToken,
    /// The refresh token that takes the place of the one that was used.
    pub refresh_token: Option<SecretString>,
    /// The id token.
    pub id_token: Option<SecretString>,
    /// Everything known about the identity now.
    pub claims: Option<Map<String, Value>>,
    /// The moment past which the provider wants no session; it can only shorten this one.
    pub session_expiry: Option<Timestamp>,
}

impl fmt::Debug for RenewedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenewedTokens").field("audience", &self.audience).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(life: Option<i64>) -> TokenTerms {
        let issued_at = Timestamp(1000);
        TokenTerms { issued_at, expires_at: life.map(|life| issued_at.plus(life)) }
    }

    #[test]
    fn a_token_is_due_a_minute_or_a_tenth_of_its_life_before_its_end_and_usable_nearly_until_then() {
        for (life, due, unusable) in [(86_400, 77_760, 86_395), (300, 240, 295), (60, 30, 55), (4, 2, 2), (0, 0, 0)] {
            let token = token(Some(life));
            let at = |second: i64| Timestamp(1000 + second);
            assert_eq!((token.is_due(at(due - 1)), token.is_due(at(due))), (false, true), "{life}");
            assert_eq!((token.is_usable(at(unusable - 1)), token.is_usable(at(unusable))), (true, false), "{life}");
        }
    }

    #[test]
    fn a_token_whose_end_is_unknown_is_never_due() {
        let token = token(None);
        assert!(token.is_usable(Timestamp(i64::MAX)) && !token.is_due(Timestamp(i64::MAX)));
    }

    #[test]
    fn a_token_does_not_print_itself() {
        let token = AccessToken { value: "hush-hush".into(), terms: token(None), scope: None };
        assert!(!format!("{token:?}").contains("hush"));
    }
}
