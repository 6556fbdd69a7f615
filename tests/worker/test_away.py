"""Passing trouble is waited out: nothing moves, nothing is lost, nobody leaves the group."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from payment_manager.adapters.clock import SystemClock
from payment_manager.adapters.kafka import dead_letters
from payment_manager.adapters.kafka.connection import client_config
from payment_manager.adapters.kafka.dead_letters import KafkaDeadLetters
from payment_manager.adapters.postgres import migrate
from payment_manager.adapters.postgres.embedded import EmbeddedPostgres
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.pool import opened_pool
from payment_manager.application.apply_webhooks import Taken, Webhook
from payment_manager.application.ports import DeadLetter, Unavailable
from tests.conftest import SERVER_SETTINGS
from tests.worker.flow import (
    SECONDS_MAX,
    Broker,
    Flow,
    Lines,
    beside,
    is_well,
    members,
    said,
    turned,
    until,
)


@pytest.fixture
def quick_put(monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter that is not acknowledged is given up sooner than in service."""
    monkeypatch.setattr(dead_letters, "PUT_SECONDS", 1.0)


async def test_a_database_that_is_away_is_waited_for_with_the_partitions_held(flow: Flow) -> None:
    flow.orders(range(10))
    apply, attempts = flow.apply(), 0

    async def away_at_first(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        nonlocal attempts
        attempts += 1
        if attempts <= 5:
            flow.orders([100 + attempts])  # none of these may be fetched meanwhile
            raise Unavailable("OperationalError")
        return await apply(batch)

    with capture_logs() as lines:
        async with flow.consuming(apply=away_at_first) as consume:
            done = await consume.run_once() or await consume.run_once()
            assert consume.waits_for is None
            await turned(consume, 15 - done)
    assert await flow.applied() == flow.committed() == 15
    assert flow.dead() == []
    events = [line["event"] for line in lines]
    assert events.count("partitions_assigned") == 1
    assert events.count("consumer_waits") == 4
    # The one at the end belongs to leaving.
    assert events.index("partitions_revoked") > events.index("consumer_waits")
    assert events.count("partitions_revoked") == 1


@asynccontextmanager
async def own_postgres(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder, settings=SERVER_SETTINGS)
    url = await server.start()
    try:
        await asyncio.to_thread(migrate.upgrade, url)
        yield server
    finally:
        await server.stop()


async def test_postgresql_stopped_and_started_again_is_survived_and_told(
    flow: Flow, tmp_path: Path
) -> None:
    async with own_postgres(tmp_path) as server, opened_pool(server.url, 4) as pool:
        await NativePartitions(pool).maintain(SystemClock().now())
        flow.pool = pool
        async with members(flow) as consumers:
            flow.orders(range(20))
            await until(lambda: flow.committed() == 20)
            with capture_logs() as lines:
                await server.stop()
                flow.orders(range(20, 60))
                await until(lambda: said(lines, "consumer_waits"))
                checks = await consumers.checks()
                assert checks["order_consumer"].startswith("degraded: waits, ")
                assert consumers.liveness() == {"order_consumer": "ok"}
                assert flow.committed() == 20
                await server.start()
                await until(lambda: flow.committed() == 60)
                await until(lambda: is_well(consumers))
                assert not said(lines, "partitions_revoked")
        assert await flow.applied() == 60
        assert flow.dead() == []


# ── Dead letters that can't be written ────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("quick_put")
async def test_without_a_topic_of_dead_letters_nothing_moves_until_there_is_one(
    bare_flow: Flow,
) -> None:
    flow = bare_flow
    flow.make_topic(flow.topic, 2)
    flow.orders(range(5))
    flow.poison(2)
    flow.orders(range(5, 10))
    with capture_logs() as lines:
        async with flow.consuming() as consume, beside(consume):
            await until(lambda: said(lines, "dead_letters_refused"))
            assert flow.metric('dead_letters_refused{space="order"}') == 1
            assert consume.waits_for is not None
            assert consume.waits_for.startswith("dead letters: ")
            assert flow.committed() < 12
            assert not consume.stopped
            flow.make_topic(flow.dead_topic, 1)
            await until(lambda: flow.committed() == 12)
            assert flow.metric('dead_letters_refused{space="order"}') == 0
    assert await flow.applied() == 10
    # One that is given up after a second may be there all the same, and is put once more.
    assert {letter.value for letter in flow.dead()} == {b"poison 0", b"poison 1"}
    assert not said(lines[: lines.index(refused(lines))], "partitions_revoked")


def refused(lines: Lines) -> MutableMapping[str, Any]:
    return next(line for line in lines if line["event"] == "dead_letters_refused")


def reasons(lines: Lines) -> list[str]:
    return [line["reason"] for line in lines if line["event"] == "dead_letters_refused"]


async def test_one_letter_that_its_topic_refuses_holds_everything_and_copies_none_of_the_others(
    bare_flow: Flow,
) -> None:
    flow = bare_flow
    flow.make_topic(flow.topic, 2)
    flow.make_topic(flow.dead_topic, 1, max_message_bytes="5000")
    flow.poison(3, key="one partition")
    flow.message(b"x" * 20_000, b"one partition")
    flow.orders(range(3))
    with capture_logs() as lines:
        async with flow.consuming() as consume, beside(consume):
            await until(lambda: reasons(lines).count("dead letters: MSG_SIZE_TOO_LARGE") >= 5)
            assert flow.committed() <= 3  # the other partition's, at most
            assert flow.metric('dead_letters_refused{space="order"}') == 1
            flow.set_topic(flow.dead_topic, max_message_bytes="50000")
            await until(lambda: flow.committed() == 7)
    assert await flow.applied() == 3
    assert len(flow.dead()) == 4
    assert flow.metric('webhooks_total{outcome="dead_lettered",space="order"}') == 4


class SilentLetters:
    """Takes letters, and says nothing."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def test_no_offset_moves_while_a_dead_letter_is_not_acknowledged(flow: Flow) -> None:
    flow.poison(3)
    silent = SilentLetters()
    async with flow.consuming(dead_letters=silent) as consume:
        turning = asyncio.create_task(turned(consume, 3))
        await silent.asked.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(turning, 0.5)
    assert flow.committed() == 0
    async with flow.consuming() as consume:
        await turned(consume, 3)
    assert len(flow.dead()) == 3


@pytest.mark.usefixtures("quick_put")
async def test_letters_with_a_broker_that_is_away_are_refused_in_time(flow: Flow) -> None:
    flow.poison(1)
    nobody = KafkaDeadLetters(client_config(Broker("127.0.0.1:1")))
    seen: list[DeadLetter] = []

    class Recorded:
        async def put(self, letters: Sequence[DeadLetter]) -> None:
            seen.extend(letters)

    async with flow.consuming(dead_letters=Recorded()) as consume:
        await turned(consume, 1)
    async with asyncio.timeout(SECONDS_MAX):
        with pytest.raises(Unavailable, match="dead letters: "):
            await nobody.put(seen)
    await nobody.close()
