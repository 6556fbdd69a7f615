"""The loop around the memberships: how it ends, what it says while something hangs or fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs
from tenacity import wait_fixed

from payment_manager.adapters.kafka import consumer
from payment_manager.application.apply_webhooks import Taken, Webhook
from payment_manager.application.ports import Message, Space, Unavailable
from payment_manager.entrypoints.worker import consume as consume_module
from payment_manager.entrypoints.worker import consumers as module
from payment_manager.entrypoints.worker.consume import Consume
from payment_manager.entrypoints.worker.consumers import Consumers
from tests.worker.flow import (
    SECONDS_MAX,
    Around,
    Flow,
    Lines,
    is_well,
    members,
    said,
    until,
)

SESSION_SECONDS = 60.0
"""Who is not told that a member left waits for so long."""


async def test_the_end_commits_what_is_under_way_and_leaves_the_group_at_once(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "SESSION_SECONDS", SESSION_SECONDS)
    flow.orders(range(40))
    apply, begun = flow.apply(), asyncio.Event()

    async def slowly(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        begun.set()
        await asyncio.sleep(0.3)
        return await apply(batch)

    async with members(flow, apply=slowly):
        await begun.wait()
        ended_at = time.monotonic()
    assert flow.committed() == await flow.applied() > 0
    async with members(flow):
        await until(lambda: flow.committed() == 40)
        assert time.monotonic() - ended_at < SESSION_SECONDS / 2
    assert flow.metric('webhooks_total{outcome="duplicate",space="order"}') is None


async def test_the_end_during_a_wait_for_the_database_is_quick_and_loses_nothing(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.orders(range(5))

    async def away(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        raise Unavailable("OperationalError")

    with capture_logs() as lines, monkeypatch.context() as patched:
        patched.setattr(consume_module, "wait_random_exponential", lambda **_: wait_fixed(600))
        async with members(flow, apply=away):
            await until(lambda: said(lines, "consumer_waits"))
            ended_at = time.monotonic()
    assert time.monotonic() - ended_at < 60  # and not 600
    assert said(lines, "batch_abandoned")
    assert flow.committed() == 0
    async with members(flow):
        await until(lambda: flow.committed() == 5)


async def test_the_end_while_stopped_is_quick(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consume_module, "LONGEST_WAIT_SECONDS", 600.0)
    flow.poison(5)
    async with members(flow, percent=0):
        await until(lambda: flow.metric('consumer_stopped{space="order"}') == 1)
        ended_at = time.monotonic()
    assert time.monotonic() - ended_at < 60  # and not 600
    assert flow.committed() == 0


async def test_the_end_comes_before_the_first_poll_too(flow: Flow) -> None:
    async with asyncio.timeout(SECONDS_MAX), members(flow):
        pass


async def test_a_loop_that_hangs_is_stuck_for_the_liveness_probe(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.orders([1])
    apply, may_go_on = flow.apply(), asyncio.Event()

    async def hangs(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        await may_go_on.wait()
        return await apply(batch)

    async with members(flow, apply=hangs) as consumers:
        assert consumers.liveness() == {"order_consumer": "ok"}
        monkeypatch.setattr(module, "STUCK_SECONDS", 1.5)
        await until(lambda: consumers.liveness() == {"order_consumer": "stuck"})
        may_go_on.set()
        await until(lambda: consumers.liveness() == {"order_consumer": "ok"})


async def test_waiting_is_not_hanging(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK_SECONDS", 1.2)
    flow.orders([1])

    async def away(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        raise Unavailable("OperationalError")

    with capture_logs() as lines:
        async with members(flow, apply=away) as consumers:
            await until(lambda: said(lines, "consumer_waits"))
            # One that hangs would be stuck from then on; a busy machine is late now and then.
            await asyncio.sleep(module.STUCK_SECONDS + 0.6)
            await until(lambda: consumers.liveness() == {"order_consumer": "ok"})


class FailsToPoll(Around):
    async def poll(self, limit: int, wait_seconds: float) -> Sequence[Message]:
        raise ZeroDivisionError


class FailsToCommit(Around):
    async def poll(self, limit: int, wait_seconds: float) -> Sequence[Message]:
        # Until it has joined the group: a poll without messages is a turn, and no failure.
        while not (found := await self.messages.poll(limit, wait_seconds)):
            pass
        return found

    async def commit(self, messages: Sequence[Message]) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize("fails", [FailsToPoll, FailsToCommit])
async def test_a_membership_that_fails_again_and_again_is_told_by_the_liveness_probe(
    flow: Flow, fails: type[Around], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STUCK_SECONDS", 2.0)
    monkeypatch.setattr(module, "BEGIN_AGAIN_SECONDS", 0.1)
    flow.orders(range(3))
    with capture_logs() as lines:
        async with members(flow, around=fails) as consumers:
            await until(lambda: len(failures(lines)) > 1)
            await until(lambda: consumers.liveness() == {"order_consumer": "stuck"})
    assert failures(lines)[0]["space"] == "order"


def failures(lines: Lines) -> Lines:
    return [line for line in lines if line["event"] == "consumer_failed"]


async def test_a_membership_that_fails_is_followed_by_another_after_a_pause(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEGIN_AGAIN_SECONDS", 0.5)
    flow.orders(range(3))
    wrappers = iter([FailsToPoll, FailsToCommit, Lost])
    began_at = time.monotonic()
    with capture_logs() as lines:
        async with members(flow, around=lambda real: next(wrappers, Around)(real)) as consumers:
            await until(lambda: said(lines, "consumer_failed"))
            assert await consumers.checks() == {"order_consumer": "degraded: not consuming"}
            await until(lambda: flow.committed() == 3)
            assert await is_well(consumers)
    assert time.monotonic() - began_at > 1.5
    assert [line["reason"] for line in lines if line["event"] == "consumer_begins_again"] == [
        "poll: _FATAL"
    ]
    assert len(await flow.events()) == 3


class Lost(Around):
    async def poll(self, limit: int, wait_seconds: float) -> Sequence[Message]:
        raise Unavailable("poll: _FATAL")


async def test_one_space_that_fails_leaves_the_other_alone(flow: Flow) -> None:
    @asynccontextmanager
    async def never_opens() -> AsyncIterator[Consume]:
        raise ConnectionError
        yield

    flow.orders(range(3))
    consumers = Consumers({Space.ORDER: flow.consuming, Space.DISPUTE: never_opens})
    async with consumers.running():
        await until(lambda: flow.committed() == 3)
        assert await consumers.checks() == {
            "order_consumer": "ok",
            "dispute_consumer": "degraded: not consuming",
        }
