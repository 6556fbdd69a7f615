"""A long history, written straight into the tables: 60 days, three events an order.

How to think about it: an order's number says everything about it, so the server makes the rows, and
the questions can be made without asking for them. The rows are those that the service would have
written as far as reading goes (sequence, first and last event, days); they are not proof against
`verify`, and known webhook ids, which no question reads, are left out. One order in ten has a
dispute.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg

from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.domain.dispute_id import dispute_id_of

EVENTS_AN_ORDER = 3
DAYS = 60

# The last order's dispute ends two days after it.
_DAYS_BEFORE_NOW = DAYS + 2

_STATEMENTS = Path(__file__).with_name("history.sql").read_text(encoding="utf-8").split(";\n")


@dataclass(frozen=True, slots=True)
class History:
    orders: int
    start: datetime

    @classmethod
    def of(cls, events: int) -> "History":
        """Until now, with about this many order events."""
        return cls(events // EVENTS_AN_ORDER, datetime.now(UTC) - timedelta(days=_DAYS_BEFORE_NOW))

    def order_id(self, n: int) -> str:
        return f"ord-{n * 2654435761 % 2**32:08x}"

    def user_id(self, n: int) -> UUID:
        return UUID(f"00000000-0000-4000-8000-{n * 2654435761 % 50_000:012x}")

    @property
    def disputed(self) -> range:
        return range(3, self.orders, 10)


async def write_history(database_url: str, history: History) -> None:
    today = datetime.now(UTC).date()
    async with connection_pool(database_url, size_max=1) as pool:
        await NativePartitions(pool).make(today - timedelta(days=_DAYS_BEFORE_NOW + 1), today)
    with psycopg.connect(database_url, autocommit=True) as connection:
        # The day's figures say UTC; sorting a million keys in memory spares a second.
        connection.execute("SET timezone = 'UTC'; SET work_mem = '256MB'")
        connection.execute("CREATE TEMPORARY TABLE seeded_disputes (n integer, dispute_id uuid)")
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY seeded_disputes FROM STDIN") as copy,
        ):
            for n in history.disputed:
                copy.write_row((n, dispute_id_of(history.order_id(n))))
        for statement in _STATEMENTS:
            if statement.strip():
                connection.execute(
                    statement.encode(), {"orders": history.orders, "start": history.start}
                )
        # As a service has it that ran for weeks: statistics, visibility, nothing left to write.
        connection.execute("VACUUM (ANALYZE, PARALLEL 0)")
        connection.execute("CHECKPOINT")
