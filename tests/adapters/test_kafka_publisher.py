"""Publishing: acknowledged means in the topic, and everything else is told in under two seconds.

How to think about it: what a broker can do to a publisher is done to a real one: it is paused,
killed, started again, and it refuses. The same publisher object goes through all of it. Where the
broker is well, what is proved is no matter of time, and time is not short (`patient`); where it is
not, the seconds for which the machine itself stood still don't count (`Pauses`).
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from infra.kafka_server import KafkaServer
from payment_manager.adapters.kafka import publisher as module
from payment_manager.adapters.kafka.connection import ClientLog, client_config
from payment_manager.adapters.kafka.publisher import KafkaPublisher
from payment_manager.contracts.publishing import Receipt
from tests.kafka import broker_at
from tests.topics import make_topic, messages_in

# A broker is started before some, and within one: on a busy machine that alone takes a minute.
pytestmark = pytest.mark.timeout(300)

ACKNOWLEDGED, QUEUE_FULL, AWAY, UNKNOWN = Receipt

TOLD_SECONDS_MAX = 2.0

PATIENT_SECONDS = 30.0

QUEUE_MAX = 50


@dataclass(frozen=True)
class Broker:
    """What `client_config` reads of the settings."""

    kafka_brokers: str | None


@asynccontextmanager
async def publisher_to(server: KafkaServer, **settings: Any) -> AsyncIterator[KafkaPublisher]:
    publisher = KafkaPublisher(
        client_config(Broker(server.brokers)),
        queue_max=QUEUE_MAX,
        message_bytes_max=300_000,
        settings={name.replace("_", "."): value for name, value in settings.items()},
    )
    try:
        yield publisher
    finally:
        await publisher.close()


class Pauses:
    """Beside the tests: for how long the machine let nobody here run."""

    TICK_SECONDS, USUAL_SECONDS = 0.01, 0.05

    def __init__(self) -> None:
        self._until_now, self._woke_at = 0.0, time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def seconds(self) -> float:
        return self._until_now + self._late()

    def _late(self) -> float:
        late = time.monotonic() - self._woke_at - self.TICK_SECONDS
        return late if late > self.USUAL_SECONDS else 0.0

    def _watch(self) -> None:
        while not self._over.wait(self.TICK_SECONDS):
            late = self._late()
            self._until_now, self._woke_at = self._until_now + late, time.monotonic()


pauses = Pauses()


@pytest.fixture(scope="module", autouse=True)
def watched() -> Iterator[None]:
    with pauses:
        yield


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the first message for a new topic takes its time."""
    monkeypatch.setattr(module, "_CLIENT_SECONDS", PATIENT_SECONDS)
    monkeypatch.setattr(module, "_ANSWER_SECONDS", PATIENT_SECONDS)


@pytest.fixture
def topic(kafka_server: KafkaServer, topic_prefix: str) -> str:
    return make_topic(kafka_server.brokers, topic_prefix)


@pytest.fixture(scope="module")
def frail_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker that tests may pause and kill."""
    with broker_at(tmp_path_factory.mktemp("frail-kafka")) as server:
        yield server


@pytest.fixture
def frail(frail_server: KafkaServer) -> Iterator[KafkaServer]:
    """As the test before left it, it is up again."""
    yield frail_server
    frail_server.resume()
    frail_server.start()


async def timed(publisher: KafkaPublisher, topic: str, value: bytes) -> Receipt:
    paused, began = pauses.seconds(), time.monotonic()
    receipt = await publisher.publish(topic, b"key", value, [])
    took = time.monotonic() - began
    assert took - (pauses.seconds() - paused) < TOLD_SECONDS_MAX
    return receipt


async def until_acknowledged(publisher: KafkaPublisher, topic: str, value: bytes) -> int:
    """Each try is told in time; the last one is acknowledged. A new topic on a busy machine may
    need more than one: how many. Those before may be in the topic too.
    """
    deadline, tries = time.monotonic() + 60, 1
    while await timed(publisher, topic, value) is not ACKNOWLEDGED:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
        await all_reported(publisher)
        tries += 1
    return tries


async def all_reported(publisher: KafkaPublisher) -> None:
    """Who is told `UNKNOWN` may be told so before the client gives the message up."""
    async with asyncio.timeout(60):
        while publisher.waiting:
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("patient")
async def test_what_is_acknowledged_is_in_the_topic_as_it_was_given(
    kafka_server: KafkaServer, topic: str
) -> None:
    value, headers = bytes(range(256)), [("X-Correlation-ID", b"c-1")]
    async with publisher_to(kafka_server) as publisher:
        assert await publisher.publish(topic, b"user-1", value, list(headers)) is ACKNOWLEDGED
        [message] = messages_in(kafka_server.brokers, topic)
    assert message.key() == b"user-1"
    assert (message.value(), message.headers()) == (value, headers)


@pytest.mark.usefixtures("patient")
async def test_one_key_stays_in_order_in_one_partition(
    kafka_server: KafkaServer, topic: str
) -> None:
    async with publisher_to(kafka_server, queue_buffering_max_messages=5000) as publisher:
        values = [b"%d" % number for number in range(2000)]
        receipts = await asyncio.gather(
            *(publisher.publish(topic, b"key-%d" % (len(value) % 3), value, []) for value in values)
        )
        assert set(receipts) == {ACKNOWLEDGED}
        assert publisher.waiting == 0
    by_key: dict[bytes | None, list[int]] = {}
    partitions: dict[bytes | None, set[int | None]] = {}
    for message in messages_in(kafka_server.brokers, topic):
        by_key.setdefault(message.key(), []).append(int(message.value() or b""))
        partitions.setdefault(message.key(), set()).add(message.partition())
    assert sum(map(len, by_key.values())) == 2000
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert all(len(of_key) == 1 for of_key in partitions.values())


@pytest.mark.usefixtures("patient")
async def test_keys_go_where_a_java_client_would_put_them(
    kafka_server: KafkaServer, topic_prefix: str
) -> None:
    topic = make_topic(kafka_server.brokers, topic_prefix, partitions=6)
    async with publisher_to(kafka_server) as publisher:
        for key in (b"21", b"foobar"):
            assert await publisher.publish(topic, key, b"", []) is ACKNOWLEDGED
    found = {
        message.key(): message.partition() for message in messages_in(kafka_server.brokers, topic)
    }
    # Murmur2 of these bytes, from the vectors of Apache Kafka's own UtilsTest, without the sign.
    assert found == {
        b"21": (-973932308 & 0x7FFFFFFF) % 6,
        b"foobar": (-790332482 & 0x7FFFFFFF) % 6,
    }


async def test_a_paused_broker_is_told_in_time_and_used_again_when_it_is_back(
    frail: KafkaServer, topic_prefix: str
) -> None:
    topic = make_topic(frail.brokers, topic_prefix)
    async with publisher_to(frail) as publisher:
        tries = await until_acknowledged(publisher, topic, b"before")
        frail.pause()
        first = await asyncio.gather(*(timed(publisher, topic, b"lost") for _ in range(20)))
        assert set(first) == {UNKNOWN}
        await all_reported(publisher)
        later = await asyncio.gather(*(timed(publisher, topic, b"later") for _ in range(200)))
        # One tries; the others are told at once, and nothing of them comes behind.
        assert Counter(later) == {AWAY: 199, UNKNOWN: 1}
        frail.resume()
        await until_acknowledged(publisher, topic, b"after")
    values = Counter(message.value() for message in messages_in(frail.brokers, topic))
    assert 1 <= values[b"before"] <= tries
    assert values[b"after"] >= 1
    assert values[b"lost"] <= 20


async def test_a_killed_broker_is_told_in_time_and_found_again(
    frail: KafkaServer, topic_prefix: str
) -> None:
    topic = make_topic(frail.brokers, topic_prefix)
    async with publisher_to(frail) as publisher:
        tries = await until_acknowledged(publisher, topic, b"before")
        frail.kill()
        assert await timed(publisher, topic, b"lost") is UNKNOWN
        assert await timed(publisher, topic, b"lost") in (UNKNOWN, AWAY)
        await all_reported(publisher)
        await asyncio.to_thread(frail.start)
        await until_acknowledged(publisher, topic, b"after")
    values = [message.value() for message in messages_in(frail.brokers, topic)]
    assert 1 <= values.count(b"before") <= tries
    # What was told as lost had been given up: the broker came back later.
    assert b"lost" not in values


@pytest.mark.parametrize(
    ("count", "size"),
    [(QUEUE_MAX * 4, 10), (600, 250_000)],
    ids=["messages", "bytes"],
)
async def test_no_more_waits_than_may_wait(
    frail: KafkaServer, topic_prefix: str, count: int, size: int
) -> None:
    topic = make_topic(frail.brokers, topic_prefix)
    more = {} if size == 10 else {"queue_buffering_max_messages": 5000}
    async with publisher_to(frail, **more) as publisher:
        await until_acknowledged(publisher, topic, b"before")
        frail.pause()
        value = bytes(size)
        receipts = Counter(
            await asyncio.gather(*(timed(publisher, topic, value) for _ in range(count)))
        )
        waited = receipts.pop(UNKNOWN)
        assert waited == QUEUE_MAX if size == 10 else waited * size <= 64 * 1024 * 1024
        assert receipts == {QUEUE_FULL: count - waited}
        frail.resume()
        await until_acknowledged(publisher, topic, b"after")


async def test_a_producer_with_a_fatal_error_is_replaced(
    kafka_server: KafkaServer, topic_prefix: str
) -> None:
    # With this setting, a message that the broker refuses for its size is fatal: the same state
    # that a lost or fenced producer id leads to.
    topic = make_topic(kafka_server.brokers, topic_prefix, max_message_bytes="1000")
    # One given up for its time is fatal too: on a busy machine it would be a second one.
    strict = {"enable_gapless_guarantee": True, "compression_type": "none"}
    strict |= {"message_timeout_ms": int(PATIENT_SECONDS * 1000)}
    async with publisher_to(kafka_server, **strict) as publisher:
        await until_acknowledged(publisher, topic, b"before")
        with capture_logs() as lines:
            assert await timed(publisher, topic, bytes(5000)) is UNKNOWN
            await until_acknowledged(publisher, topic, b"after")
        assert [line["event"] for line in lines if line["log_level"] == "error"] == [
            "producer_replaced"
        ]
        # As good as new: it survives the next one too.
        assert await timed(publisher, topic, bytes(5000)) is UNKNOWN
        await until_acknowledged(publisher, topic, b"again")
    values = [message.value() for message in messages_in(kafka_server.brokers, topic)]
    assert list(dict.fromkeys(values)) == [b"before", b"after", b"again"]


async def test_a_topic_that_is_gone_is_told_in_time(
    kafka_server: KafkaServer, topic_prefix: str
) -> None:
    async with publisher_to(kafka_server) as publisher:
        for _ in range(2):
            assert await timed(publisher, f"{topic_prefix}.nowhere", b"x") in (UNKNOWN, AWAY)


@pytest.mark.usefixtures("patient")
async def test_closing_sends_what_is_on_its_way(kafka_server: KafkaServer, topic: str) -> None:
    publisher = KafkaPublisher(
        client_config(Broker(kafka_server.brokers)), queue_max=QUEUE_MAX, message_bytes_max=1000
    )
    asking = [
        asyncio.create_task(publisher.publish(topic, b"key", b"%d" % number, []))
        for number in range(10)
    ]
    await asyncio.sleep(0)  # handed over, and not answered yet
    await publisher.close()
    assert {await each for each in asking} <= {ACKNOWLEDGED, UNKNOWN}
    assert len(messages_in(kafka_server.brokers, topic)) == 10


def test_the_clients_lines_of_one_kind_are_told_once_a_minute() -> None:
    now = [100.0]
    said = ClientLog(clock=lambda: now[0])
    with capture_logs() as lines:
        for _ in range(7200):  # an hour's
            said.log(40, "%s [%s] %s", "FAIL", "rdkafka#producer-1", "Connection refused")
            now[0] += 0.5
        said.log(40, "%s [%s] %s", "REQTMOUT", "rdkafka#producer-1", "Timed out")
    assert Counter(line["kind"] for line in lines) == {"FAIL": 60, "REQTMOUT": 1}
    assert lines[1]["left_out"] == 119
