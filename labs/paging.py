"""Paging: what page one thousand costs, and which rows it shows while others are added.

How to think about it: OFFSET counts rows from the start to find where a page begins, so a page
costs more the later it is, and what is added in front pushes rows onto the next page. A cursor
says where the last page ended, and an index finds that place at once.

    make lab-paging
"""

import time
from datetime import UTC, datetime, timedelta

import uvloop
from psycopg_pool import AsyncConnectionPool

from labs.ground import database, show

ORDERS = 200_000
LIMIT = 100
PAGES = (1, 10, 100, 1000, 2000)
REPEATS = 5
WALK_PAGES = 20
ADDED = 50
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

FILL = """
INSERT INTO orders (order_id, user_id, status, created_at, updated_at, provenance, sequence,
                    first_event_at, last_event_at)
SELECT 'lab-' || n, gen_random_uuid(), 'created', at, at, '[]', 1, at, at
FROM generate_series(%(first)s::int, %(last)s::int) AS n,
     LATERAL (SELECT %(began)s::timestamptz + n * interval '1 second' AS at) AS t
"""

OFFSET = """
SELECT created_at, order_id, user_id, status FROM orders
ORDER BY created_at DESC, order_id DESC LIMIT %s OFFSET %s
"""

# The shape of the service's own `list_orders.sql`.
KEYSET = """
SELECT created_at, order_id, user_id, status FROM orders
WHERE (created_at, order_id) < (%s, %s)
ORDER BY created_at DESC, order_id DESC LIMIT %s
"""


Place = tuple[datetime, str]
"""The time and the id of a row: where a page ended."""


async def run() -> None:
    async with database() as pool:
        await _fill(pool, 1, ORDERS)
        async with pool.connection() as connection:
            await connection.execute("VACUUM ANALYZE orders")
        costs = [
            ("OFFSET", *[await _milliseconds(pool, page, None) for page in PAGES]),
            ("a cursor", *[await _milliseconds(pool, page, _end_of(page - 1)) for page in PAGES]),
        ]
        walks = [
            ("OFFSET", *await _walked(pool, with_cursor=False)),
            ("a cursor", *await _walked(pool, with_cursor=True)),
        ]
    show(
        f"{ORDERS:,} orders, {LIMIT} a page: milliseconds for page …",
        ("", *map(str, PAGES)),
        costs,
    )
    show(
        f"{WALK_PAGES} pages one after the other; {ADDED} orders are added before each",
        ("", "rows shown", "shown twice"),
        walks,
    )


async def _fill(pool: AsyncConnectionPool, first: int, last: int) -> None:
    async with pool.connection() as connection:
        await connection.execute(FILL, {"first": first, "last": last, "began": BEGAN})


def _end_of(page: int) -> Place:
    """Orders are one a second, so it is known where each page ends; a client has read it there."""
    return BEGAN + timedelta(seconds=ORDERS - page * LIMIT + 1), ""


async def _page(
    pool: AsyncConnectionPool, page: int, after: Place | None
) -> list[tuple[datetime, str, object, str]]:
    """After a place, or else by counting from the start."""
    async with pool.connection() as connection:
        if after is None:
            cursor = await connection.execute(OFFSET, (LIMIT, (page - 1) * LIMIT))
        else:
            cursor = await connection.execute(KEYSET, (*after, LIMIT))
        return await cursor.fetchall()


async def _milliseconds(pool: AsyncConnectionPool, page: int, after: Place | None) -> str:
    """The best of some, so that only the statement's own work counts."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        assert len(await _page(pool, page, after)) == LIMIT
        best = min(best, time.perf_counter() - began)
    return f"{best * 1000:.1f}"


async def _walked(pool: AsyncConnectionPool, *, with_cursor: bool) -> tuple[int, int]:
    """How many rows a reader is shown, and how many of them for the second time."""
    async with pool.connection() as connection:
        counted = await connection.execute("SELECT count(*) FROM orders")
        row = await counted.fetchone()
    there = int(row[0]) if row else 0
    shown: list[str] = []
    after = (datetime.max.replace(tzinfo=UTC), "") if with_cursor else None
    for page in range(1, WALK_PAGES + 1):
        await _fill(pool, there + 1, there + ADDED)
        there += ADDED
        rows = await _page(pool, page, after)
        shown += [order_id for _, order_id, *_ in rows]
        if with_cursor:
            after = rows[-1][:2]
    return len(shown), len(shown) - len(set(shown))


if __name__ == "__main__":
    uvloop.run(run())
