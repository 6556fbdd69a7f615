"""The only module that knows every adapter: it wires them, starts them in order and stops them in
the reverse order.

How to think about it: read it from the top as the service's start, from the bottom as its stop.
Each seam of the design is one choice here, made by a setting. Stopping ends the loops, lets the
batch under way commit, closes the pool, and only then stops the database.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from litestar.types import ASGIApp

from payment_manager.adapters.clock import SystemClock, UUIDv7s
from payment_manager.adapters.postgres import migrate
from payment_manager.adapters.postgres.embedded import EmbeddedPostgres, running_url
from payment_manager.adapters.postgres.intents import PostgresIntents
from payment_manager.adapters.postgres.partitions import NativePartitions
from payment_manager.adapters.postgres.pool import Pool, opened_pool, wait_until_reachable
from payment_manager.adapters.postgres.read_model import PostgresReadModel
from payment_manager.adapters.postgres.readiness import PostgresReadiness
from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.adapters.silvergate.client import SilvergateClient
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.apply_webhooks import ApplyWebhooks, Taken, Webhook
from payment_manager.application.ask_provider import AskProvider
from payment_manager.application.batching import Batcher
from payment_manager.application.operate import Operate
from payment_manager.application.queries import Queries
from payment_manager.application.reconcile import Reconcile
from payment_manager.entrypoints.api.app import create_app
from payment_manager.entrypoints.api.services import Services
from payment_manager.entrypoints.api.upkeep import keep_days_ahead, keep_reconciling
from payment_manager.settings import Settings, SettingsError


@asynccontextmanager
async def api_service(settings: Settings) -> AsyncIterator[ASGIApp]:
    """The API service, ready to serve; everything it started is stopped at the end."""
    if settings.silvergate_base_url is None:
        raise SettingsError(
            "These settings are missing:\n  SILVERGATE_BASE_URL: the provider's URL"
        )
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(own_database(settings))
        pool = await stack.enter_async_context(opened_pool(url, settings.pg_pool_max))
        clock, event_ids, telemetry = SystemClock(), UUIDv7s(), PrometheusTelemetry()
        database, read_model = PostgresDatabase(pool), PostgresReadModel(pool)
        partitions, intents = NativePartitions(pool), PostgresIntents(pool)
        gateway = SilvergateClient(
            settings.silvergate_base_url,
            settings.silvergate_capture_path,
            settings.silvergate_submit_representment_path,
            settings.http_silvergate_client_timeout.total_seconds(),
        )
        stack.push_async_callback(gateway.close)
        ask_provider = AskProvider(
            database, intents, gateway, clock, event_ids, telemetry,
            timeout=settings.http_silvergate_client_timeout,
            ask_again_after=settings.reconcile_interval,
        )  # fmt: skip
        webhooks: Batcher[Webhook, Taken] = Batcher(
            ApplyWebhooks(database, clock, event_ids, telemetry),
            batch_max=settings.webhook_batch_max,
            queue_max=settings.webhook_queue_max,
        )
        stack.push_async_callback(webhooks.drained)
        telemetry.watch_waiting(lambda: webhooks.waiting)
        # Once before the first webhook, so that none falls outside of the days made; then again and
        # again.
        telemetry.partitions(await partitions.maintain(clock.now()))
        reconcile = Reconcile(intents, ask_provider, clock)
        await stack.enter_async_context(running(keep_days_ahead(partitions, clock, telemetry)))
        await stack.enter_async_context(running(keep_reconciling(reconcile, clock, telemetry)))
        yield create_app(
            Services(
                webhooks=webhooks,
                operate=Operate(database, read_model, ask_provider, clock, event_ids),
                queries=Queries(read_model, queue_max=settings.webhook_queue_max),
                telemetry=telemetry,
                readiness=PostgresReadiness(pool),
            ),
            body_bytes_max=settings.max_body_bytes,
            body_timeout_seconds=settings.body_timeout.total_seconds(),
        )


@asynccontextmanager
async def own_database(settings: Settings) -> AsyncIterator[str]:
    """The URL of the service's database, with the schema that this code needs."""
    async with AsyncExitStack() as stack:
        url = settings.pg_url
        if url is None:
            server = EmbeddedPostgres(settings.data_dir)
            stack.push_async_callback(server.stop)
            url = await server.start()
        await wait_until_reachable(url)
        await asyncio.to_thread(migrate.upgrade, url)
        yield url


@asynccontextmanager
async def any_database(settings: Settings) -> AsyncIterator[str]:
    """For commands: the database as the service has it, the running service's own included."""
    url = settings.pg_url or await asyncio.to_thread(running_url, settings.data_dir)
    if url is None:
        async with own_database(settings) as url:
            yield url
    else:
        await asyncio.to_thread(migrate.upgrade, url)
        yield url


@asynccontextmanager
async def command_pool(settings: Settings) -> AsyncIterator[Pool]:
    """For commands, which may run beside the service."""
    async with any_database(settings) as url, opened_pool(url, size_max=4) as pool:
        yield pool


@asynccontextmanager
async def running(loop: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """A background loop, cancelled at the end."""
    task = asyncio.create_task(loop)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
