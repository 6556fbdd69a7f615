"""What a transaction leaves behind in the pool."""

import asyncio
import random

from psycopg.pq import PipelineStatus
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.transactions import PostgresDatabase


async def test_cancelled_at_any_moment_it_leaves_no_connection_in_pipeline_mode(
    pool: AsyncConnectionPool,
) -> None:
    database = PostgresDatabase(pool)
    chance = random.Random(7)

    async def transact() -> None:
        async with database.transaction() as transaction:
            await transaction.load(["ord-1"])

    for _ in range(200):
        task = asyncio.create_task(transact())
        await asyncio.sleep(chance.random() * 0.003)
        task.cancel()
        await asyncio.wait([task])
        async with pool.connection() as connection:
            assert connection.pgconn.pipeline_status == PipelineStatus.OFF
            cursor = await connection.execute("SELECT 1")
            assert await cursor.fetchall() == [(1,)]
