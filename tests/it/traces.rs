//! Traces as a collector gets them: a process, a provider, an application, and a receiver that reads the protocol.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use lychgate::clock::Clock;
use lychgate::demo::{Client, Provider, ProviderSpec, User};
use lychgate::secret::ExposeSecret as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::Value;

use crate::support::{ADA, Browser};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// What a server was asked: its head, its body.
type Asked = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A server that takes whatever it is asked and says what it saw.
fn server() -> (SocketAddr, Asked) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Asked::default();
    let keep = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let keep = Arc::clone(&keep);
            std::thread::spawn(move || answer(&stream, &keep));
        }
    });
    (address, asked)
}

fn answer(stream: &TcpStream, asked: &Asked) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or_default() == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let said = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        asked.lock().unwrap().push((head, body));
        if (&mut &*stream).write_all(said.as_bytes()).is_err() {
            return;
        }
    }
}

/// A process that sends traces.
struct Traced {
    folder: tempfile::TempDir,
    provider: Provider,
    client_secret: String,
    collector: Asked,
    child: Child,
    address: String,
    lines: std::thread::JoinHandle<Vec<Value>>,
}

impl Traced {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let client = Client::new("acme-client");
        let client_secret = client.secret.as_ref().unwrap().expose_secret().to_owned();
        let user = User::new(ADA, "a good password", "Ada Lovelace");
        let spec = ProviderSpec { clients: vec![client], users: vec![user], ..ProviderSpec::new("acme") };
        let provider = Provider::start(spec, (Ipv4Addr::LOCALHOST, 0).into(), Clock::system()).await.unwrap();
        provider.auto_approve(Some(ADA));
        let ((collector_at, collector), (application, _)) = (server(), server());
        let folder = tempfile::tempdir().unwrap();
        let settings = "listen = \"127.0.0.1:0\"\n[server]\ndrain_delay = 0\n[log]\nformat = \"json\"\n\
                        [audit]\nsink = \"file\"\nfile = \"audit.log\"\n";
        std::fs::write(folder.path().join("lychgate.toml"), settings).unwrap();
        std::fs::create_dir(folder.path().join("tenants")).unwrap();
        let tenant = format!(
            "issuer = \"{}\"\nclient_id = \"acme-client\"\nclient_secret = \"{client_secret}\"\n\
             [[upstreams]]\npath = \"/app\"\nurl = \"http://{application}\"\n",
            provider.issuer()
        );
        std::fs::write(folder.path().join("tenants/acme.toml"), tenant).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
        command.arg("serve").current_dir(folder.path()).env_clear().stderr(Stdio::piped());
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector_at}"));
        command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=collector-secret");
        command.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
        let mut child = command.envs(variables.iter().copied()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut lines: Vec<Value> = Vec::new();
        let address = loop {
            let line: Value = serde_json::from_str(&stderr.next().expect("it listens")).unwrap();
            lines.push(line.clone());
            if line["message"] == "listening" {
                break line["address"].as_str().unwrap().to_owned();
            }
        };
        let lines = std::thread::spawn(move || {
            lines.extend(stderr.filter_map(|line| serde_json::from_str(&line).ok()));
            lines
        });
        let base = format!("http://{address}/acme");
        provider.allow("acme-client", &format!("{base}/callback"), &format!("{base}/logged-out"));
        Self { folder, provider, client_secret, collector, child, address, lines }
    }

    fn browser(&self) -> Browser {
        Browser::new(format!("http://{}", self.address))
    }

    /// Ends the process in an orderly way; what the collector was sent, what was logged and audited.
    fn stop(mut self) -> Sent {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        let lines = std::mem::replace(&mut self.lines, std::thread::spawn(Vec::new)).join().unwrap();
        let audit = std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap();
        let asked = std::mem::take(&mut *self.collector.lock().unwrap());
        let mut sent =
            Sent { spans: Vec::new(), resources: Vec::new(), bytes: Vec::new(), heads: Vec::new(), lines, audit };
        for (head, body) in asked {
            let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            sent.heads.push(head);
            sent.bytes.extend(body);
            for of_resource in request.resource_spans {
                sent.resources.extend(of_resource.resource);
                sent.spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        sent
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Sent {
    spans: Vec<Span>,
    resources: Vec<Resource>,
    bytes: Vec<u8>,
    heads: Vec<String>,
    lines: Vec<Value>,
    audit: String,
}

impl Sent {
    #[track_caller]
    fn only(&self, name: &str) -> &Span {
        let mut named = self.spans.iter().filter(|span| span.name == name);
        let found = named.next().unwrap_or_else(|| panic!("no {name}: {:?}", self.names()));
        assert!(named.next().is_none(), "{name} twice: {:?}", self.names());
        found
    }

    fn names(&self) -> Vec<&str> {
        self.spans.iter().map(|span| span.name.as_str()).collect()
    }

    /// The names of what happened within a span.
    fn within(&self, parent: &Span) -> Vec<&str> {
        let of = |span: &&Span| span.parent_span_id == parent.span_id && span.trace_id == parent.trace_id;
        self.spans.iter().filter(of).map(|span| span.name.as_str()).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn traceparent() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_is_one_trace_that_goes_on_at_the_application_and_holds_no_secret() {
    let traced = Traced::start(&[("OTEL_SERVICE_NAME", "gate")]).await;
    let mut browser = traced.browser();
    let callback = browser.until_callback("/acme/login").await;
    let mut secrets: Vec<String> = callback.query_pairs().map(|(_, value)| value.into_owned()).collect();
    secrets.extend(browser.cookies.values().cloned());
    assert_eq!(browser.get(callback.as_str()).await.status, 303);
    secrets.extend(browser.cookies.values().filter(|value| value.len() > 9).cloned());
    secrets.extend([traced.client_secret.clone(), "a good password".to_owned(), ADA.to_owned()]);
    secrets.extend(["4711-secret-pin".to_owned(), "a-secret-path".to_owned()]);
    let mut asking = browser.clone().with("traceparent", &traceparent());
    let seen = asking.get("/acme/app/a-secret-path?pin=4711-secret-pin").await;
    assert_eq!(seen.status, 200, "{}", seen.body);
    browser.get("/readyz").await;
    let keys_asked = traced.provider.requests().len();
    assert!(keys_asked > 2, "the provider was asked");
    let sent = traced.stop();

    // The end of the sign-in.
    let callback = sent.only("GET callback");
    assert_eq!(callback.parent_span_id, [0_u8; 0], "a trace of its own");
    assert_eq!(callback.kind, 2, "server");
    let within = sent.within(callback);
    for name in ["session use_once", "oidc.token", "session create", "session remember_user"] {
        assert!(within.contains(&name), "{name}: {within:?} of {:?}", sent.names());
    }
    sent.only("GET login");
    assert!(
        !sent.names().iter().any(|name| name.contains("readyz") || name.contains("sweep") || name.contains("check"))
    );

    // The application; the browser's proxy is trusted, and so the trace that it names.
    let proxied = sent.only("GET upstream");
    assert_eq!((hex(&proxied.trace_id), hex(&proxied.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    let asked = sent.only("GET");
    assert_eq!((&asked.trace_id, &asked.parent_span_id), (&proxied.trace_id, &proxied.span_id));
    let told = format!("traceparent: 00-{TRACE}-{}-01", hex(&asked.span_id));
    assert!(seen.body.contains(&told) && seen.body.matches("traceparent").count() == 1, "{}", seen.body);

    // Who we are, by the standard variables.
    let attributes = format!("{:?}", sent.resources[0].attributes);
    for known in ["\"gate\"", "deployment.environment.name", "service.version"] {
        assert!(attributes.contains(known), "{known}: {attributes}");
    }
    assert!(
        sent.heads[0].starts_with("POST /v1/traces ") && sent.heads[0].contains("x-collector-key: collector-secret")
    );

    for secret in &secrets {
        let found = sent.bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{secret} was sent to the collector");
    }
    assert!(secrets.len() > 8, "{}", secrets.len());

    // Log and audit log name the trace.
    let trace = hex(&callback.trace_id);
    let answered = |line: &&Value| line["message"] == "answered" && line["span"]["route"] == "callback";
    let answered = sent.lines.iter().find(answered).unwrap();
    assert_eq!(answered["span"]["trace_id"], Value::from(trace.as_str()), "{answered}");
    assert_eq!(answered["span"]["span_id"], Value::from(hex(&callback.span_id)));
    let signed_in = sent.audit.lines().find(|line| line.contains("sign_in.succeeded")).unwrap();
    assert!(signed_in.contains(&trace), "{signed_in}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_s_trace_is_linked_to_and_not_gone_on_with() {
    let traced = Traced::start(&[("LYCHGATE_TRUSTED_PROXIES", "192.0.2.1")]).await;
    let mut browser = traced.browser();
    browser.visit("/acme/login").await;
    let mut asking = browser.with("traceparent", &traceparent());
    let seen = asking.get("/acme/app/").await;
    assert_eq!(seen.status, 200, "{}", seen.body);
    assert!(!seen.body.contains(TRACE) && seen.body.contains("traceparent: 00-"), "{}", seen.body);
    let sent = traced.stop();
    let proxied = sent.only("GET upstream");
    assert_ne!(hex(&proxied.trace_id), TRACE);
    assert_eq!(proxied.parent_span_id, [0_u8; 0]);
    assert_eq!(proxied.links.iter().map(|link| hex(&link.trace_id)).collect::<Vec<_>>(), [TRACE]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_where_the_variables_say_so_and_the_application_sees_what_the_client_sent() {
    let traced = Traced::start(&[("OTEL_SDK_DISABLED", "true")]).await;
    let mut browser = traced.browser();
    browser.visit("/acme/login").await;
    let seen = browser.with("traceparent", &traceparent()).get("/acme/app/").await;
    assert!(seen.body.contains(&traceparent()), "{}", seen.body);
    let sent = traced.stop();
    assert_eq!(sent.heads, [""; 0]);
    assert!(sent.lines.iter().all(|line| line["span"]["trace_id"].is_null()));
}
