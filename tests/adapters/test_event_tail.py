"""Every event comes once, whichever transaction began, ended or was slow; and how far is known.

How to think about it: a follower here takes stretch after stretch, as the projector does, and notes
the events. What it has to have is what the logs have. Slow transactions are connections of their
own, left open at the worst moments.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from psycopg import AsyncClientCursor, AsyncConnection
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.partitions.days import table_of
from payment_manager.adapters.postgres.partitions.default_rows import PostgresDefaultRows
from payment_manager.adapters.postgres.partitions.retirement import PostgresRetirement
from payment_manager.adapters.postgres.partitions.sealing import PostgresSealing
from payment_manager.adapters.postgres.search.snapshots import Snapshot
from payment_manager.adapters.postgres.search.tail import (
    Batch,
    PostgresEventTail,
    events_statements,
    unread,
)
from payment_manager.adapters.postgres.search.whole_log import PostgresWholeLog
from payment_manager.adapters.postgres.seed import seed
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.apply_webhooks import ApplyWebhooks
from payment_manager.application.ports import (
    Checkpoint,
    DisputeState,
    Document,
    LogDay,
    LoggedEvent,
    OrderState,
    SetAside,
    Space,
    Stretch,
)
from payment_manager.domain.dispute_id import dispute_id_of
from tests.adapters.conftest import Query, write_path
from tests.adapters.world import World
from tests.clock import TODAY_AT_NOON, FakeClock, FakeEventIds
from tests.plans import explained
from tests.webhooks import as_webhook, chargeback_webhook, order_webhook

EVENT_IDS = "SELECT event_id FROM order_events UNION ALL SELECT event_id FROM dispute_events"


class Follower:
    """Takes what the tail gives, from a checkpoint of its own."""

    def __init__(self, tail: PostgresEventTail, checkpoint: Checkpoint) -> None:
        self.tail, self.checkpoint = tail, checkpoint
        self.events: list[LoggedEvent] = []

    async def once(self, limit: int = 1000) -> Stretch:
        stretch = await self.tail.after(self.checkpoint, limit)
        self.checkpoint = stretch.checkpoint
        self.events += stretch.events
        return stretch

    async def all(self, limit: int = 1000) -> list[str]:
        """To the end; the orders of the new events."""
        before = len(self.events)
        while not (await self.once(limit)).is_last:
            pass
        return [event.order_id for event in self.events[before:]]


@pytest.fixture
def tail(pool: AsyncConnectionPool) -> PostgresEventTail:
    return PostgresEventTail(pool)


@pytest.fixture
async def follower(pool: AsyncConnectionPool, tail: PostgresEventTail) -> Follower:
    """From a moment at which there is nothing."""
    whole = PostgresWholeLog(pool)
    await whole.finish(await whole.begin("b-1"), [])
    checkpoint = await tail.checkpoint()
    assert checkpoint is not None
    return Follower(tail, checkpoint)


@asynccontextmanager
async def slow(database_url: str, order_id: str, at: datetime) -> AsyncIterator[AsyncConnection]:
    """A transaction that has written one event as a service of ours does, and is still open."""
    async with await AsyncConnection.connect(database_url) as connection:
        await write(connection, order_id, at)
        yield connection


async def write(connection: AsyncConnection, order_id: str, at: datetime, said: int = 1) -> None:
    """An event, and word of so many."""
    await connection.execute(
        "INSERT INTO order_events (event_id, order_id, sequence, kind, data, created_at,"
        " correlation_id) VALUES (gen_random_uuid(), %s, 1, 'hold_set', '{}', %s, '')",
        [order_id, at],
    )
    await connection.execute(
        "INSERT INTO event_batches (first_at, last_at, order_events, dispute_events)"
        " VALUES (%s, %s, %s, 0)",
        [at, at, said],
    )


async def take(apply: ApplyWebhooks, *order_ids: str) -> None:
    """A transaction for each."""
    for order_id in order_ids:
        await apply([as_webhook(order_webhook(order_id))])


# ── What comes ────────────────────────────────────────────────────────────────────────────────────


async def test_everything_comes_once_with_all_it_says(
    pool: AsyncConnectionPool, follower: Follower, clock: FakeClock, query: Query
) -> None:
    await World(pool, clock).make()

    assert await follower.all()

    columns = "sequence, kind, provider_event_id, data::text, created_at, correlation_id, position"
    stored = await query(f"SELECT event_id, order_id, NULL, {columns} FROM order_events")
    disputes = await query(f"SELECT event_id, dispute_id, {columns} FROM dispute_events")
    owners = {dispute_id_of(id): id for id in ("disputed", "decided")}
    stored += [(id, owners[dispute], dispute, *rest) for id, dispute, *rest in disputes]
    assert sorted(follower.events) == sorted(LoggedEvent._make(row) for row in stored)
    assert len(follower.events) == 23
    assert await follower.all() == []


async def test_events_come_in_the_order_of_transactions_and_within_one_by_position(
    follower: Follower, apply: ApplyWebhooks, query: Query
) -> None:
    await take(apply, "a", "b")
    await apply([as_webhook(order_webhook("c")), as_webhook(chargeback_webhook("c", "opened"))])
    await apply(
        [as_webhook(order_webhook("c", "updated", 2)), as_webhook(order_webhook("a", "success", 3))]
    )

    await follower.all()

    assert [event.order_id for event in follower.events[:2]] == ["a", "b"]
    assert {(event.order_id, event.kind) for event in follower.events[2:4]} == {
        ("c", "webhook_received"), ("c", "webhook_opened"),
    }  # fmt: skip
    for order_id in "abc":
        mine = [e for e in follower.events if e.order_id == order_id and e.dispute_id is None]
        assert [event.sequence for event in mine] == sorted(event.sequence for event in mine)


async def test_pieces_are_about_as_large_as_asked_for_and_of_whole_transactions(
    follower: Follower, apply: ApplyWebhooks
) -> None:
    for n in range(5):
        await apply([as_webhook(order_webhook(f"ord-{n}-{m}")) for m in range(3)])

    sizes, last = [], False
    while not last:
        stretch = await follower.once(limit=7)
        sizes.append(len(stretch.events))
        last = stretch.is_last
    assert sizes == [6, 6, 3]

    await apply([as_webhook(order_webhook(f"many-{m}")) for m in range(20)])
    stretch = await follower.once(limit=7)
    assert (len(stretch.events), stretch.is_last) == (20, True)


async def test_rows_come_as_they_are_now(
    pool: AsyncConnectionPool, follower: Follower, clock: FakeClock, query: Query
) -> None:
    await World(pool, clock).make()
    stretch = await follower.once()

    orders = {order.order_id: order for order in stretch.orders}
    assert len(orders) == len(stretch.orders)
    assert set(orders) == {"plain", "held", "captured", "capturing", "disputed", "decided"}
    [(row,)] = await query(
        "SELECT array[sequence::text, user_id::text, first_event_at::text] FROM orders"
        " WHERE order_id = 'captured'"
    )
    captured = orders["captured"]
    assert row[:2] == [str(captured.sequence), str(captured.user_id)]
    assert captured[8:11] == ("success", 500, "USD")
    assert captured.captured_at is not None
    assert orders["capturing"][8:12] == ("pending", None, None, None)
    assert orders["plain"][8:12] == (None, None, None, None)
    assert (orders["held"].on_hold, orders["held"].was_held) == (True, True)
    assert (orders["plain"].on_hold, orders["plain"].was_held) == (False, False)

    disputes = {dispute.order_id: dispute for dispute in stretch.disputes}
    assert set(disputes) == {"disputed", "decided"}
    disputed, decided = disputes["disputed"], disputes["decided"]
    assert disputed.dispute_id == dispute_id_of("disputed")
    assert disputed.user_id == orders["disputed"].user_id
    assert (disputed.status, disputed.submitting_id) == ("under_review", None)
    assert (decided.status, decided.sequence) == ("won", 3)
    assert decided.disputed_at == decided.opened_at
    assert isinstance(captured, OrderState)
    assert isinstance(decided, DisputeState)


async def test_a_dispute_comes_again_when_its_order_changes(
    follower: Follower, apply: ApplyWebhooks
) -> None:
    """It shows the order's user."""
    await apply(
        [
            as_webhook(order_webhook("ord")),
            as_webhook(chargeback_webhook("ord", "closed", 1, "won")),
        ]
    )
    await follower.all()
    await apply([as_webhook(order_webhook("ord", "updated", 5))])

    stretch = await follower.once()

    assert [dispute.order_id for dispute in stretch.disputes] == ["ord"]
    [dispute] = stretch.disputes
    assert (dispute.opened_at, dispute.disputed_at) == (None, dispute.recorded_at)


async def test_an_event_of_a_dispute_without_its_row_names_the_order_that_its_payload_names(
    follower: Follower, apply: ApplyWebhooks, query: Query, pool: AsyncConnectionPool
) -> None:
    await apply([as_webhook(order_webhook("ord")), as_webhook(chargeback_webhook("ord", "opened"))])
    await query("DELETE FROM disputes")
    nobody = UUID(int=7)
    await query(
        "WITH written AS (INSERT INTO dispute_events (event_id, dispute_id, sequence, kind, data,"
        " created_at, correlation_id) VALUES (gen_random_uuid(), %s, 1, 'evidence_added', '{}', %s,"
        " '')) INSERT INTO event_batches (first_at, last_at, order_events, dispute_events)"
        " VALUES (%s, %s, 0, 1)",
        nobody, *[TODAY_AT_NOON] * 3,
    )  # fmt: skip

    await follower.all()

    owners = {event.order_id: event.dispute_id for event in follower.events if event.dispute_id}
    assert owners == {"ord": dispute_id_of("ord"), f"?{nobody}": nobody}


# ── Slow transactions ─────────────────────────────────────────────────────────────────────────────


async def test_a_transaction_that_began_first_and_ends_last_is_neither_waited_for_nor_skipped(
    follower: Follower, apply: ApplyWebhooks, database_url: str
) -> None:
    async with slow(database_url, "slow", TODAY_AT_NOON) as other:
        await take(apply, "a", "b")
        assert await follower.all() == ["a", "b"]
        await take(apply, "c")
        assert await follower.all(limit=1) == ["c"]
        assert await follower.all() == []
        await other.commit()
    await take(apply, "d")

    assert await follower.all() == ["slow", "d"]
    assert await follower.all() == []


async def test_a_transaction_that_is_rolled_back_is_passed(
    follower: Follower, apply: ApplyWebhooks, database_url: str
) -> None:
    async with slow(database_url, "slow", TODAY_AT_NOON) as other:
        own_id = await other.execute("SELECT pg_current_xact_id()::text::bigint")
        [(rolled_back,)] = await own_id.fetchall()
        await take(apply, "a")
        assert await follower.all() == ["a"]
        assert not Snapshot.parse(follower.checkpoint.seen).sees(rolled_back)
        await other.rollback()
    await take(apply, "b")
    assert await follower.all() == ["b"]
    # Others may run: an autovacuum of this server's is a transaction, too.
    assert Snapshot.parse(follower.checkpoint.seen).sees(rolled_back)


async def test_pieces_taken_while_slow_transactions_end_in_between_miss_and_repeat_nothing(
    follower: Follower, apply: ApplyWebhooks, database_url: str, query: Query
) -> None:
    """The order in which they end is not that in which they began."""
    async with (
        slow(database_url, "slow-1", TODAY_AT_NOON) as first,
        slow(database_url, "slow-2", TODAY_AT_NOON - timedelta(hours=1)) as second,
    ):
        await take(apply, *(f"a-{n}" for n in range(5)))
        await follower.once(limit=2)
        await second.commit()
        await follower.once(limit=2)
        await take(apply, *(f"b-{n}" for n in range(3)))
        async with slow(database_url, "slow-3", TODAY_AT_NOON) as third:
            await first.commit()
            await follower.once(limit=1)
            await take(apply, "c")
            await follower.once(limit=3)
            await third.commit()
    await follower.all(limit=2)

    stored = [id for (id,) in await query(EVENT_IDS)]
    assert sorted(event.event_id for event in follower.events) == sorted(stored)


async def test_many_writers_at_once_and_a_reader_beside_them_miss_and_repeat_nothing(
    follower: Follower, pool: AsyncConnectionPool, query: Query
) -> None:
    async def writer(number: int) -> None:
        clock, ids = FakeClock(), FakeEventIds()
        clock.advance(seconds=number)
        apply = write_path(pool, clock, ids)
        for n in range(15):
            clock.advance(milliseconds=7)
            await apply([as_webhook(order_webhook(f"w{number}-{n}-{m}")) for m in range(n % 3 + 1)])

    writing = asyncio.gather(*(writer(number) for number in range(5)))
    while not writing.done():
        await follower.once(limit=5)
    await writing
    await follower.all(limit=5)

    found = [(event.order_id, event.sequence) for event in follower.events]
    assert len(found) == len(set(found)) == 5 * 30
    assert follower.checkpoint.missed_events == 0


async def test_the_log_is_followed_while_a_day_is_being_sealed(
    follower: Follower, apply: ApplyWebhooks, pool: AsyncConnectionPool, database_url: str
) -> None:
    """The copy is a transaction of minutes; here it waits for a writer of that day."""
    yesterday = TODAY_AT_NOON - timedelta(days=1)
    day = LogDay(Space.ORDER, yesterday.date())
    await take(write_path(pool, FakeClock(yesterday)), "old")
    assert await follower.all() == ["old"]
    async with slow(database_url, "late", yesterday) as writer:
        sealing = asyncio.create_task(PostgresSealing(pool).seal(day, TODAY_AT_NOON))
        async with pool.connection() as looking, asyncio.timeout(60):
            waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
            # It gives up after some seconds: on a machine that is slower than that.
            while not (
                sealing.done() or (await looking.execute(waiting, [table_of(day)])).rowcount
            ):
                await asyncio.sleep(0.01)
        await take(apply, "a", "b")
        assert await follower.all() == ["a", "b"]
        assert Snapshot.parse(follower.checkpoint.seen).running  # the copy's, and the writer's
        await writer.commit()
    sealed = await sealing
    assert sealed is None or sealed.rows == 1
    await take(apply, "c")
    assert await follower.all() == ["late", "c"]


# ── Where events are by now ───────────────────────────────────────────────────────────────────────


async def test_an_event_far_in_the_past_is_found_on_its_day(
    follower: Follower, pool: AsyncConnectionPool, apply: ApplyWebhooks
) -> None:
    """That day has no partition: the default one has it."""
    await take(apply, "new")
    long_ago = write_path(pool, FakeClock(TODAY_AT_NOON - timedelta(days=700)))
    await take(long_ago, "old")
    assert await follower.all() == ["new", "old"]


async def test_events_that_move_out_of_the_default_partition_or_into_a_sealed_day_are_found(
    follower: Follower, pool: AsyncConnectionPool
) -> None:
    yesterday, long_ago = (TODAY_AT_NOON - timedelta(days=days) for days in (1, 40))
    await take(write_path(pool, FakeClock(long_ago)), "moved")
    await take(write_path(pool, FakeClock(yesterday)), "sealed")

    assert [moved.rows for moved in await PostgresDefaultRows(pool).move()] == [1]
    assert await PostgresSealing(pool).seal(LogDay(Space.ORDER, yesterday.date()), TODAY_AT_NOON)

    assert await follower.all() == ["moved", "sealed"]
    assert follower.checkpoint.missed_events == 0


async def test_a_day_that_left_before_it_was_read_is_counted_and_told(
    follower: Follower,
    pool: AsyncConnectionPool,
    apply: ApplyWebhooks,
    capsys: pytest.CaptureFixture[str],
) -> None:
    yesterday = TODAY_AT_NOON - timedelta(days=1)
    await take(write_path(pool, FakeClock(yesterday)), "gone-1", "gone-2")
    await take(apply, "there")
    day = LogDay(Space.ORDER, yesterday.date())
    assert await PostgresRetirement(pool).detach(day, TODAY_AT_NOON)

    assert await follower.all() == ["there"]

    assert follower.checkpoint.missed_events == 2
    assert "events_left_before_they_were_projected" in capsys.readouterr().out
    await take(apply, "next")
    assert await follower.all() == ["next"]
    assert follower.checkpoint.missed_events == 2


async def test_a_seeded_history_is_followed(
    follower: Follower, pool: AsyncConnectionPool, query: Query
) -> None:
    """A transaction with events all over two months, each in its own place."""
    report = await seed(pool, orders=120, disputes=12, days=60, now=TODAY_AT_NOON)

    await follower.all(limit=50)

    stored = [id for (id,) in await query(EVENT_IDS)]
    assert len(stored) == report.events
    assert sorted(event.event_id for event in follower.events) == sorted(stored)
    assert follower.checkpoint.missed_events == 0


# ── Checkpoints ───────────────────────────────────────────────────────────────────────────────────


async def test_after_a_crash_between_reading_and_saving_the_same_comes_again(
    follower: Follower, tail: PostgresEventTail, apply: ApplyWebhooks
) -> None:
    await take(apply, "a", "b")
    saved = follower.checkpoint
    first = await tail.after(saved, 10)
    assert await tail.checkpoint() == saved

    again = await tail.after(saved, 10)
    assert again.events == first.events
    assert await tail.save(saved, again.checkpoint, [])

    stored = await tail.checkpoint()
    assert stored == again.checkpoint
    assert (await tail.after(stored, 10)).events == []


async def test_of_two_who_save_one_wins(
    follower: Follower, tail: PostgresEventTail, apply: ApplyWebhooks
) -> None:
    old = follower.checkpoint
    await take(apply, "a")
    one = (await tail.after(old, 10)).checkpoint
    await take(apply, "b")
    other = (await tail.after(old, 10)).checkpoint
    aside = [SetAside(Document.ORDER, "a", "too large", TODAY_AT_NOON)]

    won = await asyncio.gather(tail.save(old, one, aside), tail.save(old, other, aside))

    assert sorted(won) == [False, True]
    assert await tail.checkpoint() == (one if won[0] else other)
    assert await tail.rejects("b-1") == aside
    assert not await tail.save(replace(one, build="b-0"), other, [])


async def test_what_is_set_aside_is_kept_with_the_checkpoint_newest_first(
    follower: Follower, tail: PostgresEventTail, apply: ApplyWebhooks
) -> None:
    await take(apply, "a")
    new = (await tail.after(follower.checkpoint, 10)).checkpoint
    aside = [
        SetAside(Document.ORDER_EVENT, f"e-{n}", "refused", TODAY_AT_NOON + timedelta(seconds=n))
        for n in range(1200)
    ]
    assert not await tail.save(new, new, aside)
    assert await tail.rejects("b-1") == []
    assert await tail.reject_count("b-1") == 0
    assert await tail.save(follower.checkpoint, new, aside)
    assert await tail.rejects("b-1") == aside[::-1]
    assert await tail.reject_count("b-1") == 1200
    assert await tail.rejects("b-2") == []


async def test_positions_and_time_never_go_back(
    follower: Follower, pool: AsyncConnectionPool, apply: ApplyWebhooks, database_url: str
) -> None:
    async with slow(database_url, "slow", TODAY_AT_NOON - timedelta(days=2)) as other:
        await take(apply, "a")
        await follower.all()
        before = follower.checkpoint.as_of
        await other.commit()
    assert await follower.all(limit=1) == ["slow"]
    after = follower.checkpoint.as_of
    assert after.order_position == before.order_position
    assert after.time >= before.time


async def test_a_checkpoint_says_no_more_than_it_has(
    follower: Follower, pool: AsyncConnectionPool
) -> None:
    """Of a piece: all that was recorded before the first that is left."""
    clock = FakeClock()
    apply = write_path(pool, clock)
    follower.checkpoint = replace(
        follower.checkpoint,
        as_of=replace(follower.checkpoint.as_of, time=TODAY_AT_NOON - timedelta(days=1)),
    )
    for n in range(3):
        clock.set(TODAY_AT_NOON - timedelta(hours=20 - n))
        await take(apply, f"ord-{n}")
    stretch = await follower.once(limit=2)
    assert not stretch.is_last
    assert stretch.checkpoint.as_of.time == TODAY_AT_NOON - timedelta(hours=18)
    assert stretch.checkpoint.as_of.order_position == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("server = '1'", "another server's"),
        ("server = split_part(server, '/', 1) || '/1'", "another database's of this server"),
        ("seen = pg_current_snapshot()::text::pg_snapshot", None),
        ("seen = '900000000:900000000:'", "of transactions that are still to come"),
        ("seen = NULL", "not begun"),
    ],
)
async def test_a_checkpoint_counts_only_for_this_server_and_its_past(
    follower: Follower, tail: PostgresEventTail, query: Query, change: str, why: str | None
) -> None:
    await query(f"UPDATE projections SET {change}")
    found = await tail.checkpoint()
    assert (found is None) == (why is not None)


async def test_the_backlog_is_what_waits_and_since_when(
    follower: Follower, tail: PostgresEventTail, pool: AsyncConnectionPool, database_url: str
) -> None:
    nothing = await tail.backlog(follower.checkpoint)
    assert (nothing.events, nothing.oldest_at) == (0, None)
    clock = FakeClock()
    apply = write_path(pool, clock)
    async with slow(database_url, "slow", TODAY_AT_NOON) as other:
        await apply([as_webhook(order_webhook("a")), as_webhook(chargeback_webhook("a", "opened"))])
        clock.advance(minutes=1)
        await take(apply, "b", "c")
        some = await tail.backlog(follower.checkpoint)
        assert (some.events, some.oldest_at) == (4, TODAY_AT_NOON)
        await follower.all()
        await other.commit()
    assert (await tail.backlog(follower.checkpoint)).events == 1


async def test_a_long_backlog_is_estimated(
    follower: Follower, tail: PostgresEventTail, query: Query
) -> None:
    await query(
        "INSERT INTO event_batches SELECT (%s::text::bigint + n)::text::xid8, now(), now(), 1, 1"
        " FROM generate_series(1, 10050) AS n",
        Snapshot.parse(follower.checkpoint.seen).xmax,
    )
    await query(
        "SELECT setval('order_events_position', 40000), setval('dispute_events_position', 20000)"
    )
    assert (await tail.backlog(follower.checkpoint)).events == 60_000


async def test_one_process_leads(tail: PostgresEventTail) -> None:
    async with tail.leading() as one, tail.leading() as other:
        assert (one, other) == (True, False)
    # PostgreSQL notices in a moment that the leader's connection is closed.
    async with asyncio.timeout(60):
        again = False
        while not again:
            async with tail.leading() as again:
                pass


# ── What it costs ─────────────────────────────────────────────────────────────────────────────────


async def test_reading_events_names_their_days_only(
    pool: AsyncConnectionPool, query: Query
) -> None:
    times = [TODAY_AT_NOON, TODAY_AT_NOON - timedelta(hours=1), TODAY_AT_NOON + timedelta(days=7)]
    for n, at in enumerate(times):
        await take(write_path(pool, FakeClock(at)), *(f"ord-{n}-{m}" for m in range(20)))
    statements, buffers, planned = 0, 0, set[str]()
    batches = await _all_batches(query)
    async with pool.connection() as connection:
        for text, values in events_statements(Space.ORDER, batches):
            text = AsyncClientCursor(connection).mogrify(text, values)
            await explained(connection, text)  # the first time the catalogue is read
            found = await explained(connection, text)
            assert found.rows == len(values["transactions"])
            assert not found.scanned
            buffers += found.buffers + found.planning_buffers
            planned |= found.planned
            statements += 1

    days = {f"order_events_p{at:%Y%m%d}" for at in times}
    assert planned == days
    assert statements == len(days)
    assert buffers <= 6 * len(batches) + 30


@pytest.mark.parametrize("space", Space)
async def test_each_batch_is_looked_up_in_the_log_and_no_event_in_all_batches(
    pool: AsyncConnectionPool, query: Query, space: Space
) -> None:
    """What PostgreSQL would do where it believes that a day which just began has one row."""
    clock = FakeClock()
    apply = write_path(pool, clock)
    await query("ANALYZE")
    for n in range(30):
        clock.advance(milliseconds=1)
        bodies = [order_webhook(f"ord-{n}-{m}") for m in range(3)]
        await apply([as_webhook(body) for body in [*bodies, chargeback_webhook(f"ord-{n}-0")]])
    [(text, values)] = events_statements(space, await _all_batches(query))
    async with pool.connection() as connection:
        text = AsyncClientCursor(connection).mogrify(text, values)
        plan = await (await connection.execute(f"EXPLAIN {text}".encode())).fetchall()
    assert not [line for (line,) in plan if "Join Filter" in line or "Seq Scan" in line]


async def _all_batches(query: Query) -> list[Batch]:
    return [
        Batch._make(row)
        for row in await query(
            "SELECT transaction_id::text::bigint, first_at, last_at, order_events, dispute_events"
            " FROM event_batches"
        )
    ]


async def test_looking_for_batches_costs_the_same_however_many_are_behind(
    pool: AsyncConnectionPool, query: Query
) -> None:
    """Also while a slow transaction keeps the snapshot's beginning far behind its end."""
    costs = []
    for behind in (10, 20_000):
        await query(
            "INSERT INTO event_batches SELECT (1000000 + n)::text::xid8, now(), now(), 1, 0"
            " FROM generate_series(1, %s) AS n",
            behind,
        )
        await query("ANALYZE event_batches")
        seen = Snapshot(2_000_000, frozenset({1_000_003}))
        for statement in ("tail_batches", "tail_backlog"):
            async with pool.connection() as connection:
                values = unread(seen, 500) | {"upto": None}
                text = AsyncClientCursor(connection).mogrify(SQL[statement], values)
                await explained(connection, text)
                found = await explained(connection, text)
            assert not found.scanned
            costs.append(found.buffers)
        await query("TRUNCATE event_batches")
    few, many = costs[:2], costs[2:]
    assert all(other <= one + 4 for one, other in zip(few, many, strict=True))
