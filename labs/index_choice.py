"""Index choice: which index finds a kind's rows in a few days, and what each row pays for it.

How to think about it: two questions, and they want different things. A join over five days reads
thousands of rows of a kind, and would rather be told which pages hold them than be led to each; a
page of a hundred wants the next row in order, at once. And an index is paid for with each row that
is written.

    make lab-index-choice
"""

from dataclasses import dataclass
from typing import Any

import psycopg
import uvloop

from labs.ground import database, show
from labs.month import PAGE, QUESTION, ask, make_month

SCALE = 0.2

IN_ORDER_OF_TIME, SORTED = "created_at", "kind, created_at, event_id"

B_TREE = "CREATE INDEX ON tried (kind, created_at, event_id)"
TIME = "CREATE INDEX ON tried (created_at, event_id)"
RANGES = "CREATE INDEX ON tried USING brin (kind, created_at) WITH (pages_per_range = {})"


@dataclass(frozen=True, slots=True)
class Choice:
    name: str
    order: str
    indexes: tuple[str, ...]


CHOICES = (
    Choice("as recorded: time alone", IN_ORDER_OF_TIME, (TIME,)),
    Choice("as recorded: kind, time, id", IN_ORDER_OF_TIME, (TIME, B_TREE)),
    Choice("as recorded: ranges beside it", IN_ORDER_OF_TIME, (TIME, B_TREE, RANGES.format(8))),
    Choice("sorted: kind, time, id", SORTED, (TIME, B_TREE)),
    Choice("sorted: kind, time", SORTED, (TIME, "CREATE INDEX ON tried (kind, created_at)")),
    Choice("sorted: it brings the dispute", SORTED, (TIME, f"{B_TREE} INCLUDE (dispute_id)")),
    Choice("sorted: ranges of 128 pages alone", SORTED, (TIME, RANGES.format(128))),
    Choice("sorted: ranges of 8 pages alone", SORTED, (TIME, RANGES.format(8))),
    Choice("sorted: ranges of 8 beside it (ours)", SORTED, (TIME, B_TREE, RANGES.format(8))),
)

FILL = """
CREATE TABLE tried AS
SELECT event_id, dispute_id, sequence, kind, provider_event_id, data, created_at, correlation_id,
       pg_current_xact_id() AS transaction_id, row_number() OVER () AS position
FROM (SELECT * FROM month_events WHERE created_at >= '2026-01-08' AND created_at < '2026-01-17'
      ORDER BY ORDER_OF_ROWS) AS e
"""

WRITE = """
INSERT INTO tried
SELECT event_id, dispute_id, sequence, kind, provider_event_id, data, created_at, correlation_id,
       pg_current_xact_id(), 0
FROM month_events WHERE created_at >= '2026-01-17' AND created_at < '2026-01-19'
"""

WEIGHT = """
SELECT pg_indexes_size('tried') / (SELECT count(*) FROM tried), pg_current_wal_insert_lsn() - '0/0'
"""


async def run() -> None:
    async with database() as pool, pool.connection() as connection:
        await connection.execute("RESET ALL")  # as a report asks: with PostgreSQL's own settings
        await make_month(connection, SCALE)
        rows = [await _tried(connection, choice) for choice in CHOICES]
    show(
        "buffers of five days' question and of a page of a hundred; bytes a row, kept and written",
        ("", "question", "page", "indexes", "WAL"),
        rows,
    )


async def _tried(connection: psycopg.AsyncConnection[Any], choice: Choice) -> tuple[str, ...]:
    await connection.execute("DROP TABLE IF EXISTS tried")
    await connection.execute(FILL.replace("ORDER_OF_ROWS", choice.order).encode())
    for index in choice.indexes:
        await connection.execute(index.encode())
    await connection.execute("VACUUM (FREEZE, ANALYZE) tried")
    question = await ask(connection, QUESTION, "tried")
    page = await ask(connection, PAGE, "tried")
    kept, before = await _weight(connection)
    written = await connection.execute(WRITE)
    _, after = await _weight(connection)
    wal = (after - before) / written.rowcount
    return choice.name, f"{question.buffers:,}", f"{page.buffers:,}", f"{kept:.0f}", f"{wal:.0f}"


async def _weight(connection: psycopg.AsyncConnection[Any]) -> tuple[float, float]:
    cursor = await connection.execute(WEIGHT)
    [(kept, wal)] = await cursor.fetchall()
    return float(kept), float(wal)


if __name__ == "__main__":
    uvloop.run(run())
