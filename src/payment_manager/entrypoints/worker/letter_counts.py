"""The loop that counts dead letters, beside the consumers and without slowing them."""

import asyncio
from typing import Protocol

import structlog

from payment_manager.application.dead_letters import LetterCount, count_letters
from payment_manager.application.ports import (
    DeadLetterActions,
    DeadLetterBox,
    PortError,
    Space,
)

COUNT_SECONDS = 15.0
"""Three questions to the broker and one to the database a space; as often as metrics are usually
scraped."""

log = structlog.get_logger()


class DeadLetterTelemetry(Protocol):
    def dead_letters(self, space: Space, counted: LetterCount) -> None: ...


async def keep_counting_dead_letters(
    box: DeadLetterBox, actions: DeadLetterActions, telemetry: DeadLetterTelemetry
) -> None:
    while True:
        for space in Space:
            try:
                telemetry.dead_letters(space, await count_letters(box, actions, space))
            except PortError as error:
                log.warning("dead_letters_not_counted", space=space.value, reason=str(error))
            except Exception:  # what can't be counted now must be counted later
                log.exception("dead_letters_not_counted", space=space.value)
        await asyncio.sleep(COUNT_SECONDS)
