"""From a message to a webhook: checked again, since anybody may have written to the topic."""

from dataclasses import dataclass
from datetime import datetime

from payment_manager.application.apply_webhooks import Webhook
from payment_manager.application.ports import Message, Space
from payment_manager.contracts.commands import read_notice
from payment_manager.contracts.envelope import CORRELATION_HEADER, Kind, decode
from payment_manager.contracts.wire import correlation_id


@dataclass(frozen=True, slots=True)
class Delivered:
    """`received_at`: when Ingest took it."""

    message: Message
    webhook: Webhook
    received_at: datetime


def read(message: Message, space: Space) -> Delivered:
    """Raises `InvalidInput` for what can never be applied."""
    kind = Kind.ORDER if space is Space.ORDER else Kind.DISPUTE
    envelope = decode(message.value, kind)
    notice, content_hash = read_notice(kind, bytes(envelope.payload))
    webhook = Webhook(notice, content_hash, correlation_of(message))
    return Delivered(message, webhook, envelope.timestamp)


def correlation_of(message: Message) -> str:
    """The id that came with the webhook; a new one where a message has none."""
    return correlation_id(dict(message.headers).get(CORRELATION_HEADER))
