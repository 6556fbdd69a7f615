"""Ids of webhooks are forgotten when they are old, and what comes after that does no harm.

How to think about it: within the horizon a redelivery has no effect at all. Behind it, it is
decided anew, like any late webhook: it may leave an event more, and never another row.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.audit import PostgresAudit
from payment_manager.adapters.postgres.known_ids import PostgresKnownIds
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.application.apply_webhooks import ApplyWebhooks, Taken
from payment_manager.application.verify import IDS_KEPT_MIN, FindingKind, rebuild, verify
from payment_manager.domain import order as orders
from payment_manager.domain.gateway import Done
from tests.adapters.conftest import Query, write_path
from tests.adapters.world import USD_5, World, found
from tests.clock import TODAY_AT_NOON, FakeClock
from tests.webhooks import as_webhook, chargeback_webhook, order_webhook

RETENTION = timedelta(days=90)
BEGINNING = TODAY_AT_NOON - timedelta(days=100)
HORIZON = TODAY_AT_NOON - RETENTION


@pytest.fixture
def known_ids(pool: AsyncConnectionPool) -> PostgresKnownIds:
    return PostgresKnownIds(pool)


async def fill(query: Query, count: int, since: datetime, every: timedelta) -> None:
    await query(
        "INSERT INTO webhook_ids SELECT 'ord-' || n, 'evt-' || n, 'order', sha256('')::bytea,"
        " NULL, %s + n * %s FROM generate_series(0, %s - 1) AS n".replace(
            "sha256('')::bytea", "substr(sha256(''), 1, 16)"
        ),
        since,
        every,
        count,
    )


def outcomes(taken: Sequence[Taken | Exception]) -> list[str]:
    return [each.outcome if isinstance(each, Taken) else str(each) for each in taken]


async def test_exactly_the_ids_from_before_are_forgotten(
    known_ids: PostgresKnownIds, query: Query
) -> None:
    await fill(query, 60_000, BEGINNING, timedelta(seconds=60))
    before = BEGINNING + timedelta(seconds=60 * 45_000)

    assert await known_ids.forget(before) == 45_000

    assert await query("SELECT count(*), min(taken_at) FROM webhook_ids") == [(15_000, before)]
    assert await known_ids.forget(before) == 0


async def test_nothing_is_read_in_vain_in_the_years_after(
    known_ids: PostgresKnownIds, query: Query
) -> None:
    """Pages are used again for new ids. Their summaries follow, or each round would read the whole
    table.
    """
    await fill(query, 30_000, BEGINNING, timedelta(seconds=60))
    await known_ids.forget(TODAY_AT_NOON)
    await query("VACUUM webhook_ids")
    await fill(query, 30_000, TODAY_AT_NOON, timedelta(seconds=1))

    [(plan,)] = await query(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT min(taken_at) FROM webhook_ids"
        " WHERE taken_at < %s",
        TODAY_AT_NOON,
    )
    assert "webhook_ids_taken" in str(plan)
    [(pages,)] = await query("SELECT pg_relation_size('webhook_ids') / 8192")
    assert plan[0]["Plan"]["Shared Hit Blocks"] < pages / 2


async def test_what_is_parked_stays_known_however_old(
    known_ids: PostgresKnownIds, pool: AsyncConnectionPool, query: Query
) -> None:
    clock = FakeClock(BEGINNING)
    await NativePartitions(pool).make(BEGINNING.date(), BEGINNING.date())
    apply = write_path(pool, clock)
    notice = as_webhook(chargeback_webhook("waits"))
    await apply([notice, as_webhook(order_webhook("other"))])

    assert await known_ids.forget(HORIZON) == 1  # the other

    clock.set(TODAY_AT_NOON)
    assert outcomes(await apply([notice])) == ["duplicate"]
    await apply([as_webhook(order_webhook("waits"))])
    assert await query("SELECT count(*) FROM dispute_events") == [(1,)]
    assert await known_ids.forget(HORIZON) == 1  # applied by now, and old


async def test_an_id_that_somebody_holds_is_left_for_the_next_round(
    known_ids: PostgresKnownIds, query: Query, database_url: str
) -> None:
    await fill(query, 10, BEGINNING, timedelta(seconds=1))
    async with await psycopg.AsyncConnection.connect(database_url) as writer:
        await writer.execute(
            "UPDATE webhook_ids SET rejected_over = 'success' WHERE order_id = 'ord-3'"
        )
        assert await known_ids.forget(HORIZON) == 9
    assert await known_ids.forget(HORIZON) == 1


# ── Behind the horizon ────────────────────────────────────────────────────────────────────────────

ROWS = ("orders", "disputes", "evidence", "provider_intents", "parked_webhooks")
BOOKKEEPING = "- 'sequence' - 'last_event_at' - 'next_attempt_at'"


async def rows(query: Query) -> list[list[tuple[Any, ...]]]:
    return [
        sorted(await query(f"SELECT (to_jsonb(t) {BOOKKEEPING})::text FROM {table} AS t"))
        for table in ROWS
    ]


async def test_a_redelivery_after_the_horizon_is_recorded_and_changes_no_row(
    known_ids: PostgresKnownIds, pool: AsyncConnectionPool, query: Query
) -> None:
    """Of every kind: applied, stale, rejected, once parked, of an order that was captured since."""
    clock = FakeClock(BEGINNING)
    await NativePartitions(pool).make(BEGINNING.date(), BEGINNING.date())
    world = World(pool, clock)
    bodies = [
        chargeback_webhook("once-parked", evidence_due_at="2026-02-01T00:00:00Z"),
        order_webhook("once-parked", "updated", 5),
        order_webhook("once-parked", "created", 1),
        order_webhook("taken"),
        order_webhook("decided", "success", 9),
        order_webhook("decided", "failed", 10),
        chargeback_webhook("decided", "closed", 3),
        chargeback_webhook("decided", "opened", 1),
        chargeback_webhook("decided", "closed", 5, "won"),
        chargeback_webhook("decided", "closed", 6, "lost"),
    ]
    for body in bodies:
        await world.webhooks(body)
    await world.order(
        "taken",
        lambda at: orders.RequestCapture("k", USD_5, "ann", at),
        lambda at: orders.RecordCaptureAnswer("k", Done("txn-1"), at),
    )
    before = await rows(query)
    assert await known_ids.forget(HORIZON) == len(bodies)
    since = HORIZON + timedelta(minutes=1)
    assert found(await verify(PostgresAudit(pool), ids_known_since=since)) == {}
    report = await rebuild(PostgresAudit(pool), ids_known_since=since)
    assert (report.is_clean, report.webhook_ids) == (True, 0), "what is forgotten stays so"

    clock.set(TODAY_AT_NOON)
    apply = write_path(pool, clock)
    again = [outcome for body in bodies for outcome in outcomes(await apply([as_webhook(body)]))]

    assert again == [
        "stale", "stale", "stale", "stale", "stale", "rejected", "stale", "stale", "stale",
        "rejected",
    ]  # fmt: skip
    assert await rows(query) == before
    report = await verify(PostgresAudit(pool), ids_known_since=since)
    assert found(report) == {}
    assert report.webhook_ids == len(bodies)
    assert report.events == 2 * len(bodies) + 2


async def test_a_webhook_that_was_taken_twice_within_the_horizon_is_damage(
    apply: ApplyWebhooks, pool: AsyncConnectionPool, query: Query, clock: FakeClock
) -> None:
    webhook = as_webhook(order_webhook("ord-1"))
    await apply([webhook])
    await query("TRUNCATE webhook_ids")
    clock.advance(days=1)
    await write_path(pool, clock)([webhook])

    report = await verify(PostgresAudit(pool))
    assert FindingKind.WEBHOOK_TAKEN_TWICE in report.found
    assert timedelta(days=30) < IDS_KEPT_MIN, "as long as Kafka keeps what may be read again"


async def test_an_id_that_must_still_be_known_is_missed(
    apply: ApplyWebhooks, pool: AsyncConnectionPool, query: Query, clock: FakeClock
) -> None:
    await apply([as_webhook(order_webhook("ord-1"))])
    await query("TRUNCATE webhook_ids")

    since = clock.now() - timedelta(minutes=1)
    assert (
        FindingKind.WEBHOOK_ID_MISSING
        in (await verify(PostgresAudit(pool), ids_known_since=since)).found
    )
