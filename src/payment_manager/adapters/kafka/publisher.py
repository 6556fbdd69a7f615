"""Messages to the broker, from the event loop itself: nobody is answered before it has them.

How to think about it: the client (librdkafka) batches and sends in threads of its own; to hand it a
message costs a copy, and its reports are fetched by a call that doesn't block. So the loop does
both: one timer fetches what came back, and while nothing is on its way it hardly ticks. Time is
bounded twice: by the client, which then drops the message, and by the timer, for whoever waits.
"""

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from payment_manager.adapters.kafka.connection import DURABLE, ClientLog
from payment_manager.contracts.publishing import Headers, Receipt

_FETCH_SECONDS = 0.001
"""Between looks for reports. One look serves all that came; measured in decision 0014."""

_IDLE_SECONDS = 0.5
"""The client's log lines and its fatal errors are fetched too while nothing is on its way."""

_CLIENT_SECONDS = 0.6
"""After that the client gives a message up. It looks once a second, so it may take 1.6 s."""

_ANSWER_SECONDS = 1.5
"""After that whoever waits is told `UNKNOWN`, whatever the client still does. An answer must come
in two seconds, on a busy machine too.
"""

_AWAY_SECONDS = 0.5
"""Without an acknowledgement, though something was given up, the broker counts as away. Less than
it takes to give up: of a broker that went away, the first message that is given up tells."""

_REPLACE_SECONDS = 1.0
"""A client that breaks at once again isn't replaced more often."""

_BUFFER_KIB = 64 * 1024
"""Of messages that wait. A thousand bytes each is usual, so the number of them ends it first."""

log = structlog.get_logger()


class KafkaPublisher:
    """`Publisher`. Made and used in one event loop.

    `queue_max`: messages that may wait for the broker. `message_bytes_max`: of one, its key and
    headers included. `settings` (librdkafka's own) go over what is set here.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        *,
        queue_max: int,
        message_bytes_max: int,
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._config: dict[str, Any] = {
            **client,
            **DURABLE,
            "message.timeout.ms": int(_CLIENT_SECONDS * 1000),
            "linger.ms": 1,
            "compression.type": "lz4",
            "queue.buffering.max.messages": queue_max,
            "queue.buffering.max.kbytes": _BUFFER_KIB,
            "message.max.bytes": max(1_000_000, message_bytes_max),
            **settings,
        }
        self._loop = asyncio.get_running_loop()
        self._log = ClientLog()
        self._client = _Client(self._config, self._log)
        self._replaced_at = self._loop.time()
        self._acknowledged_at = self._loop.time()
        self._gave_up = False
        self._timer = self._loop.call_later(_IDLE_SECONDS, self._fetch)
        self._is_idle = True

    @property
    def waiting(self) -> int:
        """Messages that the broker has not acknowledged yet."""
        return self._client.on_its_way

    async def publish(self, topic: str, key: bytes, value: bytes, headers: Headers) -> Receipt:
        client = self._client
        if self._gave_up and self._is_away(client):
            return Receipt.AWAY
        answer: asyncio.Future[Receipt] = self._loop.create_future()
        try:
            client.producer.produce(
                topic,
                value,
                key,
                headers=headers,
                on_delivery=partial(self._on_delivery, client, answer),
            )
        except BufferError:
            return Receipt.QUEUE_FULL
        except KafkaException as error:
            client.refused(error.args[0])
            return Receipt.AWAY
        client.on_its_way += 1
        client.waiting.append((self._loop.time() + _ANSWER_SECONDS, answer))
        if self._is_idle:
            self._fetch_in(_FETCH_SECONDS)
        return await answer

    async def close(self) -> None:
        """Nobody waits any more; what is still on its way gets its time."""
        self._timer.cancel()
        self._client.answer_those_due(math.inf)
        await asyncio.to_thread(self._client.producer.flush, _ANSWER_SECONDS)

    def leaders(self, topic: str, timeout_seconds: float) -> list[int]:
        """The broker that leads each partition of the topic, -1 where none does.

        Blocks. Raises `KafkaException` where no broker answers, or the topic is not there.
        """
        found = self._client.producer.list_topics(topic, timeout=timeout_seconds).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return [partition.leader for partition in found.partitions.values()]

    def _is_away(self, client: "_Client") -> bool:
        """While the broker is away one message at a time tries, and the others are told at once.

        They would only fill memory, and come behind the back of whoever was told 503.
        """
        since = self._loop.time() - self._acknowledged_at
        return since > _AWAY_SECONDS and client.on_its_way > 0

    # ── What comes back ───────────────────────────────────────────────────────────────────────────

    def _on_delivery(
        self,
        client: "_Client",
        answer: asyncio.Future[Receipt],
        fault: KafkaError | None,
        _message: Message,
    ) -> None:
        client.on_its_way -= 1
        if fault is None:
            self._acknowledged_at = self._loop.time()
            self._gave_up = False
        else:
            self._gave_up = True
            client.refused(fault)
        if not answer.done():
            answer.set_result(Receipt.UNKNOWN if fault else Receipt.ACKNOWLEDGED)

    def _fetch_in(self, seconds: float) -> None:
        self._timer.cancel()
        self._is_idle = seconds == _IDLE_SECONDS
        self._timer = self._loop.call_later(seconds, self._fetch)

    def _fetch(self) -> None:
        client, now = self._client, self._loop.time()
        try:
            client.fetch()
            client.answer_those_due(now)
            if client.fatal_fault is not None and now - self._replaced_at > _REPLACE_SECONDS:
                self._replace(client.fatal_fault, now)
        finally:
            self._fetch_in(_FETCH_SECONDS if self._client.on_its_way else _IDLE_SECONDS)

    def _replace(self, fault: KafkaError, now: float) -> None:
        """A client with a fatal error takes nothing any more; only a new one helps."""
        broken, self._client, self._replaced_at = (
            self._client,
            _Client(self._config, self._log),
            now,
        )
        log.error("producer_replaced", reason=fault.name(), text=fault.str())
        broken.producer.purge()
        broken.fetch()
        broken.answer_those_due(math.inf)
        # It waits for the client's threads. What it reports from there finds everybody answered.
        self._loop.run_in_executor(None, broken.producer.close)


class _Client:
    """A producer, and who waits for its reports, the longest first."""

    def __init__(self, config: Mapping[str, Any], log: ClientLog) -> None:
        self._log = log
        self.on_its_way = 0
        self.waiting: deque[tuple[float, asyncio.Future[Receipt]]] = deque()
        self.fatal_fault: KafkaError | None = None
        self.producer = Producer(dict(config))

    def fetch(self) -> None:
        """Calls back for all that was reported. What the client raises here is fatal."""
        try:
            self.producer.poll(0)
        except KafkaException as error:
            self.refused(error.args[0])

    def answer_those_due(self, now: float) -> None:
        waiting = self.waiting
        while waiting and (waiting[0][1].done() or waiting[0][0] <= now):
            _, answer = waiting.popleft()
            if not answer.done():
                answer.set_result(Receipt.UNKNOWN)

    def refused(self, fault: KafkaError) -> None:
        self._log.tell(fault.name(), fault.str())
        if fault.fatal() and self.fatal_fault is None:
            self.fatal_fault = fault
