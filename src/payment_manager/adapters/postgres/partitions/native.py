"""The days of the event logs, made ahead.

How to think about it: a day's partition must be there before its first event, so days are made well
ahead and again and again; making one that is there is no work. Each is made in a transaction of its
own, by one process at a time, and waits only briefly for its locks. Who makes it, this module or
pg_partman, is a function: the names and the tables are the same, so either can take over.
"""

from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from typing import TypeAlias

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.partitions.days import TABLES, attached_days, table_of
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import LogDay, PartitionHealth, Space

DAYS_AHEAD = 7
"""A week: a service that fails to make days is noticed long before the last one is used up."""

# Only one process makes days at a time; the number is this task's name. Waited for, at most as long
# as for any lock: who starts beside another must not take webhooks before their day is there.
LOCK = "SELECT pg_advisory_xact_lock(8230617004)"

# Waiting long for the lock would make everybody behind us wait too; the next round tries again.
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '2s'"

# A reader of all days, such as a backup, is in the way of making one for as long as it lasts: no
# reason not to start, as days are made well ahead. pg_partman turns errors into ones of its own.
NOT_NOW = (psycopg.errors.LockNotAvailable, psycopg.errors.RaiseException)

Make: TypeAlias = Callable[[psycopg.AsyncConnection, LogDay], Awaitable[None]]

log = structlog.get_logger()


async def make_day(connection: psycopg.AsyncConnection, day: LogDay) -> None:
    """Without an extension."""
    text = SQL["make_partition"].format(
        table=TABLES[day.space],
        partition=table_of(day),
        begins=begin_of(day),
        ends=end_of(day),
    )
    for statement in text.split(";"):
        if statement.strip():
            await connection.execute(statement)


class NativePartitions:
    """`Partitions`; each missing day is made by `make`."""

    def __init__(
        self, pool: AsyncConnectionPool, *, days_ahead: int = DAYS_AHEAD, make: Make = make_day
    ) -> None:
        self._pool = pool
        self._days_ahead = days_ahead
        self._make = make

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
        wanted = {first + timedelta(days=n) for n in range((last - first).days + 1)}
        with translated():
            async with self._pool.connection() as connection:
                for space in Space:
                    missing = wanted - await attached_days(connection, space)
                    for day in sorted(missing):
                        try:
                            made += await self._make_one(connection, LogDay(space, day))
                        except NOT_NOW as error:
                            # The next round tries again; until then the health tells.
                            reason = error.diag.message_primary
                            log.warning("partitions_not_made", table=TABLES[space], reason=reason)
                            break
        return made

    async def _make_one(self, connection: psycopg.AsyncConnection, day: LogDay) -> bool:
        try:
            async with connection.transaction():
                await connection.execute(LOCK_TIMEOUT)
                await connection.execute(LOCK)
                if not await _can_be_made(connection, day):
                    return False
                await self._make(connection, day)
        except psycopg.errors.DuplicateTable:
            return False  # somebody who asks for no lock was faster
        except psycopg.errors.CheckViolation:
            # Somebody wrote into the default partition in this very moment.
            log.error("partition_blocked_by_default_rows", table=table_of(day))
            return False
        return True


async def _can_be_made(connection: psycopg.AsyncConnection, day: LogDay) -> bool:
    table, partition = TABLES[day.space], table_of(day)
    cursor = await connection.execute(
        SQL["day_state"].format(table=table),
        {"table": table, "partition": partition, "begins": begin_of(day), "ends": end_of(day)},
    )
    row = await cursor.fetchone()
    assert row is not None
    is_there, is_name_taken, has_default_rows = row
    if is_there:
        return False  # another process was faster
    if is_name_taken:
        # Mostly a day that was detached: what belongs to it can't come back by itself.
        log.error("partition_blocked_by_a_table_of_its_name", table=partition)
    elif has_default_rows:
        # They were saved, but the day can't be made over them.
        log.error("partition_blocked_by_default_rows", table=partition)
    return not is_name_taken and not has_default_rows


def begin_of(day: LogDay) -> str:
    """As PostgreSQL writes a partition's bound."""
    return f"{day.day.isoformat()} 00:00:00+00"


def end_of(day: LogDay) -> str:
    return f"{(day.day + timedelta(days=1)).isoformat()} 00:00:00+00"
