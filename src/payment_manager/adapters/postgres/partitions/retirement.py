"""Days that leave the logs: read whole, detached, dropped.

How to think about it: a day is dropped in one transaction, with writers of that day held off and
its rows counted once more. Events are only ever added, so as many rows as the archive's file has
are the very rows that it has. Taking a day out of a log needs the log for itself for a moment; who
reads it for long makes us wait a quarter of a second and try later, not everybody behind us.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.partitions.days import TABLES, attached_days, table_of
from payment_manager.adapters.postgres.partitions.moment import IN_THE_WAY, when_free
from payment_manager.adapters.postgres.pool import connection_beside
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import ArchiveFile, LogDay, Space, StoredEvent

BATCH_ROWS = 500
"""Read at a time: milliseconds of this process's time, between which requests get their turn."""

# A connection of its own: the pool's are for requests. Reading or counting a day of tens of
# gigabytes takes minutes, and so may the archive's disk; plans are for reading all of a table.
_SETTINGS = """
SET timezone = 'UTC';
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = '10min';
SET enable_seqscan = on;
SET enable_hashjoin = on;
SET max_parallel_workers_per_gather = 0;
SET cursor_tuple_fraction = 1
"""

# The day alone: only who writes to it waits for us, which nobody should. Longer than a second, so
# that an autovacuum of it gives way.
_LOCK_DAY = """
SET LOCAL lock_timeout = '3s';
LOCK TABLE {partition} IN SHARE ROW EXCLUSIVE MODE
"""

# The log: everybody waits behind us. Under the lock all is catalogue, milliseconds; a process that
# was stopped in that very moment must not hold it for long.
_LEAVE = """
SET LOCAL statement_timeout = '1s';
SET LOCAL idle_in_transaction_session_timeout = '1s';
{statements}
"""

_SPACES = {table: space for space, table in TABLES.items()}

log = structlog.get_logger()


class PostgresRetirement:
    """`Retirement` on connections of its own, to the pool's database."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def due(self, before: date, *, kept_too: bool) -> Sequence[LogDay]:
        due = set[LogDay]()
        async with self._connected() as connection:
            archived = await _days_of(connection, "archived_days")
            for space in Space:
                due.update(LogDay(space, day) for day in await attached_days(connection, space))
            if kept_too:
                due.update(await _days_of(connection, "kept_days"))
        # Its file has other rows, which these must not take the place of. They may stay.
        for day in sorted(due & archived):
            log.warning("archived_day_has_new_rows", table=table_of(day))
        chosen = (day for day in due - archived if day.day < before)
        return sorted(chosen, key=lambda each: (each.day, each.space))

    async def events(self, day: LogDay) -> AsyncGenerator[Sequence[StoredEvent], None]:
        text = SQL[f"day_of_{TABLES[day.space]}"].format(partition=table_of(day))
        async with (
            self._connected() as connection,
            connection.transaction(),
            connection.cursor(name="day", binary=True) as cursor,
        ):
            await cursor.execute(text)
            while rows := await cursor.fetchmany(BATCH_ROWS):
                yield [StoredEvent._make(row) for row in rows]

    async def detach(self, day: LogDay, now: datetime) -> bool:
        async with self._connected() as connection, connection.transaction() as detaching:
            if not await _locked(connection, day):
                return False
            await _record(connection, "day_detached", day, {"now": now})
            if not await _left(connection, [_detach(day)]):
                raise psycopg.Rollback(detaching)
            return True
        return False  # rolled back

    async def drop(
        self, file: ArchiveFile, now: datetime, publish: Callable[[], Awaitable[None]]
    ) -> bool:
        day = file.day
        async with self._connected() as connection, connection.transaction() as dropping:
            # Until the end nobody adds a row, and nobody else drops the day.
            if not await _locked(connection, day):
                return False
            cursor = await connection.execute(SQL["count_day"].format(partition=table_of(day)))
            if await cursor.fetchone() != (file.rows,):
                return False
            await publish()
            values = {"now": now, "file": file.name, "rows": file.rows, "digest": file.digest}
            await _record(connection, "day_archived", day, values)
            is_attached = day.day in await attached_days(connection, day.space)
            statements = [_detach(day)] if is_attached else []
            if not await _left(connection, [*statements, f"DROP TABLE {table_of(day)}"]):
                raise psycopg.Rollback(dropping)
            return True
        return False  # rolled back

    async def recorded(self) -> Sequence[ArchiveFile]:
        async with self._connected() as connection:
            cursor = await connection.execute(SQL["retired_days"])
            return [
                ArchiveFile(LogDay(_SPACES[table], day), file, rows, digest)
                for table, day, file, rows, digest, _ in await cursor.fetchall()
                if file is not None
            ]

    async def kept(self) -> Sequence[tuple[LogDay, int, int]]:
        found = []
        async with self._connected() as connection:
            for day in sorted(await _days_of(connection, "kept_days")):
                text = SQL["count_kept_day"].format(partition=table_of(day))
                cursor = await connection.execute(text)
                [(rows, bytes_)] = await cursor.fetchall()
                found.append((day, rows, bytes_))
        return found

    async def drop_kept(self, day: LogDay) -> bool:
        async with self._connected() as connection, connection.transaction():
            if day not in await _days_of(connection, "kept_days"):
                return False
            return await _left(connection, [f"DROP TABLE {table_of(day)}"])

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        with translated():
            async with connection_beside(self._pool) as connection:
                await connection.execute(_SETTINGS)
                yield connection


async def _days_of(connection: AsyncConnection, statement: str) -> set[LogDay]:
    cursor = await connection.execute(SQL[statement])
    return {LogDay(_SPACES[table], day) for table, day in await cursor.fetchall()}


def _detach(day: LogDay) -> str:
    return f"ALTER TABLE {TABLES[day.space]} DETACH PARTITION {table_of(day)}"


async def _locked(connection: AsyncConnection, day: LogDay) -> bool:
    try:
        await connection.execute(_LOCK_DAY.format(partition=table_of(day)))
    except psycopg.errors.LockNotAvailable:
        return False
    return True


async def _left(connection: AsyncConnection, statements: Sequence[str]) -> bool:
    """Do it in this transaction, which then has the log for itself: to be ended at once."""
    # One message: while the lock is held, nothing waits for this process.
    text = _LEAVE.format(statements=";\n".join(statements))
    try:
        await when_free(connection, lambda: connection.execute(text))
    except IN_THE_WAY:
        return False
    return True


async def _record(
    connection: AsyncConnection, statement: str, day: LogDay, values: dict[str, Any]
) -> None:
    values |= {"log": TABLES[day.space], "day": day.day}
    await connection.execute(SQL[statement], values)
