"""Connections: how each one is set up, and how many there are.

How to think about it: a connection that does not answer must cost somebody a second, not the service its life. So waiting
for one is bounded, a statement is bounded by the server, and a peer that vanished is found out by TCP.
"""

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

_SETTINGS = {
    # Times are compared and answered in UTC, whatever the server's own zone is.
    "timezone": "UTC",
    # Each statement here has one good plan; planning a partitioned table anew for each call costs more than running it.
    "plan_cache_mode": "force_generic_plan",
    # Above every statement of ours by far; a statement that runs longer holds locks that others wait for.
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
        "SELECT set_config(name, setting, false) FROM json_each_text(%s::json) AS s (name, setting)",
        (_as_json(_SETTINGS),),
    )


def _as_json(settings: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":"{value}"' for name, value in settings.items()) + "}"


def connection_pool(url: str, *, size_max: int, size_min: int = 2) -> AsyncConnectionPool:
    """A pool that is not open yet. `url` is a libpq URL or conninfo string."""
    return AsyncConnectionPool(
        url,
        min_size=min(size_min, size_max),
        max_size=size_max,
        open=False,
        configure=_configure,
        kwargs={"autocommit": True, **_TCP},
        # A request waits this long for a connection before it is told that there is none.
        timeout=1.0,
        # Give up a lost connection soon: the next request tries a new one at once, so the service is back with the server.
        reconnect_timeout=1.0,
        name="postgres",
    )
