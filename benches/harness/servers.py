"""Processes that serve: lychgate, and the roles of `benches/yardsticks`. All end with the benchmark."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

PUBLIC = "app.acme.example"
CLIENT_ID = "benchmark"
# What nginx tells with `auth_request`, as docs/proxies.md writes it, about a page that a browser opens.
ASKED = {
    "Host": PUBLIC,
    "X-Original-URL": f"https://{PUBLIC}/reports/2026/11?page=2",
    "X-Original-Method": "GET",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "203.0.113.7",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
}
SETTINGS = """
listen = "127.0.0.1:{port}"
public_url = "https://{public}"
tenants = "tenants"
data = "data"
trusted_proxies = ["127.0.0.1/32"]
log.level = "{level}"
"""
# Ten rules, of which the last one decides about what is asked.
RULES = """
[[rules]]
paths = ["/assets/**", "/favicon.ico", "/robots.txt"]
effect = "public"
[[rules]]
paths = ["/payments/**"]
methods = ["POST", "PUT", "DELETE"]
effect = "step_up"
max_age = "10m"
[[rules]]
paths = ["/admin/**"]
networks = ["10.0.0.0/8"]
effect = "allow"
claims = [{ claim = "https://acme.example/roles", contains = "admin" }]
[[rules]]
paths = ["/admin/**"]
effect = "deny"
[[rules]]
paths = ["/intern/**"]
networks = ["10.0.0.0/8", "192.168.0.0/16", "fd00::/8"]
effect = "signed_in"
[[rules]]
paths = ["/intern/**"]
effect = "deny"
[[rules]]
paths = ["/api/v1/**"]
methods = ["GET"]
effect = "allow"
scopes = ["read:reports"]
[[rules]]
hosts = ["staff.acme.example"]
effect = "allow"
claims = [{ claim = "email", equals = "ada@acme.example" }]
[[rules]]
paths = ["/reports/archive/**"]
effect = "deny"
[[rules]]
paths = ["/reports/*/*", "/app/**", "/"]
effect = "signed_in"
"""


class Programs:
    """Starts processes in folders of their own, and ends them."""

    def __init__(self, lychgate, yardsticks):
        self.lychgate_program, self.yardsticks_program = lychgate, yardsticks
        self.running = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.running.close()

    def folder(self):
        return Path(self.running.enter_context(tempfile.TemporaryDirectory(prefix="lychgate-bench-")))

    def start(self, command, **how):
        """Starts a process that is ended with the benchmark, or before by `stop`."""
        process = subprocess.Popen([str(part) for part in command], start_new_session=True, **how)
        self.running.callback(stop, process)
        return process

    def yardstick(self, role, **options):
        """A role of `benches/yardsticks`, once it listens."""
        command = [self.yardsticks_program, role]
        for name, value in options.items():
            command += [f"--{name}", value]
        process = self.start(command, stdout=subprocess.PIPE, text=True)
        origin = process.stdout.readline().strip()
        if not origin:
            raise RuntimeError(f"the yardstick {role} did not start")
        return Server(process, origin)

    def answer(self, name, answer):
        """A bare warp route that gives this answer, made from one of lychgate's; checked to be the same."""
        file = self.folder() / "answer.json"
        file.write_text(json.dumps({"status": answer.status, "headers": answer.headers, "body": answer.body}))
        tenant, route = answer.path.strip("/").split("/")
        server = self.yardstick("answer", tenant=tenant, route=route, file=file)
        again = server.get(answer.path, {})
        if (again.status, again.headers, again.body) != (answer.status, answer.headers, answer.body):
            raise RuntimeError(f"the yardstick for {name} does not answer the same:\n{answer}\n{again}")
        return server

    def write(self, folder, tenants):
        """Writes tenant files."""
        (folder / "tenants").mkdir(exist_ok=True)
        for tenant, text in tenants.items():
            (folder / "tenants" / f"{tenant}.toml").write_text(text)

    def lychgate(self, tenants, settings="", level="warn", folder=None):
        """A gateway with these tenants, once it is ready: texts of tenant files by id."""
        folder = folder or self.folder()
        port = free_port()
        text = SETTINGS.format(port=port, public=PUBLIC, level=level) + settings
        (folder / "lychgate.toml").write_text(text)
        self.write(folder, tenants)
        log = self.running.enter_context((folder / "log").open("w"))
        command = [self.lychgate_program, "serve", "--config", folder / "lychgate.toml"]
        process = self.start(command, stdout=log, stderr=log)
        server = Server(process, f"http://127.0.0.1:{port}", folder)
        server.wait_until(lambda answer: answer.status == 200, "/readyz", {"Host": "localhost"})
        return server


def stop(process):
    """Ends a process and its own: `node` may be a script that starts the real one."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def tenant(provider, more="", rules=RULES):
    """A tenant file."""
    return f'issuer = "{provider}"\nclient_id = "{CLIENT_ID}"\nclient_secret = "secret"\n{more}\n{rules}'


class Answer:
    """What came for a path; headers in order, without the date."""

    def __init__(self, path, response):
        self.path, self.status = path, response.status
        headers = [(name.lower(), value) for name, value in response.getheaders()]
        self.headers = sorted(pair for pair in headers if pair[0] not in ("date", "content-length"))
        self.body = response.read().decode()

    def __repr__(self):
        return f"{self.status} {self.headers} and {len(self.body)} characters"

    def header(self, wanted):
        return [value for name, value in self.headers if name == wanted]


class Server:
    """A process that serves, and where."""

    def __init__(self, process, origin, folder=None):
        self.process, self.origin, self.folder = process, origin, folder
        self.address = urllib.parse.urlsplit(origin).netloc

    @property
    def pid(self):
        return self.process.pid

    def end(self):
        stop(self.process)

    def get(self, path, headers=None):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers or {})
            return Answer(path, connection.getresponse())

    def wait_until(self, good, path, headers=None, seconds=120):
        """Asks until the answer is good."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError):
                if good(self.get(path, headers)):
                    return
            time.sleep(0.005)
        log = (self.folder / "log").read_text()[-2000:] if self.folder else ""
        raise RuntimeError(f"not ready: {self.process.args}\n{log}")

    def sign_in(self, tenant="acme"):
        """The session's cookie of somebody who signs in at lychgate."""
        browser = {name: ASKED[name] for name in ("Host", "X-Forwarded-Proto", "X-Forwarded-For", "User-Agent", "Accept")}
        return self.sign_in_by(f"/{tenant}/login", f"/{tenant}/callback", f"__Host-lychgate-{tenant}", browser)

    def sign_in_by(self, begin, end, name, browser):
        """The cookie of that name of somebody who signs in at the yardsticks' provider, whose codes are nonces."""
        login = self.get(begin, browser)
        (location,) = login.header("location")
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query))
        cookie = "; ".join(value.split(";")[0] for value in login.header("set-cookie"))
        callback = urllib.parse.urlencode({"code": query["nonce"], "state": query["state"]})
        done = self.get(f"{end}?{callback}", browser | {"Cookie": cookie})
        cookies = [value.split(";")[0] for value in done.header("set-cookie")]
        found = [cookie for cookie in cookies if cookie.startswith(f"{name}=")]
        if len(found) != 1:
            raise RuntimeError(f"the sign-in at {self.origin} does not end: {done}")
        return found[0]

    def metric(self, name):
        """The value of a series, written as /metrics writes it."""
        text = self.get("/metrics", {"Host": "localhost"}).body
        (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
        return float(line.split()[-1])
