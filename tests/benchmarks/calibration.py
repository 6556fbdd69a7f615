"""What this machine can do at best, measured in the same run: disk, HTTP, and the bare statement.

How to think about it: a figure without its ceiling says nothing. A durable webhook can't be cheaper
than its share of one flush to disk, an answer not cheaper than the bare server's, a batch not
cheaper than the statement that appends its events. And nothing counts if the server is not durable.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from subprocess import Popen
from uuid import UUID

import psycopg
from uuid_utils import uuid7

from payment_manager.adapters.postgres.statements import SQL
from tests.benchmarks.generator import Measured, closed_loop
from tests.benchmarks.report import Findings, Table, number
from tests.benchmarks.service import running_bare_app

_WAL_PAGE_BYTES = 8192

DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@dataclass(frozen=True, slots=True)
class Machine:
    cpu_count: int
    cpu_model: str
    memory_gib: float
    kernel: str
    python: str
    load_before: float

    @classmethod
    def here(cls) -> "Machine":
        models = [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return cls(
            cpu_count=len(os.sched_getaffinity(0)),
            cpu_model=models[0] if models else platform.machine(),
            memory_gib=pages / 2**30,
            kernel=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            load_before=os.getloadavg()[0],
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """The append statement alone, in transactions of `events`."""

    events: int
    transactions_per_second: float

    @property
    def events_per_second(self) -> float:
        return self.events * self.transactions_per_second


def machine_table(machine: Machine, database_url: str) -> tuple[Table, dict[str, str]]:
    """What it is measured on, and PostgreSQL's durability as the server says."""
    durable = durability(database_url)
    version = durable.pop("server_version")
    table = Table("Calibration", ("what", "figure"))
    table.add("processors", f"{machine.cpu_count} × {machine.cpu_model}")
    table.add("memory", f"{machine.memory_gib:.0f} GiB")
    table.add("kernel, Python", f"{machine.kernel}, {machine.python}")
    table.add("PostgreSQL", version)
    table.add("durability", ", ".join(f"{name} {value}" for name, value in durable.items()))
    table.add("load before the run", f"{machine.load_before:.2f}")
    return table, durable


def check_durability(findings: Findings, durable: Mapping[str, str]) -> None:
    """No figure counts without."""
    findings.bar(
        "durability is on", ", ".join(DURABLE.values()), durable == DURABLE,
        ", ".join(durable.values()),
    )  # fmt: skip


def add_speeds(table: Table, folder: Path, seconds: float, when: str) -> None:
    """What drifts: a disk or a processor that others use too."""
    flushes = flushes_per_second(folder, seconds)
    table.add(f"fdatasync of one WAL page, {when}", f"{number(flushes)}/s")
    work = median(fixed_work_ms() for _ in range(5))
    table.add(f"a million squares in Python, {when}", f"{number(work)} ms")


def fixed_work_ms() -> float:
    """The same piece of Python each time: it tells a slow processor from a slow program."""
    began = time.perf_counter()
    sum(n * n for n in range(1_000_000))
    return (time.perf_counter() - began) * 1000


def fixed_work_ms_in_company() -> float:
    """While another process does the same: two hyperthreads of one core are not two cores."""
    endless = "while True: sum(n * n for n in range(1_000_000))"
    other = Popen([sys.executable, "-c", endless])
    try:
        fixed_work_ms()  # the other one is up by then
        return median(fixed_work_ms() for _ in range(5))
    finally:
        other.kill()
        other.wait()


def flushes_per_second(folder: Path, seconds: float) -> float:
    """One WAL page written over and flushed, again and again, as a lone committer does it."""
    path = folder / "flushed"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        # Room first: afterwards only data is flushed, as in a WAL file that is used again.
        os.pwrite(descriptor, bytes(16 * _WAL_PAGE_BYTES), 0)
        os.fsync(descriptor)
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            os.pwrite(descriptor, b"w" * _WAL_PAGE_BYTES, count % 16 * _WAL_PAGE_BYTES)
            os.fdatasync(descriptor)
            count += 1
        return count / (time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()


async def bare_http(requests: Iterator[bytes], *, connections: int, seconds: float) -> Measured:
    async with running_bare_app() as (address, meter):
        return await closed_loop(
            address, requests, meter, connections=connections, seconds=seconds, warm_up_seconds=0.5
        )


def durability(database_url: str) -> dict[str, str]:
    """As the server says."""
    with psycopg.connect(database_url) as connection:
        return {
            name: str(connection.execute(f"SHOW {name}").fetchone()[0])  # type: ignore[index]
            for name in (*DURABLE, "server_version")
        }


def bare_statement(
    database_url: str, payloads: Iterator[bytes], *, events: int, seconds: float
) -> Statement:
    """Into a table like the log, so that the log stays what the webhooks made it."""
    spent, transactions = 0.0, 0
    statement = SQL["append_order_events"].replace("order_events", "bare_events")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bare_events (LIKE order_events INCLUDING ALL)")
        while spent < seconds:
            rows = json.dumps([_event(body, n) for n, body in enumerate(islice(payloads, events))])
            began = time.perf_counter()
            connection.execute(statement.encode(), {"rows": rows}, prepare=True)
            spent += time.perf_counter() - began
            transactions += 1
        connection.execute("DROP TABLE bare_events")
    return Statement(events, transactions / spent)


def bodies(requests: Iterator[bytes]) -> Iterator[bytes]:
    return (request.partition(b"\r\n\r\n")[2] for request in requests)


def _event(payload: bytes, n: int) -> dict[str, object]:
    return {
        "event_id": str(UUID(int=uuid7().int)),
        "stream": f"ord-bare-{n}",
        "sequence": 1,
        "kind": "webhook_received",
        "provider_event_id": f"evt-bare-{n}",
        "data": {"outcome": "applied", "payload": json.loads(payload)},
        "created_at": "2026-01-02T10:00:00Z",
        "correlation_id": "0123456789abcdef0123456789abcdef",
    }
