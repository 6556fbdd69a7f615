"""A log of years, made in seconds: hundreds of days, a few events in each.

How to think about it: what a question costs depends on how many days there are and on how full
those are that it reads, not on the sum of all rows. So nearly empty days stand for full ones, and
the rows come in by the very statements that the service writes with.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from payment_manager.adapters.postgres import migrate
from payment_manager.adapters.postgres.partitions.days import TABLES, table_of
from payment_manager.adapters.postgres.partitions.native import begin_of, end_of
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import LogDay, Space
from tests.clock import TODAY_AT_NOON
from tests.conftest import database_on

KINDS = ("webhook_received", "hold_set", "hold_cleared", "capture_requested", "capture_completed")
RARE = "capture_failed"

TODAY = TODAY_AT_NOON.date()
AHEAD = timedelta(days=7)

_DAYS_AT_ONCE = 100  # each takes a few locks until the transaction ends
_ROWS_AT_ONCE = 5_000

_numbers = count(1)

Row = dict[str, Any]

Happened = tuple[str, str, datetime]
"""An event: its order, kind and time."""


def database_of_days(server_url: str, name: str, days: int) -> str:
    """The URL of a new database of `days` empty days up to today, and a week ahead, as in service.

    They are made once a server, and cloned.
    """
    template = f"template_with_{days}_days"
    with psycopg.connect(server_url, autocommit=True) as connection:
        known = "SELECT FROM pg_database WHERE datname = %s"
        if not connection.execute(known, (template,)).fetchall():
            connection.execute(f"CREATE DATABASE {template}".encode())
            migrate.upgrade(database_on(server_url, template))
            make_days(database_on(server_url, template), TODAY - timedelta(days=days - 1))
        # Thousands of files, nearly all empty: copied they are faster than logged.
        clone = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"
        connection.execute(clone.encode())
    return database_on(server_url, name)


def make_days(
    database_url: str,
    first: date,
    last: date = TODAY + AHEAD,
    spaces: Iterable[Space] = (Space.ORDER,),
) -> None:
    """All from `first` to `last`, in a few transactions instead of one each."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    with psycopg.connect(database_url, autocommit=True) as connection:
        for space in spaces:
            for begin in range(0, len(days), _DAYS_AT_ONCE):
                with connection.transaction():
                    for day in days[begin : begin + _DAYS_AT_ONCE]:
                        _make_day(connection, LogDay(space, day))


def _make_day(connection: psycopg.Connection, day: LogDay) -> None:
    text = SQL["make_partition"].format(
        table=TABLES[day.space],
        partition=table_of(day),
        begins=begin_of(day),
        ends=end_of(day),
    )
    for statement in text.split(";"):
        if statement.strip():
            connection.execute(statement.encode())


def write_orders(database_url: str, happened: Iterable[Happened]) -> None:
    """Orders and their events, in the order of time."""
    events, orders = event_rows(happened)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for name, rows in (("save_orders", orders), ("append_order_events", events)):
            for begin in range(0, len(rows), _ROWS_AT_ONCE):
                part = msgspec.json.encode(rows[begin : begin + _ROWS_AT_ONCE]).decode()
                connection.execute(SQL[name].encode(), {"rows": part})


def settle(database_url: str) -> None:
    """As autovacuum leaves it after a while."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


def event_rows(happened: Iterable[Happened]) -> tuple[list[Row], list[Row]]:
    """The events, and the orders that they make, as the write path's statements take them."""
    events: list[Row] = []
    orders: dict[str, Row] = {}
    for order_id, kind, at in sorted(happened, key=lambda each: each[2]):
        number = next(_numbers)
        order = orders.setdefault(order_id, _order(order_id, at))
        order["sequence"] = sequence = order["sequence"] + 1
        order["last_event_at"] = at
        payload = {"provider_event_id": f"evt-{number}", "order_id": order_id, "meta": "x" * 200}
        events.append(
            {
                "event_id": _event_id(at, number),
                "stream": order_id,
                "sequence": sequence,
                "kind": kind,
                "provider_event_id": f"evt-{number}" if kind == KINDS[0] else None,
                "data": {"outcome": "applied", "payload": payload},
                "created_at": at,
                "correlation_id": f"c-{number}",
            }
        )
    return events, list(orders.values())


def _order(order_id: str, at: datetime) -> Row:
    return {
        "order_id": order_id,
        "user_id": UUID(int=1),
        "status": "created",
        "created_at": at,
        "updated_at": at,
        "provenance": ((0, at, 0, "evt-1"), None),
        "sequence": 0,
        "first_event_at": at,
        "last_event_at": at,
    }


def _event_id(at: datetime, number: int) -> UUID:
    """A UUIDv7 of that time."""
    ms = int(at.timestamp() * 1000)
    return UUID(int=(ms << 80) | (0x7 << 76) | (0b10 << 62) | number)


def moment(day: date, share: float = 0.0) -> datetime:
    """A time of a day: its begin, and a share of the day more."""
    return datetime.combine(day, time(), UTC) + timedelta(days=share)
