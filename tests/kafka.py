"""Kafka for tests: one real broker a test process, and names that no other test uses.

How to think about it: the broker starts with the first test that asks for it, and tests share it
without meeting, since each makes its topics and groups with its own prefix. A test that kills or
pauses a broker starts a `KafkaServer` of its own.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.kafka_server import KafkaServer, why_not


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker that is up, for all tests of this process."""
    with broker_at(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture
def topic_prefix() -> str:
    """What the names of this test's topics and groups begin with."""
    return f"t{uuid.uuid4().hex[:12]}"


@contextmanager
def broker_at(directory: Path) -> Iterator[KafkaServer]:
    """A broker of its own, warm. Without Kafka on this machine, the test is skipped."""
    if (reason := why_not()) is not None:
        pytest.skip(f"no Kafka on this machine: {reason}")
    with KafkaServer(directory) as server:
        warm_up(server.brokers)
        yield server


def warm_up(brokers: str) -> None:
    """Let the broker give out its first producer id, and make `__consumer_offsets`, now: whoever
    asks first waits for them, up to some seconds.
    """
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic("warm-up", 1, 1)])["warm-up"].result(60)
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True})
    producer.produce("warm-up", b"")
    assert producer.flush(60) == 0
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "warm-up",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe(["warm-up"])
    message = consumer.poll(60)
    assert message is not None
    assert message.error() is None, message.error()
    consumer.commit(message=message, asynchronous=False)
    consumer.close()
