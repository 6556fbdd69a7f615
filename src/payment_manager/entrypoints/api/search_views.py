"""Answers of search as the API shows them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from payment_manager.application.ports import (
    DisputeState,
    Facets,
    FoundDisputes,
    FoundEvents,
    LoggedEvent,
)
from payment_manager.application.search import (
    REASONS_MAX,
    Answer,
    DisputeAnalytics,
    DisputeTally,
    OrderAnalytics,
    OrderTally,
    rate,
)
from payment_manager.application.search_terms import AMOUNT_RANGES
from payment_manager.contracts import cursors
from payment_manager.contracts.api import DisputeView
from payment_manager.contracts.search import (
    AsOfView,
    CurrencyAmounts,
    DisputeAnalyticsAnswer,
    DisputeInterval,
    DisputeReason,
    DisputesAnswer,
    DisputeTotals,
    EventsAnswer,
    FacetsView,
    FoundEventView,
    OrderAnalyticsAnswer,
    OrderInterval,
    OrderTotals,
    PositionView,
    RangeCount,
    StatusCounts,
    ValueCount,
    WaitView,
)
from payment_manager.domain.money import Money, to_decimal


def _freshness(answer: Answer[Any], wait_for: UUID | None) -> dict[str, Any]:
    """What every answer begins with."""
    position = PositionView(answer.as_of.order_position, answer.as_of.dispute_position)
    begin: dict[str, Any] = {
        "source": answer.source,
        "as_of": AsOfView(answer.as_of.time, position),
    }
    if wait_for is not None:
        begin["wait_for"] = WaitView(wait_for, bool(answer.visible))
    return begin


# ── Pages ─────────────────────────────────────────────────────────────────────────────────────────


def events_answer(
    answer: Answer[FoundEvents], wait_for: UUID | None, filter: bytes
) -> EventsAnswer:
    found = answer.found
    return EventsAnswer(
        **_freshness(answer, wait_for),
        items=[*map(_event_view, found.events)],
        next_cursor=cursors.encode(filter, found.next),
        has_more=found.next is not None,
    )


def _event_view(event: LoggedEvent) -> FoundEventView:
    return FoundEventView(
        event.event_id, event.order_id, event.dispute_id, event.kind, event.provider_event_id,
        msgspec.Raw(event.data.encode()), event.created_at, event.sequence,
    )  # fmt: skip


def disputes_answer(
    answer: Answer[tuple[FoundDisputes, Facets]], wait_for: UUID | None, filter: bytes
) -> DisputesAnswer:
    found, facets = answer.found
    return DisputesAnswer(
        **_freshness(answer, wait_for),
        items=[*map(_dispute_view, found.disputes)],
        next_cursor=cursors.encode(filter, found.next),
        has_more=found.next is not None,
        total=facets.total,
        facets=_facets_view(facets),
    )


def _dispute_view(state: DisputeState) -> DisputeView:
    return DisputeView(
        dispute_id=state.dispute_id,
        order_id=state.order_id,
        status=state.status,  # type: ignore[arg-type]
        reason=state.reason,
        amount=to_decimal(Money(state.amount_minor, state.currency)),
        currency=state.currency,
        opened_at=state.opened_at,
        evidence_due_at=state.evidence_due_at,
        submitted_at=state.submitted_at,
        closed_at=state.closed_at,
        submitting_id=state.submitting_id,
    )


def _facets_view(facets: Facets) -> FacetsView:
    return FacetsView(
        status=_most_first(facets.statuses),
        reason=_most_first(facets.reasons)[:REASONS_MAX],
        currency=_most_first(facets.currencies),
        month=[ValueCount(month, facets.months[month]) for month in sorted(facets.months)],
        amount=[
            RangeCount(name, start, end, facets.amount_ranges[name])
            for name, (start, end) in AMOUNT_RANGES.items()
            if name in facets.amount_ranges
        ],
    )


def _most_first(counts: Mapping[str, int]) -> Sequence[ValueCount]:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [ValueCount(value, count) for value, count in ordered]


# ── Analytics ─────────────────────────────────────────────────────────────────────────────────────


def dispute_analytics_answer(
    answer: Answer[DisputeAnalytics], wait_for: UUID | None
) -> DisputeAnalyticsAnswer:
    found = answer.found
    return DisputeAnalyticsAnswer(
        **_freshness(answer, wait_for),
        interval=found.asked.interval.value,
        time_from=found.asked.time_from,
        time_to=found.asked.time_to,
        totals=DisputeTotals(*_of_disputes(found.totals)),
        by_time=[
            DisputeInterval(start, *_of_disputes(tally)) for start, tally in found.by_time.items()
        ],
        by_reason=[
            DisputeReason(reason, *_of_disputes(tally)) for reason, tally in found.by_reason.items()
        ],
    )


def _of_disputes(
    tally: DisputeTally,
) -> tuple[int, int, int, Decimal | None, Sequence[CurrencyAmounts]]:
    amounts = [
        CurrencyAmounts(
            currency,
            *(to_decimal(Money(sums[what], currency)) for what in ("opened", "won", "lost")),
        )
        for currency, sums in sorted(tally.amounts.items())
    ]
    return tally.opened, tally.won, tally.lost, tally.win_rate, amounts


def order_analytics_answer(
    answer: Answer[OrderAnalytics], wait_for: UUID | None
) -> OrderAnalyticsAnswer:
    found = answer.found
    return OrderAnalyticsAnswer(
        **_freshness(answer, wait_for),
        interval=found.asked.interval.value,
        time_from=found.asked.time_from,
        time_to=found.asked.time_to,
        totals=OrderTotals(*_of_orders(found.totals)),
        by_time=[
            OrderInterval(start, *_of_orders(tally)) for start, tally in found.by_time.items()
        ],
    )


def _of_orders(
    tally: OrderTally,
) -> tuple[int, StatusCounts, int, int, Decimal | None, int, Decimal | None]:
    orders = tally.orders
    return (
        orders,
        StatusCounts(**tally.by_status),
        tally.on_hold,
        tally.was_held,
        rate(tally.was_held, orders),
        tally.captured,
        rate(tally.captured, orders),
    )
