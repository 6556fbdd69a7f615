"""Reading everything back, share by share, to prove it; and writing what was found wrong.

How to think about it: a share is a range of order ids. Every table has an index that begins with
the order's id, the log has one in each partition, so a share costs as many descents as there are
days and memory stays flat. To prove, all shares are read in one snapshot; to repair, each share is
a transaction of its own that locks its orders as every writer does.

What left the logs is read where it went: a day's table that was kept, the archive's file. No day
leaves while a transaction here is under way, since each begins by locking the logs against that.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres import rows
from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.partitions.days import TABLES, table_of
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.adapters.postgres.transactions import PostgresTransaction
from payment_manager.application.ports import (
    Archive,
    ArchivedEvents,
    ArchiveFile,
    Changes,
    Known,
    LogDay,
    Logged,
    Parked,
    Repairs,
    Share,
    Space,
    StoredEvent,
    Unreadable,
    WebhookId,
)
from payment_manager.contracts.events import (
    decode_dispute_event,
    decode_order_event,
    encode_dispute_event,
    encode_order_event,
)
from payment_manager.contracts.wire import content_hash, parse
from payment_manager.domain import dispute, order
from payment_manager.domain.dispute_id import dispute_id_of

# A walk takes minutes where a request takes milliseconds; a dead client's is ended by TCP.
_PATIENCE = """
SELECT set_config('statement_timeout', '10min', true),
       set_config('idle_in_transaction_session_timeout', '10min', true)
"""

# The first statement: a day must not leave between the snapshot and the reading.
_NO_DAY_LEAVES = "LOCK TABLE {tables} IN ACCESS SHARE MODE"

# In UTF-8 nothing sorts after it.
_END = chr(0x10FFFF)

# As many events end a share as in `audit_bound`.
_EVENTS_MAX = 3000

# What a value that can't be read raises: JSON, a missing or a mistyped field, a value out of range.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, msgspec.MsgspecError)

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class _Logs:
    """Where the events are: `sources`, a log's name and what to read it from; the archive; `gone`,
    the days that are nowhere.
    """

    sources: dict[str, str]
    archived: ArchivedEvents | None
    gone: dict[LogDay, str]


class PostgresAudit:
    """`Audit` on a pool of connections, and on the archive where there is one."""

    def __init__(self, pool: AsyncConnectionPool, archive: Archive | None = None) -> None:
        self._pool = pool
        self._archive = archive
        # Opening thousands of files takes long: once, unless a day more was archived meanwhile.
        self._opened: tuple[list[ArchiveFile], ArchivedEvents] | None = None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator["PostgresWalk"]:
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
                )
                yield PostgresWalk(connection, await self._logs(connection), locks=False)

    @asynccontextmanager
    async def repairing(self) -> AsyncIterator["PostgresWalk"]:
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                yield PostgresWalk(connection, await self._logs(connection), locks=True)

    async def _logs(self, connection: AsyncConnection) -> _Logs:
        await _hold(connection, TABLES.values())
        await connection.execute(_PATIENCE)
        cursor = await connection.execute(SQL["retired_days"])
        spaces = {table: space for space, table in TABLES.items()}
        files: list[ArchiveFile] = []
        kept: list[LogDay] = []
        gone: dict[LogDay, str] = {}
        for table, date, file, rows_, digest, is_kept in await cursor.fetchall():
            day = LogDay(spaces[table], date)
            if is_kept:
                kept.append(day)
            elif file is None:
                gone[day] = f"{table_of(day)} was dropped"
            elif self._archive is None:
                gone[day] = f"{file} is in an archive, and EVENTS_ARCHIVE_DIR is not set"
            else:
                files.append(ArchiveFile(day, file, rows_, digest))
        await _hold(connection, map(table_of, kept))
        return _Logs(_sources(kept), self._walk(files), gone)

    def _walk(self, files: list[ArchiveFile]) -> ArchivedEvents | None:
        if self._archive is None or not files:
            return None
        if self._opened is None or self._opened[0] != files:
            self._opened = files, self._archive.walk(files)
        return self._opened[1]


async def _hold(connection: AsyncConnection, tables: Iterable[str]) -> None:
    if named := ", ".join(tables):
        await connection.execute(_NO_DAY_LEAVES.format(tables=named))


def _sources(kept: Iterable[LogDay]) -> dict[str, str]:
    """Each log with its days that were detached and kept, as one."""
    parts = {space: [table] for space, table in TABLES.items()}
    for day in kept:
        parts[day.space].append(table_of(day))
    return {
        TABLES[space]: " UNION ALL ".join(
            SQL["audit_log_part"].format(id=f"{space}_id", table=table) for table in tables
        )
        for space, tables in parts.items()
    }


class PostgresWalk:
    """`Walk` in one transaction. `locks`: each share's orders, before they are read."""

    def __init__(self, connection: AsyncConnection, logs: _Logs, *, locks: bool) -> None:
        self._connection = connection
        self._logs = logs
        self._locks = locks

    async def size(self) -> int:
        [(count,)] = await self._fetch("audit_size", {})
        return int(count)

    async def lost_disputes(self) -> dict[UUID, str | None]:
        return dict(await self._fetch("audit_lost_disputes", {}))

    async def share(self, after: str, lost: Collection[str]) -> Share:
        share = await self._share(after)
        between = {"after": after, "upto": share.upto}
        found = {order_id for order_id in lost if after < order_id <= share.upto}
        found |= await self._read_archived(share, after)
        locked = await self._lock(between, found) if self._locks else None

        async def fetch(statement: str, order_id_at: int = 0) -> list[tuple[Any, ...]]:
            fetched = await self._fetch(statement, between)
            # An order that appeared after the lock belongs to its writer.
            return [row for row in fetched if locked is None or row[order_id_at] in locked]

        for row in await fetch("audit_orders"):
            share.orders[row[0]] = _readable(rows.order_stream, row)
        for row in await fetch("audit_disputes", 1):
            share.disputes[row[1]] = _readable(rows.dispute_stream, row[1:])
            share.dispute_ids[row[1]] = row[0]
        for row in await fetch("audit_order_events"):
            share.order_events.setdefault(row[0], []).append(_logged_order_event(row))
        for space, order_id, webhook_id, hash_, rejected_over in await fetch(
            "audit_webhook_ids", 1
        ):
            id = WebhookId(Space(space), order_id, webhook_id)
            share.known[id] = Known(hash_, rejected_over)
        for row in await fetch("audit_parked"):
            share.parked.setdefault(row[0], []).append(_parked(row))
        share.lone_intents = {order_id for (order_id,) in await fetch("audit_lone_intents")}
        found.update(share.disputes, share.lone_intents)
        found.update(id.order_id for id in share.known if id.space is Space.DISPUTE)
        await self._read_dispute_events(share, found)
        for log in (*share.order_events.values(), *share.dispute_events.values()):
            log.sort(key=lambda logged: (logged.sequence, logged.created_at))
        return share

    async def _share(self, after: str) -> Share:
        [(bound,)] = await self._fetch("audit_bound", {"after": after})
        bounds = [bound]
        if self._logs.archived:
            bounds.append(await self._logs.archived.bound(after, _EVENTS_MAX))
        bound = min((each for each in bounds if each is not None), default=None)
        return Share(bound or _END, is_last=bound is None)

    async def _read_archived(self, share: Share, after: str) -> set[str]:
        """Add what the archive has; of which orders that is."""
        archived, found = self._logs.archived, set[str]()
        if archived:
            for event in await archived.events(Space.ORDER, after, share.upto):
                log = share.order_events.setdefault(event.order_id, [])
                log.append(_logged_order_event(_row(event)))
                found.add(event.order_id)
            for event in await archived.events(Space.DISPUTE, after, share.upto):
                if str(dispute_id_of(event.order_id)) != event.stream:
                    share.strays.add(UUID(event.stream))
                    continue
                log = share.dispute_events.setdefault(event.order_id, [])
                log.append(_logged_dispute_event(_row(event)))
                found.add(event.order_id)
        share.gone = self._logs.gone | dict(archived.gone if archived else {})
        return found

    async def repair(self, repairs: Repairs) -> None:
        ids = repairs.wiped_ids
        wrong_ids = {
            "spaces": [id.space.value for id in ids],
            "stream_ids": [id.order_id for id in ids],
            "webhook_ids": [id.provider_event_id for id in ids],
        }
        execute = self._connection.execute
        if repairs.wiped_disputes:
            await execute(SQL["wipe_disputes"], {"order_ids": list(repairs.wiped_disputes)})
        if captured := [*repairs.orders, *repairs.wiped_orders]:
            await execute(SQL["wipe_captures"], {"order_ids": captured})
        if repairs.wiped_orders:
            await execute(SQL["wipe_orders"], {"order_ids": list(repairs.wiped_orders)})
        if ids:
            await execute(SQL["wipe_webhook_ids"], wrong_ids)
        evidence = {id for id, stream in repairs.disputes.items() if stream.state.evidence}
        await PostgresTransaction(self._connection).save(
            Changes(
                orders=repairs.orders,
                disputes=repairs.disputes,
                evidence=evidence,
                requested=repairs.attempts,
            )
        )
        known = [rows.webhook_id_row(id, *taken) for id, taken in repairs.known.items()]
        if known:
            await execute(SQL["save_webhook_ids"], {"rows": rows.as_json(known)})

    async def _lock(self, between: dict[str, str], found: set[str]) -> set[str]:
        ids = found | {order_id for (order_id,) in await self._fetch("audit_order_ids", between)}
        await self._connection.execute(SQL["lock_orders"], {"order_ids": list(ids)})
        return ids

    async def _read_dispute_events(self, share: Share, order_ids: set[str]) -> None:
        by_dispute = {dispute_id_of(order_id): order_id for order_id in order_ids}
        values = {"dispute_ids": list(by_dispute)}
        for row in await self._fetch("audit_dispute_events", values):
            log = share.dispute_events.setdefault(by_dispute[row[0]], [])
            log.append(_logged_dispute_event(row))

    async def _fetch(self, statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        text = SQL[statement]
        for log, source in self._logs.sources.items():
            text = text.replace(f"{{{log}}}", source)
        cursor = await self._connection.execute(text, values)
        return await cursor.fetchall()


def _readable(read: Callable[[Sequence[Any]], Read], row: Sequence[Any]) -> Read | Unreadable:
    try:
        return read(row)
    except _DAMAGE as error:
        return Unreadable(f"the row can't be read ({type(error).__name__})")


def _row(event: StoredEvent) -> tuple[Any, ...]:
    """As the log's own statements give it."""
    return (
        event.order_id, event.sequence, event.kind, event.provider_event_id, event.data,
        event.created_at, event.correlation_id,
    )  # fmt: skip


def _logged_order_event(row: Sequence[Any]) -> Logged:
    _, sequence, kind, provider_event_id, data, at, correlation_id = row
    hash_ = None
    event: order.Event | Unreadable
    try:
        event = decode_order_event(kind, data.encode(), at)
        if isinstance(event, order.SnapshotTaken | order.SnapshotRejected):
            hash_ = content_hash(parse(event.snapshot.payload))
        if encode_order_event(event)[:2] != (kind, provider_event_id):
            event = _other_than_its_data()
    except _DAMAGE as error:
        event = Unreadable(f"its data can't be read ({type(error).__name__})")
    return Logged(sequence, at, correlation_id, event, hash_)


def _logged_dispute_event(row: Sequence[Any]) -> Logged:
    _, sequence, kind, provider_event_id, data, at, correlation_id = row
    hash_ = None
    event: dispute.Event | Unreadable
    try:
        event = decode_dispute_event(kind, data.encode(), at)
        if isinstance(event, dispute.NoticeTaken | dispute.NoticeRejected):
            hash_ = content_hash(parse(event.notice.payload))
        if encode_dispute_event(event)[:2] != (kind, provider_event_id):
            event = _other_than_its_data()
    except _DAMAGE as error:
        event = Unreadable(f"its data can't be read ({type(error).__name__})")
    return Logged(sequence, at, correlation_id, event, hash_)


def _other_than_its_data() -> Unreadable:
    return Unreadable("its kind or its webhook's id is not what its data says")


def _parked(row: Sequence[Any]) -> Parked | Unreadable:
    *stored, provider_event_id = row
    parked = _readable(rows.parked, stored)
    if isinstance(parked, Unreadable):
        return parked
    notice = parked.notice
    if (notice.order_id, notice.provider_event_id) != (stored[0], provider_event_id):
        return Unreadable(f"{provider_event_id} is parked with the payload of another")
    if content_hash(parse(notice.payload)) != parked.content_hash:
        return Unreadable(f"{provider_event_id} is parked with the hash of another content")
    return parked
