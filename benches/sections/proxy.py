"""Proxying to an application, against a bare proxy of hyper-util: a small answer, and a gibibyte."""

from harness.load import curl, hits
from harness.report import Aim
from harness.rounds import Contestant, alternate, ratio
from harness.servers import ASKED, tenant


def run(bench):
    report = bench.report
    provider, application = (bench.programs.yardstick(role) for role in ("provider", "upstream"))
    upstream = f'[[upstreams]]\npath = "/app"\nurl = "{application.origin}"'
    gateway = bench.programs.lychgate({"acme": tenant(provider.origin, upstream)})
    bare = bench.programs.yardstick("proxy", to=application.origin)
    asked = {name: ASKED[name] for name in ("Host", "X-Forwarded-Proto", "X-Forwarded-For", "Accept", "User-Agent")}
    asked |= {"Cookie": gateway.sign_in()}

    def contestants(load):
        servers = ("lychgate", gateway), ("hyper-util", bare)
        return [Contestant(name, [server.pid], load(server)) for name, server in servers]

    report.heading("Proxying to an application")
    report.text("HTTP/1.1. The yardstick is a reverse proxy that hyper-util's client and server make, nothing between them.")
    small = contestants(lambda server: hits(server, "/acme/app/json", asked))
    alternate("1 KiB of JSON", small, bench.rounds, bench.seconds)
    report.comparison([("1 KiB of JSON, 64 connections", small, {"cpu": Aim(most=1.4)})])

    large = contestants(lambda server: lambda seconds: curl(server.origin + "/acme/app/gib", asked))
    alternate("1 GiB", large, bench.rounds, bench.seconds)
    columns = ["1 GiB, one connection", "GiB/s", "×", "CPU, s", "×"]
    rows = []
    for contestant in large:
        times = (Aim(least=0.8).judge(ratio(*large, "rate")), f"{ratio(*large, 'cpu'):.2f}")
        rate, cpu = contestant.median("rate"), contestant.median("cpu") / 1e6
        faster, costs = times if contestant is large[0] else ("", "")
        rows.append([contestant.name, f"{rate:.2f}", faster, f"{cpu:.2f}", costs])
    report.table(columns, rows)
