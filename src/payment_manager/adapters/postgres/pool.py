"""Connections: how each one is set up, and how many there are.

How to think about it: a connection that does not answer must cost somebody a second, not the
service its life. So waiting for one is bounded, a statement is bounded by the server, and a peer
that vanished is found out by TCP.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import structlog
from psycopg import AsyncConnection, OperationalError
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from payment_manager.application.ports import Unavailable

WAIT_SECONDS = 30
"""At the start, for a server that is still starting itself. Later outages are waited out without a
limit.
"""

Pool: TypeAlias = AsyncConnectionPool
"""The pool's name for those who only hand it on: drivers are imported in their adapter alone."""

log = structlog.get_logger()

_SETTINGS = {
    # Times are compared and answered in UTC, whatever the server's own zone is.
    "timezone": "UTC",
    # Each statement here has one good plan, and keeps it. Those that read the logs by time don't:
    # they are planned for their values (decision 23).
    "plan_cache_mode": "force_generic_plan",
    # Every statement walks an index. A plan made while the tables were small would read them whole
    # for as long as the connection lives, since it is kept.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # Above every statement of ours by far; a statement that runs longer holds locks that others
    # wait for.
    "statement_timeout": "15s",
    "idle_in_transaction_session_timeout": "15s",
}

_TCP = {
    # A peer that is gone without a word is noticed in about ten seconds.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "connect_timeout": 3,
}


async def _configure(connection: AsyncConnection) -> None:
    await connection.execute(
        "SELECT set_config(name, setting, false)"
        " FROM unnest(%s::text[], %s::text[]) AS s (name, setting)",
        (list(_SETTINGS), list(_SETTINGS.values())),
    )


def connection_pool(
    url: str, *, size_max: int, size_min: int = 2, patience_seconds: float = 30.0
) -> AsyncConnectionPool:
    """A pool that is not open yet. `url` is a libpq URL or conninfo string; who asks for a
    connection is told after `patience_seconds` that there is none.
    """
    return AsyncConnectionPool(
        url,
        min_size=min(size_min, size_max),
        max_size=size_max,
        open=False,
        configure=_configure,
        kwargs={"autocommit": True, **_TCP},
        timeout=patience_seconds,
        # Give up a lost connection soon: the next request tries a new one at once, so the service
        # is back with the server.
        reconnect_timeout=1.0,
        name="postgres",
    )


@asynccontextmanager
async def opened_pool(url: str, size_max: int) -> AsyncIterator[AsyncConnectionPool]:
    """As a service has it: a request doesn't wait long for a connection."""
    pool = connection_pool(url, size_max=size_max, patience_seconds=1.0)
    await pool.open()
    try:
        # Whoever asks first finds one made, however long that takes on a busy machine. Without a
        # server it goes on: they are told. (Not `wait`, which would close the pool then.)
        with suppress(PoolTimeout):
            async with pool.connection(WAIT_SECONDS):
                pass
        yield pool
    finally:
        await pool.close(timeout=5)


@asynccontextmanager
async def connection_beside(pool: AsyncConnectionPool) -> AsyncIterator[AsyncConnection]:
    """One connection more to where the pool connects, for what takes long: the pool's own are for
    requests. Closed at the end, and with it ends whatever it still does.
    """
    url, options = pool.conninfo, pool.kwargs
    assert isinstance(url, str)
    assert isinstance(options, dict)
    connection = await AsyncConnection.connect(url, **options)
    async with connection:
        await _configure(connection)
        yield connection


async def wait_until_reachable(url: str) -> None:
    """Returns when a server answers at `url`; raises `Unavailable` after `WAIT_SECONDS`."""
    for _ in range(WAIT_SECONDS):
        try:
            connection = await AsyncConnection.connect(url, connect_timeout=3)
        except OperationalError as error:
            log.warning("postgres_not_reachable_yet", reason=str(error).strip())
            await asyncio.sleep(1)
        else:
            await connection.close()
            return
    raise Unavailable("PG_URL: no PostgreSQL answers there")
