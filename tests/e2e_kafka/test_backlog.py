"""Webhooks are taken while nobody consumes them, and applied when somebody does."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from payment_manager.adapters.postgres.embedded import running_url
from payment_manager.adapters.postgres.statements import SQL
from tests.e2e.service import Service, eventually
from tests.e2e_kafka.chaos import TAKEN, assert_settles
from tests.e2e_kafka.conftest import Deploy


async def test_a_backlog_is_worked_off_by_a_consumer_that_comes_late_and_is_killed_in_its_middle(
    deploy: Deploy,
) -> None:
    # A batch is a small part of the backlog, so that there are some before its last order.
    deployment = deploy(api_consumes=False, WEBHOOK_BATCH_MAX="50")
    topics, api = deployment.topics, deployment.api
    consumer = deployment.worker()
    deployment.taking.start()
    load = deployment.load(connections=32)
    async with load.flowing():
        await load.more(5000)
    assert load.answers.keys() <= TAKEN
    assert topics.pending() >= load.answers[202]

    await asyncio.to_thread(api.start)
    _, last_order, _ = list(load.acknowledged)[-1]
    # However long it takes until the kill: it can't get past this order.
    with held(api, last_order):
        await asyncio.to_thread(consumer.start)
        eventually(lambda: deployment.metric(consumer, "webhooks_total") > 0, timeout=60)
        deployment.kill(consumer)
        assert topics.pending() > 0
    await asyncio.to_thread(consumer.start)
    assert_settles(deployment, load)
    deployment.stop()


@contextmanager
def held(service: Service, order_id: str) -> Iterator[None]:
    """The order is locked meanwhile, as a transaction locks it that changes it."""
    url = running_url(service.data_dir)
    assert url is not None
    with psycopg.connect(url) as connection:
        connection.execute(SQL["lock_orders"].encode(), {"order_ids": [order_id]})
        yield
