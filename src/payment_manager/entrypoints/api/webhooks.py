"""The provider's webhooks in sync mode: applied and committed, then answered."""

from typing import Any, assert_never

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from payment_manager.application.apply_webhooks import Webhook
from payment_manager.application.ports import Space, Unavailable
from payment_manager.contracts.api import WebhookAnswer, encode
from payment_manager.contracts.commands import chargeback_notice, order_snapshot
from payment_manager.contracts.webhooks import read_chargeback_webhook, read_order_webhook
from payment_manager.contracts.wire import InvalidInput
from payment_manager.domain.decider import Outcome
from payment_manager.entrypoints.api.edge import correlation_id_of, note
from payment_manager.entrypoints.api.parameters import json_body
from payment_manager.entrypoints.api.problems import problem, rejected
from payment_manager.entrypoints.api.services import Services


def webhook_handlers(services: Services) -> list[HTTPRouteHandler]:
    @post("/webhooks/payments/orders")
    async def order_webhook(request: Request[Any, Any, Any]) -> Response[bytes]:
        body = await json_body(request)
        try:
            received = read_order_webhook(body)
        except InvalidInput:
            services.telemetry.webhook(Space.ORDER, "invalid")
            raise
        webhook = Webhook(
            order_snapshot(received), received.content_hash, correlation_id_of(request.scope)
        )
        return await take(request, webhook, Space.ORDER)

    @post("/webhooks/payments/chargebacks")
    async def chargeback_webhook(request: Request[Any, Any, Any]) -> Response[bytes]:
        body = await json_body(request)
        try:
            received = read_chargeback_webhook(body)
        except InvalidInput:
            services.telemetry.webhook(Space.DISPUTE, "invalid")
            raise
        webhook = Webhook(
            chargeback_notice(received), received.content_hash, correlation_id_of(request.scope)
        )
        return await take(request, webhook, Space.DISPUTE)

    async def take(
        request: Request[Any, Any, Any], webhook: Webhook, space: Space
    ) -> Response[bytes]:
        note(request.scope, order_id=webhook.notice.order_id)
        try:
            taken = await services.webhooks.submit(webhook)
        except Unavailable:
            services.telemetry.webhook(space, "unavailable")
            raise
        outcome = taken.outcome
        services.telemetry.webhook(space, outcome.value)
        note(request.scope, outcome=outcome.value)
        if taken.dispute_id is not None:
            note(request.scope, dispute_id=str(taken.dispute_id))
        match outcome:
            case Outcome.CONFLICT:
                correlation_id = correlation_id_of(request.scope)
                return problem(correlation_id, "webhook_conflict").response()
            case Outcome.REJECTED:
                assert taken.rejection is not None  # a rejected one always says why
                in_order = space is Space.ORDER
                return rejected(
                    request,
                    taken.rejection,
                    order_id=taken.order_id if in_order else None,
                    dispute_id=taken.dispute_id,
                )
            case Outcome.APPLIED | Outcome.STALE | Outcome.PARKED | Outcome.DUPLICATE:
                answer = WebhookAnswer(outcome, taken.order_id, taken.dispute_id)
                status = 200 if outcome is Outcome.DUPLICATE else 202
                return Response(encode(answer), status_code=status, media_type="application/json")
            case _:
                assert_never(outcome)

    return [order_webhook, chargeback_webhook]
