"""Questions about archived events, answered from the files alone.

How to think about it: the files' names say which days to look into, and a day's rows are all
earlier than the next day's; so days are gone through in order until there is enough. Within a day
rows are sorted by order, not by time: the best rows so far are kept while its groups go by.
"""

import heapq
from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from payment_manager.adapters.parquet.files import (
    LOGS,
    Digest,
    as_events,
    bounds,
    day_of,
    described,
    group,
    groups,
    opened,
    told,
)
from payment_manager.application.ports import (
    ArchiveError,
    ArchiveFile,
    EventRow,
    EventsAsked,
    FileFound,
    LogDay,
    Space,
    StoredEvent,
)


def found(folder: Path) -> list[FileFound]:
    """All files of days, newest first; other files are none of ours."""
    files: list[FileFound] = []
    for log in LOGS.values():
        with told(folder):
            entries = sorted((folder / log).iterdir()) if (folder / log).is_dir() else []
        for path in entries:
            name = f"{log}/{path.name}"
            if (day := day_of(name)) is None:
                continue
            try:
                with told(path), opened(path) as parquet:
                    size, file = path.stat().st_size, described(day, parquet, path)
                files.append(FileFound(day, name, size, file, ""))
            except ArchiveError as error:
                files.append(FileFound(day, name, 0, None, str(error)))
    return sorted(files, key=lambda each: (each.day.day, each.day.space), reverse=True)


def prove(folder: Path, file: ArchiveFile) -> None:
    """Read all of it; raises `ArchiveError` where it does not hold the rows that it should."""
    path = folder / file.name
    digest = Digest()
    with told(path), opened(path) as parquet:
        for events in groups(parquet, file.day):
            digest.add(events)
    if (digest.rows, digest.digest()) != (file.rows, file.digest):
        raise ArchiveError(f"{path}: does not hold the rows that were written")


def answer(
    folder: Path, asked: EventsAsked, limit: int
) -> tuple[Sequence[EventRow], Sequence[str]]:
    """At most `limit` events, and which files could not be read."""
    if not folder.is_dir():
        raise ArchiveError(f"EVENTS_ARCHIVE_DIR: no folder {folder}")
    events: list[StoredEvent] = []
    left_out: list[str] = []
    files = [each for each in found(folder) if _in_window(each.day, asked)]
    for file in reversed(files) if asked.ascending else files:
        if len(events) >= limit:
            break
        path = folder / file.name
        try:
            if file.file is None:
                raise ArchiveError(file.why)
            with told(path), opened(path) as parquet:
                events += _best(_matching(parquet, asked), asked, limit - len(events))
        except ArchiveError as error:
            left_out.append(str(error))
    return [_row(event) for event in events], left_out


def _in_window(day: LogDay, asked: EventsAsked) -> bool:
    return (
        day.space is asked.space
        and (asked.time_from is None or day.day >= asked.time_from.astimezone(UTC).date())
        and (asked.time_to is None or day.day <= asked.time_to.astimezone(UTC).date())
    )


def _best(events: Iterator[StoredEvent], asked: EventsAsked, limit: int) -> list[StoredEvent]:
    best = heapq.nsmallest if asked.ascending else heapq.nlargest
    return best(limit, events, key=lambda event: (event.created_at, event.event_id))


def _matching(parquet: pq.ParquetFile, asked: EventsAsked) -> Iterator[StoredEvent]:
    """A group at a time, so that a day needs no more memory than that."""
    condition = _condition(asked)
    disputes = {str(UUID(each)) for each in asked.streams if asked.space is Space.DISPUTE}
    for number in range(parquet.metadata.num_row_groups):
        if asked.streams and asked.space is Space.ORDER:
            first, last = bounds(parquet.metadata, number)
            if not any(first <= stream <= last for stream in asked.streams):
                continue
        table = group(parquet, number)
        if condition is not None:
            table = table.filter(condition)
        for event in as_events(asked.space, table):
            if not disputes or event.stream in disputes:
                yield event


def _condition(asked: EventsAsked) -> pc.Expression | None:
    parts = []
    if asked.streams and asked.space is Space.ORDER:
        parts.append(pc.field("order_id").isin(list(asked.streams)))
    if asked.kinds:
        parts.append(pc.field("kind").isin([str(kind) for kind in asked.kinds]))
    time = pa.timestamp("us", tz="UTC")
    if asked.time_from is not None:
        parts.append(pc.field("created_at") >= pa.scalar(asked.time_from, time))
    if asked.time_to is not None:
        parts.append(pc.field("created_at") < pa.scalar(asked.time_to, time))
    condition = None
    for part in parts:
        condition = part if condition is None else condition & part
    return condition


def _row(event: StoredEvent) -> EventRow:
    return EventRow(
        str(event.event_id), event.stream, event.kind, event.provider_event_id,
        event.data.encode(), event.created_at, event.sequence,
    )  # fmt: skip
