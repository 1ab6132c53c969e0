"""What grows and what does not: the check among many tenants, among many sessions, with a second replica; the start and the
memory with many tenants."""

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from statistics import median

from harness import machine
from harness.install import debian
from harness.load import Values, each, hits
from harness.report import Aim
from harness.rounds import Contestant, alternate
from harness.servers import ASKED, CLIENT_ID, RULES, Server, free_port, tenant

TENANTS = (1, 100, 10_000)
SESSIONS = (100, 100_000, 1_000_000)
# So many that a minute is enough to ask about each, and more than a processor's caches hold.
RECENT = 50_000
FLAT = {"cpu": Aim(most=1.1)}
# Room for a million sessions.
SETTINGS = '\nsecret_file = "data/secret"\nsessions.cache = "6GiB"\n'
STARTS = 5


def tenants(count, rules=RULES):
    """Tenant files of the provider where `benches/yardsticks` says that sessions have begun."""
    provider = 'domain = "example.eu.auth0.com"\nclient_secret = "secret"\n'
    return {f"t{number}": f'{provider}client_id = "{CLIENT_ID}-{number}"\n{rules}' for number in range(count)}


def run(bench):
    among_tenants(bench)
    among_sessions(bench)
    with_a_replica(bench)
    start(bench)


@dataclass
class House:
    """A gateway with sessions, and what to ask about them."""

    server: Server
    values: Values

    def contestant(self, name):
        """Asks about any of the sessions."""
        return Contestant(name, [self.server.pid], hits(self.server, "/t0/auth", ASKED, values=self.values))

    def recent(self, bench, name):
        """Asks about sessions, no more than `RECENT`, of which each was asked about just before."""
        lines = self.values.file.read_text().splitlines(keepends=True)
        some = self.values.file.with_name("recent")
        some.write_text("".join(lines[:: max(len(lines) // RECENT, 1)]))
        load = hits(self.server, "/t0/auth", ASKED, values=Values("Cookie", some))
        before = lambda: each(bench.programs, self.server.origin, some, ASKED)
        return Contestant(name, [self.server.pid], load, before)

    def misses(self):
        return self.server.metric('lychgate_cache_requests_total{cache="sessions",result="miss"}')

    def touches(self):
        """Last uses that were written into the store, which each session's is once a minute."""
        text = self.server.get("/metrics", {"Host": "localhost"}).body
        line = r'^lychgate_session_operations_total\{operation="touch",.*\} (\d+)$'
        return sum(int(count) for count in re.findall(line, text, re.MULTILINE))


def house(bench, tenant_count, sessions):
    folder = bench.programs.folder()
    told = {"data": folder / "data", "tenants": tenant_count, "count": sessions}
    options = [str(part) for name, value in told.items() for part in (f"--{name}", value)]
    subprocess.run([bench.programs.yardsticks_program, "sessions", *options], check=True)
    server = bench.programs.lychgate(tenants(tenant_count), SETTINGS, folder=folder)
    return House(server, Values("Cookie", folder / "data" / "asked"))


def read_once(bench, house):
    """Asks about each session once: what it takes to read one from the store, and how many were read."""
    ask = lambda _: each(bench.programs, house.server.origin, house.values.file, ASKED)
    before = house.misses()
    sample = Contestant("", [house.server.pid], ask).sample(0)
    return sample, house.misses() - before


def among_tenants(bench):
    houses = [house(bench, count, max(TENANTS)) for count in TENANTS]
    for one in houses:
        read_once(bench, one)
    contestants = [one.contestant(f"{count:,} tenant{'s' * (count > 1)}") for one, count in zip(houses, TENANTS)]
    alternate("tenants", list(reversed(contestants)), bench.rounds, bench.seconds)
    bench.report.heading("A check among many tenants")
    bench.report.text(f"{max(TENANTS):,} sessions in memory, of as many tenants as there are; each request asks about one at random.")
    bench.report.comparison([("a check", list(reversed(contestants)), FLAT)])
    finish(houses)


def among_sessions(bench):
    houses = [house(bench, 1, count) for count in SESSIONS]
    firsts = [read_once(bench, one) for one in houses]
    recent = [one.recent(bench, f"{count:,} sessions") for one, count in zip(houses, SESSIONS)]
    alternate("sessions in use", list(reversed(recent)), bench.rounds, bench.seconds)
    contestants = [one.contestant(f"{count:,} sessions") for one, count in zip(houses, SESSIONS)]
    before = [(one.misses(), one.touches()) for one in houses]
    alternate("any session", list(reversed(contestants)), bench.rounds, bench.seconds)
    bench.report.heading("A check among many sessions")
    bench.report.text(
        f"Sessions of one tenant, all in memory; each request asks about one at random: first of {RECENT:,} that lie scattered among "
        "them and were all asked about within the last minute, then of all. A session's last use is written once a minute, "
        "and so with nearly each check of the second kind."
    )
    rows = [("of those in use", list(reversed(recent)), FLAT), ("of all", list(reversed(contestants)), {})]
    bench.report.comparison(rows)
    rows = []
    for one, count, (sample, missed), (misses, touches), contestant in zip(houses, SESSIONS, firsts, before, contestants):
        requests = sum(sample.outcome.requests for sample in contestant.samples)
        rows.append([
            f"{count:,}",
            f"{sample.cpu:.1f}",
            f"{missed / sample.outcome.requests:.0%}",
            f"{(one.misses() - misses) / requests:.1%}",
            f"{(one.touches() - touches) / requests:.1%}",
            f"{machine.resident_mib(one.server.pid):,.0f}",
        ])
    bench.report.text("Each session once before that, and what else went on:")
    columns = ["sessions", "CPU of the first check of each, µs", "of these not in memory", "of the later ones", "last uses written a check", "RSS, MiB"]
    bench.report.table(columns, rows)
    finish(houses)


def finish(houses):
    for one in houses:
        one.server.end()
        shutil.rmtree(one.server.folder / "data")


def with_a_replica(bench):
    debian("redis-server")
    provider = bench.programs.yardstick("provider")
    port = free_port()
    command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    redis = bench.programs.start(command, stdout=subprocess.DEVNULL, cwd=bench.programs.folder())
    secret = bench.programs.folder() / "secret"
    made = subprocess.run([bench.programs.lychgate_program, "secret"], check=True, capture_output=True, text=True)
    secret.write_text(made.stdout)
    secret.chmod(0o600)
    files = {"acme": tenant(provider.origin)}
    settings = f'replicas = 2\nsecret_file = "{secret}"\nsessions.store = "redis"\nsessions.redis_url = "redis://127.0.0.1:{port}"\n'
    one, other = (bench.programs.lychgate(files, settings) for _ in range(2))
    alone = bench.programs.lychgate(files)
    shared = ASKED | {"Cookie": one.sign_in()}
    own = ASKED | {"Cookie": alone.sign_in()}
    contestants = [
        Contestant("one of two, on Redis", [one.pid], hits(one, "/acme/auth", shared)),
        Contestant("the other, not where the sign-in was", [other.pid], hits(other, "/acme/auth", shared)),
        Contestant("alone, on SQLite", [alone.pid], hits(alone, "/acme/auth", own)),
    ]
    before = machine.cpu_seconds([redis.pid])
    alternate("replicas", contestants, bench.rounds, bench.seconds)
    used = (machine.cpu_seconds([redis.pid]) - before) * 1e6
    requests = sum(sample.outcome.requests for contestant in contestants[:2] for sample in contestant.samples)
    bench.report.heading("A check with two replicas on one Redis")
    bench.report.comparison([("a check", contestants, {})])
    bench.report.text(f"Redis used {used / requests:.2f} µs a check meanwhile.")


def start(bench):
    """Each kind of house `STARTS` times, in turns."""
    many = max(TENANTS)
    kinds = [
        ("2", tenants(2, ""), None, 16),
        (f"{many:,}", tenants(many, ""), 1, 120),
        (f"{many:,}, ten rules each", tenants(many), None, None),
    ]
    seen = [[] for _ in kinds]
    for _ in range(STARTS):
        for (_, files, _, _), figures in zip(kinds, seen):
            folder = bench.programs.folder()
            bench.programs.write(folder, files)
            began = time.monotonic()
            server = bench.programs.lychgate({}, folder=folder)
            took = time.monotonic() - began
            figures.append((took, machine.cpu_seconds([server.pid]), machine.resident_mib(server.pid)))
            server.end()
    rows = []
    for (name, _, seconds, mib), figures in zip(kinds, seen):
        took, cpu, resident = (median(column) for column in zip(*figures))
        rows.append([name, judged(took, seconds, 2), f"{cpu:.2f}", judged(resident, mib, 0)])
    bench.report.heading("The start")
    bench.report.text(f"From the start of the process until `/readyz` is 200, medians of {STARTS} starts, and the memory then.")
    bench.report.table(["tenants", "seconds", "CPU, s", "RSS, MiB"], rows)


def judged(value, most, digits):
    text = f"{value:.{digits}f}"
    if most is None:
        return text
    return f"{text} (≤ {most})" if value <= most else f"**{text}** (≤ {most})"
