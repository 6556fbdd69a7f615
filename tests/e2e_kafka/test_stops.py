"""Starts in any order, stops in good order: exit code 0, within seconds, nothing lost."""

import asyncio
import os
import signal
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from infra.kafka_server import KafkaServer
from payment_manager.adapters.kafka import topics
from payment_manager.adapters.postgres.server_processes import running_on
from payment_manager.settings import IngestSettings, load
from tests.e2e.chaos import under_load
from tests.e2e.service import Service
from tests.e2e_kafka.chaos import assert_settles
from tests.e2e_kafka.conftest import Deploy
from tests.e2e_kafka.deployment import Deployment
from tests.e2e_kafka.topics import PARTITIONS, Topics

STOP_SECONDS_MAX = 30.0
"""Then whoever runs services usually kills them. It takes a second or two on a quiet machine: an
idle poll's half second, and leaving the groups.
"""


def ended_in_time(service: Service) -> None:
    assert service.ended(STOP_SECONDS_MAX) == 0
    assert service.said == ""


async def test_each_service_stops_under_load_by_sigterm_and_by_ctrl_c_and_loses_nothing(
    deploy: Deploy,
) -> None:
    deployment = deploy()
    deployment.start()
    deployment.worker().start()
    turns = product((signal.SIGTERM, signal.SIGINT), deployment.services)

    def stop_and_start() -> None:
        how, service = next(turns)
        os.killpg(service.process.pid, how)  # as a terminal does it
        ended_in_time(service)
        if service is deployment.api:
            assert running_on(service.cluster) == []
        service.start()

    load = await under_load(
        deployment.load(per_second=80),
        stop_and_start,
        times=2 * len(deployment.services),
        between=(20, 80),
    )
    assert_settles(deployment, load)
    deployment.stop()


@pytest.fixture
def before_kafka(tmp_path: Path) -> Iterator[tuple[Deployment, KafkaServer]]:
    """Services, and a broker that isn't started yet."""
    server = KafkaServer(tmp_path / "kafka")
    deployment = Deployment(tmp_path, Topics(server.brokers, "later"))
    yield deployment, server
    deployment.clean_up()
    server.stop()


async def test_services_that_start_before_the_broker_wait_for_it(
    before_kafka: tuple[Deployment, KafkaServer],
) -> None:
    deployment, server = before_kafka
    for service in deployment.services:
        service.launch()
    for service in deployment.services:
        service.wait_for_log("waiting_for_kafka")
    server.start()
    for service in deployment.services:
        service.started()
    load = deployment.load()
    async with load.flowing():
        await load.more(100)
    assert_settles(deployment, load)
    deployment.stop()


def test_a_stop_while_waiting_for_the_broker_leaves_nothing_behind(
    before_kafka: tuple[Deployment, KafkaServer],
) -> None:
    deployment, _ = before_kafka
    for service, how in zip(deployment.services, (signal.SIGTERM, signal.SIGINT), strict=True):
        service.launch()
        service.wait_for_log("waiting_for_kafka")
        os.killpg(service.process.pid, how)
        assert service.ended(STOP_SECONDS_MAX) in (0, 128 + how)
        assert "Traceback" not in service.said
    assert running_on(deployment.api.cluster) == []


async def test_a_broker_that_stands_still_once_it_was_reached_is_waited_for(
    own_kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that is busy with its own start."""
    made = Topics(own_kafka.brokers, "still")
    settings = load(IngestSettings, **{name.lower(): said for name, said in made.settings.items()})
    reached = topics._reached

    async def then_it_stands_still(*asked: Any) -> None:
        await reached(*asked)
        own_kafka.pause()
        asyncio.get_running_loop().call_later(4, own_kafka.resume)

    monkeypatch.setattr(topics, "_reached", then_it_stands_still)
    await topics.ensure_topics(settings)
    assert made.ends(made.orders) == [0] * PARTITIONS
    made.close()


async def test_a_stop_while_the_broker_is_away_takes_seconds_too_and_loses_nothing(
    own_kafka: KafkaServer, tmp_path: Path
) -> None:
    deployment = Deployment(tmp_path, Topics(own_kafka.brokers, "stop"))
    try:
        deployment.start()
        load = deployment.load(per_second=80)
        async with load.flowing():
            await load.more(200)
        own_kafka.pause()
        for service in deployment.services:
            service.process.send_signal(signal.SIGTERM)
        for service in deployment.services:
            ended_in_time(service)
        own_kafka.resume()
        deployment.start()
        assert_settles(deployment, load)
        deployment.stop()
    finally:
        deployment.clean_up()
