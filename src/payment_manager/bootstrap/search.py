"""Search, where OPENSEARCH_URLS names a server: who answers, who projects, who watches.

How to think about it: OpenSearch is never needed. Nothing here asks it before the service is up and
nothing waits for it at the end; without it the same questions are answered from PostgreSQL. Its
client is an optional extra: who has no search doesn't load it.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from payment_manager.adapters.clock import SystemClock
from payment_manager.adapters.postgres.pool import Pool
from payment_manager.adapters.postgres.search.tail import PostgresEventTail
from payment_manager.adapters.postgres.search.whole_log import PostgresWholeLog
from payment_manager.adapters.postgres.sizes import table_sizes
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.build_search import BuildSearch
from payment_manager.application.check_search import WatchSearch
from payment_manager.application.pace import Pace, WorkedOff, no_batches
from payment_manager.application.ports import (
    Clock,
    Document,
    EventTail,
    SearchIndex,
    SearchSource,
)
from payment_manager.application.project import Project
from payment_manager.bootstrap.archive import archive_of
from payment_manager.bootstrap.database import command_pool
from payment_manager.bootstrap.running import running
from payment_manager.entrypoints.api.upkeep import keep_projecting, keep_watching_search
from payment_manager.entrypoints.search.tools import Tools
from payment_manager.settings import Settings, SettingsError

WRITE_SECONDS_MAX = 20.0
"""For a bulk, and for the refresh of a large index; whoever watches is patient for less."""

_TABLES = {
    Document.ORDER_EVENT: "order_events",
    Document.DISPUTE_EVENT: "dispute_events",
    Document.ORDER: "orders",
    Document.DISPUTE: "disputes",
}


@dataclass(frozen=True, slots=True)
class Searching:
    """`sources` come before PostgreSQL; `readiness`: what the probe is told."""

    sources: Sequence[SearchSource] = ()
    readiness: Sequence[WatchSearch] = ()


@asynccontextmanager
async def searching(
    settings: Settings,
    pool: Pool,
    clock: Clock,
    telemetry: PrometheusTelemetry,
    projects: bool,
    worked_off: WorkedOff = no_batches,
) -> AsyncIterator[Searching]:
    """Search is watched meanwhile and, with `projects`, kept up to date; at a pace that leaves the
    process to the requests that it works off.
    """
    if settings.opensearch_urls is None:
        yield Searching()
        return
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(_server(settings, clock))
        tail, pace = PostgresEventTail(pool), Pace(worked_off)
        build = BuildSearch(
            tail, PostgresWholeLog(pool, archive_of(settings)), server.index, clock, pace
        )
        project = Project(tail, server.index, build, telemetry, pace)
        watch = WatchSearch(tail, server.index, telemetry, clock, lambda: project.trouble)
        await stack.enter_async_context(running(keep_watching_search(watch)))
        if projects:
            await stack.enter_async_context(running(pace.metered(keep_projecting(project, pace))))
        yield Searching([server.source(tail)], [watch])


@asynccontextmanager
async def search_tools(settings: Settings) -> AsyncIterator[Tools]:
    """For commands, which may run beside services."""
    if settings.opensearch_urls is None:
        raise SettingsError(
            "These settings are missing:\n"
            "  OPENSEARCH_URLS: names the OpenSearch that this is about; without it, PostgreSQL"
            " answers"
        )
    clock = SystemClock()
    async with _server(settings, clock) as server, command_pool(settings) as pool:
        tail, whole = PostgresEventTail(pool), PostgresWholeLog(pool, archive_of(settings))

        async def rows() -> Mapping[Document, int]:
            sizes = {size.table: size.rows_estimated for size in await table_sizes(pool)}
            return {kind: sizes.get(table, 0) for kind, table in _TABLES.items()}

        # A command has its process for itself: nothing is metered.
        build = BuildSearch(tail, whole, server.index, clock, Pace())
        yield Tools(tail, whole, server.index, build, rows, clock)


@dataclass(frozen=True, slots=True)
class _Server:
    index: SearchIndex
    source: Callable[[EventTail], SearchSource]


@asynccontextmanager
async def _server(settings: Settings, clock: Clock) -> AsyncIterator[_Server]:
    """OpenSearch, not asked yet. Raises `SettingsError` where its library is missing."""
    try:
        from payment_manager.adapters.opensearch.connection import search_client
        from payment_manager.adapters.opensearch.index import OpenSearchIndex
        from payment_manager.adapters.opensearch.questions import (
            ANSWER_SECONDS_MAX,
            OpenSearchSearch,
        )
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("opensearchpy", "aiohttp"):
            raise
        raise SettingsError(
            "These settings are wrong:\n"
            "  OPENSEARCH_URLS: needs the extra: pip install 'payment-manager[search]'"
        ) from None
    names = {
        Document.ORDER_EVENT: settings.opensearch_index_orders,
        Document.DISPUTE_EVENT: settings.opensearch_index_disputes,
        Document.ORDER: settings.opensearch_index_order_states,
        Document.DISPUTE: settings.opensearch_index_dispute_states,
    }
    assert settings.opensearch_urls is not None
    async with AsyncExitStack() as stack:
        try:
            writing, asking = (
                search_client(settings.opensearch_urls, settings.opensearch_ca_file, seconds)
                for seconds in (WRITE_SECONDS_MAX, ANSWER_SECONDS_MAX)
            )
        except ValueError as wrong:
            raise SettingsError(f"These settings are wrong:\n  {wrong}") from None
        stack.push_async_callback(writing.close)
        stack.push_async_callback(asking.close)
        index = OpenSearchIndex(writing, names, clock)
        yield _Server(index, lambda tail: OpenSearchSearch(asking, names, index, tail, clock))
