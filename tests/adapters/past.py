"""A log whose days are over: the small world, spread over some days of last month."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest_asyncio
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.parquet.archive import ParquetArchive
from payment_manager.adapters.parquet.files import groups, name_of, opened
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.partitions.retirement import PostgresRetirement
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.application.ports import Archive, LogDay, Space, StoredEvent
from payment_manager.application.retire import Retire
from tests.adapters.world import World
from tests.clock import TODAY_AT_NOON, FakeClock
from tests.conftest import database_on

BEGINNING = TODAY_AT_NOON - timedelta(days=30)
STEP = timedelta(hours=8)
"""Between two things that happen: an order's life spans some days."""

FIRST, LAST = BEGINNING.date(), BEGINNING.date() + timedelta(days=4)

OLD = timedelta(days=10)
"""A retention that all of it is past."""


class Telemetry:
    """`UpkeepTelemetry` that keeps what it was told of retention."""

    def __init__(self) -> None:
        self.overdue: list[int] = []

    def retention(self, overdue_days: int) -> None:
        self.overdue.append(overdue_days)

    def partitions(self, health: object) -> None: ...

    def logs(self, extents: object, unsealed: object) -> None: ...

    def maintained(self, result: str, seconds: float) -> None: ...


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def template_database(postgres_server: str, template_database: str) -> str:
    """Every test begins with the same past, made once and cloned."""
    name = "template_with_past"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    async with connection_pool(database_on(postgres_server, name), size_max=1) as pool:
        await NativePartitions(pool).make(FIRST, LAST)
        await World(pool, FakeClock(BEGINNING), STEP).make()
    return name


class Past:
    """The log with its archive, and rounds of retirement."""

    def __init__(self, pool: AsyncConnectionPool, folder: Path) -> None:
        folder.mkdir()
        self.pool, self.folder = pool, folder
        self.archive = ParquetArchive(folder)
        self.telemetry = Telemetry()

    async def retire(
        self,
        archive: Archive | None = None,
        *,
        now: datetime = TODAY_AT_NOON,
        retention: timedelta = OLD,
    ) -> Sequence[LogDay]:
        retirement = PostgresRetirement(self.pool)
        return await Retire(retirement, archive, self.telemetry, retention).run_once(now)

    async def rows(self, *days: LogDay) -> dict[LogDay, list[StoredEvent]]:
        """What the database has of these days."""
        retirement = PostgresRetirement(self.pool)
        return {
            day: [row async for batch in retirement.events(day) for row in batch] for day in days
        }

    def archived(self, *days: LogDay) -> dict[LogDay, list[StoredEvent]]:
        """What the archive has of them."""
        found = {}
        for day in days:
            with opened(self.folder / name_of(day)) as file:
                found[day] = [row for group in groups(file, day) for row in group]
        return found


def table(day: LogDay) -> str:
    return f"{day.space}_events_p{day.day:%Y%m%d}"


def days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


PAST = sorted(LogDay(space, day) for space in Space for day in days_between(FIRST, LAST))
