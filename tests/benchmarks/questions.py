"""What operators ask, over HTTP and as the statements behind it.

How to think about it: each question is asked with other values every time, so that no answer comes
from a cache of one. The plans are those of the very statements that the service sends; a sequential
scan of a day of the log that has rows is an error, however fast it was.
"""

import random
from collections.abc import Awaitable, Callable, Iterator, Sized
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.read_model import PostgresReadModel
from payment_manager.application.ports import DisputesAsked, EventsAsked, OrdersAsked, Space
from payment_manager.domain.dispute import DisputeStatus
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.domain.order import OrderStatus
from tests.benchmarks.history import DAYS, History
from tests.benchmarks.mix import get
from tests.plans import ExplainingReadModel

PAGE = 100
WINDOW = timedelta(days=5)

# Those that have an aim.
ONE_ORDER = "one order"
NEWEST = "events: page, no window"
KIND_IN_WINDOW = "events: one kind, five days"

Ask = Callable[[PostgresReadModel], Awaitable[Sized]]


@dataclass(frozen=True, slots=True)
class Question:
    """`ask()` makes one anew: its target, and the call on the read model that it comes to."""

    name: str
    ask: Callable[[], tuple[str, Ask]]

    def requests(self) -> Iterator[bytes]:
        while True:
            yield get(self.ask()[0])


@dataclass(frozen=True, slots=True)
class Plan:
    """Of all statements that a question took. `partitions`: the days of the log that were looked
    into; `scanned`: those that were read from end to end, though they have more than a page;
    `milliseconds`: planning, where it is done each time, and execution.
    """

    statements: int
    partitions: int
    buffers: int
    milliseconds: float
    rows: int
    scanned: list[str]


def questions(history: History, seed: int) -> list[Question]:
    chance = random.Random(seed)

    def any_order() -> str:
        return history.order_id(chance.randrange(history.orders))

    def any_dispute() -> UUID:
        return dispute_id_of(
            history.order_id(3 + 10 * chance.randrange((history.orders - 3) // 10))
        )

    def one_order() -> tuple[str, Ask]:
        order_id = any_order()
        return f"/orders/{order_id}", lambda read: read.orders_by_id([order_id])

    def one_dispute() -> tuple[str, Ask]:
        dispute_id = any_dispute()
        return f"/disputes/{dispute_id}", lambda read: read.disputes_by_id([dispute_id])

    def newest_events() -> tuple[str, Ask]:
        return _events(EventsAsked(Space.ORDER))

    def oldest_events() -> tuple[str, Ask]:
        return _events(EventsAsked(Space.ORDER, ascending=True))

    def kind_in_window() -> tuple[str, Ask]:
        start = history.start + timedelta(days=chance.random() * (DAYS - WINDOW.days))
        kind = chance.choice(("hold_set", "hold_cleared", "capture_completed", "capture_failed"))
        return _events(
            EventsAsked(Space.ORDER, kinds=[kind], time_from=start, time_to=start + WINDOW)
        )

    def kinds_without_window() -> tuple[str, Ask]:
        return _events(EventsAsked(Space.ORDER, kinds=["hold_set", "capture_failed"]))

    def events_of_one() -> tuple[str, Ask]:
        return _events(EventsAsked(Space.ORDER, streams=[any_order()]))

    def events_of_ten() -> tuple[str, Ask]:
        return _events(EventsAsked(Space.ORDER, streams=[any_order() for _ in range(10)]))

    def dispute_events() -> tuple[str, Ask]:
        return _events(EventsAsked(Space.DISPUTE))

    def orders() -> tuple[str, Ask]:
        return "/orders", lambda read: read.orders(OrdersAsked(), None, PAGE + 1)

    def orders_by_status() -> tuple[str, Ask]:
        asked = OrdersAsked(statuses=[OrderStatus.FAILED])
        return "/orders?status=failed", lambda read: read.orders(asked, None, PAGE + 1)

    def orders_of_user() -> tuple[str, Ask]:
        user_id = history.user_id(chance.randrange(history.orders))
        asked = OrdersAsked(user_ids=[user_id])
        return f"/orders?user_id={user_id}", lambda read: read.orders(asked, None, PAGE + 1)

    def disputes() -> tuple[str, Ask]:
        return "/disputes", lambda read: read.disputes(DisputesAsked(), None, PAGE + 1)

    def disputes_by_status() -> tuple[str, Ask]:
        asked = DisputesAsked(statuses=[DisputeStatus.UNDER_REVIEW])
        return "/disputes?status=under_review", lambda read: read.disputes(asked, None, PAGE + 1)

    return [
        Question(ONE_ORDER, one_order),
        Question("one dispute", one_dispute),
        Question(NEWEST, newest_events),
        Question("events: page, oldest first", oldest_events),
        Question(KIND_IN_WINDOW, kind_in_window),
        Question("events: two kinds, no window", kinds_without_window),
        Question("events: of one order", events_of_one),
        Question("events: of ten orders", events_of_ten),
        Question("dispute events: page", dispute_events),
        Question("orders: list", orders),
        Question("orders: list by status", orders_by_status),
        Question("orders: list by user", orders_of_user),
        Question("disputes: list", disputes),
        Question("disputes: list by status", disputes_by_status),
    ]


def _events(asked: EventsAsked) -> tuple[str, Ask]:
    parameters: dict[str, str] = {}
    if asked.streams:
        parameters[f"{asked.space}_ids"] = ",".join(asked.streams)
    if asked.kinds:
        parameters["kinds"] = ",".join(asked.kinds)
    if asked.time_from and asked.time_to:
        parameters["time_from"] = asked.time_from.isoformat()
        parameters["time_to"] = asked.time_to.isoformat()
    if asked.ascending:
        parameters["sort_asc"] = "true"
    target = f"/{asked.space}s/events?{urlencode(parameters, safe=',')}".rstrip("?")
    return target, lambda read: read.events(asked, None, PAGE + 1)


async def plan_of(pool: AsyncConnectionPool, question: Question) -> Plan:
    read = ExplainingReadModel(pool)
    found = await question.ask()[1](read)
    noted = read.noted()
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT c.relname, c.relpages FROM pg_class AS c JOIN pg_inherits AS i"
            " ON i.inhrelid = c.oid WHERE c.relkind = 'r' AND c.relpages > 0"
        )
        pages: dict[str, int] = dict(await cursor.fetchall())
    touched = {name for each in noted for name in each.touched}
    scanned = {name for each in noted for name in each.scanned}
    return Plan(
        statements=len(noted),
        partitions=len(touched & pages.keys()),
        buffers=sum(each.buffers for each in noted),
        milliseconds=sum(each.milliseconds + each.planning_milliseconds for each in noted),
        rows=len(found),
        scanned=sorted(name for name in scanned if pages.get(name, 0) > 1),
    )
