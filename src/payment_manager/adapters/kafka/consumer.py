"""Membership in a consumer group: polls, commits, and holding still without leaving.

How to think about it: offsets are committed by hand, after the database; nothing is committed by
time. A rebalance takes all partitions away and gives some back (the eager protocol), and a new
assignment begins at what was committed: so whatever was polled before it comes again, and is
somebody's. No call waits longer than a few seconds for the broker, however silent that is.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager, contextmanager
from threading import Thread
from typing import Any, ParamSpec, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.aio import AIOConsumer

from payment_manager.adapters.kafka.received import message_of
from payment_manager.application.ports import Message, Unavailable

SESSION_SECONDS = 10.0
"""A killed member's partitions are given to others after that."""

LEAVE_SECONDS = 6.0
"""The client itself gives up leaving after five; with a commit on its way to a broker that says
nothing it never would."""

JOIN_SECONDS = 20.0
"""Twice a member's time-out, which is what a join usually waits for at most. The client has been
seen not to join again at all, after a broker that hung for longer than that time-out: a new
membership does."""

_ASK_SECONDS = 2.0
"""For all questions about offsets together: the loop waits for the answers."""

_LOST = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._ASSIGNMENT_LOST,
}
"""A commit for partitions that are another's by now."""

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()


class KafkaMessages:
    """`Messages` of one topic. To be opened before, and closed after: that leaves the group."""

    def __init__(self, client: Mapping[str, Any], topic: str, group: str) -> None:
        self._topic = topic
        self._log = log.bind(topic=topic, group=group)
        self._assigned: list[TopicPartition] = []
        self._assignments = self._polled_in = 0
        self._is_held = False
        self._joining_since: float | None = asyncio.get_running_loop().time()
        self._ends: dict[int, int] = {}
        self._commit_failed = False
        session = {
            "group.id": group,
            "session.timeout.ms": int(SESSION_SECONDS * 1000),
            "heartbeat.interval.ms": int(SESSION_SECONDS * 200),
        }
        self._threads = _Threads()
        # No member, it only asks. It has connections of its own: on the member's a question waits
        # behind a fetch that waits for messages, half a second for each partition. Not the admin
        # client: asked for a group's offsets while the broker dies, it aborts the process.
        self._asking = Consumer({**client, **session, "log_level": 0})
        self._consumer = AIOConsumer(
            {
                **client,
                **session,
                # A group without a past begins at the beginning: what was acknowledged before the
                # first consumer came must not be skipped.
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "on_commit": self._on_commit,
                "partition.assignment.strategy": "range",
                # Fetched ahead at most so much: a backlog stays at the broker, not in memory.
                "queued.max.messages.kbytes": 16_384,
            },
            executor=self._threads,
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
        loop = asyncio.get_running_loop()
        leaving = asyncio.ensure_future(self._consumer.close())
        asking = loop.run_in_executor(self._threads, self._asking.close)
        done, left_behind = await asyncio.wait([leaving, asking], timeout=LEAVE_SECONDS)
        if leaving in left_behind:
            self._log.warning("group_not_left", reason="no answer; its time-out will tell it")
        with _translated("close"):
            for each in done:
                each.result()

    async def poll(self, limit: int, wait_seconds: float) -> Sequence[Message]:
        since, now = self._joining_since, asyncio.get_running_loop().time()
        if since is not None and now - since > JOIN_SECONDS:
            raise Unavailable("poll: no word of the group since the last assignment ended")
        if self._commit_failed:
            self._commit_failed = False
            await self._commit(self._ends)
        # Two calls, since one would wait for its whole time unless it is given `limit` messages.
        found = await self._consume(limit, 0)
        if not found:
            found = await self._consume(1, wait_seconds)
            if found:
                assignments = self._assignments
                more = await self._consume(limit - 1, 0)
                # After a rebalance the first one comes again, here or elsewhere.
                found = found + more if self._assignments == assignments else more
        self._polled_in = self._assignments
        return found

    async def commit(self, messages: Sequence[Message]) -> None:
        # In order within a partition, so the last one stands.
        ends = {message.partition: message.offset + 1 for message in messages}
        self._ends |= ends
        await self._commit(ends)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        self._is_held = True
        try:
            with _translated("pause"):
                await self._consumer.pause(self._assigned)
            yield
        finally:
            self._is_held = False
            with _translated("resume"):
                await self._consumer.resume(self._assigned)

    async def stay(self, seconds: float) -> bool:
        if await self._consume(1, seconds):
            # The client has moved on behind it: only another membership reads it again.
            raise Unavailable("poll: a message from a partition that is held")
        return self._assignments == self._polled_in

    async def pending(self) -> int:
        if not self._assigned:
            return 0
        mine, loop = self._assigned, asyncio.get_running_loop()
        with _translated("offsets"):
            committed, pending = await loop.run_in_executor(self._threads, self._ask_offsets, mine)
        # A broker that hung works off old requests when it wakes, the repeated commit of an earlier
        # batch behind that of a later one perhaps. Nothing is lost by it, but unsaid it would stay.
        if mine is self._assigned and any(
            committed[at] < end for at, end in self._ends.items() if at in committed
        ):
            self._commit_failed = True
        return pending

    def _ask_offsets(self, mine: Sequence[TopicPartition]) -> tuple[dict[int, int], int]:
        """What the broker has as committed, by partition, and how many messages lie behind."""
        until = time.monotonic() + _ASK_SECONDS

        def left() -> float:
            return max(0.01, until - time.monotonic())

        pending, committed = 0, {}
        for at in self._asking.committed(list(mine), timeout=left()):
            committed[at.partition] = at.offset
            low, high = self._asking.get_watermark_offsets(at, timeout=left())
            pending += high - max(low, at.offset)
        return committed, pending

    async def _commit(self, ends: Mapping[int, int]) -> None:
        offsets = [TopicPartition(self._topic, at, offset) for at, offset in ends.items()]
        # Not waited for: without an answer the client would wait for ever, and could not be closed.
        # What no commit got through comes again.
        if offsets:
            with _translated("commit"):
                await self._consumer.commit(offsets=offsets, asynchronous=True)

    async def _consume(self, limit: int, seconds: float) -> list[Message]:
        with _translated("poll"):
            found = await self._consumer.consume(limit, timeout=seconds)
        messages = []
        for message in found:
            fault = message.error()
            if fault is None:
                messages.append(message_of(message))
            elif fault.fatal():
                raise Unavailable(f"poll: {fault.name()}")
            else:
                self._log.warning("consumer_trouble", reason=fault.name())
        return messages

    # ── Called within a poll ──────────────────────────────────────────────────────────────────────

    async def _on_assign(self, consumer: AIOConsumer, partitions: list[TopicPartition]) -> None:
        self._assignments += 1
        self._joining_since = None
        self._assigned = partitions
        self._ends = {}
        self._log.info("partitions_assigned", partitions=sorted(at.partition for at in partitions))
        await consumer.assign(partitions)
        if self._is_held:
            await consumer.pause(partitions)

    async def _on_revoke(self, consumer: AIOConsumer, partitions: list[TopicPartition]) -> None:
        if self._is_held:
            # The client remembers a pause beyond the assignment: a partition that came back after
            # the hold would never be fetched again.
            await consumer.resume(partitions)
        self._assignments += 1
        self._joining_since = asyncio.get_running_loop().time()
        self._assigned = []
        self._ends = {}
        self._log.info("partitions_revoked", partitions=sorted(at.partition for at in partitions))

    async def _on_commit(self, fault: KafkaError | None, offsets: list[TopicPartition]) -> None:
        faults = [error for error in (fault, *(at.error for at in offsets)) if error is not None]
        for error in faults[:1]:  # the others say the same
            if error.code() in _LOST:
                self._log.info("partitions_lost_before_commit", reason=error.name())
            else:
                self._commit_failed = True
                self._log.warning("not_committed", reason=error.name())


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise Unavailable(f"{doing}: {error.args[0].name()}") from error


class _Threads(Executor):
    """A thread a call, which no end of the process waits for: one that never comes back would
    keep a pool's threads, and the process with them.
    """

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # nobody can cancel what a thread is at

        def run() -> None:
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        Thread(target=run, name="kafka-consumer", daemon=True).start()
        return future
