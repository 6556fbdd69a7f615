"""Documents: what of an event or a row the index holds, and back.

How to think about it: a document is written once from what the database says and is compared with
it field by field later, so it is made in one place and has nothing of the moment in it: the same
event makes the same bytes. Times are kept to the microsecond in the document; where order or bounds
must be exact they are indexed as whole microseconds too, since the index's dates are milliseconds.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, TypeVar, assert_never
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

State: TypeAlias = LoggedEvent | OrderState | DisputeState
"""Whatever a document is made of."""

Form = TypeVar("Form", bound=msgspec.Struct)


class NoDocument(ValueError):
    """What is stored is not as it always was; the words repeat nothing of it."""


# Fields that are None are left out.
class _Event(msgspec.Struct, omit_defaults=True):
    event_id: UUID
    order_id: str
    sequence: int
    kind: str
    correlation_id: str
    position: int
    created_at: datetime
    recorded_us: int
    data: str
    dispute_id: UUID | None = None
    provider_event_id: str | None = None
    words: list[str] = []


class _Order(msgspec.Struct, omit_defaults=True):
    order_id: str
    user_id: UUID
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
    dispute_id: UUID
    order_id: str
    user_id: UUID
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


# ── To documents ──────────────────────────────────────────────────────────────────────────────────


def identity(state: State) -> tuple[Document, str]:
    """Which kind of document it makes, and the document's id."""
    match state:
        case LoggedEvent(dispute_id=None):
            return Document.ORDER_EVENT, str(state.event_id)
        case LoggedEvent():
            return Document.DISPUTE_EVENT, str(state.event_id)
        case OrderState():
            return Document.ORDER, state.order_id
        case DisputeState():
            return Document.DISPUTE, str(state.dispute_id)
        case _:
            assert_never(state)


def version(state: State) -> int:
    """Of two versions of a document the index keeps the higher one."""
    return state.position if isinstance(state, LoggedEvent) else state.sequence


def source(state: State) -> bytes:
    """The document as JSON. Raises `NoDocument`."""
    try:
        return _encode(_form(state))
    except _NOT_MADE as error:
        raise _no_document(error) from error


def fields(state: State) -> dict[str, Any]:
    """What `source` holds, read back. Raises `NoDocument`."""
    try:
        found: dict[str, Any] = msgspec.to_builtins(_form(state))
    except _NOT_MADE as error:
        raise _no_document(error) from error
    return found


_NOT_MADE = (ValueError, RecursionError, msgspec.MsgspecError)


def _no_document(error: Exception) -> NoDocument:
    return NoDocument(f"no document can be made of it ({type(error).__name__})")


def _form(state: State) -> msgspec.Struct:
    match state:
        case LoggedEvent():
            return _event(state)
        case OrderState():
            return _Order(**state._asdict())
        case DisputeState():
            return _dispute(state)
        case _:
            assert_never(state)


def _event(event: LoggedEvent) -> _Event:
    return _Event(
        event_id=event.event_id,
        order_id=event.order_id,
        sequence=event.sequence,
        kind=event.kind,
        correlation_id=event.correlation_id,
        position=event.position,
        created_at=event.created_at,
        recorded_us=microseconds(event.created_at),
        data=event.data,
        dispute_id=event.dispute_id,
        provider_event_id=event.provider_event_id,
        words=event_words(event),
    )


def _dispute(dispute: DisputeState) -> _Dispute:
    high, low = divmod(dispute.amount_minor, AMOUNT_LOW)
    return _Dispute(
        **dispute._asdict(),
        amount_high=high,
        amount_low=low,
        amount_range=amount_range(dispute.amount_minor, dispute.currency),
        month=f"{dispute.disputed_at.astimezone(UTC):%Y-%m}",
        disputed_us=microseconds(dispute.disputed_at),
        recorded_us=microseconds(dispute.recorded_at),
        words=dispute_words(dispute),
    )


# ── And back ──────────────────────────────────────────────────────────────────────────────────────


def read_event(source: Mapping[str, Any]) -> LoggedEvent:
    """The event that a document was made of. Raises `IndexTrouble`."""
    form = _read(source, _Event)
    return LoggedEvent(**{name: getattr(form, name) for name in LoggedEvent._fields})


def read_dispute(source: Mapping[str, Any]) -> DisputeState:
    """The row that a document was made of. Raises `IndexTrouble`."""
    form = _read(source, _Dispute)
    return DisputeState(**{name: getattr(form, name) for name in DisputeState._fields})


def _read(source: Mapping[str, Any], form: type[Form]) -> Form:
    try:
        return msgspec.convert(source, form)
    except msgspec.ValidationError as error:
        raise IndexTrouble("a document that is none of ours") from error
