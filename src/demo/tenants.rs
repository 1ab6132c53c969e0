//! The two tenants that `lychgate demo` shows, with their providers.

use serde_json::json;

use super::spec::{Client, ProviderSpec, User};
use crate::secret::SecretString;

/// A tenant of the demo, and the provider behind it. What the gateway needs for it: `provider.clients[0]`, and the
/// issuer once the provider runs.
#[derive(Clone, Debug)]
pub struct DemoTenant {
    /// The tenant's id.
    pub id: &'static str,
    /// The name its pages show.
    pub display_name: &'static str,
    /// The colour of its pages, `#rrggbb`.
    pub accent: &'static str,
    /// Its provider.
    pub provider: ProviderSpec,
    /// Whom a person may sign in as.
    pub people: Vec<DemoPerson>,
}

/// Somebody to sign in as; no secret, as `lychgate demo` prints it.
#[derive(Clone, Copy, Debug)]
pub struct DemoPerson {
    /// The e-mail address.
    pub username: &'static str,
    /// The password.
    pub password: &'static str,
    /// What is special about them.
    pub note: &'static str,
}

const ADA: DemoPerson = DemoPerson { username: "ada@acme.example", password: "analytical", note: "an administrator" };
const GRACE: DemoPerson =
    DemoPerson { username: "grace@acme.example", password: "nanosecond", note: "in an organization" };
const BEN: DemoPerson = DemoPerson { username: "ben@acme.example", password: "locked-out", note: "blocked" };
const HEDY: DemoPerson = DemoPerson { username: "hedy@globex.example", password: "frequency", note: "with a picture" };
const HANK: DemoPerson = DemoPerson { username: "hank@globex.example", password: "hammock", note: "an administrator" };

impl DemoPerson {
    fn user(self, name: &str) -> User {
        User::new(self.username, SecretString::from(self.password), name)
    }
}

/// The demo's tenants, `acme` and `globex`.
pub fn tenants() -> [DemoTenant; 2] {
    [acme(), globex()]
}

fn acme() -> DemoTenant {
    const ROLES: &str = "https://acme.example/roles";
    let client = Client { name: "Acme Intranet".to_owned(), ..Client::new("acme-gateway") };
    let users = vec![
        ADA.user("Ada Lovelace")
            .with("given_name", "Ada")
            .with("family_name", "Lovelace")
            .with(ROLES, json!(["admin", "editor"])),
        GRACE.user("Grace Hopper").with(ROLES, json!(["editor"])).in_organization("org_acme4labs0000001", "acme-labs"),
        User { blocked: true, ..BEN.user("Ben Blocked") },
    ];
    let accent = "#b4410e";
    DemoTenant {
        id: "acme",
        display_name: "Acme Corporation",
        accent,
        provider: ProviderSpec { accent: accent.to_owned(), clients: vec![client], users, ..ProviderSpec::new("Acme") },
        people: vec![ADA, GRACE, BEN],
    }
}

fn globex() -> DemoTenant {
    const ROLES: &str = "https://globex.example/roles";
    let client = Client { name: "Globex Portal".to_owned(), ..Client::new("globex-gateway") };
    let users = vec![
        HEDY.user("Hedy Lamarr")
            .with(ROLES, json!(["researcher"]))
            .with("picture", "https://cdn.auth0.com/avatars/hl.png"),
        HANK.user("Hank Scorpio").with(ROLES, json!(["admin"])).with("locale", "en-US"),
    ];
    let accent = "#1d5fa8";
    DemoTenant {
        id: "globex",
        display_name: "Globex",
        accent,
        provider: ProviderSpec {
            accent: accent.to_owned(),
            clients: vec![client],
            users,
            ..ProviderSpec::new("Globex")
        },
        people: vec![HEDY, HANK],
    }
}
