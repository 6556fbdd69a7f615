"""Money moves: a question that was requested in the log is put to the provider, and its answer
recorded.

How to think about it: three steps that never share a transaction. The intent is committed first
(`operate`), then the provider is asked, then the answer is committed (here). A crash or a lost
answer between two of them leaves the intent open, and an open intent is asked again with the same
key until the answer is known (`reconcile`): the provider does the thing once, and we learn of it in
the end.
"""

from datetime import timedelta
from uuid import UUID, uuid5

import structlog

from payment_manager.application.ports import (
    Attempt,
    Clock,
    Database,
    EventIds,
    Gateway,
    Intents,
    Loaded,
    Space,
    Telemetry,
)
from payment_manager.application.working_set import WorkingSet
from payment_manager.domain import dispute, order
from payment_manager.domain.gateway import (
    Answer,
    CaptureQuestion,
    Done,
    Refused,
    RepresentmentQuestion,
    Unknown,
)
from payment_manager.domain.order import AttemptStatus

# Drawn once, at random. Changing it would let a question asked before and after have two effects.
_PROVIDER_KEYS = UUID("0d8a4a83-51c0-4a0c-9f0e-6f6f4d4f7c11")

LEASE_MARGIN = timedelta(seconds=5)
"""Over the provider's time-out: the time to record an answer before anybody else may ask."""

ASK_AGAIN_MAX = timedelta(minutes=5)

log = structlog.get_logger()


def provider_key(space: Space, order_id: str, key: str) -> str:
    """The key that the provider sees: a caller's key belongs to one order, the provider's to all
    (decision 0004).
    """
    return str(uuid5(_PROVIDER_KEYS, f"{space}\n{order_id}\n{key}"))


class AskProvider:
    def __init__(
        self,
        database: Database,
        intents: Intents,
        gateway: Gateway,
        clock: Clock,
        event_ids: EventIds,
        telemetry: Telemetry,
        *,
        timeout: timedelta,
        ask_again_after: timedelta,
    ) -> None:
        self._database = database
        self._intents = intents
        self._gateway = gateway
        self._clock = clock
        self._event_ids = event_ids
        self._telemetry = telemetry
        self.lease = timeout + LEASE_MARGIN
        self._ask_again_after = ask_again_after

    async def __call__(self, attempt: Attempt) -> None:
        """Ask, and record what is answered; an unknown answer is scheduled to be asked again.

        Asking twice is harmless: the key is the same. Raises `Unavailable`; the intent then stays
        open.
        """
        async with self._database.transaction() as transaction:
            question = _question(await transaction.load([attempt.order_id]), attempt)
        if question is None:
            return  # settled meanwhile
        answer = await self._put(question, attempt.correlation_id)
        self._telemetry.provider_answer(attempt.space, type(answer).__name__.lower())
        known_as = {"order_id": attempt.order_id, "correlation_id": attempt.correlation_id}
        if isinstance(answer, Unknown):
            delay = min(self._ask_again_after * 2 ** min(attempt.asked, 16), ASK_AGAIN_MAX)
            log.warning(
                "provider_answer_unknown",
                **known_as,
                question=attempt.space.value,
                reason=answer.reason,
                asked=attempt.asked + 1,
                again_in_seconds=delay.total_seconds(),
            )
            await self._intents.ask_again_at(attempt, self._clock.now() + delay)
            return
        await self._record(attempt, answer)
        log.info(
            "provider_answered",
            **known_as,
            question=attempt.space.value,
            answer=type(answer).__name__.lower(),
            reference=answer.reference,
        )

    async def _put(
        self, question: CaptureQuestion | RepresentmentQuestion, correlation_id: str
    ) -> Answer:
        if isinstance(question, CaptureQuestion):
            return await self._gateway.capture(question, correlation_id=correlation_id)
        return await self._gateway.submit_representment(question, correlation_id=correlation_id)

    async def _record(self, attempt: Attempt, answer: Done | Refused) -> None:
        key, order_id = attempt.key, attempt.order_id
        async with self._database.transaction() as transaction:
            loaded = await transaction.load([order_id])
            work = WorkingSet(loaded, self._clock.now(), self._event_ids)
            told: object
            if attempt.space is Space.ORDER:
                told = work.tell_order(
                    order_id,
                    lambda at: order.RecordCaptureAnswer(key, answer, at),
                    attempt.correlation_id,
                )
            else:
                told = work.tell_dispute(
                    order_id,
                    lambda at: dispute.RecordSubmissionAnswer(key, answer, at),
                    attempt.correlation_id,
                )
            await transaction.save(work.changes)
        if not told:
            # Settled while the question was on its way: asked twice, or the dispute was decided.
            log.warning(
                "provider_answered_too_late",
                order_id=order_id,
                correlation_id=attempt.correlation_id,
                answer=type(answer).__name__.lower(),
                reference=answer.reference,
            )


def _question(loaded: Loaded, attempt: Attempt) -> CaptureQuestion | RepresentmentQuestion | None:
    """What is to be asked, as it was requested; None where it is settled."""
    order_id, key = attempt.order_id, attempt.key
    shown = provider_key(attempt.space, order_id, key)
    if attempt.space is Space.ORDER:
        orders = loaded.orders.get(order_id)
        capture = orders.state.capture_with(key) if orders else None
        if capture is None or capture.status is not AttemptStatus.PENDING:
            return None
        return CaptureQuestion(order_id, capture.money, shown)
    disputes = loaded.disputes.get(order_id)
    submission = disputes.state.submission_with(key) if disputes else None
    if submission is None or submission.status is not AttemptStatus.PENDING:
        return None
    return RepresentmentQuestion(order_id, submission.file_ids, submission.fields, shown)
