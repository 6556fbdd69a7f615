"""kill -9 under load and a database that goes away: nothing that was acknowledged is lost."""

import asyncio
import os
import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from payment_manager.adapters.postgres.server_processes import running_on
from tests.e2e.conftest import StartService
from tests.e2e.load import Load
from tests.e2e.service import Service, eventually
from tests.e2e.wire import CHARGEBACKS, ORDERS, problem_of, send
from tests.webhooks import chargeback_webhook, order_webhook

KILLS = 10

DATABASE_DIED = {"postgres_died", "postgres_restart_failed"}


def assert_nothing_lost(service: Service, load: Load) -> None:
    """Each acknowledged webhook is in the log exactly once, and the rows are what the log says."""
    assert load.wrong == []
    in_log = {
        (path, *row[:2]): row[2]
        for path, table, column in (
            (ORDERS, "order_events", "e.order_id"),
            (
                CHARGEBACKS,
                "dispute_events AS e JOIN disputes AS d USING (dispute_id)",
                "d.order_id",
            ),
        )
        for row in service.query(
            f"SELECT {column}, e.provider_event_id, count(*)"
            f" FROM {table if ' AS e' in table else f'{table} AS e'}"
            " WHERE e.provider_event_id IS NOT NULL GROUP BY 1, 2"
        )
    }
    assert load.acknowledged.keys() - in_log.keys() == set()
    assert {webhook for webhook, times in in_log.items() if times != 1} == set()
    assert service.query("SELECT count(*) FROM parked_webhooks") == [(0,)]
    service.verify()


async def under_load(
    service: Service, trouble: Callable[[], None], *, between: tuple[int, int]
) -> Load:
    """Trouble, ten times over, each after so many more acknowledged webhooks."""
    load = Load(service.port)
    running = asyncio.create_task(load.run())
    dice = random.Random(7)
    for _ in range(KILLS):
        await asyncio.wait_for(load.more(dice.randint(*between)), 30)
        await asyncio.to_thread(trouble)
    await asyncio.wait_for(load.more(100), 30)
    load.stop()
    await asyncio.wait_for(running, 60)
    return load


async def test_kill_9_of_the_service_under_load_loses_nothing_that_was_acknowledged(
    start_service: StartService,
) -> None:
    service = start_service()

    def kill_and_restart() -> None:
        service.kill()
        service.start()

    load = await under_load(service, kill_and_restart, between=(50, 500))
    assert_nothing_lost(service, load)
    assert service.stop() == 0


async def test_kill_9_of_postgresql_under_load_loses_nothing_that_was_acknowledged(
    start_service: StartService,
) -> None:
    service = start_service()
    service.expected |= DATABASE_DIED
    turns = 0

    def kill() -> None:
        nonlocal turns
        turns += 1
        # Only the postmaster, whose children notice; or all of them in one moment.
        for pid in [service.postmaster] if turns % 2 else running_on(service.cluster):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: sum(e["event"] == "postgres_restarted" for e in service.log) == turns)

    load = await under_load(service, kill, between=(50, 300))
    assert_nothing_lost(service, load)
    assert service.stop() == 0


async def test_kill_9_of_everything_at_once_under_load_loses_nothing_that_was_acknowledged(
    start_service: StartService,
) -> None:
    service = start_service()
    load = Load(service.port)
    running = asyncio.create_task(load.run())
    for _ in range(2):
        await asyncio.wait_for(load.more(300), 30)
        for pid in [service.process.pid, *running_on(service.cluster)]:
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(service.ended)
        await asyncio.to_thread(service.start)
    load.stop()
    await asyncio.wait_for(running, 60)
    assert_nothing_lost(service, load)
    assert service.stop() == 0


# ── PostgreSQL away ───────────────────────────────────────────────────────────────────────────────


def assert_says_that_it_is_away(api: httpx.Client) -> None:
    """Every route answers soon, and honestly."""
    routes: list[Callable[[], httpx.Response]] = [
        lambda: send(api, ORDERS, order_webhook("ord-away")),
        lambda: send(api, CHARGEBACKS, chargeback_webhook("ord-away")),
        lambda: api.get("/orders/ord-1"),
        lambda: api.get("/orders"),
        lambda: api.get("/orders/events"),
        lambda: api.post("/orders/ord-1/hold", json={"action": "clear"}),
        lambda: api.post(
            "/orders/ord-1/capture",
            json={"amount": 1, "currency": "USD", "idempotency_key": "away"},
        ),
    ]
    with ThreadPoolExecutor(len(routes)) as callers:
        for answer in callers.map(lambda ask: ask(), routes):
            assert problem_of(answer, 503, "unavailable"), answer.request.url
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.elapsed.total_seconds() < 2.5, answer.request.url
    ready = api.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]) == (503, {"postgres": "unavailable"})
    assert ready.elapsed.total_seconds() < 2.5
    live = api.get("/health/live")
    assert (live.status_code, live.elapsed.total_seconds() < 1) == (200, True)


def assert_is_back(service: Service) -> None:
    with service.client() as api:
        eventually(lambda: api.get("/health/ready").status_code == 200, timeout=10)
        answer = send(api, ORDERS, order_webhook("ord-back"))
        assert answer.status_code == 202
        assert api.get("/orders/ord-1").status_code == 200
    service.verify()
    assert service.stop() == 0


@pytest.fixture
def away(start_service: StartService) -> Service:
    service = start_service()
    with service.client() as api:
        assert send(api, ORDERS, order_webhook("ord-1")).status_code == 202
    return service


def test_a_database_that_hangs_is_told_as_503_and_waited_out(away: Service) -> None:
    stopped = running_on(away.cluster)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        with away.client() as api:
            assert_says_that_it_is_away(api)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert_is_back(away)


def test_a_database_that_is_gone_is_told_as_503_and_taken_up_again(away: Service) -> None:
    away.expected |= DATABASE_DIED
    elsewhere = away.cluster.with_name("elsewhere")
    pids = running_on(away.cluster)
    away.cluster.rename(elsewhere)  # so that it can't be started again
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with away.client() as api:
        assert_says_that_it_is_away(api)
    elsewhere.rename(away.cluster)
    assert_is_back(away)
