"""The report: tables in Markdown, with what was aimed at beside what came out."""

from dataclasses import dataclass

from .rounds import ratio


@dataclass(frozen=True)
class Aim:
    """A ratio to reach: at most `most`, or at least `least`."""

    most: float | None = None
    least: float | None = None

    def judge(self, value):
        bound = f"≤ {self.most}" if self.most is not None else f"≥ {self.least}"
        met = value <= self.most if self.most is not None else value >= self.least
        return f"{value:.2f} ({bound})" if met else f"**{value:.2f}** ({bound})"


class Report:
    """What was measured, in the order in which it was; bold is what missed its aim."""

    def __init__(self):
        self.foreign = []

    def heading(self, text):
        print(f"\n### {text}\n", flush=True)

    def text(self, text):
        print(f"{text}\n", flush=True)

    def table(self, columns, rows):
        print(f"| {' | '.join(columns)} |")
        print(f"|{' --- |' * len(columns)}")
        for row in rows:
            print(f"| {' | '.join(row)} |", flush=True)
        print(flush=True)

    def comparison(self, rows):
        """Rows of (what, contestants, aims): the last of the contestants is what the others are measured by; `aims` are
        by the names of figures, and hold for the first."""
        lines = []
        for what, contestants, aims in rows:
            *_, yardstick = contestants
            for contestant in contestants:
                self.foreign += [sample.foreign for sample in contestant.samples]
                lines.append(_line(what, contestant, yardstick, aims if contestant is contestants[0] else {}))
                what = ""
        columns = ["", "", "CPU, µs", "×", "requests/s", "×", "p50, µs", "p99, µs", "×"]
        self.table(columns, lines)


def _line(what, contestant, yardstick, aims):
    def times(figure):
        if contestant is yardstick:
            return ""
        value = ratio(contestant, yardstick, figure)
        return aims[figure].judge(value) if figure in aims else f"{value:.2f}"

    return [
        what,
        contestant.name,
        f"{contestant.median('cpu'):.1f}",
        times("cpu"),
        f"{contestant.median('rate'):,.0f}",
        times("rate"),
        f"{contestant.median('p50'):,.0f}",
        f"{contestant.median('p99'):,.0f}",
        times("p99"),
    ]
