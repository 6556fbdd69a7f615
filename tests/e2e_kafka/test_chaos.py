"""kill -9 of every part in turn, while webhooks flow: what was acknowledged is applied once."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from infra.kafka_server import KafkaServer
from payment_manager.adapters.postgres.server_processes import running_on
from tests.e2e.chaos import under_load
from tests.e2e.service import Service, eventually
from tests.e2e_kafka.chaos import assert_settles
from tests.e2e_kafka.deployment import Deployment
from tests.e2e_kafka.topics import Topics

ROUNDS = 2

PER_SECOND = 80
"""Far from what the services can do, so that all that is late is the trouble's."""

DATABASE_DIED = ("postgres_died", "postgres_restart_failed")


@pytest.fixture
def deployment(own_kafka: KafkaServer, tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path, Topics(own_kafka.brokers, "chaos"))
    yield deployment
    deployment.clean_up()


async def test_kill_9_of_each_part_in_turn_and_of_all_loses_nothing_that_was_acknowledged(
    deployment: Deployment, own_kafka: KafkaServer
) -> None:
    deployment.start()
    worker = deployment.worker().start()
    api, ingest = deployment.api, deployment.taking
    deployment.expect(*DATABASE_DIED)

    def again(service: Service) -> Callable[[], None]:
        def kill_and_start() -> None:
            deployment.kill(service)
            service.start()

        return kill_and_start

    def broker() -> None:
        own_kafka.kill()
        own_kafka.start()

    def database() -> None:
        restarts = sum(entry["event"] == "postgres_restarted" for entry in api.log)
        for pid in running_on(api.cluster):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(
            lambda: sum(entry["event"] == "postgres_restarted" for entry in api.log) > restarts,
            timeout=60,
        )

    def everything() -> None:
        """As a power cut does it."""
        database_pids = running_on(api.cluster)
        for service in deployment.services:
            deployment.kill(service)
        own_kafka.kill()
        for pid in database_pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for service in deployment.services:
            service.launch()
        own_kafka.start()
        for service in deployment.services:
            service.started()

    in_turn = [again(ingest), database, again(api), broker, again(worker)]
    troubles = [*in_turn * ROUNDS, everything]
    turns = iter(troubles)
    load = await under_load(
        deployment.load(per_second=PER_SECOND),
        lambda: next(turns)(),
        times=len(troubles),
        between=(20, 80),
    )
    assert_settles(deployment, load)
    deployment.stop()
