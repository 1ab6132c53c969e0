//! The rules of settings files, one fault at a time.

mod identity;
mod policy;

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::secret::ExposeSecret as _;

/// The least good tenant.
const ACME: &str = "domain = \"acme.eu.auth0.com\"\nclient_id = \"abc\"\nclient_secret = \"hush-hush\"\n";

struct Folder(tempfile::TempDir);

impl Folder {
    /// A folder with these files.
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn sources(&self) -> Sources {
        Sources { directory: self.path().to_owned(), ..Sources::default() }
    }

    #[track_caller]
    fn good(&self) -> Settings {
        load(&self.sources()).map_or_else(|faults| panic!("{faults}"), |loaded| loaded.settings)
    }

    fn faults(&self) -> Vec<Fault> {
        load(&self.sources()).map_or_else(|faults| faults.0, |loaded| loaded.skipped.0)
    }
}

/// A tenant file is refused with one fault of this key, whose text holds these words.
#[track_caller]
fn refused(tenant: &str, key: &str, words: &str) {
    let faults = Folder::with(&[("tenants/acme.toml", tenant)]).faults();
    let said: Vec<String> = faults.iter().map(Fault::to_string).collect();
    assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), [key], "{tenant}: {said:?}");
    assert!(said[0].contains(words) && said[0].contains("acme.toml"), "{tenant}: {said:?}");
    assert!(!said[0].contains("hush-hush"), "a secret is never repeated: {said:?}");
}

#[test]
fn an_empty_folder_is_enough() {
    let settings = Folder::with(&[]).good();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:3000");
    assert!(settings.tenants.is_empty() && settings.public_url.is_none());
}

#[test]
fn the_least_tenant_is_an_auth0_tenant_with_the_defaults() {
    let tenant = Folder::with(&[("tenants/acme.toml", ACME)]).good().tenants.remove(0);
    assert_eq!(tenant.id.as_str(), "acme");
    assert_eq!(tenant.provider.issuer, "https://acme.eu.auth0.com/");
    assert!(tenant.provider.auth0 && tenant.remember_users && tenant.sign_out.at_provider);
    assert_eq!(tenant.sign_in.scopes, ["openid", "profile", "email"]);
    assert_eq!((tenant.session.idle.as_secs(), tenant.session.absolute.as_secs()), (86_400, 7 * 86_400));
    assert_eq!(tenant.provider.leeway, 60);
}

#[test]
fn a_tenant_s_limits_go_before_those_of_all_and_zero_is_none() {
    let tenant = format!("{ACME}[limits]\nsign_ins = 7\nfailed_callbacks = 0\n");
    let settings = Folder::with(&[
        ("lychgate.toml", "[limits]\nsign_ins = 70\nsign_ins_per_address = 0\n"),
        ("tenants/acme.toml", &tenant),
    ])
    .good();
    let most = |limit| settings.limits.most(&settings.tenants[0].limits, limit).map(std::num::NonZeroU32::get);
    assert_eq!(most(Limit::SignIns), Some(7));
    assert_eq!(most(Limit::FailedCallbacks), None);
    assert_eq!(most(Limit::SignInsPerAddress), None);
    assert_eq!(most(Limit::FailedBearersPerAddress), Some(600), "the default");
    refused(&format!("{ACME}[limits]\nsign_ins = -1\n"), "limits.sign_ins", "whole number");
    refused(&format!("{ACME}[limits]\nsign_ins = 100001\n"), "limits.sign_ins", "from 0 to 100000");
}

#[test]
fn tenants_are_written_in_three_formats() {
    let yaml = "issuer: https://id.example/realm\nclient_id: abc\nclient_secret: x1\n";
    let json = r#"{"domain": "c.eu.auth0.com", "client_id": "abc", "client_secret": "x2"}"#;
    let folder = Folder::with(&[
        ("tenants/a.toml", ACME),
        ("tenants/b.yaml", yaml),
        ("tenants/c.json", json),
        ("tenants/notes.md", "no tenant"),
    ]);
    let settings = folder.good();
    let ids: Vec<&str> = settings.tenants.iter().map(|tenant| tenant.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert!(!settings.tenants[1].provider.auth0);
}

#[test]
fn a_layer_wins_over_those_before_it() {
    let folder =
        Folder::with(&[("lychgate.toml", "listen = \"127.0.0.1:1\"\ndata = \"one\"\n[log]\nlevel = \"warn\"\n")]);
    let mut sources = folder.sources();
    let settings = |sources: &Sources| load(sources).unwrap().settings;
    assert_eq!(settings(&sources).listen.port(), 1);
    sources.environment.insert("LYCHGATE_LISTEN".into(), "127.0.0.1:2".into());
    sources.environment.insert("LYCHGATE_LOG__LEVEL".into(), "error".into());
    assert_eq!((settings(&sources).listen.port(), settings(&sources).log.level), (2, "error".to_owned()));
    sources.flags.push(("listen", "127.0.0.1:3".into()));
    assert_eq!((settings(&sources).listen.port(), settings(&sources).data_dir), (3, folder.path().join("one")));
}

#[test]
fn secrets_come_inline_from_files_and_from_the_environment() {
    let by_file = ACME.replace("client_secret = \"hush-hush\"", "client_secret_file = \"acme.secret\"");
    let by_variable = ACME.replace("hush-hush", "${ACME_SECRET}");
    let folder = Folder::with(&[
        ("tenants/a.toml", ACME),
        ("tenants/b.toml", &by_file.replace("acme.eu", "b.eu")),
        ("tenants/c.toml", &by_variable.replace("acme.eu", "c.eu")),
        ("tenants/acme.secret", "from the file\n"),
    ]);
    let mut sources = folder.sources();
    sources.environment.insert("ACME_SECRET".into(), "from-the-environment".into());
    let tenants = load(&sources).unwrap().settings.tenants;
    let secret = |index: usize| match &tenants[index].provider.client_auth {
        ClientAuth::SecretPost(secret) => secret.expose_secret().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!([secret(0), secret(1), secret(2)], ["hush-hush", "from the file", "from-the-environment"]);
    assert!(!format!("{tenants:?}").contains("hush-hush"));
}

#[test]
fn each_mistake_is_said_with_its_key_and_what_is_allowed() {
    let with = |line: &str| format!("{ACME}{line}\n");
    refused(&with("clientid = \"x\""), "clientid", "did you mean client_id?");
    refused(&with("[sesion]\nidle = \"1d\""), "sesion", "did you mean session?");
    refused(&with("[session]\nidel = \"1d\""), "session.idel", "did you mean idle?");
    refused(&with("userinfo = \"yes\""), "userinfo", "must be true or false");
    refused(&with("scopes = \"openid\""), "scopes", "must be a list");
    refused(&with("leeway = \"soon\""), "leeway", "is not a duration");
    refused(&with("issuer = \"https://id.example\""), "issuer", "both given");
    refused(&ACME.replace("acme.eu", "https://acme.eu"), "domain", "has a scheme");
    refused(&ACME.replace("auth0.com", "auth0.com/x"), "domain", "has a path");
    refused("client_id = \"a\"\nclient_secret = \"hush-hush\"\n", "domain", "is missing");
    refused(
        "issuer = \"http://id.example\"\nclient_id = \"a\"\nclient_secret = \"hush-hush\"\n",
        "issuer",
        "only https is safe",
    );
    refused("domain = \"a.auth0.com\"\nclient_secret = \"hush-hush\"\n", "client_id", "is missing");
    refused("domain = \"a.auth0.com\"\nclient_id = \"a\"\n", "client_secret", "is missing");
    refused(
        "domain = \"a.auth0.com\"\nclient_id = \"a\"\nclient_secret_file = \"nowhere\"\n",
        "client_secret_file",
        "cannot be read",
    );
    refused(&ACME.replace("hush-hush", "${NOT_SET}"), "client_secret", "NOT_SET, which is not set");
    refused(&ACME.replace("hush-hush", ""), "client_secret", "is empty");
    refused(&with("client_auth = \"none\""), "client_auth", "there is a secret");
    refused(&with("client_auth = \"private_key_jwt\""), "private_key", "is missing");
    refused(
        &with("id_token_signed_response_alg = \"none\""),
        "id_token_signed_response_alg",
        "allowed: RS256, PS256, ES256, EdDSA, HS256",
    );
    refused(&with("response_mode = \"fragment\""), "response_mode", "allowed: query, form_post");
    refused(&with("prompt = \"none login\""), "prompt", "is not known");
    refused(&with("organization = \"a\"\norganizations = [\"b\"]"), "organization", "is not among organizations");
    refused(&with("return_to_origins = [\"https://*.com\"]"), "return_to_origins[0]", "`*`");
    refused(&with("allowed_params = [\"redirect_uri\"]"), "allowed_params[0]", "not a parameter");
    refused(&with("[extra_authorize_params]\nstate = \"x\""), "extra_authorize_params.state", "makes itself");
    // A request might set these otherwise: as keys of their own they bind it.
    for name in ["acr_values", "organization", "prompt", "max_age"] {
        let key = format!("extra_authorize_params.{name}");
        refused(&with(&format!("[extra_authorize_params]\n{name} = \"1\"")), &key, "set the key of this name");
    }
    refused(&with("[extra_authorize_params]\ninvitation = \"x\""), "extra_authorize_params.invitation", "leave it out");
    refused(&with("post_logout_redirect = \"http://acme.example\""), "post_logout_redirect", "only https is safe");
    refused(&with("accent_color = \"red\""), "accent_color", "is not a colour");
    refused(&with("logo = \"http://acme.example/logo.svg\""), "logo", "https");
    refused(&with("support_url = \"javascript:alert(1)\""), "support_url", "https");
    refused(&with("hosts = [\"https://a.example\"]"), "hosts[0]", "is not a host name");
    refused(&with("[session]\nidle = \"8d\""), "session.idle", "is longer than session.absolute");
    refused(&with("timeout = \"0s\""), "timeout", "must be from");
    refused(&with("[tokens]\naudiences = [\"https://api.two\"]"), "tokens.audiences", "add \"offline_access\"");
    let key = "tokens.end_session_on_refusal";
    refused(&with("[tokens]\nend_session_on_refusal = true"), key, "add \"offline_access\"");
    let offline = with("scopes = [\"offline_access\"]\n[tokens]\naudiences = [\"two\", \"a b\"]");
    refused(&offline, "tokens.audiences[1]", "has a space");
    let elsewhere =
        offline.replace(", \"a b\"", "").replace("domain = \"acme.eu.auth0.com\"", "issuer = \"https://id.example\"");
    refused(&elsewhere, "tokens.audiences[0]", "RFC 8707");
    refused(
        "issuer = \"https://id.example\"\nclient_id = \"a\"\nclient_secret = \"hush-hush\"\nfederated_logout = true\n",
        "federated_logout",
        "Auth0 tenants only",
    );
}

#[test]
fn apis_and_limits_of_local_sessions_are_read_and_checked() {
    let with = |lines: &str| format!("{ACME}{lines}\n");
    let lines = "csrf = false\n[api]\naudiences = [\"https://api\"]\nsigning_alg = \"ES256\"\n\
                 [local]\nsession_idle = \"5m\"\nsession_absolute = \"1h\"";
    let tenant = Folder::with(&[("tenants/a.toml", &with(lines))]).good().tenants.remove(0);
    assert_eq!((tenant.csrf, tenant.api.audiences.as_slice()), (false, &["https://api".to_owned()][..]));
    assert_eq!(tenant.api.signing_alg, SigningAlg::Es256);
    let minutes = |limit: Duration| limit.as_secs() / 60;
    assert_eq!((minutes(tenant.session.local_idle), minutes(tenant.session.local_absolute)), (5, 60));
    refused(&with("[api]\nsigning_alg = \"HS256\""), "api.signing_alg", "is not known");
    refused(&with("[api]\naudiences = [\"abc\"]"), "api.audiences", "holds client_id");
    refused(&with("[local]\nsession_idle = \"2h\"\nsession_absolute = \"1h\""), "local.session_idle", "longer than");
    refused(&with("csrf = \"off\""), "csrf", "must be true or false");

    let of = |client: &str, api: &str| {
        format!("{}[api]\naudiences = [\"{api}\"]\n", ACME.replace("\"abc\"", &format!("\"{client}\"")))
    };
    let both =
        |api: &str| Folder::with(&[("tenants/a.toml", &of("a", "https://a")), ("tenants/b.toml", &of("b", api))]);
    assert_eq!(both("https://b").good().tenants.len(), 2);
    let faults = both("https://a").faults();
    assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), ["api.audiences"], "{faults:?}");
}

#[test]
fn a_file_with_ten_faults_reports_ten() {
    let text = "domain = \"https://a.auth0.com\"\nclientid = \"a\"\nleeway = \"x\"\nuserinfo = 1\nscopes = 2\n\
                accent_color = \"x\"\nlogo = \"x\"\nprompt = \"x\"\nhosts = [\"*\"]\n";
    let faults = Folder::with(&[("tenants/acme.toml", text)]).faults();
    // client_id and client_secret are missing besides.
    assert_eq!(faults.len(), 11, "{}", Faults(faults.clone()));
}

#[test]
fn a_mistake_in_a_variable_or_a_flag_is_said_as_it_is_spelled_there() {
    let folder = Folder::with(&[]);
    let mut sources = folder.sources();
    for (name, value) in [("LISTN", "x"), ("LOG__LEVL", "info"), ("LOG__FORMAT", "xml"), ("LIST_TENANTS", "maybe")] {
        sources.environment.insert(format!("LYCHGATE_{name}"), value.to_owned());
    }
    sources.flags.push(("admin_listen", "nowhere".to_owned()));
    let said = load(&sources).unwrap_err().to_string();
    for words in [
        "environment: LYCHGATE_LISTN: unknown key; did you mean listen?",
        "environment: LYCHGATE_LOG__LEVL: unknown key; did you mean level?",
        "environment: LYCHGATE_LOG__FORMAT: is not known; allowed: auto, text, json",
        "environment: LYCHGATE_LIST_TENANTS: must be true or false",
        "command line: --admin-listen: is not an address",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn faults_of_all_files_come_at_once() {
    let folder = Folder::with(&[
        ("lychgate.toml", "lisen = 1\n"),
        ("tenants/a.toml", "x = 1\n"),
        ("tenants/metrics.toml", ACME),
        ("tenants/Bad_Name.toml", ACME),
        ("tenants/broken.toml", "= ="),
    ]);
    let said = Faults(folder.faults()).to_string();
    for words in [
        "lychgate.toml: lisen: unknown key; did you mean listen?",
        "a.toml: x: unknown key",
        "metrics.toml: the file's name is reserved",
        "Bad_Name.toml: the file's name is not a tenant id",
        "broken.toml: is not TOML",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn tenants_that_clash_are_refused() {
    let host = format!("{ACME}hosts = [\"login.acme.example\"]\n");
    let other = host.replace("acme.eu", "other.eu");
    let said = Faults(Folder::with(&[("tenants/a.toml", &host), ("tenants/b.toml", &other)]).faults()).to_string();
    assert!(said.contains("b.toml: hosts: login.acme.example is also a host of"), "{said}");

    let said = Faults(Folder::with(&[("tenants/a.toml", ACME), ("tenants/b.toml", ACME)]).faults()).to_string();
    assert!(said.contains("b.toml: organization: issuer and client_id are also those of"), "{said}");
    let of = |organization: &str| format!("{ACME}organization = \"{organization}\"\n");
    assert_eq!(Folder::with(&[("tenants/a.toml", &of("org_1")), ("tenants/b.toml", &of("org_1"))]).faults().len(), 1);
    assert_eq!(Folder::with(&[("tenants/a.toml", &of("org_1")), ("tenants/b.toml", ACME)]).faults().len(), 1);
    assert_eq!(Folder::with(&[("tenants/a.toml", &of("one")), ("tenants/b.toml", &of("One"))]).faults().len(), 1);
    assert_eq!(
        Folder::with(&[("tenants/a.toml", &of("org_1")), ("tenants/b.toml", &of("org_2"))]).good().tenants.len(),
        2
    );

    let said = Faults(Folder::with(&[("tenants/a.toml", ACME), ("tenants/a.json", "{}")]).faults()).to_string();
    assert!(said.contains("is a second file of the tenant a"), "{said}");
}

#[test]
fn beyond_loopback_our_own_url_must_be_known() {
    let folder = |settings: &str| Folder::with(&[("lychgate.toml", settings), ("tenants/a.toml", ACME)]);
    let said = Faults(folder("listen = \"0.0.0.0:3000\"\n").faults()).to_string();
    assert!(said.contains("hosts: is missing") && said.contains("public_url"), "{said}");
    folder("listen = \"0.0.0.0:3000\"\npublic_url = \"https://login.example.com\"\n").good();
    let said = Faults(folder("public_url = \"http://login.example.com\"\n").faults()).to_string();
    assert!(said.contains("public_url: is http"), "{said}");
}

#[test]
fn where_settings_say_so_a_bad_tenant_is_left_out_and_said() {
    let folder = Folder::with(&[
        ("lychgate.toml", "on_invalid_tenant = \"skip\"\n"),
        ("tenants/a.toml", ACME),
        ("tenants/b.toml", "x = 1\n"),
    ]);
    let loaded = load(&folder.sources()).unwrap();
    assert_eq!(loaded.settings.tenants.len(), 1);
    assert!(!loaded.skipped.0.is_empty());
}

#[test]
fn three_variables_make_one_tenant_called_default() {
    let folder = Folder::with(&[]);
    let mut sources = folder.sources();
    sources.environment.insert("AUTH0_DOMAIN".into(), "acme.eu.auth0.com".into());
    let said = load(&sources).unwrap_err().to_string();
    assert!(said.contains("AUTH0_CLIENT_ID: is not set") && said.contains("AUTH0_CLIENT_SECRET: is not set"), "{said}");
    sources.environment.insert("AUTH0_CLIENT_ID".into(), "abc".into());
    sources.environment.insert("AUTH0_CLIENT_SECRET".into(), "hush".into());
    let tenants = load(&sources).unwrap().settings.tenants;
    assert_eq!((tenants.len(), tenants[0].id.as_str()), (1, "default"));
}

#[test]
fn a_settings_file_that_was_named_must_be_there() {
    let folder = Folder::with(&[]);
    let sources = Sources { config: Some("other.toml".into()), ..folder.sources() };
    let said = load(&sources).unwrap_err().to_string();
    assert!(said.contains("other.toml: cannot be read"), "{said}");
}

#[test]
fn every_key_of_the_tables_is_read() {
    let sources = Sources::default();
    let mut reader = reader::Reader::new(&sources, keys::SETTINGS, layers::Origin::Defaults, &[]);
    read::read_settings(&mut reader);
    assert_eq!(reader.never_asked(), Vec::<&str>::new());
    let lists = r#"{"access": {"claims": [{}]}, "rules": [{"claims": [{}]}]}"#;
    let folder = Folder::with(&[("lists.json", lists)]);
    let layer =
        layers::Layer::file(Path::new("lists.json"), &fs::read(folder.path().join("lists.json")).unwrap()).unwrap();
    let mut reader = reader::Reader::new(&sources, keys::TENANT, layers::Origin::Defaults, &[layer]);
    read_tenant::tenant(&mut reader, "acme".parse().unwrap(), None);
    assert_eq!(reader.never_asked(), Vec::<&str>::new());
    assert_eq!(reader.never_asked_in_lists.len(), 0, "{:?}", reader.never_asked_in_lists);
}

#[test]
fn the_sample_is_good() {
    let written = tenant_sample();
    let folder = Folder::with(&[("tenants/acme.toml", &written)]);
    let mut sources = folder.sources();
    sources.environment.insert("ACME_CLIENT_SECRET".into(), "hush".into());
    assert_eq!(load(&sources).unwrap().settings.tenants.len(), 1);
    for key in keys::TENANT {
        assert!(written.contains(key.name()), "{}", key.path);
    }
}

#[test]
fn redis_is_one_server_a_cluster_or_what_sentinels_say() {
    let sessions = |text: &str| {
        Folder::with(&[("lychgate.toml", &format!("[sessions]\nstore = \"redis\"\n{text}"))]).good().sessions
    };
    let redis = |text: &str| match sessions(text).store {
        StoreKind::Redis(redis) => *redis,
        StoreKind::Embedded => panic!("{text}"),
    };
    let one = redis("redis_url = \"redis://:hush@[::1]/2\"\nredis_username = \"gate\"");
    assert!(matches!(&one.servers, RedisServers::Single(node, 2) if node.host == "::1" && node.port == 6379));
    assert_eq!((one.username.as_deref(), one.prefix.as_str()), (Some("gate"), "lychgate:"));
    assert!(one.tls.is_none() && one.timeout.as_secs() == 2);
    assert!(!format!("{one:?}").contains("hush"), "{one:?}");
    let many = redis(
        "redis_cluster = [\"rediss://a\", \"rediss://b:7000\"]\nredis_prefix = \"x.\"\nredis_timeout = \"250ms\"",
    );
    assert!(matches!(&many.servers, RedisServers::Cluster(nodes) if nodes[1].port == 7000) && many.tls.is_some());
    let watched = redis(
        "redis_sentinels = [\"redis://a\"]\nredis_master = \"m\"\nredis_password = \"hush\"\nredis_sentinel_password = \"shh!\"",
    );
    let RedisServers::Sentinel { nodes, master, password, .. } = &watched.servers else { panic!("{watched:?}") };
    assert_eq!((nodes[0].port, master.as_str(), password.is_some()), (26379, "m", true));
    assert!(!format!("{watched:?}").contains("hush") && !format!("{watched:?}").contains("shh!"), "{watched:?}");
}

#[test]
fn several_replicas_share_a_store_and_a_root_secret() {
    let key = crate::key_ring::RingKey::generate().to_text().expose_secret().to_owned();
    let faults = |settings: &str| {
        let folder = Folder::with(&[("lychgate.toml", settings), ("secret.key", &key)]);
        folder.faults().into_iter().map(|fault| format!("{}: {}", fault.key, fault.reason)).collect::<Vec<_>>()
    };
    let embedded =
        "sessions.store: is embedded, but there are 3 replicas: each would keep sessions that the others do not know";
    let unshared = "secret_file: is missing, and each of the 3 replicas would make a root secret of its own";
    let redis = "[sessions]\nstore = \"redis\"\nredis_url = \"redis://a\"";
    assert_eq!(faults("replicas = 3"), [unshared, embedded], "both at once");
    assert_eq!(faults("replicas = 3\nsecret_file = \"secret.key\""), [embedded]);
    assert_eq!(faults(&format!("replicas = 3\n{redis}")), [unshared]);
    assert_eq!(faults("replicas = 3\nsecret_file = \"secret.key\"\n[sessions]\nstore = \"redis\"").len(), 1);
    assert_eq!(faults(&format!("replicas = 3\nsecret = \"{key}\"\n{redis}")), [""; 0]);
    assert_eq!(faults(&format!("replicas = 3\nsecret_file = \"secret.key\"\n{redis}")), [""; 0]);
    assert_eq!(faults("replicas = 1"), [""; 0]);
    assert!(faults("replicas = 0")[0].starts_with("replicas: "), "{:?}", faults("replicas = 0"));
}

#[test]
fn what_is_said_of_redis_in_two_ways_or_by_half_is_a_fault() {
    let faults = |text: &str| {
        let folder = Folder::with(&[("lychgate.toml", &format!("[sessions]\n{text}")), ("ca.pem", "x")]);
        folder.faults().into_iter().map(|fault| format!("{}: {}", fault.key, fault.reason)).collect::<Vec<_>>()
    };
    let redis = |text: &str| faults(&format!("store = \"redis\"\n{text}"));
    assert_eq!(redis(""), ["sessions.redis_url: is missing"]);
    assert_eq!(faults("redis_url = \"redis://a\""), ["sessions.redis_url: is given, but sessions.store is embedded"]);
    assert_eq!(
        redis("redis_url = \"redis://a\"\nredis_cluster = [\"redis://a\"]"),
        ["sessions.redis_cluster: and sessions.redis_url are both given"]
    );
    assert_eq!(redis("redis_sentinels = [\"redis://a\"]"), ["sessions.redis_master: is missing"]);
    assert_eq!(
        redis("redis_url = \"redis://a\"\nredis_master = \"m\""),
        ["sessions.redis_master: is given, but no redis_sentinels"]
    );
    assert_eq!(redis("redis_cluster = []"), ["sessions.redis_cluster: names no server that can be used"]);
    assert_eq!(
        redis("redis_cluster = [\"redis://a\", \"rediss://b\"]"),
        ["sessions.redis_cluster: mixes redis:// and rediss://"]
    );
    assert_eq!(
        redis("redis_url = \"redis://a\"\nredis_ca_file = \"ca.pem\""),
        ["sessions.redis_url: is without TLS, but files for TLS are given"]
    );
    assert_eq!(
        redis("redis_url = \"rediss://a\"\nredis_certificate_file = \"ca.pem\""),
        ["sessions.redis_key_file: is missing"]
    );
    assert_eq!(
        redis("redis_url = \"rediss://:hush@a\"\nredis_password = \"hush\""),
        ["sessions.redis_password: and a password in redis_url are both given"]
    );
    let said = redis("redis_url = \"hush\"\nredis_prefix = \"{}\"\nredis_timeout = \"1ms\"");
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(!said.iter().any(|fault| fault.contains("hush")), "{said:?}");
}

#[test]
fn of_a_key_that_swallowed_a_value_no_more_is_shown_than_looks_like_a_key() {
    let folder = Folder::with(&[("tenants/a.yaml", "'client_secret{hush-hush': x\n")]);
    let said = Faults(folder.faults()).to_string();
    assert!(said.contains("a.yaml: client_secret…: unknown key") && !said.contains("hush"), "{said}");
}
