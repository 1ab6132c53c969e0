//! The resolved settings of one tenant.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use url::Url;

use super::{IdentitySettings, LimitSettings, PolicySettings, TokenSettings, UpstreamSettings, values};
use crate::credentials::PasswordHash;
use crate::secret::{ExposeSecret as _, SecretString, base64url, sha256};
use crate::tenant_id::TenantId;

/// Everything one tenant file says, checked.
#[derive(Clone, Debug)]
pub struct TenantSettings {
    /// The file's name.
    pub id: TenantId,
    /// Host names at whose root this tenant stands; lower case, no port, no trailing dot.
    pub hosts: Vec<String>,
    /// Below which path our routes stand, on `hosts` and after `/<tenant>`: empty, or `/` and segments.
    pub prefix: String,
    /// The tenant's OpenID provider.
    pub provider: ProviderSettings,
    /// How a sign-in is asked for.
    pub sign_in: SignInSettings,
    /// Whose access tokens count besides sessions.
    pub api: ApiSettings,
    /// Who may sign in with a name and a password that we know ourselves; nobody where it is empty.
    pub local_users: Vec<LocalUser>,
    /// How long a session lives.
    pub session: SessionLimits,
    /// How often something may be done, where the process's settings are not good enough.
    pub limits: LimitSettings,
    /// What becomes of a session's tokens.
    pub tokens: TokenSettings,
    /// How a sign-out goes on at the provider.
    pub sign_out: SignOutSettings,
    /// Who may pass.
    pub policy: PolicySettings,
    /// The applications behind it, the most specific first.
    pub upstreams: Vec<UpstreamSettings>,
    /// Whether a request that changes something must come from our own pages.
    pub csrf: bool,
    /// What applications learn of whoever passes.
    pub identity: IdentitySettings,
    /// The domain whose hosts all get the session's cookie.
    pub cookie_domain: Option<String>,
    /// How pages look.
    pub look: Look,
    /// Whether users seen are remembered.
    pub remember_users: bool,
}

impl TenantSettings {
    /// The domain that the session's cookie is set for by a sign-in on `host`; none if it is that host's alone.
    pub fn cookie_domain_at(&self, host: &str) -> Option<&str> {
        self.cookie_domain.as_deref().filter(|domain| values::is_within(host, domain))
    }
}

/// What it takes to talk to the provider. Tenants whose [`FetchSettings`] and issuer are equal share what was fetched.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// The issuer, byte for byte as its tokens say (Auth0's ends in a slash).
    pub issuer: String,
    /// Whether it was given as an Auth0 `domain`; decides the fallback logout and the metric label.
    pub auth0: bool,
    /// Who we are there.
    pub client_id: String,
    /// How we prove it.
    pub client_auth: ClientAuth,
    /// The one algorithm id tokens may be signed with.
    pub id_token_alg: SigningAlg,
    /// Seconds by which clocks may differ.
    pub leeway: i64,
    /// Seconds that an id token may be old when it arrives.
    pub id_token_max_age: i64,
    /// Whether the authorization request is pushed (RFC 9126). It is also when the provider requires it.
    pub par: bool,
    /// Whether claims of the userinfo endpoint are added.
    pub userinfo: bool,
    /// How the provider is reached.
    pub fetch: FetchSettings,
}

/// How the provider's documents are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchSettings {
    /// Certificates, PEM, trusted besides the system's.
    pub ca: Vec<Vec<u8>>,
    /// The HTTP proxy on the way there.
    pub proxy: Option<Url>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Endpoints that replace the discovered ones, by their metadata name, such as `token_endpoint`.
    pub endpoints: BTreeMap<String, Url>,
}

/// Client authentication at the token endpoint (OpenID Connect Core, section 9).
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// `client_secret_post`: in the body.
    SecretPost(SecretString),
    /// `client_secret_basic`: in the header, form-urlencoded first (RFC 6749, section 2.3.1).
    SecretBasic(SecretString),
    /// `private_key_jwt`: an assertion signed with our own key (RFC 7523).
    PrivateKeyJwt {
        /// The private key, PEM.
        key: SecretString,
        /// What it signs with: RS256, PS256 or ES256.
        alg: SigningAlg,
        /// The key's id at the provider.
        kid: Option<String>,
    },
    /// `none`: a public client.
    None,
}

/// The signature algorithms we know (RFC 7518, section 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SigningAlg {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// HMAC with SHA-256 under the client secret.
    Hs256,
}

impl SigningAlg {
    /// The name in a JOSE header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
        }
    }
}

/// The APIs that the tenant stands in front of: access tokens for them count as bearers.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Their identifiers, as `aud` says them; empty: no bearer is looked at.
    pub audiences: Vec<String>,
    /// The one algorithm that access tokens may be signed with; never HS256.
    pub signing_alg: SigningAlg,
}

/// How a sign-in is asked for.
#[derive(Clone, Debug)]
pub struct SignInSettings {
    /// Scopes, `openid` among them.
    pub scopes: Vec<String>,
    /// How the answer comes back.
    pub response_mode: ResponseMode,
    /// Values that the tenant sets and no request overrides.
    pub fixed: AuthorizeParams,
    /// Organizations whose members may sign in, ids (`org_…`) or names; empty: no check. If one only, it is asked for.
    pub organizations: Vec<String>,
    /// Parameters that the query of `/login` may set, beyond those that `fixed` sets.
    pub allowed_params: Vec<String>,
    /// Parameters of any other name that go to the provider as they are.
    pub extra_authorize_params: BTreeMap<String, String>,
    /// Where a sign-in ends if nobody asked otherwise: a path below the tenant, or an absolute URL.
    pub login_redirect: Option<String>,
    /// Origins, besides our own, that a sign-in may return to.
    pub return_to_origins: Vec<OriginPattern>,
}

/// Parameters of the authorization request that both tenant and request may know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each is the parameter of its name: OpenID Connect Core 3.1.2.1 and Auth0's /authorize"
)]
pub struct AuthorizeParams {
    pub audience: Option<String>,
    pub connection: Option<String>,
    pub organization: Option<String>,
    pub invitation: Option<String>,
    pub screen_hint: Option<String>,
    pub prompt: Option<String>,
    pub login_hint: Option<String>,
    pub ui_locales: Option<String>,
    /// Seconds.
    pub max_age: Option<i64>,
    pub acr_values: Option<String>,
}

/// How the authorization response comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseMode {
    /// In the query of a GET.
    #[default]
    Query,
    /// In the body of a cross-site POST.
    FormPost,
}

/// An origin that may be returned to: exact, or every host below a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    /// `https`, or `http` on loopback.
    pub scheme: String,
    /// The host; with `subdomains`, hosts that end in a dot and this.
    pub host: String,
    /// The port, the scheme's own if none was written.
    pub port: u16,
    /// Whether it was written `*.host`.
    pub subdomains: bool,
}

/// The issuer of local accounts; never a provider's, which is a URL.
pub const LOCAL_ISSUER: &str = "urn:lychgate:local";

impl fmt::Display for OriginPattern {
    /// As a source expression of a Content-Security-Policy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.subdomains { "*." } else { "" };
        write!(f, "{}://{star}{}", self.scheme, self.host)?;
        let own = if self.scheme == "https" { 443 } else { 80 };
        if self.port == own { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Somebody with a local account.
#[derive(Clone, Debug)]
pub struct LocalUser {
    /// The name, as it was written.
    pub name: String,
    /// The hash of the password.
    pub password_hash: PasswordHash,
    /// The e-mail address; it counts as verified.
    pub email: Option<String>,
    /// What the person is called.
    pub display_name: Option<String>,
    /// The groups they belong to.
    pub groups: Vec<String>,
    /// Further claims.
    pub claims: BTreeMap<String, String>,
}

impl LocalUser {
    /// An account about which nothing more is known.
    pub fn new(name: &str, password_hash: PasswordHash) -> Self {
        Self {
            name: name.to_owned(),
            password_hash,
            email: None,
            display_name: None,
            groups: Vec::new(),
            claims: BTreeMap::new(),
        }
    }

    /// Their `sub`, in Auth0's form: an application that sees no issuer cannot take it for a provider's.
    pub fn subject(&self) -> String {
        format!("local|{}", self.name)
    }

    /// A hash of all that is known about them, the hash of the password included: another one is another account.
    pub fn fingerprint(&self) -> String {
        let Self { name, password_hash, email, display_name, groups, claims } = self;
        let all = (name, password_hash.to_text().expose_secret(), email, display_name, groups, claims);
        base64url(&sha256(&serde_json::to_vec(&all).expect("texts make JSON")))
    }
}

/// How long a session lives.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// Ends after this long without a request.
    pub idle: Duration,
    /// Ends after this long in any case.
    pub absolute: Duration,
    /// The same as `idle` for sessions of local accounts.
    pub local_idle: Duration,
    /// The same as `absolute` for sessions of local accounts.
    pub local_absolute: Duration,
}

impl SessionLimits {
    /// The idle limit of a session, of a local account or not.
    pub const fn idle_of(&self, is_local: bool) -> Duration {
        if is_local { self.local_idle } else { self.idle }
    }

    /// The absolute limit of a session, of a local account or not.
    pub const fn absolute_of(&self, is_local: bool) -> Duration {
        if is_local { self.local_absolute } else { self.absolute }
    }
}

/// How a sign-out goes on at the provider.
#[derive(Clone, Debug)]
pub struct SignOutSettings {
    /// Whether the provider's own session ends too.
    pub at_provider: bool,
    /// Whether the identity provider behind an Auth0 tenant is signed out of as well.
    pub federated: bool,
    /// Where the browser lands in the end; our own logged-out page if unset.
    pub post_logout_redirect: Option<Url>,
}

/// How a tenant's pages look.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The name people know; the id if unset.
    pub display_name: Option<String>,
    /// A picture's URL: https, or a path of ours.
    pub logo: Option<String>,
    /// `#rrggbb`.
    pub accent_color: Option<AccentColor>,
    /// Where to get help.
    pub support_url: Option<Url>,
}

/// A colour, `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccentColor(pub [u8; 3]);
