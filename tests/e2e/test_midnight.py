"""The change of day: each event lies in the day on which it was recorded, in UTC.

How to think about it: the day is UTC's whatever the zone of the service and of the database, and
the time of recording whatever the webhook says about itself. So the service runs over midnight in a
zone where it is noon, on a database of yet another one, and webhooks come from years back and
ahead. A day is sealed a second after it is over, while they come.
"""

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.benchmarks.service import running_service
from tests.e2e.at_midnight import GO, MIDNIGHT, midnight
from tests.e2e.service import eventually
from tests.e2e.wire import CHARGEBACKS, ORDERS
from tests.webhooks import chargeback_webhook, order_webhook

SERVICE = (sys.executable, "-m", "tests.e2e.at_midnight")

THEIR_TIMES = [
    "1970-01-01T00:00:00Z",
    "1999-12-31T23:59:59.999999-12:00",
    "2026-03-29T02:30:00+01:00",
    "2100-12-31T23:59:59Z",
]

SETTINGS = {
    "TZ": "Pacific/Auckland",
    "PARTITION_DAYS_AHEAD": "1",
    "MAINTENANCE": "service",
    "MAINTENANCE_INTERVAL": "300ms",
    "SEAL_AFTER": "1s",
}


@pytest.fixture
def night() -> datetime:
    """The midnight that the test is about."""
    return midnight()


@pytest.fixture
def database(database_url: str, night: datetime) -> str:
    """In a zone of its own, and without the days that tests have ahead."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            b"DO $$ BEGIN EXECUTE format("
            b"'ALTER DATABASE %I SET timezone = ''America/New_York''', current_database()); END $$"
        )
        for log in ("order_events", "dispute_events"):
            for ahead in range(1, 9):
                day = night.date() + timedelta(days=ahead)
                connection.execute(f"DROP TABLE IF EXISTS {log}_p{day:%Y%m%d}".encode())
    return database_url


async def webhooks_over_midnight(url: str, go: Path, is_over: Callable[[], bool]) -> int:
    """How many were taken, from before midnight to three seconds after it."""
    clock = asyncio.get_running_loop().time
    until: float | None = None
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        for number in count(1):
            theirs = THEIR_TIMES[number % len(THEIR_TIMES)]
            order_id = f"midnight-{number}"
            sent = [
                (ORDERS, order_webhook(order_id, created_at=theirs, updated_at=theirs)),
                (CHARGEBACKS, chargeback_webhook(order_id, occurred_at=theirs)),
            ]
            for path, body in sent:
                answer = await client.post(path, content=body)
                assert (answer.status_code, answer.json()["outcome"]) == (202, "applied")
            go.touch()  # the first ones were taken before midnight, whatever happens now
            if until is None and is_over():
                until = clock() + 3.0
            if until is not None and clock() > until:
                return number
    raise AssertionError("counting never ends")


async def test_each_event_lies_in_the_day_of_its_recording(
    database: str, night: datetime, tmp_path: Path
) -> None:
    days = [f"{night - timedelta(days=1):%Y%m%d}", f"{night:%Y%m%d}"]
    settings = {**SETTINGS, "PG_URL": database, MIDNIGHT: night.isoformat()}
    folder = tmp_path / "service"
    async with running_service(folder, settings, SERVICE) as service:
        with psycopg.connect(database, autocommit=True) as connection:

            def rows(statement: str) -> list[tuple[Any, ...]]:
                return connection.execute(statement.encode()).fetchall()

            taken = await webhooks_over_midnight(
                f"http://{service.address.host}:{service.address.port}",
                folder / GO,
                lambda: rows(f"SELECT FROM dispute_events_p{days[1]} LIMIT 1") != [],
            )
            assert rows("SHOW timezone") == [("America/New_York",)]
            for log in ("order_events", "dispute_events"):
                lying = dict(
                    rows(f"SELECT tableoid::regclass::text, count(*) FROM {log} GROUP BY 1")
                )
                assert set(lying) == {f"{log}_p{day}" for day in days}
                assert sum(lying.values()) == taken
                assert (
                    rows(
                        f"SELECT tableoid::regclass::text, created_at FROM {log} WHERE"
                        f" '{log}_p' || to_char(created_at AT TIME ZONE 'UTC', 'YYYYMMDD')"
                        " <> tableoid::regclass::text"
                    )
                    == []
                )
            # The day that is over is sealed, and one more is ahead.
            sealed = (
                f"SELECT log, sealed_rows > 0 FROM event_days WHERE day = '{days[0]}' ORDER BY 1"
            )
            eventually(lambda: len(rows(sealed)) == 2)
            assert rows(sealed) == [("dispute_events", True), ("order_events", True)]
            after = datetime.fromisoformat(days[1]).replace(tzinfo=UTC) + timedelta(days=1)
            assert rows(f"SELECT to_regclass('order_events_p{after:%Y%m%d}') IS NULL") == [(False,)]
            assert rows("SELECT count(*) FROM order_events") == [(taken,)]
