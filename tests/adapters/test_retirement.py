"""Days leave the logs only when they are safe elsewhere, or are kept and said to be.

How to think about it: a small world of last month is retired, by rounds as maintenance runs them.
What may come between the steps (a crash, a late row, a damaged file, a reader) comes from archives
that are the real one with something happening in between.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.parquet.archive import ParquetArchive, aside
from payment_manager.adapters.parquet.files import name_of
from payment_manager.adapters.postgres.audit import PostgresAudit
from payment_manager.adapters.postgres.partitions import retirement
from payment_manager.adapters.postgres.partitions.choice import partitions_of
from payment_manager.adapters.postgres.partitions.days import attached_days
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.application.ports import (
    ArchiveError,
    ArchiveFile,
    LogDay,
    Space,
)
from payment_manager.application.verify import verify
from tests.adapters.conftest import Query
from tests.adapters.past import (
    BEGINNING,
    FIRST,
    LAST,
    OLD,
    PAST,
    STEP,
    Past,
    table,
    template_database,
)
from tests.adapters.world import World
from tests.clock import TODAY_AT_NOON, FakeClock

Happening = Callable[[ArchiveFile], Awaitable[None]]

BUSY = LogDay(Space.ORDER, FIRST)

__all__ = ["template_database"]  # a fixture


@pytest.fixture
def past(pool: AsyncConnectionPool, tmp_path: Path) -> Past:
    return Past(pool, tmp_path / "archive")


class Interrupted(ParquetArchive):
    """The archive, with something happening after a step."""

    def __init__(
        self,
        folder: Path,
        *,
        written: Happening | None = None,
        checked: Happening | None = None,
        published: Happening | None = None,
    ) -> None:
        super().__init__(folder)
        self._written, self._checked, self._published = written, checked, published

    async def write(self, day, events):  # type: ignore[no-untyped-def]
        file = await super().write(day, events)
        if self._written:
            await self._written(file)
        return file

    async def check(self, file: ArchiveFile) -> None:
        await super().check(file)
        if self._checked:
            await self._checked(file)

    async def publish(self, file: ArchiveFile) -> None:
        await super().publish(file)
        if self._published:
            await self._published(file)


async def log_of(query: Query, space: Space) -> list[tuple[object, ...]]:
    return await query(
        f"SELECT e.*::text, e.data::text FROM {space}_events AS e ORDER BY e.*::text"
    )


def files_in(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


async def test_a_retired_day_is_in_the_archive_row_by_row_and_gone_from_the_log(
    past: Past, query: Query
) -> None:
    before = await past.rows(*PAST)
    assert sum(map(len, before.values())) == 23

    assert sorted(await past.retire(past.archive)) == PAST

    assert past.archived(*PAST) == before
    assert files_in(past.folder) == sorted(map(name_of, PAST))
    for day in PAST:
        assert await query("SELECT to_regclass(%s)", table(day)) == [(None,)]
    kept = await query(
        "SELECT log, day, archive_file, archived_rows, detached_at = archived_at FROM event_days"
    )
    assert sorted(kept) == sorted(
        (f"{day.space}_events", day.day, name_of(day), len(before[day]), True) for day in PAST
    )
    assert past.telemetry.overdue == [0]
    assert await past.retire(past.archive) == []


async def test_only_whole_days_beyond_the_retention_leave(past: Past, query: Query) -> None:
    """A day is kept for the whole retention from its end."""
    midnight_after = TODAY_AT_NOON.replace(hour=0) - timedelta(days=10)
    end_of_first = (BEGINNING + timedelta(days=1)).replace(hour=0)
    just = end_of_first + OLD

    assert await past.retire(now=just - timedelta(microseconds=1)) == []
    assert [day.day for day in await past.retire(now=just)] == [FIRST, FIRST]
    assert [day.day for day in await past.retire(now=midnight_after)][-1] == LAST
    assert await past.retire(now=midnight_after) == []


async def test_without_an_archive_a_day_is_kept_as_a_table_of_its_own(
    past: Past, query: Query
) -> None:
    before = await log_of(query, Space.ORDER)

    assert sorted(await past.retire()) == PAST

    assert await log_of(query, Space.ORDER) == []
    kept = " UNION ALL ".join(
        f"SELECT e.*::text, e.data::text FROM {table(day)} AS e"
        for day in PAST
        if day.space is Space.ORDER
    )
    assert sorted(await query(kept)) == before
    said = await query("SELECT log, day, detached_at, archived_at FROM event_days")
    assert len(said) == len(PAST)
    assert {(row[2], row[3]) for row in said} == {(TODAY_AT_NOON, None)}
    assert await past.retire() == []


async def test_days_that_were_kept_go_to_an_archive_that_is_set_later(
    past: Past, query: Query
) -> None:
    before = await past.rows(*PAST)
    await past.retire(now=TODAY_AT_NOON - timedelta(days=1))

    assert sorted(await past.retire(past.archive)) == PAST

    assert past.archived(*PAST) == before
    [(detached, archived)] = await query("SELECT DISTINCT detached_at, archived_at FROM event_days")
    assert archived - detached == timedelta(days=1)


async def test_a_sealed_day_is_still_known_to_have_been_sealed(past: Past, query: Query) -> None:
    await query(
        "INSERT INTO event_days (log, day, sealed_at, sealed_rows) VALUES (%s, %s, now(), 3)",
        "order_events",
        FIRST,
    )
    await past.retire(past.archive)
    [(sealed, archived)] = await query(
        "SELECT sealed_rows, archived_rows FROM event_days WHERE log = %s AND day = %s",
        "order_events",
        FIRST,
    )
    assert (sealed, archived) == (3, 2)


# ── What comes in between ─────────────────────────────────────────────────────────────────────────


class Crash(Exception):
    """The process ends here."""


async def crash(_: ArchiveFile) -> None:
    raise Crash


@pytest.mark.parametrize("step", ["written", "checked", "published"])
async def test_a_round_that_ends_anywhere_loses_nothing_and_the_next_one_finishes(past: Past,
    step: str, query: Query) -> None:  # fmt: skip
    before = await past.rows(*PAST)
    log = await log_of(query, Space.DISPUTE)

    with pytest.raises(Crash):
        await past.retire(Interrupted(past.folder, **{step: crash}))

    assert await log_of(query, Space.DISPUTE) == log
    assert await query("SELECT * FROM event_days") == []
    assert past.telemetry.overdue == [len(PAST)]
    assert sorted(await past.retire(past.archive)) == PAST
    assert past.archived(*PAST) == before
    assert files_in(past.folder) == sorted(map(name_of, PAST)), "nothing is left over"


async def test_a_file_that_was_damaged_after_it_was_written_is_noticed_before_the_drop(
    past: Past,
) -> None:
    before = await past.rows(BUSY)

    for place in range(2, 100, 19):

        async def flip(file: ArchiveFile, place: int = place) -> None:
            if file.day == BUSY:
                path = aside(past.folder / file.name, file)
                content = bytearray(path.read_bytes())
                content[len(content) * place // 100] ^= 0b100
                path.write_bytes(content)

        with pytest.raises(ArchiveError, match="damaged"):
            await past.retire(Interrupted(past.folder, written=flip))
        assert await past.rows(BUSY) == before
        assert past.telemetry.overdue[-1] > 0

    await past.retire(past.archive)
    assert past.archived(BUSY) == before


async def test_a_row_that_comes_after_the_file_was_written_keeps_the_day_until_the_next_round(
    past: Past, query: Query
) -> None:
    async def come_late(file: ArchiveFile) -> None:
        if file.day == BUSY:
            await query(
                "INSERT INTO order_events SELECT gen_random_uuid(), 'late', 1, kind,"
                f" provider_event_id, data, created_at, correlation_id FROM {table(BUSY)} LIMIT 1"
            )

    retired = await past.retire(Interrupted(past.folder, checked=come_late))

    assert sorted(retired) == [day for day in PAST if day != BUSY]
    assert past.telemetry.overdue == [1]
    assert await past.retire(past.archive) == [BUSY]
    assert [row.order_id for row in past.archived(BUSY)[BUSY]].count("late") == 1


async def test_a_writer_under_way_is_waited_for_and_its_row_is_not_lost(
    past: Past, database_url: str, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Until the test has seen it wait, however long that takes.
    lock_day = retirement._LOCK_DAY.replace("'3s'", "'60s'")
    assert lock_day != retirement._LOCK_DAY
    monkeypatch.setattr(retirement, "_LOCK_DAY", lock_day)
    async with await psycopg.AsyncConnection.connect(database_url) as writer:
        await writer.execute(
            "INSERT INTO order_events SELECT gen_random_uuid(), 'late', 1, kind,"
            f" provider_event_id, data, created_at, correlation_id FROM {table(BUSY)} LIMIT 1"
        )
        round_ = asyncio.create_task(past.retire(past.archive))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while (await query(waiting))[0][0] == 0:
            assert not round_.done()
            await asyncio.sleep(0.01)
        await writer.commit()
    assert BUSY not in await round_
    assert await past.retire(past.archive) == [BUSY]
    assert "late" in [row.order_id for row in past.archived(BUSY)[BUSY]]


@pytest.mark.parametrize("archived", [True, False])
async def test_a_long_reader_keeps_a_day_and_nobody_queues_behind_us_for_long(
    past: Past, database_url: str, query: Query, monkeypatch: pytest.MonkeyPatch, archived: bool
) -> None:
    monkeypatch.setattr(
        "payment_manager.adapters.postgres.partitions.moment.PAUSES_SECONDS", (0.01,)
    )
    log = await log_of(query, Space.ORDER)
    now = (BEGINNING + timedelta(days=1)).replace(hour=0) + OLD  # two days are due
    waits: list[float] = []
    loop = asyncio.get_running_loop()

    async with await psycopg.AsyncConnection.connect(database_url) as reader:
        await reader.execute("SELECT FROM order_events, dispute_events")
        round_ = asyncio.create_task(past.retire(past.archive if archived else None, now=now))
        while not round_.done():
            began = loop.time()
            await query("SELECT FROM order_events LIMIT 1")
            waits.append(loop.time() - began)
            await asyncio.sleep(0.005)
        assert await round_ == []
        assert await log_of(query, Space.ORDER) == log

    assert waits, "all were answered while the long reader was there"
    assert max(waits) < 10.0, "a quarter of a second, and a slow machine's time on top"
    assert past.telemetry.overdue == [2]
    assert len(await past.retire(past.archive if archived else None, now=now)) == 2


async def test_two_processes_that_both_believe_to_lead_retire_each_day_once(
    past: Past, query: Query
) -> None:
    before = await past.rows(*PAST)
    rounds = [past.retire(ParquetArchive(past.folder)) for _ in range(2)]
    results = await asyncio.gather(*rounds, return_exceptions=True)
    while any(isinstance(each, Exception) for each in results):
        results = [await past.retire(ParquetArchive(past.folder))]

    assert past.archived(*PAST) == before
    assert len(await query("SELECT 1 FROM event_days WHERE archived_at IS NOT NULL")) == len(PAST)


async def test_rows_that_come_into_a_day_of_the_archive_stay_and_its_file_too(
    past: Past, query: Query
) -> None:
    """The day was made anew, by hand or for rows that lay in the default partition."""
    await past.retire(past.archive)
    before = past.archived(BUSY)[BUSY]
    await query(
        f"CREATE TABLE {table(BUSY)} PARTITION OF order_events FOR VALUES"
        f" FROM ('{BUSY.day}') TO ('{BUSY.day + timedelta(days=1)}')"
    )
    assert await past.retire(past.archive) == []
    assert past.archived(BUSY)[BUSY] == before
    assert await query("SELECT to_regclass(%s) IS NOT NULL", table(BUSY)) == [(True,)]


# ── The archive's folder ──────────────────────────────────────────────────────────────────────────


def _missing(folder: Path) -> None:
    folder.rmdir()


def _a_file(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("")


def _a_folder_where_the_file_goes(folder: Path) -> None:
    for day in PAST:
        (folder / name_of(day)).mkdir(parents=True)


def _a_file_where_the_log_goes(folder: Path) -> None:
    for space in Space:
        (folder / f"{space}_events").write_text("")


@pytest.mark.parametrize(
    "trouble",
    [_missing, _a_file, _a_folder_where_the_file_goes, _a_file_where_the_log_goes],
)
async def test_trouble_with_the_folder_is_told_and_nothing_is_dropped(
    past: Past, trouble: Callable[[Path], None], query: Query
) -> None:
    before = await log_of(query, Space.ORDER)
    trouble(past.folder)

    if trouble is _a_folder_where_the_file_goes:
        assert len(await past.retire(past.archive)) == len(PAST), "it is set aside, whatever it is"
        return
    with pytest.raises(ArchiveError, match=str(past.folder)):
        await past.retire(past.archive)
    assert await log_of(query, Space.ORDER) == before
    assert past.telemetry.overdue == [len(PAST)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_a_full_disk_is_told_and_nothing_is_dropped(
    past: Past, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await log_of(query, Space.ORDER)
    real = os.replace

    class Full(ParquetArchive):
        async def write(self, day, events):  # type: ignore[no-untyped-def]
            target = past.folder / "order_events" / "part"
            target.parent.mkdir(exist_ok=True)
            if not target.is_symlink():
                target.symlink_to("/dev/full")
            with monkeypatch.context() as patch:
                patch.setattr(Path, "with_name", lambda self, name: target)
                return await super().write(day, events)

    with pytest.raises(ArchiveError, match="No space left on device"):
        await past.retire(Full(past.folder))
    assert os.replace is real
    assert await log_of(query, Space.ORDER) == before


async def test_a_file_of_another_database_in_its_place_is_set_aside_and_not_lost(
    past: Past,
) -> None:
    place = past.folder / name_of(BUSY)
    place.parent.mkdir()
    place.write_bytes(b"something else")

    assert sorted(await past.retire(past.archive)) == PAST

    [kept] = place.parent.glob("*.replaced")
    assert kept.read_bytes() == b"something else"
    assert len(past.archived(BUSY)[BUSY]) == 2


# ── With pg_partman ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.integration
async def test_pg_partman_goes_on_making_days_and_brings_none_back_that_left(
    pool_17: AsyncConnectionPool, tmp_path: Path
) -> None:
    await NativePartitions(pool_17).make(FIRST, LAST)
    partitions = await partitions_of(pool_17, "pg_partman", 7)
    await partitions.maintain(TODAY_AT_NOON)
    await World(pool_17, FakeClock(BEGINNING), STEP).make()
    past = Past(pool_17, tmp_path / "archive")
    audit = PostgresAudit(pool_17, past.archive)
    before = await verify(audit)

    assert set(await past.retire(past.archive)) == set(PAST)

    health = await partitions.maintain(TODAY_AT_NOON + timedelta(days=1))
    assert (health.days_ahead, health.default_rows) == (7, 0)
    async with pool_17.connection() as connection:
        for space in Space:
            assert min(await attached_days(connection, space)) > LAST
    after = await verify(audit)
    assert (after.is_clean, after.events) == (before.is_clean, before.events) == (True, 23)
