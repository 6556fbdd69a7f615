"""A build from nothing: what it writes, what it refuses, what is left when it is cut short."""

import asyncio
import random
import re
from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest

from payment_manager.application import build_search as build_module
from payment_manager.application.build_search import (
    BuildFailed,
    BuildSearch,
    BuildUnderWay,
    Built,
    certain_disputes,
)
from payment_manager.application.pace import Pace
from payment_manager.application.ports import (
    DisputeState,
    Document,
    IndexTrouble,
    Stretch,
    Unavailable,
)
from payment_manager.application.project import Project
from tests.application.projection import AWAY, START, USER, Index, Log, Told, all_of, event
from tests.clock import FakeClock


@pytest.fixture
def log() -> Log:
    log = Log()
    log.append("a", "b", "a", "c", "a", "b")
    return log


@pytest.fixture
def index() -> Index:
    return Index()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(build_module, "LEAD_WAIT_SECONDS", 0.0)


def first(this: Callable[[], None], then: Callable[[], object]) -> Callable[[], object]:
    def both() -> object:
        this()
        return then()

    return both


async def built(log: Log, index: Index) -> Built:
    return await BuildSearch(log, log, index, FakeClock(), Pace()).run("a test")


async def test_all_is_there_and_answers_under_a_name_that_tells_its_age(
    log: Log, index: Index
) -> None:
    result = await built(log, index)

    assert re.fullmatch(r"[0-9]{8}t[0-9]{6}-[0-9a-f]{4}", result.build)
    assert index.answering == result.build
    assert index.shown == all_of(log)
    assert result.counts[Document.ORDER_EVENT] == 6
    assert log.stored == log.at(6, result.build)
    assert (log.led, log.built, log.being_built) == (False, False, None)


async def test_what_comes_meanwhile_is_in_it(
    log: Log, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the moment of the proof, while it is taken, and after."""
    for name in ("orders", "disputes"):
        monkeypatch.setattr(log, name, first(partial(log.append, "new"), getattr(log, name)))
    moment = log.moment

    async def moment_of_a_moving_log() -> object:
        counted = await moment()
        log.append("newest", "a")
        return counted

    monkeypatch.setattr(log, "moment", moment_of_a_moving_log)

    result = await built(log, index)

    assert len(log.events_) == 10
    assert index.shown == all_of(log)
    assert log.stored == log.at(10, result.build)


@pytest.mark.parametrize(
    ("part", "method"),
    [
        *(("index", name) for name in ("start_build", "refresh", "counts")),
        *(("log", name) for name in ("begin", "events", "after", "moment", "leading", "finish")),
        ("index", "write"),
    ],
)
async def test_whatever_ends_a_build_leaves_the_old_one_answering(
    log: Log, index: Index, part: str, method: str
) -> None:
    old = await built(log, index)
    (log if part == "log" else index).fail(method, *[AWAY] * 3)

    with pytest.raises(Unavailable):
        await built(log, index)

    assert index.answering == old.build
    assert index.shown == all_of(log)
    assert log.stored is not None
    assert log.stored.build == old.build
    assert (log.led, log.built, log.being_built) == (False, False, None)


async def test_a_build_that_is_done_and_could_not_answer_yet_answers_with_the_next_leader(
    log: Log, index: Index
) -> None:
    await built(log, index)
    index.fail("answer_from", AWAY)
    with pytest.raises(BuildFailed, match="is built and proved and does not answer yet"):
        await built(log, index)
    assert log.stored is not None
    assert log.stored.build != index.answering

    pace = Pace()
    build = BuildSearch(log, log, index, FakeClock(), pace)
    await Project(log, index, build, Told(), pace).run_once()

    assert index.calls["start_build"] == 2
    assert index.answering == log.stored.build
    assert index.shown == all_of(log)


async def test_an_old_build_that_could_not_be_deleted_does_not_matter(
    log: Log, index: Index
) -> None:
    answer_from = index.answer_from

    async def and_not_delete(build: str) -> None:
        await answer_from(build)
        raise IndexTrouble("no answer in time")

    index.answer_from = and_not_delete  # type: ignore[method-assign]

    result = await built(log, index)

    assert index.answering == result.build


async def test_a_server_that_comes_back_is_waited_for(
    log: Log, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(random, "uniform", lambda *_: 0.0)
    index.fail("write", AWAY, IndexTrouble("too busy"))

    await built(log, index)

    assert index.shown == all_of(log)


async def test_counts_that_differ_are_told_and_nothing_is_swapped(log: Log, index: Index) -> None:
    old = await built(log, index)
    events = log.events

    async def without_some():  # type: ignore[no-untyped-def]
        async for some in events():
            yield some[:2]

    log.events = without_some  # type: ignore[method-assign]
    with pytest.raises(BuildFailed) as failure:
        await built(log, index)

    assert "order_event: 4 documents, 6 in PostgreSQL" in str(failure.value)
    assert index.answering == old.build
    assert log.stored is not None
    assert log.stored.build == old.build


async def test_set_aside_documents_count_as_told(log: Log, index: Index) -> None:
    index.poison = {"a"}

    result = await built(log, index)

    assert result.set_aside == 1
    assert result.counts[Document.ORDER] == 2
    assert [each.document_id for each in log.rejected] == ["a"]


async def test_a_row_whose_later_version_is_taken_is_not_set_aside(
    log: Log, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.poison = {"a"}

    def mend() -> None:
        index.poison = set()
        log.append("a")

    monkeypatch.setattr(log, "disputes", first(mend, log.disputes))

    result = await built(log, index)

    assert result.set_aside == 0
    assert index.shown == all_of(log)


def test_a_dispute_that_an_order_s_event_brings_along_may_be_newer_than_the_moment() -> None:
    opened = event(1, "a", 1)._replace(dispute_id=UUID(int=7))
    stretch = Stretch(
        [event(2, "a", 2), event(3, "b", 2), opened],
        [],
        [dispute(UUID(int=7), "a"), dispute(UUID(int=8), "b")],
        Log().at(3, "build"),
        is_last=True,
    )

    there, uncertain = certain_disputes(stretch)

    assert [each.order_id for each in there] == ["a"]
    assert [each.order_id for each in uncertain] == ["b"]


def dispute(dispute_id: UUID, order_id: str) -> DisputeState:
    return DisputeState(
        dispute_id, order_id, 1, USER, "open", "fraud", 100, "USD", None, None, None, None, None,
        START, START,
    )  # fmt: skip


async def test_two_builds_at_once_are_refused_in_words(
    log: Log, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "BUILD_WAIT_SECONDS", 0.0)
    async with log.building():
        with pytest.raises(BuildUnderWay, match="another process"):
            await built(log, index)
    assert index.calls["start_build"] == 0


async def test_whoever_only_looks_whether_there_is_a_build_is_none(
    log: Log, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "BUILD_WAIT_SECONDS", 60.0)
    async with log.building():
        building = asyncio.create_task(built(log, index))
        await asyncio.sleep(3 * build_module.LEAD_ASK_SECONDS)
    await building
    assert index.calls["start_build"] == 1


async def test_who_never_gives_up_the_lead_is_named(log: Log, index: Index) -> None:
    async with log.leading():
        with pytest.raises(BuildFailed, match="does not give up the lead"):
            await built(log, index)
    assert index.answering is None


async def test_a_stop_under_a_build_forgets_it(log: Log, index: Index) -> None:
    started = asyncio.Event()
    start_build = index.start_build

    async def hanging(build: str) -> None:
        await start_build(build)
        started.set()
        await asyncio.Event().wait()

    index.start_build = hanging  # type: ignore[method-assign]
    task = asyncio.create_task(built(log, index))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert log.calls["abandon"] == 1
    assert not log.built


async def test_what_a_dead_build_left_is_forgotten_but_not_a_living_ones(
    log: Log, index: Index
) -> None:
    log.being_built = "dead"
    build = BuildSearch(log, log, index, FakeClock(), Pace())
    async with log.building():
        await build.clean_up()
        assert log.being_built == "dead"

    await build.clean_up()

    assert log.being_built is None
