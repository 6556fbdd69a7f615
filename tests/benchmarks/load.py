"""Load scenarios against the service: by k6 where it can be had, else by our own generator.

How to think about it: a service on a log of two months, and one scenario after the other, each with
limits that must hold on any machine worth the name. What is asked is written down beforehand, for
either generator, so nothing is asked twice and no answer comes from a cache of one.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import psycopg

from infra.k6 import K6Missing, installed, k6, version, why_not
from tests.benchmarks import by_k6, by_us, calibration
from tests.benchmarks.calibration import Machine
from tests.benchmarks.generator import closed_loop
from tests.benchmarks.history import DAYS, History, write_history
from tests.benchmarks.mix import get, webhook_requests
from tests.benchmarks.questions import KIND_IN_WINDOW, ONE_ORDER, questions
from tests.benchmarks.report import Findings, Table, number
from tests.benchmarks.scale import FULL, QUICK, SMOKE
from tests.benchmarks.scenarios import (
    Arrivals,
    Asks,
    Callers,
    Outcome,
    Scenario,
    Stream,
    capacity,
    mixed,
    open_model,
    pages,
    spike,
)
from tests.benchmarks.section import Asked, Section
from tests.benchmarks.service import Service, running_service

EVENTS = {FULL.name: 1_000_000, QUICK.name: 100_000, SMOKE.name: 3_000}
TIME = {FULL.name: 1.0, QUICK.name: 0.3, SMOKE.name: 0.04}

# How often each is asked; what costs most, least.
_READS = {
    ONE_ORDER: 4,
    "one dispute": 2,
    "events: of one order": 2,
    KIND_IN_WINDOW: 1,
    "orders: list by user": 1,
}

_LISTS = ("/orders", "/orders/events", "/disputes", "/disputes/events")
_PAGES_OF_A_LIST = 25
_PAGE_ITEMS = 50

_WARM_UP_CONNECTIONS = 16
_WARM_UP_SECONDS = 1.0
"""The service has prepared its statements on most connections by then, as one that runs has."""

METHOD = f"""
`payment-manager api` as users start it, with the embedded PostgreSQL, durability on, on a log of
{DAYS} days and a million order events. Scenarios, their rates and limits are defined once
(`tests/benchmarks/scenarios.py`) and played by k6, or where it can't be had by our own generator;
both send the same requests in the same order. Right before each scenario that has rates, *capacity*
says what is possible, and the rates are parts of it. Each is played after a second of warm-up and a
checkpoint. A scenario's streams run side by side, each on its own connections. Reads: of ten four
ask for one order, two each for one dispute and one order's events, one each for a page of one kind
over five days and for a user's orders. Pages: {_PAGES_OF_A_LIST} pages of {_PAGE_ITEMS} of each
list, by their cursors. Failed is everything but 2xx; dropped is an arrival that found all its
connections waiting.
"""


async def measure(asked: Asked) -> None:
    machine = Machine.here()
    findings, scale = asked.findings, asked.scale
    program, generator = await _generator(asked)
    async with running_service(asked.folder / "load", {}) as service:
        table, durable = calibration.machine_table(machine, service.database_url)
        table.add("generator", generator)
        findings.keep(table)
        calibration.check_durability(findings, durable)
        ground = await _ground(service, asked, program)
        table = Table(
            f"Load, by {generator}",
            ("scenario", "stream", "load", "answered/s", "p50 ms", "p95 ms", "p99 ms", "max ms",
             "failed", "dropped", "processors busy"),
            note="Processors busy: all that ran, the generator and its start too.",
        )  # fmt: skip
        times = TIME[scale.name]
        await _play(ground, pages(15 * times), table, findings)
        for name, scenario in {"mixed": mixed, "spike": spike, "open": open_model}.items():
            # Now, not once: a machine that others use too drifts within minutes.
            first = capacity(name, 4 * times)
            found = await _play(ground, first, table, findings)
            per_second = found["webhooks"].requests / first.seconds
            await _play(ground, scenario(per_second, 20 * times), table, findings)
        findings.keep(table)


@dataclass(frozen=True, slots=True)
class _Ground:
    """What all scenarios are played on, and with."""

    service: Service
    history: History
    pages: list[bytes]
    program: Path | None
    """k6; None: our own generator."""
    folder: Path

    def requests(self, scenario: Scenario, run: str) -> dict[str, Iterator[bytes]]:
        """For each stream; `run` makes its webhooks others than those of other runs."""

        def of(stream: Stream) -> Iterator[bytes]:
            match stream.asks:
                case Asks.PAGES:
                    return cycle(self.pages)
                case Asks.READS:
                    return _reads(self.history)
                case Asks.WEBHOOKS:
                    name = f"{run}-{scenario.name}-{stream.name}"
                    return webhook_requests(name.replace(" ", "-"))

        return {stream.name: of(stream) for stream in scenario.streams}


async def _ground(service: Service, asked: Asked, program: Path | None) -> _Ground:
    history = History.of(EVENTS[asked.scale.name])
    await write_history(service.database_url, history)
    pages = await asyncio.to_thread(_pages, service)
    return _Ground(service, history, pages, program, asked.folder)


async def _play(
    ground: _Ground, scenario: Scenario, table: Table, findings: Findings
) -> dict[str, Outcome]:
    service, requests = ground.service, ground.requests(scenario, "run")
    await _warm_up(service, ground.requests(scenario, "warm"))
    before, began = service.meter.read(), time.perf_counter()
    if ground.program is None:
        outcomes = await by_us.play(scenario, requests, service.address, service.meter)
    else:
        folder = ground.folder / scenario.name
        outcomes = await by_k6.play(ground.program, scenario, requests, service.address, folder)
    spent = (service.meter.read() - before).machine / (time.perf_counter() - began)
    _tell(table, findings, scenario, outcomes, spent)
    return outcomes


async def _generator(asked: Asked) -> tuple[Path | None, str]:
    """k6, unless it can't be had or nothing is measured; and what it is called."""
    reason = "not for a smoke run" if asked.scale is SMOKE else why_not()
    if reason is None:
        try:
            if installed() is None:
                asked.console.print("k6 is built first, once a machine: that takes minutes.")
            program = await asyncio.to_thread(k6)
            return program, await asyncio.to_thread(version, program)
        except K6Missing as missing:
            reason = str(missing)
    asked.console.print(f"k6 is left out: {reason}", markup=False)
    return None, "our own generator"


def _pages(service: Service) -> list[bytes]:
    """Targets with the cursors that the service gave, of lists that nobody writes to meanwhile."""
    base = f"http://{service.address.host}:{service.address.port}"
    targets = []
    for path in _LISTS:
        cursor = ""
        for _ in range(_PAGES_OF_A_LIST):
            asked = {"limit": _PAGE_ITEMS} | ({"cursor": cursor} if cursor else {})
            target = f"{path}?{urlencode(asked)}"
            targets.append(get(target))
            with urlopen(base + target) as answer:  # noqa: S310
                cursor = json.load(answer)["next_cursor"]
            if not cursor:
                break
    random.Random(4).shuffle(targets)
    return targets


def _reads(history: History) -> Iterator[bytes]:
    asking = {question.name: question.requests() for question in questions(history, seed=5)}
    order = [name for name, times in _READS.items() for _ in range(times)]
    random.Random(6).shuffle(order)
    return (next(asking[name]) for name in cycle(order))


async def _warm_up(service: Service, requests: Mapping[str, Iterator[bytes]]) -> None:
    for each in requests.values():
        await closed_loop(
            service.address,
            each,
            service.meter,
            connections=_WARM_UP_CONNECTIONS,
            seconds=_WARM_UP_SECONDS / len(requests),
            warm_up_seconds=0.0,
        )
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def _tell(
    table: Table,
    findings: Findings,
    scenario: Scenario,
    outcomes: Mapping[str, Outcome],
    processors: float,
) -> None:
    for n, stream in enumerate(scenario.streams):
        found, limits = outcomes[stream.name], stream.limits
        table.add(
            scenario.name if n == 0 else "",
            stream.name,
            _load(stream.load),
            number(found.requests / stream.load.seconds),
            *map(number, (found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms)),
            found.failed,
            found.dropped,
            f"{processors:.2f}" if n == 0 else "",
        )
        findings.bar(
            f"{scenario.name}, {stream.name}: p95, p99 ms; failed; dropped",
            f"≤ {limits.p95_ms:g}, {limits.p99_ms:g}; {limits.failed:g}; {limits.dropped}",
            found.keeps(limits),
            f"{number(found.p95_ms)}, {number(found.p99_ms)}; {found.failed}; {found.dropped}",
        )


def _load(load: Callers | Arrivals) -> str:
    match load:
        case Callers():
            return f"{load.count} callers, {load.seconds:g} s"
        case Arrivals(rising_from=None):
            return f"{load.per_second}/s, {load.seconds:g} s"
        case Arrivals():
            return f"{load.rising_from} to {load.per_second}/s, {load.seconds:g} s"


SECTION = Section("load", measure, title="Load scenarios", method=METHOD)
