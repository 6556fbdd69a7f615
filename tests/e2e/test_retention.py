"""Retention in processes of its own: killed anywhere it loses nothing, and the archive answers.

How to think about it: the command `payment-manager maintain` retires last month's days of a small
world; where it stands is seen in the archive's folder and in the server's locks, so it can be
killed there. The service retires by itself, and afterwards the commands prove and ask as before.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from payment_manager.adapters.parquet.archive import ParquetArchive
from payment_manager.adapters.parquet.files import name_of
from payment_manager.adapters.postgres.audit import PostgresAudit
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.application.ports import LogDay, Space
from payment_manager.application.verify import verify
from tests.adapters.past import BEGINNING, PAST, template_database
from tests.e2e.conftest import StartService
from tests.e2e.service import COMMAND, Service, eventually

__all__ = ["template_database"]  # a fixture

FIRST = LogDay(Space.DISPUTE, BEGINNING.date())
"""What is retired first."""

Command = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


@pytest.fixture
def command(database_url: str, tmp_path: Path, folder: Path) -> Iterator[Command]:
    """Starts a command on the test's database."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **settings: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [COMMAND, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "PG_URL": database_url,
                "DATA_DIR": str(tmp_path),
                "LOG_FORMAT": "json",
                "EVENTS_RETENTION": "10d",
                "EVENTS_ARCHIVE_DIR": str(folder),
                "SEAL_AFTER": "3650d",
                **settings,
            },
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def told(process: "subprocess.Popen[str]", code: int = 0) -> str:
    """What it printed until its end, the log left out."""
    said, errors = process.communicate(timeout=120)
    assert process.returncode == code, said + errors
    return "\n".join(line for line in said.splitlines() if not line.startswith('{"'))


def archived(connection: psycopg.Connection) -> int:
    [(count,)] = connection.execute(
        "SELECT count(*) FROM event_days WHERE archived_at IS NOT NULL"
    ).fetchall()
    return int(count)


@contextmanager
def open_transaction(url: str, statement: str) -> Iterator[None]:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())
        yield
        connection.rollback()


# In the way of every day: the first one is given up after some seconds.
IN_THE_WAY = {
    "written aside": "LOCK TABLE order_events, dispute_events IN ROW EXCLUSIVE MODE",  # as writers
    "in its place":  # as readers
    "LOCK TABLE order_events_default, dispute_events_default IN ACCESS SHARE MODE",
    "committed": "SELECT",
}


async def proof(url: str, folder: Path) -> tuple[int, ...]:
    async with connection_pool(url, size_max=1) as pool:
        report = await verify(PostgresAudit(pool, ParquetArchive(folder)))
    assert report.is_clean
    return report.orders, report.disputes, report.events, report.webhook_ids, report.unprovable


@pytest.mark.parametrize("moment", IN_THE_WAY)
async def test_killed_at_any_moment_it_loses_nothing_and_the_next_round_finishes(
    moment: str, command: Command, database: psycopg.Connection, database_url: str, folder: Path
) -> None:
    place = folder / name_of(FIRST)
    before = await proof(database_url, folder)

    def is_there() -> bool:
        match moment:
            case "written aside":
                return bool(list(folder.rglob("*.aside")))
            case "in its place":
                return place.exists()
            case _:
                return archived(database) > 0

    with open_transaction(database_url, IN_THE_WAY[moment]):
        process = command("maintain")
        eventually(is_there, every=0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (archived(database) > 0) == (moment == "committed")
    assert await proof(database_url, folder) == before

    # For a moment, the server still knows the one that was killed.
    eventually(lambda: "another process" not in told(command("maintain")))

    assert archived(database) == len(PAST)
    assert sorted(str(each.relative_to(folder)) for each in folder.rglob("*.*")) == sorted(
        map(name_of, PAST)
    )
    assert await proof(database_url, folder) == before


def test_the_commands_say_what_left_the_log_and_what_can_not_be_proved(
    command: Command, folder: Path
) -> None:
    told(command("maintain"))
    rows = command("archive", "list", "--check", "--json").communicate(timeout=120)[0].splitlines()
    assert [json.loads(row)["state"] for row in rows] == ["whole"] * len(PAST)
    assert told(command("verify")).endswith(" 0 findings")

    lost = folder / name_of(LogDay(Space.ORDER, BEGINNING.date()))
    lost.unlink()
    assert "missing" in told(command("archive", "list"), code=1)
    said = told(command("verify"))
    assert "orders and disputes could not be proved: events of theirs, of " in said
    assert str(lost) in said
    assert said.endswith(" 0 findings")


def test_an_archive_without_its_library_is_refused_in_plain_words(
    command: Command, tmp_path: Path
) -> None:
    missing = tmp_path / "without" / "pyarrow"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named pyarrow', name='pyarrow')"
    )
    process = command("maintain", PYTHONPATH=str(missing.parent))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "payment-manager[archive]" in errors
    assert "EVENTS_ARCHIVE_DIR" in errors
    assert "Traceback" not in errors


def test_the_service_retires_by_itself_and_the_archive_answers_as_the_api_did(
    start_service: StartService, tmp_path: Path
) -> None:
    folder = tmp_path / "not-there-yet"
    service = start_service(MAINTENANCE="off", EVENTS_ARCHIVE_DIR=str(folder))
    run(service, "seed-db", "--orders", "150", "--days", "8")
    question = {"kinds": "webhook_received,webhook_rejected", "limit": "1000"}
    with service.client() as client:
        before = client.get("/orders/events", params=question).json()["items"]
    assert len({event["created_at"][:10] for event in before}) > 5
    service.verify()
    assert service.stop() == 0

    # A folder that is not there: told, counted, nothing lost, and the service serves.
    service.settings |= {
        "MAINTENANCE": "service",
        "MAINTENANCE_INTERVAL": "300ms",
        "EVENTS_RETENTION": "3d",
        "SEAL_AFTER": "3650d",
    }
    service.start()
    told_of = service.wait_for_log("not_maintained", step="days_retired")
    assert str(folder) in told_of["reason"]
    with service.client() as client:
        eventually(lambda: overdue(client.get("/metrics").text) > 3)
        assert client.get("/orders/events", params=question).json()["items"] == before
        folder.mkdir()
        eventually(lambda: overdue(client.get("/metrics").text) == 0)
        left = client.get("/orders/events", params=question).json()["items"]
    service.verify()
    asked = ("--kinds", question["kinds"], "--limit", "1000", "--json")
    answered = [json.loads(row) for row in run(service, "archive", "query", *asked).splitlines()]
    assert left + answered == before
    assert answered
    assert left


def overdue(metrics: str) -> float:
    [value] = [
        line.split()[1]
        for line in metrics.splitlines()
        if line.startswith("payment_manager_retention_overdue_days ")
    ]
    return float(value)


def run(service: Service, *arguments: str) -> str:
    """A command beside the running service; what it printed."""
    environment: dict[str, Any] = {
        "PATH": os.environ["PATH"],
        "HOME": str(service.data_dir),
        **service.settings,
    }
    done = subprocess.run(
        [COMMAND, *arguments],
        env=environment,
        cwd=service.data_dir,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
