"""The event log over more than two years of days: every event is on exactly one page.

How to think about it: eight hundred days with an event or two each are the hard case, since a page
spans many days. Between two pages the log changes as it does in service: webhooks come in, a day is
sealed, a day leaves for retention.
"""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import psycopg
import pytest

from payment_manager.adapters.postgres.partitions.days import table_of
from payment_manager.adapters.postgres.partitions.sealing import PostgresSealing
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.application.ports import LogDay, Space
from tests.e2e.service import Service
from tests.e2e.wire import ORDERS, send
from tests.many_days import KINDS, RARE, TODAY, Happened, database_of_days, moment, write_orders
from tests.webhooks import order_webhook

DAYS = 800
# Up to yesterday: what comes in while a test runs is newer than all of it, at any hour.
FIRST = TODAY - timedelta(days=DAYS)
LONG_LIVED = "ord-long-lived"

_numbers = count(1)

Place = tuple[str, str]


def _happened() -> Iterator[Happened]:
    for n in range(DAYS):
        day = FIRST + timedelta(days=n)
        yield f"ord-{n}", KINDS[0], moment(day, 0.0 if n % 7 == 0 else 0.3)
        if n % 3 == 0:
            yield f"ord-{n}", KINDS[1], moment(day, 0.6)
    for n in (0, 400, DAYS - 1):
        yield LONG_LIVED, RARE, moment(FIRST + timedelta(days=n), 0.9)


@pytest.fixture(scope="module")
def url(postgres_server: str) -> str:
    """The database. The tests' server has it, since an embedded one would flush thousands of new
    files to the disk.
    """
    url = database_of_days(postgres_server, "many_days", DAYS + 1)
    write_orders(url, _happened())
    return url


@pytest.fixture(scope="module")
def service(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # What happens to a day in these tests happens when they say so.
    settings = {"PG_URL": url, "MAINTENANCE": "off"}
    service = Service(tmp_path_factory.mktemp("service"), **settings)
    try:
        yield service.start()
        assert service.stop() == 0
        service.check_log()
    finally:
        service.clean_up()


@pytest.fixture
def places(url: str) -> list[Place]:
    """All events that there are when the test begins, oldest first."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT event_id::text, order_id FROM order_events ORDER BY created_at, event_id"
        ).fetchall()


def walk(
    api: httpx.Client, between: Callable[[int], None] = lambda _: None, **asked: Any
) -> list[Place]:
    """The events page by page. `between` is told how many pages there were."""
    found: list[Place] = []
    cursor = ""
    for pages in count(1):
        answer = api.get("/orders/events", params={"limit": 97, **asked, "cursor": cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [(item["event_id"], item["order_id"]) for item in page["items"]]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor != "")
        if not cursor:
            break
        between(pages)
    return found


def test_pages_without_a_window_hold_every_event_once_in_both_orders(
    api: httpx.Client, places: list[Place]
) -> None:
    assert len(places) > DAYS
    assert walk(api, sort_asc="true") == places
    assert walk(api) == places[::-1]


def test_events_that_come_in_meanwhile_shift_no_page(
    api: httpx.Client, places: list[Place]
) -> None:
    added: list[str] = []

    def add(_: int) -> None:
        added.append(f"new-{next(_numbers)}")
        assert send(api, ORDERS, order_webhook(added[-1])).status_code == 202

    assert walk(api, add) == places[::-1]  # they are newer than where the walk began

    places += [place for place in walk(api, sort_asc="true") if place[1] in added]
    added.clear()
    found = walk(api, add, sort_asc="true")
    assert found[: len(places)] == places
    assert [order_id for _, order_id in found[len(places) :]] == added


@pytest.mark.parametrize("ascending", ["true", "false"])
def test_days_that_are_sealed_meanwhile_shift_no_page(
    api: httpx.Client, url: str, places: list[Place], ascending: str
) -> None:
    """Among them days that the walk has yet to reach, and some that it is past."""

    def seal(pages: int) -> None:
        day = FIRST + timedelta(days=60 * pages + (ascending == "true"))
        if day < TODAY:
            asyncio.run(_sealed(url, LogDay(Space.ORDER, day)))

    expected = places if ascending == "true" else places[::-1]
    assert walk(api, seal, sort_asc=ascending) == expected


async def _sealed(url: str, day: LogDay) -> None:
    async with connection_pool(url, size_max=2) as pool:
        assert await PostgresSealing(pool).seal(day, datetime.now(UTC))


def test_the_rare_and_the_long_lived_are_found_in_all_the_years(
    api: httpx.Client, places: list[Place]
) -> None:
    expected = [place for place in places if place[1] == LONG_LIVED]
    assert len(expected) == 3
    questions: list[dict[str, Any]] = [{"kinds": RARE}, {"order_ids": LONG_LIVED}]
    for asked in questions:
        assert walk(api, **asked) == expected[::-1]
        assert walk(api, sort_asc="true", limit=1, **asked) == expected
    newest = moment(FIRST + timedelta(days=400)).isoformat()
    assert walk(api, kinds=RARE, time_to=newest) == expected[:1]


def test_days_that_leave_meanwhile_take_their_own_events_and_no_others(
    api: httpx.Client, url: str, places: list[Place]
) -> None:
    """The last test: what it detached stays away."""
    leaving = [LogDay(Space.ORDER, FIRST + timedelta(days=n)) for n in range(40)]

    def leave(pages: int) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            for day in leaving if pages == 2 else ():
                text = f"ALTER TABLE order_events DETACH PARTITION {table_of(day)}"
                connection.execute(text.encode())

    found = walk(api, leave)
    kept = walk(api, sort_asc="true")
    assert found == kept[::-1]
    assert kept == places[len(places) - len(kept) :]
    assert kept[0] == next(place for place in places if place[1] == "ord-40")
