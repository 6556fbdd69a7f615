"""The aggregates that one transaction works on, in memory, and what is to be written when it is
done.

How to think about it: a transaction loads some orders with their disputes, puts commands to them
one after the other, and saves everything once. Each command sees what the ones before it did. Time
is given out here: a command's events are strictly later than those of the commands before it, even
if the clock went back, so the log in order of time and event id is the log in sequence.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from payment_manager.application.ports import (
    Attempt,
    Changes,
    EventIds,
    Loaded,
    Recorded,
    Space,
    Stream,
)
from payment_manager.domain import dispute, order
from payment_manager.domain.dispute import Dispute
from payment_manager.domain.order import Order
from payment_manager.domain.rejections import Rejection

_TICK = timedelta(microseconds=1)  # the resolution of timestamptz

OrderCommand = Callable[[datetime], order.Command]
DisputeCommand = Callable[[datetime], dispute.Command]
State = TypeVar("State", Order, Dispute)


class WorkingSet:
    """Commands come as functions of the time at which they happen, since the time depends on the
    aggregate's log.
    """

    def __init__(self, loaded: Loaded, now: datetime, event_ids: EventIds) -> None:
        self.loaded = loaded
        self.changes = Changes()
        self.now = now
        self._event_ids = event_ids

    def order_of(self, order_id: str) -> Order | None:
        stream = self.loaded.orders.get(order_id)
        return stream.state if stream else None

    def dispute_of(self, order_id: str) -> Dispute | None:
        stream = self.loaded.disputes.get(order_id)
        return stream.state if stream else None

    def tell_order(
        self, order_id: str, command: OrderCommand, correlation_id: str
    ) -> Sequence[order.Event] | Rejection:
        """Decide, evolve and note what is to be written. The events (none for a repeat), or the
        refusal.
        """
        stream = self.loaded.orders.get(order_id)
        at = self._time_after(stream)
        decided = order.decide(command(at), stream.state if stream else None)
        if isinstance(decided, Rejection):
            return decided
        for event in decided:
            state = order.evolve(stream.state if stream else None, event)
            stream = _next(stream, state, at)
            self._record(Space.ORDER, order_id, stream.sequence, event, at, correlation_id)
            match event:
                case order.CaptureCompleted(key) | order.CaptureFailed(key):
                    self.changes.settled.append((Space.ORDER, order_id, key))
        if decided and stream:
            self.loaded.orders[order_id] = self.changes.orders[order_id] = stream
        return decided

    def tell_dispute(
        self, order_id: str, command: DisputeCommand, correlation_id: str
    ) -> Sequence[dispute.Event] | Rejection:
        """The same for the dispute of this order."""
        stream = self.loaded.disputes.get(order_id)
        at = self._time_after(stream)
        decided = dispute.decide(command(at), stream.state if stream else None)
        if isinstance(decided, Rejection):
            return decided
        for event in decided:
            state = dispute.evolve(stream.state if stream else None, event)
            stream = _next(stream, state, at)
            name = str(state.dispute_id)
            self._record(Space.DISPUTE, name, stream.sequence, event, at, correlation_id)
            match event:
                case dispute.EvidenceReplaced():
                    self.changes.evidence.add(order_id)
                case dispute.EvidenceSubmitted(key) | dispute.SubmissionFailed(key):
                    self.changes.settled.append((Space.DISPUTE, order_id, key))
        if decided and stream:
            self.loaded.disputes[order_id] = self.changes.disputes[order_id] = stream
        return decided

    def will_ask(self, attempt: Attempt) -> None:
        """Note that the provider will be asked; written with the event that requested it."""
        self.changes.requested.append(attempt)

    def _time_after(self, stream: Stream[State] | None) -> datetime:
        return max(self.now, stream.last_event_at + _TICK) if stream else self.now

    def _record(
        self,
        space: Space,
        name: str,
        sequence: int,
        event: order.Event | dispute.Event,
        at: datetime,
        correlation_id: str,
    ) -> None:
        event_id = self._event_ids.next()
        self.changes.events.append(
            Recorded(event_id, space, name, sequence, event, at, correlation_id)
        )


def _next(stream: Stream[State] | None, state: State, at: datetime) -> Stream[State]:
    if stream is None:
        return Stream(state, 1, at, at)
    return Stream(state, stream.sequence + 1, stream.first_event_at, at)
