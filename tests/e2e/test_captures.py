"""Money moves once: through retries at once, lost answers, and kill -9 at every step of a capture.

How to think about it: the provider's own list of effects is the judge. Whatever happened to the
service, each capture that is in its log as requested has one effect there, and one outcome in the
log that names it.
"""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local_server import free_port
from payment_manager.adapters.postgres.embedded import running_url
from payment_manager.adapters.postgres.server_processes import running_on
from payment_manager.adapters.silvergate.simulator import running_simulator
from tests.e2e.conftest import StartService
from tests.e2e.service import Service, eventually
from tests.e2e.wire import CHARGEBACKS, ORDERS, send
from tests.webhooks import chargeback_webhook, order_webhook

TIMEOUT_SECONDS = 4
"""Until the outcome counts as unknown. A lease, for which nobody asks again after a process that
died, is five seconds longer. A busy machine answers sooner.
"""
TIMEOUT = {"HTTP_SILVERGATE_CLIENT_TIMEOUT": f"{TIMEOUT_SECONDS}s"}
SETTINGS = TIMEOUT

CAPTURE = {"amount": 100.50, "currency": "USD", "idempotency_key": "k"}


class Provider:
    """The simulated provider in a thread of its own: it outlives the services that ask it."""

    def __init__(self, store: Path, port: int = 0) -> None:
        self._stop: Callable[[], object] = lambda: None
        self._up = threading.Event()
        self._http = httpx.Client(timeout=30, trust_env=False)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(store, port)))
        self._thread.start()
        assert self._up.wait(30)

    async def _run(self, store: Path, port: int) -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(over.set)
        async with running_simulator(store, port=port) as simulator:
            self.url = simulator.base_url
            self._up.set()
            await over.wait()

    def stop(self) -> None:
        self._http.close()
        self._stop()
        self._thread.join(30)

    def fault(self, kind: str, **how: Any) -> None:
        self._http.post(f"{self.url}/faults", json={"fault": kind, **how})

    def no_faults(self) -> None:
        self._http.delete(f"{self.url}/faults")

    def effects(self, order_id: str | None = None) -> list[dict[str, Any]]:
        asked = {} if order_id is None else {"order_id": order_id}
        answer = self._http.get(f"{self.url}/effects", params=asked)
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


@pytest.fixture
def lasting(tmp_path: Path) -> Iterator[Provider]:
    """A provider that goes on while services come and go."""
    provider = Provider(tmp_path / "provider.sqlite")
    yield provider
    provider.stop()


@pytest.fixture
def order(api: httpx.Client, order_id: str) -> str:
    send(api, ORDERS, order_webhook(order_id))
    return order_id


def outcomes(service: Service, order_id: str) -> list[tuple[str, str | None]]:
    """The capture's events in the log's order, with the provider's transaction."""
    return service.query(
        "SELECT kind, data ->> 'provider_tx_id' FROM order_events"
        " WHERE order_id = %s AND kind LIKE 'capture%%' ORDER BY sequence",
        order_id,
    )


def assert_captured_once(service: Service, order_id: str, effects: list[dict[str, Any]]) -> None:
    """One effect at the provider, known to the log, and to whoever asks."""
    [effect] = [effect for effect in effects if effect["order_id"] == order_id]
    transaction = effect["answer"]["transaction_id"]
    assert outcomes(service, order_id) == [
        ("capture_requested", None),
        ("capture_completed", transaction),
    ]
    with service.client() as api:
        shown = api.get(f"/orders/{order_id}").json()["capture"]
        assert (shown["status"], shown["provider_tx_id"]) == ("success", transaction)
        again = api.post(f"/orders/{order_id}/capture", json=CAPTURE)
        assert (again.status_code, again.json()["provider_tx_id"]) == (200, transaction)
        assert again.headers["idempotent-replayed"] == "true"


def settled(service: Service, *order_ids: str) -> bool:
    pending = "SELECT count(*) FROM provider_intents WHERE status = 'pending'"
    return service.query(f"{pending} AND order_id = ANY(%s)", list(order_ids)) == [(0,)]


# ── At once ───────────────────────────────────────────────────────────────────────────────────────


async def test_twenty_captures_at_once_with_one_key_are_one_call_and_one_effect(
    service: Service, provider: httpx.Client, order: str
) -> None:
    async with service.connections(20) as many:
        answers = await asyncio.gather(
            *(many.post(f"/orders/{order}/capture", json=CAPTURE) for _ in range(20))
        )
    told = {(answer.status_code, answer.json()["status"]) for answer in answers}
    assert (200, "success") in told
    assert told <= {(200, "success"), (202, "pending")}
    transactions = {answer.json()["provider_tx_id"] for answer in answers} - {None}
    assert len(transactions) == 1
    calls = provider.get("/calls", params={"order_id": order}).json()["items"]
    assert len(calls) == 1
    assert_captured_once(service, order, provider.get("/effects").json()["items"])


async def test_captures_with_different_keys_at_once_are_one_capture(
    service: Service, provider: httpx.Client, order: str
) -> None:
    provider.post("/faults", json={"fault": "slow", "delay_ms": 200})
    async with service.connections(20) as many:
        answers = await asyncio.gather(
            *(
                many.post(f"/orders/{order}/capture", json={**CAPTURE, "idempotency_key": str(key)})
                for key in range(20)
            )
        )
    assert sum(answer.status_code == 200 for answer in answers) == 1
    refused = {answer.json()["code"] for answer in answers if answer.status_code != 200}
    assert refused <= {"capture_in_progress", "already_captured"}
    assert len(provider.get("/effects", params={"order_id": order}).json()["items"]) == 1


async def test_two_services_on_one_database_capture_once(
    service: Service, provider: httpx.Client, order: str, start_service: StartService
) -> None:
    url = running_url(service.data_dir)
    assert url is not None
    other = start_service("api", PG_URL=url, SILVERGATE_BASE_URL=service.provider_url, **TIMEOUT)
    provider.post("/faults", json={"fault": "drop_after", "times": 1})
    async with service.connections(10) as here, other.connections(10) as there:
        answers = await asyncio.gather(
            *(
                client.post(f"/orders/{order}/capture", json=CAPTURE)
                for client in (here, there) * 10
            )
        )
    assert {answer.status_code for answer in answers} <= {200, 202}
    eventually(lambda: settled(service, order))
    assert_captured_once(service, order, provider.get("/effects").json()["items"])
    assert other.stop() == 0


# ── A provider in trouble ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "slow", "delay_ms": TIMEOUT_SECONDS * 1000 + 500},
        {"fault": "error_500", "times": 2},
        {"fault": "rate_limited"},
        {"fault": "drop_before"},
        {"fault": "drop_after", "times": 2},
        {"fault": "garbage"},
    ],
    ids=lambda fault: fault["fault"],
)
def test_an_answer_that_was_lost_is_learned_without_a_second_effect(
    service: Service, api: httpx.Client, provider: httpx.Client, order: str, fault: dict[str, Any]
) -> None:
    provider.post("/faults", json={"times": 1, **fault})
    answer = api.post(f"/orders/{order}/capture", json=CAPTURE)
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    eventually(lambda: settled(service, order))
    assert_captured_once(service, order, provider.get("/effects").json()["items"])


def test_a_provider_that_is_away_is_asked_again_until_it_is_back(
    start_service: StartService, tmp_path: Path
) -> None:
    port = free_port()  # that no outgoing connection takes while nobody listens there
    service = start_service("api", SILVERGATE_BASE_URL=f"http://127.0.0.1:{port}", **TIMEOUT)
    with service.client() as api:
        send(api, ORDERS, order_webhook("ord-1"))
        assert api.post("/orders/ord-1/capture", json=CAPTURE).status_code == 202
    service.wait_for_log("provider_answer_unknown", asked=2)
    back = Provider(tmp_path / "provider.sqlite", port)
    try:
        eventually(lambda: settled(service, "ord-1"))
        assert_captured_once(service, "ord-1", back.effects())
        assert service.stop() == 0
    finally:
        back.stop()


# ── kill -9 ───────────────────────────────────────────────────────────────────────────────────────


def captures_in_background(service: Service, *order_ids: str) -> ThreadPoolExecutor:
    """Callers who will be cut off."""

    def capture(order_id: str) -> None:
        with suppress(httpx.TransportError), service.client() as api:
            api.post(f"/orders/{order_id}/capture", json=CAPTURE)

    callers = ThreadPoolExecutor(len(order_ids) + 1)  # one more for whatever else is cut off
    for order_id in order_ids:
        callers.submit(capture, order_id)
    return callers


def test_killed_between_intent_and_call_it_captures_once_after_the_restart(
    start_service: StartService, tmp_path: Path
) -> None:
    # Connections to it are made by the kernel, and nobody ever reads from them.
    port = free_port()
    deaf = socket.create_server(("127.0.0.1", port))
    service = start_service("api", SILVERGATE_BASE_URL=f"http://127.0.0.1:{port}", **TIMEOUT)
    with service.client() as api:
        send(api, ORDERS, order_webhook("ord-1"))
    with captures_in_background(service, "ord-1"):
        service.wait_for_log("capture_requested", order_id="ord-1")
        service.kill()
    deaf.close()
    service.start()
    # Before there is anybody to ask: a start may take longer than the lease.
    assert outcomes(service, "ord-1") == [("capture_requested", None)]
    provider = Provider(tmp_path / "provider.sqlite", port)
    try:
        eventually(lambda: settled(service, "ord-1"))
        assert_captured_once(service, "ord-1", provider.effects())
        assert service.stop() == 0
    finally:
        provider.stop()


def test_killed_between_call_and_outcome_it_learns_the_outcome_after_the_restart(
    start_service: StartService, lasting: Provider
) -> None:
    service = start_service("api", SILVERGATE_BASE_URL=lasting.url, **TIMEOUT)
    with service.client() as api:
        send(api, ORDERS, order_webhook("ord-1"))
        send(api, ORDERS, order_webhook("ord-2"))
        dispute_id = send(api, CHARGEBACKS, chargeback_webhook("ord-2")).json()["dispute_id"]
        file = {"file_id": "f", "name": "f", "content_type": "text/plain", "size": 1}
        api.post(f"/disputes/{dispute_id}/evidence", json={"files": [file]})

    def submit() -> None:
        with suppress(httpx.TransportError), service.client() as api:
            api.post(f"/disputes/{dispute_id}/submit", json={"idempotency_key": "k"})

    lasting.fault("slow", delay_ms=TIMEOUT_SECONDS * 1000 - 500)
    with captures_in_background(service, "ord-1") as callers:
        callers.submit(submit)
        eventually(lambda: len(lasting.effects()) == 2, every=0.01)
        service.kill()
    lasting.no_faults()
    service.start()
    eventually(lambda: settled(service, "ord-1", "ord-2"))
    assert_captured_once(service, "ord-1", lasting.effects())
    with service.client() as api:
        again = api.post(f"/disputes/{dispute_id}/submit", json={"idempotency_key": "k"})
        submitted = again.json()
    [effect] = lasting.effects("ord-2")
    assert again.headers["idempotent-replayed"] == "true"
    assert submitted["submission_id"] == effect["answer"]["id"]
    assert service.stop() == 0


def test_killed_at_any_moment_every_capture_ends_known_and_once(
    start_service: StartService, lasting: Provider
) -> None:
    service = start_service("api", SILVERGATE_BASE_URL=lasting.url, **TIMEOUT)
    orders: list[str] = []
    lasting.fault("slow", delay_ms=30)
    for life, requested_before_the_kill in enumerate((1, 9, 17, 24)):
        wave = [f"ord-{life}-{number}" for number in range(24)]
        orders += wave
        with service.client() as api:
            for order_id in wave:
                send(api, ORDERS, order_webhook(order_id))
        with captures_in_background(service, *wave):
            for order_id in wave[:requested_before_the_kill]:
                service.wait_for_log("capture_requested", order_id=order_id)
            service.kill()
        service.start()
    eventually(lambda: settled(service, *orders))
    effects = lasting.effects()
    requested = [order_id for order_id in orders if outcomes(service, order_id)]
    assert len(requested) >= 1 + 9 + 17 + 24
    for order_id in requested:
        assert_captured_once(service, order_id, effects)
    assert {effect["order_id"] for effect in effects} == set(requested)
    assert service.stop() == 0


def test_a_database_that_dies_between_call_and_outcome_loses_neither(
    start_service: StartService, lasting: Provider
) -> None:
    service = start_service("api", SILVERGATE_BASE_URL=lasting.url, **TIMEOUT)
    service.expected |= {"postgres_died", "postgres_restart_failed"}
    with service.client() as api:
        send(api, ORDERS, order_webhook("ord-1"))
    lasting.fault("slow", delay_ms=600, times=1)
    with captures_in_background(service, "ord-1"):
        eventually(lambda: lasting.effects("ord-1"), every=0.01)
        for pid in running_on(service.cluster):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    service.wait_for_log("postgres_restarted")
    eventually(lambda: settled(service, "ord-1"))
    assert_captured_once(service, "ord-1", lasting.effects())
    assert service.stop() == 0
