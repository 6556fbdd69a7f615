"""One conformance suite for whoever makes the days: this service, or pg_partman.

How to think about it: each test runs three times: native on the embedded server, native and
pg_partman on PostgreSQL 17. The tables must come out the same, so that either can take over from
the other on the same database, with the data that is there.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, TypeAlias

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres import migrate, seed
from payment_manager.adapters.postgres.audit import PostgresAudit
from payment_manager.adapters.postgres.partitions import moment, native
from payment_manager.adapters.postgres.partitions.choice import NoPartman, partitions_of
from payment_manager.adapters.postgres.partitions.default_rows import PostgresDefaultRows
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.partitions.partman import PartmanPartitions
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.adapters.postgres.read_model import PostgresReadModel
from payment_manager.application.apply_webhooks import Taken
from payment_manager.application.ports import (
    EventsAsked,
    LogDay,
    Moved,
    Space,
    Unavailable,
    WriteRefused,
)
from payment_manager.application.verify import verify
from tests.adapters.conftest import write_path
from tests.clock import TODAY_AT_NOON, FakeClock, FakeEventIds
from tests.conftest import clone
from tests.webhooks import as_webhook, chargeback_webhook, order_webhook

pytestmark = pytest.mark.integration

Maker: TypeAlias = Literal["native", "pg_partman"]

# Days that the template hasn't got.
LATER = TODAY_AT_NOON + timedelta(days=30)
TABLES = ("order_events", "dispute_events")


@dataclass(frozen=True)
class Place:
    """A database of the test's own, and who makes its days."""

    url: str
    maker: Maker
    pool: AsyncConnectionPool
    event_ids: FakeEventIds = field(default_factory=FakeEventIds)

    async def partitions(
        self, maker: Maker | None = None, days_ahead: int = 7
    ) -> NativePartitions | PartmanPartitions:
        return await partitions_of(self.pool, maker or self.maker, days_ahead)

    async def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(statement, parameters or None)
            return await cursor.fetchall() if cursor.description else []

    async def days(self, table: str = "order_events") -> set[date]:
        found = await self.query(
            "SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = oid"
            " WHERE inhparent = %s::regclass AND relname NOT LIKE '%%_default'",
            table,
        )
        return {date.fromisoformat(name.rpartition("_p")[2]) for (name,) in found}


# What can't differ between the versions of the server, or is tried on the whole of them before.
TWO = pytest.mark.parametrize("where", ["native, embedded", "pg_partman, 17"], indirect=True)
ONE = pytest.mark.parametrize("where", ["native, 17"], indirect=True)


@pytest.fixture(params=["native, embedded", "native, 17", "pg_partman, 17"])
def where(request: pytest.FixtureRequest) -> tuple[str, Maker]:
    maker, _, server = request.param.partition(", ")
    name = "database_url" if server == "embedded" else "database_17"
    return request.getfixturevalue(name), maker


@pytest.fixture
async def place(where: tuple[str, Maker]) -> AsyncIterator[Place]:
    async with place_at(*where) as place:
        yield place


@asynccontextmanager
async def place_at(url: str, maker: Maker) -> AsyncIterator[Place]:
    async with connection_pool(url, size_max=8) as pool:
        yield Place(url, maker, pool)


@pytest.fixture
def another_17(postgres_17: str, template_17: str) -> Iterator[str]:
    """A second database on the same server."""
    with clone(postgres_17, template_17) as url:
        yield url


def span(first: date, last: date) -> set[date]:
    return {first + timedelta(days=n) for n in range((last - first).days + 1)}


async def take(place: Place, clock: FakeClock, *bodies: bytes) -> None:
    apply = write_path(place.pool, clock, place.event_ids)
    for result in await apply([as_webhook(body) for body in bodies]):
        assert isinstance(result, Taken), result


# ── Days ahead ────────────────────────────────────────────────────────────────────────────────────


async def test_days_are_made_from_yesterday_to_so_many_ahead(place: Place) -> None:
    before = await place.days()
    partitions = await place.partitions(days_ahead=5)

    health = await partitions.maintain(LATER)

    today = LATER.date()
    for table in TABLES:
        made = await place.days(table) - before
        assert made == span(today - timedelta(days=1), today + timedelta(days=5))
    assert (health.days_ahead, health.default_rows) == (5, 0)


async def test_making_them_again_changes_nothing(place: Place) -> None:
    partitions = await place.partitions()
    health = await partitions.maintain(LATER)
    before = await catalogue(place)

    assert await partitions.maintain(LATER) == health
    assert await catalogue(place) == before


async def test_many_processes_at_once_make_each_day_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They wait for one another, and none is given up for a busy machine's sake.
    monkeypatch.setattr(native, "LOCK_TIMEOUT", "SET LOCAL lock_timeout = '60s'")
    makers = [await place.partitions() for _ in range(4)]

    found = await asyncio.gather(*(maker.maintain(LATER) for maker in makers))

    # Each of them may take webhooks now.
    assert {health.days_ahead for health in found} == {7}
    today = LATER.date()
    assert span(today - timedelta(days=1), today + timedelta(days=7)) <= await place.days()


@TWO
async def test_days_of_the_past_are_made_when_they_are_asked_for(place: Place) -> None:
    partitions = await place.partitions()
    first = TODAY_AT_NOON.date() - timedelta(days=400)

    assert await partitions.make(first, first + timedelta(days=2)) == 6  # of both logs
    assert await partitions.make(first, first + timedelta(days=3)) == 2
    assert span(first, first + timedelta(days=3)) <= await place.days()


@ONE
async def test_days_are_made_while_a_history_is_written(place: Place) -> None:
    async with place.pool.connection() as seeding:
        await seeding.execute(seed._LOCK)
        assert (await (await place.partitions()).maintain(LATER)).days_ahead == 7
        await seeding.execute(seed._UNLOCK)


@TWO
async def test_a_hole_between_days_is_filled(place: Place) -> None:
    tomorrow = f"{TODAY_AT_NOON + timedelta(days=1):%Y%m%d}"
    await place.query(f"DROP TABLE order_events_p{tomorrow}")

    await (await place.partitions()).maintain(TODAY_AT_NOON)

    assert await place.query(f"SELECT to_regclass('order_events_p{tomorrow}') IS NOT NULL") == [
        (True,)
    ]


async def test_at_midnight_there_is_a_day_for_the_event_and_the_next_ones_are_made(
    place: Place, clock: FakeClock
) -> None:
    partitions = await place.partitions(days_ahead=2)
    clock.set(datetime(LATER.year, LATER.month, LATER.day, 23, 59, 59, 999_999, UTC))
    await partitions.maintain(clock.now())
    await take(place, clock, order_webhook(order_id="before"))
    midnight = clock.advance(microseconds=1)
    await take(place, clock, order_webhook(order_id="after"))

    health = await partitions.maintain(clock.now())

    assert health.days_ahead == 2
    assert health.default_rows == 0
    assert await place.query("SELECT tableoid::regclass::text FROM order_events ORDER BY 1") == [
        (f"order_events_p{LATER:%Y%m%d}",),
        (f"order_events_p{midnight:%Y%m%d}",),
    ]


@TWO
async def test_a_reader_in_the_way_of_a_new_day_stops_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a backup, at the moment when the service starts."""
    monkeypatch.setattr(native, "LOCK_TIMEOUT", "SET LOCAL lock_timeout = '50ms'")
    partitions = await place.partitions()
    await partitions.maintain(TODAY_AT_NOON)
    async with await psycopg.AsyncConnection.connect(place.url) as reader:
        await reader.execute("SELECT count(*) FROM order_events")
        assert (await partitions.maintain(LATER)).days_ahead < 7

    assert (await partitions.maintain(LATER)).days_ahead == 7


@TWO
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns"])
async def test_a_day_begins_at_midnight_utc_whatever_the_servers_time_zone(
    place: Place, zone: str
) -> None:
    name = await place.query("SELECT current_database()")
    await place.query(f"ALTER DATABASE {name[0][0]} SET timezone = '{zone}'")
    async with place_at(place.url, place.maker) as abroad:
        await (await abroad.partitions()).maintain(LATER)

    expected = {
        f"order_events_p{day:%Y%m%d}": f"FOR VALUES FROM ('{day} 00:00:00+00')"
        f" TO ('{day + timedelta(days=1)} 00:00:00+00')"
        for day in await place.days()
    }
    assert dict(await bounds(place)) == expected
    assert LATER.date() in await place.days()


# ── One schema ────────────────────────────────────────────────────────────────────────────────────


async def test_an_event_lands_in_its_day_and_can_be_asked_for(
    place: Place, clock: FakeClock
) -> None:
    await (await place.partitions()).maintain(LATER)
    clock.set(LATER)

    await take(place, clock, order_webhook())
    await take(place, clock, chargeback_webhook())

    for table in TABLES:
        assert await place.query(f"SELECT DISTINCT tableoid::regclass::text FROM {table}") == [
            (f"{table}_p{LATER:%Y%m%d}",)
        ]
    for space, kind in ((Space.ORDER, "webhook_received"), (Space.DISPUTE, "webhook_opened")):
        for asked in (
            EventsAsked(space),
            EventsAsked(space, kinds=[kind], time_from=LATER, time_to=LATER + timedelta(days=5)),
        ):
            [event] = await PostgresReadModel(place.pool).events(asked, None, 10)
            assert (event.kind, event.created_at) == (kind, LATER)
    report = await verify(PostgresAudit(place.pool))
    assert (report.events, report.is_clean) == (2, True)


async def test_both_make_the_very_same_tables(database_17: str, another_17: str) -> None:
    async with place_at(database_17, "native") as one, place_at(another_17, "pg_partman") as other:
        await (await one.partitions()).maintain(LATER)
        await (await other.partitions()).maintain(LATER)

        assert f"order_events_p{LATER:%Y%m%d}" in await catalogue(one)
        assert await catalogue(one) == await catalogue(other)


async def test_pg_partman_takes_over_a_log_with_data_and_native_takes_it_back(
    database_17: str, clock: FakeClock
) -> None:
    async with place_at(database_17, "native") as place:
        await (await place.partitions()).maintain(TODAY_AT_NOON)
        await take(place, clock, order_webhook(order_id="native"))
        before = await catalogue(place)

        await (await place.partitions("pg_partman")).maintain(TODAY_AT_NOON)
        assert await catalogue(place) == before
        clock.advance(days=6)
        await (await place.partitions("pg_partman")).maintain(clock.now())
        await take(place, clock, order_webhook(order_id="partman"))

        clock.advance(days=6)
        await (await place.partitions("native")).maintain(clock.now())
        await take(place, clock, order_webhook(order_id="native-again"))

        assert await place.query("SELECT count(*) FROM order_events_default") == [(0,)]
        assert await place.query("SELECT order_id FROM order_events ORDER BY created_at") == [
            ("native",),
            ("partman",),
            ("native-again",),
        ]
        # … and once more, over what the other one made meanwhile.
        before = await catalogue(place)
        health = await (await place.partitions("pg_partman")).maintain(clock.now())
        assert health.days_ahead == 7
        assert await catalogue(place) == before


async def test_a_day_that_was_replaced_by_a_table_of_its_name_stays(place: Place) -> None:
    """As sealing does it."""
    await (await place.partitions()).maintain(LATER)
    day, next_day = LATER.date(), LATER.date() + timedelta(days=1)
    name = f"order_events_p{day:%Y%m%d}"
    await place.query(
        f"ALTER TABLE order_events DETACH PARTITION {name};"
        f"CREATE TABLE packed (LIKE {name} INCLUDING ALL); DROP TABLE {name};"
        f"ALTER TABLE packed RENAME TO {name};"
        f"ALTER TABLE order_events ATTACH PARTITION {name} FOR VALUES FROM"
        f" ('{day} 00:00:00+00') TO ('{next_day} 00:00:00+00')"
    )
    [(oid,)] = await place.query("SELECT %s::regclass::oid", name)

    health = await (await place.partitions()).maintain(LATER)

    assert health.days_ahead == 7
    assert await place.query("SELECT %s::regclass::oid", name) == [(oid,)]


@TWO
async def test_a_day_that_was_detached_is_not_made_again(place: Place) -> None:
    await (await place.partitions()).maintain(LATER)
    name = f"order_events_p{LATER:%Y%m%d}"
    await place.query(f"ALTER TABLE order_events DETACH PARTITION {name}")

    health = await (await place.partitions()).maintain(LATER)

    assert health.days_ahead == 7
    assert LATER.date() not in await place.days()


@TWO
async def test_a_schema_goes_all_the_way_down_and_up_again(place: Place) -> None:
    await (await place.partitions()).maintain(LATER)

    await asyncio.to_thread(migrate.downgrade, place.url, "base")
    await asyncio.to_thread(migrate.upgrade, place.url)

    health = await (await place.partitions()).maintain(LATER)
    assert (health.days_ahead, health.default_rows) == (7, 0)


# ── Rows in the default partition ─────────────────────────────────────────────────────────────────


async def without_days(place: Place, clock: FakeClock, *days: int) -> None:
    """Events of days that were not made: of each day an order's and a dispute's."""
    for day in days:
        clock.set(LATER + timedelta(days=day))
        await take(place, clock, order_webhook(order_id=f"ord-{day}"))
        await take(place, clock, chargeback_webhook(order_id=f"ord-{day}"))


async def events(place: Place) -> list[tuple[Any, ...]]:
    return await place.query(
        "SELECT 'o', to_json(e)::text FROM order_events AS e"
        " UNION ALL SELECT 'd', to_json(e)::text FROM dispute_events AS e ORDER BY 1, 2"
    )


async def test_rows_of_days_that_were_not_made_are_told_and_moved_into_their_days(
    place: Place, clock: FakeClock
) -> None:
    await without_days(place, clock, 0, 1, 5)
    before = await events(place)
    partitions = await place.partitions()
    health = await partitions.maintain(LATER + timedelta(days=5))
    assert health.default_rows == 6
    assert health.days_ahead == 7  # those without rows are made all the same

    moved = await PostgresDefaultRows(place.pool).move()

    days = [LATER.date() + timedelta(days=n) for n in (0, 1, 5)]
    assert moved == [Moved(LogDay(space, day), 1) for space in Space for day in days]
    assert await events(place) == before
    for table in TABLES:
        assert await place.query(f"SELECT tableoid::regclass::text FROM {table} ORDER BY 1") == [
            (f"{table}_p{day:%Y%m%d}",) for day in days
        ]
    assert (await partitions.maintain(LATER)).default_rows == 0
    assert await PostgresDefaultRows(place.pool).move() == []


@TWO
async def test_a_day_of_moved_rows_and_the_new_default_are_like_all_others(
    place: Place, clock: FakeClock
) -> None:
    await without_days(place, clock, 0)
    before = await catalogue(place)
    await PostgresDefaultRows(place.pool).move()
    await (await place.partitions()).maintain(LATER + timedelta(days=1))

    after = await catalogue(place)
    for table in TABLES:
        assert after[f"{table}_default"] == before[f"{table}_default"]
        one, other = (f"p{LATER + timedelta(days=n):%Y%m%d}" for n in (0, 1))
        assert alike(after[f"{table}_{one}"], one) == alike(after[f"{table}_{other}"], other)


def alike(described: tuple[Any, ...], name: str) -> str:
    kind, _bound, *rest = described
    return str((kind, rest)).replace(name, "its name")


@TWO
async def test_every_snapshot_sees_each_moved_row_once(place: Place, clock: FakeClock) -> None:
    await without_days(place, clock, 0, 1)
    [(first_day,)] = await place.query("SELECT min(created_at)::date FROM order_events")
    window = "created_at >= %s AND created_at < %s::date + 1"

    async with await psycopg.AsyncConnection.connect(place.url) as old:
        await old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await old.execute("SELECT count(*) FROM orders")  # its snapshot is from now
        await PostgresDefaultRows(place.pool).move()

        everything = await old.execute("SELECT count(*) FROM order_events")
        assert await everything.fetchone() == (2,)
        one_day = await old.execute(
            f"SELECT count(*) FROM order_events WHERE {window}", (first_day, first_day)
        )
        assert await one_day.fetchone() == (1,)


@TWO
async def test_rows_that_come_while_others_are_moved_are_moved_too(
    place: Place, clock: FakeClock
) -> None:
    """A day that is being written to, and isn't there."""
    clock.set(LATER)
    done = asyncio.Event()
    sent: list[str] = []

    async def write() -> None:
        while not done.is_set():
            sent.append(f"ord-{len(sent)}")
            await take(place, clock, order_webhook(order_id=sent[-1]))

    writing = asyncio.create_task(write())
    while len(sent) < 20:
        await asyncio.sleep(0.01)
    moved = await PostgresDefaultRows(place.pool).move()
    reached = len(sent)
    while len(sent) < reached + 5:
        await asyncio.sleep(0.01)
    done.set()
    await writing

    name = f"order_events_p{LATER:%Y%m%d}"
    assert moved[0].rows >= 19
    assert await place.query("SELECT count(*) FROM order_events_default") == [(0,)]
    assert await place.query(f"SELECT count(*), count(DISTINCT order_id) FROM {name}") == [
        (len(sent), len(sent))
    ]


@ONE
async def test_a_reader_in_the_way_is_waited_for_without_stopping_others(
    place: Place, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moment, "PAUSES_SECONDS", (0.01,))
    await without_days(place, clock, 0)
    before = await catalogue(place)
    async with await psycopg.AsyncConnection.connect(place.url) as reader:
        await reader.execute("SELECT count(*) FROM order_events")
        with pytest.raises(Unavailable, match="order_events is in use"):
            await PostgresDefaultRows(place.pool).move()
        assert await catalogue(place) == before

    assert len(await PostgresDefaultRows(place.pool).move()) == 2


@ONE
async def test_of_two_who_move_the_same_rows_one_is_refused(place: Place, clock: FakeClock) -> None:
    await without_days(place, clock, 0, 1)
    before = await events(place)

    results = await asyncio.gather(
        *(PostgresDefaultRows(place.pool).move() for _ in range(3)), return_exceptions=True
    )

    assert sum(len(result) for result in results if isinstance(result, list)) == 4
    assert all(isinstance(result, (list, Unavailable)) for result in results)
    assert await events(place) == before


@ONE
async def test_a_detached_day_in_the_way_is_named_and_nothing_is_moved(
    place: Place, clock: FakeClock
) -> None:
    await (await place.partitions()).maintain(LATER)
    name = f"order_events_p{LATER:%Y%m%d}"
    await place.query(f"ALTER TABLE order_events DETACH PARTITION {name}")
    await without_days(place, clock, 0)

    with pytest.raises(WriteRefused, match=f"{name} is no part of the log"):
        await PostgresDefaultRows(place.pool).move()
    assert await place.query("SELECT count(*) FROM order_events_default") == [(1,)]


KILLED = """
import asyncio, os, signal, sys
from payment_manager.adapters.postgres.partitions import default_rows, moment, native
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.adapters.postgres.read_model import PostgresReadModel

async def lock(connection, table):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    default_rows._lock = lock
    async with connection_pool(sys.argv[1], size_max=1) as pool:
        await default_rows.PostgresDefaultRows(pool).move()

asyncio.run(main())
"""


@ONE
async def test_killed_in_the_middle_it_leaves_nothing_and_can_be_done_again(
    place: Place, clock: FakeClock
) -> None:
    await without_days(place, clock, 0)
    before, tables = await events(place), set(await catalogue(place))

    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, place.url)
    assert await killed.wait() == -signal.SIGKILL
    async with asyncio.timeout(60):  # the server finds out when it next listens to it
        while await place.query(
            "SELECT FROM pg_locks JOIN pg_database AS d ON d.oid = database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        ):
            await asyncio.sleep(0.02)
    assert set(await catalogue(place)) == tables
    assert await events(place) == before

    assert len(await PostgresDefaultRows(place.pool).move()) == 2
    assert await events(place) == before


# ── Whoever is to make them ───────────────────────────────────────────────────────────────────────


async def test_auto_takes_pg_partman_where_the_database_has_it(
    pool_17: AsyncConnectionPool,
) -> None:
    assert isinstance(await partitions_of(pool_17, "auto", 7), NativePartitions)
    async with pool_17.connection() as connection:
        await connection.execute("CREATE SCHEMA elsewhere")
        await connection.execute("CREATE EXTENSION pg_partman SCHEMA elsewhere")

    auto = await partitions_of(pool_17, "auto", 7)

    assert isinstance(auto, PartmanPartitions)
    assert (await auto.maintain(LATER)).days_ahead == 7
    assert isinstance(await partitions_of(pool_17, "native", 7), NativePartitions)


async def test_pg_partman_that_a_server_has_not_stops_the_start(pool: AsyncConnectionPool) -> None:
    with pytest.raises(NoPartman, match="PARTITIONS: this database has no pg_partman"):
        await partitions_of(pool, "pg_partman", 7)
    assert isinstance(await partitions_of(pool, "auto", 7), NativePartitions)


async def test_a_user_who_may_not_use_it_is_told_and_auto_goes_on_without(
    database_17: str, pool_17: AsyncConnectionPool
) -> None:
    await partitions_of(pool_17, "pg_partman", 7)
    with psycopg.connect(database_17, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS clerk")
        connection.execute("CREATE ROLE clerk LOGIN")
    clerks = database_17.replace("postgres@", "clerk@")
    async with connection_pool(clerks, size_max=2) as pool:
        with pytest.raises(NoPartman, match="GRANT USAGE ON SCHEMA partman"):
            await partitions_of(pool, "pg_partman", 7)
        assert isinstance(await partitions_of(pool, "auto", 7), NativePartitions)


async def test_pg_partman_neither_retires_our_days_nor_works_on_them_by_itself(
    database_17: str,
) -> None:
    async with place_at(database_17, "pg_partman") as place:
        await (await place.partitions()).maintain(TODAY_AT_NOON)
        await place.query(
            "UPDATE partman.part_config SET retention = '1 day', automatic_maintenance = 'on'"
        )
        before = await place.days()

        await (await place.partitions()).maintain(TODAY_AT_NOON)

        assert before <= await place.days()
        assert await place.query(
            "SELECT retention, automatic_maintenance, infinite_time_partitions"
            " FROM partman.part_config ORDER BY parent_table"
        ) == [(None, "off", True), (None, "off", True)]


async def test_taking_over_a_log_without_days_makes_none_that_nobody_asked_for(
    database_17: str,
) -> None:
    async with place_at(database_17, "pg_partman") as place:
        for day in await place.days():
            await place.query(f"DROP TABLE order_events_p{day:%Y%m%d}")
        first = TODAY_AT_NOON.date() - timedelta(days=400)

        await (await place.partitions()).make(first, first)

        assert await place.days() == {first, TODAY_AT_NOON.date() + timedelta(days=7)}


async def test_another_setting_of_days_ahead_is_taken_over(database_17: str) -> None:
    async with place_at(database_17, "pg_partman") as place:
        await (await place.partitions(days_ahead=3)).maintain(TODAY_AT_NOON)
        await (await place.partitions(days_ahead=12)).maintain(TODAY_AT_NOON)

        assert await place.query("SELECT DISTINCT premake FROM partman.part_config") == [(12,)]
        # pg_partman counts from now, rounds, and makes one day more in the afternoon.
        ahead = max(await place.days()) - TODAY_AT_NOON.date()
        assert ahead in (timedelta(days=12), timedelta(days=13))


async def test_a_log_that_a_reader_holds_is_taken_over_when_it_lets_go(database_17: str) -> None:
    async with place_at(database_17, "pg_partman") as place:
        partitions = await place.partitions()
        async with await psycopg.AsyncConnection.connect(database_17) as reader:
            await reader.execute("SELECT count(*) FROM order_events")
            assert (await partitions.maintain(TODAY_AT_NOON)).days_ahead == 8
            assert await place.query("SELECT count(*) FROM partman.part_config") == [(0,)]

        assert (await partitions.maintain(TODAY_AT_NOON)).days_ahead == 8
        assert await place.query("SELECT count(*) FROM partman.part_config") == [(2,)]


# ── What the catalogue says ───────────────────────────────────────────────────────────────────────


async def bounds(place: Place) -> list[tuple[Any, ...]]:
    return await place.query(
        "SELECT relname, pg_get_expr(relpartbound, pg_class.oid) FROM pg_class"
        " JOIN pg_inherits ON inhrelid = pg_class.oid"
        " WHERE inhparent = 'order_events'::regclass AND relname NOT LIKE '%\\_default'"
    )


CATALOGUE = """
SELECT relname, relkind, pg_get_expr(relpartbound, c.oid), reloptions, relpersistence,
    relowner::regrole::text, relreplident,
    ARRAY(
        SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attstorage,
                         attcompression, attcollation, attislocal, attinhcount,
                         (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
                          WHERE adrelid = c.oid AND adnum = attnum))
        FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 ORDER BY attnum
    ),
    ARRAY(
        SELECT concat_ws(' ', conname, pg_get_constraintdef(oid), conislocal, coninhcount)
        FROM pg_constraint WHERE conrelid = c.oid ORDER BY conname
    ),
    ARRAY(
        SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = c.oid ORDER BY 1
    )
FROM pg_class AS c
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    AND relname ~ '^(order|dispute)_events'
"""


async def catalogue(place: Place) -> dict[str, tuple[Any, ...]]:
    """All that can be said about the logs' tables, by name."""
    return {row[0]: row[1:] for row in await place.query(CATALOGUE)}
