"""Each test has a world of its own, and at its end every row equals the fold of its events.

How to think about it: the provider is one server for a module, since stopping one takes longer than
a test; what it remembers is replaced for each test. So these tests share a module's event loop.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.adapters.silvergate.client import SilvergateClient
from payment_manager.adapters.silvergate.simulator import (
    CAPTURE_PATH,
    SUBMIT_REPRESENTMENT_PATH,
    RunningSimulator,
    running_simulator,
)
from payment_manager.adapters.silvergate.simulator.ledger import Ledger
from payment_manager.application import patience
from tests.application.world import PROVIDER_SECONDS_MAX, World
from tests.clock import FakeClock


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_provider() -> AsyncIterator[RunningSimulator]:
    async with running_simulator() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def provider(running_provider: RunningSimulator) -> RunningSimulator:
    """It knows of nothing."""
    running_provider.app.faults.clear()
    running_provider.app.ledger.close()
    running_provider.app.ledger = Ledger(None)
    return running_provider


@pytest_asyncio.fixture(loop_scope="module")
async def world(
    database_url: str, clock: FakeClock, provider: RunningSimulator
) -> AsyncIterator[World]:
    silvergate = SilvergateClient(
        provider.base_url,
        CAPTURE_PATH,
        SUBMIT_REPRESENTMENT_PATH,
        PROVIDER_SECONDS_MAX,
    )
    async with connection_pool(database_url, size_max=8) as pool:
        # Twenty requests at once wait for eight connections, and for the machine.
        pool.timeout = PROVIDER_SECONDS_MAX
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(patience, "LONGEST_SECONDS", PROVIDER_SECONDS_MAX)
            world = World(pool, clock, provider, silvergate)
            yield world
            await silvergate.close()
            await world.rows_equal_their_logs()
