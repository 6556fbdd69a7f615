"""A log as a month or two leave it: 60 days, ten webhooks an order, and every known id.

How to think about it: for who writes, what matters is what a webhook's transaction touches: the
orders, the known ids and the indexes over them, as large as they would be, with ids spread at
random as providers' are. The log itself must be there because a write chooses among its days. Made
by the server, without indexes on what is large, which are made at the end: a quarter of the time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.pool import connection_pool

DAYS = 60
EVENTS_AN_ORDER = 10

_STATEMENTS = Path(__file__).with_name("large_history.sql").read_text(encoding="utf-8").split(";\n")

_INDEXES = """
SELECT c.relname, pg_get_indexdef(i.indexrelid), k.conname, pg_get_constraintdef(k.oid)
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
LEFT JOIN pg_constraint AS k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid
WHERE i.indrelid = %s::regclass
"""


async def write_large_history(database_url: str, events: int) -> None:
    """About `events` webhooks of `DAYS` days until yesterday; their days lie unsealed."""
    now = datetime.now(UTC)
    orders = max(1, events // EVENTS_AN_ORDER)
    # Until yesterday: today's day belongs to what is measured.
    start = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS)
    async with connection_pool(database_url, size_max=1) as pool:
        await NativePartitions(pool).make(start.date(), now.date())
    with psycopg.connect(database_url, autocommit=True) as connection:
        # Nothing here need survive a power cut before the CHECKPOINT.
        connection.execute(
            "SET timezone = 'UTC'; SET synchronous_commit = off; SET maintenance_work_mem = '256MB'"
        )
        given = {"events": orders * EVENTS_AN_ORDER, "orders": orders, "start": start}
        with _without_indexes(connection, "order_events", "webhook_ids"):
            for statement in _STATEMENTS:
                if statement.strip():
                    connection.execute(statement.encode(), given)
        # As a service has it that ran for weeks: statistics, visibility, nothing left to write.
        connection.execute("VACUUM (ANALYZE, PARALLEL 0)")
        connection.execute("CHECKPOINT")


@contextmanager
def _without_indexes(connection: psycopg.Connection, *tables: str) -> Iterator[None]:
    """Dropped, and made again afterwards as the schema had them."""
    again: list[sql.SQL | sql.Composed] = []
    for name in tables:
        table = sql.Identifier(name)
        for index, definition, constraint, key in connection.execute(_INDEXES, [name]).fetchall():
            if constraint is None:
                connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(index)))
                again.append(sql.SQL(definition))
            else:
                named = (table, sql.Identifier(constraint))
                connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(*named))
                add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}")
                again.append(add.format(*named, sql.SQL(key)))
    yield
    for statement in again:
        connection.execute(statement)
