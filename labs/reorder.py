"""Duplicates and reordering: what a consumer makes of a history that comes twice and shuffled.

How to think about it: a redelivery is the same webhook in another message: its offset and its time
of arrival are new, only the provider's id stays. And what comes last is not what happened last. A
key keeps order within a partition; rows that don't depend on the order need no such promise.

    make lab-reorder
"""

import asyncio
import random
from collections.abc import Callable, Sequence

import uvloop
from confluent_kafka import Message
from psycopg_pool import AsyncConnectionPool

from labs.ground import database, show
from labs.kafka_ground import (
    APPLIED,
    APPLY,
    Told,
    applied,
    broker,
    consuming,
    envelope_of,
    histories,
    in_log,
    make_topic,
    member,
    mixed,
    our_consumer,
    pending,
    place_of,
    sender,
    straight,
    until,
    what_is_told,
)
from payment_manager.adapters.clock import SystemClock
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.transactions import PostgresDatabase

ORDERS = 200
WEBHOOKS = 5
USERS = 40
BATCH_MAX = 500

TABLES = """
CREATE TABLE seen (way text, id text, PRIMARY KEY (way, id));
CREATE TABLE last_one (way text, order_id text, status text, amount text,
                       PRIMARY KEY (way, order_id))
"""

NOTE = "INSERT INTO seen VALUES (%s, %s) ON CONFLICT DO NOTHING"

LAST_ONE_WINS = """
INSERT INTO last_one VALUES (%s, %s, %s, %s)
ON CONFLICT (way, order_id) DO UPDATE SET status = excluded.status, amount = excluded.amount
"""

Known = Callable[[Message], str]
"""What a consumer tells a message by."""

Key = Callable[[Told], str | None]


def by_offset(message: Message) -> str:
    place = place_of(message)
    return f"{place.partition}/{place.offset}"


def by_id_and_time(message: Message) -> str:
    """As where a table's unique key must hold the time by which it is partitioned."""
    return f"{by_id(message)} {envelope_of(message.value())['timestamp']}"


def by_id(message: Message) -> str:
    return "{}/{}".format(*what_is_told(message.value()))


async def run() -> None:
    with broker() as server:
        async with database() as pool:
            await NativePartitions(pool).maintain(SystemClock().now())
            async with pool.connection() as connection:
                await connection.execute(APPLIED + ";" + TABLES)
            twice = await _twice(server.brokers, pool)
            keys = await _keys(server.brokers, pool)
    show(
        f"{ORDERS} orders of {WEBHOOKS} webhooks; each webhook comes twice, all of them shuffled",
        ("", "wrong rows", "effects", "doubled"),
        twice,
    )
    show(
        f"{ORDERS} orders of {WEBHOOKS} webhooks by {USERS} users, sent once and in order",
        ("key", "orders out of order", "users …", "wrong rows: last one wins", "wrong rows: ours",
         "ours: recorded as stale"),
        keys,
    )  # fmt: skip


async def _twice(brokers: str, pool: AsyncConnectionPool) -> list[tuple[object, ...]]:
    topic, chance = "twice", random.Random(4)
    lives = histories(topic, orders=ORDERS, webhooks=WEBHOOKS, users=USERS, chance=chance)
    webhooks = [webhook for life in lives for webhook in life] * 2
    chance.shuffle(webhooks)
    _send(brokers, topic, webhooks, _user_id)
    rows: list[tuple[object, ...]] = []
    for way, known in (
        ("last one wins, known by offset", by_offset),
        ("last one wins, known by id and time", by_id_and_time),
        ("last one wins, known by id", by_id),
    ):
        await asyncio.to_thread(_last_one_wins, brokers, pool, topic, way, known)
        effects = await applied(pool, way)
        rows.append((way, await _wrong_last_ones(pool, way), *_effects(effects)))
    await _ours(brokers, pool, topic)
    effects = await in_log(pool, topic)
    rows.append(("ours", await _wrong_orders(pool, topic), *_effects(effects)))
    return rows


async def _keys(brokers: str, pool: AsyncConnectionPool) -> list[tuple[object, ...]]:
    ways: Sequence[tuple[str, Key]] = (
        ("none", lambda _: None),
        ("order_id", lambda webhook: webhook.order_id),
        ("user_id", _user_id),
    )
    rows: list[tuple[object, ...]] = []
    for key, of in ways:
        chance = random.Random(4)
        topic = f"key-{key.replace('_', '-')}"
        lives = histories(topic, orders=ORDERS, webhooks=WEBHOOKS, users=USERS, chance=chance)
        webhooks = mixed(lives, chance)
        _send(brokers, topic, webhooks, of)
        await asyncio.to_thread(_last_one_wins, brokers, pool, topic, topic, by_id)
        seen = await _seen(pool, topic)
        await _ours(brokers, pool, topic)
        rows.append(
            (
                key,
                _out_of_order(webhooks, seen, lambda webhook: webhook.order_id),
                _out_of_order(webhooks, seen, lambda webhook: webhook.user_id),
                await _wrong_last_ones(pool, topic),
                await _wrong_orders(pool, topic),
                await _counted(pool, STALE, topic),
            )
        )
    return rows


def _user_id(webhook: Told) -> str:
    return webhook.user_id


def _send(brokers: str, topic: str, webhooks: Sequence[Told], key: Key) -> None:
    make_topic(brokers, topic)
    with sender(brokers) as producer:
        for webhook in webhooks:
            producer.produce(topic, webhook.value, key(webhook))


# ── Consumers ─────────────────────────────────────────────────────────────────────────────────────


def _last_one_wins(
    brokers: str, pool: AsyncConnectionPool, topic: str, way: str, known: Known
) -> None:
    """All right but for what it knows messages by, and for believing the last one."""
    with (
        straight(pool) as connection,
        member(brokers, topic, way, enable_auto_commit="false") as consumer,
    ):
        while pending(brokers, topic, way):
            batch = consumer.consume(BATCH_MAX, 0.5)
            with connection.transaction():
                for message in batch:
                    if connection.execute(NOTE, (way, known(message))).rowcount:
                        order_id, nth = what_is_told(message.value())
                        connection.execute(APPLY, (way, order_id, nth))
                        payload = envelope_of(message.value())["payload"]
                        row = (payload["status"], payload["meta"]["amount"])
                        connection.execute(LAST_ONE_WINS, (way, order_id, *row))
            if batch:
                consumer.commit(asynchronous=False)


async def _ours(brokers: str, pool: AsyncConnectionPool, topic: str) -> None:
    database = PostgresDatabase(pool)
    async with (
        our_consumer(brokers, topic, "ours", database, BATCH_MAX) as consume,
        consuming(consume),
    ):
        await until(lambda: pending(brokers, topic, "ours") == 0)


# ── Figures ───────────────────────────────────────────────────────────────────────────────────────

RIGHT_LAST_ONES = """
SELECT count(*) FROM last_one
WHERE way = %s AND (status, amount::numeric) IS NOT DISTINCT FROM ('success', %s::numeric)
"""

RIGHT_ORDERS = """
SELECT count(*) FROM orders
WHERE starts_with(order_id, %s || '-')
  AND (status::text, amount_minor) IS NOT DISTINCT FROM ('success', %s::numeric * 100)
"""

STALE = """
SELECT count(*) FROM order_events
WHERE starts_with(order_id, %s || '-') AND data ->> 'outcome' = 'stale'
"""


async def _wrong_last_ones(pool: AsyncConnectionPool, way: str) -> int:
    return ORDERS - await _counted(pool, RIGHT_LAST_ONES, way, 100 + WEBHOOKS)


async def _wrong_orders(pool: AsyncConnectionPool, name: str) -> int:
    return ORDERS - await _counted(pool, RIGHT_ORDERS, name, 100 + WEBHOOKS)


async def _counted(pool: AsyncConnectionPool, question: str, *parameters: object) -> int:
    async with pool.connection() as connection:
        row = await (await connection.execute(question, parameters)).fetchone()
    assert row is not None
    return int(row[0])


async def _seen(pool: AsyncConnectionPool, way: str) -> list[tuple[str, int]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT order_id, nth FROM applied WHERE way = %s ORDER BY place", (way,)
        )
        return await cursor.fetchall()


def _effects(orders: dict[str, list[int]]) -> tuple[int, int]:
    """All, and those that are there twice."""
    done = sum(map(len, orders.values()))
    return done, done - sum(len(set(webhooks)) for webhooks in orders.values())


def _out_of_order(
    sent: Sequence[Told], seen: Sequence[tuple[str, int]], whose: Callable[[Told], str]
) -> int:
    """How many orders, or users, had any of their webhooks before an earlier one."""
    places = {(webhook.order_id, webhook.nth): at for at, webhook in enumerate(sent)}
    last: dict[str, int] = {}
    late: set[str] = set()
    for each in seen:
        place = places[each]
        owner = whose(sent[place])
        if place < last.get(owner, -1):
            late.add(owner)
        last[owner] = place
    return len(late)


if __name__ == "__main__":
    uvloop.run(run())
