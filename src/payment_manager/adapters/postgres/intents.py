"""The open questions to the provider, as a queue in the database.

How to think about it: claiming a question is moving its time ahead in the same statement that finds
it (`SKIP LOCKED`), so that two processes never ask the same one at the same time; a process that
dies simply never moves it back.
"""

from collections.abc import Sequence
from datetime import datetime

from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import Attempt, OpenIntents, Space


class PostgresIntents:
    """`Intents` on a pool of connections."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def claim_due(
        self, now: datetime, *, lease_until: datetime, limit: int
    ) -> Sequence[Attempt]:
        values = {"now": now, "lease_until": lease_until, "limit": limit}
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(SQL["claim_due_intents"], values)
                claimed = await cursor.fetchall()
        return [
            Attempt(Space(space), order_id, key, correlation_id, next_attempt_at, asked)
            for space, order_id, key, correlation_id, next_attempt_at, asked in claimed
        ]

    async def ask_again_at(self, attempt: Attempt, when: datetime) -> None:
        values = {
            "when": when,
            "order_id": attempt.order_id,
            "space": attempt.space.value,
            "key": attempt.key,
        }
        with translated():
            async with self._pool.connection() as connection:
                await connection.execute(SQL["ask_again_at"], values)

    async def open(self, overdue_before: datetime) -> OpenIntents:
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(
                    SQL["open_intents"], {"overdue_before": overdue_before}
                )
                row = await cursor.fetchone()
        assert row is not None  # an aggregate always has one row
        count, oldest_requested_at, overdue = row
        return OpenIntents(count, oldest_requested_at, overdue)
