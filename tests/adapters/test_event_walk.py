"""However a question is cut into windows, its pages are those of one look at the whole log.

How to think about it: the log has all that can go wrong: days that are missing in the middle, days
without events, events that lie outside of every day, events at midnight and at the same instant.
What must be found is asked of PostgreSQL in one statement, and the pages are compared with it.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.partitions.days import table_of
from payment_manager.adapters.postgres.partitions.native import begin_of, end_of
from payment_manager.adapters.postgres.partitions.sealing import PostgresSealing
from payment_manager.adapters.postgres.read_model import PostgresReadModel
from payment_manager.application.ports import EventRow, EventsAsked, LogDay, Place, Space
from payment_manager.application.queries import Queries
from tests.many_days import KINDS, RARE, TODAY, Happened, make_days, moment, write_orders

pytestmark = pytest.mark.usefixtures("unhurried")

OLDEST, GAP_FROM, GAP_TO = (TODAY - timedelta(days=n) for n in (100, 60, 20))
"""Days are there from the oldest to the gap, and from the gap's end on."""

ORDERS = [f"ord-{n}" for n in range(8)]


def _happened(chance: random.Random, strays: bool) -> Iterator[Happened]:
    old = [OLDEST + timedelta(days=n) for n in range((GAP_FROM - OLDEST).days)]
    new = [GAP_TO + timedelta(days=n) for n in range((TODAY - GAP_TO).days + 1)]
    for day in chance.sample(old, 15) + chance.sample(new, 15):
        for share in (0.0, 0.25, 0.25, chance.random()):  # a midnight, and twice the same instant
            yield chance.choice(ORDERS), chance.choice(KINDS), moment(day, share)
    if strays:
        before, within, behind = (
            OLDEST - timedelta(days=30),
            GAP_FROM + timedelta(days=15),
            TODAY + timedelta(days=400),
        )
        for day in (before, before - timedelta(days=400), within, behind):
            for share in (0.0, 0.5):
                yield chance.choice(ORDERS), chance.choice((*KINDS, RARE)), moment(day, share)


@pytest.fixture
def chance() -> random.Random:
    return random.Random(5)


@pytest.fixture
def days(database_url: str) -> None:
    """Beside those around today, which are there."""
    make_days(database_url, OLDEST, GAP_FROM - timedelta(days=1))
    make_days(database_url, GAP_TO, TODAY - timedelta(days=4))


def _questions(chance: random.Random, times: Sequence[datetime]) -> Iterator[EventsAsked]:
    def bound() -> datetime | None:
        exactly = chance.choice(times) + timedelta(microseconds=chance.choice((-1, 0, 1)))
        anywhere = moment(OLDEST, chance.uniform(-50, 150))
        return chance.choice((None, exactly, anywhere))

    for _ in range(60):
        one, other = bound(), bound()
        if one and other and chance.random() < 0.95:
            one, other = sorted((one, other))
        yield EventsAsked(
            Space.ORDER,
            streams=chance.sample([*ORDERS, "nobody"], chance.choice((0, 0, 0, 1, 1, 2, 5))),
            kinds=chance.sample([*KINDS, RARE], chance.choice((0, 0, 1, 2, 4))),
            time_from=one,
            time_to=other,
            ascending=chance.random() < 0.5,
        )


async def _everything(pool: AsyncConnectionPool) -> list[EventRow]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT event_id::text, order_id, kind, provider_event_id, data::text, created_at,"
            " sequence FROM order_events ORDER BY created_at, event_id"
        )
        return [
            EventRow(event_id, stream, kind, provider_event_id, data.encode(), created_at, sequence)
            for event_id, stream, kind, provider_event_id, data, created_at, sequence in (
                await cursor.fetchall()
            )
        ]


def _expected(everything: list[EventRow], asked: EventsAsked) -> list[EventRow]:
    found = [
        row
        for row in everything
        if (not asked.streams or row.stream in asked.streams)
        and (not asked.kinds or row.kind in asked.kinds)
        and (asked.time_from is None or asked.time_from <= row.created_at)
        and (asked.time_to is None or row.created_at < asked.time_to)
    ]
    return found if asked.ascending else found[::-1]


async def _pages(queries: Queries, asked: EventsAsked, limit: int) -> list[EventRow]:
    found: list[EventRow] = []
    after: Place | None = None
    while True:
        page = await queries.events(asked, after, limit)
        found += page.items
        assert len(page.items) == limit or page.next is None
        if page.next is None:
            return found
        after = page.next


@pytest.mark.parametrize("strays", [False, True], ids=["all in their days", "some outside"])
@pytest.mark.usefixtures("days")
async def test_pages_are_those_of_one_look_at_the_whole_log(
    pool: AsyncConnectionPool, database_url: str, chance: random.Random, strays: bool
) -> None:
    write_orders(database_url, _happened(chance, strays))
    everything = await _everything(pool)
    queries = Queries(PostgresReadModel(pool), queue_max=10)
    for asked in _questions(chance, [row.created_at for row in everything]):
        expected = _expected(everything, asked)
        limit = chance.choice((1, 7, 50)) if len(expected) < 40 else chance.choice((7, 50, 500))
        assert await _pages(queries, asked, limit) == expected, asked


@pytest.mark.parametrize("strays", [False, True], ids=["an empty log", "all outside"])
async def test_a_log_whose_days_are_all_empty_is_answered(
    pool: AsyncConnectionPool, database_url: str, strays: bool
) -> None:
    if strays:
        write_orders(database_url, [("ord-0", KINDS[0], moment(OLDEST)) for _ in range(3)])
    queries = Queries(PostgresReadModel(pool), queue_max=10)
    for ascending in (False, True):
        for streams in ((), ("ord-0",), ("ord-0", "ord-1")):
            asked = EventsAsked(Space.ORDER, streams=streams, ascending=ascending)
            assert len(await _pages(queries, asked, 2)) == (3 if strays else 0)


async def test_a_forged_cursor_is_a_place_like_any_other(
    pool: AsyncConnectionPool, database_url: str
) -> None:
    write_orders(database_url, [("ord-0", KINDS[0], moment(TODAY)) for _ in range(3)])
    queries = Queries(PostgresReadModel(pool), queue_max=10)
    for forged in (
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 7, 20, tzinfo=UTC),
        datetime(2500, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ):
        after = (forged, "00000000-0000-7000-8000-000000000000")
        for ascending in (False, True):
            for streams in ((), ("ord-0",)):
                asked = EventsAsked(Space.ORDER, streams=streams, ascending=ascending)
                page = await queries.events(asked, after, 10)
                assert len(page.items) == (3 if ascending == (forged < moment(TODAY)) else 0)


# ── Days that come and go meanwhile ───────────────────────────────────────────────────────────────


@asynccontextmanager
async def _meanwhile(turn: Any) -> AsyncIterator[list[int]]:
    """`turn` again and again, as long as the block lasts; how often it was done."""
    done: list[int] = []

    async def again() -> None:
        while True:
            await turn()
            done.append(1)

    task = asyncio.create_task(again())
    try:
        yield done
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.usefixtures("days")
async def test_pages_miss_and_repeat_nothing_while_a_day_leaves_and_comes_back(
    pool: AsyncConnectionPool, database_url: str, chance: random.Random
) -> None:
    """As sealing does it: nobody sees the moment without the day."""
    write_orders(database_url, _happened(chance, strays=False))
    everything = await _everything(pool)
    day = LogDay(Space.ORDER, everything[len(everything) // 2].created_at.date())
    read = PostgresReadModel(pool)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:

        async def swap() -> None:
            async with other.transaction():
                await _detach(other, day)
                await _attach(other, day)

        async with _meanwhile(swap) as swapped:
            while len(swapped) < 20:
                for asked in (
                    EventsAsked(Space.ORDER),
                    EventsAsked(Space.ORDER, ascending=True),
                    EventsAsked(Space.ORDER, kinds=KINDS, streams=ORDERS),
                ):
                    found = await _walked(read, asked, 11)
                    assert found == _expected(everything, asked)


@pytest.mark.usefixtures("days")
async def test_pages_hold_all_else_while_a_day_is_gone_for_a_time(
    pool: AsyncConnectionPool, database_url: str, chance: random.Random
) -> None:
    """Its own events may be there or not; no question fails for it."""
    write_orders(database_url, _happened(chance, strays=False))
    everything = await _everything(pool)
    day = LogDay(Space.ORDER, everything[0].created_at.date())
    others = [row for row in everything if row.created_at.date() != day.day]
    read = PostgresReadModel(pool)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:

        async def leave_and_come_back() -> None:
            await _detach(other, day)
            await _attach(other, day)

        async with _meanwhile(leave_and_come_back) as done:
            while len(done) < 20:
                for ascending in (False, True):
                    asked = EventsAsked(Space.ORDER, ascending=ascending)
                    found = await _walked(read, asked, 11)
                    kept = [row for row in found if row.created_at.date() != day.day]
                    assert kept == _expected(others, asked)
                    assert len(set(found)) == len(found)


@pytest.mark.usefixtures("days")
async def test_pages_are_the_same_before_and_after_their_days_are_sealed(
    pool: AsyncConnectionPool, database_url: str, chance: random.Random
) -> None:
    write_orders(database_url, _happened(chance, strays=False))
    everything = await _everything(pool)
    read, sealing = PostgresReadModel(pool), PostgresSealing(pool)
    for day in sorted({row.created_at.date() for row in everything})[:6]:
        assert await sealing.seal(LogDay(Space.ORDER, day), moment(TODAY, 0.5))
    for asked in _questions(chance, [row.created_at for row in everything]):
        assert await _walked(read, asked, 50) == _expected(everything, asked)


async def _walked(read: PostgresReadModel, asked: EventsAsked, limit: int) -> list[EventRow]:
    """Page after page without anybody's patience: what fails once, fails."""
    found: list[EventRow] = []
    while True:
        after = (found[-1].created_at, found[-1].event_id) if found else None
        page = await read.events(asked, after, limit)
        found += page
        if len(page) < limit:
            return found


async def _detach(connection: psycopg.AsyncConnection, day: LogDay) -> None:
    text = f"ALTER TABLE order_events DETACH PARTITION {table_of(day)}"
    await connection.execute(text.encode())


async def _attach(connection: psycopg.AsyncConnection, day: LogDay) -> None:
    text = (
        f"ALTER TABLE order_events ATTACH PARTITION {table_of(day)}"
        f" FOR VALUES FROM ('{begin_of(day)}') TO ('{end_of(day)}')"
    )
    await connection.execute(text.encode())
