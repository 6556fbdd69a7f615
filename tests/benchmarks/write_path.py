"""Webhooks: the service as it is (A) against the same service with a transaction a request (B).

How to think about it: A and B run side by side in one run and take turns (A B, B A, A B), each with
a database of its own; the one that is not asked is idle, and both write out what is dirty before
each turn. So whatever else the machine does hits both, and the median round's ratio says what
sharing batches buys. Every answer's status is checked, and at the end every 202 is a row that is
there. Only B may say that it can't keep up (503); that is shown, and never counts as speed.
"""

from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

import psycopg

from tests.benchmarks.generator import Measured, closed_loop, open_loop
from tests.benchmarks.mix import MadeAhead, webhook_requests
from tests.benchmarks.scale import Scale
from tests.benchmarks.service import Service

OPEN_CONNECTIONS = 512
"""Far more than a service needs that keeps up; one that does not has the queue in front of it."""

CAPACITY_CONNECTIONS = 64
"""B is at its limit with far fewer; with more, it only waits longer."""

CLOSED_MAX_PER_SECOND = 12_000
"""Requests made before a run, so that making them is not part of it; more are made as needed."""

TAKEN, DUPLICATE, NOT_NOW = 202, 200, 503

Each = TypeVar("Each")


@dataclass(frozen=True, slots=True)
class Contender:
    """A running service, the webhooks made for it, and what it answered so far."""

    name: str
    service: Service
    webhooks: MadeAhead
    answers: Counter[int] = field(default_factory=Counter)

    def checkpoint(self) -> None:
        with psycopg.connect(self.service.database_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def taken_durably(self) -> int:
        """Webhooks that the database knows, each answered 202 once."""
        with psycopg.connect(self.service.database_url) as connection:
            row = connection.execute("SELECT count(*) FROM webhook_ids").fetchone()
        assert row is not None
        return int(row[0])


def contender(name: str, service: Service, *, scattered: bool = False) -> Contender:
    webhooks = webhook_requests(name.lower(), scattered=scattered)
    return Contender(name, service, MadeAhead(webhooks))


@dataclass(frozen=True, slots=True)
class Turn:
    measured: Measured
    batch_size: float


@dataclass(frozen=True, slots=True)
class Level:
    """All turns of both at one number of connections."""

    connections: int
    turns: dict[str, list[Turn]]

    def median_per_second(self, name: str) -> float:
        return median(turn.measured.per_second for turn in self.turns[name])

    def median_ms(self, name: str, share: float) -> float:
        return median(turn.measured.quantile_ms(share) for turn in self.turns[name])

    @property
    def ratios(self) -> list[float]:
        """Of each round, to show how steady the machine was."""
        return [
            a.measured.per_second / b.measured.per_second
            for a, b in zip(self.turns["A"], self.turns["B"], strict=True)
        ]

    @property
    def ratio(self) -> float:
        """The median round's: two turns side by side see the same machine, turns apart may not."""
        return median(self.ratios)


async def closed_level(
    scale: Scale, connections: int, both: list[Contender], *, checkpoint_each_turn: bool = True
) -> Level:
    """Without a checkpoint each turn there is one before the first."""
    _checkpoint(both)
    turns: dict[str, list[Turn]] = {each.name: [] for each in both}
    # Alone, both do the same work and the bar is close to 1: more rounds, to see past the noise.
    for number in range(scale.rounds * (2 if connections == 1 else 1)):
        for each in in_turn(both, number):
            seconds = scale.seconds + scale.warm_up_seconds
            each.webhooks.ahead(seconds * CLOSED_MAX_PER_SECOND)
            if checkpoint_each_turn:
                _checkpoint(both)
            webhooks, batches = await each.service.batches()
            measured = await closed_loop(
                each.service.address,
                each.webhooks,
                each.service.meter,
                connections=connections,
                seconds=scale.seconds,
                warm_up_seconds=scale.warm_up_seconds,
            )
            each.answers.update(measured.statuses)
            now_webhooks, now_batches = await each.service.batches()
            size = (now_webhooks - webhooks) / max(1.0, now_batches - batches)
            turns[each.name].append(Turn(measured, size))
    return Level(connections, turns)


@dataclass(frozen=True, slots=True)
class OpenRound:
    """Both at the rate that B had reached a moment before."""

    per_second: float
    measured: dict[str, Measured]

    @property
    def share_of_p99(self) -> float:
        return self.measured["A"].quantile_ms(0.99) / self.measured["B"].quantile_ms(0.99)


async def open_round(scale: Scale, both: list[Contender], number: int) -> OpenRound:
    _, b = both
    _checkpoint(both)
    # Now, not earlier in the run: a machine that others use too drifts within minutes.
    capacity = await closed_loop(
        b.service.address,
        b.webhooks,
        b.service.meter,
        connections=CAPACITY_CONNECTIONS,
        seconds=scale.seconds,
        warm_up_seconds=scale.warm_up_seconds,
    )
    b.answers.update(capacity.statuses)
    measured: dict[str, Measured] = {}
    for each in in_turn(both, number):
        seconds = scale.open_seconds + scale.warm_up_seconds
        each.webhooks.ahead(seconds * capacity.per_second)
        _checkpoint(both)
        measured[each.name] = await open_loop(
            each.service.address,
            each.webhooks,
            each.service.meter,
            per_second=capacity.per_second,
            connections=OPEN_CONNECTIONS,
            seconds=scale.open_seconds,
            warm_up_seconds=scale.warm_up_seconds,
        )
        each.answers.update(measured[each.name].statuses)
    return OpenRound(capacity.per_second, measured)


def in_turn(both: list[Each], number: int) -> list[Each]:
    """A B, B A, A B: who goes second must not always be the same."""
    return both if number % 2 == 0 else both[::-1]


def _checkpoint(both: list[Contender]) -> None:
    for each in both:
        each.checkpoint()
