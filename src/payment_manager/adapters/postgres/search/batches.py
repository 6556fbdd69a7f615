"""What transactions left word of, forgotten when nobody needs it any more.

How to think about it: a batch is needed until every projection sees its transaction, and a build
that begins now reads what is committed from the logs themselves. So whatever is before the first
transaction that some projection has not seen may go; where nothing is projected, everything.
"""

from datetime import datetime, timedelta

import structlog
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.pool import connection_beside
from payment_manager.adapters.postgres.statements import SQL

SLICE_ROWS = 10_000
"""What a transaction forgets: tens of milliseconds."""

STALLED_AFTER = timedelta(days=30)
"""A search server that is away for longer is gone for good, or is sooner built anew than caught up
with.
"""

log = structlog.get_logger()


class PostgresEventBatches:
    """`EventBatches` on a connection of its own, to the pool's database."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def forget(self, now: datetime) -> int:
        forgotten, rows, after = 0, SLICE_ROWS, "0"
        with translated():
            async with connection_beside(self._pool) as connection:
                values = {"since": now - STALLED_AFTER}
                cursor = await connection.execute(SQL["drop_stalled_projections"], values)
                for name, build in await cursor.fetchall():
                    log.warning(
                        "projection_dropped", projection=name, build=build,
                        reason="not moved for 30 days; it is built from nothing when it comes back",
                    )  # fmt: skip
                while rows == SLICE_ROWS:
                    cursor = await connection.execute(
                        SQL["forget_batches"], {"after": after, "limit": SLICE_ROWS}
                    )
                    [(rows, last)] = await cursor.fetchall()
                    forgotten += rows
                    # A transaction may be in two slices; those before it are not looked at again.
                    after = last or after
        return forgotten
