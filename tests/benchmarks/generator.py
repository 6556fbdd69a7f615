"""The load generator: HTTP/1.1 on bare sockets, as cheap as Python can be.

How to think about it: it shares the machine with what it measures, so each request is one write of
bytes that were made before, and each answer is read no further than its status and length. A closed
loop has N connections that ask again as soon as they are answered: it finds the throughput. An open
loop asks at fixed times, whatever the answers do, and counts from the time at which a request was
due: it finds the latency, without hiding the requests that had to wait for a slow one.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from tests.benchmarks.cpu import CpuMeter, CpuTimes

DRAIN_SECONDS_MAX = 30.0
"""For answers that are still due at the end; a service that needs longer is broken, not slow."""

TICK_SECONDS = 0.001
"""What the event loop's clock can tell apart: arrivals are at most this late."""

CONNECTION_LOST = 0
"""Counted like a status: a request without an answer."""


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One run. `latencies` (seconds, sorted) are those of the measured time: in a closed loop of
    what was done, in an open one of all that was asked. `statuses` are of all requests, so warm-up
    and drain are checked too.
    """

    seconds: float
    latencies: list[float]
    statuses: Counter[int]
    cpu: CpuTimes
    late: int = 0
    """Of an open loop, warm-up included: requests that found no free connection when due."""

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile_ms(self, share: float) -> float:
        last = len(self.latencies) - 1
        return self.latencies[min(last, round(share * last))] * 1000 if last >= 0 else float("nan")


async def closed_loop(
    address: Address,
    requests: Iterator[bytes],
    meter: CpuMeter,
    *,
    connections: int,
    seconds: float,
    warm_up_seconds: float,
) -> Measured:
    """`connections` callers, each of which asks as soon as it was answered."""
    clock = time.perf_counter
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    idle = asyncio.Event()
    busy = 0
    began = ended = float("inf")

    def ask(connection: _Connection) -> None:
        nonlocal busy
        busy += 1
        connection.ask(next(requests), clock())

    def answered(connection: _Connection, status: int) -> None:
        nonlocal busy
        now = clock()
        busy -= 1
        statuses[status] += 1
        if began <= now < ended and 200 <= status < 300:
            latencies.append(now - connection.asked_at)
        if now < ended and status != CONNECTION_LOST:
            ask(connection)
        elif not busy:
            idle.set()

    async with _connected(address, connections, answered) as opened:
        for connection in opened:
            ask(connection)
        await asyncio.sleep(warm_up_seconds)
        cpu, began = meter.read(), clock()
        await asyncio.sleep(seconds)
        ended = clock()
        cpu = meter.read() - cpu
        await _drained(idle)
    return Measured(ended - began, sorted(latencies), statuses, cpu)


async def open_loop(
    address: Address,
    requests: Iterator[bytes],
    meter: CpuMeter,
    *,
    per_second: float,
    connections: int,
    seconds: float,
    warm_up_seconds: float,
) -> Measured:
    """A request every 1/`per_second`."""
    arrivals = round((warm_up_seconds + seconds) * per_second)
    return await timed_loop(
        address,
        requests,
        meter,
        times=[n / per_second for n in range(arrivals)],
        connections=connections,
        seconds=seconds,
        warm_up_seconds=warm_up_seconds,
    )


async def timed_loop(
    address: Address,
    requests: Iterator[bytes],
    meter: CpuMeter,
    *,
    times: Sequence[float],
    connections: int,
    seconds: float,
    warm_up_seconds: float,
) -> Measured:
    """A request at each of `times`, in seconds from now; one that finds no free connection waits
    for one, and its latency counts from when it was due.
    """
    loop, clock = asyncio.get_running_loop(), time.perf_counter
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    free: deque[_Connection] = deque()
    late: deque[float] = deque()
    idle = asyncio.Event()
    started = clock()
    began = started + warm_up_seconds
    due_next = answers = found_none = 0

    def arrive() -> None:
        nonlocal due_next, found_none
        now = clock()
        while due_next < len(times):
            due = started + times[due_next]
            if due > now:
                loop.call_later(max(TICK_SECONDS, due - now), arrive)
                return
            due_next += 1
            if free:
                free.popleft().ask(next(requests), due)
            else:
                found_none += 1
                late.append(due)

    def answered(connection: _Connection, status: int) -> None:
        nonlocal answers
        answers += 1
        statuses[status] += 1
        if connection.asked_at >= began:
            latencies.append(clock() - connection.asked_at)
        if status == CONNECTION_LOST:
            pass
        elif late:
            connection.ask(next(requests), late.popleft())
        else:
            free.append(connection)
        if answers == len(times):
            idle.set()

    async with _connected(address, connections, answered) as opened:
        free.extend(opened)
        started = clock()
        began = started + warm_up_seconds
        arrive()
        await asyncio.sleep(warm_up_seconds)
        cpu = meter.read()
        await _drained(idle, seconds)
        cpu = meter.read() - cpu
    return Measured(clock() - began, sorted(latencies), statuses, cpu, found_none)


class _Connection(asyncio.Protocol):
    """One request at a time; `answered` is called with each answer's status."""

    __slots__ = ("_answered", "_asking", "_received", "_transport", "asked_at")

    def __init__(self, answered: Callable[["_Connection", int], None]) -> None:
        self._answered = answered
        self._received = b""
        self._asking = False
        self.asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, counted_from: float) -> None:
        self.asked_at = counted_from
        self._asking = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        body = data.find(b"\r\n\r\n") + 4
        if body < 4 or len(data) < body + _content_length(data[:body].lower()):
            self._received = data
            return
        self._received = b""
        self._asking = False
        self._answered(self, int(data[9:12]))

    def connection_lost(self, _error: Exception | None) -> None:
        if self._asking:
            self._asking = False
            self._answered(self, CONNECTION_LOST)

    def close(self) -> None:
        self._transport.close()


def _content_length(head: bytes) -> int:
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise ValueError(f"an answer without a length: {head!r}")
    return int(head[at + 17 : head.index(b"\r", at + 17)])


@asynccontextmanager
async def _connected(
    address: Address, connections: int, answered: Callable[[_Connection, int], None]
) -> AsyncIterator[list[_Connection]]:
    loop = asyncio.get_running_loop()
    opened: list[_Connection] = []
    try:
        for _ in range(connections):
            _, protocol = await loop.create_connection(
                lambda: _Connection(answered), address.host, address.port
            )
            opened.append(protocol)
        yield opened
    finally:
        for connection in opened:
            connection.close()


async def _drained(idle: asyncio.Event, seconds: float = 0.0) -> None:
    async with asyncio.timeout(seconds + DRAIN_SECONDS_MAX):
        await idle.wait()
