"""Webhooks are taken while nobody consumes them, and applied when somebody does."""

import asyncio

from tests.e2e.service import eventually
from tests.e2e_kafka.chaos import assert_settles
from tests.e2e_kafka.conftest import Deploy


async def test_a_backlog_is_worked_off_by_a_consumer_that_comes_late_and_is_killed_in_its_middle(
    deploy: Deploy,
) -> None:
    deployment = deploy()
    topics, api = deployment.topics, deployment.api
    deployment.taking.start()
    load = deployment.load(connections=32)
    async with load.flowing():
        await load.more(5000)
    assert load.answers.keys() == {202}
    assert topics.pending() == load.answers[202]

    await asyncio.to_thread(api.start)
    eventually(lambda: deployment.metric(api, "webhooks_total") > 0, timeout=30)
    deployment.kill(api)
    assert topics.pending() > 0
    await asyncio.to_thread(api.start)
    assert_settles(deployment, load)
    deployment.stop()
