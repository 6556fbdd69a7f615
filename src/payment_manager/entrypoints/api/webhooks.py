"""The provider's webhooks in sync mode: applied and committed, then answered."""

from functools import partial
from typing import assert_never

from litestar.types import ASGIApp, Scope

from payment_manager.application.apply_webhooks import Webhook
from payment_manager.application.ports import Space, Unavailable
from payment_manager.contracts.api import WebhookAnswer, encode
from payment_manager.contracts.commands import read_notice
from payment_manager.contracts.envelope import Kind
from payment_manager.contracts.wire import InvalidInput
from payment_manager.domain.decider import Outcome
from payment_manager.entrypoints.api.problems import rejected
from payment_manager.entrypoints.api.services import Services
from payment_manager.entrypoints.http.answers import Answer
from payment_manager.entrypoints.http.edge import note
from payment_manager.entrypoints.http.problems import problem
from payment_manager.entrypoints.http.webhooks import webhook_routes


def sync_routes(services: Services) -> dict[str, ASGIApp]:
    """Each route's path and application; none in Kafka mode, where Ingest serves them."""
    webhooks, telemetry = services.webhooks, services.telemetry
    if webhooks is None:
        return {}

    async def take(
        space: Space, kind: Kind, scope: Scope, body: bytes, correlation_id: str
    ) -> Answer:
        try:
            webhook = Webhook(*read_notice(kind, body), correlation_id)
            note(scope, order_id=webhook.notice.order_id)
            taken = await webhooks.submit(webhook)
        except InvalidInput:
            telemetry.webhook(space, "invalid")
            raise
        except Unavailable:
            telemetry.webhook(space, "unavailable")
            raise
        outcome, dispute_id = taken.outcome, taken.dispute_id
        telemetry.webhook(space, outcome.value)
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

    return webhook_routes(
        partial(take, Space.ORDER, Kind.ORDER), partial(take, Space.DISPUTE, Kind.DISPUTE)
    )
