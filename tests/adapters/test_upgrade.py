"""What a service of the first version wrote survives every later version, and the way back.

How to think about it: `service_of_0001.sql` is a record of that time, with the columns of that
time; whatever becomes of the tables, these columns keep these values. That the rows are whole is
not enough: they must still mean the same, so the log is proved, read and written to afterwards.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres import migrate
from payment_manager.adapters.postgres.audit import PostgresAudit
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.partitions.sealing import PostgresSealing
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.adapters.postgres.read_model import PostgresReadModel
from payment_manager.application.apply_webhooks import Taken
from payment_manager.application.ports import EventsAsked, LogDay, Place, Space
from payment_manager.application.queries import Queries
from payment_manager.application.verify import verify
from payment_manager.domain.decider import Outcome
from payment_manager.domain.order import OrderStatus
from tests.adapters.conftest import write_path
from tests.clock import TODAY_AT_NOON, FakeClock
from tests.conftest import database_on
from tests.webhooks import as_webhook, chargeback_webhook, order_webhook

pytestmark = pytest.mark.usefixtures("unhurried")

FIRST = "0001"
VERSIONS = [f"{n:04}" for n in range(1, int(migrate.head() or 0) + 1)]

RECORD = Path(__file__).with_name("service_of_0001.sql").read_text(encoding="utf-8")
_COPY = re.compile(r"^COPY (\w+) \((.+)\) FROM stdin;\n((?:.*\n)*?)\\\.\n", re.MULTILINE)
COLUMNS = {table: columns.split(", ") for table, columns, _ in _COPY.findall(RECORD)}

LETTER = """
    INSERT INTO dead_letter_actions (topic_id, topic_partition, letter_offset, action, space, actor,
        reason, acted_at, error_class, error_message, attempts, source_topic, source_partition,
        source_offset, is_copy)
    VALUES ('t', 0, 1, 'dropped', 'order', 'ann', 'a test', now(), 'E', 'e', 1, 's', 0, 1, false)
"""

Rows = dict[str, list[tuple[Any, ...]]]

_numbers = count(1)


@pytest.fixture
def old_url(postgres_server: str) -> Iterator[str]:
    """A database as a service of the first version left it."""
    name = f"old_{next(_numbers)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = database_on(postgres_server, name)
    migrate.upgrade(url, FIRST)
    with psycopg.connect(url) as connection:
        for statement in _COPY.sub("", RECORD).split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
        for table, columns, rows in _COPY.findall(RECORD):
            copy_in = f"COPY {table} ({columns}) FROM STDIN"
            with connection.cursor() as cursor, cursor.copy(copy_in.encode()) as copy:
                copy.write(rows)
    yield url
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def rows_of(url: str) -> Rows:
    """The columns of the first version, as text."""
    with psycopg.connect(url) as connection:
        connection.execute("SET timezone = 'UTC'")
        return {
            table: sorted(
                connection.execute(
                    f"SELECT {', '.join(f'{name}::text' for name in columns)} FROM {table}".encode()
                ),
                key=str,
            )
            for table, columns in COLUMNS.items()
        }


async def assert_proved(pool: AsyncConnectionPool) -> None:
    report = await verify(PostgresAudit(pool))
    assert report.is_clean, report.findings
    assert report.events > 0


async def paged(pool: AsyncConnectionPool, space: Space, *, ascending: bool) -> list[list[str]]:
    """The ids of all events, page by page."""
    queries, pages = Queries(PostgresReadModel(pool), queue_max=10), []
    after: Place | None = None
    while True:
        page = await queries.events(EventsAsked(space, ascending=ascending), after, 4)
        pages.append([row.event_id for row in page.items])
        if page.next is None:
            return pages
        after = page.next


async def test_the_newest_version_keeps_every_row_proves_the_log_and_answers_the_same_pages(
    old_url: str,
) -> None:
    before = rows_of(old_url)
    assert all(before.values())
    migrate.upgrade(old_url)

    assert rows_of(old_url) == before
    async with connection_pool(old_url, size_max=2) as pool:
        await assert_proved(pool)
        for space in Space:
            table = f"{space}_events"
            time = COLUMNS[table].index("created_at")
            ids = [row[0] for row in sorted(before[table], key=lambda row: (row[time], row[0]))]
            oldest_first = await paged(pool, space, ascending=True)
            newest_first = await paged(pool, space, ascending=False)
            assert [id for page in oldest_first for id in page] == ids
            assert [id for page in newest_first for id in page] == ids[::-1]


async def test_what_was_taken_before_is_known_after_and_work_goes_on(old_url: str) -> None:
    migrate.upgrade(old_url)
    before = rows_of(old_url)
    async with connection_pool(old_url, size_max=2) as pool:
        await NativePartitions(pool).make(TODAY_AT_NOON.date(), TODAY_AT_NOON.date())
        apply = write_path(pool, FakeClock())
        redelivered = await apply([as_webhook(body) for body in _payloads(old_url)])
        assert len(redelivered) == len(before["webhook_ids"])
        assert all(_is_known(each) for each in redelivered)
        assert rows_of(old_url) == before

        taken = await apply(
            [
                as_webhook(order_webhook("held", "success", 30, provider_event_id="later-1")),
                as_webhook(order_webhook("waits", provider_event_id="later-2")),
                as_webhook(
                    chargeback_webhook("disputed", "updated", 9, provider_event_id="later-3")
                ),
                as_webhook(order_webhook("new", provider_event_id="later-4")),
            ]
        )
        assert [each.outcome for each in taken if isinstance(each, Taken)] == 4 * [Outcome.APPLIED]
        after = rows_of(old_url)
        assert not after["parked_webhooks"]  # applied with its order
        assert len(after["disputes"]) == len(before["disputes"]) + 1
        orders = await PostgresReadModel(pool).orders_by_id(["held"])
        assert orders["held"].status is OrderStatus.SUCCESS
        await assert_proved(pool)


def _payloads(url: str) -> list[bytes]:
    """Every webhook that was ever taken, as it was received."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT (data->'payload')::text FROM order_events WHERE provider_event_id IS NOT NULL"
            " UNION ALL SELECT (data->'payload')::text FROM dispute_events"
            " WHERE provider_event_id IS NOT NULL"
            " UNION ALL SELECT payload::text FROM parked_webhooks"
        )
        return [str(body).encode() for (body,) in found]


def _is_known(taken: Taken | Exception) -> bool:
    return isinstance(taken, Taken) and (
        taken.outcome is Outcome.DUPLICATE or taken.rejection is not None
    )


async def test_every_version_on_the_way_up_and_on_the_way_back_keeps_every_row(
    old_url: str,
) -> None:
    before = rows_of(old_url)
    for version in (*VERSIONS[1:], *VERSIONS[-2::-1]):
        up = version > (migrate.current(old_url) or "")
        (migrate.upgrade if up else migrate.downgrade)(old_url, version)
        assert migrate.current(old_url) == version
        assert rows_of(old_url) == before, version
    assert migrate.current(old_url) == FIRST
    migrate.upgrade(old_url)
    assert rows_of(old_url) == before
    async with connection_pool(old_url, size_max=2) as pool:
        await assert_proved(pool)


async def test_days_that_were_sealed_survive_the_way_back_and_can_be_sealed_again(
    old_url: str,
) -> None:
    before = rows_of(old_url)
    days = [LogDay(Space.ORDER, date(2026, 11, 4)), LogDay(Space.DISPUTE, date(2026, 11, 6))]
    for _ in range(2):
        migrate.upgrade(old_url)
        async with connection_pool(old_url, size_max=2) as pool:
            for day in days:
                assert await PostgresSealing(pool).seal(day, datetime.now(UTC))
            await assert_proved(pool)
        assert rows_of(old_url) == before
        migrate.downgrade(old_url, FIRST)
        assert rows_of(old_url) == before


def test_what_was_done_about_dead_letters_is_kept_from_its_version_on(old_url: str) -> None:
    def letters() -> list[tuple[Any, ...]]:
        with psycopg.connect(old_url) as connection:
            return connection.execute("SELECT * FROM dead_letter_actions").fetchall()

    migrate.upgrade(old_url, "0002")
    with psycopg.connect(old_url) as connection:
        connection.execute(LETTER)
    before, rows = letters(), rows_of(old_url)
    migrate.upgrade(old_url)
    assert (letters(), rows_of(old_url)) == (before, rows)
    migrate.downgrade(old_url, "0002")
    assert (letters(), rows_of(old_url)) == (before, rows)
