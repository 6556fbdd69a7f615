"""Rebalance under load: consumers join, leave and die while messages flow.

How to think about it: a committed offset says "all before this is done", and a group believes it
when it gives the partition to another member. By a timer, or before the work, it is said too early
or too late. Said after the database's commit it can only be late, and what then comes again is
known there.

    make lab-rebalance
"""

import asyncio
import os
import random
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from types import MappingProxyType
from uuid import UUID

import psycopg
import structlog
import uvloop
from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient
from psycopg_pool import AsyncConnectionPool

from infra.leash import Leash
from labs.ground import database, show
from labs.kafka_ground import (
    APPLIED,
    APPLY,
    PATIENCE_SECONDS,
    broker,
    history,
    make_topic,
    member,
    our_consumer,
    pending,
    quiet,
    sender,
    until,
    what_is_told,
)
from payment_manager.adapters.clock import SystemClock
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.pool import opened_pool
from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.application.ports import (
    Changes,
    Database,
    Loaded,
    Transaction,
    WebhookId,
)

TOPIC = "rebalance"
BURST = 50
BURST_SECONDS = 0.5
"""A hundred webhooks a second, as providers send them: some at once."""

BETWEEN_SECONDS = 2.0
"""Two of the things that happen to a group."""

DYING_SECONDS = 0.5
"""A process that is out of memory, or whose disk hangs, doesn't die at once."""

BATCH_MAX = 100
WEBHOOKS_WAIT_SECONDS = 0.2

OURS = "ours"
NAIVE: Mapping[str, Mapping[str, str | int]] = MappingProxyType(
    {
        "commit by timer, each 5 s": {"auto_commit_interval_ms": 5000},
        "commit by timer, each 0.1 s": {"auto_commit_interval_ms": 100},
        "commit, then apply": {"enable_auto_commit": "false"},
    }
)
SESSION: Mapping[str, int] = MappingProxyType(
    {"session_timeout_ms": 10_000, "heartbeat_interval_ms": 2_000}
)
"""As ours: after that a killed member counts as gone."""


EFFECTS = """
SELECT order_id, at FROM applied WHERE way = %(way)s
UNION ALL
SELECT order_id, created_at FROM order_events WHERE %(ours)s
ORDER BY 2
"""

# ── Members: a process each. SIGTERM: leave in good order. SIGUSR1: die at the worst moment ───────


def consume_naively(way: str, brokers: str, url: str) -> None:
    told: set[int] = set()
    for each in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(each, lambda number, _: told.add(number))
    with (
        psycopg.connect(url, autocommit=True) as connection,
        member(brokers, TOPIC, way, **SESSION, **NAIVE[way]) as consumer,
    ):
        while signal.SIGTERM not in told:
            found = consumer.consume(BATCH_MAX, WEBHOOKS_WAIT_SECONDS)
            batch = [message for message in found if message.error() is None]
            if batch and "enable_auto_commit" in NAIVE[way]:
                with suppress(KafkaException):  # the partitions may be another's by now
                    consumer.commit(asynchronous=False)
            for at, message in enumerate(batch):
                if at and at == len(batch) // 2 and signal.SIGUSR1 in told:
                    time.sleep(DYING_SECONDS)
                    os.kill(os.getpid(), signal.SIGKILL)
                order_id, nth = what_is_told(message.value())
                print(order_id, flush=True)
                connection.execute(APPLY, (way, order_id, nth))


async def consume_ours(brokers: str, url: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    loop = asyncio.get_running_loop()
    async with opened_pool(url, size_max=2) as pool:
        database = _MortalDatabase(PostgresDatabase(pool))
        async with our_consumer(brokers, TOPIC, OURS, database, BATCH_MAX) as consume:
            loop.add_signal_handler(signal.SIGTERM, consume.end)
            loop.add_signal_handler(signal.SIGUSR1, database.die)
            await consume.run_until_ended()


class _MortalDatabase:
    """Ends the process between its own commit and that of the offsets: there is no worse moment."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dying = False

    def die(self) -> None:
        self._dying = True

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._database.transaction() as transaction:
            telling = _Telling(transaction)
            yield telling
        if self._dying and telling.told > 1:
            await asyncio.sleep(DYING_SECONDS)
            os.kill(os.getpid(), signal.SIGKILL)


class _Telling:
    """Says which orders were delivered."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.told = 0

    async def load(self, order_ids: Sequence[str], webhook_ids: Sequence[WebhookId] = ()) -> Loaded:
        print(*order_ids, sep="\n", flush=True)
        self.told = len(order_ids)
        return await self._transaction.load(order_ids, webhook_ids)

    async def save(self, changes: Changes) -> None:
        await self._transaction.save(changes)


# ── Groups, and what happens to them ──────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Group:
    way: str
    brokers: str
    url: str
    members: list[Process] = field(default_factory=list)
    delivered: Counter[str] = field(default_factory=Counter)
    watching: list[asyncio.Task[None]] = field(default_factory=list)

    async def join(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "labs.rebalance", self.way, self.brokers, self.url),
            stdout=PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for the lab, which ends them
        )
        self.members.append(process)
        self.watching.append(asyncio.create_task(self._watch(process)))

    async def _watch(self, process: Process) -> None:
        assert process.stdout is not None
        with Leash(process.pid):
            async for line in process.stdout:
                self.delivered[line.decode().strip()] += 1
            await process.wait()

    def tell(self, member: int, number: signal.Signals) -> None:
        self.members[member].send_signal(number)

    async def end(self) -> None:
        for process in self.members:
            with suppress(ProcessLookupError):
                process.terminate()
        await asyncio.gather(*self.watching)

    @property
    def redelivered(self) -> int:
        return self.delivered.total() - len(self.delivered)


async def run() -> None:
    with broker() as server:
        async with database() as pool, AsyncExitStack() as stack:
            await NativePartitions(pool).maintain(SystemClock().now())
            async with pool.connection() as connection:
                await connection.execute(APPLIED)
            make_topic(server.brokers, TOPIC)
            assert isinstance(pool.conninfo, str)
            groups = [Group(way, server.brokers, pool.conninfo) for way in (*NAIVE, OURS)]
            for group in groups:
                stack.push_async_callback(group.end)
            sent = await _happens(groups, server.brokers)
            rows = [await _row(pool, group, sent) for group in groups]
    show(
        f"{len(sent)} webhooks; one member joins, one leaves, one is killed and replaced",
        ("", "applied", "lost", "doubled", "delivered again", "longest pause s", "longest wait s"),
        rows,
    )


async def _happens(groups: Sequence[Group], brokers: str) -> Mapping[str, datetime]:
    """The same to all of them; answers what was sent, and when."""
    await _join(groups, 2)
    await until(lambda: all(_has_members(brokers, group.way, 2) for group in groups))
    sent: dict[str, datetime] = {}
    sending = asyncio.create_task(_send(brokers, sent))
    await asyncio.sleep(BETWEEN_SECONDS)
    await _join(groups, 1)
    await until(lambda: all(_has_members(brokers, group.way, 3) for group in groups))
    await asyncio.sleep(BETWEEN_SECONDS)
    for group in groups:
        group.tell(1, signal.SIGTERM)
    await asyncio.sleep(BETWEEN_SECONDS)
    for group in groups:
        group.tell(0, signal.SIGUSR1)
    await asyncio.gather(*(group.members[0].wait() for group in groups))
    await _join(groups, 1)
    await asyncio.sleep(BETWEEN_SECONDS)
    sending.cancel()
    await asyncio.wait([sending])
    await until(lambda: all(pending(brokers, TOPIC, group.way) == 0 for group in groups))
    return sent


async def _join(groups: Sequence[Group], members: int) -> None:
    for group in groups:
        for _ in range(members):
            await group.join()


def _has_members(brokers: str, group: str, members: int) -> bool:
    """And all of them have their partitions."""
    admin = AdminClient(quiet(brokers))
    found = admin.describe_consumer_groups([group])[group].result(PATIENCE_SECONDS)
    return found.state is ConsumerGroupState.STABLE and len(found.members) == members


async def _send(brokers: str, sent: dict[str, datetime]) -> None:
    chance = random.Random(4)
    with sender(brokers) as producer:
        while True:
            for _ in range(BURST):
                user_id = str(UUID(int=chance.getrandbits(128), version=4))
                (webhook,) = history(f"order-{len(sent)}", user_id, 1)
                sent[webhook.order_id] = datetime.now(UTC)
                producer.produce(TOPIC, webhook.value, user_id)
            producer.poll(0)
            await asyncio.sleep(BURST_SECONDS)


async def _row(
    pool: AsyncConnectionPool, group: Group, sent: Mapping[str, datetime]
) -> Sequence[object]:
    question = "SELECT order_id, at FROM applied WHERE way = %s ORDER BY at"
    if group.way == OURS:
        question = (
            "SELECT order_id, created_at FROM order_events WHERE %s <> '' ORDER BY created_at"
        )
    async with pool.connection() as connection:
        effects = await (await connection.execute(question, (group.way,))).fetchall()
    orders = {order_id for order_id, _ in effects}
    times = [at for _, at in effects]
    pause = max(after - before for before, after in pairwise(times))
    wait = max(at - sent[order_id] for order_id, at in reversed(effects))
    return (
        group.way,
        len(orders),
        len(sent) - len(orders),
        len(effects) - len(orders),
        group.redelivered,
        f"{pause.total_seconds():.1f}",
        f"{wait.total_seconds():.1f}",
    )


if __name__ == "__main__":
    if not sys.argv[1:]:
        uvloop.run(run())
    elif sys.argv[1] == OURS:
        uvloop.run(consume_ours(*sys.argv[2:]))
    else:
        consume_naively(*sys.argv[1:])
