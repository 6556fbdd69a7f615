"""A build reads all there is, whatever maintenance does to the days under it.

How to think about it: a small world of last month, whose days may be sealed, detached, archived or
moved between two pages, and a world of today beside it. What a build has in the end is what it read
and what the tail brought; that must be all that was ever recorded, and as much as is counted.
"""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.parquet.files import name_of
from payment_manager.adapters.postgres.partitions.default_rows import PostgresDefaultRows
from payment_manager.adapters.postgres.partitions.retirement import PostgresRetirement
from payment_manager.adapters.postgres.partitions.sealing import PostgresSealing
from payment_manager.adapters.postgres.search import whole_log
from payment_manager.adapters.postgres.search.tail import PostgresEventTail
from payment_manager.adapters.postgres.search.whole_log import PostgresWholeLog
from payment_manager.application.ports import (
    Archive,
    Checkpoint,
    Document,
    LogDay,
    LoggedEvent,
    Moment,
    SetAside,
    Space,
    Unavailable,
)
from payment_manager.domain.dispute_id import dispute_id_of
from tests.adapters.conftest import Query, write_path
from tests.adapters.past import (
    BEGINNING,
    FIRST,
    LAST,
    PAST,
    Past,
    days_between,
    template_database,
)
from tests.clock import TODAY_AT_NOON, FakeClock, FakeEventIds
from tests.webhooks import as_webhook, order_webhook

ORDERS_IN_PAST, DISPUTES_IN_PAST, EVENTS_IN_PAST = 6, 2, 23

__all__ = ["template_database"]  # a fixture


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that something may happen in the middle of a day."""
    monkeypatch.setattr(whole_log, "PAGE_ROWS", 2)


@pytest.fixture
def past(pool: AsyncConnectionPool, tmp_path: Path) -> Past:
    return Past(pool, tmp_path / "archive")


async def logged(query: Query) -> dict[str, LoggedEvent]:
    """What the database has in its logs, by event."""
    owners = {
        dispute_id_of(order_id): order_id
        for (order_id,) in await query("SELECT order_id FROM orders")
    }
    columns = "sequence, kind, provider_event_id, data::text, created_at, correlation_id, position"
    rows = await query(f"SELECT event_id, order_id, NULL, {columns} FROM order_events")
    for event_id, dispute_id, *rest in await query(
        f"SELECT event_id, dispute_id, {columns} FROM dispute_events"
    ):
        rows.append((event_id, owners[dispute_id], dispute_id, *rest))
    return {str(row[0]): LoggedEvent._make(row) for row in rows}


async def read(pool: AsyncConnectionPool, archive: Archive | None = None) -> list[LoggedEvent]:
    return [event async for page in PostgresWholeLog(pool, archive).events() for event in page]


def by_id(events: list[LoggedEvent]) -> dict[str, LoggedEvent]:
    return {str(event.event_id): event for event in events}


# ── Everything ────────────────────────────────────────────────────────────────────────────────────


async def test_the_logs_are_read_once_with_all_they_say(
    pool: AsyncConnectionPool, query: Query
) -> None:
    """Days that lie apart, today, and what stands in no day."""
    for at in (TODAY_AT_NOON, BEGINNING - timedelta(days=300), BEGINNING + timedelta(days=15)):
        apply = write_path(pool, FakeClock(at), _ids(at.toordinal()))
        await apply([as_webhook(order_webhook(f"ord-{at:%Y%m%d}-{n}")) for n in range(5)])

    found = await read(pool)

    assert len(found) == EVENTS_IN_PAST + 15
    assert by_id(found) == await logged(query)
    for space in (False, True):
        times = [event.created_at for event in found if (event.dispute_id is None) == space]
        assert times == sorted(times)


async def test_rows_are_read_once_by_key(pool: AsyncConnectionPool, query: Query) -> None:
    whole = PostgresWholeLog(pool)
    orders = [row async for page in whole.orders() for row in page]
    disputes = [row async for page in whole.disputes() for row in page]

    assert [order.order_id for order in orders] == [
        id for (id,) in await query("SELECT order_id FROM orders ORDER BY order_id")
    ]
    assert [str(dispute.dispute_id) for dispute in disputes] == [
        str(id) for (id,) in await query("SELECT dispute_id FROM disputes ORDER BY dispute_id")
    ]
    assert (len(orders), len(disputes)) == (ORDERS_IN_PAST, DISPUTES_IN_PAST)


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "archived"])
async def test_days_that_left_are_read_where_they_are(
    pool: AsyncConnectionPool, past: Past, query: Query, keeps: bool
) -> None:
    before = await logged(query)
    assert sorted(await past.retire(None if keeps else past.archive)) == PAST

    found = await read(pool, past.archive)

    assert by_id(found) == before
    assert len(found) == len(before)
    assert (await PostgresWholeLog(pool, past.archive).moment()).counts == {
        Document.ORDER_EVENT: sum(event.dispute_id is None for event in found),
        Document.DISPUTE_EVENT: sum(event.dispute_id is not None for event in found),
        Document.ORDER: ORDERS_IN_PAST,
        Document.DISPUTE: DISPUTES_IN_PAST,
    }


# ── Days that change meanwhile ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("after", [1, 4, 9])
@pytest.mark.parametrize("what", ["sealed", "kept", "archived", "kept, then archived"])
async def test_no_event_is_lost_whatever_happens_to_days_between_two_pages(
    pool: AsyncConnectionPool, past: Past, query: Query, what: str, after: int
) -> None:
    before = await logged(query)
    sealing = PostgresSealing(pool)
    found: list[LoggedEvent] = []
    pages = 0
    async for page in PostgresWholeLog(pool, past.archive).events():
        found += page
        pages += 1
        if pages == after:
            if what == "sealed":
                assert all([await sealing.seal(day, TODAY_AT_NOON) for day in PAST])
            else:
                await past.retire(past.archive if what == "archived" else None)
        if pages == after + 3 and what == "kept, then archived":
            # The tables go from under the reading.
            await past.retire(past.archive)

    assert by_id(found) == before


@pytest.mark.parametrize("after", [1, 3, 6])
async def test_no_event_is_lost_that_moves_out_of_the_default_partition(
    pool: AsyncConnectionPool, query: Query, after: int
) -> None:
    for days in (200, 100, 20):
        at = BEGINNING - timedelta(days=days)
        apply = write_path(pool, FakeClock(at), _ids(at.toordinal()))
        await apply([as_webhook(order_webhook(f"ord-{days}-{n}")) for n in range(5)])
    before = await logged(query)

    found: list[LoggedEvent] = []
    pages = 0
    async for page in PostgresWholeLog(pool).events():
        found += page
        pages += 1
        if pages == after:
            assert len(await PostgresDefaultRows(pool).move()) == 3

    assert by_id(found) == before
    assert len(found) == len(before)


async def test_a_build_beside_writers_has_everything_as_of_one_moment(
    pool: AsyncConnectionPool, past: Past, query: Query
) -> None:
    """What it read, and what the tail brought up to that moment: as many as are counted."""
    whole, tail = PostgresWholeLog(pool, past.archive), PostgresEventTail(pool)
    stopped, many = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        clock, ids = FakeClock(), _ids(1)
        apply = write_path(pool, clock, ids)
        n = 0
        while not stopped.is_set():
            n += 1
            await apply([as_webhook(order_webhook(f"new-{n}-{m}")) for m in range(3)])
            if n == 10:
                many.set()

    writing = asyncio.create_task(write())
    checkpoint = await whole.begin("b-1")
    events: dict[str, LoggedEvent] = {}
    orders, pages = set[str](), 0
    async for page in whole.events():
        events |= by_id(list(page))
        pages += 1
        if pages == 5:
            await past.retire(past.archive)
            async with asyncio.timeout(60):
                await many.wait()
    async for rows in whole.orders():
        orders |= {order.order_id for order in rows}
    checkpoint = await _caught_up(tail, checkpoint, None, events, orders)
    moment = await whole.moment()
    checkpoint = await _caught_up(tail, checkpoint, moment, events, orders)
    stopped.set()
    await writing

    found = Counter(event.dispute_id is None for event in events.values())
    assert found[True] == moment.counts[Document.ORDER_EVENT] > 40
    assert found[False] == moment.counts[Document.DISPUTE_EVENT]
    assert len(orders) == moment.counts[Document.ORDER]
    await whole.finish(checkpoint, [])
    stored = await tail.checkpoint()
    assert stored == checkpoint
    await _caught_up(tail, stored, None, events, orders)
    assert len(events) == EVENTS_IN_PAST + (len(orders) - ORDERS_IN_PAST)


async def _caught_up(
    tail: PostgresEventTail,
    checkpoint: Checkpoint,
    upto: Moment | None,
    events: dict[str, LoggedEvent],
    orders: set[str],
) -> Checkpoint:
    while True:
        stretch = await tail.after(checkpoint, 20, upto=upto)
        checkpoint = stretch.checkpoint
        events |= by_id(list(stretch.events))
        orders |= {order.order_id for order in stretch.orders}
        if stretch.is_last:
            return checkpoint


async def test_up_to_a_moment_comes_what_that_moment_sees_and_no_more(
    pool: AsyncConnectionPool, database_url: str
) -> None:
    whole, tail = PostgresWholeLog(pool), PostgresEventTail(pool)
    apply = write_path(pool, FakeClock(), _ids(1))
    checkpoint = await whole.begin("b-1")
    await apply([as_webhook(order_webhook("before"))])
    async with await psycopg.AsyncConnection.connect(database_url) as slow:
        await slow.execute(
            "INSERT INTO event_batches (first_at, last_at, order_events, dispute_events)"
            " VALUES (now(), now(), 1, 0)"
        )
        moment = await whole.moment()
        await slow.commit()
    await apply([as_webhook(order_webhook("after"))])

    stretch = await tail.after(checkpoint, 100, upto=moment)

    assert [event.order_id for event in stretch.events] == ["before"]
    assert stretch.is_last
    assert stretch.checkpoint.seen == moment.seen
    assert stretch.checkpoint.as_of.time == moment.as_of.time
    rest = await tail.after(stretch.checkpoint, 100)
    assert [event.order_id for event in rest.events] == ["after"]
    assert rest.checkpoint.missed_events == 1  # the slow one's, which was never written


# ── Days that can't be read ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("trouble", ["no archive", "a file is gone", "a file is damaged"])
async def test_what_the_archive_cannot_give_is_not_counted_and_is_told(
    pool: AsyncConnectionPool,
    past: Past,
    capsys: pytest.CaptureFixture[str],
    query: Query,
    trouble: str,
) -> None:
    """Search is built all the same: years of events are not kept from it by one bad file."""
    await past.retire(past.archive)
    file = past.folder / name_of(LogDay(Space.ORDER, FIRST))
    match trouble:
        case "a file is gone":
            file.unlink()
        case "a file is damaged":
            file.write_bytes(file.read_bytes()[:-20])
    whole = PostgresWholeLog(pool, None if trouble == "no archive" else past.archive)
    checkpoint = await whole.begin("b-1")

    found = [event async for page in whole.events() for event in page]

    assert len(by_id(found)) == len(found) < EVENTS_IN_PAST
    counts = (await whole.moment()).counts
    assert counts[Document.ORDER_EVENT] + counts[Document.DISPUTE_EVENT] == len(found)
    assert "archived_days_not_in_search" in capsys.readouterr().out
    await whole.finish(checkpoint, [])
    stored = await PostgresEventTail(pool).checkpoint()
    assert stored is not None
    assert stored.missed_events == EVENTS_IN_PAST - len(found)


async def test_a_day_that_was_dropped_by_hand_is_neither_read_nor_counted(
    pool: AsyncConnectionPool, past: Past
) -> None:
    await past.retire()
    retirement = PostgresRetirement(pool)
    for day in days_between(FIRST, LAST):
        assert await retirement.drop_kept(LogDay(Space.ORDER, day))
    whole = PostgresWholeLog(pool)

    found = [event async for page in whole.events() for event in page]

    assert found
    assert all(event.dispute_id for event in found)
    counts = (await whole.moment()).counts
    assert counts[Document.ORDER_EVENT] == 0
    assert counts[Document.DISPUTE_EVENT] == len(found)


# ── A build's row ─────────────────────────────────────────────────────────────────────────────────


async def test_a_finished_build_is_the_projection_and_the_one_before_is_forgotten(
    pool: AsyncConnectionPool, query: Query
) -> None:
    whole, tail = PostgresWholeLog(pool), PostgresEventTail(pool)
    aside = [SetAside(Document.ORDER, "plain", "refused", TODAY_AT_NOON)]
    await whole.finish(await whole.begin("b-1"), aside)
    assert await tail.rejects("b-1") == aside

    begun = await whole.begin("b-2")
    still = await tail.checkpoint()
    assert still is not None
    assert still.build == "b-1"
    await whole.finish(begun, [])

    assert await tail.checkpoint() == begun
    assert await tail.rejects("b-1") == []
    assert await query("SELECT name, build FROM projections") == [("search", "b-2")]


async def test_a_build_that_was_given_up_cannot_be_finished(
    pool: AsyncConnectionPool, query: Query
) -> None:
    whole = PostgresWholeLog(pool)
    first = await whole.begin("b-1")
    second = await whole.begin("b-2")
    with pytest.raises(Unavailable, match="given up"):
        await whole.finish(first, [])
    await whole.abandon()
    with pytest.raises(Unavailable, match="given up"):
        await whole.finish(second, [])
    assert await query("SELECT name FROM projections") == []


async def test_one_process_builds_and_another_may_project(pool: AsyncConnectionPool) -> None:
    whole, tail = PostgresWholeLog(pool), PostgresEventTail(pool)
    async with whole.building() as one, whole.building() as other, tail.leading() as leads:
        assert (one, other, leads) == (True, False, True)


# ── A sample ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_sample_is_from_all_over_and_no_larger_than_asked_for(
    pool: AsyncConnectionPool, query: Query
) -> None:
    whole = PostgresWholeLog(pool)
    events, orders, disputes = await whole.sample(100)
    assert by_id(list(events)) == await logged(query)
    assert len(orders) == ORDERS_IN_PAST
    assert len(disputes) == DISPUTES_IN_PAST

    apply = write_path(pool, FakeClock(), _ids(1))
    await apply([as_webhook(order_webhook(f"ord-{n}")) for n in range(200)])
    days, numbers = set(), set()
    for _ in range(20):
        events, orders, _ = await whole.sample(10)
        assert len([event for event in events if event.dispute_id is None]) <= 10
        assert len(orders) <= 10
        days |= {event.created_at.date() for event in events}
        numbers |= {order.order_id for order in orders}
    assert len(days) > 1
    assert len(numbers) > 30


def _ids(number: int) -> FakeEventIds:
    """Others than those of the past, and others for each number."""
    ids = FakeEventIds()
    for _ in range(100 * (1 + number % 1000)):
        ids.next()
    return ids
