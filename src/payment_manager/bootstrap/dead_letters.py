"""What operators work through dead letters with, for commands; and how many are open, counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from payment_manager.adapters.clock import SystemClock
from payment_manager.adapters.kafka.connection import client_config
from payment_manager.adapters.kafka.dead_letter_box import ASK_SECONDS, KafkaDeadLetterBox
from payment_manager.adapters.postgres.dead_letter_actions import PostgresDeadLetterActions
from payment_manager.application.dead_letters import DeadLetterTriage
from payment_manager.application.ports import Space
from payment_manager.bootstrap.database import command_pool
from payment_manager.entrypoints.dlq.contents import ReadContents
from payment_manager.settings import Settings


def dead_letter_box(settings: Settings, ask_seconds: float = ASK_SECONDS) -> KafkaDeadLetterBox:
    topics = {
        Space.ORDER: settings.kafka_orders_topic,
        Space.DISPUTE: settings.kafka_disputes_topic,
    }
    return KafkaDeadLetterBox(client_config(settings), topics, ask_seconds)


@asynccontextmanager
async def dead_letter_triage(settings: Settings) -> AsyncIterator[DeadLetterTriage]:
    """Beside the service, or without it."""
    box = dead_letter_box(settings)
    # First: without a broker, nobody waits for a database to start.
    await asyncio.gather(*map(box.extent, Space))
    async with command_pool(settings) as pool:
        yield DeadLetterTriage(box, PostgresDeadLetterActions(pool), SystemClock(), ReadContents())
