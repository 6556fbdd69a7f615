"""Everything there is, read once from beginning to end, for a search that is built from nothing.

How to think about it: no snapshot is kept while it is read, which may take hours; pages are short
statements, and whatever happens meanwhile is the tail's to tell. A day may be sealed, moved or
retired under the reading: through the log it is read wherever it lies, and what left the log is
read last, from where it went. So an event may come twice, and none is left out.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres import leadership
from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.event_windows import INSTANT, Span
from payment_manager.adapters.postgres.partitions.days import TABLES, attached_days, table_of
from payment_manager.adapters.postgres.pool import connection_beside
from payment_manager.adapters.postgres.search import logged
from payment_manager.adapters.postgres.search.tail import checkpoint_values
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import (
    Archive,
    ArchiveFile,
    AsOf,
    Checkpoint,
    DisputeState,
    Document,
    LogDay,
    LoggedEvent,
    Moment,
    OrderState,
    SetAside,
    Space,
    StoredEvent,
    Unavailable,
)

PAGE_ROWS = 1000
"""Some tens of milliseconds, and at most some megabytes of memory."""

# In UTF-8 nothing sorts after it.
_END = chr(0x10FFFF)

_BEGINNING, _FAR = datetime(1, 1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_LAST_ID = UUID(int=(1 << 128) - 1)

# Counting reads a table from end to end, which the pool's settings are against, and takes as long
# as it takes.
_SETTINGS = """
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = '10min';
SET enable_seqscan = on;
SET max_parallel_workers_per_gather = 0
"""

# The first statement of all: a day must not leave between the snapshot and the counting.
_NO_DAY_LEAVES = "LOCK TABLE {tables} IN ACCESS SHARE MODE"

_EVENT_DOCUMENTS = {Space.ORDER: Document.ORDER_EVENT, Space.DISPUTE: Document.DISPUTE_EVENT}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Retired:
    """A day that left its log. Its table was kept, or `file` has its rows; or neither, where
    somebody dropped it.
    """

    day: LogDay
    is_kept: bool
    file: ArchiveFile | None


class PostgresWholeLog:
    """`WholeLog` of the database and of the archive, where there is one. One build at a time: what
    it could not read is known until the next one begins.
    """

    def __init__(self, pool: AsyncConnectionPool, archive: Archive | None = None) -> None:
        self._pool = pool
        self._archive = archive
        self._unread = Counter[Space]()

    def building(self) -> AbstractAsyncContextManager[bool]:
        return leadership.leading(self._pool, leadership.BUILD)

    async def begin(self, build: str) -> Checkpoint:
        self._unread.clear()
        values: dict[str, Any] = {"name": logged.BUILD_NAME, "build": build}
        with translated():
            async with self._pool.connection() as connection:
                # Committed before the snapshot is taken: who forgets batches and has not seen it
                # forgets only what that snapshot sees.
                await connection.execute(SQL["build_begins"], values)
                positions = await _positions(connection)
                values |= {"order_position": positions[0], "dispute_position": positions[1]}
                cursor = await connection.execute(SQL["build_sees"], values)
                row = await cursor.fetchone()
        if row is None:
            raise Unavailable("another process began to build search at the same time")
        seen, at = row
        return Checkpoint(build, seen, AsOf(at, *positions))

    async def events(self) -> AsyncGenerator[Sequence[LoggedEvent], None]:
        with translated():
            async with connection_beside(self._pool) as connection:
                for space in Space:
                    for window in await _windows(connection, space):
                        async for page in _pages(connection, space, TABLES[space], window):
                            yield page
                read = set[tuple[LogDay, bool]]()
                while left := [
                    each
                    for each in await _retired(connection)
                    if (each.day, each.is_kept) not in read
                ]:
                    kept = [each.day for each in left if each.is_kept]
                    for day in kept:
                        try:
                            async for page in _pages(connection, day.space, table_of(day)):
                                yield page
                        except psycopg.errors.UndefinedTable:
                            # Archived meanwhile, or dropped: the next look tells.
                            pass
                    archived = [each.file for each in left if each.file and not each.is_kept]
                    async for page in self._archived(archived):
                        yield page
                    read |= {(each.day, each.is_kept) for each in left}

    async def orders(self) -> AsyncGenerator[Sequence[OrderState], None]:
        text = SQL["order_state"].format(
            sampled="", conditions="o.order_id > %(after)s ORDER BY o.order_id LIMIT %(limit)s"
        )
        async for rows in self._by_key(text, ""):
            yield [OrderState._make(row) for row in rows]

    async def disputes(self) -> AsyncGenerator[Sequence[DisputeState], None]:
        text = SQL["dispute_state"].format(
            sampled="", conditions="d.dispute_id > %(after)s ORDER BY d.dispute_id LIMIT %(limit)s"
        )
        async for rows in self._by_key(text, UUID(int=0)):
            yield [DisputeState._make(row) for row in rows]

    async def moment(self) -> Moment:
        counts: dict[Document, int] = {}
        with translated():
            async with connection_beside(self._pool) as connection:
                await connection.execute(_SETTINGS)
                positions = await _positions(connection)
                async with connection.transaction():
                    await connection.execute(
                        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
                    )
                    await _hold(connection, TABLES.values())
                    cursor = await connection.execute(SQL["this_moment"])
                    [(seen, at, orders, disputes)] = await cursor.fetchall()
                    retired = await _retired(connection)
                    for space in Space:
                        there = await _count(connection, space, retired)
                        counts[_EVENT_DOCUMENTS[space]] = there - self._unread[space]
        counts[Document.ORDER], counts[Document.DISPUTE] = orders, disputes
        return Moment(seen, AsOf(at, *positions), counts)

    async def finish(self, checkpoint: Checkpoint, rejects: Sequence[SetAside]) -> None:
        missed = checkpoint.missed_events + self._unread.total()
        values = checkpoint_values(replace(checkpoint, missed_events=missed))
        values |= {"name": logged.NAME, "build_name": logged.BUILD_NAME}
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                if (await connection.execute(SQL["build_answers"], values)).rowcount == 0:
                    raise Unavailable("this build of search was given up meanwhile")
                await logged.set_aside(connection, checkpoint.build, rejects)
                await connection.execute(SQL["forget_other_builds"])

    async def abandon(self) -> None:
        with translated():
            async with self._pool.connection() as connection:
                await connection.execute(
                    "DELETE FROM projections WHERE name = %s", [logged.BUILD_NAME]
                )

    async def sample(
        self, size: int
    ) -> tuple[Sequence[LoggedEvent], Sequence[OrderState], Sequence[DisputeState]]:
        """Days that left the logs are left out: they are proved by their counts."""
        events: list[LoggedEvent] = []
        with translated():
            async with connection_beside(self._pool) as connection:
                await connection.execute(_SETTINGS)
                for space, table in TABLES.items():
                    text = SQL["sampled_events"].format(
                        columns=logged.COLUMNS[space],
                        table=table,
                        owner=logged.OWNERS[space],
                        percent=await _percent(connection, table, size),
                    )
                    cursor = await connection.execute(text, {"size": size})
                    events += [LoggedEvent._make(row) for row in await cursor.fetchall()]
                orders = await _sampled(connection, "order", size)
                disputes = await _sampled(connection, "dispute", size)
        return (
            events,
            [OrderState._make(row) for row in orders],
            [DisputeState._make(row) for row in disputes],
        )

    async def _by_key(self, text: str, after: str | UUID) -> AsyncIterator[list[tuple[Any, ...]]]:
        with translated():
            async with connection_beside(self._pool) as connection:
                while True:
                    values = {"after": after, "limit": PAGE_ROWS}
                    cursor = await connection.execute(text, values, prepare=True)
                    rows = await cursor.fetchall()
                    if rows:
                        yield rows
                    if len(rows) < PAGE_ROWS:
                        return
                    after = rows[-1][0]

    async def _archived(self, files: Sequence[ArchiveFile]) -> AsyncIterator[list[LoggedEvent]]:
        """Of these files what can be read; the rest is told, and is not counted any more."""
        unread = Counter({file.day: file.rows for file in files})
        if self._archive is not None and files:
            walk, after = self._archive.walk(files), ""
            while after != _END:
                upto = await walk.bound(after, PAGE_ROWS) or _END
                for space in Space:
                    events = await walk.events(space, after, upto)
                    unread.subtract(LogDay(space, each.created_at.date()) for each in events)
                    if events:
                        yield [_of_archive(space, each) for each in events]
                after = upto
        left_out = {day: rows for day, rows in unread.items() if rows}
        for day, rows in left_out.items():
            self._unread[day.space] += rows
        if left_out:
            log.error(
                "archived_days_not_in_search",
                days=len(left_out),
                oldest=table_of(min(left_out, key=lambda each: each.day)),
                events=sum(left_out.values()),
            )


# ── Pages ─────────────────────────────────────────────────────────────────────────────────────────


async def _windows(connection: AsyncConnection, space: Space) -> list[Span]:
    """All of time: each day by itself, and what lies between days, in the default partition."""
    windows: list[Span] = []
    begun = _BEGINNING
    for day in sorted(await attached_days(connection, space)):
        start = _midnight(day)
        windows += [(begun, start)] if begun < start else []
        begun = start + timedelta(days=1)
        windows.append((start, begun))
    return [*windows, (begun, _FAR)]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


async def _pages(
    connection: AsyncConnection, space: Space, table: str, window: Span = (_BEGINNING, _FAR)
) -> AsyncIterator[list[LoggedEvent]]:
    start, end = window
    text = SQL["whole_events"].format(
        columns=logged.COLUMNS[space], table=table, owner=logged.OWNERS[space]
    )
    values: dict[str, Any] = {"start": start, "end": end, "limit": PAGE_ROWS}
    after_time, after_id = start - INSTANT, _LAST_ID
    while True:
        values |= {"after_time": after_time, "after_id": after_id}
        rows = await logged.planned(connection, text, values)
        events = [LoggedEvent._make(row) for row in rows]
        if events:
            yield events
        if len(events) < PAGE_ROWS:
            return
        after_time, after_id = events[-1].created_at, events[-1].event_id
        # Not one page after the other: requests of this process want their turn.
        await asyncio.sleep(0)


async def _retired(connection: AsyncConnection) -> list[_Retired]:
    spaces = {table: space for space, table in TABLES.items()}
    cursor = await connection.execute(SQL["retired_days"])
    retired = []
    for table, on, name, rows, digest, is_kept in await cursor.fetchall():
        day = LogDay(spaces[table], on)
        retired.append(
            _Retired(day, is_kept, ArchiveFile(day, name, rows, digest) if name else None)
        )
    return retired


def _of_archive(space: Space, event: StoredEvent) -> LoggedEvent:
    return LoggedEvent(
        event.event_id,
        event.order_id,
        UUID(event.stream) if space is Space.DISPUTE else None,
        event.sequence,
        event.kind,
        event.provider_event_id,
        event.data,
        event.created_at,
        event.correlation_id,
        event.position,
    )


# ── A moment ──────────────────────────────────────────────────────────────────────────────────────


async def _positions(connection: AsyncConnection) -> tuple[int, int]:
    cursor = await connection.execute(SQL["log_positions"])
    [(order_position, dispute_position)] = await cursor.fetchall()
    return order_position, dispute_position


async def _count(connection: AsyncConnection, space: Space, retired: Iterable[_Retired]) -> int:
    mine = [each for each in retired if each.day.space is space]
    kept = [table_of(each.day) for each in mine if each.is_kept]
    await _hold(connection, kept)
    count = sum(each.file.rows for each in mine if each.file)
    for table in (TABLES[space], *kept):
        cursor = await connection.execute(SQL["count_events"].format(table=table))
        [(rows,)] = await cursor.fetchall()
        count += rows
    return count


async def _hold(connection: AsyncConnection, tables: Iterable[str]) -> None:
    if named := ", ".join(tables):
        await connection.execute(_NO_DAY_LEAVES.format(tables=named))


async def _sampled(connection: AsyncConnection, which: str, size: int) -> list[tuple[Any, ...]]:
    percent = await _percent(connection, f"{which}s", size)
    text = SQL[f"{which}_state"].format(
        sampled=f"TABLESAMPLE SYSTEM ({percent})",
        conditions="true ORDER BY random() LIMIT %(size)s",
    )
    cursor = await connection.execute(text, {"size": size})
    return await cursor.fetchall()


async def _percent(connection: AsyncConnection, table: str, size: int) -> str:
    """Of its pages, so that there are several for each row wanted: a page's rows are neighbours."""
    cursor = await connection.execute(SQL["log_pages"], {"table": table})
    [(pages,)] = await cursor.fetchall()
    return f"{min(100.0, 200.0 * size / pages):.6f}" if pages else "100"
