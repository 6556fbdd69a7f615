"""What a question about the log may cost, with three days and with eight hundred.

How to think about it: the bars are on plans, so they hold on any machine: days that a statement
names (each has to be planned and locked), pages that it reads (buffers). Both logs have the same
busy last days; the large one has years of quiet ones before. What is the same question about the
same days must cost the same, however many other days there are.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, log2
from typing import Any

import msgspec
import pytest
from psycopg import AsyncClientCursor, AsyncConnection

from payment_manager.adapters.postgres.event_windows import DAYS_MAX
from payment_manager.adapters.postgres.partitions.sealing import PostgresSealing
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.adapters.postgres.transactions import PostgresTransaction
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.apply_webhooks import ApplyWebhooks, Taken
from payment_manager.application.ports import EventsAsked, LogDay, Space
from tests.clock import FakeClock, FakeEventIds
from tests.many_days import (
    KINDS,
    RARE,
    TODAY,
    Happened,
    database_of_days,
    event_rows,
    moment,
    settle,
    write_orders,
)
from tests.plans import Explained, ExplainingReadModel, explained
from tests.webhooks import as_webhook, order_webhook

pytestmark = pytest.mark.integration  # the fixtures that need a server are chosen at run time

FEW, MANY = 3, 800
BUSY_EVENTS = 1_500
QUIET_EVENTS = 6
PAGE = 100
PAGE_BUFFERS_MAX = 120

LONG_LIVED = "ord-long-lived"


@dataclass(frozen=True, slots=True)
class Log:
    url: str
    days: int


def _happened(days: int) -> Iterator[Happened]:
    """The last three days are busy; `days` counts them. An order has three events within a day."""
    busy = min(days, FEW)
    for ago in range(days):
        day, quiet = TODAY - timedelta(days=ago), ago >= busy
        events = QUIET_EVENTS if quiet else BUSY_EVENTS
        for n in range(events):
            order_id = f"ord-{ago}-{n % (events // 3)}"
            yield order_id, KINDS[n % len(KINDS)], moment(day, (n + 1) / (events + 2))
    yield LONG_LIVED, KINDS[0], moment(TODAY - timedelta(days=days - 1), 0.5)
    yield LONG_LIVED, RARE, moment(TODAY - timedelta(days=days - 1), 0.6)
    yield LONG_LIVED, KINDS[0], moment(TODAY, 0.4)


def _log(postgres_server: str, days: int) -> Log:
    url = database_of_days(postgres_server, f"budgets_{days}", days)
    write_orders(url, _happened(days))
    settle(url)
    return Log(url, days)


@pytest.fixture(scope="module")
def few(postgres_server: str) -> Log:
    return _log(postgres_server, FEW)


@pytest.fixture(scope="module")
def many(postgres_server: str) -> Log:
    return _log(postgres_server, MANY)


@pytest.fixture(params=["few", "many"])
def log(request: pytest.FixtureRequest) -> Log:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Log)
    return found


@dataclass(frozen=True, slots=True)
class Cost:
    rows: int
    statements: Sequence[Explained]

    @property
    def buffers(self) -> int:
        """Planning left out."""
        return sum(each.buffers for each in self.statements)

    @property
    def buffers_with_planning(self) -> int:
        return self.buffers + sum(each.planning_buffers for each in self.statements)

    @property
    def days(self) -> list[int]:
        """How many days of the log each statement names."""
        return [each.days("order_events") for each in self.statements]


async def cost_of(log: Log, asked: EventsAsked) -> Cost:
    async with connection_pool(log.url, size_max=1) as pool:
        read = ExplainingReadModel(pool)
        rows = await read.events(asked, None, PAGE + 1)
        noted = read.noted()
    assert all(each.scanned <= {"order_events_default"} for each in noted)
    return Cost(len(rows), noted)


def asked_of(days: int | None, **asked: Any) -> EventsAsked:
    """About the last `days`; None: about all time."""
    if days is None:
        return EventsAsked(Space.ORDER, **asked)
    end = TODAY + timedelta(days=1)
    return EventsAsked(
        Space.ORDER, time_from=moment(end - timedelta(days=days)), time_to=moment(end), **asked
    )


# ── Pages ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("days", [1, 5, 30, None])
async def test_a_page_of_the_newest_names_one_day_and_reads_few_pages(
    log: Log, days: int | None
) -> None:
    cost = await cost_of(log, asked_of(days))
    assert cost.rows == PAGE + 1
    assert sum(cost.days) == 1
    assert cost.buffers <= 80  # most of them the catalogue's, where no window says which day
    assert cost.buffers_with_planning <= 100


@pytest.mark.parametrize("days", [1, 5, 30, None])
async def test_a_page_of_one_kind_names_one_day_and_reads_at_most_120_pages(
    log: Log, days: int | None
) -> None:
    cost = await cost_of(log, asked_of(days, kinds=[KINDS[1]]))
    assert cost.rows == PAGE + 1
    assert sum(cost.days) == 1
    assert cost.buffers <= PAGE_BUFFERS_MAX


async def test_a_page_of_one_kind_from_five_quiet_days_reads_at_most_120_pages(many: Log) -> None:
    """No day alone fills it, so each is looked into, in windows of one, two and two days."""
    end = TODAY - timedelta(days=400)
    asked = EventsAsked(
        Space.ORDER,
        kinds=[KINDS[1]],
        time_from=moment(end - timedelta(days=5)),
        time_to=moment(end),
    )
    cost = await cost_of(many, asked)
    assert cost.rows == 5
    assert cost.days == [1, 2, 2]
    assert cost.buffers <= PAGE_BUFFERS_MAX


async def test_a_page_of_several_kinds_costs_a_page_of_each(log: Log) -> None:
    cost = await cost_of(log, asked_of(None, kinds=KINDS[:3]))
    assert cost.rows == PAGE + 1
    assert sum(cost.days) == 1
    assert cost.buffers <= 3 * PAGE_BUFFERS_MAX


async def test_the_oldest_are_found_as_the_newest_are(many: Log) -> None:
    cost = await cost_of(many, asked_of(None, ascending=True))
    assert cost.rows == PAGE + 1
    # Six events a day: fifteen days are not enough for the page.
    assert cost.days == [0, 1, 2, 4, 8, 16]
    assert cost.buffers_with_planning <= 250


@pytest.mark.parametrize("ascending", [False, True])
async def test_a_sealed_day_answers_a_kind_out_of_a_few_pages_and_all_kinds_out_of_a_page_each(
    log: Log, ascending: bool
) -> None:
    day = TODAY - timedelta(days=2)
    async with connection_pool(log.url, size_max=1) as pool:
        sealing = PostgresSealing(pool)
        if LogDay(Space.ORDER, day) in await sealing.unsealed(TODAY):
            assert await sealing.seal(LogDay(Space.ORDER, day), moment(TODAY))

    def asked(**more: Any) -> EventsAsked:
        start, end = moment(day), moment(day + timedelta(days=1))
        return EventsAsked(Space.ORDER, time_from=start, time_to=end, ascending=ascending, **more)

    of_a_kind = await cost_of(log, asked(kinds=[KINDS[1]]))
    assert of_a_kind.rows == PAGE + 1
    assert of_a_kind.buffers <= 20
    # Rows that follow one another in time lie as many pages apart as there are kinds.
    of_all = await cost_of(log, asked())
    assert of_all.rows == PAGE + 1
    assert of_all.buffers <= PAGE_BUFFERS_MAX


# ── Orders ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("orders", [1, 10])
async def test_the_events_of_orders_cost_the_same_among_800_days(
    few: Log, many: Log, orders: int
) -> None:
    asked = EventsAsked(Space.ORDER, streams=[f"ord-1-{n}" for n in range(orders)])
    one, other = await cost_of(few, asked), await cost_of(many, asked)
    assert one.rows == other.rows == min(3 * orders, PAGE + 1)
    assert one.days == other.days == [0, 1]
    assert other.buffers_with_planning <= 1.2 * one.buffers_with_planning


async def test_an_old_order_costs_what_a_new_one_costs(many: Log) -> None:
    old = await cost_of(many, EventsAsked(Space.ORDER, streams=["ord-600-1"]))
    new = await cost_of(many, EventsAsked(Space.ORDER, streams=["ord-1-1"]))
    assert old.rows == new.rows == 3
    assert old.buffers_with_planning <= 1.2 * new.buffers_with_planning


async def test_orders_that_are_years_apart_cost_their_own_days_and_not_those_between(
    many: Log,
) -> None:
    ages = range(5, 795, 80)
    cost = await cost_of(many, EventsAsked(Space.ORDER, streams=[f"ord-{n}-0" for n in ages]))
    assert cost.rows == 3 * len(ages)
    assert cost.days == [0, *(1 for _ in ages)]


# ── Questions that no short window answers ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(EventsAsked(Space.ORDER, kinds=[RARE]), id="a rare kind"),
        pytest.param(EventsAsked(Space.ORDER, streams=[LONG_LIVED]), id="an order of years"),
    ],
)
async def test_what_needs_every_day_takes_them_in_windows_that_double_up_to_a_limit(
    many: Log, asked: EventsAsked
) -> None:
    cost = await cost_of(many, asked)
    assert cost.rows == (3 if asked.streams else 1)
    assert sum(cost.days) == MANY
    assert max(cost.days) == DAYS_MAX
    assert len(cost.statements) <= 2 + log2(DAYS_MAX) + ceil(MANY / DAYS_MAX)
    assert cost.buffers <= 4 * MANY


# ── The write path ────────────────────────────────────────────────────────────────────────────────


class _OneConnection:
    """`Database` on one connection, which tells at the end of a transaction what it has locked."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.locked: set[str] = set()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        async with self._connection.transaction():
            yield PostgresTransaction(self._connection)
            cursor = await self._connection.execute(
                "SELECT locked.relname FROM pg_locks JOIN pg_class AS locked ON oid = relation"
                " WHERE pid = pg_backend_pid() AND locked.relname LIKE 'order_events%'"
            )
            self.locked = {name for (name,) in await cursor.fetchall()}


async def test_a_batch_locks_its_own_day_and_no_other(log: Log) -> None:
    async with connection_pool(log.url, size_max=1) as pool, pool.connection() as connection:
        database, clock = _OneConnection(connection), FakeClock()
        apply = ApplyWebhooks(database, clock, FakeEventIds(), PrometheusTelemetry())
        for turn in range(2):  # the second has its plans
            bodies = [order_webhook(f"new-{log.days}-{turn}-{n}") for n in range(20)]
            taken = await apply([as_webhook(body) for body in bodies])
            assert all(isinstance(each, Taken) for each in taken)
    today = f"order_events_p{clock.now():%Y%m%d}"
    days = {name for name in database.locked if name.startswith("order_events_p")}
    assert days
    assert all(name.startswith(today) for name in days - {"order_events_position"})
    assert len(database.locked) <= 12


async def test_adding_events_touches_as_many_pages_among_800_days(few: Log, many: Log) -> None:
    touched = []
    for log in (few, many):
        happened = [(f"new-{n}", KINDS[0], moment(TODAY, 0.5)) for n in range(100)]
        events, _ = event_rows(happened)
        async with connection_pool(log.url, size_max=1) as pool, pool.connection() as connection:
            insert = AsyncClientCursor(connection).mogrify(
                SQL["append_order_events"], {"rows": msgspec.json.encode(events).decode()}
            )
            for _ in range(2):  # the second time the catalogue is known
                async with connection.transaction(force_rollback=True):
                    cost = await explained(connection, insert)
                    touched.append(cost.buffers + cost.planning_buffers)
    _, among_few, _, among_many = touched
    assert among_many <= 1.2 * among_few
