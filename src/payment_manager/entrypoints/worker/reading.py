"""From a message to a webhook: checked again, since anybody may have written to the topic."""

from dataclasses import dataclass
from datetime import datetime

from payment_manager.application.apply_webhooks import Webhook
from payment_manager.application.ports import Message, Space
from payment_manager.contracts.commands import chargeback_notice, order_snapshot
from payment_manager.contracts.envelope import CORRELATION_HEADER, Kind, decode
from payment_manager.contracts.webhooks import read_chargeback_webhook, read_order_webhook
from payment_manager.contracts.wire import FieldError, InvalidInput, correlation_id


@dataclass(frozen=True, slots=True)
class Delivered:
    """`received_at`: when Ingest took it."""

    message: Message
    webhook: Webhook
    received_at: datetime


def read(message: Message, space: Space) -> Delivered:
    """Raises `InvalidInput` for what can never be applied."""
    try:
        return _read(message, space)
    except RecursionError:  # of the decoder, which goes as deep as the interpreter's stack
        raise InvalidInput(FieldError("", "must not be nested so deeply")) from None


def _read(message: Message, space: Space) -> Delivered:
    correlated = correlation_of(message)
    if space is Space.ORDER:
        envelope = decode(message.value, Kind.ORDER)
        order = read_order_webhook(bytes(envelope.payload))
        webhook = Webhook(order_snapshot(order), order.content_hash, correlated)
    else:
        envelope = decode(message.value, Kind.DISPUTE)
        chargeback = read_chargeback_webhook(bytes(envelope.payload))
        webhook = Webhook(chargeback_notice(chargeback), chargeback.content_hash, correlated)
    return Delivered(message, webhook, envelope.timestamp)


def correlation_of(message: Message) -> str:
    """The id that came with the webhook; a new one where a message has none."""
    return correlation_id(dict(message.headers).get(CORRELATION_HEADER))
