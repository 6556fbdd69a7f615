"""The days of the event logs, as native partitions that the service makes ahead.

How to think about it: a day's partition must be there before its first event, so days are made well
ahead and again and again; making one that is there is no work. The names are those that pg_partman
gives, so that a server with the extension can take over the same tables.
"""

from datetime import date, datetime, timedelta

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.partitions.days import TABLES, attached_days, table_of
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import LogDay, PartitionHealth, Space

DAYS_AHEAD = 7
"""A week: a service that fails to make days is noticed long before the last one is used up."""

# Only one process makes days at a time; the number is this task's name.
_LOCK = "SELECT pg_try_advisory_xact_lock(8230617002)"

log = structlog.get_logger()


class NativePartitions:
    """`Partitions` without an extension."""

    def __init__(self, pool: AsyncConnectionPool, *, days_ahead: int = DAYS_AHEAD) -> None:
        self._pool = pool
        self._days_ahead = days_ahead

    async def maintain(self, now: datetime) -> PartitionHealth:
        today = now.date()
        # From yesterday: a batch that began before midnight may be written after it.
        await self.make(today - timedelta(days=1), today + timedelta(days=self._days_ahead))
        with translated():
            async with self._pool.connection() as connection:
                last = [max(await attached_days(connection, each), default=today) for each in Space]
                cursor = await connection.execute(SQL["default_rows"])
                row = await cursor.fetchone()
        return PartitionHealth((min(last) - today).days, row[0] if row else 0)

    async def make(self, first: date, last: date) -> int:
        """Make the missing days from `first` to `last`, both included; how many were made."""
        made = 0
        with translated():
            async with self._pool.connection() as connection:
                for space in Space:
                    days = await attached_days(connection, space)
                    for offset in range((last - first).days + 1):
                        day = first + timedelta(days=offset)
                        if day not in days:
                            made += await _make_day(connection, LogDay(space, day))
        return made


async def _make_day(connection: psycopg.AsyncConnection, day: LogDay) -> bool:
    text = SQL["make_partition"].format(
        table=TABLES[day.space],
        partition=table_of(day),
        day=day.day.isoformat(),
        next_day=(day.day + timedelta(days=1)).isoformat(),
    )
    try:
        async with connection.transaction():
            # Waiting long for the lock would make everybody behind us wait too; the next round
            # tries again.
            await connection.execute("SET LOCAL lock_timeout = '2s'")
            cursor = await connection.execute(_LOCK)
            row = await cursor.fetchone()
            if row is None or not row[0]:
                return False
            for statement in text.split(";"):
                if statement.strip():
                    await connection.execute(statement)
    except psycopg.errors.DuplicateTable:
        return False  # another process was faster
    except psycopg.errors.CheckViolation:
        # The default partition holds rows of that day: they were saved, but the day can't be made
        # over them.
        log.error("partition_blocked_by_default_rows", table=table_of(day))
        return False
    return True
