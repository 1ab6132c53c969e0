//! Many tenants, people who are signed in, proxies that ask all the time, and files that change all the time: what the
//! reload storm is made of, in the tests and in the benchmark.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lychgate::clock::Clock;
use lychgate::demo::{Client, Provider, ProviderSpec, User};
use lychgate::secret::ExposeSecret as _;
use reqwest::{StatusCode, header};
use tokio::time::Instant;

const ADA: &str = "ada@acme.example";
/// Tenants that somebody is signed in at. They change like all others.
const SIGNED_IN: usize = 8;
/// How long one who asks waits before asking again.
const PAUSE: Duration = Duration::from_millis(4);

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub tenants: usize,
    /// Who ask at the same time, each by a connection that stays.
    pub askers: usize,
    /// How long they ask while nothing changes.
    pub quiet: Duration,
    /// How long they ask while a file changes every `every`.
    pub storm: Duration,
    pub every: Duration,
}

/// What became of the requests of a while.
#[derive(Debug, Default)]
pub struct Asked {
    /// How long checks took.
    pub checks: Vec<Duration>,
    pub pages: usize,
    /// What was not as it should be.
    pub failures: Vec<String>,
}

impl Asked {
    pub fn requests(&self) -> usize {
        self.checks.len() + self.pages
    }

    /// The time within which that many of a hundred checks were answered.
    pub fn within(&self, percent: f64) -> Duration {
        let mut sorted = self.checks.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * percent / 100.0).round() as usize).copied().unwrap_or_default()
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (half, most) = (self.within(50.0), self.within(99.0));
        let (requests, failures, checks) = (self.requests(), self.failures.len(), self.checks.len());
        write!(f, "{requests} requests, {failures} failures; {checks} checks, p50 {half:.2?}, p99 {most:.2?}")
    }
}

/// What it came to.
#[derive(Debug)]
pub struct Outcome {
    pub quiet: Asked,
    pub storm: Asked,
    /// Files that were written meanwhile.
    pub writings: usize,
    /// Reloads meanwhile, by result.
    pub reloads: BTreeMap<String, u64>,
    /// Resident memory at the beginning of the storm, after its first quarter, and at its end; in bytes.
    pub memory: [u64; 3],
    /// Whether the last of what was written is served in the end.
    pub last_is_served: bool,
}

/// Plays it.
pub async fn play(size: Size) -> Outcome {
    let house = House::start(size.tenants).await;
    let people = house.sign_everybody_in().await;
    let people = Arc::new(people);
    // What is made at the first request is made by now.
    house.ask(size, &people, Duration::from_secs(1)).await;
    let quiet = house.ask(size, &people, size.quiet).await;

    let before = house.reloads().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, files) = (Arc::clone(&stop), house.files.clone());
        std::thread::spawn(move || files.write_until(&stop, size.every))
    };
    let memory_at_first = house.memory();
    let (storm, memory_after_a_quarter) = tokio::join!(house.ask(size, &people, size.storm), async {
        tokio::time::sleep(size.storm / 4).await;
        house.memory()
    });
    stop.store(true, Ordering::Release);
    let writings = writer.join().expect("the writer ends well");
    let last_is_served = house.serves(writings).await;
    let memory = [memory_at_first, memory_after_a_quarter, house.memory()];
    let after = house.reloads().await;
    let reloads = after.into_iter().map(|(result, count)| {
        let since = count - before.get(&result).copied().unwrap_or_default();
        (result, since)
    });
    Outcome { quiet, storm, writings, reloads: reloads.collect(), memory, last_is_served }
}

/// The files of the tenants.
#[derive(Clone)]
struct Files {
    folder: PathBuf,
    issuer: String,
    secrets: Vec<String>,
    tenants: usize,
}

impl Files {
    fn path(&self, number: usize) -> PathBuf {
        self.folder.join("tenants").join(format!("{}.toml", name(number)))
    }

    fn text(&self, number: usize, display_name: &str) -> String {
        let secret = self.secrets.get(number).map_or("a secret of thirty-two characters", String::as_str);
        let issuer = &self.issuer;
        let public = if number < SIGNED_IN { "" } else { "[[rules]]\npaths = [\"/public\"]\neffect = \"public\"\n" };
        format!(
            "issuer = \"{issuer}\"\nclient_id = \"client-{number}\"\nclient_secret = \"{secret}\"\ndisplay_name = \"{display_name}\"\n{public}"
        )
    }

    fn write(&self, number: usize, text: &str) {
        let path = self.path(number);
        let draft = path.with_extension("draft");
        std::fs::write(&draft, text).expect("a folder of ours");
        std::fs::rename(draft, path).expect("a folder of ours");
    }

    /// Changes one tenant after the other, those first at which somebody is signed in; now and then a file is no good for a
    /// while, and one more tenant comes and goes. Returns how many files were written.
    fn write_until(&self, stop: &AtomicBool, every: Duration) -> usize {
        let (guest, mut number) = (self.tenants, 0_usize);
        let mut next = std::time::Instant::now();
        while !stop.load(Ordering::Acquire) {
            number += 1;
            // Three seconds are longer than any reload waits.
            let bad = number.saturating_sub(60) % self.tenants;
            match number % 120 {
                10 => self.write(number % self.tenants, "this is no TOML"),
                70 => self.write(bad, &self.text(bad, "mended")),
                20 => self.write(guest, &self.text(guest, "guest")),
                90 => drop(std::fs::remove_file(self.path(guest))),
                _ => self.write(number % self.tenants, &self.text(number % self.tenants, &format!("name {number}"))),
            }
            next += every;
            std::thread::sleep(next.saturating_duration_since(std::time::Instant::now()));
        }
        number += 1;
        self.write(0, &self.text(0, &format!("name {number}")));
        number
    }
}

fn name(number: usize) -> String {
    format!("t-{number:04}")
}

/// A running gateway, its tenants and their provider.
struct House {
    files: Files,
    gateway: Child,
    origin: String,
    /// There to the end.
    _provider: Provider,
    _folder: tempfile::TempDir,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
    }
}

impl House {
    async fn start(tenants: usize) -> Self {
        let clients: Vec<Client> = (0..SIGNED_IN).map(|number| Client::new(&format!("client-{number}"))).collect();
        let secret =
            |client: &Client| client.secret.as_ref().expect("a client with a secret").expose_secret().to_owned();
        let secrets = clients.iter().map(secret).collect();
        let users = vec![User::new(ADA, "a good password", "Ada Lovelace")];
        let spec = ProviderSpec { clients, users, ..ProviderSpec::new("Storm") };
        let provider =
            Provider::start(spec, (Ipv4Addr::LOCALHOST, 0).into(), Clock::system()).await.expect("a free port");
        provider.auto_approve(Some(ADA));
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().to_owned();
        std::fs::create_dir(root.join("tenants")).expect("a folder of ours");
        let files = Files { folder: root.clone(), issuer: provider.issuer().to_owned(), secrets, tenants };
        for number in 0..tenants {
            files.write(number, &files.text(number, "first"));
        }
        std::fs::write(
            root.join("lychgate.toml"),
            "listen = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\nlevel = \"warn,lychgate::cli=info\"\n",
        )
        .expect("a folder of ours");
        let (gateway, origin) = serve(&root);
        for number in 0..SIGNED_IN {
            let base = format!("{origin}/{}", name(number));
            provider.allow(&format!("client-{number}"), &format!("{base}/callback"), &format!("{base}/logged-out"));
        }
        Self { files, gateway, origin, _provider: provider, _folder: folder }
    }

    /// The cookies of somebody at each of the first tenants.
    async fn sign_everybody_in(&self) -> Vec<String> {
        let mut people = Vec::new();
        for number in 0..SIGNED_IN {
            people.push(self.sign_in(&name(number)).await);
        }
        people
    }

    async fn sign_in(&self, tenant: &str) -> String {
        let client = client();
        let (mut url, mut jar) = (format!("{}/{tenant}/login", self.origin), BTreeMap::new());
        loop {
            let cookies: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let request = client.get(&url).header("accept", "text/html").header("sec-fetch-mode", "navigate");
            let answer = request.header(header::COOKIE, cookies.join("; ")).send().await.expect("an answer");
            for cookie in answer.headers().get_all(header::SET_COOKIE) {
                let (name, value) = cookie.to_str().expect("text").split_once('=').expect("a pair");
                let value = value.split(';').next().unwrap_or_default();
                jar.insert(name.to_owned(), value.to_owned());
            }
            let Some(next) = answer.headers().get(header::LOCATION) else {
                panic!("{url}: {}: {}", answer.status(), answer.text().await.unwrap_or_default());
            };
            let next = next.to_str().expect("a URL");
            if next.ends_with("/dashboard") {
                jar.retain(|name, value| name.starts_with("lychgate-") && !value.is_empty());
                return jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
            }
            let base = reqwest::Url::parse(&url).expect("a URL");
            url = base.join(next).expect("a URL").into();
        }
    }

    /// Asks for `time`: mostly whether somebody may pass, now and then for a page of any tenant.
    async fn ask(&self, size: Size, people: &Arc<Vec<String>>, time: Duration) -> Asked {
        let end = Instant::now() + time;
        let askers: Vec<_> = (0..size.askers)
            .map(|asker| {
                let (origin, people) = (self.origin.clone(), Arc::clone(people));
                tokio::spawn(async move { ask(&origin, &people, size.tenants, asker, end).await })
            })
            .collect();
        let mut all = Asked::default();
        for asker in askers {
            let asked = asker.await.expect("an asker ends well");
            all.checks.extend(asked.checks);
            all.pages += asked.pages;
            all.failures.extend(asked.failures);
        }
        all
    }

    /// Resident memory, in bytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.gateway.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Reloads until now, by result.
    async fn reloads(&self) -> BTreeMap<String, u64> {
        let text = client().get(format!("{}/metrics", self.origin)).send().await.expect("an answer");
        let text = text.text().await.expect("text");
        let mut reloads = BTreeMap::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("lychgate_config_reloads_total{result=\"")) {
            let (result, rest) = line.split_once('"').expect("a label");
            let count: u64 = rest.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a count");
            *reloads.entry(result.to_owned()).or_default() += count;
        }
        reloads
    }

    /// Whether what was written last comes to be served.
    async fn serves(&self, number: usize) -> bool {
        let (client, end) = (client(), Instant::now() + Duration::from_secs(20));
        let wanted = format!("name {number}");
        while Instant::now() < end {
            let page = client.get(format!("{}/{}", self.origin, name(0))).header("accept", "text/html").send().await;
            if page.expect("an answer").text().await.expect("text").contains(&wanted) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

async fn ask(origin: &str, people: &[String], tenants: usize, first: usize, end: Instant) -> Asked {
    let client = client();
    let mut asked = Asked::default();
    let mut turn = first;
    while Instant::now() < end {
        turn += 1;
        let (tenant, cookies) = (name(turn % people.len()), &people[turn % people.len()]);
        if turn.is_multiple_of(8) {
            // A prime, so that all tenants have their turn.
            let tenant = name(turn * 7919 % tenants);
            let page = client.get(format!("{origin}/{tenant}")).header("accept", "text/html").send().await;
            asked.pages += 1;
            asked.failures.extend(failure(&tenant, page));
        } else {
            let check = client
                .get(format!("{origin}/{tenant}/auth"))
                .header("x-original-url", format!("{origin}/{tenant}/app"))
                .header("x-original-method", "GET")
                .header("x-forwarded-for", "203.0.113.7")
                .header(header::COOKIE, cookies);
            let started = Instant::now();
            let answer = check.send().await;
            asked.checks.push(started.elapsed());
            asked.failures.extend(failure(&tenant, answer));
        }
        tokio::time::sleep(PAUSE).await;
    }
    asked
}

fn failure(tenant: &str, answer: reqwest::Result<reqwest::Response>) -> Option<String> {
    match answer {
        Ok(answer) if answer.status() == StatusCode::OK => None,
        Ok(answer) => Some(format!("{tenant}: {}", answer.status())),
        Err(error) => Some(format!("{tenant}: {error:?}")),
    }
}

fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    client.timeout(Duration::from_secs(30)).build().expect("a client")
}

/// A gateway that serves `folder`, and its origin.
fn serve(folder: &Path) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
    command.arg("serve").current_dir(folder).env_clear().stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let address = lines
        .by_ref()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok())
        .find(|line| line["message"] == "listening")
        .and_then(|line| Some(line["address"].as_str()?.to_owned()));
    // It must not wait for somebody to read what it says.
    std::thread::spawn(move || lines.for_each(drop));
    (child, format!("http://{}", address.expect("it listens")))
}
