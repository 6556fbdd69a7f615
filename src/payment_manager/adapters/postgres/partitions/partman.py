"""The days of the event logs, made by pg_partman where the database has it.

How to think about it: pg_partman takes over the very tables that are there and is told which days
to make; then it also does a round of its own, up to its `premake`. It works in the session's time
zone, so it is only ever called from our connections, which are in UTC; its background worker leaves
our logs alone. It never retires a day: that is the service's, which proves first.
"""

from datetime import date, datetime, timedelta
from typing import NamedTuple

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.partitions.days import TABLES, attached_days
from payment_manager.adapters.postgres.partitions.moment import WAIT_SHORTLY
from payment_manager.adapters.postgres.partitions.native import (
    DAYS_AHEAD,
    LOCK,
    LOCK_TIMEOUT,
    NOT_NOW,
    NativePartitions,
    begin_of,
)
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import LogDay, PartitionHealth, Space

MAJOR = 5
"""Its functions have other parameters before."""

log = structlog.get_logger()


class Partman(NamedTuple):
    """pg_partman as this database has it. `schema` is quoted; `is_usable`: for our role."""

    schema: str
    major: int
    is_usable: bool


async def find_partman(pool: AsyncConnectionPool) -> Partman | None:
    """None where the extension is not installed in the database. Raises `Unavailable`."""
    with translated():
        async with pool.connection() as connection:
            cursor = await connection.execute(SQL["partman_extension"])
            row = await cursor.fetchone()
    return Partman(*row) if row else None


class PartmanPartitions:
    """`Partitions` by pg_partman, in `schema`."""

    def __init__(
        self, pool: AsyncConnectionPool, schema: str, *, days_ahead: int = DAYS_AHEAD
    ) -> None:
        self._pool = pool
        self._days_ahead = days_ahead
        self._sql = {
            name: SQL[f"partman_{name}"].format(partman=schema)
            for name in ("take_over", "settings", "make_day", "run")
        }
        self._days = NativePartitions(pool, days_ahead=days_ahead, make=self._make_day)
        self._native = NativePartitions(pool, days_ahead=days_ahead)

    async def maintain(self, now: datetime) -> PartitionHealth:
        if not await self._take_over(now.date()):
            return await self._native.maintain(now)
        health = await self._days.maintain(now)
        with translated():
            for table in TABLES.values():
                await self._round(table)
        return health

    async def make(self, first: date, last: date) -> int:
        """Make the missing days from `first` to `last`, both included; how many were made."""
        days = self._days if await self._take_over(first) else self._native
        return await days.make(first, last)

    async def _take_over(self, today: date) -> bool:
        """Whether both logs are pg_partman's to make days for."""
        with translated():
            async with self._pool.connection() as connection:
                for space in Space:
                    days = await attached_days(connection, space)
                    last_day = max(days | {today + timedelta(days=self._days_ahead)})
                    try:
                        await self._take_over_one(connection, TABLES[space], last_day)
                    except NOT_NOW as error:
                        reason = error.diag.message_primary
                        log.warning("partman_not_now", table=TABLES[space], reason=reason)
                        return False
        return True

    async def _take_over_one(
        self, connection: psycopg.AsyncConnection, table: str, last_day: date
    ) -> None:
        values = {
            "table": table,
            "last_day": last_day.isoformat(),
            "days_ahead": self._days_ahead,
        }
        async with connection.transaction():
            # Registering a log locks it against everybody for a moment, once. With a reader in the
            # way, days are made without pg_partman until the next round.
            await connection.execute(WAIT_SHORTLY)
            # One process at a time: of two, the second's would be an error.
            await connection.execute(LOCK)
            taken = await connection.execute(self._sql["take_over"], values)
            if taken.rowcount:
                log.info("partman_took_over", table=table)
            await connection.execute(self._sql["settings"], values)

    async def _make_day(self, connection: psycopg.AsyncConnection, day: LogDay) -> None:
        values = {"table": TABLES[day.space], "begins": begin_of(day)}
        await connection.execute(self._sql["make_day"], values)

    async def _round(self, table: str) -> None:
        try:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(LOCK_TIMEOUT)
                await connection.execute(LOCK)
                await connection.execute(self._sql["run"], {"table": table})
        except NOT_NOW as error:
            # The days that are needed are there; what is left undone is done by the next round.
            log.warning("partman_round_failed", table=table, reason=error.diag.message_primary)
