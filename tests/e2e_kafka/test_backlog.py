"""Webhooks are taken while nobody consumes them, and applied when somebody does."""

import asyncio

from tests.e2e.chaos import assert_nothing_lost
from tests.e2e_kafka.conftest import Deploy


async def test_a_backlog_without_a_consumer_is_applied_when_one_comes(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.taking.start()
    load = deployment.load()
    async with load.flowing():
        await load.more(1500)
    assert load.answers.keys() == {202}
    assert deployment.topics.pending() == load.answers[202]

    await asyncio.to_thread(deployment.api.start)
    deployment.settled()
    assert_nothing_lost(deployment.api, load)
    deployment.stop()
