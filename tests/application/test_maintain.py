"""A round of maintenance: what it does, when, and that no step's trouble is another's.

How to think about it: the database is real, and so is what maintains it. Only trouble is made up: a
port that is out of order says so as its adapter would.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.known_ids import PostgresKnownIds
from payment_manager.adapters.postgres.partitions.days import PostgresLeadership, leading
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.partitions.retirement import PostgresRetirement
from payment_manager.adapters.postgres.partitions.sealing import PostgresSealing
from payment_manager.adapters.postgres.search.batches import PostgresEventBatches
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.maintain import Maintain
from payment_manager.application.ports import (
    LogDay,
    LogExtent,
    PartitionHealth,
    Sealed,
    Space,
    Unavailable,
)
from payment_manager.application.retire import Retire
from tests.clock import TODAY_AT_NOON

MIDNIGHT = TODAY_AT_NOON.replace(hour=0)


class OutOfOrder:
    """Every port of maintenance, while the database is away."""

    async def maintain(self, now: datetime) -> PartitionHealth:
        raise Unavailable("away")

    def leading(self) -> AbstractAsyncContextManager[bool]:
        raise Unavailable("away")

    async def unsealed(self, before: date) -> Sequence[LogDay]:
        raise Unavailable("away")

    async def seal(self, day: LogDay, now: datetime) -> Sealed | None:
        raise Unavailable("away")

    async def extents(self) -> Sequence[LogExtent]:
        raise ValueError("a fault of ours")

    async def forget(self, before: datetime) -> int:
        raise Unavailable("away")


def maintain(
    pool: AsyncConnectionPool, telemetry: PrometheusTelemetry | None = None, **other: Any
) -> Maintain:
    telemetry = telemetry or PrometheusTelemetry()
    parts = {
        "partitions": NativePartitions(pool),
        "leadership": PostgresLeadership(pool),
        "sealing": PostgresSealing(pool),
        "known_ids": PostgresKnownIds(pool),
        "batches": PostgresEventBatches(pool),
        "telemetry": telemetry,
        "retire": Retire(PostgresRetirement(pool), None, telemetry, retention=None).run_once,
        "seal_after": timedelta(hours=1),
        "ids_retention": timedelta(days=90),
    }
    return Maintain(**{**parts, **other})


def metrics(telemetry: PrometheusTelemetry) -> dict[str, float]:
    lines = telemetry.render().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name.removeprefix("payment_manager_"): float(at) for name, at in values.items()}


async def test_a_round_seals_what_is_over_and_the_next_finds_nothing_to_do(
    pool: AsyncConnectionPool,
) -> None:
    first = await maintain(pool).run_once(TODAY_AT_NOON)
    again = await maintain(pool).run_once(TODAY_AT_NOON)

    assert (first.result, again.result) == ("done", "done")
    assert first.done["days_sealed"] == 6  # three days back, two logs
    assert again.done == {**first.done, "days_sealed": 0}
    assert first.failed == again.failed == {}


@pytest.mark.parametrize(("minutes", "days"), [(59, 2), (60, 3)])
async def test_a_day_is_sealed_when_it_is_over_for_so_long(
    pool: AsyncConnectionPool, minutes: int, days: int
) -> None:
    done = (await maintain(pool).run_once(MIDNIGHT + timedelta(minutes=minutes))).done

    assert done["days_sealed"] == 2 * days


async def test_days_are_made_whoever_leads(pool: AsyncConnectionPool) -> None:
    later = TODAY_AT_NOON + timedelta(days=5)
    async with leading(pool) as leads:
        assert leads
        round_ = await maintain(pool).run_once(later)

    assert (round_.result, round_.leads) == ("another_leads", False)
    assert round_.done == {"days_ahead": 7}


async def test_a_round_is_told_in_metrics(pool: AsyncConnectionPool) -> None:
    telemetry = PrometheusTelemetry()
    async with leading(pool):
        await maintain(pool, telemetry).run_once(TODAY_AT_NOON)
    before = metrics(telemetry)
    await maintain(pool, telemetry).run_once(TODAY_AT_NOON)
    after = metrics(telemetry)

    assert before['partition_unsealed_days{space="order"}'] == 3
    assert 'partition_last_seal_timestamp_seconds{space="order"}' not in before
    assert after['partition_unsealed_days{space="order"}'] == 0
    assert after['partition_last_seal_timestamp_seconds{space="order"}'] == (
        TODAY_AT_NOON.timestamp()
    )
    assert after['partition_days{space="dispute"}'] == 12
    assert after['event_log_bytes{space="dispute"}'] > 0
    assert after["partition_days_ahead"] == 8
    assert after['maintenance_rounds_total{result="another_leads"}'] == 1
    assert after['maintenance_rounds_total{result="done"}'] == 1
    assert after["maintenance_seconds_count"] == 2


@pytest.mark.parametrize(
    ("broken", "steps"),
    [
        ("partitions", {"days_ahead"}),
        ("leadership", {"leading"}),
        ("sealing", {"days_sealed", "logs_watched"}),
        ("known_ids", {"ids_forgotten"}),
        ("batches", {"batches_forgotten"}),
    ],
)
async def test_a_step_that_fails_keeps_no_other_from_running(
    pool: AsyncConnectionPool, broken: str, steps: set[str]
) -> None:
    telemetry = PrometheusTelemetry()

    round_ = await maintain(pool, telemetry, **{broken: OutOfOrder()}).run_once(TODAY_AT_NOON)

    usual = {"days_ahead", "days_sealed", "ids_forgotten", "batches_forgotten", "days_retired"}
    done = {"days_ahead"} if broken == "leadership" else usual - steps
    assert set(round_.done) == done
    assert set(round_.failed) == steps
    assert metrics(telemetry)['maintenance_rounds_total{result="failed"}'] == 1


async def test_a_day_that_cannot_be_sealed_keeps_no_other_from_it(
    pool: AsyncConnectionPool,
) -> None:
    yesterday, day_before = (TODAY_AT_NOON - timedelta(days=ago) for ago in (1, 2))
    async with pool.connection() as connection:
        for at in (yesterday, day_before):
            await connection.execute(
                "INSERT INTO order_events (event_id, order_id, sequence, kind, data, created_at,"
                " correlation_id) VALUES (gen_random_uuid(), 'ord', 1, 'hold_set', '{}', %s, '')",
                [at],
            )
        # What depends on the day's table, and not on the log, would be lost with it.
        table = f"order_events_p{day_before:%Y%m%d}"
        await connection.execute(f"CREATE VIEW somebodys AS SELECT * FROM {table}".encode())

    round_ = await maintain(pool).run_once(TODAY_AT_NOON)

    assert round_.result == "failed"
    assert "DependentObjectsStillExist" in round_.failed["days_sealed"]
    assert await PostgresSealing(pool).unsealed(TODAY_AT_NOON.date()) == [
        LogDay(Space.ORDER, day_before.date())
    ]
