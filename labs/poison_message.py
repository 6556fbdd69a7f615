"""A poison message: one that can never be applied, and what it does to the others around it.

How to think about it: a partition is a queue, and nobody behind passes. To try again for ever stops
the queue, to skip loses the message, to put the batch aside takes innocent ones along. Only the one
to blame may go, to a place that keeps it with its reason, and the queue moves when it is there.

    make lab-poison-message
"""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import UUID

import psycopg
import uvloop
from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from psycopg_pool import AsyncConnectionPool

from labs.ground import database, show
from labs.kafka_ground import (
    APPLIED,
    APPLY,
    PATIENCE_SECONDS,
    applied,
    broker,
    consuming,
    histories,
    history,
    in_log,
    in_topic,
    make_topic,
    member,
    mixed,
    our_consumer,
    pending,
    place_of,
    quiet,
    sender,
    straight,
    until,
    what_is_told,
)
from payment_manager.adapters.clock import SystemClock, UUIDv7s
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.contracts.envelope import DEAD_LETTER_SUFFIX, DeadLetterHeader, Kind, encode

ORDERS = 100
WEBHOOKS = 6
USERS = 30
NO_ID = history("lab-1", str(UUID(int=1)), 1)[0].body.replace(b"provider_event_id", b"id")
POISON = (
    b"not JSON",
    b'{"order_id": "lab-1", "status": "created"}',  # JSON, and no envelope
    encode(UUIDv7s().next(), "ann", Kind.ORDER, NO_ID, SystemClock().now()),
)
BATCH_MAX = 50
LOOK_SECONDS = 0.5
"""Between two looks whether this is how it stays."""

TOPIC = "poison"
DEAD_LETTERS = TOPIC + DEAD_LETTER_SUFFIX
TOO_SMALL = {"max.message.bytes": "1"}
"""A topic that refuses whatever comes; misconfigured ones are less obvious about it."""


class Naive:
    """What a consumer without the pattern has at hand."""

    def __init__(
        self,
        way: str,
        brokers: str,
        connection: psycopg.Connection,
        consumer: Consumer,
        producer: Producer,
        behind_poison: int,
    ) -> None:
        self.way = way
        self.brokers = brokers
        self.connection = connection
        self.consumer = consumer
        self.producer = producer
        self.dead_letters = f"{way.replace(' ', '-').replace(',', '')}{DEAD_LETTER_SUFFIX}"
        self.behind_poison = behind_poison
        """Messages that are poison, or have some in front of them."""

    def batches(self, limit: int, *, left: int = 0) -> Iterator[list[Message]]:
        """Until no more than `left` are pending, and this is how it stays."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        look_at = time.monotonic() + LOOK_SECONDS
        while True:
            if found := self.consumer.consume(limit, 0.2):
                yield found
            if time.monotonic() > look_at:
                if pending(self.brokers, TOPIC, self.way) <= left:
                    return
                look_at = time.monotonic() + LOOK_SECONDS
                if look_at > deadline:
                    raise TimeoutError(f"{self.way}: more is pending than should stay")

    def apply(self, message: Message) -> None:
        """Raises for poison."""
        self.connection.execute(APPLY, (self.way, *what_is_told(message.value())))


def retry_for_ever(naive: Naive) -> None:
    for (message,) in naive.batches(1, left=naive.behind_poison):
        try:
            naive.apply(message)
        except Exception:
            naive.consumer.seek(
                place_of(message)
            )  # only this partition waits, which is kind already
        else:
            naive.consumer.commit(message=message)


def log_and_commit(naive: Naive) -> None:
    for (message,) in naive.batches(1):
        with suppress(Exception):  # a line in a log that nobody reads
            naive.apply(message)
        naive.consumer.commit(message=message)


def drop_the_error(naive: Naive) -> None:
    """It has dead letters; that their topic refuses them, it doesn't ask."""
    for (message,) in naive.batches(1):
        try:
            naive.apply(message)
        except Exception:
            naive.producer.produce(naive.dead_letters, message.value(), message.key())
        naive.consumer.commit(message=message)


def put_the_batch_aside(naive: Naive) -> None:
    for batch in naive.batches(BATCH_MAX):
        try:
            with naive.connection.transaction():
                for message in batch:
                    naive.apply(message)
        except Exception:
            for message in batch:
                naive.producer.produce(naive.dead_letters, message.value(), message.key())
            naive.producer.flush()
        naive.consumer.commit(asynchronous=False)


WAYS: tuple[tuple[str, Callable[[Naive], None]], ...] = (
    ("try again for ever", retry_for_ever),
    ("log it and commit", log_and_commit),
    ("dead letters, the error dropped", drop_the_error),
    ("the whole batch aside", put_the_batch_aside),
)


async def run() -> None:
    with broker() as server:
        brokers = server.brokers
        async with database() as pool:
            await NativePartitions(pool).maintain(SystemClock().now())
            async with pool.connection() as connection:
                await connection.execute(APPLIED)
            make_topic(brokers, TOPIC)
            behind_poison = _tell(brokers)
            rows = [await _tried(brokers, pool, behind_poison, *way) for way in WAYS]
            rows += await _ours(brokers, pool)
        reasons = _reasons(brokers)
    show(
        f"{ORDERS * WEBHOOKS} webhooks of {ORDERS} orders, {len(POISON)} poison messages",
        ("", "applied", "lost", "stuck", "dead letters", "orders with a hole"),
        rows,
    )
    show("Our dead letters", ("error class, message", "count"), list(reasons.items()))


def _tell(brokers: str) -> int:
    """Poison comes under a user's key, so that users have it in front of their own. How many
    messages are poison, or behind some.
    """
    chance = random.Random(4)
    webhooks = mixed(
        histories("poison", orders=ORDERS, webhooks=WEBHOOKS, users=USERS, chance=chance), chance
    )
    messages = [(webhook.user_id, webhook.value) for webhook in webhooks]
    for at, value in enumerate(POISON, start=1):
        place = len(webhooks) * at // (len(POISON) + 1)
        messages.insert(place, (webhooks[place].user_id, value))
    places: dict[int | None, list[bool]] = defaultdict(list)

    def delivered(_fault: KafkaError | None, message: Message) -> None:
        places[message.partition()].append(message.value() in POISON)

    with sender(brokers) as producer:
        for key, value in messages:
            producer.produce(TOPIC, value, key, on_delivery=delivered)
    return sum(len(are) - are.index(True) for are in places.values() if True in are)


async def _tried(
    brokers: str,
    pool: AsyncConnectionPool,
    behind_poison: int,
    way: str,
    consume: Callable[[Naive], None],
) -> tuple[object, ...]:
    def until_quiet() -> str:
        with (
            straight(pool) as connection,
            member(brokers, TOPIC, way, enable_auto_commit="false") as consumer,
            sender(brokers) as producer,
        ):
            naive = Naive(way, brokers, connection, consumer, producer, behind_poison)
            make_topic(brokers, naive.dead_letters, TOO_SMALL if consume is drop_the_error else {})
            consume(naive)
        return naive.dead_letters

    dead_letters = await asyncio.to_thread(until_quiet)
    orders = await applied(pool, way)
    return way, *_figures(orders, pending(brokers, TOPIC, way), in_topic(brokers, dead_letters))


async def _ours(brokers: str, pool: AsyncConnectionPool) -> list[tuple[object, ...]]:
    """Twice looked at: while the dead letters' topic refuses, and after it was repaired."""
    make_topic(brokers, DEAD_LETTERS, TOO_SMALL)
    rows: list[tuple[object, ...]] = []

    async def look(name: str) -> None:
        orders, dead = await in_log(pool, "poison"), in_topic(brokers, DEAD_LETTERS)
        rows.append((name, *_figures(orders, pending(brokers, TOPIC, "ours"), dead)))

    async with (
        our_consumer(brokers, TOPIC, "ours", PostgresDatabase(pool), BATCH_MAX) as consume,
        consuming(consume),
    ):
        await until(lambda: (consume.waits_for or "").startswith("dead letters"))
        await look("ours, its dead letters refused")
        _repair(brokers)
        await until(lambda: pending(brokers, TOPIC, "ours") == 0)
        await look("ours, after the repair")
    return rows


def _figures(orders: dict[str, list[int]], pending: int, dead: int) -> tuple[int, ...]:
    done = sum(map(len, orders.values()))
    left = ORDERS * WEBHOOKS + len(POISON) - done - dead
    # Of what is not committed some may be applied; it comes again, and is known.
    stuck = min(left, pending)
    holes = sum(webhooks != list(range(1, len(webhooks) + 1)) for webhooks in orders.values())
    return done, left - stuck, stuck, dead, holes


def _repair(brokers: str) -> None:
    entry = ConfigEntry("max.message.bytes", "1048588", incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ConfigResource.Type.TOPIC, DEAD_LETTERS, incremental_configs=[entry])
    admin = AdminClient(quiet(brokers))
    for done in admin.incremental_alter_configs([topic]).values():
        done.result(30)


def _reasons(brokers: str) -> Counter[str]:
    found: Counter[str] = Counter()
    with member(brokers, DEAD_LETTERS, "reader") as consumer:
        for letter in consumer.consume(len(POISON), PATIENCE_SECONDS):
            said = dict(letter.headers() or ())
            reason = (said[DeadLetterHeader.ERROR_CLASS], said[DeadLetterHeader.ERROR_MESSAGE])
            found[": ".join(each.decode() for each in reason if isinstance(each, bytes))] += 1
    return found


if __name__ == "__main__":
    uvloop.run(run())
