"""Maintenance while webhooks flow: who waits for it, and for how long.

How to think about it: webhooks arrive at a fixed rate, whatever the service does, first alone and
then while a large day is sealed and detached and a day that is missing is made. So a moment in
which the log is locked shows as what it is: webhooks that were due and had to wait.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg

from tests.benchmarks.generator import Measured, open_loop
from tests.benchmarks.report import Table, number
from tests.benchmarks.run import cpu_cells
from tests.benchmarks.scale import FULL, QUICK, SMOKE
from tests.benchmarks.section import Asked, Section
from tests.benchmarks.service import Service, running_service
from tests.benchmarks.write_path import DUPLICATE, TAKEN, Contender, contender

ROWS = {FULL.name: 1_000_000, QUICK.name: 200_000, SMOKE.name: 3_000}

PER_SECOND = {FULL.name: 2_000, QUICK.name: 2_000, SMOKE.name: 100}

CONNECTIONS = 256

P99_BAR_SECONDS = 1.0

TURNS_MAX = 60
"""Of some seconds each: maintenance that isn't done by then never will be."""

# The day is over for long, and past its retention as soon as it is sealed.
_SETTINGS = {
    "MAINTENANCE": "service",
    "MAINTENANCE_INTERVAL": "500ms",
    "SEAL_AFTER": "1s",
    "EVENTS_RETENTION": "2d",
}

METHOD = """
One service with an embedded PostgreSQL and durability on takes webhooks at a fixed rate: first
alone, then while its maintenance, which looks every half second here, seals a day of so many
events, detaches it, and makes a day ahead that was dropped. Latencies count from when a webhook was
due. Every 202 must be in the database.
"""

# As other columns may come, all but these are taken as they are in a row that is there.
_COLUMNS = """
SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
WHERE attrelid = 'order_events'::regclass AND attnum > 0 AND NOT attisdropped
    AND attname NOT IN ('event_id', 'created_at')
"""
_MANY = """
INSERT INTO {table} (event_id, created_at, {columns})
SELECT gen_random_uuid(), timestamptz '{day} 00:00+00' + n * interval '23 h' / {rows}, {columns}
FROM (SELECT * FROM order_events LIMIT 1) AS one, generate_series(1, {rows}) AS n
"""


def old_day() -> date:
    return datetime.now(UTC).date() - timedelta(days=3)


def day_table(day: date) -> str:
    return f"order_events_p{day:%Y%m%d}"


def add_events(connection: psycopg.Connection, table: str, day: date, rows: int) -> None:
    """So many of that day, like one that the log has."""
    row = connection.execute(_COLUMNS).fetchone()
    assert row is not None
    text = _MANY.format(table=table, day=day, rows=rows, columns=row[0])
    assert connection.execute(text.encode()).rowcount == rows


def fill_aside(connection: psycopg.Connection, day: date, rows: int) -> None:
    """A day with many rows, no part of the log yet."""
    like = "LIKE order_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
    connection.execute(f"CREATE TABLE {day_table(day)} ({like})".encode())
    add_events(connection, day_table(day), day, rows)


def hand_over(connection: psycopg.Connection, day: date, missing: date) -> None:
    """That day is to be sealed and detached, and a missing one to be made."""
    connection.execute("SET lock_timeout = '5s'")
    connection.execute(f"DROP TABLE {day_table(missing)}".encode())
    connection.execute(
        f"ALTER TABLE order_events ATTACH PARTITION {day_table(day)} FOR VALUES"
        f" FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')".encode()
    )


async def measure(asked: Asked) -> None:
    rows, rate = ROWS[asked.scale.name], PER_SECOND[asked.scale.name]
    async with running_service(asked.folder / "service", _SETTINGS) as service:
        flow = contender("m", service)
        await _flow(flow, 20, 0.1)  # something to make a day of
        alone = [await _flow(flow, rate, asked.scale.open_seconds)]
        day, missing = old_day(), datetime.now(UTC).date() + timedelta(days=7)
        with psycopg.connect(service.database_url, autocommit=True) as connection:
            await asyncio.to_thread(fill_aside, connection, day, rows)
            await asyncio.to_thread(connection.execute, "CHECKPOINT")
            working = asyncio.create_task(asyncio.to_thread(hand_over, connection, day, missing))
            beside: list[Measured] = []
            while len(beside) < TURNS_MAX and not await asyncio.to_thread(_is_done, service):
                beside.append(await _flow(flow, rate, asked.scale.open_seconds))
            await working
        _tell(asked, {"nothing": alone, "maintenance": beside}, service, rate)
        _check(asked, flow, await asyncio.to_thread(_is_done, service))


async def _flow(flow: Contender, per_second: float, seconds: float) -> Measured:
    flow.webhooks.ahead(per_second * seconds)
    service = flow.service
    measured = await open_loop(
        service.address, flow.webhooks, service.meter,
        per_second=per_second, connections=CONNECTIONS, seconds=seconds, warm_up_seconds=0,
    )  # fmt: skip
    flow.answers.update(measured.statuses)
    return measured


def log_lines(service: Service, event: str) -> list[dict[str, Any]]:
    found = []
    for line in service.log.read_text().splitlines():
        with suppress(ValueError):  # the last one may be half written
            if (entry := json.loads(line))["event"] == event:
                found.append(entry)
    return found


def _is_done(service: Service) -> bool:
    """The old day was detached, which comes after sealing it, and the missing one is there."""
    missing = day_table(datetime.now(UTC).date() + timedelta(days=7))
    with psycopg.connect(service.database_url) as connection:
        row = connection.execute("SELECT to_regclass(%s)", [missing]).fetchone()
    return row != (None,) and bool(log_lines(service, "day_detached"))


def _tell(asked: Asked, turns: dict[str, Sequence[Measured]], service: Service, rate: int) -> None:
    sealed = max(log_lines(service, "day_sealed"), key=lambda line: int(line["rows"]))
    table = Table(
        f"{rate:,} webhooks a second, open loop, beside maintenance",
        ("beside", "seconds", "p50 ms", "p99 ms", "max ms", "CPU µs: service", "PostgreSQL",
         "generator", "others' CPU"),
        note=f"A day of {sealed['rows']:,} events was sealed in {sealed['seconds']:.1f} s, "
        f"{sealed['bytes_before'] / 1e6:,.0f} MB before and {sealed['bytes_after'] / 1e6:,.0f} MB "
        f"after; the log was locked for {sealed['locked_seconds'] * 1000:,.0f} ms at most.",
    )  # fmt: skip
    for beside, runs in turns.items():
        latencies = sorted(second for run in runs for second in run.latencies)
        at = [latencies[int(share * (len(latencies) - 1))] * 1000 for share in (0.5, 0.99, 1.0)]
        seconds = sum(run.seconds for run in runs)
        table.add(beside, number(seconds), *map(number, at), *cpu_cells(list(runs)))
        if beside == "maintenance":
            asked.findings.bar(
                "p99 beside maintenance", f"< {P99_BAR_SECONDS:g} s",
                at[1] < P99_BAR_SECONDS * 1000, f"{number(at[1])} ms",
            )  # fmt: skip
    asked.findings.keep(table)


def _check(asked: Asked, flow: Contender, is_done: bool) -> None:
    durable = flow.taken_durably()
    answers = Counter(flow.answers)
    asked.findings.bar(
        "every webhook was taken, and every 202 is in the database",
        "none missing, no errors",
        durable == answers[TAKEN] and set(answers) <= {TAKEN, DUPLICATE},
        ", ".join(f"{count:,} × {status}" for status, count in sorted(answers.items()))
        + f"; {durable:,} in the database",
    )
    asked.findings.bar("maintenance did its work meanwhile", "yes", is_done, str(is_done))


SECTION = Section("maintenance", measure, title="Maintenance while webhooks flow", method=METHOD)
