"""Turns of Kafka mode: a consumer on a backlog, a closed loop from the socket to the log, ages.

How to think about it: whoever is measured is a service of its own, started as users start it; all
of them share one broker and one database, and take turns. Each turn leaves figures, and what it
sent: at the end every acknowledged webhook must be an event in the log.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

import msgspec
import psycopg

from payment_manager.contracts.envelope import CORRELATION_HEADER, Kind, decode
from tests.benchmarks.cpu import CpuMeter
from tests.benchmarks.flow import Flow, Made, Offsets, Turn, made, poisoned, provider_id
from tests.benchmarks.generator import Measured, closed_loop
from tests.benchmarks.mix import MadeAhead, webhook_requests
from tests.benchmarks.service import Service

MESSAGES_MIN = 20


@dataclass(slots=True)
class Drainer:
    """A consumer and the backlogs made for it. `rate`: what it does a second, as far as known."""

    name: str
    flow: Flow
    service: Service
    meter: CpuMeter
    messages: Iterator[Made]
    rate: float = 0.0
    poison: int = 0

    @classmethod
    def of(cls, name: str, flow: Flow, service: Service, meter: CpuMeter) -> "Drainer":
        return cls(name, flow, service, meter, made(webhook_requests(flow.name)))

    async def turn(self, messages: float, *, poison: bool = False) -> "Drained":
        """A backlog of about so many messages."""
        chosen = islice(self.messages, max(MESSAGES_MIN, round(messages)))
        backlog = await self.flow.fill(poisoned(chosen) if poison else chosen)
        checkpoint(self.service.database_url)
        webhooks, batches = await self.service.batches()
        turn = await self.flow.worked_off(backlog, self.meter)
        now_webhooks, now_batches = await self.service.batches()
        self.rate = turn.per_second
        self.poison += backlog.poison
        size = (now_webhooks - webhooks) / max(1.0, now_batches - batches)
        return Drained(turn, size, 1 - backlog.poison / backlog.count)


@dataclass(frozen=True, slots=True)
class Drained:
    turn: Turn
    batch_size: float
    good_share: float

    @property
    def good_per_second(self) -> float:
        """Poison is no work done."""
        return self.turn.per_second * self.good_share


# ── From the socket to the log ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Through:
    """A closed loop whose webhooks were all applied. `sustained`: all of them, by the time until
    the last one was applied.
    """

    measured: Measured
    applied_per_second: float
    sustained_per_second: float


@dataclass(slots=True)
class EndToEnd:
    """Ingest, its topics and a consumer behind them."""

    flow: Flow
    ingest: Service
    consumer: Service
    meter: CpuMeter
    webhooks: MadeAhead
    answers: Counter[int] = field(default_factory=Counter)

    async def closed(self, connections: int, seconds: float, warm_up_seconds: float) -> Through:
        before, began = sum((await self.flow.committed()).values()), time.perf_counter()
        seen: list[tuple[float, int]] = []
        watch = asyncio.create_task(self._watch(seen))
        try:
            measured = await closed_loop(
                self.ingest.address,
                self.webhooks,
                self.meter,
                connections=connections,
                seconds=seconds,
                warm_up_seconds=warm_up_seconds,
            )
        finally:
            watch.cancel()
        self.answers.update(measured.statuses)
        found = [one for one in seen if warm_up_seconds <= one[0] - began]
        found = [one for one in found if one[0] - began <= warm_up_seconds + seconds]
        applied = (
            (found[-1][1] - found[0][1]) / (found[-1][0] - found[0][0])
            if len(found) > 1
            else float("nan")
        )
        ended = await self.flow.caught_up()
        total = sum((await self.flow.committed()).values()) - before
        return Through(measured, applied, total / (ended - began))

    async def _watch(self, seen: list[tuple[float, int]]) -> None:
        while True:
            applied = sum((await self.flow.committed()).values())
            seen.append((time.perf_counter(), applied))
            await asyncio.sleep(0.1)


# ── Ages ──────────────────────────────────────────────────────────────────────────────────────────


class _Line(msgspec.Struct):
    event: str
    time: datetime
    correlation_id: str = ""


_read_line = msgspec.json.Decoder(_Line).decode


def log_end(service: Service) -> int:
    return service.log.stat().st_size


def ages(
    flow: Flow, start: Offsets, end: Offsets, log: Path, log_start: int, warm_up_seconds: float
) -> list[float]:
    """Seconds from received by Ingest (the envelope's time) to applied, sorted.

    Applied is when the consumer says so in its log, which it does after the commit; the event's own
    `created_at` is that of its transaction's beginning. The messages' correlation ids join the two.
    """
    received = {
        message.headers[CORRELATION_HEADER].decode(): decode(
            message.value, _kind(flow, message.topic)
        ).timestamp
        for message in flow.messages(start, end)
    }
    first = min(received.values())
    with log.open("rb") as file:
        file.seek(log_start)
        lines = [_read_line(line) for line in file if b'"event":"webhook"' in line]
    applied = {line.correlation_id: line.time for line in lines}
    missing = received.keys() - applied.keys()
    assert not missing, f"{len(missing)} messages were never applied"
    return sorted(
        (applied[id] - at).total_seconds()
        for id, at in received.items()
        if (at - first).total_seconds() >= warm_up_seconds
    )


def _kind(flow: Flow, topic: str) -> Kind:
    return Kind.ORDER if topic == flow.kafka_orders_topic else Kind.DISPUTE


def ids_in(flow: Flow, end: Offsets) -> set[bytes]:
    """The provider's ids of all that is in the topics."""
    return {provider_id(message.value) for message in flow.messages({}, end)}


# ── The database ──────────────────────────────────────────────────────────────────────────────────


def checkpoint(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def in_the_log(database_url: str, run: str) -> int:
    """Webhooks of this run that are events; parked ones are not."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM order_events WHERE provider_event_id LIKE %s)"
            " + (SELECT count(*) FROM dispute_events WHERE provider_event_id LIKE %s)",
            (f"evt-{run}-%", f"cb-{run}-%"),
        ).fetchone()
    assert row is not None
    return int(row[0])


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident now, and at most so far."""
    lines = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
