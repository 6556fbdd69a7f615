"""Maintenance in processes of its own: it hinders nobody, and may be killed at any moment.

How to think about it: the command `payment-manager maintain` does a round on a test's database, so
a test can kill it and start it again; what it is just doing is read from the server's own lists.
The service does its rounds by itself while webhooks flow, here every fraction of a second.
"""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from payment_manager.adapters.postgres.embedded import running_url
from tests.benchmarks.cpu import CpuMeter
from tests.benchmarks.generator import Address, Measured, open_loop
from tests.benchmarks.maintenance import add_events, day_table, fill_aside, hand_over, old_day
from tests.benchmarks.mix import MadeAhead, webhook_requests
from tests.e2e.conftest import StartService
from tests.e2e.service import COMMAND, Service, eventually
from tests.e2e.wire import ORDERS
from tests.webhooks import order_webhook

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)

_ROWS = f"SELECT e::text FROM order_events_p{YESTERDAY:%Y%m%d} AS e ORDER BY event_id"

Run = Callable[..., "subprocess.Popen[str]"]


def one_event(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO order_events (event_id, order_id, sequence, kind, data, created_at,"
        " correlation_id) VALUES (gen_random_uuid(), 'ord-1', 1, 'hold_set', '{}', now(), 'test')"
    )


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    """Its yesterday has enough events that copying them can be caught in the act."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        one_event(connection)
        add_events(connection, "order_events", YESTERDAY, 40_000)
        yield connection


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Iterator[Run]:
    """Starts `payment-manager maintain`."""
    started: list[subprocess.Popen[str]] = []
    settings = {
        "PG_URL": database_url,
        "DATA_DIR": str(tmp_path),
        "LOG_FORMAT": "json",
        # Yesterday may have been over for seconds when this runs.
        "SEAL_AFTER": "1s",
    }

    def maintain() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [COMMAND, "maintain"],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **settings},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield maintain
    for process in started:
        process.kill()
        process.communicate()


def told(process: "subprocess.Popen[str]", code: int = 0) -> str:
    """What it printed until its end, the log left out."""
    said, _ = process.communicate(timeout=120)
    assert process.returncode == code, said
    return "\n".join(line for line in said.splitlines() if not line.startswith("{"))


@contextmanager
def a_writer_of_yesterday(url: str) -> Iterator[None]:
    """Its transaction is open meanwhile, so the day can be copied and not be swapped."""
    with psycopg.connect(url) as writer:
        add_events(writer, "order_events", YESTERDAY, 1)
        yield


def is_copying(connection: psycopg.Connection) -> bool:
    return bool(connection.execute("SELECT pid FROM pg_stat_progress_copy").fetchall())


def waits_for_the_day(connection: psycopg.Connection) -> bool:
    return bool(
        connection.execute(
            "SELECT pid FROM pg_locks WHERE NOT granted AND mode = 'ShareLock'"
            f" AND relation = 'order_events_p{YESTERDAY:%Y%m%d}'::regclass"
        ).fetchall()
    )


def copies_or_has_copied(connection: psycopg.Connection) -> bool:
    """While somebody writes: a copy that nobody saw, since it was over soon, waits for its turn."""
    return is_copying(connection) or waits_for_the_day(connection)


def assert_whole(connection: psycopg.Connection, rows: list[tuple[Any, ...]]) -> None:
    """The day has these rows, is sealed, and nothing else was left behind."""
    assert connection.execute(_ROWS.encode()).fetchall() == rows
    assert connection.execute(
        "SELECT sealed_rows FROM event_days WHERE log = 'order_events' AND day = %s", [YESTERDAY]
    ).fetchall() == [(len(rows),)]
    assert (
        connection.execute("SELECT relname FROM pg_class WHERE relname LIKE '%packed%'").fetchall()
        == []
    )


@pytest.mark.parametrize("moment", ["copying", "swapping"])
def test_killed_while_it_seals_it_loses_nothing_and_the_next_round_finishes(
    database: psycopg.Connection, database_url: str, run: Run, moment: str
) -> None:
    looks = {"copying": copies_or_has_copied, "swapping": waits_for_the_day}
    with a_writer_of_yesterday(database_url):
        process = run()
        eventually(lambda: looks[moment](database), every=0.002)
        process.kill()
        process.wait(60)
    rows = database.execute(_ROWS.encode()).fetchall()
    assert database.execute("SELECT day FROM event_days WHERE sealed_rows > 0").fetchall() == []

    def done() -> bool:
        # For a moment, the server still knows the one that was killed.
        said = told(run())
        return "another process" not in said and "days sealed: 0" not in said

    eventually(done)
    assert_whole(database, rows)
    assert "days sealed: 0" in told(run())


def test_one_process_leads_and_when_it_is_killed_the_next_one_does(
    database: psycopg.Connection, database_url: str, run: Run
) -> None:
    with a_writer_of_yesterday(database_url):
        leader = run()
        eventually(lambda: waits_for_the_day(database), every=0.01)
        leader.send_signal(signal.SIGSTOP)  # however slow the next one is, this one leads

        said = told(run())

        assert "another process leads" in said
        assert "days made ahead" in said
        assert "sealed" not in said
        leader.kill()
        leader.wait(60)
    eventually(lambda: "another process" not in told(run()))
    assert_whole(database, database.execute(_ROWS.encode()).fetchall())


def test_told_to_stop_it_stops_at_once_and_leaves_nothing(
    database: psycopg.Connection, database_url: str, run: Run
) -> None:
    with a_writer_of_yesterday(database_url):
        process = run()
        eventually(lambda: copies_or_has_copied(database), every=0.002)
        process.send_signal(signal.SIGTERM)
        told(process, 128 + signal.SIGTERM)  # whoever went on to its end would say 0

    rows = database.execute(_ROWS.encode()).fetchall()
    assert database.execute("SELECT day FROM event_days WHERE sealed_rows > 0").fetchall() == []
    eventually(lambda: "days sealed: 0" not in told(run()))
    assert_whole(database, rows)


# ── While webhooks flow ───────────────────────────────────────────────────────────────────────────

PER_SECOND = 300
"""What a machine that is busy with other tests takes without a queue; the benchmark asks for more.
"""

OLD_DAY, OLD_ROWS = old_day(), 100_000
OLD_TABLE = day_table(OLD_DAY)
LAST_DAY = datetime.now(UTC).date() + timedelta(days=7)


def upkeep_done(service: Service) -> bool:
    """The old day was sealed and detached, and a day that was missing was made."""
    log = service.log
    is_sealed = any(line["event"] == "day_sealed" and line["rows"] >= OLD_ROWS for line in log)
    is_detached = any(line["event"] == "day_detached" for line in log)
    return is_sealed and is_detached and has_table(service, day_table(LAST_DAY))


def has_table(service: Service, name: str) -> bool:
    return service.query("SELECT to_regclass(%s) IS NOT NULL", name) == [(True,)]


def work_for_maintenance(service: Service) -> None:
    """A day with many rows that is over and past its retention; and one day less ahead."""
    url = running_url(service.data_dir)
    assert url is not None
    with psycopg.connect(url, autocommit=True) as connection:
        fill_aside(connection, OLD_DAY, OLD_ROWS)
        hand_over(connection, OLD_DAY, LAST_DAY)


async def test_webhooks_are_taken_while_days_are_made_sealed_and_detached(
    start_service: StartService,
) -> None:
    service = await asyncio.to_thread(
        start_service, MAINTENANCE_INTERVAL="300ms", SEAL_AFTER="1s", EVENTS_RETENTION="2d"
    )
    with service.client() as client:
        assert client.post(ORDERS, content=order_webhook()).status_code == 202
    requests = MadeAhead(webhook_requests("flow")).ahead(5 * PER_SECOND)
    rounds: list[Measured] = []

    async def flow() -> None:
        address, meter = Address("127.0.0.1", service.port), CpuMeter(service.process.pid)
        while not await asyncio.to_thread(upkeep_done, service) and len(rounds) < 30:
            asked = open_loop(
                address, requests, meter,
                per_second=PER_SECOND, connections=32, seconds=2, warm_up_seconds=0,
            )  # fmt: skip
            rounds.append(await asked)

    await asyncio.gather(flow(), asyncio.to_thread(work_for_maintenance, service))

    assert upkeep_done(service), json.dumps(service.log[-5:])
    # Who has to wait for longer than a second and a half is refused.
    assert {status for each in rounds for status in each.statuses} <= {200, 202}
    # Detached and kept: nothing is dropped without an archive.
    # Its rows were copies, which proving would find; all that came by webhook is proved.
    counted = f"WITH gone AS (DELETE FROM {OLD_TABLE} RETURNING 1) SELECT count(*) FROM gone"
    assert service.query(counted) == [(OLD_ROWS,)]
    await asyncio.to_thread(service.verify)


def test_a_service_stops_at_once_while_it_seals(start_service: StartService) -> None:
    service = start_service(MAINTENANCE_INTERVAL="200ms", SEAL_AFTER="1s")
    with service.client() as client:
        assert client.post(ORDERS, content=order_webhook()).status_code == 202
    work_for_maintenance(service)
    url = running_url(service.data_dir)
    assert url is not None
    with psycopg.connect(url) as writer, psycopg.connect(url, autocommit=True) as connection:
        # As if somebody were about to write to the day, so that no copy is the last one.
        writer.execute(f"LOCK TABLE {OLD_TABLE} IN ROW EXCLUSIVE MODE")
        eventually(lambda: is_copying(connection), every=0.002)
        began = len(service.log)

        assert service.stop() == 0

        # It was broken off: neither done nor given up.
        assert not [each for each in service.log[began:] if each["event"].startswith("day_")]
        writer.close()
    service.start()
    service.wait_for_log("day_sealed", table=OLD_TABLE, rows=OLD_ROWS)
    assert service.query(f"SELECT count(*) FROM {OLD_TABLE}") == [(OLD_ROWS,)]


def test_with_maintenance_off_a_service_makes_days_at_its_start_and_seals_none(
    start_service: StartService,
) -> None:
    service = start_service(MAINTENANCE="off", MAINTENANCE_INTERVAL="100ms", SEAL_AFTER="1s")

    assert has_table(service, day_table(LAST_DAY))
    with service.client() as client:
        for _ in range(5):
            client.post(ORDERS, content=order_webhook())
        text = client.get("/metrics").text
    assert "payment_manager_partition_days_ahead 7.0" in text
    assert not any(line["event"] == "maintained" for line in service.log)
    assert service.query("SELECT count(*) FROM event_days") == [(0,)]
