"""OpenSearch's side of a run: a node of our own, what it holds, and how far search is behind.

How to think about it: in service OpenSearch has machines of its own; here it shares the processors
with what is measured. Where the question is what search costs others, it gets the lowest priority
that the system knows: it works in what they leave, and what remains of its cost is what they do for
it themselves. How far a projection is, is counted from outside: events in the logs, and documents
that a search finds.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from infra.opensearch_server import OpenSearchServer
from tests.benchmarks.caller import calling
from tests.benchmarks.generator import Address

HEAP = "1g"
LOWEST_PRIORITY = 19
CAUGHT_UP_SECONDS_MAX = 300.0
_LOOK_SECONDS = 0.1

DURABLE = "request"
"""OpenSearch's own default: each request is answered when its documents are on the disk."""

# Of the API and of a projector that are measured side by side: nobody reads another's indices.
_INDICES = ("ORDERS", "DISPUTES", "ORDER_STATES", "DISPUTE_STATES")


@dataclass(frozen=True, slots=True)
class Node:
    url: str
    pid: int

    @property
    def address(self) -> Address:
        at = urlsplit(self.url)
        assert at.hostname is not None
        assert at.port is not None
        return Address(at.hostname, at.port)

    async def ask(self, method: str, target: str, document: object = None) -> Any:
        async with calling(self.address) as caller:
            return await caller.json(method, target, document)

    async def version(self) -> str:
        return str((await self.ask("GET", "/"))["version"]["number"])

    async def durability(self, index: str) -> str:
        """As the server says."""
        name = "index.translog.durability"
        answer = await self.ask(
            "GET", f"/{index}/_settings/{name}?include_defaults=true&flat_settings=true"
        )
        found = {{**each["defaults"], **each["settings"]}[name] for each in answer.values()}
        return ", ".join(sorted(found))

    async def count(self, *indices: str) -> int:
        """Documents that a search finds."""
        answer = await self.ask("GET", f"/{','.join(indices)}/_count?ignore_unavailable=true")
        return int(answer["count"])


@asynccontextmanager
async def running_opensearch(folder: Path, *, gives_way: bool = False) -> AsyncIterator[Node]:
    server = OpenSearchServer(folder, heap=HEAP, long_running=True)
    try:
        await asyncio.to_thread(server.start)
        if gives_way:
            _give_way(server.pid)
        yield Node(server.url, server.pid)
    finally:
        await asyncio.to_thread(server.stop)


def _give_way(pid: int) -> None:
    """All threads: each has a priority of its own, and hands it on to those that it starts.

    Where sessions share the processors, a priority counts within its session only, and the session
    has one, too.
    """
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(task.name), LOWEST_PRIORITY)
    session = Path(f"/proc/{pid}/autogroup")
    if session.exists():
        session.write_text(str(LOWEST_PRIORITY))


@dataclass(frozen=True, slots=True)
class Projected:
    """A service's own indices in `node`, and the database that they are made from."""

    node: Node
    name: str

    @property
    def settings(self) -> dict[str, str]:
        names = {
            f"OPENSEARCH_INDEX_{each}": f"{self.name}-{each.lower().replace('_', '-')}"
            for each in _INDICES
        }
        return {"OPENSEARCH_URLS": self.node.url, **names}

    @property
    def events(self) -> tuple[str, str]:
        """The aliases over the events."""
        return f"{self.name}-orders", f"{self.name}-disputes"

    async def behind(self, database_url: str) -> int:
        """Events in the logs that no search finds yet."""
        return await asyncio.to_thread(events_in, database_url) - await self.node.count(
            *self.events
        )

    async def caught_up(self, database_url: str) -> tuple[int, float]:
        """How far it is behind now, and how long it takes to catch up while nothing comes in."""
        began = time.perf_counter()
        first = left = await self.behind(database_url)
        while left:
            if time.perf_counter() - began > CAUGHT_UP_SECONDS_MAX:
                raise TimeoutError(f"search is behind by {left} events, and stays behind")
            await asyncio.sleep(_LOOK_SECONDS)
            left = await self.behind(database_url)
        return first, time.perf_counter() - began


def events_in(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM order_events) + (SELECT count(*) FROM dispute_events)"
        ).fetchone()
    assert row is not None
    return int(row[0])
