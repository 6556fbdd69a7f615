"""Members come, go and die while messages flow: every message is applied, and has one effect."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from structlog.testing import capture_logs

from payment_manager.adapters.kafka import consumer
from payment_manager.adapters.kafka.consumer import KafkaMessages
from payment_manager.application.apply_webhooks import Taken, Webhook
from payment_manager.application.ports import Message, Unavailable
from payment_manager.entrypoints.worker.consumers import Consumers
from tests.worker.flow import SECONDS_MAX, Flow, Lines, members, said, until


async def all_applied_once(flow: Flow, count: int) -> None:
    await until(lambda: flow.committed() == count)
    events = await flow.events()
    assert len(events) == len({event.order_id for event in events}) == count
    assert flow.dead() == []


async def test_a_member_joins_and_one_leaves_while_messages_flow(flow: Flow) -> None:
    sent = 0

    async def send() -> None:
        nonlocal sent
        await asyncio.to_thread(flow.orders, range(sent, sent + 200))
        sent += 200

    with capture_logs() as lines:
        async with AsyncExitStack() as second:
            async with members(flow, batch_max=20):
                await send()
                await until(lambda: flow.committed() > 0)
                await send()
                await second.enter_async_context(members(flow, batch_max=20))
                await send()
                await until(lambda: shares(lines)[-2:] == [1, 1])
                await send()
                await until(lambda: flow.committed() > 600)
                await send()
            # The first has left.
            await send()
            await until(lambda: shares(lines)[-1] == 2)
            await all_applied_once(flow, sent)
    assert not said(lines, "consumer_failed", "consumer_begins_again", "not_committed")


def shares(lines: Lines) -> list[int]:
    """How many partitions were given to a member, one time after the other."""
    assigned = [line["partitions"] for line in lines if line["event"] == "partitions_assigned"]
    return [len(partitions) for partitions in assigned if isinstance(partitions, list)]


def members_with_word(lines: Lines) -> int:
    """How many know their share now: one that waits for the group's next word does not."""
    words = [line["event"] for line in lines]
    return words.count("partitions_assigned") - words.count("partitions_revoked")


async def test_a_member_that_is_killed_between_the_two_commits_leaves_nothing_behind(
    flow: Flow, topic_prefix: str, database_url: str
) -> None:
    flow.orders(range(100))
    doomed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.worker.doomed", flow.brokers, topic_prefix, database_url),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert doomed.stdout is not None
        async with asyncio.timeout(SECONDS_MAX):
            while not (line := await doomed.stdout.readline()).startswith(b"applied"):
                assert line, "it ended by itself"
        applied = int(line.split()[1])
        async with members(flow):
            doomed.kill()
            await all_applied_once(flow, 100)
    finally:
        if doomed.returncode is None:
            os.kill(doomed.pid, signal.SIGKILL)
        await doomed.wait()
    assert flow.metric('webhooks_total{outcome="duplicate",space="order"}') == applied


async def test_a_rebalance_during_a_wait_gives_the_batch_to_whoever_has_it_then(
    flow: Flow,
) -> None:
    flow.orders(range(60))
    apply, is_away = flow.apply(), True

    async def away(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        if is_away:
            raise Unavailable("OperationalError")
        return await apply(batch)

    with capture_logs() as lines:
        async with members(flow, apply=away) as waiting:
            await until(lambda: said(lines, "consumer_waits"))
            async with members(flow):
                await until(lambda: said(lines, "batch_abandoned"))
                await until(lambda: flow.committed() > 0)
                share = flow.committed()
                assert 0 < share < 60
                await until(lambda: waits(waiting))
                is_away = False
                await all_applied_once(flow, 60)
    assert flow.metric('webhooks_total{outcome="duplicate",space="order"}') is None
    assert not said(lines, "consumer_failed", "consumer_begins_again")


async def waits(consumers: Consumers) -> bool:
    return (await consumers.checks())["order_consumer"].startswith("degraded: waits, ")


@asynccontextmanager
async def opened(flow: Flow, **client: object) -> AsyncIterator[KafkaMessages]:
    messages = flow.membership(**client)
    try:
        await messages.open()
        yield messages
    finally:
        await messages.close()


async def polled(messages: KafkaMessages, count: int) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(SECONDS_MAX):
        while len(found) < count:
            found += await messages.poll(500, 0.5)
    return found


async def polled_places(messages: KafkaMessages, count: int) -> None:
    """Until so many were polled, those that come again counted once."""
    places: set[tuple[int, int]] = set()
    async with asyncio.timeout(SECONDS_MAX):
        while len(places) < count:
            found = await messages.poll(500, 0.5)
            places.update((message.partition, message.offset) for message in found)
    assert len(places) == count


async def test_an_assignment_that_comes_while_held_is_held_too(flow: Flow) -> None:
    flow.orders(range(50))
    async with opened(flow) as first:
        await polled(first, 50)
        async with opened(flow) as second, first.held():
            joining = asyncio.create_task(polled(second, 1))
            async with asyncio.timeout(SECONDS_MAX):
                while await first.stay(0.2):
                    pass
            found = await joining
            flow.orders(range(50, 80))
            async with asyncio.timeout(SECONDS_MAX):
                while not first._assigned:
                    assert not await first.stay(0.2)
            for _ in range(4):  # a message would raise
                assert not await first.stay(0.2)
        # The second has left; all of it is the first's again, from the beginning. What the first
        # polls of its share before it hears of that comes twice.
        assert found
        await polled_places(first, 80)


async def test_a_share_that_was_lost_during_a_hold_and_comes_back_after_it_is_fetched(
    flow: Flow,
) -> None:
    flow.orders(range(50))
    async with opened(flow) as first:
        await polled(first, 50)
        async with opened(flow) as second:
            joining = asyncio.create_task(polled(second, 1))
            async with first.held(), asyncio.timeout(SECONDS_MAX):
                while await first.stay(0.01):  # hardly longer than to hear that the share is gone
                    pass
            await polled(first, 1)
            await joining
        await polled_places(first, 50)


async def test_a_hold_without_any_partition_is_none_and_ends_as_none(flow: Flow) -> None:
    nobody = "127.0.0.1:9"  # a broker would soon give it some
    async with opened(flow, bootstrap_servers=nobody) as messages, messages.held():
        assert await messages.stay(0.01)


async def test_after_a_hold_the_next_poll_goes_on_where_the_last_one_ended(flow: Flow) -> None:
    flow.orders(range(30))
    async with opened(flow) as messages:
        first = [*await polled(messages, 1)]
        async with messages.held():
            flow.orders(range(30, 40))
            for _ in range(3):
                assert await messages.stay(0.1)
        rest = await polled(messages, 40 - len(first))
        places = [(message.partition, message.offset) for message in [*first, *rest]]
        assert len(places) == len(set(places)) == 40


async def test_a_member_too_slow_for_its_group_commits_quietly_and_joins_again(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its share was given away while it applied; what it applied are duplicates for the other."""
    in_service = consumer.SESSION_SECONDS
    monkeypatch.setattr(consumer, "SESSION_SECONDS", 1.0)
    flow.orders(range(20))
    with capture_logs() as lines:
        async with opened(flow, max_poll_interval_ms=1000) as slow:
            found = await polled(slow, 20)
            monkeypatch.setattr(consumer, "SESSION_SECONDS", in_service)  # the other is to stay
            async with members(flow):
                await all_applied_once(flow, 20)
                flow.orders(range(20, 40))
                await all_applied_once(flow, 40)
                await slow.commit(found)
                async with asyncio.timeout(SECONDS_MAX):
                    # Who does not poll does not join, and after a second is out again.
                    while members_with_word(lines) < 2 or shares(lines)[-2:] != [1, 1]:
                        await slow.poll(500, 0.1)
                # Its late commit has moved nothing back.
                assert flow.committed() == 40


async def test_a_member_that_hears_nothing_of_its_group_is_replaced(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = flow.membership(bootstrap_servers="127.0.0.1:9")
    await messages.open()
    try:
        assert await messages.poll(10, 0.3) == []
        monkeypatch.setattr(consumer, "JOIN_SECONDS", 0.2)
        with pytest.raises(Unavailable, match="no word of the group"):
            await messages.poll(10, 0.1)
    finally:
        await messages.close()


async def test_a_member_that_is_given_no_partition_is_left_alone(
    bare_flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_flow.make_topics(partitions=1)
    first, second = bare_flow.membership(), bare_flow.membership()
    with capture_logs() as lines:
        for messages in (first, second):
            await messages.open()
        try:
            # Two shares may be of two assignments, while a member waits for its word of the second.
            while members_with_word(lines) < 2 or sorted(shares(lines)[-2:]) != [0, 1]:
                await asyncio.gather(first.poll(10, 0.1), second.poll(10, 0.1))
            monkeypatch.setattr(consumer, "JOIN_SECONDS", 0.2)
            await asyncio.sleep(0.3)
            await asyncio.gather(first.poll(10, 0.1), second.poll(10, 0.1))
        finally:
            await asyncio.gather(first.close(), second.close())
