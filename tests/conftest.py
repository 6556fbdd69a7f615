"""What holds for every test: PostgreSQL is real, and on CI nothing is skipped.

How to think about it: one embedded server a test process, started by the first test that asks for a
database; the schema is migrated once, into a template, and each test gets a clone of it, which is
dropped afterwards. Whoever asks for such a fixture is an integration test, without saying so.

A skip is for a machine that can't have a server. On CI it would be a test that nobody runs any
more, so there the run fails; elsewhere pytest lists the skips with their reasons at the end.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from psycopg_pool import AsyncConnectionPool

from infra.java import JarsMissing
from infra.kafka_server import KAFKA
from infra.local_server import share_ports
from infra.opensearch_server import OPENSEARCH
from infra.postgres_server import ProgramsMissing, programs
from infra.wiremock_server import WIREMOCK
from payment_manager.adapters.postgres import migrate
from payment_manager.adapters.postgres.embedded import EmbeddedPostgres
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.pool import connection_pool
from tests.clock import TODAY_AT_NOON, FakeClock

pytest_plugins = ["tests.kafka", "tests.opensearch", "tests.postgres17"]

SERVER_FIXTURES = {
    *("postgres_server", "template_database", "database_url", "pool"),
    *("postgres_17", "template_17", "database_17", "pool_17"),
    *("kafka_server", "frail_server"),
    *("opensearch_server", "frail_opensearch"),
}

# A test's database need not survive a power cut. All else is as in service.
SERVER_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
    "shared_preload_libraries": "pg_stat_statements",  # how many statements something takes
    # It comes when it likes: its locks are in the way of those who want a whole table, and what it
    # counts changes plans. A test that is about statistics has them made.
    "autovacuum": "off",
}

# What is fetched once a machine, by the fixtures that need it.
FETCHED: dict[str, Callable[[], object]] = {
    "postgres_17": programs,
    "kafka_server": KAFKA.jars,
    "opensearch_server": OPENSEARCH.jars,
    "wiremock": WIREMOCK.jars,
}

# The days around the present, wide enough for a clock that goes back and for tomorrow's batch.
DAYS_BACK, DAYS_AHEAD = 3, 8

_numbers = count(1)
_used: dict[str, list[str]] = {}


def pytest_configure() -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    share_ports(int(worker), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    # A run in the background ignores Ctrl-C, and so would every service that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SERVER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.integration)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Fetch what is missing, which may take minutes, before any test's time begins to run."""
    if session.config.option.collectonly:
        return
    fixtures = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    for fetch in (FETCHED[name] for name in sorted(FETCHED.keys() & fixtures)):
        # Where it can't be had, the test that needs it says why.
        with suppress(JarsMissing, ProgramsMissing, OSError):
            fetch()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    on_ci = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if not on_ci or terminal is None or hasattr(session.config, "workerinput"):
        return
    if terminal.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        terminal.write_line("CI: a skipped test is a failure", red=True, bold=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def database_on(server_url: str, name: str) -> str:
    """The URL of a database of this name on the tests' server."""
    return server_url.replace("@/postgres?", f"@/{name}?")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of an empty server of our own: a socket in a temporary folder, no port."""
    folder: Path = tmp_path_factory.mktemp("postgres")
    server = EmbeddedPostgres(folder, settings=SERVER_SETTINGS)
    yield await server.start()
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template_database(postgres_server: str) -> str:
    """The name of a database with the newest schema and the days around today, to be cloned."""
    return await make_template(postgres_server)


async def make_template(server_url: str) -> str:
    """The name of the template, made anew on this server."""
    name = "template_with_schema"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = database_on(server_url, name)
    await asyncio.to_thread(migrate.upgrade, url)
    today = TODAY_AT_NOON.date()
    async with connection_pool(url, size_max=1) as pool:
        await NativePartitions(pool).make(
            today - timedelta(days=DAYS_BACK), today + timedelta(days=DAYS_AHEAD)
        )
    return name


@pytest.fixture
def database_url(postgres_server: str, template_database: str) -> Iterator[str]:
    """A database of this test's own, as after the first start of the service."""
    with clone(postgres_server, template_database) as url:
        yield url


@contextmanager
def clone(server_url: str, template: str) -> Iterator[str]:
    """A database on this server that is like the template."""
    name = f"test_{next(_numbers)}"
    used = _used.setdefault(server_url, [])
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        # Only the next test drops it: the server looks every 100 ms only whether a connection that
        # was closed is gone, and that would be the most expensive part of a test.
        while used:
            connection.execute(f"DROP DATABASE {used.pop()} WITH (FORCE)")
    yield database_on(server_url, name)
    used.append(name)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[AsyncConnectionPool]:
    """Connections to this test's database, as the service has them."""
    async with connection_pool(database_url, size_max=8) as pool:
        await pool.wait(60)  # one made later would be among the statements that a test counts
        yield pool


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
