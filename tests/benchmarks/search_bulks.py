"""Events into OpenSearch: bulks, as the projection writes them, against one request an event.

How to think about it: all ways write the same documents with the same ids and versions into one
index, durably, and take turns. The projection's own code with bulks of one is the comparison that
counts; bare sockets show what a request costs at least, without a client library. What several
requests in flight share is the flush to disk and the waiting; what only a bulk shares is everything
that a request costs, on both sides.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from statistics import median
from types import MappingProxyType

from uuid_utils.compat import uuid7

from payment_manager.adapters.clock import SystemClock
from payment_manager.adapters.opensearch import documents
from payment_manager.adapters.opensearch.connection import search_client
from payment_manager.adapters.opensearch.index import OpenSearchIndex
from payment_manager.application.ports import Document, LoggedEvent
from payment_manager.application.project import REFRESH_SECONDS
from tests.benchmarks.caller import Caller, calling
from tests.benchmarks.report import Table, number
from tests.benchmarks.scale import FULL, QUICK, SMOKE
from tests.benchmarks.search_server import Node
from tests.benchmarks.section import Asked

BULK = 1000
"""As the projection takes them at once when nothing else is to be done."""

ROUNDS = {FULL.name: 5, QUICK.name: 3, SMOKE.name: 1}
SECONDS = {FULL.name: 3.0, QUICK.name: 2.0, SMOKE.name: 0.2}
WARM_UP_SECONDS = {FULL.name: 30.0, QUICK.name: 10.0, SMOKE.name: 0.2}
"""OpenSearch's code is compiled while it runs: its first hundred thousand documents cost it some
times what later ones do.
"""

RATIO_BAR = 20.0

BULKS = f"bulks of {BULK:,}"
BULKS_OF_ONE = "bulks of one"
BARE = "a bare request an event"

METHOD = f"""
**Bulks.** The same documents with the same ids and versions, durable when acknowledged, into one
index: by the projection's own code in bulks of {BULK:,}, made visible every half second, as it
does; by the same code with bulks of one, never made visible; over bare sockets, without a client
library, a request an event; and as it is often done, a request an event that makes it visible
(`refresh=true`). All take turns of {SECONDS[FULL.name]:g} s, {ROUNDS[FULL.name]} rounds, after
{WARM_UP_SECONDS[FULL.name]:g} s of bulks and a round for warm-up.
"""

NAMES: Mapping[Document, str] = MappingProxyType(
    {
        Document.ORDER_EVENT: "bulks-orders",
        Document.DISPUTE_EVENT: "bulks-disputes",
        Document.ORDER: "bulks-order-states",
        Document.DISPUTE: "bulks-dispute-states",
    }
)
_BUILD = "20260102t100000-1a2b"
_INDEX = f"{NAMES[Document.ORDER_EVENT]}-{_BUILD}"
_BEGAN = datetime(2026, 1, 2, 10, tzinfo=UTC)

Way = Callable[[Iterator[LoggedEvent], float], Awaitable[int]]
"""Writes events until that time of `perf_counter`; how many."""


async def measure(asked: Asked, node: Node) -> None:
    scale, events = asked.scale.name, _events()
    client = search_client(node.url, None, 60.0)
    try:
        index = OpenSearchIndex(client, NAMES, SystemClock())
        await index.start_build(_BUILD)
        async with AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(calling(node.address)) for _ in range(32)]
            ways: dict[str, Way] = {BULKS: _in_bulks(index)}
            ways |= {_flight(BULKS_OF_ONE, n): _in_bulks_of_one(index, n) for n in (1, 8)}
            ways |= {_flight(BARE, n): _one_by_one(callers[:n]) for n in (1, 8, 32)}
            ways |= {
                _flight(f"{BARE}, refreshed", n): _one_by_one(callers[:n], "true") for n in (1, 8)
            }
            await ways[BULKS](events, time.perf_counter() + WARM_UP_SECONDS[scale])
            speeds = await _in_turns(ways, events, ROUNDS[scale], SECONDS[scale])
        await index.refresh(build=_BUILD)
        written, found = next(events).position - 1, await node.count(_INDEX)
        _tell(asked, speeds, written, found)
    finally:
        await client.close()
    await node.ask("DELETE", "/bulks-*")


def _flight(way: str, in_flight: int) -> str:
    return f"{way}, {in_flight} in flight"


async def _in_turns(
    ways: Mapping[str, Way], events: Iterator[LoggedEvent], rounds: int, seconds: float
) -> dict[str, list[float]]:
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-1, rounds):
        order = [*ways] if turn % 2 else [*ways][::-1]
        for name in order:
            began = time.perf_counter()
            written = await ways[name](events, began + seconds)
            if turn >= 0:  # the first is warm-up
                speeds[name].append(written / (time.perf_counter() - began))
    return speeds


def _in_bulks(index: OpenSearchIndex) -> Way:
    async def write(events: Iterator[LoggedEvent], until: float) -> int:
        written, shown_at = 0, time.perf_counter()
        while time.perf_counter() < until:
            written += await _write(index, events, BULK)
            if time.perf_counter() - shown_at >= REFRESH_SECONDS:
                shown_at = time.perf_counter()
                await index.refresh(build=_BUILD)
        await index.refresh(build=_BUILD)
        return written

    return write


def _in_bulks_of_one(index: OpenSearchIndex, in_flight: int) -> Way:
    async def write(events: Iterator[LoggedEvent], until: float) -> int:
        async def caller() -> int:
            written = 0
            while time.perf_counter() < until:
                written += await _write(index, events, 1)
            return written

        return sum(await asyncio.gather(*(caller() for _ in range(in_flight))))

    return write


async def _write(index: OpenSearchIndex, events: Iterator[LoggedEvent], count: int) -> int:
    refused = await index.write(list(islice(events, count)), [], [], build=_BUILD)
    assert not refused, refused[0]
    return count


def _one_by_one(callers: list[Caller], refresh: str = "false") -> Way:
    async def write(events: Iterator[LoggedEvent], until: float) -> int:
        async def caller(asking: Caller) -> int:
            written = 0
            while time.perf_counter() < until:
                event = next(events)
                (_, id), source = documents.identity(event), documents.source(event)
                target = f"/{_INDEX}/_doc/{id}?version={documents.version(event)}"
                head = (
                    f"PUT {target}&version_type=external&refresh={refresh} HTTP/1.1\r\n"
                    "Host: localhost\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(source)}\r\n\r\n"
                )
                status, answer = await asking.ask(head.encode() + source)
                assert status == 201, answer
                written += 1
            return written

        return sum(await asyncio.gather(*map(caller, callers)))

    return write


def _events() -> Iterator[LoggedEvent]:
    """Without end; its place in the log is its number."""
    for n in count(1):
        order_id, provider_event_id = f"ord-{n * 2654435761 % 2**32:08x}", f"evt-{n}"
        at = _BEGAN + timedelta(milliseconds=n)
        payload = {
            "provider_event_id": provider_event_id,
            "order_id": order_id,
            "user_id": f"00000000-0000-4000-8000-{n * 2654435761 % 50_000:012x}",
            "status": "updated",
            "created_at": _BEGAN.isoformat(),
            "updated_at": at.isoformat(),
            "meta": {"amount": f"{1 + n % 900}.00", "currency": "USD", "method": "card"},
        }
        yield LoggedEvent(
            event_id=uuid7(),
            order_id=order_id,
            dispute_id=None,
            sequence=1,
            kind="webhook_received",
            provider_event_id=provider_event_id,
            data=json.dumps({"outcome": "applied", "payload": payload}),
            created_at=at,
            correlation_id=f"{n:032x}",
            position=n,
        )


def _tell(asked: Asked, speeds: Mapping[str, list[float]], written: int, found: int) -> None:
    bulks = speeds[BULKS]
    table = Table(
        "Events into OpenSearch",
        ("way", "events/s", "bulks / this (rounds)"),
        note=f"Medians of {len(bulks)} turns of {SECONDS[asked.scale.name]:g} s, the ratio that of "
        "the median round.",
    )
    ratios = {}
    for name, found_speeds in speeds.items():
        rounds = [a / b for a, b in zip(bulks, found_speeds, strict=True)]
        ratios[name] = median(rounds)
        cell = f"{ratios[name]:.1f} ({min(rounds):.1f}–{max(rounds):.1f})"
        table.add(name, number(median(found_speeds)), "" if name == BULKS else cell)
    asked.findings.keep(table)
    one = _flight(BULKS_OF_ONE, 1)
    asked.findings.bar(
        f"{BULKS} / {one}", f"≥ {RATIO_BAR:g}", ratios[one] >= RATIO_BAR, f"{ratios[one]:.1f}"
    )
    asked.findings.bar(
        "bulks: every document is there", "none missing", written == found,
        f"{written:,} written, {found:,} found",
    )  # fmt: skip
