"""A projector: search kept up to date by a process of its own, beside APIs that only ask."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from litestar.types import ASGIApp

from payment_manager.adapters.clock import SystemClock
from payment_manager.adapters.postgres.pool import opened_pool
from payment_manager.adapters.postgres.readiness import PostgresReadiness
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.bootstrap.database import shared_database
from payment_manager.bootstrap.search import searching
from payment_manager.entrypoints.http.app import create_app
from payment_manager.entrypoints.http.operations import Probes
from payment_manager.settings import Settings


@asynccontextmanager
async def projector_service(settings: Settings) -> AsyncIterator[ASGIApp]:
    """A projector, ready; beside an API on the same machine it shares the embedded database."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(shared_database(settings))
        pool = await stack.enter_async_context(opened_pool(url, settings.pg_pool_max))
        telemetry = PrometheusTelemetry()
        search = await stack.enter_async_context(
            searching(settings, pool, SystemClock(), telemetry, projects=True)
        )
        yield create_app(
            {},
            Probes([PostgresReadiness(pool), *search.readiness]),
            telemetry,
            body_bytes_max=settings.max_body_bytes,
            body_timeout_seconds=settings.body_timeout.total_seconds(),
        )
