"""Dead letters read back, and given back to the topics that they came from.

How to think about it: it reads as a visitor, by partition and offset, in no group: no consumer
notices. How far the topic reaches is asked first, and there reading ends, so a topic that grows
can't hold it; a broker that says nothing ends it too. Letters pass by a few hundred at a time: only
so many are ever in memory.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from payment_manager.adapters.kafka.connection import DURABLE
from payment_manager.adapters.kafka.received import message_of
from payment_manager.application.ports import (
    Letter,
    LetterId,
    LetterRead,
    Message,
    Space,
    Unavailable,
)
from payment_manager.contracts.envelope import (
    CORRELATION_HEADER,
    DEAD_LETTER_SUFFIX,
    DeadLetterHeader,
)

ASK_SECONDS = 6.0
"""For a question to the broker: a person waits, and longer than that it is away."""

_SILENCE_SECONDS = 10.0
"""Without a letter before the topic's end: the broker went away meanwhile."""

_POLL_SECONDS = 0.05
"""A poll for many waits for its whole time unless it gets them all."""

_ELECTING = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
"""A topic that was just made, or whose leader is just gone."""

_offsets: Any = OffsetSpec  # its methods have no types

ReadMessage: TypeAlias = Any
"""The client's `Message`. Its types allow for None where one that was read has a value."""

_GIVE_BACK_SECONDS = 8.0
"""The database's transaction that records it is open meanwhile, and may be idle for 15 s."""

_CHUNK = 200
"""Letters at a time: at the largest size of a message that is 50 MB, usually a hundredth of it."""

_TEXT_MAX = 2_000
"""Characters of a header. Ours are shorter, but anybody may have written there."""


class KafkaDeadLetterBox:
    """`DeadLetterBox`. `topics`: of webhooks, each with its dead letters' topic beside it."""

    def __init__(
        self,
        client: Mapping[str, Any],
        topics: Mapping[Space, str],
        ask_seconds: float = ASK_SECONDS,
    ) -> None:
        self._client = dict(client)
        self._ask_seconds = ask_seconds
        self._topics = topics
        self._admin = AdminClient(self._client)
        self._producer: Producer | None = None

    async def letters(self, space: Space) -> AsyncGenerator[Sequence[LetterRead], None]:
        topic_id, partitions = await self.extent(space)
        async with aclosing(self._read(space, topic_id, partitions)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def letter(self, id: LetterId) -> LetterRead | None:
        topic_id, partitions = await self.extent(id.space)
        for number, first, end in partitions:
            if number == id.partition and first <= id.offset < end:
                place = [(number, id.offset, id.offset + 1)]
                async with aclosing(self._read(id.space, topic_id, place)) as chunks:
                    async for chunk in chunks:
                        return chunk[0]
        return None

    async def extent(self, space: Space) -> tuple[str, Sequence[tuple[int, int, int]]]:
        topic = self._topics[space] + DEAD_LETTER_SUFFIX
        loop = asyncio.get_running_loop()
        until = loop.time() + self._ask_seconds
        while True:
            try:
                return await asyncio.to_thread(self._extent, topic)
            except KafkaException as error:
                fault: KafkaError = error.args[0]
                if fault.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return "", ()  # nothing was ever dead-lettered
                if fault.code() not in _ELECTING or loop.time() > until:
                    raise _away(fault.name()) from error
            except TimeoutError as error:
                raise _away("no answer") from error
            await asyncio.sleep(0.1)

    def _extent(self, topic: str) -> tuple[str, Sequence[tuple[int, int, int]]]:
        # Not cancelled from outside: the client sets a result whether somebody waits or not.
        self._admin.poll(0)  # its log lines
        patience, spare = {"request_timeout": self._ask_seconds}, self._ask_seconds + 1
        found = self._admin.describe_topics(TopicCollection([topic]), **patience)
        described = found[topic].result(spare)
        places = [TopicPartition(topic, each.id) for each in described.partitions]
        firsts, ends = (
            self._admin.list_offsets(dict.fromkeys(places, spec), **patience)
            for spec in (_offsets.earliest(), _offsets.latest())
        )
        return str(described.topic_id), [
            (at.partition, firsts[at].result(spare).offset, ends[at].result(spare).offset)
            for at in places
        ]

    # ── Reading ───────────────────────────────────────────────────────────────────────────────────

    async def _read(
        self, space: Space, topic_id: str, partitions: Sequence[tuple[int, int, int]]
    ) -> AsyncGenerator[Sequence[LetterRead], None]:
        topic = self._topics[space] + DEAD_LETTER_SUFFIX
        ends = {number: end for number, first, end in partitions if first < end}
        consumer = Consumer(
            {
                **self._client,
                "group.id": "payment-manager-dlq",  # the client insists; it is never joined
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",  # retention may take what was there a moment ago
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": 16_384,
            }
        )
        try:
            consumer.assign(
                [TopicPartition(topic, at, first) for at, first, _ in partitions if at in ends]
            )
            loop = asyncio.get_running_loop()
            heard_at = loop.time()
            while ends:
                found = await asyncio.to_thread(consumer.consume, _CHUNK, _POLL_SECONDS)
                heard_at = loop.time() if found else heard_at
                if loop.time() - heard_at > _SILENCE_SECONDS:
                    raise _away("it went silent")
                letters = [
                    letter_of(space, topic_id, message)
                    for message in found
                    if _is_wanted(message, ends)
                ]
                if letters:
                    yield letters
                    heard_at = loop.time()  # whoever took them may have taken a while
        except KafkaException as error:
            raise _away(error.args[0].name()) from error
        finally:
            await asyncio.to_thread(consumer.close)

    # ── Giving back ───────────────────────────────────────────────────────────────────────────────

    async def give_back(
        self, space: Space, messages: Sequence[Message]
    ) -> Sequence[tuple[int, int] | str]:
        return await asyncio.to_thread(self._give_back, self._topics[space], messages)

    def _give_back(
        self, topic: str, messages: Sequence[Message]
    ) -> Sequence[tuple[int, int] | str]:
        ends: list[tuple[int, int] | str] = ["no answer in time"] * len(messages)

        def delivered(at: int, fault: KafkaError | None, sent: ReadMessage) -> None:
            ends[at] = fault.name() if fault else (sent.partition(), sent.offset())

        producer = self._opened_producer()
        for at, message in enumerate(messages):
            try:
                producer.produce(
                    topic,
                    message.value,
                    message.key,
                    headers=list(message.headers),
                    on_delivery=partial(delivered, at),
                )
            except (KafkaException, BufferError) as error:
                ends[at] = str(error)
        producer.flush(_GIVE_BACK_SECONDS + 2)
        return ends

    def _opened_producer(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(
                {
                    **self._client,
                    **DURABLE,
                    "message.timeout.ms": int(_GIVE_BACK_SECONDS * 1000),
                    "linger.ms": 5,
                    "message.max.bytes": 1_000_000_000,  # the topic says how large it may be
                }
            )
        return self._producer


def _is_wanted(message: ReadMessage, ends: dict[int, int]) -> bool:
    """Takes a partition out of `ends` where that was reached."""
    fault, at = message.error(), message.partition()
    if fault is not None:
        if fault.code() == KafkaError._PARTITION_EOF:  # of what is left, all was markers
            ends.pop(at, None)
            return False
        if fault.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            return False  # it connects again, or the silence ends it
        raise _away(fault.name())
    if at not in ends:
        return False  # written since
    end, offset = ends[at], message.offset()
    if offset >= end - 1:
        del ends[at]
    return bool(offset < end)


def letter_of(space: Space, topic_id: str, read: ReadMessage) -> LetterRead:
    """What its headers say; one that somebody else wrote there names itself as its source."""
    message = message_of(read)
    said = dict(message.headers)
    _, milliseconds = read.timestamp()
    written_at = datetime.fromtimestamp(max(0, milliseconds) / 1000, UTC)
    source_topic = _text(said, DeadLetterHeader.SOURCE_TOPIC) or message.topic
    source = (
        source_topic,
        _number(said, DeadLetterHeader.SOURCE_PARTITION, message.partition),
        _number(said, DeadLetterHeader.SOURCE_OFFSET, message.offset, digits=18),
    )
    letter = Letter(
        LetterId(space, message.partition, message.offset),
        message.topic,
        topic_id,
        _fingerprint(source, message),
        written_at,
        error_class=_text(said, DeadLetterHeader.ERROR_CLASS) or "unknown",
        error_message=_text(said, DeadLetterHeader.ERROR_MESSAGE),
        attempts=_number(said, DeadLetterHeader.ATTEMPTS, 1),
        first_failure=_text(said, DeadLetterHeader.FIRST_FAILURE),
        last_failure=_text(said, DeadLetterHeader.LAST_FAILURE),
        source_topic=source[0],
        source_partition=source[1],
        source_offset=source[2],
        correlation_id=_text(said, CORRELATION_HEADER) or None,
    )
    return LetterRead(letter, message)


def _fingerprint(source: tuple[str, int, int], message: Message) -> bytes:
    digest = hashlib.blake2b(repr((source, message.key)).encode(), digest_size=16)
    digest.update(b"-" if message.value is None else b"+" + message.value)
    return digest.digest()


def _text(said: Mapping[str, bytes | None], header: str) -> str:
    # NUL is what PostgreSQL can't keep in a text.
    text = (said.get(header) or b"").decode("utf-8", "replace").replace("\0", "\ufffd")
    return text[:_TEXT_MAX]


def _number(said: Mapping[str, bytes | None], header: str, otherwise: int, digits: int = 9) -> int:
    text = said.get(header) or b""
    return int(text) if text.isdigit() and len(text) <= digits else otherwise


def _away(reason: str) -> Unavailable:
    return Unavailable(f"KAFKA_BROKERS: no broker answers about dead letters ({reason})")
