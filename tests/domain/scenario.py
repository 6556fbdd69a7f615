"""The words in which the domain's tests are written: given events, when a command, then events.

How to think about it: a scenario is a value, so a table of them is a dictionary from what must hold
to how it is shown, one line a case. Builders fill in what a case is not about; a minute is all that
a case has to say of a time. `at(n)` is when the provider saw something, `NOW` when we recorded it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from payment_manager.domain.decider import Outcome, fold
from payment_manager.domain.dispute import (
    ChargebackNotice,
    DisputeStatus,
    NoticeRejected,
    NoticeStatus,
    NoticeTaken,
    TakeNotice,
)
from payment_manager.domain.money import Money
from payment_manager.domain.order import (
    OrderSnapshot,
    OrderStatus,
    SnapshotRejected,
    SnapshotTaken,
    TakeSnapshot,
)
from payment_manager.domain.rejections import Rejection

Command = TypeVar("Command")
State = TypeVar("State")
Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class Scenario(Generic[Command, State, Event]):
    decide: Callable[[Command, State | None], Sequence[Event] | Rejection]
    evolve: Callable[[State | None, Event], State]
    given: tuple[Event, ...] = ()
    command: Command | None = None
    expected: Sequence[Event] | Rejection | None = None
    row: Mapping[str, Any] = field(default_factory=dict)

    def when(self, command: Command) -> "Scenario[Command, State, Event]":
        return replace(self, command=command)

    def then(self, *expected: Event) -> "Scenario[Command, State, Event]":
        """Exactly these events; none: the command is a repeat."""
        return replace(self, expected=list(expected))

    def refused(self, rejection: Rejection) -> "Scenario[Command, State, Event]":
        return replace(self, expected=rejection)

    def leaving(self, **row: Any) -> "Scenario[Command, State, Event]":
        """These attributes of the state after it."""
        return replace(self, row=row)

    def holds(self) -> None:
        assert self.command is not None
        assert self.expected is not None
        before = fold(self.evolve, self.given)
        result = self.decide(self.command, before)
        if isinstance(result, Rejection) or isinstance(self.expected, Rejection):
            assert result == self.expected
            return
        assert list(result) == self.expected
        after = fold(self.evolve, result, before)
        assert {name: getattr(after, name) for name in self.row} == self.row


# ── Builders ──────────────────────────────────────────────────────────────────────────────────────

ANN, BOB = UUID(int=1), UUID(int=2)


def at(minute: int) -> datetime:
    return datetime(2026, 1, 2, 10, tzinfo=UTC) + timedelta(minutes=minute)


NOW = at(1000)


def usd(major: int) -> Money:
    return Money(major * 100, "USD")


def snapshot(
    status: str, minute: int, amount: Money | None = None, id: str = "", user: UUID = ANN
) -> OrderSnapshot:
    """What the provider says of order `o` at that minute; the id tells status and minute."""
    return OrderSnapshot(
        provider_event_id=id or f"{status}-{minute}",
        order_id="o",
        user_id=user,
        status=OrderStatus(status),
        created_at=at(minute - 1),
        updated_at=at(minute),
        amount=amount,
        payload=b"{}",
    )


def notice(
    status: str,
    minute: int,
    due: int | None = None,
    amount: Money | None = None,
    reason: str = "fraud",
    id: str = "",
) -> ChargebackNotice:
    """`status` is opened, updated, closed, or a closing one's decision: won, lost, canceled."""
    not_closing = status in ("opened", "updated")
    return ChargebackNotice(
        provider_event_id=id or f"{status}-{minute}",
        order_id="o",
        user_id=ANN,
        status=NoticeStatus(status) if not_closing else NoticeStatus.CLOSED,
        decision=None if not_closing else DisputeStatus(status),
        reason=reason,
        amount=amount or usd(100),
        occurred_at=at(minute),
        evidence_due_at=None if due is None else at(due),
        payload=b"{}",
    )


def take(seen: OrderSnapshot) -> TakeSnapshot:
    return TakeSnapshot(seen, NOW)


def applied(seen: OrderSnapshot) -> SnapshotTaken:
    return SnapshotTaken(seen, Outcome.APPLIED, NOW)


def stale(seen: OrderSnapshot) -> SnapshotTaken:
    return SnapshotTaken(seen, Outcome.STALE, NOW)


def rejected(seen: OrderSnapshot) -> SnapshotRejected:
    return SnapshotRejected(seen, NOW)


def take_notice(said: ChargebackNotice, parked: int | None = None) -> TakeNotice:
    return TakeNotice(said, NOW, None if parked is None else at(parked))


def notice_applied(said: ChargebackNotice, parked: int | None = None) -> NoticeTaken:
    return NoticeTaken(said, Outcome.APPLIED, None if parked is None else at(parked), NOW)


def notice_stale(said: ChargebackNotice, parked: int | None = None) -> NoticeTaken:
    return NoticeTaken(said, Outcome.STALE, None if parked is None else at(parked), NOW)


def notice_rejected(said: ChargebackNotice, parked: int | None = None) -> NoticeRejected:
    return NoticeRejected(said, None if parked is None else at(parked), NOW)
