"""Events into OpenSearch: bulks, as the projection writes them, against one request an event.

How to think about it: all ways write the same documents with the same ids and versions into one
index, durably, and take turns. The one-by-one ways are spared a client library: bare sockets, an
answer read no further than needed. What several requests in flight share is the flush to disk and
the waiting; what only a bulk shares is everything that a request costs, on both sides.
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
from tests.benchmarks.caller import Caller, calling
from tests.benchmarks.report import Table, number
from tests.benchmarks.scale import FULL, QUICK, SMOKE
from tests.benchmarks.search_server import Node
from tests.benchmarks.section import Asked

BULK = 1000
"""As the projection takes them at once when nothing else is to be done."""

IN_FLIGHT = (1, 8, 32)
ROUNDS = {FULL.name: 5, QUICK.name: 3, SMOKE.name: 1}
SECONDS = {FULL.name: 3.0, QUICK.name: 2.0, SMOKE.name: 0.2}

RATIO_BAR = 20.0

BULKS, ONE_BY_ONE = f"bulks of {BULK:,}", "one request an event"

METHOD = f"""
**Bulks.** The same documents with the same ids and versions, durable when acknowledged, into one
index: by the projection's own code in bulks of {BULK:,}, each made visible; with a request an
event, 1 to {max(IN_FLIGHT)} of them in flight, never made visible; and as it is often done, a
request an event that is made visible by it (`refresh=true`). All take turns of
{SECONDS[FULL.name]:g} s, {ROUNDS[FULL.name]} rounds, after one for warm-up. The requests of one
event go over bare sockets, without a client library; making the documents is in all of them.
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
            callers = [
                await stack.enter_async_context(calling(node.address))
                for _ in range(max(IN_FLIGHT))
            ]
            ways: dict[str, Way] = {BULKS: _in_bulks(index)}
            ways |= {_name(n): _one_by_one(callers[:n]) for n in IN_FLIGHT}
            ways |= {_name(n, "refreshed"): _one_by_one(callers[:n], "true") for n in IN_FLIGHT[:2]}
            speeds = await _in_turns(ways, events, ROUNDS[scale], SECONDS[scale])
        await index.refresh(build=_BUILD)
        written, found = next(events).position - 1, await node.count(_INDEX)
        _tell(asked, speeds, written, found)
    finally:
        await client.close()
    await node.ask("DELETE", "/bulks-*")


def _name(in_flight: int, how: str = "") -> str:
    return f"{ONE_BY_ONE}{', ' if how else ''}{how}, {in_flight} in flight"


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
        written = 0
        while time.perf_counter() < until:
            bulk = list(islice(events, BULK))
            refused = await index.write(bulk, [], [], build=_BUILD)
            assert not refused, refused[0]
            await index.refresh(build=_BUILD)
            written += len(bulk)
        return written

    return write


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
    ratio = ratios[_name(1)]
    asked.findings.bar(
        f"{BULKS} / {ONE_BY_ONE}", f"≥ {RATIO_BAR:g}", ratio >= RATIO_BAR, f"{ratio:.1f}"
    )
    asked.findings.bar(
        "bulks: every document is there", "none missing", written == found,
        f"{written:,} written, {found:,} found",
    )  # fmt: skip
