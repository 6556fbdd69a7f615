"""The days of the event logs, as the catalogue knows them.

How to think about it: a day of a log is a table of its own, named as pg_partman names it
(`order_events_p20261122`), whoever made it. What is attached is what queries see; that is asked of
the catalogue and never remembered, since another process may attach and detach at any moment.
"""

from contextlib import AbstractAsyncContextManager
from datetime import date

import psycopg
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres import leadership
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import LogDay, Space

TABLES = {Space.ORDER: "order_events", Space.DISPUTE: "dispute_events"}


def table_of(day: LogDay) -> str:
    """The name of the day's table."""
    return f"{TABLES[day.space]}_p{day.day:%Y%m%d}"


async def attached_days(connection: psycopg.AsyncConnection, space: Space) -> set[date]:
    """The days that the log has, the default partition left out."""
    table = TABLES[space]
    cursor = await connection.execute(SQL["partition_bounds"], {"table": table})
    prefix = f"{table}_p"
    names = [name for (name,) in await cursor.fetchall() if name.startswith(prefix)]
    return {date.fromisoformat(name.removeprefix(prefix)) for name in names}


class PostgresLeadership:
    """`Leadership` by an advisory lock."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    def leading(self) -> AbstractAsyncContextManager[bool]:
        return leading(self._pool)


def leading(pool: AsyncConnectionPool) -> AbstractAsyncContextManager[bool]:
    """Whether this process may make, seal and retire days now; false where another one does.
    Raises `Unavailable`.
    """
    return leadership.leading(pool, leadership.MAINTENANCE)
