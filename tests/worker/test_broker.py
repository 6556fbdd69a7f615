"""A broker that dies or falls silent under its consumers, and how far behind they say they are."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from psycopg_pool import AsyncConnectionPool
from structlog.testing import capture_logs

from infra.kafka_server import KafkaServer
from payment_manager.adapters.kafka import consumer
from payment_manager.adapters.kafka.consumer import KafkaMessages
from payment_manager.application.apply_webhooks import Taken, Webhook
from payment_manager.application.ports import Message, Unavailable
from payment_manager.entrypoints.worker import consume as consume_module
from tests.kafka import broker_at
from tests.worker.flow import (
    SECONDS_MAX,
    Flow,
    beside,
    is_well,
    members,
    said,
    turned,
    until,
)

# A broker is started before some, and within some: on a busy machine that alone takes a minute.
pytestmark = pytest.mark.timeout(300)

UNBOUNDED_SECONDS = 60.0
"""The client itself waits so long for an answer, where nobody tells it otherwise."""


@pytest.fixture(scope="module")
def mortal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker for the tests that stop it."""
    with broker_at(tmp_path_factory.mktemp("mortal-kafka")) as server:
        yield server


@pytest.fixture
def mortal(mortal_server: KafkaServer) -> Iterator[KafkaServer]:
    yield mortal_server
    mortal_server.resume()
    mortal_server.start()


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets are waited for longer than by a loop that has something else to do."""
    monkeypatch.setattr(consumer, "_ASK_SECONDS", SECONDS_MAX / 2)


@pytest.fixture
def mortal_flow(mortal: KafkaServer, topic_prefix: str, pool: AsyncConnectionPool) -> Flow:
    flow = Flow(mortal.brokers, topic_prefix, pool)
    flow.make_topics()
    return flow


async def test_a_broker_that_is_killed_and_comes_back_is_consumed_on_by_itself(
    mortal_flow: Flow, mortal: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine's broker is away for longer than a membership waits for the group's word.
    monkeypatch.setattr(consumer, "JOIN_SECONDS", 200.0)
    flow = mortal_flow
    with capture_logs() as lines:
        async with members(flow) as consumers:
            flow.orders(range(100))
            await until(lambda: flow.committed() == 100)
            mortal.kill()
            await asyncio.sleep(0.6)  # a poll or two without it
            assert consumers.liveness() == {"order_consumer": "ok"}
            await asyncio.to_thread(mortal.start)
            await asyncio.to_thread(flow.orders, range(100, 200))
            await until(lambda: flow.committed() == 200)
            await until(lambda: is_well(consumers))
    assert len(await flow.events()) == 200
    assert not said(lines, "consumer_failed", "consumer_begins_again")


async def test_a_broker_killed_between_the_two_commits_costs_duplicates_at_most(
    mortal_flow: Flow, mortal: KafkaServer
) -> None:
    flow = mortal_flow
    flow.orders(range(50))
    apply, is_up = flow.apply(), True

    async def then_killed(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        nonlocal is_up
        taken = await apply(batch)
        if is_up:
            await asyncio.to_thread(mortal.kill)
            is_up = False
        return taken

    async with members(flow, apply=then_killed):
        await until(lambda: not is_up)
        await asyncio.to_thread(mortal.start)
        await until(lambda: flow.committed() == 50)
    assert len(await flow.events()) == 50


async def test_a_silent_broker_holds_up_neither_the_loop_nor_its_end(
    mortal_flow: Flow, mortal: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "LEAVE_SECONDS", 1.0)
    monkeypatch.setattr(consumer, "_ASK_SECONDS", 0.5)
    monkeypatch.setattr(consume_module, "PENDING_SECONDS", 0.0)
    flow = mortal_flow
    apply = flow.apply()

    async def then_silent(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        taken = await apply(batch)
        mortal.pause()
        return taken

    with capture_logs() as lines:
        async with flow.consuming(apply=then_silent) as consume:
            flow.orders([1])
            while not await consume.run_once():  # with its commit, which nobody answers
                pass
            began_at = time.monotonic()
            assert await consume.run_once() == 0
            assert time.monotonic() - began_at < UNBOUNDED_SECONDS / 2
            assert said(lines, "pending_unknown")
            consume.end()
            ended_at = time.monotonic()
        assert time.monotonic() - ended_at < UNBOUNDED_SECONDS / 2
        assert said(lines, "group_not_left")
        mortal.resume()
        # What was left behind ends when it has its answer.
        await until(lambda: all(each.name != "kafka-consumer" for each in threading.enumerate()))
    async with members(flow):
        await until(lambda: flow.committed() == 1)
    assert len(await flow.events()) == 1


async def test_the_end_without_a_broker_is_quick(mortal_flow: Flow, mortal: KafkaServer) -> None:
    flow = mortal_flow
    with capture_logs() as lines:
        async with members(flow):
            flow.orders(range(10))
            await until(lambda: flow.committed() == 10)
            await asyncio.to_thread(mortal.kill)
            ended_at = time.monotonic()
    assert time.monotonic() - ended_at < UNBOUNDED_SECONDS / 2
    assert not said(lines, "group_not_left")


async def test_a_commit_that_failed_is_said_again_without_a_new_message(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.orders(range(10))
    messages = flow.membership()
    client: Any = messages._consumer
    commit = client.commit
    failures = 2

    async def fails_at_first(**offsets: Any) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            await messages._on_commit(KafkaError(KafkaError._TRANSPORT), [])
        else:
            await commit(**offsets)

    monkeypatch.setattr(client, "commit", fails_at_first)
    await messages.open()
    try:
        found = 0
        while found < 10:
            polled = await messages.poll(500, 0.5)
            await messages.commit(polled)
            found += len(polled)
        await messages.poll(500, 0.05)
        await messages.poll(500, 0.05)
        await until(lambda: flow.committed() == 10)
    finally:
        await messages.close()


@pytest.mark.usefixtures("unhurried")
async def test_a_commit_that_an_earlier_one_overtook_from_behind_is_said_again(flow: Flow) -> None:
    flow.orders(range(10))
    messages = flow.membership()
    await messages.open()
    try:
        polled: list[Message] = []
        while len(polled) < 10:
            polled += await messages.poll(500, 0.5)
        await messages.commit(polled)
        await until(lambda: flow.committed() == 10)
        # As by a broker that hung, and works off an old request when it wakes.
        earlier = [TopicPartition(message.topic, message.partition, 0) for message in polled]
        client: Any = messages._consumer
        await client.commit(offsets=earlier, asynchronous=False)
        assert flow.committed() == 0
        assert await messages.pending() == 10
        await messages.poll(500, 0.05)
        await until(lambda: flow.committed() == 10)
    finally:
        await messages.close()


# ── How far behind ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("unhurried")
async def test_what_is_pending_is_what_is_not_committed_of_this_members_share(flow: Flow) -> None:
    messages = flow.membership()
    await messages.open()
    try:
        assert await messages.pending() == 0  # no share yet
        flow.orders(range(40))
        found = [*await messages.poll(500, 5)]
        while len(found) < 40:
            found += await messages.poll(500, 1)
        assert await messages.pending() == 40
        by_partition = [[each for each in found if each.partition == at] for at in (0, 1)]
        await messages.commit(by_partition[0])
        await until(lambda: is_pending(messages, len(by_partition[1])))
        await messages.commit(by_partition[1])
        await until(lambda: is_pending(messages, 0))
        # A fetch that waits for messages would hold up each of them by 0.5; a busy machine some.
        await until(lambda: is_told_in(messages, 0.4))
    finally:
        await messages.close()


async def is_told_in(messages: KafkaMessages, seconds: float) -> bool:
    began_at = time.monotonic()
    await messages.pending()
    return time.monotonic() - began_at < seconds


async def is_pending(messages: KafkaMessages, count: int) -> bool:
    return await messages.pending() == count


async def test_the_lag_is_scraped_before_and_after_a_backlog_and_during_a_wait(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consume_module, "PENDING_SECONDS", 0.2)
    apply, is_away = flow.apply(), False

    async def perhaps(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        if is_away:
            raise Unavailable("OperationalError")
        return await apply(batch)

    def lag_is(count: int) -> bool:
        return flow.metric('webhooks_pending{space="order"}') == count

    async with flow.consuming(apply=perhaps) as consume, beside(consume):
        await until(lambda: lag_is(0))
        is_away = True
        flow.orders(range(70))
        await until(lambda: lag_is(70))
        is_away = False
        await until(lambda: lag_is(0))
    assert flow.committed() == 70


@pytest.mark.usefixtures("unhurried")
async def test_messages_beyond_the_retention_are_not_pending(flow: Flow) -> None:
    flow.orders(range(20))
    async with flow.consuming() as consume:
        await turned(consume, 20)
    flow.orders(range(20, 30))
    flow.drop_all()
    messages = flow.membership()
    await messages.open()
    try:
        while not messages._assigned:
            await messages.poll(1, 0.1)
        flow.orders(range(30, 33))
        await until(lambda: is_pending(messages, 3))
    finally:
        await messages.close()
