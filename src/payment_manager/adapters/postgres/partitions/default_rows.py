"""Rows in a log's default partition, moved into days of their own.

How to think about it: rows are in there because their day was not made in time, and while they are,
it can't be. So their days are made beside the log and filled with copies while everybody goes on;
then, in a moment under a lock, what came meanwhile is copied too, the days become part of the log,
and an empty default partition takes the old one's place. All of it is one transaction: whatever
ends it leaves the log as it was. The copies are frozen and the old rows leave with their table, so
every snapshot, however old, sees each row once.
"""

import tempfile
from datetime import date

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.partitions.days import TABLES, table_of
from payment_manager.adapters.postgres.partitions.moment import IN_THE_WAY, when_free
from payment_manager.adapters.postgres.partitions.native import begin_of, end_of
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import LogDay, Moved, Space, Unavailable, WriteRefused

_ONE_AT_A_TIME = "SELECT pg_try_advisory_xact_lock(8230617003)"

# Copying takes as long as it takes: nothing waits for it. The pool's ban on joins is for requests.
_SETTINGS = """
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = '2s';
SET LOCAL idle_in_transaction_session_timeout = '60s';
SET LOCAL enable_hashjoin = on;
SET LOCAL enable_seqscan = on
"""

# From here on everybody waits for us. More than this, and the log goes on without the move.
_LOCKED_SETTINGS = """
SET LOCAL statement_timeout = '2s';
SET LOCAL idle_in_transaction_session_timeout = '2s'
"""

LATE_ROWS_MAX = 1000
"""As many are copied under the lock, in some milliseconds; with more, another round comes first."""

_ROUNDS_MAX = 5

_SPOOL_BYTES = 16 * 1024 * 1024
"""In memory; what is more goes through a temporary file."""

log = structlog.get_logger()


class PostgresDefaultRows:
    """`DefaultRows` of both logs."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def move(self) -> list[Moved]:
        moved: list[Moved] = []
        with translated():
            async with self._pool.connection() as connection:
                for space in Space:
                    copies = await _moved(connection, space)
                    moved += [Moved(day, rows) for day, rows in copies.items()]
        for each in moved:
            log.info("default_rows_moved", table=table_of(each.day), rows=each.rows)
        return moved


async def _moved(connection: AsyncConnection, space: Space) -> dict[LogDay, int]:
    copies: dict[LogDay, int] = {}
    table = TABLES[space]
    async with connection.transaction():
        await connection.execute(_SETTINGS)
        cursor = await connection.execute(_ONE_AT_A_TIME)
        if await cursor.fetchone() == (False,):
            raise Unavailable("another process moves these rows already")
        for _ in range(_ROUNDS_MAX):
            _, late = await _copy_what_is_new(connection, space, copies)
            if late <= LATE_ROWS_MAX:
                break
        if not copies:
            return {}
        await _lock(connection, table)
        try:
            found, _ = await _copy_what_is_new(connection, space, copies)
        except psycopg.errors.QueryCanceled:
            raise Unavailable(
                f"{table}: too many events come into the default partition to move them beside"
                " their writers; nothing was moved. Try again when their day is over (UTC)"
            ) from None
        if copies != found:
            raise WriteRefused(f"{table}: the copies are not what the default partition holds")
        attach = "\n".join(_of_day("default_attach_day", day) for day in copies)
        # One message: while the lock is held, nothing waits for this process.
        await connection.execute(SQL["default_swap"].format(table=table, attach_days=attach))
    return copies


async def _found(connection: AsyncConnection, space: Space) -> dict[LogDay, int]:
    cursor = await connection.execute(SQL["default_days"].format(table=TABLES[space]))
    counted: list[tuple[date, int]] = await cursor.fetchall()
    return {LogDay(space, day): rows for day, rows in counted}


async def _copy_what_is_new(
    connection: AsyncConnection, space: Space, copies: dict[LogDay, int]
) -> tuple[dict[LogDay, int], int]:
    """Copy what isn't among the copies; what there was, and how many rows were copied."""
    found, copied = await _found(connection, space), 0
    for day, rows in found.items():
        if day not in copies:
            await _make_aside(connection, day)
            copies[day] = 0
        if rows != copies[day]:
            new = await _copy(connection, day)
            copies[day] += new
            copied += new
    return found, copied


async def _make_aside(connection: AsyncConnection, day: LogDay) -> None:
    cursor = await connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table_of(day)])
    if await cursor.fetchone() == (True,):
        raise WriteRefused(
            f"{table_of(day)} is no part of the log and in the way: mostly a day that was detached."
            " Attach, rename or drop it, and try again; nothing was moved"
        )
    await connection.execute(_of_day("default_day", day))


async def _copy(connection: AsyncConnection, day: LogDay) -> int:
    out, into = connection.cursor(), connection.cursor()
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
        async with out.copy(_of_day("default_rows_out", day)) as rows:
            async for row in rows:
                spool.write(row)
        spool.seek(0)
        async with into.copy(_of_day("default_rows_in", day)) as sink:
            while chunk := spool.read(256 * 1024):
                await sink.write(chunk)
    return into.rowcount


async def _lock(connection: AsyncConnection, table: str) -> None:
    """Nobody reads or writes the log from now on, until the transaction ends."""
    try:
        await when_free(
            connection,
            lambda: connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"),
        )
    except IN_THE_WAY:
        raise Unavailable(
            f"{table} is in use by a long transaction; nothing was moved, try again"
        ) from None
    await connection.execute(_LOCKED_SETTINGS)


def _of_day(statement: str, day: LogDay) -> str:
    return SQL[statement].format(
        table=TABLES[day.space],
        partition=table_of(day),
        begins=begin_of(day),
        ends=end_of(day),
    )
