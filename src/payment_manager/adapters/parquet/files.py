"""What a day looks like as a file.

How to think about it: a file is a day of one log with all its columns, sorted by (order_id,
sequence, event_id), in groups of some thousand rows that can be read alone. The footer says what it
is, how many rows it has and their digest. It is plain Parquet, so that any tool reads it in ten
years, when nobody runs this service any more.

Format 1: names, types and order of the columns as below; `data` is the event's JSON as it was
received, `created_at` in microseconds of UTC. The digest is SHA-256 over the rows in their order,
each as a MessagePack array of its columns in the order of `StoredEvent`.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date
from pathlib import Path
from stat import S_ISREG
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from payment_manager.application.ports import (
    ArchiveError,
    ArchiveFile,
    LogDay,
    Space,
    StoredEvent,
)

FORMAT = "1"

GROUP_ROWS = 2_000
GROUP_BYTES = 4 * 1024 * 1024
"""Of a group's data: whichever comes first. A group is what has to be read for one row of it; much
smaller ones would compress badly.
"""

LOGS = {Space.ORDER: "order_events", Space.DISPUTE: "dispute_events"}

_NAME = re.compile(r"(order|dispute)_events/\1_events_p([0-9]{8})\.parquet")

_PREFIX = "payment_manager."

_encode_row = msgspec.msgpack.Encoder().encode


def schema_of(space: Space) -> pa.Schema:
    """An order is its own stream; a dispute has its order's id beside."""
    stream = [pa.field("dispute_id", pa.uuid(), False)] if space is Space.DISPUTE else []
    return pa.schema(
        [
            pa.field("order_id", pa.string(), False),
            pa.field("sequence", pa.int32(), False),
            *stream,
            pa.field("event_id", pa.uuid(), False),
            pa.field("kind", pa.string(), False),
            pa.field("provider_event_id", pa.string()),
            pa.field("data", pa.string(), False),
            pa.field("created_at", pa.timestamp("us", tz="UTC"), False),
            pa.field("correlation_id", pa.string(), False),
            pa.field("transaction_id", pa.uint64(), False),
            pa.field("position", pa.int64(), False),
        ]
    )


def name_of(day: LogDay) -> str:
    """Of the day's file, in the archive's folder: `order_events/order_events_p20261122.parquet`."""
    return f"{LOGS[day.space]}/{LOGS[day.space]}_p{day.day:%Y%m%d}.parquet"


def day_of(name: str) -> LogDay | None:
    """The day that a file of this name holds; None of a name that is none of ours."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        return LogDay(Space(found[1]), date.fromisoformat(found[2]))
    except ValueError:
        return None


# ── Rows and columns ──────────────────────────────────────────────────────────────────────────────


def as_table(space: Space, events: Sequence[StoredEvent]) -> pa.Table:
    columns: dict[str, Any] = dict(zip(StoredEvent._fields, zip(*events, strict=True), strict=True))
    stream = columns.pop("stream")
    if space is Space.DISPUTE:
        columns["dispute_id"] = [_uuid_bytes(each) for each in stream]
    columns["event_id"] = [each.bytes for each in columns["event_id"]]
    schema = schema_of(space)
    return pa.table([pa.array(columns[each.name], each.type) for each in schema], schema=schema)


def _uuid_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("-", ""))


def as_events(space: Space, table: pa.Table) -> list[StoredEvent]:
    columns = {name: table.column(name) for name in table.column_names}
    # Without its zone a time comes back sooner, and on machines without a zone data base, too.
    times = columns.pop("created_at").cast(pa.timestamp("us")).to_pylist()
    lists = {name: column.to_pylist() for name, column in columns.items()}
    lists["created_at"] = [time.replace(tzinfo=UTC) for time in times]
    if space is Space.ORDER:
        lists["stream"] = lists["order_id"]
    else:
        lists["stream"] = list(map(str, lists["dispute_id"]))
    return list(
        map(
            StoredEvent._make,
            zip(*(lists[name] for name in StoredEvent._fields), strict=True),
        )
    )


class Digest:
    """The digest and the number of the rows that went by."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.rows = 0

    def add(self, events: Iterable[StoredEvent]) -> None:
        for event in events:
            self._hash.update(_encode_row(event))
            self.rows += 1

    def digest(self) -> bytes:
        return self._hash.digest()


# ── Files ─────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What goes wrong with a file, in words for people, without its content."""
    try:
        yield
    except ArchiveError:
        raise
    except OSError as error:
        # The library's own words may show what stands in the file.
        raise ArchiveError(f"{path}: {error.strerror or 'can not be read as Parquet'}") from error
    except (pa.ArrowException, ValueError, KeyError, TypeError, MemoryError) as error:
        raise ArchiveError(f"{path}: damaged ({type(error).__name__})") from error


def opened(path: Path, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """A file of ours, read with its checksums; to be closed. `metadata`: its footer, where it was
    read before. Raises `ArchiveError`.
    """
    with told(path):
        if not S_ISREG(path.stat().st_mode):
            raise ArchiveError(f"{path}: not a file")
        return pq.ParquetFile(
            path,
            metadata=metadata,
            page_checksum_verification=True,
            memory_map=False,
            pre_buffer=False,
        )


def described(day: LogDay, file: pq.ParquetFile, path: Path) -> ArchiveFile:
    """What the file says of itself. Raises `ArchiveError` for one that holds something else."""
    with told(path):
        footer = file.metadata.metadata or {}
        said = {
            key: footer.get(f"{_PREFIX}{key}".encode(), b"").decode()
            for key in ("format", "log", "day", "rows", "digest")
        }
        if said["format"] != FORMAT:
            raise ArchiveError(f"{path}: not a file of this archive, or of a newer version")
        if (said["log"], said["day"]) != (LOGS[day.space], day.day.isoformat()):
            raise ArchiveError(f"{path}: holds another day")
        if not file.schema_arrow.equals(schema_of(day.space)):
            raise ArchiveError(f"{path}: has other columns")
        rows = int(said["rows"])
        if rows != file.metadata.num_rows:
            raise ArchiveError(f"{path}: not whole")
        return ArchiveFile(day, name_of(day), rows, bytes.fromhex(said["digest"]))


def footer_of(file: ArchiveFile) -> dict[str, str]:
    said = {
        "format": FORMAT,
        "log": LOGS[file.day.space],
        "day": file.day.day.isoformat(),
        "rows": str(file.rows),
        "digest": file.digest.hex(),
    }
    return {f"{_PREFIX}{key}": value for key, value in said.items()}


def group(file: pq.ParquetFile, number: int) -> pa.Table:
    """A group with all its columns. Raises `ValueError` where it isn't what the footer says of it:
    the footer has no checksum, and groups are chosen by it.
    """
    table = file.read_row_group(number, use_threads=False)
    ids = table.column("order_id")
    if (ids[0].as_py(), ids[-1].as_py()) != bounds(file.metadata, number):
        raise ValueError("the footer says something else")
    return table


def bounds(metadata: pq.FileMetaData, number: int) -> tuple[str, str]:
    """The first and the last order id of a group."""
    statistics = metadata.row_group(number).column(0).statistics
    if statistics is None or not statistics.has_min_max:
        raise ValueError("a group without bounds")
    return statistics.min, statistics.max


def groups(file: pq.ParquetFile, day: LogDay) -> Iterator[list[StoredEvent]]:
    """All rows, a group at a time."""
    for number in range(file.metadata.num_row_groups):
        yield as_events(day.space, group(file, number))
