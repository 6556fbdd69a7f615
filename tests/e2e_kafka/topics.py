"""The broker as tests look into it, beside the services: what lies there, and what is done with.

How to think about it: a `Topics` is one deployment's names on a broker, so that many deployments
share one. What a group has committed is the promise that it won't ask for it again; so all is done
with when the committed offsets are at the ends.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.e2e.service import eventually

PARTITIONS = 4
"""Enough for keys to part, few enough to be made quickly."""

_ASK_SECONDS = 60.0

_PLACE = ("partition", "offset")

_QUIET = {"log_level": 0, "reconnect.backoff.max.ms": 200}
"""It can't connect while a broker is down, which is no news."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of a dead letter topic, with what its headers say."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, str]

    @property
    def source(self) -> tuple[str, int, int]:
        """Topic, partition, offset."""
        said = self.headers
        return (
            said["dlq-source-topic"],
            int(said["dlq-source-partition"]),
            int(said["dlq-source-offset"]),
        )


class Topics:
    """One deployment's topics and groups, all beginning with `prefix`."""

    def __init__(self, brokers: str, prefix: str) -> None:
        self.orders, self.disputes = f"{prefix}.orders", f"{prefix}.disputes"
        self._groups = {self.orders: f"{prefix}-orders", self.disputes: f"{prefix}-disputes"}
        self.settings = {
            "KAFKA_BROKERS": brokers,
            "KAFKA_ORDERS_TOPIC": self.orders,
            "KAFKA_DISPUTES_TOPIC": self.disputes,
            "KAFKA_ORDERS_CONSUMER_GROUP": self._groups[self.orders],
            "KAFKA_DISPUTES_CONSUMER_GROUP": self._groups[self.disputes],
            "KAFKA_PARTITIONS": str(PARTITIONS),
        }
        self._client: dict[str, Any] = {"bootstrap.servers": brokers, **_QUIET}
        self._watches: dict[str, Consumer] = {}
        # The same key goes to the same partition as from Ingest.
        self._producer = Producer({**self._client, "partitioner": "murmur2_random"})

    def close(self) -> None:
        for watch in self._watches.values():
            watch.close()

    # ── What is there ─────────────────────────────────────────────────────────────────────────────

    def ends(self, topic: str) -> list[int]:
        """The number of messages in each partition; nothing is ever removed from one."""
        watch = self._watch(topic)
        return [
            watch.get_watermark_offsets(TopicPartition(topic, at), timeout=_ASK_SECONDS)[1]
            for at in range(PARTITIONS)
        ]

    def committed(self, topic: str) -> list[int]:
        """Where the topic's group would begin again, in each partition."""
        asked = [TopicPartition(topic, at) for at in range(PARTITIONS)]
        found = self._watch(topic).committed(asked, timeout=_ASK_SECONDS)
        return [max(0, at.offset) for at in found]

    def members(self, topic: str) -> int:
        """Of the topic's group, as the broker counts them."""
        group, admin = self._groups[topic], self.admin()
        found = admin.describe_consumer_groups([group])[group].result(_ASK_SECONDS)
        return len(found.members)

    def pending(self) -> int:
        """Messages that no group is done with; 0 is final where nobody sends."""
        return sum(sum(self.ends(topic)) - sum(self.committed(topic)) for topic in self._groups)

    def is_settled(self) -> bool:
        try:
            return self.pending() == 0
        except KafkaException:  # the broker isn't there, or has no such topic yet
            return False

    def messages(self, topic: str) -> list[Message]:
        """All that are in the topic, each partition in its order."""
        wanted = sum(ends := self.ends(topic))
        reader = Consumer({**self._client, "group.id": "tests", "enable.auto.commit": False})
        reader.assign([TopicPartition(topic, at, 0) for at in range(len(ends))])
        found: list[Message] = []
        while len(found) < wanted:
            batch = reader.consume(wanted - len(found), timeout=_ASK_SECONDS)
            assert batch, f"{len(found)} of {wanted} messages in {topic}"
            assert all(message.error() is None for message in batch)
            found += batch
        reader.close()
        return found

    def dead_letters(self) -> list[DeadLetter]:
        return [
            DeadLetter(
                message.key(),
                message.value(),
                {name: str(value, "utf-8") for name, value in headers_of(message)},
            )
            for topic in self._groups
            for message in self.messages(f"{topic}.dlq")
        ]

    # ── What tests do to it ───────────────────────────────────────────────────────────────────────

    def put(self, topic: str, key: str, value: bytes | None) -> tuple[int, int]:
        """As somebody who passes Ingest by; partition and offset, when the broker has it."""
        message = self._produced(topic, key, value)
        assert message.error() is None, message.error()
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        return partition, offset

    def takes(self, topic: str, key: str, value: bytes) -> bool:
        """Whether the topic takes such a message; it is in it then, with itself as its source."""
        ours = [("dlq-source-topic", "tests"), *((f"dlq-source-{each}", "0") for each in _PLACE)]
        return self._produced(topic, key, value, ours).error() is None

    def _produced(
        self, topic: str, key: str, value: bytes | None, headers: Sequence[tuple[str, str]] = ()
    ) -> Message:
        delivered: list[Message] = []
        self._producer.produce(
            topic,
            value,
            key,
            headers=list(headers),
            on_delivery=lambda _fault, message: delivered.append(message),
        )
        assert self._producer.flush(_ASK_SECONDS) == 0
        [message] = delivered
        return message

    def admin(self) -> AdminClient:
        return AdminClient(self._client)

    def make(self, names: Sequence[str]) -> None:
        admin = self.admin()
        for made in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names]).values():
            made.result(_ASK_SECONDS)

    def remove(self, name: str) -> None:
        admin = self.admin()
        admin.delete_topics([name])[name].result(_ASK_SECONDS)
        # The broker hears of it a moment later, and takes messages until then.
        eventually(lambda: name not in admin.list_topics(timeout=_ASK_SECONDS).topics, _ASK_SECONDS)

    def _watch(self, topic: str) -> Consumer:
        """The group's offsets from outside: it subscribes to nothing, so it is no member."""
        if topic not in self._watches:
            group = self._groups.get(topic, "tests")
            self._watches[topic] = Consumer({**self._client, "group.id": group})
        return self._watches[topic]


def headers_of(message: Message) -> list[tuple[str, bytes]]:
    found = message.headers()
    assert found is None or isinstance(found, list)
    return [(name, value) for name, value in found or () if isinstance(value, bytes)]


def payload_of(message: Message) -> dict[str, Any]:
    """The webhook in an envelope."""
    value = message.value()
    assert value is not None
    payload: dict[str, Any] = json.loads(value)["payload"]
    return payload
