"""A topic of its own for a test: webhooks into it, members that consume it, what became of them.

How to think about it: everything is as in service (the broker, the client, the write path, the
metrics) but for what a test puts in its place to fail. A test turns a consumer by hand, a poll at a
time, where it must know what happens between two polls; else it lets it run beside itself.
"""

import asyncio
import json
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    MutableMapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

from confluent_kafka import OFFSET_END, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewTopic
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.clock import SystemClock, UUIDv7s
from payment_manager.adapters.kafka.connection import client_config
from payment_manager.adapters.kafka.consumer import KafkaMessages
from payment_manager.adapters.kafka.dead_letters import KafkaDeadLetters
from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.apply_webhooks import ApplyWebhooks, Taken, Webhook
from payment_manager.application.ports import DeadLetters, Messages, Space
from payment_manager.application.ports import Message as Polled
from payment_manager.contracts.envelope import CORRELATION_HEADER, Kind, encode
from payment_manager.entrypoints.worker.consume import Consume
from payment_manager.entrypoints.worker.consumers import Consumers
from payment_manager.entrypoints.worker.limit import DeadLetterLimit
from tests.webhooks import order_webhook

SECONDS_MAX = 60.0
"""For what takes a second or two on a quiet machine."""

Apply = Callable[[Sequence[Webhook]], Awaitable[Sequence[Taken | Exception]]]


class Around:
    """A membership in which a test lets something fail; all else is the real one's."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages

    async def poll(self, limit: int, wait_seconds: float) -> Sequence[Polled]:
        return await self.messages.poll(limit, wait_seconds)

    async def commit(self, messages: Sequence[Polled]) -> None:
        await self.messages.commit(messages)

    def held(self) -> AbstractAsyncContextManager[None]:
        return self.messages.held()

    async def stay(self, seconds: float) -> bool:
        return await self.messages.stay(seconds)

    async def pending(self) -> int:
        return await self.messages.pending()


class Event(NamedTuple):
    """A line of the log of events."""

    order_id: str
    sequence: int
    provider_event_id: str
    correlation_id: str


@dataclass(frozen=True)
class Broker:
    """What `client_config` reads of the settings."""

    kafka_brokers: str | None


class Flow:
    """One topic with its dead letters, one group, one database."""

    def __init__(
        self, brokers: str, prefix: str, pool: AsyncConnectionPool, space: Space = Space.ORDER
    ) -> None:
        self.brokers, self.pool, self.space, self.partitions = brokers, pool, space, 2
        pool.timeout = SECONDS_MAX  # a test, unlike a request, waits for a busy machine
        self.topic, self.dead_topic, self.group = f"{prefix}.in", f"{prefix}.in.dlq", f"{prefix}.g"
        self.telemetry = PrometheusTelemetry()
        self.ids = UUIDv7s()
        self.admin = AdminClient({"bootstrap.servers": brokers})
        # Idempotent, as Ingest's is: of a topic just made the broker may refuse the first batch and
        # take the second, and what is sent again must come neither behind others nor twice.
        self.producer = Producer(
            {"bootstrap.servers": brokers, "linger.ms": 0, "enable.idempotence": True}
        )

    def make_topics(self, partitions: int = 2) -> None:
        self.partitions = partitions
        self._make(NewTopic(self.topic, partitions, 1), NewTopic(self.dead_topic, 1, 1))

    def make_topic(self, name: str, partitions: int, **config: str) -> None:
        settings = {key.replace("_", "."): value for key, value in config.items()}
        self._make(NewTopic(name, partitions, 1, config=settings))

    def _make(self, *topics: NewTopic) -> None:
        for made in self.admin.create_topics([*topics]).values():
            made.result(SECONDS_MAX)
        deadline = time.monotonic() + SECONDS_MAX
        while (
            not {each.topic for each in topics} <= self.admin.list_topics(timeout=30).topics.keys()
        ):
            assert time.monotonic() < deadline

    def set_topic(self, name: str, **config: str) -> None:
        entries = [
            ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for key, value in config.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result(SECONDS_MAX)

    def drop_all(self) -> None:
        """As the retention does with what is old."""
        ends = [TopicPartition(self.topic, partition, OFFSET_END) for partition in (0, 1)]
        for done in self.admin.delete_records(ends).values():
            done.result(SECONDS_MAX)

    # ── Into the topic ────────────────────────────────────────────────────────────────────────────

    def webhooks(self, *bodies: bytes, correlation_id: bytes | None = b"flow") -> None:
        """Published as Ingest does, in this order; they are in the topic when this returns."""
        kind = Kind.ORDER if self.space is Space.ORDER else Kind.DISPUTE
        headers: dict[str, str | bytes | None] = (
            {} if correlation_id is None else {CORRELATION_HEADER: correlation_id}
        )
        for body in bodies:
            key = str(json.loads(body)["user_id"])
            value = encode(self.ids.next(), key, kind, body, datetime.now(UTC))
            self.producer.produce(self.topic, value, key, headers=headers)
        self.flush()

    def orders(self, numbers: Iterable[int]) -> None:
        """A first webhook each for `ord-NUMBER`, by users of their own: over all partitions."""
        self.webhooks(*(_order(number) for number in numbers))

    def poison(self, count: int, *, key: str | None = None) -> None:
        for number in range(count):
            self.producer.produce(self.topic, b"poison %d" % number, key)
        self.flush()

    def message(self, value: bytes | None, key: bytes | None = None, **more: Any) -> None:
        self.producer.produce(self.topic, value, key, **more)
        self.flush()

    def flush(self) -> None:
        assert self.producer.flush(SECONDS_MAX) == 0

    # ── Out of the topic ──────────────────────────────────────────────────────────────────────────

    def apply(self) -> ApplyWebhooks:
        return ApplyWebhooks(PostgresDatabase(self.pool), SystemClock(), self.ids, self.telemetry)

    def membership(self, **client: Any) -> KafkaMessages:
        """`client`: librdkafka's own settings."""
        client = {key.replace("_", "."): value for key, value in client.items()}
        config = client_config(Broker(self.brokers)) | client
        return KafkaMessages(config, self.topic, self.group)

    @asynccontextmanager
    async def consuming(
        self,
        *,
        apply: Apply | None = None,
        around: Callable[[Messages], Messages] = lambda messages: messages,
        dead_letters: DeadLetters | None = None,
        percent: int = 100,
        batch_max: int = 500,
        telemetry: PrometheusTelemetry | None = None,
        **client: Any,
    ) -> AsyncIterator[Consume]:
        """A member of the group, to be turned by hand. `around` may wrap what it polls."""
        letters = KafkaDeadLetters(client_config(Broker(self.brokers)))
        messages = self.membership(**client)
        try:
            await messages.open()
            yield Consume(
                self.space,
                around(messages),
                apply or self.apply(),
                dead_letters or letters,
                telemetry or self.telemetry,
                SystemClock(),
                batch_max=batch_max,
                limit=DeadLetterLimit(percent),
            )
        finally:
            await messages.close()
            await letters.close()

    # ── What became of them ───────────────────────────────────────────────────────────────────────

    async def events(self) -> list[Event]:
        """The log, order by order."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT order_id, sequence, provider_event_id, correlation_id"
                " FROM order_events ORDER BY order_id, sequence"
            )
            return [Event(*row) for row in await cursor.fetchall()]

    async def applied(self) -> int:
        async with self.pool.connection() as connection:
            cursor = await connection.execute("SELECT count(*)::int FROM order_events")
            [[count]] = await cursor.fetchall()
            assert isinstance(count, int)
            return count

    def committed(self) -> int:
        """How many messages the group is done with."""
        return sum(self.committed_in().values())

    def committed_in(self) -> dict[int, int]:
        """The same by partition; none where nothing was committed."""
        asked = [TopicPartition(self.topic, partition) for partition in range(self.partitions)]
        with _reader(self.brokers, self.group) as reader:
            deadline = time.monotonic() + SECONDS_MAX
            while True:
                try:
                    found = reader.committed(asked, timeout=10)
                except KafkaException:  # a broker that has just come back
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                else:
                    return {at.partition: at.offset for at in found if at.offset >= 0}

    def dead(self) -> list[Polled]:
        """All that is in the topic of dead letters now."""
        return messages_in(self.brokers, self.dead_topic)

    def metric(self, name: str, telemetry: PrometheusTelemetry | None = None) -> float | None:
        """As it is scraped; None where it never had a value."""
        for line in (telemetry or self.telemetry).render().decode().splitlines():
            if line.startswith(f"payment_manager_{name} "):
                return float(line.split()[-1])
        return None


def _order(number: int) -> bytes:
    return order_webhook(
        f"ord-{number}",
        provider_event_id=f"evt-{number}",
        user_id=f"00000000-0000-0000-0000-{number:012d}",
    )


def messages_in(brokers: str, topic: str) -> list[Polled]:
    found: list[Any] = []
    with _reader(brokers, "reader") as reader:
        for partition in reader.list_topics(topic, timeout=30).topics[topic].partitions:
            at = TopicPartition(topic, partition, 0)
            low, high = reader.get_watermark_offsets(at, timeout=30)
            reader.assign([at])
            deadline, end = time.monotonic() + SECONDS_MAX, len(found) + high - low
            while len(found) < end:
                assert time.monotonic() < deadline
                found += reader.consume(end - len(found), 0.2)
    return [
        Polled(
            message.topic(),
            message.partition(),
            message.offset(),
            message.key(),
            message.value(),
            message.headers() or (),
        )
        for message in found
    ]


@contextmanager
def _reader(brokers: str, group: str) -> Iterator[Consumer]:
    reader = Consumer(
        {"bootstrap.servers": brokers, "group.id": group, "enable.auto.commit": False}
    )
    try:
        yield reader
    finally:
        reader.close()


async def turned(consume: Consume, count: int) -> None:
    """Until it is done with so many messages."""
    async with asyncio.timeout(SECONDS_MAX):
        while count > 0:
            count -= await consume.run_once()
    assert count == 0, f"{-count} more than expected"


@asynccontextmanager
async def beside(consume: Consume) -> AsyncIterator[asyncio.Task[None]]:
    """It runs beside the test, and is ended after it."""
    task = asyncio.create_task(consume.run_until_ended())
    try:
        yield task
    finally:
        consume.end()
        async with asyncio.timeout(SECONDS_MAX):
            await task


@asynccontextmanager
async def members(flow: Flow, **settings: Any) -> AsyncIterator[Consumers]:
    """The loop as in service, around one member of the group."""
    consumers = Consumers({flow.space: lambda: flow.consuming(**settings)})
    async with consumers.running():
        yield consumers


Lines: TypeAlias = list[MutableMapping[str, Any]]
"""Of the log, as captured."""


def said(lines: Lines, *events: str) -> bool:
    """Whether any of these is in the log."""
    return any(line["event"] in events for line in lines)


async def is_well(consumers: Consumers) -> bool:
    checks = await consumers.checks()
    return set(checks.values()) == {"ok"}


async def until(
    so: Callable[[], Awaitable[bool] | bool], seconds: float = SECONDS_MAX, every: float = 0.05
) -> None:
    """For what can't be waited for otherwise."""
    async with asyncio.timeout(seconds):
        while True:
            answer = so()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(every)
