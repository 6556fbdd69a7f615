"""Starts and stops: in good order under load, refused in plain words where something is wrong."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from payment_manager.adapters.postgres.server_processes import running_on
from tests.e2e.chaos import assert_nothing_lost, under_load
from tests.e2e.conftest import StartService
from tests.e2e.load import Load
from tests.e2e.service import Service, eventually
from tests.e2e.wire import ORDERS, send
from tests.webhooks import order_webhook

CAPTURE = {"amount": 1, "currency": "USD", "idempotency_key": "k"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder for services that don't get as far as listening."""
    yield tmp_path / "service"
    assert running_on((tmp_path / "service" / "postgres").resolve()) == []


def refusal(service: Service) -> str:
    """What it says when it refuses to start: in words, with exit code 2."""
    service.launch()
    try:
        code = service.ended()
    finally:
        service.clean_up()
    assert code == 2, (code, service.lines, service.said)
    assert "Traceback" not in service.said
    assert "Traceback" not in "".join(service.lines)
    return service.said


# ── Stops ─────────────────────────────────────────────────────────────────────────────────────────


async def test_sigterm_under_load_loses_nothing_that_was_acknowledged(
    start_service: StartService,
) -> None:
    service = start_service()

    def stop_and_start() -> None:
        assert service.stop(signal.SIGTERM) == 0
        assert running_on(service.cluster) == []
        service.start()

    load = await under_load(Load(service.port), stop_and_start, times=3, between=(200, 600))
    assert_nothing_lost(service, load)
    assert service.stop() == 0


def test_what_is_under_way_is_answered_before_a_stop(start_service: StartService) -> None:
    service = start_service()
    with service.client() as api, service.provider() as provider:
        send(api, ORDERS, order_webhook("ord-1"))
        provider.post("/faults", json={"fault": "slow", "delay_ms": 1000, "times": 1})
    answers: list[httpx.Response] = []

    def capture() -> None:
        with service.client() as api:
            answers.append(api.post("/orders/ord-1/capture", json=CAPTURE))

    caller = threading.Thread(target=capture)
    caller.start()
    service.wait_for_log("capture_requested")
    assert service.stop(signal.SIGTERM) == 0
    caller.join()
    assert answers[0].json()["status"] == "success"
    with pytest.raises(httpx.ConnectError), service.client() as api:
        api.get("/health/live")


def test_a_second_signal_does_not_wait(start_service: StartService) -> None:
    service = start_service(HTTP_SILVERGATE_CLIENT_TIMEOUT="100s", SHUTDOWN_TIMEOUT="100s")
    with service.client() as api, service.provider() as provider:
        send(api, ORDERS, order_webhook("ord-1"))
        provider.post("/faults", json={"fault": "slow", "delay_ms": 100_000})
    # The simulated provider's, which is cut off in the middle of its delay.
    service.expected |= {
        "Cancel 1 running task(s), timeout graceful shutdown exceeded",
        "Exception in ASGI application\n",
    }

    def capture() -> None:
        # Without an answer, or with one that says that the outcome is unknown.
        with suppress(httpx.TransportError), service.client() as api:
            assert api.post("/orders/ord-1/capture", json=CAPTURE).status_code == 202

    caller = threading.Thread(target=capture)
    caller.start()
    service.wait_for_log("capture_requested")
    service.process.send_signal(signal.SIGTERM)
    service.wait_for_log("stopping", forced=False)
    service.process.send_signal(signal.SIGTERM)
    assert service.ended() == 0  # in less than the capture's 100 seconds
    caller.join()
    assert running_on(service.cluster) == []


def test_ctrl_c_stops_the_service_and_its_postgresql_cleanly(start_service: StartService) -> None:
    service = start_service()
    os.killpg(service.process.pid, signal.SIGINT)  # as a terminal does it
    assert service.ended() == 0
    assert service.said == ""
    assert running_on(service.cluster) == []
    log = (service.data_dir / "postgres.log").read_text()
    assert "database system is shut down" in log.splitlines()[-1]
    service.start()
    log = (service.data_dir / "postgres.log").read_text()
    assert "not properly shut down" not in log
    assert service.stop() == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_ends_it_and_leaves_nothing_behind(
    folder: Path, how: signal.Signals
) -> None:
    service = Service(folder)
    service.launch()
    try:
        eventually(lambda: running_on(service.cluster), every=0.005)
        service.process.send_signal(how)
        code = service.ended()
        assert code in (0, 128 + how)
        assert "Traceback" not in service.said
        eventually(lambda: running_on(service.cluster) == [])
    finally:
        service.clean_up()


# ── Starts that are refused ───────────────────────────────────────────────────────────────────────


def test_a_second_start_on_the_same_folder_is_refused_and_harms_nobody(
    start_service: StartService,
) -> None:
    service = start_service()
    said = refusal_beside(service, PORT="0")
    assert f"in use by process {service.process.pid}" in said
    assert "DATA_DIR" in said
    with service.client() as api:
        assert send(api, ORDERS, order_webhook("ord-1")).status_code == 202
    assert service.stop() == 0


def refusal_beside(running: Service, **settings: str) -> str:
    second = Service(running.data_dir, **settings)
    second.launch()
    assert second.ended() == 2, second.said
    assert "Traceback" not in second.said
    return second.said


def test_all_wrong_settings_are_named_at_once(folder: Path) -> None:
    wrong = {
        "PORT": "http",
        "LOG_LEVEL": "loud",
        "MAX_BODY_BYTES": "-1",
        "HTTP_SILVERGATE_CLIENT_TIMEOUT": "20",
        "SILVERGATE_BASE_URL": "ftp://example.org",
        "PG_URL": "mysql://user:secret-password@host/db",
        "RECONCILE_INTERVAL": "0s",
        "WEBHOOK_MODE": "carrier-pigeon",
    }
    said = refusal(Service(folder, **wrong))
    for name in wrong:
        assert f"{name}:" in said
    assert "secret-password" not in said


def test_missing_settings_are_named_with_the_wrong_ones(folder: Path) -> None:
    said = refusal(Service(folder, "api", PG_POOL_MAX="0"))
    assert "PG_POOL_MAX:" in said
    assert "SILVERGATE_BASE_URL:" in said


@pytest.mark.parametrize("setting", ["PORT", "SIMULATOR_PORT"])
def test_a_port_in_use_is_told_by_its_number(folder: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refusal(Service(folder, **{setting: port}))
    assert port in said
    assert "in use" in said


def test_a_database_that_is_not_there_is_told_without_its_password(folder: Path) -> None:
    away = "postgresql://someone:secret-password@127.0.0.1:1/nothing"
    service = Service(folder, "dev", PG_URL=away)
    service.launch()
    try:
        service.wait_for_log("postgres_not_reachable_yet")
        assert service.stop(signal.SIGINT) in (0, 130)
        assert "secret-password" not in "".join(service.lines) + service.said
    finally:
        service.clean_up()


def test_a_data_folder_that_is_a_file_is_told_in_words(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    service = Service(tmp_path / "service", DATA_DIR=str(blocked))
    said = refusal(service)
    assert str(blocked) in said


# ── What people see ───────────────────────────────────────────────────────────────────────────────


def test_the_log_for_people_is_plain_text(tmp_path: Path) -> None:
    service = Service(tmp_path / "service", LOG_FORMAT="console")
    service.launch()
    try:
        eventually(lambda: any("service=api" in line for line in service.lines))
        assert service.stop() == 0
    finally:
        service.clean_up()
    assert all("\x1b" not in line for line in service.lines)  # no colours in a file
    assert any("listening" in line and "http://127.0.0.1:" in line for line in service.lines)


def test_a_request_has_one_line_with_what_one_looks_for(start_service: StartService) -> None:
    service = start_service()
    with service.client() as api:
        send(api, ORDERS, order_webhook("ord-1"), **{"X-Correlation-ID": "look-here"})
    service.wait_for_log("request", correlation_id="look-here")
    lines: list[dict[str, Any]] = [
        entry for entry in service.log if entry.get("correlation_id") == "look-here"
    ]
    assert len(lines) == 1
    [line] = lines
    assert line["event"] == "request"
    assert (line["method"], line["route"], line["status"]) == ("POST", ORDERS, 202)
    assert (line["order_id"], line["outcome"]) == ("ord-1", "applied")
    assert line["ms"] >= 0
    assert service.stop() == 0
