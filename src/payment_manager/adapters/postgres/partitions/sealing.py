"""Sealing: a day that is over is replaced by a packed copy of itself.

How to think about it: the copy is made beside the day, sorted as questions read it, with its rows
frozen and its indexes dense, while everybody goes on reading and writing. Then it takes the day's
place in one moment under a lock. It is one transaction from the copy's first byte to that moment,
so whatever ends it, a kill -9 or a late row, leaves the day as it was and nothing else behind.

Events are only ever added. So if the day holds as many rows under a lock as were copied, it holds
the same rows.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from time import monotonic
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection, sql
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.partitions.days import TABLES, attached_days, table_of
from payment_manager.adapters.postgres.partitions.moment import IN_THE_WAY, when_free
from payment_manager.adapters.postgres.pool import connection_beside
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import LogDay, LogExtent, Sealed

# Other work than the requests' that the pool's settings are for.
_SETTINGS = {
    # A whole day is read: no index helps.
    "enable_seqscan": "on",
    # A day may be tens of gigabytes: copying takes as long as it takes, and waits for nobody.
    "statement_timeout": "0",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "15s",
    # One core and little memory, whatever the server would allow: those who serve come first.
    "work_mem": "32MB",
    "maintenance_work_mem": "64MB",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
}


# Under the lock everything is catalogue, milliseconds. More means that something is wrong, such as
# a process that was stopped in that very moment: better no sealing than no service.
_AT_ONCE = """
SET LOCAL statement_timeout = '1s';
SET LOCAL idle_in_transaction_session_timeout = '1s'
"""

# Some milliseconds of this process's time; requests that it serves come in between.
_CHUNK_BYTES = 128 * 1024

_PROGRESS_SECONDS = 15.0

log = structlog.get_logger()


class _Later(Exception):
    """The day can't be sealed now; the text says why."""


@dataclass(frozen=True, slots=True)
class _Index:
    """An index of the copy. `name`: the one that it will have when the day is sealed."""

    name: str
    made_as: str
    definition: sql.Composed
    constraint: sql.Composed | None


@dataclass(frozen=True, slots=True)
class _Copy:
    rows: int
    bytes_before: int
    bytes_after: int
    bound: str
    indexes: Sequence[_Index]


class PostgresSealing:
    """`Sealing` on connections of its own, to the pool's database."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def unsealed(self, before: date) -> Sequence[LogDay]:
        found: list[LogDay] = []
        with translated():
            async with self._pool.connection() as connection:
                for space, table in TABLES.items():
                    cursor = await connection.execute(SQL["sealed_days"], {"table": table})
                    sealed = {day for (day,) in await cursor.fetchall()}
                    days = await attached_days(connection, space)
                    found += [LogDay(space, day) for day in days - sealed if day < before]
        return sorted(found, key=lambda each: (each.day, each.space))

    async def seal(self, day: LogDay, now: datetime) -> Sealed | None:
        try:
            with translated():
                async with self._connected() as writing:
                    return await self._seal(day, now, writing)
        except _Later as reason:
            log.info("day_not_sealed_yet", table=table_of(day), reason=str(reason))
            return None

    async def extents(self) -> Sequence[LogExtent]:
        found: list[LogExtent] = []
        with translated():
            async with self._pool.connection() as connection:
                for space, table in TABLES.items():
                    cursor = await connection.execute(SQL["log_extent"], {"table": table})
                    found += [LogExtent(space, *row) for row in await cursor.fetchall()]
        return found

    async def _seal(self, day: LogDay, now: datetime, writing: AsyncConnection) -> Sealed:
        began = monotonic()
        async with writing.transaction():
            copy = await self._copied(day, writing)
            if copy is None:
                await _remember(day, now, 0, writing)
                return Sealed(day, 0, 0, 0, monotonic() - began, 0.0)
            locked = await _swapped(day, now, copy, writing)
        ended = monotonic()
        sealed = Sealed(
            day, copy.rows, copy.bytes_before, copy.bytes_after, ended - began, ended - locked
        )
        log.info(
            "day_sealed", table=table_of(day), rows=sealed.rows,
            bytes_before=sealed.bytes_before, bytes_after=sealed.bytes_after,
            seconds=round(sealed.seconds, 3), locked_seconds=round(sealed.locked_seconds, 3),
        )  # fmt: skip
        return sealed

    async def _copied(self, day: LogDay, writing: AsyncConnection) -> _Copy | None:
        """The copy, whole and not visible to anybody yet; None of a day without rows."""
        table, partition = TABLES[day.space], table_of(day)
        names = {"table": table, "partition": partition}
        try:
            # Until the end: nobody else seals, vacuums or drops the day. Readers and writers don't
            # notice. In the way of an autovacuum it is waited for long enough to be cancelled.
            await writing.execute(
                sql.SQL("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE").format(
                    sql.Identifier(partition)
                )
            )
        except (*IN_THE_WAY, psycopg.errors.UndefinedTable) as error:
            raise _Later(f"the day is in use: {type(error).__name__}") from None
        cursor = await writing.execute(SQL["day_to_seal"], names)
        found = await cursor.fetchone()
        cursor = await writing.execute(SQL["sealed_days"], {"table": table})
        if found is None or (day.day,) in await cursor.fetchall():
            raise _Later("it is sealed, or no day of the log any more")
        bound, check, bytes_before, columns = found
        cursor = await writing.execute(
            sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(partition))
        )
        if await cursor.fetchone() == (False,):
            return None
        copy = f"{partition}_packed"
        await writing.execute(
            _composed("sealed_day", partition=sql.Identifier(copy), table=sql.Identifier(partition))
        )
        # Told here, it is checked row by row on the way in; attaching need not read it all again.
        await writing.execute(
            sql.SQL("ALTER TABLE {copy} ADD CONSTRAINT {copy} CHECK ({check})").format(
                copy=sql.Identifier(copy), check=sql.SQL(check)
            )
        )
        rows = await self._fill(partition, copy, columns, bytes_before, writing)
        indexes = await _indexes(names, copy, writing)
        for index in indexes:
            await writing.execute(index.definition)
            if index.constraint is not None:
                await writing.execute(index.constraint)
        await writing.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(copy)))
        cursor = await writing.execute("SELECT pg_total_relation_size(%s::regclass)", [copy])
        [(bytes_after,)] = await cursor.fetchall()
        return _Copy(rows, bytes_before, bytes_after, bound, indexes)

    async def _fill(
        self,
        partition: str,
        copy: str,
        columns: Sequence[str],
        bytes_before: int,
        writing: AsyncConnection,
    ) -> int:
        """Copy all rows there are now; how many."""
        listed = sql.SQL(", ").join(map(sql.Identifier, columns))
        source = _composed("copy_day_out", columns=listed, table=sql.Identifier(partition))
        target = _composed("copy_day_in", columns=listed, table=sql.Identifier(copy))
        async with self._connected() as reading:
            out, into = reading.cursor(), writing.cursor()
            async with out.copy(source) as rows, into.copy(target) as sink:
                await _pipe(rows, sink, partition, bytes_before)
        if out.rowcount != into.rowcount:
            raise _Later(f"read {out.rowcount} rows, wrote {into.rowcount}")
        return into.rowcount

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        async with connection_beside(self._pool) as connection:
            await connection.execute(
                "SELECT set_config(name, setting, false)"
                " FROM unnest(%s::text[], %s::text[]) AS s (name, setting)",
                (list(_SETTINGS), list(_SETTINGS.values())),
            )
            yield connection


async def _pipe(
    rows: psycopg.AsyncCopy, sink: psycopg.AsyncCopy, partition: str, bytes_expected: int
) -> None:
    told, written = monotonic(), 0
    chunk = bytearray()
    async for row in rows:
        chunk += row
        if len(chunk) < _CHUNK_BYTES:
            continue
        await sink.write(bytes(chunk))
        written += len(chunk)
        chunk.clear()
        # Rows that have arrived are handed out without waiting; others want a turn, too.
        await asyncio.sleep(0)
        if monotonic() - told > _PROGRESS_SECONDS:
            told = monotonic()
            log.info("sealing", table=partition, bytes=written, of_about=bytes_expected)
    await sink.write(bytes(chunk))


async def _indexes(
    names: dict[str, str], copy: str, connection: AsyncConnection
) -> Sequence[_Index]:
    """One for each index of the log, whatever they are: attaching builds none then."""
    cursor = await connection.execute(SQL["indexes_of_log"], names)
    found: list[_Index] = []
    for number, (name, definition, unique, constraint) in enumerate(await cursor.fetchall()):
        made_as = f"{copy}_{number}"
        made, on = sql.Identifier(made_as), sql.Identifier(copy)
        method_and_columns = definition.partition(" USING ")[2]
        if method_and_columns.startswith("btree") and " WITH (" not in method_and_columns:
            columns, where, condition = method_and_columns.partition(" WHERE ")
            # Room on a page is for rows that come later, and hardly any do.
            method_and_columns = f"{columns} WITH (fillfactor = 100){where}{condition}"
        found.append(
            _Index(
                name,
                made_as,
                sql.SQL("CREATE {unique} INDEX {made} ON {on} USING {what}").format(
                    unique=sql.SQL("UNIQUE" if unique else ""),
                    made=made, on=on, what=sql.SQL(method_and_columns),
                ),
                sql.SQL("ALTER TABLE {on} ADD CONSTRAINT {made} {kind} USING INDEX {made}").format(
                    on=on, made=made, kind=sql.SQL(constraint)
                )
                if constraint
                else None,
            )
        )  # fmt: skip
    return found


async def _swapped(day: LogDay, now: datetime, copy: _Copy, connection: AsyncConnection) -> float:
    """The copy stands in the day's place once this is committed; when the lock was asked for."""
    try:
        return await when_free(connection, lambda: _swap(day, now, copy, connection))
    except IN_THE_WAY as error:
        raise _Later(f"the log is in use: {type(error).__name__}") from None


async def _swap(day: LogDay, now: datetime, copy: _Copy, connection: AsyncConnection) -> float:
    partition = sql.Identifier(table_of(day))
    packed = sql.Identifier(f"{table_of(day)}_packed")
    # Late writers are waited for, and wait from now on; readers don't.
    await connection.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(partition))
    cursor = await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(partition))
    [(rows,)] = await cursor.fetchall()
    if rows != copy.rows:
        raise _Later(f"{rows - copy.rows} rows came while it was copied")
    await _remember(day, now, copy.rows, connection)
    await connection.execute(_AT_ONCE)
    asked = monotonic()
    # One message: while the lock is held, nothing waits for this process.
    await connection.execute(
        _composed(
            "swap_day",
            table=sql.Identifier(TABLES[day.space]),
            partition=partition,
            copy=packed,
            check=packed,
            bound=sql.SQL(copy.bound),
            index_renames=sql.SQL("\n").join(
                sql.SQL("ALTER INDEX {} RENAME TO {};").format(
                    sql.Identifier(index.made_as), sql.Identifier(index.name)
                )
                for index in copy.indexes
            ),
        )
    )
    return asked


async def _remember(day: LogDay, now: datetime, rows: int, connection: AsyncConnection) -> None:
    values = {"table": TABLES[day.space], "day": day.day, "now": now, "rows": rows}
    await connection.execute(SQL["day_sealed"], values)


def _composed(statement: str, **parts: Any) -> sql.Composed:
    return sql.SQL(SQL[statement]).format(**parts)
