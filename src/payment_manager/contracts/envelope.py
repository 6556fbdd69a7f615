"""A webhook on its way through Kafka: the envelope, and the headers beside it.

How to think about it: Ingest wraps what it has checked, consumers unwrap it and check again, since
anybody with access to the topic may have written there. The payload travels byte for byte, so that
an event holds the same bytes in both modes, and a redelivery the same content. Source: the
contract, Kafka.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import msgspec

from payment_manager.contracts.wire import FieldError, InvalidInput

CORRELATION_HEADER = "X-Correlation-ID"
"""As in HTTP, so that one name is looked for everywhere."""

DEAD_LETTER_SUFFIX = ".dlq"


class Kind(StrEnum):
    """What an envelope holds. Each topic carries one kind."""

    ORDER = "order.webhook"
    DISPUTE = "dispute.webhook"


class Envelope(msgspec.Struct, frozen=True):
    """`timestamp`: when Ingest received the webhook. `key`: the message's key, the user's id."""

    event_id: UUID
    key: str
    type: Kind
    payload: msgspec.Raw
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]


class DeadLetterHeader(StrEnum):
    """What a dead letter says about itself, beside the headers that it came with. Texts in UTF-8,
    times as RFC 3339.
    """

    ERROR_CLASS = "dlq-error-class"
    ERROR_MESSAGE = "dlq-error-message"
    ATTEMPTS = "dlq-attempts"
    FIRST_FAILURE = "dlq-first-failure"
    LAST_FAILURE = "dlq-last-failure"
    SOURCE_TOPIC = "dlq-source-topic"
    SOURCE_PARTITION = "dlq-source-partition"
    SOURCE_OFFSET = "dlq-source-offset"


_FIELDS: Mapping[str, str] = {
    "event_id": "must be a UUID",
    "key": "must be a string",
    "type": "must be order.webhook or dispute.webhook",
    "payload": "is required",
    "timestamp": "must be an RFC 3339 time with an offset",
}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Envelope).decode


def encode(event_id: UUID, key: str, kind: Kind, payload: bytes, received_at: datetime) -> bytes:
    """The message's value. `payload` is JSON that was checked; it is not looked at again."""
    return _encode(Envelope(event_id, key, kind, msgspec.Raw(payload), received_at))


def decode(value: bytes | None, kind: Kind) -> Envelope:
    """The envelope of a message in `kind`'s topic. Raises `InvalidInput`."""
    if value is None:
        raise InvalidInput(FieldError("", "must have a value"))
    try:
        envelope = _decode(value)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(_fault(str(error))) from None
    except RecursionError:  # the decoder goes as deep as the interpreter's stack
        raise InvalidInput(FieldError("", "must not be nested so deeply")) from None
    if envelope.type is not kind:
        raise InvalidInput(FieldError("type", f"must be {kind} in this topic"))
    return envelope


def _fault(words: str) -> FieldError:
    """The decoder's words name the field; what they quote of its content is not repeated."""
    for field, rule in _FIELDS.items():
        if f"`$.{field}`" in words or f"field `{field}`" in words:
            return FieldError(field, rule)
    return FieldError("", "must be an envelope: a JSON object in UTF-8")
