//! The commands as an operator runs them: the built binary in a folder of its own, with nothing in its environment.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const ACME: &str = "domain = \"acme.eu.auth0.com\"\nclient_id = \"abc\"\nclient_secret = \"hush-hush\"\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
        command.args(arguments).current_dir(self.path()).env_clear();
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        Said::of(&self.command(arguments).output().unwrap())
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Said::of(&child.wait_with_output().unwrap())
    }
}

#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

#[test]
fn check_says_what_is_good() {
    let said = Folder::with(&[("tenants/acme.toml", ACME)]).run(&["check"]);
    assert_eq!((said.code, said.out.trim()), (0, "1 tenant: acme"), "{said:?}");
}

#[test]
fn check_says_every_fault_of_every_file_and_no_secret() {
    let bad = format!("{ACME}clientid = \"x\"\nleeway = \"soon\"\n");
    let folder =
        Folder::with(&[("lychgate.toml", "lisen = 1\n"), ("tenants/acme.toml", &bad), ("tenants/login.toml", ACME)]);
    let said = folder.run(&["check"]);
    assert_eq!(said.code, 78, "{said:?}");
    for words in [
        "lychgate.toml: lisen: unknown key; did you mean listen?",
        "acme.toml: clientid: unknown key; did you mean client_id?",
        "acme.toml: leeway: ",
        "login.toml: the file's name is reserved",
        "4 faults",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert!(!said.err.contains("hush-hush"));
    assert_eq!(folder.run(&["serve"]).code, 78, "nor does it serve");
}

#[test]
fn check_tries_every_file_that_serve_would_use() {
    let keyed = "domain = \"acme.eu.auth0.com\"\nclient_id = \"abc\"\nprivate_key_file = \"../not.pem\"\n";
    let trusting = format!("{}ca_file = \"../not.pem\"\n", ACME.replace("acme", "globex"));
    let settings = "templates = \"mine\"\n[tls]\ncertificate_file = \"not.pem\"\nkey_file = \"nowhere.pem\"\n";
    let folder = Folder::with(&[
        ("lychgate.toml", settings),
        ("not.pem", "hush-hush"),
        ("mine/index.hbs", "{{#if}}"),
        ("tenants/acme.toml", keyed),
        ("tenants/globex.toml", &trusting),
        ("tenants/initech.toml", "clientid = \"x\"\n"),
    ]);
    let said = folder.run(&["check"]);
    assert_eq!(said.code, 78, "{said:?}");
    for words in [
        "tenant acme: private_key: cannot be used: ",
        "tenant globex: ca_file: cannot be used: ",
        "tls: cannot read nowhere.pem",
        "mine/index.hbs:1: ",
        "initech.toml: clientid: unknown key",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert!(!said.err.contains("hush-hush"));
}

#[test]
fn check_online_says_which_provider_does_not_answer() {
    let tenant = "issuer = \"http://127.0.0.1:1\"\nclient_id = \"abc\"\nclient_secret = \"hush-hush\"\n";
    let said = Folder::with(&[("tenants/acme.toml", tenant)]).run(&["check", "--online"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("acme: http://127.0.0.1:1: provider_unreachable"), "{}", said.err);
}

#[test]
fn urls_prints_what_to_paste() {
    let folder = Folder::with(&[("tenants/acme.toml", ACME)]);
    let said = folder.run(&["urls"]);
    assert!(
        said.out.contains(
            "Allowed Callback URLs:  http://localhost:3000/acme/callback, http://127.0.0.1:3000/acme/callback"
        ),
        "{}",
        said.out
    );
    let said = folder.run(&["urls", "acme", "--json", "--public-url", "https://login.example.com"]);
    let urls: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(urls["callback_urls"][0], "https://login.example.com/acme/callback");
    assert_eq!(urls["logout_urls"][0], "https://login.example.com/acme/logged-out");
    assert_eq!(urls["initiate_login_uri"], "https://login.example.com/acme/login");
    assert_eq!(folder.run(&["urls", "nobody"]).code, 1);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let folder = Folder::with(&[("tenants/acme.toml", ACME), ("lychgate.toml", "listen = \"127.0.0.1:4001\"\n")]);
    assert!(folder.run(&["urls"]).out.contains("localhost:4001"));
    let by_environment =
        Said::of(&folder.command(&["urls"]).env("LYCHGATE_LISTEN", "127.0.0.1:4002").output().unwrap());
    assert!(by_environment.out.contains("localhost:4002"), "{by_environment:?}");
    let mut command = folder.command(&["urls", "--listen", "127.0.0.1:4003"]);
    let by_flag = Said::of(&command.env("LYCHGATE_LISTEN", "127.0.0.1:4002").output().unwrap());
    assert!(by_flag.out.contains("localhost:4003"), "{by_flag:?}");
}

#[test]
fn three_variables_or_an_env_file_make_the_tenant_default() {
    let variables = "AUTH0_DOMAIN=acme.eu.auth0.com\nAUTH0_CLIENT_ID=abc\nAUTH0_CLIENT_SECRET=hush-hush\n";
    let said = Folder::with(&[(".env", variables)]).run(&["urls"]);
    assert!(said.code == 0 && said.out.contains("/default/callback"), "{said:?}");
    let folder = Folder::with(&[]);
    let mut command = folder.command(&["check"]);
    for line in variables.lines() {
        let (name, value) = line.split_once('=').unwrap();
        command.env(name, value);
    }
    let said = Said::of(&command.output().unwrap());
    assert_eq!((said.code, said.out.trim()), (0, "1 tenant: default"), "{said:?}");
}

#[test]
fn tenant_add_writes_a_private_file_once() {
    let folder = Folder::with(&[]);
    let add = ["tenant", "add", "acme", "--domain", "acme.eu.auth0.com", "--client-id", "abc"];
    let said = folder.run_with_input(&add, "hush-hush\n");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("/acme/callback") && !said.out.contains("hush-hush"), "{said:?}");
    let path = folder.path().join("tenants/acme.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("client_secret = \"hush-hush\""), "{text}");
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777, 0o600);
    assert_eq!(folder.run(&["check"]).code, 0);

    let again = folder.run_with_input(&add, "other\n");
    assert!(again.code == 1 && again.err.contains("is there already"), "{again:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn tenant_add_writes_nothing_that_is_not_good() {
    let folder = Folder::with(&[]);
    let said = folder.run_with_input(
        &["tenant", "add", "acme", "--domain", "https://acme.eu.auth0.com", "--client-id", "abc"],
        "hush\n",
    );
    assert!(said.code == 78 && said.err.contains("has a scheme"), "{said:?}");
    assert!(!folder.path().join("tenants/acme.toml").exists());
    assert_eq!(folder.run(&["tenant", "add", "Acme!", "--domain", "a.auth0.com", "--client-id", "a"]).code, 2);
    assert_eq!(folder.run(&["tenant", "add", "login", "--domain", "a.auth0.com", "--client-id", "a"]).code, 2);
    assert_eq!(
        folder.run_with_input(&["tenant", "add", "acme", "--domain", "a.auth0.com", "--client-id", "a"], "").code,
        1
    );
}

#[test]
fn secret_prints_a_new_key_each_time() {
    let folder = Folder::with(&[]);
    let (one, other) = (folder.run(&["secret"]).out, folder.run(&["secret"]).out);
    assert_eq!(one.trim().len(), 43);
    assert_ne!(one, other);
}

#[test]
fn healthcheck_of_nothing_fails() {
    let said = Folder::with(&[]).run(&["healthcheck", "--url", "http://127.0.0.1:1"]);
    assert!(said.code == 1 && said.err.contains("no answer"), "{said:?}");
}

#[test]
fn healthcheck_asks_over_tls_where_we_speak_it() {
    let pair = rcgen::generate_simple_self_signed(["login.example.com".to_owned()]).unwrap();
    let tenant = "issuer = \"http://127.0.0.1:1\"\nclient_id = \"abc\"\nclient_secret = \"hush-hush\"\n";
    let folder = Folder::with(&[
        ("tenants/acme.toml", tenant),
        ("lychgate.toml", "[tls]\ncertificate_file = \"tls.crt\"\nkey_file = \"tls.key\"\n"),
        ("tls.crt", &pair.cert.pem()),
        ("tls.key", &pair.signing_key.serialize_pem()),
    ]);
    let mut serving = folder.command(&["serve", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(serving.stderr.take().unwrap()).lines();
    let listening = lines.find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        (line["message"] == "listening").then(|| line["address"].as_str().unwrap().to_owned())
    });
    let said = folder.run(&["healthcheck", "--listen", &listening.unwrap()]);
    assert_eq!((said.code, said.out.trim()), (0, "ready"), "{said:?}");
    serving.kill().unwrap();
    serving.wait().unwrap();
}

#[test]
fn users_list_of_a_new_folder_is_empty_and_makes_no_file() {
    let folder = Folder::with(&[("tenants/acme.toml", ACME)]);
    let said = folder.run(&["users", "list"]);
    assert_eq!((said.code, &*said.out, said.err.trim()), (0, "", "nobody has signed in yet"));
    assert!(!folder.path().join("data").exists());
}

#[test]
fn every_shell_gets_completions_and_every_command_help() {
    let folder = Folder::with(&[]);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let said = folder.run(&["completions", shell]);
        assert!(said.code == 0 && said.out.contains("healthcheck"), "{shell}");
    }
    for command in [
        &["check"] as &[&str],
        &["urls"],
        &["tenant", "add"],
        &["users", "list"],
        &["secret"],
        &["healthcheck"],
        &["demo"],
        &["serve"],
        &["completions"],
        &[],
    ] {
        let said = folder.run(&[command, &["--help"]].concat());
        assert!(said.code == 0 && said.out.contains("Usage:"), "{command:?}");
    }
    assert_eq!(folder.run(&["--no-such-flag"]).code, 2);
    assert_eq!(folder.run(&["nonsense"]).code, 2);
}

#[test]
fn a_log_that_no_terminal_shows_is_json_unless_told_otherwise() {
    let folder = Folder::with(&[("tenants/acme.toml", ACME), ("data", "no folder")]);
    let said = folder.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(said.code, 1, "{said:?}");
    let line: serde_json::Value = serde_json::from_str(said.err.lines().last().unwrap()).unwrap();
    assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("ERROR"), Some("cannot start")), "{line}");
    assert!(line["error"].as_str().unwrap().contains("data"), "{line}");
    let said = folder.run(&["serve", "--listen", "127.0.0.1:0", "--log-format", "text"]);
    assert!(said.err.contains("ERROR") && said.err.contains("cannot start"), "{said:?}");
    assert!(!said.err.contains('{'), "{said:?}");
}

#[test]
fn the_demo_stays_on_loopback() {
    assert_eq!(Folder::with(&[]).run(&["demo", "--listen", "0.0.0.0:0"]).code, 2);
}

/// A gateway with a listener for operators, and where that is.
struct Serving(std::process::Child, String);

impl Serving {
    fn start(folder: &Folder) -> Self {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mut child = folder.command(&serve).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut admin = String::new();
        let listening = lines.any(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            if line["message"] == "listening for operators" {
                admin = format!("http://{}", line["address"].as_str().unwrap());
            }
            line["message"] == "listening"
        });
        assert!(listening, "it never listened");
        std::thread::spawn(move || lines.for_each(drop));
        Self(child, admin)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn status_shows_a_running_gateway_at_a_glance() {
    let tenant = "issuer = \"http://127.0.0.1:1\"\nclient_id = \"abc\"\nclient_secret = \"hush-hush\"\n";
    let folder = Folder::with(&[("tenants/acme.toml", tenant)]);
    let serving = Serving::start(&folder);
    let said = folder.run(&["status", "--admin-url", &serving.1]);
    assert_eq!(said.code, 0, "{said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines[0].starts_with(concat!("lychgate ", env!("CARGO_PKG_VERSION"), ", up ")), "{said:?}");
    assert!(lines[0].ends_with(", ready"), "{said:?}");
    assert!(said.out.contains("\nsessions   embedded, up, 0 active\n"), "{said:?}");
    assert!(said.out.contains("\nreload     "), "{said:?}");
    let (head, row) = (lines[lines.len() - 2], lines[lines.len() - 1]);
    let column = |name: &str| row.chars().nth(head.find(name).unwrap());
    assert!(row.starts_with("acme    http://127.0.0.1:1  "), "{said:?}");
    assert_eq!((column("SESSIONS"), column("DOCUMENT")), (Some('0'), Some('–')), "{said:?}");

    let json = folder.run(&["status", "--json", "--admin-url", &serving.1]);
    let status: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(status["ready"], true);
    let key = status["keys"][0]["id"].as_str().unwrap();
    assert!(said.out.contains(&format!("\nkey        {key} active since 20")), "{said:?}");
    let secret = fs::read_to_string(folder.path().join("data/secret.key")).unwrap();
    for hidden in ["hush-hush", secret.trim()] {
        assert!(!said.out.contains(hidden) && !json.out.contains(hidden), "{said:?} {json:?}");
    }
}

#[test]
fn status_of_a_gateway_that_is_not_ready_or_not_there_fails_and_says_what_to_do() {
    let folder = Folder::with(&[]);
    let serving = Serving::start(&folder);
    let said = folder.run(&["status", "--admin-url", &serving.1]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains(", not ready\n") && said.out.contains("\nnot ready  no tenants\n"), "{said:?}");
    assert!(said.out.contains("lychgate tenant add"), "{said:?}");
    let admin = serving.1.clone();
    drop(serving);
    let said = folder.run(&["status", "--admin-url", &admin]);
    assert!(said.code == 1 && said.err.contains("does the gateway run"), "{said:?}");
    let said = folder.run(&["status"]);
    assert!(said.code == 1 && said.err.contains("set admin_listen"), "{said:?}");
}

#[test]
fn a_service_manager_is_told_that_we_listen_live_and_end() {
    let folder = Folder::with(&[("tenants/acme.toml", ACME), ("lychgate.toml", "[server]\ndrain_delay = 0\n")]);
    let socket = std::os::unix::net::UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let mut command = folder.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", folder.path().join("notify")).env("WATCHDOG_USEC", "300000");
    let mut serving = command.stderr(Stdio::null()).spawn().unwrap();
    let mut text = [0; 256];
    let mut told = || {
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap().trim().to_owned()
    };
    assert_eq!([told(), told(), told()], ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    assert!(Command::new("kill").arg(serving.id().to_string()).status().unwrap().success());
    while told() != "STOPPING=1" {}
    assert!(serving.wait().unwrap().success());
}

#[test]
fn a_socket_that_a_service_manager_holds_is_served() {
    let folder = Folder::with(&[("tenants/acme.toml", ACME)]);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    // As systemd hands it over: descriptor 3, and the id of the process that it is for.
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --listen 127.0.0.1:1"]);
    command.arg(env!("CARGO_BIN_EXE_lychgate")).current_dir(folder.path()).env_clear();
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(socket))).stderr(Stdio::piped());
    let mut serving = command.spawn().unwrap();
    let mut lines = BufReader::new(serving.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("\"listening\"")));
    let said = folder.run(&["healthcheck", "--listen", &address]);
    assert_eq!((said.code, said.out.trim()), (0, "ready"), "{said:?}");
    serving.kill().unwrap();
    serving.wait().unwrap();
}
