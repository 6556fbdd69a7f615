"""Parking: a chargeback and its order's first webhook arrive at once, in two transactions.

How to think about it: each of the two looks whether the other is there. If both look before either
has committed, both see nothing: the chargeback is parked for an order that has just come, and
nobody comes by again. An order that isn't there has no row to lock, so the lock is on its id.

    make lab-parking
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import uvloop
from psycopg_pool import AsyncConnectionPool

from labs.ground import database, new_order, show
from payment_manager.adapters.clock import SystemClock, UUIDv7s
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.apply_webhooks import ApplyWebhooks, Webhook
from payment_manager.contracts.commands import chargeback_notice
from payment_manager.contracts.webhooks import read_chargeback_webhook

PAIRS = 300

Deliver = Callable[[AsyncConnectionPool, Webhook], Awaitable[None]]


async def run() -> None:
    async with database() as pool:
        await NativePartitions(pool).maintain(SystemClock().now())
        async with pool.connection() as connection:
            await connection.execute("CREATE TABLE known (order_id text PRIMARY KEY)")
            await connection.execute("CREATE TABLE waiting (order_id text PRIMARY KEY)")
        rows = [
            await _tried(pool, "look, then park", order_without_lock, chargeback_without_lock),
            await _tried(pool, "lock the id, then look", with_lock, with_lock),
        ]
    show(
        f"{PAIRS} chargebacks, each beside its order's first webhook",
        ("", "parked for ever", "applied", "seconds"),
        rows,
    )


async def order_without_lock(pool: AsyncConnectionPool, webhook: Webhook) -> None:
    id = webhook.notice.order_id
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("INSERT INTO known VALUES (%s)", (id,))
        await connection.execute("DELETE FROM waiting WHERE order_id = %s", (id,))


async def chargeback_without_lock(pool: AsyncConnectionPool, webhook: Webhook) -> None:
    id = webhook.notice.order_id
    async with pool.connection() as connection, connection.transaction():
        found = await connection.execute("SELECT FROM known WHERE order_id = %s", (id,))
        if await found.fetchone() is None:
            await connection.execute("INSERT INTO waiting VALUES (%s)", (id,))


async def with_lock(pool: AsyncConnectionPool, webhook: Webhook) -> None:
    """The service's own write path, in a transaction for each webhook."""
    apply = ApplyWebhooks(PostgresDatabase(pool), SystemClock(), UUIDv7s(), PrometheusTelemetry())
    await apply([webhook])


async def _tried(
    pool: AsyncConnectionPool, name: str, order: Deliver, chargeback: Deliver
) -> tuple[object, ...]:
    began = time.perf_counter()
    for _ in range(PAIRS):
        webhook = new_order()
        await asyncio.gather(
            order(pool, webhook), chargeback(pool, _chargeback_of(webhook.notice.order_id))
        )
    seconds = time.perf_counter() - began
    async with pool.connection() as connection:
        counted = await connection.execute(
            "SELECT (SELECT count(*) FROM waiting JOIN known USING (order_id))"
            " + (SELECT count(*) FROM parked_webhooks JOIN orders USING (order_id))"
        )
        row = await counted.fetchone()
        await connection.execute("TRUNCATE known, waiting")
    stuck = int(row[0]) if row else 0
    return name, stuck, PAIRS - stuck, f"{seconds:.1f}"


def _chargeback_of(order_id: str) -> Webhook:
    body = {
        "provider_event_id": f"cb-{uuid4().hex}",
        "order_id": order_id,
        "user_id": str(uuid4()),
        "status": "opened",
        "reason": "fraud",
        "amount": 100.50,
        "currency": "USD",
        "occurred_at": "2026-01-09T10:00:00Z",
    }
    received = read_chargeback_webhook(json.dumps(body).encode())
    return Webhook(chargeback_notice(received), received.content_hash, correlation_id="lab")


if __name__ == "__main__":
    uvloop.run(run())
