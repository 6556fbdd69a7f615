"""Each test has a world of its own, and at its end every row equals the fold of its events."""

from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.silvergate.client import SilvergateClient
from payment_manager.adapters.silvergate.simulator import (
    CAPTURE_PATH,
    SUBMIT_REPRESENTMENT_PATH,
    running_simulator,
)
from tests.application.world import PROVIDER_TIMEOUT, World
from tests.clock import FakeClock


@pytest.fixture
async def world(pool: AsyncConnectionPool, clock: FakeClock) -> AsyncIterator[World]:
    async with running_simulator() as provider:
        silvergate = SilvergateClient(
            provider.base_url,
            CAPTURE_PATH,
            SUBMIT_REPRESENTMENT_PATH,
            PROVIDER_TIMEOUT.total_seconds(),
        )
        world = World(pool, clock, provider, silvergate)
        yield world
        await silvergate.close()
        await world.rows_equal_their_logs()
