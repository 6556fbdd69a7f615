"""At most one process at a time, by the database's word.

How to think about it: a lock of a session that belongs to nobody else ends with the process,
however that ends. A connection that breaks ends it too, and another one may lead before the first
has noticed; so what must not be done twice is guarded by its own transaction as well.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.pool import connection_beside

MAINTENANCE = 8230617001
PROJECTION = 8230617011
BUILD = 8230617012


@asynccontextmanager
async def leading(pool: AsyncConnectionPool, lock: int) -> AsyncIterator[bool]:
    """Whether this process leads now; false where another one does. Raises `Unavailable`."""
    with translated():
        async with connection_beside(pool) as connection:
            cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", [lock])
            row = await cursor.fetchone()
            yield bool(row and row[0])
