//! Reads one tenant's file.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::identity::identity;
use super::inputs::Inputs;
use super::keys::TENANT;
use super::layers::{Layer, Origin};
use super::read::LONGEST;
use super::read_policy;
use super::reader::Reader;
use super::{
    ApiSettings, AuthorizeParams, ClientAuth, Fault, FetchSettings, LimitSettings, Look, ProviderSettings,
    ResponseMode, SessionLimits, Settings, SignInSettings, SignOutSettings, SigningAlg, Sources, TenantSettings,
    local_users, read_upstream, tokens, values,
};
use crate::secret::SecretString;
use crate::tenant_id::TenantId;

/// A tenant as it was written.
pub(super) struct TenantFile {
    pub(super) id: TenantId,
    pub(super) origin: Origin,
    pub(super) layers: Vec<Layer>,
}

const ALGS: [(&str, SigningAlg); 5] = [
    ("RS256", SigningAlg::Rs256),
    ("PS256", SigningAlg::Ps256),
    ("ES256", SigningAlg::Es256),
    ("EdDSA", SigningAlg::EdDsa),
    ("HS256", SigningAlg::Hs256),
];

/// Endpoints that may be set, by their names in the discovery document.
const ENDPOINTS: [&str; 7] = [
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "userinfo_endpoint",
    "end_session_endpoint",
    "revocation_endpoint",
    "pushed_authorization_request_endpoint",
];

/// Parameters that we make ourselves: nobody sets them by `extra_authorize_params`.
const OUR_PARAMS: [&str; 12] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
    "client_secret",
];

/// Parameters that a request may set where the tenant does not; the others are the tenant's or ours alone.
const REQUEST_PARAMS: [&str; 10] = [
    "audience",
    "connection",
    "organization",
    "invitation",
    "screen_hint",
    "prompt",
    "login_hint",
    "ui_locales",
    "max_age",
    "acr_values",
];

/// Reads a tenant of a process with these settings, says what is wrong with it, and what was looked at.
pub(super) fn read(
    sources: &Sources,
    file: &TenantFile,
    process: Option<&Settings>,
) -> (Option<TenantSettings>, Vec<Fault>, Inputs) {
    let mut reader = Reader::new(sources, TENANT, file.origin.clone(), &file.layers);
    let tenant = tenant(&mut reader, file.id.clone(), process.and_then(|process| process.public_url.as_ref()));
    if let (Some(tenant), Some(process)) = (&tenant, process) {
        check_place(&mut reader, tenant, process);
    }
    let (faults, inputs) = reader.into_parts();
    (tenant, faults, inputs)
}

/// Browsers must find the tenant, and not where all tenants are.
fn check_place(reader: &mut Reader<'_>, tenant: &TenantSettings, process: &Settings) {
    let public_host = process.public_url.as_ref().and_then(|url| url.host_str());
    if let Some(host) = tenant.hosts.iter().find(|host| public_host == Some(host)) {
        let reason = format!("{host} is the host of public_url, which all tenants share");
        reader.fault("hosts", reason, Some("use another host, or leave it out"));
    }
    let public = process.public_url.is_some() || process.listen.ip().to_canonical().is_loopback();
    if !public && tenant.hosts.is_empty() {
        let reason = "is missing: we listen beyond loopback, and no URL of this tenant is known";
        reader.fault("hosts", reason, Some("set public_url for all tenants, or hosts for this one"));
    }
}

pub(super) fn tenant(reader: &mut Reader<'_>, id: TenantId, public_url: Option<&Url>) -> Option<TenantSettings> {
    let provider = provider(reader);
    let hosts = reader.list("hosts", values::host).unwrap_or_default();
    let prefix = if reader.is_set("prefix") { reader.parsed("prefix", values::prefix) } else { reader.skip("prefix") };
    let sign_in = sign_in(reader);
    let api = api(reader);
    let clear = public_url.is_some_and(|url| url.scheme() != "https" && !values::is_loopback(url));
    if sign_in.response_mode == ResponseMode::FormPost && clear && hosts.is_empty() {
        let help = "set an https public_url, or use query";
        reader.fault("response_mode", "form_post needs https, since its cookie does", Some(help));
    }
    let prefix = prefix.unwrap_or_default();
    let cookie_domain = cookie_domain(reader, public_url, &hosts);
    let tokens = tokens::read(reader, &sign_in.scopes, provider.as_ref().is_some_and(|provider| provider.auth0));
    let audiences: Vec<&String> = sign_in.fixed.audience.iter().chain(&tokens.audiences).collect();
    let upstreams = read_upstream::read(reader, &hosts, &prefix, &audiences);
    let tenant = TenantSettings {
        id,
        hosts,
        prefix,
        sign_in,
        api,
        local_users: local_users::users(reader),
        session: session(reader),
        limits: LimitSettings::read(reader),
        tokens,
        sign_out: SignOutSettings {
            at_provider: reader.flag("logout_at_provider").unwrap_or_default(),
            federated: reader.flag("federated_logout").unwrap_or_default(),
            post_logout_redirect: reader.parsed("post_logout_redirect", values::safe_url),
        },
        policy: read_policy::policy(reader, provider.as_ref().map_or(0, |provider| provider.leeway)),
        identity: identity(reader),
        cookie_domain,
        upstreams,
        csrf: reader.flag("csrf").unwrap_or(true),
        look: look(reader),
        remember_users: reader.flag("remember_users").unwrap_or_default(),
        provider: provider?,
    };
    if tenant.api.audiences.contains(&tenant.provider.client_id) {
        let help = "write the API's identifier; tokens for the client are id tokens";
        reader.fault("api.audiences", "holds client_id, which is no API", Some(help));
    }
    if tenant.sign_out.federated && !tenant.provider.auth0 {
        reader.fault(
            "federated_logout",
            "is a thing of Auth0 tenants only",
            Some("leave it out, or give the provider by `domain`"),
        );
    }
    Some(tenant)
}

fn provider(reader: &mut Reader<'_>) -> Option<ProviderSettings> {
    let domain = reader.parsed("domain", values::domain);
    let issuer = reader.parsed("issuer", values::issuer);
    let auth0 = reader.is_set("domain");
    match (auth0, reader.is_set("issuer")) {
        (true, true) => reader.fault("issuer", "and domain are both given", Some("leave one of them out")),
        (false, false) => {
            reader.fault("domain", "is missing", Some("give the Auth0 tenant's `domain`, or any provider's `issuer`"));
        }
        _ => {}
    }
    let client_id = reader.text("client_id");
    if !reader.is_set("client_id") {
        reader.fault("client_id", "is missing", Some("the provider's page of the application shows it"));
    }
    let client_auth = client_auth(reader);
    let id_token_alg = reader.choice("id_token_signed_response_alg", &ALGS);
    let has_secret = matches!(client_auth, Some(ClientAuth::SecretPost(_) | ClientAuth::SecretBasic(_)));
    if id_token_alg == Some(SigningAlg::Hs256) && client_auth.is_some() && !has_secret {
        reader.fault("id_token_signed_response_alg", "HS256 needs a client_secret to check with", None);
    }
    let minutes = |from, to| Duration::from_secs(from)..=Duration::from_mins(to);
    let leeway = reader.seconds("leeway", &minutes(0, 10));
    let id_token_max_age = reader.seconds("id_token_max_age", &minutes(10, 60 * 24));
    let par = reader.flag("pushed_authorization_requests");
    let userinfo = reader.flag("userinfo");
    let fetch = fetch(reader);
    Some(ProviderSettings {
        issuer: issuer.or_else(|| domain.map(|domain| format!("https://{domain}/")))?,
        auth0,
        client_id: client_id?,
        client_auth: client_auth?,
        id_token_alg: id_token_alg?,
        leeway: leeway?,
        id_token_max_age: id_token_max_age?,
        par: par?,
        userinfo: userinfo?,
        fetch,
    })
}

/// Client authentication: what is given decides, `client_auth` chooses where there is a choice.
fn client_auth(reader: &mut Reader<'_>) -> Option<ClientAuth> {
    #[derive(Clone, Copy, PartialEq)]
    enum Way {
        Post,
        Basic,
        Key,
        None,
    }
    let secret = reader.secret("client_secret");
    let key = reader.secret("private_key");
    let alg = reader.choice("private_key_alg", &ALGS[..3]);
    let kid = reader.text("private_key_id");
    let ways = [
        ("client_secret_post", Way::Post),
        ("client_secret_basic", Way::Basic),
        ("private_key_jwt", Way::Key),
        ("none", Way::None),
    ];
    let chosen = reader.choice("client_auth", &ways);
    let has_secret = reader.is_set("client_secret") || reader.is_set("client_secret_file");
    let has_key = reader.is_set("private_key") || reader.is_set("private_key_file");
    if has_secret && has_key {
        reader.fault("client_secret", "and private_key are both given", Some("leave one of them out"));
    }
    if reader.is_set("client_auth") && chosen.is_none() {
        return None;
    }
    let way = chosen.unwrap_or(if has_key { Way::Key } else { Way::Post });
    match way {
        Way::Post | Way::Basic if !has_secret => {
            let help = "give client_secret or client_secret_file, private_key_file, or client_auth = \"none\" for a public client";
            reader.fault("client_secret", "is missing", Some(help));
            None
        }
        Way::Key if !has_key => {
            reader.fault("private_key", "is missing", Some("give private_key or private_key_file"));
            None
        }
        Way::None if has_secret || has_key => {
            reader.fault("client_auth", "is none, and yet there is a secret or a key", Some("leave one of them out"));
            None
        }
        Way::Post => Some(ClientAuth::SecretPost(secret?)),
        Way::Basic => Some(ClientAuth::SecretBasic(secret?)),
        Way::Key => Some(ClientAuth::PrivateKeyJwt { key: key?, alg: alg?, kid }),
        Way::None => Some(ClientAuth::None),
    }
}

fn fetch(reader: &mut Reader<'_>) -> FetchSettings {
    let ca = reader.file("ca_file").into_iter().map(String::into_bytes).collect();
    let mut endpoints = BTreeMap::new();
    for name in ENDPOINTS {
        if let Some(url) = reader.parsed(&format!("endpoints.{name}"), values::safe_url) {
            endpoints.insert(name.to_owned(), url);
        }
    }
    FetchSettings {
        ca,
        proxy: reader.parsed("proxy", |text| values::url(text, &["http", "https"])),
        timeout: reader.duration("timeout", &(Duration::from_millis(100)..=Duration::from_mins(1))).unwrap_or_default(),
        endpoints,
    }
}

fn sign_in(reader: &mut Reader<'_>) -> SignInSettings {
    let mut scopes = reader.list("scopes", values::scope).unwrap_or_default();
    if !scopes.iter().any(|scope| scope == "openid") {
        scopes.insert(0, "openid".to_owned());
    }
    let fixed = AuthorizeParams {
        audience: reader.text("audience"),
        connection: reader.text("connection"),
        organization: reader.text("organization"),
        invitation: None,
        screen_hint: reader.text("screen_hint"),
        prompt: reader.parsed("prompt", values::prompt),
        login_hint: reader.text("login_hint"),
        ui_locales: reader.text("ui_locales"),
        max_age: reader.seconds("max_age", &(Duration::ZERO..=LONGEST)),
        acr_values: reader.text("acr_values"),
    };
    let mut organizations = reader.list("organizations", values::not_empty).unwrap_or_default();
    if let Some(organization) = &fixed.organization {
        if !organizations.is_empty() && !organizations.contains(organization) {
            reader.fault(
                "organization",
                "is not among organizations",
                Some("add it there, or leave one of the two out"),
            );
        }
        organizations = vec![organization.clone()];
    }
    let extra = reader.map("extra_authorize_params");
    for name in extra.keys().map(String::as_str) {
        let path = format!("extra_authorize_params.{name}");
        if OUR_PARAMS.contains(&name) {
            reader.fault(&path, "is a parameter that lychgate makes itself", Some("leave it out"));
        } else if REQUEST_PARAMS.contains(&name) {
            // Here a request would override it, and no id token would be held against it.
            let has_key = TENANT.iter().any(|key| key.path == name);
            let help = if has_key { "set the key of this name, outside the table" } else { "leave it out" };
            reader.fault(&path, "is a parameter that lychgate knows", Some(help));
        }
    }
    SignInSettings {
        scopes,
        response_mode: reader
            .choice("response_mode", &[("query", ResponseMode::Query), ("form_post", ResponseMode::FormPost)])
            .unwrap_or_default(),
        fixed,
        organizations,
        allowed_params: reader.list("allowed_params", allowed_param).unwrap_or_default(),
        extra_authorize_params: extra,
        login_redirect: reader.parsed("login_redirect", |text| match text.starts_with('/') {
            true => values::plain_path(text),
            false => values::safe_url(text).map(Into::into),
        }),
        return_to_origins: reader.list("return_to_origins", values::origin_pattern).unwrap_or_default(),
    }
}

fn api(reader: &mut Reader<'_>) -> ApiSettings {
    ApiSettings {
        audiences: reader.list("api.audiences", values::not_empty).unwrap_or_default(),
        signing_alg: reader.choice("api.signing_alg", &ALGS[..4]).unwrap_or(SigningAlg::Rs256),
    }
}

fn allowed_param(text: &str) -> Result<String, String> {
    match REQUEST_PARAMS.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("is not a parameter that a request can set; allowed: {}", REQUEST_PARAMS.join(", "))),
    }
}

fn session(reader: &mut Reader<'_>) -> SessionLimits {
    let (idle, absolute) = limits(reader, "session.idle", "session.absolute");
    let (local_idle, local_absolute) = limits(reader, "local.session_idle", "local.session_absolute");
    SessionLimits { idle, absolute, local_idle, local_absolute }
}

fn limits(reader: &mut Reader<'_>, idle_key: &str, absolute_key: &str) -> (Duration, Duration) {
    let range = Duration::from_mins(1)..=LONGEST;
    let (idle, absolute) = (reader.duration(idle_key, &range), reader.duration(absolute_key, &range));
    if let (Some(idle), Some(absolute)) = (idle, absolute)
        && idle > absolute
    {
        let reason = format!("is longer than {absolute_key}");
        reader.fault(idle_key, reason, Some("make it shorter, or the other longer"));
    }
    (idle.unwrap_or_default(), absolute.unwrap_or_default())
}

/// A domain that takes in every host where one signs in, all of them https.
fn cookie_domain(reader: &mut Reader<'_>, public_url: Option<&Url>, hosts: &[String]) -> Option<String> {
    let domain = reader.parsed("cookie_domain", |text| match values::host(text)? {
        domain if domain.contains('.') && !values::is_loopback_name(&domain) => Ok(domain),
        _ => Err("is no domain of your own, such as acme.example".to_owned()),
    })?;
    let public = public_url.and_then(Url::host_str).filter(|_| hosts.is_empty());
    let help = "write a domain that they are below, or leave it out";
    for host in hosts.iter().map(String::as_str).chain(public) {
        if !values::is_within(host, &domain) {
            reader.fault("cookie_domain", format!("does not take in {host}, where one signs in"), Some(help));
        }
    }
    match public_url {
        Some(url) if hosts.is_empty() && url.scheme() != "https" => {
            reader.fault("cookie_domain", "needs https, since its cookie does", Some("set an https public_url"));
        }
        None if hosts.is_empty() => {
            let help = "set an https public_url, or hosts of the tenant";
            reader.fault("cookie_domain", "needs https, and no URL of this tenant is known", Some(help));
        }
        _ => {}
    }
    Some(domain)
}

fn look(reader: &mut Reader<'_>) -> Look {
    Look {
        display_name: reader.text("display_name"),
        logo: reader.parsed("logo", |text| match text.starts_with('/') {
            true => values::plain_path(text),
            false => values::url(text, &["https"]).map(Into::into),
        }),
        accent_color: reader.parsed("accent_color", values::color),
        support_url: reader.parsed("support_url", |text| match text.strip_prefix("mailto:") {
            Some(address) if address.contains('@') => {
                Url::parse(text).map_err(|error| format!("is not a URL: {error}"))
            }
            _ => values::url(text, &["https"]).map_err(|reason| format!("{reason}, or mailto: and an address")),
        }),
    }
}

impl TenantSettings {
    /// The defaults, with this provider and client secret.
    ///
    /// # Panics
    /// Where the defaults are no settings; a test sees to that.
    pub fn least(id: TenantId, issuer: &str, client_id: &str, secret: SecretString) -> Self {
        let layers: Vec<Layer> = [("issuer", issuer), ("client_id", client_id), ("client_secret", "unused")]
            .iter()
            .map(|(key, text)| Layer::of_text(Origin::Flags, key, text))
            .collect();
        let sources = Sources::default();
        let file = TenantFile { id, origin: Origin::Defaults, layers };
        let (tenant, faults, _) = read(&sources, &file, None);
        let mut tenant = tenant.filter(|_| faults.is_empty()).expect("an issuer, a client id and a secret are enough");
        tenant.provider.client_auth = ClientAuth::SecretPost(secret);
        tenant
    }
}
