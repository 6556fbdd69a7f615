"""A worker: consumers alone, as many processes as there are partitions."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from litestar.types import ASGIApp

from payment_manager.adapters.clock import SystemClock, UUIDv7s
from payment_manager.adapters.postgres.pool import opened_pool
from payment_manager.adapters.postgres.readiness import PostgresReadiness
from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.apply_webhooks import ApplyWebhooks
from payment_manager.bootstrap.consumers import running_consumers
from payment_manager.bootstrap.database import shared_database
from payment_manager.bootstrap.maintenance import maintained
from payment_manager.entrypoints.http.app import create_app
from payment_manager.entrypoints.http.operations import Probes
from payment_manager.settings import Settings


@asynccontextmanager
async def worker_service(settings: Settings) -> AsyncIterator[ASGIApp]:
    """A worker, ready; beside an API on the same machine it shares the embedded database."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(shared_database(settings))
        pool = await stack.enter_async_context(opened_pool(url, settings.pg_pool_max))
        clock, telemetry = SystemClock(), PrometheusTelemetry()
        # It may outlive the API.
        await stack.enter_async_context(maintained(settings, pool, clock, telemetry))
        apply = ApplyWebhooks(PostgresDatabase(pool), clock, UUIDv7s(), telemetry)
        consumers = await stack.enter_async_context(
            running_consumers(settings, pool, apply, telemetry, clock)
        )
        yield create_app(
            {},
            Probes([PostgresReadiness(pool), consumers], consumers.liveness),
            telemetry,
            body_bytes_max=settings.max_body_bytes,
            body_timeout_seconds=settings.body_timeout.total_seconds(),
        )
