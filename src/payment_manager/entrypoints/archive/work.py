"""What the archive's commands do, and how they tell of it."""

import sys

import msgspec
import rich.filesize
import rich.table
import typer

from payment_manager.application.ports import (
    Archive,
    ArchiveError,
    ArchiveFile,
    EventsAsked,
    LogDay,
    Retirement,
    Space,
)
from payment_manager.contracts import api
from payment_manager.entrypoints.api.views import dispute_event_view, order_event_view
from payment_manager.entrypoints.terminal import print_table

_VIEW = {Space.ORDER: order_event_view, Space.DISPUTE: dispute_event_view}


class _Listed(msgspec.Struct):
    """A day of the archive, as it is told."""

    log: str
    day: str
    state: str
    rows: int | None
    size_bytes: int | None
    file: str | None


async def list_files(archive: Archive | None, days: Retirement, check: bool, as_json: bool) -> None:
    """`state`: whole; left over (the database does not count it); what is wrong; or kept."""
    recorded = {file.day: file for file in await days.recorded()}
    listed: list[_Listed] = []
    for each in await archive.found() if archive else ():
        expected = recorded.pop(each.day, None)
        state = await _state(archive, each.file, expected, each.why, check)
        rows = each.file.rows if each.file else None
        listed.append(_told(each.day, state, rows, each.size_bytes, each.name))
    for file in recorded.values():
        state = "missing" if archive else "no archive is set"
        listed.append(_told(file.day, state, file.rows, None, file.name))
    for day, rows, size_bytes in await days.kept():
        listed.append(_told(day, "kept in the database", rows, size_bytes, None))
    listed.sort(key=lambda one: (one.day, one.log), reverse=True)
    if as_json:
        for one in listed:
            print(api.encode(one).decode())
    else:
        _print(listed)
    if any(one.state not in _WELL for one in listed):
        raise typer.Exit(1)


_WELL = ("whole", "recorded", "left over", "kept in the database")


async def _state(
    archive: Archive | None,
    file: ArchiveFile | None,
    expected: ArchiveFile | None,
    why: str,
    check: bool,
) -> str:
    if file is None:
        return why
    if expected is None:
        return "left over"
    if file != expected:
        return "not the file that was recorded"
    if not check or archive is None:
        return "recorded"
    try:
        await archive.prove(file)
    except ArchiveError as error:
        return str(error)
    return "whole"


def _told(
    day: LogDay, state: str, rows: int | None, size_bytes: int | None, file: str | None
) -> _Listed:
    return _Listed(f"{day.space}s", day.day.isoformat(), state, rows, size_bytes, file)


def _print(listed: list[_Listed]) -> None:
    table = rich.table.Table()
    for heading in ("log", "day", "state", "file"):
        table.add_column(heading, overflow="fold")
    for heading in ("rows", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in listed:
        rows = "" if one.rows is None else f"{one.rows:,}"
        size = "" if one.size_bytes is None else rich.filesize.decimal(one.size_bytes)
        table.add_row(one.log, one.day, one.state, one.file or "", rows, size)
    print_table(table)


async def query(archive: Archive, asked: EventsAsked, limit: int, as_json: bool) -> None:
    events, left_out = await archive.events(asked, limit)
    for event in events:
        if as_json:
            print(api.encode(_VIEW[asked.space](event)).decode())
        else:
            print(
                f"{event.created_at:%Y-%m-%dT%H:%M:%S.%fZ} {event.stream} {event.sequence}"
                f" {event.kind} {event.provider_event_id or '-'}"
            )
    for why in left_out:
        print(f"left out: {why}", file=sys.stderr)
    if left_out:
        raise typer.Exit(1)


async def drop_kept(days: Retirement, day: LogDay, yes: bool) -> None:
    kept = {each: rows for each, rows, _ in await days.kept()}
    if day not in kept:
        print(f"{day.space}s {day.day}: no day that was detached and kept", file=sys.stderr)
        raise typer.Exit(1)
    if not yes:
        print(f"would drop {kept[day]:,} events of {day.space}s {day.day}; say --yes to do it")
        return
    if not await days.drop_kept(day):
        print(f"{day.space}s {day.day}: in use, nothing was dropped", file=sys.stderr)
        raise typer.Exit(1)
    print(f"dropped {kept[day]:,} events of {day.space}s {day.day}")
