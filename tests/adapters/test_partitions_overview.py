"""What an operator sees of the logs' days, and the commands that show and repair them."""

import asyncio
import json
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.partitions.overview import PostgresOverview
from payment_manager.adapters.postgres.partitions.sealing import PostgresSealing
from payment_manager.adapters.postgres.sizes import partition_sizes, table_sizes
from payment_manager.application.apply_webhooks import ApplyWebhooks
from payment_manager.application.ports import DayOverview, DayState, LogDay, Space
from tests.adapters.conftest import Query
from tests.clock import TODAY_AT_NOON, FakeClock
from tests.conftest import DAYS_AHEAD, DAYS_BACK
from tests.webhooks import as_webhook, chargeback_webhook, order_webhook

TODAY = TODAY_AT_NOON.date()


def day(back: int) -> date:
    return TODAY - timedelta(days=back)


async def command(url: str, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """The command on this database; its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("payment-manager")), *arguments),
        env={"PG_URL": url, "TZ": "America/St_Johns", **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def command_within_a_day(url: str, *arguments: str) -> tuple[date, str]:
    """What it printed, and what day it was all the while. It must succeed."""
    while True:
        today = datetime.now(UTC).date()
        code, out, err = await command(url, *arguments)
        assert code == 0, err
        if datetime.now(UTC).date() == today:
            return today, out


async def shown(
    pool: AsyncConnectionPool, space: Space = Space.ORDER
) -> dict[date | None, DayOverview]:
    found = await PostgresOverview(pool).days(TODAY)
    return {each.day: each for each in found if each.space is space}


async def test_each_day_is_told_with_what_became_of_it(
    pool: AsyncConnectionPool, query: Query, apply: ApplyWebhooks, clock: FakeClock
) -> None:
    clock.advance(days=-1)
    await apply([as_webhook(order_webhook())])
    sealed = await PostgresSealing(pool).seal(LogDay(Space.ORDER, day(1)), TODAY_AT_NOON)
    assert sealed is not None
    await query(f"ALTER TABLE order_events DETACH PARTITION order_events_p{day(2):%Y%m%d}")
    await query(f"DROP TABLE order_events_p{day(3):%Y%m%d}")
    await query(
        "INSERT INTO event_days (log, day, detached_at, archived_at, archive_file, archived_rows,"
        " archive_digest) VALUES ('order_events', %s, now(), now(), 'orders.parquet', 7, '')",
        day(3),
    )
    await query(
        "INSERT INTO event_days (log, day, sealed_at, sealed_rows)"
        " VALUES ('order_events', %s, now(), 5)",
        day(9),
    )

    days = await shown(pool)

    assert {back: days[day(back)].state for back in (-1, 0, 1, 2, 3, 9)} == {
        -1: DayState.AHEAD,
        0: DayState.TODAY,
        1: DayState.SEALED,
        2: DayState.DETACHED,
        3: DayState.ARCHIVED,
        9: DayState.MISSING,
    }
    assert days[None].state is DayState.DEFAULT
    assert days[day(1)].rows == 1
    assert days[day(1)].sealed_at == TODAY_AT_NOON
    assert days[day(1)].total_bytes > days[day(1)].index_bytes > 0
    assert (days[day(3)].rows, days[day(3)].archive_file) == (7, "orders.parquet")
    assert days[day(3)].total_bytes == 0
    # The other log goes by itself, and the default partition comes first, then the newest.
    disputes = await shown(pool, Space.DISPUTE)
    assert Counter(each.state for each in disputes.values()) == {
        DayState.DEFAULT: 1,
        DayState.AHEAD: DAYS_AHEAD,
        DayState.TODAY: 1,
        DayState.OPEN: DAYS_BACK,
    }
    assert list(days) == [None, *sorted((each for each in days if each), reverse=True)]


async def test_the_sizes_of_the_days_add_up_to_the_size_of_their_log(
    pool: AsyncConnectionPool, apply: ApplyWebhooks
) -> None:
    await apply([as_webhook(order_webhook())])
    await apply([as_webhook(chargeback_webhook())])

    parts = await partition_sizes(pool)
    for log in ("order_events", "dispute_events"):
        [whole] = [each for each in await table_sizes(pool) if each.table == log]
        of_log = [each for each in parts if each.table.startswith(f"{log}_")]
        assert whole.partitions == len(of_log)
        assert whole.total_bytes == sum(each.total_bytes for each in of_log)
        assert whole.rows_estimated == sum(each.rows_estimated for each in of_log)


async def test_the_command_shows_them_for_people_and_for_machines(database_url: str) -> None:
    # The present day, which the tests may have begun before.
    today, out = await command_within_a_day(database_url, "partitions", "--days", "1")
    days_back = DAYS_BACK + (today - TODAY).days
    assert f"orders   │ {today}" in out
    assert f"orders: {DAYS_BACK + 1 + DAYS_AHEAD} days, about 0 rows" in out
    assert f"{2 * (days_back - 1)} older days are not shown: --all" in out
    assert "move-default-rows" not in out

    today, out = await command_within_a_day(database_url, "partitions", "--all", "--json")
    listed = json.loads(out)
    assert len(listed) == 2 * (DAYS_BACK + 1 + DAYS_AHEAD + 1)
    assert {"log": "orders", "day": today.isoformat(), "state": "today"}.items() <= next(
        each for each in listed if each["state"] == "today"
    ).items()


async def test_events_outside_of_every_day_are_pointed_out_and_moved_by_the_command(
    database_url: str,
    pool: AsyncConnectionPool,
    apply: ApplyWebhooks,
    clock: FakeClock,
    query: Query,
) -> None:
    clock.advance(days=-30)
    await apply([as_webhook(order_webhook())])
    await query("ANALYZE order_events_default")
    _, out, _ = await command(database_url, "partitions")
    assert "events outside of every day: payment-manager partitions move-default-rows" in out

    code, out, _ = await command(database_url, "partitions", "move-default-rows")
    assert (code, out) == (0, f"orders {day(30)}: 1 events\n")
    assert (await shown(pool))[day(30)].state is DayState.OPEN


async def test_days_by_pg_partman_where_there_is_none_stop_the_command_in_plain_words(
    database_url: str,
) -> None:
    code, out, err = await command(database_url, "maintain", PARTITIONS="pg_partman")
    assert (code, out) == (2, "")
    assert err.startswith("PARTITIONS: this database has no pg_partman and can't get it")
    assert err.count("\n") == 1


async def test_a_round_of_maintenance_brings_pg_partman_along_where_it_is_asked_for(
    database_17: str, pool_17: AsyncConnectionPool
) -> None:
    settings = {"PARTITIONS": "pg_partman", "PARTITION_DAYS_AHEAD": "12"}
    code, out, err = await command(database_17, "maintain", **settings)
    assert code == 0, err
    assert "days made ahead: 12" in out
    async with pool_17.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM partman.part_config")
        assert await cursor.fetchone() == (2,)
