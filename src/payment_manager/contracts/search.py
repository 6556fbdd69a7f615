"""What the search API answers: pages, counts and rates, each with its source and how fresh it is.

How to think about it: plain structs, encoded as they stand. `wait_for` is there only where it was
asked for. Amounts are numbers with exactly the currency's decimals, sums too; a rate is a number
from 0 to 1 with at most four decimals, or null where there is nothing to divide by.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from payment_manager.contracts.api import DisputeView

Source = Literal["opensearch", "postgres"]
IntervalName = Literal["day", "week", "month"]


class PositionView(msgspec.Struct):
    """Of each log, the position up to which its events are in the answer."""

    orders: int
    disputes: int


class AsOfView(msgspec.Struct):
    """How far the source had come when it was asked."""

    time: datetime
    position: PositionView


class WaitView(msgspec.Struct):
    """Whether the event is among what was asked, after five seconds at most."""

    event_id: UUID
    visible: bool


class SearchAnswer(msgspec.Struct, kw_only=True):
    source: Source
    as_of: AsOfView
    wait_for: WaitView | UnsetType = UNSET


# ── Pages ─────────────────────────────────────────────────────────────────────────────────────────


class FoundEventView(msgspec.Struct):
    """`dispute_id` is null for an order's own event."""

    event_id: UUID
    order_id: str
    dispute_id: UUID | None
    kind: str
    provider_event_id: str | None
    data: msgspec.Raw
    created_at: datetime
    sequence: int


class EventsAnswer(SearchAnswer, kw_only=True):
    """A page may be short, even empty, where `has_more` says that the search goes on behind it."""

    items: Sequence[FoundEventView]
    next_cursor: str
    has_more: bool


class ValueCount(msgspec.Struct):
    value: str
    count: int


class RangeCount(msgspec.Struct, rename={"start": "from", "end": "to"}):
    """From the first up to and without the second, in major units of whatever currency; null: no
    end.
    """

    value: str
    start: int
    end: int | None
    count: int


class FacetsView(msgspec.Struct):
    """How many of all disputes found have each value; the most frequent first, months in order."""

    status: Sequence[ValueCount]
    reason: Sequence[ValueCount]
    currency: Sequence[ValueCount]
    month: Sequence[ValueCount]
    amount: Sequence[RangeCount]


class DisputesAnswer(SearchAnswer, kw_only=True):
    """`total`: how many disputes were found, on all pages."""

    items: Sequence[DisputeView]
    next_cursor: str
    has_more: bool
    total: int
    facets: FacetsView


# ── Analytics ─────────────────────────────────────────────────────────────────────────────────────


class CurrencyAmounts(msgspec.Struct):
    currency: str
    opened: Decimal
    won: Decimal
    lost: Decimal


class DisputeTotals(msgspec.Struct):
    """`win_rate`: won of all that were won or lost."""

    opened: int
    won: int
    lost: int
    win_rate: Decimal | None
    amounts: Sequence[CurrencyAmounts]


class DisputeInterval(msgspec.Struct):
    start: datetime
    opened: int
    won: int
    lost: int
    win_rate: Decimal | None
    amounts: Sequence[CurrencyAmounts]


class DisputeReason(msgspec.Struct):
    reason: str
    opened: int
    won: int
    lost: int
    win_rate: Decimal | None
    amounts: Sequence[CurrencyAmounts]


class DisputeAnalyticsAnswer(SearchAnswer, kw_only=True):
    """`time_from` and `time_to`: the bounds of the whole intervals that are counted."""

    interval: IntervalName
    time_from: datetime
    time_to: datetime
    totals: DisputeTotals
    by_time: Sequence[DisputeInterval]
    by_reason: Sequence[DisputeReason]


class StatusCounts(msgspec.Struct):
    created: int = 0
    updated: int = 0
    failed: int = 0
    success: int = 0


class OrderTotals(msgspec.Struct):
    """`held`: that are or were on hold; `hold_rate` and `capture_rate`: of all orders."""

    orders: int
    by_status: StatusCounts
    on_hold: int
    held: int
    hold_rate: Decimal | None
    captured: int
    capture_rate: Decimal | None


class OrderInterval(msgspec.Struct):
    start: datetime
    orders: int
    by_status: StatusCounts
    on_hold: int
    held: int
    hold_rate: Decimal | None
    captured: int
    capture_rate: Decimal | None


class OrderAnalyticsAnswer(SearchAnswer, kw_only=True):
    """`time_from` and `time_to`: the bounds of the whole intervals that are counted."""

    interval: IntervalName
    time_from: datetime
    time_to: datetime
    totals: OrderTotals
    by_time: Sequence[OrderInterval]
