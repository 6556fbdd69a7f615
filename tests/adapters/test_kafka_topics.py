"""Topics at the start: made where they are missing; what would lose webhooks is named."""

import asyncio
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from structlog.testing import capture_logs

from infra.kafka_server import KafkaServer
from infra.local_server import free_port
from payment_manager.adapters.kafka import topics
from payment_manager.adapters.kafka.connection import KafkaSetUpError
from payment_manager.adapters.kafka.topics import ensure_topics
from payment_manager.settings import IngestSettings, Settings, load
from tests.topics import make_topic

SUFFIXES = (".orders", ".orders.dlq", ".disputes", ".disputes.dlq")


def settings_for(brokers: str, prefix: str, **more: Any) -> Settings:
    return load(
        IngestSettings,
        kafka_brokers=brokers,
        kafka_orders_topic=f"{prefix}.orders",
        kafka_disputes_topic=f"{prefix}.disputes",
        **{"kafka_partitions": 3, **more},
    )


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's broker is no missing one."""
    monkeypatch.setattr(topics, "_ASK_SECONDS", 30.0)


@pytest.fixture
def settings(kafka_server: KafkaServer, topic_prefix: str) -> Settings:
    return settings_for(kafka_server.brokers, topic_prefix)


async def faults(settings: Settings) -> list[str]:
    with pytest.raises(KafkaSetUpError) as wrong:
        await ensure_topics(settings)
    first, *lines = str(wrong.value).splitlines()
    assert first == "The topics in Kafka are not as they must be:"
    return [line.strip() for line in lines]


async def test_missing_topics_are_made_as_the_settings_say(
    kafka_server: KafkaServer, topic_prefix: str, settings: Settings
) -> None:
    await ensure_topics(settings)
    admin = AdminClient({"bootstrap.servers": kafka_server.brokers})
    found = admin.list_topics(timeout=30).topics
    for suffix in SUFFIXES:
        name = topic_prefix + suffix
        resource = ConfigResource(ConfigResource.Type.TOPIC, name)
        config = admin.describe_configs([resource])[resource].result(60)
        assert len(found[name].partitions) == 3
        assert config["min.insync.replicas"].value == "1"
        assert config["cleanup.policy"].value == "delete"
        month_ms = str(30 * 24 * 3600 * 1000)
        assert config["retention.ms"].value == ("-1" if suffix.endswith(".dlq") else month_ms)


async def test_services_that_start_at_once_and_again_find_them(settings: Settings) -> None:
    await asyncio.gather(*(ensure_topics(settings) for _ in range(3)))
    await ensure_topics(settings)


async def test_all_that_would_lose_webhooks_is_named_at_once(
    kafka_server: KafkaServer, topic_prefix: str
) -> None:
    brokers = kafka_server.brokers
    make_topic(brokers, f"{topic_prefix}.orders", cleanup_policy="compact")
    make_topic(brokers, f"{topic_prefix}.orders.dlq", max_message_bytes="100000")
    make_topic(brokers, f"{topic_prefix}.disputes", min_insync_replicas="2")
    make_topic(brokers, f"{topic_prefix}.disputes.dlq", cleanup_policy="compact,delete")
    named = await faults(settings_for(brokers, topic_prefix))
    assert [line.split(": ")[:2] for line in named] == [
        [f"{topic_prefix}.orders", "cleanup.policy=compact"],
        [f"{topic_prefix}.orders.dlq", "max.message.bytes=100000, less than 344064, which"
         " MAX_BODY_BYTES may come to"],
        [f"{topic_prefix}.disputes", "min.insync.replicas=2, more than its 1 replicas"],
        [f"{topic_prefix}.disputes.dlq", "cleanup.policy=compact,delete"],
    ]  # fmt: skip


async def test_topics_less_safe_than_the_settings_are_named(
    kafka_server: KafkaServer, topic_prefix: str, settings: Settings
) -> None:
    await ensure_topics(settings)
    wanted = settings_for(
        kafka_server.brokers, topic_prefix, kafka_replication=3, kafka_min_insync_replicas=2
    )
    named = await faults(wanted)
    for suffix in SUFFIXES:
        name = topic_prefix + suffix
        assert f"{name}: 1 replicas, fewer than KAFKA_REPLICATION=3" in named
        assert f"{name}: min.insync.replicas=1, less than KAFKA_MIN_INSYNC_REPLICAS=2" in named
    assert len(named) == 8


async def test_topics_that_cannot_be_made_are_named(
    kafka_server: KafkaServer, topic_prefix: str
) -> None:
    make_topic(kafka_server.brokers, f"{topic_prefix}.orders")
    named = await faults(settings_for(kafka_server.brokers, topic_prefix, kafka_replication=3))
    assert [line.partition(" is missing and can't be made")[0] for line in named] == [
        topic_prefix + suffix for suffix in SUFFIXES[1:]
    ]


async def test_what_loses_nothing_that_was_acknowledged_is_a_warning(
    kafka_server: KafkaServer, topic_prefix: str, settings: Settings
) -> None:
    make_topic(kafka_server.brokers, f"{topic_prefix}.orders", partitions=2)
    make_topic(
        kafka_server.brokers,
        f"{topic_prefix}.orders.dlq",
        partitions=3,
        retention_ms="1000",
    )
    with capture_logs() as lines:
        await ensure_topics(settings)
    # The client's own lines, of a busy machine perhaps, name no topic.
    named = [line for line in lines if "topic" in line and line["log_level"] == "warning"]
    assert [(line["event"], line["topic"]) for line in named] == [
        ("fewer_partitions", f"{topic_prefix}.orders"),
        ("some_may_not_fit", f"{topic_prefix}.orders.dlq"),
        ("dead_letters_are_dropped_by_time", f"{topic_prefix}.orders.dlq"),
    ]


async def test_a_broker_that_never_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "REACHABLE_SECONDS", 0.0)
    monkeypatch.setattr(topics, "_ASK_SECONDS", 0.2)
    nobody = f"127.0.0.1:{free_port()}"
    with pytest.raises(KafkaSetUpError, match=f"KAFKA_BROKERS: no broker answers at {nobody}"):
        await ensure_topics(settings_for(nobody, "t"))
