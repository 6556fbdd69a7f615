"""Webhooks as a provider sends them, in bytes, for every test that isn't about their form.

How to think about it: a builder fills in what the test doesn't say; a field given by name replaces
the builder's, and one given as `...` is left out. Ids are counted, so two calls make two webhooks;
to send the same one twice, send the same bytes twice.
"""

import json
from datetime import UTC, datetime, timedelta
from itertools import count
from types import EllipsisType
from typing import Any

from payment_manager.application.apply_webhooks import Webhook
from payment_manager.contracts.commands import read_notice
from payment_manager.contracts.envelope import Kind

ANN = "11111111-1111-1111-1111-111111111111"
BOB = "22222222-2222-2222-2222-222222222222"

Field = str | int | float | None | dict[str, Any] | list[Any] | EllipsisType

_numbers = count(1)


def at(minute: int) -> str:
    """A time at the provider, on the wire; tests need no more of it than which one is later."""
    moment = datetime(2026, 1, 2, 10, tzinfo=UTC) + timedelta(minutes=minute)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def order_webhook(
    order_id: str = "ord-1", status: str = "created", minute: int = 0, **fields: Field
) -> bytes:
    return _body(
        {
            "provider_event_id": f"evt-{next(_numbers)}",
            "order_id": order_id,
            "user_id": ANN,
            "status": status,
            "created_at": at(0),
            "updated_at": at(minute),
            "meta": {"amount": "100.50", "currency": "USD"},
        },
        fields,
    )


def chargeback_webhook(
    order_id: str = "ord-1",
    status: str = "opened",
    minute: int = 0,
    resolution: str | None = None,
    **fields: Field,
) -> bytes:
    """`resolution`: what a `closed` one decides; none: a plain `closed`."""
    return _body(
        {
            "provider_event_id": f"evt-{next(_numbers)}",
            "order_id": order_id,
            "user_id": ANN,
            "status": status,
            "reason": "fraud",
            "amount": 100.50,
            "currency": "USD",
            "occurred_at": at(minute),
            "meta": {} if resolution is None else {"resolution": resolution},
        },
        fields,
    )


def _body(usual: dict[str, Any], given: dict[str, Field]) -> bytes:
    merged = {name: value for name, value in {**usual, **given}.items() if value is not ...}
    return json.dumps(merged).encode()


def as_webhook(body: bytes, correlation_id: str = "test") -> Webhook:
    """What the write path takes, read from the wire; a chargeback is known by its `occurred_at`."""
    kind = Kind.DISPUTE if "occurred_at" in json.loads(body) else Kind.ORDER
    return Webhook(*read_notice(kind, body), correlation_id)
