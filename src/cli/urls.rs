//! `lychgate urls`: what to paste into the provider's fields.

use serde_json::{Value, json};
use url::Url;

use super::{Exit, put};
use crate::config::{Settings, TenantSettings};
use crate::tenant::Place;
use crate::tenant_id::TenantId;

/// Prints the URLs of one tenant, or of all.
pub(super) fn run(settings: &Settings, only: Option<&TenantId>, as_json: bool) -> Exit {
    let tenants: Vec<_> = settings.tenants.iter().filter(|tenant| only.is_none_or(|only| *only == tenant.id)).collect();
    if let (Some(only), true) = (only, tenants.is_empty()) {
        eprintln!("lychgate urls: there is no tenant {only}");
        return Exit::Failure;
    }
    if tenants.is_empty() {
        eprintln!("there is no tenant yet: `lychgate tenant add` writes one");
    }
    let told = tenants.into_iter().map(|tenant| {
        let urls = Urls::of(settings, tenant);
        if as_json { format!("{}\n", urls.json(tenant)) } else { urls.text(tenant) }
    });
    put(&told.collect::<String>())
}

/// The values of the fields that an Auth0 application has.
pub(super) struct Urls {
    pub(super) callback: Vec<String>,
    logout: Vec<String>,
    initiate_login: Option<String>,
    backchannel_logout: Option<String>,
}

impl Urls {
    /// What `tenant` needs with these settings.
    pub(super) fn of(settings: &Settings, tenant: &TenantSettings) -> Self {
        let places = places(settings, tenant);
        let urls = |route| places.iter().map(|place| place.url(route)).collect::<Vec<_>>();
        let logout = match &tenant.sign_out.post_logout_redirect {
            Some(url) => vec![url.to_string()],
            None => urls("/logged-out"),
        };
        let https = |route| urls(route).into_iter().find(|url| url.starts_with("https://"));
        let (initiate_login, backchannel_logout) = (https("/login"), https("/backchannel-logout"));
        Self { callback: urls("/callback"), logout, initiate_login, backchannel_logout }
    }

    /// For people.
    pub(super) fn text(&self, tenant: &TenantSettings) -> String {
        let (id, issuer, client) = (&tenant.id, &tenant.provider.issuer, &tenant.provider.client_id);
        let (callback, logout) = (self.callback.join(", "), self.logout.join(", "));
        let https = |url: &Option<String>| match url {
            Some(url) => url.clone(),
            None => "(leave empty: it must be https; set public_url first)".to_owned(),
        };
        let (login, backchannel) = (https(&self.initiate_login), https(&self.backchannel_logout));
        format!(
            "{id} ({issuer}, client {client})\n  Allowed Callback URLs:  {callback}\n  Allowed Logout URLs:    {logout}\n  \
             Application Login URI:  {login}\n  Back-Channel Logout:    {backchannel}\n"
        )
    }

    fn json(&self, tenant: &TenantSettings) -> Value {
        json!({
            "tenant": tenant.id.as_str(),
            "issuer": tenant.provider.issuer,
            "client_id": tenant.provider.client_id,
            "callback_urls": self.callback,
            "logout_urls": self.logout,
            "initiate_login_uri": self.initiate_login,
            "backchannel_logout_uri": self.backchannel_logout,
        })
    }
}

/// Everywhere that browsers may find the tenant.
fn places(settings: &Settings, tenant: &TenantSettings) -> Vec<Place> {
    let own = tenant.hosts.iter().map(|host| Place::on_own_host(tenant, format!("https://{host}")));
    let origin = |url: &Url| url.origin().ascii_serialization();
    let shared = match &settings.public_url {
        Some(url) => vec![origin(url)],
        None if settings.listen.ip().to_canonical().is_loopback() => {
            let port = settings.listen.port();
            ["localhost", "127.0.0.1"].iter().map(|name| format!("http://{name}:{port}")).collect()
        }
        None => Vec::new(),
    };
    own.chain(shared.into_iter().map(|origin| Place::shared(tenant, origin))).collect()
}
