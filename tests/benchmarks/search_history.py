"""A long history with many disputes, written straight into the tables, for questions of search.

How to think about it: like `history.py`, but two orders in five are disputed, since what facets and
analytics cost is decided by how many disputes they count. Reasons, currencies, amounts and outcomes
are scattered independently, so that a filter on one leaves all values of the others. Events put in
like this have no batch: search learns of them by a rebuild.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.domain.dispute_id import dispute_id_of

CAMPAIGNS = 500
"""A word of an order's metadata, on one order in so many."""

_DAYS_AFTER = 2
"""The last dispute ends two days after its order began."""

_STATEMENTS = (
    Path(__file__).with_name("search_history.sql").read_text(encoding="utf-8").split(";\n")
)


@dataclass(frozen=True, slots=True)
class SearchHistory:
    orders: int
    days: int
    start: datetime

    @classmethod
    def of(cls, events: int, days: int) -> "SearchHistory":
        """Until now, with about this many events: three an order, two a dispute."""
        start = datetime.now(UTC) - timedelta(days=days + _DAYS_AFTER)
        return cls(events * 10 // 38, days, start)

    @property
    def disputed(self) -> list[int]:
        return [n for n in range(self.orders) if n % 5 in (1, 3)]

    @property
    def events(self) -> int:
        return 3 * self.orders + 2 * len(self.disputed)

    def order_id(self, n: int) -> str:
        return f"ord-{n * 2654435761 % 2**32:08x}"


async def write_search_history(database_url: str, history: SearchHistory) -> None:
    first = history.start.date() - timedelta(days=1)
    async with connection_pool(database_url, size_max=1) as pool:
        await NativePartitions(pool).make(first, datetime.now(UTC).date())
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "SET timezone = 'UTC'; SET work_mem = '256MB'; SET synchronous_commit = off"
        )
        connection.execute("CREATE TEMPORARY TABLE seeded_disputes (n integer, dispute_id uuid)")
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY seeded_disputes FROM STDIN") as copy,
        ):
            for n in history.disputed:
                copy.write_row((n, dispute_id_of(history.order_id(n))))
        given = {"orders": history.orders, "start": history.start, "days": history.days}
        for statement in _STATEMENTS:
            if statement.strip():
                connection.execute(statement.encode(), given)
        # As a service has it that ran for weeks: statistics, visibility, nothing left to write.
        connection.execute("VACUUM (ANALYZE, PARALLEL 0)")
        connection.execute("CHECKPOINT")
