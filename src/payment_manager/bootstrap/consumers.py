"""Kafka mode's consumers, for the API and for workers alike."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from payment_manager.adapters.kafka.connection import client_config
from payment_manager.adapters.kafka.consumer import KafkaMessages
from payment_manager.adapters.kafka.dead_letters import KafkaDeadLetters
from payment_manager.adapters.kafka.topics import ensure_topics
from payment_manager.adapters.postgres.dead_letter_actions import PostgresDeadLetterActions
from payment_manager.adapters.postgres.pool import Pool
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.apply_webhooks import ApplyWebhooks
from payment_manager.application.ports import Clock, Space
from payment_manager.bootstrap.dead_letters import dead_letter_box
from payment_manager.bootstrap.running import running
from payment_manager.entrypoints.worker.consume import Consume
from payment_manager.entrypoints.worker.consumers import Consumers, Membership
from payment_manager.entrypoints.worker.letter_counts import keep_counting_dead_letters
from payment_manager.entrypoints.worker.limit import DeadLetterLimit
from payment_manager.settings import Settings


@asynccontextmanager
async def running_consumers(
    settings: Settings,
    pool: Pool,
    apply: ApplyWebhooks,
    telemetry: PrometheusTelemetry,
    clock: Clock,
) -> AsyncIterator[Consumers]:
    """Both spaces' consumers; at the end they have committed what they applied, and left."""
    async with AsyncExitStack() as stack:
        await ensure_topics(settings)
        dead_letters = KafkaDeadLetters(client_config(settings))
        stack.push_async_callback(dead_letters.close)

        def membership(space: Space, topic: str, group: str) -> Membership:
            limit = DeadLetterLimit(settings.dead_letters_max_percent)

            @asynccontextmanager
            async def open_one() -> AsyncIterator[Consume]:
                messages = KafkaMessages(client_config(settings), topic, group)
                try:
                    await messages.open()
                    yield Consume(
                        space, messages, apply, dead_letters, telemetry, clock,
                        batch_max=settings.webhook_batch_max,
                        limit=limit,
                    )  # fmt: skip
                finally:
                    await messages.close()

            return open_one

        consumers = Consumers(
            {
                Space.ORDER: membership(
                    Space.ORDER, settings.kafka_orders_topic, settings.kafka_orders_consumer_group
                ),
                Space.DISPUTE: membership(
                    Space.DISPUTE,
                    settings.kafka_disputes_topic,
                    settings.kafka_disputes_consumer_group,
                ),
            }
        )
        await stack.enter_async_context(
            running(
                keep_counting_dead_letters(
                    dead_letter_box(settings, ask_seconds=2.0),  # a stop waits for an answer
                    PostgresDeadLetterActions(pool),
                    telemetry,
                )
            )
        )
        await stack.enter_async_context(consumers.running())
        yield consumers
