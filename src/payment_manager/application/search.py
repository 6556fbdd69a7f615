"""Questions about all events, all disputes and all orders: who answers them, and how fresh.

How to think about it: two sources give the same answers; the first that can is asked, and the last
one always. A source that fails is left alone for a moment, and the question goes on to the next
within the same request. How far a source had come is read before the question is put, so an answer
holds at least that much. A source counts cells; what is made of them here is the same for both.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import structlog

from payment_manager.application.patience import PATIENCE_SECONDS, trying_again, within
from payment_manager.application.ports import (
    AnalyticsAsked,
    AsOf,
    Clock,
    DisputeCell,
    DisputesSought,
    EventsSought,
    Facets,
    FoundDisputes,
    FoundEvents,
    Interval,
    OrderCell,
    Place,
    SearchSource,
    Unavailable,
)

SECONDS_MAX = 2.0
"""For a source that has another one behind it: a person waits that long and half as long again."""

LAST_SECONDS_MAX = 8.0
"""For the last source, whose own bounds are below this: for a server that hangs without a word."""

LEFT_ALONE = timedelta(seconds=5)
"""After a failure, so that not every question waits for a source that is away."""

WAIT_SECONDS_MAX = 5.0
"""For an event to be visible; a projection is rarely two seconds behind."""

LOOK_EVERY_SECONDS = 0.08

INTERVALS_MAX = 400
"""A year of days, with room; more is nothing to look at."""

REASONS_MAX = 50

log = structlog.get_logger()

Found = TypeVar("Found")
Read = TypeVar("Read")


class AnswerTelemetry(Protocol):
    """Of `SearchTelemetry` what is told here. Never raises, never waits."""

    def search_answered(self, source: str, question: str, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer(Generic[Found]):
    """`visible`: whether the event that was waited for is among what was asked; None: none was."""

    source: str
    as_of: AsOf
    visible: bool | None
    found: Found


class Search:
    """Every question raises `Unavailable` where the last source does."""

    def __init__(
        self, sources: Sequence[SearchSource], clock: Clock, telemetry: AnswerTelemetry
    ) -> None:
        self._sources = sources
        self._clock = clock
        self._telemetry = telemetry
        self._failed_at: dict[str, datetime] = {}

    async def events(
        self, sought: EventsSought, after: Place | None, limit: int, wait_for: UUID | None = None
    ) -> Answer[FoundEvents]:
        async def put(source: SearchSource) -> FoundEvents:
            return await source.events(sought, after, limit)

        return await self._ask("events", wait_for, put)

    async def disputes(
        self, sought: DisputesSought, after: Place | None, limit: int, wait_for: UUID | None = None
    ) -> Answer[tuple[FoundDisputes, Facets]]:
        async def put(source: SearchSource) -> tuple[FoundDisputes, Facets]:
            found = await source.disputes(sought, after, limit)
            return found, await source.facets(sought)

        return await self._ask("disputes", wait_for, put)

    async def dispute_analytics(
        self, asked: AnalyticsAsked, wait_for: UUID | None = None
    ) -> Answer["DisputeAnalytics"]:
        async def put(source: SearchSource) -> DisputeAnalytics:
            return dispute_analytics(asked, await source.dispute_cells(asked))

        return await self._ask("dispute_analytics", wait_for, put)

    async def order_analytics(
        self, asked: AnalyticsAsked, wait_for: UUID | None = None
    ) -> Answer["OrderAnalytics"]:
        async def put(source: SearchSource) -> OrderAnalytics:
            return order_analytics(asked, await source.order_cells(asked))

        return await self._ask("order_analytics", wait_for, put)

    def window(
        self, interval: Interval, time_from: datetime | None, time_to: datetime | None
    ) -> tuple[datetime, datetime]:
        """Whole intervals around these bounds; without them, the latest ones up to now.

        Raises `ValueError` where they are more than `INTERVALS_MAX`.
        """
        until = time_to or self._clock.now()
        end = first_of(interval, until)
        if end < until or time_to is None:
            end = moved(interval, end, 1)
        if time_from is None:
            start = moved(interval, end, -_SHOWN[interval])
        else:
            start = first_of(interval, time_from)
        if moved(interval, start, INTERVALS_MAX) < end:
            raise ValueError(f"must be at most {INTERVALS_MAX} {interval}s before time_to (or now)")
        return start, max(start, end)

    # ── Who answers ───────────────────────────────────────────────────────────────────────────────

    async def _ask(
        self,
        question: str,
        wait_for: UUID | None,
        put: Callable[[SearchSource], Awaitable[Found]],
    ) -> Answer[Found]:
        *others, last = self._sources
        wait_until = asyncio.get_running_loop().time() + WAIT_SECONDS_MAX
        for source in others:
            if self._is_left_alone(source):
                continue
            try:
                bounded = partial(within, SECONDS_MAX)
                answer = await self._answer(source, question, wait_for, wait_until, put, bounded)
            except Unavailable as error:
                log.warning("search_source_failed", source=source.name, reason=str(error))
                self._failed_at[source.name] = self._clock.now()
                continue
            if answer is not None:
                return answer
        answer = await self._answer(last, question, wait_for, wait_until, put, _last)
        if answer is None:
            raise Unavailable(f"{last.name} can't answer yet")
        return answer

    def _is_left_alone(self, source: SearchSource) -> bool:
        failed_at = self._failed_at.get(source.name)
        # A clock that was set back must not make the moment longer.
        return failed_at is not None and timedelta() <= self._clock.now() - failed_at < LEFT_ALONE

    async def _answer(
        self,
        source: SearchSource,
        question: str,
        wait_for: UUID | None,
        wait_until: float,
        put: Callable[[SearchSource], Awaitable[Found]],
        bounded: "Bounded",
    ) -> Answer[Found] | None:
        """None: the source can't answer yet."""
        visible = None
        if wait_for is not None:
            if await bounded(source.as_of) is None:
                return None
            visible = await _wait(source, wait_for, wait_until, bounded)
        began = perf_counter()

        async def answer() -> Answer[Found] | None:
            as_of = await source.as_of()
            if as_of is None:
                return None
            return Answer(source.name, as_of, visible, await put(source))

        answered = await bounded(answer)
        if answered is not None:
            self._telemetry.search_answered(source.name, question, perf_counter() - began)
        return answered


class Bounded(Protocol):
    """`call`'s result, or `Unavailable` in time."""

    async def __call__(self, call: Callable[[], Coroutine[Any, Any, Read]], /) -> Read: ...


async def _last(call: Callable[[], Coroutine[Any, Any, Read]]) -> Read:
    """Nobody is behind it, so a broken connection is tried again; what took long is not."""
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        return await within(LAST_SECONDS_MAX, call)
    except Unavailable:
        if clock() - began > PATIENCE_SECONDS:
            raise
    return await within(LAST_SECONDS_MAX, partial(trying_again, call))


async def _wait(source: SearchSource, event_id: UUID, until: float, bounded: Bounded) -> bool:
    while not await bounded(partial(source.has_event, event_id)):
        left = until - asyncio.get_running_loop().time()
        if left <= 0:
            return False
        await asyncio.sleep(min(LOOK_EVERY_SECONDS, left))
    return True


# ── Intervals ─────────────────────────────────────────────────────────────────────────────────────

_SHOWN = {Interval.DAY: 30, Interval.WEEK: 26, Interval.MONTH: 12}
"""How many, where nothing else is asked: a month, half a year, a year."""


def first_of(interval: Interval, moment: datetime) -> datetime:
    """The begin of the interval that this moment lies in."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match interval:
        case Interval.DAY:
            return day
        case Interval.WEEK:
            return day - timedelta(days=day.weekday())
        case Interval.MONTH:
            return day.replace(day=1)


def moved(interval: Interval, start: datetime, count: int) -> datetime:
    """The begin of the interval that comes so many after this one."""
    match interval:
        case Interval.DAY:
            return start + timedelta(days=count)
        case Interval.WEEK:
            return start + timedelta(weeks=count)
        case Interval.MONTH:
            months = start.year * 12 + start.month - 1 + count
            return start.replace(year=months // 12, month=months % 12 + 1)


def intervals(asked: AnalyticsAsked) -> list[datetime]:
    """The begins of all that are asked about."""
    starts, start = [], asked.time_from
    while start < asked.time_to:
        starts.append(start)
        start = moved(asked.interval, start, 1)
    return starts


# ── Analytics ─────────────────────────────────────────────────────────────────────────────────────

OPENED, WON, LOST = "opened", "won", "lost"


@dataclass(slots=True)
class DisputeTally:
    """Disputes, and their amounts in minor units by currency."""

    opened: int = 0
    won: int = 0
    lost: int = 0
    amounts: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def win_rate(self) -> Decimal | None:
        return rate(self.won, self.won + self.lost)

    def add(self, cell: DisputeCell) -> None:
        amounts = self.amounts.setdefault(cell.currency, {OPENED: 0, WON: 0, LOST: 0})
        amounts[cell.what] += cell.amount_minor
        setattr(self, cell.what, getattr(self, cell.what) + cell.disputes)


@dataclass(slots=True)
class OrderTally:
    by_status: dict[str, int] = field(default_factory=dict)
    on_hold: int = 0
    was_held: int = 0
    captured: int = 0

    @property
    def orders(self) -> int:
        return sum(self.by_status.values())

    def add(self, cell: OrderCell) -> None:
        self.by_status[cell.status] = self.by_status.get(cell.status, 0) + cell.orders
        self.on_hold += cell.on_hold
        self.was_held += cell.was_held
        self.captured += cell.captured


@dataclass(frozen=True, slots=True)
class DisputeAnalytics:
    asked: AnalyticsAsked
    totals: DisputeTally
    by_time: Mapping[datetime, DisputeTally]
    by_reason: Mapping[str, DisputeTally]


@dataclass(frozen=True, slots=True)
class OrderAnalytics:
    asked: AnalyticsAsked
    totals: OrderTally
    by_time: Mapping[datetime, OrderTally]


def dispute_analytics(asked: AnalyticsAsked, cells: Iterable[DisputeCell]) -> DisputeAnalytics:
    by_time = {start: DisputeTally() for start in intervals(asked)}
    by_reason: dict[str, DisputeTally] = {}
    totals = DisputeTally()
    for cell in cells:
        if cell.start is not None:
            by_time[cell.start].add(cell)
            totals.add(cell)
        if cell.reason is not None:
            by_reason.setdefault(cell.reason, DisputeTally()).add(cell)
    most_opened = sorted(by_reason.items(), key=lambda each: (-each[1].opened, each[0]))
    return DisputeAnalytics(asked, totals, by_time, dict(most_opened[:REASONS_MAX]))


def order_analytics(asked: AnalyticsAsked, cells: Iterable[OrderCell]) -> OrderAnalytics:
    by_time = {start: OrderTally() for start in intervals(asked)}
    totals = OrderTally()
    for cell in cells:
        by_time[cell.start].add(cell)
        totals.add(cell)
    return OrderAnalytics(asked, totals, by_time)


def rate(part: int, whole: int) -> Decimal | None:
    """With at most four decimals, half to even; None of nothing."""
    if not whole:
        return None
    return Decimal(round(Fraction(part * 10_000, whole))).scaleb(-4).normalize()
