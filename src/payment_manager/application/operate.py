"""What operators do: hold, capture, evidence, submit.

How to think about it: each is one transaction that loads an order with its dispute, tells it a
command and saves what came of it; a repeat writes nothing. Capture and submit go on from there: the
intent is durable now, so the provider may be asked, and whatever happens to this process, the
question will be answered (`ask_provider`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import structlog

from payment_manager.application.ask_provider import AskProvider
from payment_manager.application.patience import patiently
from payment_manager.application.ports import (
    Attempt,
    Clock,
    Database,
    EventIds,
    Loaded,
    PortError,
    ReadModel,
    Space,
    Unavailable,
)
from payment_manager.application.working_set import WorkingSet
from payment_manager.domain import dispute, order
from payment_manager.domain.dispute import Dispute, Evidence, EvidenceFile, Submission
from payment_manager.domain.money import Money
from payment_manager.domain.order import AttemptStatus, Capture, HoldReason, Order
from payment_manager.domain.rejections import DisputeUnknown, Rejection

log = structlog.get_logger()

Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts, and the request's correlation id."""

    actor: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Captured:
    """`replayed`: the capture was settled before this request came."""

    capture: Capture
    replayed: bool


@dataclass(frozen=True, slots=True)
class Submitted:
    """`replayed`: the submission was settled before this request came."""

    submission: Submission
    replayed: bool


class Operate:
    """Every method raises `Unavailable`; asking again is then safe."""

    def __init__(
        self,
        database: Database,
        read_model: ReadModel,
        ask_provider: AskProvider,
        clock: Clock,
        event_ids: EventIds,
    ) -> None:
        self._database = database
        self._read_model = read_model
        self._ask_provider = ask_provider
        self._clock = clock
        self._event_ids = event_ids

    async def set_hold(self, order_id: str, reason: HoldReason, by: Operator) -> Order | Rejection:
        return await self._tell_order(order_id, lambda at: order.SetHold(reason, by.actor, at), by)

    async def clear_hold(self, order_id: str, by: Operator) -> Order | Rejection:
        return await self._tell_order(order_id, lambda at: order.ClearHold(by.actor, at), by)

    async def capture(
        self, order_id: str, key: str, money: Money, by: Operator
    ) -> Captured | Rejection:
        """Capture once, however often and from wherever this is called with the same key."""

        async def request() -> tuple[Order, Attempt | None] | Rejection:
            async with self._database.transaction() as transaction:
                work = self._work(await transaction.load([order_id]))
                told = work.tell_order(
                    order_id,
                    lambda at: order.RequestCapture(key, money, by.actor, at),
                    by.correlation_id,
                )
                if isinstance(told, Rejection):
                    return told
                attempt = self._attempt(work, Space.ORDER, order_id, key, by) if told else None
                await transaction.save(work.changes)
                state = work.order_of(order_id)
                assert state is not None  # an unknown order was rejected
                return state, attempt

        requested = await patiently(request)
        if isinstance(requested, Rejection):
            return requested
        state, attempt = requested
        if attempt is not None:
            log.info("capture_requested", order_id=order_id, correlation_id=by.correlation_id)
            await self._ask(attempt)
            state = await self._current_order(order_id) or state
        capture = state.capture_with(key)
        assert capture is not None  # it was requested now or before
        return Captured(
            capture, replayed=attempt is None and capture.status is not AttemptStatus.PENDING
        )

    async def replace_evidence(
        self,
        dispute_id: UUID,
        fields: Mapping[str, str],
        files: tuple[EvidenceFile, ...],
        by: Operator,
    ) -> Evidence | Rejection:
        found = await self._dispute(dispute_id)
        if found is None:
            return DisputeUnknown()

        async def replace() -> Evidence | Rejection:
            async with self._database.transaction() as transaction:
                work = self._work(await transaction.load([found.order_id]))
                told = work.tell_dispute(
                    found.order_id,
                    lambda at: dispute.ReplaceEvidence(fields, files, by.actor, at),
                    by.correlation_id,
                )
                if isinstance(told, Rejection):
                    return told
                await transaction.save(work.changes)
                state = work.dispute_of(found.order_id)
                assert state is not None
                assert state.evidence is not None
                return state.evidence

        return await patiently(replace)

    async def submit(
        self, dispute_id: UUID, key: str | None, by: Operator
    ) -> Submitted | Rejection:
        """Send the representment once.

        Without a key each attempt that follows a failed one has its own.
        """
        found = await self._dispute(dispute_id)
        if found is None:
            return DisputeUnknown()
        order_id = found.order_id

        async def request() -> tuple[Dispute, str, Attempt | None] | Rejection:
            async with self._database.transaction() as transaction:
                work = self._work(await transaction.load([order_id]))
                state = work.dispute_of(order_id)
                used = key or _next_key(state)
                told = work.tell_dispute(
                    order_id,
                    lambda at: dispute.RequestSubmission(used, by.actor, at),
                    by.correlation_id,
                )
                if isinstance(told, Rejection):
                    return told
                attempt = self._attempt(work, Space.DISPUTE, order_id, used, by) if told else None
                await transaction.save(work.changes)
                state = work.dispute_of(order_id)
                assert state is not None  # an unknown dispute was rejected
                return state, used, attempt

        requested = await patiently(request)
        if isinstance(requested, Rejection):
            return requested
        state, used, attempt = requested
        if attempt is not None:
            log.info(
                "submission_requested",
                dispute_id=str(dispute_id),
                order_id=order_id,
                correlation_id=by.correlation_id,
            )
            await self._ask(attempt)
            state = await self._current_dispute(dispute_id) or state
        # With another key, or none, while one is pending: that one is the answer.
        submission = state.submission_with(used) or state.pending_submission
        assert submission is not None
        return Submitted(
            submission, replayed=attempt is None and submission.status is not AttemptStatus.PENDING
        )

    async def _tell_order(
        self, order_id: str, command: Callable[[datetime], order.Command], by: Operator
    ) -> Order | Rejection:
        async def tell() -> Order | Rejection:
            async with self._database.transaction() as transaction:
                work = self._work(await transaction.load([order_id]))
                told = work.tell_order(order_id, command, by.correlation_id)
                if isinstance(told, Rejection):
                    return told
                await transaction.save(work.changes)
                state = work.order_of(order_id)
                assert state is not None  # an unknown order was rejected
                return state

        return await patiently(tell)

    def _work(self, loaded: Loaded) -> WorkingSet:
        return WorkingSet(loaded, self._clock.now(), self._event_ids)

    def _attempt(
        self, work: WorkingSet, space: Space, order_id: str, key: str, by: Operator
    ) -> Attempt:
        # Leased to this request: nobody else asks until its call must be over.
        attempt = Attempt(
            space, order_id, key, by.correlation_id, self._clock.now() + self._ask_provider.lease
        )
        work.will_ask(attempt)
        return attempt

    async def _ask(self, attempt: Attempt) -> None:
        try:
            await self._ask_provider(attempt)
        except PortError as away:
            # The intent is durable, so the truth is "pending": an error would invite another key.
            log.warning(
                "provider_answer_not_recorded",
                order_id=attempt.order_id,
                correlation_id=attempt.correlation_id,
                reason=str(away),
            )

    async def _current_order(self, order_id: str) -> Order | None:
        try:
            return (await self._read_model.orders_by_id([order_id])).get(order_id)
        except Unavailable:
            return None  # pending is what can be said without the database

    async def _current_dispute(self, dispute_id: UUID) -> Dispute | None:
        try:
            return (await self._read_model.disputes_by_id([dispute_id])).get(dispute_id)
        except Unavailable:
            return None  # the same

    async def _dispute(self, dispute_id: UUID) -> Dispute | None:
        found = await patiently(lambda: self._read_model.disputes_by_id([dispute_id]))
        return found.get(dispute_id)


def _next_key(state: Dispute | None) -> str:
    """A key for a caller who gave none; § is not ASCII, so no caller's key can be the same."""
    return f"§{len(state.submissions) + 1 if state else 1}"
