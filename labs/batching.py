"""Batches: what a transaction costs a webhook alone, and what it costs when many share it.

How to think about it: a commit waits for the disk, and a transaction for two round trips, whether
it carries one webhook or a hundred. 64 senders each wait for their answer before they send the
next, as a provider's workers do; only the number that may share a transaction changes.

    make lab-batching
"""

import asyncio
import time
from collections.abc import Sequence

import uvloop
from psycopg_pool import AsyncConnectionPool

from labs.ground import CONNECTIONS, database, new_order, show
from payment_manager.adapters.clock import SystemClock, UUIDv7s
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.apply_webhooks import ApplyWebhooks, Taken, Webhook
from payment_manager.application.batching import Batcher

SENDERS = 64
SECONDS = 4.0
WARM_SECONDS = 1.0
"""Before counting: prepared statements, warm caches, a grown heap."""


async def run() -> None:
    ways = (
        ("a transaction each, one at a time", 1, 1),
        (f"a transaction each, {CONNECTIONS} at a time", 1, CONNECTIONS),
        ("one for all in flight", 500, 1),
    )
    async with database() as pool:
        await NativePartitions(pool).maintain(SystemClock().now())
        rows = [await _measured(pool, *way) for way in ways]
    show(
        f"{SENDERS} senders, PostgreSQL with fsync on, {SECONDS:g} s each",
        ("", "webhooks/s", "p50 ms", "p99 ms", "commits/s", "a commit"),
        rows,
    )


async def _measured(
    pool: AsyncConnectionPool, name: str, batch_max: int, calls_max: int
) -> Sequence[object]:
    apply = ApplyWebhooks(PostgresDatabase(pool), SystemClock(), UUIDv7s(), PrometheusTelemetry())
    transactions = 0

    async def counted(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        nonlocal transactions
        transactions += 1
        return await apply(batch)

    batcher: Batcher[Webhook, Taken] = Batcher(
        counted, batch_max=batch_max, queue_max=SENDERS, calls_max=calls_max
    )
    seconds: list[float] = []

    async def send_until(end: float) -> None:
        """At least one, however late it is."""
        while True:
            began = time.perf_counter()
            await batcher.submit(new_order())
            seconds.append(time.perf_counter() - began)
            if time.perf_counter() >= end:
                return

    for duration in (WARM_SECONDS, SECONDS):
        seconds.clear()
        transactions = 0
        end = time.perf_counter() + duration
        await asyncio.gather(*(send_until(end) for _ in range(SENDERS)))
    seconds.sort()
    return (
        name,
        f"{len(seconds) / SECONDS:,.0f}",
        f"{seconds[len(seconds) // 2] * 1000:.1f}",
        f"{seconds[len(seconds) * 99 // 100] * 1000:.1f}",
        f"{transactions / SECONDS:,.0f}",
        f"{len(seconds) / transactions:.1f}",
    )


if __name__ == "__main__":
    uvloop.run(run())
