"""The ground that labs about Kafka stand on: a broker of their own, histories, and our consumer.

How to think about it: the broker is a real one, thrown away at the end, and so are its topics. A
history is what a provider tells about one order, in order; what a lab does to it on its way is the
lab's own. Consumers without a pattern write to a table `applied`, ours to the log.
"""

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from psycopg_pool import AsyncConnectionPool

from infra.java import JarsMissing
from infra.kafka_server import KafkaServer, KafkaServerError, why_not
from payment_manager.adapters.clock import SystemClock, UUIDv7s
from payment_manager.adapters.kafka.connection import client_config
from payment_manager.adapters.kafka.consumer import KafkaMessages
from payment_manager.adapters.kafka.dead_letters import KafkaDeadLetters
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.apply_webhooks import ApplyWebhooks
from payment_manager.application.ports import Database, Space
from payment_manager.contracts.envelope import Kind, encode
from payment_manager.entrypoints.worker.consume import Consume
from payment_manager.entrypoints.worker.limit import DeadLetterLimit

PARTITIONS = 6
DEAD_LETTERS_MAX_PERCENT = 10
"""Both as in service."""

PATIENCE_SECONDS = 180.0
"""Nothing that a lab waits for takes so long, on a busy machine too, unless it never comes."""

BEGAN = datetime(2026, 1, 2, 10, tzinfo=UTC)

APPLIED = """
CREATE TABLE applied (way text NOT NULL, order_id text NOT NULL, nth int NOT NULL,
                      at timestamptz NOT NULL DEFAULT clock_timestamp(), place serial)
"""

APPLY = "INSERT INTO applied (way, order_id, nth) VALUES (%s, %s, %s)"

_event_ids = UUIDv7s()


# ── Histories ─────────────────────────────────────────────────────────────────────────────────────


class Told(NamedTuple):
    """The `nth` webhook of an order, counted from 1. Each is worth a dollar more than the last."""

    order_id: str
    user_id: str
    nth: int
    status: str
    body: bytes

    @property
    def value(self) -> bytes:
        """The message's, as Ingest makes it; each time it is taken, it is wrapped anew."""
        return encode(_event_ids.next(), self.user_id, Kind.ORDER, self.body, SystemClock().now())


def histories(
    name: str, *, orders: int, webhooks: int, users: int, chance: random.Random
) -> list[list[Told]]:
    """What the provider tells about each order: created, updated …, success."""
    ids = [str(UUID(int=chance.getrandbits(128), version=4)) for _ in range(users)]
    return [history(f"{name}-{order}", chance.choice(ids), webhooks) for order in range(orders)]


def history(order_id: str, user_id: str, webhooks: int) -> list[Told]:
    return [_told(order_id, user_id, nth, webhooks) for nth in range(1, webhooks + 1)]


def _told(order_id: str, user_id: str, nth: int, last: int) -> Told:
    status = "created" if nth == 1 else "success" if nth == last else "updated"
    body = {
        "provider_event_id": f"evt-{nth}",
        "order_id": order_id,
        "user_id": user_id,
        "status": status,
        "created_at": BEGAN.isoformat(),
        "updated_at": (BEGAN + timedelta(seconds=nth)).isoformat(),
        "meta": {"amount": f"{100 + nth}.00", "currency": "USD"},
    }
    return Told(order_id, user_id, nth, status, json.dumps(body).encode())


def mixed(lives: Iterable[Iterable[Told]], chance: random.Random) -> list[Told]:
    """All orders' webhooks as they would come: each order's in order, the orders' among another."""
    lines = [iter(life) for life in lives]
    found: list[Told] = []
    while lines:
        at = chance.randrange(len(lines))
        webhook = next(lines[at], None)
        if webhook is None:
            lines.pop(at)
        else:
            found.append(webhook)
    return found


def envelope_of(value: bytes | None) -> dict[str, Any]:
    """As a consumer reads it that trusts its topic. Raises for what isn't JSON."""
    envelope: dict[str, Any] = json.loads(value or b"")
    return envelope


def what_is_told(value: bytes | None) -> tuple[str, int]:
    """Order and number. Raises for poison."""
    payload = envelope_of(value)["payload"]
    return payload["order_id"], int(payload["provider_event_id"].removeprefix("evt-"))


# ── The broker ────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def broker() -> Iterator[KafkaServer]:
    """A broker that is up, and ready for groups. Where this machine has none, the lab ends here."""
    reason = why_not()
    if reason is not None:
        sys.exit(f"This lab starts a real Kafka broker, and this machine can't run one: {reason}")
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        try:
            with KafkaServer(Path(folder)) as server:
                _make_topic_of_offsets(server.brokers)
                _number_a_producer(server.brokers)
                yield server
        except (KafkaServerError, JarsMissing) as error:
            sys.exit(str(error))


def _make_topic_of_offsets(brokers: str) -> None:
    """Now, and not when the first group waits for it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            _committed(brokers, "any", "nobody")
            return
        except KafkaException:  # it is being made
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _number_a_producer(brokers: str) -> None:
    """A new broker takes a second until it has numbers for idempotent producers."""
    make_topic(brokers, "warm-up")
    producer = Producer({**quiet(brokers), "enable.idempotence": True})
    producer.produce("warm-up", b"")
    assert producer.flush(PATIENCE_SECONDS) == 0


def quiet(brokers: str) -> dict[str, str | int | float | bool]:
    """For clients that a lab makes itself; what they would say of a dead broker is no news."""
    return {"bootstrap.servers": brokers, "log_level": 0}


@dataclass(frozen=True, slots=True)
class _Brokers:
    kafka_brokers: str


def as_settings(brokers: str) -> _Brokers:
    """For what the service itself makes."""
    return _Brokers(brokers)


def make_topic(brokers: str, name: str, settings: Mapping[str, str] = MappingProxyType({})) -> None:
    admin = AdminClient(quiet(brokers))
    new = NewTopic(name, PARTITIONS, 1, config=dict(settings))
    admin.create_topics([new])[name].result(PATIENCE_SECONDS)


@contextmanager
def sender(brokers: str) -> Iterator[Producer]:
    """Everything is in its topic at the end."""
    producer = Producer(
        {
            **quiet(brokers),
            "acks": "all",
            "partitioner": "murmur2_random",
            # Without a key each goes its own way, as it would if they came one by one.
            "sticky.partitioning.linger.ms": 0,
        }
    )
    try:
        yield producer
    finally:  # also where sending was cancelled: what counts as sent must be there
        assert producer.flush(PATIENCE_SECONDS) == 0


@contextmanager
def member(brokers: str, topic: str, group: str, **settings: str | int) -> Iterator[Consumer]:
    """A member of a group as the client makes it, but for `settings` (dots as underscores)."""
    consumer = Consumer(
        {
            **quiet(brokers),
            "group.id": group,
            "auto.offset.reset": "earliest",
            **{name.replace("_", "."): value for name, value in settings.items()},
        }
    )
    consumer.subscribe([topic])
    try:
        yield consumer
    finally:
        consumer.close()


def place_of(message: Message) -> TopicPartition:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return TopicPartition(topic, partition, offset)


def pending(brokers: str, topic: str, group: str) -> int:
    """Messages that the group has not committed: what it would be given again."""
    return in_topic(brokers, topic) - sum(
        max(0, place.offset) for place in _committed(brokers, topic, group)
    )


def in_topic(brokers: str, topic: str) -> int:
    consumer = Consumer({**quiet(brokers), "group.id": "nobody"})
    ends = 0
    for at in range(PARTITIONS):
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, at), PATIENCE_SECONDS)
        ends += end
    consumer.close()
    return ends


def _committed(brokers: str, topic: str, group: str) -> list[TopicPartition]:
    consumer = Consumer({**quiet(brokers), "group.id": group})
    try:
        places = [TopicPartition(topic, at) for at in range(PARTITIONS)]
        return consumer.committed(places, PATIENCE_SECONDS)
    finally:
        consumer.close()


# ── Our consumer, and what was applied ────────────────────────────────────────────────────────────


@asynccontextmanager
async def our_consumer(
    brokers: str, topic: str, group: str, database: Database, batch_max: int
) -> AsyncIterator[Consume]:
    """The service's own, wired as in service. Leaves its group at the end."""
    client, clock, telemetry = (
        client_config(as_settings(brokers)),
        SystemClock(),
        PrometheusTelemetry(),
    )
    apply = ApplyWebhooks(database, clock, UUIDv7s(), telemetry)
    messages, dead_letters = KafkaMessages(client, topic, group), KafkaDeadLetters(client)
    await messages.open()
    try:
        yield Consume(
            Space.ORDER, messages, apply, dead_letters, telemetry, clock,
            batch_max=batch_max,
            limit=DeadLetterLimit(DEAD_LETTERS_MAX_PERCENT),
        )  # fmt: skip
    finally:
        await messages.close()
        await dead_letters.close()


async def until(is_so: Callable[[], bool]) -> None:
    """Looks again and again, in a thread, since it may ask the broker."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await asyncio.to_thread(is_so):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.1)


@asynccontextmanager
async def consuming(consume: Consume) -> AsyncIterator[None]:
    """It runs meanwhile; at the end it has finished its batch."""
    running = asyncio.create_task(consume.run_until_ended())
    try:
        yield
    finally:
        consume.end()
        await running


async def applied(pool: AsyncConnectionPool, way: str) -> dict[str, list[int]]:
    """Of each order the webhooks whose effect is there, in the order in which they were applied."""
    return await _by_order(
        pool, "SELECT order_id, nth FROM applied WHERE way = %s ORDER BY place", way
    )


async def in_log(pool: AsyncConnectionPool, name: str) -> dict[str, list[int]]:
    """The same of our consumer, for orders whose ids begin with `name`."""
    return await _by_order(
        pool,
        "SELECT order_id, substr(provider_event_id, 5)::int FROM order_events"
        " WHERE starts_with(order_id, %s || '-') ORDER BY sequence",
        name,
    )


async def _by_order(pool: AsyncConnectionPool, question: str, name: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    async with pool.connection() as connection:
        cursor = await connection.execute(question, (name,))
        for order_id, nth in await cursor.fetchall():
            found.setdefault(order_id, []).append(nth)
    return found


@contextmanager
def straight(pool: AsyncConnectionPool) -> Iterator[psycopg.Connection]:
    """A connection whose statements commit by themselves, for consumers without a pattern."""
    assert isinstance(pool.conninfo, str)
    with psycopg.connect(pool.conninfo, autocommit=True) as connection:
        yield connection
