"""Consumers come, go and die: their partitions are shared anew, and nothing is lost or doubled."""

import asyncio
from pathlib import Path

import pytest

from payment_manager.application.ports import Unavailable
from payment_manager.bootstrap import database
from payment_manager.settings import Settings
from tests.e2e.service import Service, eventually
from tests.e2e_kafka.chaos import TAKEN, assert_settles
from tests.e2e_kafka.conftest import Deploy
from tests.e2e_kafka.deployment import Deployment

PER_SECOND = 100


async def consumes(deployment: Deployment, worker: Service) -> None:
    """Returns when it has done something of each group's: they are shared anew one by one."""

    def has_done_something() -> bool:
        return all(
            deployment.metric(worker, "webhooks_total", space=space) > 0
            for space in ("order", "dispute")
        )

    await asyncio.to_thread(eventually, has_done_something, timeout=90)


async def test_one_worker_is_killed_one_is_added_and_one_leaves(deploy: Deploy) -> None:
    deployment = deploy(api_consumes=False)
    killed, leaving = deployment.worker(), deployment.worker()
    for worker in (killed, leaving):
        worker.launch()
        worker.wait_for_log("waiting_for_the_api")  # whose database it shares
    deployment.api.start()
    for worker in (killed, leaving):
        worker.started()
    deployment.taking.start()
    load = deployment.load(per_second=PER_SECOND)
    async with load.flowing():
        await consumes(deployment, killed)
        await consumes(deployment, leaving)
        deployment.kill(killed, for_good=True)
        added = await asyncio.to_thread(deployment.worker().start)
        # Not before the killed one's time-out: until then the group waits for it.
        await consumes(deployment, added)
        assert await asyncio.to_thread(leaving.stop) == 0
        deployment.services.remove(leaving)
        # Who left said so, and nobody waits for it.
        assert deployment.topics.members(deployment.topics.orders) <= 1
        done = deployment.topics.committed(deployment.topics.orders)
        await asyncio.to_thread(
            eventually,
            lambda: all(
                now > then
                for now, then in zip(
                    deployment.topics.committed(deployment.topics.orders), done, strict=True
                )
            ),
            timeout=60,
        )
    assert load.answers.keys() <= TAKEN
    assert_settles(deployment, load)
    assert deployment.metric(deployment.api, "webhooks_total") == 0
    deployment.stop()


async def test_a_worker_without_a_database_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "API_WAIT_SECONDS", 1)
    settings = Settings(data_dir=tmp_path)
    with pytest.raises(Unavailable) as refused:
        async with database.shared_database(settings):
            raise AssertionError("there is none")
    assert f"no API has its database in {tmp_path}; start it there" in str(refused.value)
    assert "PG_URL" in str(refused.value)
