"""The read side: rows as they are committed, a statement a question.

How to think about it: a list is a walk along one index from where the last page ended (keyset), so
page one thousand costs what page one costs. Conditions are put together from the fixed fragments
below and never hold a value. Each shape of a question is one prepared statement; only those about
the logs are planned each time, a window at a time, since their window decides which days they
touch.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

from psycopg import AsyncClientCursor
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres import rows
from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.event_windows import (
    DAYS_FIRST,
    DAYS_FIRST_OF_STREAMS,
    DAYS_MAX,
    INSTANT,
    Span,
    Window,
    common,
    is_empty,
    joined,
    windows,
)
from payment_manager.adapters.postgres.partitions.days import TABLES
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import (
    DisputeRow,
    DisputesAsked,
    EventRow,
    EventsAsked,
    OrdersAsked,
    Place,
    Space,
)
from payment_manager.domain.dispute import Dispute
from payment_manager.domain.order import Order

Parameters = dict[str, Any]

_FAR = datetime(9000, 1, 1, tzinfo=UTC)


class PostgresReadModel:
    """`ReadModel` on a pool of connections; with a replica's pool it reads from the replica."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def orders_by_id(self, order_ids: Sequence[str]) -> dict[str, Order]:
        found = await self._fetch(SQL["load_orders"], {"order_ids": list(order_ids)})
        return {row[0]: rows.order_stream(row).state for row in found}

    async def disputes_by_id(self, dispute_ids: Sequence[UUID]) -> dict[UUID, Dispute]:
        found = await self._fetch(SQL["disputes_by_id"], {"dispute_ids": list(dispute_ids)})
        disputes = (rows.dispute_stream(row).state for row in found)
        return {dispute.dispute_id: dispute for dispute in disputes}

    async def orders(self, asked: OrdersAsked, after: Place | None, limit: int) -> Sequence[Order]:
        sort = "updated_at" if asked.by_update else "created_at"
        values: Parameters = {"limit": limit}
        conditions = _any("o.status", "statuses", asked.statuses, values)
        conditions += _any("o.user_id", "user_ids", asked.user_ids, values)
        if asked.on_hold is not None:
            conditions.append(f"o.hold_reason IS {'NOT ' if asked.on_hold else ''}NULL")
        conditions += _beyond(f"o.{sort}", "o.order_id", "text", after, asked.ascending, values)
        text = SQL["list_orders"].format(
            conditions=_all(conditions), sort=sort, direction=_direction(asked.ascending)
        )
        return [rows.order_stream(row).state for row in await self._fetch(text, values)]

    async def disputes(
        self, asked: DisputesAsked, after: Place | None, limit: int
    ) -> Sequence[DisputeRow]:
        values: Parameters = {"limit": limit}
        conditions = _any("d.status", "statuses", asked.statuses, values)
        conditions += _any("d.reason", "reasons", asked.reasons, values)
        conditions += _any("d.order_id", "order_ids", asked.order_ids, values)
        if asked.due_before is not None:
            conditions.append("d.evidence_due_at < %(due_before)s")
            values["due_before"] = asked.due_before
        conditions += _beyond("d.first_event_at", "d.dispute_id", "uuid", after, False, values)
        text = SQL["list_disputes"].format(conditions=_all(conditions))
        streams = [rows.dispute_stream(row) for row in await self._fetch(text, values)]
        return [DisputeRow(stream.state, stream.first_event_at) for stream in streams]

    async def events(
        self, asked: EventsAsked, after: Place | None, limit: int
    ) -> Sequence[EventRow]:
        found: list[tuple[Any, ...]] = []
        for window in await self.stretches(asked, after):
            text, values = events_statement(asked, window, after, limit - len(found))
            found += await self._fetch_planned(text, values)
            if len(found) == limit:
                break
        return [
            EventRow(event_id, stream, kind, provider_event_id, data.encode(), created_at, sequence)
            for event_id, stream, kind, provider_event_id, data, created_at, sequence in found
        ]

    async def stretches(self, asked: EventsAsked, after: Place | None) -> Iterable[Window]:
        """What is to be looked into, piece by piece, in the order asked for."""
        wanted: Window = (asked.time_from, asked.time_to)
        if after is not None:
            wanted = common(wanted, _from_place(after[0], asked.ascending))
        if asked.streams:
            return await self._windows_of_streams(asked, wanted)
        cut = partial(windows, ascending=asked.ascending, days=DAYS_FIRST)
        start, end = wanted
        if start and end and end - start <= timedelta(days=DAYS_MAX):
            return cut(start, end)
        # All that there is may be less, and may be much less.
        inside, strays = await self._extent(asked.space)
        pieces = cut(*common(wanted, inside))
        if not strays:
            return pieces
        # Events that lie outside of every day stand in the right place too; they are an alarm, so
        # what they cost is no matter.
        before, behind = common(wanted, (None, inside[0])), common(wanted, (inside[1], None))
        order = (before, *pieces, behind) if asked.ascending else (behind, *pieces, before)
        return (piece for piece in order if not is_empty(piece))

    async def _windows_of_streams(self, asked: EventsAsked, wanted: Window) -> Iterable[Window]:
        """Only where there is one of them; the order of the pieces is that of the page."""
        text = SQL["events_spans"].format(owners=f"{asked.space}s", id=f"{asked.space}_id")
        spans = await self._fetch(text, {"streams": _stream_ids(asked)})
        clipped = (common(wanted, run) for run in joined(spans))
        runs = [run for run in clipped if not is_empty(run)]
        if sum((end - start for start, end in runs), timedelta()) > timedelta(days=DAYS_MAX):
            inside, strays = await self._extent(asked.space)
            # What lies outside of every day lies in its order's time all the same.
            runs = runs if strays else [common(run, inside) for run in runs]
        if not asked.ascending:
            runs.reverse()
        cut = partial(windows, ascending=asked.ascending, days=DAYS_FIRST_OF_STREAMS)
        return chain.from_iterable(cut(start, end) for start, end in runs)

    async def _extent(self, space: Space) -> tuple[Span, bool]:
        """From the first to the last day of a log that has events, and whether any event lies
        outside of every day. Never remembered: days come and go.
        """
        table = TABLES[space]
        ((first, last, strays),) = await self._fetch(SQL["events_extent"].format(table=table), {})
        if first is None:
            midnight = datetime(1970, 1, 1, tzinfo=UTC)  # any: nothing lies in between
            return (midnight, midnight), strays
        start, end = (
            datetime.strptime(f"{name.removeprefix(f'{table}_p')}+0000", "%Y%m%d%z")
            for name in (first, last)
        )
        return (start, end + timedelta(days=1)), strays

    async def _fetch(self, text: str, values: Parameters) -> list[tuple[Any, ...]]:
        """With the plan that the connection keeps for this statement."""
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(text, values, prepare=True)
                return await cursor.fetchall()

    async def _fetch_planned(self, text: str, values: Parameters) -> list[tuple[Any, ...]]:
        """Planned for these values, which stand in the statement itself: a plan that is to be kept
        would name, and lock, every day of the log.
        """
        with translated():
            async with self._pool.connection() as connection:
                cursor = AsyncClientCursor(connection)
                await cursor.execute(text, values)
                return await cursor.fetchall()


def events_statement(
    asked: EventsAsked,
    window: Window,
    after: Place | None,
    limit: int,
    columns: str = SQL["event_columns"],
) -> tuple[str, Parameters]:
    """The statement of one question about one window."""
    values: Parameters = {"limit": limit}
    conditions = _beyond("e.created_at", "e.event_id", "uuid", after, asked.ascending, values)
    for name, operator, bound in zip(("start", "end"), (">=", "<"), window, strict=True):
        if bound is not None:
            conditions.append(f"e.created_at {operator} %({name})s")
            values[name] = bound
    id = f"{asked.space}_id"
    template = SQL["events_page"]
    streams = _stream_ids(asked)
    if len(streams) == 1:
        conditions += _any(f"e.{id}", "streams", streams, values)
        conditions += _any("e.kind", "kinds", asked.kinds, values)
    elif streams:
        template = SQL["events_of_streams"]
        conditions.append(f"e.{id} = owner.{id}")
        conditions.append("e.created_at BETWEEN owner.first_event_at AND owner.last_event_at")
        conditions += _any("e.kind", "kinds", asked.kinds, values)
        values["streams"] = streams
    elif len(asked.kinds) == 1:
        conditions += _any("e.kind", "kinds", asked.kinds, values)
    elif asked.kinds:
        template = SQL["events_by_kind"]
        conditions.append("e.kind = asked.kind")
        values["kinds"] = sorted(set(asked.kinds))
    text = template.format(
        columns=columns.format(id=id),
        id=id,
        table=TABLES[asked.space],
        owners=f"{asked.space}s",
        conditions=_all(conditions),
        direction=_direction(asked.ascending),
    )
    return text, values


def _stream_ids(asked: EventsAsked) -> list[str] | list[UUID]:
    names = sorted(set(asked.streams))
    return names if asked.space is Space.ORDER else [UUID(name) for name in names]


def _from_place(time: datetime, ascending: bool) -> Window:
    """What a page that begins behind a place of this time can hold."""
    # A cursor may be forged, and the calendar ends.
    return (time, None) if ascending else (None, min(time, _FAR) + INSTANT)


def _any(column: str, name: str, wanted: Sequence[Any], values: Parameters) -> list[str]:
    """`column` is one of `wanted`; one value makes an equality, which an index follows in order."""
    if not wanted:
        return []
    plain = [str(value) if isinstance(value, str) else value for value in wanted]
    if len(plain) == 1:
        values[name] = plain[0]
        return [f"{column} = %({name})s"]
    values[name] = plain
    return [f"{column} = ANY(%({name})s)"]


def _beyond(
    time: str, id: str, id_type: str, after: Place | None, ascending: bool, values: Parameters
) -> list[str]:
    if after is None:
        return []
    values["after_time"], values["after_id"] = after
    compare = ">" if ascending else "<"
    return [
        # The second says no more than the first, but partitions can be pruned by it.
        f"({time}, {id}) {compare} (%(after_time)s, %(after_id)s::{id_type})",
        f"{time} {compare}= %(after_time)s",
    ]


def _all(conditions: list[str]) -> str:
    return " AND ".join(conditions) or "true"


def _direction(ascending: bool) -> str:
    return "ASC" if ascending else "DESC"
