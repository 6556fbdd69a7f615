"""What search takes of the logs and the rows: the statements' parts, and their rows as values.

How to think about it: the tail and the reading of everything ask the same of a log, only of other
places in it. Statements about the logs are planned for their values, which stand in the text: so
days outside of a window are neither planned for nor locked.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import AsyncClientCursor

from payment_manager.adapters.postgres.rows import Row, as_json
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import DisputeState, OrderState, SetAside, Space

NAME, BUILD_NAME = "search", "search-build"
"""Of the projection that answers, and of the one that is being built."""

COLUMNS = {space: SQL[f"logged_{space}_event"] for space in Space}
OWNERS = {Space.ORDER: "", Space.DISPUTE: SQL["owner_of_dispute_event"]}

ORDERS_BY_ID = SQL["order_state"].format(sampled="", conditions="o.order_id = ANY(%(order_ids)s)")
DISPUTES_BY_ORDER = SQL["dispute_state"].format(
    sampled="", conditions="d.order_id = ANY(%(order_ids)s)"
)


async def planned(
    connection: psycopg.AsyncConnection, text: str, values: dict[str, Any]
) -> list[tuple[Any, ...]]:
    """The rows, with a plan for these values alone."""
    cursor = AsyncClientCursor(connection)
    await cursor.execute(text, values)
    return await cursor.fetchall()


async def order_states(
    connection: psycopg.AsyncConnection, order_ids: Sequence[str]
) -> list[OrderState]:
    values = {"order_ids": list(order_ids)}
    cursor = await connection.execute(ORDERS_BY_ID, values, prepare=True)
    return [OrderState._make(row) for row in await cursor.fetchall()]


async def dispute_states(
    connection: psycopg.AsyncConnection, order_ids: Sequence[str]
) -> list[DisputeState]:
    """Those of these orders."""
    values = {"order_ids": list(order_ids)}
    cursor = await connection.execute(DISPUTES_BY_ORDER, values, prepare=True)
    return [DisputeState._make(row) for row in await cursor.fetchall()]


async def set_aside(
    connection: psycopg.AsyncConnection, build: str, rejects: Sequence[SetAside]
) -> None:
    if rejects:
        rows: list[Row] = [
            {
                "document": each.document.value,
                "document_id": each.document_id,
                "error": each.error,
                "set_aside_at": each.at,
            }
            for each in rejects
        ]
        await connection.execute(SQL["set_aside"], {"build": build, "rows": as_json(rows)})
