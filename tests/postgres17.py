"""PostgreSQL 17 with pg_partman for tests: one real server a test process, beside the embedded.

How to think about it: it starts with the first test that asks for it, and gives each test a clone
of a migrated template, as `tests/conftest.py` does on the embedded server. The extension is there
to be created; no database has it before a test says so.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from psycopg_pool import AsyncConnectionPool

from infra.postgres_server import PostgresServer, why_not
from payment_manager.adapters.postgres.pool import connection_pool
from tests.conftest import SERVER_SETTINGS, clone, make_template


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_17(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of an empty server."""
    if (reason := await asyncio.to_thread(why_not)) is not None:
        pytest.skip(f"no PostgreSQL 17 with pg_partman on this machine: {reason}")
    server = PostgresServer(tmp_path_factory.mktemp("postgres17"), settings=SERVER_SETTINGS)
    yield await server.start()
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template_17(postgres_17: str) -> str:
    return await make_template(postgres_17)


@pytest.fixture
def database_17(postgres_17: str, template_17: str) -> Iterator[str]:
    """A database of this test's own, as after the first start of the service."""
    with clone(postgres_17, template_17) as url:
        yield url


@pytest.fixture
async def pool_17(database_17: str) -> AsyncIterator[AsyncConnectionPool]:
    async with connection_pool(database_17, size_max=8) as pool:
        yield pool
