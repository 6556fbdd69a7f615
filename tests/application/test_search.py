"""Who answers a question of search, how long it may take, and what is made of counted cells.

How to think about it: sources here are scripts, since what is tested is the choice between them;
what real ones answer is tested where they are. Cells are compared with a count by hand.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payment_manager.application import search as module
from payment_manager.application.ports import (
    AnalyticsAsked,
    AsOf,
    DisputeCell,
    DisputesSought,
    EventsSought,
    Facets,
    FoundDisputes,
    FoundEvents,
    Interval,
    OrderCell,
    Place,
    Unavailable,
)
from payment_manager.application.search import (
    INTERVALS_MAX,
    LEFT_ALONE,
    REASONS_MAX,
    Search,
    dispute_analytics,
    first_of,
    intervals,
    moved,
    order_analytics,
    rate,
)
from tests.clock import FakeClock

EVENT = UUID(int=7)
NOW = datetime(2026, 11, 18, 9, 30, tzinfo=UTC)  # a Wednesday
NOTHING = Facets(0, {}, {}, {}, {}, {})
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine


@dataclass
class Script:
    """`SearchSource` that does what it is told. `asked`: what it was asked, in order."""

    name: str
    ready: bool = True
    fails: bool = False
    hangs: bool = False
    visible_after: int = 0
    asked: list[str] = field(default_factory=list)

    async def _do(self, what: str) -> None:
        self.asked.append(what)
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise Unavailable(f"{self.name} is away")

    async def as_of(self) -> AsOf | None:
        await self._do("as_of")
        return AsOf(NOW, 3, 2) if self.ready else None

    async def has_event(self, event_id: UUID) -> bool:
        await self._do("has_event")
        return self.asked.count("has_event") > self.visible_after

    async def events(self, sought: EventsSought, after: Place | None, limit: int) -> FoundEvents:
        await self._do("events")
        return FoundEvents([], None)

    async def disputes(
        self, sought: DisputesSought, after: Place | None, limit: int
    ) -> FoundDisputes:
        await self._do("disputes")
        return FoundDisputes([], None)

    async def facets(self, sought: DisputesSought) -> Facets:
        await self._do("facets")
        return NOTHING

    async def dispute_cells(self, asked: AnalyticsAsked) -> Sequence[DisputeCell]:
        await self._do("dispute_cells")
        return []

    async def order_cells(self, asked: AnalyticsAsked) -> Sequence[OrderCell]:
        await self._do("order_cells")
        return []


class Told:
    def __init__(self) -> None:
        self.answers: list[tuple[str, str]] = []

    def search_answered(self, source: str, question: str, seconds: float) -> None:
        assert seconds >= 0
        self.answers.append((source, question))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def first() -> Script:
    return Script("first")


@pytest.fixture
def last() -> Script:
    return Script("last")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def search(first: Script, last: Script, clock: FakeClock, told: Told) -> Search:
    return Search([first, last], clock, told)


async def source_of(search: Search) -> str:
    return (await search.events(EventsSought(), None, 10)).source


# ── Who answers ───────────────────────────────────────────────────────────────────────────────────


async def test_the_first_source_answers_where_it_can(
    search: Search, first: Script, last: Script, told: Told
) -> None:
    answer = await search.events(EventsSought(), None, 10)
    assert (answer.source, answer.as_of, answer.visible) == ("first", AsOf(NOW, 3, 2), None)
    assert first.asked == ["as_of", "events"]  # how far it is comes before what it says
    assert last.asked == []
    assert told.answers == [("first", "events")]


async def test_each_question_is_put_to_the_source_and_counted_by_name(
    search: Search, first: Script, told: Told
) -> None:
    asked = AnalyticsAsked(Interval.DAY, NOW, NOW)
    found = await search.disputes(DisputesSought(), None, 10)
    assert found.found == (FoundDisputes([], None), NOTHING)
    await search.dispute_analytics(asked)
    await search.order_analytics(asked)
    assert [each for each in first.asked if each != "as_of"] == [
        *("disputes", "facets", "dispute_cells", "order_cells")
    ]
    names = ("disputes", "dispute_analytics", "order_analytics")
    assert told.answers == [("first", name) for name in names]


async def test_a_source_that_cannot_answer_yet_is_passed_over_and_asked_again_next_time(
    search: Search, first: Script
) -> None:
    first.ready = False
    assert await source_of(search) == "last"
    first.ready = True
    assert await source_of(search) == "first"


async def test_a_failure_goes_on_to_the_next_source_within_the_request(
    search: Search, first: Script, told: Told
) -> None:
    first.fails = True
    assert await source_of(search) == "last"
    assert told.answers == [("last", "events")]


async def test_a_source_that_failed_is_left_alone_for_five_seconds(
    search: Search, first: Script, clock: FakeClock
) -> None:
    first.fails = True
    await source_of(search)
    first.fails, first.asked = False, []
    clock.advance(seconds=LEFT_ALONE.total_seconds() - 0.1)
    assert await source_of(search) == "last"
    assert first.asked == []
    clock.advance(seconds=0.1)
    assert await source_of(search) == "first"


async def test_a_clock_that_is_set_back_does_not_leave_a_source_alone_for_longer(
    search: Search, first: Script, clock: FakeClock
) -> None:
    first.fails = True
    await source_of(search)
    first.fails = False
    clock.advance(hours=-1)
    assert await source_of(search) == "first"


async def test_the_last_source_is_always_asked_and_only_its_failure_is_the_callers(
    search: Search, first: Script, last: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.fails = last.fails = True
    with pytest.raises(Unavailable, match="last is away"):
        await source_of(search)
    last.fails = False
    assert await source_of(search) == "last"


async def test_the_last_source_that_cannot_answer_is_unavailable(
    search: Search, first: Script, last: Script
) -> None:
    first.ready = last.ready = False
    with pytest.raises(Unavailable):
        await source_of(search)


async def test_a_moments_trouble_of_the_last_source_costs_no_answer(
    search: Search, first: Script, last: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 60.0)  # a moment, however busy the machine is
    first.ready, last.fails = False, True
    asking = asyncio.create_task(source_of(search))
    while not last.asked:
        await asyncio.sleep(0)
    last.fails = False
    assert await asking == "last"


async def test_a_question_that_took_the_last_source_long_is_not_put_again(
    search: Search, first: Script, last: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", -1.0)
    first.ready, last.fails = False, True
    with pytest.raises(Unavailable):
        await source_of(search)
    assert last.asked == ["as_of"]


async def test_a_source_that_hangs_is_given_up_in_time(
    search: Search, first: Script, last: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_MAX", 0.05)
    monkeypatch.setattr(module, "LAST_SECONDS_MAX", 0.1)
    first.hangs = True
    assert await source_of(search) == "last"
    last.hangs = True
    with pytest.raises(Unavailable):
        await source_of(search)


# ── Waiting for an event ──────────────────────────────────────────────────────────────────────────


async def test_an_event_is_waited_for_before_the_question_is_put(
    search: Search, first: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS_MAX", 60.0)
    first.visible_after = 2
    answer = await search.events(EventsSought(), None, 10, wait_for=EVENT)
    assert answer.visible
    assert first.asked == ["as_of", *["has_event"] * 3, "as_of", "events"]


async def test_an_event_that_does_not_come_is_waited_for_no_longer_than_allowed(
    search: Search, first: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS_MAX", 0.2)
    first.visible_after = 1_000
    answer = await search.events(EventsSought(), None, 10, wait_for=EVENT)
    assert (answer.source, answer.visible) == ("first", False)
    # Once, where a busy machine has let the time pass by then.
    assert 1 <= first.asked.count("has_event") <= 5


async def test_whether_an_event_is_visible_is_said_of_the_source_that_answers(
    search: Search, first: Script, last: Script
) -> None:
    first.ready = False
    answer = await search.events(EventsSought(), None, 10, wait_for=EVENT)
    assert (answer.source, answer.visible) == ("last", True)
    assert last.asked == ["as_of", "has_event", "as_of", "events"]


# ── Windows and intervals ─────────────────────────────────────────────────────────────────────────


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("interval", "time_from", "time_to"),
    [
        (Interval.DAY, "2026-10-20", "2026-11-19"),
        (Interval.WEEK, "2026-05-25", "2026-11-23"),
        (Interval.MONTH, "2025-12-01", "2026-12-01"),
    ],
)
def test_without_bounds_the_latest_intervals_up_to_now_are_asked(
    search: Search, interval: Interval, time_from: str, time_to: str
) -> None:
    window = search.window(interval, None, None)
    assert window == (day(time_from), day(time_to))
    count = {Interval.DAY: 30, Interval.WEEK: 26, Interval.MONTH: 12}[interval]
    assert len(intervals(AnalyticsAsked(interval, *window))) == count


def test_now_lies_in_the_last_interval_also_at_its_very_begin(clock: FakeClock, told: Told) -> None:
    clock.set(day("2026-11-18"))
    start, end = Search([], clock, told).window(Interval.DAY, None, None)
    assert (start, end) == (day("2026-10-20"), day("2026-11-19"))


@pytest.mark.parametrize(
    ("interval", "time_from", "time_to"),
    [
        (Interval.DAY, "2026-11-04", "2026-11-19"),
        (Interval.WEEK, "2026-11-02", "2026-11-23"),
        (Interval.MONTH, "2026-11-01", "2026-12-01"),
    ],
)
def test_bounds_are_widened_to_whole_intervals(
    search: Search, interval: Interval, time_from: str, time_to: str
) -> None:
    given = (day("2026-11-04T12:00:00"), day("2026-11-18T00:00:00.000001"))
    assert search.window(interval, *given) == (day(time_from), day(time_to))
    whole = (day(time_from), day(time_to))
    assert search.window(interval, *whole) == whole


def test_a_window_that_ends_before_it_begins_is_empty(search: Search) -> None:
    start, end = search.window(Interval.DAY, day("2026-11-04"), day("2026-11-01"))
    assert (start, end) == (day("2026-11-04"), day("2026-11-04"))
    assert intervals(AnalyticsAsked(Interval.DAY, start, end)) == []
    future = day("2027-01-01")
    assert search.window(Interval.DAY, future, None) == (future, future)


@pytest.mark.parametrize("interval", Interval)
def test_more_intervals_than_allowed_are_refused(search: Search, interval: Interval) -> None:
    end = first_of(interval, NOW)
    start = moved(interval, end, -INTERVALS_MAX)
    assert search.window(interval, start, end) == (start, end)
    with pytest.raises(ValueError, match=str(INTERVALS_MAX)):
        search.window(interval, start - timedelta(microseconds=1), end)


@pytest.mark.parametrize("interval", Interval)
def test_the_first_and_the_last_times_there_are_have_their_intervals(
    search: Search, interval: Interval
) -> None:
    for moment in (day("1970-01-01"), day("2100-12-31T23:59:59.999999")):
        start, end = search.window(interval, moment, moment)
        assert start <= moment <= end
        assert len(intervals(AnalyticsAsked(interval, start, end))) <= 1


@CALM
@given(
    st.sampled_from(Interval),
    st.integers(0, 4_133_894_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
)
def test_each_moment_lies_in_one_interval(interval: Interval, moment: datetime) -> None:
    start = first_of(interval, moment)
    assert start <= moment < moved(interval, start, 1)
    assert first_of(interval, start) == start
    assert moved(interval, moved(interval, start, 5), -5) == start
    assert interval is not Interval.WEEK or start.weekday() == 0
    assert interval is not Interval.MONTH or start.day == 1


# ── Cells ─────────────────────────────────────────────────────────────────────────────────────────

ASKED = AnalyticsAsked(Interval.DAY, day("2026-11-01"), day("2026-11-05"))
DAYS = intervals(ASKED)

disputes_ = st.tuples(
    st.sampled_from(DAYS),
    st.sampled_from(["fraud", "general", "other"]),
    st.sampled_from(["opened", "won", "lost"]),
    st.sampled_from(["USD", "JPY", "KWD"]),
    st.integers(1, 10**15 - 1),
)


def cells_of(
    happened: Sequence[tuple[datetime, str, str, str, int]],
    key: Callable[[datetime, str], tuple[datetime | None, str | None]],
) -> list[DisputeCell]:
    sums: dict[tuple[datetime | None, str | None, str, str], tuple[int, int]] = {}
    for start, reason, what, currency, minor in happened:
        cell = (*key(start, reason), what, currency)
        disputes, amount = sums.get(cell, (0, 0))
        sums[cell] = disputes + 1, amount + minor
    return [DisputeCell(*cell, *sums[cell]) for cell in sums]


@given(st.lists(disputes_, max_size=60))
@settings(CALM, max_examples=40)
def test_analytics_are_what_a_count_by_hand_gives(
    happened: list[tuple[datetime, str, str, str, int]],
) -> None:
    cells = cells_of(happened, lambda start, _: (start, None))
    cells += cells_of(happened, lambda _, reason: (None, reason))
    found = dispute_analytics(ASKED, cells)
    assert list(found.by_time) == DAYS
    groups = [
        (found.totals, happened),
        *((found.by_time[at], [each for each in happened if each[0] == at]) for at in DAYS),
        *(
            (tally, [each for each in happened if each[1] == reason])
            for reason, tally in found.by_reason.items()
        ),
    ]
    for tally, group in groups:
        for what in ("opened", "won", "lost"):
            assert getattr(tally, what) == sum(each[2] == what for each in group)
            for currency in {each[3] for each in group}:
                assert tally.amounts[currency][what] == sum(
                    each[4] for each in group if each[2:4] == (what, currency)
                )
        assert set(tally.amounts) == {each[3] for each in group}
    opened = [(-tally.opened, reason) for reason, tally in found.by_reason.items()]
    assert opened == sorted(opened)
    assert set(found.by_reason) == {each[1] for each in happened}


def test_the_reasons_opened_most_are_shown() -> None:
    cells = [DisputeCell(None, f"r{n:03}", "opened", "USD", 1 + n % 2, 5) for n in range(120)]
    found = dispute_analytics(ASKED, cells)
    assert list(found.by_reason) == [f"r{n:03}" for n in range(1, 120, 2)][:REASONS_MAX]


def test_orders_are_counted_by_status_in_each_interval() -> None:
    cells = [
        OrderCell(DAYS[0], "created", 3, 1, 2, 0),
        OrderCell(DAYS[0], "success", 5, 0, 1, 4),
        OrderCell(DAYS[3], "success", 1, 0, 0, 1),
    ]
    found = order_analytics(ASKED, cells)
    assert [tally.orders for tally in found.by_time.values()] == [8, 0, 0, 1]
    total = found.totals
    assert total.by_status == {"created": 3, "success": 6}
    assert (total.orders, total.on_hold, total.was_held, total.captured) == (9, 1, 3, 5)


@CALM
@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_rate_is_exact_to_four_decimals_half_to_even(part: int, more: int) -> None:
    whole = part + more
    found = rate(part, whole)
    exact = (Decimal(part) / Decimal(whole)).quantize(Decimal("0.0001"), ROUND_HALF_EVEN)
    assert found == exact
    assert "E" not in str(found)


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 3, "0"),
        (3, 3, "1"),
        (1, 3, "0.3333"),
        (1, 2, "0.5"),
        (1, 20_000, "0"),
        (3, 20_000, "0.0002"),
    ],
)
def test_a_rate_has_no_decimals_that_say_nothing(part: int, whole: int, shown: str) -> None:
    assert str(rate(part, whole)) == shown


def test_there_is_no_rate_of_nothing() -> None:
    assert rate(0, 0) is None
