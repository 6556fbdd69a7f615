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
from collections.abc import Iterator
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

NAMES = ("events-orders", "events-disputes", "orders", "disputes")


@dataclass(slots=True)
class Asked:
    """The same question again and again: who answered, how long it took in seconds."""

    waits: dict[str, list[float]] = field(default_factory=dict)
    failed: int = 0
    totals: set[int] = field(default_factory=set)

    def once(self, client: httpx.Client) -> None:
        began = time.perf_counter()
        answer = client.get(QUESTION)
        seconds = time.perf_counter() - began
        if answer.status_code != 200:
            self.failed += 1
            return
        found = answer.json()
        self.waits.setdefault(found["source"], []).append(seconds)
        self.totals.add(found["total"])

    def row(self, name: str) -> tuple[object, ...]:
        by = Counter({source: len(waits) for source, waits in self.waits.items()})
        all_waits = sorted(wait for waits in self.waits.values() for wait in waits)
        return (
            name,
            ", ".join(f"{count} by {source}" for source, count in by.most_common()),
            f"{1000 * median(all_waits):.0f}",
            f"{1000 * all_waits[-1]:.0f}",
            self.failed,
            ", ".join(map(str, sorted(self.totals))),
        )


def run() -> None:
    """No projector runs: whatever is repaired here, a command has repaired."""
    with opensearch() as server, service(server, SEARCH_PROJECTION="off") as running:
        _seed(running)
        with httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client:
            rows, built = _rebuild(server, running, client)
            damage = _damage(server, running, client)
    show(
        f"one question about {built['documents']['disputes']:,} disputes, who answers it, and how"
        " many it finds",
        ("search", "answers", "p50 ms", "longest ms", "failed", "disputes found"),
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


def _seed(running: LabService) -> None:
    _done(running, "seed-db", "--orders", str(ORDERS), "--disputes", str(DISPUTES), "--days", "20")
    _reindex(running)


def _rebuild(
    server: OpenSearchServer, running: LabService, client: httpx.Client
) -> tuple[list[tuple[object, ...]], dict[str, Any]]:
    """What is answered before, after the indices were deleted, while they are built, afterwards."""
    stages: dict[str, Asked] = {}
    stages["there"] = _ask(client)
    deleted = [f"{name}-2*" for name in NAMES]
    _opensearch(server, "DELETE", f"/{','.join(deleted)}")
    stages["deleted"] = _ask(client)
    with _asking(running.url) as meanwhile:
        built = _reindex(running)
    stages["being built"] = meanwhile
    # Who found nothing there leaves it alone for some seconds.
    until(lambda: client.get(QUESTION).json()["source"] == "opensearch")
    stages["there again"] = _ask(client)
    return [asked.row(name) for name, asked in stages.items()], built


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


def _ask(client: httpx.Client) -> Asked:
    asked = Asked()
    for _ in range(ANSWERS):
        asked.once(client)
    return asked


@contextmanager
def _asking(url: str) -> Iterator[Asked]:
    """Somebody asks all the time."""
    asked, is_over = Asked(), Event()

    def ask() -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            while not is_over.wait(0.05):
                asked.once(client)

    thread = Thread(target=ask)
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
