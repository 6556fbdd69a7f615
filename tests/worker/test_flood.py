"""A flood of poison stops the consumer before it has put everything aside; a drizzle does not."""

from structlog.testing import capture_logs

from tests.worker.flow import Flow, beside, members, turned, until


async def test_a_flood_stops_the_consumer_and_a_higher_limit_lets_it_go_on(flow: Flow) -> None:
    flow.orders(range(50))
    flow.poison(300)
    flow.orders(range(50, 60))
    with capture_logs() as lines:
        async with members(flow, percent=10, batch_max=50) as consumers:
            await until(lambda: flow.metric('consumer_stopped{space="order"}') == 1)
            assert await consumers.checks() == {
                "order_consumer": "degraded: stopped, too many dead letters"
            }
            assert consumers.liveness() == {"order_consumer": "ok"}
            # What was done with before; the last commit of it may still be on its way.
            stopped_at = counted(flow)
            await until(lambda: flow.committed() == stopped_at)
            dead = len(flow.dead())
    [stopped] = [line for line in lines if line["event"] == "consumer_stopped"]
    assert stopped["first_error_class"] == "InvalidInput"
    assert 0 < dead <= 100
    assert flow.metric('consumer_stopped{space="order"}') == 0
    assert flow.committed() == stopped_at
    assert len(flow.dead()) == dead
    async with flow.consuming(percent=100) as consume:
        await turned(consume, 360 - stopped_at)
    assert await flow.applied() == 60
    assert len(flow.dead()) == 300


def counted(flow: Flow) -> int:
    outcomes = ("applied", "duplicate", "dead_lettered")
    names = [f'webhooks_total{{outcome="{outcome}",space="order"}}' for outcome in outcomes]
    return int(sum(flow.metric(name) or 0 for name in names))


async def test_a_flood_of_messages_one_at_a_time_stops_at_the_limit_too(flow: Flow) -> None:
    flow.poison(120)
    async with flow.consuming(percent=10, batch_max=1) as consume, beside(consume):
        await until(lambda: consume.stopped)
    assert len(flow.dead()) == flow.committed() == 100


async def test_one_percent_of_poison_never_stops_a_long_flow(flow: Flow) -> None:
    for first in range(0, 3000, 100):
        flow.orders(range(first, first + 99))
        flow.poison(1)
    async with flow.consuming(percent=2, batch_max=70) as consume:
        await turned(consume, 3000)
        assert not consume.stopped
    assert await flow.applied() == 2970
    assert len(flow.dead()) == 30


async def test_what_stopped_one_member_stops_the_one_that_is_given_it(flow: Flow) -> None:
    flow.poison(200)
    async with flow.consuming(percent=1) as first, beside(first):
        await until(lambda: first.stopped)
    async with flow.consuming(percent=1) as second, beside(second):
        await until(lambda: second.stopped)
    assert flow.committed() == 0
    assert flow.dead() == []
