//! `lychgate doctor` as an operator runs it, against providers and servers that have each fault that it looks for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use lychgate::clock::Clock;
use lychgate::demo::{Client, Endpoint, Fault, Provider, ProviderSpec, Trouble};
use lychgate::secret::ExposeSecret as _;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

/// A folder with a tenant `acme`, and a provider that it fits.
struct World {
    folder: tempfile::TempDir,
    provider: Provider,
    clock: Clock,
    secret: String,
}

/// What was found.
#[derive(Debug)]
struct Report {
    code: i32,
    document: Value,
}

impl Report {
    /// Level, message and advice of all findings of a check.
    #[track_caller]
    fn of(&self, check: &str) -> Vec<(&str, &str, &str)> {
        let all = self.document["findings"].as_array().unwrap().iter();
        let found: Vec<_> = all.filter(|finding| finding["check"] == check).collect();
        assert!(!found.is_empty(), "nothing about {check}: {}", self.document);
        found
            .into_iter()
            .map(|finding| {
                let text = |name: &str| finding[name].as_str().unwrap_or_default();
                (text("level"), text("message"), text("advice"))
            })
            .collect()
    }

    /// That the first finding of a check is of this level, and its message and advice hold these words.
    #[track_caller]
    fn says(&self, check: &str, level: &str, message: &str, advice: &str) {
        let found = self.of(check)[0];
        assert!(found.0 == level && found.1.contains(message) && found.2.contains(advice), "{found:?}");
        assert_eq!(self.code, i32::from(self.document["errors"] != 0), "{}", self.document);
        assert_eq!(level == "ok", found.2.is_empty(), "advice where something is to be done: {found:?}");
    }
}

impl World {
    async fn new() -> Self {
        let clock = Clock::system();
        let client = Client::new("acme-client");
        let secret = client.secret.as_ref().unwrap().expose_secret().to_owned();
        let spec = ProviderSpec { clients: vec![client], ..ProviderSpec::new("acme") };
        let provider = Provider::start(spec, (Ipv4Addr::LOCALHOST, 0).into(), clock.clone()).await.unwrap();
        let world = Self { folder: tempfile::tempdir().unwrap(), provider, clock, secret };
        world.tenant(world.provider.issuer(), "");
        world
    }

    /// Writes the tenant's file.
    fn tenant(&self, issuer: &str, more: &str) {
        let secret = &self.secret;
        let text = format!("issuer = \"{issuer}\"\nclient_id = \"acme-client\"\nclient_secret = \"{secret}\"\n{more}");
        self.write("tenants/acme.toml", &text);
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        command
    }

    async fn doctor(&self, arguments: &[&str]) -> Report {
        let arguments = [&["doctor", "--json"], arguments].concat();
        let mut command = self.command(&arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(!out.contains(&self.secret), "{out}");
        let document = serde_json::from_str(&out);
        let document = document.unwrap_or_else(|_| panic!("{out}{}", String::from_utf8_lossy(&output.stderr)));
        Report { code: output.status.code().unwrap(), document }
    }
}

/// A gateway with a world's settings, and where it listens.
struct Serving(Child, String);

impl Serving {
    fn start(world: &World) -> Self {
        let mut command = world.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            (line["message"] == "listening").then(|| line["address"].as_str().unwrap().to_owned())
        });
        std::thread::spawn(move || lines.for_each(drop));
        Self(child, address.unwrap())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Serves a discovery document by https, with a certificate for `name` that is good until `year`; gives the issuer and
/// the certificate.
async fn https(name: &str, year: i32, document: impl FnOnce(&str) -> Value) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let issuer = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let body = document(&issuer).to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let mut stream = tokio::io::BufReader::new(stream);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
            }
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
            stream.shutdown().await.ok();
        }
    });
    (issuer, certificate.pem())
}

fn document(issuer: &str) -> Value {
    let url = |path: &str| format!("{issuer}{path}");
    json!({
        "issuer": issuer,
        "authorization_endpoint": url("/authorize"),
        "token_endpoint": url("/token"),
        "jwks_uri": url("/jwks"),
        "end_session_endpoint": "http://id.example/logout",
        "keys": [{ "kty": "RSA", "kid": "small", "n": "AQAB", "e": "AQAB" }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_without_a_fault_is_found_well_while_its_gateway_runs() {
    let world = World::new().await;
    let serving = Serving::start(&world);
    let report = world.doctor(&["acme", "--listen", &serving.1]).await;
    for (check, message) in [
        ("dns", "127.0.0.1"),
        ("clock", "both clocks agree"),
        ("discovery", "issuer as configured"),
        ("keys", "RSA 2048"),
        ("client", "takes acme-client"),
        ("callback", "leads to us"),
        ("data folder", "can be written"),
        ("root secret", "is active"),
        ("proxies", "127.0.0.0/8"),
    ] {
        // A second may begin between the two clocks.
        let message = if check == "clock" && report.of(check)[0].1.contains("1 s") { "1 s" } else { message };
        report.says(check, "ok", message, "");
    }
    assert_eq!(report.of("callback").len(), 2, "by both names of the loopback");
    report.says("tls", "warning", "not encrypted", "on this machine");
    assert_eq!((report.code, &report.document["errors"]), (0, &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_is_told_to_people_with_advice() {
    let world = World::new().await;
    world.provider.order(Fault::InvalidClient);
    let mut command = world.command(&["doctor"]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.starts_with("this machine\n  ok       settings      good, 1 tenants\n"), "{out}");
    assert!(out.contains("\n  error    client        the provider refused the client"), "{out}");
    assert!(out.contains("→ copy client_id and client secret from the provider anew"), "{out}");
    assert!(out.contains("\n1 errors, "), "{out}");
    assert!(!out.contains(&world.secret));
    let unknown = world.command(&["doctor", "nobody"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_is_told_by_the_providers_date() {
    let world = World::new().await;
    for (seconds, level, message, advice) in [
        (-3600, "error", "s ahead of the provider's: more than `leeway`", "chrony"),
        (3630, "warning", "s behind the provider's; up to `leeway`", "chrony"),
        (3600, "error", "s behind the provider's: more than `leeway`", "chrony"),
    ] {
        world.clock.advance(seconds);
        world.doctor(&[]).await.says("clock", level, message, advice);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_issuer_secret_or_host_is_told_apart() {
    let world = World::new().await;
    world.provider.order(Fault::WrongDiscoveryIssuer);
    world.doctor(&[]).await.says("discovery", "error", "https://other.example/", "equal to the letter");
    world.provider.clear();

    let secret = world.secret.replace(|c: char| c.is_ascii_alphanumeric(), "x");
    let file = world.folder.path().join("tenants/acme.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace(&world.secret, &secret)).unwrap();
    world.doctor(&[]).await.says("client", "error", "refused the client", "client secret");

    world.tenant("https://no-such-host.invalid/", "");
    world.doctor(&[]).await.says("dns", "error", "no-such-host.invalid", "spelling");
    world.tenant("http://127.0.0.1:1/", "");
    world.doctor(&[]).await.says("connection", "error", "cannot be reached", "NetworkPolicy");
    world.tenant(&format!("{}realms/none", world.provider.issuer()), "");
    world.doctor(&[]).await.says("discovery", "error", "404", "Is the issuer right");

    world.tenant(world.provider.issuer(), "");
    world.provider.order(Fault::At(Endpoint::Discovery, Trouble::Status429));
    world.doctor(&[]).await.says("discovery", "error", "limits how often", "try again later");
    world.provider.clear();
    world.provider.order(Fault::At(Endpoint::Token, Trouble::Status500));
    world.doctor(&[]).await.says("client", "warning", "could not be tried", "try again later");
    world.provider.clear();
    world.tenant(world.provider.issuer(), "id_token_signed_response_alg = \"ES256\"\n");
    world.doctor(&[]).await.says("discovery", "error", "id_token_signing_alg_values_supported", "ES256");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_can_trust_is_told_with_the_reason() {
    let world = World::new().await;
    let (issuer, _) = https("localhost", 2999, document).await;
    world.tenant(&issuer, "");
    world.doctor(&[]).await.says("tls", "error", "cannot be reached", "`ca_file` in the tenant's file");
    for (name, year, advice) in [("localhost", 2020, "is over"), ("other.example", 2999, "for another name")] {
        let (issuer, certificate) = https(name, year, document).await;
        world.write("tenants/ca.pem", &certificate);
        world.tenant(&issuer, "ca_file = \"ca.pem\"\n");
        world.doctor(&[]).await.says("tls", "error", "certificate", advice);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trusted_provider_publishes_is_looked_at() {
    let world = World::new().await;
    let (issuer, certificate) = https("localhost", 2999, document).await;
    world.write("tenants/ca.pem", &certificate);
    world.tenant(&issuer, "ca_file = \"ca.pem\"\n");
    let report = world.doctor(&[]).await;
    report.says("tls", "ok", "trusted, and good until 2999-01-01", "");
    report.says("keys", "error", "none of 1 keys verifies RS256: small (RSA 17)", "below 2048 bits");
    report.says("clock", "warning", "does not tell the time", "time service");
    assert_eq!(report.of("discovery")[1].0, "warning");
    assert!(report.of("discovery")[1].1.contains("end_session_endpoint is http://id.example/logout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_leads_elsewhere_or_nowhere_is_told_apart() {
    let world = World::new().await;
    world.doctor(&["--listen", "127.0.0.1:1"]).await.says(
        "callback",
        "warning",
        "http://localhost:1/acme/callback",
        "does lychgate run?",
    );
    let elsewhere = format!("http://{}", world.provider.address());
    world.doctor(&["--public-url", &elsewhere]).await.says(
        "callback",
        "error",
        "something else answers 404",
        "leads elsewhere",
    );
    let unknown = ["--public-url", "https://login.no-such-host.invalid"];
    world.doctor(&unknown).await.says("callback", "warning", "login.no-such-host.invalid", "nobody can know from here");

    // The gateway knows itself by another name than the proxy in front of it passes on.
    let serving = Serving::start(&world);
    let address: SocketAddr = serving.1.parse().unwrap();
    let front = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let public = format!("http://{}", front.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = front.accept().await {
            let mut client = tokio::io::BufReader::new(client);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                client.read_line(&mut line).await.unwrap();
            }
            let mut gateway = tokio::net::TcpStream::connect(address).await.unwrap();
            let asked = "GET /acme/callback HTTP/1.1\r\nHost: internal.example\r\nAccept: application/json\r\n";
            gateway.write_all(format!("{asked}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
            tokio::io::copy(&mut gateway, &mut client).await.unwrap();
        }
    });
    world.doctor(&["--public-url", &public]).await.says("callback", "error", "not ours", "X-Forwarded-Host");

    // Another tenant's file was added, and the gateway does not know yet.
    let acme = fs::read_to_string(world.folder.path().join("tenants/acme.toml")).unwrap();
    world.write("tenants/globex.toml", &acme.replace("acme-client", "globex-client"));
    world.doctor(&["globex", "--listen", &serving.1]).await.says(
        "callback",
        "error",
        "does not know this tenant",
        "reload",
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn files_that_others_may_read_and_proxies_that_are_everybody_are_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let path = world.folder.path().join("tenants/acme.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let report = world.doctor(&[]).await;
    report.says("secrets", "warning", "acme.toml has mode 644", "chmod o=");
    report.says("root secret", "warning", "secret.key is not there", "keep a copy");
    report.says("data folder", "ok", "is not there", "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(!world.doctor(&[]).await.document.to_string().contains("chmod"));

    world.write("data", "a file in the folder's place");
    world.doctor(&[]).await.says("data folder", "error", "data", "belong to the user");
    world.doctor(&["--trusted-proxies", "0.0.0.0/0"]).await.says("proxies", "error", "whole internet", "own addresses");
    let behind = ["--listen", "0.0.0.0:3000", "--public-url", "https://login.example.com"];
    world.doctor(&behind).await.says("proxies", "warning", "this machine alone", "trusted_proxies");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_certificate_and_a_redis_that_is_away_are_told() {
    let world = World::new().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["login.example.com".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    world.write("tls.crt", &params.self_signed(&key).unwrap().pem());
    world.write("tls.key", &key.serialize_pem());
    let tls = "[tls]\ncertificate_file = \"tls.crt\"\nkey_file = \"tls.key\"\n";
    world.write("lychgate.toml", &format!("{tls}[sessions]\nstore = \"redis\"\nredis_url = \"redis://127.0.0.1:1\"\n"));
    let report = world.doctor(&[]).await;
    report.says("certificate", "error", "good until 2020-01-01", "renew it");
    report.says("redis", "error", "Redis cannot be reached", "is it up");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Redis: tests/with-redis MODE cargo test --test doctor -- --include-ignored"]
async fn a_redis_is_looked_at_and_one_that_refuses_us_is_told() {
    let world = World::new().await;
    let path = std::env::var_os("LYCHGATE_TEST_REDIS").expect("run by tests/with-redis").into_string().unwrap();
    let settings = |prefix: &str| {
        let file = path.replace("lychgate.toml", "doctor.toml");
        fs::write(&file, format!("{}redis_prefix = \"{prefix}\"\n", fs::read_to_string(&path).unwrap())).unwrap();
        file
    };
    let report = world.doctor(&["--config", &settings("test-doctor:"), "--tenants", "tenants", "--data", "data"]).await;
    report.says("redis", "ok", "answers and lets us write", "");
    let told = report.of("redis").iter().map(|(_, message, _)| *message).collect::<Vec<_>>().join("; ");
    assert!(told.contains("maxmemory-policy noeviction") && told.contains("appendonly"), "{told}");

    // The keys of others are not this user's.
    let report = world.doctor(&["--config", &settings("other:"), "--tenants", "tenants", "--data", "data"]).await;
    report.says("redis", "error", "refuses user, password or a command", "what docs/redis.md lists");
}
