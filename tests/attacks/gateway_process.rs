//! A gateway that is a process of its own, so that its memory and its work can be read.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// `lychgate serve` with one tenant, whose provider is away. Everything it says comes within seconds.
pub struct GatewayProcess {
    pub address: SocketAddr,
    child: Child,
    /// Lives as long as the process.
    _folder: tempfile::TempDir,
}

impl GatewayProcess {
    /// `server` are lines of the table `[server]`.
    pub fn start(server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tenants")).unwrap();
        let tenant = "issuer = \"http://127.0.0.1:1\"\nclient_id = \"a\"\nclient_secret = \"a secret\"\n";
        std::fs::write(folder.path().join("tenants/acme.toml"), tenant).unwrap();
        let settings =
            format!("listen = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n[server]\ndrain_delay = 0\n{server}\n");
        std::fs::write(folder.path().join("lychgate.toml"), settings).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
        command.args(["serve", "--tenants", "tenants"]).current_dir(folder.path()).env_clear();
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let mut said = String::new();
        let address = loop {
            let line =
                lines.recv_timeout(Duration::from_mins(1)).unwrap_or_else(|_| panic!("it does not listen: {said}"));
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if event["message"] == "listening" {
                break event["address"].as_str().unwrap().parse().unwrap();
            }
            said.push_str(&line);
        };
        Self { address, child, _folder: folder }
    }

    /// Memory that is its own, in KiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Open files, sockets among them.
    pub fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Asks for a page as anybody would.
    pub async fn serves(&self) -> bool {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap();
        let url = format!("http://{}/acme/session", self.address);
        client.get(url).send().await.is_ok_and(|answer| answer.status() == reqwest::StatusCode::UNAUTHORIZED)
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
