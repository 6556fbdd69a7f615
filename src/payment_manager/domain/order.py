"""Payment orders: what the provider tells us about a payment, and what an operator may do with it.

How to think about it: a webhook is a snapshot that may arrive late, twice or out of order. Each
field of an order belongs to the highest snapshot that carries it (`Precedence`), so any order of
arrival ends in the same row. Holds and captures are the operator's: they never touch what the
provider said, and the provider never touches them.

    created ─► updated* ─► success | failed      each step may be skipped; the last two are final
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from payment_manager.domain import rejections
from payment_manager.domain.decider import Outcome, Precedence
from payment_manager.domain.gateway import Done, Refused
from payment_manager.domain.money import Money
from payment_manager.domain.rejections import Rejection


class OrderStatus(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    FAILED = "failed"
    SUCCESS = "success"

    @property
    def is_final(self) -> bool:
        return self is OrderStatus.FAILED or self is OrderStatus.SUCCESS


class HoldReason(StrEnum):
    MANUAL_REVIEW = "manual_review"
    RISK = "risk"


class AttemptStatus(StrEnum):
    """How far a question to the provider has come; a submission's has the same three."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class OrderSnapshot:
    """An order as the provider saw it at `updated_at`.

    `payload` is the webhook as received, kept whole.
    """

    provider_event_id: str
    order_id: str
    user_id: UUID
    status: OrderStatus
    created_at: datetime
    updated_at: datetime
    amount: Money | None
    payload: bytes

    @property
    def precedence(self) -> Precedence:
        return Precedence(
            2 if self.status.is_final else 0,
            self.updated_at,
            0 if self.status is OrderStatus.CREATED else 1,
            self.provider_event_id,
        )


@dataclass(frozen=True, slots=True)
class Capture:
    """One attempt to take the money, under the caller's idempotency key."""

    key: str
    money: Money
    status: AttemptStatus
    requested_at: datetime
    provider_tx_id: str | None = None
    captured_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    order_id: str
    user_id: UUID
    status: OrderStatus
    created_at: datetime
    updated_at: datetime
    amount: Money | None
    latest: Precedence
    amount_from: Precedence | None
    hold_reason: HoldReason | None = None
    hold_changed_at: datetime | None = None
    captures: tuple[Capture, ...] = ()

    @property
    def on_hold(self) -> bool:
        return self.hold_reason is not None

    @property
    def capture(self) -> Capture | None:
        """The newest attempt. After a success no other begins, so a success is always this."""
        return self.captures[-1] if self.captures else None

    def capture_with(self, key: str) -> Capture | None:
        return next((capture for capture in self.captures if capture.key == key), None)


# ── Commands ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    snapshot: OrderSnapshot
    at: datetime


@dataclass(frozen=True, slots=True)
class SetHold:
    reason: HoldReason
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ClearHold:
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RequestCapture:
    key: str
    money: Money
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordCaptureAnswer:
    """The provider's definite answer; an unknown one is no news and is not recorded."""

    key: str
    answer: Done | Refused
    at: datetime


Command = TakeSnapshot | SetHold | ClearHold | RequestCapture | RecordCaptureAnswer


# ── Events ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    snapshot: OrderSnapshot
    outcome: Outcome
    at: datetime


@dataclass(frozen=True, slots=True)
class SnapshotRejected:
    snapshot: OrderSnapshot
    at: datetime


@dataclass(frozen=True, slots=True)
class HoldSet:
    reason: HoldReason
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class HoldCleared:
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CaptureRequested:
    key: str
    money: Money
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CaptureCompleted:
    key: str
    provider_tx_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CaptureFailed:
    key: str
    provider_tx_id: str | None
    error: str
    at: datetime


Event = (
    SnapshotTaken
    | SnapshotRejected
    | HoldSet
    | HoldCleared
    | CaptureRequested
    | CaptureCompleted
    | CaptureFailed
)


# ── Decide and evolve ─────────────────────────────────────────────────────────────────────────────


def decide(command: Command, order: Order | None) -> Sequence[Event] | Rejection:
    """What the command means now: its events (none for a repeat), or why it is refused."""
    match command:
        case TakeSnapshot(snapshot, at):
            return [_take(snapshot, order, at)]
        case _ if order is None:
            return rejections.OrderUnknown()
        case SetHold(reason):
            if order.hold_reason is reason:
                return []
            if order.status.is_final:
                return rejections.OrderFinal(order.status)
            return [HoldSet(reason, command.actor, command.at)]
        case ClearHold():
            return [HoldCleared(command.actor, command.at)] if order.on_hold else []
        case RequestCapture():
            return _request_capture(command, order)
        case RecordCaptureAnswer(key, answer, at):
            attempt = order.capture_with(key)
            if attempt is None or attempt.status is not AttemptStatus.PENDING:
                return []
            match answer:
                case Done(reference):
                    return [CaptureCompleted(key, reference, at)]
                case Refused(error, reference):
                    return [CaptureFailed(key, reference, error, at)]
                case _:
                    assert_never(answer)
        case _:
            assert_never(command)


def _take(snapshot: OrderSnapshot, order: Order | None, at: datetime) -> Event:
    if order is None:
        return SnapshotTaken(snapshot, Outcome.APPLIED, at)
    if order.status.is_final and snapshot.status.is_final and snapshot.status is not order.status:
        return SnapshotRejected(snapshot, at)
    after = _merge(order, snapshot)
    news = snapshot.precedence > order.latest or after.amount != order.amount
    return SnapshotTaken(snapshot, Outcome.APPLIED if news else Outcome.STALE, at)


def _request_capture(command: RequestCapture, order: Order) -> Sequence[Event] | Rejection:
    if (earlier := order.capture_with(command.key)) is not None:
        return [] if earlier.money == command.money else rejections.KeyReused()
    if order.on_hold:
        return rejections.OrderOnHold()
    if order.status.is_final:
        return rejections.OrderFinal(order.status)
    if order.capture is not None:
        match order.capture.status:
            case AttemptStatus.SUCCESS:
                return rejections.AlreadyCaptured()
            case AttemptStatus.PENDING:
                return rejections.CaptureInProgress()
            case AttemptStatus.FAILED:
                pass
            case _:
                assert_never(order.capture.status)
    if order.amount is not None:
        if order.amount.currency != command.money.currency:
            return rejections.CurrencyDiffers(order.amount.currency)
        if order.amount.minor < command.money.minor:
            return rejections.AmountTooLarge()
    return [CaptureRequested(command.key, command.money, command.actor, command.at)]


def evolve(order: Order | None, event: Event) -> Order:
    """The order after the event.

    The first event of an order is always a snapshot that was taken; for another `ValueError` is
    raised, since such a log is damaged.
    """
    if order is None:
        if not isinstance(event, SnapshotTaken):
            raise ValueError(f"an order's log can't begin with {type(event).__name__}")
        return _first(event.snapshot)
    match event:
        case SnapshotTaken(snapshot):
            return _merge(order, snapshot)
        case SnapshotRejected():
            return order
        case HoldSet(reason, _, at):
            return replace(order, hold_reason=reason, hold_changed_at=at)
        case HoldCleared(_, at):
            return replace(order, hold_reason=None, hold_changed_at=at)
        case CaptureRequested(key, money, _, at):
            attempt = Capture(key, money, AttemptStatus.PENDING, at)
            return replace(order, captures=(*order.captures, attempt))
        case CaptureCompleted(key, provider_tx_id, at):
            return _settle(
                order,
                key,
                lambda capture: replace(
                    capture,
                    status=AttemptStatus.SUCCESS,
                    provider_tx_id=provider_tx_id,
                    captured_at=at,
                ),
            )
        case CaptureFailed(key, provider_tx_id, error):
            return _settle(
                order,
                key,
                lambda capture: replace(
                    capture, status=AttemptStatus.FAILED, provider_tx_id=provider_tx_id, error=error
                ),
            )
        case _:
            assert_never(event)


def _first(snapshot: OrderSnapshot) -> Order:
    return Order(
        order_id=snapshot.order_id,
        user_id=snapshot.user_id,
        status=snapshot.status,
        created_at=snapshot.created_at,
        updated_at=snapshot.updated_at,
        amount=snapshot.amount,
        latest=snapshot.precedence,
        amount_from=snapshot.precedence if snapshot.amount else None,
    )


def _merge(order: Order, snapshot: OrderSnapshot) -> Order:
    """Each field from the highest snapshot that carries it.

    A stale one may still move the amount's provenance: the same amount, from a higher snapshot.
    """
    precedence = snapshot.precedence
    brings_amount = snapshot.amount is not None and (
        order.amount_from is None or precedence > order.amount_from
    )
    amount = snapshot.amount if brings_amount else order.amount
    amount_from = precedence if brings_amount else order.amount_from
    if precedence <= order.latest:
        if not brings_amount:
            return order
        return replace(order, amount=amount, amount_from=amount_from)
    return Order(
        order_id=order.order_id,
        user_id=snapshot.user_id,
        status=snapshot.status,
        created_at=snapshot.created_at,
        updated_at=snapshot.updated_at,
        amount=amount,
        latest=precedence,
        amount_from=amount_from,
        hold_reason=order.hold_reason,
        hold_changed_at=order.hold_changed_at,
        captures=order.captures,
    )


def _settle(order: Order, key: str, settled: Callable[[Capture], Capture]) -> Order:
    return replace(
        order,
        captures=tuple(settled(c) if c.key == key else c for c in order.captures),
    )
