"""The projector, with faults between each of its steps."""

import asyncio
from dataclasses import replace

import pytest

from payment_manager.application import build_search as build_module
from payment_manager.application import project as project_module
from payment_manager.application.build_search import BuildSearch, BuildUnderWay
from payment_manager.application.check_search import WatchSearch, verify
from payment_manager.application.pace import Pace
from payment_manager.application.ports import Document, IndexTrouble, Unavailable
from payment_manager.application.project import Project
from tests.application.projection import AWAY, Index, Log, Told, all_of
from tests.clock import FakeClock


class Projection:
    """A projector over a log and an index in memory."""

    def __init__(self, pace: Pace | None = None) -> None:
        self.log, self.index, self.told = Log(), Index(), Told()
        pace = pace or Pace()
        self.build = BuildSearch(self.log, self.log, self.index, FakeClock(), pace)
        self.project = Project(self.log, self.index, self.build, self.told, pace)

    async def until_idle(self) -> int:
        """How many events were projected until nothing was left to do."""
        events = 0
        while (
            (now := await self.project.run_once())
            or self.log.stored is None
            or self.log.stored.seen != str(len(self.log.events_))
        ):
            events += now
        return events

    @property
    def is_whole(self) -> bool:
        return self.index.shown == all_of(self.log)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refreshed at once, led until told otherwise."""
    monkeypatch.setattr(project_module, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(project_module, "HAND_OVER_SECONDS", 0.0)
    for name in ("REFRESH_PRESSED_SECONDS", "LEAD_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(project_module, name, 3600.0)  # however busy the machine is


class Pressed(Pace):
    """Requests take all there is."""

    is_pressed = True


async def begun(*order_ids: str, pace: Pace | None = None) -> Projection:
    """One that is built, and leads."""
    projection = Projection(pace)
    projection.log.append(*order_ids)
    await projection.until_idle()
    assert await projection.project.run_once() == 0
    assert projection.project.leads
    return projection


async def pressed(monkeypatch: pytest.MonkeyPatch) -> Projection:
    """One that has just made something visible, and takes an event at once while requests press."""
    projection = await begun("a", pace=Pressed())
    projection.log.append("b")
    await projection.until_idle()
    monkeypatch.setattr(project_module, "PIECE", 1)
    return projection


async def test_the_first_start_builds_from_nothing_and_follows() -> None:
    projection = await begun("a", "b", "a")
    assert projection.is_whole

    projection.log.append("a", "c")

    assert await projection.until_idle() == 2
    assert projection.is_whole
    assert projection.told.events == 2


@pytest.mark.parametrize(
    ("part", "method"),
    [("log", "after"), ("index", "write"), ("index", "refresh"), ("log", "save")],
)
async def test_what_fails_is_done_again_from_the_stored_checkpoint(part: str, method: str) -> None:
    projection = await begun("a")
    before = projection.log.stored
    projection.log.append("a", "b")
    getattr(projection, part).fail(method, AWAY)

    with pytest.raises(Unavailable, match="no connection"):
        await projection.until_idle()

    assert projection.log.stored == before
    assert projection.project.trouble == "no connection"
    assert not projection.project.leads
    assert not projection.log.led
    assert await projection.until_idle() == 2
    assert projection.is_whole
    assert projection.project.trouble == ""


async def test_the_checkpoint_moves_only_after_what_it_covers_is_visible() -> None:
    projection = await begun("a")
    projection.log.append("b")
    before = projection.log.stored
    projection.index.fail("refresh", AWAY)

    with pytest.raises(IndexTrouble):
        await projection.until_idle()

    assert (Document.ORDER, "b") in projection.index.written[projection.index.answering or ""]
    assert projection.log.stored == before


async def test_while_requests_press_and_it_is_behind_it_is_made_visible_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    projection = await pressed(monkeypatch)
    before, refreshed = projection.log.stored, projection.index.calls["refresh"]
    projection.log.append("c", "d", "e")

    assert [await projection.project.run_once() for _ in range(2)] == [1, 1]
    assert projection.log.stored == before
    assert projection.index.calls["refresh"] == refreshed

    # At the end of it nobody waits for longer than else.
    assert await projection.project.run_once() == 1
    assert projection.index.calls["refresh"] == refreshed + 1
    assert projection.is_whole


async def test_the_lead_is_kept_until_what_was_written_is_visible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    projection = await pressed(monkeypatch)
    monkeypatch.setattr(project_module, "LEAD_SECONDS", 0.0)
    asked = projection.log.calls["leading"]
    projection.log.append("c", "d", "e")

    for _ in range(3):
        assert await projection.project.run_once() == 1
    assert projection.log.calls["leading"] == asked + 1, "given up once, before the first"
    assert projection.is_whole


async def test_a_poison_document_goes_aside_with_the_checkpoint_and_the_others_go_on() -> None:
    projection = await begun("a")
    projection.index.poison = {"bad"}
    projection.log.append("bad", "good")

    await projection.until_idle()

    assert [(each.document, each.document_id) for each in projection.log.rejected] == [
        (Document.ORDER, "bad")
    ]
    assert (Document.ORDER, "good") in projection.index.shown


async def test_a_checkpoint_that_another_moved_is_read_again() -> None:
    projection = await begun("a")
    assert projection.log.stored is not None
    projection.log.append("b", "c")
    projection.log.stored = projection.log.at(2, projection.log.stored.build)

    await projection.until_idle()

    assert projection.log.stored.seen == "3"
    # Not led in between: the other one may think that it leads.
    assert projection.log.calls["leading"] > 2


async def test_while_another_leads_nothing_is_done() -> None:
    projection = Projection()
    projection.log.append("a")

    async with projection.log.leading():
        assert await projection.project.run_once() == 0
        assert not projection.project.leads
        assert projection.index.calls["write"] == 0

    await projection.until_idle()
    assert projection.is_whole


async def test_the_lead_is_given_up_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    projection = await begun("a")
    monkeypatch.setattr(project_module, "LEAD_SECONDS", 0.0)
    monkeypatch.setattr(project_module, "HAND_OVER_SECONDS", 0.05)
    round_ = asyncio.create_task(projection.project.run_once())
    while projection.log.led:
        await asyncio.sleep(0)

    async with projection.log.leading() as leads:
        assert leads
        await round_
        assert not projection.project.leads


@pytest.mark.parametrize("build", [None, "20261120t000000-beef"])
async def test_an_index_that_is_gone_or_another_is_built_anew(
    build: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    projection = await begun("a", "b")
    assert projection.log.stored is not None
    old = projection.log.stored.build
    projection.index.answering = build
    projection.index.written.clear()
    monkeypatch.setattr(project_module, "LOOK_SECONDS", 0.0)

    await projection.project.run_once()
    await projection.until_idle()

    assert projection.log.stored.build not in (old, build)
    assert projection.log.stored.build == projection.index.answering
    assert projection.is_whole


async def test_nothing_is_saved_where_nothing_came() -> None:
    projection = await begun("a")
    saved = projection.log.calls["save"]

    for _ in range(5):
        assert await projection.project.run_once() == 0

    assert projection.log.calls["save"] == saved


async def test_while_another_builds_it_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "BUILD_WAIT_SECONDS", 0.0)
    projection = Projection()
    async with projection.log.building():
        with pytest.raises(BuildUnderWay):
            await projection.project.run_once()
    assert "another process" in projection.project.trouble


async def test_what_a_dead_build_left_is_forgotten_at_the_first_lead() -> None:
    projection = Projection()
    await projection.build.run("a test")
    projection.log.being_built = "dead"

    await projection.project.run_once()

    assert projection.project.leads
    assert projection.log.being_built is None


# ── Watching ──────────────────────────────────────────────────────────────────────────────────────


def watch(projection: Projection, clock: FakeClock) -> WatchSearch:
    return WatchSearch(
        projection.log, projection.index, projection.told, clock, lambda: projection.project.trouble
    )


async def test_the_watch_says_what_is_wrong_and_when_it_is_well_again(clock: FakeClock) -> None:
    projection = Projection()
    watched = watch(projection, clock)
    await watched.run_once()
    assert await watched.checks() == {"search": "degraded: is not built"}
    assert projection.told.health == (True, 0, 0)

    await projection.until_idle()
    await watched.run_once()
    assert await watched.checks() == {"search": "ok"}

    projection.index.fail("build", AWAY)
    await watched.run_once()
    assert await watched.checks() == {"search": "degraded: no connection"}
    projection.log.fail("checkpoint", Unavailable("away"))
    await watched.run_once()
    assert await watched.checks() == {"search": "degraded: away"}


async def test_the_lag_is_told_whoever_leads(clock: FakeClock) -> None:
    projection = await begun("a")
    projection.log.append("b", "c")
    clock.set(projection.log.events_[1].created_at)
    clock.advance(seconds=31)
    watched = watch(projection, clock)

    projection.index.fail("build", AWAY)
    await watched.run_once()
    assert projection.told.lag == (2, 31.0)
    await watched.run_once()
    assert await watched.checks() == {"search": "degraded: 2 events behind, by 31 s"}


# ── Proving ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_proof_brings_search_up_to_the_moment_and_finds_nothing() -> None:
    projection = await begun("a", "b")
    await projection.project.rest()
    projection.log.append("a", "c")

    proof = await verify(projection.log, projection.log, projection.index, sample=10)

    assert proof.wrong == []
    assert proof.counts[Document.ORDER_EVENT] == (4, 4)
    assert proof.compared == 7
    assert projection.is_whole


async def test_a_proof_names_what_is_missing_and_what_differs() -> None:
    projection = await begun("a", "b", "b")
    await projection.project.rest()
    documents = projection.index.written[projection.index.answering or ""]
    del documents[Document.ORDER, "a"]
    documents[Document.ORDER, "b"] = 1
    await projection.index.refresh()

    proof = await verify(projection.log, projection.log, projection.index, sample=10)

    assert proof.wrong == [
        "order: 1 documents, 2 in PostgreSQL",
        "order a: is not as it was recorded",
        "order b: is not as it was recorded",
    ]


async def test_a_proof_excuses_what_changed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    projection = await begun("a")
    await projection.project.rest()
    sample = projection.log.sample

    async def sample_of_a_moving_log(size: int) -> object:
        projection.log.append("a", "new")
        return await sample(size)

    monkeypatch.setattr(projection.log, "sample", sample_of_a_moving_log)

    proof = await verify(projection.log, projection.log, projection.index, sample=10)

    assert proof.wrong == []
    assert projection.log.stored == replace(projection.log.at(3, proof.checkpoint.build))
