"""Topics as a test makes them, and all that is in one."""

import time

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

SECONDS_MAX = 60.0


def make_topic(brokers: str, name: str, partitions: int = 2, **config: str) -> str:
    """Its name, once it is there. In `config`'s names `_` stands for a dot."""
    admin = AdminClient({"bootstrap.servers": brokers})
    settings = {key.replace("_", "."): value for key, value in config.items()}
    admin.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(SECONDS_MAX)
    deadline = time.monotonic() + SECONDS_MAX
    while name not in admin.list_topics(timeout=30).topics:
        assert time.monotonic() < deadline
    return name


def messages_in(brokers: str, topic: str) -> list[Message]:
    """All messages, those of a partition in their order, as far as the topic goes now."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "nobody's",  # needed, and never joined
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    partitions = consumer.list_topics(topic, timeout=SECONDS_MAX).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    found: list[Message] = []
    at_end: set[int | None] = set()
    deadline = time.monotonic() + SECONDS_MAX
    while len(at_end) < len(partitions):
        assert time.monotonic() < deadline, f"{len(found)} messages read"
        for message in consumer.consume(1000, 0.2):
            fault = message.error()
            if fault is None:
                found.append(message)
            elif fault.code() == KafkaError._PARTITION_EOF:
                at_end.add(message.partition())
    consumer.close()
    return found
