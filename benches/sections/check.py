"""A check, `/<tenant>/auth` with a good session, against a warp route that sends the same answer."""

from harness.load import h2load, hits, wrk
from harness.report import Aim
from harness.rounds import Contestant, alternate
from harness.servers import ASKED, tenant

AIMS = {"cpu": Aim(most=1.2), "rate": Aim(least=0.85), "p99": Aim(most=1.25)}
PATH = "/acme/auth"


def run(bench):
    report = bench.report
    provider = bench.programs.yardstick("provider")
    tenants = {"acme": tenant(provider.origin)}
    gateway = bench.programs.lychgate(tenants)
    asked = ASKED | {"Cookie": gateway.sign_in()}
    answer = gateway.get(PATH, asked)
    assert answer.status == 200, answer
    bare = bench.programs.answer("a check", answer)

    report.heading("A check with a good session")
    report.text(
        "`/acme/auth` as nginx asks it, with metrics, a policy of ten rules and a trusted proxy's headers, `log.level = \"warn\"`. "
        "The yardstick is a bare warp route that sends the very same answer."
    )
    rows = []
    for protocol, load in (("HTTP/1.1", wrk), ("HTTP/2", h2load)):
        for connections in (1, 64):
            contestants = [
                Contestant("lychgate", [gateway.pid], hits(gateway, PATH, asked, connections, load)),
                Contestant("warp", [bare.pid], hits(bare, PATH, asked, connections, load)),
            ]
            what = f"{protocol}, {connections} connection{'s' * (connections > 1)}"
            rows.append((what, alternate(what, contestants, bench.rounds, bench.seconds), AIMS))

    # A log line for each request, as log.level = "info" has it, which is the default.
    talkative = bench.programs.lychgate(tenants, level="info")
    logged = ASKED | {"Cookie": talkative.sign_in()}
    contestants = [
        Contestant("lychgate", [talkative.pid], hits(talkative, PATH, logged)),
        Contestant("warp", [bare.pid], hits(bare, PATH, asked)),
    ]
    what = "the same, each request logged to a file"
    rows.append((what, alternate(what, contestants, bench.rounds, bench.seconds), {}))
    report.comparison(rows)
