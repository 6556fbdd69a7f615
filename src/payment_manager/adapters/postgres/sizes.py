"""How large each table is, and how to empty them all.

How to think about it: a partitioned log is one table to whoever asks, so its days are summed up.
The tables are found in the catalogue, not listed here: what a later migration adds is counted and
emptied too.
"""

from dataclasses import dataclass

from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.statements import SQL


@dataclass(frozen=True, slots=True)
class TableSize:
    """`rows_estimated` is the server's own last estimate. `partitions`: none for a plain table."""

    table: str
    partitions: int
    rows_estimated: int
    heap_bytes: int
    index_bytes: int
    toast_bytes: int
    total_bytes: int


async def table_sizes(pool: AsyncConnectionPool) -> list[TableSize]:
    """The largest first. Raises `Unavailable`."""
    with translated():
        async with pool.connection() as connection:
            cursor = await connection.execute(SQL["table_sizes"])
            return [TableSize(*row) for row in await cursor.fetchall()]


async def partition_sizes(pool: AsyncConnectionPool) -> list[TableSize]:
    """Of each day of the logs, newest first. Raises `Unavailable`."""
    with translated():
        async with pool.connection() as connection:
            cursor = await connection.execute(SQL["partition_sizes"])
            return [TableSize(*row) for row in await cursor.fetchall()]


async def clean(pool: AsyncConnectionPool) -> None:
    """Empty every table but the schema's version; the days of the logs stay.

    Raises `Unavailable`.
    """
    tables = [each.table for each in await table_sizes(pool)]
    emptied = sql.SQL(", ").join(map(sql.Identifier, tables))
    with translated():
        async with pool.connection() as connection, connection.transaction():
            # Each day is a file or five to be made anew.
            await connection.execute("SELECT set_config('statement_timeout', '5min', true)")
            await connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(emptied))
