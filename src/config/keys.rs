//! Every key that a settings file may hold: its path, its default, a line on what it does. The defaults in force, the
//! unknown keys, and `tenants/example.toml.sample` all come from these tables.

use std::fmt::Write as _;

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Tables and name, dots between.
    pub(super) path: &'static str,
    /// The default, written as TOML.
    pub(super) default: Option<&'static str>,
    /// What one may write where there is no default, as TOML; empty where the table is free.
    pub(super) example: &'static str,
    /// What it does, a sentence.
    pub(super) help: &'static str,
    /// Where the key is a list of tables, `[[…]]`: the keys of each; else empty.
    pub(super) items: &'static [Self],
}

impl Key {
    /// The table that the key stands in, empty for the top of the file.
    pub(super) fn table(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(table, _)| table)
    }

    /// The key's own name.
    pub(super) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// Whether the key is a table of names that we do not know beforehand.
    pub(super) const fn is_map(&self) -> bool {
        self.default.is_none() && self.example.is_empty() && self.items.is_empty()
    }
}

const fn with(path: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { path, default: Some(default), example: "", help, items: &[] }
}

const fn none(path: &'static str, example: &'static str, help: &'static str) -> Key {
    Key { path, default: None, example, help, items: &[] }
}

/// A list of tables, each with these keys.
const fn list(path: &'static str, items: &'static [Key], help: &'static str) -> Key {
    Key { path, default: None, example: "", help, items }
}

/// The same, shown on the one line of `example`.
const fn inline(path: &'static str, items: &'static [Key], example: &'static str, help: &'static str) -> Key {
    Key { path, default: None, example, help, items }
}

/// The keys of `lychgate.toml`.
pub(super) const SETTINGS: &[Key] = &[
    with("listen", r#""127.0.0.1:3000""#, "Where browsers and proxies connect; port 0 picks a free one."),
    none("admin_listen", r#""127.0.0.1:3001""#, "Where health and metrics are served besides, for operators only."),
    none("public_url", r#""https://login.example.com""#, "Scheme, host and port under which browsers reach us."),
    with("tenants", r#""tenants""#, "The folder of tenant files."),
    none("templates", r#""templates""#, "The folder of templates that replace the embedded ones."),
    with("data", r#""data""#, "The folder of the database and the root secret."),
    with("trusted_proxies", r#"["127.0.0.0/8", "::1/128"]"#, "Peers whose forwarding headers count."),
    with("metrics_allow", "[]", "Peers, besides loopback, that may read /metrics and health details."),
    with("list_tenants", "false", "Whether the page at / names the tenants."),
    with("on_invalid_tenant", r#""fail""#, "What a bad tenant file does at start: fail, or skip that tenant."),
    with(
        "replicas",
        "1",
        "How many processes run with these settings. More than one need sessions.store = \"redis\" and a root secret that is given.",
    ),
    with(
        "allow_no_tenants",
        "false",
        "Whether serving no tenant at all is meant: /readyz says yes without one, and a reload may take the last.",
    ),
    none(
        "secret",
        r#""${LYCHGATE_KEY}""#,
        "The root secret, as `lychgate secret` prints one; else made in the data folder.",
    ),
    none(
        "secret_file",
        r#""secret.key""#,
        "A file that holds the root secret; more keys may lie beside it. Else data/secret.key.",
    ),
    with(
        "sessions.store",
        r#""embedded""#,
        "Where sessions are kept: embedded (SQLite in the data folder, for one process) or redis (shared by several).",
    ),
    with("sessions.cache", r#""64MiB""#, "Memory for sessions read lately."),
    none(
        "sessions.redis_url",
        r#""rediss://redis.internal:6379""#,
        "One Redis or Valkey server; rediss:// is TLS. It may hold user, password and database.",
    ),
    none("sessions.redis_cluster", r#"["rediss://redis-1.internal:6379"]"#, "Or a cluster: some of its nodes."),
    none("sessions.redis_sentinels", r#"["rediss://sentinel-1.internal:26379"]"#, "Or Sentinels, all of them."),
    none("sessions.redis_master", r#""lychgate""#, "The name by which the Sentinels know the master."),
    none("sessions.redis_username", r#""lychgate""#, "The ACL user; Redis' default user if unset."),
    none("sessions.redis_password", r#""${REDIS_PASSWORD}""#, "Its password."),
    none("sessions.redis_password_file", r#""redis.password""#, "A file that holds the password."),
    none("sessions.redis_sentinel_username", r#""lychgate""#, "The ACL user at the Sentinels."),
    none("sessions.redis_sentinel_password", r#""${SENTINEL_PASSWORD}""#, "The password at the Sentinels."),
    none("sessions.redis_sentinel_password_file", r#""sentinel.password""#, "A file that holds that password."),
    none(
        "sessions.redis_ca_file",
        r#""redis-ca.pem""#,
        "Certificates, PEM, trusted for Redis instead of the system's.",
    ),
    none("sessions.redis_certificate_file", r#""redis.crt""#, "Our own certificate for Redis, PEM."),
    none("sessions.redis_key_file", r#""redis.key""#, "That certificate's private key, PEM."),
    with("sessions.redis_prefix", r#""lychgate:""#, "What all our keys in Redis begin with."),
    with("sessions.redis_timeout", r#""2s""#, "How long an operation of Redis may take."),
    with("sessions.stale_session_grace", r#""30s""#, "How long sessions in memory go on while Redis does not answer."),
    with("log.format", r#""auto""#, "How a line looks: text, json, or auto (text on a terminal)."),
    with("log.level", r#""info""#, "A level, or a filter such as \"lychgate=debug,warn\"."),
    with("server.header_timeout", r#""10s""#, "How long a client may take to send a request's head or to shake hands."),
    with("server.request_timeout", r#""30s""#, "How long a request may take in all, its body included."),
    with("server.idle_timeout", r#""75s""#, "How long a connection may do nothing."),
    with("server.max_connections", "10000", "Open connections at the same time."),
    with(
        "server.max_new_work",
        "1000",
        "Sign-ins, callbacks, reads of sessions, verifications of tokens and logout requests that wait or are under way; more get 503.",
    ),
    with("server.max_header_bytes", r#""32KiB""#, "Size of a request's head."),
    with("server.max_body_bytes", r#""256KiB""#, "Size of a request's body on our own routes."),
    with("server.drain_delay", r#""5s""#, "How long /readyz says no, after SIGTERM, before connections are refused."),
    with("server.drain_timeout", r#""20s""#, "How long requests may then go on."),
    with(
        "limits.sign_ins_per_address",
        "600",
        "Sign-ins that one client address (half an IPv6 address) may start at a tenant in a minute; 0: any number.",
    ),
    with(
        "limits.sign_ins",
        "6000",
        "Sign-ins that may be started at a tenant in a minute, by all together; 0: any number.",
    ),
    with(
        "limits.failed_callbacks_per_address",
        "120",
        "Callbacks of one address that may fail in a minute before it is refused others; 0: any number.",
    ),
    with("limits.failed_callbacks", "3000", "The same of all addresses together, at a tenant."),
    with(
        "limits.failed_bearers_per_address",
        "600",
        "Bearers of one address that may be no good in a minute before unknown ones are refused; 0: any number.",
    ),
    with(
        "limits.logout_requests_per_address",
        "6000",
        "Logout requests, by back and front channel, that one address may send in a minute; 0: any number.",
    ),
    with(
        "limits.logout_requests",
        "0",
        "The same of all addresses together, at a tenant; any number, or strangers could keep the provider's from us.",
    ),
    none("tls.certificate_file", r#""tls.crt""#, "The certificate chain, PEM; read anew when it changes."),
    none("tls.key_file", r#""tls.key""#, "The certificate's private key, PEM."),
    with("reload.watch", "true", "Whether changed files are taken over as soon as they are written."),
    with("reload.poll", r#""30s""#, "How often files are looked at in any case; 0 for never."),
    with(
        "reload.debounce",
        r#""500ms""#,
        "How long nothing may change before files count as written; under constant change, four times that.",
    ),
    with("audit.sink", r#""none""#, "Where the audit log goes: none, stdout, file or syslog."),
    none("audit.file", r#""/var/log/lychgate/audit.log""#, "The file, where that is `file`; it may be rotated."),
    with(
        "audit.syslog",
        r#""unix:/dev/log""#,
        "The daemon, where that is `syslog`: unix:/dev/log, udp://host:514 or tcp://host:514.",
    ),
    with("audit.subjects", r#""raw""#, "What the audit log says of people: raw (their subject), hashed or omitted."),
    with(
        "audit.on_full",
        r#""drop""#,
        "While it cannot be written: drop (count lost lines, report the gap) or block (requests wait, then fail).",
    ),
    with(
        "health.session_store_failure",
        r#""not_ready""#,
        "What a session store that is down does to /readyz: not_ready, or degraded (nothing).",
    ),
    with("metrics.tenant_label_limit", "200", "Tenants beyond this many share the metric label `_other`."),
];

/// The keys of `lychgate.toml` that a reload takes over. Any other needs a restart.
pub const RELOADABLE: &[&str] = &[
    "tenants",
    "templates",
    "trusted_proxies",
    "metrics_allow",
    "list_tenants",
    "on_invalid_tenant",
    "allow_no_tenants",
    "limits.sign_ins_per_address",
    "limits.sign_ins",
    "limits.failed_callbacks_per_address",
    "limits.failed_callbacks",
    "limits.failed_bearers_per_address",
    "limits.logout_requests_per_address",
    "limits.logout_requests",
];

/// The keys of one local account.
const LOCAL_USER: &[Key] = &[
    none("name", r#""ada""#, "What they sign in with; case makes no difference."),
    none("password_hash", r#""$argon2id$v=19$…""#, "As `lychgate user add` prints it: argon2id or bcrypt."),
    none("email", r#""ada@acme.example""#, "Their e-mail address."),
    none("display_name", r#""Ada Lovelace""#, "What they are called."),
    with("groups", "[]", "The claim `groups`."),
    none("claims", r#"{ department = "treasury" }"#, "Further claims, texts."),
];

/// The keys of a tenant file.
pub(super) const TENANT: &[Key] = &[
    none("domain", r#""acme.eu.auth0.com""#, "The Auth0 tenant's host name. Either this or `issuer`."),
    none("issuer", r#""https://id.acme.example/realms/main""#, "Any OpenID provider's issuer, byte for byte."),
    none("client_id", r#""nI7pQ3…""#, "Who we are at the provider."),
    none("client_secret", r#""${ACME_CLIENT_SECRET}""#, "How we prove it."),
    none("client_secret_file", r#""acme.secret""#, "A file that holds the client secret."),
    none("private_key", r#""${ACME_PRIVATE_KEY}""#, "The key that proves it instead, PEM."),
    none("private_key_file", r#""acme.pem""#, "A file that holds the private key."),
    with("private_key_alg", r#""RS256""#, "What the private key signs with: RS256, PS256 or ES256."),
    none("private_key_id", r#""key-1""#, "The private key's id at the provider."),
    none(
        "client_auth",
        r#""client_secret_basic""#,
        "client_secret_post (if there is a secret), client_secret_basic, private_key_jwt (if there is a key), or none.",
    ),
    with(
        "id_token_signed_response_alg",
        r#""RS256""#,
        "The one algorithm of id tokens: RS256, PS256, ES256, EdDSA or HS256.",
    ),
    with("leeway", r#""60s""#, "By how much the provider's clock and ours may differ."),
    with("id_token_max_age", r#""10m""#, "How old an id token may be when it arrives."),
    with("pushed_authorization_requests", "false", "Whether the authorization request is pushed (RFC 9126)."),
    with("userinfo", "false", "Whether claims of the userinfo endpoint are added."),
    none("ca_file", r#""ca.pem""#, "Certificates, PEM, trusted for the provider besides the system's."),
    none("proxy", r#""http://proxy.internal:3128""#, "The HTTP proxy on the way to the provider."),
    with("timeout", r#""5s""#, "How long one request to the provider may take."),
    with("scopes", r#"["openid", "profile", "email"]"#, "What is asked for; openid is always among it."),
    with("response_mode", r#""query""#, "How the answer comes back: query or form_post."),
    none("audience", r#""https://api.acme.example""#, "The API that access tokens are for."),
    none("connection", r#""google-oauth2""#, "The one connection to sign in with."),
    none("organization", r#""org_abc123""#, "The organization, id or name, that one must belong to."),
    with("organizations", "[]", "Several organizations, any of which one must belong to."),
    none("screen_hint", r#""signup""#, "The page that the provider shows first."),
    none("prompt", r#""login""#, "none, or any of login, consent, select_account."),
    none("login_hint", r#""@acme.example""#, "Whom the provider suggests."),
    none("ui_locales", r#""de en""#, "Languages of the provider's pages, the preferred one first."),
    none("max_age", r#""12h""#, "How long ago the user may have signed in at the provider."),
    none("acr_values", r#""phr""#, "How the user must have signed in at the provider."),
    with(
        "allowed_params",
        r#"["screen_hint", "prompt", "login_hint", "connection", "organization", "invitation", "ui_locales", "max_age", "acr_values"]"#,
        "Parameters that the query of /login may set, where this file does not.",
    ),
    none(
        "login_redirect",
        r#""/dashboard""#,
        "Where a sign-in ends if nobody asked otherwise; our dashboard if unset.",
    ),
    with("return_to_origins", "[]", "Origins a sign-in may return to, such as \"https://*.acme.example\"."),
    none("post_logout_redirect", r#""https://acme.example/""#, "Where a sign-out ends; our own page if unset."),
    with("logout_at_provider", "true", "Whether a sign-out ends the provider's session, too."),
    with("federated_logout", "false", "Whether it also ends the session behind an Auth0 tenant."),
    none("display_name", r#""Acme""#, "The name people know; the file's name if unset."),
    none("logo", r#""https://acme.example/logo.svg""#, "A picture for the pages, https or a path of ours."),
    none("accent_color", r##""#eb5424""##, "The pages' colour."),
    none("support_url", r#""https://acme.example/help""#, "Where people get help, https or mailto."),
    none(
        "local_users_file",
        r#""acme.htpasswd""#,
        "Local accounts: a file of names and hashes, as htpasswd writes it.",
    ),
    with("remember_users", "true", "Whether users seen are remembered."),
    with("default_rule", r#""signed_in""#, "Who passes where no rule matches: signed_in, or deny (nobody)."),
    with("hosts", "[]", "Host names at whose root this tenant stands."),
    with("prefix", r#""""#, "Below which path our routes stand, such as \"/.lychgate\"."),
    with("csrf", "true", "Whether a request to an upstream that changes something must come from our own pages."),
    list("upstreams", UPSTREAM, "Applications behind us."),
    none(
        "cookie_domain",
        r#""acme.example""#,
        "The domain whose hosts all get the session's cookie; only the sign-in's own host if unset.",
    ),
    with("identity.groups_claim", r#""groups""#, "The claim that the groups headers show."),
    with("identity.access_token", "false", "Whether X-Auth-Request-Access-Token has the access token."),
    with(
        "identity.authorization",
        r#""none""#,
        "What Authorization: Bearer has for the application: access_token, id_token or none.",
    ),
    none(
        "identity.headers",
        "",
        "Further claims for the application, each under a header's name: X-Roles = \"roles\".",
    ),
    with("session.idle", r#""1d""#, "Ends a session after this long without a request."),
    with("session.absolute", r#""7d""#, "Ends a session after this long in any case."),
    with("api.audiences", "[]", "APIs, as `aud` names them, whose access tokens count as bearers; empty: none do."),
    with("api.signing_alg", r#""RS256""#, "The one algorithm of those tokens: RS256, PS256, ES256 or EdDSA."),
    with("local.session_idle", r#""15m""#, "The same as session.idle for local accounts."),
    with("local.session_absolute", r#""8h""#, "The same as session.absolute for local accounts."),
    with(
        "tokens.audiences",
        "[]",
        "APIs, besides `audience`, that access tokens are got for by the refresh token; needs the scope offline_access.",
    ),
    with(
        "tokens.endpoint",
        "false",
        "Whether GET /<tenant>/token gives the access token to scripts of our own origin.",
    ),
    with(
        "tokens.end_session_on_refusal",
        "false",
        "Whether a session ends when the provider refuses its refresh token; its tokens end in any case.",
    ),
    none(
        "limits.sign_ins_per_address",
        "600",
        "Replaces limits.sign_ins_per_address of lychgate.toml for this tenant.",
    ),
    none("limits.sign_ins", "6000", "Replaces limits.sign_ins of lychgate.toml for this tenant."),
    none(
        "limits.failed_callbacks_per_address",
        "120",
        "Replaces limits.failed_callbacks_per_address of lychgate.toml for this tenant.",
    ),
    none("limits.failed_callbacks", "3000", "Replaces limits.failed_callbacks of lychgate.toml for this tenant."),
    none(
        "limits.failed_bearers_per_address",
        "600",
        "Replaces limits.failed_bearers_per_address of lychgate.toml for this tenant.",
    ),
    none(
        "limits.logout_requests_per_address",
        "6000",
        "Replaces limits.logout_requests_per_address of lychgate.toml for this tenant.",
    ),
    none("limits.logout_requests", "0", "Replaces limits.logout_requests of lychgate.toml for this tenant."),
    none("access.emails", r#"["ada@acme.example"]"#, "Who may sign in, by verified e-mail address."),
    none(
        "access.email_domains",
        r#"["acme.example", "*.acme.example"]"#,
        "Who may sign in, by domain of the verified e-mail address; with `emails`, either is enough.",
    ),
    inline(
        "access.claims",
        CONDITION,
        r#"[{ claim = "https://acme.example/roles", contains = "staff" }]"#,
        "Conditions on claims, all of which must hold of whoever signs in.",
    ),
    none("endpoints.authorization_endpoint", r#""https://id.acme.example/authorize""#, "Replaces the discovered one."),
    none("endpoints.token_endpoint", r#""https://id.acme.example/token""#, "Replaces the discovered one."),
    none("endpoints.jwks_uri", r#""https://id.acme.example/keys""#, "Replaces the discovered one."),
    none("endpoints.userinfo_endpoint", r#""https://id.acme.example/userinfo""#, "Replaces the discovered one."),
    none("endpoints.end_session_endpoint", r#""https://id.acme.example/logout""#, "Replaces the discovered one."),
    none("endpoints.revocation_endpoint", r#""https://id.acme.example/revoke""#, "Replaces the discovered one."),
    none(
        "endpoints.pushed_authorization_request_endpoint",
        r#""https://id.acme.example/par""#,
        "Replaces the discovered one.",
    ),
    none(
        "extra_authorize_params",
        "",
        "Parameters of any other name that go to the provider as they are: ext-color = \"red\".",
    ),
    list("local_users", LOCAL_USER, "Local accounts: people who sign in here with a name and a password."),
    list("rules", RULE, "Who may do what; the first rule that matches decides."),
];

/// The keys of a rule.
const RULE: &[Key] = &[
    none("name", r#""reports""#, "What explanations call it."),
    none("paths", r#"["/reports", "/reports/**"]"#, "Paths that match; all if left out."),
    none("methods", r#"["GET"]"#, "Methods that match; all if left out. GET is HEAD as well."),
    none("hosts", r#"["app.acme.example", "*.app.acme.example"]"#, "Hosts that match; all if left out."),
    none("networks", r#"["10.0.0.0/8"]"#, "Clients that match; all if left out."),
    none(
        "effect",
        r#""allow""#,
        "public (everybody passes), signed_in, allow (by claims and scopes), deny (nobody), step_up (after a recent or strong sign-in).",
    ),
    inline(
        "claims",
        CONDITION,
        r#"[{ claim = "https://acme.example/roles", contains = "admin" }]"#,
        "With allow: conditions, all of which must hold; as in access.claims.",
    ),
    none("scopes", r#"["read:reports"]"#, "With allow: scopes or permissions, all of which must have been granted."),
    none("max_age", r#""10m""#, "With step_up: how long ago the user may have signed in at the provider."),
    none("acr_values", r#""phr""#, "With step_up: how the user must have signed in there; one of these is enough."),
];

/// The keys of a condition on a claim.
const CONDITION: &[Key] = &[
    none(
        "claim",
        r#""https://acme.example/roles""#,
        "The claim of exactly this name; a list of names leads into nested tables.",
    ),
    none("equals", r#""admin""#, "Holds if the claim is this text, whole number, true or false."),
    none("contains", r#""admin""#, "Holds if the claim is a list with this in it."),
    none("any_of", r#"["admin", "staff"]"#, "Holds if the claim is one of these, or a list with one of these in it."),
    none("all_of", r#"["admin", "staff"]"#, "Holds if the claim is a list with all of these in it."),
    none("present", "true", "Holds if the claim is there, and is neither null, false nor empty."),
];

/// The keys of one of `[[upstreams]]`.
const UPSTREAM: &[Key] = &[
    none("path", r#""/app""#, "The path it stands below; all of `host` if unset."),
    none(
        "host",
        r#""app.acme.example""#,
        "One of `hosts`, the only one it answers on; every place of the tenant if unset.",
    ),
    none("url", r#""http://127.0.0.1:8080""#, "Where it runs: http, https, or \"unix:/run/app.sock\"."),
    none("urls", r#"["http://10.0.0.1:8080", "http://10.0.0.2:8080"]"#, "Several of these, which share the load."),
    with("strip_prefix", "false", "Whether it sees paths without what stands before its own."),
    none("rewrite", r#""/v2""#, "What it sees instead of that."),
    with("connect_timeout", r#""5s""#, "How long a connection to it may take."),
    with("timeout", r#""60s""#, "How long it may do nothing before its answer begins."),
    none("max_body", r#""1GiB""#, "The largest body of a request to it; any if unset."),
    with("preserve_host", "false", "Whether it sees the host that the browser asked for, not its own."),
    none("ca_file", r#""app-ca.pem""#, "Certificates, PEM, trusted for it instead of the system's."),
    with("pass", r#""none""#, "The token it gets as Authorization: Bearer: access_token, id_token, or none."),
    none(
        "audience",
        r#""https://api.acme.example""#,
        "The API that the access token is for; the tenant's `audience` if unset.",
    ),
];

/// The keys that the least tenant file holds; the sample shows them without `#`.
const LEAST: [&str; 3] = ["domain", "client_id", "client_secret"];

/// A tenant file that shows every key, its default, and what it does.
pub fn tenant_sample() -> String {
    let mut text = String::from(
        "# A tenant, every key of it. Copy this file to <id>.toml, where <id> is the name in the URL, or let\n\
         # `lychgate tenant add` write one; `lychgate check` says what is wrong with it, `lychgate urls` what to\n\
         # paste into Auth0. Keys behind a # show their default, or an example where there is none.\n\
         # ${NAME} in any text is the environment variable NAME; files are relative to this one.\n\
         # Durations: \"1d\", \"12h\", \"15m\", \"30s\", \"250ms\", or whole seconds.\n",
    );
    let mut table = "";
    for key in TENANT {
        if !key.items.is_empty() && key.example.is_empty() {
            sample_of_list(key, &mut text);
            continue;
        }
        let section = if key.is_map() { key.path } else { key.table() };
        if section != table {
            table = section;
            write!(text, "\n[{table}]").expect("a String takes everything");
        }
        let aside = if key.default.is_some() || key.is_map() { "" } else { " (no default)" };
        writeln!(text, "\n# {}{aside}", key.help).expect("a String takes everything");
        let hash = if LEAST.contains(&key.path) { "" } else { "# " };
        if !key.is_map() {
            writeln!(text, "{hash}{} = {}", key.name(), key.default.unwrap_or(key.example))
                .expect("a String takes everything");
        }
    }
    text
}

/// A list of tables, all of it behind `#`: an empty table in it would be one that lacks its keys.
fn sample_of_list(list: &Key, text: &mut String) {
    writeln!(text, "\n# {}\n# [[{}]]", list.help, list.path).expect("a String takes everything");
    for key in list.items {
        let value = key.default.unwrap_or(key.example);
        writeln!(text, "# {} = {value}  # {}", key.path, key.help).expect("a String takes everything");
    }
}

/// The keys of `lychgate.toml` as rows of a Markdown table.
pub fn settings_table() -> String {
    table(SETTINGS)
}

/// The keys of a tenant file as rows of a Markdown table.
pub fn tenant_table() -> String {
    table(TENANT)
}

fn table(keys: &[Key]) -> String {
    let mut text = String::from("| key | default | what it does |\n| --- | --- | --- |\n");
    for key in keys {
        row(&mut text, key.path, key);
        for item in key.items {
            row(&mut text, &format!("{}[].{}", key.path, item.path), item);
        }
    }
    text
}

fn row(text: &mut String, path: &str, key: &Key) {
    let default = key.default.map_or_else(|| "–".to_owned(), |default| format!("`{default}`"));
    let help = key.help.replace('<', "&lt;");
    writeln!(text, "| `{path}` | {default} | {help} |").expect("a String takes everything");
}
