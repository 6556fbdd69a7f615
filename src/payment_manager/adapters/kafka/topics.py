"""The topics of Kafka mode: made where they are missing, held against the settings where not.

How to think about it: an acknowledged webhook is as safe as its topic, so what would lose one stops
the start, all faults in one text. Fewer partitions than wanted limit scale and not safety: that is
only a warning. Nothing that exists is ever changed here; that is its owner's to do.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._metadata import TopicMetadata
from confluent_kafka.cimpl import NewTopic

from payment_manager.adapters.kafka.connection import (
    KafkaSettings,
    KafkaSetUpError,
    client_config,
)
from payment_manager.contracts.envelope import DEAD_LETTER_SUFFIX

REACHABLE_SECONDS = 120.0
"""A broker that was started beside this service is up by then, one too that must look through all
its logs first on a busy machine.
"""

_TRY_AGAIN_SECONDS = 1.0
_ASK_SECONDS = 2.0
_CHANGE_SECONDS = 20.0
"""For each step with a broker that was reached: one that is busy with its own start isn't away."""

_TOPIC_RETENTION_MS = 30 * 24 * 3600 * 1000
"""Time enough to repair what keeps consumers from applying: what is older is gone."""

_FOR_EVER = -1

_ENVELOPE_BYTES = 16 * 1024
"""What an envelope, key and headers add to a body, by far."""

_DEAD_LETTER_BYTES = 64 * 1024
"""What a dead letter's headers add to its message, by far."""

_KAFKA_MESSAGE_BYTES = 1_048_588
"""Kafka's own default."""

log = structlog.get_logger()


class TopicSettings(KafkaSettings, Protocol):
    """What this module reads of the settings."""

    @property
    def kafka_orders_topic(self) -> str: ...
    @property
    def kafka_disputes_topic(self) -> str: ...
    @property
    def kafka_partitions(self) -> int: ...
    @property
    def kafka_replication(self) -> int: ...
    @property
    def kafka_min_insync_replicas(self) -> int: ...
    @property
    def max_body_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    partitions: int
    replication: int
    min_insync_replicas: int
    retention_ms: int
    message_bytes_needed: int
    """For what Ingest puts there."""
    message_bytes: int
    """For what anybody can put there: a dead letter is a message and some headers more."""

    def as_new(self) -> NewTopic:
        return NewTopic(
            self.name,
            num_partitions=self.partitions,
            replication_factor=self.replication,
            config={
                "min.insync.replicas": str(self.min_insync_replicas),
                "cleanup.policy": "delete",
                "retention.ms": str(self.retention_ms),
                "max.message.bytes": str(self.message_bytes),
            },
        )


def message_bytes_max(settings: TopicSettings) -> int:
    """The largest message that Ingest makes of a body."""
    return settings.max_body_bytes + _ENVELOPE_BYTES


async def ensure_topics(settings: TopicSettings) -> None:
    """The topics of webhooks and of dead letters are there, and safe.

    Waits for the broker. Raises `KafkaSetUpError` where it does not come, and for whatever is
    wrong with the topics, all of it at once.
    """
    admin = AdminClient(client_config(settings))
    await _reached(admin, settings)
    faults = await asyncio.to_thread(_set_up, admin, _wanted(settings))
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise KafkaSetUpError(f"The topics in Kafka are not as they must be:\n{lines}")


def _wanted(settings: TopicSettings) -> list[_Wanted]:
    needed = message_bytes_max(settings)
    return [
        _Wanted(
            name + suffix,
            settings.kafka_partitions,
            settings.kafka_replication,
            settings.kafka_min_insync_replicas,
            retention_ms,
            needed + more_bytes,
            max(_KAFKA_MESSAGE_BYTES, needed) + more_bytes,
        )
        for name in (settings.kafka_orders_topic, settings.kafka_disputes_topic)
        for suffix, retention_ms, more_bytes in (
            ("", _TOPIC_RETENTION_MS, 0),
            (DEAD_LETTER_SUFFIX, _FOR_EVER, _DEAD_LETTER_BYTES),
        )
    ]


async def _reached(admin: AdminClient, settings: TopicSettings) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + REACHABLE_SECONDS
    while True:
        try:
            await asyncio.to_thread(_topics, admin, _ASK_SECONDS)
            return
        except KafkaException as error:
            reason = error.args[0].name()
        if loop.time() > deadline:
            raise KafkaSetUpError(
                f"KAFKA_BROKERS: no broker answers at {settings.kafka_brokers} ({reason})"
            )
        log.warning("waiting_for_kafka", brokers=settings.kafka_brokers, reason=reason)
        await asyncio.sleep(_TRY_AGAIN_SECONDS)


# ── In a thread: these wait for the broker ────────────────────────────────────────────────────────


def _set_up(admin: AdminClient, wanted: Sequence[_Wanted]) -> list[str]:
    """What is wrong, a line each."""
    try:
        there = _topics(admin, _CHANGE_SECONDS)
        faults = _create(admin, [topic for topic in wanted if topic.name not in there])
        if faults:
            return faults
        there = _all_there(admin, wanted)
        configs = _configs(admin, wanted)
    except KafkaException as error:
        return [f"they can't be looked at: {error.args[0].str()}"]
    return [
        fault
        for topic in wanted
        for fault in _faults(topic, there[topic.name], configs[topic.name])
    ]


def _topics(admin: AdminClient, patience_seconds: float) -> dict[str, TopicMetadata]:
    admin.poll(0)  # its log lines
    found = admin.list_topics(timeout=patience_seconds).topics
    return {name: topic for name, topic in found.items() if topic.error is None}


def _create(admin: AdminClient, missing: Sequence[_Wanted]) -> list[str]:
    """What went wrong. That somebody else was quicker is no fault."""
    if not missing:
        return []
    made = admin.create_topics([topic.as_new() for topic in missing])
    faults = []
    for topic in missing:
        try:
            made[topic.name].result(_CHANGE_SECONDS)
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            if fault.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                faults.append(f"{topic.name} is missing and can't be made: {fault.str()}")
        else:
            log.info("topic_created", topic=topic.name, partitions=topic.partitions)
    return faults


def _all_there(admin: AdminClient, wanted: Sequence[_Wanted]) -> dict[str, TopicMetadata]:
    """A broker hears of a new topic only some moments after it was made."""
    deadline = time.monotonic() + _CHANGE_SECONDS
    while True:
        there = _topics(admin, _CHANGE_SECONDS)
        missing = [topic.name for topic in wanted if topic.name not in there]
        if not missing:
            return there
        if time.monotonic() > deadline:
            raise KafkaSetUpError(f"These topics were made and don't appear: {', '.join(missing)}")
        time.sleep(0.05)


def _configs(admin: AdminClient, wanted: Sequence[_Wanted]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResource.Type.TOPIC, topic.name) for topic in wanted]
    asked = admin.describe_configs(resources)
    return {
        resource.name: {name: entry.value for name, entry in future.result(_CHANGE_SECONDS).items()}
        for resource, future in asked.items()
    }


def _faults(wanted: _Wanted, topic: TopicMetadata, config: Mapping[str, str]) -> Iterator[str]:
    name, partitions = wanted.name, topic.partitions.values()
    replication = min(len(partition.replicas) for partition in partitions)
    in_sync = int(config["min.insync.replicas"])
    if replication < wanted.replication:
        yield f"{name}: {replication} replicas, fewer than KAFKA_REPLICATION={wanted.replication}"
    if in_sync < wanted.min_insync_replicas:
        yield (
            f"{name}: min.insync.replicas={in_sync}, less than"
            f" KAFKA_MIN_INSYNC_REPLICAS={wanted.min_insync_replicas}"
        )
    if in_sync > replication:
        yield (
            f"{name}: min.insync.replicas={in_sync}, more than its {replication} replicas:"
            " nothing can be written, or, from Kafka 4 on, with less safety than it says"
        )
    if "compact" in config["cleanup.policy"]:
        yield (
            f"{name}: cleanup.policy={config['cleanup.policy']}: of webhooks with the same key it"
            " would keep the last one only"
        )
    size = int(config["max.message.bytes"])
    if size < wanted.message_bytes_needed:
        yield (
            f"{name}: max.message.bytes={size}, less than {wanted.message_bytes_needed}, which"
            " MAX_BODY_BYTES may come to"
        )
    elif size < wanted.message_bytes:
        log.warning("some_may_not_fit", topic=name, bytes=size, wanted=wanted.message_bytes)
    if len(partitions) < wanted.partitions:
        log.warning(
            "fewer_partitions", topic=name, partitions=len(partitions), wanted=wanted.partitions
        )
    retention_ms = int(config["retention.ms"])
    if retention_ms != _FOR_EVER and wanted.retention_ms == _FOR_EVER:
        log.warning("dead_letters_are_dropped_by_time", topic=name, retention_ms=retention_ms)
