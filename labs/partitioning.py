"""Partitioning: one question about five days, where the same five million rows lie differently.

How to think about it: an index says where rows are, not that they are together. A question pays for
the pages that its rows are scattered over: all of them in a flat table; with an index nearly one
for each row, if the rows came in another order; those of five days with a partition a day; and
hardly more than the rows fill where each day is sorted by kind, as the service seals it.

    make lab-partitioning            (scale=0.1: a tenth of the rows)
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import structlog
import uvloop
from rich.console import Console
from rich.progress import Progress

from infra.postgres_server import PostgresServer
from labs.ground import show
from labs.month import (
    ASKED_DAYS,
    DISPUTES,
    FIRST_DAY,
    LAST_DAY,
    PAGE,
    QUESTION,
    Answer,
    ask,
    make_month,
)
from labs.month_chart import draw
from payment_manager.adapters.postgres import migrate
from payment_manager.adapters.postgres.embedded import EmbeddedPostgres
from payment_manager.adapters.postgres.partitions.days import table_of
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.partitions.sealing import PostgresSealing
from payment_manager.adapters.postgres.pool import opened_pool
from payment_manager.application.ports import LogDay, Space

FLAT = "flat"
SCATTERED = "flat, index"
RECORDED = "flat, index, in order"
DAILY = "a partition a day"
SEALED = "sealed days"

# What the experiment that this one repeats read (another language, rows of about 165 bytes).
REFERENCE = {FLAT: 105_000, SCATTERED: 26_000, DAILY: 3_800}

DAYS = [
    f"created_at >= '{day}' AND created_at < '{day + timedelta(days=1)}'"
    for day in (FIRST_DAY + timedelta(days=n) for n in range((LAST_DAY - FIRST_DAY).days + 1))
]

CHART = Path(__file__).parent.parent / "docs" / "labs" / "partitioning.svg"
WARM_RUNS = 5
FILL = """
INSERT INTO {table} (event_id, dispute_id, sequence, kind, provider_event_id, data, created_at,
                     correlation_id)
SELECT event_id, dispute_id, sequence, kind, provider_event_id, data, created_at, correlation_id
FROM month_events
WHERE {condition}
ORDER BY {order}
"""
ASKED = [LogDay(Space.DISPUTE, day) for day in ASKED_DAYS]

Connection = psycopg.AsyncConnection[Any]
Conditions = Sequence[str]


@dataclass(frozen=True, slots=True)
class Measured:
    """`row_bytes`: what the tables asked about weigh with all their indexes, divided by rows."""

    cold: Answer
    warm: Answer
    page: Answer
    row_bytes: float


class Lab:
    """A server of our own with the month in it, that can be made to forget what it has read."""

    def __init__(self, folder: Path, progress: Progress, *, reference: bool) -> None:
        self._folder = folder
        self._server = (PostgresServer if reference else EmbeddedPostgres)(folder)
        self._progress = progress
        self._task = progress.add_task("a server", total=None)

    async def begin(self, scale: float) -> None:
        url = await self._server.start()
        await asyncio.to_thread(migrate.upgrade, url)
        self.says("disputes, and their events as they were recorded")
        async with self.connection() as connection:
            events = await make_month(connection, scale)
        self._progress.update(self._task, total=3 * events)  # three tables are filled with them

    async def end(self) -> None:
        await self._server.stop()

    def says(self, what: str) -> None:
        self._progress.update(self._task, description=what)

    @property
    def url(self) -> str:
        return self._server.url

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """As a report's: with PostgreSQL's own settings, and each statement a transaction."""
        async with await Connection.connect(self.url, autocommit=True) as connection:
            await connection.execute("SET maintenance_work_mem = '256MB'")
            yield connection

    async def fill(self, connection: Connection, table: str, order: str, parts: Conditions) -> None:
        """Part by part, so that it can be seen how far it is."""
        for condition in parts:
            done = await connection.execute(
                FILL.format(table=table, condition=condition, order=order).encode()
            )
            self._progress.advance(self._task, done.rowcount)
        await connection.execute(f"VACUUM (FREEZE, ANALYZE) {table}".encode())

    async def measured(self, table: str, parts: Sequence[str]) -> Measured:
        """Cold: after a restart, with nothing of the server's files in the system's memory."""
        await self._server.stop()
        await asyncio.to_thread(_forget, self._folder)
        await self._server.start()
        async with self.connection() as connection:
            cold = await ask(connection, QUESTION, table)
            runs = [await ask(connection, QUESTION, table) for _ in range(WARM_RUNS)]
            page = await ask(connection, PAGE, table)
            cursor = await connection.execute(
                "SELECT sum(pg_total_relation_size(oid)) / nullif(sum(reltuples), 0)"
                " FROM pg_class WHERE relname = ANY(%s)",
                (list(parts),),
            )
            [(row_bytes,)] = await cursor.fetchall()
        return Measured(cold, min(runs, key=lambda run: run.milliseconds), page, row_bytes)


async def run(scale: float = 1.0, *, chart: Path | None = None, reference: bool = False) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with Progress(transient=True) as progress, tempfile.TemporaryDirectory(prefix="lab-") as folder:
        lab = Lab(Path(folder), progress, reference=reference)
        try:
            await lab.begin(scale)
            found = await _flat(lab, scale) | await _by_day(lab)
        finally:
            await lab.end()
    show(
        f"{next(iter(found.values())).cold.rows:,} rows of a kind, a status and a reason in five"
        f" days, out of {DISPUTES * 10 * scale:,.0f} events",
        ("", "buffers", "reference", "tables", "ms cold", "ms warm", "planning", "B a row"),
        [
            (
                name, f"{each.warm.buffers:,}", f"{REFERENCE[name]:,}" if name in REFERENCE else "",
                each.warm.partitions,
                f"{each.cold.milliseconds:,.0f}", f"{each.warm.milliseconds:,.0f}",
                f"{each.cold.planning_buffers:,}", f"{each.row_bytes:.0f}",
            )
            for name, each in found.items()
        ],
    )  # fmt: skip
    show(
        "the newest hundred events of the kind in these days",
        ("", "buffers"),
        [(name, f"{each.page.buffers:,}") for name, each in found.items()],
    )
    if chart is not None:
        draw(chart, {name: each.warm.buffers for name, each in found.items()}, REFERENCE)


async def _flat(lab: Lab, scale: float) -> dict[str, Measured]:
    found: dict[str, Measured] = {}
    step = max(1, round(DISPUTES * scale / 20))
    by_dispute = [f"n >= {n} AND n < {n + step}" for n in range(0, round(DISPUTES * scale), step)]
    for name, order, parts in (
        (SCATTERED, "n, sequence", by_dispute),
        (RECORDED, "created_at", DAYS),
    ):
        lab.says(name)
        async with lab.connection() as connection:
            await connection.execute("CREATE TABLE flat (LIKE dispute_events INCLUDING DEFAULTS)")
            await lab.fill(connection, "flat", order, parts)
        if name == SCATTERED:
            found[FLAT] = await lab.measured("flat", ["flat"])
        async with lab.connection() as connection:
            await connection.execute("CREATE INDEX ON flat (kind, created_at, event_id)")
        found[name] = await lab.measured("flat", ["flat"])
        async with lab.connection() as connection:
            await connection.execute("DROP TABLE flat")
    return found


async def _by_day(lab: Lab) -> dict[str, Measured]:
    found: dict[str, Measured] = {}
    tables = [table_of(day) for day in ASKED]
    lab.says(DAILY)
    async with opened_pool(lab.url, 2) as pool:
        await NativePartitions(pool).make(FIRST_DAY, LAST_DAY)
    async with lab.connection() as connection:
        await lab.fill(connection, "dispute_events", "created_at", DAYS)
        await connection.execute("DROP TABLE month_events")
    found[DAILY] = await lab.measured("dispute_events", tables)
    lab.says(SEALED)
    async with opened_pool(lab.url, 2) as pool:
        for day in ASKED:
            if await PostgresSealing(pool).seal(day, datetime.now(UTC)) is None:
                raise RuntimeError(f"{table_of(day)} was not sealed: its log says why")
    found[SEALED] = await lab.measured("dispute_events", tables)
    return found


def _forget(folder: Path) -> None:
    """The server is down and all is on disk, so the system may drop what it keeps of its files."""
    if not hasattr(os, "posix_fadvise"):
        return  # macOS: cold means no more than restarted
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make lab-partitioning")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of the month is made")
    parser.add_argument(
        "--reference", action="store_true", help="on PostgreSQL 17 instead of the embedded one"
    )
    asked = parser.parse_args()
    scale: float = asked.scale
    Console(highlight=False).print(
        f"{DISPUTES * 10 * scale:,.0f} events, in three tables one after the other: takes about"
        f" {1 + 4 * scale:.0f} min and up to {1 + 6 * scale:.0f} GB in {tempfile.gettempdir()}"
    )
    chart = CHART if scale == 1.0 and not asked.reference else None
    uvloop.run(run(scale, chart=chart, reference=asked.reference))


if __name__ == "__main__":
    main()
