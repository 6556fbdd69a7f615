"""Questions of search over a million events: from OpenSearch, and from PostgreSQL, over HTTP.

How to think about it: one database, two services on it; one may ask OpenSearch, the other has none.
Both are asked the same questions by one caller each, in turns of a second. No question is asked
twice: each has a window that begins at another second, so that nothing is answered from a cache
that the next event would have emptied.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from subprocess import STDOUT, run
from typing import Any
from urllib.parse import urlencode

from payment_manager.adapters.postgres.search.questions import WALK_SECONDS_MAX
from tests.benchmarks.caller import Caller, calling
from tests.benchmarks.mix import get
from tests.benchmarks.report import Findings, Table, number
from tests.benchmarks.scale import FULL, QUICK, SMOKE
from tests.benchmarks.search_history import CAMPAIGNS, SearchHistory, write_search_history
from tests.benchmarks.search_server import Node, Projected
from tests.benchmarks.section import Asked
from tests.benchmarks.service import COMMAND, ServiceFailed, running_service

EVENTS = {FULL.name: 1_000_000, QUICK.name: 200_000, SMOKE.name: 2_000}
DAYS = {FULL.name: 120, QUICK.name: 120, SMOKE.name: 10}
TURNS = {FULL.name: 10, QUICK.name: 4, SMOKE.name: 1}
TURN_SECONDS = {FULL.name: 1.0, QUICK.name: 1.0, SMOKE.name: 0.1}

PAGE = 20

OPENSEARCH, POSTGRES = "opensearch", "postgres"

METHOD = f"""
**Questions.** A log of {EVENTS[FULL.name]:,} events in {DAYS[FULL.name]} days, two orders in five
disputed, written straight into the tables and put into OpenSearch by `payment-manager search
reindex`. Two services on that database, one with OpenSearch and one without, are asked the same
over HTTP by one caller, in turns of a second, {TURNS[FULL.name]} each; no two questions are the
same. Each answer says who gave it, which is checked. Pages of {PAGE}.
"""

_REASONS = ("fraud", "product_not_received", "duplicate", "unrecognized", "product_unacceptable")
_STATUSES = ("open", "under_review", "won", "lost", "closed")
_RANGES = ("10-50", "50-100", "100-500", "500-1000", "1000-")
_CURRENCIES = ("USD", "EUR", "GBP", "BRL")

Targets = Iterator[str]


def questions(history: SearchHistory) -> dict[str, Targets]:
    """Without end, by name; the same for everybody who asks with a history of the same start."""
    return {
        name: _targets(path, made, history)
        for name, (path, made) in {
            "disputes with facets, no filter": ("/search/disputes", _no_filter),
            "… one filter": ("/search/disputes", _one_filter),
            "… three filters": ("/search/disputes", _three_filters),
            "analytics: all, by month": ("/analytics/disputes", _by_month),
            "analytics: one reason, by day": ("/analytics/disputes", _by_day),
            "events: an order's id": ("/search/events", _order_id),
            "events: a word of metadata": ("/search/events", _campaign),
        }.items()
    }


Made = Callable[[random.Random, SearchHistory], Mapping[str, str]]


def _targets(path: str, made: Made, history: SearchHistory) -> Targets:
    chance = random.Random(7)
    while True:
        # A window that leaves nothing out, and that nobody has asked for.
        start = history.start - timedelta(days=1, microseconds=chance.randrange(10**9))
        asked = {"time_from": start.isoformat(), **made(chance, history)}
        yield f"{path}?{urlencode(asked)}"


def _no_filter(_: random.Random, __: SearchHistory) -> Mapping[str, str]:
    return {"limit": str(PAGE)}


def _one_filter(chance: random.Random, _: SearchHistory) -> Mapping[str, str]:
    name, values = chance.choice(
        (("reason", _REASONS), ("status", _STATUSES), ("amount_range", _RANGES))
    )
    return {"limit": str(PAGE), name: chance.choice(values)}


def _three_filters(chance: random.Random, _: SearchHistory) -> Mapping[str, str]:
    return {
        "limit": str(PAGE),
        "status": chance.choice(_STATUSES),
        "currency": chance.choice(_CURRENCIES),
        "amount_range": chance.choice(_RANGES),
    }


def _by_month(_: random.Random, __: SearchHistory) -> Mapping[str, str]:
    return {"interval": "month"}


def _by_day(chance: random.Random, history: SearchHistory) -> Mapping[str, str]:
    # Bounds are widened to whole days: what differs is which days, and which reason.
    start = history.start + timedelta(days=chance.randrange(history.days // 2))
    return {
        "interval": "day",
        "time_from": start.isoformat(),
        "time_to": (start + timedelta(days=30 + chance.randrange(20))).isoformat(),
        "reason": chance.choice(_REASONS),
    }


def _order_id(chance: random.Random, history: SearchHistory) -> Mapping[str, str]:
    return {"limit": str(PAGE), "q": history.order_id(chance.randrange(history.orders))}


def _campaign(chance: random.Random, _: SearchHistory) -> Mapping[str, str]:
    return {"limit": str(PAGE), "q": f"campaign{chance.randrange(CAMPAIGNS)}"}


@dataclass(slots=True)
class Answers:
    """Of one source to one question: how long each took, in seconds, and who answered."""

    latencies: list[float] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)

    def quantile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[round(share * (len(ordered) - 1))] * 1000


async def measure(asked: Asked, node: Node) -> None:
    scale, projected = asked.scale.name, Projected(node, "asked")
    history = SearchHistory.of(EVENTS[scale], DAYS[scale])
    async with AsyncExitStack() as stack:
        without = await stack.enter_async_context(running_service(asked.folder / "asked", {}))
        await write_search_history(without.database_url, history)
        settings = {"PG_URL": without.database_url, **projected.settings}
        seconds = await asyncio.to_thread(_reindex, asked.folder / "reindex", settings)
        _tell_rebuild(asked.findings, history, seconds)
        settings["SEARCH_PROJECTION"] = "off"  # nothing comes in
        on = await stack.enter_async_context(running_service(asked.folder / "with", settings))
        callers = {
            OPENSEARCH: await stack.enter_async_context(calling(on.address)),
            POSTGRES: await stack.enter_async_context(calling(without.address)),
        }
        await _compare(asked.findings, history, callers)
        await _ask(asked.findings, history, callers, scale)


def _reindex(folder: Path, settings: Mapping[str, str]) -> float:
    """The command as a user gives it; how long all of it takes."""
    folder.mkdir()
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    python_path = os.pathsep.join(path for path in sys.path if path)
    log, began = folder / "reindex.log", time.perf_counter()
    with log.open("wb") as output:
        done = run(
            [*COMMAND, "search", "reindex"], cwd=folder, stdout=output, stderr=STDOUT,
            env={**known, "DATA_DIR": str(folder), "PYTHONPATH": python_path, **settings},
        )  # fmt: skip
    if done.returncode != 0:
        raise ServiceFailed(f"search reindex ended with {done.returncode}:\n{log.read_text()}")
    return time.perf_counter() - began


def _tell_rebuild(findings: Findings, history: SearchHistory, seconds: float) -> None:
    documents = history.events + history.orders + len(history.disputed)
    table = Table(
        "A build from nothing: payment-manager search reindex",
        ("events", "documents", "seconds", "events/s", "documents/s"),
        note="The whole command: read, written, counts proved, aliases swapped.",
    )
    table.add(
        f"{history.events:,}", f"{documents:,}", number(seconds),
        number(history.events / seconds), number(documents / seconds),
    )  # fmt: skip
    findings.keep(table)


async def _compare(
    findings: Findings, history: SearchHistory, callers: Mapping[str, Caller]
) -> None:
    """Before anything is measured: the same answer to the same question, whoever gives it."""
    differ = []
    for name, targets in questions(history).items():
        target = next(targets)
        answers = [await _answer(caller, target) for caller in callers.values()]
        if any(answer[0] != source for answer, source in zip(answers, callers, strict=True)):
            differ.append(f"{name}: {[answer[0] for answer in answers]}")
        elif answers[0][1] != answers[1][1]:
            differ.append(name)
    findings.bar(
        "both sources answer the same", "no difference", not differ, "; ".join(differ) or "none"
    )


async def _answer(caller: Caller, target: str) -> tuple[str, Any]:
    """Who answered, and what. A page may be short where finding more takes long: then all that is
    wanted is asked for.
    """
    items: list[Any] = []
    cursor = ""
    while True:
        status, body = await caller.ask(get(target + cursor))
        if status != 200:
            return f"{status} {body[:200]!r}", None
        answer = json.loads(body)
        source, _ = answer.pop("source"), answer.pop("as_of")
        if "items" not in answer:
            return source, answer
        items += answer.pop("items")
        following = answer.pop("next_cursor")
        if not answer.pop("has_more") or len(items) >= PAGE:
            return source, (items[:PAGE], answer)
        cursor = "&" + urlencode({"cursor": following})


async def _ask(
    findings: Findings, history: SearchHistory, callers: Mapping[str, Caller], scale: str
) -> None:
    table = Table(
        f"Questions about {history.events:,} events, {len(history.disputed):,} disputes",
        ("question", "source", "p50 ms", "p99 ms", "max ms", "answers", "PostgreSQL / OpenSearch"),
        note="One caller, over HTTP. The last column compares the medians. PostgreSQL looks for "
        f"words for {WALK_SECONDS_MAX:g} s; then its page is short, and says where to go on.",
    )
    strangers: Counter[str] = Counter()
    for name in questions(history):
        found = await _in_turns(callers, name, history, scale)
        ratio = found[POSTGRES].quantile_ms(0.5) / found[OPENSEARCH].quantile_ms(0.5)
        for source, answers in found.items():
            first = source == OPENSEARCH
            table.add(
                name if first else "",
                source,
                *(number(answers.quantile_ms(share)) for share in (0.5, 0.99, 1.0)),
                len(answers.latencies),
                number(ratio) if first else "",
            )
            strangers.update({other: n for other, n in answers.sources.items() if other != source})
    findings.keep(table)
    findings.bar(
        "each answer came from the source that was asked", "all", not strangers,
        ", ".join(f"{count} × {source}" for source, count in strangers.items()) or "all",
    )  # fmt: skip


async def _in_turns(
    callers: Mapping[str, Caller], name: str, history: SearchHistory, scale: str
) -> dict[str, Answers]:
    found = {source: Answers() for source in callers}
    asking = {source: questions(history)[name] for source in callers}
    for turn in range(-1, TURNS[scale]):
        order = [*callers] if turn % 2 else [*callers][::-1]
        for source in order:
            until = time.perf_counter() + TURN_SECONDS[scale]
            while (began := time.perf_counter()) < until:
                answered, _ = await _source(callers[source], next(asking[source]))
                if turn >= 0:  # the first is warm-up
                    found[source].latencies.append(time.perf_counter() - began)
                found[source].sources[answered] += 1
    return found


async def _source(caller: Caller, target: str) -> tuple[str, int]:
    """Who answered; the body is not taken apart, which would be in the time."""
    status, body = await caller.ask(get(target))
    if status != 200:
        return str(status), len(body)
    at = body.find(b'"source":"') + len(b'"source":"')
    return body[at : body.index(b'"', at)].decode(), len(body)
