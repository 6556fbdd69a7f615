"""The provider's webhooks in Kafka mode: acknowledged by the broker, then answered.

How to think about it: the whole schema is checked here, so that no poison enters the topics; what
a webhook means is decided behind them. The payload travels as it was received, in an envelope, with
the correlation id in a header.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol, assert_never
from uuid import UUID

from litestar.types import ASGIApp, Scope

from payment_manager.contracts import envelope
from payment_manager.contracts.api import WebhookAnswer, encode
from payment_manager.contracts.envelope import CORRELATION_HEADER, Kind
from payment_manager.contracts.publishing import Publisher, Receipt
from payment_manager.contracts.webhooks import (
    ChargebackWebhook,
    OrderWebhook,
    Received,
    read_chargeback_webhook,
    read_order_webhook,
)
from payment_manager.contracts.wire import InvalidInput
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.entrypoints.http.answers import Answer
from payment_manager.entrypoints.http.edge import note
from payment_manager.entrypoints.http.problems import not_now
from payment_manager.entrypoints.http.webhooks import webhook_routes


class WebhookTelemetry(Protocol):
    def webhook(self, space: str, outcome: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Intake:
    """What the routes call, wired elsewhere."""

    publisher: Publisher
    orders_topic: str
    disputes_topic: str
    telemetry: WebhookTelemetry
    now: Callable[[], datetime]
    next_id: Callable[[], UUID]


@dataclass(frozen=True, slots=True)
class _Stream:
    """What tells orders and chargebacks apart here."""

    space: str
    kind: Kind
    topic: str
    read: Callable[[bytes], Received[OrderWebhook] | Received[ChargebackWebhook]]


def kafka_routes(intake: Intake) -> dict[str, ASGIApp]:
    """Each route's path and application."""
    orders = _Stream("order", Kind.ORDER, intake.orders_topic, read_order_webhook)
    disputes = _Stream("dispute", Kind.DISPUTE, intake.disputes_topic, read_chargeback_webhook)
    return webhook_routes(partial(_take, intake, orders), partial(_take, intake, disputes))


async def _take(
    intake: Intake, stream: _Stream, scope: Scope, body: bytes, correlation_id: str
) -> Answer:
    try:
        received = stream.read(body)
    except InvalidInput:
        intake.telemetry.webhook(stream.space, "invalid")
        raise
    order_id, key = received.wire.order_id, str(received.wire.user_id)
    receipt = await intake.publisher.publish(
        stream.topic,
        key.encode(),
        envelope.encode(intake.next_id(), key, stream.kind, received.payload, intake.now()),
        [(CORRELATION_HEADER, correlation_id.encode())],
    )
    outcome = _OUTCOMES[receipt]
    intake.telemetry.webhook(stream.space, outcome)
    note(scope, order_id=order_id, outcome=outcome)
    match receipt:
        case Receipt.ACKNOWLEDGED:
            dispute_id = dispute_id_of(order_id) if stream.kind is Kind.DISPUTE else None
            return Answer(202, encode(WebhookAnswer(outcome, order_id, dispute_id)))
        case Receipt.QUEUE_FULL:
            return not_now(correlation_id, "overloaded", "too many webhooks wait for the broker")
        case Receipt.AWAY:
            return not_now(correlation_id, "unavailable", "the broker is away")
        case Receipt.UNKNOWN:
            return not_now(correlation_id, "unavailable", "the broker did not acknowledge in time")
        case _:
            assert_never(receipt)


_OUTCOMES = {
    Receipt.ACKNOWLEDGED: "accepted",
    Receipt.QUEUE_FULL: "unavailable",
    Receipt.AWAY: "unavailable",
    # Refused, and may be in the topic all the same: counted apart, so that counts can balance.
    Receipt.UNKNOWN: "unknown",
}
