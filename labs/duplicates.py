"""Duplicates: a provider sends one webhook many times, and its effect must happen once.

How to think about it: there are two moments, noting that the webhook was seen and doing what it
says, and the trouble is what may come between them: another copy, or the end of the process. The
way out is to have no "between": one transaction, and a lock that copies wait for.

    make lab-duplicates
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import uvloop
from psycopg_pool import AsyncConnectionPool

from labs.ground import database, new_order, show
from payment_manager.adapters.clock import SystemClock, UUIDv7s
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.apply_webhooks import ApplyWebhooks, Webhook
from payment_manager.application.ports import Database, Transaction

WEBHOOKS = 20
COPIES = 50

Crash = Callable[[], None]
"""Called between noting and doing; raises where the process is to end there."""

Deliver = Callable[[AsyncConnectionPool, Webhook, Crash], Awaitable[None]]


class Crashed(Exception):
    """The process ended here: what was not committed is gone, and nobody got an answer."""


async def run() -> None:
    ways: Sequence[tuple[str, Deliver]] = (
        ("look, then act", look_then_act),
        ("claim the id first, then act", claim_then_act),
        ("one transaction, with a lock", in_one_transaction),
    )
    async with database() as pool:
        await NativePartitions(pool).maintain(SystemClock().now())
        async with pool.connection() as connection:
            await connection.execute("CREATE TABLE seen (id text PRIMARY KEY)")
            await connection.execute("CREATE TABLE effects (id text NOT NULL)")
        rows = [await _tried(pool, *way) for way in ways]
    show(
        f"{WEBHOOKS} webhooks, {COPIES} copies of each at once; without and with a crash",
        ("", "effects", "doubled", "lost", "crash: effects", "doubled", "lost"),
        rows,
    )


async def look_then_act(pool: AsyncConnectionPool, webhook: Webhook, crash: Crash) -> None:
    """Every copy that looks before the first one has noted finds nothing, and acts."""
    id = webhook.notice.provider_event_id
    async with pool.connection() as connection:
        found = await connection.execute("SELECT FROM seen WHERE id = %s", (id,))
        if await found.fetchone() is None:
            await connection.execute("INSERT INTO effects VALUES (%s)", (id,))
            crash()
            await connection.execute("INSERT INTO seen VALUES (%s) ON CONFLICT DO NOTHING", (id,))


async def claim_then_act(pool: AsyncConnectionPool, webhook: Webhook, crash: Crash) -> None:
    """Only one copy gets the claim; if it ends before it acts, nobody ever acts."""
    id = webhook.notice.provider_event_id
    async with pool.connection() as connection:
        claimed = await connection.execute(
            "INSERT INTO seen VALUES (%s) ON CONFLICT DO NOTHING RETURNING id", (id,)
        )
        if await claimed.fetchone() is not None:
            crash()
            await connection.execute("INSERT INTO effects VALUES (%s)", (id,))


async def in_one_transaction(pool: AsyncConnectionPool, webhook: Webhook, crash: Crash) -> None:
    """The service's own write path: lock the order, look, act, note, commit."""

    class CrashingDatabase:
        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[Transaction]:
            async with PostgresDatabase(pool).transaction() as transaction:
                yield transaction
                crash()  # everything is written, and nothing committed

    database: Database = CrashingDatabase()
    apply = ApplyWebhooks(database, SystemClock(), UUIDv7s(), PrometheusTelemetry())
    await apply([webhook])


async def _tried(pool: AsyncConnectionPool, name: str, deliver: Deliver) -> tuple[object, ...]:
    figures: list[object] = []
    for crashes in (False, True):
        effects = [await _effects(pool, deliver, crashes) for _ in range(WEBHOOKS)]
        figures += [sum(effects), sum(e > 1 for e in effects), effects.count(0)]
    return name, *figures


async def _effects(pool: AsyncConnectionPool, deliver: Deliver, crashes: bool) -> int:
    """How often the effect is in the database after all copies and the sender's retry."""
    webhook = new_order()
    left = 1 if crashes else 0

    def crash() -> None:
        nonlocal left
        if left:
            left -= 1
            raise Crashed

    copies = (deliver(pool, webhook, crash) for _ in range(COPIES))
    results = await asyncio.gather(*copies, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Crashed):
            raise result
    await deliver(pool, webhook, crash)  # who got no answer sends it again
    async with pool.connection() as connection:
        counted = await connection.execute(
            "SELECT (SELECT count(*) FROM effects WHERE id = %(id)s)"
            " + (SELECT count(*) FROM order_events WHERE provider_event_id = %(id)s)",
            {"id": webhook.notice.provider_event_id},
        )
        row = await counted.fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    uvloop.run(run())
