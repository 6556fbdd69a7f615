"""Membership in a consumer group: polls, commits, and holding still without leaving.

How to think about it: offsets are committed by hand, after the database; nothing is committed by
time. A rebalance takes all partitions away and gives some back (the eager protocol), and a new
assignment begins at what was committed: so whatever was polled before it comes again, and is
somebody's. Calls block in a thread of the client's own asyncio consumer, not in the event loop.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.aio import AIOConsumer

from payment_manager.application.ports import Message, Unavailable

_ASK_SECONDS = 2.0
"""For a question to the broker about offsets."""

_LOST = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError._ASSIGNMENT_LOST,
}
"""A commit for partitions that are another's by now."""

log = structlog.get_logger()


class KafkaMessages:
    """`Messages` of one topic. To be opened before, and closed after: that leaves the group."""

    def __init__(self, client: dict[str, object], topic: str, group: str) -> None:
        self._topic = topic
        self._log = log.bind(topic=topic, group=group)
        self._assignments = 0
        self._is_held = False
        self._consumer = AIOConsumer(
            {
                **client,
                "group.id": group,
                # A group without a past begins at the beginning: what was acknowledged before the
                # first consumer came must not be skipped.
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "partition.assignment.strategy": "range",
                # A killed member's partitions are given to others after that.
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 2_000,
                # Fetched ahead at most so much: a backlog stays at the broker, not in memory.
                "queued.max.messages.kbytes": 16_384,
            },
            max_workers=2,  # a call, and one from a rebalance within it
        )

    async def open(self) -> None:
        await self._consumer.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    async def close(self) -> None:
        """Leave the group, so that others needn't wait for this member's time-out."""
        await self._consumer.close()

    async def poll(self, limit: int, wait_seconds: float) -> Sequence[Message]:
        # Two calls, since one would wait for its whole time unless it is given `limit` messages.
        found = await self._consume(limit, 0)
        if not found:
            found = await self._consume(1, wait_seconds)
            if found:
                found += await self._consume(limit - 1, 0)
        return found

    async def commit(self, messages: Sequence[Message]) -> None:
        # In order within a partition, so the last one stands.
        ends = {message.partition: message.offset + 1 for message in messages}
        offsets = [TopicPartition(self._topic, at, offset) for at, offset in ends.items()]
        try:
            await self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            if fault.code() not in _LOST:
                raise Unavailable(f"commit: {fault.name()}") from error
            self._log.info("partitions_lost_before_commit", reason=fault.name())

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        self._is_held = True
        self._at_hold = self._assignments
        try:
            await self._consumer.pause(await self._consumer.assignment())
            yield
        finally:
            self._is_held = False
            await self._consumer.resume(await self._consumer.assignment())

    async def stay(self, seconds: float) -> bool:
        for message in await self._consume(1, seconds):
            # Not expected of a partition that is paused; put back, should it ever happen.
            await self._consumer.seek(
                TopicPartition(message.topic, message.partition, message.offset)
            )
        return self._assignments == self._at_hold

    async def pending(self) -> int:
        try:
            committed = await self._consumer.committed(
                await self._consumer.assignment(), timeout=_ASK_SECONDS
            )
            pending = 0
            for at in committed:
                low, high = await self._consumer.get_watermark_offsets(at, timeout=_ASK_SECONDS)
                pending += high - max(low, at.offset)
        except KafkaException as error:
            raise Unavailable(f"offsets: {error.args[0].name()}") from error
        return pending

    async def _consume(self, limit: int, seconds: float) -> list[Message]:
        try:
            found = await self._consumer.consume(limit, timeout=seconds)
        except KafkaException as error:
            raise Unavailable(f"poll: {error.args[0].name()}") from error
        messages = []
        for message in found:
            fault = message.error()
            if fault is None:
                messages.append(
                    Message(
                        message.topic(),
                        message.partition(),
                        message.offset(),
                        message.key(),
                        message.value(),
                        message.headers() or (),
                    )
                )
            elif fault.fatal():
                raise Unavailable(f"poll: {fault.name()}")
            else:
                self._log.warning("consumer_trouble", reason=fault.name())
        return messages

    # ── Rebalances; called within a poll ──────────────────────────────────────────────────────────

    async def _on_assign(self, consumer: AIOConsumer, partitions: list[TopicPartition]) -> None:
        self._assignments += 1
        self._log.info("partitions_assigned", partitions=sorted(at.partition for at in partitions))
        await consumer.assign(partitions)
        if self._is_held:
            await consumer.pause(partitions)

    async def _on_revoke(self, consumer: AIOConsumer, partitions: list[TopicPartition]) -> None:
        self._assignments += 1
        self._log.info("partitions_revoked", partitions=sorted(at.partition for at in partitions))
