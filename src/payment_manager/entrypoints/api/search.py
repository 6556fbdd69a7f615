"""Search over all events and disputes, and analytics of disputes and orders.

How to think about it: parameters are read into what is sought, and answers are put into views; who
answers is the use case's business. Nothing that is typed into `q` is an operator, so whatever is
sent there is words, or refused with what is wrong about it.
"""

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from payment_manager.application.ports import (
    AnalyticsAsked,
    DisputesSought,
    EventsSought,
    Interval,
    Word,
)
from payment_manager.application.search_terms import AMOUNT_RANGES, query_words
from payment_manager.contracts import cursors
from payment_manager.contracts.events import DISPUTE_KINDS, ORDER_KINDS
from payment_manager.contracts.wire import FieldError, InvalidInput, uuid
from payment_manager.domain.currencies import MINOR_UNITS
from payment_manager.domain.dispute import DisputeStatus
from payment_manager.entrypoints.api.parameters import Query, choice, line, order_id_text, time
from payment_manager.entrypoints.api.search_views import (
    dispute_analytics_answer,
    disputes_answer,
    events_answer,
    order_analytics_answer,
)
from payment_manager.entrypoints.api.services import Services
from payment_manager.entrypoints.http.answers import json
from payment_manager.entrypoints.http.edge import note

EVENT_KINDS = tuple(sorted({*ORDER_KINDS, *DISPUTE_KINDS}))

MONTH = re.compile(r"(19[7-9][0-9]|20[0-9]{2}|2100)-(0[1-9]|1[0-2])")

_kind = choice(*EVENT_KINDS)
_status = choice(*DisputeStatus)
_amount_range = choice(*AMOUNT_RANGES)
_interval = choice(*Interval)


def search_handlers(services: Services) -> list[HTTPRouteHandler]:
    search = services.search

    @get("/search/events")
    async def search_events(request: Request[Any, Any, Any]) -> Response[bytes]:
        query = Query(request.scope)
        sought = EventsSought(
            words=_words(query),
            kinds=query.many("kinds", _kind),
            order_ids=query.many("order_ids", order_id_text),
            dispute_ids=query.many("dispute_ids", uuid),
            time_from=query.one("time_from", time),
            time_to=query.one("time_to", time),
        )
        limit, wait_for = query.limit(), query.one("wait_for", _event_id)
        filter = cursors.filter_hash("search_events", sought)
        after = query.cursor(filter, uuid)
        answer = await search.events(sought, after, limit, wait_for)
        note(request.scope, source=answer.source)
        return json(events_answer(answer, wait_for, filter))

    @get("/search/disputes")
    async def search_disputes(request: Request[Any, Any, Any]) -> Response[bytes]:
        query = Query(request.scope)
        sought = DisputesSought(
            words=_words(query),
            statuses=query.many("status", _status),
            reasons=query.many("reason", line),
            currencies=query.many("currency", _currency),
            months=query.many("month", _month),
            amount_ranges=query.many("amount_range", _amount_range),
            order_ids=query.many("order_ids", order_id_text),
            time_from=query.one("time_from", time),
            time_to=query.one("time_to", time),
        )
        limit, wait_for = query.limit(), query.one("wait_for", _event_id)
        filter = cursors.filter_hash("search_disputes", sought)
        after = query.cursor(filter, uuid)
        answer = await search.disputes(sought, after, limit, wait_for)
        note(request.scope, source=answer.source)
        return json(disputes_answer(answer, wait_for, filter))

    @get("/analytics/disputes")
    async def analytics_of_disputes(request: Request[Any, Any, Any]) -> Response[bytes]:
        query = Query(request.scope)
        reasons = query.many("reason", line)
        asked, wait_for = analytics_asked(query, reasons)
        answer = await search.dispute_analytics(asked, wait_for)
        note(request.scope, source=answer.source)
        return json(dispute_analytics_answer(answer, wait_for))

    @get("/analytics/orders")
    async def analytics_of_orders(request: Request[Any, Any, Any]) -> Response[bytes]:
        asked, wait_for = analytics_asked(Query(request.scope))
        answer = await search.order_analytics(asked, wait_for)
        note(request.scope, source=answer.source)
        return json(order_analytics_answer(answer, wait_for))

    def analytics_asked(
        query: Query, reasons: Sequence[str] = ()
    ) -> tuple[AnalyticsAsked, UUID | None]:
        interval = Interval(query.one("interval", _interval) or Interval.DAY)
        time_from, time_to = query.one("time_from", time), query.one("time_to", time)
        currencies = query.many("currency", _currency)
        wait_for = query.one("wait_for", _event_id)
        query.done()
        try:
            start, end = search.window(interval, time_from, time_to)
        except ValueError as wrong:
            raise InvalidInput(FieldError("time_from", str(wrong))) from None
        return AnalyticsAsked(interval, start, end, reasons, currencies), wait_for

    return [search_events, search_disputes, analytics_of_disputes, analytics_of_orders]


def _words(query: Query) -> Sequence[Word]:
    return query.one("q", query_words) or ()


def _event_id(text: str) -> UUID:
    """Whoever waits for what can never come should know at once."""
    id = uuid(text)
    if id.version != 7:
        raise ValueError("must be an event's id, which is a UUID of version 7")
    return id


def _currency(text: str) -> str:
    if text not in MINOR_UNITS:
        raise ValueError("must be an upper-case ISO 4217 code with minor units")
    return text


def _month(text: str) -> str:
    if not MONTH.fullmatch(text):
        raise ValueError("must be a month such as 2026-11, in the years 1970 to 2100")
    return text
