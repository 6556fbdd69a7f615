"""What the layout of a sealed day promises, in pages looked at.

How to think about it: five days of the reference month, smaller, sealed by the service's own code,
and the question that `make lab-partitioning` asks. Pages are counted and not milliseconds, so a
busy machine changes nothing; the budgets are per row, so they hold for any size.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from labs.month import ASKED_DAYS, PAGE, QUESTION, ask
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.partitions.sealing import PostgresSealing
from payment_manager.application.ports import LogDay, Space

EVENTS = 100_000
OF_THE_KIND = EVENTS // 5

# On the month: 770 pages for 30,716 rows. A page holds forty of them.
PAGES_PER_ROW_MAX = 0.027
PAGES_OF_DISPUTES_MAX = 8
PAGE_OF_A_HUNDRED_MAX = 120

DAYS = f"""
INSERT INTO orders (order_id, user_id, status, created_at, updated_at, provenance, sequence,
                    first_event_at, last_event_at)
SELECT 'ord-' || n, md5('u' || n)::uuid, 'created', at, at, '[]', 1, at, at
FROM generate_series(0, 2799) AS n, (SELECT timestamptz '2026-01-02' AS at) AS t;

INSERT INTO disputes (dispute_id, order_id, decision, progress, reason, amount_minor, currency,
                      closed_at, provenance, sequence, first_event_at, last_event_at)
SELECT md5('d' || n)::uuid, 'ord-' || n, CASE n % 7 WHEN 0 THEN 'won' END, 'open',
    (ARRAY['fraud', 'duplicate', 'product_not_received', 'credit_not_processed'])[1 + n % 4],
    100, 'USD', CASE n % 7 WHEN 0 THEN at END, '[]', 1, at, at
FROM generate_series(0, 2799) AS n, (SELECT timestamptz '2026-01-02' AS at) AS t;

INSERT INTO dispute_events (event_id, dispute_id, sequence, kind, provider_event_id, data,
                            created_at, correlation_id)
SELECT md5('e' || n)::uuid, md5('d' || n % 2800)::uuid, 1 + n / 2800,
    (ARRAY['evidence_added', 'webhook_opened', 'webhook_updated', 'submission_requested',
           'evidence_submitted'])[1 + n % 5],
    'cb-' || n, '{{"actor":"operator","reason":null}}', timestamptz '2026-01-10'
    + interval '5 days' * (n::float8 / {EVENTS}), md5('c' || n)
FROM generate_series(0, {EVENTS - 1}) AS n
"""


@pytest.fixture
async def report(
    pool: AsyncConnectionPool, database_url: str
) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection with PostgreSQL's own settings; five days of events are there, none sealed."""
    await NativePartitions(pool).make(ASKED_DAYS[0], ASKED_DAYS[-1])
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        for statement in DAYS.split(";"):
            await connection.execute(statement.encode())
        await connection.execute("VACUUM ANALYZE disputes")
        await connection.execute("VACUUM ANALYZE dispute_events")
        yield connection


async def _seal(pool: AsyncConnectionPool) -> None:
    for day in ASKED_DAYS:
        sealed = await PostgresSealing(pool).seal(LogDay(Space.DISPUTE, day), datetime.now(UTC))
        assert sealed is not None


async def test_a_question_reads_little_more_of_sealed_days_than_its_rows_fill(
    report: psycopg.AsyncConnection[Any], pool: AsyncConnectionPool
) -> None:
    before = await ask(report, QUESTION, "dispute_events")
    await _seal(pool)
    after = await ask(report, QUESTION, "dispute_events")

    assert after.rows == before.rows > 0
    assert before.partitions == after.partitions == len(ASKED_DAYS)
    assert after.buffers <= OF_THE_KIND * PAGES_PER_ROW_MAX + PAGES_OF_DISPUTES_MAX
    assert after.buffers * 4 < before.buffers
    assert sum(index.endswith("_ranges") for index in after.indexes) == len(ASKED_DAYS)


async def test_a_page_by_kind_is_read_from_one_place_of_a_day_sealed_or_not(
    report: psycopg.AsyncConnection[Any], pool: AsyncConnectionPool
) -> None:
    fresh = await ask(report, PAGE, "dispute_events")
    await _seal(pool)
    sealed = await ask(report, PAGE, "dispute_events")

    assert fresh.rows == sealed.rows == 100
    assert fresh.buffers <= PAGE_OF_A_HUNDRED_MAX
    assert sealed.buffers <= fresh.buffers
    assert sealed.partitions == 1
