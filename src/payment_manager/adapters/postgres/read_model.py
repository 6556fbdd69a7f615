"""The read side: rows as they are committed, a statement a question.

How to think about it: a list is a walk along one index from where the last page ended (keyset), so
page one thousand costs what page one costs. Conditions are put together from the fixed fragments
below and never hold a value; each shape of a question is one prepared statement.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres import rows
from payment_manager.adapters.postgres.errors import translated
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
        text, values = events_statement(asked, after, limit)
        return [
            EventRow(event_id, stream, kind, provider_event_id, data.encode(), created_at, sequence)
            for event_id, stream, kind, provider_event_id, data, created_at, sequence in (
                await self._fetch(text, values)
            )
        ]

    async def _fetch(self, text: str, values: Parameters) -> list[tuple[Any, ...]]:
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(text, values, prepare=True)
                return await cursor.fetchall()


def events_statement(asked: EventsAsked, after: Place | None, limit: int) -> tuple[str, Parameters]:
    """The statement of one question, also for those who want to see its plan."""
    values: Parameters = {"limit": limit}
    conditions = _beyond("e.created_at", "e.event_id", "uuid", after, asked.ascending, values)
    for name, operator, bound in (
        ("time_from", ">=", asked.time_from),
        ("time_to", "<", asked.time_to),
    ):
        if bound is not None:
            conditions.append(f"e.created_at {operator} %({name})s")
            values[name] = bound
    id = f"{asked.space}_id"
    template = SQL["events_page"]
    if asked.streams:
        template = SQL["events_of_streams"]
        conditions.append(f"e.{id} = owner.{id}")
        conditions.append("e.created_at BETWEEN owner.first_event_at AND owner.last_event_at")
        conditions += _any("e.kind", "kinds", asked.kinds, values)
        values["streams"] = (
            list(asked.streams) if asked.space is Space.ORDER else [UUID(s) for s in asked.streams]
        )
    elif len(asked.kinds) == 1:
        conditions += _any("e.kind", "kinds", asked.kinds, values)
    elif asked.kinds:
        template = SQL["events_by_kind"]
        conditions.append("e.kind = asked.kind")
        values["kinds"] = sorted(set(asked.kinds))
    text = template.format(
        id=id,
        table=f"{asked.space}_events",
        owners=f"{asked.space}s",
        conditions=_all(conditions),
        direction=_direction(asked.ascending),
    )
    return text, values


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
