"""Search is rebuilt from nothing: what answers meanwhile, how long it takes, what proves it right.

How to think about it: what can be made anew from the log at any time need not be backed up, nor
repaired by hand, nor trusted. What it takes is somebody else who answers meanwhile, a copy beside
the one that answers, and a proof before the two are swapped.

    make lab-search-rebuild
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from threading import Event, Thread
from typing import Any

import httpx

from infra.opensearch_server import OpenSearchServer
from labs.ground import show
from labs.search_ground import LabService, opensearch, service, until

ORDERS, DISPUTES = 6_000, 3_000
QUESTION = "/search/disputes?status=won,lost&limit=20"
ANSWERS = 30
"""To a question, until its time is known."""

THEIR_INDEX = "theirs"
REFILLED_PER_SECOND = 1_000

NAMES = ("events-orders", "events-disputes", "orders", "disputes")


Ask = Callable[[], tuple[str, int] | None]
"""Puts the question: who answered, and how many disputes were found; None: nobody."""


@dataclass(slots=True)
class Asked:
    """The same question again and again: who answered, in how many seconds, what was found."""

    ask: Ask
    waits: list[float] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    found: list[int] = field(default_factory=list)

    def once(self) -> None:
        began = time.perf_counter()
        answer = self.ask()
        if answer is None:
            self.failed += 1
            return
        self.waits.append(time.perf_counter() - began)
        self.sources[answer[0]] += 1
        self.found.append(answer[1])

    def row(self, name: str, there: int) -> tuple[object, ...]:
        return (
            name,
            ", ".join(f"{count} by {source}" for source, count in self.sources.most_common()),
            f"{1000 * median(self.waits):.0f}",
            f"{1000 * max(self.waits):.0f}",
            self.failed,
            sum(found < there for found in self.found),
        )


def _ours(client: httpx.Client) -> Ask:
    def ask() -> tuple[str, int] | None:
        answer = client.get(QUESTION)
        if answer.status_code != 200:
            return None
        return answer.json()["source"], answer.json()["total"]

    return ask


def _in_place(client: httpx.Client) -> Ask:
    def ask() -> tuple[str, int] | None:
        query = {"query": {"terms": {"status": ["won", "lost"]}}, "size": 20}
        answer = client.post(f"/{THEIR_INDEX}/_search", json=query)
        if answer.status_code != 200:
            return None
        return "opensearch", answer.json()["hits"]["total"]["value"]

    return ask


def run() -> None:
    """No projector runs: whatever is repaired here, a command has repaired."""
    with opensearch() as server, service(server, SEARCH_PROJECTION="off") as running:
        _done(
            running, "seed-db",
            "--orders", str(ORDERS), "--disputes", str(DISPUTES), "--days", "20",
        )  # fmt: skip
        _reindex(running)
        with httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client:
            rows, built = _rebuild(server, running, client)
            damage = _damage(server, running, client)
    show(
        f"one question about {built['documents']['disputes']:,} disputes, asked again and again",
        ("search", "answers", "p50 ms", "longest", "failed", "lacked some"),
        rows,
    )
    documents = sum(built["documents"].values())
    events = built["documents"]["order_events"] + built["documents"]["dispute_events"]
    seconds = built["seconds"]
    show(
        "payment-manager search reindex",
        ("", "events", "documents", "seconds", "events/s", "documents/s"),
        [
            (
                "from nothing, counts proved, swapped in", f"{events:,}", f"{documents:,}",
                f"{seconds:.1f}", f"{events / seconds:,.0f}", f"{documents / seconds:,.0f}",
            ),
        ],
    )  # fmt: skip
    show("payment-manager search verify", ("", "exit code", "differences", "for example"), damage)


def _rebuild(
    server: OpenSearchServer, running: LabService, client: httpx.Client
) -> tuple[list[tuple[object, ...]], dict[str, Any]]:
    """What is answered before, after the indices were deleted, while they are built, afterwards."""
    stages = {"refilled in place": _refilled_in_place(server)}
    _until_it_answers(client)
    stages["ours: there"] = _ask(_ours(client))
    there = stages["ours: there"].found[0]
    deleted = [f"{name}-2*" for name in NAMES]
    _opensearch(server, "DELETE", f"/{','.join(deleted)}")
    stages["… deleted"] = _ask(_ours(client))
    with (
        httpx.Client(base_url=running.url, trust_env=False, timeout=60) as another,
        _asking(_ours(another)) as meanwhile,
    ):
        built = _reindex(running)
    stages["… being built"] = meanwhile
    _until_it_answers(client)
    stages["… there again"] = _ask(_ours(client))
    return [asked.row(name, there) for name, asked in stages.items()], built


def _until_it_answers(client: httpx.Client) -> None:
    """Who found nothing there, or waited for too long, leaves search alone for some seconds."""
    until(lambda: client.get(QUESTION).json()["source"] == "opensearch")


def _refilled_in_place(server: OpenSearchServer) -> Asked:
    """As it is often done: the index is deleted, made again and filled, and asked meanwhile."""
    _make(server)
    _refill(server, per_second=None)
    with (
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client,
        _asking(_in_place(client)) as asked,
    ):
        _opensearch(server, "DELETE", f"/{THEIR_INDEX}")
        _make(server)
        until(lambda: 0 in asked.found)  # somebody asks now, on a busy machine too
        _refill(server, per_second=REFILLED_PER_SECOND)
    return asked


def _make(server: OpenSearchServer) -> None:
    mapping = {"properties": {"status": {"type": "keyword"}}}
    _opensearch(server, "PUT", f"/{THEIR_INDEX}", {"mappings": mapping})


def _refill(server: OpenSearchServer, per_second: int | None) -> None:
    """With the documents of our disputes, and not faster than they would come from a database."""
    copied = {"source": {"index": "disputes", "size": 100}, "dest": {"index": THEIR_INDEX}}
    pace = f"requests_per_second={-1 if per_second is None else per_second}"
    _opensearch(server, "POST", f"/_reindex?refresh=true&{pace}", copied)


def _damage(
    server: OpenSearchServer, running: LabService, client: httpx.Client
) -> list[tuple[object, ...]]:
    """Documents that are not what the log says: one is changed, one deleted, behind our back."""
    rows = [_verify(running, "as built")]
    found = client.get("/search/disputes?status=won&limit=2").json()["items"]
    changed, lost = (each["dispute_id"] for each in found)
    _opensearch(server, "POST", f"/disputes/_update/{changed}", {"doc": {"status": "lost"}})
    _opensearch(server, "DELETE", f"/disputes/_doc/{lost}")
    _opensearch(server, "POST", "/disputes/_refresh")
    rows.append(_verify(running, "one changed, one deleted"))
    _reindex(running)
    rows.append(_verify(running, "after search reindex"))
    return rows


# ── Asking ────────────────────────────────────────────────────────────────────────────────────────


def _ask(ask: Ask) -> Asked:
    asked = Asked(ask)
    for _ in range(ANSWERS):
        asked.once()
    return asked


@contextmanager
def _asking(ask: Ask) -> Iterator[Asked]:
    """Somebody asks all the time."""
    asked, is_over = Asked(ask), Event()

    def again_and_again() -> None:
        while not is_over.wait(0.05):
            asked.once()

    thread = Thread(target=again_and_again)
    thread.start()
    try:
        yield asked
    finally:
        is_over.set()
        thread.join()


# ── Commands ──────────────────────────────────────────────────────────────────────────────────────


def _reindex(running: LabService) -> dict[str, Any]:
    built: dict[str, Any] = json.loads(_done(running, "search", "reindex", "--json"))
    return built


def _verify(running: LabService, when: str) -> tuple[object, ...]:
    code, said = running.command("search", "verify", "--sample", "100000", "--json")
    differences = json.loads(said)["differences"]
    return when, code, len(differences), differences[0] if differences else ""


def _done(running: LabService, *arguments: str) -> str:
    code, said = running.command(*arguments)
    if code != 0:
        sys.exit(f"payment-manager {' '.join(arguments)} ended with {code}:\n{said}")
    return said


def _opensearch(server: OpenSearchServer, method: str, target: str, body: object = None) -> None:
    """As anybody may who reaches it."""
    answer = httpx.request(method, server.url + target, json=body, trust_env=False, timeout=30)
    answer.raise_for_status()


if __name__ == "__main__":
    run()
