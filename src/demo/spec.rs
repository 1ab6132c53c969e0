//! What a provider is made of: its clients and its people. The two that `lychgate demo` shows stand in `tenants`.

use serde_json::{Map, Value, json};

use crate::secret::{SecretString, random_text, sha256};

/// What a [`Provider`](super::Provider) is made of.
#[derive(Clone, Debug)]
pub struct ProviderSpec {
    /// What its pages call it; short, such as `Acme`.
    pub name: String,
    /// The colour of its pages, `#rrggbb`, dark enough for white text.
    pub accent: String,
    /// Whether the issuer ends in a slash, as Auth0's do.
    pub issuer_slash: bool,
    /// Seconds that an access token is good for.
    pub access_token_life: i64,
    /// Seconds that the refresh token before the latest may be used again (Auth0's rotation overlap period).
    pub rotation_overlap: i64,
    /// The applications that may use it.
    pub clients: Vec<Client>,
    /// The people who may sign in.
    pub users: Vec<User>,
    /// Invitations into organizations that have not been accepted yet.
    pub invitations: Vec<Invitation>,
}

/// An application registered at the provider. It proves itself by its secret, else by its key, else not at all.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its id.
    pub client_id: String,
    /// Its secret, for `client_secret_basic` and `client_secret_post`.
    pub secret: Option<SecretString>,
    /// Its public key, PEM, for `private_key_jwt`.
    pub public_key_pem: Option<String>,
    /// Allowed callback URLs, compared byte for byte.
    pub redirect_uris: Vec<String>,
    /// Allowed logout URLs.
    pub logout_uris: Vec<String>,
    /// What the sign-in page calls it.
    pub name: String,
}

/// Somebody who may sign in.
#[derive(Clone, Debug)]
pub struct User {
    /// The e-mail address.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// What the id token says about them, `sub` included. Names are those of the token.
    pub claims: Map<String, Value>,
    /// The organizations they belong to: id (`org_…`) and name.
    pub organizations: Vec<(String, String)>,
    /// Whether every sign-in ends in `unauthorized`: "user is blocked".
    pub blocked: bool,
}

/// An invitation into an organization.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// The value of the parameter `invitation`.
    pub ticket: String,
    /// Id and name of the organization that the person joins by signing in with it.
    pub organization: (String, String),
}

impl ProviderSpec {
    /// A provider like Auth0 without clients and users.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            accent: "#3d4e9e".to_owned(),
            issuer_slash: true,
            access_token_life: 86_400,
            rotation_overlap: 0,
            clients: Vec::new(),
            users: Vec::new(),
            invitations: Vec::new(),
        }
    }
}

impl Client {
    /// A client with a new secret and nothing allowed yet (see [`Provider::allow`](super::Provider::allow)).
    pub fn new(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            secret: Some(random_text().into()),
            public_key_pem: None,
            redirect_uris: Vec::new(),
            logout_uris: Vec::new(),
            name: client_id.to_owned(),
        }
    }
}

impl User {
    /// Somebody with the claims Auth0 gives everybody: `sub`, `nickname`, `name`, `email`, `email_verified`, and
    /// `updated_at` as an ISO 8601 text. No picture.
    pub fn new(username: &str, password: impl Into<SecretString>, name: &str) -> Self {
        let nickname = username.split('@').next().unwrap_or(username);
        let Value::Object(claims) = json!({
            "sub": subject(username),
            "nickname": nickname,
            "name": name,
            "email": username,
            "email_verified": true,
            "updated_at": "2026-11-20T08:15:30.512Z",
        }) else {
            unreachable!("written as an object")
        };
        Self {
            username: username.to_owned(),
            password: password.into(),
            claims,
            organizations: Vec::new(),
            blocked: false,
        }
    }

    /// The same person with one more claim.
    pub fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(claim.to_owned(), value.into());
        self
    }

    /// The same person as a member of an organization.
    pub fn in_organization(mut self, id: &str, name: &str) -> Self {
        self.organizations.push((id.to_owned(), name.to_owned()));
        self
    }

    pub(super) fn sub(&self) -> &str {
        self.claims.get("sub").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Auth0's form of a subject: `auth0|` and 24 hexadecimal digits; the same for the same address after every start.
fn subject(username: &str) -> String {
    use std::fmt::Write as _;
    sha256(username.as_bytes())[..12].iter().fold("auth0|".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to memory");
        text
    })
}
