"""Search dies and comes back: what those who send webhooks notice of it, and what search has lost.

How to think about it: whoever writes to search while somebody waits has made search part of every
request: its hiccups are theirs, and what it didn't take in that moment it never gets. A projection
that follows the log has nobody waiting, and knows where it stopped.

    make lab-search-away
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from statistics import median
from uuid import UUID, uuid4

import aiohttp
import httpx
import uvloop
from opensearchpy import AsyncOpenSearch, OpenSearchException

from infra.opensearch_server import OpenSearchServer
from labs.ground import show
from labs.search_ground import (
    PATIENCE_SECONDS,
    LabService,
    documents,
    opensearch,
    service,
    until,
)

RATE = 10
"""Webhooks a second, to each of the ways."""

WELL_SECONDS = 5.0
HANG_SECONDS = 7.0
"""OpenSearch's process stands still, and its connections stay open: an overloaded one is like it.
"""
DEAD_SECONDS = 5.0
"""Until it is started again; it needs some more until it answers."""
BACK_SECONDS = 8.0

LOOK_SECONDS = 0.2

WELL, HANGS, DEAD, BACK = "well", "hangs", "dead", "back again"

IN_THE_REQUEST = "indexed in the request"
OURS = "ours"

THEIR_INDEX = "theirs"


@dataclass(slots=True)
class Seen:
    """Of one way, by phase: how long each webhook took until it was answered, in seconds."""

    name: str
    take: "Take"
    waits: dict[str, list[float]] = field(default_factory=dict)
    sent_in: set[str] = field(default_factory=set)
    taken: int = 0

    def row(self, missing: int) -> tuple[object, ...]:
        return (
            self.name,
            self.taken,
            *(f"{1000 * median(self.waits[phase]):.0f}" for phase in (WELL, HANGS, DEAD, BACK)),
            f"{1000 * max(wait for waits in self.waits.values() for wait in waits):.0f}",
            missing,
        )


@dataclass(slots=True)
class Watched:
    """What the service says of itself, by phase."""

    ready: dict[str, set[int]] = field(default_factory=dict)
    search: dict[str, list[str]] = field(default_factory=dict)
    behind: dict[str, int] = field(default_factory=dict)
    documents: int = 0
    caught_up_at: float | None = None

    def note(self, phase: str, status: int, search: str, events: int) -> None:
        behind = events - self.documents
        self.ready.setdefault(phase, set()).add(status)
        self.search.setdefault(phase, []).append(search)
        self.behind[phase] = max(behind, self.behind.get(phase, 0))
        # What came within its usual half second is not what the outage left.
        if phase == BACK and behind < 2 * RATE and self.caught_up_at is None:
            self.caught_up_at = time.monotonic()

    def row(self, phase: str) -> tuple[object, ...]:
        statuses = ", ".join(map(str, sorted(self.ready.get(phase, ()))))
        said = "; ".join(dict.fromkeys(self.search.get(phase, ())))
        return phase, statuses, said, self.behind.get(phase, "")


@dataclass(slots=True)
class Stage:
    """Which phase it is now, and the webhooks under way."""

    phase: str = WELL
    is_over: bool = False
    under_way: set[asyncio.Task[None]] = field(default_factory=set)


Take = Callable[[], Awaitable[bool]]
"""Sends a webhook; whether it was taken. Returns when its sender has the answer."""


def ours(provider: aiohttp.ClientSession) -> Take:
    """The service as it is: search is not its requests' business."""

    async def take() -> bool:
        return await _sent(provider, _webhook(uuid4().hex))

    return take


def in_the_request(provider: aiohttp.ClientSession, search: AsyncOpenSearch) -> Take:
    """What a handler does that indexes: after the commit, so that nothing is indexed that is not
    true; visible at once, so that it can be searched; and what fails is left out, so that search
    can't break payments.
    """

    async def take() -> bool:
        id = uuid4().hex
        webhook = _webhook(id)
        taken = await _sent(provider, webhook)
        with suppress(OpenSearchException):
            await search.index(index=THEIR_INDEX, id=id, body=webhook, params={"refresh": "true"})
        return taken

    return take


async def _sent(provider: aiohttp.ClientSession, webhook: dict[str, object]) -> bool:
    async with provider.post("/webhooks/payments/orders", json=webhook) as answer:
        return answer.status == 202


def _webhook(id: str) -> dict[str, object]:
    return {
        "provider_event_id": f"evt-{id}",
        "order_id": f"lab-{id}",
        "user_id": str(UUID(id)),
        "status": "created",
        "created_at": "2026-01-02T10:00:00Z",
        "updated_at": "2026-01-02T10:00:00Z",
        "meta": {"amount": "100.50", "currency": "USD"},
    }


async def run() -> None:
    logging.getLogger("opensearch").setLevel(logging.CRITICAL)
    with opensearch() as server, service(server) as running:
        until(lambda: _ready(running.url)[1] == "ok")
        watched, stage = Watched(), Stage()
        async with (
            # Connections for all callers, however many wait.
            aiohttp.ClientSession(running.url, connector=aiohttp.TCPConnector(limit=0)) as provider,
            AsyncOpenSearch(server.url) as search,  # as the library comes
        ):
            await search.indices.create(index=THEIR_INDEX)
            theirs = Seen(IN_THE_REQUEST, in_the_request(provider, search))
            follows = Seen(OURS, ours(provider))
            tasks = [
                asyncio.create_task(_send(theirs, stage)),
                asyncio.create_task(_send(follows, stage)),
                asyncio.create_task(_watch(watched, running, server, stage)),
            ]
            away_seconds = await _trouble(server, stage, (theirs, follows))
            back_at = time.monotonic()
            await _spend(BACK_SECONDS, stage, (theirs, follows))
            stage.is_over = True
            await asyncio.gather(*tasks)
            await _answered(stage)
        until(lambda: documents(server) == running.events())
        caught_up = watched.caught_up_at or time.monotonic()
        missing = theirs.taken - documents(server, [THEIR_INDEX])
        rows = [theirs.row(missing), follows.row(running.events() - documents(server))]
        verified, _ = running.command("search", "verify")
    show(
        f"{RATE} webhooks/s each way; search hangs for {HANG_SECONDS:g} s, is killed, and is back"
        f" {away_seconds:.0f} s later",
        ("", "taken", "p50 ms: well", "hangs", "dead", "back again", "longest", "not in search"),
        rows,
    )  # fmt: skip
    show(
        "what our service says meanwhile",
        ("", "/health/ready", "search", "events behind, at most"),
        [watched.row(phase) for phase in (WELL, HANGS, DEAD, BACK)],
    )
    print(f"ours: all caught up {max(0.0, caught_up - back_at):.1f} s after it was back")
    print(f"payment-manager search verify: {'nothing differs' if verified == 0 else 'DIFFERS'}")


async def _trouble(server: OpenSearchServer, stage: Stage, ways: Sequence[Seen]) -> float:
    """How long it was away, from its death on."""
    await _spend(WELL_SECONDS, stage, ways)
    server.pause()
    stage.phase = HANGS
    await _spend(HANG_SECONDS, stage, ways)
    server.kill()
    stage.phase, died_at = DEAD, time.monotonic()
    await _spend(DEAD_SECONDS, stage, ways)
    # What a dead one doesn't take is over at once.
    await _until(lambda: all(DEAD in each.waits for each in ways))
    await asyncio.to_thread(server.start)
    stage.phase = BACK
    return time.monotonic() - died_at


async def _spend(seconds: float, stage: Stage, ways: Sequence[Seen]) -> None:
    """So long, or until a busy machine has sent a webhook each way."""
    await asyncio.sleep(seconds)
    await _until(lambda: all(stage.phase in each.sent_in for each in ways))


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(LOOK_SECONDS)


# ── Webhooks, and what is seen of them ────────────────────────────────────────────────────────────


async def _send(seen: Seen, stage: Stage) -> None:
    """At fixed times, whatever became of those before."""

    async def one(phase: str) -> None:
        began = time.monotonic()
        taken = await seen.take()
        seen.taken += taken
        seen.waits.setdefault(phase, []).append(time.monotonic() - began)

    began = time.monotonic()
    for number in count():
        if stage.is_over:
            return
        seen.sent_in.add(stage.phase)
        task = asyncio.create_task(one(stage.phase))
        stage.under_way.add(task)
        task.add_done_callback(stage.under_way.discard)
        await asyncio.sleep(began + number / RATE - time.monotonic())


async def _answered(stage: Stage) -> None:
    if stage.under_way:
        await asyncio.wait(stage.under_way, timeout=PATIENCE_SECONDS)


async def _watch(
    watched: Watched, running: LabService, server: OpenSearchServer, stage: Stage
) -> None:
    while not stage.is_over:
        phase = stage.phase
        status, search = await asyncio.to_thread(_ready, running.url)
        events = await asyncio.to_thread(running.events)
        # What it had, while it can't be asked.
        with suppress(httpx.TransportError):
            if phase in (WELL, BACK):
                watched.documents = await asyncio.to_thread(documents, server, patience_seconds=1.0)
        watched.note(phase, status, search, events)
        await asyncio.sleep(LOOK_SECONDS)


def _ready(url: str) -> tuple[int, str]:
    answer = httpx.get(f"{url}/health/ready", trust_env=False, timeout=30)
    return answer.status_code, str(answer.json()["checks"]["search"])


if __name__ == "__main__":
    uvloop.run(run())
