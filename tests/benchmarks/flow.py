"""Kafka's side of a run: a pair of topics with a pair of groups, filled, watched and read back.

How to think about it: a backlog is written in one Kafka transaction, and its commit is the starting
shot: until then consumers see nothing of it, afterwards all of it, so neither filling nor joining
is in a figure. How far they are says the broker: only committed offsets count, and nobody in the
measured process is asked. What a run claims is read back from the topics afterwards.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from infra.kafka_server import KafkaServer
from payment_manager.adapters.kafka.publisher import KafkaPublisher
from payment_manager.adapters.kafka.topics import ensure_topics
from payment_manager.contracts.envelope import (
    CORRELATION_HEADER,
    DEAD_LETTER_SUFFIX,
    Kind,
    encode,
)
from tests.benchmarks.cpu import CpuMeter, CpuTimes
from tests.benchmarks.service import ServiceFailed

Offsets = dict[tuple[str, int], int]

LOOK_SECONDS = 0.02
"""Between two looks at what is committed: a turn of some seconds is exact to a percent."""

PATIENCE_SECONDS = 30.0
"""Without any progress; far above a rebalance."""

WARM_UP_SHARE = 0.1

_ASK_SECONDS = 10.0
_POISON_EVERY = 100


@dataclass(frozen=True, slots=True)
class Made:
    """A message before it is sent. `id` is the provider's; None for what is no webhook."""

    kind: Kind
    key: bytes
    value: bytes | None
    id: bytes | None


def made(requests: Iterator[bytes]) -> Iterator[Made]:
    """The generator's webhooks as Ingest would write them."""
    for request in requests:
        kind = Kind.DISPUTE if b"/chargebacks " in request[:60] else Kind.ORDER
        payload = request.partition(b"\r\n\r\n")[2]
        yield _enveloped(kind, payload)


def poisoned(clean: Iterator[Made]) -> Iterator[Made]:
    """Each hundredth is replaced by poison, of each kind in turn."""
    for number, message in enumerate(clean):
        if number % _POISON_EVERY != _POISON_EVERY - 1:
            yield message
            continue
        match number // _POISON_EVERY % 4:
            case 0:
                yield Made(message.kind, message.key, b"\x00no JSON", None)
            case 1:
                yield Made(message.kind, message.key, None, None)
            case 2:
                unknown = (message.value or b"").replace(b'"status":"', b'"status":"un')
                yield Made(message.kind, message.key, unknown, None)
            case _:
                # First the webhook itself, then the same id with other content.
                yield message
                other = (message.value or b"").replace(b'"meta":{', b'"meta":{"forged":1,', 1)
                other = other.replace(b'"forged":1,}', b'"forged":1}')
                yield Made(message.kind, message.key, other, None)


def _enveloped(kind: Kind, payload: bytes) -> Made:
    key = _text_after(b'"user_id":"', payload)
    value = encode(uuid7(), key.decode(), kind, payload, datetime.now(UTC))
    return Made(kind, key, value, provider_id(payload))


def provider_id(value: bytes) -> bytes:
    return _text_after(b'"provider_event_id":"', value)


def _text_after(name: bytes, text: bytes) -> bytes:
    at = text.index(name) + len(name)
    return text[at : text.index(b'"', at)]


@dataclass(slots=True)
class Backlog:
    """What was written at once: where it begins and ends."""

    first: Offsets = field(default_factory=dict)
    last: Offsets = field(default_factory=dict)
    count: int = 0
    poison: int = 0

    def applied(self, committed: Mapping[tuple[str, int], int]) -> int:
        return sum(
            max(0, min(committed.get(at, 0), self.last[at] + 1) - first)
            for at, first in self.first.items()
        )


@dataclass(frozen=True, slots=True)
class ReadBack:
    topic: str
    value: bytes
    headers: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Turn:
    """A backlog worked off, but for its beginning, which is warm-up."""

    count: int
    seconds: float
    cpu: CpuTimes

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


class Flow:
    """One pair of topics, made at `prepare`. Satisfies `TopicSettings`."""

    kafka_partitions = 6
    kafka_replication = 1
    kafka_min_insync_replicas = 1
    max_body_bytes = 262_144

    def __init__(self, broker: KafkaServer, name: str) -> None:
        self.name = name
        self.broker = broker
        self.kafka_brokers = broker.brokers
        self.kafka_orders_topic = f"{name}.orders"
        self.kafka_disputes_topic = f"{name}.disputes"
        self.sent_ids: set[bytes] = set()
        """Of the webhooks that were written here: each must be in the log."""
        self._topics = {
            Kind.ORDER: self.kafka_orders_topic,
            Kind.DISPUTE: self.kafka_disputes_topic,
        }
        # Whatever fails is asked about again, and told by whoever waits for it.
        self._client: dict[str, Any] = {"bootstrap.servers": broker.brokers, "log_level": 0}
        # Members of nothing: they only ask how far the groups are.
        self._groups = {
            topic: Consumer({**self._client, "group.id": f"{topic}-group"})
            for topic in self._topics.values()
        }

    @property
    def settings(self) -> dict[str, str]:
        """What tells a service of these topics."""
        return {
            "WEBHOOK_MODE": "kafka",
            "KAFKA_BROKERS": self.kafka_brokers,
            "KAFKA_ORDERS_TOPIC": self.kafka_orders_topic,
            "KAFKA_DISPUTES_TOPIC": self.kafka_disputes_topic,
            "KAFKA_ORDERS_CONSUMER_GROUP": f"{self.kafka_orders_topic}-group",
            "KAFKA_DISPUTES_CONSUMER_GROUP": f"{self.kafka_disputes_topic}-group",
        }

    async def prepare(self) -> "Flow":
        with capture_logs():  # that topics are made is no news here
            await ensure_topics(self)
        self._producer = Producer(
            {
                **self._client,
                "transactional.id": self.name,
                "transaction.timeout.ms": 300_000,
                "linger.ms": 5,
                "queue.buffering.max.messages": 1_000_000,
                "compression.type": "lz4",  # as Ingest
                "partitioner": "murmur2_random",
            }
        )
        await asyncio.to_thread(self._producer.init_transactions, _ASK_SECONDS)
        return self

    # ── Filling ───────────────────────────────────────────────────────────────────────────────────

    async def fill(self, messages: Iterable[Made]) -> Backlog:
        """Written and durable, but nobody sees it before `shoot`."""
        backlog = Backlog()

        def delivered(fault: KafkaError | None, message: Message) -> None:
            if fault is not None:
                raise ServiceFailed(f"the backlog could not be written: {fault}")
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None
            assert partition is not None
            assert offset is not None
            backlog.first.setdefault((topic, partition), offset)
            backlog.last[topic, partition] = offset

        def write() -> None:
            self._producer.begin_transaction()
            for message in messages:
                correlation_id: bytes = b"%d-%s" % (backlog.count, message.key[:8])
                self._producer.produce(
                    self._topics[message.kind],
                    message.value,
                    message.key,
                    headers={CORRELATION_HEADER: correlation_id},
                    on_delivery=delivered,
                )
                backlog.count += 1
                if message.id is None:
                    backlog.poison += 1
                else:
                    self.sent_ids.add(message.id)
                if backlog.count % 1000 == 0:
                    self._producer.poll(0)
            self._producer.flush()

        await asyncio.to_thread(write)
        return backlog

    async def shoot(self) -> None:
        await asyncio.to_thread(self._producer.commit_transaction)

    async def worked_off(self, backlog: Backlog, meter: CpuMeter) -> Turn:
        """From the shot until all of it is committed."""
        await self.shoot()
        began, counted_from, cpu = time.perf_counter(), 0, meter.read()
        async for now, applied in self.progress(backlog):
            if applied == backlog.count:
                return Turn(applied - counted_from, now - began, meter.read() - cpu)
            if counted_from == 0 and applied >= backlog.count * WARM_UP_SHARE:
                began, counted_from, cpu = now, applied, meter.read()
        raise AssertionError("a backlog's progress ends with all of it")

    # ── Watching ──────────────────────────────────────────────────────────────────────────────────

    async def progress(self, backlog: Backlog) -> AsyncIterator[tuple[float, int]]:
        """When, and how many of it were committed by then; the last time is all of them."""
        applied, moved_at = -1, time.perf_counter()
        while applied < backlog.count:
            found, now = backlog.applied(await self.committed()), time.perf_counter()
            if found != applied:
                applied, moved_at = found, now
                yield now, applied
            if now - moved_at > PATIENCE_SECONDS:
                raise ServiceFailed(f"{self.name}: {applied:,} of {backlog.count:,}, and no more")
            await asyncio.sleep(LOOK_SECONDS)

    async def caught_up(self) -> float:
        """Wait until nothing is pending; when that was. For topics without transactions."""
        ends = await self.ends()
        everything = Backlog(dict.fromkeys(ends, 0), {at: end - 1 for at, end in ends.items()})
        everything.count = sum(ends.values())
        return [now async for now, _ in self.progress(everything)][-1]

    async def committed(self) -> Offsets:
        return await asyncio.to_thread(self._committed)

    def _committed(self) -> Offsets:
        found = {}
        for topic, group in self._groups.items():
            partitions = [TopicPartition(topic, n) for n in range(self.kafka_partitions)]
            for at in group.committed(partitions, timeout=_ASK_SECONDS):
                found[at.topic, at.partition] = max(0, at.offset)
        return found

    async def ends(self, suffix: str = "") -> Offsets:
        """Where the topics end: the next message's offset."""
        return await asyncio.to_thread(self._ends, suffix)

    def _ends(self, suffix: str) -> Offsets:
        return {
            (topic + suffix, n): group.get_watermark_offsets(
                TopicPartition(topic + suffix, n), timeout=_ASK_SECONDS
            )[1]
            for topic, group in self._groups.items()
            for n in range(self.kafka_partitions)
        }

    async def dead_letters(self) -> int:
        return sum((await self.ends(DEAD_LETTER_SUFFIX)).values())

    # ── Reading back ──────────────────────────────────────────────────────────────────────────────

    def messages(self, start: Offsets, end: Offsets) -> Iterator[ReadBack]:
        """Of all partitions, in no order between them."""
        wanted = {at: stop for at, stop in end.items() if stop > start.get(at, 0)}
        reader = Consumer({**self._client, "group.id": f"{self.name}-reader"})
        try:
            reader.assign([TopicPartition(*at, start.get(at, 0)) for at in wanted])
            left = sum(stop - start.get(at, 0) for at, stop in wanted.items())
            while left > 0:
                for message in reader.consume(min(left, 1000), timeout=_ASK_SECONDS):
                    left -= 1
                    headers = dict(message.headers() or ())
                    yield ReadBack(
                        message.topic() or "",
                        message.value() or b"",
                        {name: bytes(value) for name, value in headers.items()},  # type: ignore[arg-type]
                    )
        finally:
            reader.close()


def durability(flow: Flow) -> dict[str, str]:
    """What an acknowledgement of Ingest means: as the broker says, and as the publisher is set."""
    admin = AdminClient({"bootstrap.servers": flow.kafka_brokers})
    topic = admin.list_topics(flow.kafka_orders_topic, timeout=_ASK_SECONDS).topics[
        flow.kafka_orders_topic
    ]
    of_topic = ConfigResource(ConfigResource.Type.TOPIC, flow.kafka_orders_topic)
    config = admin.describe_configs([of_topic])[of_topic].result(_ASK_SECONDS)
    client = {"bootstrap.servers": flow.kafka_brokers, "log_level": 0}
    publisher = KafkaPublisher(client, queue_max=1, message_bytes_max=flow.max_body_bytes)
    flush = int(config["flush.messages"].value)
    return {
        "acks": str(publisher._config["acks"]),
        "idempotence": "on" if publisher._config["enable.idempotence"] else "off",
        "replication": str(min(len(one.replicas) for one in topic.partitions.values())),
        "min.insync.replicas": str(config["min.insync.replicas"].value),
        "flush to disk": "left to the system" if flush > 10**9 else f"after {flush}",
    }
