"""The provider's webhooks in sync mode: applied and committed, then answered.

How to think about it: these two routes are the hot path, so the edge calls them itself, as plain
ASGI: the framework's routing, request and response would cost as much as all the rest of the work
here. What they raise becomes a problem at the edge.
"""

from typing import assert_never

from litestar.types import ASGIApp, Receive, Scope, Send

from payment_manager.application.apply_webhooks import Webhook
from payment_manager.application.ports import Space, Unavailable
from payment_manager.contracts.api import WebhookAnswer, encode
from payment_manager.contracts.commands import chargeback_notice, order_snapshot
from payment_manager.contracts.webhooks import read_chargeback_webhook, read_order_webhook
from payment_manager.contracts.wire import InvalidInput
from payment_manager.domain.decider import Outcome
from payment_manager.entrypoints.api.answers import Answer
from payment_manager.entrypoints.api.edge import correlation_id_of, note
from payment_manager.entrypoints.api.parameters import json_body
from payment_manager.entrypoints.api.problems import problem, rejected
from payment_manager.entrypoints.api.services import Services


def webhook_routes(services: Services) -> dict[str, ASGIApp]:
    """Each route's path and application."""

    async def order_webhook(scope: Scope, receive: Receive, send: Send) -> None:
        await answered(Space.ORDER, scope, receive, send)

    async def chargeback_webhook(scope: Scope, receive: Receive, send: Send) -> None:
        await answered(Space.DISPUTE, scope, receive, send)

    async def answered(space: Space, scope: Scope, receive: Receive, send: Send) -> None:
        correlation_id = correlation_id_of(scope)
        if scope["method"] != "POST":  # type: ignore[typeddict-item]  # HTTP: the edge saw to that
            answer = problem(correlation_id, "method_not_allowed", headers={"Allow": "POST"})
        else:
            body = await json_body(scope, receive)
            answer = await taken(space, scope, body, correlation_id)
        await answer.send_to(send)

    async def taken(space: Space, scope: Scope, body: bytes, correlation_id: str) -> Answer:
        try:
            webhook = _read(space, body, correlation_id)
            note(scope, order_id=webhook.notice.order_id)
            taken = await services.webhooks.submit(webhook)
        except InvalidInput:
            services.telemetry.webhook(space, "invalid")
            raise
        except Unavailable:
            services.telemetry.webhook(space, "unavailable")
            raise
        outcome, dispute_id = taken.outcome, taken.dispute_id
        services.telemetry.webhook(space, outcome.value)
        note(scope, outcome=outcome.value)
        if dispute_id is not None:
            note(scope, dispute_id=str(dispute_id))
        match outcome:
            case Outcome.APPLIED | Outcome.STALE | Outcome.PARKED | Outcome.DUPLICATE:
                status = 200 if outcome is Outcome.DUPLICATE else 202
                return Answer(status, encode(WebhookAnswer(outcome, taken.order_id, dispute_id)))
            case Outcome.CONFLICT:
                return problem(correlation_id, "webhook_conflict")
            case Outcome.REJECTED:
                assert taken.rejection is not None  # a rejected one always says why
                order_id = taken.order_id if space is Space.ORDER else None
                return rejected(correlation_id, taken.rejection, order_id, dispute_id)
            case _:
                assert_never(outcome)

    return {
        "/webhooks/payments/orders": order_webhook,
        "/webhooks/payments/chargebacks": chargeback_webhook,
    }


def _read(space: Space, body: bytes, correlation_id: str) -> Webhook:
    if space is Space.ORDER:
        order = read_order_webhook(body)
        return Webhook(order_snapshot(order), order.content_hash, correlation_id)
    chargeback = read_chargeback_webhook(body)
    return Webhook(chargeback_notice(chargeback), chargeback.content_hash, correlation_id)
