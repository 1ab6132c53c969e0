//! The process notices by itself, or is told: by the system, by SIGHUP, by the clock, by a command.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use super::writers::{self, Volume};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// `lychgate serve` in a folder of its own.
struct Process {
    folder: PathBuf,
    child: Child,
    lines: Lines,
    address: String,
    admin: String,
}

/// What it logs.
struct Lines(Receiver<Value>);

impl Lines {
    /// The next line that says this.
    #[track_caller]
    fn until(&self, message: &str) -> Value {
        let mut others = Vec::new();
        loop {
            match self.0.recv_timeout(PATIENCE) {
                Ok(line) if line["message"] == message => return line,
                Ok(line) => others.push(line),
                Err(error) => panic!("no line {message:?}: {error}: {others:#?}"),
            }
        }
    }
}

impl Process {
    fn start(folder: &Path, reload: &str) -> Self {
        Self::start_with(folder, reload, &["--tenants", "tenants"])
    }

    fn start_with(folder: &Path, reload: &str, arguments: &[&str]) -> Self {
        let settings = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[server]\ndrain_delay = 0\n[log]\nformat = \"json\"\n{reload}"
        );
        std::fs::write(folder.join("lychgate.toml"), settings).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
        command.arg("serve").args(arguments).current_dir(folder).env_clear().stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let lines = Lines(lines);
        let address = |message: &str| lines.until(message)["address"].as_str().unwrap().to_owned();
        let (admin, address) = (address("listening for operators"), address("listening"));
        Self { folder: folder.to_owned(), child, lines, address, admin }
    }

    /// What the next reload that found something came to.
    #[track_caller]
    fn reloaded(&self) -> Value {
        self.lines.until("settings read")
    }

    fn lychgate(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
        command.args(arguments).current_dir(&self.folder).env_clear().output().unwrap()
    }

    fn reload(&self) -> (Option<i32>, String, String) {
        let output = self.lychgate(&["reload", "--admin-url", &format!("http://{}", self.admin)]);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    fn hang_up(&self) {
        assert!(Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tenant(name: &str) -> String {
    format!(
        "issuer = \"http://127.0.0.1:1/{name}\"\nclient_id = \"abc\"\nclient_secret = \"hush\"\ndisplay_name = \"{name}\"\n"
    )
}

/// A folder with the tenant `acme`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    writers::replace(&folder.path().join("tenants/acme.toml"), &tenant("one"));
    folder
}

const NO_POLL: &str = "[reload]\npoll = 0\ndebounce = \"50ms\"\n";
const NOTHING: &str = "[reload]\nwatch = false\npoll = 0\ndebounce = \"50ms\"\n";

#[test]
fn sighup_has_the_files_read_and_ends_nothing() {
    let folder = folder();
    let process = Process::start(folder.path(), NOTHING);
    let started = process_at_start(folder.path());
    assert_eq!((&started["trigger"], &started["result"]), (&"startup".into(), &"applied".into()));
    writers::replace(&folder.path().join("tenants/globex.toml"), &tenant("two"));
    process.hang_up();
    let line = process.reloaded();
    assert_eq!(
        (&line["trigger"], &line["result"], &line["added"]),
        (&"signal".into(), &"applied".into(), &"globex".into())
    );
    std::fs::write(folder.path().join("tenants/globex.toml"), "x = 1").unwrap();
    process.hang_up();
    let fault = process.lines.until("not taken over; what was in force before goes on");
    assert_eq!(fault["tenant"], "globex");
    assert!(fault["reason"].as_str().unwrap().contains("x: unknown key"), "{fault}");
    assert_eq!(process.reloaded()["result"], "partial");
}

/// The line that the start of another process here says.
fn process_at_start(folder: &Path) -> Value {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
    command.args(["serve", "--data"]).arg(data.path()).current_dir(folder).env_clear().stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let line = line.into_iter().find(|line| line["message"] == "settings read");
    child.kill().unwrap();
    child.wait().unwrap();
    line.unwrap()
}

#[test]
fn the_swap_of_a_kubernetes_volume_is_noticed_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let tenants = folder.path().join("mounted");
    let secrets = folder.path().join("secrets");
    let (mut volume, mut secret) = (Volume::new(&tenants), Volume::new(&secrets));
    let by_file = format!(
        "issuer: http://127.0.0.1:1/acme\nclient_id: abc\nclient_secret_file: {}\n",
        secrets.join("acme.client_secret").display()
    );
    secret.publish(&[("acme.client_secret", "one")]);
    volume.publish(&[("acme.yaml", &by_file)]);
    let process = Process::start_with(folder.path(), NO_POLL, &["--tenants", "mounted"]);
    for round in 0..3 {
        let name = format!("globex-{round}");
        volume.publish(&[("acme.yaml", &by_file), (&format!("{name}.toml"), &tenant(&name))]);
        let line = process.reloaded();
        assert_eq!((&line["trigger"], &line["result"]), (&"watch".into(), &"applied".into()), "{line}");
        assert_eq!((&line["added"], line["changed"].as_str()), (&name.into(), None), "{line}");
        secret.publish(&[("acme.client_secret", &format!("secret {round}"))]);
        let line = process.reloaded();
        assert_eq!((&line["result"], &line["changed"]), (&"applied".into(), &"acme".into()), "{line}");
    }
    volume.publish(&[]);
    let fault = process.lines.until("not taken over; what was in force before goes on");
    assert!(fault["reason"].as_str().unwrap().starts_with("mounted: all tenants' files are gone"), "{fault}");
    assert_eq!(process.reloaded()["result"], "rejected");
}

#[test]
fn whatever_way_an_editor_writes_its_file_is_noticed() {
    let folder = folder();
    let process = Process::start(folder.path(), NO_POLL);
    let path = folder.path().join("tenants/acme.toml");
    let writers: [fn(&Path, &str); 3] =
        [writers::replace, writers::replace_with_backup, |path, text| std::fs::write(path, text).unwrap()];
    for (number, write) in writers.into_iter().cycle().take(6).enumerate() {
        write(&path, &tenant(&format!("name-{number}")));
        let line = process.reloaded();
        assert_eq!(
            (&line["trigger"], &line["changed"], line["removed"].as_str()),
            (&"watch".into(), &"acme".into(), None)
        );
    }
}

#[test]
fn a_folder_that_is_replaced_is_found_by_looking() {
    let folder = folder();
    let process = Process::start(folder.path(), "[reload]\nwatch = false\npoll = 1\ndebounce = \"50ms\"\n");
    let (tenants, next) = (folder.path().join("tenants"), folder.path().join("next"));
    writers::replace(&next.join("acme.toml"), &tenant("two"));
    std::fs::rename(&tenants, folder.path().join("before")).unwrap();
    std::fs::rename(&next, &tenants).unwrap();
    let line = process.reloaded();
    assert_eq!((&line["trigger"], &line["changed"]), (&"poll".into(), &"acme".into()));
}

#[test]
fn the_command_says_what_came_of_it() {
    let folder = folder();
    let process = Process::start(folder.path(), NOTHING);
    assert_eq!(process.reload(), (Some(0), "unchanged\n".to_owned(), String::new()));
    writers::replace(&folder.path().join("tenants/globex.toml"), &tenant("two"));
    writers::replace(&folder.path().join("tenants/acme.toml"), &tenant("other"));
    assert_eq!(process.reload(), (Some(0), "applied\nadded: globex\nchanged: acme\n".to_owned(), String::new()));
    writers::replace(&folder.path().join("tenants/globex.toml"), "x = 1\n");
    let (code, out, err) = process.reload();
    assert_eq!((code, out.as_str()), (Some(1), "partial\n"), "{err}");
    assert!(err.contains("refused: tenants/globex.toml: x: unknown key"), "{err}");
    std::fs::rename(folder.path().join("tenants"), folder.path().join("before")).unwrap();
    let (code, out, err) = process.reload();
    assert_eq!((code, out.as_str()), (Some(1), "rejected\n"), "{err}");
    assert!(err.contains("all tenants' files are gone at once; put them back"), "{err}");
}

#[test]
fn the_command_says_what_to_do_where_nobody_listens_for_it() {
    let folder = folder();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
        let output = command.args(arguments).current_dir(folder.path()).env_clear().output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run(&["reload"]);
    assert!(code == Some(1) && said.contains("set admin_listen") && said.contains("SIGHUP"), "{said}");
    let (code, said) = run(&["reload", "--admin-listen", "127.0.0.1:1"]);
    assert!(code == Some(1) && said.contains("no answer from http://127.0.0.1:1/reload"), "{said}");
}

#[tokio::test]
async fn orders_are_taken_on_this_machine_only_and_from_no_page() {
    let folder = folder();
    let process = Process::start(folder.path(), NOTHING);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let admin = format!("http://{}/reload", process.admin);
    assert_eq!(client.post(&admin).send().await.unwrap().status(), 200);
    assert_eq!(client.get(&admin).send().await.unwrap().status(), 405);
    for (name, value) in
        [("x-forwarded-for", "127.0.0.1"), ("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")]
    {
        assert_eq!(client.post(&admin).header(name, value).send().await.unwrap().status(), 404, "{name}");
    }
    let main = format!("http://{}/reload", process.address);
    assert_eq!(client.post(&main).send().await.unwrap().status(), 404, "only the listener for operators");
}
