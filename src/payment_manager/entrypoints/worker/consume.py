"""A poll of messages, applied and committed: every message ends applied, dead-lettered, or read
again.

How to think about it: offsets are committed last, so a crash anywhere leads to a redelivery, and
known ids make it harmless. Passing trouble is waited out with the partitions held: nothing moves,
nothing is lost, the group keeps its member. What can never be applied goes to the dead letters
alone, and its offset is committed only when they have it; where even that fails, nothing moves.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from payment_manager.application.apply_webhooks import Taken, Webhook
from payment_manager.application.ports import (
    Clock,
    DeadLetter,
    DeadLetters,
    Message,
    Messages,
    PortError,
    Space,
    Unavailable,
)
from payment_manager.contracts.wire import InvalidInput
from payment_manager.domain.decider import Outcome
from payment_manager.entrypoints.worker.limit import DeadLetterLimit
from payment_manager.entrypoints.worker.reading import Delivered, correlation_of, read

POLL_SECONDS = 0.5
"""How long an idle poll waits, and a wait between two looks; a stop waits for it, a message does
not."""

LONGEST_WAIT_SECONDS = 5.0
"""Between two attempts at something that is away: late by that much when it is back."""

PENDING_SECONDS = 5.0
"""Between two looks at how much is pending, which ask the broker."""

_SLICE = 100
"""Messages that are read before the event loop has a turn: other work waits 5 ms at most."""

Result = TypeVar("Result")

log = structlog.get_logger()


class ConsumerTelemetry(Protocol):
    """What is counted of consumers. Never raises, never waits."""

    def consumed(self, space: Space, outcome: str, count: int) -> None: ...

    def age(self, space: Space, seconds: float) -> None: ...

    def pending(self, space: Space, messages: int) -> None: ...

    def consumer_stopped(self, space: Space, stopped: bool) -> None: ...

    def dead_letters_refused(self, space: Space, refused: bool) -> None: ...


class _Abandoned(Exception):
    """The batch is another's now, or comes again after a restart."""


class Consume:
    """One space's messages, from a membership to the log."""

    def __init__(
        self,
        space: Space,
        messages: Messages,
        apply: Callable[[Sequence[Webhook]], Awaitable[Sequence[Taken | Exception]]],
        dead_letters: DeadLetters,
        telemetry: ConsumerTelemetry,
        clock: Clock,
        *,
        batch_max: int,
        limit: DeadLetterLimit,
    ) -> None:
        self._space = space
        self._messages = messages
        self._apply = apply
        self._dead_letters = dead_letters
        self._telemetry = telemetry
        self._clock = clock
        self._batch_max = batch_max
        self._limit = limit
        self._log = log.bind(space=space.value)
        self._ending = False
        self._looked_at = asyncio.get_running_loop().time()
        self.turned_at: float | None = None
        """When the loop last came round, in the event loop's time: a poll worked off, or a wait.
        """
        self.waits_for: str | None = None
        """What is away, while it is."""
        self.stopped = False
        """Too many dead letters: nothing moves until somebody has looked and restarts it."""

    def end(self) -> None:
        """Begin nothing new: what is being applied is committed, what waits is given up."""
        self._ending = True

    async def run_until_ended(self) -> None:
        """Raises what a membership does not survive."""
        while not self._ending:
            await self.run_once()

    async def run_once(self) -> int:
        """How many messages are done with."""
        messages = await self._messages.poll(self._batch_max, POLL_SECONDS)
        done = len(messages)
        if messages:
            try:
                await self._work_off(messages)
            except _Abandoned:
                self._log.info("batch_abandoned", messages=len(messages))
                done = 0
        await self._turn()
        return done

    async def _work_off(self, messages: Sequence[Message]) -> None:
        delivered: list[Delivered] = []
        dead: list[DeadLetter] = []
        for at, message in enumerate(messages):
            if at % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            try:
                delivered.append(read(message, self._space))
            except Exception as error:  # a fault of the reading stops at its message too
                dead.append(self._dead_letter(message, error))
        webhooks = [one.webhook for one in delivered]
        answers = await self._insist(lambda: self._apply(webhooks)) if webhooks else []
        outcomes = self._outcomes(delivered, answers, dead)
        if dead:
            await self._put_aside(len(messages), dead)
        await self._insist(lambda: self._messages.commit(messages))
        self._limit.count(len(messages), len(dead))
        for outcome, count in outcomes.items():
            self._telemetry.consumed(self._space, outcome, count)

    def _outcomes(
        self,
        delivered: Sequence[Delivered],
        answers: Sequence[Taken | Exception],
        dead: list[DeadLetter],
    ) -> Counter[str]:
        """What the messages came to, counted; those that failed for good are added to `dead`."""
        now = self._clock.now()
        outcomes: Counter[str] = Counter()
        for one, answer in zip(delivered, answers, strict=True):
            if isinstance(answer, Exception):
                dead.append(self._dead_letter(one.message, answer))
                continue
            if answer.outcome is Outcome.CONFLICT:
                dead.append(self._conflict(one.message))
                continue
            outcomes[answer.outcome.value] += 1
            self._telemetry.age(self._space, max(0.0, (now - one.received_at).total_seconds()))
            facts = {"dispute_id": str(answer.dispute_id)} if answer.dispute_id else {}
            self._log.info(
                "webhook",
                outcome=answer.outcome.value,
                order_id=answer.order_id,
                correlation_id=one.webhook.correlation_id,
                **facts,
            )
        if dead:
            outcomes["dead_lettered"] = len(dead)
        return outcomes

    # ── What can never be applied ─────────────────────────────────────────────────────────────────

    def _dead_letter(self, message: Message, error: Exception) -> DeadLetter:
        known = isinstance(error, InvalidInput | PortError)
        if not known:
            # A fault of this program: its words may repeat what was sent, and are for the log.
            correlated = correlation_of(message)
            self._log.error("webhook_failed", correlation_id=correlated, exc_info=error)
        words = str(error) if known else "a fault in the service; see its log"
        return DeadLetter(message, type(error).__name__, words, self._clock.now())

    def _conflict(self, message: Message) -> DeadLetter:
        words = "the same provider_event_id was taken for this order before, with other content"
        return DeadLetter(message, "WebhookConflict", words, self._clock.now())

    async def _put_aside(self, messages: int, dead: Sequence[DeadLetter]) -> None:
        if not self._limit.allows(messages, len(dead)):
            await self._stand_still(messages, dead)
        for letter in dead:
            self._log.warning(
                "dead_lettered",
                error_class=letter.error_class,
                reason=letter.error_message,
                topic=letter.message.topic,
                partition=letter.message.partition,
                offset=letter.message.offset,
                correlation_id=correlation_of(letter.message),
            )
        try:
            await self._insist(lambda: self._put(dead))
        finally:  # also where a rebalance made it another's trouble
            self._telemetry.dead_letters_refused(self._space, False)

    async def _put(self, dead: Sequence[DeadLetter]) -> None:
        try:
            await self._dead_letters.put(dead)
        except Unavailable as unavailable:
            self._telemetry.dead_letters_refused(self._space, True)
            self._log.error("dead_letters_refused", count=len(dead), reason=str(unavailable))
            raise

    async def _stand_still(self, messages: int, dead: Sequence[DeadLetter]) -> None:
        """Until the end: as a member, so that the same messages don't stop the next one."""
        self.stopped = True
        self._telemetry.consumer_stopped(self._space, True)
        first = dead[0]
        self._log.error(
            "consumer_stopped",
            reason="too many messages would be dead letters",
            count=len(dead),
            of=messages,
            first_error_class=first.error_class,
            first_reason=first.error_message,
        )
        try:
            async with self._messages.held():
                while True:
                    await self._stay(LONGEST_WAIT_SECONDS)
        finally:  # the end, or a rebalance: whoever has the messages now stops at them
            self.stopped = False
            self._telemetry.consumer_stopped(self._space, False)

    # ── Passing trouble ───────────────────────────────────────────────────────────────────────────

    async def _insist(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """`call`'s result, however long it takes; it must be safe to repeat."""
        try:
            return await call()
        except Unavailable as unavailable:
            self.waits_for = str(unavailable)  # logged below, should it go on
        try:
            async with self._messages.held():
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(Unavailable),
                    wait=wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT_SECONDS),
                    sleep=self._stay,
                    before_sleep=self._say_why,
                ):
                    with attempt:
                        return await call()
        finally:
            self.waits_for = None
        raise AssertionError("tenacity ends with a result or an exception")

    def _say_why(self, state: RetryCallState) -> None:
        assert state.outcome is not None
        self.waits_for = str(state.outcome.exception())
        self._log.warning("consumer_waits", reason=self.waits_for, attempts=state.attempt_number)

    async def _stay(self, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        while (left := until - asyncio.get_running_loop().time()) > 0:
            if self._ending or not await self._messages.stay(min(left, POLL_SECONDS)):
                raise _Abandoned
            await self._turn()

    async def _turn(self) -> None:
        self.turned_at = now = asyncio.get_running_loop().time()
        if now - self._looked_at < PENDING_SECONDS:
            return
        self._looked_at = now
        try:
            self._telemetry.pending(self._space, await self._messages.pending())
        except Unavailable as unavailable:
            self._log.info("pending_unknown", reason=str(unavailable))
