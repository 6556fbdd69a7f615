"""The archive answers as the log did, and says so where it can't."""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pyarrow.parquet as pq
import pytest
import typer
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.parquet.archive import ParquetArchive, aside
from payment_manager.adapters.parquet.files import day_of, name_of
from payment_manager.adapters.postgres.partitions.retirement import PostgresRetirement
from payment_manager.adapters.postgres.read_model import PostgresReadModel
from payment_manager.application.ports import (
    ArchiveError,
    ArchiveFile,
    EventsAsked,
    LogDay,
    Space,
    StoredEvent,
)
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.entrypoints.archive import work
from tests.adapters.conftest import Query
from tests.adapters.past import BEGINNING, PAST, Past, table, template_database

__all__ = ["template_database"]  # a fixture

DAY = LogDay(Space.DISPUTE, date(2026, 11, 22))


@pytest.fixture
def past(pool: AsyncConnectionPool, tmp_path: Path) -> Past:
    return Past(pool, tmp_path / "archive")


def questions() -> Iterable[EventsAsked]:
    times = (None, BEGINNING + timedelta(days=2), BEGINNING + timedelta(days=3, hours=5))
    for space, ascending in itertools.product(Space, (True, False)):
        streams = ["plain", "disputed", "no-such-order"]
        if space is Space.DISPUTE:
            streams = [str(dispute_id_of(each)) for each in streams]
        for time_from, time_to in itertools.product(times, times):
            yield EventsAsked(space, (), (), time_from, time_to, ascending)
        for chosen in ([], streams, streams[:1]):
            yield EventsAsked(space, chosen, ["webhook_rejected"], ascending=ascending)
            yield EventsAsked(space, chosen, (), ascending=ascending)
        yield EventsAsked(space, streams, ["hold_set", "evidence_added"], times[1], None, ascending)


async def test_it_answers_every_question_as_the_log_did(
    past: Past, pool: AsyncConnectionPool
) -> None:
    model = PostgresReadModel(pool)
    asked = [(question, limit) for question in questions() for limit in (1, 3, 100)]
    before = [await model.events(question, None, limit) for question, limit in asked]
    assert len({tuple(each) for each in before}) > 30, "the questions differ"

    await past.retire(past.archive)

    after = [await past.archive.events(question, limit) for question, limit in asked]
    assert after == [(events, []) for events in before]


async def test_it_is_asked_and_listed_by_command(
    past: Past, pool: AsyncConnectionPool, capsys: pytest.CaptureFixture[str]
) -> None:
    question = EventsAsked(Space.DISPUTE, kinds=["evidence_added"])
    [event] = await PostgresReadModel(pool).events(question, None, 9)
    await past.retire(past.archive)
    retirement = PostgresRetirement(pool)
    capsys.readouterr()

    await work.query(past.archive, question, 9, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert list(shown) == [
        "event_id", "dispute_id", "kind", "provider_event_id", "data", "created_at", "sequence",
    ]  # fmt: skip
    assert shown["data"] == json.loads(event.data)
    assert shown["event_id"] == event.event_id

    await work.list_files(past.archive, retirement, True, as_json=True)
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(listed) == len(PAST)
    assert {one["state"] for one in listed} == {"whole"}
    assert sum(one["rows"] for one in listed) == 23
    await work.list_files(past.archive, retirement, False, as_json=False)
    assert "orders" in capsys.readouterr().out


async def test_what_is_wrong_with_the_files_is_listed_and_left_out_of_answers(
    past: Past, pool: AsyncConnectionPool, query: Query, capsys: pytest.CaptureFixture[str]
) -> None:
    await past.retire(past.archive)
    orders = sorted((past.folder / "order_events").iterdir())
    orders[0].unlink()
    orders[1].write_bytes(b"PAR1 no more")
    content = bytearray(orders[2].read_bytes())
    content[10] ^= 1
    orders[2].write_bytes(content)
    orders[3].rename(orders[4])
    await query("DELETE FROM event_days WHERE log = 'dispute_events' AND day = %s", PAST[0].day)

    capsys.readouterr()
    with pytest.raises(typer.Exit):
        await work.list_files(past.archive, PostgresRetirement(pool), True, as_json=True)
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()][::-1]
    said = [one["state"] for one in listed if one["log"] == "orders"]
    assert said[0] == said[3] == "missing"
    assert str(orders[1]) in said[1]
    assert "damaged" in said[2] or "can not be read" in said[2]
    assert "holds another day" in said[4]
    rest = [one["state"] for one in listed if one["log"] == "disputes"]
    assert rest == ["left over", "whole", "whole", "whole", "whole"]

    events, left_out = await past.archive.events(EventsAsked(Space.ORDER), 100)
    assert (events, len(left_out)) == ([], 3)


async def test_a_day_that_was_kept_is_dropped_only_knowingly(
    past: Past, pool: AsyncConnectionPool, query: Query, capsys: pytest.CaptureFixture[str]
) -> None:
    await past.retire(None)
    retirement = PostgresRetirement(pool)
    day = LogDay(Space.ORDER, BEGINNING.date())
    there = f"SELECT to_regclass('{table(day)}') IS NOT NULL"

    await work.drop_kept(retirement, day, yes=False)
    assert "would drop 2 events" in capsys.readouterr().out
    assert await query(there) == [(True,)]
    await work.drop_kept(retirement, day, yes=True)
    assert await query(there) == [(False,)]
    with pytest.raises(typer.Exit):
        await work.drop_kept(retirement, day, yes=True)
    with pytest.raises(typer.Exit):  # a day of the log
        await work.drop_kept(retirement, LogDay(Space.ORDER, datetime.now(UTC).date()), yes=True)
    capsys.readouterr()
    await work.list_files(None, retirement, False, as_json=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(PAST) - 1
    assert {json.loads(line)["state"] for line in lines} == {"kept in the database"}


# ── What a file keeps ─────────────────────────────────────────────────────────────────────────────


def event(number: int, **fields: object) -> StoredEvent:
    usual = StoredEvent(
        order_id=f"ord-{number:06}",
        sequence=1,
        stream=str(dispute_id_of(str(number))),
        event_id=UUID(int=number),
        kind="webhook_opened",
        provider_event_id="evt-1",
        data='{"payload": {"b":1,  "a":1.50, "a":"é\\u0000\\ud83d\\ude00"}}',
        created_at=datetime(2026, 11, 22, 23, 59, 59, 999999, tzinfo=UTC),
        correlation_id="c",
        transaction_id=1,
        position=1,
    )
    return usual._replace(**fields)  # type: ignore[arg-type]


async def written(archive: ParquetArchive, *events: StoredEvent, batch: int = 7) -> ArchiveFile:
    async def batches() -> AsyncIterator[Sequence[StoredEvent]]:
        for first in range(0, len(events), batch):
            yield events[first : first + batch]

    file = await archive.write(DAY, batches())
    await archive.check(file)
    await archive.publish(file)
    return file


async def all_of(archive: ParquetArchive, file: ArchiveFile) -> list[StoredEvent]:
    walk = archive.walk([file])
    found = list(await walk.events(DAY.space, "", chr(0x10FFFF)))
    assert walk.gone == {}
    return found


@pytest.fixture
def archive(tmp_path: Path) -> ParquetArchive:
    return ParquetArchive(tmp_path)


async def test_every_column_comes_back_exactly(archive: ParquetArchive, tmp_path: Path) -> None:
    events = [
        event(1),
        event(2, provider_event_id=None, transaction_id=2**63 - 1, position=2**63 - 1),
        event(3, order_id="A~:@=+-._" + "z" * 240, data="[1E400, 0.10]", sequence=2**31 - 1),
        event(4, data='{"x":"' + "y" * 300_000 + '"}', correlation_id="Ω" * 64),
        event(5, created_at=datetime(2026, 11, 22, tzinfo=UTC)),
    ]
    events.sort(key=lambda each: each.order_id)
    file = await written(archive, *events)

    assert await all_of(archive, file) == events
    assert file.rows == len(events)
    await archive.prove(file)
    # Other programs read it too.
    read = pq.read_table(tmp_path / file.name)
    assert read.column("data").to_pylist() == [each.data for each in events]
    assert (
        pq.ParquetFile(tmp_path / file.name).metadata.row_group(0).column(0).compression == "ZSTD"
    )


async def test_an_empty_day_is_a_file_too(archive: ParquetArchive) -> None:
    file = await written(archive)
    assert (file.rows, await all_of(archive, file)) == (0, [])


async def test_groups_are_bounded_in_rows_and_in_bytes(
    archive: ParquetArchive, tmp_path: Path
) -> None:
    await written(archive, *map(event, range(4500)))
    many = pq.ParquetFile(tmp_path / name_of(DAY)).metadata
    assert [many.row_group(n).num_rows for n in range(many.num_row_groups)] == [2000, 2000, 500]

    large = '"' + "x" * 1_000_000 + '"'
    await written(archive, *(event(number, data=large) for number in range(10)))
    few = pq.ParquetFile(tmp_path / name_of(DAY)).metadata
    assert max(few.row_group(n).num_rows for n in range(few.num_row_groups)) < 6


async def test_rows_that_come_unsorted_or_twice_are_refused(archive: ParquetArchive) -> None:
    for events in ([event(2), event(1)], [event(1), event(1)]):
        with pytest.raises(ArchiveError, match="unsorted or twice"):
            await written(archive, *events)


async def test_what_another_round_writes_is_not_taken_for_what_was_checked(
    archive: ParquetArchive, tmp_path: Path
) -> None:
    """Two processes write a day, with a row more in the later one."""

    async def batch(*events: StoredEvent) -> AsyncIterator[Sequence[StoredEvent]]:
        yield events

    mine = await archive.write(DAY, batch(event(1)))
    await archive.check(mine)
    other = ParquetArchive(tmp_path)
    theirs = await other.write(DAY, batch(event(1), event(2)))
    await other.check(theirs)

    with pytest.raises(ArchiveError, match="No such file"):
        await archive.publish(mine)
    await other.publish(theirs)
    assert await all_of(other, theirs) == [event(1), event(2)]
    assert not aside(tmp_path / theirs.name, theirs).exists()


async def test_a_stop_in_the_middle_leaves_no_file(archive: ParquetArchive, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[Sequence[StoredEvent]]:
        for first in itertools.count(step=1000):
            yield [event(number) for number in range(first, first + 1000)]
            begun.set()

    writing = asyncio.create_task(archive.write(DAY, endless()))
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


@pytest.mark.parametrize(
    "name",
    [
        "order_events/../order_events_p20261122.parquet",
        "dispute_events/order_events_p20261122.parquet",
        "order_events/order_events_p20261399.parquet",
        "order_events/order_events_p20261122.parquet.aside",
        "order_events_p20261122.parquet",
        "order_events/order_events_p20261122.parquet\n",
        "/etc/passwd",
    ],
)
def test_a_name_that_is_none_of_ours_is_no_day(name: str) -> None:
    assert day_of(name) is None


async def test_what_is_no_file_is_not_opened(archive: ParquetArchive, tmp_path: Path) -> None:
    (tmp_path / "dispute_events").mkdir()
    os.mkfifo(tmp_path / name_of(DAY))
    [found] = await archive.found()
    assert found.file is None
    assert "not a file" in found.why
