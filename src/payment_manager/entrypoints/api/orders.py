"""Orders: lists, one, its events, hold and capture."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from payment_manager.application.operate import Operator
from payment_manager.application.ports import EventsAsked, OrdersAsked, Space
from payment_manager.contracts import cursors
from payment_manager.contracts.api import CaptureRequest, HoldRequest
from payment_manager.contracts.events import ORDER_KINDS
from payment_manager.contracts.wire import FieldError, InvalidInput, uuid
from payment_manager.domain.order import AttemptStatus, HoldReason, OrderStatus
from payment_manager.domain.rejections import OrderUnknown, Rejection
from payment_manager.entrypoints.api.pages import page
from payment_manager.entrypoints.api.parameters import (
    ORDER_ID,
    Query,
    checked_body,
    choice,
    flag,
    idempotency_key,
    order_id_text,
    time,
)
from payment_manager.entrypoints.api.problems import refused
from payment_manager.entrypoints.api.services import Services
from payment_manager.entrypoints.api.views import (
    REPLAYED,
    capture_answer,
    hold_answer,
    order_event_view,
    order_view,
)
from payment_manager.entrypoints.http.answers import json
from payment_manager.entrypoints.http.edge import correlation_id_of, note

ACTOR = "operator"
"""Who acts, until operator keys say which one."""

_status = choice(*OrderStatus)
_kind = choice(*ORDER_KINDS)
_sort_by = choice("created_at", "updated_at")
_sort_order = choice("asc", "desc")


def order_handlers(services: Services) -> list[HTTPRouteHandler]:
    queries, operate = services.queries, services.operate

    @get("/orders")
    async def list_orders(request: Request[Any, Any, Any]) -> Response[bytes]:
        query = Query(request.scope)
        asked = OrdersAsked(
            statuses=[OrderStatus(status) for status in query.many("status", _status)],
            user_ids=query.many("user_id", uuid),
            on_hold=query.one("on_hold", flag),
            by_update=query.one("sort_by", _sort_by) == "updated_at",
            ascending=query.one("sort_order", _sort_order) == "asc",
        )
        limit = query.limit()
        filter = cursors.filter_hash("orders", asked)
        after = query.cursor(filter, order_id_text)
        return page(await queries.orders(asked, after, limit), order_view, filter)

    @get("/orders/events")
    async def list_order_events(request: Request[Any, Any, Any]) -> Response[bytes]:
        query = Query(request.scope)
        asked = EventsAsked(
            space=Space.ORDER,
            streams=query.many("order_ids", order_id_text),
            kinds=query.many("kinds", _kind),
            time_from=query.one("time_from", time),
            time_to=query.one("time_to", time),
            ascending=query.one("sort_asc", flag) or False,
        )
        limit = query.limit()
        filter = cursors.filter_hash("order_events", asked)
        after = query.cursor(filter, uuid)
        return page(await queries.events(asked, after, limit), order_event_view, filter)

    @get("/orders/{order_id:str}")
    async def get_order(request: Request[Any, Any, Any], order_id: str) -> Response[bytes]:
        found = await queries.order(order_id) if ORDER_ID.fullmatch(order_id) else None
        if found is None:
            return refused(request, OrderUnknown())
        return json(order_view(found))

    @post("/orders/{order_id:str}/hold")
    async def hold(request: Request[Any, Any, Any], order_id: str) -> Response[bytes]:
        asked = await checked_body(request, HoldRequest)
        if not ORDER_ID.fullmatch(order_id):
            return refused(request, OrderUnknown())
        note(request.scope, order_id=order_id, action=asked.action)
        if asked.action == "set":
            assert asked.reason is not None  # the model asks for it
            told = await operate.set_hold(order_id, HoldReason(asked.reason), by(request))
        else:
            told = await operate.clear_hold(order_id, by(request))
        if isinstance(told, Rejection):
            return refused(request, told)
        return json(hold_answer(told))

    @post("/orders/{order_id:str}/capture")
    async def capture(request: Request[Any, Any, Any], order_id: str) -> Response[bytes]:
        asked = await checked_body(request, CaptureRequest)
        key = idempotency_key(request.scope, asked.idempotency_key)
        if key is None:
            raise InvalidInput(
                FieldError("idempotency_key", "is needed, here or as the Idempotency-Key header")
            )
        if not ORDER_ID.fullmatch(order_id):
            return refused(request, OrderUnknown())
        note(request.scope, order_id=order_id)
        captured = await operate.capture(order_id, key, asked.amount, by(request))
        if isinstance(captured, Rejection):
            return refused(request, captured)
        pending = captured.capture.status is AttemptStatus.PENDING
        note(request.scope, capture=captured.capture.status.value)
        return json(
            capture_answer(order_id, captured.capture),
            202 if pending else 200,
            REPLAYED if captured.replayed else {},
        )

    return [list_orders, list_order_events, get_order, hold, capture]


def by(request: Request[Any, Any, Any]) -> Operator:
    return Operator(ACTOR, correlation_id_of(request.scope))
