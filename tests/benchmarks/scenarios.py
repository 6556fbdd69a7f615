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
    why: str
    streams: Sequence[Stream]

    @property
    def seconds(self) -> float:
        return max(stream.load.after + stream.load.seconds for stream in self.streams)


WEBHOOKS_SHARE = 0.49

# What must hold at a rate that the service keeps up with, and while it has all hands full.
_CALM = Limits(p95_ms=150, p99_ms=500)
_PAGES = Limits(p95_ms=250, p99_ms=500)
_RUSH = Limits(p95_ms=500, p99_ms=1000)


def capacity(time: float) -> Scenario:
    """First of all, since the others' rates are parts of what it finds; `time` is a part of the
    full run's.
    """
    why = "what this machine takes in, with this generator beside it"
    callers = Callers(64, 6 * time)
    return Scenario("capacity", why, [Stream("webhooks", Asks.WEBHOOKS, callers, _RUSH)])


def scenarios(capacity_per_second: float, time: float) -> list[Scenario]:
    def rate(share: float) -> int:
        return max(1, round(capacity_per_second * share))

    mixed, calm, rush, high = 0.2, 0.05, 0.6, 0.5
    return [
        Scenario(
            "pages",
            "eight operators leaf through the lists as fast as they are answered",
            [Stream("pages", Asks.PAGES, Callers(8, 15 * time), _PAGES)],
        ),
        Scenario(
            "mixed",
            "a day's work: 49 % webhooks, 51 % reads",
            [
                Stream(
                    "webhooks", Asks.WEBHOOKS,
                    Arrivals(rate(mixed * WEBHOOKS_SHARE), 20 * time), _CALM,
                ),
                Stream(
                    "reads", Asks.READS,
                    Arrivals(rate(mixed * (1 - WEBHOOKS_SHARE)), 20 * time), _CALM,
                ),
            ],
        ),
        Scenario(
            "spike",
            "the provider sends twelve times its usual rate at once, while others read",
            [
                Stream("before", Asks.WEBHOOKS, Arrivals(rate(calm), 5 * time), _CALM),
                Stream(
                    "spike", Asks.WEBHOOKS,
                    Arrivals(rate(rush), 5 * time, after=5 * time, connections=300), _RUSH,
                ),
                Stream(
                    "after", Asks.WEBHOOKS, Arrivals(rate(calm), 10 * time, after=10 * time), _CALM
                ),
                Stream("reads", Asks.READS, Arrivals(rate(calm / 2), 20 * time), _RUSH),
            ],
        ),
        Scenario(
            "open",
            "the rate rises to half of the capacity and holds, whatever the answers do",
            [
                Stream(
                    "rising", Asks.WEBHOOKS,
                    Arrivals(rate(high), 10 * time, rising_from=rate(calm)), _CALM,
                ),
                Stream(
                    "holding", Asks.WEBHOOKS,
                    Arrivals(rate(high), 10 * time, after=10 * time), _CALM,
                ),
                Stream("reads", Asks.READS, Arrivals(rate(calm), 20 * time), _CALM),
            ],
        ),
    ]  # fmt: skip


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
