"""What is more than a check with a session: a page, and checks with a bearer that was verified before and that was not."""

from statistics import median

from harness.load import Values, hits
from harness.report import Aim
from harness.rounds import Contestant, alternate
from harness.servers import ASKED, tenant

# Many more than lychgate remembers.
TOKENS = 30_000
MISSES = 'lychgate_cache_requests_total{cache="access_tokens",result="miss"}'


def run(bench):
    report = bench.report
    tokens = bench.programs.folder() / "tokens"
    provider = bench.programs.yardstick("provider", tokens=TOKENS, file=tokens)
    api = '[api]\naudiences = ["https://api.example"]'
    gateway = bench.programs.lychgate({"acme": tenant(provider.origin, api)})

    report.heading("The dashboard page, and checks with a bearer")
    report.text("64 connections, HTTP/1.1. The yardstick is a bare warp route that sends the very same answer.")
    signed_in = ASKED | {"Cookie": gateway.sign_in()}
    bearer = ASKED | {"Authorization": tokens.open().readline().strip()}
    rows = []
    for what, path, asked, most in (
        ("the dashboard", "/acme/dashboard", signed_in, 6),
        ("a bearer that is remembered", "/acme/auth", bearer, 1.5),
    ):
        answer = gateway.get(path, asked)
        assert answer.status == 200, answer
        bare = bench.programs.answer(what, answer)
        contestants = [
            Contestant("lychgate", [gateway.pid], hits(gateway, path, asked)),
            Contestant("warp", [bare.pid], hits(bare, path, asked)),
        ]
        rows.append((what, alternate(what, contestants, bench.rounds, bench.seconds), {"cpu": Aim(most=most)}))
    report.comparison(rows)

    what = f"{TOKENS:,} bearers in turn"
    misses = []

    def counted(load):
        def counting(seconds):
            before = gateway.metric(MISSES)
            outcome = load(seconds)
            misses.append((gateway.metric(MISSES) - before) / outcome.requests)
            return outcome

        return counting

    values = Values("Authorization", tokens, "turn")
    contestants = [
        Contestant("lychgate", [gateway.pid], counted(hits(gateway, "/acme/auth", ASKED, values=values))),
        Contestant("one bearer", [gateway.pid], hits(gateway, "/acme/auth", bearer)),
    ]
    many, one = alternate(what, contestants, bench.rounds, bench.seconds)
    report.comparison([(what, [many, one], {})])
    pairs = zip(many.samples, one.samples, misses[1:])  # The first was to warm up.
    more = median((anew.cpu - known.cpu) / missed for anew, known, missed in pairs)
    report.text(
        f"{median(misses[1:]):.0%} of these bearers were not remembered. To verify one by RS256 takes {more:.0f} µs more "
        f"than to remember it (aim: at most 60)."
    )
