"""A sealed day holds what it held, lies as questions read it, and loses nothing on the way.

How to think about it: writers and readers here are connections of their own, whose transactions are
left open at the worst moments. What the sealer waits for is read from the server's locks, so a test
knows where it stands without guessing at times.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import date, timedelta
from time import monotonic

import psycopg
import pytest
import pytest_asyncio
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.partitions import moment
from payment_manager.adapters.postgres.partitions.choice import partitions_of
from payment_manager.adapters.postgres.partitions.days import leading, table_of
from payment_manager.adapters.postgres.partitions.sealing import PostgresSealing
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.apply_webhooks import ApplyWebhooks
from payment_manager.application.ports import LogDay, Sealed, Space
from tests.adapters.conftest import Query, write_path
from tests.clock import TODAY_AT_NOON, FakeClock
from tests.conftest import clone, database_on
from tests.webhooks import as_webhook, chargeback_webhook, order_webhook

TODAY = TODAY_AT_NOON.date()
YESTERDAY_AT_NOON = TODAY_AT_NOON - timedelta(days=1)
YESTERDAY = YESTERDAY_AT_NOON.date()
EARLIER = LogDay(Space.ORDER, YESTERDAY - timedelta(days=1))
ORDERS, DISPUTES = LogDay(Space.ORDER, YESTERDAY), LogDay(Space.DISPUTE, YESTERDAY)
TABLE = table_of(ORDERS)

ROWS = "SELECT e::text FROM order_events AS e ORDER BY event_id"
SEALED_DAYS = "SELECT log, day, sealed_rows FROM event_days ORDER BY log, day"
LEFT_BEHIND = "SELECT relname FROM pg_class WHERE relname LIKE '%packed%'"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template_with_yesterday(postgres_server: str, template_database: str) -> str:
    """Yesterday's events, of several kinds and in the order of time; to be cloned."""
    name = "template_with_yesterday"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    async with connection_pool(database_on(postgres_server, name), size_max=1) as pool:
        apply = write_path(pool, FakeClock(YESTERDAY_AT_NOON))
        ids = [f"ord-{number}" for number in range(40)]
        for status, minute in (("created", 0), ("failed", 1), ("success", 2), ("updated", 3)):
            await apply([as_webhook(order_webhook(id, status, minute)) for id in ids])
        await apply([as_webhook(order_webhook(id, "updated", 4)) for id in ids])
        for status in ("opened", "closed", "updated"):
            await apply([as_webhook(chargeback_webhook(id, status)) for id in ids])
    return name


@pytest.fixture
def database_url(postgres_server: str, template_with_yesterday: str) -> Iterator[str]:
    with clone(postgres_server, template_with_yesterday) as url:
        yield url


@pytest.fixture
def apply(pool: AsyncConnectionPool) -> ApplyWebhooks:
    """Records as of yesterday."""
    return write_path(pool, FakeClock(YESTERDAY_AT_NOON + timedelta(hours=1)))


@pytest.fixture
def packing(pool: AsyncConnectionPool) -> PostgresSealing:
    return PostgresSealing(pool)


@pytest.fixture
def one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moment, "PAUSES_SECONDS", ())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sealer waits until the test has seen it wait, however long that takes."""
    monkeypatch.setattr(moment, "WAIT_SHORTLY", "SET LOCAL lock_timeout = '60s'")


async def one_more(apply: ApplyWebhooks) -> None:
    await apply([as_webhook(order_webhook("late", minute=9))])


@asynccontextmanager
async def beside(url: str, isolation: str = "READ COMMITTED") -> AsyncIterator[AsyncConnection]:
    """A transaction of somebody else's, open until the end, or until it is committed."""
    async with await AsyncConnection.connect(url) as connection:
        await connection.execute(f"BEGIN ISOLATION LEVEL {isolation}")
        yield connection


async def a_late_row(connection: AsyncConnection) -> None:
    """One of yesterday's rows once more, as if it were another."""
    await connection.execute(
        "CREATE TEMPORARY TABLE late ON COMMIT DROP AS"
        " SELECT * FROM order_events WHERE created_at < current_date LIMIT 1"
    )
    await connection.execute("UPDATE late SET event_id = gen_random_uuid()")
    await connection.execute("INSERT INTO order_events SELECT * FROM late")


async def waited_for(query: Query, relation: str, mode: str) -> None:
    """Returns when somebody waits for this lock."""
    async with asyncio.timeout(60):
        while not await query(
            "SELECT pid FROM pg_locks WHERE NOT granted AND relation = %s::regclass AND mode = %s",
            relation,
            mode,
        ):
            await asyncio.sleep(0.005)


async def nothing_changed(query: Query) -> None:
    assert await query(LEFT_BEHIND) == []
    assert await query(SEALED_DAYS) == []


# ── What a sealed day is like ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("which", [ORDERS, DISPUTES], ids=["orders", "disputes"])
async def test_a_sealed_day_holds_the_same_rows_bit_for_bit(
    packing: PostgresSealing, query: Query, which: LogDay
) -> None:
    rows = f"SELECT e::text FROM {table_of(which)} AS e ORDER BY event_id"
    before = await query(rows)

    sealed = await packing.seal(which, TODAY_AT_NOON)

    assert sealed is not None
    assert sealed.rows == len(before) > 0
    assert await query(rows) == before
    assert await query(SEALED_DAYS) == [(f"{which.space}_events", YESTERDAY, len(before))]


async def test_a_sealed_day_lies_as_questions_read_it(
    packing: PostgresSealing, query: Query
) -> None:
    order = "SELECT array_agg(event_id ORDER BY ctid), array_agg(event_id ORDER BY {}) FROM {}"
    told = order.format(SQL["sealed_order"], TABLE)
    [(lying, wanted)] = await query(told)
    assert lying != wanted  # else this proves nothing

    await packing.seal(ORDERS, TODAY_AT_NOON)

    [(lying, wanted)] = await query(told)
    assert lying == wanted


async def test_indexes_constraints_and_bounds_are_what_they_were(
    packing: PostgresSealing, query: Query
) -> None:
    indexes = (
        "SELECT i.indexrelid::regclass::text, inhparent::regclass::text, i.indisprimary,"
        " i.indisvalid FROM pg_index AS i JOIN pg_inherits ON inhrelid = indexrelid"
        f" WHERE indrelid = '{TABLE}'::regclass ORDER BY 1"
    )
    constraints = (
        "SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint"
        f" WHERE conrelid = '{TABLE}'::regclass ORDER BY 1"
    )
    place = (
        "SELECT inhparent::regclass::text, pg_get_expr(relpartbound, oid) FROM pg_class"
        f" JOIN pg_inherits ON inhrelid = oid WHERE oid = '{TABLE}'::regclass"
    )
    looks = [indexes, constraints, place]
    before = [await query(look) for look in looks]

    await packing.seal(ORDERS, TODAY_AT_NOON)

    assert [await query(look) for look in looks] == before
    assert all(before)
    assert await query("SELECT indexrelid FROM pg_index WHERE NOT indisvalid") == []
    assert await query(LEFT_BEHIND) == []


async def test_statistics_are_fresh_and_no_vacuum_is_due(
    packing: PostgresSealing, query: Query
) -> None:
    await packing.seal(ORDERS, TODAY_AT_NOON)

    [(rows, pages, visible, age)] = await query(
        "SELECT reltuples::int, relpages, relallvisible, age(relfrozenxid) FROM pg_class"
        f" WHERE oid = '{TABLE}'::regclass"
    )
    assert rows == 200
    assert visible >= 0.9 * pages > 0
    assert age < 1000
    assert await query(f"SELECT count(*) > 5 FROM pg_stats WHERE tablename = '{TABLE}'") == [
        (True,)
    ]


async def test_a_row_that_comes_late_into_a_sealed_day_is_there(
    packing: PostgresSealing, apply: ApplyWebhooks, query: Query
) -> None:
    await packing.seal(ORDERS, TODAY_AT_NOON)

    await one_more(apply)

    assert await query(f"SELECT count(*) FROM {TABLE}") == [(201,)]
    assert await query("SELECT count(*) FROM order_events WHERE order_id = 'late'") == [(1,)]
    assert ORDERS not in await packing.unsealed(TODAY)


async def test_days_are_sealed_once_and_the_oldest_first(packing: PostgresSealing) -> None:
    due = await packing.unsealed(TODAY)
    assert [each.day for each in due] == sorted(each.day for each in due)
    assert {ORDERS, DISPUTES} < set(due)
    assert not any(each.day >= TODAY for each in due)

    for each in due:
        assert await packing.seal(each, TODAY_AT_NOON) is not None

    assert await packing.unsealed(TODAY) == []
    assert await packing.seal(ORDERS, TODAY_AT_NOON) is None


async def test_an_empty_day_needs_no_copy_and_is_sealed_when_rows_came_after_all(
    packing: PostgresSealing, pool: AsyncConnectionPool, query: Query
) -> None:
    empty = await packing.seal(EARLIER, TODAY_AT_NOON)
    assert empty is not None
    assert (empty.rows, empty.locked_seconds) == (0, 0.0)
    assert EARLIER not in await packing.unsealed(TODAY)

    await one_more(write_path(pool, FakeClock(TODAY_AT_NOON - timedelta(days=2))))

    assert EARLIER in await packing.unsealed(TODAY)
    assert await packing.seal(EARLIER, TODAY_AT_NOON) is not None
    assert await query(SEALED_DAYS) == [("order_events", EARLIER.day, 1)]


async def test_a_day_that_has_doubled_since_is_sealed_again(
    packing: PostgresSealing, apply: ApplyWebhooks, query: Query
) -> None:
    await packing.seal(ORDERS, TODAY_AT_NOON)
    await apply([as_webhook(order_webhook(f"moved-{number}")) for number in range(190)])
    await query("SELECT pg_stat_force_next_flush()")
    assert ORDERS not in await packing.unsealed(TODAY)

    await apply([as_webhook(order_webhook(f"moved-{number}")) for number in range(190, 210)])

    async with asyncio.timeout(60):  # a connection tells its counts once a second
        while ORDERS not in await packing.unsealed(TODAY):
            await query("SELECT pg_stat_force_next_flush()")
            await asyncio.sleep(0.05)
    sealed = await packing.seal(ORDERS, TODAY_AT_NOON)
    assert sealed is not None
    assert sealed.rows == 410
    assert await query(SEALED_DAYS) == [("order_events", YESTERDAY, 410)]
    assert ORDERS not in await packing.unsealed(TODAY)


async def test_a_day_that_is_not_there_is_nobodys_trouble(packing: PostgresSealing) -> None:
    assert await packing.seal(LogDay(Space.ORDER, date(2001, 1, 2)), TODAY_AT_NOON) is (None)


async def test_an_index_made_later_is_on_sealed_days_too(
    packing: PostgresSealing, query: Query
) -> None:
    await query("CREATE INDEX by_kind ON order_events (kind) INCLUDE (sequence) WHERE sequence > 1")

    await packing.seal(ORDERS, TODAY_AT_NOON)

    [(definition,)] = await query(
        f"SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '{TABLE}'::regclass"
        " AND indpred IS NOT NULL"
    )
    assert "(kind) INCLUDE (sequence)" in definition
    assert "WHERE (sequence > 1)" in definition
    assert await query("SELECT indexrelid FROM pg_index WHERE NOT indisvalid") == []


# ── Writers ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_row_committed_between_copy_and_swap_is_not_lost(
    patient: None, packing: PostgresSealing, query: Query, database_url: str
) -> None:
    async with beside(database_url) as writer:
        await a_late_row(writer)
        under_way = asyncio.create_task(packing.seal(ORDERS, TODAY_AT_NOON))
        await waited_for(query, TABLE, "ShareLock")  # it has its copy, without the row
        await writer.commit()

    assert await under_way is None
    await nothing_changed(query)
    sealed = await packing.seal(ORDERS, TODAY_AT_NOON)
    assert sealed is not None
    assert sealed.rows == 201
    assert await query(f"SELECT count(*) FROM {TABLE}") == [(201,)]


async def test_a_writer_that_does_not_end_is_left_in_peace(
    one_try: None, packing: PostgresSealing, query: Query, database_url: str
) -> None:
    async with beside(database_url) as writer:
        await a_late_row(writer)
        assert await packing.seal(ORDERS, TODAY_AT_NOON) is None
        await nothing_changed(query)
        await writer.commit()

    assert await query(f"SELECT count(*) FROM {TABLE}") == [(201,)]
    assert await packing.seal(ORDERS, TODAY_AT_NOON) is not None


async def test_a_writer_that_began_before_writes_into_the_sealed_day(
    packing: PostgresSealing, query: Query, database_url: str
) -> None:
    async with beside(database_url, "REPEATABLE READ") as writer:
        await writer.execute("SELECT count(*) FROM orders")
        assert await packing.seal(ORDERS, TODAY_AT_NOON) is not None
        await a_late_row(writer)
        await writer.commit()

    assert await query(f"SELECT count(*) FROM {TABLE}") == [(201,)]


async def test_webhooks_that_wait_for_the_swap_are_applied(
    packing: PostgresSealing, apply: ApplyWebhooks, query: Query
) -> None:
    async def write() -> None:
        for number in range(60):
            await apply([as_webhook(order_webhook(f"beside-{number}"))])

    writing = asyncio.create_task(write())
    sealed = await packing.seal(ORDERS, TODAY_AT_NOON)
    await writing

    assert await query("SELECT count(*) FROM order_events") == [(260,)]
    if sealed is None:  # a row came in between
        await nothing_changed(query)
        assert await packing.seal(ORDERS, TODAY_AT_NOON) is not None


# ── Readers ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_reader_with_an_older_snapshot_sees_every_row_once(
    packing: PostgresSealing, query: Query, database_url: str
) -> None:
    before = await query(ROWS)
    async with beside(database_url, "REPEATABLE READ") as reader:
        await reader.execute("SELECT count(*) FROM orders")  # its snapshot is taken here
        assert await packing.seal(ORDERS, TODAY_AT_NOON) is not None

        seen = await (await reader.execute(ROWS)).fetchall()

    assert seen == before
    assert await query(ROWS) == before


async def test_a_long_reader_keeps_nobody_waiting_but_the_sealer(
    one_try: None, packing: PostgresSealing, query: Query, database_url: str
) -> None:
    waits: list[float] = []
    over = False

    async def ask() -> None:
        while not over:
            asked = monotonic()
            await query("SELECT FROM order_events LIMIT 1")
            waits.append(monotonic() - asked)

    async with beside(database_url, "REPEATABLE READ") as reader:
        await reader.execute("SELECT FROM order_events LIMIT 1")
        asking = asyncio.create_task(ask())
        assert await packing.seal(ORDERS, TODAY_AT_NOON) is None
        over = True
        await asking

    assert waits, "all were answered while the long reader was there"
    assert max(waits) < moment.LOCK_MS_MAX / 1000 + 10, "and a slow machine's time on top"
    await nothing_changed(query)
    assert await packing.seal(ORDERS, TODAY_AT_NOON) is not None


async def test_a_reader_that_ends_soon_is_waited_for(
    patient: None, packing: PostgresSealing, query: Query, database_url: str
) -> None:
    async with beside(database_url) as reader:
        await reader.execute("SELECT FROM order_events LIMIT 1")
        under_way = asyncio.create_task(packing.seal(ORDERS, TODAY_AT_NOON))
        await waited_for(query, "order_events", "AccessExclusiveLock")
        await reader.rollback()

    assert await under_way is not None


# ── Others who seal, and ends of all kinds ────────────────────────────────────────────────────────


async def test_two_sealers_at_once_seal_a_day_once(
    packing: PostgresSealing, pool: AsyncConnectionPool, query: Query
) -> None:
    before = await query(ROWS)

    both = await asyncio.gather(
        packing.seal(ORDERS, TODAY_AT_NOON), PostgresSealing(pool).seal(ORDERS, TODAY_AT_NOON)
    )

    assert sorted(map(type, both), key=str) == sorted([Sealed, type(None)], key=str)
    assert await query(ROWS) == before
    assert await query(LEFT_BEHIND) == []


async def test_a_cancelled_sealing_leaves_nothing(
    patient: None, packing: PostgresSealing, query: Query, database_url: str
) -> None:
    async with beside(database_url) as writer:
        await a_late_row(writer)
        under_way = asyncio.create_task(packing.seal(ORDERS, TODAY_AT_NOON))
        await waited_for(query, TABLE, "ShareLock")
        under_way.cancel()
        async with asyncio.timeout(30):  # the writer is still there
            with pytest.raises(asyncio.CancelledError):
                await under_way

    await nothing_changed(query)
    assert await packing.seal(ORDERS, TODAY_AT_NOON) is not None


async def test_one_process_leads_until_it_ends(pool: AsyncConnectionPool) -> None:
    async with leading(pool) as first:
        assert first
        async with leading(pool) as second:
            assert not second
    with suppress(OSError):
        async with leading(pool) as again:
            assert again
            raise OSError("whatever ends it")
    async with leading(pool) as at_last:
        assert at_last


async def test_days_that_pg_partman_makes_are_sealed_and_it_goes_on(database_17: str) -> None:
    yesterday = FakeClock(YESTERDAY_AT_NOON)
    async with connection_pool(database_17, size_max=4) as pool:
        partitions = await partitions_of(pool, "pg_partman", days_ahead=7)
        await partitions.maintain(yesterday.now())
        await write_path(pool, yesterday)([as_webhook(order_webhook()) for _ in range(40)])
        async with pool.connection() as connection:
            before = await (await connection.execute(ROWS)).fetchall()

            sealed = await PostgresSealing(pool).seal(ORDERS, TODAY_AT_NOON)
            health = await partitions.maintain(TODAY_AT_NOON)

            assert sealed is not None
            assert (sealed.rows, health.default_rows) == (40, 0)
            assert health.days_ahead >= 7
            assert await (await connection.execute(ROWS)).fetchall() == before
            assert await (await connection.execute(LEFT_BEHIND)).fetchall() == []
