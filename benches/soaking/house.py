"""A gateway with one tenant and its provider, and somebody who signs in there."""

import contextlib
import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

from harness.servers import stop

from . import provider

SETTINGS = """
listen = "127.0.0.1:0"
[log]
format = "json"
level = "error,lychgate::cli=info"
[server]
max_connections = 50000
idle_timeout = "30m"
[reload]
watch = true
# What is measured is not how often one address may do it: all of this comes from one.
[limits]
sign_ins_per_address = 0
sign_ins = 0
failed_callbacks_per_address = 0
failed_callbacks = 0
failed_bearers_per_address = 0
logout_requests_per_address = 0
"""
TENANT = """
issuer = "{issuer}"
client_id = "{client}"
client_secret = "{secret}"
id_token_signed_response_alg = "HS256"
scopes = ["openid", "profile", "email", "offline_access"]
display_name = "{name}"
[api]
audiences = ["{audience}"]
"""
# What nginx asks about a page.
ASKED = {"X-Original-URL": "http://127.0.0.1/reports/2026", "X-Original-Method": "GET", "Accept": "text/html"}


class House:
    """Everything that runs; ends with the `with` it stands in."""

    def __init__(self, program):
        self.program, self.running = Path(program).resolve(), contextlib.ExitStack()

    def __enter__(self):
        self.folder = Path(self.running.enter_context(tempfile.TemporaryDirectory(prefix="lychgate-soak-")))
        command = [sys.executable, "-m", "soaking.provider", "4"]
        asked = {"cwd": Path(__file__).parents[1], "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        told = json.loads(self.start(command, **asked).stdout.readline())
        self.issuer, self.bearers = told["issuer"], told["bearers"]
        (self.folder / "lychgate.toml").write_text(SETTINGS)
        (self.folder / "tenants").mkdir()
        self.write_tenant("Soak")
        self.log = self.running.enter_context((self.folder / "log").open("w"))
        self.gateway = self.start([self.program, "serve"], cwd=self.folder, stdout=self.log, stderr=self.log, env={})
        self.port = self.wait_for_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *error):
        self.running.close()

    def start(self, command, **how):
        # `stop` ends all of its group.
        process = subprocess.Popen([str(part) for part in command], start_new_session=True, **how)
        self.running.callback(stop, process)
        return process

    def wait_for_port(self):
        until = time.monotonic() + 60
        while time.monotonic() < until and self.gateway.poll() is None:
            if found := re.search(r'"listening","address":"127.0.0.1:(\d+)"', (self.folder / "log").read_text()):
                return int(found[1])
            time.sleep(0.01)
        raise RuntimeError("the gateway does not start:\n" + (self.folder / "log").read_text()[-2000:])

    def write_tenant(self, name):
        """The tenant's file, at once; a gateway that runs takes it over."""
        text = TENANT.format(
            issuer=self.issuer, client=provider.CLIENT_ID, secret=provider.SECRET, name=name, audience=provider.AUDIENCE
        )
        draft = self.folder / "tenants" / "soak.draft"
        draft.write_text(text)
        draft.rename(self.folder / "tenants" / "soak.toml")

    def rss(self):
        """Resident memory of the gateway, in bytes."""
        status = Path(f"/proc/{self.gateway.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def files(self):
        """Open file descriptors of the gateway."""
        return sum(1 for _ in Path(f"/proc/{self.gateway.pid}/fd").iterdir())

    def metrics(self):
        """Every series and its value."""
        with contextlib.closing(Browser(self)) as browser:
            text = browser.get("/metrics").body
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}


class Page:
    def __init__(self, response):
        self.status, self.body = response.status, response.read().decode()
        self.location = response.getheader("location") or ""
        self.cookies = [line.split(";")[0] for line in response.headers.get_all("set-cookie") or []]


class Browser:
    """One connection that stays, and one session's cookie."""

    def __init__(self, house):
        self.house, self.cookie, self.nonce = house, "", ""
        self.connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=60)

    def close(self):
        self.connection.close()

    def send(self, method, path, headers=None, body=None):
        headers = {"Cookie": self.cookie, "Accept": "text/html"} | (headers or {})
        self.connection.request(method, path, body=body, headers={name: value for name, value in headers.items() if value})
        return Page(self.connection.getresponse())

    def get(self, path, headers=None):
        return self.send("GET", path, headers)

    def post(self, path, form="", headers=None):
        return self.send("POST", path, {"Content-Type": "application/x-www-form-urlencoded"} | (headers or {}), form)

    def sign_in(self, person):
        """Signs somebody in, and says how that ended: 303 if it did well."""
        login = self.get("/soak/login", {"Cookie": ""})
        if login.status != 302:
            return login.status
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(login.location).query))
        self.nonce = query["nonce"]
        answer = urllib.parse.urlencode({"code": f"{self.nonce}~{person}", "state": query["state"]})
        done = self.get(f"/soak/callback?{answer}", {"Cookie": "; ".join(login.cookies)})
        self.cookie = next((cookie for cookie in done.cookies if cookie.startswith("lychgate-soak=")), "")
        return done.status if self.cookie else f"{done.status} {done.body[-300:]}"
