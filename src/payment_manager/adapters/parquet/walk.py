"""Archived events along the orders' ids, for who goes over all orders.

How to think about it: each file is sorted by order id, so a walk over the orders goes over all
files side by side, a window of ids at a time. A window holds what fits into a fixed amount of
memory, however many files there are; where it ends is found by looking at ids alone. A file that is
missing, damaged or another one is left out from there on, and its day is said to be gone.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import structlog

from payment_manager.adapters.parquet.files import (
    as_events,
    bounds,
    described,
    group,
    name_of,
    opened,
    told,
)
from payment_manager.application.ports import (
    ArchiveError,
    ArchiveFile,
    LogDay,
    Space,
    StoredEvent,
)

WINDOW_BYTES = 32 * 1024 * 1024
"""Of columns in memory. As rows they are larger, but those are made a share at a time."""

MARKS = 32
"""Into so many parts a group of rows is divided where a window's end is looked for."""

log = structlog.get_logger()


class ArchiveWalk:
    """`ArchivedEvents`, of these files of a folder."""

    def __init__(self, folder: Path, files: Sequence[ArchiveFile]) -> None:
        self.gone: dict[LogDay, str] = {}
        self._folder, self._files = folder, files
        self._cursors: list[_Cursor] | None = None
        # The window: what is behind `after`, up to `upto` or to the end.
        self._after, self._upto, self._is_last = "", "", False
        self._window: dict[Space, tuple[list[str], pa.Table]] = {}

    async def bound(self, after: str, rows: int) -> str | None:
        return await asyncio.to_thread(self._bound, after, rows)

    async def events(self, space: Space, after: str, upto: str) -> Sequence[StoredEvent]:
        return await asyncio.to_thread(self._events, space, after, upto)

    def _bound(self, after: str, rows: int) -> str | None:
        self._reach(after)
        behind: list[str] = []
        for ids, _ in self._window.values():
            first = bisect_right(ids, after)
            behind += ids[first : first + rows]
        if len(behind) >= rows:
            return sorted(behind)[rows - 1]
        return None if self._is_last else self._upto

    def _events(self, space: Space, after: str, upto: str) -> Sequence[StoredEvent]:
        found: list[StoredEvent] = []
        while True:
            self._reach(after)
            if space in self._window:
                ids, table = self._window[space]
                first, last = bisect_right(ids, after), bisect_right(ids, upto)
                found += as_events(space, table.slice(first, last - first))
            if self._is_last or upto <= self._upto:
                return found
            after = self._upto

    def _reach(self, after: str) -> None:
        """Have the window that what comes next behind `after` is in."""
        if self._cursors is None or after < self._after:
            self._cursors = list(self._opened())
        elif after < self._upto or self._is_last:
            return
        for cursor in list(self._cursors):
            with self._leaving_out(cursor):
                cursor.seek(after)
        upto = _end(self._cursors)
        parts: dict[Space, list[pa.Table]] = {}
        for cursor in list(self._cursors):
            with self._leaving_out(cursor):
                parts.setdefault(cursor.day.space, []).extend(cursor.rows(upto))
        self._window = {space: _merged(tables) for space, tables in parts.items() if tables}
        self._after, self._upto, self._is_last = after, upto or "", upto is None

    def _opened(self) -> Iterator["_Cursor"]:
        for file in self._files:
            if file.day in self.gone:
                continue
            try:
                yield _Cursor(self._folder / name_of(file.day), file)
            except ArchiveError as error:
                self._leave_out(file.day, error)

    @contextmanager
    def _leaving_out(self, cursor: "_Cursor") -> Iterator[None]:
        try:
            with told(cursor.path):
                yield
        except ArchiveError as error:
            assert self._cursors is not None
            self._cursors.remove(cursor)
            self._leave_out(cursor.day, error)

    def _leave_out(self, day: LogDay, error: ArchiveError) -> None:
        self.gone[day] = str(error)
        log.error("archive_file_left_out", reason=str(error))


class _Cursor:
    """A place in one file. The file is open only while it is read: there may be thousands."""

    def __init__(self, path: Path, file: ArchiveFile) -> None:
        if file.name != name_of(file.day):
            raise ArchiveError(f"{path}: is recorded under another name")
        with opened(path) as parquet:
            if described(file.day, parquet, path) != file:
                raise ArchiveError(f"{path}: not the file that was recorded")
            self._metadata = parquet.metadata
        self.day, self.path = file.day, path
        self._group = self._start = 0
        self._ids: pa.Array | None = None

    def seek(self, after: str) -> None:
        """Go to the first row behind `after`; only forward."""
        while self._group < self._groups and bounds(self._metadata, self._group)[1] <= after:
            self._group, self._ids = self._group + 1, None
        if self._group < self._groups and self._ids is None:
            with opened(self.path, self._metadata) as parquet:
                column = parquet.read_row_group(self._group, columns=["order_id"])
                self._ids = column.column(0).combine_chunks()
        if self._ids is not None:
            self._start = _place(self._ids, after)

    def marks(self) -> Iterable[tuple[str, float]]:
        """Ids of this group at even distances, each with the bytes of the rows up to it."""
        if self._ids is None:
            return
        group = self._metadata.row_group(self._group)
        row_bytes = group.total_byte_size / group.num_rows
        step = max(1, (len(self._ids) - self._start) // MARKS)
        for place in range(self._start, len(self._ids), step):
            last = min(place + step, len(self._ids)) - 1
            yield self._ids[last].as_py(), (last - place + 1) * row_bytes

    @property
    def limit(self) -> str | None:
        """Where the marks end; None where the file does."""
        if self._ids is None or self._group + 1 >= self._groups:
            return None
        return str(self._ids[-1].as_py())

    def rows(self, upto: str | None) -> Iterator[pa.Table]:
        """From this place up to that id."""
        number, start = self._group, self._start
        if number >= self._groups:
            return
        with opened(self.path, self._metadata) as parquet:
            while number < self._groups and (
                upto is None or bounds(self._metadata, number)[0] <= upto
            ):
                table = group(parquet, number)
                ids = table.column("order_id").combine_chunks()
                end = len(ids) if upto is None else _place(ids, upto)
                # A slice would keep the whole group in memory.
                yield table.take(pa.array(range(start, end), pa.int64()))
                number, start = number + 1, 0

    @property
    def _groups(self) -> int:
        return int(self._metadata.num_row_groups)


def _end(cursors: Iterable[_Cursor]) -> str | None:
    """Where a window ends that begins at these places; None: with the files."""
    limits = [cursor.limit for cursor in cursors if cursor.limit is not None]
    end = min(limits, default=None)
    total = 0.0
    for id, bytes_ in sorted(mark for cursor in cursors for mark in cursor.marks()):
        total += bytes_
        if total >= WINDOW_BYTES:
            return id if end is None else min(id, end)
    return end


def _merged(tables: list[pa.Table]) -> tuple[list[str], pa.Table]:
    table = pa.concat_tables(tables)
    table = table.sort_by([(name, "ascending") for name in ("order_id", "sequence", "created_at")])
    return table.column("order_id").to_pylist(), table


def _place(ids: pa.Array, id: str) -> int:
    return bisect_right(ids, id, key=lambda each: each.as_py())
