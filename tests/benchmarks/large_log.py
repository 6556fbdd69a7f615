"""The same questions about the same days: in a log of 800 days (A), and in one of three (B).

How to think about it: what a question costs must be what its own days cost, so both logs have the
same last three days, and what differs is how many others there are. The read model is asked, not
the API: over HTTP the difference would be small in what HTTP costs. Asked in turns, each round is a
ratio of its own, and whatever else the machine does hits both.
"""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from time import perf_counter

from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.embedded import EmbeddedPostgres
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.adapters.postgres.read_model import PostgresReadModel
from payment_manager.application.ports import EventsAsked, Space
from tests.benchmarks.report import Findings, Table, number
from tests.benchmarks.scale import FULL, QUICK, SMOKE
from tests.benchmarks.section import Asked, Section
from tests.many_days import (
    KINDS,
    RARE,
    TODAY,
    Happened,
    database_of_days,
    moment,
    settle,
    write_orders,
)
from tests.plans import ExplainingReadModel

FEW = 3
MANY = {FULL.name: 800, QUICK.name: 800, SMOKE.name: 40}
PAGE = 100

# Events in each of the last days, and in each before them.
BUSY = {FULL.name: 15_000, QUICK.name: 3_000, SMOKE.name: 300}
QUIET = 6

ROUNDS = {FULL.name: 15, QUICK.name: 7, SMOKE.name: 1}
CALLS = {FULL.name: 200, QUICK.name: 60, SMOKE.name: 2}

RATIO_BAR = 3.0
ONE_ORDER, KIND = "events of one order", "one kind, five days"

METHOD = f"""
Two databases on one embedded server: one of {MANY[FULL.name]} days, {QUIET} events in each but the
last three, and one of those three days alone, the same in both. Each question is put to the read
model, as the service has it, {CALLS[FULL.name]} times in one and then in the other, for
{ROUNDS[FULL.name]} rounds; the ratio is that of the median round. Statements, days and buffers are
those of `EXPLAIN (ANALYZE, BUFFERS)` of what is sent. A statement names a day if it has to plan and
to lock it; planning's own buffers are told apart. Below: what a connection's first question costs,
and how much memory it then keeps for what it has learnt of the catalogue.
"""


@dataclass(frozen=True, slots=True)
class Log:
    name: str
    days: int
    url: str


async def measure(asked: Asked) -> None:
    scale = asked.scale.name
    server = EmbeddedPostgres(asked.folder / "server", settings={"fsync": "off"})  # nothing to lose
    try:
        url = await server.start()
        logs = [_made(url, name, days, scale) for name, days in (("A", MANY[scale]), ("B", FEW))]
        async with AsyncExitStack() as stack:
            pools = {
                log.name: await stack.enter_async_context(connection_pool(log.url, size_max=1))
                for log in logs
            }
            await _questions(asked, logs, pools)
        await _connections(asked.findings, logs)
    finally:
        await server.stop()


def _made(server_url: str, name: str, days: int, scale: str) -> Log:
    url = database_of_days(server_url, f"log_{days}", days)
    write_orders(url, _happened(days, BUSY[scale]))
    settle(url)
    return Log(name, days, url)


def _happened(days: int, busy: int) -> Iterator[Happened]:
    """An order has three events, a third of a day apart."""
    for ago in range(days):
        events = busy if ago < FEW else QUIET
        for n in range(events):
            at = moment(TODAY - timedelta(days=ago), (n + 1) / (events + 2))
            yield f"ord-{ago}-{n % (events // 3)}", KINDS[n % len(KINDS)], at


def _asked() -> dict[str, EventsAsked]:
    end = TODAY + timedelta(days=1)
    start = moment(end - timedelta(days=5))
    return {
        ONE_ORDER: EventsAsked(Space.ORDER, streams=["ord-1-7"]),
        "events of ten orders": EventsAsked(
            Space.ORDER, streams=[f"ord-{n % FEW}-{n}" for n in range(10)]
        ),
        "page, no window": EventsAsked(Space.ORDER),
        "page, five days": EventsAsked(Space.ORDER, time_from=start, time_to=moment(end)),
        KIND: EventsAsked(Space.ORDER, kinds=[KINDS[1]], time_from=start, time_to=moment(end)),
        "two kinds, no window": EventsAsked(Space.ORDER, kinds=KINDS[1:3]),
        "a kind that is nowhere, no window": EventsAsked(Space.ORDER, kinds=[RARE]),
    }


# ── Questions ─────────────────────────────────────────────────────────────────────────────────────


async def _questions(asked: Asked, logs: list[Log], pools: dict[str, AsyncConnectionPool]) -> None:
    scale, many = asked.scale.name, logs[0].days
    table = Table(
        f"Questions about a log of {many} days (A), and of {FEW} (B)",
        ("question", "log", "ms", "rows", "statements", "days named", "buffers", "for planning",
         "A / B (rounds)"),
        note=f"Pages of {PAGE}. Medians of {ROUNDS[scale]} rounds of {CALLS[scale]} calls; the "
        "last question has to look into every day, and is asked twice a round.",
    )  # fmt: skip
    for name, question in _asked().items():
        is_hopeless = question.kinds == [RARE]
        calls = 2 if is_hopeless else CALLS[scale]
        rounds: list[dict[str, float]] = []
        for turn in range(ROUNDS[scale]):
            order = logs if turn % 2 else logs[::-1]
            rounds.append(
                {log.name: await _call_ms(pools[log.name], question, calls) for log in order}
            )
        ratios = [each["A"] / each["B"] for each in rounds]
        for log in logs:
            read = ExplainingReadModel(pools[log.name])
            rows = len(await read.events(question, None, PAGE + 1))
            noted = read.noted()
            table.add(
                name if log.name == "A" else "",
                log.name,
                number(median(each[log.name] for each in rounds)),
                rows,
                len(noted),
                sum(each.days("order_events") for each in noted),
                sum(each.buffers for each in noted),
                sum(each.planning_buffers for each in noted),
                f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
                if log.name == "A"
                else "",
            )
        if name in (ONE_ORDER, KIND):
            ratio = median(ratios)
            asked.findings.bar(
                f"{name}, {many} days / {FEW} days",
                f"≤ {RATIO_BAR:g}",
                ratio <= RATIO_BAR,
                f"{ratio:.2f}",
            )
    asked.findings.keep(table)


async def _call_ms(pool: AsyncConnectionPool, question: EventsAsked, calls: int) -> float:
    read = PostgresReadModel(pool)
    await read.events(question, None, PAGE + 1)
    took = []
    for _ in range(calls):
        began = perf_counter()
        await read.events(question, None, PAGE + 1)
        took.append(perf_counter() - began)
    return median(took) * 1000


# ── Connections ───────────────────────────────────────────────────────────────────────────────────


async def _connections(findings: Findings, logs: list[Log]) -> None:
    table = Table(
        "What a connection learns of the catalogue",
        ("its first question", "log", "first ms", "keeps, MB"),
        note="Each on a connection of its own, once.",
    )
    questions = _asked()
    for name in (ONE_ORDER, "page, no window", "a kind that is nowhere, no window"):
        for log in logs:
            async with connection_pool(log.url, size_max=1) as pool:
                before = await _catalogue_bytes(pool)
                began = perf_counter()
                await PostgresReadModel(pool).events(questions[name], None, PAGE + 1)
                took = (perf_counter() - began) * 1000
                kept = await _catalogue_bytes(pool) - before
            table.add(name if log.name == "A" else "", log.name, number(took), number(kept / 2**20))
    findings.keep(table)


async def _catalogue_bytes(pool: AsyncConnectionPool) -> int:
    """What the pool's only connection keeps in memory."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts WHERE name IN"
            " ('CacheMemoryContext', 'index info', 'partition descriptor', 'partition key',"
            " 'CachedPlan', 'CachedPlanSource', 'CachedPlanQuery')"
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


SECTION = Section("large-log", measure, title="Questions about a large log", method=METHOD)
