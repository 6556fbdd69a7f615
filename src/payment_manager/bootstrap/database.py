"""The database of the service and of commands, started or only reached, with this code's schema."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from payment_manager.adapters.postgres import migrate
from payment_manager.adapters.postgres.embedded import EmbeddedPostgres, running_url
from payment_manager.adapters.postgres.pool import Pool, opened_pool, wait_until_reachable
from payment_manager.settings import Settings


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
