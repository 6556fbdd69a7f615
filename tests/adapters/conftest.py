"""The write path on a test's own database, and a look into its tables from beside it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application import patience
from payment_manager.application.apply_webhooks import ApplyWebhooks
from tests.clock import FakeClock, FakeEventIds

Query = Callable[..., Awaitable[list[tuple[Any, ...]]]]


def write_path(
    pool: AsyncConnectionPool, clock: FakeClock, event_ids: FakeEventIds | None = None
) -> ApplyWebhooks:
    database, event_ids = PostgresDatabase(pool), event_ids or FakeEventIds()
    return ApplyWebhooks(database, clock, event_ids, PrometheusTelemetry())


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions are waited for: here it only matters what they find."""
    monkeypatch.setattr(patience, "LONGEST_SECONDS", 60.0)


@pytest.fixture
def apply(pool: AsyncConnectionPool, clock: FakeClock) -> ApplyWebhooks:
    return write_path(pool, clock)


@pytest.fixture
def query(pool: AsyncConnectionPool) -> Query:
    """Runs a statement with its parameters; its rows, if it has any."""

    async def run(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        async with pool.connection() as connection:
            cursor = await connection.execute(statement, parameters or None)
            return await cursor.fetchall() if cursor.description else []

    return run
