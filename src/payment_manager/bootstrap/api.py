"""The API service: its parts wired, started in order and stopped in the reverse order.

How to think about it: read it from the top as the service's start, from the bottom as its stop.
Each seam of the design is one choice here, made by a setting. Stopping ends the loops, lets the
batch under way commit, closes the pool, and only then stops the database.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import assert_never

from litestar.types import ASGIApp

from payment_manager.adapters.clock import SystemClock, UUIDv7s
from payment_manager.adapters.postgres.intents import PostgresIntents
from payment_manager.adapters.postgres.pool import opened_pool
from payment_manager.adapters.postgres.read_model import PostgresReadModel
from payment_manager.adapters.postgres.readiness import PostgresReadiness
from payment_manager.adapters.postgres.search.questions import PostgresSearch
from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.adapters.silvergate.client import SilvergateClient
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.apply_webhooks import ApplyWebhooks, Taken, Webhook
from payment_manager.application.ask_provider import AskProvider
from payment_manager.application.batching import Batcher
from payment_manager.application.operate import Operate
from payment_manager.application.pace import no_batches
from payment_manager.application.ports import Clock
from payment_manager.application.queries import Queries
from payment_manager.application.reconcile import Reconcile
from payment_manager.application.search import Search
from payment_manager.bootstrap.consumers import running_consumers
from payment_manager.bootstrap.database import own_database
from payment_manager.bootstrap.maintenance import maintained
from payment_manager.bootstrap.running import running
from payment_manager.bootstrap.search import searching
from payment_manager.entrypoints.api.app import create_app
from payment_manager.entrypoints.api.services import Services
from payment_manager.entrypoints.api.upkeep import keep_reconciling
from payment_manager.entrypoints.http.operations import Probes
from payment_manager.settings import Settings, SettingsError


@asynccontextmanager
async def api_service(settings: Settings, clock: Clock | None = None) -> AsyncIterator[ASGIApp]:
    """The API service, ready to serve; everything it started is stopped at the end.

    `clock`: else this machine's.
    """
    if settings.silvergate_base_url is None:
        raise SettingsError(
            "These settings are missing:\n  SILVERGATE_BASE_URL: the provider's URL"
        )
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(own_database(settings))
        pool = await stack.enter_async_context(opened_pool(url, settings.pg_pool_max))
        event_ids, telemetry = UUIDv7s(), PrometheusTelemetry()
        clock = clock or SystemClock()
        database, read_model = PostgresDatabase(pool), PostgresReadModel(pool)
        intents = PostgresIntents(pool)
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
        await stack.enter_async_context(maintained(settings, pool, clock, telemetry))
        reconcile = Reconcile(intents, ask_provider, clock)
        await stack.enter_async_context(running(keep_reconciling(reconcile, clock, telemetry)))
        apply = ApplyWebhooks(database, clock, event_ids, telemetry)
        webhooks: Batcher[Webhook, Taken] | None = None
        probes = Probes([PostgresReadiness(pool)])
        match settings.webhook_mode:
            case "sync":
                webhooks = Batcher(
                    apply,
                    batch_max=settings.webhook_batch_max,
                    queue_max=settings.webhook_queue_max,
                )
                stack.push_async_callback(webhooks.drained)
                telemetry.watch_waiting(partial(getattr, webhooks, "waiting"))
            case "kafka":
                consumers = await stack.enter_async_context(
                    running_consumers(settings, pool, apply, telemetry, clock)
                )
                probes = Probes([*probes.readiness, consumers], consumers.liveness)
            case _:
                assert_never(settings.webhook_mode)
        search = await stack.enter_async_context(
            searching(
                settings, pool, clock, telemetry,
                projects=settings.search_projection == "service",
                worked_off=webhooks.worked_off if webhooks else no_batches,
            )
        )  # fmt: skip
        yield create_app(
            Services(
                webhooks=webhooks,
                operate=Operate(database, read_model, ask_provider, clock, event_ids),
                queries=Queries(read_model, queue_max=settings.webhook_queue_max),
                search=Search([*search.sources, PostgresSearch(pool)], clock, telemetry),
                telemetry=telemetry,
                probes=Probes([*probes.readiness, *search.readiness], probes.liveness),
            ),
            body_bytes_max=settings.max_body_bytes,
            body_timeout_seconds=settings.body_timeout.total_seconds(),
        )
