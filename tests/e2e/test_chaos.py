"""kill -9 under load and a database that goes away: nothing that was acknowledged is lost."""

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from payment_manager.adapters.postgres.server_processes import running_on
from tests.e2e.chaos import assert_nothing_lost, under_load
from tests.e2e.conftest import StartService
from tests.e2e.load import Load
from tests.e2e.service import Service, eventually
from tests.e2e.wire import CHARGEBACKS, ORDERS, problem_of, send
from tests.webhooks import chargeback_webhook, order_webhook

KILLS = 10

AWAY_SECONDS_MAX = 10.0
"""Two are promised, which a machine that is busy with other tests may stretch. Without the promise
it would be the statement's fifteen seconds, or for ever.
"""

DATABASE_DIED = {"postgres_died", "postgres_restart_failed"}


async def test_kill_9_of_the_service_under_load_loses_nothing_that_was_acknowledged(
    start_service: StartService,
) -> None:
    service = start_service()

    def kill_and_restart() -> None:
        service.kill()
        service.start()

    load = await under_load(Load(service.port), kill_and_restart, times=KILLS, between=(50, 500))
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

    load = await under_load(Load(service.port), kill, times=KILLS, between=(50, 300))
    assert_nothing_lost(service, load)
    assert service.stop() == 0


async def test_kill_9_of_everything_at_once_under_load_loses_nothing_that_was_acknowledged(
    start_service: StartService,
) -> None:
    service = start_service()
    load = Load(service.port)
    async with load.flowing():
        for _ in range(2):
            await load.more(300)
            for pid in [service.process.pid, *running_on(service.cluster)]:
                with suppress(ProcessLookupError):  # who finds its peer gone ends by itself
                    os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(service.ended)
            await asyncio.to_thread(service.start)
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
            assert answer.elapsed.total_seconds() < AWAY_SECONDS_MAX, answer.request.url
    ready = api.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]) == (503, {"postgres": "unavailable"})
    assert ready.elapsed.total_seconds() < AWAY_SECONDS_MAX
    lives = [api.get("/health/live") for _ in range(5)]
    assert {live.status_code for live in lives} == {200}
    # The soonest of them: this one waits for no database.
    assert min(live.elapsed for live in lives).total_seconds() < 1


def assert_is_back(service: Service) -> None:
    with service.client() as api:
        eventually(lambda: api.get("/health/ready").status_code == 200)
        # What was begun while it was away may be in the way for a moment more.
        eventually(lambda: send(api, ORDERS, order_webhook("ord-back")).status_code == 202)
        eventually(lambda: api.get("/orders/ord-1").status_code == 200)
    service.verify()
    assert service.stop() == 0


@pytest.fixture
def away(start_service: StartService) -> Service:
    service = start_service()
    with service.client() as api:
        assert send(api, ORDERS, order_webhook("ord-1")).status_code == 202
    return service


def test_a_database_that_hangs_is_told_as_503_and_waited_out(away: Service) -> None:
    stopped = list[int]()
    try:
        # Until nobody new is found: what one of them started before it was stopped would answer.
        while new := set(running_on(away.cluster)) - set(stopped):
            for pid in new:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped += new
        with away.client() as api:
            assert_says_that_it_is_away(api)
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    assert_is_back(away)


def test_a_database_that_is_gone_is_told_as_503_and_taken_up_again(away: Service) -> None:
    away.expected |= DATABASE_DIED
    elsewhere = away.cluster.with_name("elsewhere")
    away.cluster.rename(elsewhere)  # so that it can't be started again
    while pids := running_on(elsewhere):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with away.client() as api:
        assert_says_that_it_is_away(api)
    elsewhere.rename(away.cluster)
    assert_is_back(away)
