"""The days of the event logs as an operator sees them.

How to think about it: the catalogue says what there is and `event_days` what was done, and neither
is believed alone: a day may have been detached by hand, or be in an archive and nowhere else.
"""

from collections.abc import Sequence
from datetime import date

from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.partitions.days import TABLES
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import DayOverview, DayState


class PostgresOverview:
    """`Overview`."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def days(self, today: date) -> Sequence[DayOverview]:
        found: list[DayOverview] = []
        with translated():
            async with self._pool.connection() as connection:
                for space, table in TABLES.items():
                    cursor = await connection.execute(
                        SQL["days_overview"], {"table": table, "today": today}
                    )
                    found += [
                        DayOverview(space, day, DayState(state), *rest)
                        for day, state, *rest in await cursor.fetchall()
                    ]
        return found
