"""The broker away, without a word or altogether: honest answers in time, and nothing lost."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.kafka_server import KafkaServer
from tests.e2e.load import Load
from tests.e2e.service import eventually
from tests.e2e.wire import CHARGEBACKS, ORDERS, problem_of, send
from tests.e2e_kafka.chaos import assert_settles
from tests.e2e_kafka.deployment import Deployment
from tests.e2e_kafka.topics import Topics
from tests.webhooks import chargeback_webhook, order_webhook

AWAY_SECONDS = 30.0
"""Many times of what Ingest and consumers wait for at most, and of a member's time-out."""

ANSWER_SECONDS_MAX = 2.0
"""The contract's."""

PER_SECOND = 60


@pytest.fixture
def deployment(own_kafka: KafkaServer, tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path, Topics(own_kafka.brokers, "away"))
    try:
        yield deployment.start()
        deployment.stop()
    finally:
        deployment.clean_up()


async def test_a_broker_that_hangs_and_one_that_dies_cost_no_webhook_and_no_answer_takes_long(
    deployment: Deployment, own_kafka: KafkaServer
) -> None:
    load = deployment.load(per_second=PER_SECOND, retry_seconds=0.2)
    async with load.flowing():
        for leave, come_back in (
            (own_kafka.pause, own_kafka.resume),
            (own_kafka.kill, own_kafka.start),
        ):
            await load.more(100)
            # What is looked at meanwhile must be there: an order that was applied.
            await asyncio.to_thread(eventually, lambda: applied(deployment), timeout=60)
            await asyncio.to_thread(leave)  # beside the load, whose answers are timed
            await asyncio.to_thread(look_around_for, deployment, load, AWAY_SECONDS)
            await asyncio.to_thread(come_back)
            await load.more(100, timeout=60)
            await asyncio.to_thread(eventually, lambda: all_well(deployment), timeout=60)
    assert load.answers.keys() == {202, 503}
    assert load.slowest_seconds < ANSWER_SECONDS_MAX
    assert_settles(deployment, load)


def all_well(deployment: Deployment) -> bool:
    return all(
        set(client.get("/health/ready").json()["checks"].values()) == {"ok"}
        for client in (deployment.webhooks, deployment.operators)
    )


def look_around_for(deployment: Deployment, load: Load, seconds: float) -> None:
    """What is answered meanwhile, by both services."""
    deadline = time.monotonic() + seconds
    refused_before = load.answers[503]
    [some_order] = applied(deployment)
    order_id = some_order["order_id"]
    webhooks, operators = deployment.webhooks, deployment.operators
    # Refused before the broker is asked.
    bad = [(ORDERS, order_webhook(status="paid")), (CHARGEBACKS, chargeback_webhook(amount=0))]
    while time.monotonic() < deadline:
        for path, body in bad:
            assert in_time(send(webhooks, path, body)).status_code == 400
        assert in_time(operators.get(f"/orders/{order_id}")).status_code == 200
        hold = operators.post(f"/orders/{order_id}/hold", json={"action": "clear"})
        assert in_time(hold).status_code == 200
        ready = in_time(webhooks.get("/health/ready"))
        assert (ready.status_code, ready.json()["checks"]) == (503, {"kafka": "unavailable"})
        assert in_time(webhooks.get("/health/live")).status_code == 200
        # Degraded: it does all but consume.
        assert in_time(operators.get("/health/ready")).status_code == 200
        assert in_time(operators.get("/health/live")).status_code == 200
        time.sleep(0.5)
    assert load.answers[503] > refused_before
    # Applied before, so that it changes nothing should it arrive all the same.
    again = in_time(send(webhooks, ORDERS, known(deployment)))
    assert problem_of(again, 503, "unavailable")
    assert int(again.headers["retry-after"]) >= 1


def applied(deployment: Deployment) -> list[dict[str, Any]]:
    """An order, as soon as there is one."""
    items: list[dict[str, Any]]
    items = deployment.operators.get("/orders", params={"limit": 1}).json()["items"]
    return items


def known(deployment: Deployment) -> bytes:
    """A webhook that was applied, byte for byte."""
    [[payload]] = deployment.api.query(
        "SELECT data->'payload' #>> '{}' FROM order_events"
        " WHERE kind = 'webhook_received' ORDER BY position LIMIT 1"
    )
    return str(payload).encode()


def in_time(answer: httpx.Response) -> httpx.Response:
    assert answer.elapsed.total_seconds() < ANSWER_SECONDS_MAX, answer.request.url
    return answer
