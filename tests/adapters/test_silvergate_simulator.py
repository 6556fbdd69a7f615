"""The simulator as people and labs use it: faults, calls and effects over HTTP, and its memory."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from payment_manager.adapters.silvergate.simulator import (
    CAPTURE_PATH,
    SUBMIT_REPRESENTMENT_PATH,
    Fault,
    running_simulator,
)
from payment_manager.adapters.silvergate.simulator.faults import Faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CAPTURE: dict[str, object] = {
    "order_id": "ord-1",
    "amount": 100.5,
    "currency": "USD",
    "idempotency_key": "k-1",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running_simulator() as simulator,
        httpx.AsyncClient(base_url=simulator.base_url, trust_env=False, timeout=60) as client,
    ):
        yield client


def short(value: object) -> str:
    return repr(value)[:40]


def capture_of(order_id: str) -> dict[str, object]:
    return {**CAPTURE, "order_id": order_id, "idempotency_key": f"key of {order_id}"}


async def test_faults_are_set_listed_used_up_and_deleted(http: httpx.AsyncClient) -> None:
    made = await http.post("/faults", json={"fault": "error_500", "times": 1, "route": "capture"})
    assert made.status_code == 201
    await http.post("/faults", json={"fault": "rate_limited"})
    listed = (await http.get("/faults")).json()["items"]
    assert listed == [
        {"fault": "error_500", "times": 1, "delay_ms": 0, "route": "capture"},
        {"fault": "rate_limited", "times": None, "delay_ms": 0, "route": None},
    ]
    statuses = [(await http.post(CAPTURE_PATH, json=CAPTURE)).status_code for _ in range(3)]
    assert statuses == [500, 429, 429]
    assert (await http.delete("/faults")).json() == {"items": []}
    assert (await http.post(CAPTURE_PATH, json=CAPTURE)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"fault":"explode"}',
        b'{"fault":"slow","times":0}',
        b'{"fault":"slow","delay_ms":-1}',
        b'{"fault":"slow","route":"refund"}',
        b'{"fault":"decline","route":"representment"}',
        b'{"fault":"file_not_ready","route":"capture"}',
        b"[" * 100_000,
    ],
    ids=short,
)
async def test_what_is_no_fault_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post("/faults", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert (await http.get("/faults")).json() == {"items": []}


async def test_a_fault_spoils_its_own_route_only() -> None:
    faults = Faults()
    faults.add(Fault(fault="decline"))
    faults.add(Fault(fault="slow", times=2))
    assert [fault.fault for fault in faults.active()] == ["decline", "slow"]
    taken = [faults.take("representment") for _ in range(3)]
    assert [fault and fault.fault for fault in taken] == ["slow", "slow", None]
    assert [fault.fault for fault in faults.active()] == ["decline"]


async def test_every_call_is_listed_with_what_became_of_it(http: httpx.AsyncClient) -> None:
    body = capture_of("ord-diary")
    headers = {"X-Correlation-ID": "c-7"}
    await http.post("/faults", json={"fault": "drop_after", "times": 1})
    with pytest.raises(httpx.TransportError):
        await http.post(CAPTURE_PATH, json=body, headers=headers)
    answer = (await http.post(CAPTURE_PATH, json=body)).json()
    calls = (await http.get("/calls", params={"order_id": "ord-diary"})).json()["items"]
    seen = [
        {name: call[name] for name in ("key", "status", "answer", "effect", "fault")}
        for call in calls
    ]
    key = body["idempotency_key"]
    assert seen == [
        {"key": key, "status": None, "answer": None, "effect": True, "fault": "drop_after"},
        {"key": key, "status": 200, "answer": answer, "effect": False, "fault": None},
    ]
    assert [call["correlation_id"] for call in calls] == ["c-7", None]
    (effect,) = (await http.get("/effects", params={"order_id": "ord-diary"})).json()["items"]
    assert effect["answer"] == answer
    assert effect["parameters"] == ["ord-diary", 10050, "USD"]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"amount": "100.50"}, ["amount"]),
        ({"amount": True}, ["amount"]),
        ({"amount": 100.505}, ["amount"]),
        ({"amount": 0}, ["amount"]),
        ({"amount": None, "currency": "usd"}, ["amount", "currency"]),
        ({"currency": 1}, ["currency"]),
        ({"order_id": ""}, ["order_id"]),
        ({"order_id": ["x"]}, ["order_id"]),
        ({"idempotency_key": None}, ["idempotency_key"]),
        ({"idempotency_key": "k" * 256}, ["idempotency_key"]),
    ],
    ids=short,
)
async def test_an_invalid_capture_is_refused_with_all_that_is_wrong(
    http: httpx.AsyncClient, changes: dict[str, object], wrong: list[str]
) -> None:
    answer = await http.post(CAPTURE_PATH, json={**capture_of("ord-wrong"), **changes})
    assert answer.status_code == 400
    assert sorted(answer.json()["error"]["constraints"]) == wrong


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"amount":1e99999999999999999999}'], ids=short
)
async def test_what_is_no_json_object_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post(CAPTURE_PATH, content=body)
    assert answer.status_code == 400
    assert "body" in answer.json()["error"]["constraints"]


async def test_a_representment_needs_its_key_in_the_header(http: httpx.AsyncClient) -> None:
    body = {"order_id": "ord-1", "evidences_file_id": ["f"], "fields": {}}
    without = await http.post(SUBMIT_REPRESENTMENT_PATH, json=body)
    assert list(without.json()["error"]["constraints"]) == ["idempotency_key"]
    bare = await http.post(SUBMIT_REPRESENTMENT_PATH, json=body, headers={"Idempotency-Key": "r-1"})
    quoted = await http.post(
        SUBMIT_REPRESENTMENT_PATH, json=body, headers={"Idempotency-Key": '"r-1"'}
    )
    assert bare.json() == quoted.json()


@pytest.mark.parametrize("changes", [{"amount": 1}, {"currency": "EUR"}, {"order_id": "ord-b"}])
async def test_a_key_that_comes_with_other_parameters_is_refused(
    http: httpx.AsyncClient, changes: dict[str, object]
) -> None:
    body = capture_of("ord-a")
    first = await http.post(CAPTURE_PATH, json=body)
    other = await http.post(CAPTURE_PATH, json={**body, **changes})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "2.02")
    again = await http.post(CAPTURE_PATH, json={**body, "amount": 100.500})
    assert again.json() == first.json()


async def test_a_large_body_is_refused_and_the_service_goes_on(http: httpx.AsyncClient) -> None:
    answer = await http.post(CAPTURE_PATH, content=b"x" * 3_000_000)
    assert answer.status_code == 413
    assert (await http.post(CAPTURE_PATH, json=CAPTURE)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", CAPTURE_PATH), ("PUT", "/faults")]
)
async def test_other_routes_are_not_found(http: httpx.AsyncClient, method: str, path: str) -> None:
    assert (await http.request(method, path)).status_code == 404


async def test_a_restart_forgets_no_answer_and_no_call(tmp_path: Path) -> None:
    store = tmp_path / "new" / "silvergate.sqlite"
    async with running_simulator(store) as simulator:
        first = await post(simulator.base_url + CAPTURE_PATH, CAPTURE)
    async with running_simulator(store) as simulator:
        assert await post(simulator.base_url + CAPTURE_PATH, CAPTURE) == first
        assert len(simulator.app.ledger.effects("ord-1")) == 1
        assert len(simulator.app.ledger.calls("ord-1")) == 2


async def post(url: str, body: dict[str, object]) -> Any:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return json.loads((await client.post(url, json=body)).content)


async def test_a_client_that_goes_away_disturbs_nobody(http: httpx.AsyncClient) -> None:
    host, port = http.base_url.host, http.base_url.port or 0
    connection = socket.create_connection((host, port))
    connection.sendall(f"POST {CAPTURE_PATH} HTTP/1.1\r\nContent-Length: 50\r\n\r\n{{".encode())
    await asyncio.sleep(0)
    connection.close()
    assert (await http.post(CAPTURE_PATH, json=CAPTURE)).status_code == 200
