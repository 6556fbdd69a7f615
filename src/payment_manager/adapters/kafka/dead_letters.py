"""Dead letters: the unchanged message in the topic beside its own, with headers that say why.

How to think about it: `put` returns when the broker has all of them, on all in-sync replicas; until
then no offset may move. A crash in between writes a letter twice: its source (topic, partition,
offset) tells that it is one. Source of the headers: the contract, Kafka.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from payment_manager.application.ports import DeadLetter, Unavailable
from payment_manager.contracts.envelope import DEAD_LETTER_SUFFIX, DeadLetterHeader

PUT_SECONDS = 5.0
"""After that the caller is told, holds its partitions and comes again."""

log = structlog.get_logger()


class KafkaDeadLetters:
    """`DeadLetters`, beside the topics that the messages came from."""

    def __init__(self, client: Mapping[str, object]) -> None:
        self._config = {
            **client,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",  # as Ingest's
            "message.timeout.ms": int(PUT_SECONDS * 1000),
            # A letter is its message and some headers more.
            "message.max.bytes": 2_000_000,
        }
        self._producer = Producer(self._config)

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        fault = await asyncio.to_thread(self._put, letters)
        if fault is not None:
            raise Unavailable(f"dead letters: {fault}")

    def _put(self, letters: Sequence[DeadLetter]) -> str | None:
        """What went wrong, if anything."""
        faults: list[str] = []

        def delivered(fault: KafkaError | None, _message: Message) -> None:
            if fault is not None:
                faults.append(fault.name())
                if fault.fatal():
                    self._producer = Producer(self._config)

        producer = self._producer
        try:
            for letter in letters:
                message = letter.message
                producer.produce(
                    message.topic + DEAD_LETTER_SUFFIX,
                    key=message.key,
                    value=message.value,
                    headers=headers_of(letter),
                    on_delivery=delivered,
                )
        except KafkaException as error:
            faults.append(error.args[0].name())
        except BufferError:
            faults.append("the buffer is full")
        if producer.flush(PUT_SECONDS + 2):
            # Not sent later behind the caller's back: it will put all of them again.
            producer.purge()
            producer.flush(1)
        return faults[0] if faults else None

    async def close(self) -> None:
        await asyncio.to_thread(self._producer.flush, 1)


def headers_of(letter: DeadLetter) -> list[tuple[str, str | bytes | None]]:
    """The message's own, with what makes it a dead letter. One that was replayed and failed again
    remembers how often, and since when.
    """
    message = letter.message
    said = dict(message.headers)
    failed_at = letter.failed_at.astimezone(UTC).isoformat().encode()
    before = said.get(DeadLetterHeader.ATTEMPTS) or b"0"
    ours: dict[str, bytes] = {
        DeadLetterHeader.ERROR_CLASS: letter.error_class.encode(),
        DeadLetterHeader.ERROR_MESSAGE: letter.error_message.encode(),
        DeadLetterHeader.ATTEMPTS: b"%d" % (int(before) + 1 if before.isdigit() else 1),
        DeadLetterHeader.FIRST_FAILURE: said.get(DeadLetterHeader.FIRST_FAILURE) or failed_at,
        DeadLetterHeader.LAST_FAILURE: failed_at,
        DeadLetterHeader.SOURCE_TOPIC: message.topic.encode(),
        DeadLetterHeader.SOURCE_PARTITION: b"%d" % message.partition,
        DeadLetterHeader.SOURCE_OFFSET: b"%d" % message.offset,
    }
    own = [(name, value) for name, value in message.headers if name not in ours]
    return [*own, *ours.items()]
