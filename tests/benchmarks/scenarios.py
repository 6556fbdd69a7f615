"""Load scenarios: who asks what, how often and how long, and what must hold then.

How to think about it: a scenario is some streams of requests side by side, each with a load of its
own and limits of its own; nothing here knows who plays it. k6 and our own generator are given the
same streams, and the same requests in the same order, so their figures are of one thing. Rates are
parts of what was found to be possible a moment before: so the limits can hold on any machine.

A stream either has callers, who ask again once they are answered (a closed model: a slow service is
asked less), or arrivals at times that no answer changes (an open one, as the world is).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt


class Asks(StrEnum):
    WEBHOOKS = "webhooks"
    """Orders' lives and chargebacks, each webhook new."""
    READS = "reads"
    """What operators look up: orders, disputes, their events, a page now and then."""
    PAGES = "pages"
    """Lists, page after page by their cursors."""


@dataclass(frozen=True, slots=True)
class Callers:
    """From the scenario's start on."""

    count: int
    seconds: float

    @property
    def after(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Arrivals:
    """`per_second` from `after` on; where `rising_from` is given, it rises from there evenly."""

    per_second: int
    seconds: float
    after: float = 0.0
    rising_from: int | None = None
    connections: int = 100
    """How many may wait for answers; an arrival that finds all waiting is dropped (k6), or late."""

    def times(self) -> list[float]:
        """Seconds from the scenario's start; as k6 does it, the first is due at once."""
        start, rise = self._start, (self.per_second - self._start) / self.seconds
        if rise == 0:
            return [self.after + n / start for n in range(self.count)]
        # When the area under the rising line is n.
        return [
            self.after + (sqrt(start**2 + 2 * rise * n) - start) / rise for n in range(self.count)
        ]

    @property
    def count(self) -> int:
        return max(1, round((self._start + self.per_second) / 2 * self.seconds))

    @property
    def _start(self) -> int:
        return self.per_second if self.rising_from is None else self.rising_from


@dataclass(frozen=True, slots=True)
class Limits:
    """What a machine of two busy processors keeps with room to spare; no answer may fail."""

    p95_ms: float
    p99_ms: float
    failed: float = 0.0
    """Share of all requests: no answer, or another status than 2xx."""
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    name: str
    asks: Asks
    load: Callers | Arrivals
    limits: Limits


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    streams: Sequence[Stream]

    @property
    def seconds(self) -> float:
        return max(stream.load.after + stream.load.seconds for stream in self.streams)


WEBHOOKS_SHARE = 0.49

# What must hold at a rate that the service keeps up with, and while it has all hands full.
_CALM = Limits(p95_ms=150, p99_ms=500)
_PAGES = Limits(p95_ms=250, p99_ms=500)
_RUSH = Limits(p95_ms=500, p99_ms=1000)


# Parts of the capacity, and how often a day's calm is multiplied in a spike.
_MIXED, _CALM_SHARE, _SPIKE_TIMES, _OPEN = 0.2, 0.05, 10, 0.4


def capacity(before: str, seconds: float) -> Scenario:
    """What this machine takes in at this moment, with this generator beside it: right before each
    scenario that has rates, since they are parts of it.
    """
    callers = Callers(64, seconds)
    return Scenario(
        f"capacity before {before}", [Stream("webhooks", Asks.WEBHOOKS, callers, _RUSH)]
    )


def pages(seconds: float) -> Scenario:
    """Operators leaf through the lists as fast as they are answered."""
    return Scenario("pages", [Stream("pages", Asks.PAGES, Callers(8, seconds), _PAGES)])


def mixed(capacity_per_second: float, seconds: float) -> Scenario:
    """A day's work."""
    rate = capacity_per_second * _MIXED
    webhooks = Arrivals(_whole(rate * WEBHOOKS_SHARE), seconds)
    reads = Arrivals(_whole(rate * (1 - WEBHOOKS_SHARE)), seconds)
    return Scenario(
        "mixed",
        [
            Stream("webhooks", Asks.WEBHOOKS, webhooks, _CALM),
            Stream("reads", Asks.READS, reads, _CALM),
        ],
    )


def spike(capacity_per_second: float, seconds: float) -> Scenario:
    """The provider sends many times its usual rate at once, while others read."""
    calm, quarter = _whole(capacity_per_second * _CALM_SHARE), seconds / 4
    rush = Arrivals(_SPIKE_TIMES * calm, quarter, after=quarter, connections=500)
    after = Arrivals(calm, 2 * quarter, after=2 * quarter)
    return Scenario(
        "spike",
        [
            Stream("before", Asks.WEBHOOKS, Arrivals(calm, quarter), _CALM),
            Stream("spike", Asks.WEBHOOKS, rush, _RUSH),
            Stream("after", Asks.WEBHOOKS, after, _CALM),
            Stream("reads", Asks.READS, Arrivals(_whole(calm / 2), seconds), _RUSH),
        ],
    )


def open_model(capacity_per_second: float, seconds: float) -> Scenario:
    """The rate rises and then holds, whatever the answers do."""
    calm, high = _whole(capacity_per_second * _CALM_SHARE), _whole(capacity_per_second * _OPEN)
    half = seconds / 2
    return Scenario(
        "open",
        [
            Stream("rising", Asks.WEBHOOKS, Arrivals(high, half, rising_from=calm), _CALM),
            Stream("holding", Asks.WEBHOOKS, Arrivals(high, half, after=half), _CALM),
            Stream("reads", Asks.READS, Arrivals(calm, seconds), _CALM),
        ],
    )


def _whole(per_second: float) -> int:
    return max(1, round(per_second))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a stream, by whichever generator."""

    requests: int
    failed: int
    dropped: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    def keeps(self, limits: Limits) -> bool:
        return (
            self.requests > 0
            and self.failed <= limits.failed * self.requests
            and self.dropped <= limits.dropped
            and self.p95_ms <= limits.p95_ms
            and self.p99_ms <= limits.p99_ms
        )
