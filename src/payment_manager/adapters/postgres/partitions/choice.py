"""Who makes the days of the event logs: `PARTITIONS` says, or the database does.

How to think about it: the tables are the same either way, so the choice may change from one start
to the next. What is asked for by name and can't be had stops the start; `auto` takes what is there.
"""

from typing import Literal, TypeAlias, assert_never

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.partitions.native import LOCK, NativePartitions
from payment_manager.adapters.postgres.partitions.partman import (
    MAJOR,
    Partman,
    PartmanPartitions,
    find_partman,
)
from payment_manager.application.ports import PortError

Choice: TypeAlias = Literal["auto", "native", "pg_partman"]

log = structlog.get_logger()


class NoPartman(PortError):
    """`PARTITIONS=pg_partman`, and this database can't have it; the message says what to do."""


async def partitions_of(
    pool: AsyncConnectionPool, choice: Choice, days_ahead: int
) -> NativePartitions | PartmanPartitions:
    """Raises `Unavailable`, `NoPartman`."""
    match choice:
        case "native":
            return NativePartitions(pool, days_ahead=days_ahead)
        case "auto":
            found = await find_partman(pool)
            if found is not None and _why_not(found) is None:
                return PartmanPartitions(pool, found.schema, days_ahead=days_ahead)
            if found is not None:
                log.warning("partman_not_used", reason=_why_not(found))
            return NativePartitions(pool, days_ahead=days_ahead)
        case "pg_partman":
            found = await find_partman(pool) or await _installed(pool)
            if (reason := _why_not(found)) is not None:
                raise NoPartman(f"PARTITIONS: {reason}")
            return PartmanPartitions(pool, found.schema, days_ahead=days_ahead)
        case _:
            assert_never(choice)


def _why_not(found: Partman) -> str | None:
    if found.major < MAJOR:
        return (
            f"pg_partman {found.major} is installed, and {MAJOR} is needed:"
            " ALTER EXTENSION pg_partman UPDATE"
        )
    if not found.is_usable:
        return (
            "pg_partman is installed, and this user may not use it: GRANT USAGE ON SCHEMA"
            f" {found.schema}, GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {found.schema}"
        )
    return None


async def _installed(pool: AsyncConnectionPool) -> Partman:
    try:
        async with pool.connection() as connection, connection.transaction():
            # Two processes may start at the same moment.
            await connection.execute(LOCK)
            await connection.execute("CREATE SCHEMA IF NOT EXISTS partman")
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_partman SCHEMA partman")
    except (
        psycopg.errors.FeatureNotSupported,  # the server has no such extension
        psycopg.errors.UndefinedFile,
        psycopg.errors.InsufficientPrivilege,
    ) as error:
        raise NoPartman(
            f"PARTITIONS: this database has no pg_partman and can't get it ({_words(error)}):"
            " install it on the server, let its owner CREATE EXTENSION pg_partman,"
            " or say PARTITIONS=native"
        ) from None
    except psycopg.Error:
        with translated():
            raise
    found = await find_partman(pool)
    assert found is not None
    return found


def _words(error: psycopg.Error) -> str:
    return error.diag.message_primary or type(error).__name__
