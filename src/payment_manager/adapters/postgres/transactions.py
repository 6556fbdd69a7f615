"""The write side: a transaction that locks, loads and saves a batch.

How to think about it: statements are sent in a pipeline, so a transaction costs two round trips
however large its batch: one that locks and reads, one that writes and commits. Locks are taken by
order id, before reading: a dispute is derived from its order, so one lock covers both, and an order
that is not there yet can be locked too.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres import rows
from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import Changes, Known, Loaded, Space, WebhookId


class PostgresDatabase:
    """`Database` on a pool of connections."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresTransaction"]:
        with translated():
            async with (
                self._pool.connection() as connection,
                connection.pipeline(),
                connection.transaction(),
            ):
                yield PostgresTransaction(connection)


class PostgresTransaction:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def load(self, order_ids: Sequence[str], webhook_ids: Sequence[WebhookId] = ()) -> Loaded:
        execute = self._connection.execute
        ids = {"order_ids": list(order_ids)}
        await execute(SQL["lock_orders"], ids)
        # In READ COMMITTED each statement sees what was committed before it began: after the lock,
        # all of it.
        orders = await execute(SQL["load_orders"], ids)
        disputes = await execute(SQL["load_disputes"], ids)
        parked = await execute(SQL["load_parked"], ids)
        known = await execute(
            SQL["load_webhook_ids"],
            {
                "spaces": [id.space.value for id in webhook_ids],
                "stream_ids": [id.order_id for id in webhook_ids],
                "webhook_ids": [id.provider_event_id for id in webhook_ids],
            },
        )
        loaded = Loaded()
        for row in await orders.fetchall():
            loaded.orders[row[0]] = rows.order_stream(row)
        for row in await disputes.fetchall():
            loaded.disputes[row[0]] = rows.dispute_stream(row)
        for row in await parked.fetchall():
            loaded.parked.setdefault(row[0], []).append(rows.parked(row))
        for (
            space,
            order_id,
            provider_event_id,
            content_hash,
            rejected_over,
        ) in await known.fetchall():
            id = WebhookId(Space(space), order_id, provider_event_id)
            loaded.known[id] = Known(content_hash, rejected_over)
        return loaded

    async def save(self, changes: Changes) -> None:
        await self._write("save_orders", map(rows.order_row, changes.orders.values()))
        await self._write("save_disputes", map(rows.dispute_row, changes.disputes.values()))
        await self._write(
            "save_evidence",
            (rows.evidence_row(changes.disputes[id].state) for id in changes.evidence),
        )
        await self._write("save_intents", _intent_rows(changes))
        for space in Space:
            events = [rows.event_row(event) for event in changes.events if event.space is space]
            await self._write(f"append_{space}_events", events)
        if changes.known:
            # Never empty where something is remembered: a webhook leaves an event, or is parked.
            taken_at = (
                changes.events[0].created_at if changes.events else changes.parked[0].parked_at
            )
            await self._write(
                "save_webhook_ids",
                (rows.webhook_id_row(id, known, taken_at) for id, known in changes.known.items()),
            )
        await self._write("park", map(rows.parked_row, changes.parked))
        if changes.unparked:
            await self._connection.execute(SQL["unpark"], {"order_ids": changes.unparked})

    async def _write(self, statement: str, written: Iterable[rows.Row]) -> None:
        batch = list(written)
        if batch:
            await self._connection.execute(SQL[statement], {"rows": rows.as_json(batch)})


def _intent_rows(changes: Changes) -> Iterable[rows.Row]:
    asked = {(new.space, new.order_id, new.key): new for new in changes.requested}
    for space, order_id, key in {**asked, **dict.fromkeys(changes.settled)}:
        streams = changes.orders if space is Space.ORDER else changes.disputes
        yield rows.intent_row(streams[order_id].state, key, asked.get((space, order_id, key)))
