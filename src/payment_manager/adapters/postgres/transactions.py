"""The write side: a transaction that locks, loads and saves a batch.

How to think about it: statements are sent in a pipeline, so a transaction costs two round trips
however large its batch: one that locks and reads, one that writes and commits. Locks are taken by
order id, before reading: a dispute is derived from its order, so one lock covers both, and an order
that is not there yet can be locked too.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache

from psycopg import AsyncConnection
from psycopg.pq import PipelineStatus
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres import rows
from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import Changes, Loaded, Space, WebhookId


class PostgresDatabase:
    """`Database` on a pool of connections."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresTransaction"]:
        with translated():
            async with self._pool.connection() as connection:
                try:
                    async with connection.pipeline(), connection.transaction():
                        yield PostgresTransaction(connection)
                finally:
                    # Cancelled at some moments it stays in pipeline mode, and would answer the next
                    # one's question with nothing. The pool drops what is closed.
                    if connection.pgconn.pipeline_status != PipelineStatus.OFF:
                        await connection.close()


class PostgresTransaction:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def load(self, order_ids: Sequence[str], webhook_ids: Sequence[WebhookId] = ()) -> Loaded:
        ids = list(order_ids)
        await self._connection.execute(SQL["lock_orders"], {"order_ids": ids})
        # In READ COMMITTED a statement sees what was committed before it began: after the lock, all
        # of it.
        found = await self._connection.execute(
            SQL["load_batch"],
            {
                "order_ids": ids,
                "spaces": [id.space.value for id in webhook_ids],
                "stream_ids": [id.order_id for id in webhook_ids],
                "webhook_ids": [id.provider_event_id for id in webhook_ids],
            },
        )
        return rows.loaded(await found.fetchall())

    async def save(self, changes: Changes) -> None:
        # Never empty where something is remembered: a webhook leaves an event, or is parked.
        times = [event.created_at for event in changes.events[:1]]
        times += [parked.parked_at for parked in changes.parked[:1]]
        disputes = changes.disputes
        written: dict[str, Sequence[rows.Row] | Sequence[str]] = {
            "save_orders": [rows.order_row(order) for order in changes.orders.values()],
            "save_disputes": [rows.dispute_row(dispute) for dispute in disputes.values()],
            "save_evidence": [rows.evidence_row(disputes[id].state) for id in changes.evidence],
            "save_intents": list(_intent_rows(changes)),
            "append_order_events": _event_rows(changes, Space.ORDER),
            "append_dispute_events": _event_rows(changes, Space.DISPUTE),
            "append_batches": list(rows.batch_rows(changes.events)),
            "save_webhook_ids": [
                rows.webhook_id_row(id, known, times[0]) for id, known in changes.known.items()
            ],
            "park": [rows.parked_row(parked) for parked in changes.parked],
            "unpark": changes.unparked,
        }
        parts = tuple(name for name, part in written.items() if part)
        if parts:
            values = {name: rows.as_json(written[name]) for name in parts}
            await self._connection.execute(_together(parts), values)


@cache
def _together(parts: tuple[str, ...]) -> str:
    """These statements as one. The driver spends more on sending a statement and waiting for it
    than on what it holds; a foreign key is checked at its end, when all of it is written.
    """
    named = (f"{part} AS ({SQL[part].replace('%(rows)s', f'%({part})s')})" for part in parts)
    return f"WITH {', '.join(named)} SELECT"


def _event_rows(changes: Changes, space: Space) -> list[rows.Row]:
    return [rows.event_row(event) for event in changes.events if event.space is space]


def _intent_rows(changes: Changes) -> Iterable[rows.Row]:
    asked = {(new.space, new.order_id, new.key): new for new in changes.requested}
    for space, order_id, key in {**asked, **dict.fromkeys(changes.settled)}:
        streams = changes.orders if space is Space.ORDER else changes.disputes
        yield rows.intent_row(streams[order_id].state, key, asked.get((space, order_id, key)))
