"""The logs, followed by what each transaction left word of.

How to think about it: a checkpoint is a snapshot, so what comes next is what it doesn't see,
whichever transaction began or ended first: nothing waits for a slow one, and none is skipped. A
transaction's batches say where its events are in time; they are read there through the logs'
primary keys, wherever sealing or moving has put them by now. Who finds fewer than the batches say
knows how many are gone.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres import leadership
from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.event_windows import (
    DAYS_MAX,
    Span,
    joined,
    windows,
)
from payment_manager.adapters.postgres.partitions.days import TABLES
from payment_manager.adapters.postgres.search import logged
from payment_manager.adapters.postgres.search.snapshots import Snapshot
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import (
    AsOf,
    Backlog,
    Checkpoint,
    Document,
    LoggedEvent,
    Moment,
    SetAside,
    Space,
    Stretch,
)

_COUNTED_MAX = 10_000
"""Batches that are counted where many wait: some milliseconds, however long the wait was."""

log = structlog.get_logger()


class Batch(NamedTuple):
    """A row of `event_batches`."""

    transaction: int
    first_at: datetime
    last_at: datetime
    order_events: int
    dispute_events: int

    def events(self, space: Space) -> int:
        return self.order_events if space is Space.ORDER else self.dispute_events


class _Read(NamedTuple):
    """Batches behind a checkpoint. `now`: what the statement that read them saw; `rest_at`: since
    when the oldest was recorded of those that were read and not taken.
    """

    now: Snapshot
    at: datetime
    taken: Sequence[Batch]
    rest_at: datetime | None
    is_last: bool


class PostgresEventTail:
    """`EventTail` of the projection named search."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def checkpoint(self) -> Checkpoint | None:
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(SQL["projection"], {"name": logged.NAME})
                row = await cursor.fetchone()
        if row is None:
            return None
        build, seen, at, order_position, dispute_position, missed = row
        return Checkpoint(build, seen, AsOf(at, order_position, dispute_position), missed)

    async def after(
        self, checkpoint: Checkpoint, limit: int, *, upto: Moment | None = None
    ) -> Stretch:
        seen = Snapshot.parse(checkpoint.seen)
        with translated():
            async with self._pool.connection() as connection:
                read = await _batches(connection, seen, limit, upto)
                order_events = await _events(connection, Space.ORDER, read.taken)
                dispute_events = await _events(connection, Space.DISPUTE, read.taken)
                # After the events, so no row is older than they are.
                touched = {event.order_id for _, event in order_events}
                orders = await logged.order_states(connection, sorted(touched))
                # A dispute shows its order's user, which an order's event may change.
                touched |= {event.order_id for _, event in dispute_events}
                disputes = await logged.dispute_states(connection, sorted(touched))
        found = len(order_events) + len(dispute_events)
        missed = sum(each.order_events + each.dispute_events for each in read.taken) - found
        if missed:
            log.error("events_left_before_they_were_projected", events=missed)
        events = sorted(
            [*order_events, *dispute_events], key=lambda each: (each[0], each[1].position)
        )
        last = read.taken[-1].transaction if read.taken else 0
        progress = read.now if read.is_last else read.now.up_to(last)
        return Stretch(
            events=[event for _, event in events],
            orders=orders,
            disputes=disputes,
            checkpoint=Checkpoint(
                checkpoint.build,
                str(seen | progress),
                _as_of(checkpoint.as_of, read, order_events, dispute_events, upto),
                checkpoint.missed_events + missed,
            ),
            is_last=read.is_last,
        )

    async def save(self, old: Checkpoint, new: Checkpoint, rejects: Sequence[SetAside]) -> bool:
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                values = {"name": logged.NAME, "old_build": old.build, "old_seen": old.seen}
                moved = await connection.execute(
                    SQL["move_projection"], values | checkpoint_values(new)
                )
                if moved.rowcount == 0:
                    return False
                await logged.set_aside(connection, new.build, rejects)
        return True

    async def backlog(self, checkpoint: Checkpoint) -> Backlog:
        seen = Snapshot.parse(checkpoint.seen)
        values = unread(seen, _COUNTED_MAX)
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(SQL["tail_backlog"], values, prepare=True)
                [(batches, events, oldest_at)] = await cursor.fetchall()
                if batches == _COUNTED_MAX:
                    # Numbers are given out in order; some are lost with their transactions.
                    cursor = await connection.execute(SQL["log_positions"], prepare=True)
                    [positions] = await cursor.fetchall()
                    as_of = checkpoint.as_of
                    numbered = sum(positions) - as_of.order_position - as_of.dispute_position
                    events = max(events, numbered)
        return Backlog(events, oldest_at)

    async def rejects(self, build: str) -> Sequence[SetAside]:
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(SQL["were_set_aside"], {"build": build})
                return [
                    SetAside(Document(document), document_id, error, at)
                    for document, document_id, error, at in await cursor.fetchall()
                ]

    async def reject_count(self, build: str) -> int:
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(SQL["count_set_aside"], {"build": build})
                [(count,)] = await cursor.fetchall()
        return int(count)

    def leading(self) -> AbstractAsyncContextManager[bool]:
        return leadership.leading(self._pool, leadership.PROJECTION)


def checkpoint_values(checkpoint: Checkpoint) -> dict[str, Any]:
    """As the columns of `projections`."""
    return {
        "build": checkpoint.build,
        "seen": checkpoint.seen,
        "recorded_at": checkpoint.as_of.time,
        "order_position": checkpoint.as_of.order_position,
        "dispute_position": checkpoint.as_of.dispute_position,
        "missed_events": checkpoint.missed_events,
    }


# ── What is to be read ────────────────────────────────────────────────────────────────────────────


async def _batches(
    connection: AsyncConnection, seen: Snapshot, limit: int, upto: Moment | None
) -> _Read:
    """One statement, so that what it finds is what its snapshot has and the checkpoint has not."""
    # One row more than can be taken, as each has an event: it tells what time is not reached yet.
    values = unread(seen, limit + 1) | {"upto": upto.seen if upto else None}
    cursor = await connection.execute(SQL["tail_batches"], values, prepare=True)
    rows = await cursor.fetchall()
    now, at, *_ = rows[0]
    found = [Batch._make(row[2:]) for row in rows if row[2] is not None]
    taken: list[Batch] = []
    events = 0
    for _, group in groupby(found, key=attrgetter("transaction")):
        whole = list(group)
        size = sum(each.order_events + each.dispute_events for each in whole)
        if taken and events + size > limit:
            break
        taken += whole
        events += size
    rest = found[len(taken) :]
    return _Read(
        Snapshot.parse(now),
        at,
        taken,
        min((each.first_at for each in rest), default=None),
        is_last=not rest and len(found) <= limit,
    )


def unread(seen: Snapshot, limit: int) -> dict[str, Any]:
    """The values of `unread_batches`."""
    return {"running": [str(each) for each in seen.running], "xmax": str(seen.xmax), "limit": limit}


def _as_of(
    old: AsOf,
    read: _Read,
    order_events: Sequence[tuple[int, LoggedEvent]],
    dispute_events: Sequence[tuple[int, LoggedEvent]],
    upto: Moment | None,
) -> AsOf:
    if read.is_last:
        time = upto.as_of.time if upto else read.at
    else:
        time = read.rest_at or read.taken[-1].last_at
    return AsOf(
        max(old.time, time),
        max([old.order_position, *(event.position for _, event in order_events)]),
        max([old.dispute_position, *(event.position for _, event in dispute_events)]),
    )


# ── Reading it ────────────────────────────────────────────────────────────────────────────────────


async def _events(
    connection: AsyncConnection, space: Space, batches: Iterable[Batch]
) -> list[tuple[int, LoggedEvent]]:
    """The events of these batches that are in the log, each with its transaction."""
    rows: list[tuple[Any, ...]] = []
    for text, values in events_statements(space, batches):
        rows += await logged.planned(connection, text, values)
    return [(transaction, LoggedEvent._make(row)) for transaction, *row in rows]


def events_statements(
    space: Space, batches: Iterable[Batch]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """One a window: batches that are days apart cost their own days, not those in between."""
    there = sorted((each for each in batches if each.events(space)), key=itemgetter(1))
    text = SQL["tail_events"].format(
        columns=logged.COLUMNS[space], table=TABLES[space], owner=logged.OWNERS[space]
    )
    for window in _windows(there):
        start, end = window
        inside = [each for each in there if each.first_at < end and each.last_at >= start]
        yield (
            text,
            {
                "transactions": [str(each.transaction) for each in inside],
                "firsts": [each.first_at for each in inside],
                "lasts": [each.last_at for each in inside],
                "start": start,
                "end": end,
            },
        )


def _windows(batches: Sequence[Batch]) -> Iterator[Span]:
    for start, end in joined((each.first_at, each.last_at) for each in batches):
        yield from windows(start, end, ascending=True, days=DAYS_MAX)
