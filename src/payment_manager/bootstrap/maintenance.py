"""Upkeep of the event logs: in a service, round after round; as a command, one round."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from payment_manager.adapters.postgres.known_ids import PostgresKnownIds
from payment_manager.adapters.postgres.partitions.choice import partitions_of
from payment_manager.adapters.postgres.partitions.days import PostgresLeadership
from payment_manager.adapters.postgres.partitions.retirement import PostgresRetirement
from payment_manager.adapters.postgres.partitions.sealing import PostgresSealing
from payment_manager.adapters.postgres.pool import Pool
from payment_manager.adapters.postgres.search.batches import PostgresEventBatches
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.maintain import Maintain, Round
from payment_manager.application.ports import Clock
from payment_manager.application.retire import Retire
from payment_manager.bootstrap.archive import archive_of
from payment_manager.bootstrap.database import command_pool
from payment_manager.bootstrap.running import running
from payment_manager.entrypoints.api.upkeep import keep_maintained
from payment_manager.settings import Settings


@asynccontextmanager
async def maintained(
    settings: Settings, pool: Pool, clock: Clock, telemetry: PrometheusTelemetry
) -> AsyncIterator[None]:
    """Today's days are there from now on; the rest is kept up meanwhile, or left to the command."""
    maintain = await maintenance(settings, pool, telemetry)
    await maintain.make_days(clock.now())
    if settings.maintenance == "off":
        yield
        return
    async with running(keep_maintained(maintain, clock, settings.maintenance_interval)):
        yield


async def maintain_once(settings: Settings, clock: Clock) -> Round:
    """For the command, which may run beside services."""
    async with command_pool(settings) as pool:
        maintain = await maintenance(settings, pool, PrometheusTelemetry())
        return await maintain.run_once(clock.now())


async def maintenance(settings: Settings, pool: Pool, telemetry: PrometheusTelemetry) -> Maintain:
    retire = Retire(
        PostgresRetirement(pool), archive_of(settings), telemetry, settings.events_retention
    )
    return Maintain(
        await partitions_of(pool, settings.partitions, settings.partition_days_ahead),
        PostgresLeadership(pool),
        PostgresSealing(pool),
        PostgresKnownIds(pool),
        PostgresEventBatches(pool),
        telemetry,
        retire=retire.run_once,
        seal_after=settings.seal_after,
        ids_retention=settings.webhook_ids_retention,
    )
