"""What each answer means: against faults at the simulator, and against servers that misbehave.

The misbehaving servers are scripts of bytes on a real socket, since no HTTP framework will send
what they send.
"""

import asyncio
import contextlib
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from payment_manager.adapters.silvergate.client import (
    ANSWER_BYTES_MAX,
    ERROR_TEXT_MAX,
    SilvergateClient,
)
from payment_manager.adapters.silvergate.simulator import (
    CAPTURE_PATH,
    SUBMIT_REPRESENTMENT_PATH,
    Fault,
    RunningSimulator,
    running_simulator,
)
from payment_manager.domain.gateway import (
    Answer,
    CaptureQuestion,
    Done,
    Refused,
    RepresentmentQuestion,
    Unknown,
)
from payment_manager.domain.money import Money

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION = CaptureQuestion("ord-1", Money(10050, "USD"), "6f1c0d5e-key")


def short(value: object) -> str:
    return repr(value)[:40]


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[RunningSimulator]:
    async with running_simulator() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def silvergate(simulator: RunningSimulator) -> AsyncIterator[SilvergateClient]:
    async with client_of(simulator.base_url) as client:
        yield client


@contextlib.asynccontextmanager
async def client_of(base_url: str, timeout_seconds: float = 60) -> AsyncIterator[SilvergateClient]:
    client = SilvergateClient(base_url, CAPTURE_PATH, SUBMIT_REPRESENTMENT_PATH, timeout_seconds)
    try:
        yield client
    finally:
        await client.close()


def a_capture() -> CaptureQuestion:
    return CaptureQuestion(f"ord-{uuid.uuid4()}", Money(10050, "USD"), str(uuid.uuid4()))


def a_representment() -> RepresentmentQuestion:
    order_id, key = f"ord-{uuid.uuid4()}", str(uuid.uuid4())
    return RepresentmentQuestion(order_id, ["file-1"], {"note": "It was delivered."}, key)


# --- Faults at the simulator -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason", "effects"),
    [
        ("error_500", "HTTP 500", 0),
        ("rate_limited", "HTTP 429", 0),
        ("drop_before", "the connection broke", 0),
        ("drop_after", "the connection broke", 1),
        ("garbage", "the answer makes no sense", 1),
    ],
)
async def test_after_a_fault_nobody_knows_and_asking_again_has_one_effect(
    simulator: RunningSimulator,
    silvergate: SilvergateClient,
    fault: Any,
    reason: str,
    effects: int,
) -> None:
    capture, representment = a_capture(), a_representment()
    for order_id, key, ask in (
        (capture.order_id, capture.provider_key, partial(silvergate.capture, capture)),
        (
            representment.order_id,
            representment.provider_key,
            partial(silvergate.submit_representment, representment),
        ),
    ):
        simulator.app.faults.add(Fault(fault=fault, times=1))
        spoiled = await ask(correlation_id="c")
        assert isinstance(spoiled, Unknown)
        assert spoiled.reason.startswith(reason)
        assert len(simulator.app.ledger.effects(order_id)) == effects
        known = await ask(correlation_id="c")
        assert isinstance(known, Done)
        assert await ask(correlation_id="c") == known
        (effect,) = simulator.app.ledger.effects(order_id)
        assert effect["key"] == key
        assert known.reference in effect["answer"]


async def test_a_slow_answer_is_unknown_while_the_effect_happened(
    simulator: RunningSimulator, silvergate: SilvergateClient
) -> None:
    question = a_capture()
    simulator.app.faults.add(Fault(fault="slow", times=1, delay_ms=400))
    async with client_of(simulator.base_url, timeout_seconds=0.2) as client:
        assert await client.capture(question, correlation_id="c") == Unknown(
            "no answer within 0.2 s"
        )
    assert isinstance(await silvergate.capture(question, correlation_id="c"), Done)
    assert len(simulator.app.ledger.effects(question.order_id)) == 1


async def test_a_decline_is_a_refusal_and_stays_one(
    simulator: RunningSimulator, silvergate: SilvergateClient
) -> None:
    question = a_capture()
    simulator.app.faults.add(Fault(fault="decline", times=1))
    declined = await silvergate.capture(question, correlation_id="c")
    assert isinstance(declined, Refused)
    assert declined.error == "declined by the provider"
    assert declined.reference
    assert await silvergate.capture(question, correlation_id="c") == declined
    assert simulator.app.ledger.effects(question.order_id) == []


async def test_file_not_ready_is_a_refusal_that_uses_up_no_key(
    simulator: RunningSimulator, silvergate: SilvergateClient
) -> None:
    question = a_representment()
    simulator.app.faults.add(Fault(fault="file_not_ready", times=1))
    refused = await silvergate.submit_representment(question, correlation_id="c")
    assert refused == Refused("2.01: File not ready")
    again = await silvergate.submit_representment(question, correlation_id="c")
    assert isinstance(again, Done)


async def test_fifty_at_once_with_one_key_have_one_effect_and_one_answer(
    simulator: RunningSimulator, silvergate: SilvergateClient
) -> None:
    question = a_capture()
    answers = await asyncio.gather(
        *(silvergate.capture(question, correlation_id="c") for _ in range(50))
    )
    assert len(set(answers)) == 1
    assert len(simulator.app.ledger.effects(question.order_id)) == 1


async def test_many_at_once_get_each_their_own_answer(
    simulator: RunningSimulator, silvergate: SilvergateClient
) -> None:
    questions = [a_capture() for _ in range(50)]
    answers = await asyncio.gather(
        *(silvergate.capture(question, correlation_id="c") for question in questions)
    )
    for question, answer in zip(questions, answers, strict=True):
        assert isinstance(answer, Done)
        (effect,) = simulator.app.ledger.effects(question.order_id)
        assert answer.reference in effect["answer"]


# --- Servers that misbehave ----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def server_that(behaves: Behaviour) -> AsyncIterator[str]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await behaves(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def request_from(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(
        int(line.split(":")[1])
        for line in head.splitlines()
        if line.lower().startswith("content-l")
    )
    return head, await reader.readexactly(length)


async def ask_one_that_sends(raw: bytes) -> Answer:
    async def behaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        writer.write(raw)
        await writer.drain()

    async with server_that(behaves) as url, client_of(url) as client:
        return await client.capture(QUESTION, correlation_id="c")


def http(status: str, body: bytes = b"", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


CAPTURED = b'{"transaction_id":"txn-1","status":"success"}'


@pytest.mark.parametrize(
    "body",
    [
        CAPTURED,
        b' { "status" : "success", "new": [1.5], "transaction_id" : "txn-1" } ',
        CAPTURED + b" " * (ANSWER_BYTES_MAX - len(CAPTURED)),
    ],
    ids=["plain", "with unknown fields", "as long as it may be"],
)
async def test_a_success_with_an_id_is_done(body: bytes) -> None:
    assert await ask_one_that_sends(http("200 OK", body)) == Done("txn-1")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"transaction_id":"txn-1"}',
        b'{"status":"success"}',
        b'{"transaction_id":"","status":"success"}',
        b'{"transaction_id":null,"status":"success"}',
        b'{"transaction_id":7,"status":"success"}',
        b'{"transaction_id":"txn-1","status":"Success"}',
        b'{"transaction_id":"txn-1","status":"pending"}',
        b'{"transaction_id":"txn-1","status":true}',
        b'{"transaction_id":"txn\\u0000","status":"success"}',
        b'{"transaction_id":"txn-1\\n","status":"success"}',
        b'{"transaction_id":"\\ud800","status":"success"}',
        b'{"transaction_id":"\xc3\xa4","status":"success"}',
        b'{"transaction_id":"' + b"x" * 256 + b'","status":"success"}',
        b'{"status":"failed"}',
        CAPTURED[:-1],
        CAPTURED + b"}",
        b'{"a":' + b"[" * 60_000,
    ],
    ids=short,
)
async def test_an_answer_that_makes_no_sense_is_unknown(body: bytes) -> None:
    answer = await ask_one_that_sends(http("200 OK", body))
    assert answer == Unknown("the answer makes no sense")


async def test_an_oversized_answer_is_unknown() -> None:
    body = CAPTURED + b" " * ANSWER_BYTES_MAX
    assert await ask_one_that_sends(http("200 OK", body)) == Unknown("the answer is too long")


async def test_a_compressed_answer_is_not_expanded() -> None:
    answer = await ask_one_that_sends(http("200 OK", CAPTURED, "Content-Encoding: gzip\r\n"))
    assert answer == Done("txn-1")  # it is what the bytes say that counts


@pytest.mark.parametrize(
    "status",
    [
        *("201 Created", "202 Accepted", "204 No Content", "301 Moved", "307 Temporary"),
        *("408 Slow", "425 Early", "429 Many"),
        *("500 Error", "502 Gateway", "503 Away", "504 Late", "599 Odd"),
    ],
)
async def test_a_status_that_decides_nothing_is_unknown(status: str) -> None:
    answer = await ask_one_that_sends(http(status, CAPTURED))
    assert answer == Unknown(f"HTTP {status[:3]}")


async def test_a_switch_of_protocols_is_unknown() -> None:
    raw = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    assert isinstance(await ask_one_that_sends(raw), Unknown)


async def test_a_redirect_is_not_followed() -> None:
    asked = 0

    async def redirects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await request_from(reader)
        asked += 1
        writer.write(http("307 Temporary Redirect", b"", f"Location: {CAPTURE_PATH}\r\n"))
        await writer.drain()

    async with server_that(redirects) as url, client_of(url) as client:
        assert await client.capture(QUESTION, correlation_id="c") == Unknown("HTTP 307")
    assert asked == 1


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        ("400 Bad", b'{"error":{"code":"2.01","message":"Validation error"}}', None),
        ("422 No", b'{"error":{"code":"2.01","message":"File not ready"}}', "2.01: File not ready"),
        ("409 No", b'{"error":{"code":7,"message":"Gone"}}', "7: Gone"),
        ("402 No", b'{"error":{"message":"Too\\u0000\\npoor\\ud83d\\ude00"}}', "Too  poor😀"),
        ("404 No", b"<html>", "HTTP 404"),
        ("401 No", b"", "HTTP 401"),
        ("403 No", b'{"error":"no"}', "HTTP 403"),
        ("410 No", b'{"error":{}}', "HTTP 410"),
        ("413 No", b" " * (ANSWER_BYTES_MAX + 1), "HTTP 413"),
        ("418 No", b"[" * 60_000, "HTTP 418"),
    ],
    ids=short,
)
async def test_any_other_4xx_is_a_refusal_in_the_providers_words(
    status: str, body: bytes, error: str | None
) -> None:
    answer = await ask_one_that_sends(http(status, body))
    assert answer == Refused(error or "2.01: Validation error")


async def test_the_providers_words_are_bounded() -> None:
    body = json.dumps({"error": {"code": "2.01", "message": "x" * 10_000}}).encode()
    answer = await ask_one_that_sends(http("400 Bad", body))
    assert isinstance(answer, Refused)
    assert len(answer.error) == ERROR_TEXT_MAX


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + CAPTURED,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000,
    ],
    ids=short,
)
async def test_a_broken_answer_is_unknown(raw: bytes) -> None:
    answer = await ask_one_that_sends(raw)
    assert isinstance(answer, Unknown)
    assert answer.reason.startswith("the connection broke")


async def test_a_refused_connection_is_unknown() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # so that it is nobody else's; it doesn't listen
        async with client_of(f"http://127.0.0.1:{silent.getsockname()[1]}") as client:
            assert await client.capture(QUESTION, correlation_id="c") == Unknown("can't connect")


async def test_a_name_that_does_not_resolve_is_unknown() -> None:
    async with client_of("http://silvergate.invalid") as client:
        assert isinstance(await client.capture(QUESTION, correlation_id="c"), Unknown)


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"", b"HTTP"]
)
async def test_an_answer_that_drips_holds_a_call_no_longer_than_the_time_out(start: bytes) -> None:
    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        writer.write(start)
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)  # far below any time-out for a single read

    async with server_that(drips) as url, client_of(url, timeout_seconds=0.2) as client:
        began = time.monotonic()
        answer = await client.capture(QUESTION, correlation_id="c")
        assert time.monotonic() - began < 20, "and not for as long as it drips"
    assert isinstance(answer, Unknown)


async def test_an_answer_never_reaches_another_question() -> None:
    """An answer to a call that was given up must not be read as the next call's answer."""
    asked: list[str] = []
    given_up = asyncio.Event()

    async def answers_the_first_late(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            _, body = await request_from(reader)
            key = json.loads(body)["idempotency_key"]
            asked.append(key)
            if len(asked) == 1:
                await given_up.wait()
            answer = json.dumps({"transaction_id": f"txn-{key}", "status": "success"})
            writer.write(http("200 OK", answer.encode()))
            await writer.drain()

    async with (
        server_that(answers_the_first_late) as url,
        client_of(url, timeout_seconds=3) as client,  # enough for the second
    ):
        first, second = a_capture(), a_capture()
        assert isinstance(await client.capture(first, correlation_id="c"), Unknown)
        given_up.set()
        answer = await client.capture(second, correlation_id="c")
    assert answer == Done(f"txn-{second.provider_key}")
    assert asked == [first.provider_key, second.provider_key]


async def test_cancellation_passes_through_and_leaves_the_client_usable(
    simulator: RunningSimulator, silvergate: SilvergateClient
) -> None:
    simulator.app.faults.add(Fault(fault="slow", times=1, delay_ms=300))
    question = a_capture()
    call = asyncio.create_task(silvergate.capture(question, correlation_id="c"))
    while not simulator.app.ledger.effects(question.order_id):
        await asyncio.sleep(0.005)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert isinstance(await silvergate.capture(question, correlation_id="c"), Done)


async def test_what_can_not_be_sent_is_unknown_and_not_raised() -> None:
    question = CaptureQuestion("ord-1", Money(1, "no currency"), "k")
    async with client_of("http://127.0.0.1:1") as client:
        assert isinstance(await client.capture(question, correlation_id="c"), Unknown)


# --- What goes over the wire ----------------------------------------------------------------------


class Recorder:
    """Answers every request with success, and keeps the requests as they came."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await request_from(reader)
            lines = head.rstrip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:])
            self.requests.append(({"request": lines[0], **headers}, body))
            answer = b'{"transaction_id":"txn-1","status":"success","id":"sg-subm-1"}'
            writer.write(http("200 OK", answer, "Set-Cookie: last=this-order; Path=/\r\n"))
            await writer.drain()


@pytest.mark.parametrize(
    ("money", "amount"),
    [
        (Money(10050, "USD"), b"100.50"),
        (Money(100, "JPY"), b"100"),
        (Money(1234, "KWD"), b"1.234"),
        (Money(1, "CLF"), b"0.0001"),
        (Money(999_999_999_999_999, "USD"), b"9999999999999.99"),
    ],
)
async def test_an_amount_is_sent_digit_for_digit(money: Money, amount: bytes) -> None:
    recorder = Recorder()
    async with server_that(recorder) as url, client_of(url) as client:
        await client.capture(CaptureQuestion("ord-1", money, "k-1"), correlation_id="c-1")
    ((_, body),) = recorder.requests
    assert b'"amount":' + amount + b"," in body
    assert json.loads(body, parse_float=Decimal) == {
        "order_id": "ord-1",
        "amount": Decimal(amount.decode()),
        "currency": money.currency,
        "idempotency_key": "k-1",
    }


async def test_each_question_carries_its_key_and_its_correlation_id_and_no_cookie() -> None:
    recorder = Recorder()
    async with server_that(recorder) as url, client_of(url + "/") as client:
        await client.capture(CaptureQuestion("ord-1", Money(1, "USD"), "k-1"), correlation_id="c-1")
        question = RepresentmentQuestion("ord-2", ("f-1", "f-2"), {"note": "ä"}, "k-2")
        answer = await client.submit_representment(question, correlation_id="c-2")
    assert answer == Done("sg-subm-1")
    (capture, _), (representment, body) = recorder.requests
    assert capture["request"] == f"POST {CAPTURE_PATH} HTTP/1.1"
    assert representment["request"] == f"POST {SUBMIT_REPRESENTMENT_PATH} HTTP/1.1"
    assert (capture["idempotency-key"], capture["x-correlation-id"]) == ("k-1", "c-1")
    assert (representment["idempotency-key"], representment["x-correlation-id"]) == ("k-2", "c-2")
    assert capture["content-type"] == representment["content-type"] == "application/json"
    assert "cookie" not in representment
    assert json.loads(body) == {
        "order_id": "ord-2",
        "evidences_file_id": ["f-1", "f-2"],
        "fields": {"note": "ä"},
    }


async def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    recorder = Recorder()
    async with server_that(recorder) as url, client_of(url) as client:
        assert await client.capture(QUESTION, correlation_id="c") == Done("txn-1")
