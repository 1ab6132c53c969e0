"""Rounds: what is compared takes turns, so that all suffer alike from whatever else the machine does."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from . import machine
from .load import Outcome


@dataclass
class Contestant:
    """Who takes part: a name, the processes that serve, the load they are put under for so many seconds, and what is done
    before that."""

    name: str
    pids: list[int]
    load: Callable[[float], Outcome]
    before: Callable[[], object] = lambda: None
    samples: list = field(default_factory=list)

    def sample(self, seconds):
        self.before()
        before = machine.cpu_seconds(self.pids), machine.children_seconds(), machine.busy_seconds()
        outcome = self.load(seconds)
        after = machine.cpu_seconds(self.pids), machine.children_seconds(), machine.busy_seconds()
        server, load, busy = (late - early for early, late in zip(before, after))
        return Sample(outcome, server, max(busy - server - load, 0) / outcome.seconds)

    def median(self, what):
        """The median of the rounds, by the name of a figure of `Sample`."""
        return median(getattr(sample, what) for sample in self.samples)


@dataclass(frozen=True)
class Sample:
    """One run. `foreign` is how many cores others kept busy meanwhile."""

    outcome: Outcome
    cpu_seconds: float
    foreign: float

    @property
    def cpu(self):
        """Microseconds of the server's processor time a request."""
        return self.cpu_seconds / self.outcome.requests * 1e6

    @property
    def rate(self):
        """Requests a second."""
        return self.outcome.requests / self.outcome.seconds

    @property
    def p50(self):
        return self.outcome.p50

    @property
    def p99(self):
        return self.outcome.p99


def ratio(ours, theirs, what):
    """The median of the rounds' own ratios: neighbours in time are compared."""
    pairs = zip(ours.samples, theirs.samples)
    return median(getattr(one, what) / getattr(other, what) for one, other in pairs)


def alternate(title, contestants, rounds, seconds):
    """Warms each up, then lets them take turns."""
    for contestant in contestants:
        contestant.load(1)
    for number in range(rounds):
        print(f"{title}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        # Every other round the other way about: nobody always goes first.
        for contestant in contestants if number % 2 == 0 else reversed(contestants):
            contestant.samples.append(contestant.sample(seconds))
    return contestants
