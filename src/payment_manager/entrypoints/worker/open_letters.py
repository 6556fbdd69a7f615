"""The loop that counts open dead letters, beside the consumers and without slowing them."""

import asyncio
from typing import Protocol

import structlog

from payment_manager.application.dead_letters import open_letters
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


class OpenLettersTelemetry(Protocol):
    def dead_letters_open(self, space: Space, count: int) -> None: ...


async def keep_counting_open_letters(
    box: DeadLetterBox, actions: DeadLetterActions, telemetry: OpenLettersTelemetry
) -> None:
    while True:
        for space in Space:
            try:
                telemetry.dead_letters_open(space, await open_letters(box, actions, space))
            except PortError as error:
                log.warning("dead_letters_not_counted", space=space.value, reason=str(error))
        await asyncio.sleep(COUNT_SECONDS)
