//! What a test can order to go wrong, and the list of what is ordered.

use std::time::Duration;

use super::keys::OtherAlg;
use super::logout_token::LogoutFault;

/// Something for the provider to do wrong; some only do what Auth0 does on request ([`Fault::AtHash`],
/// [`Fault::ResponseIss`], [`Fault::OtherAlg`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    // The id token.
    /// `iss` is another issuer.
    WrongIss,
    /// No `iss`.
    NoIss,
    /// `aud` is another client.
    WrongAud,
    /// No `aud`.
    NoAud,
    /// `aud` lists other clients besides, and there is no `azp`.
    AudOthers,
    /// `azp` is another client.
    WrongAzp,
    /// `nonce` is another one.
    WrongNonce,
    /// No `nonce`.
    NoNonce,
    /// No `sub`.
    NoSub,
    /// `sub` is somebody else; for an id token from a refresh.
    OtherSub,
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
    /// `nbf` is in an hour.
    NotYetValid,
    /// One bit of the signature is wrong.
    BadSignature,
    /// Algorithm `none` and no signature.
    AlgNone,
    /// A good signature by another algorithm than RS256. ES256 and EdDSA keys join the key set when this is ordered.
    OtherAlg(OtherAlg),
    /// HS256 under the PEM of the public RSA key: key confusion.
    Hs256ByPublicKey,
    /// `kid` names a key that nobody knows.
    UnknownKid,
    /// No `kid`, several keys in the key set.
    NoKid,
    /// No `kid`, one key in the key set. Order it standing: the key set must have one key whenever it is fetched.
    NoKidOneKey,
    /// A right `at_hash`, which Auth0 leaves out.
    AtHash,
    /// `at_hash` of another token.
    WrongAtHash,
    /// No `auth_time`, though it was asked for.
    NoAuthTime,
    /// `auth_time` lies eleven days back.
    OldAuthTime,
    /// `acr` and `amr` are less than was asked for.
    WrongAcr,
    /// `org_id` and `org_name` of another organization.
    WrongOrg,
    /// Neither `org_id` nor `org_name`.
    NoOrg,
    /// `session_expiry` was a minute ago.
    SessionExpiryPast,

    // The logout token.
    /// Something is wrong with a logout token.
    LogoutToken(LogoutFault),

    // The rest of the token endpoint's answer.
    /// No `id_token`.
    NoIdToken,
    /// No `access_token`.
    NoAccessToken,
    /// No `refresh_token` with a refresh: the old one stays good.
    NoRefreshToken,
    /// No `scope`: what was asked for was granted (RFC 6749, section 5.1).
    NoScope,
    /// `token_type` is `mac`.
    WrongTokenType,
    /// 403 `invalid_grant` without a look at the code or refresh token.
    InvalidGrant,
    /// 401 `invalid_client`, at `/oauth/token` and `/oauth/par`.
    InvalidClient,

    // Userinfo.
    /// `sub` is somebody else.
    WrongUserinfoSub,
    /// 401 `invalid_token`.
    UserinfoFails,

    // The authorization response.
    /// `state` is another one.
    StateTampered,
    /// No `state`.
    StateMissing,
    /// `state` twice, the second another one.
    StateDoubled,
    /// `code` twice, the second another one.
    CodeDoubled,
    /// The right `iss` (RFC 9207), announced in the metadata. Order it standing.
    ResponseIss,
    /// `iss` is another issuer; announced in the metadata. Order it standing.
    WrongResponseIss,
    /// No `iss`, though announced in the metadata. Order it standing.
    MissingResponseIss,
    /// The answer is this error, such as `access_denied`, without any page.
    AuthorizeError(String),

    // The discovery document. Order these standing.
    /// `issuer` is another one.
    WrongDiscoveryIssuer,
    /// No `end_session_endpoint`.
    NoEndSession,
    /// No `pushed_authorization_request_endpoint`.
    NoPar,
    /// `require_pushed_authorization_requests`, and `/authorize` refuses what was not pushed.
    RequirePar,

    /// An endpoint is in trouble as a whole.
    At(Endpoint, Trouble),
}

/// An endpoint that can be in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the endpoint of its name")]
pub enum Endpoint {
    Discovery,
    Jwks,
    Token,
    Userinfo,
    Par,
    Revoke,
}

/// What can be the matter with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The right answer comes this late.
    Slow(Duration),
    /// The connection is cut in the middle of the body.
    Cut,
    /// 500 with a JSON error.
    Status500,
    /// 429 with `Retry-After` and Auth0's `X-RateLimit-…`.
    Status429,
    /// 200 with HTML.
    Html,
    /// 200 with 10 MB of JSON.
    Huge,
    /// 302 to the same place.
    Redirect,
}

impl Endpoint {
    /// The endpoint at a path.
    pub(super) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server" => Self::Discovery,
            "/.well-known/jwks.json" => Self::Jwks,
            "/oauth/token" => Self::Token,
            "/userinfo" => Self::Userinfo,
            "/oauth/par" => Self::Par,
            "/oauth/revoke" => Self::Revoke,
            _ => return None,
        })
    }
}

/// Where a fault shows; it is spent there when it was ordered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    IdToken,
    LogoutToken,
    TokenAnswer,
    Grant,
    ClientAuth,
    Userinfo,
    Response,
    Authorize,
    Discovery,
    Endpoint(Endpoint),
}

impl Fault {
    fn place(&self) -> Place {
        match self {
            Self::NoIdToken | Self::NoAccessToken | Self::NoRefreshToken | Self::NoScope | Self::WrongTokenType => {
                Place::TokenAnswer
            }
            Self::LogoutToken(_) => Place::LogoutToken,
            Self::InvalidGrant => Place::Grant,
            Self::InvalidClient => Place::ClientAuth,
            Self::WrongUserinfoSub | Self::UserinfoFails => Place::Userinfo,
            Self::StateTampered
            | Self::StateMissing
            | Self::StateDoubled
            | Self::CodeDoubled
            | Self::ResponseIss
            | Self::WrongResponseIss
            | Self::MissingResponseIss => Place::Response,
            Self::AuthorizeError(_) => Place::Authorize,
            Self::WrongDiscoveryIssuer | Self::NoEndSession | Self::NoPar | Self::RequirePar => Place::Discovery,
            Self::At(endpoint, _) => Place::Endpoint(*endpoint),
            _ => Place::IdToken,
        }
    }
}

/// The faults on order.
#[derive(Debug, Default)]
pub(super) struct Orders {
    standing: Vec<Fault>,
    once: Vec<Fault>,
}

impl Orders {
    pub(super) fn add(&mut self, fault: Fault) {
        self.standing.push(fault);
    }

    pub(super) fn add_once(&mut self, fault: Fault) {
        self.once.push(fault);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The faults that show at `place` now: every standing one, and the first of those ordered once, which is spent.
    pub(super) fn take(&mut self, place: Place) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self.standing.iter().filter(|fault| fault.place() == place).cloned().collect();
        if let Some(index) = self.once.iter().position(|fault| fault.place() == place) {
            faults.push(self.once.remove(index));
        }
        faults
    }

    /// Whether `fault` is on order; spends nothing.
    pub(super) fn has(&self, fault: &Fault) -> bool {
        self.standing.contains(fault) || self.once.contains(fault)
    }
}
