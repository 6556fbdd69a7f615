"""A made-up history is as sound as a lived one; sizes are told, and all of it can be emptied."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres import migrate
from payment_manager.adapters.postgres.audit import PostgresAudit
from payment_manager.adapters.postgres.seed import SeedReport, seed
from payment_manager.adapters.postgres.sizes import clean, table_sizes
from payment_manager.application.apply_webhooks import ApplyWebhooks, Taken
from payment_manager.application.verify import verify
from payment_manager.domain.decider import Outcome
from tests.adapters.conftest import Query
from tests.clock import FakeClock
from tests.webhooks import as_webhook, order_webhook

ORDERS, DISPUTES = 400, 80
TABLES = {
    "dead_letter_actions", "event_days",
    "orders", "disputes", "evidence", "provider_intents", "order_events", "dispute_events",
    "webhook_ids", "parked_webhooks", "event_batches", "projections", "projection_rejects",
}  # fmt: skip


async def seeded(pool: AsyncConnectionPool, clock: FakeClock, **more: Any) -> SeedReport:
    sizes = {"orders": ORDERS, "disputes": DISPUTES, "days": 20, **more}
    return await seed(pool, now=clock.now(), **sizes)


async def fingerprint(query: Query) -> str:
    """Of every row of the history, but for what the server numbers."""
    digest = hashlib.sha256()
    for table in sorted(TABLES):
        row = "to_jsonb(t) - 'position' - 'transaction_id'"
        for (text,) in await query(f"SELECT ({row})::text FROM {table} AS t ORDER BY 1"):
            digest.update(text.encode())
    return digest.hexdigest()


async def test_a_seeded_history_is_proved_and_counted(
    pool: AsyncConnectionPool, clock: FakeClock
) -> None:
    report = await seeded(pool, clock)
    proof = await verify(PostgresAudit(pool))

    assert proof.findings == []
    assert (report.orders, report.disputes) == (ORDERS, DISPUTES)
    assert (proof.orders, proof.disputes) == (ORDERS, DISPUTES)
    assert (proof.events, proof.parked) == (report.events, report.parked)
    assert report.parked > 0
    assert report.webhooks > proof.webhook_ids  # some came twice
    outcomes = {outcome for _, outcome in proof.outcomes}
    assert outcomes == {Outcome.APPLIED, Outcome.STALE, Outcome.REJECTED}


async def test_a_seeded_history_has_something_of_everything(
    pool: AsyncConnectionPool, clock: FakeClock, query: Query
) -> None:
    await seeded(pool, clock)

    async def values(column: str, table: str) -> set[Any]:
        return {value for (value,) in await query(f"SELECT DISTINCT {column} FROM {table}")}

    assert await values("status", "orders") == {"created", "updated", "failed", "success"}
    assert await values("currency", "orders") == {"USD", "EUR", "GBP", "JPY", "KWD"}
    assert await values("status", "disputes") >= {"open", "submitted", "won", "lost"}
    assert len(await values("reason", "disputes")) > 4
    assert await values("kind", "order_events") == {
        "webhook_received", "webhook_rejected", "hold_set", "hold_cleared", "capture_requested",
        "capture_completed", "capture_failed",
    }  # fmt: skip
    assert await values("kind", "dispute_events") >= {
        "webhook_opened", "webhook_updated", "provider_decision", "evidence_added",
        "submission_requested", "evidence_submitted",
    }  # fmt: skip
    users = await query("SELECT count(*) FROM orders GROUP BY user_id")
    assert max(count for (count,) in users) > 5


async def test_a_seeded_history_lies_in_its_days_and_leaves_no_question_open(
    pool: AsyncConnectionPool, clock: FakeClock, query: Query
) -> None:
    await seeded(pool, clock)

    for log in ("order_events", "dispute_events"):
        [(first, last)] = await query(f"SELECT min(created_at), max(created_at) FROM {log}")
        assert clock.now() - timedelta(days=21) < first
        assert last <= clock.now()
        assert await query(f"SELECT count(*) FROM {log}_default") == [(0,)]
    assert await query("SELECT count(*) FROM provider_intents WHERE status = 'pending'") == [(0,)]


async def test_the_same_seed_gives_the_same_history(
    pool: AsyncConnectionPool, clock: FakeClock, query: Query
) -> None:
    made = []
    for rng_seed in (7, 7, 8):
        await seeded(pool, clock, orders=100, disputes=20, rng_seed=rng_seed)
        made.append(await fingerprint(query))
        await clean(pool)

    assert made[0] == made[1]
    assert made[0] != made[2]


async def test_seeding_again_adds_another_history(
    pool: AsyncConnectionPool, clock: FakeClock, apply: ApplyWebhooks
) -> None:
    await apply([as_webhook(order_webhook("seed9"))])
    steps: list[tuple[int, int]] = []

    first = await seeded(pool, clock, orders=30, disputes=3)
    second = await seeded(
        pool, clock, orders=1100, disputes=3, on_progress=lambda *step: steps.append(step)
    )

    assert (first.prefix, second.prefix) == ("seed1-", "seed2-")
    assert steps == [(1000, 1100), (1100, 1100)]
    proof = await verify(PostgresAudit(pool))
    assert proof.is_clean
    assert proof.orders == 1 + 30 + 1100


@pytest.mark.parametrize(
    "numbers", [{"orders": 3, "disputes": 4}, {"days": 0}, {"disputes": -1}], ids=str
)
async def test_numbers_that_make_no_sense_are_refused(
    pool: AsyncConnectionPool, clock: FakeClock, query: Query, numbers: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match="at most one dispute an order"):
        await seeded(pool, clock, **numbers)
    assert await query("SELECT FROM webhook_ids") == []


async def test_a_second_seeding_at_the_same_time_is_refused(
    pool: AsyncConnectionPool, clock: FakeClock
) -> None:
    async with pool.connection() as connection:
        await connection.execute("SELECT pg_advisory_lock(8230617002)")
        with pytest.raises(ValueError, match="another seeding"):
            await seeded(pool, clock, orders=5, disputes=0)
        await connection.execute("SELECT pg_advisory_unlock(8230617002)")
    assert (await seeded(pool, clock, orders=5, disputes=0)).orders == 5


# ── Sizes ─────────────────────────────────────────────────────────────────────────────────────────


async def test_sizes_sum_up_the_days_of_a_log(
    pool: AsyncConnectionPool, clock: FakeClock, query: Query
) -> None:
    await seeded(pool, clock)
    sizes = {size.table: size for size in await table_sizes(pool)}

    assert sizes.keys() == TABLES
    [(events,)] = await query("SELECT count(*) FROM order_events")
    log = sizes["order_events"]
    assert log.rows_estimated == events  # seeding ends with a fresh estimate
    assert log.partitions > 20
    assert sizes["orders"].partitions == 0
    for size in sizes.values():
        assert size.heap_bytes + size.index_bytes + size.toast_bytes <= size.total_bytes
    assert [size.total_bytes for size in sizes.values()] == sorted(
        (size.total_bytes for size in sizes.values()), reverse=True
    )


async def test_cleaning_empties_all_and_the_service_goes_on(
    pool: AsyncConnectionPool,
    clock: FakeClock,
    query: Query,
    apply: ApplyWebhooks,
    database_url: str,
) -> None:
    await seeded(pool, clock, orders=50, disputes=10)
    days = "SELECT count(*) FROM pg_inherits"
    before = await query(days)

    await clean(pool)

    for table in TABLES:
        assert await query(f"SELECT count(*) FROM {table}") == [(0,)]
    assert await query(days) == before
    assert migrate.current(database_url) == migrate.head()
    [result] = await apply([as_webhook(order_webhook())])
    assert isinstance(result, Taken)
    assert result.outcome is Outcome.APPLIED
