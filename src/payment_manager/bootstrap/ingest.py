"""The Ingest service: its parts wired, started in order and stopped in the reverse order.

How to think about it: it needs the broker and nothing else, so that webhooks are taken whatever the
database does. What it imports is linted: no use case, no state machine, no database.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from litestar.types import ASGIApp

from payment_manager.adapters.clock import SystemClock, UUIDv7s
from payment_manager.adapters.kafka.connection import client_config
from payment_manager.adapters.kafka.publisher import KafkaPublisher
from payment_manager.adapters.kafka.readiness import KafkaReadiness
from payment_manager.adapters.kafka.topics import ensure_topics, message_bytes_max
from payment_manager.adapters.telemetry.edge_metrics import EdgeTelemetry
from payment_manager.entrypoints.http.app import create_app
from payment_manager.entrypoints.http.operations import Probes
from payment_manager.entrypoints.ingest.webhooks import Intake, kafka_routes
from payment_manager.settings import Settings


@asynccontextmanager
async def ingest_service(settings: Settings) -> AsyncIterator[ASGIApp]:
    """The Ingest service, ready to serve; what it took is flushed at the end."""
    async with AsyncExitStack() as stack:
        await ensure_topics(settings)
        publisher = KafkaPublisher(
            client_config(settings),
            queue_max=settings.webhook_queue_max,
            message_bytes_max=message_bytes_max(settings),
        )
        stack.push_async_callback(publisher.close)
        telemetry = EdgeTelemetry()
        telemetry.watch_waiting(lambda: publisher.waiting)
        intake = Intake(
            publisher=publisher,
            orders_topic=settings.kafka_orders_topic,
            disputes_topic=settings.kafka_disputes_topic,
            telemetry=telemetry,
            now=SystemClock().now,
            next_id=UUIDv7s().next,
        )
        topics = (settings.kafka_orders_topic, settings.kafka_disputes_topic)
        yield create_app(
            kafka_routes(intake),
            Probes([KafkaReadiness(publisher, topics)]),
            telemetry,
            body_bytes_max=settings.max_body_bytes,
            body_timeout_seconds=settings.body_timeout.total_seconds(),
        )
