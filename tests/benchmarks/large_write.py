"""Writing into a large log (A) against writing into an empty one (B), in turns.

How to think about it: a write should cost what its own day costs, however many days lie before it.
What does grow with the past are the indexes over ids, of orders and of known webhooks, so the ids
that are written are spread over them at random. Whatever else the machine does hits both.
"""

from collections.abc import Mapping
from dataclasses import replace
from statistics import median

import psycopg

from tests.benchmarks import calibration
from tests.benchmarks.calibration import Machine
from tests.benchmarks.large_history import DAYS, EVENTS_AN_ORDER, write_large_history
from tests.benchmarks.report import Findings, Table, number
from tests.benchmarks.run import cpu_cells
from tests.benchmarks.scale import FULL, QUICK, SMOKE
from tests.benchmarks.section import Asked, Section
from tests.benchmarks.service import running_service
from tests.benchmarks.write_path import (
    DUPLICATE,
    TAKEN,
    Contender,
    Level,
    closed_level,
    contender,
)

EVENTS = {FULL.name: 5_000_000, QUICK.name: 500_000, SMOKE.name: 3_000}

RATIO_BAR = 0.9

CONNECTIONS = 64

METHOD = f"""
Two services as users start them, each with an embedded PostgreSQL of its own and durability on; A's
holds a log of {DAYS} days and five million events with their orders ({EVENTS_AN_ORDER} webhooks
each) and known ids, B's is empty. The history is written by the server straight into the tables;
its days are past and not sealed, which no write notices; statistics are fresh. Then both
take webhooks in turns (A B, B A, …) in a closed loop: new orders, whose ids are spread at random
over all that are there. There is one checkpoint of both, before the first turn: after a checkpoint
the first change of each page logs the whole page, which costs A more, and once in minutes is what a
service sees. Maintenance is off in both, so that no turn has a round of it. Every 202 must be in
the database.
"""


async def measure(asked: Asked) -> None:
    machine = Machine.here()
    scale, findings = asked.scale, asked.findings
    events = EVENTS[scale.name]
    async with (
        running_service(asked.folder / "large", {}) as large,
        running_service(asked.folder / "empty", {}) as empty,
    ):
        table, durable = calibration.machine_table(machine, large.database_url)
        findings.keep(table)
        calibration.check_durability(findings, durable)
        await write_large_history(large.database_url, events)
        both = [contender("A", large, scattered=True), contender("B", empty, scattered=True)]
        before = {each.name: (each.taken_durably(), _wal_bytes(each)) for each in both}
        level = await closed_level(
            replace(scale, rounds=2 * scale.rounds), CONNECTIONS, both, checkpoint_each_turn=False
        )
        wal = {
            each.name: (_wal_bytes(each) - before[each.name][1]) / each.answers[TAKEN]
            for each in both
        }
        _tell(findings, level, events, wal)
        for each in both:
            _check_answers(findings, each, before[each.name][0])


def _wal_bytes(each: Contender) -> int:
    """Written so far."""
    with psycopg.connect(each.service.database_url) as connection:
        row = connection.execute("SELECT (pg_current_wal_lsn() - '0/0')::bigint").fetchone()
    assert row is not None
    return int(row[0])


def _tell(findings: Findings, level: Level, events: int, wal: Mapping[str, float]) -> None:
    table = Table(
        f"Webhooks into a log of {events:,} events and {DAYS} days (A), and into an empty one (B)",
        ("log", "webhooks/s", "p50 ms", "p99 ms", "batch", "WAL bytes", "CPU µs: service",
         "PostgreSQL", "generator", "others' CPU", "A / B (rounds)"),
        note=f"{level.connections} connections; medians of {len(level.ratios)} turns each, the "
        "ratio that of the median round; WAL and CPU per webhook; others' CPU in parts of one "
        "processor.",
    )  # fmt: skip
    ratios = f"{level.ratio:.2f} ({min(level.ratios):.2f}–{max(level.ratios):.2f})"
    for name, turns in level.turns.items():
        table.add(
            name,
            number(level.median_per_second(name)),
            number(level.median_ms(name, 0.5)),
            number(level.median_ms(name, 0.99)),
            number(median(turn.batch_size for turn in turns)),
            number(wal[name]),
            *cpu_cells([turn.measured for turn in turns]),
            ratios if name == "A" else "",
        )
    findings.keep(table)
    findings.bar(
        "write throughput, large log / empty log",
        f"≥ {RATIO_BAR:g}",
        level.ratio >= RATIO_BAR,
        f"{level.ratio:.2f}",
    )


def _check_answers(findings: Findings, each: Contender, known_before: int) -> None:
    durable = each.taken_durably() - known_before
    findings.bar(
        f"{each.name}: every 202 is in the database",
        "none missing, no errors",
        durable == each.answers[TAKEN] and set(each.answers) <= {TAKEN, DUPLICATE},
        ", ".join(f"{count:,} × {status}" for status, count in sorted(each.answers.items()))
        + f"; {durable:,} in the database",
    )


SECTION = Section(
    "large-write",
    measure,
    title="Writing into a large log",
    method=METHOD,
)
