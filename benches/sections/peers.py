"""Side by side with what others use for the same: Apache's mod_auth_openidc, and an application of express-openid-connect.
Each answers a browser with a session of its own, made by a sign-in at the same provider."""

import os
import shutil
import subprocess
from pathlib import Path

from harness import machine
from harness.install import debian, debian_version, node
from harness.load import hits
from harness.rounds import Contestant, alternate
from harness.servers import ASKED, Server, free_port, tenant

PEERS = Path(__file__).parent.parent / "peers"
BROWSER = {name: ASKED[name] for name in ("Accept", "User-Agent", "Sec-Fetch-Mode", "Sec-Fetch-Dest")}


def run(bench):
    debian("apache2", "libapache2-mod-auth-openidc")
    provider = bench.programs.yardstick("provider")
    gateway = bench.programs.lychgate({"acme": tenant(provider.origin)})
    asked = ASKED | {"Cookie": gateway.sign_in()}
    ours = Contestant("lychgate", [gateway.pid], hits(gateway, "/acme/auth", asked))

    folder = bench.target / "peers"
    shutil.copytree(PEERS, folder, dirs_exist_ok=True)
    npm = ["npm", "--prefix", folder, "ci", "--no-audit", "--no-fund", "--silent"]
    subprocess.run([str(part) for part in npm], check=True, env=os.environ | {"PATH": node()})
    contestants = [
        contestant("mod_auth_openidc (shared memory)", apache(bench, provider), "/auth", "mod_auth_openidc_session"),
        contestant("express-openid-connect (cookie)", express(bench, provider, folder), "/auth", "appSession"),
        contestant("express-openid-connect (memory)", express(bench, provider, folder, "memory"), "/auth", "appSession"),
        ours,
    ]
    alternate("peers", contestants, bench.rounds, bench.seconds)

    versions = [f"{package} {debian_version(package)}" for package in ("apache2", "libapache2-mod-auth-openidc")]
    versions.append(f"Node {subprocess.run(['node', '--version'], check=True, capture_output=True, text=True, env=os.environ | {'PATH': node()}).stdout.strip()}")
    bench.report.heading("Beside its peers")
    bench.report.text(
        f"64 connections, HTTP/1.1; {', '.join(versions)}. Apache serves a file of a few bytes from two processes, each "
        "express is one process; lychgate is the yardstick, with all that it does in the first table."
    )
    bench.report.comparison([("a request with a session", contestants, {})])


def contestant(name, server, path, cookie):
    asked = BROWSER | {"Cookie": session(server, path, cookie)}
    answer = server.get(path, asked)
    assert answer.status == 200, (name, answer)
    return Contestant(name, machine.family(server.pid), hits(server, path, asked))


def session(server, path, cookie):
    """Signs in as `Server.sign_in` does, where the callback is `/callback`."""
    return server.sign_in_by(path, "/callback", cookie, BROWSER | {"Host": server.address})


def apache(bench, provider):
    folder, port = bench.programs.folder(), free_port()
    (folder / "www").mkdir()
    (folder / "www" / "auth").write_text("good\n")
    folder.chmod(0o755)
    conf = (PEERS / "apache.conf").read_text().format(port=port, folder=folder, issuer=provider.origin)
    (folder / "apache.conf").write_text(conf)
    process = bench.programs.start(["/usr/sbin/apache2", "-f", folder / "apache.conf", "-DFOREGROUND"])
    server = Server(process, f"http://127.0.0.1:{port}")
    server.wait_until(lambda answer: answer.status == 302, "/auth", BROWSER)
    return server


def express(bench, provider, folder, *kept):
    port = free_port()
    command = ["node", folder / "express.mjs", provider.origin, port, *kept]
    environment = os.environ | {"PATH": node(), "NODE_ENV": "production"}
    process = bench.programs.start(command, env=environment, stderr=subprocess.DEVNULL)
    server = Server(process, f"http://127.0.0.1:{port}")
    server.wait_until(lambda answer: answer.status == 302, "/auth", BROWSER)
    return server
