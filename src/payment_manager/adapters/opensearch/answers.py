"""What OpenSearch answers to our questions, read strictly.

How to think about it: an answer is exact or it is none. Search servers like to answer at once with
what they have: without a shard that failed, cut off at a time limit, with counts that may be off. A
count here is of everything, a sum is a whole number that a double can hold, or `IndexTrouble` is
raised and another source may answer.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import msgspec

from payment_manager.adapters.opensearch.documents import AMOUNT_LOW
from payment_manager.application.ports import AnalyticsAsked, DisputeCell, IndexTrouble, OrderCell
from payment_manager.application.search import first_of

_EXACT_MAX = 2**53

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Counted = TypeVar("Counted")
Bucket = TypeVar("Bucket", bound="Value")


class Shards(msgspec.Struct):
    failed: int


class Total(msgspec.Struct):
    value: int
    relation: str


class Hit(msgspec.Struct):
    """`source`, `sort`: empty where they were not asked for."""

    source: dict[str, Any] = msgspec.field(name="_source", default_factory=dict)
    sort: list[int | str] = []

    def place(self) -> tuple[int, str]:
        """By what pages are sorted: the time, and the id where it was asked for."""
        match self.sort:
            case [int(time)]:
                return time, ""
            case [int(time), str(id)]:
                return time, id
        raise IndexTrouble("the search server did not sort")


class Hits(msgspec.Struct):
    hits: list[Hit]
    total: Total | None = None


class Answer(msgspec.Struct, Generic[Counted]):
    """`aggregations`: absent where none were asked for."""

    timed_out: bool
    shards: Shards = msgspec.field(name="_shards")
    hits: Hits
    aggregations: Counted | None = None

    def check_complete(self) -> None:
        if self.timed_out or self.shards.failed:
            raise IndexTrouble("the search server answered in part only")

    def total(self) -> int:
        total = self.hits.total
        if total is None or total.relation != "eq":
            raise IndexTrouble("the search server did not count exactly")
        return total.value

    def counted(self) -> Counted:
        if self.aggregations is None:
            raise IndexTrouble("the search server did not count")
        return self.aggregations


class Numbered(msgspec.Struct):
    """An event's place in its log."""

    position: int
    dispute_id: str | None = None


class Value(msgspec.Struct):
    key: str
    doc_count: int


class Terms(msgspec.Struct, Generic[Bucket]):
    """The values of a field, each with what was counted for it. Some may be left out only where the
    question is about the first few.
    """

    buckets: list[Bucket]
    sum_other_doc_count: int
    doc_count_error_upper_bound: int

    def all(self) -> list[Bucket]:
        if self.sum_other_doc_count:
            raise IndexTrouble("the search server left values out")
        return self.first()

    def first(self) -> list[Bucket]:
        if self.doc_count_error_upper_bound:
            raise IndexTrouble("the search server did not count exactly")
        return self.buckets


def counts(buckets: list[Value]) -> dict[str, int]:
    return {bucket.key: bucket.doc_count for bucket in buckets}


class Facets(msgspec.Struct):
    statuses: Terms[Value]
    reasons: Terms[Value]
    currencies: Terms[Value]
    months: Terms[Value]
    amount_ranges: Terms[Value]


class Sum(msgspec.Struct):
    value: float

    def exact(self) -> int:
        if not self.value.is_integer() or abs(self.value) >= _EXACT_MAX:
            raise IndexTrouble("the search server did not sum exactly")
        return int(self.value)


class Amounts(Value):
    """Disputes of one currency."""

    high: Sum
    low: Sum

    def minor(self) -> int:
        return self.high.exact() * AMOUNT_LOW + self.low.exact()


class ByCurrency(msgspec.Struct):
    by_currency: Terms[Amounts]

    def cells(self, what: str, start: datetime | None, reason: str | None) -> Iterator[DisputeCell]:
        for found in self.by_currency.all():
            yield DisputeCell(start, reason, what, found.key, found.doc_count, found.minor())


class Interval(ByCurrency):
    key: int


class Intervals(msgspec.Struct):
    buckets: list[Interval]


class Happened(msgspec.Struct):
    by_time: Intervals


class Reason(Value):
    opened: ByCurrency
    won: ByCurrency
    lost: ByCurrency


class Disputes(msgspec.Struct):
    opened: Happened
    won: Happened
    lost: Happened
    by_reason: Terms[Reason]

    def cells(self, asked: AnalyticsAsked) -> Iterator[DisputeCell]:
        for what in ("opened", "won", "lost"):
            happened: Happened = getattr(self, what)
            for interval in happened.by_time.buckets:
                yield from interval.cells(what, _start(interval.key, asked), None)
            for reason in self.by_reason.first():
                of_reason: ByCurrency = getattr(reason, what)
                yield from of_reason.cells(what, None, reason.key)


class Count(msgspec.Struct):
    doc_count: int


class Status(Value):
    on_hold: Count
    was_held: Count
    captured: Count


class OrderInterval(msgspec.Struct):
    key: int
    by_status: Terms[Status]


class OrderIntervals(msgspec.Struct):
    buckets: list[OrderInterval]


class Orders(msgspec.Struct):
    by_time: OrderIntervals

    def cells(self, asked: AnalyticsAsked) -> Iterator[OrderCell]:
        for interval in self.by_time.buckets:
            start = _start(interval.key, asked)
            for status in interval.by_status.all():
                counts = (status.on_hold, status.was_held, status.captured)
                numbers = (each.doc_count for each in counts)
                yield OrderCell(start, status.key, status.doc_count, *numbers)


def _start(milliseconds: int, asked: AnalyticsAsked) -> datetime:
    """Of one of the intervals that were asked about."""
    with suppress(OverflowError):
        start = _EPOCH + timedelta(milliseconds=milliseconds)
        if asked.time_from <= start < asked.time_to and first_of(asked.interval, start) == start:
            return start
    raise IndexTrouble("the search server counted in other intervals")
