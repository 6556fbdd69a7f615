"""Retention: what it costs to get rid of old events, and whether they still answer afterwards.

How to think about it: DELETE marks rows one by one, writes each to the WAL, and leaves holes that
the next reader walks over; a day that is a partition is taken away whole. Before it goes, it is
written to a file and compared; such a file is small, and can be asked.

    make lab-retention
"""

import tempfile
import time
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop
from psycopg_pool import AsyncConnectionPool

from labs.ground import database, show
from payment_manager.adapters.parquet.archive import ParquetArchive
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.partitions.retirement import PostgresRetirement
from payment_manager.adapters.postgres.read_model import PostgresReadModel
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.ports import EventsAsked, Space
from payment_manager.application.retire import Retire

DAYS = 20
DAY_EVENTS = 20_000
OLD_DAYS = 10
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = BEGAN + timedelta(days=DAYS)

FILL = """
INSERT INTO {table} (event_id, order_id, sequence, kind, provider_event_id, data, created_at,
                     correlation_id)
SELECT gen_random_uuid(), 'ord-' || left(md5((n / 3)::text), 20), 1 + n %% 3,
       CASE WHEN n %% 10 = 0 THEN 'hold_set' ELSE 'webhook_received' END,
       'evt-' || left(md5(n::text), 16),
       json_build_object('outcome', 'applied', 'payload', json_build_object(
           'provider_event_id', 'evt-' || left(md5(n::text), 16),
           'order_id', 'ord-' || left(md5((n / 3)::text), 20),
           'user_id', gen_random_uuid(), 'status', 'updated',
           'created_at', at, 'updated_at', at,
           'meta', json_build_object('amount', (n %% 90000) / 100.0, 'currency', 'USD'))),
       at, left(md5((n / 7)::text), 16)
FROM generate_series(0, %(count)s - 1) AS n,
     LATERAL (SELECT %(began)s + n * (interval '1 day' / %(day_events)s) AS at) AS t
"""

# What a reader of what is left pays.
OLDEST = """
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
SELECT event_id FROM {table} ORDER BY created_at, event_id LIMIT 100
"""


async def run() -> None:
    async with database() as pool:
        await NativePartitions(pool).make(BEGAN.date(), NOW.date())
        await _execute(pool, "CREATE TABLE flat (LIKE order_events INCLUDING ALL)")
        for table in ("order_events", "flat"):
            await _execute(
                pool,
                FILL.format(table=table),
                count=DAYS * DAY_EVENTS,
                began=BEGAN,
                day_events=DAY_EVENTS,
            )
        await _execute(pool, "VACUUM ANALYZE order_events")
        await _execute(pool, "VACUUM ANALYZE flat")
        with tempfile.TemporaryDirectory(prefix="lab-") as folder:
            await _compare(pool, Path(folder))


async def _compare(pool: AsyncConnectionPool, folder: Path) -> None:
    archive, model = ParquetArchive(folder), PostgresReadModel(pool)
    # The archive's turn takes the second half of the old days.
    half = timedelta(days=OLD_DAYS // 2)
    until = BEGAN + half
    question = EventsAsked(
        Space.ORDER, kinds=("hold_set",), time_from=until, time_to=until + half, ascending=True
    )
    count = OLD_DAYS // 2 * DAY_EVENTS // 10
    began = time.perf_counter()
    in_log = await model.events(question, None, count)
    log_seconds = time.perf_counter() - began
    [(log_bytes,)] = await _execute(
        pool,
        "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits JOIN pg_class ON"
        " oid = inhrelid WHERE inhparent = 'order_events'::regclass AND relname >= %(first)s"
        " AND relname < %(last)s",
        first=f"order_events_p{until:%Y%m%d}",
        last=f"order_events_p{until + half:%Y%m%d}",
    )
    rows = [
        await _cost(
            pool,
            "flat",
            "DELETE",
            _execute(pool, "DELETE FROM flat WHERE created_at < %(u)s", u=until),
        ),
        await _cost(pool, "flat", "… and VACUUM", _execute(pool, "VACUUM flat")),
        await _cost(pool, "order_events", "detach the days", _retire(pool, None, NOW - until)),
        await _cost(
            pool,
            "order_events",
            "archive, compare, drop",
            _retire(pool, archive, NOW - until - half),
        ),
    ]
    began = time.perf_counter()
    in_archive, _ = await archive.events(question, count)
    archive_seconds = time.perf_counter() - began
    archived = sum(
        file.size_bytes for file in await archive.found() if file.day.day >= until.date()
    )
    show(
        f"{OLD_DAYS // 2} of {DAYS} days leave: {OLD_DAYS // 2 * DAY_EVENTS:,} events",
        ("", "seconds", "WAL, MB", "log, MB before", "after", "buffers, oldest 100"),
        rows,
    )
    events = OLD_DAYS // 2 * DAY_EVENTS
    show(
        f"these {events:,} events, and a question about a tenth of them",
        ("", "MB", "bytes an event", "answered", "ms"),
        [
            ("in the log", _mb(log_bytes), log_bytes // events, len(in_log), _ms(log_seconds)),
            (
                "in the archive", _mb(archived), archived // events, len(in_archive),
                _ms(archive_seconds),
            ),
        ],
    )  # fmt: skip
    print(f"the same answer: {'yes' if in_archive == in_log else 'NO'}")


async def _retire(
    pool: AsyncConnectionPool, archive: ParquetArchive | None, retention: timedelta
) -> None:
    retire = Retire(PostgresRetirement(pool), archive, PrometheusTelemetry(), retention)
    await retire.run_once(NOW)


async def _cost(
    pool: AsyncConnectionPool, table: str, name: str, work: Awaitable[object]
) -> tuple[object, ...]:
    size = (
        "SELECT sum(pg_total_relation_size(relid))::bigint FROM"
        " (SELECT relid FROM pg_partition_tree(%(t)s::regclass) UNION SELECT %(t)s::regclass) AS r"
    )
    [(before,)] = await _execute(pool, size, t=table)
    [(lsn,)] = await _execute(pool, "SELECT pg_current_wal_lsn()::text")
    began = time.perf_counter()
    await work
    seconds = time.perf_counter() - began
    [(wal,)] = await _execute(
        pool, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %(lsn)s::pg_lsn)::bigint", lsn=lsn
    )
    [(after,)] = await _execute(pool, size, t=table)
    [(plan,)] = await _execute(pool, OLDEST.format(table=table))
    buffers = sum(plan[0]["Plan"][f"Shared {each} Blocks"] for each in ("Hit", "Read"))
    return name, f"{seconds:.2f}", _mb(wal), _mb(before), _mb(after), f"{buffers:,}"


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


async def _execute(pool: AsyncConnectionPool, text: str, **values: object) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        # Filling takes longer than any request may.
        await connection.execute("SET statement_timeout = 0")
        cursor = await connection.execute(text, values or None)
        rows = await cursor.fetchall() if cursor.description else []
        await connection.execute("SET statement_timeout = '15s'")
        return rows


if __name__ == "__main__":
    uvloop.run(run())
