"""The days of the event logs on the screen: a table for people, JSON for machines."""

from collections.abc import Sequence
from datetime import date, timedelta

import rich.filesize
import rich.table

from payment_manager.application.ports import DayOverview, DayState, Moved, Space
from payment_manager.entrypoints.terminal import as_json, print_table

LOGS = {Space.ORDER: "orders", Space.DISPUTE: "disputes"}


def newest(days: Sequence[DayOverview], today: date, back: int) -> Sequence[DayOverview]:
    """So many days back, all ahead, and the default partitions."""
    first = today - timedelta(days=back)
    return [each for each in days if each.day is None or each.day >= first]


def print_days(found: Sequence[DayOverview], shown: Sequence[DayOverview]) -> None:
    table = rich.table.Table()
    for heading in ("log", "day", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("rows, about", "heap", "indexes", "total"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("sealed at", "file"):
        table.add_column(heading, overflow="fold")
    for each in shown:
        table.add_row(
            LOGS[each.space],
            each.day.isoformat() if each.day else "",
            each.state,
            f"{each.rows:,}",
            *map(rich.filesize.decimal, (each.heap_bytes, each.index_bytes, each.total_bytes)),
            f"{each.sealed_at:%Y-%m-%d %H:%M}Z" if each.sealed_at else "",
            each.archive_file or "",
        )
    print_table(table)
    for space, log in LOGS.items():
        of_log = [each for each in found if each.space is space]
        size = rich.filesize.decimal(sum(each.total_bytes for each in of_log))
        rows = sum(each.rows for each in of_log)
        days = sum(each.day is not None for each in of_log)
        print(f"{log}: {days:,} days, about {rows:,} rows, {size}")
    if len(shown) < len(found):
        print(f"{len(found) - len(shown):,} older days are not shown: --all")
    if any(each.rows for each in found if each.state is DayState.DEFAULT):
        print("events outside of every day: payment-manager partitions move-default-rows")


def days_as_json(days: Sequence[DayOverview]) -> str:
    return as_json(
        [
            {
                "log": LOGS[each.space],
                "day": each.day.isoformat() if each.day else None,
                "state": each.state,
                "rows": each.rows,
                "heap_bytes": each.heap_bytes,
                "index_bytes": each.index_bytes,
                "total_bytes": each.total_bytes,
                "sealed_at": each.sealed_at.isoformat() if each.sealed_at else None,
                "archive_file": each.archive_file,
            }
            for each in days
        ]
    )


def print_moved(moved: Sequence[Moved]) -> None:
    for each in moved:
        print(f"{LOGS[each.day.space]} {each.day.day}: {each.rows:,} events")
    if not moved:
        print("no events outside of every day")
