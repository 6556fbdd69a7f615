"""Is the database there? Asked by the readiness probe."""

from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.application.patience import patiently
from payment_manager.application.ports import Unavailable


class PostgresReadiness:
    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def checks(self) -> dict[str, str]:
        try:
            # A connection that broke while it was idle is not the answer: the pool replaces it, ask
            # again.
            return {"postgres": await patiently(self._ask)}
        except Unavailable:
            return {"postgres": "unavailable"}

    async def _ask(self) -> str:
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute("SELECT pg_is_in_recovery()")
                row = await cursor.fetchone()
        return "read only" if row is None or row[0] else "ok"
