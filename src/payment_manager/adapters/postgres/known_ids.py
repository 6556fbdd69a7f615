"""Known webhook ids, forgotten when they are older than any redelivery.

How to think about it: an id is what makes a webhook's effect happen once, so it must outlive every
redelivery; after that it is only weight. Ids are forgotten a slice of time at a time, oldest first:
the index over time is a summary of page ranges (BRIN), which finds a slice by reading its own pages
only. Rows that somebody else holds are left for the next round, so no writer is ever waited for.
"""

from datetime import datetime, timedelta

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.pool import connection_beside
from payment_manager.adapters.postgres.statements import SQL

SLICE_ROWS = 10_000
"""About what a transaction forgets: tens of milliseconds."""

_NARROWEST, _WIDEST = timedelta(seconds=1), timedelta(days=1)


class PostgresKnownIds:
    """`KnownIds` on a connection of its own, to the pool's database."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def forget(self, before: datetime) -> int:
        forgotten, ranges = 0, set[int]()
        with translated():
            async with connection_beside(self._pool) as connection:
                since = await _oldest(connection, before)
                width = timedelta(minutes=1)
                while since is not None and since < before:
                    until = min(since + width, before)
                    values = {"since": since, "until": until}
                    cursor = await connection.execute(SQL["forget_webhook_ids"], values)
                    found = await cursor.fetchall()
                    rows = sum(count for _, count in found)
                    forgotten += rows
                    ranges.update(range_ for range_, _ in found)
                    since, width = until, _next_width(width, rows)
                await _summarize(connection, ranges)
        return forgotten


def _next_width(width: timedelta, rows: int) -> timedelta:
    if rows > SLICE_ROWS:
        return max(width / 2, _NARROWEST)
    return min(width * 2, _WIDEST) if rows < SLICE_ROWS / 4 else width


async def _oldest(connection: AsyncConnection, before: datetime) -> datetime | None:
    # Reads all that is to be forgotten: the first time, that may be years.
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = '10min'")
        cursor = await connection.execute(SQL["oldest_webhook_id"], {"before": before})
        row = await cursor.fetchone()
    return row[0] if row else None


async def _summarize(connection: AsyncConnection, ranges: set[int]) -> None:
    """Their pages are used again for new ids. A summary never shrinks by itself: with the old times
    in it, each round would read these pages in vain, and after some months the whole table.
    """
    for range_ in sorted(ranges):
        await connection.execute(SQL["summarize_webhook_ids"], {"range": range_})
