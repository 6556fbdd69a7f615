"""The database of the service and of commands, started or only reached, with this code's schema."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog

from payment_manager.adapters.postgres import migrate
from payment_manager.adapters.postgres.embedded import EmbeddedPostgres, running_url
from payment_manager.adapters.postgres.pool import Pool, opened_pool, wait_until_reachable
from payment_manager.application.ports import Unavailable
from payment_manager.settings import Settings

API_WAIT_SECONDS = 120
"""For the API beside a worker: its database may have to be recovered first, on a busy machine."""

log = structlog.get_logger()


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
async def shared_database(settings: Settings) -> AsyncIterator[str]:
    """For workers: the database that the API has, and that may be starting this very moment.

    A server of its own would be one that the API then finds its data folder taken by.
    """
    url = settings.pg_url or await _of_a_running_service(settings.data_dir)
    await wait_until_reachable(url)
    await asyncio.to_thread(migrate.upgrade, url)
    yield url


async def _of_a_running_service(data_dir: Path) -> str:
    for _ in range(API_WAIT_SECONDS):
        if (url := await asyncio.to_thread(running_url, data_dir)) is not None:
            return url
        log.warning("waiting_for_the_api", data_dir=str(data_dir))
        await asyncio.sleep(1)
    raise Unavailable(
        f"DATA_DIR: no API has its database in {data_dir};"
        " start it there, or name a database by PG_URL"
    )


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
