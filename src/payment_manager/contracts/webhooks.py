"""The provider's webhooks as they are on the wire, checked down to money and time.

How to think about it: what passes here can be applied; nothing behind it asks again whether a field
is well formed. `payload` is the JSON as received: it goes into the event unchanged, and reading it
again later gives the same webhook. The Ingest service shares this module, so it knows no state
machine.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator

from payment_manager.contracts.wire import (
    FieldError,
    Instant,
    Line,
    Model,
    OrderId,
    ProviderEventId,
    UserId,
    check,
    content_hash,
    parse,
)
from payment_manager.domain.money import (
    InvalidMoney,
    Money,
    exponent_of,
    faults,
    from_decimal,
    parse_amount,
)

Meta = Annotated[dict[str, Any], Field(max_length=64)]
Amount = Annotated[
    Money, WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "examples": [100.50]})
]
Currency = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$"})]

RESOLUTIONS = ("won", "lost", "canceled")

_BLANKS = b" \t\r\n"
"""JSON's own. Around a body they mean nothing, and they are lost when it is read from its event."""


def known_currency(value: object) -> str:
    """Raises `ValueError` for all but the upper-case ISO 4217 codes with minor units."""
    if not isinstance(value, str) or exponent_of(value) is None:
        raise ValueError("must be an upper-case ISO 4217 code with minor units, such as USD")
    return value


def amount_in(value: object, info: ValidationInfo) -> Money:
    """The money of `value` in the currency that was read before it. Raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a JSON number in major units, such as 100.50")
    currency = info.data.get("currency")
    if currency is None:
        # The currency has an entry of its own; say what is wrong with the amount in any currency.
        for fault in faults(value, ""):
            if fault.field == "amount":
                raise ValueError(str(fault))
        return Money(1, "XXX")  # never seen: the model is refused for its currency
    try:
        return from_decimal(value, currency)
    except InvalidMoney as invalid:
        raise ValueError(str(invalid)) from None


class OrderWebhook(Model):
    """A snapshot of one payment order."""

    provider_event_id: ProviderEventId
    order_id: OrderId
    user_id: UserId
    status: Literal["created", "updated", "failed", "success"]
    created_at: Instant
    updated_at: Instant
    meta: Meta = Field(default_factory=dict)

    @property
    def amount(self) -> Money | None:
        """`meta.amount` with `meta.currency`, where both are valid; `meta` is free: no refusal."""
        amount, currency = self.meta.get("amount"), self.meta.get("currency")
        if isinstance(amount, str):
            amount = parse_amount(amount)
        if not isinstance(amount, int | Decimal) or not isinstance(currency, str):
            return None
        try:
            return from_decimal(amount, currency)
        except InvalidMoney:
            return None


class ChargebackWebhook(Model):
    """The provider's notice about a chargeback of one order."""

    provider_event_id: ProviderEventId
    order_id: OrderId
    user_id: UserId
    status: Literal["opened", "updated", "closed"]
    reason: Line
    currency: Currency  # before the amount, which is read in it
    amount: Amount
    occurred_at: Instant
    evidence_due_at: Instant | None = None
    meta: Meta = Field(default_factory=dict)

    _currency = field_validator("currency", mode="plain")(known_currency)
    _amount = field_validator("amount", mode="plain")(amount_in)

    @property
    def resolution(self) -> str | None:
        """`won`, `lost` or `canceled`; None for a plain `closed`, and for the other statuses."""
        resolution = self.meta.get("resolution")
        return (
            resolution.lower() if self.status == "closed" and isinstance(resolution, str) else None
        )


Wire = TypeVar("Wire", OrderWebhook, ChargebackWebhook)


@dataclass(frozen=True, slots=True)
class Received(Generic[Wire]):
    """`payload` is the JSON as received, `value` what it says."""

    wire: Wire
    payload: bytes
    value: Any

    @property
    def content_hash(self) -> bytes:
        """Tells the JSON value, not its spelling. Made when asked for: Ingest needs none."""
        return content_hash(self.value)


def read_order_webhook(body: bytes) -> Received[OrderWebhook]:
    """Raises `InvalidInput`, with an entry for each wrong field."""
    value = parse(body)
    return Received(check(OrderWebhook, value), body.strip(_BLANKS), value)


def read_chargeback_webhook(body: bytes) -> Received[ChargebackWebhook]:
    """Raises `InvalidInput`, with an entry for each wrong field."""
    value = parse(body)
    wire = check(ChargebackWebhook, value, *_resolution_errors(value))
    return Received(wire, body.strip(_BLANKS), value)


def _resolution_errors(value: Any) -> list[FieldError]:
    meta = (
        value.get("meta") if isinstance(value, dict) and value.get("status") == "closed" else None
    )
    if not isinstance(meta, dict) or "resolution" not in meta:
        return []
    resolution = meta["resolution"]
    if isinstance(resolution, str) and resolution.isascii() and resolution.lower() in RESOLUTIONS:
        return []
    return [FieldError("meta.resolution", f"must be one of {', '.join(RESOLUTIONS)}")]
