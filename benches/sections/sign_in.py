"""Whole sign-ins, `/login` and `/callback`, at a provider that asks nobody anything; sessions are kept in SQLite."""

from statistics import median

from harness import load, machine
from harness.rounds import Contestant, alternate
from harness.servers import tenant

MOST = 800
BROWSERS = 16


def run(bench):
    provider = bench.programs.yardstick("provider")
    # Whole days of sign-ins in a minute: what a tenant may start is not limited here.
    gateway = bench.programs.lychgate({"acme": tenant(provider.origin)}, "\nlimits.sign_ins = 0\n")
    others = []

    def browsers(seconds):
        before = machine.cpu_seconds([provider.pid])
        outcome = load.sign_ins(bench.programs, gateway.origin, BROWSERS, seconds)
        others.append((machine.cpu_seconds([provider.pid]) - before) / outcome.requests * 1e6)
        return outcome

    signing_in = Contestant("lychgate", [gateway.pid], browsers)
    alternate("sign-ins", [signing_in], bench.rounds, bench.seconds)

    bench.report.heading("Signing in")
    bench.report.text(
        f"`/acme/login` and `/acme/callback`, without userinfo, sessions in SQLite, {BROWSERS} browsers at a time. The provider "
        "signs by RS256 and does nothing else; it and the browsers share the cores."
    )
    cpu = signing_in.median("cpu")
    met = f"{cpu:,.0f} (≤ {MOST})" if cpu <= MOST else f"**{cpu:,.0f}** (≤ {MOST})"
    columns = ["CPU of lychgate a sign-in, µs", "of the provider, µs", "sign-ins/s", "p50, ms", "p99, ms"]
    figures = [met, f"{median(others[1:]):,.0f}", f"{signing_in.median('rate'):,.0f}"]
    figures += [f"{signing_in.median(name) / 1000:.1f}" for name in ("p50", "p99")]
    bench.report.table(columns, [figures])
    bench.report.foreign += [sample.foreign for sample in signing_in.samples]
