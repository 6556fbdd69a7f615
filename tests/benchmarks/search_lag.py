"""How soon search knows: webhooks at a fixed rate, and for some of them, when a search finds them.

How to think about it: a webhook's lag begins when its sender has the answer, and ends when a search
in OpenSearch returns its event. One in fifty webhooks is followed; those not found yet are asked
for together, in one small query every few hundredths of a second, so that asking is no load.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import quantiles

from tests.benchmarks.caller import Caller, calling
from tests.benchmarks.generator import Measured, open_loop
from tests.benchmarks.mix import webhook_requests
from tests.benchmarks.report import Table, number
from tests.benchmarks.run import cpu_cells
from tests.benchmarks.scale import FULL, QUICK, SMOKE
from tests.benchmarks.search_server import Node, Projected, events_in
from tests.benchmarks.section import Asked
from tests.benchmarks.service import running_service
from tests.benchmarks.write_path import DUPLICATE, TAKEN, Contender, contender

PER_SECOND = {FULL.name: 1_000, QUICK.name: 1_000, SMOKE.name: 100}
SECONDS = {FULL.name: 60.0, QUICK.name: 15.0, SMOKE.name: 1.0}
WARM_UP_SECONDS = {FULL.name: 15.0, QUICK.name: 5.0, SMOKE.name: 0.5}

FOLLOWED_PER_SECOND = 20
LOOK_SECONDS = 0.025
FOUND_SECONDS_MAX = 60.0
CONNECTIONS = 256

P99_BAR_SECONDS = 2.0

METHOD = f"""
**Lag.** {PER_SECOND[FULL.name]:,} webhooks a second, whatever the answers do, for
{SECONDS[FULL.name]:g} s (after {WARM_UP_SECONDS[FULL.name]:g} s of warm-up, in which OpenSearch's
code is compiled). {FOLLOWED_PER_SECOND} of them a second are followed: from their answer until a
search in OpenSearch finds their event; asked for every {LOOK_SECONDS * 1000:g} ms, all in one
query. At the end there must be as many documents as events.
"""

_PROVIDER_ID = re.compile(rb'"provider_event_id":"([^"]+)"')


@dataclass(slots=True)
class Followed:
    """Webhooks that were answered, until they are found; and how long that took, in seconds."""

    waiting: dict[str, float] = field(default_factory=dict)
    lags: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)

    def found(self, provider_event_id: str, now: float) -> None:
        answered = self.waiting.pop(provider_event_id, None)
        if answered is not None:
            self.lags.append(now - answered)


async def measure(asked: Asked, node: Node) -> None:
    scale = asked.scale.name
    projected = Projected(node, "lag")
    async with running_service(asked.folder / "lag", projected.settings) as service:
        flow = contender("L", service)
        await _flow(flow, scale, WARM_UP_SECONDS[scale])
        await projected.caught_up(service.database_url)
        followed = Followed()
        async with _following(followed, flow, projected):
            measured = await _flow(flow, scale, SECONDS[scale])
        behind, seconds = await projected.caught_up(service.database_url)
        _tell(asked, followed, measured, scale)
        events = await asyncio.to_thread(events_in, service.database_url)
        documents = await node.count(*projected.events)
        asked.findings.bar(
            "lag: every webhook was taken, and every event is a document",
            "none missing, no errors",
            documents == events and set(flow.answers + followed.answers) <= {TAKEN, DUPLICATE},
            f"{events:,} events, {documents:,} documents; {behind} behind at the end, {seconds:.1f}"
            " s later none",
        )


async def _flow(flow: Contender, scale: str, seconds: float) -> Measured:
    per_second = PER_SECOND[scale] - FOLLOWED_PER_SECOND
    flow.webhooks.ahead(per_second * seconds)
    measured = await open_loop(
        flow.service.address, flow.webhooks, flow.service.meter,
        per_second=per_second, connections=CONNECTIONS, seconds=seconds, warm_up_seconds=0,
    )  # fmt: skip
    flow.answers.update(measured.statuses)
    return measured


@asynccontextmanager
async def _following(
    followed: Followed, flow: Contender, projected: Projected
) -> AsyncIterator[None]:
    """Meanwhile; at the end those that are on their way are waited for."""
    async with calling(projected.node.address) as search, calling(flow.service.address) as provider:
        sending = asyncio.create_task(_send(followed, provider))
        looking = asyncio.create_task(_look(followed, search, projected.events))
        try:
            yield
            sending.cancel()
            async with asyncio.timeout(FOUND_SECONDS_MAX):
                while followed.waiting:  # another task looks
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            sending.cancel()
            looking.cancel()
            done = await asyncio.gather(sending, looking, return_exceptions=True)
        for each in done:
            if isinstance(each, Exception):
                raise each


async def _send(followed: Followed, provider: Caller) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for count, (request, provider_event_id) in enumerate(_webhooks()):
        await asyncio.sleep(began + count / FOLLOWED_PER_SECOND - loop.time())
        status, _ = await provider.ask(request)
        followed.answers[status] += 1
        if status == TAKEN:
            followed.waiting[provider_event_id] = time.perf_counter()


def _webhooks() -> Iterator[tuple[bytes, str]]:
    for request in webhook_requests("followed"):
        found = _PROVIDER_ID.search(request)
        assert found is not None
        yield request, found[1].decode()


async def _look(followed: Followed, search: Caller, indices: tuple[str, str]) -> None:
    while True:
        if sought := list(followed.waiting):
            question = {
                "size": len(sought),
                "_source": False,
                "docvalue_fields": ["provider_event_id"],
                "query": {"terms": {"provider_event_id": sought}},
            }
            answer = await search.json("POST", f"/{','.join(indices)}/_search", question)
            now = time.perf_counter()
            for hit in answer["hits"]["hits"]:
                followed.found(hit["fields"]["provider_event_id"][0], now)
        await asyncio.sleep(LOOK_SECONDS)


def _tell(asked: Asked, followed: Followed, measured: Measured, scale: str) -> None:
    lags = sorted(followed.lags)
    percentiles = quantiles(lags, n=100, method="inclusive")
    p50, p90, p99 = (percentiles[at - 1] for at in (50, 90, 99))
    table = Table(
        f"Lag at {PER_SECOND[scale]:,} webhooks a second",
        ("followed", "lag p50 s", "p90 s", "p99 s", "max s", "webhooks p50 ms", "p99 ms",
         "CPU µs: service", "PostgreSQL", "generator", "others' CPU"),
        note="From a webhook's answer until a search finds its event. CPU per webhook; OpenSearch "
        "is among the others, whose CPU is in parts of one processor.",
    )  # fmt: skip
    table.add(
        len(lags),
        *map(number, (p50, p90, p99, lags[-1])),
        *(number(measured.quantile_ms(share)) for share in (0.5, 0.99)),
        *cpu_cells([measured]),
    )
    asked.findings.keep(table)
    asked.findings.bar(
        f"lag at {PER_SECOND[scale]:,} webhooks a second, p99",
        f"< {P99_BAR_SECONDS:g} s",
        p99 < P99_BAR_SECONDS,
        f"{number(p99)} s",
    )
