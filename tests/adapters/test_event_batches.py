"""Batches go when every projection has passed them, and no sooner.

How to think about it: a batch that is forgotten too soon is an event that search never gets, and
nobody is told. So what matters is what is still there when a projection comes for it, above all
for one that begins at the very moment when batches are being forgotten.
"""

import asyncio
from datetime import datetime, timedelta

import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.search import batches as batches_
from payment_manager.adapters.postgres.search.batches import PostgresEventBatches
from payment_manager.adapters.postgres.search.tail import PostgresEventTail
from payment_manager.adapters.postgres.search.whole_log import PostgresWholeLog
from payment_manager.application.apply_webhooks import ApplyWebhooks
from payment_manager.application.ports import Checkpoint, Stretch
from tests.adapters.conftest import Query
from tests.clock import TODAY_AT_NOON
from tests.webhooks import as_webhook, order_webhook

COUNT = "SELECT count(*)::integer FROM event_batches"


@pytest.fixture
def batches(pool: AsyncConnectionPool) -> PostgresEventBatches:
    return PostgresEventBatches(pool)


@pytest.fixture
def whole(pool: AsyncConnectionPool) -> PostgresWholeLog:
    return PostgresWholeLog(pool)


@pytest.fixture
def tail(pool: AsyncConnectionPool) -> PostgresEventTail:
    return PostgresEventTail(pool)


async def take(apply: ApplyWebhooks, *order_ids: str) -> None:
    """A transaction for each."""
    for order_id in order_ids:
        await apply([as_webhook(order_webhook(order_id))])


async def following(whole: PostgresWholeLog) -> Checkpoint:
    """A projection that has all there is."""
    checkpoint = await whole.begin("b-1")
    await whole.finish(checkpoint, [])
    return checkpoint


async def forgotten(
    batches: PostgresEventBatches, expected: int, now: datetime = TODAY_AT_NOON
) -> int:
    """In as many rounds as so many take: whatever runs on this server holds batches back, as its
    autovacuum does for a moment.
    """
    count = 0
    async with asyncio.timeout(60):
        while count < expected:
            count += await batches.forget(now)
    return count


def ids(stretch: Stretch) -> list[str]:
    return [event.order_id for event in stretch.events]


async def test_where_nothing_is_projected_all_that_is_committed_goes(
    batches: PostgresEventBatches, apply: ApplyWebhooks, query: Query, database_url: str
) -> None:
    await take(apply, "a", "b")
    async with await AsyncConnection.connect(database_url) as slow:
        await slow.execute(
            "INSERT INTO event_batches (first_at, last_at, order_events, dispute_events)"
            " VALUES (now(), now(), 1, 0)"
        )
        await take(apply, "c")
        assert await forgotten(batches, 2) == 2
        await slow.commit()
    # What is behind an open transaction stays for the next round.
    assert await query(COUNT) == [(2,)]
    assert await forgotten(batches, 2) == 2
    assert await query(COUNT) == [(0,)]


async def test_what_a_projection_has_not_passed_stays(
    batches: PostgresEventBatches,
    whole: PostgresWholeLog,
    tail: PostgresEventTail,
    apply: ApplyWebhooks,
) -> None:
    await take(apply, "before")
    checkpoint = await following(whole)
    await take(apply, "a", "b", "c")

    assert await forgotten(batches, 1) == 1
    piece = await tail.after(checkpoint, 2)
    assert ids(piece) == ["a", "b"]
    assert await batches.forget(TODAY_AT_NOON) == 0
    assert await tail.save(checkpoint, piece.checkpoint, [])
    assert await forgotten(batches, 2) == 2
    assert ids(await tail.after(piece.checkpoint, 2)) == ["c"]


async def test_the_slowest_of_two_projections_counts(
    batches: PostgresEventBatches,
    whole: PostgresWholeLog,
    tail: PostgresEventTail,
    apply: ApplyWebhooks,
) -> None:
    """One that answers, and one that is being built."""
    checkpoint = await following(whole)
    built = await whole.begin("b-2")
    await take(apply, "a", "b")
    assert await tail.save(checkpoint, (await tail.after(checkpoint, 9)).checkpoint, [])

    assert await batches.forget(TODAY_AT_NOON) == 0
    assert ids(await tail.after(built, 9)) == ["a", "b"]
    await whole.abandon()
    assert await forgotten(batches, 2) == 2


async def test_nothing_goes_while_one_is_being_set_up(
    batches: PostgresEventBatches, apply: ApplyWebhooks, query: Query
) -> None:
    await take(apply, "a")
    await query(
        "INSERT INTO projections (name, build, server, moved_at) VALUES ('x', 'b', '', now())"
    )
    assert await batches.forget(TODAY_AT_NOON) == 0


async def test_a_build_that_begins_while_batches_are_being_forgotten_misses_none(
    batches: PostgresEventBatches,
    whole: PostgresWholeLog,
    tail: PostgresEventTail,
    apply: ApplyWebhooks,
    query: Query,
    database_url: str,
) -> None:
    """The statement that forgets has begun before the build, and goes on after it."""
    await take(apply, "old")
    async with await AsyncConnection.connect(database_url) as holding:
        await holding.execute("SELECT FROM event_batches FOR UPDATE")
        forgetting = asyncio.create_task(forgotten(batches, 1))
        async with asyncio.timeout(60):
            while not await query("SELECT pid FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.005)
        checkpoint = await whole.begin("b-1")
        await take(apply, "new")
    assert await forgetting == 1

    assert ids(await tail.after(checkpoint, 9)) == ["new"]


async def test_builds_that_begin_at_any_moment_miss_nothing(
    batches: PostgresEventBatches,
    whole: PostgresWholeLog,
    tail: PostgresEventTail,
    apply: ApplyWebhooks,
    query: Query,
) -> None:
    stopped = asyncio.Event()

    async def writes() -> None:
        n = 0
        while not stopped.is_set():
            n += 1
            await take(apply, f"ord-{n}")

    async def forgets() -> None:
        while not stopped.is_set():
            await batches.forget(TODAY_AT_NOON)

    working = asyncio.gather(writes(), forgets())
    checkpoints = []
    for n in range(15):
        checkpoint = await whole.begin(f"b-{n}")
        stretch = await tail.after(checkpoint, 1000)
        while not stretch.events:
            stretch = await tail.after(checkpoint, 1000)
        found = [event.event_id for event in stretch.events]
        checkpoints.append((checkpoint, stretch.checkpoint, found))
        await whole.abandon()
    stopped.set()
    await working

    for begin, end, found in checkpoints:
        there = await query(
            "SELECT event_id FROM order_events WHERE NOT pg_visible_in_snapshot(transaction_id, %s)"
            " AND pg_visible_in_snapshot(transaction_id, %s)",
            begin.seen,
            end.seen,
        )
        assert sorted(found) == sorted(id for (id,) in there)


async def test_slices_end_anywhere(
    batches: PostgresEventBatches,
    query: Query,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also within a transaction, as a seeded history's thousands of runs of time are one."""
    monkeypatch.setattr(batches_, "SLICE_ROWS", 4)
    for rows in (3, 9, 1, 2):
        await query(
            "INSERT INTO event_batches (first_at, last_at, order_events, dispute_events)"
            " SELECT at, at, 1, 0 FROM generate_series(1, %s) AS n,"
            " LATERAL (SELECT now() + n * interval '1 min') AS t (at)",
            rows,
        )
    assert await forgotten(batches, 15) == 15
    assert await query(COUNT) == [(0,)]


# ── Projections that nobody drives any more ───────────────────────────────────────────────────────

LATER = TODAY_AT_NOON + timedelta(days=31)


async def test_a_projection_that_stands_still_for_a_month_is_dropped_and_told(
    batches: PostgresEventBatches,
    whole: PostgresWholeLog,
    tail: PostgresEventTail,
    apply: ApplyWebhooks,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await following(whole)
    await take(apply, "a")
    assert await batches.forget(LATER - timedelta(days=2)) == 0
    assert await tail.checkpoint() is not None

    assert await forgotten(batches, 1, LATER) == 1

    assert await tail.checkpoint() is None
    assert "projection_dropped" in capsys.readouterr().out


async def test_a_build_whose_process_died_is_dropped_after_a_month(
    batches: PostgresEventBatches, whole: PostgresWholeLog, apply: ApplyWebhooks, query: Query
) -> None:
    await whole.begin("b-1")
    await query("UPDATE projections SET seen = NULL")
    await take(apply, "a")
    await batches.forget(TODAY_AT_NOON)
    assert len(await query("SELECT name FROM projections")) == 1
    await batches.forget(LATER)
    assert await query("SELECT name FROM projections") == []


async def test_a_projection_that_has_nothing_to_do_stays(
    batches: PostgresEventBatches,
    whole: PostgresWholeLog,
    tail: PostgresEventTail,
    apply: ApplyWebhooks,
) -> None:
    checkpoint = await following(whole)
    await batches.forget(LATER)
    assert await tail.checkpoint() == checkpoint
    # What comes after a month of quiet has not waited for a month.
    await take(apply, "a")
    await batches.forget(TODAY_AT_NOON + timedelta(days=29))
    assert ids(await tail.after(checkpoint, 9)) == ["a"]
