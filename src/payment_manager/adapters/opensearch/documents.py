"""Documents: what of an event or a row the index holds, and back.

How to think about it: a document is written once from what the database says and is compared with
it field by field later, so it is made in one place and has nothing of the moment in it: the same
event makes the same bytes. Times are kept to the microsecond in the document; where order or bounds
must be exact they are indexed as whole microseconds too, since the index's dates are milliseconds.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from payment_manager.application.ports import (
    DisputeState,
    Document,
    IndexTrouble,
    LoggedEvent,
    OrderState,
)
from payment_manager.application.search_terms import amount_range, dispute_words, event_words

AMOUNT_LOW = 1_000_000
"""Amounts are also indexed as so many of these, and the rest: the index sums in doubles, and sums
of both are whole numbers below 2**53 for billions of disputes.
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_encode = msgspec.json.Encoder().encode

Form = TypeVar("Form", bound=msgspec.Struct)


class Written(NamedTuple):
    """A document ready to be written. Of two versions the index keeps the higher one."""

    document: Document
    id: str
    version: int
    source: bytes


# Fields that are None are left out.
class _Event(msgspec.Struct, omit_defaults=True):
    event_id: str
    order_id: str
    sequence: int
    kind: str
    correlation_id: str
    position: int
    created_at: datetime
    recorded_us: int
    data: str
    dispute_id: str | None = None
    provider_event_id: str | None = None
    words: list[str] = []


class _Order(msgspec.Struct, omit_defaults=True):
    order_id: str
    user_id: str
    sequence: int
    status: str
    on_hold: bool
    was_held: bool
    created_at: datetime
    updated_at: datetime
    recorded_at: datetime
    amount_minor: int | None = None
    currency: str | None = None
    capture_status: str | None = None
    captured_minor: int | None = None
    capture_currency: str | None = None
    captured_at: datetime | None = None


class _Dispute(msgspec.Struct, omit_defaults=True):
    dispute_id: str
    order_id: str
    user_id: str
    sequence: int
    status: str
    reason: str
    amount_minor: int
    amount_high: int
    amount_low: int
    amount_range: str
    currency: str
    month: str
    disputed_at: datetime
    disputed_us: int
    recorded_at: datetime
    recorded_us: int
    opened_at: datetime | None = None
    evidence_due_at: datetime | None = None
    submitted_at: datetime | None = None
    closed_at: datetime | None = None
    submitting_id: str | None = None
    words: list[str] = []


def microseconds(time: datetime) -> int:
    """Since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def of_event(event: LoggedEvent) -> Written:
    """Raises `ValueError` for an event that no words can be made of."""
    of_dispute = event.dispute_id is not None
    id = str(event.event_id)
    form = _Event(
        event_id=id,
        order_id=event.order_id,
        sequence=event.sequence,
        kind=event.kind,
        correlation_id=event.correlation_id,
        position=event.position,
        created_at=event.created_at,
        recorded_us=microseconds(event.created_at),
        data=event.data,
        dispute_id=str(event.dispute_id) if of_dispute else None,
        provider_event_id=event.provider_event_id,
        words=event_words(event),
    )
    kind = Document.DISPUTE_EVENT if of_dispute else Document.ORDER_EVENT
    return Written(kind, id, event.position, _encode(form))


def of_order(order: OrderState) -> Written:
    form = _Order(**{**order._asdict(), "user_id": str(order.user_id)})
    return Written(Document.ORDER, order.order_id, order.sequence, _encode(form))


def of_dispute(dispute: DisputeState) -> Written:
    """Raises `ValueError` for an amount in no currency that we know."""
    id = str(dispute.dispute_id)
    high, low = divmod(dispute.amount_minor, AMOUNT_LOW)
    form = _Dispute(
        **{**dispute._asdict(), "dispute_id": id, "user_id": str(dispute.user_id)},
        amount_high=high,
        amount_low=low,
        amount_range=amount_range(dispute.amount_minor, dispute.currency),
        month=f"{dispute.disputed_at.astimezone(UTC):%Y-%m}",
        disputed_us=microseconds(dispute.disputed_at),
        recorded_us=microseconds(dispute.recorded_at),
        words=dispute_words(dispute),
    )
    return Written(Document.DISPUTE, id, dispute.sequence, _encode(form))


def read_event(source: Mapping[str, Any]) -> LoggedEvent:
    """The event that a document was made of. Raises `IndexTrouble`."""
    form = _read(source, _Event)
    try:
        return LoggedEvent(
            event_id=UUID(form.event_id),
            order_id=form.order_id,
            dispute_id=None if form.dispute_id is None else UUID(form.dispute_id),
            sequence=form.sequence,
            kind=form.kind,
            provider_event_id=form.provider_event_id,
            data=form.data,
            created_at=form.created_at,
            correlation_id=form.correlation_id,
            position=form.position,
        )
    except ValueError as error:
        raise IndexTrouble("a document that is none of ours") from error


def read_dispute(source: Mapping[str, Any]) -> DisputeState:
    """The row that a document was made of. Raises `IndexTrouble`."""
    form = _read(source, _Dispute)
    values = {name: getattr(form, name) for name in DisputeState._fields}
    try:
        ids = {name: UUID(values[name]) for name in ("dispute_id", "user_id")}
    except ValueError as error:
        raise IndexTrouble("a document that is none of ours") from error
    return DisputeState(**{**values, **ids})


def _read(source: Mapping[str, Any], form: type[Form]) -> Form:
    try:
        return msgspec.convert(source, form)
    except msgspec.ValidationError as error:
        raise IndexTrouble("a document that is none of ours") from error
