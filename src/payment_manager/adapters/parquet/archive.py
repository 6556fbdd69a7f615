"""The archive's folder: a day is written aside, read back, and put in its place when it is sure.

How to think about it: nothing that stands in its place is ever written to. A day goes to a file of
another name, whole and on the disk; that one is checked; and it is moved to its place in the moment
when the database, which has the day locked, is about to drop it. So a crash leaves at most a file
aside, or one in its place that the database does not count yet; the next round makes it anew.

The folder itself is never made: it may be a mount that is missing, and the disk below it is not
meant.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from threading import Lock
from uuid import uuid4

import pyarrow.parquet as pq
import structlog

from payment_manager.adapters.parquet import questions
from payment_manager.adapters.parquet.files import (
    GROUP_BYTES,
    GROUP_ROWS,
    Digest,
    as_table,
    described,
    footer_of,
    groups,
    name_of,
    opened,
    schema_of,
    told,
)
from payment_manager.adapters.parquet.walk import ArchiveWalk
from payment_manager.application.ports import (
    ArchiveError,
    ArchiveFile,
    EventRow,
    EventsAsked,
    FileFound,
    LogDay,
    StoredEvent,
)

log = structlog.get_logger()


class ParquetArchive:
    """`Archive` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Of what was written aside, the digest of its bytes: a footer has no checksum.
        self._bytes: dict[Path, bytes] = {}

    async def write(self, day: LogDay, events: AsyncIterator[Sequence[StoredEvent]]) -> ArchiveFile:
        writer = await asyncio.to_thread(_Writer, self._folder, day)
        try:
            async for batch in events:
                # In a thread: compressing takes long, and others want a turn meanwhile.
                await asyncio.to_thread(writer.add, batch)
            file = await asyncio.to_thread(writer.finish)
            path = self._aside(file)
            self._bytes = {path: await asyncio.to_thread(_digest_of_bytes, path)}
            return file
        except BaseException:
            writer.give_up()
            raise

    async def check(self, file: ArchiveFile) -> None:
        path = self._aside(file)
        await asyncio.to_thread(_check, file, path, self._bytes.get(path))

    async def publish(self, file: ArchiveFile) -> None:
        await asyncio.to_thread(self._publish, file)

    def walk(self, files: Sequence[ArchiveFile]) -> ArchiveWalk:
        return ArchiveWalk(self._folder, files)

    async def found(self) -> Sequence[FileFound]:
        return await asyncio.to_thread(questions.found, self._folder)

    async def prove(self, file: ArchiveFile) -> None:
        await asyncio.to_thread(questions.prove, self._folder, file)

    async def events(
        self, asked: EventsAsked, limit: int
    ) -> tuple[Sequence[EventRow], Sequence[str]]:
        return await asyncio.to_thread(questions.answer, self._folder, asked, limit)

    def _aside(self, file: ArchiveFile) -> Path:
        return aside(self._folder / file.name, file)

    def _publish(self, file: ArchiveFile) -> None:
        path = self._folder / file.name
        with told(path):
            if path.exists():
                self._make_room(path, file)
            os.replace(self._aside(file), path)
            _sync_folder(path.parent)

    def _make_room(self, path: Path, file: ArchiveFile) -> None:
        """A crash may have left the very same file here, which goes. Another content is another
        database's, or that of one that was emptied: it is nobody's to overwrite.
        """
        try:
            with opened(path) as there:
                if described(file.day, there, path).digest == file.digest:
                    return
        except ArchiveError:
            pass  # not ours, or damaged: the more reason to keep it
        kept = path.with_name(f"{path.name}.{uuid4().hex[:8]}.replaced")
        os.replace(path, kept)
        log.warning("archive_file_set_aside", file=str(kept), replaced_by=str(path))


def aside(path: Path, file: ArchiveFile) -> Path:
    """Where a day waits until it is checked. Its content is in the name: who writes the same day at
    the same time can't put another content in its place.
    """
    return path.with_name(f"{path.name}.{file.digest.hex()[:16]}.aside")


class _Writer:
    """One day on its way to the disk. Locked: who stops waiting for a thread does not stop it."""

    def __init__(self, folder: Path, day: LogDay) -> None:
        self._day = day
        self._name = name_of(day)
        self._path = folder / self._name
        self._digest = Digest()
        self._last = ("", 0, b"")
        self._waiting: list[StoredEvent] = []
        self._waiting_bytes = 0
        self._lock = Lock()
        with told(self._path):
            if not folder.is_dir():
                raise ArchiveError(f"EVENTS_ARCHIVE_DIR: no folder {folder}")
            if not self._path.parent.is_dir():
                self._path.parent.mkdir()
                _sync_folder(folder)
            for pattern in ("part", "aside"):  # of rounds that were ended
                for left in self._path.parent.glob(f"{self._path.name}.*.{pattern}"):
                    left.unlink(missing_ok=True)
            self._part = self._path.with_name(f"{self._path.name}.{uuid4().hex}.part")
            self._parquet = pq.ParquetWriter(
                self._part,
                schema_of(day.space),
                compression="zstd",
                use_dictionary=["kind"],  # ids hardly repeat
                data_page_size=64 * 1024,  # what has to be in memory of a column at a time
                write_page_checksum=True,
            )

    def add(self, events: Sequence[StoredEvent]) -> None:
        with self._lock, told(self._path):
            self._digest.add(events)
            for event in events:
                place = (event.order_id, event.sequence, event.event_id.bytes)
                if place <= self._last:
                    raise ArchiveError(f"{self._path}: rows came unsorted or twice")
                self._last = place
                self._waiting.append(event)
                self._waiting_bytes += len(event.data)
                if len(self._waiting) >= GROUP_ROWS or self._waiting_bytes >= GROUP_BYTES:
                    self._write_group()

    def finish(self) -> ArchiveFile:
        with self._lock, told(self._path):
            self._write_group()
            digest = self._digest
            file = ArchiveFile(self._day, self._name, digest.rows, digest.digest())
            self._parquet.add_key_value_metadata(footer_of(file))
            self._parquet.close()
            with self._part.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(self._part, aside(self._path, file))
            _sync_folder(self._path.parent)
            return file

    def give_up(self) -> None:
        """Whatever ended it: what was written is no file."""
        with self._lock:
            try:
                self._parquet.close()
            except Exception as error:  # the disk that is full says so again
                log.debug("archive_part_not_closed", reason=type(error).__name__)
            self._part.unlink(missing_ok=True)

    def _write_group(self) -> None:
        if self._waiting:
            self._parquet.write_table(as_table(self._day.space, self._waiting))
            self._waiting, self._waiting_bytes = [], 0


def _digest_of_bytes(path: Path) -> bytes:
    with told(path), path.open("rb") as written:
        return hashlib.file_digest(written, "sha256").digest()


def _check(file: ArchiveFile, path: Path, bytes_written: bytes | None) -> None:
    _forget_cached(path)
    if _digest_of_bytes(path) != bytes_written:
        raise ArchiveError(f"{path}: damaged since it was written")
    with told(path), opened(path) as written:
        if described(file.day, written, path) != file:
            raise ArchiveError(f"{path}: says that it holds something else")
        digest = Digest()
        for events in groups(written, file.day):
            digest.add(events)
        if (digest.rows, digest.digest()) != (file.rows, file.digest):
            raise ArchiveError(f"{path}: does not hold the rows that were written")


def _forget_cached(path: Path) -> None:
    """So that what is checked is what the disk has, where the system can be told."""
    with told(path), path.open("rb") as written:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _sync_folder(folder: Path) -> None:
    """A file's name is on the disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
