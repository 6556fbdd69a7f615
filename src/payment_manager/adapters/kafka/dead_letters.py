"""Dead letters: the unchanged message in the topic beside its own, with headers that say why.

How to think about it: `put` returns when the broker has all of them, on all in-sync replicas; until
then no offset may move. A crash in between writes a letter twice: its source (topic, partition,
offset) tells that it is one. Source of the headers: the contract, Kafka.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from payment_manager.adapters.kafka.connection import DURABLE
from payment_manager.application.ports import DeadLetter, Unavailable
from payment_manager.contracts.envelope import DEAD_LETTER_SUFFIX, DeadLetterHeader

PUT_SECONDS = 5.0
"""After that the caller is told, holds its partitions and comes again."""

_ATTEMPTS_DIGITS_MAX = 9
"""Anybody can write headers: a longer count is none of ours."""

Place: TypeAlias = tuple[str, int, int]
"""Where a message came from: topic, partition, offset."""


class KafkaDeadLetters:
    """`DeadLetters`, beside the topics that the messages came from."""

    def __init__(self, client: Mapping[str, object]) -> None:
        self._config = {
            **client,
            **DURABLE,
            "message.timeout.ms": int(PUT_SECONDS * 1000),
            # A batch's letters are handed over together, and the batch waits for them.
            "linger.ms": 0,
            # What goes wrong is told by `put`. Idle, it is not polled, and lines would pile up.
            "log_level": 0,
            # A letter is its message and some headers more: the topic says how large it may be.
            "message.max.bytes": 1_000_000_000,
        }
        self._producer = Producer(self._config)
        self._written: set[Place] = set()

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        # Those that an attempt before got through: one that is refused for hours must not fill the
        # topic with copies of the others.
        missing = [letter for letter in letters if _place(letter) not in self._written]
        written, fault = await asyncio.to_thread(self._put, missing)
        self._written.update(written)
        if len(written) < len(missing):
            raise Unavailable(f"dead letters: {fault}")
        self._written.difference_update(map(_place, letters))

    def _put(self, letters: Sequence[DeadLetter]) -> tuple[list[Place], str]:
        """Which of them the broker has, and what went wrong with another."""
        written: list[Place] = []
        faults: list[KafkaError] = []
        producer = self._producer
        try:
            for letter in letters:
                message = letter.message
                producer.produce(
                    message.topic + DEAD_LETTER_SUFFIX,
                    key=message.key,
                    value=message.value,
                    headers=headers_of(letter),
                    on_delivery=_reporter(_place(letter), written, faults),
                )
        except KafkaException as error:
            faults.append(error.args[0])
        except BufferError:
            faults.append(KafkaError(KafkaError._QUEUE_FULL))
        if producer.flush(PUT_SECONDS + 2):
            # Not sent later behind the caller's back: it will put them again.
            producer.purge()
            producer.flush(1)
        if any(fault.fatal() or fault.code() == KafkaError._FATAL for fault in faults):
            self._producer = Producer(self._config)
        return written, faults[0].name() if faults else "no answer"

    async def close(self) -> None:
        await asyncio.to_thread(self._producer.flush, 1)


def _place(letter: DeadLetter) -> Place:
    return letter.message.topic, letter.message.partition, letter.message.offset


def _reporter(
    place: Place, written: list[Place], faults: list[KafkaError]
) -> Callable[[KafkaError | None, Message], None]:
    def delivered(fault: KafkaError | None, _message: Message) -> None:
        if fault is None:
            written.append(place)
        else:
            faults.append(fault)

    return delivered


def headers_of(letter: DeadLetter) -> list[tuple[str, str | bytes | None]]:
    """The message's own, with what makes it a dead letter. One that was replayed and failed again
    remembers how often, and since when.
    """
    message = letter.message
    said = dict(message.headers)
    failed_at = letter.failed_at.astimezone(UTC).isoformat().encode()
    before = said.get(DeadLetterHeader.ATTEMPTS) or b""
    counts = before.isdigit() and len(before) <= _ATTEMPTS_DIGITS_MAX
    ours: dict[str, bytes] = {
        DeadLetterHeader.ERROR_CLASS: letter.error_class.encode(),
        DeadLetterHeader.ERROR_MESSAGE: letter.error_message.encode("utf-8", "replace"),
        DeadLetterHeader.ATTEMPTS: b"%d" % (int(before) + 1 if counts else 1),
        DeadLetterHeader.FIRST_FAILURE: said.get(DeadLetterHeader.FIRST_FAILURE) or failed_at,
        DeadLetterHeader.LAST_FAILURE: failed_at,
        DeadLetterHeader.SOURCE_TOPIC: message.topic.encode(),
        DeadLetterHeader.SOURCE_PARTITION: b"%d" % message.partition,
        DeadLetterHeader.SOURCE_OFFSET: b"%d" % message.offset,
    }
    own = [(name, value) for name, value in message.headers if name not in ours]
    return [*own, *ours.items()]
