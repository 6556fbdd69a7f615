"""Open questions to the provider are asked again until they are answered.

How to think about it: a capture whose answer was lost is not failed, it is unknown, and only the
provider can say. So each round takes what is due and asks again with the same key; the delay
doubles from question to question. A claimed question is leased: if this process dies, the lease
runs out and somebody else asks.
"""

import asyncio
from datetime import timedelta

import structlog

from payment_manager.application.ask_provider import AskProvider
from payment_manager.application.ports import Clock, Intents, OpenIntents, PortError

CLAIM_MAX = 16
"""As many as are asked at once: a slow provider must not hold hundreds of connections."""

OVERDUE_AFTER = timedelta(minutes=15)

log = structlog.get_logger()


class Reconcile:
    def __init__(self, intents: Intents, ask_provider: AskProvider, clock: Clock) -> None:
        self._intents = intents
        self._ask_provider = ask_provider
        self._clock = clock
        self._overdue = 0

    async def run_once(self) -> int:
        """Ask what is due; how many were asked. Raises `Unavailable`."""
        now = self._clock.now()
        claimed = await self._intents.claim_due(
            now, lease_until=now + self._ask_provider.lease, limit=CLAIM_MAX
        )
        asked = await asyncio.gather(*map(self._ask_provider, claimed), return_exceptions=True)
        for attempt, result in zip(claimed, asked, strict=True):
            if isinstance(result, PortError):
                log.warning(
                    "provider_answer_not_recorded",
                    order_id=attempt.order_id,
                    correlation_id=attempt.correlation_id,
                    reason=str(result),
                )
            elif isinstance(result, BaseException):
                raise result
        return len(claimed)

    async def open(self) -> OpenIntents:
        """How many are open, and how many for too long: the log has an alarm when that number
        rises.

        Raises `Unavailable`.
        """
        found = await self._intents.open(self._clock.now() - OVERDUE_AFTER)
        before, self._overdue = self._overdue, found.overdue
        if found.overdue > before:
            log.error(
                "provider_answers_overdue",
                overdue=found.overdue,
                oldest_requested_at=found.oldest_requested_at,
            )
        return found
