"""A poll is a batch: one transaction, its offsets after it, and the order of each key kept."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError
from confluent_kafka import Message as KafkaMessage
from structlog.testing import capture_logs

from payment_manager.adapters.kafka.consumer import KafkaMessages
from payment_manager.application.apply_webhooks import Taken, Webhook
from payment_manager.application.ports import Message, Messages, Space, Unavailable
from payment_manager.domain.dispute_id import dispute_id_of
from tests.webhooks import as_webhook, chargeback_webhook, order_webhook
from tests.worker.flow import Around, Flow, beside, turned


async def test_a_poll_is_one_transaction_and_its_offsets_follow(flow: Flow) -> None:
    flow.orders(range(400))
    polls = 0
    async with flow.consuming() as consume:
        done = 0
        while done < 400:
            found = await consume.run_once()
            done, polls = done + found, polls + bool(found)
    assert flow.committed() == 400  # leaving waits for a commit on its way
    assert await flow.applied() == 400
    assert flow.metric("webhook_batch_size_count") == polls
    assert flow.metric("webhook_batch_size_sum") == 400
    assert flow.metric('webhooks_total{outcome="applied",space="order"}') == 400
    assert polls <= 4


async def test_a_poll_is_at_most_the_largest_batch(flow: Flow) -> None:
    flow.orders(range(25))
    apply, sizes = flow.apply(), list[int]()

    async def measured(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        sizes.append(len(batch))
        return await apply(batch)

    async with flow.consuming(apply=measured, batch_max=10) as consume:
        await turned(consume, 25)
    assert max(sizes) <= 10


async def test_nothing_is_committed_before_the_database_has_it(flow: Flow) -> None:
    flow.orders(range(10))
    apply = flow.apply()

    async def look_then_apply(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        # Less, while the last batch's commit is on its way: nobody waits for that.
        assert await asyncio.to_thread(flow.committed) <= await flow.applied()
        return await apply(batch)

    async with flow.consuming(apply=look_then_apply, batch_max=5) as consume:
        await turned(consume, 10)
    assert flow.committed() == 10


class CrashesBeforeCommit(Around):
    async def commit(self, messages: Sequence[Message]) -> None:
        raise asyncio.CancelledError  # as far as a process comes that is killed here


async def test_a_crash_between_the_two_commits_leads_to_duplicates_without_effect(
    flow: Flow,
) -> None:
    flow.orders(range(50))
    with pytest.raises(asyncio.CancelledError):
        async with flow.consuming(around=CrashesBeforeCommit) as consume:
            await turned(consume, 50)
    before = await flow.events()
    assert before
    assert flow.committed() == 0
    async with flow.consuming() as consume:
        await turned(consume, 50)
    assert len(await flow.events()) == 50
    assert {event.sequence for event in await flow.events()} == {1}
    assert flow.metric('webhooks_total{outcome="duplicate",space="order"}') == len(before)
    assert flow.committed() == 50


class RefusesCommits(Around):
    refusals = 2

    async def commit(self, messages: Sequence[Message]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("commit: no broker")
        await self.messages.commit(messages)


async def test_a_commit_that_fails_is_repeated_and_the_batch_not_applied_again(flow: Flow) -> None:
    flow.orders(range(5))
    async with flow.consuming(around=RefusesCommits, batch_max=5) as consume:
        await turned(consume, 5)
    assert flow.committed() == 5
    assert flow.metric('webhooks_total{outcome="duplicate",space="order"}') is None


async def test_the_order_of_each_key_is_kept_over_many_polls(flow: Flow) -> None:
    sent = defaultdict(list)
    bodies = []
    for minute in range(40):
        for order in range(12):
            event = f"evt-{order}-{minute}"
            sent[f"ord-{order}"].append(event)
            bodies.append(
                order_webhook(
                    f"ord-{order}",
                    "updated",
                    minute,
                    provider_event_id=event,
                    user_id=f"00000000-0000-0000-0000-{order:012d}",
                )
            )
    flow.webhooks(*bodies)
    async with flow.consuming(batch_max=37) as consume:
        await turned(consume, len(bodies))
    logged = defaultdict(list)
    for order_id, sequence, provider_event_id, _ in await flow.events():
        logged[order_id].append(provider_event_id)
        assert sequence == len(logged[order_id])
    assert logged == sent


async def test_a_new_group_begins_at_the_first_message(flow: Flow) -> None:
    flow.orders(range(3))
    async with flow.consuming() as consume:
        await turned(consume, 3)
    flow.group += "-another"
    async with flow.consuming() as consume:
        await turned(consume, 3)
    assert flow.metric('webhooks_total{outcome="duplicate",space="order"}') == 3


async def test_a_group_with_a_past_begins_where_it_was(flow: Flow) -> None:
    for first in (0, 3, 6):
        flow.orders(range(first, first + 3))
        async with flow.consuming() as consume:
            await turned(consume, 3)
    assert flow.metric('webhooks_total{outcome="applied",space="order"}') == 9
    assert flow.metric('webhooks_total{outcome="duplicate",space="order"}') is None


async def test_the_correlation_id_goes_from_the_header_into_the_event_and_the_log(
    flow: Flow,
) -> None:
    flow.webhooks(order_webhook("given"), correlation_id=b"call-7")
    flow.webhooks(order_webhook("none"), correlation_id=None)
    flow.webhooks(order_webhook("invalid"), correlation_id=b"no spaces, please")
    flow.webhooks(order_webhook("binary"), correlation_id=b"\xff\x00")
    with capture_logs() as lines:
        async with flow.consuming() as consume:
            await turned(consume, 4)
    in_events = {event.order_id: event.correlation_id for event in await flow.events()}
    in_log = {
        line["order_id"]: line["correlation_id"] for line in lines if line["event"] == "webhook"
    }
    assert in_events == in_log
    assert in_events.pop("given") == "call-7"
    assert all(re.fullmatch("[0-9a-f]{32}", made) for made in in_events.values())
    assert len(set(in_events.values())) == 3


async def test_chargebacks_come_from_their_own_topic_and_wait_for_their_order(flow: Flow) -> None:
    flow.space = Space.DISPUTE
    flow.webhooks(chargeback_webhook("ord-1"), chargeback_webhook("ord-2"))
    await flow.apply()([as_webhook(order_webhook("ord-1"))])
    with capture_logs() as lines:
        async with flow.consuming() as consume:
            await turned(consume, 2)
    told = {line["order_id"]: line for line in lines if line["event"] == "webhook"}
    assert told["ord-1"]["outcome"] == "applied"
    assert told["ord-2"]["outcome"] == "parked"
    assert told["ord-2"]["dispute_id"] == str(dispute_id_of("ord-2"))
    assert flow.metric('webhooks_total{outcome="parked",space="dispute"}') == 1


async def test_the_end_lets_a_batch_finish_and_commits_it(flow: Flow) -> None:
    flow.orders(range(5))
    apply, begun, may_go_on = flow.apply(), asyncio.Event(), asyncio.Event()

    async def slowly(batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        begun.set()
        await may_go_on.wait()
        return await apply(batch)

    async with flow.consuming(apply=slowly) as consume, beside(consume) as running:
        await begun.wait()
        consume.end()
        may_go_on.set()
        await running
    assert flow.committed() == await flow.applied() > 0


@pytest.mark.parametrize("fatal", [False, True])
async def test_messages_of_a_poll_survive_an_error_among_them(flow: Flow, fatal: bool) -> None:
    """Dropped, they would be missed by everybody: the client has moved on behind them."""
    flow.orders(range(20))
    async with flow.consuming(around=lambda real: WithAnError(real, fatal)) as consume:
        if fatal:
            with pytest.raises(Unavailable):
                await turned(consume, 20)
            assert flow.committed() == 0
        else:
            await turned(consume, 20)
    async with flow.consuming() as consume:
        await turned(consume, 20 if fatal else 0)
    assert await flow.applied() == flow.committed() == 20


class WithAnError(Around):
    """The client's own answer, with an error beside the messages."""

    def __init__(self, messages: Messages, fatal: bool) -> None:
        super().__init__(messages)
        assert isinstance(messages, KafkaMessages)
        client: Any = messages._consumer
        consume = client.consume
        code = KafkaError._FATAL if fatal else KafkaError._ALL_BROKERS_DOWN

        async def with_an_error(*args: Any, **more: Any) -> list[Any]:
            found: list[Any] = await consume(*args, **more)
            error = KafkaMessage(error=KafkaError(code, "for the test", fatal))
            return [found[0], error, *found[1:]] if found else []

        client.consume = with_an_error
